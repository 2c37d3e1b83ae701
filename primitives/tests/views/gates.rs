//! The view of one party of a run of each gate: its tile, its own shares of masks, masked operands, every message it
//! got and every value that was opened. Against the operands when they are random, against nothing when they are fixed,
//! and between two fixed inputs. A sample is an image: every one has its own masks and keys.

mod bits;

use crate::common::{Dealt, Operand, Store, deal, full, random};
use crate::keys::{KEYS, stored};
use crate::stats::{Plane, View, planes, xor};
use twoply_primitives::backend::Product;
use twoply_primitives::bits::{Bits, read_word};
use twoply_primitives::channel::Recording;
use twoply_primitives::compare::{Scheme, Widths, digits::Digits};
use twoply_primitives::gate::*;
use twoply_primitives::*;

/// One message of a gate, of `lanes` elements per sample.
#[derive(Clone, Debug)]
pub enum Message {
    /// Shared bits: per tile, plane after plane.
    Bits { planes: usize, lanes: usize },
    /// Shared words of these widths, one packed array after the other.
    Words { widths: Vec<u32>, lanes: usize },
}
use Message::{Bits as B, Words as W};

/// A gate with what a run of it sends.
pub struct Case<G> {
    pub gate: G,
    /// Operands per image; weights have no batch.
    pub forms: Vec<Form>,
    /// Largest magnitude of an operand.
    pub limit: i64,
    pub messages: Vec<Message>,
}

/// Messages of the digits' merge for a comparison.
fn merge(w: u32, low: Option<u32>, lanes: usize) -> Message {
    B { planes: 2 * Digits::new(Widths { w, low }).split().len() - 1, lanes }
}
fn words(width: u32, lanes: usize) -> Message {
    W { widths: vec![width], lanes }
}

/// Elements `0..len` of one message as (name, width, lanes, what came, what was opened).
type Part = (String, u32, usize, Vec<u128>, Vec<u128>);

impl Message {
    /// Length for `samples` images.
    fn bytes(&self, samples: usize) -> usize {
        match self {
            B { planes, lanes } => (samples * lanes * planes).div_ceil(8),
            W { widths, lanes } => widths.iter().map(|&w| (samples * lanes * w as usize).div_ceil(8)).sum(),
        }
    }
    fn read(&self, name: &str, sent: &[u8], got: &[u8], samples: usize) -> Vec<Part> {
        let cells = |bytes: &[u8], from: usize, width: u32, len: usize| -> Vec<u128> {
            (0..len).map(|i| read_word(bytes, from + i * width as usize, width) as u128).collect()
        };
        match self {
            B { planes, lanes } => {
                let len = samples * lanes;
                assert_eq!(got.len() * 8, planes * len, "{name}");
                let plane = |p: usize, bytes: &[u8]| {
                    let tile = |t| Bits::read(bytes, (t * planes + p) * TILE, TILE);
                    let tiles: Vec<Bits> = (0..len / TILE).map(tile).collect();
                    (0..len).map(|i| tiles[i / TILE].bit(i % TILE) as u128).collect::<Vec<_>>()
                };
                let one = |p: usize| {
                    let (a, b) = (plane(p, sent), plane(p, got));
                    let opened = a.iter().zip(&b).map(|(a, b)| a ^ b).collect();
                    (format!("{name} bit {p}"), 1, *lanes, b, opened)
                };
                (0..*planes).map(one).collect()
            }
            W { widths, lanes } => {
                let (len, mut from) = (samples * lanes, 0);
                let mut one = |&w: &u32| {
                    let (a, b) = (cells(sent, from, w, len), cells(got, from, w, len));
                    from += (w as usize * len).next_multiple_of(8);
                    let opened = a.iter().zip(&b).map(|(a, b)| (a + b) & ring::ones(w) as u128).collect();
                    (format!("{name} word of {w}"), w, *lanes, b, opened)
                };
                let out = widths.iter().map(&mut one).collect();
                assert_eq!(from, got.len() * 8, "{name}");
                out
            }
        }
    }
}

impl<G> Case<G> {
    /// Images of the run.
    fn images(&self) -> usize {
        self.forms[0].shape.batch()
    }
    /// Operands that are random within the limit.
    pub fn random<R: Ring>(&self, entropy: u64) -> Vec<Vec<R>> {
        let span = 2 * self.limit as u128 + 1;
        let value =
            |v: u64, bits| R::from_i64(((v as u128 * span) >> 64) as i64 - self.limit).and(R::ones(bits));
        let one = |(i, f): (usize, &Form)| {
            random(entropy + i as u64, f.len()).into_iter().map(|v| value(v, f.bits)).collect()
        };
        self.forms.iter().enumerate().map(one).collect()
    }
    /// Operands that are the same for every image.
    pub fn fixed<R: Ring>(&self, entropy: u64) -> Vec<Vec<R>> {
        let one =
            |(f, x): (&Form, Vec<R>)| x[..f.shape.row()].iter().copied().cycle().take(f.len()).collect();
        self.forms
            .iter()
            .zip(self.random(entropy))
            .map(|(f, x)| if self.is_weight(f) { x } else { one((f, x)) })
            .collect()
    }
    fn is_weight(&self, f: &Form) -> bool {
        f.shape.batch() != self.images()
    }

    /// What `party` holds of an operand before the run: its own share of the mask.
    fn shares<R: Ring>(&self, v: &mut View, operands: &[Operand<R>], party: PartyId) {
        for o in operands.iter().filter(|o| !self.is_weight(&o.form)) {
            let bits = ring_planes(&o.shares[party.index()], o.form.bits, o.form.shape.row());
            v.see("own share of the mask", bits);
        }
    }
    /// What it holds of a part of a gate: the stored fields.
    fn keys(&self, v: &mut View, store: &Store, (site, part): (Site, &record::Part), party: PartyId) {
        let fields = stored(store, site, part, party);
        // tables and their one-bit products come first
        let words = fields.iter().rposition(|f| f.0 == 1).map_or(0, |last| last + 1);
        for (i, (width, values)) in fields.iter().enumerate() {
            let bits = planes(values, *width, part.elements / self.images());
            let range = v.see(&format!("gate {} part {} field {i}", site.gate, site.part), bits);
            v.triple(range.clone(), *width);
            if i >= words {
                v.stress(range);
            }
        }
    }
    fn masked<R: Ring>(&self, v: &mut View, operands: &[Operand<R>], x: &[Vec<R>]) {
        for (o, x) in operands.iter().zip(x).filter(|(o, _)| !self.is_weight(&o.form)) {
            let range = v.see("masked operand", ring_planes(&o.hide(x), o.form.bits, o.form.shape.row()));
            v.stress(range.clone());
            v.triple(range, o.form.bits);
        }
    }
    /// A side's messages, put together from the pieces they left in.
    fn whole(&self, pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (mut all, mut out) = (pieces.concat(), vec![]);
        for m in &self.messages {
            let rest = all.split_off(m.bytes(self.images()));
            out.push(std::mem::replace(&mut all, rest));
        }
        assert_eq!(all.len(), 32, "all messages and the transcript");
        out
    }
    fn heard(&self, v: &mut View, log: &Recording) {
        let (sent, received) = (self.whole(&log.sent), self.whole(&log.received));
        for (i, m) in self.messages.iter().enumerate() {
            for (name, width, lanes, got, opened) in
                m.read(&format!("message {i}"), &sent[i], &received[i], self.images())
            {
                let range = v.see(&format!("{name} received"), planes(&got, width, lanes));
                v.stress(range);
                // what came and what was opened differ by the party's own message: no triple has both
                let range = v.see(&format!("{name} opened"), planes(&opened, width, lanes));
                v.stress(range.clone());
                v.triple(range, width);
            }
        }
    }
    /// Opened values of message `i`, plane by plane.
    pub fn opened(&self, i: usize, log: &Recording) -> Vec<Plane> {
        let (sent, received) = (self.whole(&log.sent), self.whole(&log.received));
        let parts = self.messages[i].read("opened", &sent[i], &received[i], self.images());
        parts.iter().flat_map(|(_, width, lanes, _, opened)| planes(opened, *width, *lanes)).collect()
    }
}

impl<G: Gate> Case<G> {
    /// Keys for the run.
    pub fn deal<R: Ring>(&self, entropy: u64) -> Dealt<R> {
        deal(&self.gate, &self.forms, entropy)
    }
    /// Runs on `x` and collects what `party` saw.
    pub fn view<R: Ring>(&self, dealt: &Dealt<R>, x: &[Vec<R>], party: PartyId) -> View {
        let played = dealt.play(&self.gate, x);
        let (forms, slices): (Vec<&Form>, Vec<&[R]>) =
            (self.forms.iter().collect(), x.iter().map(|x| &x[..]).collect());
        let bits = self.gate.output(R::BITS, &forms).unwrap().bits;
        for (got, want) in played.clear.iter().zip(self.gate.ideal(&forms, &slices, None)) {
            assert!(got.sub(want).and(R::ones(bits)).low() <= 1, "a view counts only if the run was right");
        }
        let mut v = self.held(dealt, party);
        self.masked(&mut v, &dealt.operands, x);
        self.heard(&mut v, &played.logs[party.index()]);
        v
    }
    /// What `party` holds before the run: its tile, and its own shares of the operands' masks.
    pub fn held<R: Ring>(&self, dealt: &Dealt<R>, party: PartyId) -> View {
        let mut v = View::default();
        for (p, part) in (0..).zip(&dealt.cost.parts) {
            self.keys(&mut v, &dealt.store, (Site { gate: dealt.gate, part: p }, part), party);
        }
        self.shares(&mut v, &dealt.operands, party);
        v
    }
}

/// Planes of ring elements.
pub fn ring_planes<R: Ring>(v: &[R], bits: u32, lanes: usize) -> Vec<Plane> {
    planes(&v.iter().map(|v| v.low() as u128).collect::<Vec<_>>(), bits, lanes)
}

/// All pairs of bits, held against all secrets in the full size; of a large view against some. Otherwise against some, and
/// of a large view without the comparison's tables and the own shares of masks.
fn pair(v: &mut View) {
    match (full(), v.len() <= 450) {
        (true, true) => v.pair_all(),
        (true, false) | (false, true) => {
            v.thin(16);
            v.pair_all();
        }
        (false, false) => {
            v.thin(32);
            v.pair_stressed();
        }
    }
    v.thin_triples(if full() { 150 } else { 90 });
}

/// Views of a gate, tested for both parties.
fn joint<R: Ring, G: Gate>(case: &Case<G>) {
    let dealt = [100, 153, 155].map(|entropy| (entropy, case.deal::<R>(entropy)));
    let of = |entropy| &dealt.iter().find(|d| d.0 == entropy).expect("dealt").1;
    tested::<R, G>(case, G::NAME, |entropy, x, party| case.view(of(entropy), x, party));
}

/// Views that `view` collects, of a party's run on some input under the keys of some entropy.
fn tested<R: Ring, G>(case: &Case<G>, name: &str, view: impl Fn(u64, &[Vec<R>], PartyId) -> View) {
    for party in PartyId::BOTH {
        let name = format!("{name} mod 2^{}, {party}", R::BITS);
        let x = case.random::<R>(101);
        let mut v = view(100, &x, party);
        for (f, x) in case.forms.iter().zip(&x).filter(|(f, _)| !case.is_weight(f)) {
            v.keep("operand", ring_planes(x, f.bits, f.shape.row()));
        }
        pair(&mut v);
        v.worst().clean(&format!("{name}, random input"));
        let two = [103, 105].map(|entropy| {
            let mut v = view(entropy + 50, &case.fixed(entropy), party);
            pair(&mut v);
            v.worst().clean(&format!("{name}, fixed input"));
            v
        });
        two[0].worst_difference(&two[1]).clean(&name);
    }
}

/// What P1 stores, against the operands' masks and against `rho`, the mask of the sign that message `decided` opened;
/// `signs` computes the signs of lane after lane.
fn held_against_masks<R: Ring, G: Gate>(
    case: &Case<G>,
    decided: Option<usize>,
    signs: impl Fn(&[Vec<R>], &Dealt<R>) -> Vec<Plane>,
) {
    let dealt = case.deal::<R>(110);
    let mut v = case.held(&dealt, PartyId::P1);
    for o in dealt.operands.iter().filter(|o| !case.is_weight(&o.form)) {
        v.keep("mask", ring_planes(&o.mask(), o.form.bits, o.form.shape.row()));
    }
    if let Some(message) = decided {
        let x = case.random::<R>(111);
        let log = &dealt.play(&case.gate, &x).logs[1];
        let rho = case.opened(message, log).iter().zip(signs(&x, &dealt)).map(|(d, s)| xor(d, &s)).collect();
        v.keep("rho", rho);
    }
    pair(&mut v);
    v.worst().clean(&format!("{} mod 2^{}, stored by P1, against masks", G::NAME, R::BITS));
}

/// `[value >= 0]` of every element, as a plane per lane.
fn sign_planes(values: impl Iterator<Item = i64>, lanes: usize) -> Vec<Plane> {
    planes(&values.map(|v| (v >= 0) as u128).collect::<Vec<_>>(), 1, lanes)
}

fn signed<R: Ring>(v: R, bits: u32) -> i64 {
    ring::sign_extend(v.low(), bits)
}

const DIGITS: Scheme = Scheme::Digits;

pub fn relu(scheme: Scheme, lanes: usize) -> Case<Relu> {
    let mut messages = vec![B { planes: 1, lanes }, words(32, lanes)];
    if scheme == DIGITS {
        messages.insert(0, merge(19, None, lanes));
    }
    let gate = Relu { scheme, shift: 0, out: 32 };
    Case { gate, forms: vec![Form::new([KEYS, lanes], 20)], limit: (1 << 19) - 1, messages }
}

#[test]
fn relu_on_a_cut_wire() {
    joint::<u32, _>(&relu(DIGITS, 1));
    joint::<u32, _>(&relu(Scheme::Dpf, 1));
    held_against_masks::<u32, _>(&relu(DIGITS, 1), Some(1), |x, _| {
        sign_planes(x[0].iter().map(|v| signed(*v, 20)), 1)
    });
}

#[test]
fn relu_on_an_open_wire() {
    let gate = Relu { scheme: DIGITS, shift: 12, out: 32 };
    let messages = vec![merge(19, None, 1), B { planes: 1, lanes: 1 }, words(32, 1)];
    let case = Case { gate, forms: vec![Form::new([KEYS, 1], 32)], limit: (1 << 30) - 4096, messages };
    joint::<u32, _>(&case);
    held_against_masks::<u32, _>(&case, Some(1), |x, dealt| {
        let hidden = dealt.operands[0].hide(&x[0]);
        let rounded = hidden
            .iter()
            .zip(dealt.operands[0].mask())
            .map(|(h, r)| signed((h >> 12).wrapping_sub(r >> 12), 20));
        sign_planes(rounded, 1)
    });
}

#[test]
fn relu_with_an_exact_truncation() {
    let gate = ReluFloor { scheme: DIGITS, cut: 12 };
    let messages = vec![merge(31, Some(12), 1), B { planes: 2, lanes: 1 }, words(32, 1)];
    let case = Case { gate, forms: vec![Form::new([KEYS, 1], 32)], limit: (1 << 31) - 1, messages };
    joint::<u32, _>(&case);
    held_against_masks::<u32, _>(&case, Some(1), |x, dealt| {
        let hidden = dealt.operands[0].hide(&x[0]);
        let borrow = |(h, r): (&u32, u32)| (h & 4095 < r & 4095) as u128;
        let borrows: Vec<u128> = hidden.iter().zip(dealt.operands[0].mask()).map(borrow).collect();
        let mut both = sign_planes(x[0].iter().map(|v| *v as i32 as i64), 1);
        both.extend(planes(&borrows, 1, 1));
        both
    });
}

/// Counts of values from half the contract on, on a cut wire. Its digit tables are looked up at two points.
pub fn audit(scheme: Scheme, lanes: usize, theta: u64) -> Case<Audit> {
    let gate = Audit { scheme, theta };
    let mut messages = vec![B { planes: 2, lanes }, words((2 * lanes).ilog2() + 1, 1)];
    if scheme == DIGITS {
        let point = 2 * Digits::at_points(19, &[2 * theta - 1]).split().len() - 1;
        messages.insert(0, B { planes: 2 * point, lanes });
    }
    Case { gate, forms: vec![Form::new([KEYS, lanes], 20)], limit: (1 << 19) - 1, messages }
}

#[test]
fn audit_of_a_cut_wire() {
    let theta = 1 << 17;
    joint::<u32, _>(&audit(DIGITS, 1, theta));
    joint::<u32, _>(&audit(Scheme::Dpf, 1, theta));
    held_against_masks::<u32, _>(&audit(DIGITS, 1, theta), Some(1), |x, _| {
        let moved = |by: u64| x[0].iter().map(move |v| signed((u64::from(*v).wrapping_add(by)) as u32, 20));
        [theta.wrapping_neg(), theta - 1].into_iter().flat_map(|by| sign_planes(moved(by), 1)).collect()
    });
}

/// Steps of 7, -2 and 100 at these thresholds, on a cut wire.
pub fn staircase(scheme: Scheme, at: [i64; 3]) -> Case<Staircase> {
    let steps = at.iter().zip([7, -2, 100]).map(|(&at, by)| Step { at, by }).collect();
    let mut messages = vec![B { planes: 3, lanes: 1 }, words(32, 1)];
    if scheme == DIGITS {
        let point = 2 * Digits::at_points(19, &[1, 2]).split().len() - 1;
        messages.insert(0, B { planes: 3 * point, lanes: 1 });
    }
    let gate = Staircase { scheme, base: -1, steps };
    Case { gate, forms: vec![Form::new([KEYS, 1], 20)], limit: (1 << 19) - 1, messages }
}

#[test]
fn staircase_on_a_cut_wire() {
    let at = [-70_000, 3, 1 << 17];
    joint::<u32, _>(&staircase(DIGITS, at));
    joint::<u32, _>(&staircase(Scheme::Dpf, at));
    for (scheme, signs) in [(DIGITS, 1), (Scheme::Dpf, 0)] {
        held_against_masks::<u32, _>(&staircase(scheme, at), Some(signs), |x, _| {
            let from = |at: i64| x[0].iter().map(move |v| signed(v.wrapping_sub(at as u32), 20));
            at.iter().flat_map(|&at| sign_planes(from(at), 1)).collect()
        });
    }
}

/// Entries of 6 bits that all differ from those next to them.
pub fn table(width: u32) -> Case<Table> {
    let entries = (0..1u32 << width).map(|j| (j * 37 + 11) >> (j % 3) & 63).collect();
    let gate = Table { width, shift: 0, bits: 6, entries };
    let messages = vec![B { planes: 6, lanes: 1 }, words(32, 1)];
    let forms = vec![Form::new([KEYS, 1], width)];
    Case { gate, forms, limit: (1 << (width - 1)) - 1, messages }
}

/// Planes of the entries that are looked up.
pub fn entry_planes(gate: &Table, x: &[u32]) -> Vec<Plane> {
    let bits = x.iter().map(|t| u128::from(gate.entries[*t as usize])).collect::<Vec<_>>();
    planes(&bits, gate.bits, 1)
}

#[test]
fn tables_of_short_places() {
    for width in [8, 9] {
        let case = table(width);
        joint::<u32, _>(&case);
        held_against_masks::<u32, _>(&case, Some(0), |x, _| entry_planes(&case.gate, &x[0]));
    }
}

#[test]
fn table_on_an_open_wire() {
    // signed values themselves, so that a coin moves a result by one
    let entries = (0..256).map(|j| j ^ 128).collect();
    let gate = Table { width: 8, shift: 12, bits: 8, entries };
    let messages = vec![B { planes: 8, lanes: 1 }, words(32, 1)];
    let case = Case { gate, forms: vec![Form::new([KEYS, 1], 32)], limit: 126 << 12, messages };
    joint::<u32, _>(&case);
    held_against_masks::<u32, _>(&case, None, |_, _| vec![]);
}

#[test]
fn truncations_and_lift() {
    let forms = |bits| vec![Form::new([KEYS, 1], bits)];
    let limit = (1 << 30) - 4096;
    let coin = Truncate { cut: 12, mode: Mode::PublicCoin };
    let case = Case { gate: coin, forms: forms(32), limit, messages: vec![words(32, 1)] };
    joint::<u32, _>(&case);
    held_against_masks::<u32, _>(&case, None, |_, _| vec![]);
    let floor = Truncate { cut: 12, mode: Mode::Floor(DIGITS) };
    let messages = vec![merge(12, None, 1), B { planes: 1, lanes: 1 }, words(32, 1)];
    let case = Case { gate: floor, forms: forms(32), limit, messages };
    joint::<u32, _>(&case);
    held_against_masks::<u32, _>(&case, None, |_, _| vec![]);
    let case = Case { gate: Lift, forms: forms(20), limit: 1 << 18, messages: vec![words(32, 1)] };
    joint::<u32, _>(&case);
    held_against_masks::<u32, _>(&case, None, |_, _| vec![]);
}

#[test]
fn max_pool_and_argmax() {
    // signs of the first level's differences: of elements 0 and 1, and 2 and 3 of every image
    let pairs = |x: &[Vec<u32>], bits: u32, per_image: usize| {
        let images = x[0].chunks_exact(per_image).flat_map(|i| i[..4].chunks_exact(2));
        sign_planes(images.map(|p| signed(p[0].wrapping_sub(p[1]), bits)), 2)
    };
    let level = |lanes| [merge(19, None, lanes), B { planes: 1, lanes }, words(20, lanes)];
    let gate = MaxPool { scheme: DIGITS, window: Window::square(2, 2) };
    let forms = vec![Form::new([KEYS, 1, 2, 2], 20)];
    let case = Case { gate, forms, limit: (1 << 18) - 1, messages: [level(2), level(1)].concat() };
    joint::<u32, _>(&case);
    held_against_masks::<u32, _>(&case, Some(1), |x, _| pairs(x, 20, 4));

    // five candidates: a level whose indices are public, one whose indices are masked, and the last, without values
    let level = |result, lanes| [merge(31, None, lanes), B { planes: 1, lanes }, result];
    let both = |lanes| W { widths: vec![32, 3], lanes };
    let messages = [level(both(2), 2), level(both(1), 1), level(words(3, 1), 1)].concat();
    let forms = vec![Form::new([KEYS, 5], 32)];
    let case = Case { gate: Argmax { scheme: DIGITS }, forms, limit: (1 << 30) - 1, messages };
    joint::<u32, _>(&case);
    held_against_masks::<u32, _>(&case, Some(1), |x, _| pairs(x, 32, 5));
}

#[test]
fn products() {
    let forms = vec![Form::new([KEYS, 3], 32), Form::new([2, 3], 32)];
    let case = Case { gate: Linear { cut: 12 }, forms, limit: (1 << 13) - 1, messages: vec![words(20, 2)] };
    joint::<u32, _>(&case);
    held_against_masks::<u32, _>(&case, None, |_, _| vec![]);
    for cut in [0, 12] {
        joint::<u32, _>(&mul(cut));
        held_against_masks::<u32, _>(&mul(cut), None, |_, _| vec![]);
    }
}

/// Products of two wires, as they are or cut.
pub fn mul(cut: u32) -> Case<Mul> {
    let forms = vec![Form::new([KEYS, 1], 32), Form::new([KEYS, 1], 32)];
    Case { gate: Mul { cut }, forms, limit: (1 << 14) - 1, messages: vec![words(32 - cut, 1)] }
}

/// Two products and a wire, or two wires alone: a gradient, and the update of a bias.
pub fn sum(products: bool, cut: u32) -> Case<Sum> {
    let (wire, one) = (|lanes| Form::new([KEYS, lanes], 32), Form::new([2, 1], 32));
    let (terms, forms) = match products {
        true => {
            (vec![Product::LinearDx, Product::Elementwise], vec![wire(2), one, wire(1), wire(1), wire(1)])
        }
        false => (vec![], vec![wire(1), wire(1)]),
    };
    let gate = Sum { add: forms.len() - 2 * terms.len(), terms, cut };
    Case { gate, forms, limit: (1 << 13) - 1, messages: vec![words(32 - cut, 1)] }
}

#[test]
fn sums() {
    for (products, cut) in [(true, 0), (true, 12), (false, 0), (false, 12)] {
        joint::<u32, _>(&sum(products, cut));
        held_against_masks::<u32, _>(&sum(products, cut), None, |_, _| vec![]);
    }
}

/// A wire times itself: one mask for both operands.
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

#[test]
fn squares() {
    for cut in [0, 12] {
        let Case { gate, mut forms, limit, messages } = mul(cut);
        forms.pop();
        let case = Case { gate: Square(gate), forms, limit, messages };
        joint::<u32, _>(&case);
        held_against_masks::<u32, _>(&case, None, |_, _| vec![]);
    }
}

#[test]
fn wide_ring() {
    let gate = Relu { scheme: DIGITS, shift: 0, out: 64 };
    let messages = vec![merge(47, None, 1), B { planes: 1, lanes: 1 }, words(64, 1)];
    let case = Case { gate, forms: vec![Form::new([KEYS, 1], 48)], limit: (1 << 47) - 1, messages };
    joint::<u64, _>(&case);
    held_against_masks::<u64, _>(&case, Some(1), |x, _| sign_planes(x[0].iter().map(|v| signed(*v, 48)), 1));
}
