//! Axes of a wire. ONNX counts the batch as axis 0; wires have shapes per image, without it.

use super::call::{Call, Lowered, Stop, Value, axis};
use crate::graph::{Op, Source};

/// Which axis of an image ONNX's axis is.
pub(super) fn of_image(value: i64, shape: &[usize]) -> Result<usize, Stop> {
    match axis(value, shape.len() + 1)? {
        0 => Err(Stop::Because(format!("along axis {value}, which would mix images"))),
        a => Ok(a - 1),
    }
}

/// The same for a list; sorted, and none twice.
pub(super) fn of_images(values: &[i64], shape: &[usize]) -> Result<Vec<usize>, Stop> {
    let mut axes = values.iter().map(|&a| of_image(a, shape)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    match axes.windows(2).any(|w| w[0] == w[1]) {
        true => Err("an axis stands there twice".into()),
        false => Ok(axes),
    }
}

/// Extents per image, a constant's or a target's, that line up with a wire's at the end, as broadcasting has it; 1 for
/// axes in front that are not there. The batch must be left to the wire: `free` says which extents do that.
pub(super) fn aligned<T: Copy + std::fmt::Debug>(
    dims: &[T],
    rank: usize,
    one: T,
    free: impl Fn(T) -> bool,
) -> Result<Vec<T>, Stop> {
    let image = match dims.len().checked_sub(rank) {
        Some(0) | None => dims,
        Some(1) if free(dims[0]) => &dims[1..],
        Some(_) => {
            return Err(Stop::Because(format!("{dims:?} on {rank} axes per image would mix images")));
        }
    };
    let missing = std::iter::repeat_n(one, rank - image.len());
    Ok(missing.chain(image.iter().copied()).collect())
}

/// Two shapes broadcast to one.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Stop> {
    let join = |(&a, &b): (&usize, &usize)| if a == b || b == 1 { Some(a) } else { (a == 1).then_some(b) };
    match a.len() == b.len() {
        true => a.iter().zip(b).map(join).collect(),
        false => None,
    }
    .ok_or_else(|| Stop::Because(format!("{a:?} and {b:?} per image do not broadcast to one shape")))
}

impl Call<'_> {
    /// A wire repeated along axes of extent 1 until it has this shape.
    pub(super) fn spread(&mut self, x: Source, to: &[usize]) -> Result<Source, Stop> {
        let from = self.draft.shape(x).to_vec();
        if from == to {
            return Ok(x);
        }
        self.draft.count_places(to.iter().sum())?;
        let list = |(&from, &to): (&usize, &usize)| (from != to).then(|| vec![Some(0); to]);
        let lists = from.iter().zip(to).map(list).collect();
        Ok(self.draft.push("", Op::Take(lists), &[x])?)
    }
    /// Adds a node without a name of its own: one of several that an ONNX node becomes.
    pub(super) fn step(&mut self, op: Op, inputs: &[Source]) -> Result<Source, Stop> {
        Ok(self.draft.push("", op, inputs)?)
    }
    /// The wire under another shape.
    pub(super) fn view(&mut self, x: Source, shape: &[usize]) -> Result<Source, Stop> {
        self.step(Op::Reshape(shape.to_vec()), &[x])
    }
    /// The wire under another shape, as the node's result. One number per image has no axis of its own.
    pub(super) fn shown(&mut self, x: Source, shape: Vec<usize>) -> Lowered {
        if shape.is_empty() {
            return Ok(Value::Rows(self.view(x, &[1])?));
        }
        Ok(Value::Wire(self.draft.push(&self.node.name, Op::Reshape(shape), &[x])?))
    }
    /// The elements at these places along one axis.
    pub(super) fn pick(
        &mut self,
        x: Source,
        axis: usize,
        places: Vec<Option<usize>>,
    ) -> Result<Source, Stop> {
        let mut lists = vec![None; self.draft.shape(x).len()];
        lists[axis] = Some(places);
        Ok(self.draft.push(&self.node.name, Op::Take(lists), &[x])?)
    }
}
