//! Every gate through `check`, in both rings, with both comparisons.

mod bits;

use super::check::{check, exact, values};
use super::*;
use crate::backend::Product;
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
struct Square<G>(G);

impl<G: Gate> Gate for Square<G> {
    const NAME: &'static str = G::NAME;
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

/// Checks sums of up to two products with addends; `step` is one image with its batch inside.
fn sum<R: Ring>(terms: &[Product], cut: u32, step: bool, shapes: &[&[usize]]) {
    let add = shapes.len() - 2 * terms.len();
    let limit = |i: usize| if i < 2 * terms.len() { 1 << 10 } else { 1 << 26 };
    let operand = |(i, s): (usize, &&[usize])| {
        let serves_all = step || i % 2 == 1 && i < 2 * terms.len() && s[0] != BATCH;
        let form = Form { shape: Shape(s.to_vec()), bits: R::BITS };
        let x = values::<R>(form.len(), limit(i), R::BITS, i as u64);
        ((form, serves_all), x)
    };
    let (operands, x): (Vec<_>, Vec<_>) = shapes.iter().enumerate().map(operand).unzip();
    let gate = Sum { terms: terms.to_vec(), add, cut };
    [5, 6].into_iter().for_each(|entropy| check(&gate, &operands, &x, entropy));
    let forms: Vec<&Form> = operands.iter().map(|o| &o.0).collect();
    let (cost, out) = (gate.cost(R::BITS, &forms).unwrap(), gate.output(R::BITS, &forms).unwrap());
    let stored = if terms.is_empty() { 0 } else { out.len() as u64 * u64::from(R::BITS) };
    assert_eq!(
        (cost.rounds, cost.key_bits(0), cost.key_bits(1)),
        (1, 0, stored),
        "one word, whatever is summed"
    );
}

fn sums<R: Ring>(f: u32) {
    use Product::{Dot, Elementwise, Linear, LinearDw, LinearDx};
    let odd = Window { kernel: [3, 2], stride: [2, 1], pad: [1, 0, 2, 1], dilation: [1, 2] };
    for cut in [0, f] {
        sum::<R>(&[LinearDx], cut, false, &[&[BATCH, 7], &[7, 20]]);
        sum::<R>(
            &[LinearDx, Linear],
            cut,
            false,
            &[&[BATCH, 7], &[7, 20], &[BATCH, 3], &[20, 3], &[BATCH, 20]],
        );
        sum::<R>(&[Elementwise], cut, false, &[&[BATCH, 9], &[BATCH, 9], &[BATCH, 9], &[BATCH, 9]]);
        // several tiles, the last one short
        sum::<R>(&[LinearDw], cut, true, &[&[8, 70], &[8, 65], &[70, 65], &[70, 65]]);
        sum::<R>(&[Dot { block: 16 }], cut, true, &[&[4, 3, 3, 3], &[4, 3, 3, 3]]);
        for (window, groups) in [(Window::square(3, 1).padded(1), 1), (odd, 2)] {
            let (x, w) = ([BATCH, 4, 6, 5], [6, 4 / groups, window.kernel[0], window.kernel[1]]);
            let y = Product::Conv { window, groups }.shape(&x.into(), &w.into()).unwrap().0;
            sum::<R>(&[Product::ConvDx { window, groups, input: [6, 5] }], cut, false, &[&y, &w, &x]);
            sum::<R>(&[Product::ConvDw { window, groups }], cut, true, &[&y, &x, &w]);
        }
        sum::<R>(&[], cut, false, &[&[BATCH, 900], &[BATCH, 900]]);
        sum::<R>(&[], cut, true, &[&[5000]]);
        let x = values::<R>(BATCH * 27, 1 << 11, R::BITS, 3);
        let gate = Sum { terms: vec![Dot { block: 50 }], add: 0, cut };
        check(&Square(gate), &[weight(&[BATCH, 3, 3, 3], R::BITS)], &[x], 7);
    }
}

#[test]
fn sums_of_products_and_wires() {
    sums::<u32>(12);
    sums::<u64>(16);
}

/// All low bits under many masks: the floor, or one above it, as the coin says.
#[test]
fn every_rest_that_a_sum_cuts_off() {
    let (x, one): (Vec<u32>, _) = ((0..1 << 10).collect(), vec![1u32; 1 << 10]);
    let wires = |count| vec![wire(&[1, 1 << 10], 32); count];
    for entropy in 0..20 {
        let product = Sum { terms: vec![Product::Elementwise], add: 1, cut: 10 };
        check(&product, &wires(3), &[x.clone(), one.clone(), one.clone()], entropy);
        check(&Sum { terms: vec![], add: 1, cut: 10 }, &wires(1), std::slice::from_ref(&x), entropy);
    }
}

#[test]
fn sums_of_what_does_not_fit_are_refused() {
    let (g, w, x) = (Form::new([4, 3], 32), Form::new([3, 6], 32), Form::new([4, 6], 32));
    let narrow = Form::new([4, 6], 20);
    let sum = |terms: &[Product], add, cut| Sum { terms: terms.to_vec(), add, cut };
    let dx = Product::LinearDx;
    let cases: [(Sum, &[&Form], &str); 10] = [
        (sum(&[], 0, 0), &[], "0 wires"),
        (sum(&[dx], 0, 0), &[&g], "take 2 wires, got 1"),
        (sum(&[dx], 1, 0), &[&g, &w], "take 3 wires"),
        (sum(&[dx], 0, 0), &[&g, &w, &x], "take 2 wires"),
        (sum(&[dx], 1, 0), &[&g, &w, &narrow], "lift first"),
        (sum(&[], 1, 0), &[&narrow], "lift first"),
        (sum(&[dx], 0, 30), &[&g, &w], "cannot cut 30"),
        (sum(&[dx], 0, 0), &[&x, &w], "linear-dx"),
        (sum(&[dx], 1, 0), &[&g, &w, &g], "cannot add"),
        (sum(&[dx, Product::LinearDw], 0, 0), &[&g, &w, &g, &x], "cannot add"),
    ];
    for (gate, forms, why) in cases {
        let said = gate.output(32, forms).expect_err(why).to_string();
        assert!(said.contains(why), "{why}: {said}");
    }
    assert_eq!(sum(&[dx, dx], 1, 12).output(32, &[&g, &w, &g, &w, &x]).unwrap(), narrow);
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

fn staircase(scheme: Scheme, base: i64, steps: &[(i64, i64)]) -> Staircase {
    let steps = steps.iter().map(|&(at, by)| Step { at, by }).collect();
    Staircase { scheme, base, steps }
}

fn staircases<R: Ring>() {
    let n = R::BITS;
    let quarter = |m: u32| 1i64 << (m - 3);
    for scheme in schemes() {
        for m in [n, n - 12, 9, 5] {
            // two tiles at one width, the last one short
            let (q, shape) = (quarter(m), [BATCH, if m + 12 == n { 1000 } else { 60 }]);
            // one threshold, two, and so many that words come in several goes; any numbers as weights
            let row =
                |k: i64| (0..k).map(|i| (i * (2 * q / k) - q, i * 777_777_777_777 - 5)).collect::<Vec<_>>();
            for steps in [vec![(0, 1)], vec![(-q, -3), (q, i64::MIN)], row(11.min(2 * q))] {
                let values = (1 << (m - 2)) - 1;
                unary::<R, _>(&staircase(scheme, -9, &steps), &shape, m, values);
            }
        }
        unary::<R, _>(&staircase(scheme, 3, &[(-7, 2), (8, 5)]), &[BATCH, 3, 4, 5], n, 20);
    }
}

#[test]
fn staircases_of_any_height() {
    staircases::<u32>();
    staircases::<u64>();
}

/// Every value of a small wire under many masks, thresholds at its ends among them: the count of thresholds it has reached,
/// where `t - theta` does not wrap.
#[test]
fn every_value_of_a_small_wire_is_on_its_step() {
    let x: Vec<u32> = (0..1 << 10).collect();
    let inner: Vec<(i64, i64)> = [-256, -255, -7, 0, 1, 99, 254, 255].map(|at| (at, 1)).into();
    let ends: Vec<(i64, i64)> = [-512, 0, 511].map(|at| (at, 1)).into();
    for scheme in schemes() {
        for entropy in 0..10 {
            for steps in [&inner, &ends] {
                let gate = staircase(scheme, 0, steps);
                check(&gate, &[wire(&[1, 1 << 10], 10)], std::slice::from_ref(&x), entropy);
            }
        }
    }
    let got = staircase(Scheme::Dpf, 0, &inner).ideal(&[&Form::new([1, 1 << 10], 10)], &[&x], None);
    for (v, got) in x.iter().zip(got) {
        let t = crate::ring::sign_extend(u64::from(*v), 10);
        let reached = inner.iter().filter(|s| t >= s.0).count() as u32;
        assert!(got == reached || !(-256..256).contains(&t), "{t}: {got} of {reached}");
    }
}

#[test]
fn a_staircase_takes_one_key_whatever_its_height() {
    let x = Form::new([1, 64], 32);
    let steps: Vec<(i64, i64)> = (0..100).map(|i| (i * i * i, 1)).collect();
    let cost = |scheme, k: usize| staircase(scheme, 1, &steps[..k]).cost(32, &[&x]).unwrap();
    let (one, all) = (cost(Scheme::Dpf, 1), cost(Scheme::Dpf, 100));
    assert_eq!((one.comparisons, all.comparisons, all.rounds, all.opened), (64, 6400, 2, 101 * 64));
    // the point function's 400 bytes for both; a word of 32 bits for each threshold
    assert_eq!([all.key_bits(0), all.key_bits(1)], [400 * 8 * 64, (400 * 8 + 100 * 32) * 64]);
    let digits = cost(Scheme::Digits, 100);
    assert_eq!((digits.rounds, digits.key_bits(0)), (3, 0));
}

#[test]
fn steps_that_do_not_fit_are_refused() {
    let says = |steps: &[(i64, i64)], m: u32, why: &str| {
        let x = Form::new([1, 4], m);
        let e = staircase(Scheme::Dpf, 0, steps).output(32, &[&x]).unwrap_err().to_string();
        assert!(e.contains(why), "{e}");
    };
    says(&[], 20, "no threshold");
    says(&[(3, 1), (2, 1)], 20, "ascend");
    says(&[(3, 1), (3, 1)], 20, "ascend");
    says(&[(1, 1), (1 << 19, 1)], 20, "524288");
    says(&[(-(1 << 19) - 1, 1), (1, 1)], 20, "-524289");
    says(&[(0, 1)], 1, "1 bits");
    says(&[(0, 1)], 33, "33 bits");
    let many: Vec<(i64, i64)> = (0..(1 << 16) + 1).map(|i| (i, 1)).collect();
    says(&many, 20, "65536 is the most");
    let two = Form::new([1, 4], 20);
    assert!(staircase(Scheme::Dpf, 0, &[(0, 1)]).output(32, &[&two, &two]).is_err());
}

/// A table of any entries of `bits` bits, each of them odd or even by chance.
fn table(width: u32, shift: u32, bits: u32) -> Table {
    let entries = values::<u64>(1 << width, i64::MAX, 64, u64::from(width));
    let entries = entries.iter().map(|e| (e >> 5 & crate::ring::ones(bits)) as u32).collect();
    Table { width, shift, bits, entries }
}

/// All values of a place of up to 10 bits, of a short one under masks enough to meet all of those; of a longer one every 7th.
fn every_place<R: Ring>(width: u32, bits: u32) {
    let all = (0..1 << width).step_by(if width > 10 { 7 } else { 1 });
    let x: Vec<R> = all.cycle().take(1 << 10).map(R::from_u64).collect();
    let gate = table(width, 0, bits);
    let form = wire(&[1, x.len()], width);
    let [(got, _), _] = exact(&gate, &[form], std::slice::from_ref(&x), width as u64);
    assert!(got.iter().zip(&x).all(|(z, t)| z.low() == u64::from(gate.entries[t.low() as usize])));
}

#[test]
fn every_value_of_every_width_is_looked_up() {
    for width in 1..=13 {
        every_place::<u32>(width, [1, 15, 32][width as usize % 3]);
        every_place::<u64>(width, [15, 32, 1][width as usize % 3]);
    }
}

fn tables<R: Ring>() {
    let n = R::BITS;
    for width in [1, 3, 8, 9] {
        // in several images; a wire as wide as its places, one that is reduced, one that is cut by a coin
        for (bits, shift) in [(width, 0), (n, 0), (20, 0), (n, n - width), (n, 5), (20, 1)] {
            let gate = table(width, shift, 7);
            // two tiles of one kind, the last one short
            let row = if (bits, shift) == (n, 5) { 1000 } else { 60 };
            let x = values::<R>(BATCH * row, i64::MAX >> (64 - n), bits, bits.into());
            let ends = exact(&gate, &[wire(&[BATCH, row], bits)], &[x], 6);
            let moved = ends[0].0 != ends[0].1;
            assert_eq!(
                moved,
                shift > 0,
                "coins move values to the next entry: {width} of {bits} above {shift}"
            );
        }
    }
    // a training step: one image with its batch inside
    let x = values::<R>(BATCH * 1000, 1 << 18, n, 2);
    exact(&table(8, 10, 15), &[wire(&[1, BATCH, 1000], n)], &[x], 8);
}

#[test]
fn tables_of_places_that_are_reduced_or_cut() {
    tables::<u32>();
    tables::<u64>();
}

/// Training, section 4: 79 bytes on P1 and 47 bits opened at w = 8, a = 15, n = 32; `16 (w - 6)` bytes for both from 9 bits on.
#[test]
fn key_bytes_of_a_table() {
    let x = Form::new([1, 64], 32);
    let cost = |width| table(width, 0, 15).cost(32, &[&x]).unwrap();
    let (short, long) = (cost(8), cost(10));
    assert_eq!((short.rounds, short.opened, short.bytes, short.comparisons), (2, 16 * 64, 47 * 8, 0));
    assert_eq!([short.key_bits(0), short.key_bits(1)], [0, 631 * 64]);
    assert_eq!([long.key_bits(0), long.key_bits(1)], [64 * 8 * 64, (64 * 8 + 375) * 64]);
}

#[test]
fn tables_that_do_not_fit_are_refused() {
    let says = |gate: Table, bits: u32, why: &str| {
        let x = Form::new([1, 4], bits);
        let e = gate.output(32, &[&x]).unwrap_err().to_string();
        assert!(e.contains(why), "{e}");
    };
    let entries = |v: &[u32]| Table { entries: v.into(), ..table(2, 0, 3) };
    says(table(0, 0, 3), 20, "0 bits");
    says(Table { width: 14, ..table(2, 0, 3) }, 20, "14 bits");
    says(table(8, 13, 3), 20, "8 bits above 13");
    says(Table { shift: u32::MAX, ..table(2, 0, 3) }, 20, "4294967295");
    says(Table { bits: 0, ..table(2, 0, 3) }, 20, "entries have 0 bits");
    says(Table { bits: 33, ..table(2, 0, 3) }, 20, "entries have 33 bits");
    says(entries(&[1, 2, 3]), 20, "3 entries");
    says(entries(&[1, 2, 3, 8]), 20, "entry 8");
    assert!(entries(&[1, 2, 3, 7]).output(32, &[&Form::new([1, 4], 2)]).is_ok());
    let two = Form::new([1, 4], 20);
    assert!(table(2, 0, 3).output(32, &[&two, &two]).is_err());
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
