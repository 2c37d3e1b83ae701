//! Arithmetic, comparisons and logic on constants, with broadcasting.

use super::super::call::{Call, Stop};
use super::super::tensor::{Places, Tensor};
use super::super::types::Type;
use super::{BATCH, Folded, spend};

/// The shape that all of these broadcast to: aligned at their ends, extents of 1 stretched.
pub(super) fn broadcast(shapes: &[&[usize]]) -> Result<Vec<usize>, String> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut dims = vec![1; rank];
    for shape in shapes {
        for (d, &extent) in dims[rank - shape.len()..].iter_mut().zip(*shape) {
            match (*d, extent) {
                (d, e) if d == e || e == 1 => {}
                (1, e) => *d = e,
                _ => return Err(format!("shapes {shapes:?} do not broadcast")),
            }
        }
    }
    if dims.len() > crate::graph::MAX_RANK { Err("has too many axes".into()) } else { Ok(dims) }
}

/// The steps through a constant of this shape when it is broadcast to `rank` axes.
pub(super) fn stretched(shape: &[usize], rank: usize) -> Vec<isize> {
    let own = super::super::tensor::steps(shape);
    let step = |(&extent, step): (&usize, isize)| if extent == 1 { 0 } else { step };
    let behind = shape.iter().zip(own).map(step);
    std::iter::repeat_n(0, rank - shape.len()).chain(behind).collect()
}

/// Operators of two operands; Min and Max of any number.
pub(super) fn binary(call: &mut Call<'_>) -> Folded {
    call.knows(if call.node.op_type == "Mod" { &["fmod"] } else { &[] })?;
    let op = call.node.op_type.as_str();
    let many = matches!(op, "Min" | "Max");
    if !many && call.operands.len() != 2 || call.operands.is_empty() {
        return Err(Stop::Because(format!("{} operands", call.operands.len())));
    }
    let truncates = call.int("fmod", 0)? != 0;
    let first = call.exact(0)?;
    spend(call, &first.dims)?;
    let mut result = Tensor::clone(&first);
    for i in 1..call.operands.len() {
        result = pair(call, op, truncates, (&result, &*call.exact(i)?))?;
    }
    Ok(vec![result])
}

fn pair(call: &mut Call<'_>, op: &str, truncates: bool, (a, b): (&Tensor, &Tensor)) -> Result<Tensor, Stop> {
    if a.kind() != b.kind() && op != "Pow" {
        return Err(Stop::Because(format!("of {:?} and {:?}", a.kind(), b.kind())));
    }
    let dims = broadcast(&[&a.dims, &b.dims])?;
    spend(call, &dims)?;
    let (left, right) = (stretched(&a.dims, dims.len()), stretched(&b.dims, dims.len()));
    let places = Places::new(&dims, &left, 0).zip(Places::new(&dims, &right, 0));
    if let (Ok(x), Ok(y)) = (a.integers(), b.integers()) {
        let values =
            places.map(|(i, j)| whole(op, truncates, x[i], y[j])).collect::<Result<Vec<_>, Stop>>()?;
        let kind = if compares(op) { Type::Bool } else { a.kind() };
        return Ok(kept(kind, dims.clone(), values));
    }
    let operands = places.map(|(i, j)| (a.real(i), b.real(j)));
    if compares(op) {
        let values: Option<Vec<i64>> =
            operands.map(|(x, y)| compare(op, x.partial_cmp(&y)).map(i64::from)).collect();
        return Ok(Tensor::wholes(Type::Bool, dims.clone(), values.ok_or("of floats")?.into_iter()));
    }
    let values = operands.map(|(x, y)| real(op, truncates, x, y)).collect::<Option<Vec<f64>>>();
    let values = values.ok_or("of floats: the operator is one of integers")?;
    Ok(if a.kind().is_float() {
        Tensor::reals(a.kind(), dims.clone(), values.into_iter())
    } else {
        Tensor::wholes(a.kind(), dims.clone(), values.into_iter().map(|v| v as i64))
    })
}

fn compares(op: &str) -> bool {
    matches!(op, "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual")
}

fn compare(op: &str, order: Option<std::cmp::Ordering>) -> Option<bool> {
    Some(match op {
        "Equal" => order.is_some_and(|o| o.is_eq()),
        "Less" => order.is_some_and(|o| o.is_lt()),
        "LessOrEqual" => order.is_some_and(|o| o.is_le()),
        "Greater" => order.is_some_and(|o| o.is_gt()),
        "GreaterOrEqual" => order.is_some_and(|o| o.is_ge()),
        _ => return None,
    })
}

/// Computed in f64 and rounded to the type afterwards: for these operators that is the type's own result.
fn real(op: &str, truncates: bool, x: f64, y: f64) -> Option<f64> {
    Some(match op {
        "Add" => x + y,
        "Sub" => x - y,
        "Mul" => x * y,
        "Div" => x / y,
        "Mod" if truncates => x % y,
        // The sign is the divisor's; said of floats since opset 28.
        "Mod" => match x % y {
            r if r != 0.0 && (r < 0.0) != (y < 0.0) => r + y,
            r => r.abs().copysign(if r == 0.0 { y } else { r }),
        },
        "Pow" => x.powf(y),
        "Min" | "Max" if x.is_nan() || y.is_nan() => f64::NAN,
        "Min" => x.min(y),
        "Max" => x.max(y),
        _ => return None,
    })
}

/// On integers, one of which may stand for the number of images.
fn whole(op: &str, truncates: bool, x: i64, y: i64) -> Result<i64, Stop> {
    if x == BATCH || y == BATCH {
        return images(op, x, y).ok_or_else(|| {
            let (x, y) = (shown(x), shown(y));
            Stop::Because(format!(
                "of {x} and {y}: how many images there are is open, and only their own axis may depend on it; export with \
                 a fixed batch of 1"
            ))
        });
    }
    if let Some(result) = compare(op, Some(x.cmp(&y))) {
        return Ok(result.into());
    }
    Ok(match op {
        "Add" => x.wrapping_add(y),
        "Sub" => x.wrapping_sub(y),
        "Mul" => x.wrapping_mul(y),
        "Div" | "Mod" if y == 0 => return Err("divides by zero".into()),
        "Div" => x.wrapping_div(y),
        "Mod" if truncates => x.wrapping_rem(y),
        // The sign is the divisor's.
        "Mod" => match x.wrapping_rem(y) {
            r if r != 0 && (r < 0) != (y < 0) => r + y,
            r => r,
        },
        "Pow" => x.wrapping_pow(u32::try_from(y).map_err(|_| "a negative power of an integer")?),
        "Min" => x.min(y),
        "Max" => x.max(y),
        "And" => x & y,
        "Or" => x | y,
        "Xor" => x ^ y,
        _ => return Err("of integers".into()),
    })
}

/// What can be told without knowing how many images there are, only that there is one at least.
fn images(op: &str, x: i64, y: i64) -> Option<i64> {
    Some(match (op, x, y) {
        ("Add", BATCH, 0) | ("Add", 0, BATCH) | ("Sub", BATCH, 0) => BATCH,
        ("Mul", BATCH, 1) | ("Mul", 1, BATCH) | ("Div" | "Pow", BATCH, 1) => BATCH,
        ("Max", BATCH, v) | ("Max", v, BATCH) if v <= 1 || v == BATCH => BATCH,
        ("Min", BATCH, BATCH) => BATCH,
        ("Min", BATCH, v) | ("Min", v, BATCH) if v <= 1 => v,
        ("Mul", BATCH, 0) | ("Mul", 0, BATCH) | ("Sub", BATCH, BATCH) | ("Mod", BATCH, 1 | BATCH) => 0,
        ("Div", BATCH, BATCH) | ("Pow", BATCH, 0) => 1,
        (_, BATCH, BATCH) => compare(op, Some(std::cmp::Ordering::Equal))?.into(),
        (_, BATCH, v) if v <= 0 => compare(op, Some(std::cmp::Ordering::Greater))?.into(),
        (_, v, BATCH) if v <= 0 => compare(op, Some(std::cmp::Ordering::Less))?.into(),
        ("GreaterOrEqual", BATCH, 1) | ("LessOrEqual", 1, BATCH) => 1,
        ("Less", BATCH, 1) | ("Greater", 1, BATCH) => 0,
        _ => return None,
    })
}

fn shown(v: i64) -> String {
    if v == BATCH { "the number of images".into() } else { v.to_string() }
}

/// Integers of a type, wrapped to it; the number of images stays what it is.
fn kept(kind: Type, dims: Vec<usize>, values: Vec<i64>) -> Tensor {
    let wrapped = values.into_iter().map(|v| if v == BATCH { v } else { kind.wrap(v) });
    Tensor::wholes(Type::Int(64), dims, wrapped).of(kind)
}

pub(super) fn unary(call: &mut Call<'_>) -> Folded {
    call.knows(&[])?;
    let op = call.node.op_type.as_str();
    let t = call.exact(0)?;
    spend(call, &t.dims)?;
    let dims = t.dims.clone();
    if let Ok(v) = t.integers() {
        let one = |&v: &i64| match op {
            "Abs" if v == BATCH => Ok(v),
            "Sign" if v == BATCH => Ok(1),
            _ if v == BATCH => Err("of the number of images, which is open"),
            "Neg" => Ok(v.wrapping_neg()),
            "Abs" => Ok(v.wrapping_abs()),
            "Sign" => Ok(v.signum()),
            "Not" => Ok(i64::from(v == 0)),
            _ => Err("of integers"),
        };
        return Ok(vec![kept(t.kind(), dims, v.iter().map(one).collect::<Result<_, _>>()?)]);
    }
    let function: fn(f64) -> f64 = match op {
        "Neg" => |v| -v,
        "Abs" => f64::abs,
        "Sign" => |v| if v == 0.0 { 0.0 } else { v.signum() },
        "Sqrt" => f64::sqrt,
        "Reciprocal" => f64::recip,
        "Exp" => f64::exp,
        "Log" => f64::ln,
        "Sin" => f64::sin,
        "Cos" => f64::cos,
        "Floor" => f64::floor,
        "Ceil" => f64::ceil,
        "Round" => f64::round_ties_even,
        _ => return Err("of floats".into()),
    };
    Ok(vec![Tensor::reals(t.kind(), dims, (0..t.len()).map(|i| function(t.real(i))))])
}

/// Where.
pub(super) fn choose(call: &mut Call<'_>) -> Folded {
    call.knows(&[])?;
    let [which, yes, no] = [call.exact(0)?, call.exact(1)?, call.exact(2)?];
    if yes.kind() != no.kind() {
        return Err(Stop::Because(format!("of {:?} and {:?}", yes.kind(), no.kind())));
    }
    let dims = broadcast(&[&which.dims, &yes.dims, &no.dims])?;
    spend(call, &dims)?;
    let walks = [&which, &yes, &no].map(|t| stretched(&t.dims, dims.len()));
    let [a, b, c] = [0, 1, 2].map(|i| Places::new(&dims, &walks[i], 0));
    let flags = which.integers()?;
    let places = a.zip(b.zip(c)).map(|(i, pair)| (flags[i] != 0, pair));
    Ok(vec![match (yes.integers(), no.integers()) {
        (Ok(y), Ok(n)) => {
            yes.like(dims.clone(), places.map(|(f, (i, j))| if f { y[i] } else { n[j] }).collect())
        }
        _ => Tensor::reals(
            yes.kind(),
            dims.clone(),
            places.map(|(f, (i, j))| if f { yes.real(i) } else { no.real(j) }),
        ),
    }])
}

/// The limits are attributes before opset 11, operands since.
pub(super) fn clip(call: &mut Call<'_>) -> Folded {
    call.knows(&["min", "max"])?;
    let first = call.exact(0)?;
    spend(call, &first.dims)?;
    let mut result = Tensor::clone(&first);
    for (i, op, name) in [(1, "Max", "min"), (2, "Min", "max")] {
        let limit = match (call.operand(i), call.attribute(name, super::super::proto::kind::FLOAT)?) {
            (Some(_), _) => Tensor::clone(&*call.exact(i)?),
            (None, Some(a)) => Tensor::reals(Type::Float, vec![], [f64::from(a.f)].into_iter()),
            (None, None) => continue,
        };
        result = pair(call, op, false, (&result, &limit))?;
    }
    Ok(vec![result])
}

/// Of two matrices, or a matrix and a vector.
pub(super) fn matmul(call: &mut Call<'_>) -> Folded {
    call.knows(&[])?;
    let (a, b) = (call.exact(0)?, call.exact(1)?);
    let (rows, inner) = match a.dims[..] {
        [k] => (1, k),
        [m, k] => (m, k),
        _ => return Err(Stop::Because(format!("of constants of shapes {:?} and {:?}", a.dims, b.dims))),
    };
    let (same, columns) = match b.dims[..] {
        [k] => (k, 1),
        [k, n] => (k, n),
        _ => (usize::MAX, 0),
    };
    if inner != same || a.kind() != b.kind() || !a.kind().is_float() {
        return Err(Stop::Because(format!("of constants of shapes {:?} and {:?}", a.dims, b.dims)));
    }
    // The work counts, not only the result.
    spend(call, &[rows, columns, inner.max(1)])?;
    let dims = [&a.dims[..a.dims.len() - 1], &b.dims[1..]].concat();
    let dot = |at: usize| {
        let (i, j) = (at / columns, at % columns);
        (0..inner).map(|k| a.real(i * inner + k) * b.real(k * columns + j)).sum()
    };
    Ok(vec![Tensor::reals(a.kind(), dims, (0..rows * columns).map(dot))])
}
