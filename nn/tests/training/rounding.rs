//! What rounding can do to gradients: reverse mode over numbers with error bounds (running error analysis: Higham, Accuracy and
//! Stability of Numerical Algorithms, section 3.3), written apart from the engine and from its floating-point reference.
//!
//! A decision of an activation or of a
//! maximum that lies within its error may go either way; then the whole gradient that hangs on it is error.

use super::ball::Ball;
use super::common::build::Model;
use twoply_nn::graph::{Graph, Input, Normalise, Op, Source};
use twoply_nn::{Evaluator, Weights};
use twoply_primitives::Window;

/// How a computation rounds. Errors are absolute but for the last.
#[derive(Clone, Copy)]
pub struct Arithmetic {
    /// Of a cut: less than one unit of its result, as coins decide.
    pub cut: f64,
    /// Of a number brought to fixed point: half a unit.
    pub encoding: f64,
    /// Of a public factor that is no whole number.
    pub factor: f64,
    /// Of a floating-point operation in the forward pass, relative to its result.
    pub relative: f64,
}

type Balls = Vec<Ball>;

/// Gradients of a batch's mean half squared error, one vector per parameter.
pub fn gradients(model: &Model, arithmetic: Arithmetic, inputs: &[f32], targets: &[f32]) -> Vec<Balls> {
    let shapes = model.graph.shapes().unwrap();
    let near = |v: &f32| Ball { value: f64::from(*v), error: arithmetic.encoding };
    let params: Vec<Balls> = model.weights.0.iter().map(|w| w.iter().map(near).collect()).collect();
    let mut sums: Vec<Balls> = params.iter().map(|w| vec![Ball::default(); w.len()]).collect();
    let rows = inputs.len() / model.graph.input.row();
    let analysis = Analysis { graph: &model.graph, shapes, params, arithmetic };
    let targets = targets.chunks(targets.len() / rows);
    for (x, t) in inputs.chunks(model.graph.input.row()).zip(targets) {
        let (x, t): (Balls, Balls) = (x.iter().map(near).collect(), t.iter().map(near).collect());
        analysis.sample(&x, &t, &mut sums);
    }
    let mean = |g: &Ball| Ball { value: g.value / rows as f64, error: g.error / rows as f64 };
    sums.iter().map(|g| g.iter().map(mean).collect()).collect()
}

struct Analysis<'a> {
    graph: &'a Graph,
    shapes: Vec<Vec<usize>>,
    params: Vec<Balls>,
    arithmetic: Arithmetic,
}

impl Analysis<'_> {
    fn sample(&self, x: &Balls, targets: &Balls, sums: &mut [Balls]) {
        let last = self.graph.nodes.len() - 1;
        let mut wires: Vec<Balls> = vec![];
        for i in 0..=last {
            wires.push(self.forward(i, &self.operands(i, x, &wires)));
        }
        let mut of: Vec<Balls> =
            self.shapes.iter().map(|s| vec![Ball::default(); s.iter().product()]).collect();
        of[last] = wires[last].iter().zip(targets).map(|(z, t)| *z + -*t).collect();
        for i in (0..=last).rev() {
            let g = std::mem::take(&mut of[i]);
            let back = self.backward(i, &self.operands(i, x, &wires), &g, sums);
            for (s, d) in self.graph.nodes[i].inputs.iter().zip(back) {
                if let Source::Node(j) = s {
                    of[*j].iter_mut().zip(d).for_each(|(a, b)| *a = *a + b);
                }
            }
        }
    }
    fn operands<'w>(&self, i: usize, x: &'w Balls, wires: &'w [Balls]) -> Vec<&'w Balls> {
        let wire = |s: &Source| if let Source::Node(j) = s { &wires[*j] } else { x };
        self.graph.nodes[i].inputs.iter().map(wire).collect()
    }
    fn shape(&self, i: usize) -> &[usize] {
        match self.graph.nodes[i].inputs[0] {
            Source::Input => &self.graph.input.shape,
            Source::Node(j) => &self.shapes[j],
        }
    }
    /// A sum of products in the forward pass, cut.
    fn dot(&self, terms: impl Iterator<Item = (Ball, Ball)>, bias: Option<Ball>) -> Ball {
        let (mut sum, mut sizes, mut count) = (bias.unwrap_or_default(), 0.0, 1.0);
        for (x, w) in terms {
            (sum, sizes, count) = (sum + x * w, sizes + x.most() * w.most(), count + 1.0);
        }
        sum.plus(
            self.arithmetic.cut + self.arithmetic.relative * count * (sizes + bias.map_or(0.0, Ball::most)),
        )
    }
    /// Times a public factor.
    fn times(&self, x: Ball, factor: f64) -> Ball {
        let rounded = factor.fract() != 0.0;
        let error = if rounded { self.arithmetic.factor * x.most() + self.arithmetic.cut } else { 0.0 };
        (x * Ball { value: factor, error: 0.0 }).plus(error)
    }
    fn float(&self, x: Ball) -> Ball {
        x.plus(self.arithmetic.relative * x.most())
    }

    fn forward(&self, i: usize, x: &[&Balls]) -> Balls {
        let (node, a) = (&self.graph.nodes[i], &self.arithmetic);
        let each = |f: &dyn Fn(Ball) -> Ball| -> Balls { x[0].iter().map(|v| self.float(f(*v))).collect() };
        let pairs = |f: &dyn Fn(Ball, Ball) -> Ball| -> Balls {
            x[0].iter().zip(x[1]).map(|(x, y)| self.float(f(*x, *y))).collect()
        };
        match &node.op {
            Op::Linear { weight, bias } | Op::Conv2d { weight, bias, .. } => {
                let rows = self.terms(i).into_iter().enumerate();
                let per = self.plane(i);
                let row = |(o, terms): (usize, Vec<(usize, usize)>)| {
                    let bias = bias.map(|b| self.params[b][o / per]);
                    self.dot(terms.iter().map(|(xi, wi)| (x[0][*xi], self.params[*weight][*wi])), bias)
                };
                rows.map(row).collect()
            }
            Op::Relu | Op::LeakyRelu { .. } | Op::Clip { .. } => {
                let f = node.op.activation().unwrap();
                let slope = if let Op::LeakyRelu { slope } = node.op { slope } else { 1.0 };
                // steeper than 1 nowhere; limits are encoded, a slope is rounded
                let value = |v: f64| {
                    if v < 0.0 { v * slope } else { v }
                        .max(f64::from(f(f32::MIN)))
                        .min(f64::from(f(f32::MAX)))
                };
                let more = match node.op {
                    Op::LeakyRelu { .. } => self.times(Ball { value: 1.0, error: 0.0 }, slope).error,
                    Op::Clip { .. } => a.encoding,
                    _ => 0.0,
                };
                each(&|v| Ball { value: value(v.value), error: v.error + more * v.most().max(1.0) })
            }
            Op::MaxPool(_) => self.places(i, x).iter().map(|taps| largest(x[0], taps)).collect(),
            Op::SumPool(_) | Op::AvgPool { .. } => {
                let mean = |(taps, count): (&Vec<usize>, f64)| {
                    let sum = taps.iter().fold(Ball::default(), |s, at| s + x[0][*at]);
                    let sizes = taps.iter().map(|at| x[0][*at].most()).sum::<f64>();
                    self.times(sum, 1.0 / count).plus(a.relative * (taps.len() + 1) as f64 * sizes)
                };
                self.places(i, x).iter().zip(self.counts(i, x)).map(mean).collect()
            }
            Op::Add => pairs(&|x, y| x + y),
            Op::Sub => pairs(&|x, y| x + -y),
            Op::Mul => pairs(&|x, y| (x * y).plus(a.cut)),
            Op::Affine { scale, shift } => {
                each(&|v| self.float(self.times(v, *scale)) + Ball { value: *shift, error: a.encoding })
            }
            Op::Reshape(_) => x[0].clone(),
            Op::Concat => x.iter().flat_map(|x| x.iter().copied()).collect(),
            _ => self
                .places(i, x)
                .iter()
                .map(|taps| taps.first().map_or(Ball::default(), |at| x[0][*at]))
                .collect(),
        }
    }

    fn backward(&self, i: usize, x: &[&Balls], g: &Balls, sums: &mut [Balls]) -> Vec<Balls> {
        let a = &self.arithmetic;
        let each = |f: &dyn Fn(Ball, Ball) -> Ball| -> Vec<Balls> {
            vec![x[0].iter().zip(g).map(|(x, g)| f(*x, *g)).collect()]
        };
        let mut dx = vec![Ball::default(); x[0].len()];
        match &self.graph.nodes[i].op {
            Op::Linear { weight, bias } | Op::Conv2d { weight, bias, .. } => {
                let per = self.plane(i);
                for (o, terms) in self.terms(i).iter().enumerate() {
                    for &(xi, wi) in terms {
                        dx[xi] = dx[xi] + g[o] * self.params[*weight][wi];
                        sums[*weight][wi] = sums[*weight][wi] + g[o] * x[0][xi];
                    }
                    if let Some(b) = bias {
                        sums[*b][o / per] = sums[*b][o / per] + g[o];
                    }
                }
                vec![dx.into_iter().map(|d| d.plus(a.cut)).collect()]
            }
            Op::Relu => each(&|x, g| gated(x, g, 0.0)),
            Op::LeakyRelu { slope } => each(&|x, g| {
                let low = self.times(g, *slope);
                gated(x, g + -low, a.cut) + low
            }),
            Op::Clip { low, high } => each(&|x, g| {
                let at = |limit: &f64| x + Ball { value: -limit, error: a.encoding };
                let above = low.as_ref().map_or(g, |l| gated(at(l), g, 0.0));
                high.as_ref().map_or(above, |h| above + -gated(at(h), g, 0.0))
            }),
            Op::MaxPool(_) => {
                for (g, taps) in g.iter().zip(self.places(i, x)) {
                    let best = largest(x[0], &taps);
                    let may = |at: &&usize| x[0][**at].value + x[0][**at].error >= best.value - best.error;
                    let may: Vec<usize> = taps.iter().filter(may).copied().collect();
                    let first = *taps.iter().find(|at| x[0][**at].value == best.value).unwrap();
                    dx[first] = dx[first] + *g;
                    if may.len() > 1 {
                        may.iter().for_each(|at| dx[*at] = dx[*at].plus(g.most()));
                    }
                }
                vec![dx]
            }
            Op::Add => vec![g.clone(), g.clone()],
            Op::Sub => vec![g.clone(), g.iter().map(|g| -*g).collect()],
            Op::Mul => {
                let times = |y: &Balls| g.iter().zip(y).map(|(g, y)| (*g * *y).plus(a.cut)).collect();
                vec![times(x[1]), times(x[0])]
            }
            Op::Affine { scale, .. } => each(&|_, g| self.times(g, *scale)),
            Op::Reshape(_) => vec![g.clone()],
            Op::Concat => {
                let mut rest = &g[..];
                let part = |x: &&Balls| {
                    let (own, others) = rest.split_at(x.len());
                    rest = others;
                    own.to_vec()
                };
                x.iter().map(part).collect()
            }
            _ => {
                for ((g, taps), count) in g.iter().zip(self.places(i, x)).zip(self.counts(i, x)) {
                    let g = self.times(*g, 1.0 / count);
                    taps.iter().for_each(|at| dx[*at] = dx[*at] + g);
                }
                vec![dx]
            }
        }
    }

    /// Elements of a channel of a layer's result.
    fn plane(&self, i: usize) -> usize {
        self.shapes[i][1..].iter().product()
    }
    /// For every element of a layer's result, the places of its operand and weights.
    fn terms(&self, i: usize) -> Vec<Vec<(usize, usize)>> {
        let (shape, out) = (self.shape(i), &self.shapes[i]);
        let Op::Conv2d { window, groups, .. } = &self.graph.nodes[i].op else {
            return (0..out[0]).map(|o| (0..shape[0]).map(|j| (j, o * shape[0] + j)).collect()).collect();
        };
        let ([h, w], [kh, kw], per) = ([shape[1], shape[2]], window.kernel, shape[0] / groups);
        let mut all = vec![];
        for o in 0..out.iter().product() {
            let (oc, y, x) = (o / self.plane(i), o / out[2] % out[1], o % out[2]);
            let first = oc / (out[0] / groups) * per;
            let mut terms = vec![];
            for (c, k, l) in (0..per).flat_map(|c| (0..kh).flat_map(move |k| (0..kw).map(move |l| (c, k, l))))
            {
                let at = |o: usize, k: usize, axis: usize| {
                    (o * window.stride[axis] + k * window.dilation[axis]).checked_sub(window.pad[axis])
                };
                if let (Some(r), Some(s)) = (at(y, k, 0).filter(|r| *r < h), at(x, l, 1).filter(|s| *s < w)) {
                    terms.push((((first + c) * h + r) * w + s, ((oc * per + c) * kh + k) * kw + l));
                }
            }
            all.push(terms);
        }
        all
    }
    fn window(&self, i: usize) -> Option<&Window> {
        match &self.graph.nodes[i].op {
            Op::MaxPool(window) | Op::SumPool(window) | Op::AvgPool { window, .. } => Some(window),
            _ => None,
        }
    }
    /// For every element of the result of a pool or a move, the places of its operand.
    fn places(&self, i: usize, x: &[&Balls]) -> Vec<Vec<usize>> {
        let (shape, out) = (self.shape(i), &self.shapes[i]);
        let Some(window) = self.window(i) else {
            // what a move does to the numbers of places, from 1 on, says where it takes them from
            let input = Input {
                name: "x".into(),
                shape: shape.into(),
                normalise: Normalise::default(),
                layout: Default::default(),
            };
            let mut node = self.graph.nodes[i].clone();
            node.inputs = vec![Source::Input];
            let graph = Graph { name: "move".into(), input, params: vec![], nodes: vec![node] };
            let (none, ramp) = (Weights(vec![]), (1..=x[0].len()).map(|v| v as f32).collect::<Vec<_>>());
            let moved = Evaluator::new(&graph, &none).unwrap().run(&ramp).unwrap().remove(0);
            return moved.iter().map(|v| (*v as usize).checked_sub(1).into_iter().collect()).collect();
        };
        let ([h, w], plane) = ([shape[1], shape[2]], out[1] * out[2]);
        let taps = |o: usize| {
            let (c, p) = (o / plane, o % plane);
            window.taps(h, w, p / out[2], p % out[2]).map(|t| c * h * w + t).collect()
        };
        (0..out[0] * plane).map(taps).collect()
    }
    /// What each sum of a mean is divided by; 1 elsewhere.
    fn counts(&self, i: usize, x: &[&Balls]) -> Vec<f64> {
        let all = |window: &Window| window.kernel.iter().product::<usize>();
        let count = |taps: Vec<usize>| match &self.graph.nodes[i].op {
            Op::AvgPool { window, count_include_pad: true } => all(window) as f64,
            Op::AvgPool { .. } => taps.len() as f64,
            _ => 1.0,
        };
        self.places(i, x).into_iter().map(count).collect()
    }
}

/// The largest of some; its error is the largest of theirs.
fn largest(x: &Balls, taps: &[usize]) -> Ball {
    let most = |f: fn(Ball) -> f64| taps.iter().map(|at| f(x[*at])).fold(f64::NEG_INFINITY, f64::max);
    Ball { value: most(|x| x.value), error: most(|x| x.error) }
}

/// A gradient where `x` is at least 0.
fn gated(x: Ball, g: Ball, cut: f64) -> Ball {
    match x.sign() {
        Some(true) => g.plus(cut),
        Some(false) => Ball::default().plus(cut),
        None if x.value >= 0.0 => g.plus(g.most() + cut),
        None => Ball { value: 0.0, error: g.most() + cut },
    }
}
