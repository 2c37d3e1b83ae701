//! How many values of each wire that a gate cut come near the end of their contract: a step forward and back on a batch, with audits
//! behind its gates, which leaves the state as it is (training, section 10).
//!
//! A cut wire of m bits has a contract of magnitudes below `2^(m-2)`; what is counted reaches half of that. Beyond, values have
//! wrapped and are counted but for those that land near zero, so a count is no proof for one value and a strong sign for a layer.
//! Updates are cut as at the first rate, and dropout is that of the first step.

use crate::engine::{Engine, Learn};
use std::sync::Arc;
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::{Audit, Conv2d, Linear, Mul, Select, Sign, Sum, Truncate};
use twoply_primitives::{Form, Gate, Local, Result};

/// Narrowest wire that has a half of a contract.
const NARROWEST: u32 = 4;

/// An engine that audits what gates of the engine below it cut.
pub(super) struct Audited<'e, E: Learn> {
    e: &'e mut E,
    scheme: Scheme,
    n: u32,
    layer: String,
    /// For each wire its layer and gate, and how many of its values were counted.
    pub counts: Vec<(String, E::Value)>,
}

impl<'e, E: Learn> Audited<'e, E> {
    /// In a ring of `n` bits.
    pub fn new(e: &'e mut E, scheme: Scheme, n: u32) -> Self {
        Audited { e, scheme, n, layer: String::new(), counts: vec![] }
    }
    /// Audits the result of a gate, if it is one that cuts.
    fn look(&mut self, gate: &'static str, z: &E::Value) -> Result<()> {
        let form = self.e.form(z).clone();
        let [linear, conv, mul] = [<Linear as Gate>::NAME, <Conv2d as Gate>::NAME, <Mul as Gate>::NAME];
        if ![linear, conv, mul, Sum::NAME, Truncate::NAME].contains(&gate)
            || form.bits == self.n
            || form.bits < NARROWEST
        {
            return Ok(());
        }
        let row = self.one_row(z, form.len())?;
        let theta = 1 << (form.bits - 3);
        let count = self.e.gate(&Audit { scheme: self.scheme, theta }, &[&row])?;
        let count = self.e.local(&Local::SumBatch, &[&count])?;
        self.counts.push((format!("{}, {gate}", self.layer), count));
        Ok(())
    }
    /// A batch as one row: that of a zero, to which it is added.
    fn one_row(&mut self, x: &E::Value, len: usize) -> Result<E::Value> {
        let first = self.e.local(&Local::Gather([0].into()), &[x])?;
        let zero = self.e.local(&Local::Scale(0), &[&first])?;
        let zero = self.e.local(&Local::SumBatch, &[&zero])?;
        let zeros: Arc<[usize]> = vec![0; len].into();
        let zeros = self.e.local(&Local::Gather(zeros), &[&zero])?;
        self.e.local(&Local::AddRow, &[&zeros, x])
    }
}

impl<E: Learn> Engine for Audited<'_, E> {
    type Value = E::Value;

    fn form<'a>(&self, v: &'a E::Value) -> &'a Form {
        self.e.form(v)
    }
    fn layer(&mut self, name: &str) {
        self.layer = name.into();
        self.e.layer(name);
    }
    fn gate<G: Gate>(&mut self, g: &G, x: &[&E::Value]) -> Result<E::Value> {
        let z = self.e.gate(g, x)?;
        self.look(G::NAME, &z)?;
        Ok(z)
    }
    fn local(&mut self, f: &Local, x: &[&E::Value]) -> Result<E::Value> {
        self.e.local(f, x)
    }
}

impl<E: Learn> Learn for Audited<'_, E> {
    type Bit = E::Bit;

    fn sign(&mut self, g: &Sign, x: &E::Value) -> Result<E::Bit> {
        self.e.sign(g, x)
    }
    fn select(&mut self, g: &Select, bit: &E::Bit, x: &E::Value) -> Result<E::Value> {
        self.e.select(g, bit, x)
    }
    fn together<G: Gate>(&mut self, all: &[(G, Vec<&E::Value>)]) -> Result<Vec<E::Value>> {
        let results = self.e.together(all)?;
        results.iter().try_for_each(|z| self.look(G::NAME, z))?;
        Ok(results)
    }
}
