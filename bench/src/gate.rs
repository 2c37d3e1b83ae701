//! One gate, dealt once and evaluated as often as wanted by two parties on two threads.

use crate::alone::Echo;
use crate::memory::{self, Discard, Home, Memory};
use crate::{ORIGIN, seeds, values};
use std::sync::Arc;
use std::thread;
use twoply_primitives::channel::{Channel, pair};
use twoply_primitives::session::Setup;
use twoply_primitives::{
    Backend, Cost, Deal, Form, Gate, KeySink, Mask, Masked, NoClock, Origin, PartyId, Result, Ring, Session,
    owner,
};

/// An operand of a gate.
#[derive(Clone)]
pub enum Operand {
    /// An activation; axis 0 is the batch.
    Wire(Form),
    /// A parameter under the weight mask.
    Weight(Form),
}

impl Operand {
    /// Its form.
    pub fn form(&self) -> &Form {
        match self {
            Operand::Wire(f) | Operand::Weight(f) => f,
        }
    }
}

/// A dealt gate with masked operands of small random values.
pub struct Dealt<B: Backend, G: Gate> {
    dev: B,
    gate: G,
    batch: usize,
    cost: Cost,
    masks: Vec<Mask<B>>,
    wires: [Vec<Masked<B>>; 2],
    memory: Arc<Memory>,
}

impl<B: Backend, G: Gate> Dealt<B, G> {
    /// Deals `gate` for `operands`, the first of which is a wire and gives the batch; keys are brought home.
    pub fn new(dev: B, gate: G, operands: &[Operand], home: Home) -> Result<Self> {
        let forms: Vec<&Form> = operands.iter().map(Operand::form).collect();
        let batch = forms[0].shape.batch();
        let cost = gate.cost(B::Ring::BITS, &forms)?;
        let unused = Default::default();
        let bills = operands.iter().map(|_| &unused).chain([&cost]);
        let mut dealt = memory::Dealt::new(bills);
        let masks = masks(&dev, operands, batch);
        deal(&dev, &gate, &masks, batch, &mut dealt)?;
        let mut wires = [vec![], vec![]];
        for (i, operand) in operands.iter().enumerate() {
            for (side, wire) in wires.iter_mut().zip(masked(&dev, i as u32, operand, batch)?) {
                side.push(wire);
            }
        }
        Ok(Dealt { dev, gate, batch, cost, masks, wires, memory: dealt.at_home(home)? })
    }
    /// The dealer's work for the whole batch; tiles are thrown away.
    pub fn deal(&self) -> Result<Mask<B>> {
        deal(&self.dev, &self.gate, &self.masks, self.batch, &mut Discard)
    }
    /// Both parties' work on a loopback pair, the opening included.
    pub fn eval(&self) -> Result<()> {
        let (p0, p1) = pair();
        thread::scope(|scope| {
            let other = scope.spawn(|| self.party(PartyId::P1, p1));
            let mine = self.party(PartyId::P0, p0);
            other.join().unwrap_or_else(|e| std::panic::resume_unwind(e)).and(mine)
        })
    }
    /// One party's work, the opening included, on this thread's pool; see [`Echo`].
    pub fn alone(&self, me: PartyId) -> Result<()> {
        self.party(me, Echo::default())
    }
    /// What it costs.
    pub fn cost(&self) -> &Cost {
        &self.cost
    }
    fn party(&self, me: PartyId, mut peer: impl Channel) -> Result<()> {
        let mut session = Session::new(Setup {
            me,
            dev: self.dev.clone(),
            seed: seeds()[me.index()].clone(),
            origin: ORIGIN,
            images: 0..self.batch,
            peer: &mut peer,
            keys: self.memory.half(me),
            clock: Arc::new(NoClock),
        });
        self.masks.iter().for_each(|_| session.end_gate());
        let wires: Vec<&Masked<B>> = self.wires[me.index()].iter().collect();
        let share = self.gate.eval(&mut session, &wires)?;
        session.open(share)?;
        Ok(())
    }
}

fn weights_origin() -> Origin {
    Origin { segment: Origin::WEIGHTS, ..ORIGIN }
}

/// Operand `i` has gate number `i`, the gate itself the next one.
fn masks<B: Backend>(dev: &B, operands: &[Operand], batch: usize) -> Vec<Mask<B>> {
    let mut none = Discard;
    let mut wires = Deal::new(dev.clone(), seeds(), ORIGIN, batch, &mut none);
    let mask = |(i, operand): (usize, &Operand)| {
        let mask = match operand {
            Operand::Wire(form) => wires.input(form),
            Operand::Weight(form) => Mask::weight(dev, form, &seeds(), weights_origin(), i as u32),
        };
        wires.next_gate();
        mask
    };
    operands.iter().enumerate().map(mask).collect()
}

fn deal<B: Backend, G: Gate>(
    dev: &B,
    gate: &G,
    masks: &[Mask<B>],
    batch: usize,
    sink: &mut dyn KeySink,
) -> Result<Mask<B>> {
    let mut deal = Deal::new(dev.clone(), seeds(), ORIGIN, batch, sink);
    masks.iter().for_each(|_| deal.next_gate());
    gate.deal(&mut deal, &masks.iter().collect::<Vec<_>>())
}

/// Both parties' views of operand `i`, as its owner would send it.
fn masked<B: Backend>(dev: &B, i: u32, operand: &Operand, batch: usize) -> Result<[Masked<B>; 2]> {
    let (form, seeds) = (operand.form(), seeds());
    let x = values::<B::Ring>(form.len(), 12, form.bits);
    match operand {
        Operand::Weight(form) => {
            let keys = [0, 1].map(|p| [owner::weight_key(&seeds[p], weights_origin(), i)]);
            let packed = owner::mask(&x, [&keys[0], &keys[1]], form.bits)?;
            let side = |p: usize| Masked::weight(dev, form, &packed, &seeds[p], weights_origin(), i);
            Ok([side(0)?, side(1)?])
        }
        Operand::Wire(form) => {
            let [(s0, k0), (s1, k1)] = [0, 1].map(|p| input_share(dev, PartyId::BOTH[p], i, form, batch));
            let packed = owner::mask(&x, [&k0, &k1], form.bits)?;
            Ok([Masked::from_owner(dev, form, &packed, s0)?, Masked::from_owner(dev, form, &packed, s1)?])
        }
    }
}

/// A party's share of the mask of wire `i`, and the keys from which its owner derives it.
fn input_share<B: Backend>(
    dev: &B,
    me: PartyId,
    i: u32,
    form: &Form,
    batch: usize,
) -> (B::Buf, Vec<[u8; 16]>) {
    let (mut peer, _other) = pair();
    let mut session = Session::new(Setup {
        me,
        dev: dev.clone(),
        seed: seeds()[me.index()].clone(),
        origin: ORIGIN,
        images: 0..batch,
        peer: &mut peer,
        keys: Arc::new(Memory::default()).half(me),
        clock: Arc::new(NoClock),
    });
    (0..i).for_each(|_| session.end_gate());
    session.input(form)
}
