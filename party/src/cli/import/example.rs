//! An example beside the model: what it takes and what it gives, so that the imported network can be compared with it.

use crate::exit::{ExitCode, Failure};
use crate::files;
use serde::Serialize;
use std::path::{Path, PathBuf};
use twoply_nn::data::npy;
use twoply_nn::import::onnx::Report;
use twoply_nn::{Evaluator, Imported, Op};

/// Flags that name an example.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Flags {
    /// Inputs of the model, normalised as it takes them (NPY, batch first): the import must give --expect for them
    #[arg(long, value_name = "X.npy", requires = "expect")]
    example: Option<PathBuf>,
    /// What the model gives for --example (NPY)
    #[arg(long, value_name = "Y.npy", requires = "example")]
    expect: Option<PathBuf>,
}

/// How near the imported network came.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Compared {
    images: usize,
    /// Largest difference of an output.
    worst: f64,
}

/// Differences that orders of summation in float32 explain, over the largest output.
const NOISE: f64 = 1e-3;

impl Flags {
    /// Compares, if there is an example.
    ///
    /// # Errors
    /// 15 when the imported network computes something else, or the files do not fit it.
    pub(super) fn compare(&self, model: &Imported, report: &Report) -> Result<Option<Compared>, Failure> {
        let (Some(x), Some(y)) = (&self.example, &self.expect) else { return Ok(None) };
        let (graph, shapes) = (&model.graph, model.graph.shapes()?);
        let (images, inputs) = rows(x, &graph.input.shape)?;
        let output = shapes.last().map(Vec::as_slice).unwrap_or_default();
        // What was dropped at the end is applied here, so that the model's own output can be compared.
        let label = graph.nodes.last().is_some_and(|node| node.op == Op::Argmax);
        let own = |row: &Vec<f32>| match label {
            true => row.iter().map(|v| f64::from(*v)).collect(),
            false => report.restore(row, output),
        };
        let narrow: Vec<f32> = graph.input.turned(&inputs).iter().map(|v| *v as f32).collect();
        let found = Evaluator::new(graph, &model.weights)?.run(&narrow)?;
        let found: Vec<Vec<f64>> = found.iter().map(own).collect();
        let (count, wanted) = rows(y, &[found.first().map_or(1, Vec::len)])?;
        if images != count {
            let what = format!("{} holds {images} images, and {} {count}", x.display(), y.display());
            return Err(Failure::new(ExitCode::Model, what).remedy("give one output for every input"));
        }
        compared(images, &found.concat(), &wanted).map(Some)
    }
}

fn compared(images: usize, found: &[f64], wanted: &[f64]) -> Result<Compared, Failure> {
    if let Some(at) = wanted.iter().position(|v| !v.is_finite()) {
        let what = format!(
            "the expected output holds {} (value {at}), beside which nothing can be judged",
            wanted[at]
        );
        return Err(Failure::new(ExitCode::Model, what).remedy("give an example whose output is finite"));
    }
    let largest = wanted.iter().fold(0.0, |m: f64, v| v.abs().max(m));
    let noise = NOISE * largest.max(1e-3);
    // NaN is beyond every noise.
    let differ = |(f, w): (&f64, &f64)| Some((f - w).abs()).filter(|d| d.is_finite());
    let differences: Vec<f64> =
        found.iter().zip(wanted).map(|pair| differ(pair).unwrap_or(f64::INFINITY)).collect();
    let (at, worst) = differences
        .iter()
        .enumerate()
        .fold((0, 0.0), |(at, most), (i, d)| if *d <= most { (at, most) } else { (i, *d) });
    if worst <= noise {
        return Ok(Compared { images, worst });
    }
    let row = found.len() / images.max(1);
    let what = format!(
        "the imported network is not the model: on the example it differs by {worst:.6}, and {noise:.6} can be rounding \
         (image {}, output {}: {:.6} here, {:.6} expected)",
        at / row.max(1),
        at % row.max(1),
        found[at],
        wanted[at]
    );
    Err(Failure::new(ExitCode::Model, what).remedy(
        "see whether the example went through the model in evaluation mode, as it was exported; if so, report this with \
         the model's layers",
    ))
}

/// Number of images and their values, each of this shape (as many values will do).
fn rows(path: &Path, shape: &[usize]) -> Result<(usize, Vec<f64>), Failure> {
    let bytes = std::fs::read(path).map_err(|e| files::refused("read", path, &e))?;
    let array = npy::read(&bytes).map_err(|e| {
        Failure::new(ExitCode::Model, format!("{}: {e}", path.display())).remedy("save it with numpy.save")
    })?;
    let (found, values) = (&array.shape, array.values(|v| v));
    let images = found.first().copied().unwrap_or(0);
    if images == 0 || images.checked_mul(shape.iter().product()) != Some(values.len()) {
        let what = format!("{}: shape {found:?}, wanted some of {shape:?}, batch first", path.display());
        return Err(Failure::new(ExitCode::Model, what).remedy("give what the model takes and gives"));
    }
    Ok((images, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_told_from_another_network() {
        let wanted = [1.0, -20.0, 3.0, 0.0];
        compared(2, &[1.0, -20.01, 3.0, 0.0], &wanted).unwrap();
        let failure = compared(2, &[1.0, -20.0, 3.1, 0.0], &wanted).unwrap_err();
        assert!(failure.content().what.contains("image 1, output 0: 3.1"), "{failure}");
        assert_eq!(failure.code(), ExitCode::Model);
        assert!(compared(2, &[f64::NAN, -20.0, 3.0, 0.0], &wanted).is_err());
        let failure = compared(1, &[5.0, 9.0], &[f64::INFINITY, 1.0]).unwrap_err();
        assert!(failure.content().what.contains("inf (value 0)"), "{failure}");
    }
}
