//! One ONNX node being lowered: its operands as what is known of them, and its attributes by name and type.

use super::beside::Beside;
use super::choice::{self, Compared};
use super::proto::{Attribute, NodeProto, kind};
use super::tensor::{Data, Tensor};
use super::turned;
use crate::graph::Source;
use crate::import::draft::Draft;
use std::rc::Rc;

/// What is known of an ONNX value.
#[derive(Clone)]
pub(super) enum Value {
    /// Depends on the private input.
    Wire(Source),
    /// Known now.
    Const(Rc<Tensor>),
    /// Rows of all images, one image's behind another's: `[rows, ..]` per image.
    Rows(Source),
    /// A wire whose images lie along this axis of ONNX's, not along the first.
    Turned(Source, usize),
    /// A list of values.
    Sequence(Rc<[Value]>),
    /// Where a wire is above a number, or below it.
    Compared(Compared),
    /// What a node with several outputs gives; each goes under its own name.
    Several(Vec<Value>),
    /// Behind an obstacle that is reported elsewhere, and of unknown shape.
    Lost,
}

impl Value {
    /// The wire that it is, as operand `i` of a node.
    pub(super) fn wire(&self, i: usize) -> Result<Source, Stop> {
        match self {
            Value::Wire(s) => Ok(*s),
            Value::Const(_) => Err(Stop::Because(format!("operand {i} is a constant, wanted a wire"))),
            Value::Rows(_) => Err("on an axis that images share: it would mix images".into()),
            Value::Turned(_, batch) => Err(turned::refusal(*batch)),
            Value::Sequence(_) => {
                Err("of a sequence; take its parts by constant places, or join them".into())
            }
            Value::Compared(_) => Err(choice::refusal()),
            Value::Several(_) | Value::Lost => Err(Stop::Upstream),
        }
    }
}

/// Why a node gave no result.
#[derive(Debug)]
pub(super) enum Stop {
    /// An obstacle of its own.
    Because(String),
    /// An operand is [`Value::Lost`]; nothing to add.
    Upstream,
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Stop::Because(why)
    }
}
impl From<&str> for Stop {
    fn from(why: &str) -> Self {
        Stop::Because(why.into())
    }
}

/// Result of lowering one node.
pub(super) type Lowered = Result<Value, Stop>;

/// One node with its operands. Lowering reads attributes before operands, so that their faults show even behind another
/// obstacle.
pub(super) struct Call<'a> {
    pub(super) node: &'a NodeProto,
    /// `None` for an operand left out.
    pub(super) operands: Vec<Option<Value>>,
    pub(super) draft: &'a mut Draft,
    /// Files with values of tensors.
    pub(super) beside: &'a Beside<'a>,
}

impl<'a> Call<'a> {
    /// Operand `i`, if it is there.
    pub(super) fn operand(&self, i: usize) -> Option<&Value> {
        self.operands.get(i).and_then(Option::as_ref)
    }
    /// Whether an operand is behind an obstacle.
    pub(super) fn lost(&self) -> bool {
        self.operands.iter().flatten().any(|v| matches!(v, Value::Lost))
    }
    fn wanted(&self, i: usize) -> Result<&Value, Stop> {
        self.operand(i).ok_or_else(|| Stop::Because(format!("operand {i} is missing")))
    }
    /// Operand `i`, which must depend on the input.
    pub(super) fn wire(&self, i: usize) -> Result<Source, Stop> {
        self.wanted(i)?.wire(i)
    }
    /// Operand `i` and its shape per image.
    pub(super) fn shaped(&self, i: usize) -> Result<(Source, Vec<usize>), Stop> {
        self.wire(i).map(|s| (s, self.draft.shape(s).to_vec()))
    }
    /// Operand `i`, which must be known now, as FLOAT or INT64.
    pub(super) fn constant(&self, i: usize) -> Result<Rc<Tensor>, Stop> {
        let exact = self.exact(i)?;
        match exact.data {
            Data::Float(_) | Data::Int(_) => Ok(exact),
            _ => Ok(Rc::new(exact.plain())),
        }
    }
    /// The same in the type that the file says.
    pub(super) fn exact(&self, i: usize) -> Result<Rc<Tensor>, Stop> {
        match self.wanted(i)? {
            Value::Const(t) => Ok(t.clone()),
            Value::Several(_) | Value::Lost => Err(Stop::Upstream),
            _ => Err(Stop::Because(format!(
                "operand {i} (`{}`) must be a constant",
                self.node.input[i].escape_debug()
            ))),
        }
    }
    /// The same for an operand that may be left out.
    pub(super) fn optional(&self, i: usize) -> Result<Option<Rc<Tensor>>, Stop> {
        self.operand(i).is_some().then(|| self.constant(i)).transpose()
    }

    /// Refuses attributes outside `known`: ignoring one could change what the network computes.
    pub(super) fn knows(&self, known: &[&str]) -> Result<(), Stop> {
        let strange = |a: &&Attribute| !known.contains(&a.name.as_str());
        match self.node.attribute.iter().find(strange) {
            Some(a) => Err(Stop::Because(format!("unknown attribute `{}`", a.name.escape_debug()))),
            None => Ok(()),
        }
    }
    pub(super) fn attribute(&self, name: &str, wanted: i32) -> Result<Option<&'a Attribute>, Stop> {
        match self.node.attribute.iter().find(|a| a.name == name) {
            // Files before IR version 2 leave the kind out.
            Some(a) if a.kind != wanted && a.kind != 0 => {
                Err(Stop::Because(format!("attribute `{name}` is of kind {}, wanted {wanted}", a.kind)))
            }
            found => Ok(found),
        }
    }
    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64, Stop> {
        Ok(self.attribute(name, kind::INT)?.map_or(default, |a| a.i))
    }
    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32, Stop> {
        let v = self.attribute(name, kind::FLOAT)?.map_or(default, |a| a.f);
        if v.is_nan() { Err(Stop::Because(format!("attribute `{name}` is no number"))) } else { Ok(v) }
    }
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Stop> {
        Ok(self.attribute(name, kind::STRING)?.map(|a| String::from_utf8_lossy(&a.s).into_owned()))
    }
    pub(super) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, Stop> {
        Ok(self.attribute(name, kind::INTS)?.map(|a| &a.ints[..]))
    }

    /// Adds a node that computes `op` on `inputs`.
    pub(super) fn push(&mut self, op: crate::graph::Op, inputs: &[Source]) -> Lowered {
        Ok(Value::Wire(self.draft.push(&self.node.name, op, inputs)?))
    }
}

/// Index of an axis that may be counted from behind.
pub(super) fn axis(value: i64, rank: usize) -> Result<usize, Stop> {
    let from_front = if value < 0 { value.checked_add(rank as i64) } else { Some(value) };
    from_front
        .and_then(|a| usize::try_from(a).ok())
        .filter(|&a| a < rank)
        .ok_or_else(|| Stop::Because(format!("axis {value} of {rank} axes")))
}

/// Whether a domain is that of ONNX's own operators.
pub(super) fn is_default(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}
