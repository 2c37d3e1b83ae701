//! Folds affine maps (BatchNormalization, constants added or multiplied) into the products before and behind them.

use super::map::Map;
use super::{Draft, Kind};
use crate::graph::{Op, Role, Source};

/// Factors that may go into the layer behind them. Weights have a fixed number of fraction bits: those multiplied with 1/255
/// would lose most of theirs, and a product of its own keeps them.
const FACTORS: std::ops::RangeInclusive<f64> = 1.0 / 16.0..=16.0;
/// Largest addend that is taken out of a map so that its factor can go into the layer behind it.
const ADDEND: f64 = 256.0;

/// Folds wherever a convolution, a linear layer or another map stands before a map and nothing else reads it; then wherever a
/// product behind it is all that reads the map. A folded step becomes a reshape to its own shape, which the passes remove.
pub(super) fn fold(draft: &mut Draft, output: Source) {
    let readers = draft.readers(output);
    // Where the value of a step is computed: itself, or the layer it was folded into.
    let mut home: Vec<usize> = (0..draft.steps.len()).collect();
    for i in 0..draft.steps.len() {
        let (Some(map), false) = (draft.map_of(i), readers[i].is_empty()) else { continue };
        if let [Source::Node(before)] = draft.steps[i].inputs[..]
            && readers[before].len() == 1
            && behind(draft, home[before], &map, draft.is_public(i))
        {
            home[i] = home[before];
            draft.forget(i);
        }
    }
    for i in (0..draft.steps.len()).rev() {
        if let Some(map) = draft.map_of(i) {
            in_front(draft, i, map, &readers);
        }
    }
}

impl Draft {
    /// The map that step `i` is, if it is one.
    fn map_of(&self, i: usize) -> Option<Map> {
        match &self.steps[i].kind {
            Kind::Affine(map) => Some(map.clone()),
            Kind::Op(Op::Affine { scale, shift }) => {
                Some(Map::scalar(self.steps[i].shape.len(), *scale, *shift))
            }
            Kind::Op(_) => None,
        }
    }
    fn is_public(&self, i: usize) -> bool {
        matches!(self.steps[i].kind, Kind::Op(_))
    }
    fn forget(&mut self, i: usize) {
        self.steps[i].kind = Kind::Op(Op::Reshape(self.steps[i].shape.clone()));
    }
}

/// Whether a map costs a product, or a truncation.
fn costs(map: &Map, public: bool) -> bool {
    let sign_only = public && map.scale == [-1.0];
    !(map.only_adds() || sign_only)
}

/// Applies `map` behind step `target`; false if it cannot take it (nothing is changed then).
fn behind(draft: &mut Draft, target: usize, map: &Map, public: bool) -> bool {
    if let Some(first) = draft.map_of(target) {
        let both_public = public && draft.is_public(target);
        // Two maps that cost nothing may cost something together: one that adds, and a change of sign.
        let before = costs(map, public) || costs(&first, draft.is_public(target));
        let size: usize = first.joined(map).iter().product();
        if draft.count_coefficients(2 * size).is_err() {
            return false;
        }
        let both = first.then(map);
        if !both.is_finite() || (costs(&both, both_public) && !before) {
            return false;
        }
        draft.steps[target].kind = match both_public {
            true if both.scale[0] == 0.0 => return false,
            true => Kind::Op(Op::Affine { scale: both.scale[0], shift: both.shift[0] }),
            false => Kind::Affine(both),
        };
        return true;
    }
    let (weight, bias) = match &draft.steps[target].kind {
        Kind::Op(Op::Linear { weight, bias } | Op::Conv2d { weight, bias, .. }) => (*weight, *bias),
        _ => return false,
    };
    let Some(Map { scale, shift, .. }) = map.per_channel(&draft.steps[target].shape) else { return false };
    let old = bias.map(|b| draft.weights[b].clone()).unwrap_or_else(|| vec![0.0; scale.len()]);
    let pairs = scale.iter().zip(&shift);
    let new: Vec<f32> = old.iter().zip(pairs).map(|(&b, (s, t))| (b as f64 * s + t) as f32).collect();
    let taps = draft.weights[weight].len() / scale.len();
    let scaled = draft.weights[weight].iter().enumerate().map(|(i, &w)| (w as f64 * scale[i / taps]) as f32);
    let scaled: Vec<f32> = scaled.collect();
    scaled.iter().all(|v| v.is_finite()) && set_bias(draft, target, new) && {
        draft.weights[weight] = scaled;
        true
    }
}

/// Moves the map of step `i` into the product that alone reads it, through steps that only move elements. Before padding,
/// which is zero, only the factor goes, and the addend stays.
fn in_front(draft: &mut Draft, i: usize, map: Map, readers: &[Vec<usize>]) {
    let (mut at, mut moved) = (i, map.clone());
    while let [reader] = readers[at][..]
        && let Some(step) = draft.steps.get(reader)
    {
        let next = match &step.kind {
            Kind::Op(Op::Reshape(to)) => moved.reshaped(&draft.steps[at].shape, to),
            Kind::Op(Op::Transpose(perm)) => Some(moved.permuted(perm)),
            Kind::Op(Op::Linear { .. } | Op::Conv2d { .. }) => {
                let shape = draft.steps[at].shape.clone();
                return into(draft, (i, map), reader, (moved, &shape));
            }
            _ => None,
        };
        let Some(next) = next else { return };
        (at, moved) = (reader, next);
    }
}

/// Multiplies the weights of `product` with the factors of its operand, and adds the image of the addends to its bias.
fn into(draft: &mut Draft, (i, map): (usize, Map), product: usize, (moved, shape): (Map, &[usize])) {
    if !moved.scale.iter().all(|s| FACTORS.contains(&s.abs())) {
        return;
    }
    let (weight, per_group, groups, padded) = match &draft.steps[product].kind {
        Kind::Op(Op::Linear { weight, .. }) => (*weight, shape[0], 1, false),
        Kind::Op(Op::Conv2d { weight, window, groups, .. }) => {
            (*weight, shape[0] / groups, *groups, window.pad != [0; 4])
        }
        _ => return,
    };
    let Some(Map { scale, shift, .. }) = moved.per_channel(shape) else { return };
    let stays = padded && !map.only_multiplies();
    let rest: Vec<f64> = map.shift.iter().zip(&map.scale).map(|(t, s)| t / s).collect();
    if stays && (map.only_adds() || rest.iter().any(|t| t.abs() > ADDEND)) {
        return;
    }
    let outputs = draft.params[weight].shape[0];
    let (taps, per_output) =
        (draft.weights[weight].len() / outputs / per_group, draft.weights[weight].len() / outputs);
    let channel = |at: usize| at / per_output / (outputs / groups) * per_group + at % per_output / taps;
    let mut sums = vec![0.0; outputs];
    let mut scaled = Vec::with_capacity(draft.weights[weight].len());
    for (at, &w) in draft.weights[weight].iter().enumerate() {
        let c = channel(at);
        sums[at / per_output] += w as f64 * shift[c];
        scaled.push((w as f64 * scale[c]) as f32);
    }
    if !scaled.iter().all(|v| v.is_finite()) {
        return;
    }
    if stays {
        draft.steps[i].kind = Kind::Affine(Map { scale: vec![1.0; rest.len()], shift: rest, dims: map.dims });
    } else {
        let old = match &draft.steps[product].kind {
            Kind::Op(Op::Linear { bias, .. } | Op::Conv2d { bias, .. }) => *bias,
            _ => None,
        };
        let old = |o: usize| old.map_or(0.0, |b| draft.weights[b][o] as f64);
        let new = sums.iter().enumerate().map(|(o, sum)| (old(o) + sum) as f32).collect();
        if !set_bias(draft, product, new) {
            return;
        }
        draft.forget(i);
    }
    draft.weights[weight] = scaled;
}

/// Gives a product this bias; false if the values do not do.
fn set_bias(draft: &mut Draft, product: usize, values: Vec<f32>) -> bool {
    if !values.iter().all(|v| v.is_finite()) {
        return false;
    }
    let name = format!("{}.bias", draft.steps[product].name);
    let bias = match &draft.steps[product].kind {
        Kind::Op(Op::Linear { bias, .. } | Op::Conv2d { bias, .. }) => *bias,
        _ => return false,
    };
    match bias {
        Some(b) => draft.weights[b] = values,
        None if values.iter().all(|&v| v == 0.0) => {}
        None => {
            let Ok(index) = draft.param(&name, &[values.len()], Role::Bias, values) else { return false };
            if let Kind::Op(Op::Linear { bias, .. } | Op::Conv2d { bias, .. }) =
                &mut draft.steps[product].kind
            {
                *bias = Some(index);
            }
        }
    }
    true
}
