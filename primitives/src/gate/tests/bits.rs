//! Masked bits that serve several times: every kind of choice, and ReLU, MaxPool and clamp made of them, there and back.

use super::super::check::program::{Engine, Images, Program, check, run};
use super::super::check::values;
use super::{BATCH, schemes};
use crate::compare::Scheme;
use crate::gate::{Kind, Select, Sign};
use crate::ring::{ones, sign_extend};
use crate::{Cpu, Error, Form, Local, MaskedBit, Part, Result, Ring};
use std::sync::Arc;

const KINDS: [Kind; 3] = [Kind::Relu, Kind::Signed, Kind::Narrow];

/// The sign of the first wire, and each of these choices by it: of itself, but of the second wire if values are signed.
struct Choices {
    scheme: Scheme,
    selects: Vec<Select>,
}

impl Choices {
    /// Every kind at wires of m bits: to `out` bits and to m, and to fewer.
    fn all(scheme: Scheme, m: u32, out: u32) -> Self {
        let to = |(lift, out)| Select { lift, out };
        let kinds = [Kind::Relu, Kind::Signed].into_iter().flat_map(|kind| [(kind, out), (kind, m)]);
        let narrow = [m - 1, m - 2, 1].map(|out| (Kind::Narrow, out));
        Choices { scheme, selects: kinds.chain(narrow).map(to).collect() }
    }
}

impl Program for Choices {
    fn run<E: Engine>(&self, e: &mut E, x: &[E::Wire]) -> Result<Vec<E::Wire>> {
        let bit = e.sign(&Sign { scheme: self.scheme }, &x[0])?;
        let mut out = vec![e.wire(&bit)];
        for s in &self.selects {
            out.push(e.select(s, &bit, &x[(s.lift == Kind::Signed) as usize])?);
        }
        Ok(out)
    }
}

fn choices<R: Ring>(f: u32) {
    let n = R::BITS;
    let shape = [BATCH, 1500]; // two tiles, the last one short, and both in every run
    for (m, out) in [(n - f, n), (n - f, n - f + 3), (n, n)] {
        let forms = [Form::new(shape, m), Form::new(shape, m)];
        let limits = [i64::MAX >> (64 - m), 1 << (m - 2)];
        let x = limits.map(|limit| values::<R>(BATCH * 1500, limit, m, limit as u64));
        for (entropy, scheme) in (1..).zip(schemes()) {
            check(&Choices::all(scheme, m, out), &forms, &x, entropy);
        }
    }
}

#[test]
fn one_bit_chooses_many_times() {
    choices::<u32>(12);
    choices::<u64>(16);
}

/// All values of a small wire under many masks, the ends and zero among them, and all that a gradient may be.
#[test]
fn every_value_of_a_small_wire_is_chosen_or_not() {
    let (m, q) = (10, 1 << 8);
    let all: Vec<u32> = (0..1 << m).collect();
    let gradients = (0..1 << m).map(|i| (i % (2 * q + 1) - q) as u32 & ones(m) as u32).collect();
    let x = [all, gradients];
    for scheme in schemes() {
        for entropy in 0..10 {
            let forms = [Form::new([1 << m, 1], m), Form::new([1 << m, 1], m)];
            let got = check(&Choices::all(scheme, m, 32), &forms, &x, entropy);
            let wrong = |i: &usize| got[0][*i] != (*i < 1 << (m - 1)) as u32;
            assert_eq!((0..1 << m).filter(wrong).count(), 0, "signs");
        }
    }
}

/// ReLU of the first wire; backward, the second, a cut gradient, and the third, one of n bits.
struct Relu {
    scheme: Scheme,
    n: u32,
}

impl Program for Relu {
    fn run<E: Engine>(&self, e: &mut E, x: &[E::Wire]) -> Result<Vec<E::Wire>> {
        let bit = e.sign(&Sign { scheme: self.scheme }, &x[0])?;
        let to = |lift| Select { lift, out: self.n };
        Ok(vec![
            e.select(&to(Kind::Relu), &bit, &x[0])?,
            e.select(&to(Kind::Signed), &bit, &x[1])?,
            e.select(&to(Kind::Signed), &bit, &x[2])?,
        ])
    }
}

fn relu_there_and_back<R: Ring>(f: u32) {
    let (n, m, shape) = (R::BITS, R::BITS - f, [BATCH, 900]);
    let forms = [m, m, n].map(|bits| Form::new(shape, bits));
    let limits = [i64::MAX >> (64 - m), 1 << (m - 2), i64::MAX >> (64 - n)];
    let x: Vec<Vec<R>> =
        (0..3).map(|i| values(BATCH * 900, limits[i], forms[i].bits, 70 + i as u64)).collect();
    for (entropy, scheme) in (30..).zip(schemes()) {
        let got = check(&Relu { scheme, n }, &forms, &x, entropy);
        for i in 0..BATCH * 900 {
            let t = sign_extend(x[0][i].low(), m);
            let g = [1, 2].map(|w: usize| sign_extend(x[w][i].low(), forms[w].bits));
            let want = if t >= 0 { [t, g[0], g[1]] } else { [0; 3] };
            assert_eq!([0, 1, 2].map(|w: usize| got[w][i]), want.map(R::from_i64), "of {t} and {g:?}");
        }
    }
}

#[test]
fn relu_forward_and_backward_by_one_bit() {
    relu_there_and_back::<u32>(12);
    relu_there_and_back::<u64>(16);
}

/// MaxPool of windows of 4 consecutive elements and a ReLU behind it; backward the second wire, a cut gradient.
struct Pool {
    scheme: Scheme,
    windows: usize,
    m: u32,
    n: u32,
}

/// Elements `from`, `from + 2`, ... of `len`.
fn every_second(from: usize, len: usize) -> Local {
    Local::Gather((from..len).step_by(2).collect())
}
/// Two wires of `len` elements, in turn.
fn in_turn(len: usize) -> Local {
    Local::Gather((0..len).flat_map(|i| [i, len + i]).collect())
}

impl Pool {
    /// The larger of every two of `len` elements, and the bit that says which.
    fn level<E: Engine>(&self, e: &mut E, x: &E::Wire, len: usize) -> Result<(E::Wire, E::Bit)> {
        let (a, b) = (e.local(&every_second(0, len), &[x])?, e.local(&every_second(1, len), &[x])?);
        let diff = e.local(&Local::Sub, &[&a, &b])?;
        let bit = e.sign(&Sign { scheme: self.scheme }, &diff)?;
        let chosen = e.select(&Select { lift: Kind::Relu, out: self.m }, &bit, &diff)?;
        Ok((e.local(&Local::Add, &[&b, &chosen])?, bit))
    }
    /// The gradient of every two elements from that of the larger of them.
    fn back<E: Engine>(&self, e: &mut E, bit: &E::Bit, g: &E::Wire, len: usize) -> Result<E::Wire> {
        let a = e.select(&Select { lift: Kind::Signed, out: self.n }, bit, g)?;
        let b = e.local(&Local::Sub, &[g, &a])?;
        e.local(&in_turn(len), &[&a, &b])
    }
}

impl Program for Pool {
    fn run<E: Engine>(&self, e: &mut E, x: &[E::Wire]) -> Result<Vec<E::Wire>> {
        let windows = self.windows;
        let (pairs, first) = self.level(e, &x[0], 4 * windows)?;
        let (most, second) = self.level(e, &pairs, 2 * windows)?;
        let bit = e.sign(&Sign { scheme: self.scheme }, &most)?;
        let y = e.select(&Select { lift: Kind::Relu, out: self.n }, &bit, &most)?;

        let g = e.select(&Select { lift: Kind::Signed, out: self.n }, &bit, &x[1])?;
        let g = self.back(e, &second, &g, windows)?;
        // the bits of a level in the shape that its gradients have
        let first = e.reshape(&first, &[windows, 2])?;
        let g = e.local(&Local::Reshape(vec![windows, 2]), &[&g])?;
        Ok(vec![y, self.back(e, &first, &g, 2 * windows)?])
    }
}

fn pool_there_and_back<R: Ring>(f: u32) {
    let (windows, n, m) = (300, R::BITS, R::BITS - f);
    let forms = [Form::new([BATCH, 4 * windows], m), Form::new([BATCH, windows], m)];
    let limit = 1 << (m - 2);
    let mut x = values::<R>(BATCH * 4 * windows, limit - 1, m, 80);
    // every third window is full of ties
    let small = |v: &mut R| *v = R::from_i64(v.low() as i64 % 3 - 1).and(R::ones(m));
    x.chunks_exact_mut(4).step_by(3).for_each(|w| w.iter_mut().for_each(small));
    let x = [x, values(BATCH * windows, limit, m, 81)];
    for (entropy, scheme) in (40..).zip(schemes()) {
        let got = check(&Pool { scheme, windows, m, n }, &forms, &x, entropy);
        for (i, window) in x[0].chunks_exact(4).enumerate() {
            let t: Vec<i64> = window.iter().map(|v| sign_extend(v.low(), m)).collect();
            let first = (0..4).rev().max_by_key(|&k| t[k]).unwrap();
            let mut want = vec![R::ZERO; 4];
            if t[first] >= 0 {
                want[first] = R::from_i64(sign_extend(x[1][i].low(), m));
            }
            assert_eq!(got[0][i], R::from_i64(t[first].max(0)), "of {t:?}");
            assert_eq!(got[1][4 * i..4 * i + 4], want, "gradients of {t:?}");
        }
    }
}

#[test]
fn max_pool_forward_and_backward_by_one_tree() {
    pool_there_and_back::<u32>(12);
    pool_there_and_back::<u64>(16);
}

/// `clamp(x, -128, 127) + 128` in 8 bits, for a table.
struct Clamp(Scheme);

impl Program for Clamp {
    fn run<E: Engine>(&self, e: &mut E, x: &[E::Wire]) -> Result<Vec<E::Wire>> {
        let mut relu = |by| {
            let moved = e.local(&Local::AddPublic(by), &[&x[0]])?;
            let bit = e.sign(&Sign { scheme: self.0 }, &moved)?;
            e.select(&Select { lift: Kind::Narrow, out: 8 }, &bit, &moved)
        };
        let (low, high) = (relu(128)?, relu(-127)?);
        Ok(vec![e.local(&Local::Sub, &[&low, &high])?])
    }
}

fn clamps<R: Ring>() {
    let form = Form::new([BATCH, 900], 16);
    let x: Vec<R> = values(form.len(), (1 << 15) - 128, 16, 90);
    for (entropy, scheme) in (50..).zip(schemes()) {
        let got = check(&Clamp(scheme), std::slice::from_ref(&form), std::slice::from_ref(&x), entropy);
        for (y, x) in got[0].iter().zip(&x) {
            let t = sign_extend(x.low(), 16);
            assert_eq!(*y, R::from_i64(t.clamp(-128, 127) + 128), "of {t}");
        }
    }
}

#[test]
fn a_clamp_is_two_narrow_choices() {
    clamps::<u32>();
    clamps::<u64>();
}

/// The second wire chosen by the sign of the first.
struct Other(Select);

impl Program for Other {
    fn run<E: Engine>(&self, e: &mut E, x: &[E::Wire]) -> Result<Vec<E::Wire>> {
        let bit = e.sign(&Sign { scheme: Scheme::Digits }, &x[0])?;
        Ok(vec![e.select(&self.0, &bit, &x[1])?])
    }
}

/// What serves a ReLU is off by 2^m for a share `2 abs(t) / 2^m` of negative gradients.
#[test]
fn a_gradient_needs_the_signed_choice() {
    let (m, len, t) = (16, 20_000, -3000i32);
    let forms = [Form::new([1, len], m), Form::new([1, len], m)];
    let x = [5, t].map(|v| vec![v as u32 & ones(m) as u32; len]);
    let chosen = |lift| {
        let select = Other(Select { lift, out: 32 });
        run(&select, &forms, &x, &Images { dealt: 1, run: 0..1 }, 60).remove(0)
    };
    assert!(chosen(Kind::Signed).iter().all(|v| *v as i32 == t));
    let off: Vec<i32> =
        chosen(Kind::Relu).iter().map(|v| (*v as i32).wrapping_sub(t)).filter(|d| *d != 0).collect();
    assert!(off.iter().all(|d| *d == 1 << m), "{off:?}");
    let share = off.len() as f64 / len as f64;
    assert!((share - 6000.0 / 65536.0).abs() < 0.01, "{share} of the gradients");
}

#[test]
fn choices_that_cannot_be_are_refused() {
    let (bit, x) = (Form::new([2, 6], 1), Form::new([2, 6], 20));
    let refused = |lift, out, bit: &Form, x: &Form| {
        let select = Select { lift, out };
        let why = [select.output(32, bit, x).unwrap_err(), select.cost(32, bit, x).unwrap_err()];
        assert!(why.iter().all(|e| matches!(e, Error::Shape { at: "select", .. })), "{why:?}");
    };
    for kind in KINDS {
        let out = if kind == Kind::Narrow { 8 } else { 32 };
        assert_eq!(Select { lift: kind, out }.output(32, &bit, &x).unwrap(), Form::new([2, 6], out));
        refused(kind, out, &Form::new([12], 1), &x);
        refused(kind, out, &Form::new([2, 5], 1), &x);
        refused(kind, out, &x, &x);
        refused(kind, out, &bit, &Form::new([2, 6], 33));
        refused(kind, out, &bit, &Form::new([2, 6], 1));
    }
    for (kind, out) in [
        (Kind::Relu, 19),
        (Kind::Relu, 33),
        (Kind::Signed, 19),
        (Kind::Signed, 33),
        (Kind::Narrow, 20),
        (Kind::Narrow, 0),
    ] {
        refused(kind, out, &bit, &x);
    }
    for bits in [1, 33] {
        assert!(Sign { scheme: Scheme::Dpf }.output(32, &Form::new([2, 6], bits)).is_err(), "{bits} bits");
    }
}

#[test]
fn bits_of_another_run_are_refused() {
    let group = |range: std::ops::Range<usize>| (range.clone(), vec![0u32; range.len()]);
    let dev = Cpu::<u32>::new();
    let opened = [group(0..3), group(3..5)].map(|(r, v)| (r, crate::Backend::bit(&dev, &v, 0)));
    let bit: MaskedBit<Cpu<u32>> =
        MaskedBit { form: Form::new([5], 1), opened: opened.into(), share: Arc::new(vec![0; 5]) };
    assert!(bit.at(&(0..3)).is_ok() && bit.at(&(3..5)).is_ok());
    for group in [0..2, 0..5, 2..3, 3..4, 5..6] {
        assert!(matches!(bit.at(&group), Err(Error::Shape { at: "bit", .. })), "{group:?}");
    }
    assert_eq!(bit.reshape([1, 5]).unwrap().form(), &Form::new([1, 5], 1));
    assert!(matches!(bit.reshape([6]), Err(Error::Shape { at: "bit", .. })));
}

/// The table of training, section 3, at n = 32 and m = 16, and a sign with its word of n bits.
#[test]
fn bills_of_bits() {
    let (bit, x, wide) = (Form::new([1, 8], 1), Form::new([1, 8], 16), Form::new([1, 8], 32));
    let cost = |lift, out, x: &Form| {
        let cost = Select { lift, out }.cost(32, &bit, x).unwrap();
        assert_eq!((cost.rounds, cost.opened, cost.bytes, cost.comparisons), (1, 8, u64::from(out), 0));
        assert_eq!(cost.key_bits(0), 0);
        cost.key_bits(1) / 8
    };
    assert_eq!([Kind::Relu, Kind::Signed].map(|kind| cost(kind, 32, &x)), [32 + 3 * 16; 2]);
    assert_eq!(
        [cost(Kind::Signed, 32, &wide), cost(Kind::Relu, 16, &x), cost(Kind::Narrow, 8, &x)],
        [32, 16, 8]
    );
    let digits = Sign { scheme: Scheme::Digits }.cost(32, &x).unwrap();
    assert_eq!((digits.rounds, digits.comparisons, digits.key_bits(0)), (2, 8, 0));
    let dpf = Sign { scheme: Scheme::Dpf }.cost(32, &x).unwrap();
    let [Part { fields, .. }] = &dpf.parts[..] else { panic!("{dpf:?}") };
    assert_eq!((dpf.rounds, dpf.opened, dpf.bytes), (1, 8, 1));
    assert_eq!(*fields, [vec![128 * 9], vec![128 * 9, 32]]);
}
