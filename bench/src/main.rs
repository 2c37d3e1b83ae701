//! `cargo run --release -p twoply-bench -- --table primitives`: figures of this machine, each beside its bound.

use clap::{Parser, ValueEnum};
use std::io::Write;
use std::process::ExitCode;
use twoply_bench::table;

/// Measures this machine and prints one table. What is being measured goes to standard error.
#[derive(Parser)]
struct Args {
    /// Which table.
    #[arg(long, value_enum)]
    table: Which,
    /// Text for people, or JSON.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    /// AES, comparisons, gates, ring products, and networks in one process.
    Primitives,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() -> ExitCode {
    match print(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "twoply-bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn print(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let mut say = |what: &str| _ = writeln!(std::io::stderr(), "{what}");
    let table = match args.table {
        Which::Primitives => table::primitives(&mut say)?,
    };
    let text = match args.format {
        Format::Text => table.text(),
        Format::Json => serde_json::to_string_pretty(&table)? + "\n",
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
