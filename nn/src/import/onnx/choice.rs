//! Where: a choice between two lines of a wire at a threshold of that wire, if they meet there (`nn.Threshold(t, t)`, activations
//! written by hand).
//!
//! With slopes `a` above the threshold and `b` below it, the choice is `below(x) + (a - b) relu(x - t)`. Lines that do not meet
//! make a jump, and fixed-point values fall on either side of it.

use super::activation::leaky;
use super::call::{Call, Lowered, Stop, Value};
use super::extremes::limited;
use super::mask;
use crate::graph::{Op, Source};
use crate::import::draft::{Draft, Kind};

/// Most numbers between a wire and a line of it.
const LINKS: usize = 8;

/// Where a wire is above a number, or below it; what is said of equality makes no difference to lines that meet.
#[derive(Clone, Copy)]
pub(super) struct Compared {
    x: Source,
    above: bool,
    than: f64,
}

/// `slope x + shift`.
#[derive(Clone, Copy, PartialEq)]
struct Line {
    slope: f64,
    shift: f64,
}

impl Line {
    fn at(self, x: f64) -> f64 {
        self.slope * x + self.shift
    }
}

/// Less, LessOrEqual, Greater, GreaterOrEqual of a wire and a number.
pub(super) fn compare(call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    let above = call.node.op_type.starts_with("Greater");
    let first = !matches!(call.operand(0), Some(Value::Const(_)));
    let x = call.wire(usize::from(!first))?;
    if let Some(Value::Wire(_)) = call.operand(usize::from(first)) {
        return Err(
            "of two values that depend on the input, which jumps; write the choice as Max or Min of them"
                .into(),
        );
    }
    let number = call.exact(usize::from(first))?;
    if number.len() != 1 {
        return Err("with several numbers, wanted one; write the choice as Max or Min of them".into());
    }
    Ok(Value::Compared(Compared { x, above: above == first, than: number.real(0) }))
}

pub(super) fn not(call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    match call.operand(0) {
        Some(&Value::Compared(c)) => Ok(Value::Compared(Compared { above: !c.above, ..c })),
        _ => call.wire(0).and(Err(refusal())),
    }
}

pub(super) fn choose(mut call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    match call.operand(0).cloned() {
        Some(Value::Compared(c)) => at_threshold(&mut call, c),
        Some(Value::Const(mask)) => mask::choose(&mut call, &mask),
        _ => call.wire(0).and(Err(refusal())),
    }
}

pub(super) fn refusal() -> Stop {
    "on what a comparison of the input gives, which jumps; only Where takes it, between lines of the same value that meet at the \
     number: write the choice as Relu, Clip, Min or Max"
        .into()
}

fn at_threshold(call: &mut Call<'_>, Compared { x, above, than: t }: Compared) -> Lowered {
    let (yes, no) = (line(call, 1, x)?, line(call, 2, x)?);
    let (high, low) = if above { (yes, no) } else { (no, yes) };
    let (up, down) = (high.at(t), low.at(t));
    // Both are numbers of the file, rounded to float32.
    let meet = (up - down).abs() <= 1e-6 * (up.abs() + down.abs());
    if !meet {
        return Err(Stop::Because(format!(
            "it jumps from {down} to {up} where its operand passes {t}, and fixed-point values fall on either side of a jump; let \
             both meet there (nn.Threshold with its value equal to its threshold), or write the choice as Relu, Clip, Min or Max"
        )));
    }
    let flat = |line: Line| line.slope == 0.0;
    let same = Line { slope: 1.0, shift: 0.0 };
    match (high, low) {
        (h, l) if h == same && flat(l) => Ok(Value::Wire(limited(call, x, t, true)?)),
        (h, l) if l == same && flat(h) => Ok(Value::Wire(limited(call, x, t, false)?)),
        (h, l) if h == same && t == 0.0 => Ok(Value::Wire(leaky(call, x, l.slope)?)),
        _ => {
            let over = call.step(Op::Affine { scale: 1.0, shift: -t }, &[x])?;
            let over = call.step(Op::Relu, &[over])?;
            let bend = scaled(call, over, Line { slope: high.slope - low.slope, shift: low.shift })?;
            let Some(bend) = bend else {
                return Err("between two sides that are the same; leave it out".into());
            };
            match scaled(call, x, Line { shift: 0.0, ..low })? {
                Some(below) => call.push(Op::Add, &[below, bend]),
                None => Ok(Value::Wire(bend)),
            }
        }
    }
}

/// A line of a wire, unless it is flat.
fn scaled(call: &mut Call<'_>, x: Source, Line { slope, shift }: Line) -> Result<Option<Source>, Stop> {
    let op = Op::Affine { scale: slope, shift };
    (slope != 0.0).then(|| call.step(op, &[x])).transpose()
}

/// Operand `i` as a line of `x`.
fn line(call: &Call<'_>, i: usize, x: Source) -> Result<Line, Stop> {
    if let Some(Value::Const(t)) = call.operand(i) {
        return match t.len() {
            1 => Ok(Line { slope: 0.0, shift: t.real(0) }),
            n => Err(Stop::Because(format!(
                "a choice of {n} numbers; write the choice as Relu, Clip, Min or Max"
            ))),
        };
    }
    let y = call.wire(i)?;
    of_draft(call.draft, y, x).ok_or_else(|| {
        "between values other than multiples of the one that is compared, plus numbers: it may jump, and fixed-point values fall \
         on either side of a jump; write the choice as Relu, Clip, Min or Max"
            .into()
    })
}

/// `y` as a line of `x`, if a few public numbers lie between them.
fn of_draft(draft: &Draft, y: Source, x: Source) -> Option<Line> {
    let (mut line, mut at) = (Line { slope: 1.0, shift: 0.0 }, y);
    for _ in 0..LINKS {
        let Source::Node(i) = at else { break };
        let step = &draft.steps[i];
        let (slope, shift) = match (&step.kind, &step.inputs[..]) {
            _ if at == x => break,
            (Kind::Op(Op::Affine { scale, shift }), [_]) => (*scale, *shift),
            (Kind::Affine(map), [_]) if map.scale.len() == 1 => (map.scale[0], map.shift[0]),
            _ => break,
        };
        line = Line { slope: line.slope * slope, shift: line.slope * shift + line.shift };
        at = step.inputs[0];
    }
    (at == x).then_some(line)
}
