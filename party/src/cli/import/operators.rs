//! `twoply import --list-operators`.

use crate::cli::output::Output;
use crate::exit::Failure;
use serde::Serialize;
use twoply_nn::import::onnx::{self, OPERATORS, OPSETS, Operator};

/// The JSON result.
#[derive(Serialize)]
struct List {
    /// Operator sets that are known, the first and the last.
    opsets: [i64; 2],
    /// On values that depend on the input.
    operators: &'static [Operator],
    /// On constants and shapes.
    constants: Vec<&'static str>,
}

/// Prints what can be imported.
///
/// # Errors
/// 16 when standard output refuses.
pub(super) fn list(out: &Output) -> Result<(), Failure> {
    let constants: Vec<&str> = onnx::constant_operators().collect();
    let width = OPERATORS.iter().map(|o| o.name.len()).max().unwrap_or(0);
    for Operator { name, limits } in OPERATORS {
        out.line(format_args!("{name:width$}  {limits}").to_string().trim_end())?;
    }
    out.line(format_args!("\nOf constants and shapes: {}.", constants.join(", ")))?;
    out.line(format_args!("Operator sets {} to {}.", OPSETS.start(), OPSETS.end()))?;
    out.result_json(&List { opsets: [*OPSETS.start(), *OPSETS.end()], operators: OPERATORS, constants })
}
