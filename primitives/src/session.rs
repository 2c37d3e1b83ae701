//! One party online: who, device, peer, keys. Blocking; everything from outside is passed in.

mod ahead;
mod grow;
mod own;
mod prepared;
mod talk;
mod tile;

use ahead::Ahead;
pub use ahead::Upcoming;
pub(crate) use grow::Target;
pub use own::{Early, Own};
pub use prepared::Prepared;
pub use talk::PIECE;
pub(crate) use talk::{Round, Talk};
use tile::Source;
pub use tile::TileKey;
pub(crate) use tile::groups;

use crate::backend::{Grain, Packet};
use crate::pool;
use crate::prg::Origin;
use crate::{Backend, Channel, Clock, Error, Form, KeySource, Masked, PartyId, Result, Ring, Seed, Share};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Which stored keys a part of a gate uses.
pub(crate) struct Stored {
    /// Name of the gate they were dealt for.
    pub name: &'static str,
    /// Part of the gate.
    pub part: u32,
    /// Widths per party.
    pub fields: [Vec<u32>; 2],
    /// Elements per image.
    pub per_image: usize,
}

/// Runs items wave by wave: `before` hears what the peer has to say of each, `work` computes all of a wave, by as many
/// threads or on a device that goes on by itself, `after` says what came of it. So the peer's pieces of later waves travel
/// while this one computes.
pub(crate) fn in_waves<'a, I: Send, M: Send, T: Send>(
    grain: Grain,
    talk: &mut Talk<'a>,
    items: Vec<I>,
    mut before: impl FnMut(&mut Talk<'a>, &I) -> Result<M>,
    work: impl Fn(I, M) -> Result<T> + Sync,
    mut after: impl FnMut(&mut Talk<'a>, T) -> Result<()>,
) -> Result<()> {
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        let mut wave = Vec::with_capacity(grain.wave);
        for item in items.by_ref().take(grain.wave) {
            let heard = before(talk, &item)?;
            wave.push((item, heard));
        }
        // one group alone stays on this thread: a pool would cost more than it gives
        let done: Result<Vec<T>> = match grain.threads && wave.len() > 1 {
            false => wave.into_iter().map(|(i, m)| work(i, m)).collect(),
            true => pool::each(wave, |(i, m)| work(i, m)),
        };
        done?.into_iter().try_for_each(|t| after(talk, t))?;
    }
    Ok(())
}

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

/// Where the result of a gate goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outlet {
    /// Both parties open it: what is computed may leave for the peer at once.
    Open,
    /// It stays a share: for an owner, or to be opened with others.
    Kept,
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
    keys: Arc<dyn KeySource>,
    pub(crate) talk: Talk<'a>,
    gate: u32,
    outlet: Outlet,
    began: Duration,
    key_bits: AtomicU64,
    stats: Vec<GateStats>,
    coins: Option<Vec<(u32, Vec<u64>)>>,
    prepared: Option<Prepared<B>>,
    ahead: Option<Ahead<B>>,
}

impl<'a, B: Backend> Session<'a, B> {
    /// A session before its first gate.
    pub fn new(s: Setup<'a, B>) -> Self {
        // Parties on other images would open the same garbage: what a run is of belongs to the transcript.
        let images = [s.images.start as u64, s.images.end as u64].map(u64::to_le_bytes);
        let about: [&[u8]; 3] = [&s.origin.set.0, &s.origin.segment.to_le_bytes(), images.as_flattened()];
        Session {
            me: s.me,
            dev: s.dev,
            seed: s.seed,
            origin: s.origin,
            images: s.images,
            keys: s.keys,
            talk: Talk::new(s.me, s.peer, s.clock, &about),
            gate: 0,
            outlet: Outlet::Open,
            began: Duration::ZERO,
            key_bits: AtomicU64::new(0),
            stats: vec![],
            coins: None,
            prepared: None,
            ahead: None,
        }
    }
    /// Images of this run.
    pub fn batch(&self) -> usize {
        self.images.len()
    }
    /// See [`Own::per_image`].
    pub(crate) fn per_image(&self, form: &Form) -> usize {
        self.own().per_image(form)
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
    pub fn begin_gate(&mut self, layer: &str, gate: &'static str, outlet: Outlet) {
        [layer, gate].into_iter().for_each(|name| self.talk.about(name.as_bytes()));
        self.talk.now = GateStats { layer: layer.into(), gate, ..GateStats::default() };
        self.outlet = outlet;
        self.began = self.talk.time();
    }
    /// Ends a gate and moves on to the next number.
    pub fn end_gate(&mut self) {
        let mut now = std::mem::take(&mut self.talk.now);
        now.total = self.talk.time().saturating_sub(self.began);
        now.key_bits = std::mem::take(self.key_bits.get_mut());
        self.stats.push(now);
        self.gate += 1;
    }
    /// Where the result of this gate goes.
    pub(crate) fn outlet(&self) -> Outlet {
        self.outlet
    }
    /// What every gate did so far.
    pub fn stats(&self) -> &[GateStats] {
        &self.stats
    }
    /// Hash of the images, the gates by name and everything both parties said so far; equal on both sides if they ran
    /// the same program on the same images.
    pub fn transcript(&self) -> [u8; 32] {
        self.talk.transcript()
    }

    /// Takes what was computed for images of this segment before the run; what is there for none of its images, or for
    /// another segment, is of no use and does no harm.
    pub fn prepared(&mut self, p: Prepared<B>) {
        self.prepared = Some(p).filter(|p| p.origin() == self.origin);
    }
    /// Says which keys the run will use, in order: a device that keys have to travel to begins to take them. Gates take what
    /// is not among them when they need it.
    pub fn foresee(&mut self, parts: impl FnOnce() -> Result<Vec<Upcoming>>) -> Result<()> {
        if B::GRAIN.ahead > 0 {
            self.ahead = Some(Ahead::new(
                &self.dev,
                &self.keys,
                self.me.index(),
                &self.images,
                (parts()?, self.dev.ahead()),
            ));
        }
        Ok(())
    }
    /// What was prepared of this gate: for how many of the first images, and its results.
    pub(crate) fn ready(&mut self) -> (usize, B::Buf) {
        let nothing = || (0, self.dev.upload(&[]));
        self.prepared.as_mut().map_or_else(nothing, |p| p.take(self.gate, self.images.clone()))
    }
    /// This party's randomness and stored words at this gate.
    pub(crate) fn own(&self) -> Own<'_, B> {
        Own {
            dev: &self.dev,
            me: self.me,
            seed: &self.seed,
            origin: self.origin,
            images: self.images.clone(),
            keys: self.keys.as_ref(),
            gate: self.gate,
        }
    }
    /// Counts the stored words that a gate used, whenever they were read.
    pub(crate) fn used(&self, words: usize, bits: u32) {
        self.key_bits.fetch_add(words as u64 * u64::from(bits), Ordering::Relaxed);
    }
    /// This party's share of the mask that [`crate::Deal::fresh`] drew.
    pub(crate) fn fresh(&self, part: u32, form: &Form) -> B::Buf {
        self.own().fresh(part, form)
    }
    /// This party's share of an input mask, and the keys (one per image) from which the owner derives it.
    pub fn input(&self, form: &Form) -> (B::Buf, Vec<[u8; 16]>) {
        let own = self.own();
        let keys = own.owner_keys();
        (own.input(form), keys)
    }

    /// Runs `work` on this run's slots of one part, a group of tiles at a time, wave by wave, and hands what it gave to
    /// `after`, in order. `work` gets the group's key by value and the run's elements it covers.
    pub(crate) fn tiles<T: Send>(
        &mut self,
        at: &Stored,
        work: impl Fn(TileKey<B>, Range<usize>) -> Result<T> + Sync,
        after: impl FnMut(&mut Talk<'a>, T) -> Result<()>,
    ) -> Result<()> {
        let run = self.images.start * at.per_image..self.images.end * at.per_image;
        let fields = &at.fields[self.me.index()];
        let mine: u64 = fields.iter().map(|&w| w as u64).sum();
        self.key_bits.fetch_add(mine * run.len() as u64, Ordering::Relaxed);
        let source = Source { ahead: self.ahead.as_ref(), ..self.own().source(&self.dev, at.part, fields) };
        let keys = self.keys.as_ref();
        let one = |slots: Range<usize>, ()| {
            let key = source.key(at.name, slots.clone(), keys)?;
            work(key, slots.start - run.start..slots.end - run.start)
        };
        in_waves(B::GRAIN, &mut self.talk, groups::<B>(&run), |_, _| Ok(()), one, after)
    }

    /// The keys of a part in which every image has `per_image` elements, group by group with the run's elements they cover:
    /// for benchmarks of a comparison alone.
    pub fn keys(
        &self,
        name: &'static str,
        part: u32,
        fields: &[Vec<u32>; 2],
        per_image: usize,
    ) -> Result<Vec<(TileKey<B>, Range<usize>)>> {
        let run = self.images.start * per_image..self.images.end * per_image;
        let source = self.own().source(&self.dev, part, &fields[self.me.index()]);
        let key = |slots: Range<usize>| {
            let key = source.key(name, slots.clone(), self.keys.as_ref())?;
            Ok((key, slots.start - run.start..slots.end - run.start))
        };
        groups::<B>(&run).into_iter().map(key).collect()
    }

    /// Opens a gate's result: the only way from a share to a value both parties hold.
    pub fn open(&mut self, s: Share<B>) -> Result<Masked<B>> {
        let mut all = self.open_together(vec![s])?;
        all.pop().ok_or_else(|| Error::shape("open", "nothing to open"))
    }
    /// Opens several shares in one message: results of gates that do not depend on each other.
    pub fn open_together(&mut self, mut shares: Vec<Share<B>>) -> Result<Vec<Masked<B>>> {
        let mut round = match &mut shares[..] {
            [s] if s.begun.is_some() => s.begun.take(),
            _ => None,
        };
        if round.is_none() {
            let bytes: u64 = shares.iter().map(|s| s.form.packed_bytes()).sum();
            let mut r = self.talk.round(bytes as usize * 8);
            for s in &shares {
                let packed = self.dev.pack(&s.buf, s.form.bits).wait()?;
                self.talk.say(&mut r, &packed, packed.len() * 8)?;
            }
            round = Some(r);
        }
        let Some(mut round) = round else { return Err(Error::shape("open", "nothing to open")) };
        let mut out = Vec::with_capacity(shares.len());
        for Share { form, mut buf, mask, .. } in shares {
            for from in (0..form.len()).step_by(B::GRAIN.opened) {
                let len = B::GRAIN.opened.min(form.len() - from);
                let theirs = self.talk.hear(&mut round, form.bits, len)?;
                self.dev.add_packed(&mut buf, from, &theirs);
            }
            round.align();
            self.talk.now.opened += form.len() as u64;
            out.push(Masked::new(form, buf, mask));
        }
        Ok(out)
    }
    /// A result for its owner, unopened: `s_b - [r_out]_b`, packed at the width of the wire. To be sent to the owner
    /// over this party's own channel, never through the peer.
    pub fn for_owner(&mut self, s: Share<B>) -> Result<Vec<u8>> {
        debug_assert!(s.begun.is_none(), "an owner's result does not leave for the peer");
        let minus = B::Ring::ZERO.sub(B::Ring::ONE);
        self.talk.now.to_owner += s.form.len() as u64;
        let clear = self.dev.lin(&[(B::Ring::ONE, &s.buf), (minus, &s.mask)], s.form.bits);
        self.dev.pack(&clear, s.form.bits).wait()
    }
    /// An open wire for its owner: P0 adds the public value, so the owner's sum is the value itself.
    pub fn deliver(&mut self, x: Masked<B>) -> Result<Vec<u8>> {
        self.talk.now.to_owner += x.form.len() as u64;
        x.for_owner(&self.dev, self.me)
    }
    /// Reveals a masked wire to both parties: the one deliberate disclosure. Not used by inference.
    pub fn reveal(&mut self, x: Masked<B>) -> Result<Vec<B::Ring>> {
        let (len, bits) = (x.form.len(), x.form.bits);
        let mut round = self.talk.round(len * bits as usize);
        self.talk.say(&mut round, &self.dev.pack(&x.share, bits).wait()?, len * bits as usize)?;
        let minus = B::Ring::ZERO.sub(B::Ring::ONE);
        let other = self.dev.unpack(&self.talk.hear(&mut round, bits, len)?);
        let clear = self.dev.lin(&[(B::Ring::ONE, &x.value), (minus, &x.share), (minus, &other)], bits);
        let clear = self.dev.download(&clear);
        self.dev.health().map(|()| clear)
    }
    /// Tells the peer whether this party has its input, which half of which segment it runs on, and the digest of the
    /// masked input; hears the same.
    ///
    /// A party without its input must not leave the peer waiting in the middle of a gate, halves of different deals must
    /// not be mixed, and an owner may not give the two parties different inputs. Control traffic, before the first gate: not
    /// part of any bill. Parties that have agreed beforehand, as over a network, call [`Session::input_is`] alone.
    pub fn agree(&mut self, mine: std::result::Result<[u8; 32], String>, half: [u8; 16]) -> Result<()> {
        let digest = mine.as_ref().map_or([0; 32], |digest| *digest);
        let message = [&[mine.is_ok() as u8], &half[..], &digest[..]].concat();
        let theirs = self.talk.swap(&message)?;
        mine.map_err(Error::Owner)?;
        if theirs[0] == 0 {
            return Err(Error::Owner("the other party did not receive it".into()));
        }
        if theirs[1..17] != half {
            return Err(Error::Integrity(
                "the parties' key files of this segment come from different deals".into(),
            ));
        }
        if theirs != message {
            return Err(Error::Owner("it sent the two parties different masked inputs".into()));
        }
        self.input_is(&digest);
        Ok(())
    }
    /// Enters the digest of the masked input into the transcript: parties on different inputs differ from here on.
    pub fn input_is(&mut self, digest: &[u8; 32]) {
        self.talk.about(digest);
    }
    /// Compares transcripts with the peer.
    pub fn finish(&mut self) -> Result<()> {
        let mine = self.transcript();
        if self.talk.swap(&mine)? != mine {
            return Err(Error::Transcript { at: self.gate });
        }
        Ok(())
    }
}
