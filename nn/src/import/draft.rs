//! The network while it is being imported: graph nodes, and per-channel affine maps that still have to find a layer.

mod fold;

use super::Imported;
use crate::graph::{
    Graph, Input, MAX_ELEMENTS, MAX_NODES, Node, Normalise, Op, Param, Role, Source, elements,
};
use crate::{Error, Result, Weights, passes};
use std::collections::{HashMap, HashSet};
use twoply_primitives::tensor::Window;

/// Longest name taken over from a file, in characters.
const NAME: usize = 60;
/// Most coefficients of affine maps in one model; a small file could ask for as many again with every node.
const MAX_COEFFICIENTS: usize = 1 << 24;

/// Most elements of constants computed from other constants, for the same reason, in a model of any size.
const COMPUTED: usize = 1 << 24;

/// One step of the draft.
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) inputs: Vec<Source>,
    shape: Vec<usize>,
}

/// What a step computes.
pub(crate) enum Kind {
    /// A node of the graph to be.
    Op(Op),
    /// `y = x * scale[c] + shift[c]` per channel.
    Affine { scale: Vec<f64>, shift: Vec<f64> },
}

/// Nodes and parameters so far.
pub(crate) struct Draft {
    pub(crate) input: Input,
    pub(crate) steps: Vec<Step>,
    pub(crate) params: Vec<Param>,
    pub(crate) weights: Vec<Vec<f32>>,
    node_names: Names,
    param_names: Names,
    param_elements: usize,
    coefficients: usize,
    /// Elements that may still be computed.
    room: usize,
}

impl Draft {
    /// An empty network on this input.
    pub(crate) fn new(name: &str, shape: Vec<usize>, normalise: Normalise) -> Draft {
        Draft {
            input: Input { name: clean(name, "input"), shape, normalise },
            steps: Vec::new(),
            params: Vec::new(),
            weights: Vec::new(),
            node_names: Names::default(),
            param_names: Names::default(),
            param_elements: 0,
            coefficients: 0,
            room: COMPUTED,
        }
    }

    /// Shape of a wire per image.
    pub(crate) fn shape(&self, source: Source) -> &[usize] {
        match source {
            Source::Input => &self.input.shape,
            Source::Node(j) => &self.steps[j].shape,
        }
    }

    /// Adds a node, checked against the shapes of its operands.
    pub(crate) fn push(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[Source],
    ) -> std::result::Result<Source, String> {
        let operands: Vec<&[usize]> = inputs.iter().map(|s| self.shape(*s)).collect();
        let shape = op.output(&operands, &self.params).map_err(|why| why.join("; "))?;
        let name = self.node_name(name, default_name(&op));
        self.add(Step { name, kind: Kind::Op(op), inputs: inputs.to_vec(), shape })
    }

    /// Adds a per-channel affine map on `[c, h, w]` or `[c]`; one coefficient stands for all channels.
    pub(crate) fn affine(
        &mut self,
        name: &str,
        source: Source,
        scale: &[f64],
        shift: &[f64],
    ) -> std::result::Result<Source, String> {
        let shape = self.shape(source).to_vec();
        if shape.len() != 1 && shape.len() != 3 {
            return Err(format!("takes [c, h, w] or [c] per image, found {shape:?}"));
        }
        let channels = shape[0];
        if [scale, shift].iter().any(|v| v.len() != 1 && v.len() != channels) {
            return Err(format!("{} and {} values for {channels} channels", scale.len(), shift.len()));
        }
        if !scale.iter().chain(shift).all(|v| v.is_finite()) {
            return Err("its factors are not finite".into());
        }
        self.coefficients = self.coefficients.saturating_add(2 * channels);
        if self.coefficients > MAX_COEFFICIENTS {
            return Err("too many per-channel factors in this model".into());
        }
        let spread = |v: &[f64]| if v.len() == 1 { vec![v[0]; channels] } else { v.to_vec() };
        let kind = Kind::Affine { scale: spread(scale), shift: spread(shift) };
        let name = self.node_name(name, "scale");
        self.add(Step { name, kind, inputs: vec![source], shape })
    }

    /// Stands in for a node that could not be lowered, so that what follows can be judged. The draft is never finished.
    pub(crate) fn placeholder(&mut self, shape: Vec<usize>) -> std::result::Result<Source, String> {
        self.add(Step { name: String::new(), kind: Kind::Op(Op::Relu), inputs: vec![], shape })
    }

    fn add(&mut self, step: Step) -> std::result::Result<Source, String> {
        if self.steps.len() >= MAX_NODES {
            return Err(format!("more than {MAX_NODES} nodes"));
        }
        self.steps.push(step);
        Ok(Source::Node(self.steps.len() - 1))
    }

    /// Adds a parameter.
    pub(crate) fn param(
        &mut self,
        name: &str,
        shape: &[usize],
        role: Role,
        values: Vec<f32>,
    ) -> std::result::Result<usize, String> {
        if elements(shape) != Some(values.len()) || self.params.len() >= MAX_NODES {
            return Err(format!("{} values for a parameter of shape {shape:?}", values.len()));
        }
        if !values.iter().all(|v| v.is_finite()) {
            return Err(format!("parameter `{}` is beyond float32", name.escape_debug()));
        }
        // One initializer may be used by many nodes, each with a copy of its own.
        self.param_elements = self.param_elements.saturating_add(values.len());
        if self.param_elements > MAX_ELEMENTS {
            return Err(format!("more than {MAX_ELEMENTS} weights in all"));
        }
        let name = self.param_names.take(clean(name, "param"));
        self.params.push(Param { name, shape: shape.to_vec(), role });
        self.weights.push(values);
        Ok(self.params.len() - 1)
    }

    /// Accounts for `n` elements of computed constants.
    pub(crate) fn spend(&mut self, n: usize) -> std::result::Result<(), String> {
        self.room =
            self.room.checked_sub(n).ok_or("more computed constants than a model of this size needs")?;
        Ok(())
    }

    /// How many elements may still be computed.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// A file that holds more may compute more.
    pub(crate) fn make_room(&mut self, n: usize) {
        self.room = self.room.saturating_add(n);
    }

    fn node_name(&mut self, given: &str, default: &str) -> String {
        match given {
            "" => self.node_names.number(default),
            name => self.node_names.take(clean(name, default)),
        }
    }

    /// The graph with `output` as its last node: affine maps folded where possible, passes applied.
    ///
    /// # Errors
    /// [`Error::Graph`] if the result is no valid graph, which would be a fault of this importer or of `normalise`.
    pub(crate) fn finish(mut self, name: &str, output: Source) -> Result<Imported> {
        fold::fold(&mut self, output);
        let Source::Node(last) = output else {
            return Err(Error::Graph { graph: name.into(), faults: vec!["the output is the input".into()] });
        };
        let mut place: Vec<Source> = Vec::with_capacity(self.steps.len());
        let mut nodes = Vec::new();
        for step in std::mem::take(&mut self.steps).into_iter().take(last + 1) {
            let shape = step.shape.clone();
            let inputs: Vec<Source> = step
                .inputs
                .iter()
                .map(|s| match s {
                    Source::Node(j) => place[*j],
                    Source::Input => Source::Input,
                })
                .collect();
            match step.kind {
                Kind::Op(op) => nodes.push(Node { name: step.name, op, inputs }),
                Kind::Affine { scale, shift } => {
                    self.depthwise(&mut nodes, &step.name, inputs, &shape, (&scale, &shift))?
                }
            }
            place.push(Source::Node(nodes.len() - 1));
        }
        let mut graph = Graph { name: clean(name, "network"), input: self.input, params: self.params, nodes };
        let mut weights = Weights(self.weights);
        passes::all(&mut graph, &mut weights);
        graph.validate()?;
        weights.check(&graph)?;
        Ok(Imported { graph, weights })
    }

    /// An affine map as a layer of its own: a 1x1 convolution with one group per channel.
    fn depthwise(
        &mut self,
        nodes: &mut Vec<Node>,
        name: &str,
        inputs: Vec<Source>,
        shape: &[usize],
        (scale, shift): (&[f64], &[f64]),
    ) -> Result<()> {
        let fault = |why: String| Error::Graph { graph: name.into(), faults: vec![why] };
        let narrow = |v: &[f64]| v.iter().map(|&x| x as f32).collect::<Vec<_>>();
        let channels = shape[0];
        let weight = self
            .param(&format!("{name}.scale"), &[channels, 1, 1, 1], Role::Weight, narrow(scale))
            .map_err(fault)?;
        let bias = match shift.iter().any(|&v| v != 0.0) {
            true => Some(
                self.param(&format!("{name}.shift"), &[channels], Role::Bias, narrow(shift))
                    .map_err(fault)?,
            ),
            false => None,
        };
        let conv = Op::Conv2d { weight, bias, window: Window::square(1, 1), groups: channels };
        let flat = shape.len() == 1;
        let mut inputs = inputs;
        if flat {
            let up = self.node_name(&format!("{name}.up"), "reshape");
            nodes.push(Node { name: up, op: Op::Reshape(vec![channels, 1, 1]), inputs });
            inputs = vec![Source::Node(nodes.len() - 1)];
        }
        nodes.push(Node { name: name.into(), op: conv, inputs });
        if flat {
            let down = self.node_name(&format!("{name}.down"), "reshape");
            nodes.push(Node {
                name: down,
                op: Op::Reshape(vec![channels]),
                inputs: vec![Source::Node(nodes.len() - 1)],
            });
        }
        Ok(())
    }
}

fn default_name(op: &Op) -> &'static str {
    match op {
        Op::Linear { .. } => "fc",
        Op::Conv2d { .. } => "conv",
        Op::MaxPool(_) | Op::AvgPool { .. } => "pool",
        other => other.kind(),
    }
}

/// A name fit for terminals and files: no control characters, not too long, not empty.
pub(crate) fn clean(name: &str, default: &str) -> String {
    let fine = |c: char| if c.is_control() { '_' } else { c };
    match name {
        "" => default.into(),
        // safetensors keeps this key for itself.
        "__metadata__" => "metadata".into(),
        name => name.chars().take(NAME).map(fine).collect(),
    }
}

/// Names in use, and the next number to try for each; counting on keeps many equal names cheap.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    next: HashMap<String, usize>,
}

impl Names {
    /// `name`, or `name_2`, `name_3` and so on if it is taken.
    fn take(&mut self, name: String) -> String {
        if self.taken.insert(name.clone()) { name } else { self.count(&format!("{name}_"), 2) }
    }
    /// `conv1`, `conv2` and so on.
    fn number(&mut self, stem: &str) -> String {
        self.count(stem, 1)
    }
    fn count(&mut self, stem: &str, from: usize) -> String {
        let next = self.next.entry(stem.to_string()).or_insert(from);
        loop {
            let candidate = format!("{stem}{next}");
            *next += 1;
            if self.taken.insert(candidate.clone()) {
                return candidate;
            }
        }
    }
}
