//! On a device that keys have to travel to: a GPU, or the stand-in of `tests/cuda/`.

use super::*;
use crate::backend::cuda::tests::gpu;
use crate::backend::{Cuda, Field, Place, Slots, Stored};
use crate::{Error, PartyId, TILE, TileBytes};
use std::time::Duration;

type Dev = Cuda<u32>;

/// Elements of a group.
const GROUP: usize = Dev::GRAIN.tiles * TILE;

/// One field of 8 bits per element, the number of its gate; gate 9 has none.
struct Numbers;

impl KeySource for Numbers {
    fn tile(&self, _: &'static str, at: Site, _: usize) -> Result<TileBytes> {
        match at.gate {
            9 => Err(Error::Keys("gate 9".into())),
            gate => Ok(Arc::new(vec![gate as u8; TILE])),
        }
    }
    fn elements(&self, _: Site) -> Result<usize> {
        Ok(2 * GROUP)
    }
}

fn site(gate: u32) -> Site {
    Site { gate, part: 0 }
}

/// Keys of these gates, two groups each, at most `most` bytes ahead.
fn ahead(dev: &Dev, gates: &[u32], most: usize) -> Ahead<Dev> {
    let part = |&gate: &u32| Upcoming {
        site: site(gate),
        name: "numbers",
        fields: [vec![8], vec![]],
        per_image: GROUP,
    };
    let keys: Arc<dyn KeySource> = Arc::new(Numbers);
    Ahead::new(dev, &keys, PartyId::P0.index(), &(0..2), (gates.iter().map(part).collect(), most))
}

/// What the keys of a group hold.
fn number(dev: &Dev, keys: &<Dev as Backend>::Keys, range: Range<usize>) -> u32 {
    let slots = Slots { range, elements: 2 * GROUP };
    let at = Place::new(&[8], 0, slots.elements);
    let words = dev.download(&dev.word(Field::Stored(Stored { keys, at }), &slots, 8));
    assert!(words.iter().all(|w| *w == words[0]));
    words[0]
}

#[test]
fn keys_come_in_order_and_what_is_skipped_is_let_go() {
    let Some(dev) = gpu::<u32>() else { return };
    for most in [1, GROUP, 1 << 30] {
        let ahead = ahead(&dev, &[1, 2, 3, 4], most);
        let take = |gate: u32, group: usize| {
            let range = group * GROUP..(group + 1) * GROUP;
            ahead.take(site(gate), &range).map(|keys| number(&dev, &keys.unwrap(), range))
        };
        assert_eq!([take(1, 0), take(1, 1)], [Some(1); 2]);
        assert_eq!(take(3, 1), Some(3), "gate 2 was skipped");
        assert_eq!([take(2, 0), take(3, 1), take(7, 0)], [None; 3], "gone, taken, never foreseen");
        assert!(ahead.take(site(4), &(0..1)).is_none(), "another range");
        assert_eq!(take(4, 0), Some(4));
    }
    dev.finish().unwrap();
}

#[test]
fn an_error_reaches_the_gate_it_belongs_to() {
    let Some(dev) = gpu::<u32>() else { return };
    let ahead = ahead(&dev, &[1, 9, 2], 1 << 30);
    assert!(ahead.take(site(1), &(0..GROUP)).unwrap().is_ok());
    let refused = ahead.take(site(9), &(0..GROUP)).unwrap().err().unwrap();
    assert!(refused.to_string().contains("gate 9"));
    assert!(ahead.take(site(2), &(0..GROUP)).unwrap().is_ok());
}

#[test]
fn a_run_that_ends_early_does_not_wait_for_its_keys() {
    let Some(dev) = gpu::<u32>() else { return };
    let ahead = ahead(&dev, &[1, 2, 3], 1);
    // the thread waits for room by now, or will find that nobody wants more
    std::thread::sleep(Duration::from_millis(20));
    drop(ahead);
    dev.finish().unwrap();
}
