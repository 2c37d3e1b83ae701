//! What a model says of itself: its operator set, and the shape of its private input.

use super::call::is_default;
use super::obstacle::Obstacles;
use super::proto::{Dimension, Extent, GraphProto, ModelProto, OperatorSetId, ValueInfo};
use super::types::{self, Type};
use crate::graph::{MAX_RANK, elements};

/// Operator set versions whose meaning of the operators here is known.
pub const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// The version of the default operator set, which must be known.
pub(super) fn opset(model: &ModelProto, obstacles: &mut Obstacles) -> i64 {
    let version = version(&model.opset_import);
    if !version.is_some_and(|v| OPSETS.contains(&v)) {
        let (oldest, newest) = OPSETS.into_inner();
        let why = match version {
            Some(v) if v > newest => format!(
                "operator set {v} is newer than this program, which knows {oldest} to {newest}; export with opset_version={newest}, \
                 or take a newer twoply"
            ),
            Some(v) => format!(
                "operator set {v} is older than those known, {oldest} to {newest}; export again, or convert the file with \
                 onnx.version_converter"
            ),
            None => "names no version of ONNX's operators; export again".into(),
        };
        obstacles.add("opset_import", "model", why);
    }
    version.unwrap_or(*OPSETS.end())
}

/// The version of ONNX's own operators.
pub(super) fn version(list: &[OperatorSetId]) -> Option<i64> {
    list.iter().filter(|o| is_default(&o.domain)).map(|o| o.version).max()
}

/// Extents per image of a value whose first axis is the batch.
///
/// # Errors
/// Why the batch cannot be told from the image.
pub(super) fn per_image(v: &ValueInfo) -> Result<Vec<usize>, String> {
    let tensor = v
        .kind
        .as_ref()
        .and_then(|k| k.tensor.as_ref())
        .ok_or("is no tensor; export a network on one tensor")?;
    let dims = tensor.shape.as_ref().map_or(&[][..], |s| &s.dim);
    let Some((batch, rest)) =
        dims.split_first().filter(|(_, rest)| !rest.is_empty() && rest.len() <= MAX_RANK)
    else {
        return Err(format!(
            "has {} axes, wanted the batch and 1 to {MAX_RANK} more; export with an example input that has a batch axis",
            dims.len()
        ));
    };
    if let Some(Extent::Value(n @ 2..)) = batch.extent {
        return Err(format!(
            "fixes the batch at {n}; export with an example of one image, or with a batch axis that may vary \
             (dynamic_shapes, or dynamic_axes before PyTorch 2.6)"
        ));
    }
    let shape = rest.iter().map(extent).collect::<Result<Vec<_>, String>>()?;
    elements(&shape).map(|_| shape.clone()).ok_or_else(|| format!("shape {shape:?} is too large"))
}

fn extent(d: &Dimension) -> Result<usize, String> {
    match &d.extent {
        Some(Extent::Value(n)) if *n > 0 => usize::try_from(*n).map_err(|_| format!("has an extent of {n}")),
        // Old converters write -1, and 0, for an extent that may vary.
        Some(Extent::Symbol(s)) if !s.is_empty() => Err(format!(
            "leaves extent `{}` open; only the batch may vary: export with a fixed size",
            s.escape_debug()
        )),
        _ => Err("leaves an extent open; only the batch may vary: export with a fixed size".into()),
    }
}

/// Whether an input of the model holds floats.
///
/// # Errors
/// That it does not, and what to do.
pub(super) fn floats(v: &ValueInfo, graph: &GraphProto) -> Result<(), String> {
    let number = v.kind.as_ref().and_then(|k| k.tensor.as_ref()).map_or(0, |t| t.elem_type);
    let kind = Type::numbered(number.into());
    if kind.is_some_and(Type::is_float) {
        return Ok(());
    }
    // Numbers that become floats at once may as well be floats from the start.
    let readers: Vec<_> = graph.node.iter().filter(|n| n.input.contains(&v.name)).collect();
    let to = |a: &super::proto::Attribute| (a.name == "to").then(|| Type::numbered(a.i)).flatten();
    let casts = |n: &&super::proto::NodeProto| {
        n.op_type == "Cast" && n.attribute.iter().find_map(to).is_some_and(Type::is_float)
    };
    if kind.is_some() && !readers.is_empty() && readers.iter().all(casts) {
        return Ok(());
    }
    Err(format!(
        "holds {} values, wanted floats; let the network begin with a Cast to FLOAT, or export it for a float input",
        types::name(number.into())
    ))
}
