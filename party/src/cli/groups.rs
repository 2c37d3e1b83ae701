//! `twoply --help` lists verbs by who runs them.

use clap::Command;
use std::fmt::Write;

/// Who runs which verbs.
const GROUPS: [(&str, &[&str]); 6] = [
    ("To try it out", &["demo", "doctor", "bench"]),
    ("Model owner", &["import", "plan", "calibrate", "check", "train", "provision"]),
    ("Dealer", &["deal"]),
    ("Party", &["party", "train", "keys"]),
    ("Data owner", &["infer", "share"]),
    ("Everybody", &["id", "doctor"]),
];

/// The template of the help, with the verbs of `command` in it.
pub(super) fn template(command: &Command) -> String {
    let width = command.get_subcommands().map(|verb| verb.get_name().len()).max().unwrap_or(0);
    let mut text = String::from("{before-help}{about-with-newline}\n{usage-heading} {usage}\n");
    for (who, verbs) in GROUPS {
        let _ = writeln!(text, "\n{who}:"); // a string takes everything
        for name in verbs {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {name:width$}  {about}");
        }
    }
    text + "\n`twoply VERB --help` says more of each, with an example.\n\nOptions:\n{options}{after-help}"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    #[test]
    fn every_verb_is_in_a_group() {
        let mut command = Cli::command();
        let help = command.render_long_help().to_string();
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let listed = GROUPS.iter().any(|(_, verbs)| verbs.contains(&verb.get_name()));
            assert!(listed, "`{}` is in no group", verb.get_name());
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("  {about}\n")), "{about}\n{help}");
        }
        for (who, verbs) in GROUPS {
            assert!(help.contains(&format!("\n{who}:\n")), "{help}");
            assert!(verbs.iter().all(|name| command.find_subcommand(name).is_some()), "{who}");
        }
        assert!(help.contains("--format") && help.contains("Usage: twoply"), "{help}");
    }
}
