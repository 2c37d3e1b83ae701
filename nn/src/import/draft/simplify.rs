//! Steps that only move elements, kept out of the way while the network is drafted: neighbours become one, those that undo
//! each other vanish, and what works element by element passes in front of them. So a network whose file has channels last
//! ends up with the layers of one that has them first.

use super::map::Map;
use super::{Draft, Kind, Step};
use crate::graph::{Op, Source};

type Drafted = Result<Source, String>;
type Lists = Vec<Option<Vec<Option<usize>>>>;

/// A step that moves every element of `from` to one place.
struct Move {
    op: Op,
    from: Source,
}

impl Draft {
    /// Adds a node, checked against the shapes of its operands; joined with what is there where only elements move.
    pub(crate) fn push(&mut self, name: &str, op: Op, inputs: &[Source]) -> Drafted {
        let operands: Vec<&[usize]> = inputs.iter().map(|s| self.shape(*s)).collect();
        let shape = op.output(&operands, &self.params).map_err(|why| why.join("; "))?;
        match (op, inputs) {
            (Op::Reshape(to), &[x]) => self.reshape(name, to, x),
            (Op::Transpose(perm), &[x]) => self.transpose(name, perm, x),
            (Op::Take(lists), &[x]) => self.take(name, lists, x),
            (
                op @ (Op::Relu
                | Op::LeakyRelu { .. }
                | Op::Clip { .. }
                | Op::Affine { .. }
                | Op::Dropout { .. }),
                &[x],
            ) => self.each(name, op, x),
            (op @ (Op::Add | Op::Sub | Op::Mul), &[a, b]) => self.pair(name, op, [a, b]),
            (op, inputs) => self.step(name, op, inputs, shape),
        }
    }

    /// Adds a map; coefficients that vary along no axis, or one for each place of some axes.
    pub(crate) fn map(&mut self, name: &str, x: Source, map: Map) -> Drafted {
        if !map.is_finite() {
            return Err("its factors are not finite".into());
        }
        self.count_coefficients(2 * map.scale.len())?;
        if let Some(Move { op, from }) = self.moved(x)
            && let Some(before) = match &op {
                Op::Transpose(perm) => Some(map.permuted(&inverse(perm))),
                _ => map.reshaped(self.shape(x), self.shape(from)),
            }
        {
            let y = self.map(name, from, before)?;
            return self.push("", op, &[y]);
        }
        let shape = self.shape(x).to_vec();
        let name = self.node_name(name, "scale");
        self.add(Step { name, kind: Kind::Affine(map), inputs: vec![x], shape })
    }

    fn step(&mut self, name: &str, op: Op, inputs: &[Source], shape: Vec<usize>) -> Drafted {
        let name = self.node_name(name, super::default_name(&op));
        self.add(Step { name, kind: Kind::Op(op), inputs: inputs.to_vec(), shape })
    }

    /// The step behind `x`, if all it does is to give every element of its operand another place.
    fn moved(&self, x: Source) -> Option<Move> {
        let Source::Node(i) = x else { return None };
        match (&self.steps[i].kind, &self.steps[i].inputs[..]) {
            (Kind::Op(op @ (Op::Reshape(_) | Op::Transpose(_))), &[from]) => {
                Some(Move { op: op.clone(), from })
            }
            _ => None,
        }
    }

    fn reshape(&mut self, name: &str, to: Vec<usize>, x: Source) -> Drafted {
        if self.shape(x) == to {
            return Ok(x);
        }
        match self.moved(x) {
            Some(Move { op: Op::Reshape(_), from }) => return self.reshape(name, to, from),
            // Extents of 1 come and go in front of a transpose as well.
            Some(Move { op: Op::Transpose(perm), from })
                if long(self.shape(x)).map(|a| self.shape(x)[a]).eq(long(&to).map(|a| to[a])) =>
            {
                let before = self.shape(from).to_vec();
                let kept: Vec<usize> = long(&before).collect();
                let ones = to.len() - kept.len();
                let bare = kept.iter().map(|&a| before[a]).chain(std::iter::repeat_n(1, ones)).collect();
                let moved: Vec<usize> =
                    perm.iter().filter_map(|a| kept.iter().position(|k| k == a)).collect();
                let (mut moved, mut spare) = (moved.into_iter(), kept.len()..);
                let perm =
                    to.iter().filter_map(|&d| if d == 1 { spare.next() } else { moved.next() }).collect();
                let y = self.reshape("", bare, from)?;
                return self.transpose(name, perm, y);
            }
            _ => {}
        }
        self.step(name, Op::Reshape(to.clone()), &[x], to)
    }

    fn transpose(&mut self, name: &str, perm: Vec<usize>, x: Source) -> Drafted {
        if perm.iter().copied().eq(0..perm.len()) {
            return Ok(x);
        }
        if let Some(Move { op: Op::Transpose(first), from }) = self.moved(x) {
            return self.transpose(name, perm.iter().map(|&a| first[a]).collect(), from);
        }
        let shape = self.shape(x);
        let to: Vec<usize> = perm.iter().map(|&a| shape[a]).collect();
        // Where only extents of 1 change their places, no element does.
        if perm.iter().filter(|&&a| shape[a] != 1).is_sorted() {
            return self.reshape(name, to, x);
        }
        self.step(name, Op::Transpose(perm), &[x], to)
    }

    fn take(&mut self, name: &str, mut lists: Lists, x: Source) -> Drafted {
        let extents = self.shape(x).to_vec();
        for (list, &extent) in lists.iter_mut().zip(&extents) {
            if list.as_ref().is_some_and(|l| l.iter().copied().eq((0..extent).map(Some))) {
                *list = None;
            }
        }
        if lists.iter().all(Option::is_none) {
            return Ok(x);
        }
        if let Some(Move { op: Op::Transpose(perm), from }) = self.moved(x) {
            let lists = inverse(&perm).iter().map(|&a| lists[a].clone()).collect();
            let y = self.take(name, lists, from)?;
            return self.transpose("", perm, y);
        }
        if let Source::Node(i) = x
            && let (Kind::Op(Op::Take(first)), &[from]) = (&self.steps[i].kind, &self.steps[i].inputs[..])
        {
            let both = first.iter().zip(lists).map(|(first, list)| match (first, list) {
                (Some(first), Some(list)) => Some(list.into_iter().map(|at| first[at?]).collect()),
                (Some(first), None) => Some(first.clone()),
                (None, list) => list,
            });
            let both = both.collect();
            return self.take(name, both, from);
        }
        let shape = lists.iter().zip(&extents).map(|(l, &n)| l.as_ref().map_or(n, Vec::len)).collect();
        self.step(name, Op::Take(lists), &[x], shape)
    }

    /// One operand, element by element.
    fn each(&mut self, name: &str, op: Op, x: Source) -> Drafted {
        match self.moved(x) {
            Some(Move { op: moving, from }) => {
                let y = self.each(name, op, from)?;
                self.push("", moving, &[y])
            }
            None => {
                let shape = self.shape(x).to_vec();
                self.step(name, op, &[x], shape)
            }
        }
    }

    /// Two operands, element by element. Where both are moved alike, and where one is, the result is moved instead.
    fn pair(&mut self, name: &str, op: Op, [a, b]: [Source; 2]) -> Drafted {
        let (moving, from, other) = match (self.moved(a), self.moved(b)) {
            (Some(x), Some(y)) if x.op == y.op && self.shape(x.from) == self.shape(y.from) => {
                let y = self.pair(name, op, [x.from, y.from])?;
                return self.push("", x.op, &[y]);
            }
            (Some(x), _) => (x.op, x.from, b),
            (None, Some(y)) => (y.op, y.from, a),
            (None, None) => {
                let shape = self.shape(a).to_vec();
                return self.step(name, op, &[a, b], shape);
            }
        };
        let back = match &moving {
            Op::Transpose(perm) => Op::Transpose(inverse(perm)),
            _ => Op::Reshape(self.shape(from).to_vec()),
        };
        let other_moved = self.push("", back, &[other])?;
        let operands = if other == b { [from, other_moved] } else { [other_moved, from] };
        let shape = self.shape(from).to_vec();
        let y = self.step(name, op, &operands, shape)?;
        self.push("", moving, &[y])
    }
}

/// Axes with another extent than 1.
fn long(shape: &[usize]) -> impl Iterator<Item = usize> {
    (0..shape.len()).filter(|&a| shape[a] != 1)
}

/// The order of axes that undoes another.
pub(crate) fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut back = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(i, &a)| back[a] = i);
    back
}
