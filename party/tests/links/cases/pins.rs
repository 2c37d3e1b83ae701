//! Keys decide who talks to whom: every mismatch ends as exit 5 on the side that can know, never as a timeout.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::{self, SOON, anywhere, identity};
use twoply_party::exit::{ExitCode, Failure};
use twoply_party::identity::Identity;
use twoply_party::transport::{Accept, Dial, Endpoint, Error, Role, Transport};

fn via() -> Transport {
    common::named(module_path!())
}

fn dial(listener: &Endpoint) -> Dial {
    common::dial(listener, via())
}

#[test]
fn a_caller_that_expects_another_key_says_so() {
    let (key, other) = (identity(), identity().fingerprint());
    let accept = Accept::these([key.fingerprint()]);
    let listener = Endpoint::bind(identity(), Role::P1, anywhere(), accept).unwrap();
    let me = Endpoint::bind(key, Role::P0, None, Accept::nobody()).unwrap();
    let call = Dial::new(listener.address().to_string(), other).within(SOON).over(via());
    match me.connect(&call).unwrap_err() {
        Error::Stranger { wanted, found, .. } => {
            assert_eq!((wanted, found), (other, listener.fingerprint()));
        }
        error => panic!("{error}"),
    }
    let error = listener.accept(Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, Error::Unwanted { mine, .. } if mine == listener.fingerprint()), "{error}");
    assert_eq!(Failure::from(error).code(), ExitCode::Identity);
}

#[test]
fn an_unlisted_caller_learns_that_it_is_refused() {
    let listed = identity();
    let listener =
        Endpoint::bind(identity(), Role::P1, anywhere(), Accept::these([listed.fingerprint()])).unwrap();
    let me = Endpoint::bind(identity(), Role::P0, None, Accept::nobody()).unwrap();
    let error = me.connect(&dial(&listener)).unwrap_err();
    assert!(matches!(error, Error::Refused { mine, .. } if mine == me.fingerprint()), "{error}");
    let failure = Failure::from(error);
    assert_eq!(failure.code(), ExitCode::Identity);
    assert!(failure.to_string().contains(&me.fingerprint().to_string()), "{failure}");

    // The listener goes on: an invited caller still gets through ...
    let guest = Endpoint::bind(listed, Role::P0, None, Accept::nobody()).unwrap();
    let link = guest.connect(&dial(&listener)).unwrap();
    assert_eq!(listener.accept(SOON).unwrap().peer(), guest.fingerprint());
    drop(link);
    // ... and a wait in vain names who was refused.
    assert!(me.connect(&dial(&listener)).is_err());
    let error = listener.accept(Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, Error::Uninvited { found, .. } if found == me.fingerprint()), "{error}");
    assert_eq!(Failure::from(error).code(), ExitCode::Identity);
}

#[test]
fn both_pins_wrong_is_an_identity_error_too() {
    let listener = Endpoint::bind(identity(), Role::P1, anywhere(), Accept::nobody()).unwrap();
    let me = Endpoint::bind(identity(), Role::P0, None, Accept::nobody()).unwrap();
    let call = Dial::new(listener.address().to_string(), identity().fingerprint()).within(SOON).over(via());
    assert_eq!(Failure::from(me.connect(&call).unwrap_err()).code(), ExitCode::Identity);
}

/// No session is resumed, so a key that was struck from the list is refused at its next call.
#[test]
fn a_rule_may_change_while_listening() {
    let open = Arc::new(AtomicBool::new(true));
    let rule = open.clone();
    let accept = Accept::by(move |_| rule.load(Ordering::Relaxed));
    let listener = Endpoint::bind(identity(), Role::P1, anywhere(), accept).unwrap();
    let me = Endpoint::bind(identity(), Role::Client, None, Accept::nobody()).unwrap();
    let link = me.connect(&dial(&listener)).unwrap();
    drop((link, listener.accept(SOON).unwrap()));
    open.store(false, Ordering::Relaxed);
    assert!(matches!(me.connect(&dial(&listener)), Err(Error::Refused { .. })));
}

#[test]
fn an_identity_from_a_file_is_the_one_that_peers_pin() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("id.pem");
    let pinned = Identity::create(&path).unwrap().fingerprint();
    let loaded = Arc::new(Identity::load(&path).unwrap());
    let key = identity();
    let accept = Accept::these([key.fingerprint()]);
    let listener = Endpoint::bind(loaded, Role::P1, anywhere(), accept).unwrap();
    let me = Endpoint::bind(key, Role::P0, None, Accept::nobody()).unwrap();
    let call = Dial::new(listener.address().to_string(), pinned).within(SOON).over(via());
    assert_eq!(me.connect(&call).unwrap().peer(), pinned);
}
