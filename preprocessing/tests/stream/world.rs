//! A stream of keys whose dealer and parties are in one process.
#![allow(dead_code)] // each test binary uses a part

use crate::common::*;
pub use crate::released::released;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;
use twoply_preprocessing::{Feed, Feeder, Layout, StepLayout, StreamReader, StreamWriter};
use twoply_primitives::PartyId::P1;
use twoply_primitives::channel::{Loopback, pair};
use twoply_primitives::{Channel, KeySetId, KeySource, PartyId, Result, Site};

pub const SET: KeySetId = KeySetId([5; 16]);
/// As many elements as this many images of the other tests have: 15 tiles of 66 or 70 KB in the second gate.
pub const IMAGES: usize = 40;
pub const PLENTY: u64 = 1 << 30;
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn planned(change: impl Fn(&mut Layout)) -> Arc<StepLayout> {
    let mut layout = layout();
    let parts = layout.gates.iter_mut().flat_map(|g| &mut g.parts);
    parts.for_each(|p| p.elements *= IMAGES);
    change(&mut layout);
    Arc::new(StepLayout::new(&layout).unwrap())
}

pub fn step() -> Arc<StepLayout> {
    planned(|_| ())
}

/// Begins the next step, which is released.
pub fn begin<'a>(writer: &'a mut StreamWriter, layout: &'a StepLayout) -> Result<Feeder<'a>> {
    let next = writer.next();
    writer.step(released(next.set, next.segment + 1).pop().unwrap(), layout)
}

/// Deals the next step.
pub fn deal(writer: &mut StreamWriter, layout: &StepLayout) -> Result<()> {
    let mut feeder = begin(writer, layout)?;
    let segment = feeder.origin().segment;
    fill(&mut feeder, segment, IMAGES)?;
    feeder.finish()
}

pub type Asked = (&'static str, Site, usize, [usize; 2]);

/// Asks for a tile and compares it with what was dealt.
pub fn take(feed: &Feed, party: PartyId, (name, at, tile, len): Asked) -> Result<u64> {
    let bytes = feed.tile(name, at, tile)?;
    let wanted = content(feed.origin().segment, party.index(), at, tile, len[party.index()]);
    assert!((*bytes).as_ref() == wanted, "{name} {at:?} {tile}");
    Ok(wanted.len() as u64)
}

pub fn take_all(feed: &Feed, party: PartyId) -> Result<()> {
    tiles(IMAGES).into_iter().try_for_each(|t| take(feed, party, t).map(|_| ()))?;
    feed.finish()
}

/// A channel whose messages pass through a hand that may alter, keep or add some.
pub struct Hand<F>(Loopback, usize, F);

impl<F: FnMut(usize, Vec<u8>) -> Vec<Vec<u8>> + Send> Channel for Hand<F> {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.1 += 1;
        (self.2)(self.1 - 1, bytes.to_vec()).iter().try_for_each(|m| self.0.send(m))
    }
    fn recv(&mut self, len: usize) -> Result<Vec<u8>> {
        self.0.recv(len)
    }
}

/// Says how many bytes were sent, and when a grant is waited for.
pub struct Watched(pub Loopback, pub Arc<AtomicU64>, pub Sender<()>);

impl Channel for Watched {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.1.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        self.0.send(bytes)
    }
    fn recv(&mut self, len: usize) -> Result<Vec<u8>> {
        let _ = self.2.send(());
        self.0.recv(len)
    }
}

/// A stream of which P1 alone listens.
pub fn stream(
    hand: impl FnMut(usize, Vec<u8>) -> Vec<Vec<u8>> + Send + 'static,
) -> (StreamWriter, StreamReader) {
    stream_with(PLENTY, hand)
}

pub fn stream_with(
    credit: u64,
    hand: impl FnMut(usize, Vec<u8>) -> Vec<Vec<u8>> + Send + 'static,
) -> (StreamWriter, StreamReader) {
    let (a, (b, end)) = (sink(), pair());
    let writer = StreamWriter::new(SET, [a, Box::new(Hand(b, 0, hand))]);
    (writer, StreamReader::start(Box::new(end), SET, P1, credit, PATIENCE).unwrap())
}

/// A party with boundless credit that uses everything at once.
pub fn sink() -> Box<dyn Channel> {
    struct Sink(u64, Option<u64>);
    impl Channel for Sink {
        fn send(&mut self, bytes: &[u8]) -> Result<()> {
            self.0 += bytes.len() as u64;
            Ok(())
        }
        fn recv(&mut self, _: usize) -> Result<Vec<u8>> {
            let grant = self.1.take().unwrap_or(PLENTY + self.0);
            Ok(grant.to_le_bytes().to_vec())
        }
    }
    Box::new(Sink(0, Some(PLENTY)))
}

/// Why the first tile of the second gate does not come.
pub fn refused(feed: &Feed) -> String {
    feed.tile("relu", Site { gate: 1, part: 0 }, 0).map(|_| ()).unwrap_err().to_string()
}
