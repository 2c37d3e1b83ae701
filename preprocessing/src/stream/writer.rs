//! The dealer's side: what the deal of a step puts leaves for both parties, as far as their credit goes.

use super::layout::StepLayout;
use super::{GRANT, HEAD, during, head, next};
use crate::run::{Frame, Released};
use twoply_primitives::{Channel, Error, KeySetId, KeySink, Origin, PartyId, Result, Site};
use zeroize::{Zeroize, Zeroizing};

/// The keys of one key set on their way to both parties, step after step.
pub struct StreamWriter {
    set: KeySetId,
    /// Segment of the next step.
    next: u32,
    /// Whether a step was begun and not finished.
    open: bool,
    parties: [Outlet; 2],
}

impl StreamWriter {
    /// A stream of key set `set` over the channels to P0 and P1. The channels must queue as much as the parties' credit.
    pub fn new(set: KeySetId, channels: [Box<dyn Channel>; 2]) -> Self {
        let [a, b] = channels;
        let outlet = |party, channel| Outlet { party, channel, credit: 0, granted: 0, sent: 0 };
        let parties = [outlet(PartyId::P0, a), outlet(PartyId::P1, b)];
        StreamWriter { set, next: 0, open: false, parties }
    }

    /// Key set and segment of the next step.
    pub fn next(&self) -> Origin {
        Origin { set: self.set, segment: self.next }
    }

    /// Begins the next step, whose segment is one more than the last one's: the dealer's ledger has released it.
    ///
    /// # Errors
    /// [`Error::Keys`] if the step before was not finished, another segment was released, or there is no further one.
    pub fn step<'a>(&'a mut self, released: Released, layout: &'a StepLayout) -> Result<Feeder<'a>> {
        if self.open {
            return Err(Error::Keys(
                "a step of this stream was not dealt to its end: begin another set".into(),
            ));
        }
        let Frame { set, segment: number } = released.frame();
        if self.next() != (Origin { set, segment: number }) {
            let next = self.next;
            let why =
                format!("segment {number} of {set} was released, segment {next} of {} is next", self.set);
            return Err(Error::Keys(why));
        }
        let origin = segment(self.set, &mut self.next)?;
        self.open = true;
        let frames = PartyId::BOTH.map(|party| {
            let mut bytes = Zeroizing::new(Vec::with_capacity(layout.longest(party) as usize));
            bytes.extend_from_slice(&head(origin));
            Outgoing { bytes, link: layout.link(origin, party) }
        });
        Ok(Feeder { stream: self, layout, origin, tiles: 0, group: 0, frames })
    }

    /// Waits until both parties have used everything and ended the stream too; the channels are free then.
    ///
    /// # Errors
    /// [`Error::Keys`] if a step was not finished, and those of the channels.
    pub fn finish(mut self) -> Result<[Box<dyn Channel>; 2]> {
        self.between()?;
        for party in &mut self.parties {
            let rest = party.rest();
            let what = || format!("the end of key set {} at {}", self.set, party.party);
            rest.map_err(during(what))?;
        }
        Ok(self.parties.map(|p| p.channel))
    }

    fn between(&self) -> Result<()> {
        match self.open {
            true => {
                Err(Error::Keys("a step of this stream was not dealt to its end: begin another set".into()))
            }
            false => Ok(()),
        }
    }
}

/// The segment of a stream's next step.
pub(super) fn segment(set: KeySetId, next: &mut u32) -> Result<Origin> {
    let segment = *next;
    if segment == Origin::WEIGHTS {
        return Err(Error::Keys(format!("key set {set} has no further segment")));
    }
    *next += 1;
    Ok(Origin { set, segment })
}

/// The way to one party.
struct Outlet {
    party: PartyId,
    channel: Box<dyn Channel>,
    /// The first grant.
    credit: u64,
    /// Bytes of frames, since the stream began.
    granted: u64,
    sent: u64,
}

impl Outlet {
    fn send(&mut self, frame: &[u8]) -> Result<()> {
        let len = frame.len() as u64;
        while self.granted - self.sent < len {
            self.hear()?;
        }
        self.sent += len;
        self.channel.send(frame)
    }
    fn hear(&mut self) -> Result<()> {
        let mut grant = [0; GRANT];
        grant.copy_from_slice(&self.channel.recv(GRANT)?);
        let granted = u64::from_le_bytes(grant);
        if granted <= self.granted {
            let why = format!("a grant of {granted} bytes behind one of {}", self.granted);
            return Err(Error::Channel(why));
        }
        if self.granted == 0 {
            self.credit = granted;
        }
        self.granted = granted;
        Ok(())
    }
    /// Waits until the party has used everything.
    fn rest(&mut self) -> Result<()> {
        while self.granted == 0 || self.granted < self.credit.saturating_add(self.sent) {
            self.hear()?;
        }
        Ok(())
    }
}

/// The sink of one step. [`Feeder::finish`] ends it; a step that is dropped before ends the stream.
pub struct Feeder<'a> {
    stream: &'a mut StreamWriter,
    layout: &'a StepLayout,
    origin: Origin,
    /// Tiles put so far, of both parties.
    tiles: usize,
    /// Group of the next one.
    group: usize,
    frames: [Outgoing; 2],
}

/// What has to leave for a party next.
struct Outgoing {
    bytes: Zeroizing<Vec<u8>>,
    link: [u8; 32],
}

impl Feeder<'_> {
    /// Key set and segment of the step.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Says to both parties that the step is whole.
    ///
    /// # Errors
    /// [`Error::PlanMismatch`] if tiles are missing, and those of the channels.
    pub fn finish(mut self) -> Result<()> {
        if let Some(group) = self.layout.groups.get(self.group) {
            let at = self.layout.tiles.stored().nth(group.tiles.start).map_or(0, |t| t.1.gate);
            let wanted = self.layout.name(self.tiles);
            return Err(Error::PlanMismatch { at, wanted, found: "the end of the step".into() });
        }
        PartyId::BOTH.into_iter().try_for_each(|party| self.leave(party))?;
        self.stream.open = false;
        Ok(())
    }

    fn leave(&mut self, party: PartyId) -> Result<()> {
        let (frame, outlet) = (&mut self.frames[party.index()], &mut self.stream.parties[party.index()]);

        frame.link = next(&frame.link, &frame.bytes[HEAD..]);
        frame.bytes.extend_from_slice(&frame.link);
        let sent = outlet.send(&frame.bytes);
        frame.bytes[HEAD..].zeroize();
        frame.bytes.truncate(HEAD);
        sent.map_err(during(|| {
            format!("keys for {}, segment {} of {}", outlet.party, self.origin.segment, self.origin.set)
        }))
    }
}

impl KeySink for Feeder<'_> {
    /// Waits for a party that has not used enough of what it was sent.
    fn put(&mut self, name: &'static str, at: Site, tile: usize, bytes: [Vec<u8>; 2]) -> Result<()> {
        let bytes = bytes.map(Zeroizing::new);
        let place = self.layout.tiles.place(0, name, at, tile)?;
        // where nobody stores anything, an empty tile may be put or left out
        let number = place.number.map_or(self.tiles, |n| n as usize);
        let wanted = if place.number.is_some() { self.layout.lengths[number] } else { [0; 2] };
        let found = bytes.each_ref().map(|b| b.len());
        if number != self.tiles || wanted != found {
            let wanted = format!("{}, {wanted:?} bytes", self.layout.name(self.tiles));
            let found = format!("tile {tile} of gate {} ({name}) part {}, {found:?} bytes", at.gate, at.part);
            return Err(Error::PlanMismatch { at: at.gate, wanted, found });
        }
        if place.number.is_none() {
            return Ok(());
        }
        for (frame, bytes) in self.frames.iter_mut().zip(&bytes) {
            frame.bytes.extend_from_slice(bytes);
        }
        self.tiles += 1;
        if self.tiles == self.layout.groups[self.group].tiles.end {
            let stored = self.layout.groups[self.group].bytes;
            self.group += 1;
            for party in PartyId::BOTH.into_iter().filter(|p| stored[p.index()] > 0) {
                self.leave(party)?;
            }
        }
        Ok(())
    }
}
