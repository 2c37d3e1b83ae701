//! Links between two endpoints of one process, over real sockets: what goes in comes out, and every way of
//! going wrong ends with an error on both sides.

use std::time::Duration;

use crate::common::{self, SOON, anywhere, identity, limits};
use serde::{Deserialize, Serialize};
use twoply_party::exit::{ExitCode, Failure};
use twoply_party::transport::{Accept, Detail, Dial, Endpoint, Error, Limits, Reason, Role, Transport};
use twoply_primitives::{Channel, Error as ChannelError};

fn via() -> Transport {
    common::named(module_path!())
}

fn pair() -> common::Pair {
    common::pair_with(limits(), via())
}

fn pair_with(limits: Limits) -> common::Pair {
    common::pair_with(limits, via())
}

fn dial(listener: &Endpoint) -> Dial {
    common::dial(listener, via())
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Message {
    V1 { text: String, numbers: Vec<u32> },
}

#[test]
fn data_and_messages_cross_in_order_and_are_counted() {
    let (_ends, mut zero, mut one) = pair();
    assert_eq!((zero.role(), one.role()), (Role::P1, Role::P0));
    assert_eq!((zero.transport(), one.transport()), (via(), via()));
    let message = Message::V1 { text: "hi".into(), numbers: vec![1, 2, 3] };
    zero.send(b"first").unwrap();
    zero.send(b"").unwrap();
    zero.send_message(&message).unwrap();
    zero.send(&[7; 3_000_000]).unwrap();
    assert_eq!(one.recv(5).unwrap(), b"first");
    assert_eq!(one.recv(0).unwrap(), b"");
    assert_eq!(one.recv_message::<Message>().unwrap(), message);
    assert_eq!(one.recv(3_000_000).unwrap(), vec![7; 3_000_000]);
    one.send(b"back").unwrap();
    assert_eq!(zero.recv(4).unwrap(), b"back");
    assert_eq!((zero.traffic().messages_sent, zero.traffic().received), (4, 4));
    assert_eq!(zero.traffic().sent, one.traffic().received);
    assert_eq!(one.traffic().messages_received, 4);
    assert!(zero.last_heard() < SOON);
    std::thread::scope(|scope| {
        scope.spawn(move || zero.close(SOON).unwrap());
        one.close(SOON).unwrap();
    });
}

/// The inbox is far smaller than what is sent: nobody may wait for the other to read.
#[test]
fn both_sides_may_send_64_mb_first() {
    for inbox in [64 << 20, 1 << 16] {
        let (_ends, mut zero, mut one) = pair_with(Limits { inbox, ..limits() });
        let big = |seed: u8| (0..64 << 20).map(|i: u32| (i >> 8) as u8 ^ i as u8 ^ seed).collect::<Vec<u8>>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                zero.send(&big(1)).unwrap();
                assert!(zero.recv(64 << 20).unwrap() == big(2));
                zero.close(SOON).unwrap();
            });
            one.send(&big(2)).unwrap();
            assert!(one.recv(64 << 20).unwrap() == big(1));
            one.close(SOON).unwrap();
        });
    }
}

/// Two threads read a link in turns. Here signs of life are too rare to wake a reader whose bytes the other thread took.
#[test]
fn repro_a_reader_never_sleeps_on_bytes_that_are_here() {
    let rare = Limits { idle: Duration::from_secs(3600), patience: Duration::from_secs(20), ..limits() };
    let (_ends, mut zero, mut one) = pair_with(rare);
    let (question, answer) = (vec![1; 400_000], vec![2; 5_000]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..3_000u64 {
                assert!(one.recv(question.len()).unwrap() == question, "round {round}");
                // sometimes nobody reads for a while
                std::thread::sleep(Duration::from_micros(round % 7 * 10));
                one.send(&answer).unwrap();
            }
        });
        for round in 0..3_000 {
            zero.send(&question).unwrap();
            assert!(zero.recv(answer.len()).unwrap() == answer, "round {round}");
        }
    });
}

#[test]
fn a_file_streams_through_and_a_short_one_fails_here() {
    let (_ends, mut zero, mut one) = pair();
    let bytes: Vec<u8> = (0..20_000_123u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let length = bytes.len() as u64;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = 0;
            zero.send_file(&mut &bytes[..], length, |sent| last = sent).unwrap();
            assert_eq!(last, length);
            let error = zero.send_file(&mut &bytes[..10], 11, |_| {}).unwrap_err();
            assert!(matches!(error, Error::File { .. }), "{error}");
        });
        let mut received = Vec::new();
        let mut calls = 0;
        one.recv_to_file(&mut received, length, |_| calls += 1).unwrap();
        assert!(received == bytes);
        assert_eq!(calls, 20);
    });
    // The peer of a disk that is full.
    zero.send_file(&mut &bytes[..1000], 1000, |_| {}).unwrap();
    let mut small = [0; 10];
    let error = one.recv_to_file(&mut &mut small[..], 1000, |_| {}).unwrap_err();
    assert_eq!(Failure::from(error).code(), ExitCode::System);
}

#[test]
fn a_silent_peer_is_an_error_after_the_deadline_and_the_link_survives() {
    let (_ends, mut zero, mut one) = pair();
    zero.set_patience(Duration::from_millis(50));
    assert!(matches!(zero.recv(4), Err(ChannelError::Channel(_))));
    assert!(zero.fault().is_none());
    one.send(b"late").unwrap();
    zero.set_patience(SOON);
    assert_eq!(zero.recv(4).unwrap(), b"late");
}

#[test]
fn a_message_of_another_length_stops_both_sides() {
    let (_ends, mut zero, mut one) = pair();
    zero.send(&[0; 9]).unwrap();
    let error = one.recv(8).unwrap_err();
    assert!(error.to_string().contains("expected 8 bytes of data, got 9"), "{error}");
    let failure = Failure::on_link(error, &one);
    assert_eq!(failure.code(), ExitCode::PlanMismatch);
    match zero.recv(1).unwrap_err() {
        ChannelError::PeerFailed { reason, .. } => assert_eq!(reason, Reason::OutOfStep.to_string()),
        other => panic!("{other}"),
    }
}

#[test]
fn messages_over_a_cap_are_refused_on_either_side() {
    let (_ends, mut zero, mut one) = pair();
    let long = "x".repeat(70_000);
    assert!(matches!(zero.send_message(&long), Err(Error::TooLong { .. })));
    zero.send_message(&"x".repeat(100)).unwrap();
    let error = one.recv_message_within::<String>(99).unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

#[test]
fn an_abort_reaches_a_waiting_peer_with_its_reason() {
    let (_ends, mut zero, one) = pair();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let error = zero.recv(8).unwrap_err();
            Failure::on_link(error, &zero)
        });
        one.abort(Reason::Failed(ExitCode::KeysMissing), Detail::Gate(12));
        let failure = waiting.join().unwrap();
        assert_eq!(failure.code(), ExitCode::PeerFailed);
        let text = failure.to_string();
        assert!(text.contains("keys missing or short (exit 8) at gate 12"), "{text}");
        assert!(text.contains("twoply deal"), "{text}");
    });
    // And every later call says the same.
    assert!(matches!(zero.send(b"x"), Err(ChannelError::PeerFailed { .. })));
    assert!(matches!(zero.recv(8), Err(ChannelError::PeerFailed { .. })));
}

/// A peer that leaves before it was taken is still asked why.
#[test]
fn a_caller_that_aborts_at_once_is_heard() {
    let (mine, theirs) = (identity(), identity());
    let accept = Accept::these([mine.fingerprint()]);
    let listener = Endpoint::bind_with(theirs, Role::P1, anywhere(), accept, limits()).unwrap();
    let caller = Endpoint::bind_with(mine, Role::P0, None, Accept::nobody(), limits()).unwrap();
    caller.connect(&dial(&listener)).unwrap().abort(Reason::Failed(ExitCode::Config), Detail::None);
    std::thread::sleep(Duration::from_secs(1));
    let mut one = listener.accept(SOON).unwrap();
    assert!(matches!(one.recv(1), Err(ChannelError::PeerFailed { .. })));
}

#[test]
fn what_was_sent_before_an_abort_still_arrives() {
    let (_ends, mut zero, mut one) = pair();
    one.send(b"last words").unwrap();
    one.abort(Reason::Interrupted, Detail::None);
    assert_eq!(zero.recv(10).unwrap(), b"last words");
    assert!(matches!(zero.recv(1), Err(ChannelError::PeerFailed { .. })));
}

/// A queue that does not drain must not keep an abort from the peer.
#[test]
fn an_abort_behind_a_long_queue_arrives_all_the_same() {
    let (_ends, mut zero, mut one) = pair_with(Limits { inbox: 1 << 16, ..limits() });
    one.send(&vec![0; 200 << 20]).unwrap();
    one.abort(Reason::Interrupted, Detail::None);
    // The peer is not reading; it learns when it does, at the latest after what has come so far.
    std::thread::sleep(Duration::from_secs(1));
    let error = zero.recv(200 << 20).unwrap_err();
    assert!(matches!(error, ChannelError::PeerFailed { .. }), "{error}");
}

#[test]
fn a_panic_tells_the_peer() {
    let (_ends, mut zero, one) = pair();
    let thread = std::thread::spawn(move || {
        let _link = one;
        panic!("a mistake, on purpose");
    });
    assert!(thread.join().is_err());
    match zero.recv(8).unwrap_err() {
        ChannelError::PeerFailed { reason, .. } => assert!(reason.contains("internal error"), "{reason}"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_peer_that_goes_away_while_we_wait_is_an_error() {
    let ((caller, listener), mut zero, one) = pair();
    let waiting = std::thread::spawn(move || {
        let _caller = caller;
        zero.recv(8).unwrap_err()
    });
    std::mem::forget(one);
    drop(listener);
    match waiting.join().unwrap() {
        ChannelError::PeerFailed { reason, .. } => assert_eq!(reason, Reason::Interrupted.to_string()),
        other => panic!("{other}"),
    }
}

#[test]
fn our_own_endpoint_going_away_ends_our_links() {
    let ((caller, listener), mut zero, one) = pair();
    drop(caller);
    assert!(zero.recv(8).is_err());
    assert!(zero.send(b"x").is_err());
    assert!(zero.close(SOON).is_err());
    drop((one, listener));
}

#[test]
fn closing_in_order_is_told_apart_from_failing() {
    let (_ends, mut zero, one) = pair();
    one.close(SOON).unwrap();
    let error = zero.recv(1).unwrap_err();
    assert!(error.to_string().contains("closed the link"), "{error}");
    zero.close(SOON).unwrap();
}

#[test]
fn closing_waits_until_the_peer_has_everything() {
    let ((caller, _listener), mut zero, mut one) = pair();
    zero.send(&vec![5; 30 << 20]).unwrap();
    zero.close(SOON).unwrap();
    drop(caller);
    assert!(one.recv(30 << 20).unwrap().iter().all(|&b| b == 5));
    one.close(SOON).unwrap();
}

#[test]
fn a_peer_that_does_not_read_is_noticed() {
    let small = Limits { inbox: 1 << 16, outbox: 40 << 20, ..limits() };
    let (_ends, mut zero, one) = pair_with(small);
    let mut results = (0..100).map(|_| zero.send(&[0; 1 << 20]));
    assert!(results.any(|result| result.is_err()));
    assert!(matches!(zero.fault(), Some(Error::Stuck { .. })));
    drop(one);
}

#[test]
fn nobody_there_is_unreachable_within_the_deadline() {
    let me = Endpoint::bind(identity(), Role::P0, None, Accept::nobody()).unwrap();
    // Sockets that nobody reads: the port is taken, but no one answers. One may be free for UDP alone.
    let both = || {
        let mute = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = mute.local_addr().unwrap();
        Some((mute, std::net::TcpListener::bind(address).ok()?, address.to_string()))
    };
    let (_mute, _deaf, address) = (0..9).find_map(|_| both()).expect("a port");
    let call = Dial::new(address, identity().fingerprint()).within(Duration::from_millis(1500)).over(via());
    for call in [call.clone(), call.once()] {
        let error = me.connect(&call).unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert_eq!(Failure::from(error).code(), ExitCode::Unreachable);
    }
}

#[test]
fn a_peer_that_starts_late_is_reached() {
    let key = identity();
    let me = Endpoint::bind(key.clone(), Role::P0, None, Accept::nobody()).unwrap();
    let late = identity();
    // Reserve a port, then free it for the late listener.
    let address = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let call = Dial::new(address.to_string(), late.fingerprint()).within(SOON).over(via());
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| me.connect(&call));
        std::thread::sleep(Duration::from_millis(1300));
        let accept = Accept::these([key.fingerprint()]);
        let listener = Endpoint::bind(late, Role::P1, Some(address), accept).unwrap();
        let mut theirs = listener.accept(SOON).unwrap();
        let mut mine = calling.join().unwrap().unwrap();
        mine.send(b"x").unwrap();
        assert_eq!(theirs.recv(1).unwrap(), b"x");
    });
}

#[test]
fn a_taken_port_is_named() {
    let first = Endpoint::bind(identity(), Role::P0, anywhere(), Accept::nobody()).unwrap();
    let error = Endpoint::bind(identity(), Role::P1, Some(first.address()), Accept::nobody()).err().unwrap();
    assert_eq!(error, Error::PortInUse { address: first.address() });
    assert_eq!(Failure::from(error).code(), ExitCode::System);
}

#[test]
fn nobody_calling_is_an_error_after_the_deadline() {
    let me = Endpoint::bind(identity(), Role::P0, anywhere(), Accept::nobody()).unwrap();
    assert!(matches!(me.accept(Duration::from_millis(50)), Err(Error::NobodyCame { .. })));
}

#[test]
fn one_listener_serves_many_callers_at_once() {
    let keys: Vec<_> = (0..5).map(|_| identity()).collect();
    let accept = Accept::these(keys.iter().map(|key| key.fingerprint()));
    let listener = Endpoint::bind(identity(), Role::P0, anywhere(), accept).unwrap();
    let call = dial(&listener);
    std::thread::scope(|scope| {
        for key in &keys {
            let call = &call;
            scope.spawn(move || {
                let me = Endpoint::bind(key.clone(), Role::Client, None, Accept::nobody()).unwrap();
                let mut link = me.connect(call).unwrap();
                link.send_message(&key.fingerprint()).unwrap();
                assert_eq!(link.recv_message::<String>().unwrap(), "welcome");
                link.close(SOON).unwrap();
            });
        }
        let mut links: Vec<_> = keys.iter().map(|_| listener.accept(SOON).unwrap()).collect();
        for link in links.iter_mut().rev() {
            let claimed = link.recv_message().unwrap();
            assert_eq!((link.peer(), link.role()), (claimed, Role::Client));
            link.send_message(&"welcome").unwrap();
        }
        for link in links {
            link.close(SOON).unwrap();
        }
    });
}

/// The mechanism behind compute of many seconds: the network thread answers on its own.
#[test]
fn a_busy_program_keeps_its_connection() {
    let quick = Limits { idle: Duration::from_millis(800), ..limits() };
    let (_ends, mut zero, mut one) = pair_with(quick);
    std::thread::sleep(Duration::from_secs(3));
    zero.send(b"still").unwrap();
    assert_eq!(one.recv(5).unwrap(), b"still");
}
