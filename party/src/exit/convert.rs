//! From the errors of the parts to a [`Failure`].

use twoply_primitives::Error as Primitive;

use super::{ExitCode, Failure, Phase};
use crate::failures::worded;
use crate::identity::{FingerprintError, IdentityError};
use crate::transport::{Detail, Error as Wire, Reason};

impl From<Primitive> for Failure {
    fn from(error: Primitive) -> Self {
        let code = match &error {
            Primitive::Shape { .. } => ExitCode::Model,
            Primitive::Range { at, .. } => {
                let at = at.clone();
                return Failure::new(ExitCode::Range, error.to_string()).in_layer(at);
            }
            Primitive::PlanMismatch { at, .. } => {
                let detail = Detail::Gate(*at);
                return Failure::new(ExitCode::PlanMismatch, error.to_string()).with_detail(detail);
            }
            Primitive::Transcript { at } => {
                let detail = Detail::Gate(*at);
                return Failure::new(ExitCode::PlanMismatch, error.to_string()).with_detail(detail);
            }
            // These texts end with their remedy.
            Primitive::Keys(_) => return worded(ExitCode::KeysMissing, &error.to_string()),
            Primitive::Integrity(_) => return worded(ExitCode::KeysSpent, &error.to_string()),
            Primitive::Channel(_) => ExitCode::Unreachable,
            Primitive::Local(_) => ExitCode::System,
            Primitive::Device(text) => return worded(ExitCode::Device, text),
            Primitive::Owner(_) => {
                return Failure::new(ExitCode::PeerFailed, error.to_string()).with_peer("the data owner");
            }
            Primitive::PeerFailed { peer, .. } => {
                let peer = peer.clone();
                return Failure::new(ExitCode::PeerFailed, error.to_string()).with_peer(peer);
            }
            _ => ExitCode::Internal,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<Wire> for Failure {
    fn from(error: Wire) -> Self {
        let failure = Failure::new(code_of(&error), error.to_string());
        match error {
            Wire::Address { .. } => failure.remedy("write the address as host:port, IPv6 in brackets"),
            Wire::Name { .. } => failure.remedy("check the spelling of the host name, or give its IP address"),
            Wire::PortInUse { .. } => failure.remedy("stop the other process or choose another port"),
            Wire::Stranger { wanted, found, .. } => failure.remedy(format!(
                "if that machine's key has changed, replace {wanted} by {found} in this configuration; if not, \
                 somebody else answers at that address"
            )),
            Wire::Refused { mine, .. } | Wire::Unwanted { mine, .. } => {
                failure.remedy(format!("have the other side list {mine} as this machine's key"))
            }
            Wire::Uninvited { found, .. } => {
                failure.remedy(format!("if that is the peer, list {found} as its key in this configuration"))
            }
            Wire::Unreachable { cause, .. } => failure.remedy(cause.remedy()),
            Wire::Replaced { peer } => failure.with_peer(peer).told_as(Reason::Replaced),
            Wire::Silent { peer, .. } => failure
                .remedy("see whether the peer still works; raise the deadline if it is only slow")
                .with_peer(peer)
                .told_as(Reason::Deadline),
            Wire::OutOfStep { peer, .. } | Wire::Malformed { peer, .. } => {
                failure.with_peer(peer).told_as(Reason::OutOfStep)
            }
            Wire::Lost { peer, how } => failure.remedy(how.remedy()).with_peer(peer),
            Wire::Stuck { peer, .. } | Wire::Version { peer, .. } => failure.with_peer(peer),
            Wire::PeerFailed { peer, reason, .. } => {
                let failure = failure.with_peer(peer);
                match reason {
                    // The peer's kind of failure often tells what to do here too.
                    Reason::Failed(code) => failure.remedy(format!(
                        "see the peer's own message: the cause is there; usually: {}",
                        code.remedy()
                    )),
                    Reason::Interrupted => failure.remedy("its operator stopped it: try again when it runs"),
                    Reason::Busy => failure.remedy("try again in a moment"),
                    _ => failure,
                }
            }
            Wire::Closed { peer } => failure.with_peer(peer),
            Wire::Stopped => failure.remedy("start it again when it is to go on").told_as(Reason::Interrupted),
            _ => failure,
        }
    }
}

fn code_of(error: &Wire) -> ExitCode {
    match error {
        Wire::Address { .. } => ExitCode::Config,
        Wire::PortInUse { .. } | Wire::System { .. } | Wire::File { .. } => ExitCode::System,
        Wire::Name { .. }
        | Wire::Unreachable { .. }
        | Wire::NobodyCame { .. }
        | Wire::Silent { .. }
        | Wire::Stuck { .. }
        | Wire::Lost { .. }
        | Wire::TooMany { .. }
        | Wire::Replaced { .. } => ExitCode::Unreachable,
        Wire::Stranger { .. } | Wire::Refused { .. } | Wire::Uninvited { .. } | Wire::Unwanted { .. } => {
            ExitCode::Identity
        }
        Wire::Version { .. } => ExitCode::Version,
        Wire::OutOfStep { .. } | Wire::Malformed { .. } => ExitCode::PlanMismatch,
        // nobody's failure; whoever waits for this process hears that it was interrupted
        Wire::PeerFailed { .. } | Wire::Closed { .. } | Wire::Stopped => ExitCode::PeerFailed,
        Wire::TooLong { .. } | Wire::Shut => ExitCode::Internal,
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        let code = match &error {
            IdentityError::Io { .. } | IdentityError::Generate(_) => ExitCode::System,
            IdentityError::Exists(_) | IdentityError::Missing(_) | IdentityError::Readable { .. } => {
                ExitCode::Config
            }
            IdentityError::Corrupt { .. } => ExitCode::Config,
        };
        let failure = Failure::new(code, error.to_string()).during(Phase::Start);
        match error {
            IdentityError::Exists(path) => failure.remedy(format!("use it, or move {} away", path.display())),
            IdentityError::Missing(_) => failure.remedy("make an identity with `twoply id --new`"),
            IdentityError::Readable { path, .. } => failure.remedy(format!("chmod 600 {}", path.display())),
            IdentityError::Corrupt { .. } => {
                failure.remedy("restore the file, or make a new identity and have the peers list its new key")
            }
            _ => failure,
        }
    }
}

impl From<FingerprintError> for Failure {
    fn from(error: FingerprintError) -> Self {
        Failure::new(ExitCode::Config, error.to_string())
            .remedy("copy the line that `twoply id` prints on that machine")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Fingerprint;

    fn code(error: impl Into<Failure>) -> u8 {
        error.into().code() as u8
    }

    #[test]
    fn errors_of_the_mathematics_keep_their_kind() {
        assert_eq!(code(Primitive::shape("conv", "bad")), 15);
        assert_eq!(code(Primitive::Keys("short".into())), 8);
        assert_eq!(code(Primitive::Integrity("spent".into())), 9);
        assert_eq!(code(Primitive::Channel("gone".into())), 4);
        assert_eq!(code(Primitive::Transcript { at: 3 }), 6);
        let failure = Failure::from(Primitive::Device("no cuda:7 here; take cuda:0".into()));
        assert_eq!((failure.code() as u8, &failure.content().what[..]), (13, "no cuda:7 here"));
        assert_eq!(failure.content().remedy, "take cuda:0");
        let range = Primitive::Range { at: "fc1".into(), value: 99.0, limit: 64.0, n: 32, f: 12 };
        let failure = Failure::from(range);
        assert_eq!((failure.code(), failure.content().layer.as_deref()), (ExitCode::Range, Some("fc1")));
        let stopped = Primitive::PeerFailed { peer: "P1".into(), reason: "device".into() };
        let failure = Failure::from(stopped);
        assert_eq!((failure.code(), failure.content().peer.as_deref()), (ExitCode::PeerFailed, Some("P1")));
    }

    #[test]
    fn a_peer_is_told_the_kind_and_relays_it() {
        for code in ExitCode::ALL.into_iter().skip(1) {
            let (reason, detail) = Failure::new(code, "x").reason();
            let wire =
                Wire::PeerFailed { peer: "P0".into(), reason: Reason::from_code(reason.code()), detail };
            let relayed = Failure::from(wire);
            assert_eq!(relayed.code(), ExitCode::PeerFailed);
            assert!(relayed.to_string().contains(code.name()), "{relayed}");
        }
    }

    #[test]
    fn distinct_troubles_have_distinct_codes_and_remedies_name_the_key() {
        let (wanted, found) = (Fingerprint::of_spki(b"a"), Fingerprint::of_spki(b"b"));
        let stranger = Failure::from(Wire::Stranger { address: "h:1".into(), wanted, found });
        assert_eq!(stranger.code(), ExitCode::Identity);
        assert!(stranger.to_string().contains(&found.to_string()));
        assert_eq!(code(Wire::PortInUse { address: ([127, 0, 0, 1], 1).into() }), 16);
        assert_eq!(code(Wire::Address { address: "x".into(), why: "y" }), 3);
        assert_eq!(code(Wire::Name { address: "x".into(), why: "y".into() }), 4);
        assert_eq!(code(Wire::Version { peer: "x".into(), theirs: Some(2) }), 7);
        assert_eq!(code(IdentityError::Missing("x".into())), 3);
        assert_eq!(code("nonsense".parse::<Fingerprint>().unwrap_err()), 3);
    }
}
