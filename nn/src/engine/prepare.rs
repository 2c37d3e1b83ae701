//! Mask shares alone: a party's reading before a run has its input. Every gate's result has a mask that does not depend
//! on values, so the part of each linear gate that does not either can be computed beforehand.

use super::{Engine, Infer};
use twoply_primitives::session::{Early, Own};
use twoply_primitives::{Backend, Error, Form, Gate, Local, Result, Ring};

/// Runs a program on mask shares; hands what a gate can compute early to `put`, which says whether to go on.
pub struct Prepare<'a, B: Backend, F> {
    own: Own<'a, B>,
    put: F,
    /// Whether `put` wanted no more.
    pub stopped: bool,
}

impl<'a, B: Backend, F: FnMut(u32, B::Buf) -> bool> Prepare<'a, B, F> {
    /// For the images of `own`, which stands before its first gate.
    pub fn new(own: Own<'a, B>, put: F) -> Self {
        Prepare { own, put, stopped: false }
    }
    fn early<G: Gate>(&mut self, g: &G, x: &[&Early<'a, B>]) -> Result<()> {
        if let Some(k) = g.early(&self.own, x)? {
            self.stopped = !(self.put)(self.own.gate, k);
        }
        if self.stopped { Err(Error::shape(G::NAME, "preparation was stopped")) } else { Ok(()) }
    }
}

impl<'a, B: Backend, F: FnMut(u32, B::Buf) -> bool> Engine for Prepare<'a, B, F> {
    type Value = Early<'a, B>;

    fn form<'v>(&self, v: &'v Early<'a, B>) -> &'v Form {
        v.form()
    }
    fn layer(&mut self, _: &str) {}
    fn gate<G: Gate>(&mut self, g: &G, x: &[&Early<'a, B>]) -> Result<Early<'a, B>> {
        self.early(g, x)?;
        let forms: Vec<&Form> = x.iter().map(|x| x.form()).collect();
        let form = g.output(B::Ring::BITS, &forms)?;
        let mask = g.mask(&self.own, x)?;
        self.own.gate += 1;
        Ok(Early::mask(form, mask))
    }
    fn local(&mut self, f: &Local, x: &[&Early<'a, B>]) -> Result<Early<'a, B>> {
        Early::local(self.own.dev, f, x)
    }
}

impl<'a, B: Backend, F: FnMut(u32, B::Buf) -> bool> Infer for Prepare<'a, B, F> {
    fn input(&mut self, form: &Form) -> Result<Early<'a, B>> {
        let share = self.own.input(form);
        self.own.gate += 1;
        Ok(Early::mask(form.clone(), share))
    }
    fn output<G: Gate>(&mut self, g: &G, x: &[&Early<'a, B>]) -> Result<()> {
        self.early(g, x)?;
        self.own.gate += 1;
        Ok(())
    }
    fn aside<G: Gate>(&mut self, g: &G, x: &[&Early<'a, B>]) -> Result<()> {
        self.output(g, x)
    }
    fn deliver(&mut self, _: &Early<'a, B>) -> Result<()> {
        self.own.gate += 1;
        Ok(())
    }
}
