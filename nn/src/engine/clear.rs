//! Clear values: the fixed-point oracle. Needs a ring, no backend of parties and no keys.

use super::{Engine, Infer};
use std::collections::HashMap;
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

/// Runs a program on clear fixed-point values: bit for bit what two parties compute, given the coins of their
/// stochastic roundings; without coins every rounding goes down.
#[derive(Default)]
pub struct Clear<R> {
    input: Vec<R>,
    coins: HashMap<u32, Vec<u64>>,
    gate: u32,
    seen: Option<Vec<Seen<R>>>,
    /// What the owner receives.
    pub output: Vec<R>,
    /// What it receives beside that, gate by gate.
    pub asides: Vec<Vec<R>>,
}

impl<R: Ring> Clear<R> {
    /// An oracle on one batch of encoded inputs.
    pub fn new(input: Vec<R>) -> Self {
        Clear { input, coins: HashMap::new(), gate: 0, seen: None, output: vec![], asides: vec![] }
    }
    /// With P1's recorded coins, by gate number.
    pub fn with_coins(input: Vec<R>, coins: Vec<(u32, Vec<u64>)>) -> Self {
        Clear { coins: coins.into_iter().collect(), ..Clear::new(input) }
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
    fn layer(&mut self, _: &str) {}
    fn gate<G: Gate>(&mut self, g: &G, x: &[&Self::Value]) -> Result<Self::Value> {
        let (forms, values): (Vec<&Form>, Vec<&[R]>) = x.iter().map(|v| (&v.0, &v.1[..])).unzip();
        let form = g.output(R::BITS, &forms)?;
        let coins = self.coins.get(&self.gate).map(|c| &c[..]);
        if coins.is_some_and(|c| c.len() != form.len()) {
            return Err(Error::shape(G::NAME, format!("coins of gate {} do not fit its result", self.gate)));
        }
        self.gate += 1;
        Ok((form, g.ideal(&forms, &values, coins)))
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
