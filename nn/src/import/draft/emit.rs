//! The graph of a finished draft: steps that lead to the output, and affine maps that found no layer as layers of their own.

use super::map::Map;
use super::{Draft, Kind, Step};
use crate::graph::{MAX_WINDOW, Node, Op, Role, Source};
use twoply_primitives::tensor::Window;

type Emitted = Result<Source, String>;

/// Nodes so far, and where the value of each step is.
pub(super) struct Emitter<'d> {
    draft: &'d mut Draft,
    nodes: Vec<Node>,
}

impl Draft {
    /// Nodes of the steps that `output` needs, the output's last.
    pub(super) fn emit(&mut self, output: Source) -> Result<Vec<Node>, String> {
        let live: Vec<bool> = self.readers(output).iter().map(|r| !r.is_empty()).collect();
        let steps = std::mem::take(&mut self.steps);
        let extents: Vec<Vec<usize>> = steps.iter().map(|s| s.shape.clone()).collect();
        let mut place: Vec<Source> = Vec::with_capacity(steps.len());
        let mut emitter = Emitter { draft: self, nodes: Vec::new() };
        for (mut step, live) in steps.into_iter().zip(live) {
            if let (Kind::Op(op), [x]) = (&mut step.kind, &step.inputs[..]) {
                let from = match x {
                    Source::Input => &emitter.draft.input.shape,
                    Source::Node(j) => &extents[*j],
                };
                plain(op, from);
            }
            let inputs = step.inputs.iter().map(|s| match s {
                Source::Node(j) => place[*j],
                Source::Input => Source::Input,
            });
            let inputs = inputs.collect();
            // The place of a step that nothing needs is never read.
            place.push(if live { emitter.emit(step, inputs)? } else { Source::Input });
        }
        Ok(emitter.nodes)
    }
}

impl Emitter<'_> {
    fn node(&mut self, name: String, op: Op, inputs: Vec<Source>) -> Source {
        self.nodes.push(Node { name, op, inputs });
        Source::Node(self.nodes.len() - 1)
    }

    fn emit(&mut self, step: Step, inputs: Vec<Source>) -> Emitted {
        match (step.kind, &inputs[..]) {
            (Kind::Op(op), _) => Ok(self.node(step.name, op, inputs)),
            (Kind::Affine(map), &[x]) if map.only_adds() => {
                if map.only_multiplies() {
                    return Ok(self.node(step.name, Op::Reshape(step.shape), inputs));
                }
                // A factor of 1 costs a product, but no coefficient for each place of a very large wire.
                if self.draft.count_coefficients(step.shape.iter().product()).is_err() {
                    return self.product(&step.name, x, &step.shape, &map);
                }
                let shift = narrow(&map.spread(&step.shape).shift);
                let name = format!("{}.shift", step.name);
                let weight = self.draft.param(&name, &step.shape, Role::Weight, shift)?;
                Ok(self.node(step.name, Op::Offset { weight }, vec![x]))
            }
            (Kind::Affine(map), &[x]) => self.product(&step.name, x, &step.shape, &map),
            (Kind::Affine(_), _) => Err("a map of several wires".into()),
        }
    }

    /// A 1x1 convolution with a group for each pair of coefficients, on `[pairs, 1, places of each]`.
    fn product(&mut self, name: &str, x: Source, shape: &[usize], map: &Map) -> Emitted {
        let varying = map.axes();
        let rest = (0..shape.len()).filter(|a| !varying.contains(a));
        let perm: Vec<usize> = varying.iter().copied().chain(rest).collect();
        let turned: Vec<usize> = perm.iter().map(|&a| shape[a]).collect();
        let map = map.permuted(&perm);
        let groups = map.scale.len();
        let plane = match turned[..] {
            [c, _, _] if c == groups => turned.clone(),
            _ => vec![groups, 1, turned.iter().product::<usize>() / groups],
        };
        let weight = self.draft.param(
            &format!("{name}.scale"),
            &[groups, 1, 1, 1],
            Role::Weight,
            narrow(&map.scale),
        )?;
        let bias = match map.only_multiplies() {
            true => None,
            false => {
                Some(self.draft.param(&format!("{name}.shift"), &[groups], Role::Bias, narrow(&map.shift))?)
            }
        };
        let conv = Op::Conv2d { weight, bias, window: Window::square(1, 1), groups };
        let moves = !perm.is_sorted();
        let mut y = x;
        if moves {
            y = self.moved(name, "turn", Op::Transpose(perm.clone()), y);
        }
        if plane != turned {
            y = self.moved(name, "up", Op::Reshape(plane.clone()), y);
        }
        y = self.node(name.into(), conv, vec![y]);
        if plane != turned {
            y = self.moved(name, "down", Op::Reshape(turned), y);
        }
        if moves {
            y = self.moved(name, "back", Op::Transpose(super::simplify::inverse(&perm)), y);
        }
        Ok(y)
    }

    fn moved(&mut self, name: &str, what: &str, op: Op, x: Source) -> Source {
        let name = self.draft.node_name(&format!("{name}.{what}"), "reshape");
        self.node(name, op, vec![x])
    }
}

/// Gives an operation on an operand of these extents its plainest name: zeros around planes are a pad.
fn plain(op: &mut Op, from: &[usize]) {
    let (Op::Take(lists), &[_, h, w]) = (&*op, from) else { return };
    // Places in front of a whole axis, and behind it.
    let around = |list: &Option<Vec<Option<usize>>>, extent: usize| match list {
        None => Some((0, 0)),
        Some(list) => {
            let before = list.iter().take_while(|at| at.is_none()).count();
            let behind = list.len().checked_sub(before + extent)?;
            let whole = (0..extent).map(Some).eq(list[before..before + extent].iter().copied());
            (whole && list[before + extent..].iter().all(Option::is_none)).then_some((before, behind))
        }
    };
    if let [None, rows, columns] = &lists[..]
        && let (Some((top, bottom)), Some((left, right))) = (around(rows, h), around(columns, w))
        && [top, left, bottom, right].iter().all(|&p| p <= MAX_WINDOW)
    {
        *op = Op::Pad([top, left, bottom, right]);
    }
}

fn narrow(v: &[f64]) -> Vec<f32> {
    v.iter().map(|&x| x as f32).collect()
}
