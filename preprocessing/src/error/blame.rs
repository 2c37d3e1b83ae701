//! What an error means, for who has to act on it.

use super::Error;

/// What an error means for the operator; the command line maps it to its exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blame {
    /// Keys missing or too few.
    Short,
    /// Keys corrupt, of another party or set, insecure, or spent.
    Integrity,
    /// Keys of another plan.
    Plan,
    /// Keys of another release.
    Version,
    /// Disk, permission, lock.
    Local,
    /// The calling program broke a rule of this crate.
    Bug,
}

impl Error {
    /// What the error means for the operator.
    pub fn blame(&self) -> Blame {
        use twoply_primitives::Error as Gate;
        match self {
            Error::Missing { .. }
            | Error::Short { .. }
            | Error::NotHeld { .. }
            | Error::NotTrained { .. } => Blame::Short,
            Error::OtherTerms { .. }
            | Error::OtherPlan { .. }
            | Error::OtherWeights { .. }
            | Error::Gate(Gate::PlanMismatch { .. }) => Blame::Plan,
            Error::Version { .. } => Blame::Version,
            Error::Io { .. }
            | Error::DiskFull { .. }
            | Error::Randomness(_)
            | Error::Exposed { .. }
            | Error::Exists { .. }
            | Error::Locked { .. }
            | Error::Used { .. }
            | Error::RunEnded { .. }
            | Error::LedgerFailed { .. } => Blame::Local,
            Error::Sequence { .. }
            | Error::UsedUp { .. }
            | Error::Layout { .. }
            | Error::Order { .. }
            | Error::StillNeeded { .. }
            | Error::Gate(_) => Blame::Bug,
            _ => Blame::Integrity,
        }
    }
}

/// A gate sees keys that are short, or keys that are not what they should be; the text stays.
impl From<Error> for twoply_primitives::Error {
    fn from(e: Error) -> Self {
        match (e.blame(), e) {
            (_, Error::Gate(inner)) => inner,
            (Blame::Local, e) => twoply_primitives::Error::Local(e.to_string()),
            (Blame::Short, e) => twoply_primitives::Error::Keys(e.to_string()),
            (_, e) => twoply_primitives::Error::Integrity(e.to_string()),
        }
    }
}
