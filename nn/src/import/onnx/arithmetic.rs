//! Add, Sub, Mul and Div, element by element: of two wires, and of a wire and a constant, which becomes a factor or an addend
//! for each place along the axes that the constant has. Sum, Mean and Pow are made of them.

use super::axes::{aligned, broadcast};
use super::call::{Call, Lowered, Stop, Value};
use crate::graph::{Op, Source};
use crate::import::draft::Map;

/// `-x`, with public numbers.
pub(super) const MINUS: Op = Op::Affine { scale: -1.0, shift: 0.0 };

pub(super) fn arithmetic(mut call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    let op = call.node.op_type.as_str();
    let (wire, constant) = match (call.operand(0), call.operand(1)) {
        (Some(Value::Wire(a)), Some(Value::Wire(b))) => {
            let inputs = [*a, *b];
            let op = match op {
                "Add" => Op::Add,
                "Sub" => Op::Sub,
                "Mul" => Op::Mul,
                _ => return Err("a wire as the divisor".into()),
            };
            return Ok(Value::Wire(call.both(op, inputs)?));
        }
        (Some(Value::Const(_)), Some(Value::Const(_))) => {
            return Err("of two constants; fold them before export".into());
        }
        (Some(Value::Const(_)), _) => (1, 0),
        _ => (0, 1),
    };
    let x = call.wire(wire)?;
    let term = match (op, wire) {
        ("Add", _) => Term::Plus,
        ("Sub", 0) => Term::Minus,
        ("Sub", _) => {
            let negative = call.step(MINUS, &[x])?;
            return Ok(Value::Wire(call.with_constant(negative, constant, Term::Plus)?));
        }
        ("Mul", _) => Term::Times,
        ("Div", 0) => Term::Over,
        _ => return Err("a wire as the divisor".into()),
    };
    Ok(Value::Wire(call.with_constant(x, constant, term)?))
}

/// What a constant does to a wire.
#[derive(Clone, Copy)]
pub(super) enum Term {
    Plus,
    Minus,
    Times,
    Over,
    /// `x * (1 - c)`
    TimesOneLess,
}

impl Call<'_> {
    /// Two wires, repeated to one shape.
    pub(super) fn both(&mut self, op: Op, [a, b]: [Source; 2]) -> Result<Source, Stop> {
        let shape = broadcast(self.draft.shape(a), self.draft.shape(b))?;
        let inputs = [self.spread(a, &shape)?, self.spread(b, &shape)?];
        Ok(self.draft.push(&self.node.name, op, &inputs)?)
    }

    /// A wire, and operand `i`, a constant, which broadcast to one shape.
    pub(super) fn with_constant(&mut self, x: Source, i: usize, term: Term) -> Result<Source, Stop> {
        let t = self.constant(i)?;
        let shape = self.draft.shape(x).to_vec();
        let dims = aligned(&t.dims, shape.len(), 1, |d| d == 1)?;
        let to = broadcast(&shape, &dims)?;
        let x = self.spread(x, &to)?;
        let values = t.floats()?.iter().map(|&v| f64::from(v));
        let n = t.floats()?.len();
        let (ones, zeros) = (vec![1.0; n], vec![0.0; n]);
        let (scale, shift) = match term {
            Term::Plus => (ones, values.collect()),
            Term::Minus => (ones, values.map(|v| -v).collect()),
            Term::Times => (values.collect(), zeros),
            Term::Over => (values.map(|v| 1.0 / v).collect(), zeros),
            Term::TimesOneLess => (values.map(|v| 1.0 - v).collect(), zeros),
        };
        Ok(self.draft.map(&self.node.name, x, Map { dims, scale, shift })?)
    }

    /// Operands that are wires, and the places of those that are constants.
    pub(super) fn sorted(&self) -> Result<(Vec<Source>, Vec<usize>), Stop> {
        let (mut wires, mut constants) = (Vec::new(), Vec::new());
        for i in 0..self.operands.len() {
            match self.operand(i) {
                Some(Value::Const(_)) => constants.push(i),
                _ => wires.push(self.wire(i)?),
            }
        }
        match wires.is_empty() {
            true => Err("of no wire".into()),
            false => Ok((wires, constants)),
        }
    }
}

/// Sum and Mean of any number of operands.
pub(super) fn sum(mut call: Call<'_>, mean: bool) -> Lowered {
    call.knows(&[])?;
    let (wires, constants) = call.sorted()?;
    let mut y = wires[0];
    for &x in &wires[1..] {
        y = call.both(Op::Add, [y, x])?;
    }
    for i in constants {
        y = call.with_constant(y, i, Term::Plus)?;
    }
    let n = call.operands.len();
    if mean && n > 1 {
        y = call.step(Op::Affine { scale: 1.0 / n as f64, shift: 0.0 }, &[y])?;
    }
    Ok(Value::Wire(y))
}

/// Squares; other powers have no gate.
pub(super) fn pow(mut call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    let x = call.wire(0)?;
    let exponent = call.constant(1)?;
    let values: Vec<f64> = match &exponent.data {
        super::tensor::Data::Int(v) => v.iter().map(|&v| v as f64).collect(),
        _ => exponent.floats()?.iter().map(|&v| f64::from(v)).collect(),
    };
    let one_for_all = exponent.dims.iter().all(|&d| d == 1) && exponent.dims.len() <= 1;
    match values[..] {
        [1.0] if one_for_all => Ok(Value::Wire(x)),
        [2.0] if one_for_all => call.push(Op::Mul, &[x, x]),
        [e] => Err(Stop::Because(format!("to the power of {e}; only squares"))),
        _ => Err("with several exponents; only squares".into()),
    }
}
