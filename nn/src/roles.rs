//! What each role does with a program: the dealer deals, the parties run, the owners mask and join.
//!
//! Dealer and parties compute on a device and are generic over it; owners always compute on the CPU and are generic over
//! the ring. [`crate::with_ring`] chooses the ring from the plan, [`twoply_primitives::with_device`] the device's type.

use crate::engine::{Foresee, OwnerTraffic, Party, Prepare};
use crate::plan::Reveal;
use crate::program::{Program, RangeAudit};
use crate::{Error, Plan, Result, Weights};
use std::ops::Range;
use twoply_preprocessing::{PartFile, SegmentWriter};
use twoply_primitives::session::{Early, GateStats, Own, Upcoming};
use twoply_primitives::{Backend, Channel, Deal, KeySetId, Mask, Masked, Origin, Ring, Seed, Session, owner};

/// Runs an expression with `$R` standing for the ring of `$n` bits (32 or 64).
#[macro_export]
macro_rules! with_ring {
    ($n:expr, $R:ident => $body:expr) => {
        match $n {
            64 => {
                type $R = u64;
                $body
            }
            _ => {
                type $R = u32;
                $body
            }
        }
    };
}

fn weights_origin(set: KeySetId) -> Origin {
    Origin { set, segment: Origin::WEIGHTS }
}

/// Dealer: the masks of all parameters, from both parties' weight seeds.
pub fn weight_masks<B: Backend>(
    dev: &B,
    program: &Program,
    set: KeySetId,
    seeds: &[Seed; 2],
) -> Vec<Mask<B>> {
    let mask = |(index, form)| Mask::weight(dev, form, seeds, weights_origin(set), index as u32);
    program.params().iter().enumerate().map(mask).collect()
}

/// Dealer: the masks of trained parameters, from both parties' shares of them, packed.
///
/// # Errors
/// [`Error::Data`] for shares of another network.
pub fn trained_masks<B: Backend>(dev: &B, program: &Program, shares: [&[u8]; 2]) -> Result<Vec<Mask<B>>> {
    let [a, b] = [pieces(program, shares[0])?, pieces(program, shares[1])?];
    let forms = program.params().into_iter();
    forms.zip(a.into_iter().zip(b)).map(|(form, (a, b))| Ok(Mask::from_kept(dev, &form, [a, b])?)).collect()
}

/// Every parameter's bytes of all parameters, packed.
fn pieces<'a>(program: &Program, packed: &'a [u8]) -> Result<Vec<&'a [u8]>> {
    let (mut rest, mut out) = (packed, Vec::new());
    for form in program.params() {
        let short = || Error::data("masked weights", format!("{} bytes do not fit the graph", packed.len()));
        let (mine, others) = rest.split_at_checked(form.packed_bytes() as usize).ok_or_else(short)?;
        out.push(mine);
        rest = others;
    }
    match rest.len() {
        0 => Ok(out),
        n => Err(Error::data("masked weights", format!("{n} bytes more than the graph has weights"))),
    }
}

/// Dealer: one segment, both halves. Returns the bytes of both files.
pub fn deal_segment<B: Backend>(
    dev: &B,
    program: &Program,
    weights: &[Mask<B>],
    set: KeySetId,
    mut writer: SegmentWriter<PartFile>,
) -> Result<[u64; 2]> {
    let (header, seeds) = (writer.header().clone(), writer.seeds().clone());
    let origin = Origin { set, segment: header.segment };
    let images = header.images as usize;
    let mut deal = Deal::new(dev.clone(), seeds, origin, images, &mut writer);
    program.run(&mut deal, weights, images)?;
    Ok(writer.finish()?)
}

/// Party: the opened weights as wires, from the packed `w^` of all parameters.
pub fn masked_weights<B: Backend>(
    dev: &B,
    program: &Program,
    set: KeySetId,
    seed: &Seed,
    packed: &[u8],
) -> Result<Vec<Masked<B>>> {
    let mut out = Vec::new();
    for (index, (form, mine)) in program.params().iter().zip(pieces(program, packed)?).enumerate() {
        out.push(Masked::weight(dev, form, mine, seed, weights_origin(set), index as u32)?);
    }
    Ok(dev.health().map(|()| out)?)
}

/// Party: trained parameters as wires, from what training left: the masked values, and this party's share of their mask, packed.
///
/// # Errors
/// [`Error::Data`] for bytes of another network, and what the device reports.
pub fn trained_weights<B: Backend>(
    dev: &B,
    program: &Program,
    (values, share): (&[u8], &[u8]),
) -> Result<Vec<Masked<B>>> {
    let (values, shares) = (pieces(program, values)?, pieces(program, share)?);
    let all = program.params().into_iter().zip(values.into_iter().zip(shares));
    let wires = all.map(|(form, (value, share))| Ok(Masked::from_kept(dev, &form, value, share)?));
    let out = wires.collect::<Result<_>>()?;
    Ok(dev.health().map(|()| out)?)
}

/// The opened weights of a key set at one party, for as long as it serves with them. Its shares of their masks are
/// overwritten when it is dropped: they are as old as the process, and nothing else of the set's masks stays in memory.
pub struct Provisioned<B: Backend> {
    dev: B,
    wires: Vec<Masked<B>>,
}

impl<B: Backend> Provisioned<B> {
    /// From what [`masked_weights`] or [`trained_weights`] gives on this device.
    pub fn new(dev: B, wires: Vec<Masked<B>>) -> Self {
        Provisioned { dev, wires }
    }
}

impl<B: Backend> std::ops::Deref for Provisioned<B> {
    type Target = [Masked<B>];
    fn deref(&self) -> &[Masked<B>] {
        &self.wires
    }
}

impl<B: Backend> Drop for Provisioned<B> {
    fn drop(&mut self) {
        self.wires.iter_mut().for_each(|w| w.wipe(&self.dev));
    }
}

/// Length in bytes of the packed `w^` of all parameters.
pub fn masked_weights_len(program: &Program) -> usize {
    program.params().iter().map(|f| f.packed_bytes() as usize).sum()
}

/// Party: the keys of its shares of the input masks of these images of a segment, one each, for their owner. They may leave
/// when both parties have reserved the images.
pub fn input_keys(seed: &Seed, origin: Origin, images: Range<u32>) -> Vec<[u8; 16]> {
    images.map(|image| owner::input_key(seed, origin, image)).collect()
}

/// Party: the keys of its share of every parameter's mask, for the model owner.
pub fn weight_keys(program: &Program, set: KeySetId, seed: &Seed) -> Vec<[u8; 16]> {
    let key = |i| owner::weight_key(seed, weights_origin(set), i as u32);
    (0..program.params().len()).map(key).collect()
}

/// Model owner: `w^` of all parameters, packed, from its weights and both parties' keys.
pub fn mask_weights<R: Ring>(
    program: &Program,
    weights: &Weights,
    keys: [&[[u8; 16]]; 2],
) -> Result<Vec<u8>> {
    let (encoded, forms) = (program.encode::<R>(weights)?, program.params());
    if keys.iter().any(|k| k.len() != forms.len()) {
        return Err(Error::data("masked weights", "the parties sent keys for another number of parameters"));
    }
    let mut out = Vec::with_capacity(masked_weights_len(program));
    for (i, (w, form)) in encoded.iter().zip(&forms).enumerate() {
        out.extend(owner::mask(w, [&keys[0][i..=i], &keys[1][i..=i]], form.bits)?);
    }
    Ok(out)
}

/// What a party's run gave it: counters, never values.
pub struct Ran {
    /// Gate by gate.
    pub stats: Vec<GateStats>,
    /// Traffic with the data owner.
    pub traffic: OwnerTraffic,
    /// Its own coins, if they were asked for.
    pub coins: Vec<(u32, Vec<u64>)>,
}

/// Party: one run. The data owner is at the other end of `owner`; `half` names the segment's two halves where the parties
/// have not compared them, and the masked inputs, before.
pub fn run<'a, B: Backend>(
    program: &Program,
    weights: &[Masked<B>],
    mut session: Session<'a, B>,
    (owner, half): (&'a mut dyn Channel, Option<[u8; 16]>),
    record_coins: bool,
) -> Result<Ran> {
    if record_coins {
        session.record_coins();
    }
    let batch = session.batch();
    session.foresee(|| keys_ahead(program, B::Ring::BITS, batch))?;
    let mut party = Party::new(session, owner, half);
    program.run(&mut party, weights, batch)?;
    party.session.finish()?;
    if let Some(why) = party.lost() {
        return Err(twoply_primitives::Error::Owner(why.into()).into());
    }
    Ok(Ran {
        stats: party.session.stats().to_vec(),
        traffic: party.traffic,
        coins: party.session.take_coins(),
    })
}

/// Keys that a run of so many images will use, in order.
fn keys_ahead(program: &Program, n: u32, batch: usize) -> twoply_primitives::Result<Vec<Upcoming>> {
    let mut engine = Foresee::new(n, batch);
    let shapes = program.run(&mut engine, &program.params(), batch);
    shapes.map_err(|e| twoply_primitives::Error::shape("keys ahead", e.to_string()))?;
    Ok(engine.parts)
}

/// Party: what of a run on the images of `own` can be computed before their input is there, gate by gate, handed to
/// `put` with the gate's number until it wants no more. Returns whether it heard all of it.
pub fn prepare<'a, B: Backend>(
    program: &Program,
    weights: &'a [Masked<B>],
    own: Own<'a, B>,
    put: impl FnMut(u32, B::Buf) -> bool,
) -> Result<bool> {
    let (batch, params) = (own.images.len(), weights.iter().map(Early::weight).collect::<Vec<_>>());
    let mut engine = Prepare::new(own, put);
    match program.run(&mut engine, &params, batch) {
        Err(_) if engine.stopped => Ok(false),
        ran => ran.map(|()| true),
    }
}

/// Data owner: masked input for both parties, from both parties' keys (one per image each).
pub fn mask_input<R: Ring>(program: &Program, x: &[R], keys: [&[[u8; 16]]; 2]) -> Result<Vec<u8>> {
    debug_assert_eq!(x.len(), keys[0].len() * program.graph().input.row());
    Ok(owner::mask(x, keys, R::BITS)?)
}

/// Data owner: what it came for. What labels it has, if any, is for [`crate::Meaning`] to say.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// Real-valued outputs per image.
    Logits(Vec<Vec<f64>>),
    /// Labels alone.
    Labels(Vec<usize>),
}

/// Data owner: the answer for `batch` images from what both parties sent, and what an audit counted, if the plan has one.
///
/// # Errors
/// [`Error::Answers`] when the parties did not see the same run; a message that has not the length of
/// [`crate::program::Reply::bytes`].
pub fn join<R: Ring>(
    plan: &Plan,
    program: &Program,
    messages: [&[u8]; 2],
    batch: usize,
) -> Result<(Answer, RangeAudit)> {
    let reply = program.reply(batch)?;
    let joined = reply.join::<R>(messages)?;
    let values = joined.first().ok_or_else(|| Error::data("output", "nothing to join"))?;
    Ok((read(plan, program, values)?, program.range_audit(&reply, &joined)))
}

/// Data owner: what the joined values of whole images mean.
pub fn read<R: Ring>(plan: &Plan, program: &Program, values: &[R]) -> Result<Answer> {
    let (form, frac) = program.output(1)?;
    if plan.options.reveal == Reveal::Label {
        return Ok(Answer::Labels(values.iter().map(|v| v.low() as usize).collect()));
    }
    let real = |v: &R| twoply_primitives::ring::sign_extend(v.low(), form.bits) as f64 / (frac as f64).exp2();
    Ok(Answer::Logits(values.chunks(form.shape.row()).map(|row| row.iter().map(real).collect()).collect()))
}
