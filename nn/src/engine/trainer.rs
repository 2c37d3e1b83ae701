//! Masked values of a training step: a party's reading. No owner takes part in a step.

use super::{Engine, Learn, opened};
use twoply_primitives::gate::{Select, Sign};
use twoply_primitives::session::Outlet;
use twoply_primitives::{Backend, Form, Gate, Local, Masked, MaskedBit, Result, Session};

/// One party in one step.
pub struct Trainer<'a, B: Backend> {
    /// Keys, peer, device.
    pub session: Session<'a, B>,
    layer: String,
}

impl<'a, B: Backend> Trainer<'a, B> {
    /// A party before the step's first gate.
    pub fn new(session: Session<'a, B>) -> Self {
        Trainer { session, layer: String::new() }
    }
}

impl<B: Backend> Engine for Trainer<'_, B> {
    type Value = Masked<B>;

    fn form<'a>(&self, v: &'a Masked<B>) -> &'a Form {
        v.form()
    }
    fn layer(&mut self, name: &str) {
        self.layer = name.into();
    }
    fn gate<G: Gate>(&mut self, g: &G, x: &[&Masked<B>]) -> Result<Masked<B>> {
        opened(&mut self.session, &self.layer, g, x)
    }
    fn local(&mut self, f: &Local, x: &[&Masked<B>]) -> Result<Masked<B>> {
        Masked::local(&self.session.dev, f, x)
    }
}

impl<B: Backend> Learn for Trainer<'_, B> {
    type Bit = MaskedBit<B>;

    fn sign(&mut self, g: &Sign, x: &Masked<B>) -> Result<MaskedBit<B>> {
        self.session.begin_gate(&self.layer, Sign::NAME, Outlet::Open);
        let bit = g.eval(&mut self.session, x)?;
        self.session.end_gate();
        Ok(bit)
    }
    fn select(&mut self, g: &Select, bit: &MaskedBit<B>, x: &Masked<B>) -> Result<Masked<B>> {
        self.session.begin_gate(&self.layer, Select::NAME, Outlet::Open);
        let share = g.eval(&mut self.session, bit, x)?;
        let z = self.session.open(share)?;
        self.session.end_gate();
        Ok(z)
    }
    fn together<G: Gate>(&mut self, all: &[(G, Vec<&Masked<B>>)]) -> Result<Vec<Masked<B>>> {
        let mut shares = vec![];
        for (at, (g, x)) in all.iter().enumerate() {
            self.session.begin_gate(&self.layer, G::NAME, Outlet::Kept);
            shares.push(g.eval(&mut self.session, x)?);
            if at + 1 < all.len() {
                self.session.end_gate();
            }
        }
        if shares.is_empty() {
            return Ok(vec![]);
        }
        let opened = self.session.open_together(shares)?;
        self.session.end_gate();
        Ok(opened)
    }
}
