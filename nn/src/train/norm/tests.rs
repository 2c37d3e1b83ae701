use super::*;
use crate::engine::Clear;
use crate::graph::{Input, Normalise, Param, Role};
use crate::train::{Loss, Moment, Rate, Reference, Step};
use crate::with_ring;
use twoply_primitives::{Form, Ring};

/// A convolution of one tap, whose gradient is looked at, and a normalisation of `[channels, positions]`.
fn graph(channels: usize, positions: usize) -> Graph {
    let param = |name: &str, shape: &[usize], role| Param { name: name.into(), shape: shape.to_vec(), role };
    let window = twoply_primitives::Window::square(1, 1);
    let each = |name: &str, role| param(name, &[channels], role);
    let node = |name: &str, op, input| Node { name: name.into(), op, inputs: vec![input] };
    Graph {
        name: "normalised".into(),
        input: Input {
            name: "x".into(),
            shape: vec![channels, 1, positions],
            normalise: Normalise::default(),
            layout: Default::default(),
        },
        params: vec![
            param("w", &[channels, 1, 1, 1], Role::Weight),
            each("gamma", Role::Factor),
            each("beta", Role::Bias),
            each("mean", Role::Mean),
            each("variance", Role::Variance),
        ],
        nodes: vec![
            node("conv", Op::Conv2d { weight: 0, bias: None, window, groups: channels }, Source::Input),
            node(
                "norm",
                Op::BatchNorm { gamma: 1, beta: 2, mean: 3, variance: 4, epsilon: EPSILON },
                Source::Node(0),
            ),
        ],
    }
}

/// Numbers in -1..1.
fn numbers(seed: u64, len: usize) -> Vec<f64> {
    let bytes = |i: usize| *blake3::hash(&[seed.to_le_bytes(), (i as u64).to_le_bytes()].concat()).as_bytes();
    let number =
        |i: usize| i64::from_le_bytes(bytes(i)[..8].try_into().unwrap()) as f64 / (1u64 << 63) as f64;
    (0..len).map(number).collect()
}

/// What a normalisation gives for some data, forward and back, in real terms.
struct Found {
    y: Vec<f64>,
    dx: Vec<f64>,
    dgamma: Vec<f64>,
    dbeta: Vec<f64>,
    mean: Vec<f64>,
    /// Unbiased.
    variance: Vec<f64>,
}

/// A batch of 32, channels whose deviations lie between 1/4 and 8 and means between -2 and 2.
struct Data {
    positions: usize,
    x: Vec<f64>,
    /// The gradient behind it.
    g: Vec<f64>,
    gamma: Vec<f64>,
    beta: Vec<f64>,
}

const BATCH: usize = 32;
const CHANNELS: usize = 12;
const EPSILON: f64 = 1e-5;

impl Data {
    fn new(positions: usize) -> Data {
        let of = |i: usize| i % (CHANNELS * positions) / positions;
        let len = BATCH * CHANNELS * positions;
        let (spread, centre) = (numbers(1, CHANNELS), numbers(2, CHANNELS));
        let deviation = |c: usize| (0.5 + 2.5 * spread[c]).exp2();
        let x = numbers(3, len).into_iter().enumerate();
        let x: Vec<f64> = x.map(|(i, v)| v * 3f64.sqrt() * deviation(of(i)) + 2.0 * centre[of(i)]).collect();
        // it has something to do with x, the less the more places there are
        let less = (64.0 / positions as f64).min(1.0);
        let own = |v: f64, x: f64| 0.1 * v + less * (0.02 * x.clamp(-1.0, 1.0) + 0.01);
        let g = numbers(4, len).into_iter().zip(&x).map(|(v, x)| own(v, *x)).collect();
        let gamma = numbers(5, CHANNELS).into_iter().map(|v| 1.0 + v / 2.0).collect();
        Data { positions, x, g, gamma, beta: numbers(6, CHANNELS) }
    }
    fn channel(&self, i: usize) -> usize {
        i % (CHANNELS * self.positions) / self.positions
    }
    /// Sums over the places of each channel.
    fn sums(&self, f: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; CHANNELS];
        (0..self.x.len()).for_each(|i| sums[self.channel(i)] += f(i));
        sums
    }

    /// By the formulas.
    fn float(&self) -> Found {
        let count = (BATCH * self.positions) as f64;
        let of = |v: &[f64], i: usize| v[self.channel(i)];
        let mean: Vec<f64> = self.sums(|i| self.x[i]).into_iter().map(|v| v / count).collect();
        let squares = self.sums(|i| (self.x[i] - of(&mean, i)).powi(2));
        let sigma: Vec<f64> = squares.iter().map(|v| (v / count + EPSILON).sqrt()).collect();
        let standard = |i: usize| (self.x[i] - of(&mean, i)) / of(&sigma, i);
        let (dbeta, dgamma) = (self.sums(|i| self.g[i]), self.sums(|i| self.g[i] * standard(i)));
        let dx = |i: usize| {
            let rest = self.g[i] - of(&dbeta, i) / count - standard(i) * of(&dgamma, i) / count;
            of(&self.gamma, i) / of(&sigma, i) * rest
        };
        let y = |i: usize| of(&self.gamma, i) * standard(i) + of(&self.beta, i);
        let all = 0..self.x.len();
        let variance = squares.iter().map(|v| v / (count - 1.0)).collect();
        Found { y: all.clone().map(y).collect(), dx: all.map(dx).collect(), dgamma, dbeta, mean, variance }
    }

    /// In fixed point, with how far a wire was reached into.
    fn fixed<R: Ring>(&self, f: Fractions) -> (Found, f64) {
        let rate = Rate { factor: 1, shift: 2 };
        let recipe = Recipe { fractions: f, rate, ..Recipe::usual(R::BITS, BATCH, Loss::SquaredError) };
        let step = Step::new(&graph(CHANNELS, self.positions), &recipe).unwrap();
        let wire = |shape: &[usize], v: &[f64], frac: u32| {
            let values = v.iter().map(|v| R::from_i64((v * f64::from(frac).exp2()).round() as i64)).collect();
            (Form { shape: twoply_primitives::Shape(shape.to_vec()), bits: R::BITS }, values)
        };
        let real = |(form, v): &(Form, Vec<R>), frac: u32| -> Vec<f64> {
            let signed = |v: &R| twoply_primitives::ring::sign_extend(v.low(), form.bits) as f64;
            v.iter().map(|v| signed(v) / f64::from(frac).exp2()).collect()
        };
        let mut weights = crate::train::initial(step.graph(), 1);
        let mut state = step.clear::<R>(&weights).unwrap();
        state.weights[1] = wire(&[CHANNELS], &self.gamma, f.weights);
        state.weights[2] = wire(&[CHANNELS], &self.beta, f.weights);
        let shape = [BATCH, CHANNELS, 1, self.positions];
        let x = wire(&shape, &self.x, f.activations);
        let mut engine = Clear::<R>::simulated(self.positions as u128);
        engine.measure();
        let mut run = step.begin(&mut engine, Moment::default(), &state, x.clone());
        let (kept, y) = run.norm(1, x, [1, 2]).unwrap();
        run.norm_back(1, wire(&shape, &self.g, f.gradients), &kept, [1, 2]).unwrap();
        let dx = real(run.back.gradients[0].as_ref().unwrap(), f.gradients);
        // from rest a velocity is the rate times the mean gradient
        let sum = |p: usize| {
            let velocity = real(run.back.cut[p].as_ref().unwrap(), f.weights).into_iter();
            velocity.map(|v| v / recipe.rate.real() * BATCH as f64).collect()
        };
        let (dgamma, dbeta) = (sum(1), sum(2));
        let sums: Vec<Vec<R>> = run.statistics.iter().map(|s| s.1.clone()).collect();
        step.set_statistics(&mut weights, &sums, 1);
        let [mean, variance] = [3, 4].map(|p| weights.0[p].iter().map(|v| f64::from(*v)).collect());
        let reach = engine.take_reach().iter().map(|r| r.largest).fold(0.0, f64::max);
        (Found { y: real(&y, f.activations), dx, dgamma, dbeta, mean, variance }, reach)
    }
}

/// Largest difference, and largest magnitude.
fn apart(found: &[f64], wanted: &[f64]) -> (f64, f64) {
    let pairs = found.iter().zip(wanted);
    pairs.fold((0.0, 0.0), |(far, most), (a, b)| ((a - b).abs().max(far), b.abs().max(most)))
}

/// With gradients of 12 fraction bits in the ring of 32, as the design measured; whatever N. y is in steps of 2^-8 there, and
/// `1 / sigma` off by .54 % and by half of 2^-8. All but y and means in parts of the largest.
#[test]
fn errors_are_those_of_the_design() {
    for positions in [1, 32, 37, 1024] {
        let data = Data::new(positions);
        let wanted = data.float();
        for (n, bounds) in
            [(32, [0.05, 0.008, 0.02, 0.003, 0.002, 0.001]), (64, [0.02, 0.006, 0.006, 1e-4, 1e-5, 1e-5])]
        {
            let usual = Fractions::usual(n);
            let fractions = Fractions { gradients: usual.gradients.max(12), ..usual };
            let (found, reach) = with_ring!(n, R => data.fixed::<R>(fractions));
            let relative = |found, wanted| {
                let (far, most) = apart(found, wanted);
                far / most
            };
            let errors = [
                apart(&found.y, &wanted.y).0,
                relative(&found.dx, &wanted.dx),
                relative(&found.dgamma, &wanted.dgamma),
                relative(&found.dbeta, &wanted.dbeta),
                apart(&found.mean, &wanted.mean).0,
                relative(&found.variance, &wanted.variance),
            ];
            let at = format!("n={n}, N={}: {errors:?}, reach {reach}", BATCH * positions);
            assert!(errors.iter().zip(bounds).all(|(e, b)| *e < b) && reach < 0.25, "{at}");
        }
    }
}

/// The gradients that floating point is compared with, against differences of what it normalises.
#[test]
fn gradients_of_floating_point_are_differences() {
    let (batch, channels, positions) = (4, 3, 5);
    let step = Step::new(&graph(channels, positions), &Recipe::usual(32, batch, Loss::SquaredError)).unwrap();
    let mut start = crate::train::initial(step.graph(), 1);
    start.0[0] = vec![1.0; channels];
    start.0[1] = vec![0.5, 1.5, 2.0];
    let single = |seed, len| -> Vec<f32> { numbers(seed, len).into_iter().map(|v| v as f32).collect() };
    let (x, t) = (single(1, batch * channels * positions), single(2, batch * channels * positions));
    // the mean loss of the weights with one of them moved
    let loss = |p: usize, at: usize, by: f64| {
        let mut weights = start.clone();
        weights.0[p][at] += by as f32;
        let mean = |v: &dyn Fn(usize) -> f64, c: usize| {
            let row = channels * positions;
            let own: Vec<f64> = (0..x.len()).filter(|i| i % row / positions == c).map(v).collect();
            own.iter().sum::<f64>() / own.len() as f64
        };
        let w = |p: usize, c: usize| f64::from(weights.0[p][c]);
        let mut sum = 0.0;
        for c in 0..channels {
            let y = |i: usize| w(0, c) * f64::from(x[i]);
            let middle = mean(&y, c);
            let sigma = (mean(&|i| (y(i) - middle).powi(2), c) + EPSILON).sqrt();
            let z = |i: usize| w(1, c) * (y(i) - middle) / sigma + w(2, c);
            sum += mean(&|i| (z(i) - f64::from(t[i])).powi(2) / 2.0, c) * positions as f64;
        }
        sum
    };
    let found = Reference::new(&step, &start).unwrap().gradients(Moment::default(), &x, &t).unwrap();
    for (p, found) in found.iter().take(3).enumerate() {
        for (c, found) in found.iter().enumerate() {
            let wanted = (loss(p, c, 1.0 / 64.0) - loss(p, c, -1.0 / 64.0)) * 32.0;
            assert!((found - wanted).abs() < 1e-3, "parameter {p}: {found} instead of {wanted}");
        }
    }
}
