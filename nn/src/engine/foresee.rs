//! Which key tiles a run will use, in order: shapes alone, like the plan.

use super::{Engine, Infer};
use twoply_primitives::session::Upcoming;
use twoply_primitives::{Form, Gate, Local, Result, Site};

/// Runs a program on forms and notes the parts of every gate that compares: nearly all bytes of keys are theirs.
pub struct Foresee {
    n: u32,
    images: usize,
    gate: u32,
    /// The parts so far.
    pub parts: Vec<Upcoming>,
}

impl Foresee {
    /// For a ring of `n` bits and a run of so many images.
    pub fn new(n: u32, images: usize) -> Self {
        Foresee { n, images, gate: 0, parts: vec![] }
    }
}

impl Engine for Foresee {
    type Value = Form;

    fn form<'a>(&self, v: &'a Form) -> &'a Form {
        v
    }
    fn layer(&mut self, _: &str) {}
    fn gate<G: Gate>(&mut self, g: &G, x: &[&Form]) -> Result<Form> {
        let cost = g.cost(self.n, x)?;
        if cost.comparisons > 0 {
            let part = |(part, p): (usize, twoply_primitives::Part)| Upcoming {
                site: Site { gate: self.gate, part: part as u32 },
                name: G::NAME,
                per_image: p.elements / self.images.max(1),
                fields: p.fields,
            };
            self.parts.extend(cost.parts.into_iter().enumerate().map(part));
        }
        self.gate += 1;
        g.output(self.n, x)
    }
    fn local(&mut self, f: &Local, x: &[&Form]) -> Result<Form> {
        f.output(x)
    }
}

impl Infer for Foresee {
    fn input(&mut self, form: &Form) -> Result<Form> {
        self.gate += 1;
        Ok(form.clone())
    }
    fn output<G: Gate>(&mut self, g: &G, x: &[&Form]) -> Result<()> {
        self.gate(g, x).map(|_| ())
    }
    fn aside<G: Gate>(&mut self, g: &G, x: &[&Form]) -> Result<()> {
        self.gate(g, x).map(|_| ())
    }
    fn deliver(&mut self, _: &Form) -> Result<()> {
        self.gate += 1;
        Ok(())
    }
}
