//! A party whose device breaks says so to everyone who waits for it, ends with 13, and does not panic.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::thread::{JoinHandle, spawn};
use twoply_party::exit::{ExitCode, Failure};
use twoply_party::serve::{Config, Served, Setup, serve};
use twoply_party::transport::{Shape, Transport};
use twoply_primitives::PartyId;
use twoply_tests::brittle::{BROKEN, Brittle};
use twoply_tests::model::PLAIN;
use twoply_tests::{Ended, Pair, Proc, SOON, World};

type Here = JoinHandle<Result<Served, Failure>>;

/// Nobody stops the party.
static STOP: AtomicBool = AtomicBool::new(false);

/// P0 of a world in this process, on `device`; where it listens.
fn party(world: &World, device: &Brittle) -> (Here, String) {
    let key = |home: usize| world.keys[home].parse().unwrap();
    let config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        peer: key(1),
        peer_address: None,
        transport: Transport::default(),
        link: Shape::default(),
        clients: vec![key(3)],
        owners: vec![key(2)],
        labels_only: false,
        patience: Some(SOON),
        images_per_client: None,
        record_coins: None,
        record_control: None,
    };
    let (plan, keys) = (world.plan.clone(), PathBuf::from(world.path("keys/p0")));
    let (identity, device) = (world.identity("p0"), device.clone());
    let runs = keys.join("runs");
    let setup = Setup { me: PartyId::P0, plan, keys, runs, identity, insecure_test_seed: false, config };
    let (tell, said) = channel();
    let run = move || {
        let say = |text: &str| drop(tell.send(text.to_owned()));
        serve(setup, device, &STOP, &say)
    };
    let thread = spawn(run);
    let line = said.recv_timeout(SOON).unwrap();
    let address = line.split(" listens on ").nth(1).and_then(|rest| rest.split(' ').next());
    (thread, address.unwrap().to_owned())
}

/// What both parties and the owner of a call say after P0's device broke in it. P1 waits for P0 to come back.
fn broke(here: Here, owner: &Ended, p1: Proc) {
    p1.terminate();
    let ended = [owner, &p1.wait(SOON)];
    let failure = here.join().expect("no panic").expect_err("its device is broken");
    assert_eq!(failure.code(), ExitCode::Device);
    let content = failure.content();
    assert_eq!((&content.what[..], &content.remedy[..]), (BROKEN, "restart the machine"));
    for (other, code) in ended.into_iter().zip([14, 0]) {
        other.is(code);
        other.says(&["device (exit 13)"]);
        assert!(!other.err.contains(BROKEN), "no text of one side on the other's terminal: {}", other.err);
    }
}

/// A world with keys, whose P0 computes on a device that may break.
fn brittle() -> (World, Brittle, Here, Pair) {
    let (world, device) = (World::dealt(PLAIN, 4, 4), Brittle::new());
    let (here, address) = party(&world, &device);
    let (p1, p1_address) = world.party(1, &address, &[]);
    (world, device, here, Pair { procs: vec![p1], addresses: vec![address, p1_address] })
}

#[test]
fn in_a_run() {
    for packets in [0, 1, 5] {
        let (world, device, here, mut pair) = brittle();
        world.provision(&pair, &[]).is(0);
        world.infer_right(&pair, 0..2);
        device.break_after(packets);
        let owner = world.infer(&pair, 2..4);
        broke(here, &owner, pair.procs.remove(0));
    }
}

#[test]
fn while_weights_are_taken() {
    let (world, device, here, mut pair) = brittle();
    device.break_after(0);
    let owner = world.provision(&pair, &[]);
    broke(here, &owner, pair.procs.remove(0));
}
