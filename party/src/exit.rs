//! How a process ends: one error type at the edge, sixteen kinds of failure, and what to do about each.
//!
//! Everything that goes wrong below becomes a [`Failure`] before anyone sees it: a stable code, the phase, the
//! layer and the peer where there are any, the cause, and a remedy.

mod code;
mod convert;
mod guard;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use twoply_nn::Obstacle;

pub use code::ExitCode;
pub use guard::{guard, run_guarded};

use crate::transport::{Detail, Label, Link, Reason};

/// What a process was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Reading arguments, configuration, identity.
    Start,
    /// Reading a model or data.
    Import,
    /// Planning and calibrating.
    Plan,
    /// Making keys.
    Deal,
    /// Opening weights to the parties.
    Provision,
    /// Reaching the peer.
    Connect,
    /// Comparing what both sides are about to do.
    Hello,
    /// Reserving keys.
    Reserve,
    /// Computing on masked values.
    Online,
    /// Returning results to their owner.
    Output,
    /// Closing down.
    Shutdown,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Start => "starting",
            Phase::Import => "reading the model or data",
            Phase::Plan => "planning",
            Phase::Deal => "making keys",
            Phase::Provision => "provisioning",
            Phase::Connect => "connecting",
            Phase::Hello => "comparing both sides' settings",
            Phase::Reserve => "reserving keys",
            Phase::Online => "computing online",
            Phase::Output => "returning results",
            Phase::Shutdown => "closing down",
        })
    }
}

/// A failure as its reader sees it. Boxed content keeps results small.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure(Box<Content>);

/// The parts of a [`Failure`]; also its JSON form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Content {
    /// Kind of failure, and the process's exit code.
    pub code: ExitCode,
    /// What the process was doing, where known.
    pub phase: Option<Phase>,
    /// The cause, in one sentence.
    pub what: String,
    /// What the reader can do.
    pub remedy: String,
    /// In which layer.
    pub layer: Option<String>,
    /// With which peer.
    pub peer: Option<String>,
    /// Seconds since the peer was last heard.
    pub last_heard: Option<f64>,
    /// What stands in the way of importing a model, one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<Obstacle>,
    /// What the peer is told, when it differs from the code.
    #[serde(skip)]
    told: Option<Reason>,
    /// Where, for the peer.
    #[serde(skip)]
    detail: Detail,
}

impl Failure {
    /// A failure of a kind, with that kind's usual remedy.
    pub fn new(code: ExitCode, what: impl Into<String>) -> Self {
        Self(Box::new(Content {
            code,
            phase: None,
            what: what.into(),
            remedy: code.remedy().to_owned(),
            layer: None,
            peer: None,
            last_heard: None,
            obstacles: Vec::new(),
            told: None,
            detail: Detail::None,
        }))
    }

    /// A failure of the local system: `what` could not be done to `which`.
    pub fn io(what: &str, which: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::new(ExitCode::System, format!("cannot {what} {which}: {error}"))
    }

    /// With a better remedy.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.0.remedy = remedy.into();
        self
    }

    /// With the obstacles that `what` lists.
    #[must_use]
    pub fn with_obstacles(mut self, obstacles: Vec<Obstacle>) -> Self {
        self.0.obstacles = obstacles;
        self
    }

    /// With the phase, unless a deeper place has named it.
    #[must_use]
    pub fn during(mut self, phase: Phase) -> Self {
        self.0.phase.get_or_insert(phase);
        self
    }

    /// With the layer's name, which the peer is told too.
    #[must_use]
    pub fn in_layer(mut self, layer: impl Into<String>) -> Self {
        let layer = layer.into();
        self.0.detail = Detail::Layer(Label::new(&layer));
        self.0.layer = Some(layer);
        self
    }

    /// With the peer's name.
    #[must_use]
    pub fn with_peer(mut self, peer: impl Into<String>) -> Self {
        self.0.peer = Some(peer.into());
        self
    }

    /// With what the peer is told about the place.
    #[must_use]
    pub fn with_detail(mut self, detail: Detail) -> Self {
        self.0.detail = detail;
        self
    }

    /// With another reason for the peer than the exit code.
    #[must_use]
    pub fn told_as(mut self, reason: Reason) -> Self {
        self.0.told = Some(reason);
        self
    }

    /// A failure while talking over `link`. The link remembers more than a channel error says: whether the
    /// peer was silent, lost, out of step or stopped. Adds who it was and when it was last heard.
    pub fn on_link(error: impl Into<Failure>, link: &Link) -> Self {
        let mut failure = error.into();
        // Only what came from the link may be replaced by what the link knows.
        if let (Some(fault), ExitCode::Unreachable | ExitCode::PeerFailed) = (link.fault(), failure.code()) {
            failure = Failure::from(fault.clone());
        }
        failure.0.peer = Some(link.name().to_owned());
        failure.0.last_heard = Some(link.last_heard().as_secs_f64());
        failure
    }

    /// Kind of failure.
    pub fn code(&self) -> ExitCode {
        self.0.code
    }

    /// All parts.
    pub fn content(&self) -> &Content {
        &self.0
    }

    /// What the peer is told: pass both to [`Link::abort`].
    pub fn reason(&self) -> (Reason, Detail) {
        (self.0.told.unwrap_or(Reason::Failed(self.0.code)), self.0.detail.clone())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = &self.0;
        write!(f, "error: {}", content.what)?;
        let mut place = Vec::new();
        place.extend(content.phase.map(|phase| format!("while {phase}")));
        place.extend(content.layer.as_ref().map(|layer| format!("in layer {layer}")));
        place.extend(content.peer.as_ref().map(|peer| format!("with {peer}")));
        place.extend(content.last_heard.map(|s| {
            let heard = Duration::try_from_secs_f64(s).unwrap_or_default();
            format!("last heard {:.1} s ago", heard.as_secs_f64())
        }));
        if !place.is_empty() {
            write!(f, "\n  where: {}", place.join(", "))?;
        }
        write!(f, "\n  remedy: {}\n  exit {}: {}", content.remedy, content.code as u8, content.code.name())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_cause_place_remedy_and_code() {
        let failure = Failure::new(ExitCode::Range, "activation -91.2 is outside 64")
            .during(Phase::Online)
            .during(Phase::Start)
            .in_layer("layer2.0/relu")
            .with_peer("P1 tp1-abcde")
            .remedy("recalibrate with --margin 1");
        assert_eq!(
            failure.to_string(),
            "error: activation -91.2 is outside 64\n  where: while computing online, in layer layer2.0/relu, \
             with P1 tp1-abcde\n  remedy: recalibrate with --margin 1\n  exit 10: value out of range"
        );
        let (reason, detail) = failure.reason();
        assert_eq!(reason, Reason::Failed(ExitCode::Range));
        assert_eq!(detail, Detail::Layer("layer2.0/relu".into()));
    }

    #[test]
    fn json_carries_the_number_and_the_name_of_the_code() {
        let failure = Failure::new(ExitCode::Budget, "too dear");
        let json: serde_json::Value = serde_json::to_value(&failure).unwrap();
        assert_eq!(json["code"], 12);
        assert_eq!(json["what"], "too dear");
        assert_eq!(json["phase"], serde_json::Value::Null);
    }
}
