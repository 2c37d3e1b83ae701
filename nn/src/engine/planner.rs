//! Shapes: what a program will do and what it will cost.

use super::{Engine, Infer, Learn};
use crate::program::DIGEST;
use serde::{Deserialize, Serialize};
use twoply_primitives::gate::{Select, Sign};
use twoply_primitives::{Cost, Form, Gate, Local, Result};

/// One gate of a plan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlannedGate {
    /// Layer of the network.
    pub layer: String,
    /// Name of the gate.
    pub gate: String,
    /// Its parameters.
    pub with: serde_json::Value,
    /// Form of its result.
    pub output: Form,
    /// Its bill.
    pub cost: Cost,
    /// Bytes each party sends to the data owner.
    pub owner_bytes: u64,
    /// Values addressed to the data owner.
    pub to_owner: u64,
}

/// Runs a program on forms. Knows no backend, only the ring's width.
#[derive(Debug, Default)]
pub struct Planner {
    n: u32,
    layer: String,
    /// The gates so far; the input counts as one.
    pub gates: Vec<PlannedGate>,
}

/// Bytes of a key from which an owner derives one image's mask share.
const KEY: u64 = 16;

impl Planner {
    /// For a ring of `n` bits.
    pub fn new(n: u32) -> Self {
        Planner { n, ..Planner::default() }
    }
    fn push<G: Gate>(&mut self, g: &G, x: &[&Form], owner: bool) -> Result<Form> {
        let output = g.output(self.n, x)?;
        let mut cost = g.cost(self.n, x)?;
        if owner {
            // the last opening does not take place
            cost.bytes -= output.packed_bytes();
            cost.rounds -= 1;
            cost.opened -= output.len() as u64;
        }
        self.add(G::NAME, with(g), output.clone(), cost, if owner { output.len() } else { 0 });
        Ok(output)
    }
    /// The digest of the run goes to the owner with the last gate's shares.
    fn digest(&mut self) {
        if let Some(last) = self.gates.last_mut() {
            last.owner_bytes += DIGEST as u64;
        }
    }
    fn add(&mut self, gate: &str, with: serde_json::Value, output: Form, cost: Cost, to_owner: usize) {
        let owner_bytes = if to_owner > 0 { output.packed_bytes() } else { 0 };
        let to_owner = to_owner as u64;
        self.gates.push(PlannedGate {
            layer: self.layer.clone(),
            gate: gate.into(),
            with,
            output,
            cost,
            owner_bytes,
            to_owner,
        });
    }
}

/// A gate's parameters.
fn with(g: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(g).unwrap_or(serde_json::Value::Null)
}

impl Engine for Planner {
    type Value = Form;

    fn form<'a>(&self, v: &'a Form) -> &'a Form {
        v
    }
    fn layer(&mut self, name: &str) {
        self.layer = name.into();
    }
    fn gate<G: Gate>(&mut self, g: &G, x: &[&Form]) -> Result<Form> {
        self.push(g, x, false)
    }
    fn local(&mut self, f: &Local, x: &[&Form]) -> Result<Form> {
        f.output(x)
    }
}

impl Infer for Planner {
    fn input(&mut self, form: &Form) -> Result<Form> {
        self.add("input", serde_json::Value::Null, form.clone(), Cost::default(), 0);
        if let Some(input) = self.gates.last_mut() {
            input.owner_bytes = KEY * form.shape.batch() as u64;
        }
        Ok(form.clone())
    }
    fn output<G: Gate>(&mut self, g: &G, x: &[&Form]) -> Result<()> {
        self.push(g, x, true)?;
        self.digest();
        Ok(())
    }
    fn aside<G: Gate>(&mut self, g: &G, x: &[&Form]) -> Result<()> {
        self.push(g, x, true).map(|_| ())
    }
    fn deliver(&mut self, x: &Form) -> Result<()> {
        self.add("deliver", serde_json::Value::Null, x.clone(), Cost::default(), x.len());
        self.digest();
        Ok(())
    }
}

impl Learn for Planner {
    type Bit = Form;

    fn sign(&mut self, g: &Sign, x: &Form) -> Result<Form> {
        let (output, cost) = (g.output(self.n, x)?, g.cost(self.n, x)?);
        self.add(Sign::NAME, with(g), output.clone(), cost, 0);
        Ok(output)
    }
    fn select(&mut self, g: &Select, bit: &Form, x: &Form) -> Result<Form> {
        let (output, cost) = (g.output(self.n, bit, x)?, g.cost(self.n, bit, x)?);
        self.add(Select::NAME, with(g), output.clone(), cost, 0);
        Ok(output)
    }
    fn together<G: Gate>(&mut self, all: &[(G, Vec<&Form>)]) -> Result<Vec<Form>> {
        let first = self.gates.len();
        let forms: Result<Vec<Form>> = all.iter().map(|(g, x)| self.push(g, x, false)).collect();
        if let Some((last, others)) = self.gates[first..].split_last_mut() {
            for cost in others.iter_mut().map(|g| &mut g.cost) {
                last.cost.bytes += std::mem::take(&mut cost.bytes);
                last.cost.opened += std::mem::take(&mut cost.opened);
                cost.rounds = 0;
            }
        }
        forms
    }
}
