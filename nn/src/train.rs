//! Private training: one step of stochastic gradient descent on a batch, as a program.
//!
//! A step is derived from the graph in reverse mode and written once for every engine: forward, gradient of the loss, backward,
//! update (AriaNN trains with shares in its section 5; the gates here are those of masked wires). Nothing is opened but
//! masked values and masked bits. Weights are wires whose mask moves with every update, by the mask of the velocity: they are
//! never masked anew and never opened. A step is one image of a session, with its batch inside.

mod audit;
mod backward;
mod check;
mod compare;
mod data;
mod dropout;
mod forward;
mod judge;
mod loss;
mod norm;
mod plan;
mod pool;
mod recipe;
mod reference;
mod rehearsal;
mod reveal;
pub mod roles;
mod schedule;
mod share;
mod start;
mod under;
mod update;
mod values;

pub use compare::{Compared, Course, Point, compare, judge, plain, reach};
pub use data::{Held, Stored};
pub use plan::TrainingPlan;
pub use recipe::{Fractions, Loss, Rate, Recipe};
pub use reference::Reference;
pub use rehearsal::{Checkpoint, Played, Rehearsal, miscounted};
pub use reveal::{Batch, Figure, Piece, Reveal, Wanted};
pub use schedule::{Moment, Schedule};
pub use share::{Brings, MOST_SHARES, Share, Slice, index_digest};
pub use start::{all_but_last, batches, initial, trunk};

use crate::engine::{Learn, Planner};
use crate::graph::{Graph, Role, Source};
use crate::program::Wires;
use crate::{Error, Result};
use backward::Back;
use norm::Norm;
use pool::Pool;
use std::sync::Arc;
use twoply_primitives::gate::Lift;
use twoply_primitives::{Form, Local, Shape};

/// A training step at one rate, with everything decided that its gates need.
#[derive(Clone, Debug)]
pub struct Step {
    graph: Graph,
    recipe: Recipe,
    /// Shape of every node, without the batch.
    shapes: Vec<Vec<usize>>,
    /// Where nodes that only move elements take them from.
    moves: Vec<Option<forward::Moves>>,
    /// How pools go forward and back.
    pools: Vec<Option<Pool>>,
    /// How batch normalisations do.
    norms: Vec<Option<Norm>>,
    /// Where each parameter stands in a state; statistics of batch normalisations are none of its wires.
    places: Vec<Option<usize>>,
    /// Whether the gradient of a node's result is wanted.
    wanted: Vec<bool>,
    /// Whether a parameter is trained.
    trained: Vec<bool>,
}

/// What a step takes over from the one before: for each parameter that is learnt a wire of n bits.
#[derive(Clone)]
pub struct State<V> {
    /// Parameters, biases too, at the weights' fraction; without the statistics of batch normalisations.
    pub weights: Vec<V>,
    /// The learning rate times the velocity of SGD with momentum, at the same fraction.
    pub velocity: Vec<V>,
    /// Sums since they were last set to public zeros: for each batch normalisation the means and the variances of the batches.
    /// Every step adds its own, which costs no gate; whoever runs the steps sets them to zero some steps before they are
    /// wanted, at a step that is public ([`Step::set_statistics`] says how many may be added up).
    pub accumulators: Vec<V>,
}

impl Step {
    /// Decides everything.
    ///
    /// # Errors
    /// [`Error::Graph`] where the graph breaks its rules, [`Error::Data`] with every operation that does not train, or where graph
    /// and recipe do not go together.
    pub fn new(graph: &Graph, recipe: &Recipe) -> Result<Self> {
        graph.validate()?;
        recipe.check()?;
        let shapes = graph.shapes()?;
        let last = graph.nodes.len() - 1;
        let users = |p: usize| graph.nodes.iter().filter(move |n| n.op.params().any(|q| q == p));
        let named = |name: &String| graph.nodes.iter().any(|n| n.name == *name);
        let mut faults: Vec<String> =
            recipe.frozen.iter().filter(|f| !named(f)).map(|f| format!("no layer `{f}` to freeze")).collect();
        faults.extend(check::faults(graph, recipe));
        let learns = |p: usize| {
            graph.params[p].role.is_learnt()
                && users(p).next().is_some()
                && !users(p).any(|n| recipe.frozen.contains(&n.name))
        };
        let trained: Vec<bool> = (0..graph.params.len()).map(learns).collect();
        let mut wanted: Vec<bool> = vec![];
        for node in &graph.nodes {
            let above = |s: &Source| matches!(s, Source::Node(j) if wanted[*j]);
            wanted.push(node.op.params().any(|p| trained[p]) || node.inputs.iter().any(above));
        }
        if !wanted[last] {
            faults.push("every layer that could learn is frozen".into());
        }
        faults.extend(recipe.loss.faults(shapes[last].iter().product(), &recipe.fractions));
        let (mut pools, mut norms) = (vec![], vec![]);
        match check::sizes(graph, recipe.n) {
            Err(e) if faults.is_empty() => return Err(e),
            Err(e) => faults.push(check::why(e)),
            // windows are gone through tap by tap, which takes a size that a plan could have
            Ok(()) => {
                pools = check::each(graph, &mut faults, |n| pool::of(n, graph, &shapes, recipe.n));
                norms = check::each(graph, &mut faults, |n| norm::of(n, graph, &shapes, recipe));
            }
        }
        if !faults.is_empty() {
            return Err(Error::data("training", faults.join("; ")));
        }
        let moves = forward::moves(graph, &shapes);
        let mut places = 0..;
        let place = |p: &crate::Param| if p.role.is_learnt() { places.next() } else { None };
        let places = graph.params.iter().map(place).collect();
        let (graph, recipe) = (graph.clone(), recipe.clone());
        Ok(Step { graph, recipe, shapes, moves, pools, norms, places, wanted, trained })
    }
    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
    /// The recipe; its rate is this step's.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }
    /// Form of a batch of inputs, with the activations' fraction.
    pub fn input(&self) -> Form {
        self.batch(&self.graph.input.shape)
    }
    /// Form of a batch of targets, with [`Loss::target_fraction`].
    pub fn targets(&self) -> Form {
        self.batch(&[self.shapes[self.shapes.len() - 1].iter().product()])
    }
    fn batch(&self, row: &[usize]) -> Form {
        let shape = std::iter::once(self.recipe.batch).chain(row.iter().copied()).collect();
        Form { shape: Shape(shape), bits: self.recipe.n }
    }
    /// Forms of the parameters that are learnt, in order.
    pub fn params(&self) -> Vec<Form> {
        let form = |p: &crate::Param| Form { shape: Shape(p.shape.clone()), bits: self.recipe.n };
        self.graph.params.iter().filter(|p| p.role.is_learnt()).map(form).collect()
    }
    /// Forms of the accumulators, in order: none without batch normalisations.
    pub fn accumulators(&self) -> Vec<Form> {
        let form = |norm: &Norm| Form::new([norm.channels()], self.recipe.n);
        self.norms.iter().flatten().flat_map(|norm| [form(norm), form(norm)]).collect()
    }

    /// One step: the next state, from inputs and targets.
    ///
    /// # Errors
    /// What gates and engine report.
    pub fn run<E: Learn>(
        &self,
        e: &mut E,
        moment: Moment,
        state: &State<E::Value>,
        (x, targets): (E::Value, E::Value),
    ) -> Result<State<E::Value>> {
        let mut run = self.begin(e, moment, state, x);
        let logits = run.forward(self.recipe.loss.fraction(&self.recipe.fractions))?;
        let gradient = run.loss(logits, targets)?;
        run.backward(gradient)?;
        run.update()
    }
    /// The gates of a step with their bills; they are the same at every moment.
    ///
    /// # Errors
    /// What a gate refuses.
    pub fn planned(&self) -> Result<Planner> {
        let mut planner = Planner::new(self.recipe.n);
        let params = self.params();
        let state = State { weights: params.clone(), velocity: params, accumulators: self.accumulators() };
        self.run(&mut planner, Moment::default(), &state, (self.input(), self.targets()))?;
        Ok(planner)
    }
    fn begin<'r, E: Learn>(
        &'r self,
        e: &'r mut E,
        moment: Moment,
        state: &'r State<E::Value>,
        x: E::Value,
    ) -> Run<'r, E> {
        let (wires, back) = (Wires::new(&self.graph, x), Back::new(&self.graph));
        let tape = self.graph.nodes.iter().map(|_| Tape::None).collect();
        Run { step: self, e, moment, state, wires, tape, back, statistics: vec![], judges: false }
    }
    fn role(&self, param: usize) -> Role {
        self.graph.params[param].role
    }
}

/// What the backward pass of a node needs of its forward pass.
enum Tape<V, B> {
    None,
    /// An operand.
    Operand(V),
    /// Both operands.
    Operands(V, V),
    /// Decisions.
    Bits(Vec<B>),
    /// A whole factor for every element of the batch, and how many bits of it are a fraction.
    Factors(Arc<[i64]>, u32),
    /// Of a batch normalisation.
    Norm(norm::Kept<V>),
}

/// A step under way.
struct Run<'r, E: Learn> {
    step: &'r Step,
    e: &'r mut E,
    moment: Moment,
    state: &'r State<E::Value>,
    wires: Wires<'r, E::Value>,
    tape: Vec<Tape<E::Value, E::Bit>>,
    back: Back<E::Value>,
    /// What this step adds to the accumulators.
    statistics: Vec<E::Value>,
    /// Whether the network is judged and not trained: nothing is dropped out.
    judges: bool,
}

impl<'r, E: Learn> Run<'r, E> {
    /// The wire of a parameter that is learnt.
    fn weight(&self, p: usize) -> &'r E::Value {
        &self.state.weights[self.place(p)]
    }
    /// Its place in the state; a checked graph asks for no other parameter's.
    fn place(&self, p: usize) -> usize {
        self.step.places[p].unwrap_or_default()
    }
    fn local(&mut self, map: &Local, x: &[&E::Value]) -> Result<E::Value> {
        Ok(self.e.local(map, x)?)
    }
    /// The same value at n bits.
    fn full(&mut self, x: E::Value) -> Result<E::Value> {
        match self.e.form(&x).bits == self.step.recipe.n {
            true => Ok(x),
            false => Ok(self.e.gate(&Lift, &[&x])?),
        }
    }
    /// These extents per image; nothing happens if it has them.
    fn shaped(&mut self, x: E::Value, row: &[usize]) -> Result<E::Value> {
        match self.e.form(&x).shape.0[1..] == *row {
            true => Ok(x),
            false => self.local(&Local::Reshape(row.to_vec()), &[&x]),
        }
    }
    fn flat(&mut self, x: E::Value) -> Result<E::Value> {
        let row = self.e.form(&x).shape.row();
        self.shaped(x, &[row])
    }
}
