//! A figure on its way from the parties to its owner.

use super::joined;
use crate::train::{Figure, Step};
use crate::{Error, Result, with_ring};
use twoply_primitives::{Backend, Form, Local, Masked, PartyId, Ring};
use zeroize::Zeroizing;

/// Bytes behind a figure's shares: the digest of all that a party saw of its segments.
const SEEN: usize = 32;

/// A figure at a party, as far as its batches have come: numbers under masks, and a digest of what was said for them.
pub struct Tally<B: Backend> {
    numbers: Vec<Masked<B>>,
    seen: [u8; SEEN],
}

impl<B: Backend> Default for Tally<B> {
    fn default() -> Self {
        Tally { numbers: vec![], seen: [0; SEEN] }
    }
}

impl<B: Backend> Tally<B> {
    pub(super) fn add(&mut self, dev: &B, numbers: Vec<Masked<B>>, transcript: &[u8; 32]) -> Result<()> {
        let mut seen = blake3::Hasher::new_derive_key("twoply 2026-12 segments of a figure v1");
        self.seen = *seen.update(&self.seen).update(transcript).finalize().as_bytes();
        self.numbers = match self.numbers.is_empty() {
            true => numbers,
            false => {
                let pairs = self.numbers.iter().zip(&numbers);
                pairs.map(|(a, b)| Ok(Masked::local(dev, &Local::Add, &[a, b])?)).collect::<Result<_>>()?
            }
        };
        Ok(())
    }
    /// What leaves for the figure's owners: an additive share of every number, packed one behind the other, and what this party
    /// saw of the segments, as owners believe shares of equal ones only.
    ///
    /// # Errors
    /// Those of the device.
    pub fn for_owner(&self, dev: &B, me: PartyId) -> Result<Zeroizing<Vec<u8>>> {
        let mut all = Zeroizing::new(vec![]);
        for number in &self.numbers {
            all.extend(number.for_owner(dev, me)?);
        }
        all.extend(self.seen);
        Ok(all)
    }
}

/// Owner of a figure: its numbers, from what both parties sent.
///
/// # Errors
/// [`Error::Data`] for messages of another length, [`Error::Answers`] of parties that did not see the same.
pub fn join_figure((step, figure): (&Step, Figure), messages: [&[u8]; 2]) -> Result<Vec<i64>> {
    let bytes = figure_bytes(step, figure)?;
    if messages.iter().any(|m| m.len() as u64 != bytes) {
        return Err(Error::data("figure", "its shares have another length than the plan says"));
    }
    let [(a, seen), (b, seen_too)] = messages.map(|m| m.split_at(m.len() - SEEN));
    if seen != seen_too {
        return Err(Error::Answers);
    }
    let forms: Vec<Form> = step.numbers(figure)?.into_iter().map(|(_, form)| form).collect();
    let messages = [a, b];
    fn numbers<R: Ring>(forms: &[Form], messages: [&[u8]; 2]) -> Result<Vec<i64>> {
        Ok(joined::<R>(forms, messages)?.iter().flatten().map(|v| v.signed()).collect())
    }
    with_ring!(step.recipe().n, R => numbers::<R>(&forms, messages))
}

/// Bytes of the message that [`join_figure`] wants of each party.
///
/// # Errors
/// What a gate refuses.
pub fn figure_bytes(step: &Step, figure: Figure) -> Result<u64> {
    Ok(step.numbers(figure)?.iter().map(|(_, form)| form.packed_bytes()).sum::<u64>() + SEEN as u64)
}
