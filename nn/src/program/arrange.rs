//! Operations that only move or add wires: free for the parties, once the wires have one scale.

use super::{Run, Wire};
use crate::engine::Infer;
use crate::graph::{Graph, Op, Source};
use crate::{Error, Result};
use std::sync::Arc;
use twoply_primitives::{Local, Window};

/// Where an operation takes the elements of its result from: known to the program, and the same in all runs of it.
#[derive(Clone, Debug)]
pub(super) struct Moves {
    /// For each element, its place in the operands, one behind the other; a zero stands behind them all.
    places: Arc<[usize]>,
    /// The first place, if there are zeros.
    first: Option<Arc<[usize]>>,
}

/// The moves of each node, `None` where it computes. The graph is valid, its nodes have these shapes.
pub(super) fn moves(graph: &Graph, shapes: &[Vec<usize>]) -> Vec<Option<Moves>> {
    let shape = |s: &Source| match s {
        Source::Input => &graph.input.shape,
        Source::Node(j) => &shapes[*j],
    };
    let row = |s: &Source| shape(s).iter().product::<usize>();
    let moves = |node: &crate::Node| {
        let all = node.inputs.iter().map(row).sum();
        let places = match &node.op {
            Op::Concat => (0..all).collect(),
            Op::MaxPool(window) if window.kernel == [1, 1] && window.pad == [0; 4] => {
                subsample(shape(&node.inputs[0]), window)
            }
            op => op.moves(shape(&node.inputs[0]))?,
        };
        let first = places.contains(&all).then(|| [0].into());
        Some(Moves { places: places.into(), first })
    };
    graph.nodes.iter().map(moves).collect()
}

/// The elements that windows of one tap read.
fn subsample(shape: &[usize], window: &Window) -> Vec<usize> {
    let (&[c, h, w], stride) = (shape, window.stride) else { return vec![] };
    let plane = |p: usize| {
        let rows = (0..h).step_by(stride[0]);
        rows.flat_map(move |y| (0..w).step_by(stride[1]).map(move |x| (p * h + y) * w + x))
    };
    (0..c).flat_map(plane).collect()
}

impl<E: Infer> Run<'_, '_, E> {
    /// Equal fractions meet in the narrowest ring; otherwise the finest sets the scale, at n bits.
    pub(super) fn combine(&mut self, map: &Local, wires: Vec<Wire<E::Value>>) -> Result<Wire<E::Value>> {
        let frac = wires.iter().map(|w| w.frac).max().unwrap_or(0);
        let mut aligned = vec![];
        for w in wires {
            if w.frac == frac {
                aligned.push(w.v);
                continue;
            }
            let by = frac - w.frac;
            let wide = self.full_width(w)?;
            aligned.push(self.e.local(&Local::Scale(1 << by), &[&wide.v])?);
        }
        let v = self.e.local(map, &aligned.iter().collect::<Vec<_>>())?;
        Ok(Wire { v, frac })
    }

    /// The elements of all operands of node `i` at their new places; zeros are public, and so under no mask.
    pub(super) fn moved(
        &mut self,
        i: usize,
        x: Wire<E::Value>,
        last: bool,
    ) -> Result<Option<Wire<E::Value>>> {
        let program = self.program;
        let missing = || Error::data("plan", "a node that moves nothing");
        let Moves { places, first } = program.moves[i].as_ref().ok_or_else(missing)?;
        let mut wires = vec![x];
        for k in 1..program.graph.nodes[i].inputs.len() {
            wires.push(self.operand(i, k)?);
        }
        if let Some(first) = first {
            let zero = self.e.local(&Local::Gather(first.clone()), &[&wires[0].v])?;
            wires.push(Wire { v: self.e.local(&Local::Scale(0), &[&zero])?, frac: wires[0].frac });
        }
        let moved = self.combine(&Local::Gather(places.clone()), wires)?;
        let shape = Local::Reshape(program.shapes[i].clone());
        let v = self.e.local(&shape, &[&moved.v])?;
        self.local(Wire { v, frac: moved.frac }, last)
    }
}
