//! Which of a model's outputs is taken.

use super::proto::{GraphProto, ValueInfo};
use super::types::{self, Type};
use crate::import::draft::clean;

/// Most outputs that are tried when none is named.
pub(super) const TRIED: usize = 16;

/// The outputs that may be the network's: the one that is named, or all that hold floats. Classifiers give labels and tables
/// beside their scores; labels follow from these.
///
/// # Errors
/// That there is none of this name.
pub(super) fn candidates<'m>(graph: &'m GraphProto, named: Option<&str>) -> Result<Vec<&'m str>, String> {
    if let Some(named) = named {
        let found = graph.output.iter().find(|o| o.name == named);
        return found.map(|o| vec![o.name.as_str()]).ok_or_else(|| {
            format!("no output is named `{}`; name one of {}", clean(named, ""), listed(graph))
        });
    }
    let names = |v: Vec<&'m ValueInfo>| v.into_iter().map(|o| o.name.as_str()).collect::<Vec<_>>();
    let floats: Vec<&ValueInfo> = graph.output.iter().filter(|o| may_hold_floats(o)).collect();
    Ok(if floats.is_empty() { names(graph.output.iter().collect()) } else { names(floats) })
}

/// Its stated type is one of floats, or no tensor's (a table), or missing.
fn may_hold_floats(v: &ValueInfo) -> bool {
    let number = v.kind.as_ref().and_then(|k| k.tensor.as_ref()).map_or(0, |t| t.elem_type);
    number == 0 || Type::numbered(number.into()).is_some_and(Type::is_float)
}

/// The outputs with what the file says of them.
pub(super) fn listed(graph: &GraphProto) -> String {
    let one = |v: &ValueInfo| {
        let name = clean(&v.name, "?");
        let number = v.kind.as_ref().and_then(|k| k.tensor.as_ref()).map_or(0, |t| t.elem_type);
        let shape = super::inputs::per_image(v).map_or(String::new(), |shape| format!(" {shape:?}"));
        match number {
            0 => format!("`{name}`"),
            _ => format!("`{name}` ({}{shape})", types::name(number.into())),
        }
    };
    graph.output.iter().take(TRIED).map(one).collect::<Vec<_>>().join(", ")
}
