//! A small network from input to output: everything a party sees, over fresh key sets, for two inputs and two models.

use crate::common::{Operand, Store, full, parties, random, seeds};
use crate::stats::{View, planes};
use rayon::prelude::*;
use twoply_primitives::bits::{pack, read_word};
use twoply_primitives::channel::Recording;
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::*;
use twoply_primitives::ring::sign_extend;
use twoply_primitives::*;

const N: u32 = 32;
const F: u32 = 12;

/// linear 4 -> 16, cut; max pool 2x2 of 4x4; ReLU, lifted; linear 4 -> 3, cut; to the owner.
struct Chain {
    x: Vec<u32>,
    w: [Vec<u32>; 2],
}

fn forms() -> [Form; 3] {
    [Form::new([1, 4], N), Form::new([16, 4], N), Form::new([3, 4], N)]
}
fn pool() -> MaxPool {
    MaxPool { scheme: Scheme::Digits, window: Window::square(2, 2) }
}
fn relu() -> Relu {
    Relu { scheme: Scheme::Digits, shift: 0, out: N }
}

/// Widths of the messages before the result goes to its owner; 1 where bits are shared.
const MESSAGES: [u32; 10] = [20, 1, 1, 20, 1, 1, 20, 1, 1, 32];

impl Chain {
    /// Values of up to 4 in magnitude, so that nothing leaves the contract.
    fn new(entropy: u64) -> Self {
        let values =
            |e: u64, len| random(e, len).iter().map(|v| ((v & 0x7fff) as u32).wrapping_sub(0x4000)).collect();
        Chain { x: values(entropy, 4), w: [values(entropy + 1, 64), values(entropy + 2, 12)] }
    }
    /// One inference under the key set of `entropy`: both parties' recordings and the result.
    fn run(&self, entropy: u64) -> ([Recording; 2], [Vec<u8>; 3], Vec<u32>) {
        let (dev, seeds, mut store) = (Cpu::<u32>::new(), seeds(entropy), Store::default());
        self.deal(&seeds, &mut store);
        let operands = [0, 1, 2].map(|g| Operand::<u32>::fresh(&seeds, g, &forms()[g as usize]));
        let hidden = [&self.x, &self.w[0], &self.w[1]]
            .iter()
            .zip(&operands)
            .map(|(v, o)| o.hide(v))
            .collect::<Vec<_>>();
        let [(a, log0), (b, log1)] = parties(&store, &seeds, 1, |s| {
            let [x, w0, w1] = [0, 1, 2].map(|i| {
                s.end_gate();
                operands[i].wire(s.me, &hidden[i])
            });
            let x = step(s, &Linear { cut: F }, &[&x, &w0])?;
            let x = Masked::local(&dev, &Local::Reshape(vec![1, 4, 4]), &[&x])?;
            let x = step(s, &pool(), &[&x])?;
            let x = step(s, &relu(), &[&Masked::local(&dev, &Local::Reshape(vec![4]), &[&x])?])?;
            let last = Linear { cut: F }.eval(s, &[&x, &w1])?;
            s.for_owner(last)
        });
        let out = owner::join([&a.unwrap(), &b.unwrap()], 3, N - F).unwrap();
        let packed = [0, 1, 2].map(|i| dev.pack(&hidden[i], N));
        ([log0, log1], packed, out)
    }
    fn deal(&self, seeds: &[Seed; 2], store: &mut Store) {
        let dev = Cpu::<u32>::new();
        let mut d = Deal::new(dev, seeds.clone(), crate::common::ORIGIN, 1, store);
        let [x, w0, w1] = forms().map(|f| {
            let mask = d.fresh(0, &f);
            d.next_gate();
            mask
        });
        let mut bills = vec![];
        let mut next = |d: &mut Deal<_>, cost: Cost| {
            bills.push(cost);
            d.next_gate();
        };
        let linear = Linear { cut: F };
        let y = linear.deal(&mut d, &[&x, &w0]).unwrap();
        next(&mut d, linear.cost(N, &[x.form(), w0.form()]).unwrap());
        let y = Mask::local(&dev, &Local::Reshape(vec![1, 4, 4]), &[&y]).unwrap();
        let z = pool().deal(&mut d, &[&y]).unwrap();
        next(&mut d, pool().cost(N, &[y.form()]).unwrap());
        let z = Mask::local(&dev, &Local::Reshape(vec![4]), &[&z]).unwrap();
        let v = relu().deal(&mut d, &[&z]).unwrap();
        next(&mut d, relu().cost(N, &[z.form()]).unwrap());
        linear.deal(&mut d, &[&v, &w1]).unwrap();
        next(&mut d, linear.cost(N, &[v.form(), w1.form()]).unwrap());
        bills.iter().enumerate().for_each(|(i, cost)| store.announce(3 + i as u32, cost));
    }
    /// The network in integers, every cut rounded down.
    fn clear(&self) -> Vec<u32> {
        let linear = |x: &[u32], w: &[u32]| -> Vec<u32> {
            let forms = [Form::new([1, x.len()], N), Form::new([w.len() / x.len(), x.len()], N)];
            Linear { cut: F }.ideal(&[&forms[0], &forms[1]], &[x, w], None)
        };
        let y = linear(&self.x, &self.w[0]);
        let z = pool().ideal(&[&Form::new([1, 1, 4, 4], N - F)], &[&y], None);
        linear(&relu().ideal(&[&Form::new([1, 4], N - F)], &[&z], None), &self.w[1])
    }
    /// What `party` saw of the inference under one key set.
    fn seen(&self, party: PartyId, want: &[u32], entropy: u64) -> Vec<u8> {
        let (logs, packed, out) = self.run(entropy);
        for (a, b) in out.iter().zip(want) {
            // each of the two cuts rounds up by at most one step, and weights are below 4
            let off = sign_extend(a.wrapping_sub(*b) as u64, N - F);
            assert!(off.abs() <= 20, "a view counts only if the run was right: {off}");
        }
        let mut seen = packed.concat();
        seen.extend(opened(&logs[party.index()]));
        seen
    }
}

/// Every bit that `party` saw of these inferences, each time under the same key set, over `sets` key sets.
fn view(chains: &[&Chain], party: PartyId, sets: usize, entropy: u64) -> View {
    let want: Vec<Vec<u32>> = chains.iter().map(|c| c.clear()).collect();
    let run = |i: usize| {
        let one = |(c, want): (&&Chain, &Vec<u32>)| c.seen(party, want, entropy + i as u64);
        chains.iter().zip(&want).flat_map(one).collect::<Vec<u8>>()
    };
    let all: Vec<Vec<u8>> = (0..sets).into_par_iter().map(run).collect();
    let mut v = View::default();
    for byte in 0..all[0].len() {
        let values: Vec<u128> = all.iter().map(|a| a[byte] as u128).collect();
        // the last byte of a message may not be full
        let used = (0..8).filter(|b| values.iter().any(|v| v >> b & 1 == 1)).max().map_or(0, |b| b + 1);
        v.see(&format!("byte {byte}"), planes(&values, used, 1));
    }
    v.pair_all();
    v
}

fn step<G: Gate>(s: &mut Session<Cpu<u32>>, gate: &G, x: &[&Masked<Cpu<u32>>]) -> Result<Masked<Cpu<u32>>> {
    let share = gate.eval(s, x)?;
    let open = s.open(share);
    s.end_gate();
    open
}

/// Every message that came, and the values it opened.
fn opened(log: &Recording) -> Vec<u8> {
    assert_eq!(log.received.len(), MESSAGES.len());
    let mut out = vec![];
    for ((sent, got), width) in log.sent.iter().zip(&log.received).zip(MESSAGES) {
        let len = got.len() * 8 / width as usize;
        let sum = |i| {
            let [a, b] = [sent, got].map(|m| read_word(m, i * width as usize, width));
            if width == 1 { a ^ b } else { a.wrapping_add(b) }
        };
        out.extend_from_slice(got);
        out.extend(pack(&(0..len).map(sum).collect::<Vec<u64>>(), width));
    }
    out
}

#[test]
fn a_network_shows_neither_its_input_nor_its_weights() {
    let sets = if full() { 8192 } else { 2048 };
    let chains = [Chain::new(140), Chain::new(143)];
    for party in PartyId::BOTH {
        let views = [0, 1].map(|i| {
            let v = view(&[&chains[i]], party, sets, 1_000_000 * (i as u64 + 1));
            assert!(v.len() > 4000, "{} bits seen", v.len());
            v.worst().clean(&format!("the whole view of {party}, {} bits, input {i}", v.len()));
            v
        });
        views[0].worst_difference(&views[1]).clean(&format!("the whole view of {party}"));
    }
}

#[test]
fn a_key_set_spent_twice_is_caught() {
    let chains = [Chain::new(140), Chain::new(143)];
    view(&[&chains[0], &chains[1]], PartyId::P0, 256, 3_000_000).worst().caught("one key set for two inputs");
}
