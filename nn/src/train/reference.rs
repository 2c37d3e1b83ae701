//! The same step in floating point: what a private run is compared with. Not private.

mod norm;
mod products;

use super::dropout::Kept;
use super::{Loss, Moment, Step};
use crate::float::Evaluator;
use crate::graph::{Norm, Op, Role, Source};
use crate::{Error, Node, Result, Weights};
use norm::Statistics;
use rayon::prelude::*;
use twoply_primitives::Window;

/// A network under training in the clear, float32 forward and float64 backward.
pub struct Reference<'s> {
    step: &'s Step,
    /// The parameters; statistics of batch normalisations are means over the steps since they were last forgotten.
    pub weights: Weights,
    /// The learning rate times the velocity.
    pub velocity: Vec<Vec<f64>>,
    exact: Vec<Vec<f64>>,
    /// For each node the sums of means and of variances, if it is a batch normalisation, and of how many steps.
    gathered: (Vec<[Vec<f64>; 2]>, usize),
}

/// Gradients, one vector per parameter.
type Gradients = Vec<Vec<f64>>;
/// What a node gives for each sample.
type Wire<T> = Vec<Vec<T>>;

/// What the forward pass of all samples left.
struct Forward {
    inputs: Wire<f32>,
    /// The nodes' results.
    wires: Vec<Wire<f32>>,
    /// What the nodes that are batch normalisations saw.
    norms: Vec<Option<Statistics>>,
    /// The factors of every dropout, of a whole batch; none for other nodes.
    factors: Vec<Vec<f64>>,
}

impl Forward {
    /// A dropout's factors for sample `b`, whose result has `row` elements; `None` for other nodes.
    fn factors(&self, node: usize, b: usize, row: usize) -> Option<&[f64]> {
        self.factors[node].get(b * row..(b + 1) * row)
    }
    /// The operands of a node for sample `b`.
    fn operands(&self, node: &Node, b: usize) -> Vec<&[f32]> {
        let wire = |s: &Source| match s {
            Source::Input => &self.inputs[b][..],
            Source::Node(j) => &self.wires[*j][b][..],
        };
        node.inputs.iter().map(wire).collect()
    }
    /// Its first operand for every sample.
    fn operand(&self, node: &Node) -> Vec<&[f32]> {
        (0..self.inputs.len()).map(|b| self.operands(node, b)[0]).collect()
    }
}

/// Samples whose gradients are added up one after the other.
const TOGETHER: usize = 8;

impl<'s> Reference<'s> {
    /// Before the first step.
    ///
    /// # Errors
    /// [`Error::Weights`] if the weights are another graph's.
    pub fn new(step: &'s Step, weights: &Weights) -> Result<Self> {
        weights.check(&step.graph)?;
        let exact: Vec<Vec<f64>> =
            weights.0.iter().map(|w| w.iter().map(|v| f64::from(*v)).collect()).collect();
        let velocity = exact.iter().map(|w| vec![0.0; w.len()]).collect();
        Ok(Reference { step, weights: weights.clone(), velocity, exact, gathered: (vec![], 0) })
    }

    /// Mean gradients over a batch of inputs (normalised, whole images) and targets.
    ///
    /// # Errors
    /// [`Error::Data`] if there are not as many targets as outputs.
    pub fn gradients(&self, moment: Moment, inputs: &[f32], targets: &[f32]) -> Result<Gradients> {
        Ok(self.backward(&self.forward(moment, inputs, targets)?, targets))
    }

    /// One step of SGD, of a schedule or the only one.
    ///
    /// # Errors
    /// As [`Reference::gradients`].
    pub fn run(&mut self, (step, moment): (&Step, Moment), inputs: &[f32], targets: &[f32]) -> Result<()> {
        let forward = self.forward(moment, inputs, targets)?;
        let gradients = self.backward(&forward, targets);
        self.gather(forward.norms);
        let recipe = &step.recipe;
        let (rate, momentum) = (recipe.rate.real(), recipe.momentum);
        let carried = moment.before.map_or(1.0, |before| rate / before.real());
        for (p, gradient) in gradients.iter().enumerate().filter(|(p, _)| self.step.trained[*p]) {
            let decay = if self.step.role(p) == Role::Weight { recipe.decay } else { 0.0 };
            for (i, g) in gradient.iter().enumerate() {
                let (w, v) = (&mut self.exact[p][i], &mut self.velocity[p][i]);
                let old = carried * *v;
                let next = momentum * old + rate * (g + decay * *w);
                *w -= if recipe.nesterov { next + momentum * (next - old) } else { next };
                *v = next;
                self.weights.0[p][i] = *w as f32;
            }
        }
        Ok(())
    }
    /// Forgets the statistics of batch normalisations: those of the steps from now on count.
    pub fn forget(&mut self) {
        self.gathered = (vec![], 0);
    }

    /// The factors of every dropout, of a whole batch; none for other nodes.
    fn factors(&self, moment: Moment, batch: usize) -> Vec<Vec<f64>> {
        let of = |(node, shape): (&Node, &Vec<usize>)| {
            let Op::Dropout { ratio } = node.op else { return vec![] };
            let kept = Kept::of(ratio, self.step.recipe.n);
            let factors = kept.factors(moment, &node.name, batch * shape.iter().product::<usize>());
            factors.iter().map(|f| if *f == 0 { 0.0 } else { kept.real() }).collect()
        };
        self.step.graph.nodes.iter().zip(&self.step.shapes).map(of).collect()
    }

    /// Node by node, since a batch normalisation looks at all samples.
    fn forward(&self, moment: Moment, inputs: &[f32], targets: &[f32]) -> Result<Forward> {
        let (step, evaluator) = (self.step, Evaluator::new(&self.step.graph, &self.weights)?);
        let (row, outputs) = (step.graph.input.row(), step.targets().shape.row());
        let inputs: Wire<f32> = evaluator.images(inputs)?.chunks(row).map(<[f32]>::to_vec).collect();
        let samples = inputs.len();
        if samples * outputs != targets.len() {
            let why = format!("{} targets for {samples} samples of {outputs} outputs", targets.len());
            return Err(Error::data("training", why));
        }
        let factors = self.factors(moment, samples);
        let mut f = Forward { inputs, wires: vec![], norms: vec![], factors };
        for (i, node) in step.graph.nodes.iter().enumerate() {
            let (z, own) = match Norm::of(&step.graph, &self.weights, i) {
                Some(norm) => {
                    let x = f.operand(node);
                    let own = Statistics::of(&x, norm.gamma.len(), norm.epsilon);
                    let z = x.iter().map(|x| own.normalised(x, (norm.gamma, norm.beta))).collect();
                    (z, Some(own))
                }
                None => {
                    let sample = |b: usize| {
                        let mut z = evaluator.node(i, &f.operands(node, b));
                        if let Some(factors) = f.factors(i, b, z.len()) {
                            z.iter_mut().zip(factors).for_each(|(z, f)| *z = (f64::from(*z) * f) as f32);
                        }
                        z
                    };
                    ((0..samples).into_par_iter().map(sample).collect(), None)
                }
            };
            f.wires.push(z);
            f.norms.push(own);
        }
        Ok(f)
    }

    fn backward(&self, f: &Forward, targets: &[f32]) -> Gradients {
        let (step, last) = (self.step, f.wires.len() - 1);
        let mut of: Vec<Option<Wire<f64>>> = f.wires.iter().map(|_| None).collect();
        let at_end = f.wires[last].iter().zip(targets.chunks(targets.len() / f.inputs.len()));
        of[last] = Some(at_end.map(|(z, t)| at_logits(step.recipe.loss, z, t)).collect());
        let mut gradients: Gradients = self.exact.iter().map(|w| vec![0.0; w.len()]).collect();
        for (i, node) in step.graph.nodes.iter().enumerate().rev().filter(|(i, _)| step.wanted[*i]) {
            let Some(mut g) = of[i].take() else { continue };
            for (b, g) in g.iter_mut().enumerate() {
                if let Some(factors) = f.factors(i, b, g.len()) {
                    g.iter_mut().zip(factors).for_each(|(g, f)| *g *= f);
                }
            }
            let back = match &f.norms[i] {
                Some(own) => self.norm_back(i, (own, &f.operand(node)), &g, &mut gradients),
                None => self.samples_back(i, f, &g, &mut gradients),
            };
            for (k, s) in node.inputs.iter().enumerate() {
                let Source::Node(j) = s else { continue };
                let own = back.iter().map(|sample| &sample[k]);
                match &mut of[*j] {
                    Some(sum) => sum.iter_mut().zip(own).for_each(|(a, b)| add(a, b)),
                    none => *none = Some(own.cloned().collect()),
                }
            }
        }
        gradients.iter_mut().flatten().for_each(|g| *g /= f.inputs.len() as f64);
        gradients
    }

    /// A node whose samples have nothing to do with each other: for each sample the gradients of its operands.
    fn samples_back(
        &self,
        i: usize,
        f: &Forward,
        g: &Wire<f64>,
        gradients: &mut Gradients,
    ) -> Vec<Vec<Vec<f64>>> {
        let node = &self.step.graph.nodes[i];
        let none = || -> Gradients {
            let mut none: Gradients = self.exact.iter().map(|_| vec![]).collect();
            node.op.params().for_each(|p| none[p] = vec![0.0; self.exact[p].len()]);
            none
        };
        let some = |(chunk, g): (usize, &[Vec<f64>])| {
            let first = chunk * TOGETHER;
            let x: Vec<_> = (first..first + g.len()).map(|b| f.operands(node, b)).collect();
            let mut own = none();
            let back = match &node.op {
                Op::Linear { weight, bias } => self.linear_back((*weight, *bias), &x, g, &mut own),
                _ => x.iter().zip(g).map(|(x, g)| self.back(i, x, g, &mut own)).collect(),
            };
            (own, back)
        };
        let found: Vec<_> = g.par_chunks(TOGETHER).enumerate().map(some).collect();
        let mut all = vec![];
        for (own, back) in found {
            gradients.iter_mut().zip(&own).for_each(|(a, b)| add(a, b));
            all.extend(back);
        }
        all
    }

    /// A linear layer's, for some samples at once.
    fn linear_back(
        &self,
        (weight, bias): (usize, Option<usize>),
        x: &[Vec<&[f32]>],
        g: &[Vec<f64>],
        gradients: &mut Gradients,
    ) -> Vec<Vec<Vec<f64>>> {
        if let Some(b) = bias {
            g.iter().for_each(|g| add(&mut gradients[b], g));
        }
        let x: Vec<&[f32]> = x.iter().map(|x| x[0]).collect();
        let dx = products::linear(&self.exact[weight], &x, g, &mut gradients[weight]);
        dx.into_iter().map(|dx| vec![dx]).collect()
    }

    /// Gradients of the operands of any other node; those of its parameters are added.
    fn back(&self, i: usize, x: &[&[f32]], g: &[f64], gradients: &mut Gradients) -> Vec<Vec<f64>> {
        let step = self.step;
        let node = &step.graph.nodes[i];
        let shape = match node.inputs[0] {
            Source::Input => &step.graph.input.shape,
            Source::Node(j) => &step.shapes[j],
        };
        let real = |x: &[f32]| x.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
        let gated = |passes: &dyn Fn(f64) -> f64| -> Vec<f64> {
            x[0].iter().zip(g).map(|(x, g)| g * passes(f64::from(*x))).collect()
        };
        match &node.op {
            Op::Conv2d { weight, bias, window, groups } => {
                let &[c, h, w] = &shape[..] else { return vec![] };
                let (exact, oc) = (&self.exact[*weight], step.graph.params[*weight].shape[0]);
                if let Some(b) = bias {
                    let planes = g.chunks_exact(g.len() / oc);
                    gradients[*b]
                        .iter_mut()
                        .zip(planes)
                        .for_each(|(b, plane)| *b += plane.iter().sum::<f64>());
                }
                let conv = products::Conv { w: exact, window, groups: *groups, oc };
                vec![conv.back((&real(x[0]), [c, h, w]), g, &mut gradients[*weight])]
            }
            Op::Relu => vec![gated(&|x| f64::from(x >= 0.0))],
            Op::LeakyRelu { slope } => vec![gated(&|x| if x >= 0.0 { 1.0 } else { *slope })],
            Op::Clip { low, high } => vec![gated(&|x| {
                f64::from(low.is_none_or(|l| x >= l)) - f64::from(high.is_some_and(|h| x >= h))
            })],
            Op::MaxPool(window) => {
                let largest = |taps: Vec<usize>| {
                    taps.into_iter()
                        .reduce(|a, b| if x[0][b] > x[0][a] { b } else { a })
                        .into_iter()
                        .collect()
                };
                vec![spread(window, shape, g, |taps| (largest(taps), 1.0))]
            }
            Op::SumPool(window) => vec![spread(window, shape, g, |taps| (taps, 1.0))],
            Op::AvgPool { window, count_include_pad } => vec![spread(window, shape, g, |taps| {
                let count =
                    if *count_include_pad { window.kernel.iter().product() } else { taps.len().max(1) };
                (taps, 1.0 / count as f64)
            })],
            Op::Add => vec![g.to_vec(), g.to_vec()],
            Op::Sub => vec![g.to_vec(), g.iter().map(|g| -g).collect()],
            Op::Mul => {
                let times = |y: &[f32]| g.iter().zip(y).map(|(g, y)| g * f64::from(*y)).collect();
                vec![times(x[1]), times(x[0])]
            }
            Op::Affine { scale, .. } => vec![g.iter().map(|g| g * scale).collect()],
            Op::Concat => {
                let mut rest = g;
                let part = |x: &&[f32]| {
                    let (own, others) = rest.split_at(x.len());
                    rest = others;
                    own.to_vec()
                };
                x.iter().map(part).collect()
            }
            op => match op.moves(shape) {
                None => vec![g.to_vec()],
                Some(places) => {
                    let mut dx = vec![0.0; x[0].len() + 1];
                    places.iter().zip(g).for_each(|(at, g)| dx[*at] += g);
                    dx.pop();
                    vec![dx]
                }
            },
        }
    }
}

/// Every position's gradient goes to some of its taps, by a factor.
fn spread(
    window: &Window,
    shape: &[usize],
    g: &[f64],
    to: impl Fn(Vec<usize>) -> (Vec<usize>, f64),
) -> Vec<f64> {
    let &[c, h, w] = shape else { return vec![] };
    let Ok([oh, ow]) = window.output(h, w) else { return vec![] };
    let mut dx = vec![0.0; c * h * w];
    for (o, g) in g.iter().enumerate() {
        let (plane, p) = (o / (oh * ow), o % (oh * ow));
        let (taps, factor) = to(window.taps(h, w, p / ow, p % ow).map(|t| plane * h * w + t).collect());
        taps.into_iter().for_each(|t| dx[t] += g * factor);
    }
    dx
}

fn add(a: &mut [f64], b: &[f64]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
}

impl Loss {
    /// Of one sample's outputs.
    pub fn of(self, z: &[f32], targets: &[f32]) -> f64 {
        let pairs = || z.iter().zip(targets).map(|(z, t)| (f64::from(*z), f64::from(*t)));
        match self {
            Loss::SquaredError => pairs().map(|(z, t)| (z - t).powi(2) / 2.0).sum(),
            Loss::BinaryCrossEntropy => {
                pairs().map(|(z, t)| z.max(0.0) - z * t + (-z.abs()).exp().ln_1p()).sum()
            }
            Loss::CrossEntropy => {
                let most = pairs().fold(f64::NEG_INFINITY, |m, (z, _)| m.max(z));
                let all = pairs().map(|(z, _)| (z - most).exp()).sum::<f64>().ln() + most;
                pairs().map(|(z, t)| t * (all - z)).sum()
            }
        }
    }
}

/// The gradient of the loss of one sample.
fn at_logits(loss: Loss, z: &[f32], targets: &[f32]) -> Vec<f64> {
    let z: Vec<f64> = z.iter().map(|v| f64::from(*v)).collect();
    let p: Vec<f64> = match loss {
        Loss::SquaredError => z,
        Loss::BinaryCrossEntropy => z.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect(),
        Loss::CrossEntropy => {
            let most = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let e: Vec<f64> = z.iter().map(|z| (z - most).exp()).collect();
            let sum: f64 = e.iter().sum();
            e.into_iter().map(|e| e / sum).collect()
        }
    };
    p.into_iter().zip(targets).map(|(p, t)| p - f64::from(*t)).collect()
}
