//! Layers of ResNet-18 on one image: one party with a peer that echoes, keys in pinned memory; beside it the same on this
//! machine's CPU, all of its cores.

use super::homes::pinned;
use super::limits::Work;
use super::products::digit_products;
use super::{Bench, Beside, Unit};
use crate::cpu;
use crate::gate::{Dealt, Operand};
use crate::memory::in_memory;
use std::time::Instant;
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::{Conv2d, MaxPool, Relu};
use twoply_primitives::{Backend, Form, Gate, PartyId, Result, Shape, Window};

/// Ring bits, bits that a product loses, and bits of an activation behind it.
const N: u32 = 32;
const CUT: u32 = 12;
const M: u32 = N - CUT;

/// The party that stores the keys of digits.
const ME: PartyId = PartyId::P1;

fn wire(shape: &[usize], bits: u32) -> Operand {
    Operand::Wire(Form::new(Shape(shape.to_vec()), bits))
}
fn weight(shape: &[usize]) -> Operand {
    Operand::Weight(Form::new(Shape(shape.to_vec()), N))
}

/// Activations with both comparisons, then what multiplies.
pub fn rows(b: &mut Bench) -> Result<()> {
    let (channels, size) = b.pick((64, 112), (4, 16));
    for scheme in [Scheme::Dpf, Scheme::Digits] {
        let plane = [1, channels, size, size];
        let relu = Relu { scheme, shift: 0, out: N };
        layer(b, "ReLU", &format!("{scheme}, {}", shape(&plane)), relu, &[wire(&plane, M)], 0)?;
        let window = Window::square(3, 2).padded(1);
        let pool = MaxPool { scheme, window };
        layer(b, "MaxPool 3x3/2", &format!("{scheme}, {}", shape(&plane)), pool, &[wire(&plane, M)], 0)?;
    }
    // where it is not folded into a convolution it is one of its own: depthwise, 1x1
    let plane = [1, channels, size / 2, size / 2];
    conv(b, "BatchNorm", &plane, channels, Window::square(1, 1), channels)?;
    let same = Window::square(3, 1).padded(1);
    let full = [(64, 56), (128, 28), (256, 14), (512, 7)];
    for &(c, size) in b.pick(&full[..], &[(16, 8)]) {
        conv(b, "Conv 3x3", &[1, c, size, size], c, same, 1)?;
    }
    for &(c, size) in b.pick(&[(64, 56), (128, 28), (256, 14)][..], &[(16, 8)]) {
        conv(b, "Conv 1x1/2", &[1, c, size, size], 2 * c, Window::square(1, 2), 1)?;
    }
    Ok(())
}

fn shape(x: &[usize]) -> String {
    x.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

fn conv(b: &mut Bench, name: &str, x: &[usize; 4], to: usize, window: Window, groups: usize) -> Result<()> {
    let [k, _] = window.kernel;
    let w = [to, x[1] / groups, k, k];
    let [oh, ow] = window.output(x[2], x[3])?;
    let macs = x[0] * oh * ow * w.iter().product::<usize>();
    let operands = [wire(x, N), weight(&w), weight(&[to])];
    layer(b, name, &format!("{} to {to}", shape(x)), Conv2d { window, groups, cut: CUT }, &operands, macs)
}

fn layer<G: Gate + Clone>(
    b: &mut Bench,
    name: &str,
    case: &str,
    gate: G,
    operands: &[Operand],
    macs: usize,
) -> Result<()> {
    (b.say)(&format!("{name}, {case}"));
    let (dev, unit) = (b.dev.clone(), Unit::Millis("ms"));
    let there = Dealt::new(dev.clone(), gate.clone(), operands, &pinned(&dev))?;
    let seconds = b.time(|| there.alone(ME))?;
    let here = Dealt::new(cpu::<u32>(), gate, operands, &in_memory)?;
    let slow = on_cpu(&here, b.pick(5, 1))?;
    let cost = there.cost();
    let (keys, said) = (cost.key_bits(ME.index()) as f64 / 8.0, cost.bytes as f64);
    // a party multiplies twice: the masked input by its weight share, its input share by the masked weight
    let int8 = 2.0 * macs as f64 * digit_products(N);
    let row = b.row(
        name,
        case,
        unit,
        (1.0, seconds),
        Work { into: keys + said, out: said, int8, ..Work::default() },
    );
    row.beside = Some(Beside { name: "CPU", value: unit.of(1.0, slow), times: slow / seconds });
    row.note = Some(format!("{:.1} MB of keys, {:.1} MB sent", keys / 1e6, said / 1e6));
    Ok(())
}

fn on_cpu<B: Backend, G: Gate>(gate: &Dealt<B, G>, runs: usize) -> Result<f64> {
    gate.alone(ME)?;
    let once = |_| {
        let begin = Instant::now();
        gate.alone(ME)?;
        Ok(begin.elapsed().as_secs_f64())
    };
    let mut all = (0..runs).map(once).collect::<Result<Vec<f64>>>()?;
    all.sort_by(f64::total_cmp);
    Ok(all[runs / 2])
}
