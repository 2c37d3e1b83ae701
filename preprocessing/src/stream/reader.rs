//! A party's side, seen from the channel: one thread verifies frames, and grants again what was used.

use super::feed::{Feed, Shared};
use super::layout::StepLayout;
use super::writer::segment;
use super::{FRAMING, HEAD, during, head, next};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use twoply_primitives::{Channel, Error, KeySetId, Origin, PartyId, Result};
use zeroize::Zeroizing;

/// Credit and everything that was ever used add up to less than 2^64: no stream is 2^63 bytes long.
const MOST_CREDIT: u64 = 1 << 62;

/// The keys of one key set on their way from the dealer, step after step.
///
/// [`StreamReader::finish`] ends it. Where it is dropped instead, the channel is closed as soon as the steps that were begun have
/// been used, or one of them was given up.
pub struct StreamReader {
    set: KeySetId,
    party: PartyId,
    credit: u64,
    /// Segment of the next step.
    next: u32,
    steps: Sender<(Origin, Arc<StepLayout>)>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    /// What the thread says at its end.
    over: Receiver<Result<Box<dyn Channel>>>,
}

impl StreamReader {
    /// Takes key set `set` from its dealer, of which at most `credit` bytes shall be on their way or here
    /// without having been used. Nothing is granted before the first step begins.
    ///
    /// Where anybody waits, and for `patience` nothing comes and nothing is asked for, the stream fails and names the tile that
    /// nobody asked for, or that the dealer did not give: longer than a run computes from one tile to the next.
    ///
    /// # Errors
    /// [`Error::Local`] if there is no thread to be had; [`Error::Keys`] for a credit above 2^62 bytes.
    pub fn start(
        dealer: Box<dyn Channel>,
        set: KeySetId,
        party: PartyId,
        credit: u64,
        patience: Duration,
    ) -> Result<Self> {
        if credit > MOST_CREDIT {
            return Err(Error::Keys(format!("a credit of {credit} bytes is above 2^62")));
        }
        let ((steps, begun), (says, over)) = (channel(), channel());
        let shared = Arc::new(Shared::new(patience));
        let reader =
            Reader { channel: dealer, party, credit, granted: 0, received: 0, shared: shared.clone() };
        let end = End(shared.clone());
        let work = move || {
            let _end = end;
            // nobody hears it where the stream was dropped
            let _ = says.send(reader.run(&begun));
        };
        let thread = std::thread::Builder::new().name("key stream".into()).spawn(work);
        let thread = thread.map_err(|e| Error::Local(format!("no thread for keys: {e}")))?;
        Ok(StreamReader { set, party, credit, next: 0, steps, shared, thread, over })
    }

    /// Begins the next step, whose segment is one more than the last one's. What the dealer sends of a step is read from then
    /// on, behind that of the steps before, so it is to be begun before these are over.
    ///
    /// # Errors
    /// [`Error::Keys`] if the credit is less than the step's longest frame, or there is no further segment; why the stream
    /// ended.
    pub fn step(&mut self, layout: &Arc<StepLayout>) -> Result<Feed> {
        let longest = layout.longest(self.party);
        if longest > self.credit {
            let why = format!("a step has frames of {longest} bytes, the credit is {}", self.credit);
            return Err(Error::Keys(why));
        }
        if let Some(why) = &self.shared.lock().fault {
            return Err(why.clone());
        }
        let origin = segment(self.set, &mut self.next)?;
        let feed = Feed::new(origin, self.party, layout.clone(), self.shared.clone());
        // if nobody hears it, the feed says why
        let _ = self.steps.send((origin, layout.clone()));
        Ok(feed)
    }

    /// Waits until all steps that were begun have been used, and says so to the dealer; the channel is free then.
    ///
    /// # Errors
    /// Why the stream ended before.
    pub fn finish(self) -> Result<Box<dyn Channel>> {
        drop(self.steps);
        let since = Instant::now();
        // the thread may be held by a channel that waits for ever, so it is not joined
        while let Some(left) = self.shared.patience(since) {
            match self.over.recv_timeout(left) {
                Ok(end) => return end,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                    break;
                }
            }
        }
        let fault = self.shared.lock().fault.clone();
        Err(fault.unwrap_or_else(|| Error::Keys("the stream of keys is over".into())))
    }

    /// Bytes that are here and were not used.
    pub fn ahead(&self) -> u64 {
        self.shared.lock().ahead()
    }

    /// The most bytes that were here at once without having been used.
    pub fn most(&self) -> u64 {
        self.shared.lock().most
    }
}

struct Reader {
    channel: Box<dyn Channel>,
    party: PartyId,
    credit: u64,
    /// Bytes of frames, since the stream began.
    granted: u64,
    received: u64,
    shared: Arc<Shared>,
}

impl Reader {
    fn run(mut self, steps: &Receiver<(Origin, Arc<StepLayout>)>) -> Result<Box<dyn Channel>> {
        let all = steps.iter().try_for_each(|(of, layout)| self.step(of, &layout));
        if let Err(why) = all.and_then(|()| self.rest()) {
            self.shared.fail(why.clone());
            // the first reason stays: this may be the same with more words
            let first = self.shared.lock().fault.clone();
            return Err(first.unwrap_or(why));
        }
        Ok(self.channel)
    }

    fn step(&mut self, of: Origin, layout: &StepLayout) -> Result<()> {
        let mut link = layout.link(of, self.party);
        let groups = layout.frames(self.party).map(|(number, group)| (Some(number), group.tiles.start));
        for (group, first) in groups.chain([(None, layout.lengths.len())]) {
            let tiles = group.map_or(0, |g| layout.groups[g].bytes[self.party.index()]);
            let frame = self.frame(of, tiles, &mut link).map_err(|e| {
                let what = || format!("keys of segment {} of {}, {}", of.segment, of.set, layout.name(first));
                match e {
                    Error::Integrity(why) => Error::Integrity(format!("{}: {why}", what())),
                    e => during(what)(e),
                }
            })?;
            self.shared.came(of.segment, (layout, self.party), group, (frame, HEAD));
        }
        Ok(())
    }

    /// The next frame, verified.
    fn frame(&mut self, of: Origin, tiles: usize, link: &mut [u8; 32]) -> Result<Zeroizing<Vec<u8>>> {
        let len = tiles + FRAMING;
        self.allow(len as u64)?;
        let frame = Zeroizing::new(self.channel.recv(len)?);
        self.received += len as u64;
        if frame[..HEAD] != head(of) {
            let segment = frame[16..HEAD].iter().rev().fold(0u32, |n, b| n << 8 | u32::from(*b));
            let what = match frame[..16] == of.set.0 {
                true => format!("the dealer sent segment {segment}"),
                false => "the dealer sent keys of another set".into(),
            };
            return Err(Error::Integrity(what));
        }
        *link = next(link, &frame[HEAD..HEAD + tiles]);
        if frame[HEAD + tiles..] != link[..] {
            return Err(Error::Integrity("altered on its way, or not what the dealer sends here".into()));
        }
        Ok(frame)
    }

    /// Grants what was used, and waits until the dealer may send `len` bytes.
    fn allow(&mut self, len: u64) -> Result<()> {
        loop {
            let state = self.shared.lock();
            if let Some(why) = &state.fault {
                return Err(why.clone());
            }
            let used = state.used;
            let short = self.granted - self.received < len;
            let more = self.credit + used - self.granted;
            // a grant for every tile would cost more than it gives
            if more > 0 && (short || more >= self.credit / 4) {
                drop(state);
                self.grant(more);
            } else if short {
                drop(self.shared.wait_while(state, |s| s.used == used));
            } else {
                return Ok(());
            }
        }
    }

    /// Waits until everything was used, and grants all of it.
    fn rest(&mut self) -> Result<()> {
        let state = self.shared.wait_while(self.shared.lock(), |s| s.used < self.received);
        if let Some(why) = &state.fault {
            return Err(why.clone());
        }
        drop(state);
        self.grant(self.credit + self.received - self.granted);
        Ok(())
    }

    /// A dealer may have gone behind its last frame, which is still to be read: whether it did is for that to say.
    fn grant(&mut self, more: u64) {
        if more > 0 {
            self.granted += more;
            let _ = self.channel.send(&self.granted.to_le_bytes());
        }
    }
}

/// Whoever waits for tiles hears of the reader's end, however it came.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.fail(Error::Keys("the stream of keys is over".into()));
    }
}
