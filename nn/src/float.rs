//! The plain network in float32: what accuracy is compared with, and what calibration watches. Not private.

mod kernels;

pub(crate) use kernels::{Conv, avg_pool, conv2d, linear, max_pool, sum_pool};

use crate::graph::{Norm, Op, Source};
use crate::{Error, Graph, Meaning, Result, Weights};
use rayon::prelude::*;

/// A checked graph with its weights, ready to run image by image. Results do not depend on the number of threads.
pub struct Evaluator<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) weights: &'a Weights,
    pub(crate) shapes: Vec<Vec<usize>>,
    /// Index of each node's last reader; its buffer is reused there.
    last_use: Vec<usize>,
}

impl<'a> Evaluator<'a> {
    /// Checks both and prepares.
    ///
    /// # Errors
    /// [`Error::Graph`] or [`Error::Weights`].
    pub fn new(graph: &'a Graph, weights: &'a Weights) -> Result<Self> {
        let shapes = graph.shapes()?;
        weights.check(graph)?;
        let last_use = graph.consumers().iter().map(|r| r.last().copied().unwrap_or(usize::MAX)).collect();
        Ok(Evaluator { graph, weights, shapes, last_use })
    }

    /// The output of each image; `inputs` holds whole images, normalised, one after another.
    ///
    /// # Errors
    /// [`Error::Data`] if `inputs` is not a whole number of images.
    pub fn run(&self, inputs: &[f32]) -> Result<Vec<Vec<f32>>> {
        Ok(self
            .images(inputs)?
            .par_chunks(self.graph.input.row())
            .map(|x| self.image(x, |_, _| {}))
            .collect())
    }

    /// The label of each image, as [`Meaning`] says (or the output of a final argmax).
    ///
    /// # Errors
    /// As [`Evaluator::run`], and [`Error::Data`] for outputs that have no label.
    pub fn labels(&self, inputs: &[f32]) -> Result<Vec<usize>> {
        let meaning = Meaning::of(self.graph)?;
        if let Some(why) = meaning.no_labels() {
            return Err(Error::data("labels", why));
        }
        let is_label = self.graph.nodes.last().is_some_and(|n| n.op == Op::Argmax);
        let label = |y: Vec<f32>| if is_label { Some(y[0] as usize) } else { meaning.label(&y) };
        let labels: Option<Vec<usize>> = self.run(inputs)?.into_iter().map(label).collect();
        labels.ok_or_else(|| Error::data("labels", "an output without values"))
    }

    /// Runs all images and shows `see` every node's result, by the node's index. Each thread starts from `start`; `join`
    /// brings two threads' findings together.
    ///
    /// # Errors
    /// As [`Evaluator::run`].
    pub fn watch<S: Send>(
        &self,
        inputs: &[f32],
        start: impl Fn() -> S + Sync + Send,
        see: impl Fn(&mut S, usize, &[f32]) + Sync + Send,
        join: impl Fn(S, S) -> S + Sync + Send,
    ) -> Result<S> {
        let one = |mut state: S, image: &[f32]| {
            self.image(image, |node, y| see(&mut state, node, y));
            state
        };
        Ok(self.images(inputs)?.par_chunks(self.graph.input.row()).fold(&start, one).reduce(&start, join))
    }

    /// Checks that `inputs` are whole images.
    pub(crate) fn images<'x>(&self, inputs: &'x [f32]) -> Result<&'x [f32]> {
        let row = self.graph.input.row();
        if inputs.len().is_multiple_of(row) {
            return Ok(inputs);
        }
        Err(Error::data(
            "evaluate",
            format!("{} values are no whole number of images of {:?}", inputs.len(), self.graph.input.shape),
        ))
    }

    /// Output of one image; `see` is shown each node's result as it is computed.
    fn image(&self, input: &[f32], mut see: impl FnMut(usize, &[f32])) -> Vec<f32> {
        let mut wires: Vec<Vec<f32>> = Vec::with_capacity(self.graph.nodes.len());
        for (i, node) in self.graph.nodes.iter().enumerate() {
            // An elementwise operation takes its operand's buffer if it is the last to read it.
            let own = |wires: &mut Vec<Vec<f32>>| match node.inputs[0] {
                Source::Input => input.to_vec(),
                Source::Node(j) if self.last_use[j] == i && !node.inputs[1..].contains(&node.inputs[0]) => {
                    std::mem::take(&mut wires[j])
                }
                Source::Node(j) => wires[j].clone(),
            };
            let y = match &node.op {
                Op::Reshape(_) => own(&mut wires),
                Op::Add | Op::Sub => {
                    let mut y = own(&mut wires);
                    accumulate(&node.op, &mut y, self.wire(node.inputs[1], input, &wires));
                    y
                }
                op => match op.activation() {
                    Some(f) => own(&mut wires).into_iter().map(f).collect(),
                    None => {
                        let operands: Vec<&[f32]> =
                            node.inputs.iter().map(|s| self.wire(*s, input, &wires)).collect();
                        self.node(i, &operands)
                    }
                },
            };
            see(i, &y);
            for source in &node.inputs {
                if let Source::Node(j) = source
                    && self.last_use[*j] == i
                {
                    wires[*j] = Vec::new();
                }
            }
            wires.push(y);
        }
        wires.pop().unwrap_or_default()
    }

    /// The result of node `i` of one image on any operands.
    pub(crate) fn node(&self, i: usize, operands: &[&[f32]]) -> Vec<f32> {
        let node = &self.graph.nodes[i];
        let (x, shape) = (operands[0], self.shape_of(node.inputs[0]));
        match &node.op {
            Op::Linear { weight, bias } => linear(x, self.param(*weight), bias.map(|b| self.param(b))),
            Op::Conv2d { weight, bias, window, groups } => {
                let bias = bias.map(|b| self.param(b));
                let oc = self.graph.params[*weight].shape[0];
                conv2d(x, shape, self.param(*weight), bias, &Conv { window: *window, groups: *groups, oc })
            }
            Op::BatchNorm { .. } => self.norm(i, x),
            Op::MaxPool(window) => max_pool(x, shape, window),
            Op::AvgPool { window, count_include_pad } => avg_pool(x, shape, window, *count_include_pad),
            Op::SumPool(window) => sum_pool(x, shape, window),
            Op::Argmax => vec![argmax(x) as f32],
            op @ (Op::Pad(_) | Op::Transpose(_) | Op::Take(_)) => op.moved(x, shape).unwrap_or_default(),
            Op::Reshape(_) | Op::Dropout { .. } => x.to_vec(),
            Op::Concat => operands.concat(),
            op @ (Op::Add | Op::Sub) => {
                let mut y = x.to_vec();
                accumulate(op, &mut y, operands[1]);
                y
            }
            Op::Mul => x.iter().zip(operands[1]).map(|(a, b)| a * b).collect(),
            Op::Offset { weight } => x.iter().zip(self.param(*weight)).map(|(a, b)| a + b).collect(),
            Op::Affine { scale, shift } => x.iter().map(|v| (*scale as f32) * v + *shift as f32).collect(),
            op @ (Op::Relu | Op::LeakyRelu { .. } | Op::Clip { .. }) => match op.activation() {
                Some(f) => x.iter().copied().map(f).collect(),
                None => x.to_vec(),
            },
        }
    }

    /// A batch normalisation with the statistics of the data; without a root of a variance there is no number.
    fn norm(&self, i: usize, x: &[f32]) -> Vec<f32> {
        let affine = Norm::of(self.graph, self.weights, i).and_then(|norm| norm.affine().ok());
        let Some((scale, shift)) = affine else { return vec![f32::NAN; x.len()] };
        let places = x.len() / scale.len();
        let planes = x.chunks(places).zip(scale.iter().zip(&shift));
        planes.flat_map(|(x, (s, t))| x.iter().map(move |x| (f64::from(*x) * s + t) as f32)).collect()
    }
    pub(crate) fn param(&self, index: usize) -> &[f32] {
        &self.weights.0[index]
    }
    pub(crate) fn shape_of(&self, source: Source) -> &[usize] {
        match source {
            Source::Input => &self.graph.input.shape,
            Source::Node(j) => &self.shapes[j],
        }
    }
    fn wire<'x>(&self, source: Source, input: &'x [f32], wires: &'x [Vec<f32>]) -> &'x [f32] {
        match source {
            Source::Input => input,
            Source::Node(j) => &wires[j],
        }
    }
}

/// Adds a wire to another, or subtracts it.
fn accumulate(op: &Op, y: &mut [f32], other: &[f32]) {
    let sign = if *op == Op::Sub { -1.0 } else { 1.0 };
    y.iter_mut().zip(other).for_each(|(a, b)| *a += sign * b);
}

/// Index of the largest value, ties to the lower one.
pub fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if *v > values[best] {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Input, Node, Normalise, Param, Role};
    use twoply_primitives::tensor::Window;

    fn node(name: &str, op: Op, inputs: &[Source]) -> Node {
        Node { name: name.into(), op, inputs: inputs.to_vec() }
    }

    #[test]
    fn a_residual_network_by_hand() {
        let graph = Graph {
            name: "g".into(),
            input: Input {
                name: "x".into(),
                shape: vec![1, 2, 2],
                normalise: Normalise::default(),
                layout: Default::default(),
            },
            params: vec![
                Param { name: "w".into(), shape: vec![1, 1, 1, 1], role: Role::Weight },
                Param { name: "b".into(), shape: vec![1], role: Role::Bias },
            ],
            nodes: vec![
                node(
                    "c",
                    Op::Conv2d { weight: 0, bias: Some(1), window: Window::square(1, 1), groups: 1 },
                    &[Source::Input],
                ),
                node("r", Op::Relu, &[Source::Node(0)]),
                node("s", Op::Add, &[Source::Node(1), Source::Node(0)]),
                node("d", Op::Add, &[Source::Node(2), Source::Node(2)]),
                node("f", Op::Reshape(vec![4]), &[Source::Node(3)]),
            ],
        };
        let weights = Weights(vec![vec![2.0], vec![-1.0]]);
        let eval = Evaluator::new(&graph, &weights).unwrap();
        // c = 2x - 1; d = 2 (relu(c) + c)
        let y = eval.run(&[0.0, 1.0, 2.0, -3.0, 0.5, 0.0, 0.0, 0.75]).unwrap();
        assert_eq!(y, [[-2.0, 4.0, 12.0, -14.0], [0.0, -2.0, -2.0, 2.0]]);
        assert_eq!(eval.labels(&[0.0, 1.0, 2.0, 2.0]).unwrap(), [2]);
        assert!(eval.run(&[0.0; 5]).is_err());
        let mut seen = Vec::new();
        eval.image(&[0.0; 4], |i, y| seen.push((i, y[0])));
        assert_eq!(seen, [(0, -1.0), (1, 0.0), (2, -1.0), (3, -2.0), (4, -2.0)]);
    }

    #[test]
    fn a_final_argmax_gives_the_label() {
        let graph = Graph {
            name: "g".into(),
            input: Input {
                name: "x".into(),
                shape: vec![3],
                normalise: Normalise::default(),
                layout: Default::default(),
            },
            params: vec![],
            nodes: vec![node("a", Op::Argmax, &[Source::Input])],
        };
        let weights = Weights(vec![]);
        let eval = Evaluator::new(&graph, &weights).unwrap();
        assert_eq!(eval.run(&[1.0, 5.0, 5.0]).unwrap(), [[1.0]]);
        assert_eq!(eval.labels(&[1.0, 2.0, 5.0]).unwrap(), [2]);
    }
}
