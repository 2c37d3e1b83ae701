//! The pieces that are noted are those that a device reads: its results follow from these bytes of the streams.

use super::common::random;
use twoply_primitives::backend::{Digit, Fields, Packet, Slots};
use twoply_primitives::bits::read_word;
use twoply_primitives::prg::{Stream, Streams};
use twoply_primitives::{Backend, Cpu, Ring, TILE};

/// Words `from..from + len` of `width` bits each, from the bytes of a stream that hold them and no others.
fn words(stream: Stream, from: usize, len: usize, width: usize) -> Vec<u128> {
    let (first, end) = (from * width / 8, ((from + len) * width).div_ceil(8));
    let bytes = stream.bytes(first, end - first);
    let at = |i: usize| (from + i) * width - first * 8;
    let part = |i: usize, k: usize| read_word(&bytes, at(i) + k, (width - k).min(32) as u32) as u128;
    (0..len).map(|i| (0..width).step_by(32).fold(0, |z, k| z | part(i, k) << k)).collect()
}

fn check<R: Ring>() {
    let (dev, streams, n) = (Cpu::<R>::new(), Streams::from_key(&[3; 16]), R::BITS as usize);
    let stream = streams.field(5);
    let low = |v: Vec<R>| v.iter().map(|v| v.low() as u128).collect::<Vec<_>>();
    let masked = |v: Vec<u128>, bits: u32| v.iter().map(|v| v & ((1 << bits) - 1)).collect::<Vec<_>>();
    assert_eq!(low(dev.expand(stream, 77, 300, 20)), masked(words(stream, 77, 300, n), 20));
    let each = dev.expand_each(&[[3; 16], [4; 16]], 9, 20);
    assert_eq!(low(each[..9].to_vec()), masked(words(streams.field(0), 0, 9, n), 20));
    let slots = Slots { range: TILE..TILE + 300, elements: TILE + 300 };
    let zero = vec![R::ZERO; slots.len()];
    let rest = dev.correction(&zero, stream, &slots, 20).wait().unwrap();
    let rest = (0..slots.len()).map(|i| (1 << 20) - read_word(&rest, 20 * i, 20) as u128).collect();
    assert_eq!(masked(rest, 20), masked(words(stream, TILE, 300, n), 20));
    let bits = dev.bit_fields(Fields::Own(&streams, &[5]), &slots);
    let bits = low(dev.download(&dev.of_bits(&dev.plane(&bits, 0))));
    assert_eq!(bits, words(stream, TILE, 300, 1));
    for bits in 1..=7 {
        let x: Vec<R> = random(1, slots.len()).into_iter().map(R::from_u64).collect();
        let tables = dev.digit_tables(&x, Digit { shift: 3, bits }, stream, &slots).wait().unwrap();
        let width = 1usize << bits;
        for (i, own) in words(stream, TILE, slots.len(), width).into_iter().enumerate() {
            let digit = (x[i].low() >> 3) as usize & (width - 1);
            let found = |k: usize| tables[(i * width + k) / 8] >> ((i * width + k) % 8) & 1;
            let wrong = (0..width).find(|&k| found(k) as u128 ^ (own >> k & 1) != (k == digit) as u128);
            assert_eq!(wrong, None, "{bits} bits, element {i}");
        }
    }
}

#[test]
fn what_is_noted_is_what_the_device_reads() {
    check::<u32>();
    check::<u64>();
}
