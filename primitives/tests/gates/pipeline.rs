//! What a gate has to say leaves while the rest of it is still computed, and the bill stays the same.

use crate::common::{Store, deal, seeds, session};
use std::sync::{Arc, Mutex};
use twoply_primitives::channel::pair;
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::{Mode, Relu, Truncate};
use twoply_primitives::session::PIECE;
use twoply_primitives::{Channel, Form, Gate, KeySource, PartyId, Result, Ring, Site, TILE, TileBytes};

/// What a party did, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Tile(usize),
    Sent(usize),
}

type Log = Arc<Mutex<Vec<Step>>>;

struct Keys(Arc<dyn KeySource>, Log);

impl KeySource for Keys {
    fn tile(&self, name: &'static str, at: Site, tile: usize) -> Result<TileBytes> {
        self.1.lock().unwrap().push(Step::Tile(tile));
        self.0.tile(name, at, tile)
    }
    fn elements(&self, at: Site) -> Result<usize> {
        self.0.elements(at)
    }
}

struct Wire<C>(C, Log);

impl<C: Channel> Channel for Wire<C> {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.1.lock().unwrap().push(Step::Sent(bytes.len()));
        self.0.send(bytes)
    }
    fn recv(&mut self, len: usize) -> Result<Vec<u8>> {
        self.0.recv(len)
    }
}

/// P1's steps while both run `gate` on 20 tiles.
fn steps<R: Ring, G: Gate>(gate: &G, bits: u32) -> Vec<Step> {
    let dealt = deal::<R, G>(gate, &[Form::new([1, 20 * TILE - 3], bits)], 4);
    let values = [dealt.operands[0].hide(&[R::ONE].repeat(20 * TILE - 3))];
    let (a, b) = pair();
    let log = Log::default();
    let store: &Store = &dealt.store;
    std::thread::scope(|scope| {
        for (me, end) in [(PartyId::P0, a), (PartyId::P1, b)] {
            let (dealt, values, log) =
                (&dealt, &values, if me.is_p0() { Log::default() } else { log.clone() });
            let keys = Arc::new(Keys(store.side(me), log.clone()));
            scope.spawn(move || {
                let mut peer = Wire(end, log);
                dealt.program(
                    gate,
                    values,
                    &mut session(me, seeds(4)[me.index()].clone(), 1, &mut peer, keys),
                )
            });
        }
    });
    log.lock().unwrap().clone()
}

fn at(steps: &[Step], what: Step) -> usize {
    steps.iter().position(|s| *s == what).unwrap_or_else(|| panic!("no {what:?} in {steps:?}"))
}

#[test]
fn a_result_leaves_before_its_last_tile_is_read() {
    let steps = steps::<u32, _>(&Truncate { cut: 12, mode: Mode::PublicCoin }, 32);
    assert!(at(&steps, Step::Sent(PIECE)) < at(&steps, Step::Tile(19)), "{steps:?}");
    let sent: usize = steps.iter().filter_map(|s| if let Step::Sent(n) = s { Some(n) } else { None }).sum();
    assert_eq!(sent, (20 * TILE - 3) * 4 + 32, "the result and the transcript, not a byte more");
}

#[test]
fn a_comparison_speaks_before_its_last_tile_is_read() {
    let steps = steps::<u32, _>(&Relu { scheme: Scheme::Digits, shift: 0, out: 32 }, 20);
    assert!(at(&steps, Step::Sent(PIECE)) < at(&steps, Step::Tile(19)), "{steps:?}");
}
