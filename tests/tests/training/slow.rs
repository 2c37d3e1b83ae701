//! A dealer that falls behind: a short while only slows, a long one ends the attempt, and never the run.

use super::run::limited;
use rayon::ThreadPoolBuilder;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};
use twoply_party::identity::Identity;
use twoply_party::train::{Guests, Progress, Setup, serve};
use twoply_party::transport::{Shape, Transport};
use twoply_primitives::{Cpu, PartyId};
use twoply_tests::school::{LONG, School};

/// How long the parties wait for keys that do not come; less than a link's silence may last.
const COMPUTING: Duration = Duration::from_secs(8);

/// A party in this process: what it says, and the step that its run ends after.
fn party(school: &School, me: usize) -> (Receiver<String>, JoinHandle<Option<u32>>) {
    let roles = ["p0", "p1"];
    let key = |role: &str| school.key(role).parse().unwrap();
    let setup = Setup {
        me: PartyId::BOTH[me],
        plan: school.plan.clone(),
        dir: school.path(roles[me]).join("train"),
        identity: Arc::new(Identity::load(&school.path(roles[me]).join("identity.key")).unwrap()),
        listen: ([127, 0, 0, 1], school.ports()[me]).into(),
        peer_address: (me == 1).then(|| format!("127.0.0.1:{}", school.ports()[0])),
        transport: Transport::default(),
        link: Shape::default(),
        guests: Guests {
            peer: key(roles[1 - me]),
            dealer: key("dealer"),
            owners: vec![key("owner")],
            model_owners: vec![],
        },
        begins: true,
        ahead: 2,
        patience: LONG,
        computing: COMPUTING,
        record: None,
    };
    let (tell, said) = channel();
    let work = move || {
        let tell = Mutex::new(tell);
        let say = |text: &str| drop(tell.lock().unwrap().send(text.to_owned()));
        let mut quiet = |_: &_| ();
        let mut progress = Progress::new([360, 6], None, &mut quiet).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        serve(&setup, Cpu::<u32>::new(), &stop, &mut progress, &say).unwrap().ended
    };
    // workers that wait for keys, as those of a process
    let pool = ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    (said, spawn(move || pool.install(work)))
}

/// The next line that says this.
fn hear(said: &Receiver<String>, text: &str) -> String {
    let until = Instant::now() + LONG;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let line = said.recv_timeout(left).unwrap_or_else(|e| panic!("nothing said `{text}`: {e}"));
        if line.contains(text) {
            return line;
        }
    }
}

#[test]
fn a_dealer_that_falls_behind_ends_an_attempt_and_not_the_run() {
    let school = School::new((96, 60), vec![], 10);
    let parties = [party(&school, 0), party(&school, 1)];
    let dealer = school.dealer(&[]);
    school.owner("data", "owner", &limited(&school.digits(), "96")).wait(LONG).is(0);
    for (said, _) in &parties {
        hear(said, "attempt 1 goes on after step 0");
    }
    // a short while
    dealer.signal("STOP");
    sleep(COMPUTING / 4);
    dealer.signal("CONT");
    sleep(COMPUTING / 8);
    for (said, _) in &parties {
        let over: Vec<_> = said.try_iter().filter(|line| line.contains("is over")).collect();
        assert!(over.is_empty(), "{over:?}");
    }
    // and a long one
    dealer.signal("STOP");
    let lines = parties.each_ref().map(|(said, _)| hear(said, "the attempt is over"));
    // whoever is first says which keys are missing and whose they are, before the link of a process that is suspended ends of itself
    let named =
        |line: &&String| line.contains(" of segment ") && line.contains("dealer") && line.contains("8.0 s");
    assert!(lines.iter().any(|line| named(&line)), "{lines:?}");
    dealer.signal("CONT");
    for (said, _) in &parties {
        hear(said, "attempt 2 goes on after step");
    }
    assert_eq!(dealer.wait(LONG).is(0).json()["ended"], 360);
    for (_, thread) in parties {
        assert_eq!(thread.join().unwrap(), Some(360));
    }
    let attempts = ["p0", "p1", "dealer"].map(|role| school.status(role)[0]["attempts"].clone());
    assert!(attempts.iter().all(|n| *n == 2), "{attempts:?}");
}
