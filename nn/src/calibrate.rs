//! Ranges of a network's wires, from public sample inputs: the planner turns them into ring bits.

use crate::float::{Conv, Evaluator, avg_pool, conv2d, linear, max_pool, sum_pool};
use crate::graph::{Op, Source};
use crate::inputs::Profile;
use crate::{Error, Graph, Result, Weights};
use serde::{Deserialize, Serialize};

/// What calibration found. Public: it enters the plan. Tells of the weights no more than these numbers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranges {
    /// Digest of the graph these ranges belong to, in hex.
    pub graph: String,
    /// Number of samples seen.
    pub samples: usize,
    /// Range of the normalised input.
    pub input: Range,
    /// What the samples' raw values are like; `None` where ranges are bounds for byte images.
    pub raw: Option<Profile>,
    /// One per node, in the graph's order.
    pub nodes: Vec<Range>,
}

/// Range of one wire in real terms, before any truncation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Name of the node or of the input.
    pub name: String,
    /// Largest magnitude seen on the samples.
    pub observed: f64,
    /// Largest magnitude any input of the given range can reach, by interval arithmetic; for information, mostly far too
    /// wide, and good to float32 rounding only.
    pub bound: f64,
}

impl Ranges {
    /// Checks that the ranges were taken on this graph.
    ///
    /// # Errors
    /// [`Error::Data`] naming the difference.
    pub fn check(&self, graph: &Graph) -> Result<()> {
        if self.graph != hex(graph) || self.nodes.len() != graph.nodes.len() {
            return Err(Error::data(
                "ranges",
                format!("not taken on this version of graph `{}`", graph.name),
            ));
        }
        self.raw.as_ref().map_or(Ok(()), |raw| raw.check(&graph.input))?;
        let fine = |r: &Range| r.observed.is_finite() && r.observed >= 0.0 && r.bound >= 0.0;
        match self.nodes.iter().chain([&self.input]).find(|r| !fine(r)) {
            Some(bad) => Err(Error::data("ranges", format!("`{}`: not a range", bad.name))),
            None => Ok(()),
        }
    }
}

/// Runs `samples` (whole images, normalised) and bounds every wire for inputs within `limits`, one `(low, high)` per
/// channel of the input: [`crate::Input::byte_range`] for byte pixels, [`observed_limits`] where nothing better is known.
///
/// # Errors
/// [`Error::Data`] without samples, with values that are not finite, or with other limits than channels.
pub fn calibrate(graph: &Graph, weights: &Weights, samples: &[f32], limits: &[(f32, f32)]) -> Result<Ranges> {
    let eval = Evaluator::new(graph, weights)?;
    let refuse = |why: String| Err(Error::data("calibrate", why));
    let samples = eval.images(samples)?;
    if samples.is_empty() {
        return refuse("no samples".into());
    }
    if limits.len() != graph.input.channels() {
        return refuse(format!("{} limits for {} channel(s)", limits.len(), graph.input.channels()));
    }
    if !samples.iter().chain(limits.iter().flat_map(|(a, b)| [a, b])).all(|v| v.is_finite()) {
        return refuse("samples and limits must be finite".into());
    }
    let row = graph.input.row();
    let observed = observe(&eval, samples)?;
    if let Some(i) = observed.iter().position(|v| !v.is_finite()) {
        return refuse(format!("node `{}` overflows float32 on the samples", graph.nodes[i].name));
    }
    let per_channel = row / limits.len();
    let input = Interval {
        low: limits.iter().flat_map(|l| std::iter::repeat_n(l.0.min(l.1), per_channel)).collect(),
        high: limits.iter().flat_map(|l| std::iter::repeat_n(l.0.max(l.1), per_channel)).collect(),
    };
    let range = |name: &str, observed: f32, bound: f32| Range {
        name: name.into(),
        observed: observed as f64,
        // JSON has no infinity.
        bound: bound.min(f32::MAX) as f64,
    };
    let first = range(&graph.input.name, largest(samples), input.magnitude());
    let bounds = bounds(&eval, input);
    let nodes = graph.nodes.iter().zip(&observed).zip(&bounds).map(|((n, o), b)| range(&n.name, *o, *b));
    Ok(Ranges {
        graph: hex(graph),
        samples: samples.len() / row,
        input: first,
        raw: Some(Profile::of(&graph.input, samples)),
        nodes: nodes.collect(),
    })
}

/// Smallest and largest value of each channel over the samples.
pub fn observed_limits(graph: &Graph, samples: &[f32]) -> Vec<(f32, f32)> {
    let channels = graph.input.channels();
    let mut limits = vec![(f32::INFINITY, f32::NEG_INFINITY); channels];
    let plane = (graph.input.row() / channels.max(1)).max(1);
    for (i, values) in samples.chunks(plane).enumerate() {
        let (low, high) = &mut limits[i % channels];
        for v in values {
            (*low, *high) = (low.min(*v), high.max(*v));
        }
    }
    limits
}

fn hex(graph: &Graph) -> String {
    graph.digest().iter().map(|b| format!("{b:02x}")).collect()
}

/// NaN counts as infinite, so that it cannot hide.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |m, v| if v.is_nan() { f32::INFINITY } else { f32::max(m, v.abs()) })
}

/// Largest magnitude of each node over all samples.
fn observe(eval: &Evaluator<'_>, samples: &[f32]) -> Result<Vec<f32>> {
    let join = |mut a: Vec<f32>, b: Vec<f32>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a = a.max(b));
        a
    };
    let see = |peaks: &mut Vec<f32>, node: usize, y: &[f32]| peaks[node] = peaks[node].max(largest(y));
    eval.watch(samples, || vec![0.0; eval.graph.nodes.len()], see, join)
}

/// Elementwise limits of one image's wire.
#[derive(Clone)]
struct Interval {
    low: Vec<f32>,
    high: Vec<f32>,
}

impl Interval {
    fn magnitude(&self) -> f32 {
        largest(&self.low).max(largest(&self.high))
    }
    /// Products of any two values.
    fn times(&self, other: &Interval) -> Interval {
        let ends = |i: usize| {
            let (a, b) = ([self.low[i], self.high[i]], [other.low[i], other.high[i]]);
            [a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1]]
        };
        let all = || (0..self.low.len()).map(ends);
        Interval {
            low: all().map(|e| e.into_iter().fold(f32::INFINITY, f32::min)).collect(),
            high: all().map(|e| e.into_iter().fold(f32::NEG_INFINITY, f32::max)).collect(),
        }
    }
    fn both(&self, f: impl Fn(&[f32]) -> Vec<f32>) -> Interval {
        Interval { low: f(&self.low), high: f(&self.high) }
    }
    /// A linear map sends the centre to the centre and scales the radius by the magnitudes of its weights.
    fn through(&self, map: impl Fn(&[f32]) -> Vec<f32>, magnitudes: impl Fn(&[f32]) -> Vec<f32>) -> Interval {
        let pairs = || self.low.iter().zip(&self.high);
        let centre = map(&pairs().map(|(l, h)| l / 2.0 + h / 2.0).collect::<Vec<_>>());
        let radius = magnitudes(&pairs().map(|(l, h)| h / 2.0 - l / 2.0).collect::<Vec<_>>());
        Interval {
            low: centre.iter().zip(&radius).map(|(c, r)| c - r).collect(),
            high: centre.iter().zip(&radius).map(|(c, r)| c + r).collect(),
        }
    }
}

/// Largest magnitude of each node for inputs within `input`.
fn bounds(eval: &Evaluator<'_>, input: Interval) -> Vec<f32> {
    let mut wires: Vec<Interval> = Vec::new();
    for (i, node) in eval.graph.nodes.iter().enumerate() {
        let operand = |k: usize| match node.inputs[k] {
            Source::Input => &input,
            Source::Node(j) => &wires[j],
        };
        let (x, shape) = (operand(0), eval.shape_of(node.inputs[0]));
        let y = match &node.op {
            Op::Linear { weight, bias } => {
                let (w, b) = (eval.param(*weight), bias.map(|b| eval.param(b)));
                let abs = magnitudes(w);
                x.through(|c| linear(c, w, b), |r| linear(r, &abs, None))
            }
            Op::Conv2d { weight, bias, window, groups } => {
                let (w, b) = (eval.param(*weight), bias.map(|b| eval.param(b)));
                let abs = magnitudes(w);
                let oc = eval.graph.params[*weight].shape[0];
                let conv = Conv { window: *window, groups: *groups, oc };
                x.through(|c| conv2d(c, shape, w, b, &conv), |r| conv2d(r, shape, &abs, None, &conv))
            }
            Op::Add => {
                let add = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a + b).collect();
                let z = operand(1);
                Interval { low: add(&x.low, &z.low), high: add(&x.high, &z.high) }
            }
            Op::Sub => {
                let sub = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a - b).collect();
                let z = operand(1);
                Interval { low: sub(&x.low, &z.high), high: sub(&x.high, &z.low) }
            }
            Op::Concat => {
                let all = |side: fn(&Interval) -> &Vec<f32>| {
                    (0..node.inputs.len()).flat_map(|k| side(operand(k))).copied().collect()
                };
                Interval { low: all(|i| &i.low), high: all(|i| &i.high) }
            }
            Op::Mul => x.times(operand(1)),
            Op::Offset { weight } => {
                let w = eval.param(*weight);
                x.both(|v| v.iter().zip(w).map(|(a, b)| a + b).collect())
            }
            Op::BatchNorm { .. } => {
                let ends = x.both(|v| eval.node(i, &[v]));
                let each = |f: fn(f32, f32) -> f32| {
                    ends.low.iter().zip(&ends.high).map(|(a, b)| f(*a, *b)).collect()
                };
                Interval { low: each(f32::min), high: each(f32::max) }
            }
            Op::Affine { scale, shift } => {
                let y = x.both(|v| v.iter().map(|v| (*scale as f32) * v + *shift as f32).collect());
                if *scale < 0.0 { Interval { low: y.high, high: y.low } } else { y }
            }
            op @ (Op::Pad(_) | Op::Transpose(_) | Op::Take(_)) => {
                x.both(|v| op.moved(v, shape).unwrap_or_default())
            }
            Op::SumPool(window) => x.both(|v| sum_pool(v, shape, window)),
            Op::MaxPool(window) => x.both(|v| max_pool(v, shape, window)),
            Op::AvgPool { window, count_include_pad } => {
                x.both(|v| avg_pool(v, shape, window, *count_include_pad))
            }
            Op::Reshape(_) | Op::Dropout { .. } => x.clone(),
            Op::Argmax => Interval { low: vec![0.0], high: vec![(shape[0] - 1) as f32] },
            Op::Relu | Op::LeakyRelu { .. } | Op::Clip { .. } => match node.op.activation() {
                Some(f) => x.both(|v| v.iter().copied().map(f).collect()),
                None => x.clone(),
            },
        };
        wires.push(y);
    }
    wires.iter().map(Interval::magnitude).collect()
}

fn magnitudes(w: &[f32]) -> Vec<f32> {
    w.iter().map(|v| v.abs()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Input, Node, Normalise, Param, Role};
    use twoply_primitives::tensor::Window;

    /// conv (2 channels in, 1 out) - average pool - plus the max pool of the same - relu - reshape - linear.
    fn model() -> (Graph, Weights) {
        let node =
            |name: &str, op, inputs: &[Source]| Node { name: name.into(), op, inputs: inputs.to_vec() };
        let param =
            |name: &str, shape: &[usize], role| Param { name: name.into(), shape: shape.to_vec(), role };
        let two = Window::square(2, 2);
        let graph = Graph {
            name: "g".into(),
            input: Input {
                name: "x".into(),
                shape: vec![2, 2, 4],
                normalise: Normalise::default(),
                layout: Default::default(),
            },
            params: vec![
                param("w", &[1, 2, 1, 1], Role::Weight),
                param("b", &[1], Role::Bias),
                param("v", &[1, 2], Role::Weight),
            ],
            nodes: vec![
                node(
                    "conv",
                    Op::Conv2d { weight: 0, bias: Some(1), window: Window::square(1, 1), groups: 1 },
                    &[Source::Input],
                ),
                node("avg", Op::AvgPool { window: two, count_include_pad: false }, &[Source::Node(0)]),
                node("max", Op::MaxPool(two), &[Source::Node(0)]),
                node("add", Op::Add, &[Source::Node(1), Source::Node(2)]),
                node("relu", Op::Relu, &[Source::Node(3)]),
                node("flat", Op::Reshape(vec![2]), &[Source::Node(4)]),
                node("fc", Op::Linear { weight: 2, bias: None }, &[Source::Node(5)]),
            ],
        };
        (graph, Weights(vec![vec![1.0, -2.0], vec![0.5], vec![1.0, -1.0]]))
    }

    #[test]
    fn ranges_by_hand() {
        let (g, w) = model();
        // Channel 0 in [-1, 3], channel 1 in [0, 1]: conv in [-2.5, 3.5].
        let mut x = vec![0.0; 32];
        (x[0], x[8 + 1], x[16], x[24]) = (3.0, 1.0, -1.0, 1.0);
        let r = calibrate(&g, &w, &x, &[(-1.0, 3.0), (0.0, 1.0)]).unwrap();
        let bound: Vec<f64> = r.nodes.iter().map(|n| n.bound).collect();
        assert_eq!(bound, [3.5, 3.5, 3.5, 7.0, 7.0, 7.0, 7.0]);
        // conv: 3.5 and -1.5 on image 0, -2.5 on image 1; max: 3.5 in front, .5 elsewhere.
        let observed: Vec<f64> = r.nodes.iter().map(|n| n.observed).collect();
        assert_eq!(observed, [3.5, 0.75, 3.5, 4.25, 4.25, 4.25, 3.25]);
        assert_eq!((r.samples, r.input.observed, r.input.bound), (2, 3.0, 3.0));
        assert_eq!(observed_limits(&g, &x), [(-1.0, 3.0), (0.0, 1.0)]);
        r.check(&g).unwrap();
        let json = serde_json::to_string(&r).unwrap();
        assert_eq!(serde_json::from_str::<Ranges>(&json).unwrap(), r);
    }

    #[test]
    fn bounds_hold_on_random_inputs() {
        let (g, w) = model();
        let x: Vec<f32> = (0..16 * 200u64)
            .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 24) as f32 * 2.0 - 1.0)
            .collect();
        let r = calibrate(&g, &w, &x, &observed_limits(&g, &x)).unwrap();
        for n in r.nodes {
            assert!(n.observed <= n.bound * 1.000_01, "{n:?}");
            assert!(n.observed > 0.0);
        }
    }

    /// `-2 (x - 1) / 2 + .5`, and as far as ranges go a factor below zero turns ends around.
    #[test]
    fn ranges_of_a_batch_normalisation() {
        let param = |name: &str, role| Param { name: name.into(), shape: vec![1], role };
        let norm = Op::BatchNorm { gamma: 0, beta: 1, mean: 2, variance: 3, epsilon: 1.0 };
        let roles = [("g", Role::Factor), ("b", Role::Bias), ("m", Role::Mean), ("v", Role::Variance)];
        let graph = Graph {
            params: roles.map(|(name, role)| param(name, role)).to_vec(),
            input: Input { shape: vec![1, 1, 2], ..model().0.input },
            nodes: vec![Node { name: "norm".into(), op: norm, inputs: vec![Source::Input] }],
            name: "g".into(),
        };
        let weights = Weights(vec![vec![-2.0], vec![0.5], vec![1.0], vec![3.0]]);
        let r = calibrate(&graph, &weights, &[-1.0, 2.0], &[(-2.0, 3.0)]).unwrap();
        assert_eq!((r.nodes[0].observed, r.nodes[0].bound), (2.5, 3.5));
    }

    #[test]
    fn bad_samples_and_foreign_ranges_are_refused() {
        let (g, w) = model();
        let limits = [(0.0, 1.0); 2];
        let why = |x: &[f32], l: &[(f32, f32)]| calibrate(&g, &w, x, l).unwrap_err().to_string();
        assert!(why(&[], &limits).contains("no samples"));
        assert!(why(&[0.0; 17], &limits).contains("whole number"));
        assert!(why(&[f32::NAN; 16], &limits).contains("finite"));
        assert!(why(&[0.0; 16], &limits[..1]).contains("1 limits for 2"));
        assert!(why(&[f32::MAX; 16], &limits).contains("overflows"));
        let mut r = calibrate(&g, &w, &[0.0; 16], &limits).unwrap();
        let mut other = g.clone();
        other.nodes[0].name.push('2');
        assert!(r.check(&other).is_err());
        r.nodes[0].observed = -1.0;
        assert!(r.check(&g).unwrap_err().to_string().contains("`conv`"));
    }
}
