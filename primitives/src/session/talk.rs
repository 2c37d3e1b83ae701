//! What the two parties say to each other: rounds that leave piece by piece, counted and entered into the transcript.

use super::GateStats;
use crate::backend::{Packed, Packet};
use crate::{Backend, BitShare, Channel, Clock, PartyId, Result};
use std::sync::Arc;

/// Bytes of a piece. Small enough to leave while the rest of a gate is still computed, large enough that framing and
/// the transcript's hash cost next to nothing.
pub const PIECE: usize = 1 << 15;

/// One party's half of the conversation.
pub(crate) struct Talk<'a> {
    me: PartyId,
    peer: &'a mut dyn Channel,
    clock: Arc<dyn Clock>,
    /// Counters of the gate that runs.
    pub now: GateStats,
    /// What each party said, P0's first. Two streams, so that neither has to wait for the other's pieces.
    said: [blake3::Hasher; 2],
}

/// One round: a message each way, of a length known from the plan. Both are cut into pieces at the same places, so
/// that each is sent as soon as it is full and read when it is needed.
pub(crate) struct Round {
    bits: usize,
    bytes: usize,
    mine: Vec<u8>,
    filled: usize,
    sent: usize,
    theirs: Vec<u8>,
    read: usize,
}

impl<'a> Talk<'a> {
    pub fn new(me: PartyId, peer: &'a mut dyn Channel, clock: Arc<dyn Clock>, about: &[&[u8]]) -> Self {
        let mut said = blake3::Hasher::new_derive_key("twoply 2026-11 transcript v3");
        about.iter().for_each(|part| {
            said.update(part);
        });
        Talk { me, peer, clock, now: GateStats::default(), said: [said.clone(), said] }
    }
    /// Enters what is about to be talked about into both streams.
    pub fn about(&mut self, what: &[u8]) {
        for said in &mut self.said {
            said.update(&(what.len() as u64).to_le_bytes()).update(what);
        }
    }
    /// Hash of both streams so far.
    pub fn transcript(&self) -> [u8; 32] {
        let mut both = blake3::Hasher::new_derive_key("twoply 2026-11 transcript of both v3");
        self.said.iter().for_each(|said| {
            both.update(said.finalize().as_bytes());
        });
        *both.finalize().as_bytes()
    }
    /// Time now.
    pub fn time(&self) -> std::time::Duration {
        self.clock.now()
    }
    /// Control traffic beside the transcript: a message each way.
    pub fn swap(&mut self, mine: &[u8]) -> Result<Vec<u8>> {
        self.peer.send(mine)?;
        self.hear_within(mine.len())
    }
    fn hear_within(&mut self, len: usize) -> Result<Vec<u8>> {
        let start = self.clock.now();
        let theirs = self.peer.recv(len);
        self.now.wait += self.clock.now().saturating_sub(start);
        theirs
    }

    /// Begins a round of `bits` bits each way.
    pub fn round(&mut self, bits: usize) -> Round {
        let bytes = bits.div_ceil(8);
        self.now.bytes += bytes as u64;
        self.now.rounds += 1;
        Round {
            bits,
            bytes,
            mine: Vec::with_capacity(bytes),
            filled: 0,
            sent: 0,
            theirs: Vec::with_capacity(bytes),
            read: 0,
        }
    }
    /// Appends packed bits to this party's message; whole pieces leave.
    pub fn say(&mut self, r: &mut Round, packed: &[u8], bits: usize) -> Result<()> {
        r.append(packed, bits);
        let whole = if r.filled == r.bits { r.bytes } else { r.filled / 8 / PIECE * PIECE };
        while r.sent < whole {
            let piece = &r.mine[r.sent..r.bytes.min(r.sent + PIECE)];
            self.peer.send(piece)?;
            self.said[self.me.index()].update(piece);
            r.sent += piece.len();
        }
        Ok(())
    }
    /// The peer's next `bits` bits; waits for the pieces that hold them.
    pub fn hear<'r>(&mut self, r: &'r mut Round, width: u32, len: usize) -> Result<Packed<'r>> {
        let at = r.read;
        r.read += width as usize * len;
        while r.theirs.len() * 8 < r.read {
            let piece = self.hear_within(PIECE.min(r.bytes - r.theirs.len()))?;
            self.said[self.me.peer().index()].update(&piece);
            r.theirs.extend_from_slice(&piece);
        }
        let first = at / 8;
        Ok(Packed { bytes: (&r.theirs[first..]).into(), at: at - first * 8, width, len })
    }
    /// Says masked bits: this party's shares of them, of these slots.
    pub fn say_bits<B: Backend>(&mut self, r: &mut Round, bits: B::Packet, count: usize) -> Result<()> {
        self.say(r, &bits.wait()?, count)
    }
    /// Opens what was said of `planes` bit vectors.
    pub fn hear_bits<B: Backend>(
        &mut self,
        r: &mut Round,
        dev: &B,
        mine: &BitShare<B>,
        planes: usize,
    ) -> Result<B::Planes> {
        let len = planes * mine.slots.len();
        self.now.opened += len as u64;
        Ok(dev.open(&mine.planes, &self.hear(r, 1, len)?, &mine.slots))
    }
}

impl Round {
    /// Skips the peer's bits up to the next byte.
    pub fn align(&mut self) {
        self.read = self.read.next_multiple_of(8);
    }
    fn append(&mut self, packed: &[u8], bits: usize) {
        let (shift, packed) = (self.filled % 8, &packed[..bits.div_ceil(8)]);
        self.filled += bits;
        debug_assert!(self.filled <= self.bits, "a round says what it announced");
        if shift == 0 {
            self.mine.extend_from_slice(packed);
            return;
        }
        for b in packed {
            if let Some(last) = self.mine.last_mut() {
                *last |= b << shift;
            }
            self.mine.push(b >> (8 - shift));
        }
        self.mine.truncate(self.filled.div_ceil(8));
    }
}
