//! Which wires an audit looks at, and from which size on.
//!
//! A value that leaves the contract of fixed point wraps: it takes another value, and nothing downstream can tell. An
//! audit (`Options::audit`) counts, layer by layer and image by image, the elements that came near that end or went beyond
//! it; the counts go to the data owner alone, as shares, behind the answer.
//!
//! **Where.** Values can grow in products, sums and differences of any kind and, where its
//! scaled sum has less room than the contract, in an average pool; all else keeps magnitudes. So the results of these nodes are
//! looked at, on whatever wire they have: of m bits after a public-coin truncation, of n bits with 2f fraction bits in
//! floor mode and before an argmax. What the owner receives in the clear it counts itself.
//!
//! **From which size on.** Let L be the first magnitude outside the contract, `2^(n-2-f)` in steps of `2^-f` (less in some
//! average pools). The threshold is `L / 2`, so that it says that the last bit of headroom is being used up while values
//! are still right; but where the plan's own ranges, margin included, reach beyond that, it is L: what a plan allows is
//! never counted. Wires hold `[-2L, 2L)`.
//!
//! **What it misses.** A value up to 2L is counted for certain. One beyond has wrapped, and is taken for a small one if it
//! lands within the threshold of zero: once in four elements with `L / 2`, once in two with L. So an audit is no proof for
//! a single element, and a strong sign for a layer: a network whose inputs are scaled wrongly sends many elements out, and
//! some of them lie between the threshold and 2L. Values wrapped in one layer make nonsense, mostly large, in the next.
//!
//! **What it tells.** The counts depend on the model as well as on the data: an owner that chooses its images learns, beside
//! the logits, how many elements of each layer exceed one public threshold. So an audit is a choice of the plan, covered by
//! its digest, and off unless asked for. The parties learn nothing: two more masked bits per element.

use super::{Program, Run, Wire};
use crate::engine::{Infer, Planner};
use crate::graph::Op;
use crate::plan::Reveal;
use crate::{Error, Result};
use serde::ser::{Serialize, SerializeMap, Serializer};
use twoply_primitives::gate::Audit;
use twoply_primitives::{Form, Gate, Ring, owner, ring};

/// Bytes behind each party's shares: the digest of all it saw of the run.
pub(crate) const DIGEST: usize = 32;

/// What each party sends the data owner in the end: its share of the output, then of each audited layer's counts.
#[derive(Clone, PartialEq, Debug)]
pub struct Reply {
    /// Form of the output.
    pub output: Form,
    /// Its fraction bits.
    pub frac: u32,
    /// Audited layers by name, with the form of their counts.
    pub counts: Vec<(String, Form)>,
}

impl Reply {
    /// Bytes that each party sends: its shares, and the digest of all it saw of the run.
    pub fn bytes(&self) -> usize {
        self.parts().map(|form| form.packed_bytes() as usize).sum::<usize>() + DIGEST
    }
    fn parts(&self) -> impl Iterator<Item = &Form> {
        [&self.output].into_iter().chain(self.counts.iter().map(|(_, form)| form))
    }
    /// Both parties' messages joined, if both saw the same run: the output's values, then every audited layer's counts. Else
    /// one of the messages between them was changed, or one of them computed something else, and the sums would be noise.
    ///
    /// # Errors
    /// [`Error::Answers`] when they did not; a message of another length.
    pub fn join<R: Ring>(&self, mut messages: [&[u8]; 2]) -> Result<Vec<Vec<R>>> {
        if let Some(wrong) = messages.iter().find(|m| m.len() != self.bytes()) {
            let why = format!("a share of {} bytes, wanted {}", wrong.len(), self.bytes());
            return Err(Error::data("output", why));
        }
        let [seen, seen_too] = messages.map(|m| m.split_at(m.len() - DIGEST).1);
        if seen != seen_too {
            return Err(Error::Answers);
        }
        let part = |form: &Form| {
            let shares = messages.each_mut().map(|m| {
                let (share, rest) = m.split_at(form.packed_bytes() as usize);
                *m = rest;
                share
            });
            Ok(owner::join::<R>(shares, form.len(), form.bits)?)
        };
        self.parts().map(part).collect()
    }
}

/// Counts of too large elements, layer by layer in the network's order, image by image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeAudit(pub Vec<(String, Vec<u64>)>);

impl RangeAudit {
    /// Takes the counts of further images behind those that are there.
    pub fn extend(&mut self, more: RangeAudit) {
        if self.0.is_empty() {
            self.0 = more.0;
            return;
        }
        self.0.iter_mut().zip(more.0).for_each(|((_, all), (_, more))| all.extend(more));
    }
    /// Layers with the images, by number, that have elements counted, and how many.
    pub fn found(&self) -> impl Iterator<Item = (&str, Vec<(usize, u64)>)> {
        let images = |counts: &[u64]| -> Vec<(usize, u64)> {
            counts.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect()
        };
        let layers = self.0.iter().map(move |(layer, counts)| (&layer[..], images(counts)));
        layers.filter(|(_, images)| !images.is_empty())
    }
}

impl Serialize for RangeAudit {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(layer, counts)| map.serialize_entry(layer, counts))?;
        map.end()
    }
}

impl Program {
    /// What the owner receives from each party for `batch` images.
    pub fn reply(&self, batch: usize) -> Result<Reply> {
        let mut planner = Planner::new(self.options.fixed.n);
        let frac = self.execute(&mut planner, &self.params(), batch)?;
        let last = planner.gates.pop().ok_or_else(|| Error::data("plan", "a program without gates"))?;
        let audits = planner.gates.into_iter().filter(|g| g.gate == Audit::NAME);
        Ok(Reply { output: last.output, frac, counts: audits.map(|g| (g.layer, g.output)).collect() })
    }

    /// What an audit says of joined messages: what the parties counted, and what the owner can count in its output.
    pub fn range_audit<R: Ring>(&self, reply: &Reply, joined: &[Vec<R>]) -> RangeAudit {
        let count = |values: &Vec<R>| values.iter().map(|v| v.low()).collect();
        let layers = reply.counts.iter().zip(joined.iter().skip(1));
        let mut all: Vec<_> = layers.map(|((name, _), values)| (name.clone(), count(values))).collect();
        let (last, form) = (self.graph.nodes.len() - 1, &reply.output);
        if let Some(output) = joined.first().filter(|_| self.options.audit && self.delivers_values()) {
            let theta = self.threshold(last, reply.frac);
            let large = |v: &&R| ring::sign_extend(v.low(), form.bits).unsigned_abs() >= theta;
            let rows = output.chunks(form.shape.row().max(1));
            let counts = rows.map(|row| row.iter().filter(large).count() as u64).collect();
            all.push((self.graph.nodes[last].name.clone(), counts));
        }
        RangeAudit(all)
    }
    fn delivers_values(&self) -> bool {
        self.options.reveal == Reveal::Logits
    }

    /// Smallest magnitude of node `i`'s result that an audit counts, on a wire with `frac` fraction bits.
    fn threshold(&self, i: usize, frac: u32) -> u64 {
        let f = self.options.fixed.f;
        let ulps = |real: f64| real * f64::from(f).exp2();
        let outside = ulps(self.limit(i)).round() as u64 + 1;
        let planned = self.ranges.get(i).map_or(0, |range| ulps(*range).ceil() as u64);
        let half = outside.div_ceil(2);
        (if planned < half { half } else { outside }) << frac.saturating_sub(f)
    }
}

impl<E: Infer> Run<'_, '_, E> {
    /// Counts the large elements of a node's result, if the plan wants that and the result can have grown.
    pub(super) fn audit(&mut self, i: usize, wire: &Wire<E::Value>) -> Result<()> {
        let grows = matches!(
            self.program.graph.nodes[i].op,
            Op::Linear { .. }
                | Op::Conv2d { .. }
                | Op::AvgPool { .. }
                | Op::SumPool(_)
                | Op::Add
                | Op::Sub
                | Op::Mul
                | Op::Offset { .. }
                | Op::Affine { .. }
        );
        if !self.options().audit || !grows {
            return Ok(());
        }
        let gate = Audit { scheme: self.scheme, theta: self.program.threshold(i, wire.frac) };
        Ok(self.e.aside(&gate, &[&wire.v])?)
    }
}
