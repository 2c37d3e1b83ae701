//! `twoply-bench --table primitives`: figures of this machine, each beside its bound; `--table gpu`: the same of a GPU;
//! `--table training`: steps of training.

use clap::{Parser, ValueEnum};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use twoply_bench::table;
use twoply_primitives::backend::{Choice, Device};

/// Measures this machine and prints one table. What is being measured goes to standard error.
#[derive(Parser)]
struct Args {
    /// Which table.
    #[arg(long, value_enum)]
    table: Which,
    /// The device of the table `gpu`: cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "cuda:0")]
    device: Choice,
    /// The table `gpu` with everything tiny and once: to see that it runs.
    #[arg(long)]
    quick: bool,
    /// Also writes the table as JSON into this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Text for people, or JSON.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    /// AES, comparisons, gates, ring products, and networks in one process.
    Primitives,
    /// Steps of training AriaNN's networks for MNIST, in one process.
    Training,
    /// A GPU beside its bounds: AES, comparisons, products, layers, and networks in one process.
    Gpu,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

impl Args {
    fn print(&self, table: &impl Serialize, text: String) -> Outcome {
        let json = serde_json::to_string_pretty(table)? + "\n";
        if let Some(file) = &self.json {
            std::fs::write(file, &json)?;
        }
        let text = if self.format == Format::Json { json } else { text };
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut say = |what: &str| _ = writeln!(std::io::stderr(), "{what}");
    let done = match args.table {
        Which::Primitives => primitives(&args, &mut say),
        Which::Training => training(&args, &mut say),
        Which::Gpu => gpu(&args, &mut say),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("twoply-bench: {e}"));
            ExitCode::FAILURE
        }
    }
}

fn primitives(args: &Args, say: &mut dyn FnMut(&str)) -> Outcome {
    let table = table::primitives(say)?;
    args.print(&table, table.text())
}

fn training(args: &Args, say: &mut dyn FnMut(&str)) -> Outcome {
    let table = table::training(say)?;
    args.print(&table, table.text())
}

#[cfg(feature = "cuda")]
fn gpu(args: &Args, say: &mut dyn FnMut(&str)) -> Outcome {
    let Device::Cuda(ordinal) = args.device.resolve()? else {
        return Err("this table is of a GPU, and there is none: nothing was measured".into());
    };
    let table = table::gpu::table(ordinal, args.quick, say)?;
    args.print(&table, table.text())?;
    match table.faults.first() {
        Some(fault) => Err(format!("wrong: {fault}").into()),
        None => Ok(()),
    }
}

#[cfg(not(feature = "cuda"))]
fn gpu(args: &Args, _: &mut dyn FnMut(&str)) -> Outcome {
    let _: Device = args.device.resolve()?;
    Err("this program was built without CUDA: build it with `--features cuda`".into())
}
