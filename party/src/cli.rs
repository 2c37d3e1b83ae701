//! The command line: one verb, one file. Results go to standard output, everything else to standard error.

mod bench;
mod calibrate;
mod check;
mod choices;
pub mod config;
mod deal;
mod demo;
mod device;
mod doctor;
mod groups;
mod id;
mod import;
mod infer;
mod inputs;
mod keys;
pub mod output;
mod party;
mod places;
mod plan;
mod provision;
mod samples;
mod share;
mod stop;
mod train;

use crate::exit::{ExitCode as Code, Failure, run_guarded};
use crate::memory::never_dumped;
use clap::{Parser, Subcommand};
use output::{Flags, Output};
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use twoply_primitives::backend::Isa;

/// Private neural networks for two servers
///
/// Two parties run a network on an image that neither can see, with weights that neither can see. Both stay private as
/// long as the two do not join forces.
#[derive(Clone, Debug, Parser)]
#[command(name = "twoply", version, max_term_width = 100)]
#[command(help_template = groups::template(&Verb::augment_subcommands(clap::Command::new("twoply"))))]
pub struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    Demo(demo::Args),
    Id(id::Args),
    Import(import::Args),
    Plan(plan::Args),
    Calibrate(calibrate::Args),
    Check(check::Args),
    Train(train::Args),
    Share(share::Args),
    Deal(deal::Args),
    Provision(provision::Args),
    Party(party::Args),
    Infer(infer::Args),
    Keys(keys::Args),
    Doctor(doctor::Args),
    Bench(bench::Args),
}

impl Cli {
    /// Does what the verb says.
    ///
    /// # Errors
    /// Whatever the verb fails with.
    pub fn run(self, out: &Output) -> Result<(), Failure> {
        match self.verb {
            Verb::Demo(args) => demo::run(args, out),
            Verb::Id(args) => id::run(args, out),
            Verb::Import(args) => import::run(args, out),
            Verb::Plan(args) => plan::run(args, out),
            Verb::Calibrate(args) => calibrate::run(args, out),
            Verb::Check(args) => check::run(args, out),
            Verb::Train(args) => train::run(args, out),
            Verb::Share(args) => share::run(args, out),
            Verb::Deal(args) => deal::run(args, out),
            Verb::Provision(args) => provision::run(args, out),
            Verb::Party(args) => party::run(args, out),
            Verb::Infer(args) => infer::run(args, out),
            Verb::Keys(args) => keys::run(args, out),
            Verb::Doctor(args) => doctor::run(args, out),
            Verb::Bench(args) => bench::run(args, out),
        }
    }
}

/// The whole of `main`.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are results; standard error may be closed.
            let _ = e.print();
            return ExitCode::from(e.exit_code() as u8);
        }
    };
    let out = Output::new(&cli.flags);
    log_to_stderr(&out);
    // Who imports reads one JSON object; the texts of the other verbs stand below theirs.
    let alone = matches!(cli.verb, Verb::Import(_));
    let run = || never_dumped().and_then(|()| rung()).and_then(|()| cli.run(&out));
    run_guarded(run, |failure| out.failure(failure, alone))
}

/// So many threads compute in this process.
fn threads(number: Option<usize>) -> Result<(), Failure> {
    let Some(number) = number else { return Ok(()) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(number).build_global();
    pool.map_err(|e| Failure::new(Code::System, format!("cannot start {number} threads: {e}")))
}

/// `TWOPLY_CPU`, if it is set, names a rung.
fn rung() -> Result<(), Failure> {
    let Ok(name) = std::env::var("TWOPLY_CPU") else { return Ok(()) };
    if Isa::named(&name).is_some() {
        return Ok(());
    }
    let known = Isa::ALL.map(Isa::name).join(", ");
    Err(Failure::new(Code::Config, format!("TWOPLY_CPU={name} names no instruction set"))
        .remedy(format!("set it to one of {known}, or not at all")))
}

/// Warnings always, more with `-v`; `TWOPLY_LOG` says it in detail. Logs never hold secrets.
fn log_to_stderr(out: &Output) {
    let level = match (out.quiet(), out.verbose()) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "twoply_party=info,warn",
        (false, _) => "twoply_party=debug,info",
    };
    let filter = EnvFilter::try_from_env("TWOPLY_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    // A second subscriber is a test's; it stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every verb's help ends with an example, which the parser takes.
    #[test]
    fn every_verb_shows_one_example_that_parses() {
        fn look(command: &mut clap::Command, path: &str) {
            for verb in command.get_subcommands_mut().filter(|verb| verb.get_name() != "help") {
                let path = format!("{path} {}", verb.get_name());
                let help = verb.render_long_help().to_string();
                let example = help.split("Example:\n").nth(1).and_then(|rest| rest.lines().next());
                let example = example.unwrap_or_else(|| panic!("no example in the help of `{path}`")).trim();
                assert!(format!("{example} ").starts_with(&format!("{path} ")), "`{path}`: {example}");
                if let Err(e) = Cli::try_parse_from(example.split(' ')) {
                    panic!("{example}: {e}");
                }
                assert!(!help.contains("To try it out"), "the groups belong to `twoply --help` alone");
                look(verb, &path);
            }
        }
        look(&mut Cli::command(), "twoply");
    }

    #[test]
    fn a_party_is_named_by_one_word() {
        for flag in ["--role", "--party"] {
            for line in ["twoply party plan.json", "twoply keys ls --keys k", "twoply keys gc --keys k"] {
                let words = line.split(' ').chain([flag, "0"]);
                assert!(Cli::try_parse_from(words).is_ok(), "{line} {flag} 0");
            }
        }
        fn look(command: &mut clap::Command) {
            assert!(!command.render_long_help().to_string().contains("--party"), "{}", command.get_name());
            command.get_subcommands_mut().for_each(look);
        }
        look(&mut Cli::command());
    }

    /// Whoever runs `ps` reads the arguments.
    #[test]
    fn no_flag_takes_a_secret() {
        fn look(command: &clap::Command) {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                let secret = ["secret", "password", "private", "token"].iter().any(|s| name.contains(s));
                assert!(!secret, "{name}");
            }
            command.get_subcommands().for_each(look);
        }
        look(&Cli::command());
    }
}
