//! `twoply bench`: measurements on this machine, one table each.

mod links;
mod networks;
mod training;

use super::output::Output;
use crate::exit::Failure;
use clap::ValueEnum;

/// Measure on this machine, and print a table
///
/// links: every emulated link between two endpoints of this process beside its setting, the transport's own round trip
/// and the transport's own bandwidth, all measured in the same run.
///
/// networks: networks of the zoo as real processes over the (first) --link, with made-up weights on images of noise.
///
/// training: the same of training, on rows of noise.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  twoply bench --table links")]
pub struct Args {
    /// What to measure
    #[arg(long, value_enum, value_name = "TABLE")]
    table: Table,
    #[command(flatten)]
    links: links::Options,
    #[command(flatten)]
    networks: networks::Networks,
    #[command(flatten)]
    training: training::Training,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Table {
    /// Emulated links against their settings
    Links,
    /// The zoo in real processes, beside AriaNN's published columns
    Networks,
    /// Private training in real processes, beside AriaNN's epochs
    Training,
}

/// Measures.
///
/// # Errors
/// 16 when the system refuses sockets or threads.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    match args.table {
        Table::Links => links::run(&args.links, out),
        Table::Networks => {
            let link = args.links.links.first().copied().unwrap_or_default();
            networks::run(&args.networks, &link, out)
        }
        Table::Training => {
            let link = args.links.links.first().copied().unwrap_or_default();
            training::run((&args.networks, &args.training), &link, out)
        }
    }
}
