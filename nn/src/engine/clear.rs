//! Clear values: the fixed-point oracle. Needs a ring, no backend of parties and no keys.

use super::{Engine, Infer, Learn};
use serde::Serialize;
use std::collections::HashMap;
use twoply_primitives::gate::{Kind, Lift, Select, Sign, Truncate};
use twoply_primitives::prg::Streams;
use twoply_primitives::ring::sign_extend;
use twoply_primitives::{Backend, Cpu, Error, Form, Gate, Local, Result, Ring};

/// The result of one node, as the oracle saw it.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen<R> {
    /// Index of the node in the graph.
    pub node: usize,
    /// Values of the whole batch, mod 2^bits.
    pub values: Vec<R>,
    /// Bits of the wire.
    pub bits: u32,
    /// Fraction bits of the values.
    pub frac: u32,
}

impl<R: Ring> Seen<R> {
    /// The real numbers that the values stand for.
    pub fn reals(&self) -> impl Iterator<Item = f64> {
        let scale = (-f64::from(self.frac)).exp2();
        self.values.iter().map(move |v| sign_extend(v.low(), self.bits) as f64 * scale)
    }
}

/// How far values reached into a wire of a gate that cuts or lifts.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Reach {
    /// The layer.
    pub layer: String,
    /// The gate.
    pub gate: &'static str,
    /// The largest magnitude in parts of 2^(bits-1): the contract of cuts and lifts is one half.
    pub largest: f64,
}

/// Where coins come from.
enum Toss {
    /// Recorded ones, by gate number; without, every rounding goes down.
    Recorded(HashMap<u32, Vec<u64>>),
    /// Streams of a public key: a simulation.
    Random(u128),
}

/// Runs a program on clear fixed-point values: bit for bit what two parties compute, given the coins of their
/// stochastic roundings; without coins every rounding goes down.
pub struct Clear<R> {
    input: Vec<R>,
    coins: Toss,
    gate: u32,
    layer: String,
    reach: Option<Vec<Reach>>,
    seen: Option<Vec<Seen<R>>>,
    /// What the owner receives.
    pub output: Vec<R>,
    /// What it receives beside that, gate by gate.
    pub asides: Vec<Vec<R>>,
}

impl<R: Ring> Clear<R> {
    /// An oracle on one batch of encoded inputs.
    pub fn new(input: Vec<R>) -> Self {
        Clear {
            input,
            coins: Toss::Recorded(HashMap::new()),
            gate: 0,
            layer: String::new(),
            reach: None,
            seen: None,
            output: vec![],
            asides: vec![],
        }
    }
    /// A simulation whose roundings are tossed from a key, which must differ from run to run.
    pub fn simulated(key: u128) -> Self {
        Clear { coins: Toss::Random(key), ..Clear::new(vec![]) }
    }
    /// Notes from now on how far each gate's results reach.
    pub fn measure(&mut self) {
        self.reach = Some(vec![]);
    }
    /// How far they reached.
    pub fn take_reach(&mut self) -> Vec<Reach> {
        self.reach.take().unwrap_or_default()
    }
    fn coins(&self, len: usize) -> Option<Vec<u64>> {
        match &self.coins {
            Toss::Recorded(coins) => coins.get(&self.gate).cloned(),
            Toss::Random(key) => {
                Some(Streams::from_key(&key.to_le_bytes()).field(self.gate).words::<u64>(0, len, 64))
            }
        }
    }
    /// Notes how far values reach into a wire that has a contract.
    fn note(&mut self, gate: &'static str, form: &Form, values: &[R]) {
        if let Some(reach) = &mut self.reach {
            let size = |v: &R| sign_extend(v.low(), form.bits).unsigned_abs();
            let largest = values.iter().map(size).max().unwrap_or(0) as f64 / f64::from(form.bits - 1).exp2();
            reach.push(Reach { layer: self.layer.clone(), gate, largest });
        }
    }
    /// With P1's recorded coins, by gate number.
    pub fn with_coins(input: Vec<R>, coins: Vec<(u32, Vec<u64>)>) -> Self {
        Clear { coins: Toss::Recorded(coins.into_iter().collect()), ..Clear::new(input) }
    }
    /// Keeps the result of every node from now on.
    #[must_use]
    pub fn watched(mut self) -> Self {
        self.seen = Some(vec![]);
        self
    }
    /// What was kept, in the order of the nodes; without the output.
    pub fn take_seen(&mut self) -> Vec<Seen<R>> {
        self.seen.take().unwrap_or_default()
    }
}

impl<R: Ring> Engine for Clear<R> {
    type Value = (Form, Vec<R>);

    fn form<'a>(&self, v: &'a Self::Value) -> &'a Form {
        &v.0
    }
    fn layer(&mut self, name: &str) {
        self.layer = name.into();
    }
    fn gate<G: Gate>(&mut self, g: &G, x: &[&Self::Value]) -> Result<Self::Value> {
        let (forms, values): (Vec<&Form>, Vec<&[R]>) = x.iter().map(|v| (&v.0, &v.1[..])).unzip();
        let form = g.output(R::BITS, &forms)?;
        let coins = self.coins(form.len());
        if coins.as_ref().is_some_and(|c| c.len() != form.len()) {
            return Err(Error::shape(G::NAME, format!("coins of gate {} do not fit its result", self.gate)));
        }
        let z = g.ideal(&forms, &values, coins.as_deref());
        self.gate += 1;
        // a lift and a cut of an open wire have a contract for what they take, a cut product for what it gives
        if [Lift::NAME, Truncate::NAME].contains(&G::NAME) {
            self.note(G::NAME, forms[0], values[0]);
        } else if form.bits < R::BITS {
            self.note(G::NAME, &form, &z);
        }
        Ok((form, z))
    }
    fn local(&mut self, f: &Local, x: &[&Self::Value]) -> Result<Self::Value> {
        let forms: Vec<&Form> = x.iter().map(|v| &v.0).collect();
        let form = f.output(&forms)?;
        let z = Cpu::<R>::new().local(f, &form, &forms, &x.iter().map(|v| &v.1).collect::<Vec<_>>());
        Ok((form, z))
    }
}

impl<R: Ring> Infer for Clear<R> {
    fn see(&mut self, node: usize, (form, values): &Self::Value, frac: u32) {
        if let Some(seen) = &mut self.seen {
            seen.push(Seen { node, values: values.clone(), bits: form.bits, frac });
        }
    }
    fn input(&mut self, form: &Form) -> Result<Self::Value> {
        if self.input.len() != form.len() {
            return Err(Error::shape("input", format!("{} values, wanted {}", self.input.len(), form.len())));
        }
        self.gate += 1;
        Ok((form.clone(), std::mem::take(&mut self.input)))
    }
    fn output<G: Gate>(&mut self, g: &G, x: &[&Self::Value]) -> Result<()> {
        self.output = self.gate(g, x)?.1;
        Ok(())
    }
    fn aside<G: Gate>(&mut self, g: &G, x: &[&Self::Value]) -> Result<()> {
        let counts = self.gate(g, x)?.1;
        self.asides.push(counts);
        Ok(())
    }
    fn deliver(&mut self, x: &Self::Value) -> Result<()> {
        self.gate += 1;
        self.output = x.1.clone();
        Ok(())
    }
}

impl<R: Ring> Learn for Clear<R> {
    /// The bits as ring elements 0 and 1.
    type Bit = (Form, Vec<R>);

    fn sign(&mut self, g: &Sign, (form, x): &Self::Value) -> Result<Self::Bit> {
        self.gate += 1;
        Ok((g.output(R::BITS, form)?, g.ideal(form, x)))
    }
    fn select(&mut self, g: &Select, (bit, d): &Self::Bit, (form, x): &Self::Value) -> Result<Self::Value> {
        let out = g.output(R::BITS, bit, form)?;
        self.gate += 1;
        if g.lift == Kind::Signed && out.bits > form.bits {
            self.note(Select::NAME, form, x);
        }
        Ok((out, g.ideal(form, d, x)))
    }
    fn together<G: Gate>(&mut self, all: &[(G, Vec<&Self::Value>)]) -> Result<Vec<Self::Value>> {
        all.iter().map(|(g, x)| self.gate(g, x)).collect()
    }
}
