//! Emulated links between two endpoints of one process: what goes in comes out, in order and never too early, and
//! links end as real ones do.

use std::time::{Duration, Instant};

use crate::common::{self, SOON, limits};
use twoply_party::exit::ExitCode;
use twoply_party::transport::{Detail, Error, Limits, Reason, Shape};
use twoply_primitives::{Channel, Error as ChannelError};

fn pair(link: &str) -> common::Pair {
    pair_with(link, limits())
}

fn pair_with(link: &str, limits: Limits) -> common::Pair {
    let link: Shape = link.parse().unwrap();
    common::pair_with(Limits { link, ..limits }, common::named(module_path!()))
}

#[test]
fn what_goes_in_comes_out_in_order() {
    let (_ends, mut zero, mut one) = pair("rtt=10ms,rate=400mbit");
    let bytes = |seed: u32| -> Vec<u8> { (0..40_000 * seed).map(|i| ((i * seed) >> 8) as u8).collect() };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for seed in 0..12 {
                zero.send(&bytes(seed)).unwrap();
                zero.send_message(&seed).unwrap();
            }
            assert_eq!(zero.recv(4).unwrap(), b"done");
        });
        for seed in 0..12 {
            assert!(one.recv(40_000 * seed as usize).unwrap() == bytes(seed), "{seed}");
            assert_eq!(one.recv_message::<u32>().unwrap(), seed);
        }
        one.send(b"done").unwrap();
    });
    assert_eq!(zero.traffic().sent, one.traffic().received);
}

#[test]
fn no_message_arrives_early() {
    let (_ends, mut zero, mut one) = pair("rtt=60ms,rate=80mbit");
    for _ in 0..3 {
        // 10 MB/s: 300 kB take 30 ms to leave, and 30 ms to arrive.
        let start = Instant::now();
        zero.send(&[1; 100_000]).unwrap();
        zero.send(&[2; 200_000]).unwrap();
        one.recv(100_000).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(10 + 30));
        one.recv(200_000).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(30 + 30));
        one.send(b"x").unwrap();
        zero.recv(1).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(30 + 60));
    }
}

#[test]
fn both_sides_may_send_64_mb_first() {
    for inbox in [64 << 20, 1 << 16] {
        let (_ends, mut zero, mut one) = pair_with("dc", Limits { inbox, ..limits() });
        std::thread::scope(|scope| {
            scope.spawn(move || {
                zero.send(&vec![1; 64 << 20]).unwrap();
                assert!(zero.recv(64 << 20).unwrap() == vec![2; 64 << 20]);
                zero.close(SOON).unwrap();
            });
            one.send(&vec![2; 64 << 20]).unwrap();
            assert!(one.recv(64 << 20).unwrap() == vec![1; 64 << 20]);
            one.close(SOON).unwrap();
        });
    }
}

#[test]
fn a_message_on_its_way_is_no_reason_to_give_up_the_link() {
    let (_ends, mut zero, mut one) = pair("rtt=400ms");
    one.send(b"late").unwrap();
    zero.set_patience(Duration::from_millis(20));
    assert!(matches!(zero.recv(4), Err(ChannelError::Channel(_))));
    assert!(zero.fault().is_none());
    zero.set_patience(SOON);
    assert_eq!(zero.recv(4).unwrap(), b"late");
}

#[test]
fn closing_waits_for_what_is_on_its_way() {
    let ((caller, _listener), mut zero, mut one) = pair("rtt=100ms,rate=100mbit");
    let start = Instant::now();
    zero.send(&vec![5; 5_000_000]).unwrap();
    zero.close(SOON).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(400 + 50));
    drop(caller);
    assert!(one.recv(5_000_000).unwrap().iter().all(|&b| b == 5));
    let error = one.recv(1).unwrap_err();
    assert!(error.to_string().contains("closed the link"), "{error}");
    one.close(SOON).unwrap();
}

#[test]
fn an_abort_comes_behind_what_was_sent_before_it() {
    let (_ends, mut zero, one) = pair("rtt=100ms");
    let mut one = one;
    one.send(b"last words").unwrap();
    one.abort(Reason::Failed(ExitCode::Device), Detail::None);
    assert_eq!(zero.recv(10).unwrap(), b"last words");
    assert!(matches!(zero.recv(1), Err(ChannelError::PeerFailed { .. })));
}

/// What is held back must not keep an abort from the peer.
#[test]
fn an_abort_does_not_wait_for_a_slow_link() {
    let (_ends, mut zero, mut one) = pair("rate=4mbit");
    one.send(&vec![0; 50 << 20]).unwrap();
    one.abort(Reason::Interrupted, Detail::None);
    assert!(matches!(zero.recv(50 << 20), Err(ChannelError::PeerFailed { .. })));
}

#[test]
fn what_is_held_back_counts_as_queued() {
    let (_ends, mut zero, _one) = pair_with("rate=4mbit", Limits { outbox: 4 << 20, ..limits() });
    let mut results = (0..100).map(|_| zero.send(&[0; 1 << 20]));
    assert!(results.any(|result| result.is_err()));
    assert!(matches!(zero.fault(), Some(Error::Stuck { .. })));
}

#[test]
fn a_file_waits_for_the_link() {
    let (_ends, mut zero, mut one) = pair("rtt=20ms,rate=800mbit");
    let bytes: Vec<u8> = (0..20_000_123u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let length = bytes.len() as u64;
    std::thread::scope(|scope| {
        scope.spawn(|| zero.send_file(&mut &bytes[..], length, |_| {}).unwrap());
        let mut received = Vec::new();
        one.recv_to_file(&mut received, length, |_| {}).unwrap();
        assert!(received == bytes);
    });
}

#[test]
fn a_peer_that_goes_away_ends_an_emulated_link() {
    let ((caller, listener), mut zero, one) = pair("slow");
    zero.send(&vec![0; 10 << 20]).unwrap();
    std::mem::forget(one);
    drop(listener);
    assert!(zero.recv(8).is_err());
    assert!(zero.send(b"x").is_err());
    drop(caller);
}
