//! The digits network with its plans, images, float labels and fixed-point oracle, and another network on the same images;
//! read once per test binary.

use crate::binary::root;
use std::sync::OnceLock;
use twoply_nn::engine::Clear;
use twoply_nn::graph::{Input, Node, Op, Param, Role, Source};
use twoply_nn::import::onnx;
use twoply_nn::{
    Evaluator, Floats, Graph, Images, Normalise, Options, Plan, Ranges, Reveal, Weights, calibrate,
};
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::Rounding;
use twoply_primitives::{Fixed, Ring, Window, ring};

/// Choices of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// Ring bits.
    pub n: u32,
    /// Comparison.
    pub compare: Scheme,
    /// Rounding.
    pub rounding: Rounding,
    /// What the data owner gets.
    pub reveal: Reveal,
}

/// What `twoply plan` takes without being told.
pub const PLAIN: Kind =
    Kind { n: 32, compare: Scheme::Digits, rounding: Rounding::PublicCoin, reveal: Reveal::Logits };

/// A network with its data.
pub struct Network {
    /// Structure.
    pub graph: Graph,
    /// Values.
    pub weights: Weights,
    /// Images, as the network takes them.
    pub inputs: Vec<f32>,
    /// The float network's labels.
    pub labels: Vec<usize>,
    ranges: Ranges,
}

fn read(name: &str) -> Vec<u8> {
    let path = root().join("examples/digits").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn images(name: &str, graph: &Graph) -> Vec<f32> {
    let (images, _) = Images::read(&read(name)).expect("images");
    images.inputs(&graph.input, Floats::Raw).expect("images that fit")
}

/// The digits network.
pub fn digits() -> &'static Network {
    static DIGITS: OnceLock<Network> = OnceLock::new();
    DIGITS.get_or_init(|| {
        let normalise = Normalise { scale: 0.0625, mean: vec![0.3125], std: vec![0.5] };
        let model = onnx::import(&read("digits.onnx"), Some("model"), Some(normalise)).expect("a model");
        Network::new(model.graph, model.weights)
    })
}

/// Products of wires, with made-up weights: private addends, a convolution with hard swish, squeeze and excitation, sums of
/// windows, axes in another order, a linear layer.
pub fn gated() -> &'static Network {
    static GATED: OnceLock<Network> = OnceLock::new();
    GATED.get_or_init(|| {
        let shapes: [(&[usize], Role); 8] = [
            (&[1, 8, 8], Role::Weight),
            (&[4, 1, 3, 3], Role::Weight),
            (&[4], Role::Bias),
            (&[2, 4, 1, 1], Role::Weight),
            (&[2], Role::Bias),
            (&[4, 2, 1, 1], Role::Weight),
            (&[10, 16], Role::Weight),
            (&[10], Role::Bias),
        ];
        let param = |(i, (shape, role)): (usize, &(&[usize], Role))| Param {
            name: format!("p{i}"),
            shape: shape.to_vec(),
            role: *role,
        };
        let conv = |weight: usize, bias, pad| {
            let kernel = shapes[weight].0[2];
            Op::Conv2d { weight, bias, window: Window::square(kernel, 1).padded(pad), groups: 1 }
        };
        let all = Window { kernel: [8, 8], ..Window::square(1, 1) };
        let ops = [
            (Op::Offset { weight: 0 }, vec![]),
            (conv(1, Some(2), 1), vec![]),
            (Op::Affine { scale: 1.0, shift: 3.0 }, vec![]),
            (Op::Clip { low: Some(0.0), high: Some(6.0) }, vec![]),
            (Op::Affine { scale: 1.0 / 6.0, shift: 0.0 }, vec![]),
            (Op::Mul, vec![1, 4]),
            (Op::AvgPool { window: all, count_include_pad: true }, vec![]),
            (conv(3, Some(4), 0), vec![]),
            (Op::Relu, vec![]),
            (conv(5, None, 0), vec![]),
            (Op::Affine { scale: 1.0 / 6.0, shift: 0.5 }, vec![]),
            (Op::Clip { low: Some(0.0), high: Some(1.0) }, vec![]),
            (Op::Take(vec![None, Some(vec![Some(0); 8]), Some(vec![Some(0); 8])]), vec![]),
            (Op::Mul, vec![5, 12]),
            (Op::SumPool(Window::square(4, 4)), vec![]),
            (Op::Transpose(vec![1, 2, 0]), vec![]),
            (Op::Reshape(vec![16]), vec![]),
            (Op::Linear { weight: 6, bias: Some(7) }, vec![]),
        ];
        let node = |(i, (op, inputs)): (usize, (Op, Vec<usize>))| {
            let before = if i == 0 { Source::Input } else { Source::Node(i - 1) };
            let inputs =
                if inputs.is_empty() { vec![before] } else { inputs.into_iter().map(Source::Node).collect() };
            Node { name: format!("n{i}"), op, inputs }
        };
        let graph = Graph {
            name: "model".into(),
            input: Input { name: "x".into(), ..digits().graph.input.clone() },
            params: shapes.iter().enumerate().map(param).collect(),
            nodes: ops.into_iter().enumerate().map(node).collect(),
        };
        let mut dice = crate::Dice::new(7);
        let mut value = || dice.below(2001) as f32 / 1000.0 - 1.0;
        let tensor =
            |(shape, _): &(&[usize], Role)| (0..shape.iter().product()).map(|_| value() * 0.6).collect();
        let weights = Weights(shapes.iter().map(tensor).collect());
        Network::new(graph, weights)
    })
}

/// Bytes of an IDX file with some of the images.
pub fn idx(images: std::ops::Range<usize>) -> Vec<u8> {
    let all = read("digits-images.idx");
    let count = (images.len() as u32).to_be_bytes();
    [&all[..4], &count, &all[8..16], &all[16 + 64 * images.start..16 + 64 * images.end]].concat()
}

/// Bytes of an IDX file with these images, in this order.
pub fn idx_of(images: &[usize]) -> Vec<u8> {
    let all = read("digits-images.idx");
    let count = (images.len() as u32).to_be_bytes();
    let mut bytes = [&all[..4], &count, &all[8..16]].concat();
    images.iter().for_each(|image| bytes.extend_from_slice(&all[16 + 64 * image..][..64]));
    bytes
}

impl Network {
    fn new(graph: Graph, weights: Weights) -> Network {
        let samples = images("calibration-images.idx", &graph);
        let ranges = calibrate(&graph, &weights, &samples, &graph.input.byte_range()).expect("ranges");
        let inputs = images("digits-images.idx", &graph);
        let labels = Evaluator::new(&graph, &weights).and_then(|e| e.labels(&inputs)).expect("labels");
        Network { graph, weights, inputs, labels, ranges }
    }
    /// A plan of this kind.
    pub fn plan(&self, kind: Kind) -> Plan {
        let fixed = Fixed { n: kind.n, f: if kind.n == 32 { 12 } else { 16 } };
        let Kind { compare, rounding, reveal, .. } = kind;
        let options = Options { fixed, compare, rounding, reveal, ..Options::default() };
        Plan::new(self.graph.clone(), options, Some(self.ranges.clone())).expect("a plan")
    }
    /// The weights as a file.
    pub fn weights_file(&self) -> Vec<u8> {
        self.weights.to_safetensors(&self.graph).expect("weights")
    }
    /// Values of the images `images`.
    pub fn images(&self, images: std::ops::Range<usize>) -> &[f32] {
        &self.inputs[64 * images.start..64 * images.end]
    }
}

/// What two parties must give for `inputs`, in units of 2^-fraction, with P1's coins; and the fraction bits.
pub fn oracle<R: Ring>(
    plan: &Plan,
    weights: &Weights,
    inputs: &[f32],
    coins: Vec<(u32, Vec<u64>)>,
) -> (Vec<i64>, u32) {
    let program = plan.program().expect("a program");
    let encoded = program.encode::<R>(weights).expect("weights");
    let params: Vec<_> = program.params().into_iter().zip(encoded).collect();
    let batch = inputs.len() / 64;
    let mut clear = Clear::with_coins(program.encode_input::<R>(inputs).expect("inputs"), coins);
    program.run(&mut clear, &params, batch).expect("the oracle runs");
    let (form, fraction) = program.output(batch).expect("an output");
    (clear.output.iter().map(|v| ring::sign_extend(v.low(), form.bits)).collect(), fraction)
}
