//! Why a process stops, as it tells its peer: a closed list of codes and a few forms of detail. No text that
//! one side invents ever reaches the other side's terminal.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::exit::ExitCode;

/// Why the sender of an ABORT stopped. Numbers up to 99 are exit codes; they are frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It failed, and this is the exit code of its kind of failure.
    Failed(ExitCode),
    /// Its operator stopped it, or its endpoint was closed.
    Interrupted,
    /// What it received was not what its program was at.
    OutOfStep,
    /// It waited too long for something.
    Deadline,
    /// It has too many connections, of this caller or of all.
    Busy,
    /// It let go of the link without closing it: its work with this peer ended early.
    Dropped,
    /// Another link with the same key took this one's place.
    Replaced,
    /// A code that this version does not know.
    Unlisted,
}

impl Reason {
    /// Number on the wire.
    pub fn code(self) -> u16 {
        match self {
            Reason::Failed(code) => code as u16,
            Reason::Interrupted => 100,
            Reason::OutOfStep => 101,
            Reason::Deadline => 102,
            Reason::Busy => 103,
            Reason::Dropped => 104,
            Reason::Replaced => 105,
            Reason::Unlisted => u16::MAX,
        }
    }

    /// Whether a second call might go better.
    pub(super) fn passing(self) -> bool {
        matches!(self, Reason::Interrupted | Reason::Busy | Reason::Dropped)
    }

    /// The reason a number stands for.
    pub fn from_code(code: u16) -> Self {
        match code {
            100 => Reason::Interrupted,
            101 => Reason::OutOfStep,
            102 => Reason::Deadline,
            103 => Reason::Busy,
            104 => Reason::Dropped,
            105 => Reason::Replaced,
            _ => ExitCode::from_number(code)
                .filter(|&code| code != ExitCode::Success)
                .map_or(Reason::Unlisted, Reason::Failed),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Failed(code) => write!(f, "{} (exit {})", code.name(), *code as u8),
            Reason::Interrupted => f.write_str("it was interrupted"),
            Reason::OutOfStep => f.write_str("it received something else than it expected"),
            Reason::Deadline => f.write_str("it waited too long"),
            Reason::Busy => f.write_str("it has too many connections"),
            Reason::Dropped => f.write_str("it ended its work with this machine early"),
            Reason::Replaced => f.write_str(
                "a newer link with this machine's key took this one's place: does it run twice, or has its key a copy?",
            ),
            Reason::Unlisted => f.write_str("a reason this version does not know"),
        }
    }
}

/// Where it stopped, in one of few forms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Detail {
    /// Nothing to add.
    #[default]
    None,
    /// At this gate.
    Gate(u32),
    /// In this layer.
    Layer(Label),
    /// At this named item (a field of the hello, a file of the key set).
    Item(Label),
    /// At this image.
    Image(u64),
    /// Something was short: wanted and found.
    Short(u64, u64),
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Detail::None => Ok(()),
            Detail::Gate(gate) => write!(f, " at gate {gate}"),
            Detail::Layer(layer) => write!(f, " in layer {layer}"),
            Detail::Item(item) => write!(f, " at {item}"),
            Detail::Image(image) => write!(f, " at image {image}"),
            Detail::Short(wanted, found) => write!(f, ": wanted {wanted}, found {found}"),
        }
    }
}

/// A name that is safe to show although a peer sent it: at most [`Label::LONGEST`] printable ASCII
/// characters, no quotes, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

impl Label {
    /// Most characters in a label.
    pub const LONGEST: usize = 64;

    /// The label that keeps what is allowed of `text` and replaces the rest by `?`.
    pub fn new(text: &str) -> Self {
        let safe = |c: char| if Self::allowed(c) { c } else { '?' };
        Self(text.chars().map(safe).take(Self::LONGEST).collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn allowed(c: char) -> bool {
        c.is_ascii_alphanumeric() || " ._-+/:=,()[]#".contains(c)
    }
}

impl TryFrom<String> for Label {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let fits = text.len() <= Self::LONGEST && text.chars().all(Self::allowed);
        if fits { Ok(Self(text)) } else { Err("a label is at most 64 plain characters") }
    }
}

impl From<Label> for String {
    fn from(label: Label) -> String {
        label.0
    }
}

impl From<&str> for Label {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_reason_and_back() {
        for code in 0..=u16::MAX {
            let reason = Reason::from_code(code);
            assert!(reason == Reason::Unlisted || reason.code() == code, "{code}");
        }
        assert_eq!(Reason::from_code(9), Reason::Failed(ExitCode::KeysSpent));
        assert_eq!(Reason::from_code(0), Reason::Unlisted);
        assert_eq!(Reason::from_code(17), Reason::Unlisted);
    }

    #[test]
    fn labels_never_carry_terminal_escapes() {
        assert_eq!(Label::new("conv1\u{1b}[31m").as_str(), "conv1?[31m");
        assert_eq!(Label::new(&"x".repeat(500)).as_str().len(), Label::LONGEST);
        for bad in ["\u{1b}", "a\nb", "é", "\"", &"x".repeat(65)] {
            let bytes = postcard::to_stdvec(bad).unwrap();
            assert!(postcard::from_bytes::<Label>(&bytes).is_err(), "{bad:?}");
        }
        let bytes = postcard::to_stdvec(&Detail::Layer("layer1.0/relu".into())).unwrap();
        assert_eq!(postcard::from_bytes::<Detail>(&bytes).unwrap().to_string(), " in layer layer1.0/relu");
    }
}
