//! Operators of the domain `ai.onnx.ml`, as skl2onnx writes them for linear models and scalers.

use super::Dropped;
use super::call::{Call, Lowered, Stop, Value, axis};
use super::dropped::Function;
use super::proto::kind;
use crate::graph::{Op, Role, Source};

pub(super) const DOMAIN: &str = "ai.onnx.ml";

/// The table of this domain.
pub(super) fn lower(call: Call<'_>) -> Lowered {
    match call.node.op_type.as_str() {
        "LinearRegressor" => regressor(call),
        "LinearClassifier" => match call.text("post_transform")?.as_deref() {
            None | Some("NONE") => classifier(call),
            Some(other) => Err(Stop::Because(format!(
                "its {other} is needed inside the network; let it be the last node"
            ))),
        },
        "Scaler" => scaler(call),
        "ArrayFeatureExtractor" => extract(call),
        "ZipMap" | "Normalizer" | "LabelEncoder" => {
            Err("only at the end of a network, behind its scores; export it up to these".into())
        }
        other => Err(super::obstacle::unsupported(DOMAIN, other).into()),
    }
}

/// What a last node of this domain stands for.
pub(super) fn last(call: Call<'_>, label: &str) -> Result<(Value, Option<Dropped>), Stop> {
    let op = call.node.op_type.clone();
    let dropped = |function: Option<Function>, meaning: &str| {
        Some(Dropped { node: label.into(), op: op.clone(), meaning: meaning.into(), function })
    };
    match op.as_str() {
        "ZipMap" => Ok((
            Value::Wire(call.wire(0)?),
            dropped(None, "the output is a vector, in the order of the classes"),
        )),
        "Normalizer" => {
            call.knows(&["norm"])?;
            // Of numbers that are not negative, as the probabilities in front of it are.
            match call.text("norm")?.as_deref() {
                Some("L1") => Ok((
                    Value::Wire(call.wire(0)?),
                    dropped(Some(Function::Normalise), "which score is the largest is the same without it"),
                )),
                _ => Err("another norm than L1; export the network up to its scores".into()),
            }
        }
        _ => {
            let transform = call.text("post_transform")?.unwrap_or_default();
            let function = match transform.as_str() {
                "" | "NONE" => None,
                "SOFTMAX" => Some(Function::Softmax),
                "LOGISTIC" => Some(Function::Sigmoid),
                other => {
                    let other = other.escape_debug();
                    return Err(Stop::Because(format!(
                        "post_transform {other}; export the network up to its scores"
                    )));
                }
            };
            let order = "in the order of the classes: the largest one is the label";
            let meaning = match function {
                None => format!("the output is the scores, {order}"),
                Some(_) => format!("its {transform} is dropped; the output is the logits, {order}"),
            };
            Ok((classifier(call)?, dropped(function, &meaning)))
        }
    }
}

/// `coefficients` row by row, one for each target, and `intercepts`.
fn linear(call: &mut Call<'_>, targets: Option<usize>) -> Result<Source, Stop> {
    let list = |name: &str| {
        Ok::<_, Stop>(call.attribute(name, kind::FLOATS)?.map(|a| a.floats.clone()).unwrap_or_default())
    };
    let (weights, intercepts) = (list("coefficients")?, list("intercepts")?);
    let (x, shape) = call.shaped(0)?;
    let &[inputs] = &shape[..] else {
        return Err(Stop::Because(format!("on {shape:?} per image, wanted one axis")));
    };
    let targets = targets.unwrap_or(weights.len() / inputs);
    if targets.checked_mul(inputs) != Some(weights.len())
        || targets == 0
        || !matches!(intercepts.len(), 0) && intercepts.len() != targets
    {
        return Err(Stop::Because(format!(
            "{} coefficients and {} intercepts for {inputs} inputs and {targets} results",
            weights.len(),
            intercepts.len()
        )));
    }
    let name = if call.node.name.is_empty() { call.node.op_type.clone() } else { call.node.name.clone() };
    let weight =
        call.draft.param(&format!("{name}.coefficients"), &[targets, inputs], Role::Weight, weights)?;
    let bias = match intercepts.iter().any(|&v| v != 0.0) {
        true => Some(call.draft.param(&format!("{name}.intercepts"), &[targets], Role::Bias, intercepts)?),
        false => None,
    };
    Ok(call.draft.push(&call.node.name, Op::Linear { weight, bias }, &[x])?)
}

fn regressor(mut call: Call<'_>) -> Lowered {
    call.knows(&["coefficients", "intercepts", "post_transform", "targets"])?;
    if let Some(transform) = call.text("post_transform")?.filter(|t| t != "NONE") {
        return Err(Stop::Because(format!(
            "post_transform {}; export the network up to its scores",
            transform.escape_debug()
        )));
    }
    let targets = usize::try_from(call.int("targets", 1)?).unwrap_or(0);
    linear(&mut call, Some(targets)).map(Value::Wire)
}

/// The index of the largest score, and the scores.
fn classifier(mut call: Call<'_>) -> Lowered {
    call.knows(&[
        "classlabels_ints",
        "classlabels_strings",
        "coefficients",
        "intercepts",
        "multi_class",
        "post_transform",
    ])?;
    let scores = linear(&mut call, None)?;
    if call.draft.shape(scores) == [1] {
        return Err("one row of coefficients for two classes; export with skl2onnx, which writes both".into());
    }
    let label = call.draft.push("", Op::Argmax, &[scores])?;
    Ok(Value::Several(vec![Value::Wire(label), Value::Wire(scores)]))
}

/// Elements at constant places of a vector: of two scores, that of class 1.
fn extract(mut call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    let (x, shape) = call.shaped(0)?;
    let places = call.constant(1)?;
    let &[extent] = &shape[..] else {
        return Err(Stop::Because(format!("of {shape:?} per image, wanted one axis")));
    };
    let at = |&place: &i64| axis(place, extent).map(Some);
    let places = places.integers()?.iter().map(at).collect::<Result<Vec<_>, _>>()?;
    call.push(Op::Take(vec![Some(places)]), &[x])
}

/// `(x - offset) * scale`, each one number or one per feature.
fn scaler(call: Call<'_>) -> Lowered {
    call.knows(&["offset", "scale"])?;
    let (x, shape) = call.shaped(0)?;
    let list = |name: &str, default: f64| -> Result<Vec<f64>, Stop> {
        let list =
            call.attribute(name, kind::FLOATS)?.map(|a| a.floats.iter().map(|&v| f64::from(v)).collect());
        Ok(list.unwrap_or_else(|| vec![default]))
    };
    let (offset, scale) = (list("offset", 0.0)?, list("scale", 1.0)?);
    let fits = |v: &[f64]| v.len() == 1 || shape == [v.len()];
    if !fits(&offset) || !fits(&scale) {
        return Err(Stop::Because(format!(
            "{} offsets and {} factors on {shape:?} per image",
            offset.len(),
            scale.len()
        )));
    }
    let at = |v: &[f64], i: usize| v[i % v.len()];
    let n = offset.len().max(scale.len());
    let factors: Vec<f64> = (0..n).map(|i| at(&scale, i)).collect();
    let shift: Vec<f64> = (0..n).map(|i| -at(&offset, i) * at(&scale, i)).collect();
    Ok(Value::Wire(call.draft.affine(&call.node.name, x, &factors, &shift)?))
}
