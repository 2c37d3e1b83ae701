//! Masks: the dealer's reading. A gate's number advances once per input, gate or delivery, as at the parties.

use super::{Engine, Infer};
use twoply_primitives::{Backend, Deal, Form, Gate, Local, Mask, Result};

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
