//! Networks for tests: a builder, a generator of random graphs, and random weights and inputs.

use twoply_nn::graph::{Input, Node, Normalise, Op, Param, Role, Source};
use twoply_nn::{Graph, Ranges, Weights, calibrate};
use twoply_primitives::Window;

/// SplitMix64: reproducible, and not a secret.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number in `low..=high`.
    pub fn within(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low + 1) as u64) as usize
    }
    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
    /// A number in `-1..1`.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.within(0, from.len() - 1)].clone()
    }
}

/// A network with its weights and some inputs.
#[derive(Clone)]
pub struct Model {
    pub graph: Graph,
    pub weights: Weights,
    pub inputs: Vec<f32>,
}

impl Model {
    pub fn ranges(&self) -> Ranges {
        let limits = vec![(-1.0, 1.0); self.graph.input.channels()];
        calibrate(&self.graph, &self.weights, &self.inputs, &limits).unwrap()
    }
    /// Scales inputs and addends of every kind so that the largest value on any wire is `peak`. All operations but products
    /// and argmax commute with a positive factor, a clip if its limits take part, so a network without products stays the
    /// same up to that factor; one with products is brought near `peak` step by step.
    pub fn scale_to(mut self, peak: f64) -> Model {
        let degree = self.degree();
        if degree == 1.0 {
            self.scale((peak / self.most()) as f32);
            return self;
        }
        for _ in 0..200 {
            let short = peak / self.most();
            if (1.0..1.1).contains(&short) {
                return self;
            }
            self.scale((0.95 * short).powf(1.0 / degree) as f32);
        }
        panic!("{}: no factor brings it to {peak}", self.graph.name);
    }
    /// How often inputs are multiplied with each other, at most.
    fn degree(&self) -> f64 {
        let mut out: Vec<f64> = vec![];
        for node in &self.graph.nodes {
            let of = |s: &Source| if let Source::Node(j) = s { out[*j] } else { 1.0 };
            let all = node.inputs.iter().map(of);
            out.push(if node.op == Op::Mul { all.sum() } else { all.fold(1.0, f64::max) });
        }
        out.into_iter().fold(1.0, f64::max)
    }
    /// The largest value on any wire or in any addend.
    fn most(&self) -> f64 {
        let ranges = self.ranges();
        let values = ranges.nodes.iter().zip(&self.graph.nodes).filter(|(_, n)| n.op != Op::Argmax);
        let mut most = values.map(|(r, _)| r.observed).fold(ranges.input.observed, f64::max);
        // a clip moves its operand by its limits
        for node in &self.graph.nodes {
            if let (Op::Clip { low, high }, Some(x)) = (&node.op, node.inputs.first()) {
                let before = match x {
                    Source::Input => ranges.input.observed,
                    Source::Node(j) => ranges.nodes[*j].observed,
                };
                let limit = low.iter().chain(high).fold(0.0, |m, v| f64::max(m, v.abs()));
                most = most.max(before + limit);
            }
        }
        let numbers = self.graph.nodes.iter().flat_map(|n| match n.op {
            Op::Affine { shift, .. } => vec![shift.abs()],
            Op::Offset { weight } => self.weights.0[weight].iter().map(|w| f64::from(w.abs())).collect(),
            _ => vec![],
        });
        numbers.fold(most, f64::max)
    }
    fn scale(&mut self, factor: f32) {
        self.inputs.iter_mut().for_each(|x| *x *= factor);
        let biases =
            self.graph.params.iter().enumerate().filter(|(_, p)| p.role == Role::Bias).map(|(i, _)| i);
        let mut addends: Vec<usize> = biases.collect();
        for node in &mut self.graph.nodes {
            match &mut node.op {
                Op::Clip { low, high } => low.iter_mut().chain(high).for_each(|v| *v *= factor as f64),
                Op::Affine { shift, .. } => *shift *= factor as f64,
                Op::Offset { weight } => addends.push(*weight),
                _ => {}
            }
        }
        for i in addends {
            self.weights.0[i].iter_mut().for_each(|v| *v *= factor);
        }
    }
    /// Ends in one axis, so that the parties can be asked for a label.
    pub fn flat(mut self) -> Model {
        let shape = self.graph.shapes().unwrap().pop().unwrap();
        if shape.len() != 1 {
            let (last, row) = (self.graph.nodes.len() - 1, shape.iter().product());
            let op = Op::Reshape(vec![row]);
            self.graph.nodes.push(Node { name: "labels".into(), op, inputs: vec![Source::Node(last)] });
        }
        self
    }
    /// Without a final argmax.
    pub fn before_argmax(mut self) -> Model {
        self.graph.nodes.pop_if(|n| n.op == Op::Argmax);
        self
    }
}

/// A graph while it grows. Knows every wire's shape.
pub struct Builder {
    pub rng: Rng,
    graph: Graph,
    weights: Vec<Vec<f32>>,
    shapes: Vec<Vec<usize>>,
}

impl Builder {
    pub fn new(name: &str, input: &[usize], seed: u64) -> Builder {
        let input = Input {
            name: "x".into(),
            shape: input.to_vec(),
            normalise: Normalise::default(),
            layout: Default::default(),
        };
        let graph = Graph { name: name.into(), input, params: vec![], nodes: vec![] };
        Builder { rng: Rng(seed), graph, weights: vec![], shapes: vec![] }
    }
    pub fn shape(&self, x: Source) -> Vec<usize> {
        match x {
            Source::Input => self.graph.input.shape.clone(),
            Source::Node(i) => self.shapes[i].clone(),
        }
    }
    fn push(&mut self, op: Op, inputs: &[Source], shape: Vec<usize>) -> Source {
        let name = format!("{}-{}", self.graph.nodes.len(), op.kind());
        self.graph.nodes.push(Node { name, op, inputs: inputs.to_vec() });
        self.shapes.push(shape);
        Source::Node(self.shapes.len() - 1)
    }
    fn param(&mut self, shape: &[usize], role: Role, scale: f32) -> usize {
        let name = format!("p{}", self.weights.len());
        self.graph.params.push(Param { name, shape: shape.to_vec(), role });
        let values = (0..shape.iter().product()).map(|_| self.rng.unit() * scale);
        self.weights.push(values.collect());
        self.weights.len() - 1
    }
    /// Weights that keep the size of what they are multiplied with, and perhaps a bias.
    fn params(&mut self, shape: &[usize]) -> (usize, Option<usize>) {
        let fan_in: usize = shape[1..].iter().product();
        let weight = self.param(shape, Role::Weight, (3.0 / fan_in as f32).sqrt());
        let bias = self.rng.chance(70).then(|| self.param(&shape[..1], Role::Bias, 0.5));
        (weight, bias)
    }
    pub fn linear(&mut self, x: Source, out: usize) -> Source {
        let x = self.flat(x);
        let (weight, bias) = self.params(&[out, self.shape(x)[0]]);
        self.push(Op::Linear { weight, bias }, &[x], vec![out])
    }
    pub fn conv(&mut self, x: Source, oc: usize, window: Window, groups: usize) -> Source {
        let shape = self.shape(x);
        let [oh, ow] = window.output(shape[1], shape[2]).unwrap();
        let [kh, kw] = window.kernel;
        let (weight, bias) = self.params(&[oc, shape[0] / groups, kh, kw]);
        self.push(Op::Conv2d { weight, bias, window, groups }, &[x], vec![oc, oh, ow])
    }
    /// Factors about 1, of statistics that have nothing to do with `x`.
    pub fn batch_norm(&mut self, x: Source) -> Source {
        let channels = [self.shape(x)[0]];
        let [gamma, beta, mean, variance] =
            [Role::Factor, Role::Bias, Role::Mean, Role::Variance].map(|r| self.param(&channels, r, 0.5));
        [gamma, variance].into_iter().for_each(|p| self.weights[p].iter_mut().for_each(|v| *v += 1.0));
        let op = Op::BatchNorm { gamma, beta, mean, variance, epsilon: 1e-5 };
        self.push(op, &[x], self.shape(x))
    }
    pub fn relu(&mut self, x: Source) -> Source {
        self.push(Op::Relu, &[x], self.shape(x))
    }
    pub fn add(&mut self, x: Source, y: Source) -> Source {
        self.push(Op::Add, &[x, y], self.shape(x))
    }
    pub fn sub(&mut self, x: Source, y: Source) -> Source {
        self.push(Op::Sub, &[x, y], self.shape(x))
    }
    pub fn mul(&mut self, x: Source, y: Source) -> Source {
        self.push(Op::Mul, &[x, y], self.shape(x))
    }
    pub fn offset(&mut self, x: Source) -> Source {
        let weight = self.param(&self.shape(x), Role::Weight, 0.5);
        self.push(Op::Offset { weight }, &[x], self.shape(x))
    }
    pub fn affine(&mut self, x: Source, scale: f64, shift: f64) -> Source {
        self.push(Op::Affine { scale, shift }, &[x], self.shape(x))
    }
    pub fn transpose(&mut self, x: Source, perm: &[usize]) -> Source {
        let shape = self.shape(x);
        let to = perm.iter().map(|&a| shape[a]).collect();
        self.push(Op::Transpose(perm.to_vec()), &[x], to)
    }
    pub fn take(&mut self, x: Source, lists: Vec<Option<Vec<Option<usize>>>>) -> Source {
        let shape = self.shape(x);
        let to = lists.iter().zip(shape).map(|(l, n)| l.as_ref().map_or(n, Vec::len)).collect();
        self.push(Op::Take(lists), &[x], to)
    }
    pub fn sum_pool(&mut self, x: Source, window: Window) -> Source {
        self.push(Op::SumPool(window), &[x], self.pooled(x, &window))
    }
    /// Squeeze and excitation: every channel times a number in 0..=1 that follows from the means of all.
    pub fn squeeze(&mut self, x: Source, hidden: usize) -> Source {
        let [c, h, w] = self.shape(x)[..] else { panic!("wants planes") };
        let y = self.avg_pool(x, Window { kernel: [h, w], ..Window::square(1, 1) }, true);
        let y = self.conv(y, hidden, Window::square(1, 1), 1);
        let y = self.relu(y);
        let y = self.conv(y, c, Window::square(1, 1), 1);
        let y = self.affine(y, 1.0 / 6.0, 0.5);
        let y = self.clip(y, Some(0.0), Some(1.0));
        let y = self.take(y, vec![None, Some(vec![Some(0); h]), Some(vec![Some(0); w])]);
        self.mul(x, y)
    }
    /// `x relu6(x + 3) / 6`, with other numbers.
    pub fn hard_swish(&mut self, x: Source) -> Source {
        let y = self.affine(x, 1.0, 0.3);
        let y = self.clip(y, Some(0.0), Some(0.6));
        let y = self.affine(y, 1.0 / 0.6, 0.0);
        self.mul(x, y)
    }
    pub fn leaky_relu(&mut self, x: Source, slope: f64) -> Source {
        self.push(Op::LeakyRelu { slope }, &[x], self.shape(x))
    }
    pub fn clip(&mut self, x: Source, low: Option<f64>, high: Option<f64>) -> Source {
        self.push(Op::Clip { low, high }, &[x], self.shape(x))
    }
    pub fn pad(&mut self, x: Source, around: [usize; 4]) -> Source {
        let mut shape = self.shape(x);
        shape[1] += around[0] + around[2];
        shape[2] += around[1] + around[3];
        self.push(Op::Pad(around), &[x], shape)
    }
    pub fn concat(&mut self, all: &[Source]) -> Source {
        let mut shape = self.shape(all[0]);
        shape[0] = all.iter().map(|x| self.shape(*x)[0]).sum();
        self.push(Op::Concat, all, shape)
    }
    fn pooled(&self, x: Source, window: &Window) -> Vec<usize> {
        let shape = self.shape(x);
        let [oh, ow] = window.output(shape[1], shape[2]).unwrap();
        vec![shape[0], oh, ow]
    }
    pub fn max_pool(&mut self, x: Source, window: Window) -> Source {
        self.push(Op::MaxPool(window), &[x], self.pooled(x, &window))
    }
    pub fn avg_pool(&mut self, x: Source, window: Window, count_include_pad: bool) -> Source {
        self.push(Op::AvgPool { window, count_include_pad }, &[x], self.pooled(x, &window))
    }
    pub fn dropout(&mut self, x: Source, ratio: f64) -> Source {
        self.push(Op::Dropout { ratio }, &[x], self.shape(x))
    }
    pub fn reshape(&mut self, x: Source, row: &[usize]) -> Source {
        self.push(Op::Reshape(row.to_vec()), &[x], row.to_vec())
    }
    pub fn flat(&mut self, x: Source) -> Source {
        let shape = self.shape(x);
        if shape.len() == 1 { x } else { self.reshape(x, &[shape.iter().product()]) }
    }
    pub fn argmax(&mut self, x: Source) -> Source {
        self.push(Op::Argmax, &[x], vec![1])
    }
    /// The model, with random inputs for `images` images.
    pub fn finish(mut self, images: usize) -> Model {
        let inputs = (0..images * self.graph.input.row()).map(|_| self.rng.unit()).collect();
        self.graph.validate().unwrap();
        Model { graph: self.graph, weights: Weights(self.weights), inputs }
    }

    /// A window that fits `x`; under a pool's window there is always an element.
    fn window(&mut self, x: Source, pool: bool) -> Window {
        let shape = self.shape(x);
        let (h, w) = (shape[1], shape[2]);
        if pool && self.rng.chance(25) {
            return Window { kernel: [h, w], ..Window::square(1, 1) };
        }
        let r = &mut self.rng;
        for _ in 0..50 {
            let kernel = [r.within(1, 3), r.within(1, 3)];
            let edge = |r: &mut Rng, k: usize| if r.chance(40) { r.within(0, k - 1) } else { 0 };
            let pad = [edge(r, kernel[0]), edge(r, kernel[1]), edge(r, kernel[0]), edge(r, kernel[1])];
            let (stride, dilation) = ([r.within(1, 2), r.within(1, 3)], [r.within(1, 2), r.within(1, 2)]);
            let window = Window { kernel, stride, pad, dilation };
            let Ok([oh, ow]) = window.output(h, w) else { continue };
            let mut places = (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x)));
            if !pool || places.all(|(y, x)| window.taps(h, w, y, x).count() > 0) {
                return window;
            }
        }
        Window::square(1, 1)
    }
    pub fn random_conv(&mut self, x: Source) -> Source {
        let c = self.shape(x)[0];
        let splits: Vec<usize> = (1..=c).filter(|g| c.is_multiple_of(*g)).collect();
        let groups = self.rng.pick(&splits);
        let (oc, window) = (groups * self.rng.within(1, 2), self.window(x, false));
        self.conv(x, oc.max(2).next_multiple_of(groups), window, groups)
    }
    /// One more random operation on `x`; `live` are all wires so far.
    fn step(&mut self, x: Source, live: &[Source]) -> Source {
        let space = self.shape(x).len() == 3;
        match self.rng.within(0, 24) {
            0..=2 if space => self.random_conv(x),
            3 | 4 => self.relu(x),
            5 if space => {
                let window = self.window(x, true);
                self.max_pool(x, window)
            }
            6 if space => {
                let (window, padding) = (self.window(x, true), self.rng.chance(50));
                self.avg_pool(x, window, padding)
            }
            0 | 7 => {
                let out = self.rng.within(2, 12);
                self.linear(x, out)
            }
            10 => {
                let slope = self.rng.pick(&[0.0, 0.01, 0.2, 1.0]);
                self.leaky_relu(x, slope)
            }
            11 => {
                let limits =
                    [(Some(0.0), Some(0.5)), (Some(-0.4), None), (None, Some(0.3)), (Some(-0.2), Some(0.6))];
                let (low, high) = self.rng.pick(&limits);
                self.clip(x, low, high)
            }
            12 if space => {
                let around = [0; 4].map(|_| self.rng.within(0, 2));
                self.pad(x, around)
            }
            13 => {
                let tail = |s: Vec<usize>| s[1..].to_vec();
                let alike = |y: &Source| tail(self.shape(*y)) == tail(self.shape(x));
                let alike: Vec<Source> = live.iter().copied().filter(alike).collect();
                let (y, z) = (self.rng.pick(&alike), self.rng.pick(&alike));
                if self.rng.chance(50) { self.concat(&[x, y]) } else { self.concat(&[z, x, y]) }
            }
            15 => self.offset(x),
            16 => {
                let (scale, shift) =
                    (self.rng.pick(&[-1.0, 2.0, 0.5, 1.0 / 6.0, -0.75, 1.0]), self.rng.unit());
                self.affine(x, scale, f64::from(shift) / 2.0)
            }
            17 if space => {
                let window = self.window(x, true);
                self.sum_pool(x, window)
            }
            18 => {
                let mut perm: Vec<usize> = (0..self.shape(x).len()).collect();
                (0..perm.len()).for_each(|i| perm.swap(i, self.rng.within(0, i)));
                self.transpose(x, &perm)
            }
            19 => {
                let lists = self.shape(x).iter().map(|&n| self.places(n)).collect();
                self.take(x, lists)
            }
            20 if space => self.squeeze(x, 2),
            21 => self.hard_swish(x),
            k => {
                let shape = self.shape(x);
                let alike: Vec<Source> = live.iter().copied().filter(|y| self.shape(*y) == shape).collect();
                let y = self.rng.pick(&alike);
                let (x, y) = if self.rng.chance(50) { (x, y) } else { (y, x) };
                match k {
                    14 => self.sub(x, y),
                    22 => self.mul(x, y),
                    _ => self.add(x, y),
                }
            }
        }
    }
    /// Places along an axis: as it is, backwards, repeated, some of them, with zeros.
    fn places(&mut self, n: usize) -> Option<Vec<Option<usize>>> {
        let r = &mut self.rng;
        match r.within(0, 4) {
            0 => None,
            1 => Some((0..n).rev().map(Some).collect()),
            2 => Some((0..n + n.min(3)).map(|i| Some(i % n)).collect()),
            3 => Some((0..n).step_by(2).map(Some).collect()),
            _ => Some((0..n + 1).map(|_| r.chance(80).then(|| r.within(0, n - 1))).collect()),
        }
    }
    /// Brings a wire to `shape`.
    fn bring(&mut self, x: Source, shape: &[usize]) -> Source {
        let (have, want) = (self.shape(x), shape.iter().product::<usize>());
        if have == shape {
            return x;
        }
        let x = match have.iter().product::<usize>() == want {
            true => x,
            false => self.linear(x, want),
        };
        if self.shape(x) == shape { x } else { self.reshape(x, shape) }
    }
    fn unread(&self) -> Vec<Source> {
        let all = (0..self.shapes.len()).map(Source::Node);
        let read = |s: &Source| self.graph.nodes.iter().any(|n| n.inputs.contains(s));
        all.filter(|s| !read(s)).collect()
    }
}

/// Kinds of the last node that [`random`] makes.
pub const LAST: [&str; 8] = ["linear", "conv2d", "relu", "add", "reshape", "avg_pool", "max_pool", "argmax"];

/// A random graph whose last node is of kind `last`, an index into [`LAST`].
pub fn random(seed: u64, last: usize, images: usize) -> Model {
    let mut r = Rng(seed ^ 0xa5a5);
    let shape = [r.within(1, 4), r.within(2, 6), r.within(2, 6)];
    let input = if r.chance(15) { vec![shape.iter().product()] } else { shape.to_vec() };
    let mut b = Builder::new(&format!("random-{seed}"), &input, seed);
    let mut live = vec![Source::Input];
    for _ in 0..b.rng.within(2, 7) {
        let newest = live[live.len() - 1];
        let x = if b.rng.chance(60) { newest } else { b.rng.pick(&live) };
        live.push(b.step(x, &live));
    }
    let shape = [b.rng.within(2, 3), b.rng.within(1, 4), b.rng.within(2, 4)];
    let mut trunk: Option<Source> = None;
    for x in b.unread() {
        let x = b.bring(x, &shape);
        trunk = Some(trunk.map_or(x, |t| b.add(t, x)));
    }
    let x = trunk.unwrap();
    match LAST[last] {
        "linear" => b.linear(x, 5),
        "conv2d" => b.random_conv(x),
        "relu" => b.relu(x),
        "add" => {
            let other = match b.rng.within(0, 3) {
                0 => x,
                1 => b.relu(x),
                2 => b.conv(x, shape[0], Window::square(1, 1), 1),
                _ => b.max_pool(x, Window::square(1, 1)),
            };
            if b.rng.chance(50) { b.add(x, other) } else { b.add(other, x) }
        }
        "reshape" => b.reshape(x, &[shape[0], shape[1] * shape[2]]),
        "avg_pool" => {
            let window = b.window(x, true);
            let padding = b.rng.chance(50);
            b.avg_pool(x, window, padding)
        }
        "max_pool" => {
            let window = b.window(x, true);
            b.max_pool(x, window)
        }
        _ => {
            let x = if b.rng.chance(50) { b.linear(x, 6) } else { b.flat(x) };
            b.argmax(x)
        }
    };
    b.finish(images)
}
