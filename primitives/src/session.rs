//! One party online: who, device, peer, keys. Blocking; everything from outside is passed in.

mod tile;

pub use tile::TileKey;

use crate::bits::Bits;
use crate::deal::{FRESH, input_share};
use crate::prg::{Field, Origin, Stream, image_key};
use crate::{
    Backend, BitShare, Channel, Clock, Error, Form, KeySource, Masked, PartyId, Result, Ring, Seed, Share,
};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What one gate did, counted while it ran. Traffic and keys are this party's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GateStats {
    /// Layer of the network.
    pub layer: String,
    /// Name of the gate.
    pub gate: &'static str,
    /// Comparisons evaluated.
    pub comparisons: u64,
    /// Key bits consumed.
    pub key_bits: u64,
    /// Payload bytes sent to the other party.
    pub bytes: u64,
    /// Messages in sequence.
    pub rounds: u64,
    /// Values that both parties learnt in masked form.
    pub opened: u64,
    /// Values addressed to an owner.
    pub to_owner: u64,
    /// Time spent waiting for the peer.
    pub wait: Duration,
    /// Time from the gate's begin to its end.
    pub total: Duration,
}

/// What a session is made of.
pub struct Setup<'a, B: Backend> {
    /// Which party this is.
    pub me: PartyId,
    /// The device.
    pub dev: B,
    /// This party's seed of the segment.
    pub seed: Seed,
    /// Key set and segment.
    pub origin: Origin,
    /// Images of the segment that this run spends; reserved on disk by both parties before.
    pub images: Range<usize>,
    /// The other party.
    pub peer: &'a mut dyn Channel,
    /// Key tiles of the segment.
    pub keys: Arc<dyn KeySource>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// One run of one party: some images of one segment through the program.
pub struct Session<'a, B: Backend> {
    /// Which party this is.
    pub me: PartyId,
    /// The device.
    pub dev: B,
    seed: Seed,
    origin: Origin,
    images: Range<usize>,
    peer: &'a mut dyn Channel,
    keys: Arc<dyn KeySource>,
    clock: Arc<dyn Clock>,
    gate: u32,
    now: GateStats,
    began: Duration,
    key_bits: AtomicU64,
    stats: Vec<GateStats>,
    transcript: blake3::Hasher,
    coins: Option<Vec<(u32, Vec<u64>)>>,
}

impl<'a, B: Backend> Session<'a, B> {
    /// A session before its first gate.
    pub fn new(s: Setup<'a, B>) -> Self {
        // Parties on other images would open the same garbage: what a run is of belongs to the transcript.
        let mut transcript = blake3::Hasher::new_derive_key("twoply 2026-11 transcript v1");
        transcript.update(&s.origin.set.0).update(&s.origin.segment.to_le_bytes());
        transcript
            .update(&(s.images.start as u64).to_le_bytes())
            .update(&(s.images.end as u64).to_le_bytes());
        Session {
            me: s.me,
            dev: s.dev,
            seed: s.seed,
            origin: s.origin,
            images: s.images,
            peer: s.peer,
            keys: s.keys,
            clock: s.clock,
            gate: 0,
            now: GateStats::default(),
            began: Duration::ZERO,
            key_bits: AtomicU64::new(0),
            stats: vec![],
            transcript,
            coins: None,
        }
    }
    /// Images of this run.
    pub fn batch(&self) -> usize {
        self.images.len()
    }
    /// Keeps the coins of stochastic roundings from now on (this party's own low bits), for the fixed-point oracle.
    pub fn record_coins(&mut self) {
        self.coins = Some(vec![]);
    }
    /// The coins recorded so far, by gate number.
    pub fn take_coins(&mut self) -> Vec<(u32, Vec<u64>)> {
        self.coins.take().unwrap_or_default()
    }
    pub(crate) fn coin(&mut self, low: impl FnOnce(&B) -> Vec<u64>) {
        let (dev, gate) = (self.dev.clone(), self.gate);
        if let Some(log) = &mut self.coins {
            log.push((gate, low(&dev)));
        }
    }

    /// Starts the clock of a gate, and enters it into the transcript: two gates of one shape in another order open the
    /// same values on both sides, so values alone do not show it.
    pub fn begin_gate(&mut self, layer: &str, gate: &'static str) {
        for name in [layer, gate] {
            self.transcript.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        }
        self.now = GateStats { layer: layer.into(), gate, ..GateStats::default() };
        self.began = self.clock.now();
    }
    /// Ends a gate and moves on to the next number.
    pub fn end_gate(&mut self) {
        self.now.total = self.clock.now().saturating_sub(self.began);
        self.now.key_bits = std::mem::take(self.key_bits.get_mut());
        self.stats.push(std::mem::take(&mut self.now));
        self.gate += 1;
    }
    /// What every gate did so far.
    pub fn stats(&self) -> &[GateStats] {
        &self.stats
    }
    /// Hash of the images, the gates by name and everything opened so far; equal on both sides if they ran the same
    /// program on the same images.
    pub fn transcript(&self) -> [u8; 32] {
        *self.transcript.finalize().as_bytes()
    }

    /// This party's share of the mask that [`crate::Deal::fresh`] drew.
    pub(crate) fn fresh(&self, part: u32, form: &Form) -> B::Buf {
        let at = Field { gate: self.gate, part, field: FRESH };
        let stream = Stream::new(&self.seed, self.origin, at);
        self.dev.expand(&stream, self.images.start * form.shape.row(), form.len(), form.bits)
    }
    /// This party's share of an input mask, and the keys (one per image) from which the owner derives it.
    pub fn input(&self, form: &Form) -> (B::Buf, Vec<[u8; 16]>) {
        let at = Field { gate: self.gate, part: 0, field: FRESH };
        let images = self.images.start as u64..self.images.end as u64;
        let keys = images.clone().map(|i| image_key(&self.seed, self.origin, at, i)).collect();
        (input_share(&self.dev, &self.seed, self.origin, at, images, form), keys)
    }

    /// Runs `f` on this run's slots of every tile of one part, in parallel. `f` gets the tile's key by value and the
    /// run's elements it covers.
    pub(crate) fn tiles<T: Send>(
        &self,
        name: &'static str,
        part: u32,
        fields: &[Vec<u32>; 2],
        per_image: usize,
        f: impl Fn(TileKey<B>, Range<usize>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let run = self.images.start * per_image..self.images.end * per_image;
        let place = tile::Place {
            dev: &self.dev,
            me: self.me,
            seed: &self.seed,
            origin: self.origin,
            site: crate::Site { gate: self.gate, part },
            fields: &fields[self.me.index()],
        };
        let mine: u64 = place.fields.iter().map(|&w| w as u64).sum();
        self.key_bits.fetch_add(mine * run.len() as u64, Ordering::Relaxed);
        let tiles: Vec<usize> = tile::covering(&run).collect();
        let keys = self.keys.as_ref();
        let one = |t: &usize| {
            let (key, slots) = place.tile(name, *t, &run, keys)?;
            f(key, slots.start - run.start..slots.end - run.start)
        };
        tiles.par_iter().map(one).collect()
    }
    pub(crate) fn count_comparisons(&mut self, n: usize) {
        self.now.comparisons += n as u64;
    }

    fn exchange(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.now.bytes += bytes.len() as u64;
        self.now.rounds += 1;
        self.peer.send(bytes)?;
        let start = self.clock.now();
        let theirs = self.peer.recv(bytes.len());
        self.now.wait += self.clock.now().saturating_sub(start);
        theirs
    }

    /// Opens a gate's result: the only way from a share to a value both parties hold.
    pub fn open(&mut self, s: Share<B>) -> Result<Masked<B>> {
        let mut all = self.open_together(vec![s])?;
        all.pop().ok_or_else(|| Error::shape("open", "nothing to open"))
    }
    /// Opens several shares in one message.
    pub(crate) fn open_together(&mut self, shares: Vec<Share<B>>) -> Result<Vec<Masked<B>>> {
        let parts: Vec<Vec<u8>> = shares.iter().map(|s| self.dev.pack(&s.buf, s.form.bits)).collect();
        let theirs = self.exchange(&parts.concat())?;
        let mut from = 0;
        let mut out = Vec::with_capacity(shares.len());
        for (s, mine) in shares.into_iter().zip(&parts) {
            let bytes = &theirs[from..from + mine.len()];
            from += mine.len();
            let packed =
                crate::backend::Packed { bytes: bytes.into(), at: 0, width: s.form.bits, len: s.form.len() };
            let one = B::Ring::ONE;
            let value = self.dev.lin(&[(one, &s.buf), (one, &self.dev.unpack(&packed))], s.form.bits);
            self.transcript.update(&self.dev.pack(&value, s.form.bits));
            self.now.opened += s.form.len() as u64;
            out.push(Masked { form: s.form, value, share: s.mask });
        }
        Ok(out)
    }
    /// Opens masked bits.
    pub(crate) fn open_bits(&mut self, s: BitShare) -> Result<Bits> {
        let theirs = self.exchange(&s.0.to_bytes())?;
        let opened = s.0.xor(&Bits::read(&theirs, 0, s.0.len()));
        self.transcript.update(&opened.to_bytes());
        self.now.opened += opened.len() as u64;
        Ok(opened)
    }
    /// A result for its owner, unopened: `s_b - [r_out]_b`, packed at the width of the wire. To be sent to the owner
    /// over this party's own channel, never through the peer.
    pub fn for_owner(&mut self, s: Share<B>) -> Vec<u8> {
        let minus = B::Ring::ZERO.sub(B::Ring::ONE);
        self.now.to_owner += s.form.len() as u64;
        let clear = self.dev.lin(&[(B::Ring::ONE, &s.buf), (minus, &s.mask)], s.form.bits);
        self.dev.pack(&clear, s.form.bits)
    }
    /// An open wire for its owner: P0 adds the public value, so the owner's sum is the value itself.
    pub fn deliver(&mut self, x: Masked<B>) -> Vec<u8> {
        let buf =
            if self.me.is_p0() { x.value } else { self.dev.lin(&[(B::Ring::ZERO, &x.value)], x.form.bits) };
        self.for_owner(Share { form: x.form, buf, mask: x.share })
    }
    /// Reveals a masked wire to both parties: the one deliberate disclosure. Not used by inference.
    pub fn reveal(&mut self, x: Masked<B>) -> Result<Vec<B::Ring>> {
        let theirs = self.exchange(&self.dev.pack(&x.share, x.form.bits))?;
        let packed =
            crate::backend::Packed { bytes: theirs.into(), at: 0, width: x.form.bits, len: x.form.len() };
        let minus = B::Ring::ZERO.sub(B::Ring::ONE);
        let other = self.dev.unpack(&packed);
        let clear =
            self.dev.lin(&[(B::Ring::ONE, &x.value), (minus, &x.share), (minus, &other)], x.form.bits);
        Ok(self.dev.download(&clear))
    }
    /// Tells the peer whether this party has what it needs, and which half of which segment it runs on; hears the same.
    ///
    /// A party without its input must not leave the peer waiting in the middle of a gate, and halves of different deals
    /// must not be mixed. Control traffic, before the first gate: not part of any bill.
    pub fn agree(&mut self, mine: std::result::Result<(), String>, half: [u8; 16]) -> Result<()> {
        let message = |ok: bool| [&[ok as u8], &half[..]].concat();
        self.peer.send(&message(mine.is_ok()))?;
        let theirs = self.peer.recv(1 + half.len())?;
        mine.map_err(Error::Owner)?;
        if theirs[0] == 0 {
            return Err(Error::Owner("the other party did not receive it".into()));
        }
        if theirs != message(true) {
            return Err(Error::Integrity(
                "the parties' key files of this segment come from different deals".into(),
            ));
        }
        Ok(())
    }
    /// Compares transcripts with the peer.
    pub fn finish(&mut self) -> Result<()> {
        let mine = self.transcript();
        self.peer.send(&mine)?;
        if self.peer.recv(mine.len())? != mine {
            return Err(Error::Transcript { at: self.gate });
        }
        Ok(())
    }
}
