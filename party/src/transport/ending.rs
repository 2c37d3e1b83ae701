//! How a call came to nothing and how a link came to its end, as far as this side can know, with what to do about it.

use std::fmt;

use super::Error;
use super::error::Seconds;
use super::reason::Reason;
use crate::exit::ExitCode;

/// Why a call reached nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Something on this machine, or on the way, failed: in the system's words.
    System(String),
    /// Nothing came back at all.
    NoAnswer,
    /// The machine answered that the port is closed.
    NobodyListens,
    /// A connection was made and fell at once.
    HungUp(String),
    /// TCP connects, and QUIC, which was asked for, gets no answer.
    NoQuic,
    /// TCP connects, and then nothing is said.
    Mute,
    /// It is there, and said why it does not take the call now.
    Told(Reason),
}

impl Cause {
    /// How much it tells: of several addresses and transports, the highest counts.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Cause::System(_) => 0,
            Cause::NoAnswer => 1,
            Cause::NobodyListens => 2,
            Cause::HungUp(_) => 3,
            Cause::NoQuic => 4,
            Cause::Mute => 5,
            Cause::Told(_) => 6,
        }
    }

    /// What whoever called can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Cause::System(_) => "check this machine's network and the address",
            Cause::NoAnswer => {
                "check that the machine is up and the address right, and that firewalls let TCP and UDP through to this port"
            }
            Cause::NobodyListens => {
                "start the process there; if it runs, check the port and the address that it listens on"
            }
            Cause::HungUp(_) => {
                "try again; if it stays so, see that process's own messages, and whether it is twoply that listens there"
            }
            Cause::NoQuic => {
                "open this port for UDP in the firewalls or call with --transport tcp; if that gets no answer either, the process hangs"
            }
            Cause::Mute => {
                "see whether the process there is stopped or hangs, and start it again; or something that is not twoply listens there"
            }
            Cause::Told(_) => "try again in a moment",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::System(why) => f.write_str(why),
            Cause::NoAnswer => {
                f.write_str("nothing comes back: a firewall drops packets, or the machine is down")
            }
            Cause::NobodyListens => f.write_str("nobody listens there"),
            Cause::HungUp(how) => write!(f, "the connection is made and falls at once: {how}"),
            Cause::NoQuic => f.write_str("QUIC gets no answer there, although TCP connects"),
            Cause::Mute => f.write_str("the port is open, but nothing is said"),
            Cause::Told(reason) => write!(f, "it is there, but {reason}"),
        }
    }
}

/// How a connection that had been made came to be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// Nothing was heard for the idle time: a cut cable, or a machine that is off or asleep.
    Silence(Seconds),
    /// The other system closed the connection without a goodbye, as for a process that was killed.
    Died,
    /// The other end is there and knows nothing of this connection: its process was started again.
    Restarted,
    /// What came is no link of ours, or could not be read to its end.
    Broken(String),
}

impl Loss {
    /// What whoever lost it can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Loss::Silence(_) => {
                "see whether its machine is up and its process is not suspended, and whether the network carries; then try again"
            }
            Loss::Died => "see there why that process ended, and try again when it runs",
            Loss::Restarted => "try again",
            Loss::Broken(_) => {
                "try again; if it stays so, see whether something between the machines changes what is sent"
            }
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Silence(time) => write!(f, "nothing was heard for {time} s"),
            Loss::Died => f.write_str("it went away without a goodbye, as a process that was killed"),
            Loss::Restarted => f.write_str("it was started again and knows nothing of this connection"),
            Loss::Broken(why) => f.write_str(why),
        }
    }
}

/// What became of the other side, for deciding what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// It stopped in order: it closed, or said that it was interrupted or let go of the link.
    Stopped,
    /// It said that it failed.
    Failed,
    /// Its process died or was started again, without a word.
    Crashed,
    /// Nothing is heard of it any more: the network is cut, or its machine is off or asleep.
    Cut,
    /// A newer link of the same peer took this one's place: it came back, or runs twice.
    Replaced,
    /// A newer link with this machine's key took this one's place there: this machine runs twice, or its key has a copy.
    Ousted,
    /// It is alive but too slow: it let a deadline pass, or does not read what is sent.
    Stalled,
    /// It does not take this machine's key, or is not who was expected.
    Refused,
    /// It has no room for this machine at present.
    Busy,
    /// Nobody was reached, or nobody came.
    Absent,
    /// It speaks, but not what the program expects.
    Foreign,
    /// It is this process's own doing or failure.
    Ours,
}

impl Ending {
    /// Whether the same peer may be expected back.
    pub fn may_return(self) -> bool {
        matches!(self, Self::Stopped | Self::Crashed | Self::Cut | Self::Replaced | Self::Busy | Self::Absent)
    }
}

impl Error {
    /// What became of the other side.
    pub fn ending(&self) -> Ending {
        match self {
            Error::Closed { .. } => Ending::Stopped,
            Error::PeerFailed { reason, .. } => match reason {
                Reason::Interrupted | Reason::Dropped => Ending::Stopped,
                Reason::Replaced => Ending::Ousted,
                Reason::Busy => Ending::Busy,
                Reason::Deadline => Ending::Stalled,
                Reason::Failed(ExitCode::Identity) => Ending::Refused,
                Reason::OutOfStep => Ending::Foreign,
                Reason::Failed(_) | Reason::Unlisted => Ending::Failed,
            },
            Error::Lost { how, .. } => match how {
                Loss::Silence(_) => Ending::Cut,
                Loss::Died | Loss::Restarted => Ending::Crashed,
                Loss::Broken(_) => Ending::Foreign,
            },
            Error::Replaced { .. } => Ending::Replaced,
            Error::Silent { .. } | Error::Stuck { .. } => Ending::Stalled,
            Error::Stranger { .. }
            | Error::Refused { .. }
            | Error::Uninvited { .. }
            | Error::Unwanted { .. } => Ending::Refused,
            Error::Unreachable { cause: Cause::Told(Reason::Busy), .. } | Error::TooMany { .. } => {
                Ending::Busy
            }
            Error::Unreachable { .. } | Error::NobodyCame { .. } | Error::Name { .. } => Ending::Absent,
            Error::Version { .. } | Error::OutOfStep { .. } | Error::Malformed { .. } => Ending::Foreign,
            Error::Address { .. }
            | Error::PortInUse { .. }
            | Error::System { .. }
            | Error::File { .. }
            | Error::TooLong { .. }
            | Error::Stopped
            | Error::Shut => Ending::Ours,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_apart_and_each_has_a_remedy_of_its_own() {
        let causes = [
            Cause::System("x".into()),
            Cause::NoAnswer,
            Cause::NobodyListens,
            Cause::HungUp("x".into()),
            Cause::NoQuic,
            Cause::Mute,
            Cause::Told(Reason::Busy),
        ];
        for (at, one) in causes.iter().enumerate() {
            for other in &causes[..at] {
                assert_ne!(one.to_string(), other.to_string());
                assert_ne!(one.remedy(), other.remedy());
                assert!(one.rank() > other.rank(), "{one} tells more than {other}");
            }
        }
    }

    #[test]
    fn no_way_to_go_is_called_an_internal_error() {
        let peer = || "P0".to_owned();
        let silence = Loss::Silence(std::time::Duration::from_secs(20).into());
        for (error, ending) in [
            (Error::Closed { peer: peer() }, Ending::Stopped),
            (Error::Replaced { peer: peer() }, Ending::Replaced),
            (Error::Lost { peer: peer(), how: silence }, Ending::Cut),
            (Error::Lost { peer: peer(), how: Loss::Died }, Ending::Crashed),
            (Error::Lost { peer: peer(), how: Loss::Restarted }, Ending::Crashed),
        ] {
            assert_eq!(error.ending(), ending);
            assert!(ending.may_return());
            let failure = crate::exit::Failure::from(error);
            assert_ne!(failure.code(), ExitCode::Internal);
            assert!(!failure.to_string().contains("internal"), "{failure}");
        }
    }
}
