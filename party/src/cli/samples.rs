//! Public samples and the ranges they give: what `plan`, `check` and `calibrate` have in common.

use super::inputs::given;
use super::output::Output;
use crate::exit::{ExitCode, Failure};
use crate::files::{self, Inputs};
use std::path::PathBuf;
use twoply_nn::calibrate::observed_limits;
use twoply_nn::data::Kind;
use twoply_nn::inputs::misfit;
use twoply_nn::{Graph, Ranges, Weights, calibrate};

/// Margin on observed ranges.
const MARGIN: f64 = 1.5;
/// Margin on proven bounds, which are good to the rounding of float32 only.
const MARGIN_OF_BOUNDS: f64 = 1.01;

/// Flags about samples and what is made of them.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Samples {
    /// Public sample images or rows: a file or folder, as `twoply infer --help` lists them
    #[arg(long, value_name = "FILE", requires = "weights")]
    pub samples: Option<PathBuf>,
    /// The samples are floats that are normalised already
    #[arg(long, requires = "samples")]
    pub samples_normalised: bool,
    /// Most samples to run for ranges
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    samples_limit: u32,
    /// Factor on observed ranges that must still fit, 1 or more [default: 1.5]
    #[arg(long, value_name = "X")]
    pub margin: Option<f64>,
}

impl Samples {
    /// The margin: as given, or what goes with samples or with bounds.
    ///
    /// # Errors
    /// 2 below 1, or beyond reason.
    pub(super) fn margin(&self) -> Result<f64, Failure> {
        let usual = if self.samples.is_some() { MARGIN } else { MARGIN_OF_BOUNDS };
        let margin = self.margin.unwrap_or(usual);
        if !(1.0..=1e6).contains(&margin) {
            let what = format!("a margin of {margin} is not possible");
            return Err(Failure::new(ExitCode::Usage, what).remedy("choose 1 or more"));
        }
        Ok(margin)
    }

    /// The samples, if any are named.
    ///
    /// # Errors
    /// 15 when they are missing or do not fit the graph.
    pub(super) fn read(&self, graph: &Graph) -> Result<Option<Inputs>, Failure> {
        let read = |path: &PathBuf| files::read_images(path, &graph.input, self.samples_normalised);
        self.samples.as_ref().map(read).transpose()
    }

    /// Ranges seen on `inputs`, or without any the bounds for byte images, which it says. Warns of samples that are on
    /// another scale than the graph's normalisation.
    ///
    /// # Errors
    /// 15 when values are not finite on the way.
    pub(super) fn ranges(
        &self,
        (graph, weights): (&Graph, &Weights),
        inputs: Option<&Inputs>,
        out: &Output,
    ) -> Result<Ranges, Failure> {
        let Some(inputs) = inputs else {
            out.note("no samples: ranges are proven bounds for byte images; floats outside 0..=255 are not covered");
            return bounds(graph, weights);
        };
        let row = graph.input.row();
        let values = &inputs.values[..inputs.images.min(self.samples_limit as usize) * row];
        let limits = match inputs.kind {
            Kind::Bytes => graph.input.byte_range(),
            _ => observed_limits(graph, values),
        };
        let ranges = calibrate(graph, weights, values, &limits)?;
        let given = given(inputs, self.samples_normalised);
        let misfit = ranges.raw.as_ref().and_then(|raw| misfit(&graph.input.normalise, raw, given));
        if let Some(misfit) = misfit {
            out.warn(misfit);
        }
        Ok(ranges)
    }
}

/// Ranges that no byte image can exceed, by interval arithmetic; `samples` is 0.
fn bounds(graph: &Graph, weights: &Weights) -> Result<Ranges, Failure> {
    let limits = graph.input.byte_range();
    // Calibration wants a sample; what is observed on it gives way to the bounds.
    let black = vec![0.0; graph.input.row()];
    let mut ranges = calibrate(graph, weights, &black, &limits)?;
    (ranges.samples, ranges.raw) = (0, None);
    ranges.nodes.iter_mut().chain([&mut ranges.input]).for_each(|range| range.observed = range.bound);
    Ok(ranges)
}
