//! One program, six readings: shapes (planner), keys that a run will use (foresee), masks (dealer), mask shares (a party
//! before a run), masked values (a party), clear values (oracle). Training has no reading before its run.
//!
//! Code generic over [`Engine`] cannot look at a value, only at its form: programs are data-oblivious by type, and the
//! plan is exact by construction.

mod clear;
mod dealer;
mod foresee;
mod party;
mod planner;
mod prepare;
mod trainer;

pub use clear::{Clear, Reach, Seen};
pub use foresee::Foresee;
pub use party::{OwnerTraffic, Party};
pub use planner::{PlannedGate, Planner};
pub use prepare::Prepare;
pub use trainer::Trainer;

use twoply_primitives::gate::{Select, Sign};
use twoply_primitives::session::Outlet;
use twoply_primitives::{Backend, Form, Gate, Local, Masked, Result, Session};

/// A party's part in a gate, its result opened.
fn opened<B: Backend, G: Gate>(
    session: &mut Session<B>,
    layer: &str,
    g: &G,
    x: &[&Masked<B>],
) -> Result<Masked<B>> {
    session.begin_gate(layer, G::NAME, Outlet::Open);
    let share = g.eval(session, x)?;
    let z = session.open(share)?;
    session.end_gate();
    Ok(z)
}

/// What gates and maps run on.
pub trait Engine {
    /// A wire.
    type Value: Clone;
    /// Shape and width of a wire.
    fn form<'a>(&self, v: &'a Self::Value) -> &'a Form;
    /// Names the layer that the next gates belong to, for reports.
    fn layer(&mut self, name: &str);
    /// An interactive operation, its result opened.
    fn gate<G: Gate>(&mut self, g: &G, x: &[&Self::Value]) -> Result<Self::Value>;
    /// A map without keys or talk.
    fn local(&mut self, f: &Local, x: &[&Self::Value]) -> Result<Self::Value>;
}

/// What can answer a data owner.
pub trait Infer: Engine {
    /// The data owner's input. Not a gate: it talks to the owner, not to the peer.
    fn input(&mut self, form: &Form) -> Result<Self::Value>;
    /// The last gate, its result sent to the data owner unopened.
    fn output<G: Gate>(&mut self, g: &G, x: &[&Self::Value]) -> Result<()>;
    /// A gate whose result goes to the data owner unopened, behind the output: what it says beside the answer.
    fn aside<G: Gate>(&mut self, g: &G, x: &[&Self::Value]) -> Result<()>;
    /// Shown the result of each node, with its fraction bits; the last one only if it does not leave for the owner.
    /// Parties have nothing to look at: only the oracle keeps what it is shown.
    fn see(&mut self, _node: usize, _wire: &Self::Value, _frac: u32) {}
    /// A wire that is open already, sent to the data owner.
    fn deliver(&mut self, x: &Self::Value) -> Result<()>;
}

/// What can train: decisions of the forward pass are kept for the way back.
pub trait Learn: Engine {
    /// A masked bit for every element of a wire.
    type Bit: Clone;
    /// The signs of a wire.
    fn sign(&mut self, g: &Sign, x: &Self::Value) -> Result<Self::Bit>;
    /// A wire where the bits are set, else 0, its result opened.
    fn select(&mut self, g: &Select, bit: &Self::Bit, x: &Self::Value) -> Result<Self::Value>;
    /// Gates of one message each that do not depend on each other: all results are opened in one message, which is the last
    /// gate's.
    fn together<G: Gate>(&mut self, all: &[(G, Vec<&Self::Value>)]) -> Result<Vec<Self::Value>>;
}
