//! The hello over a real link: both sides name the same first difference, before anything else is sent.

use crate::common::{SOON, pair};
use twoply_party::exit::{ExitCode, Failure, Phase};
use twoply_party::jobs::SetState;
use twoply_party::messages::{Hello, PROTOCOL_VERSION, hello};
use twoply_party::transport::Role;
use twoply_primitives::KeySetId;

fn sample(role: Role) -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        software: "0.1.0".into(),
        role,
        ring_bits: 32,
        fraction_bits: 12,
        comparison: "digits 8".into(),
        truncation: "exact".into(),
        graph: [1; 32],
        plan: [2; 32],
        sets: vec![SetState { key_set: KeySetId([role as u8; 16]), cursor: 6, dealt: 9, weights: [3; 32] }],
        nonce: [role as u8; 32],
    }
}

fn exchange(change: impl FnOnce(&mut Hello)) -> (Result<Hello, Failure>, Result<Hello, Failure>) {
    let (_ends, mut zero, mut one) = pair();
    let mut theirs = sample(Role::P1);
    change(&mut theirs);
    std::thread::scope(|scope| {
        // The links live until both sides are through.
        let other = scope.spawn(|| hello(&mut one, theirs));
        (hello(&mut zero, sample(Role::P0)), other.join().unwrap())
    })
}

#[test]
fn parties_that_agree_learn_each_other_s_key_sets() {
    let (here, there) = exchange(|theirs| theirs.sets[0].cursor = 41);
    assert_eq!(here.unwrap().sets[0].cursor, 41);
    assert_eq!(there.unwrap(), sample(Role::P0));
    let (here, there) = exchange(|theirs| theirs.sets.clear());
    assert_eq!((here.unwrap().sets.len(), there.unwrap().sets.len()), (0, 1));
}

#[test]
fn each_difference_is_named_on_both_sides() {
    type Change = fn(&mut Hello);
    let changes: [(&str, ExitCode, Change); 9] = [
        ("protocol version", ExitCode::Version, |h| h.protocol = PROTOCOL_VERSION + 1),
        ("software version", ExitCode::Version, |h| h.software = "0.2.0".into()),
        ("role", ExitCode::PlanMismatch, |h| h.role = Role::P0),
        ("ring bits", ExitCode::PlanMismatch, |h| h.ring_bits = 64),
        ("fraction bits", ExitCode::PlanMismatch, |h| h.fraction_bits = 10),
        ("comparison", ExitCode::PlanMismatch, |h| h.comparison = "dpf".into()),
        ("truncation", ExitCode::PlanMismatch, |h| h.truncation = "local".into()),
        ("graph", ExitCode::PlanMismatch, |h| h.graph = [9; 32]),
        ("plan", ExitCode::PlanMismatch, |h| h.plan = [9; 32]),
    ];
    for (name, code, change) in changes {
        let (here, there) = exchange(change);
        for failure in [here.unwrap_err(), there.unwrap_err()] {
            assert_eq!(failure.code(), code, "{name}");
            assert_eq!(failure.content().phase, Some(Phase::Hello));
            assert!(failure.content().what.contains(&format!("but {name}: ")), "{failure}");
        }
    }
}

/// One side may stop and drop its link the moment it has seen the difference; the other must still name it.
#[test]
fn a_hasty_peer_does_not_hide_the_difference() {
    for _ in 0..20 {
        let (_ends, mut zero, mut one) = pair();
        let other = std::thread::spawn(move || {
            let failure = hello(&mut one, Hello { graph: [9; 32], ..sample(Role::P1) }).unwrap_err();
            let (reason, detail) = failure.reason();
            one.abort(reason, detail);
        });
        let failure = hello(&mut zero, sample(Role::P0)).unwrap_err();
        assert_eq!(failure.code(), ExitCode::PlanMismatch, "{failure}");
        assert!(failure.to_string().contains("graph"), "{failure}");
        other.join().unwrap();
    }
}

#[test]
fn a_peer_that_speaks_another_first_message_is_another_version() {
    let (_ends, mut zero, mut one) = pair();
    one.send_message(&(200u8, "something newer")).unwrap();
    let failure = hello(&mut zero, sample(Role::P0)).unwrap_err();
    assert_eq!(failure.code(), ExitCode::Version, "{failure}");
    drop(one.close(SOON));
}

#[test]
fn a_peer_that_stops_before_its_hello_is_relayed() {
    let (_ends, mut zero, one) = pair();
    let (reason, detail) = Failure::new(ExitCode::Device, "no GPU").reason();
    one.abort(reason, detail);
    let failure = hello(&mut zero, sample(Role::P0)).unwrap_err();
    assert_eq!(failure.code(), ExitCode::PeerFailed);
    assert!(failure.content().what.contains("device (exit 13)"), "{failure}");
}
