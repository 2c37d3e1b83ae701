//! Every gate through `check`, in both rings, with both comparisons.

use super::check::{check, values};
use super::*;
use crate::{Shape, Window};

const BATCH: usize = 5;

/// Ring, fraction bits and the contract's largest magnitude before a truncation.
fn limit<R: Ring>(f: u32) -> i64 {
    (1i64 << (R::BITS - 2)) - (1 << f)
}

fn schemes() -> [Scheme; 2] {
    [Scheme::Dpf, Scheme::Digits]
}

fn wire(shape: &[usize], bits: u32) -> (Form, bool) {
    (Form { shape: Shape(shape.to_vec()), bits }, false)
}
fn weight(shape: &[usize], bits: u32) -> (Form, bool) {
    (Form { shape: Shape(shape.to_vec()), bits }, true)
}

/// Checks a gate of one operand on values up to `limit`.
fn unary<R: Ring, G: Gate>(gate: &G, shape: &[usize], bits: u32, limit: i64) {
    let x = values::<R>(shape.iter().product(), limit, bits, shape.len() as u64 + bits as u64);
    check(gate, &[wire(shape, bits)], &[x], 1);
}

/// Checks a bilinear gate on operands whose products stay in the contract.
fn product<R: Ring, G: Gate>(gate: &G, operands: &[(Form, bool)]) {
    let size = |i: usize| operands[i].0.len();
    let v = |i: usize, limit: i64| values::<R>(size(i), limit, R::BITS, i as u64);
    let mut x = vec![v(0, 30 << 12), v(1, 1 << 10)];
    if operands.len() > 2 {
        x.push(v(2, 1 << 22));
    }
    check(gate, operands, &x, 2);
}

/// One wire as both operands: one mask, and one public value.
#[derive(serde::Serialize)]
struct Square(Mul);

impl Gate for Square {
    const NAME: &'static str = <Mul as Gate>::NAME;
    fn output(&self, n: u32, x: &[&Form]) -> Result<Form> {
        self.0.output(n, &[x[0]; 2])
    }
    fn ideal<R: Ring>(&self, forms: &[&Form], x: &[&[R]], coins: Coins) -> Vec<R> {
        self.0.ideal(&[forms[0]; 2], &[x[0]; 2], coins)
    }
    fn deal<B: Backend>(&self, d: &mut Deal<B>, r: &[&Mask<B>]) -> Result<Mask<B>> {
        self.0.deal(d, &[r[0]; 2])
    }
    fn eval<B: Backend>(&self, s: &mut Session<B>, x: &[&Masked<B>]) -> Result<Share<B>> {
        self.0.eval(s, &[x[0]; 2])
    }
    fn cost(&self, n: u32, x: &[&Form]) -> Result<Cost> {
        self.0.cost(n, &[x[0]; 2])
    }
}

/// Without a cut a product is exact mod 2^n, whatever its operands are.
fn whole_ring<R: Ring>() {
    let form = || wire(&[BATCH, 900], R::BITS);
    let limit = i64::MAX >> (64 - R::BITS);
    let x = [1, 2].map(|entropy| values::<R>(BATCH * 900, limit, R::BITS, entropy));
    check(&Mul { cut: 0 }, &[form(), form()], &x, 4);
    check(&Square(Mul { cut: 0 }), &[form()], &x[..1], 4);
}

#[test]
fn products_of_any_two_values() {
    whole_ring::<u32>();
    whole_ring::<u64>();
}

fn bilinear<R: Ring>(f: u32) {
    let n = R::BITS;
    for cut in [0, f] {
        let (x, w, b) = (wire(&[BATCH, 20], n), weight(&[7, 20], n), weight(&[7], n));
        product::<R, _>(&Linear { cut }, &[x.clone(), w.clone(), b]);
        product::<R, _>(&Linear { cut }, &[x, w]);
        // two tiles, the last one short
        product::<R, _>(&Mul { cut }, &[wire(&[BATCH, 3, 300], n), wire(&[BATCH, 3, 300], n)]);
        let root = 1 << ((n - 3) / 2);
        unary::<R, _>(&Square(Mul { cut }), &[BATCH, 900], n, root);
        let odd = Window { kernel: [3, 2], stride: [2, 1], pad: [1, 0, 2, 1], dilation: [1, 2] };
        for (window, groups, cin, cout) in
            [(Window::square(3, 1), 1, 2, 3), (odd, 1, 3, 4), (odd, 2, 4, 6), (Window::square(1, 2), 3, 3, 3)]
        {
            let conv = Conv2d { window, groups, cut };
            let [kh, kw] = window.kernel;
            let w = weight(&[cout, cin / groups, kh, kw], n);
            product::<R, _>(&conv, &[wire(&[BATCH, cin, 6, 5], n), w, weight(&[cout], n)]);
        }
    }
}

#[test]
fn linear_conv_mul() {
    bilinear::<u32>(12);
    bilinear::<u64>(16);
}

fn rectifiers<R: Ring>(f: u32) {
    let (n, m) = (R::BITS, R::BITS - f);
    for scheme in schemes() {
        let shape = [BATCH, 1000]; // two tiles, the last one short
        unary::<R, _>(&Relu { scheme, shift: 0, out: n }, &shape, m, (1 << (m - 1)) - 1);
        unary::<R, _>(&Relu { scheme, shift: 0, out: m }, &shape, m, (1 << (m - 1)) - 1);
        unary::<R, _>(&Relu { scheme, shift: 0, out: n }, &shape, n, i64::MAX >> (64 - n));
        unary::<R, _>(&Relu { scheme, shift: f, out: n }, &shape, n, (i64::MAX >> (64 - n)) - (1 << f));
        unary::<R, _>(&ReluFloor { scheme, cut: f }, &shape, n, i64::MAX >> (64 - n));
        unary::<R, _>(&Truncate { cut: f, mode: Mode::Floor(scheme) }, &shape, n, limit::<R>(f));
        unary::<R, _>(&Truncate { cut: 3, mode: Mode::Floor(scheme) }, &shape, n, limit::<R>(f));
    }
    unary::<R, _>(&Truncate { cut: f, mode: Mode::PublicCoin }, &[BATCH, 1000], n, limit::<R>(f));
    unary::<R, _>(&Lift, &[BATCH, 1000], m, 1 << (m - 2));
}

#[test]
fn relu_truncate_lift() {
    rectifiers::<u32>(12);
    rectifiers::<u64>(16);
}

/// Every sum on a small wire: all values under many masks, the ends and R_low = 0 among them.
#[test]
fn sign_is_exact_for_every_value_of_a_small_wire() {
    let x: Vec<u32> = (0..1 << 10).collect();
    for scheme in schemes() {
        for entropy in 0..40 {
            check(
                &Relu { scheme, shift: 0, out: 32 },
                &[wire(&[1, 1 << 10], 10)],
                std::slice::from_ref(&x),
                entropy,
            );
        }
    }
}

fn pools<R: Ring>(f: u32) {
    let (n, m) = (R::BITS, R::BITS - f);
    let irregular = Window { kernel: [3, 3], stride: [2, 2], pad: [1, 1, 1, 1], dilation: [1, 1] };
    let dilated = Window { kernel: [2, 3], stride: [1, 2], pad: [0, 2, 1, 0], dilation: [2, 1] };
    for window in [Window::square(2, 2), irregular, dilated, Window::square(1, 2)] {
        let shape = [BATCH, 2, 7, 6];
        for scheme in schemes() {
            // differences of two values must stay below half the ring
            unary::<R, _>(&MaxPool { scheme, window }, &shape, m, (1 << (m - 2)) - 1);
            unary::<R, _>(&MaxPool { scheme, window }, &shape, n, (1 << (n - 2)) - 1);
        }
        for count_include_pad in [true, false] {
            for mode in [Mode::PublicCoin, Mode::Floor(Scheme::Dpf), Mode::Floor(Scheme::Digits)] {
                let gate = AvgPool { window, count_include_pad, cut: f, mode };
                unary::<R, _>(&gate, &shape, n, limit::<R>(f) >> (f + 1));
            }
        }
    }
    let global = Window { kernel: [4, 4], ..Window::square(4, 1) };
    unary::<R, _>(
        &AvgPool { window: global, count_include_pad: true, cut: 4, mode: Mode::PublicCoin },
        &[BATCH, 3, 4, 4],
        n,
        1 << 20,
    );
}

#[test]
fn max_and_average_pools() {
    pools::<u32>(12);
    pools::<u64>(16);
}

#[test]
fn max_pool_takes_one_comparison_less_than_the_window_and_logarithmic_rounds() {
    let x = Form::new([1, 1, 3, 3], 20);
    let cost = MaxPool { scheme: Scheme::Dpf, window: Window::square(3, 1) }.cost(32, &[&x]).unwrap();
    assert_eq!((cost.comparisons, cost.parts.len(), cost.rounds), (8, 4, 8));
    let digits = MaxPool { scheme: Scheme::Digits, window: Window::square(2, 2) };
    let cost = digits.cost(32, &[&Form::new([1, 1, 2, 2], 20)]).unwrap();
    assert_eq!((cost.comparisons, cost.rounds), (3, 6));
}

#[test]
fn argmax_gives_ties_to_the_lowest_index() {
    for k in [2, 3, 5, 10, 17] {
        for scheme in schemes() {
            unary::<u32, _>(&Argmax { scheme }, &[BATCH, k], 32, (1 << 30) - 1);
            unary::<u64, _>(&Argmax { scheme }, &[BATCH, k], 64, (1 << 62) - 1);
            let tied = vec![7u32; BATCH * k];
            check(&Argmax { scheme }, &[wire(&[BATCH, k], 32)], &[tied], 3);
        }
    }
    let tied = Argmax { scheme: Scheme::Dpf }.ideal(&[&Form::new([1, 4], 32)], &[&[1u32, 9, 9, 3]], None);
    assert_eq!(tied, [1]);
    let cost = Argmax { scheme: Scheme::Dpf }.cost(32, &[&Form::new([1, 10], 32)]).unwrap();
    assert_eq!(cost.rounds, 8);
}

fn audits<R: Ring>(f: u32) {
    let (n, m) = (R::BITS, R::BITS - f);
    for scheme in schemes() {
        for (bits, theta) in
            [(m, 1 << (m - 3)), (m, 1 << (m - 2)), (n, 1 << (n - 3)), (m, 1), (n, 777), (5, 3)]
        {
            let gate = Audit { scheme, theta };
            // two tiles; several axes; one element an image
            for shape in [&[BATCH, 1000][..], &[BATCH, 3, 4, 5], &[BATCH, 1]] {
                unary::<R, _>(&gate, shape, bits, i64::MAX >> (64 - bits));
            }
        }
    }
}

#[test]
fn counts_of_large_values() {
    audits::<u32>(12);
    audits::<u64>(16);
}

/// All values of a small wire under many masks, with `R_low = 0` among them: the count is of those from theta on, in
/// either direction; an element near the ring's ends counts twice.
#[test]
fn every_value_of_a_small_wire_is_counted_or_not() {
    let x: Vec<u32> = (0..1 << 10).collect();
    let theta = 1u64 << 7;
    for scheme in schemes() {
        for entropy in 0..40 {
            let audit = Audit { scheme, theta };
            check(&audit, &[wire(&[1 << 10, 1], 10)], std::slice::from_ref(&x), entropy);
        }
    }
    let counts = Audit { scheme: Scheme::Dpf, theta }.ideal(&[&Form::new([1 << 10, 1], 10)], &[&x], None);
    for (v, count) in x.iter().zip(counts) {
        let t = crate::ring::sign_extend(u64::from(*v), 10);
        let want = match t.unsigned_abs() {
            0..128 => 0,
            // within theta of 512 and of -512
            _ if !(-512 + 128..=512 - 128).contains(&t) => 2,
            _ => 1,
        };
        assert_eq!(count, want, "{t}");
    }
}

#[test]
fn an_audit_takes_one_key_for_two_comparisons() {
    let x = Form::new([1, 64], 20);
    let audit = |scheme| Audit { scheme, theta: 1 << 17 }.cost(32, &[&x]).unwrap();
    let (dpf, digits) = (audit(Scheme::Dpf), audit(Scheme::Digits));
    assert_eq!((dpf.comparisons, dpf.rounds, digits.rounds), (128, 2, 3));
    // the point function's 208 bytes, once; two words of 8 bits for P1
    assert_eq!([dpf.key_bits(0), dpf.key_bits(1)], [208 * 8 * 64, (208 + 2) * 8 * 64]);
    assert_eq!([digits.key_bits(0), digits.key_bits(1)], [0, (142 + 16) * 64]);
    for theta in [0, (1 << 18) + 1, u64::MAX] {
        assert!(Audit { scheme: Scheme::Dpf, theta }.output(32, &[&x]).is_err(), "{theta}");
    }
}

/// The limits on key bytes per ReLU at n=32, f=12, m=20.
#[test]
fn key_bytes_per_relu() {
    let (x, open) = (Form::new([1, 8], 20), Form::new([1, 8], 32));
    let bits = |c: Cost| [c.key_bits(0) / 8, c.key_bits(1) / 8];
    let relu = |scheme| bits(Relu { scheme, shift: 0, out: 32 }.cost(32, &[&x]).unwrap());
    assert_eq!(relu(Scheme::Dpf), [208 * 8, 208 * 8 + 100], "208 B common, 12.5 B words, in bits");
    let [p0, p1] = relu(Scheme::Digits);
    assert!(p0 == 0 && p1 <= 30 * 8, "{p1} bits");
    let floor = bits(ReluFloor { scheme: Scheme::Digits, cut: 12 }.cost(32, &[&open]).unwrap());
    assert!(floor[0] == 0 && floor[1] <= 65 * 8, "{floor:?}");
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let x = Form::new([2, 6], 32);
    let narrow = Form::new([2, 6], 20);
    let w = Form::new([3, 5], 32);
    assert!(Linear { cut: 12 }.output(32, &[&x, &w]).is_err());
    assert!(
        Linear { cut: 12 }
            .output(32, &[&narrow, &Form::new([3, 6], 32)])
            .unwrap_err()
            .to_string()
            .contains("lift")
    );
    assert!(Linear { cut: 12 }.output(32, &[&x]).is_err());
    assert!(Lift.output(32, &[&x]).is_err());
    assert!(Relu { scheme: Scheme::Dpf, shift: 0, out: 16 }.output(32, &[&narrow]).is_err());
    assert!(Argmax { scheme: Scheme::Dpf }.output(32, &[&Form::new([2, 1], 32)]).is_err());
    let far = Window { pad: [0, 0, 9, 0], ..Window::square(2, 1) };
    assert!(
        MaxPool { scheme: Scheme::Dpf, window: far }.output(32, &[&Form::new([1, 1, 4, 4], 20)]).is_err()
    );
}
