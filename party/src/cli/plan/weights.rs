//! What a plan must know of its weights: whether they fit the ring, and whether the fraction bits tell them apart.

use crate::exit::Failure;
use serde::Serialize;
use twoply_nn::fit::{self, Faint, TOLERANCE};
use twoply_nn::{Error, Graph, Options, Plan, Ranges, Scale, Weights};
use twoply_primitives::Fixed;

/// Layers whose weights lose precision, and what would help.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::cli) struct Precision {
    /// The layers; empty where all is well.
    pub faint: Vec<Faint>,
    /// What `twoply calibrate` recommends, and what keeps all weights, where these are other bits than the plan's.
    pub better: Vec<Better>,
}

/// Other bits.
#[derive(Clone, Debug, Serialize)]
pub(in crate::cli) struct Better {
    pub ring: u32,
    pub fraction: u32,
    /// Largest mean rounding error of a layer's weights over their mean magnitude.
    pub relative: f64,
}

/// The plan, and what becomes of its weights.
///
/// # Errors
/// 10 when weights or values do not fit, with what does; 15 when graph or weights are unusable.
pub(super) fn plan(
    (graph, weights): (&Graph, &Weights),
    options: Options,
    ranges: Ranges,
) -> Result<(Plan, Precision), Failure> {
    let free = (options.margin, options.weight_fraction);
    match fit::plan(graph, weights, options, ranges.clone()) {
        Ok(plan) => {
            let faint = fit::faint(graph, weights, plan.options.scale());
            let better = match faint.is_empty() {
                true => vec![],
                false => better((graph, weights), &ranges, &plan.options),
            };
            Ok((plan, Precision { faint, better }))
        }
        Err(e @ Error::Ranges { .. }) => {
            let failure = Failure::from(e);
            let rings = fit::rings((graph, weights), &ranges, free).0;
            let remedy = &failure.content().remedy;
            Err(match fit::recommended(&rings) {
                Some(best) => {
                    let (n, f) = (best.ring, best.fraction);
                    let more = format!("{remedy}; `twoply calibrate` recommends --ring {n} --fraction {f}");
                    failure.remedy(more)
                }
                None => failure,
            })
        }
        Err(e) => Err(e.into()),
    }
}

/// What calibration recommends, and the fewest bits at which no layer's weights lose precision.
fn better((graph, weights): (&Graph, &Weights), ranges: &Ranges, options: &Options) -> Vec<Better> {
    let worst = |f: u32| {
        let scale = Scale { fixed: Fixed { f, ..options.fixed }, weights: options.weight_fraction };
        (0..graph.nodes.len()).map(|i| fit::rounding(graph, weights, i, scale).0).fold(0.0, f64::max)
    };
    let rings = fit::rings((graph, weights), ranges, (options.margin, options.weight_fraction)).0;
    let recommended = fit::recommended(&rings).map(|fit| (fit.ring, fit.fraction));
    let keeps = rings.iter().find_map(|fit| {
        (options.fixed.f..=fit.fraction).find(|f| worst(*f) <= TOLERANCE).map(|f| (fit.ring, f))
    });
    let mut found: Vec<(u32, u32)> = recommended.into_iter().chain(keeps).collect();
    found.dedup();
    found.retain(|bits| *bits != (options.fixed.n, options.fixed.f));
    found.into_iter().map(|(ring, fraction)| Better { ring, fraction, relative: worst(fraction) }).collect()
}

impl Precision {
    /// A warning per layer.
    pub(super) fn warnings(&self, fraction: u32) -> Vec<String> {
        let bits =
            |b: &Better| format!("--ring {} --fraction {} ({:.1} %)", b.ring, b.fraction, b.relative * 100.0);
        let better = match &self.better[..] {
            [] => "multiply such weights and biases by a constant, and divide the next layer's weights by it"
                .into(),
            [one] => format!("`twoply calibrate` says what fits: {}", bits(one)),
            [one, rest @ ..] => format!(
                "`twoply calibrate` recommends {}; all weights are kept with {}",
                bits(one),
                rest.iter().map(bits).collect::<Vec<_>>().join(", ")
            ),
        };
        let warning = |faint: &Faint| {
            format!(
                "layer `{}`: its weights are small for {fraction} fraction bits: rounding changes them by {:.1} % on \
                 average, and {:.0} % of them become 0; {better}",
                faint.layer,
                faint.relative * 100.0,
                faint.zeros * 100.0
            )
        };
        self.faint.iter().map(warning).collect()
    }
}
