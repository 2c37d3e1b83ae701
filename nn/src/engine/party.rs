//! Masked values: a party's reading. The owner is reached over a channel of its own.

use super::{Engine, Infer, opened};
use twoply_primitives::session::Outlet;
use twoply_primitives::{Backend, Channel, Form, Gate, Local, Masked, Result, Session};

/// Payload bytes between this party and the data owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerTraffic {
    /// Sent to the owner.
    pub sent: u64,
    /// Received from the owner.
    pub received: u64,
}

/// One run of one party.
pub struct Party<'a, B: Backend> {
    /// Keys, peer, device.
    pub session: Session<'a, B>,
    owner: &'a mut dyn Channel,
    layer: String,
    half: Option<[u8; 16]>,
    lost: Option<String>,
    /// What goes to the owner behind the output.
    asides: Vec<u8>,
    /// Traffic with the owner so far.
    pub traffic: OwnerTraffic,
}

impl<'a, B: Backend> Party<'a, B> {
    /// A party whose data owner is at the other end of `owner`, on the segment whose two halves are called `half`; `None`
    /// where the parties have compared halves and masked inputs before this run.
    pub fn new(session: Session<'a, B>, owner: &'a mut dyn Channel, half: Option<[u8; 16]>) -> Self {
        let (layer, traffic) = (String::new(), OwnerTraffic::default());
        Party { session, owner, layer, half, lost: None, asides: vec![], traffic }
    }
    /// Why the owner could not be served, if so: the peer learns of it at the input, nobody at the output.
    pub fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }
    /// The output and what stands beside it leave as one message, whose length follows from the plan; behind them what this
    /// party saw of the run, as the owner believes shares of equal runs only.
    fn answer(&mut self, mut output: Vec<u8>) {
        output.append(&mut self.asides);
        output.extend(self.session.transcript());
        self.tell_owner(&output);
    }
    fn tell_owner(&mut self, bytes: &[u8]) {
        self.traffic.sent += bytes.len() as u64;
        if let Err(e) = self.owner.send(bytes) {
            self.lost.get_or_insert(e.to_string());
        }
    }
}

impl<B: Backend> Engine for Party<'_, B> {
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

impl<B: Backend> Infer for Party<'_, B> {
    fn input(&mut self, form: &Form) -> Result<Masked<B>> {
        self.session.begin_gate(&self.layer, "input", Outlet::Kept);
        let (share, keys) = self.session.input(form);
        self.tell_owner(keys.as_flattened());
        let packed = self.owner.recv(form.packed_bytes() as usize);
        let digest = packed.as_ref().map(|p| *blake3::hash(p).as_bytes()).map_err(|e| e.to_string());
        match (self.half, digest) {
            (Some(half), digest) => self.session.agree(digest, half)?,
            (None, Ok(digest)) => self.session.input_is(&digest),
            (None, Err(_)) => {}
        }
        let packed = packed?;
        self.traffic.received += packed.len() as u64;
        let x = Masked::from_owner(&self.session.dev, form, &packed, share)?;
        self.session.end_gate();
        Ok(x)
    }
    fn output<G: Gate>(&mut self, g: &G, x: &[&Masked<B>]) -> Result<()> {
        self.session.begin_gate(&self.layer, G::NAME, Outlet::Kept);
        let share = g.eval(&mut self.session, x)?;
        let bytes = self.session.for_owner(share)?;
        self.session.end_gate();
        self.answer(bytes);
        Ok(())
    }
    fn aside<G: Gate>(&mut self, g: &G, x: &[&Masked<B>]) -> Result<()> {
        self.session.begin_gate(&self.layer, G::NAME, Outlet::Kept);
        let share = g.eval(&mut self.session, x)?;
        let bytes = self.session.for_owner(share)?;
        self.session.end_gate();
        self.asides.extend(bytes);
        Ok(())
    }
    fn deliver(&mut self, x: &Masked<B>) -> Result<()> {
        self.session.begin_gate(&self.layer, "deliver", Outlet::Kept);
        let bytes = self.session.deliver(x.clone())?;
        self.session.end_gate();
        self.answer(bytes);
        Ok(())
    }
}
