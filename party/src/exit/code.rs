//! The exit codes: stable numbers, names, usual remedies.

use serde::{Serialize, Serializer};

/// Exit codes of the binary. The numbers are frozen: scripts and peers depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// All went well.
    Success = 0,
    /// A mistake in this program.
    Internal = 1,
    /// Wrong arguments.
    Usage = 2,
    /// An unusable configuration.
    Config = 3,
    /// The peer cannot be reached, or was lost.
    Unreachable = 4,
    /// A key that is not the expected one.
    Identity = 5,
    /// Both sides run different programs.
    PlanMismatch = 6,
    /// Both sides run different versions.
    Version = 7,
    /// Keys that are missing or too few.
    KeysMissing = 8,
    /// Keys that are damaged, foreign or spent.
    KeysSpent = 9,
    /// A value that does not fit.
    Range = 10,
    /// An opening that nobody has allowed.
    Policy = 11,
    /// A run dearer than allowed.
    Budget = 12,
    /// A device that is absent or failing.
    Device = 13,
    /// The peer stopped and said why.
    PeerFailed = 14,
    /// A model or data that cannot be used.
    Model = 15,
    /// The local system refused.
    System = 16,
}

impl ExitCode {
    /// All codes in order.
    pub const ALL: [ExitCode; 17] = [
        ExitCode::Success,
        ExitCode::Internal,
        ExitCode::Usage,
        ExitCode::Config,
        ExitCode::Unreachable,
        ExitCode::Identity,
        ExitCode::PlanMismatch,
        ExitCode::Version,
        ExitCode::KeysMissing,
        ExitCode::KeysSpent,
        ExitCode::Range,
        ExitCode::Policy,
        ExitCode::Budget,
        ExitCode::Device,
        ExitCode::PeerFailed,
        ExitCode::Model,
        ExitCode::System,
    ];

    /// The code with this number.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Short name.
    pub fn name(self) -> &'static str {
        match self {
            ExitCode::Success => "ok",
            ExitCode::Internal => "internal error",
            ExitCode::Usage => "usage",
            ExitCode::Config => "configuration",
            ExitCode::Unreachable => "peer unreachable",
            ExitCode::Identity => "peer identity",
            ExitCode::PlanMismatch => "plan mismatch",
            ExitCode::Version => "version mismatch",
            ExitCode::KeysMissing => "keys missing or short",
            ExitCode::KeysSpent => "keys corrupt or already spent",
            ExitCode::Range => "value out of range",
            ExitCode::Policy => "policy",
            ExitCode::Budget => "budget",
            ExitCode::Device => "device",
            ExitCode::PeerFailed => "peer failed",
            ExitCode::Model => "model or data unusable",
            ExitCode::System => "local system",
        }
    }

    /// What usually helps.
    pub fn remedy(self) -> &'static str {
        match self {
            ExitCode::Success => "nothing to do",
            ExitCode::Internal => "this is a mistake in twoply; please report it with the line above",
            ExitCode::Usage => "see `twoply help`",
            ExitCode::Config => "correct the configuration and start again",
            ExitCode::Unreachable => {
                "check that the peer runs and that UDP or TCP reaches its address and port"
            }
            ExitCode::Identity => {
                "compare `twoply id` on both machines with the keys in their configurations"
            }
            ExitCode::PlanMismatch => "give both parties the same model, settings and key set",
            ExitCode::Version => "run the same version of twoply on both machines",
            ExitCode::KeysMissing => "deal more keys for this plan (`twoply deal`)",
            ExitCode::KeysSpent => "deal a new key set; never restore keys from a copy",
            ExitCode::Range => "rescale the input or recalibrate with more bits",
            ExitCode::Policy => "allow this opening in the configuration if it is meant",
            ExitCode::Budget => "raise the budget, or choose a smaller model or batch",
            ExitCode::Device => {
                "compute on the CPU with --device cpu; `twoply doctor` lists the other devices"
            }
            ExitCode::PeerFailed => "see the peer's own message: the cause is there",
            ExitCode::Model => "the message names what stands in the way: mend it in the model or data file",
            ExitCode::System => "free the resource named above and start again",
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

impl Serialize for ExitCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_their_places_and_texts_are_distinct() {
        let mut names = std::collections::HashSet::new();
        let mut remedies = std::collections::HashSet::new();
        for (number, code) in (0..).zip(ExitCode::ALL) {
            assert_eq!(code as u16, number);
            assert_eq!(ExitCode::from_number(number), Some(code));
            assert!(names.insert(code.name()) && remedies.insert(code.remedy()));
        }
        assert_eq!(ExitCode::from_number(17), None);
        // The list in the book.
        assert_eq!(ExitCode::Identity as u8, 5);
        assert_eq!(ExitCode::PeerFailed as u8, 14);
        assert_eq!(ExitCode::System as u8, 16);
    }
}
