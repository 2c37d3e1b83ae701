//! Folds per-channel affine maps (BatchNormalization, constants added or multiplied) into the layer before them.

use super::{Draft, Kind};
use crate::graph::{Op, Role, Source};

/// Folds wherever the step before is a convolution, a linear layer or another affine map, and nothing else reads it. A folded
/// step becomes a reshape to its own shape, which the passes remove.
pub(super) fn fold(draft: &mut Draft, output: Source) {
    let mut readers = vec![0usize; draft.steps.len()];
    let all = draft.steps.iter().flat_map(|s| s.inputs.iter().copied());
    for source in all.chain([output]) {
        if let Source::Node(j) = source {
            readers[j] += 1;
        }
    }
    // Where the value of a step is computed: itself, or the layer it was folded into.
    let mut home: Vec<usize> = (0..draft.steps.len()).collect();
    for i in 0..draft.steps.len() {
        let Source::Node(before) = draft.steps[i].inputs.first().copied().unwrap_or(Source::Input) else {
            continue;
        };
        if readers[before] != 1 || !matches!(draft.steps[i].kind, Kind::Affine { .. }) {
            continue;
        }
        let same = Op::Reshape(draft.shape(Source::Node(i)).to_vec());
        let Kind::Affine { scale, shift } = std::mem::replace(&mut draft.steps[i].kind, Kind::Op(same))
        else {
            continue;
        };
        if into(draft, home[before], &scale, &shift) {
            home[i] = home[before];
        } else {
            draft.steps[i].kind = Kind::Affine { scale, shift };
        }
    }
}

/// Applies `scale` and `shift` behind step `target`; false if it cannot take them (nothing is changed then).
fn into(draft: &mut Draft, target: usize, scale: &[f64], shift: &[f64]) -> bool {
    let name = draft.steps[target].name.clone();
    let (weight, bias) = match &mut draft.steps[target].kind {
        Kind::Affine { scale: s, shift: t } => {
            for ((s, t), (a, b)) in s.iter_mut().zip(t).zip(scale.iter().zip(shift)) {
                (*s, *t) = (*s * a, *t * a + b);
            }
            return true;
        }
        Kind::Op(Op::Linear { weight, bias } | Op::Conv2d { weight, bias, .. }) => (*weight, *bias),
        Kind::Op(_) => return false,
    };
    let old = bias.map(|b| draft.weights[b].clone()).unwrap_or_else(|| vec![0.0; scale.len()]);
    let pairs = scale.iter().zip(shift);
    let new: Vec<f32> = old.iter().zip(pairs).map(|(&b, (s, t))| (b as f64 * s + t) as f32).collect();
    let taps = draft.weights[weight].len() / scale.len();
    let scaled = draft.weights[weight].iter().enumerate().map(|(i, &w)| (w as f64 * scale[i / taps]) as f32);
    let scaled: Vec<f32> = scaled.collect();
    if !scaled.iter().chain(&new).all(|v| v.is_finite()) {
        return false;
    }
    match bias {
        Some(b) => draft.weights[b] = new,
        None if new.iter().all(|&v| v == 0.0) => {}
        None => {
            let Ok(index) = draft.param(&format!("{name}.bias"), &[scale.len()], Role::Bias, new) else {
                return false;
            };
            if let Kind::Op(Op::Linear { bias, .. } | Op::Conv2d { bias, .. }) = &mut draft.steps[target].kind
            {
                *bias = Some(index);
            }
        }
    }
    draft.weights[weight] = scaled;
    true
}
