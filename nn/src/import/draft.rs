//! The network while it is being imported: graph nodes, and affine maps that still have to find a layer.

mod emit;
mod fold;
mod map;
mod names;
mod simplify;

use super::Imported;
use crate::graph::{Graph, Input, MAX_ELEMENTS, MAX_NODES, Normalise, Op, Param, Role, Source, elements};
use crate::{Error, Result, Weights, passes};
pub(crate) use map::{Map, repeat};
use names::Names;
pub(crate) use names::clean;
pub(crate) use simplify::inverse;

/// Most coefficients of affine maps in one model; a small file could ask for as many again with every node.
const MAX_COEFFICIENTS: usize = 1 << 24;

/// Most elements of constants computed from other constants, for the same reason, in a model of any size.
const COMPUTED: usize = 1 << 24;
/// Most places named in one model, along axes that are taken apart or repeated; each is an index in the graph's file.
const MAX_PLACES: usize = 1 << 20;

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
    /// Factors and addends that still have to find a layer.
    Affine(Map),
}

/// Nodes and parameters so far.
pub(crate) struct Draft {
    pub(crate) input: Input,
    pub(crate) steps: Vec<Step>,
    pub(crate) params: Vec<Param>,
    pub(crate) weights: Vec<Vec<f32>>,
    /// Whether batch normalisations stay layers of their own.
    pub(crate) keeps_norms: bool,
    node_names: Names,
    param_names: Names,
    param_elements: usize,
    coefficients: usize,
    /// Elements that may still be computed.
    room: usize,
    places: usize,
    /// Whether dropouts are nodes, which training needs.
    pub(crate) keep_dropout: bool,
}

impl Draft {
    /// An empty network on this input.
    pub(crate) fn new(name: &str, shape: Vec<usize>, normalise: Normalise) -> Draft {
        Draft {
            input: Input { name: clean(name, "input"), shape, normalise, layout: Default::default() },
            steps: Vec::new(),
            params: Vec::new(),
            weights: Vec::new(),
            keeps_norms: false,
            node_names: Names::default(),
            param_names: Names::default(),
            param_elements: 0,
            coefficients: 0,
            room: COMPUTED,
            places: 0,
            keep_dropout: false,
        }
    }

    /// Shape of a wire per image.
    pub(crate) fn shape(&self, source: Source) -> &[usize] {
        match source {
            Source::Input => &self.input.shape,
            Source::Node(j) => &self.steps[j].shape,
        }
    }

    /// Adds a per-channel affine map, along the first axis; one coefficient stands for all channels.
    pub(crate) fn affine(
        &mut self,
        name: &str,
        source: Source,
        scale: &[f64],
        shift: &[f64],
    ) -> std::result::Result<Source, String> {
        let mut dims = vec![1; self.shape(source).len()];
        dims[0] = scale.len().max(shift.len());
        let extent = self.shape(source)[0];
        if [scale.len(), shift.len()].iter().any(|&n| n != 1 && n != extent) {
            return Err(format!("{} and {} values for {extent} channels", scale.len(), shift.len()));
        }
        let spread = |v: &[f64]| if v.len() == 1 { vec![v[0]; dims[0]] } else { v.to_vec() };
        let (scale, shift) = (spread(scale), spread(shift));
        self.map(name, source, Map { dims, scale, shift })
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

    /// Accounts for `n` places in lists of places, before they are written down.
    pub(crate) fn count_places(&mut self, n: usize) -> std::result::Result<(), String> {
        self.places = self.places.saturating_add(n);
        if self.places > MAX_PLACES {
            return Err("too many places to move in this model".into());
        }
        Ok(())
    }

    /// Accounts for the elements of a computed matrix, and says how many they are.
    pub(crate) fn matrix(&mut self, rows: usize, columns: usize) -> std::result::Result<usize, String> {
        let n = rows.saturating_mul(columns);
        self.count_coefficients(n)?;
        Ok(n)
    }

    /// Accounts for `n` coefficients of affine maps.
    fn count_coefficients(&mut self, n: usize) -> std::result::Result<(), String> {
        self.coefficients = self.coefficients.saturating_add(n);
        if self.coefficients > MAX_COEFFICIENTS {
            return Err("too many factors and addends in this model".into());
        }
        Ok(())
    }

    /// For each step, the steps that read it on the way to `output`; the output is read from outside, which counts as one.
    fn readers(&self, output: Source) -> Vec<Vec<usize>> {
        let mut readers = vec![Vec::new(); self.steps.len()];
        if let Source::Node(last) = output {
            readers[last].push(usize::MAX);
        }
        for i in (0..self.steps.len()).rev() {
            if !readers[i].is_empty() {
                for source in &self.steps[i].inputs {
                    if let Source::Node(j) = source {
                        readers[*j].push(i);
                    }
                }
            }
        }
        readers
    }

    /// The graph with `output` as its last node: affine maps folded where possible, passes applied.
    ///
    /// # Errors
    /// [`Error::Graph`] if the result is no valid graph, which would be a fault of this importer or of `normalise`.
    pub(crate) fn finish(mut self, name: &str, output: Source) -> Result<Imported> {
        let fault = |why: String| Error::Graph { graph: name.into(), faults: vec![why] };
        if output == Source::Input {
            return Err(fault("the output is the input".into()));
        }
        fold::fold(&mut self, output);
        let nodes = self.emit(output).map_err(fault)?;
        let mut graph = Graph { name: clean(name, "network"), input: self.input, params: self.params, nodes };
        let mut weights = Weights(self.weights);
        passes::all(&mut graph, &mut weights);
        graph.validate()?;
        weights.check(&graph)?;
        Ok(Imported { graph, weights })
    }
}

fn default_name(op: &Op) -> &'static str {
    match op {
        Op::Linear { .. } => "fc",
        Op::Conv2d { .. } => "conv",
        Op::BatchNorm { .. } => "norm",
        Op::MaxPool(_) | Op::AvgPool { .. } => "pool",
        other => other.kind(),
    }
}
