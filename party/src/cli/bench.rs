//! `twoply bench`: measurements on this machine, one table each.

mod links;

use super::output::Output;
use crate::exit::Failure;
use clap::ValueEnum;

/// Measure on this machine, and print a table
///
/// links: every emulated link between two endpoints of this process beside its setting, the transport's own round trip
/// and the transport's own bandwidth, all measured in the same run.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to measure
    #[arg(long, value_enum, value_name = "TABLE")]
    table: Table,
    #[command(flatten)]
    links: links::Args,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Table {
    /// Emulated links against their settings
    Links,
}

/// Measures.
///
/// # Errors
/// 16 when the system refuses sockets or threads.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    match args.table {
        Table::Links => links::run(&args.links, out),
    }
}
