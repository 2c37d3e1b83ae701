//! The sign of a wire and choices by it, dealt and run: the bit is kept from one gate to the next.

use super::*;
use twoply_primitives::gate::{Kind, Select, Sign};

/// Choices by the sign of the first operand: of itself, but signed ones of the second; of the first and 1 if there is none.
pub struct Choices {
    pub sign: Sign,
    pub selects: Vec<Select>,
    /// A fault: every choice is made with the keys of the first.
    pub same: bool,
}

/// Choices, dealt.
pub struct DealtChoices<R> {
    pub store: Store,
    pub seeds: [Seed; 2],
    pub operands: Vec<Operand<R>>,
    /// Places and layouts of the keys: the sign's, then those of the choices.
    pub parts: Vec<(Site, Part)>,
}

/// What a run of them gave.
pub struct PlayedChoices<R> {
    /// The results in the clear.
    pub clear: Vec<Vec<R>>,
    pub logs: [Recording; 2],
    pub transcript: [u8; 32],
}

impl Choices {
    /// Which operand a choice is of, and whether it is that and 1.
    fn operand(select: &Select, operands: usize) -> (usize, bool) {
        let signed = select.lift == Kind::Signed;
        ((signed && operands > 1) as usize, signed && operands == 1)
    }

    /// Deals for operands under fresh masks.
    pub fn deal<R: Ring>(&self, forms: &[Form], entropy: u64) -> DealtChoices<R> {
        let (seeds, mut store) = (seeds(entropy), Store::default());
        let mut d = Deal::new(Cpu::<R>::new(), seeds.clone(), ORIGIN, forms[0].shape.batch(), &mut store);
        let draw = |form| {
            let mask = d.fresh(0, form);
            d.next_gate();
            mask
        };
        let masks: Vec<Mask<Cpu<R>>> = forms.iter().map(draw).collect();
        let bit = self.sign.deal(&mut d, &masks[0]).unwrap();
        let mut costs = vec![self.sign.cost(R::BITS, &forms[0]).unwrap()];
        for select in &self.selects[..if self.same { 1 } else { self.selects.len() }] {
            d.next_gate();
            let (i, _) = Self::operand(select, forms.len());
            select.deal(&mut d, &bit, &masks[i]).unwrap();
            costs.push(select.cost(R::BITS, bit.form(), &forms[i]).unwrap());
        }
        let mut parts = vec![];
        for (gate, cost) in (forms.len() as u32..).zip(&costs) {
            store.announce(gate, cost);
            parts.push((Site { gate, part: 0 }, cost.parts[0].clone()));
        }
        let operands = (0..).zip(forms).map(|(g, f)| Operand::fresh(&seeds, g, f)).collect();
        DealtChoices { store, seeds, operands, parts }
    }

    /// Runs on values in the clear.
    pub fn play<R: Ring>(&self, dealt: &DealtChoices<R>, x: &[Vec<R>]) -> PlayedChoices<R> {
        let hidden: Vec<Vec<R>> = dealt.operands.iter().zip(x).map(|(o, x)| o.hide(x)).collect();
        let images = dealt.operands[0].form.shape.batch();
        let sides = parties(&dealt.store, &dealt.seeds, images, |s| self.program(dealt, &hidden, s));
        let [(a, log0), (b, log1)] = sides;
        let (a, b) = (a.unwrap(), b.unwrap());
        let join = |i: usize| {
            let (len, bits) = (dealt.operands[0].form.len(), self.selects[i].out);
            owner::join([&a.0[i], &b.0[i]], len, bits).unwrap()
        };
        let clear = (0..self.selects.len()).map(join).collect();
        PlayedChoices { clear, logs: [log0, log1], transcript: a.1 }
    }

    /// What comes out, by the gates' ideals.
    pub fn ideal<R: Ring>(&self, forms: &[Form], x: &[Vec<R>]) -> Vec<Vec<R>> {
        let bit = self.sign.ideal(&forms[0], &x[0]);
        let one = |select: &Select| {
            let (i, next) = Self::operand(select, forms.len());
            let of: Vec<R> = x[i].iter().map(|v| if next { v.add(R::ONE) } else { *v }).collect();
            select.ideal(&forms[i], &bit, &of)
        };
        self.selects.iter().map(one).collect()
    }

    /// One party's part: every result is opened and then given away.
    fn program<R: Ring>(
        &self,
        dealt: &DealtChoices<R>,
        hidden: &[Vec<R>],
        s: &mut Session<Cpu<R>>,
    ) -> Result<(Vec<Vec<u8>>, [u8; 32])> {
        dealt.operands.iter().for_each(|_| s.end_gate());
        let wires: Vec<_> = dealt.operands.iter().zip(hidden).map(|(o, v)| o.wire(s.me, v)).collect();
        s.begin_gate("test", Sign::NAME, Outlet::Open);
        let bit = self.sign.eval(s, &wires[0])?;
        s.end_gate();
        let mut opened = vec![];
        for select in &self.selects {
            let (i, next) = Self::operand(select, wires.len());
            let x = Masked::local(&s.dev, &Local::AddPublic(next as i64), &[&wires[i]])?;
            s.begin_gate("test", Select::NAME, Outlet::Open);
            let share = select.eval(s, &bit, &x)?;
            opened.push(s.open(share)?);
            if !self.same {
                s.end_gate();
            }
        }
        s.finish()?;
        let transcript = s.transcript();
        let given: Result<_> = opened.into_iter().map(|y| s.deliver(y)).collect();
        Ok((given?, transcript))
    }
}
