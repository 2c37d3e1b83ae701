//! Masks: the dealer's reading. A gate's number advances once per input, gate or delivery, as at the parties.

use super::{Engine, Infer, Learn};
use twoply_primitives::gate::{Select, Sign};
use twoply_primitives::{Backend, BitMask, Deal, Form, Gate, Local, Mask, Result};

impl<B: Backend> Engine for Deal<'_, B> {
    type Value = Mask<B>;

    fn form<'a>(&self, v: &'a Mask<B>) -> &'a Form {
        v.form()
    }
    fn layer(&mut self, _: &str) {}
    fn gate<G: Gate>(&mut self, g: &G, x: &[&Mask<B>]) -> Result<Mask<B>> {
        let r = g.deal(self, x)?;
        self.next_gate();
        Ok(r)
    }
    fn local(&mut self, f: &Local, x: &[&Mask<B>]) -> Result<Mask<B>> {
        Mask::local(&self.dev, f, x)
    }
}

impl<B: Backend> Infer for Deal<'_, B> {
    fn input(&mut self, form: &Form) -> Result<Mask<B>> {
        let r = Deal::input(self, form);
        self.next_gate();
        Ok(r)
    }
    fn output<G: Gate>(&mut self, g: &G, x: &[&Mask<B>]) -> Result<()> {
        self.gate(g, x).map(|_| ())
    }
    fn aside<G: Gate>(&mut self, g: &G, x: &[&Mask<B>]) -> Result<()> {
        self.gate(g, x).map(|_| ())
    }
    fn deliver(&mut self, _: &Mask<B>) -> Result<()> {
        self.next_gate();
        Ok(())
    }
}

impl<B: Backend> Learn for Deal<'_, B> {
    type Bit = BitMask<B>;

    fn sign(&mut self, g: &Sign, x: &Mask<B>) -> Result<BitMask<B>> {
        let rho = g.deal(self, x)?;
        self.next_gate();
        Ok(rho)
    }
    fn select(&mut self, g: &Select, bit: &BitMask<B>, x: &Mask<B>) -> Result<Mask<B>> {
        let r = g.deal(self, bit, x)?;
        self.next_gate();
        Ok(r)
    }
    fn together<G: Gate>(&mut self, all: &[(G, Vec<&Mask<B>>)]) -> Result<Vec<Mask<B>>> {
        all.iter().map(|(g, x)| self.gate(g, x)).collect()
    }
}
