//! A bit that serves several choices: what a party sees of the sign and of all of them, together.

use super::*;
use crate::common::bits::{Choices, DealtChoices, PlayedChoices};

/// The sign of a wire of 20 bits, and these choices by it, if there are some with a gradient of 20 bits.
fn choices(scheme: Scheme, selects: &[(Kind, u32)]) -> Case<Choices> {
    let mut messages = vec![B { planes: 1, lanes: 1 }];
    if scheme == DIGITS {
        messages.insert(0, merge(19, None, 1));
    }
    messages.extend(selects.iter().map(|s| words(s.1, 1)));
    let selects = selects.iter().map(|&(lift, out)| Select { lift, out }).collect();
    let gate = Choices { sign: Sign { scheme }, selects, same: false };
    Case { gate, forms: vec![Form::new([KEYS, 1], 20); 2], limit: 1 << 18, messages }
}

impl Case<Choices> {
    fn play(&self, dealt: &DealtChoices<u32>, x: &[Vec<u32>]) -> PlayedChoices<u32> {
        let played = self.gate.play(dealt, x);
        assert!(played.clear == self.gate.ideal(&self.forms, x), "a view counts only if the run was right");
        played
    }
    fn stored(&self, dealt: &DealtChoices<u32>, party: PartyId) -> View {
        let mut v = View::default();
        dealt.parts.iter().for_each(|(at, part)| self.keys(&mut v, &dealt.store, (*at, part), party));
        self.shares(&mut v, &dealt.operands, party);
        for ((at, _), select) in dealt.parts[1..].iter().zip(&self.gate.selects) {
            let form = Form::new([KEYS, 1], select.out);
            let own = &Operand::<u32>::fresh(&dealt.seeds, at.gate, &form).shares[party.index()];
            let range = v.see("own share of a result's mask", ring_planes(own, select.out, 1));
            v.stress(range);
        }
        v
    }
    fn joint(&self, name: &str) {
        tested::<u32, _>(self, name, |entropy, x, party| {
            let dealt = self.gate.deal(&self.forms, entropy);
            let played = self.play(&dealt, x);
            let mut v = self.stored(&dealt, party);
            self.masked(&mut v, &dealt.operands, x);
            self.heard(&mut v, &played.logs[party.index()]);
            v
        });
    }
    /// The mask of the bits, from what the message before the choices opened.
    fn rho(&self, played: &PlayedChoices<u32>, x: &[Vec<u32>]) -> Plane {
        let message = self.messages.len() - self.gate.selects.len() - 1;
        let signs = sign_planes(x[0].iter().map(|v| signed(*v, 20)), 1);
        xor(&self.opened(message, &played.logs[1])[0], &signs[0])
    }
}

const FORWARD_BACKWARD: [(Kind, u32); 2] = [(Kind::Relu, 32), (Kind::Signed, 32)];

#[test]
fn signs_alone() {
    choices(DIGITS, &[]).joint("sign by digits");
    choices(Scheme::Dpf, &[]).joint("sign by dpf");
}

#[test]
fn one_bit_in_two_choices() {
    choices(DIGITS, &FORWARD_BACKWARD).joint("sign by digits and two choices");
    choices(Scheme::Dpf, &FORWARD_BACKWARD).joint("sign by dpf and two choices");
    choices(DIGITS, &[(Kind::Narrow, 8), (Kind::Signed, 20)]).joint("sign and two narrower choices");
}

#[test]
fn stored_words_of_two_choices_against_masks() {
    let case = choices(DIGITS, &FORWARD_BACKWARD);
    let (dealt, x) = (case.gate.deal(&case.forms, 110), case.random::<u32>(111));
    let mut v = case.stored(&dealt, PartyId::P1);
    dealt.operands.iter().for_each(|o| v.keep("mask", ring_planes(&o.mask(), 20, 1)));
    v.keep("rho", vec![case.rho(&case.play(&dealt, &x), &x)]);
    pair(&mut v);
    v.worst().clean("a sign and two choices, stored by P1, against masks");
}

/// Forward and backward with the keys of one gate, of two wires under one mask: all results are right, and what is opened
/// differs by the bit.
#[test]
fn one_gates_keys_for_two_choices() {
    let view = |same: bool| {
        let mut case = choices(DIGITS, &FORWARD_BACKWARD);
        case.gate.same = same;
        case.forms.pop();
        let (dealt, x) = (case.gate.deal(&case.forms, 136), case.random::<u32>(137));
        let played = case.play(&dealt, &x);
        let mut v = View::default();
        for i in [2, 3] {
            v.see(&format!("opened by message {i}"), case.opened(i, &played.logs[0]));
        }
        v.keep("operand", ring_planes(&x[0], 20, 1));
        v.pair_all();
        v.worst()
    };
    view(false).clean("two choices with keys of their own");
    view(true).caught("two choices with the same keys");
}

/// The same stream for `rho R` of both choices: what P1 stores differs by the products themselves.
#[test]
fn one_stream_for_two_products_with_the_bit() {
    let case = choices(DIGITS, &FORWARD_BACKWARD);
    let (dealt, x) = (case.gate.deal(&case.forms, 138), case.random::<u32>(139));
    let rho = case.rho(&case.play(&dealt, &x), &x);
    let of = |i: usize| -> Vec<u32> {
        let (at, part) = &dealt.parts[i];
        stored(&dealt.store, *at, part, PartyId::P1)[0].1.iter().map(|v| *v as u32).collect()
    };
    let [first, second] = [1, 2].map(of);
    let view = |second: &[u32]| {
        let mut v = View::default();
        v.see("first product", ring_planes(&first, 32, 1));
        v.see("second product", ring_planes(second, 32, 1));
        v.keep("rho", vec![rho.clone()]);
        v.pair_all();
        v.worst()
    };
    view(&second).clean("products off streams of their own");
    let masks = [0, 1].map(|i| dealt.operands[i].mask());
    let bit = |i: usize| (rho[i / 64] >> (i % 64)) as u32 & 1;
    let leaky: Vec<u32> = (0..KEYS)
        .map(|i| first[i].wrapping_add(bit(i).wrapping_mul(masks[1][i].wrapping_sub(masks[0][i]))))
        .collect();
    view(&leaky).caught("products off one stream");
}

/// P1 with rho in the open reads the bit.
#[test]
fn a_mask_of_the_bit_that_p1_knows() {
    let case = choices(DIGITS, &[]);
    let (dealt, x) = (case.gate.deal(&case.forms, 140), case.random::<u32>(141));
    let played = case.play(&dealt, &x);
    let view = |rho: Vec<Plane>| {
        let mut v = View::default();
        v.see("opened bit", case.opened(1, &played.logs[1]));
        v.see("word of rho", rho);
        v.keep("operand", ring_planes(&x[0], 20, 1));
        v.pair_all();
        v.worst()
    };
    let (at, part) = &dealt.parts[0];
    let fields = stored(&dealt.store, *at, part, PartyId::P1);
    let (width, word) = fields.last().unwrap();
    view(planes(word, *width, 1)).clean("a word of rho under P0's stream");
    view(vec![case.rho(&played, &x)]).caught("a word of rho in the open");
}
