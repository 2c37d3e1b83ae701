//! Figures of the transport on loopback, for information: `TWOPLY_FULL=1 cargo test --release -p twoply-party --test
//! links figures -- --nocapture`; without the variable, few rounds. They assert contents, never times.

use std::time::Instant;

use crate::common::{SOON, pair};
use twoply_primitives::Channel;

fn full() -> bool {
    std::env::var_os("TWOPLY_FULL").is_some()
}

#[test]
fn round_trips_of_8_kb() {
    let rounds = if full() { 5000 } else { 50 };
    let (_ends, mut zero, mut one) = pair();
    let message = vec![3; 8192];
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..rounds {
                let back = one.recv(8192).unwrap();
                one.send(&back).unwrap();
            }
        });
        for _ in 0..rounds {
            let start = Instant::now();
            zero.send(&message).unwrap();
            assert!(zero.recv(8192).unwrap() == message);
            times.push(start.elapsed());
        }
    });
    times.sort();
    eprintln!("8 KB round trip: median {:?}, 90 % {:?}", times[rounds / 2], times[rounds * 9 / 10]);
}

#[test]
fn transfers_of_64_mb() {
    let (_ends, mut zero, mut one) = pair();
    let message = vec![5; 64 << 20];
    for _ in 0..if full() { 5 } else { 1 } {
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| zero.send(&message).unwrap());
            assert!(one.recv(64 << 20).unwrap() == message);
        });
        eprintln!("64 MB one way: {:?}", start.elapsed());
    }
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| zero.send_file(&mut &message[..], 64 << 20, |_| {}).unwrap());
        let mut received = Vec::with_capacity(64 << 20);
        one.recv_to_file(&mut received, 64 << 20, |_| {}).unwrap();
        assert!(received == message);
    });
    eprintln!("64 MB as a file: {:?}", start.elapsed());
    std::thread::scope(|scope| {
        scope.spawn(|| zero.close(SOON));
        one.close(SOON).unwrap();
    });
}
