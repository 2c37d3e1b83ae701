//! `cargo run --release -p twoply-bench -- --table primitives`: figures of this machine, each beside its bound; `--table gpu` of a GPU.

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
    /// A GPU beside its bounds: AES, comparisons, products, layers, and networks in one process.
    Gpu,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Args {
    /// What is printed of a table.
    fn print(&self, table: &impl Serialize, text: String) -> std::io::Result<String> {
        let json = serde_json::to_string_pretty(table)? + "\n";
        if let Some(file) = &self.json {
            std::fs::write(file, &json)?;
        }
        Ok(if self.format == Format::Json { json } else { text })
    }
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
    let text = match args.table {
        Which::Primitives => {
            let table = table::primitives(&mut say)?;
            args.print(&table, table.text())?
        }
        Which::Gpu => gpu(args, &mut say)?,
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

#[cfg(feature = "cuda")]
fn gpu(args: &Args, say: &mut dyn FnMut(&str)) -> Result<String, Box<dyn std::error::Error>> {
    let Device::Cuda(ordinal) = args.device.resolve()? else {
        return Err("this table is of a GPU, and there is none: nothing was measured".into());
    };
    let table = table::gpu::table(ordinal, args.quick, say)?;
    Ok(args.print(&table, table.text())?)
}

#[cfg(not(feature = "cuda"))]
fn gpu(args: &Args, _: &mut dyn FnMut(&str)) -> Result<String, Box<dyn std::error::Error>> {
    let _: Device = args.device.resolve()?;
    Err("this program was built without CUDA: build it with `--features cuda`".into())
}
