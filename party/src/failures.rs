//! From the errors of networks and key stores to a [`Failure`].

use crate::exit::{ExitCode, Failure};
use crate::transport::{Detail, Label};
use twoply_nn::Error as Network;
use twoply_preprocessing::{Blame, Error as Keys};
use twoply_primitives::Error as Gate;

impl From<Keys> for Failure {
    fn from(error: Keys) -> Self {
        let code = match error.blame() {
            Blame::Short => ExitCode::KeysMissing,
            Blame::Integrity => ExitCode::KeysSpent,
            Blame::Plan => ExitCode::PlanMismatch,
            Blame::Version => ExitCode::Version,
            Blame::Local => ExitCode::System,
            Blame::Bug => ExitCode::Internal,
        };
        match error {
            Keys::Gate(inner) => gate(inner),
            Keys::Short { wanted, left } => {
                worded(code, &error.to_string()).with_detail(Detail::Short(wanted, left))
            }
            Keys::OtherPlan { .. } => {
                worded(code, &error.to_string()).with_detail(Detail::Item(Label::new("plan of the keys")))
            }
            _ => worded(code, &error.to_string()),
        }
    }
}

/// The failure of a gate. A key store below it may have met a full disk, which is the local system's, not the gate's.
fn gate(error: Gate) -> Failure {
    match error {
        Gate::Local(text) => worded(ExitCode::System, &text),
        other => other.into(),
    }
}

/// A failure from a message that ends with its remedy, which goes to its own line.
pub(crate) fn worded(code: ExitCode, text: &str) -> Failure {
    match split_remedy(text) {
        (what, Some(remedy)) => Failure::new(code, what).remedy(remedy),
        (what, None) => Failure::new(code, what),
    }
}

/// Cause and remedy of a message of the form `cause; remedy`.
fn split_remedy(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once("; ") {
        Some((what, remedy)) => (what, Some(remedy)),
        None => (text, None),
    }
}

impl From<Network> for Failure {
    fn from(error: Network) -> Self {
        match error {
            Network::Keys(keys) => keys.into(),
            Network::Gate(inner) => gate(inner),
            Network::Answers => worded(ExitCode::PeerFailed, &error.to_string()),
            Network::Ranges { n, f, faults } => ranges(n, f, &faults),
            Network::Import { ref obstacles } => Failure::new(ExitCode::Model, error.to_string())
                .with_obstacles(obstacles.clone())
                .remedy("change the model where the list says so, and export it again"),
            Network::Onnx(_) => Failure::new(ExitCode::Model, error.to_string())
                .remedy("export the model again (torch.onnx.export) and name that file"),
            Network::Graph { .. } => Failure::new(ExitCode::Model, error.to_string())
                .remedy("import the model again; graph files are not meant to be edited by hand"),
            Network::Weights { .. } => Failure::new(ExitCode::Model, error.to_string())
                .remedy("give the weights file that the same import wrote"),
            Network::Data { format: "output", .. } => worded(ExitCode::Model, &error.to_string()),
            Network::Data { format: "plan", .. } => {
                Failure::new(ExitCode::Model, error.to_string()).remedy("plan again with `twoply plan`")
            }
            Network::Data { format: "training" | "training plan", .. } => {
                Failure::new(ExitCode::Model, error.to_string()).remedy(
                    "plan again with other flags of `twoply train plan`, or change what is named above",
                )
            }
            _ => Failure::new(ExitCode::Model, error.to_string())
                .remedy("give data of the format and shape named above"),
        }
    }
}

/// Names the first layer whose values do not fit; the text lists all.
fn ranges(n: u32, f: u32, faults: &[String]) -> Failure {
    let list: String = faults.iter().map(|fault| format!("\n  - {fault}")).collect();
    let what = format!("values would leave the range of {n} ring bits with {f} fraction bits:{list}");
    let failure = Failure::new(ExitCode::Range, what);
    let failure = match faults.first().and_then(|fault| fault.split('`').nth(1)) {
        Some(layer) => failure.in_layer(layer),
        None => failure,
    };
    match n {
        32 => {
            failure.remedy("plan with --ring 64, fewer --fraction bits, or (for values) a smaller --margin")
        }
        _ => failure.remedy(
            "plan with fewer --fraction bits or (for values) a smaller --margin, or rescale the model",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twoply_preprocessing::PlanDigest;

    fn code(error: impl Into<Failure>) -> u8 {
        error.into().code() as u8
    }

    #[test]
    fn each_blame_has_its_exit_code() {
        let path = || "keys/seg-00000.key".into();
        assert_eq!(code(Keys::Short { wanted: 4, left: 3 }), 8);
        assert_eq!(code(Keys::Spent { from: 0, next: 3 }), 9);
        let (wanted, found) = (PlanDigest([0; 32]), PlanDigest([1; 32]));
        assert_eq!(code(Keys::OtherPlan { path: path(), wanted, found }), 6);
        assert_eq!(code(Keys::Version { path: path(), found: 2, known: 1 }), 7);
        assert_eq!(code(Keys::Locked { path: path() }), 16);
        assert_eq!(code(Keys::Layout { images: 0, why: "none" }), 1);
        // The parties' fault, and no mistake of this program or of its keys.
        assert_eq!(code(Network::Answers), 14);
        let inner = Gate::PlanMismatch { at: 7, wanted: "a".into(), found: "b".into() };
        let failure = Failure::from(Keys::Gate(inner));
        assert_eq!(failure.code() as u8, 6);
        assert_eq!(failure.reason().1, Detail::Gate(7));
    }

    #[test]
    fn a_remedy_at_the_end_of_the_message_gets_its_own_line() {
        let failure = Failure::from(Keys::Corrupt { path: "a".into(), what: "tile 3".into() });
        assert_eq!(failure.content().what, "a: tile 3 is corrupt");
        assert_eq!(failure.content().remedy, twoply_preprocessing::DAMAGED);
        // below a gate too
        let gate = || Gate::from(Keys::Corrupt { path: "a".into(), what: "tile 3".into() });
        for failure in [Failure::from(Network::Gate(gate())), Failure::from(gate())] {
            assert_eq!(failure.code(), ExitCode::KeysSpent);
            assert_eq!(failure.content().remedy, twoply_preprocessing::DAMAGED);
        }
    }

    /// A dealer's disk that fills up while a gate writes its tiles once ended as a mistake in this program.
    #[test]
    fn repro_a_full_disk_below_a_gate_is_the_local_systems() {
        let full = Keys::DiskFull { path: "keys/seg-00000.key".into(), need: 7 };
        let failure = Failure::from(Network::Gate(full.into()));
        assert_eq!(failure.code(), ExitCode::System);
        assert!(failure.content().remedy.starts_with("free space"), "{failure}");
    }

    #[test]
    fn networks_that_cannot_be_used_are_15_and_ranges_name_the_layer() {
        assert_eq!(code(Network::Onnx("x".into())), 15);
        assert_eq!(code(Network::data("IDX", "short")), 15);
        assert_eq!(code(Network::from(Keys::Short { wanted: 1, left: 0 })), 8);
        let faults = vec!["layer `fc1`: observed 900".to_owned(), "layer `fc2`: observed 901".to_owned()];
        let failure = Failure::from(Network::Ranges { n: 32, f: 12, faults });
        assert_eq!((failure.code(), failure.content().layer.as_deref()), (ExitCode::Range, Some("fc1")));
        assert!(failure.to_string().contains("`fc2`") && failure.to_string().contains("--ring 64"));
    }
}
