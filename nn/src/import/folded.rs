//! From a network that trains to one that answers: batch normalisations go into the layers beside them, as import folds them.
//!
//! How they fold depends on the weights (a layer without an addend has no bias), so this takes both halves of a model and
//! gives both: a plan, its weights and its ranges are then all of the folded graph, and nothing of inference knows of batch
//! normalisations.

use super::Imported;
use super::draft::Draft;
use crate::graph::{Graph, Norm, Op, Source};
use crate::{Error, Result, Weights};

/// The same network without batch normalisations; one that has none stays as it is.
///
/// # Errors
/// [`Error::Graph`] or [`Error::Weights`] if these are no model, and [`Error::Data`] for a variance that has no root.
pub fn folded(graph: &Graph, weights: &Weights) -> Result<Imported> {
    graph.validate()?;
    weights.check(graph)?;
    if !graph.nodes.iter().any(|n| matches!(n.op, Op::BatchNorm { .. })) {
        return Ok(Imported { graph: graph.clone(), weights: weights.clone() });
    }
    let mut draft = Draft::new(&graph.input.name, graph.input.shape.clone(), graph.input.normalise.clone());
    draft.input.layout = graph.input.layout;
    let mut at = vec![];
    for i in 0..graph.nodes.len() {
        let made = again(&mut draft, (graph, weights, i), &at);
        let name = &graph.nodes[i].name;
        at.push(made.map_err(|why| Error::data("fold", format!("`{name}`: {why}")))?);
    }
    draft.finish(&graph.name, at.last().copied().unwrap_or(Source::Input))
}

/// Node `i` in the draft, those before it being `at` their places. A parameter that layers share becomes one for each: they may
/// fold differently.
fn again(
    draft: &mut Draft,
    (graph, weights, i): (&Graph, &Weights, usize),
    at: &[Source],
) -> std::result::Result<Source, String> {
    let node = &graph.nodes[i];
    let place = |s: &Source| if let Source::Node(j) = s { at[*j] } else { Source::Input };
    let inputs: Vec<Source> = node.inputs.iter().map(place).collect();
    if let Some(norm) = Norm::of(graph, weights, i) {
        let (scale, shift) = norm.affine()?;
        return draft.affine(&node.name, inputs[0], &scale, &shift);
    }
    let mut own = vec![];
    for p in node.op.params() {
        let param = &graph.params[p];
        own.push((p, draft.param(&param.name, &param.shape, param.role, weights.0[p].clone())?));
    }
    let mut op = node.op.clone();
    op.renumber(|p| own.iter().find(|o| o.0 == p).map_or(p, |o| o.1));
    draft.push(&node.name, op, &inputs)
}
