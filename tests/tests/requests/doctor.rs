//! `twoply doctor` against parties that run, that are missing, and that are not what they should be.

use serde_json::Value;
use twoply_nn::Reveal;
use twoply_party::exit::ExitCode;
use twoply_party::identity::Identity;
use twoply_party::jobs::{About, Concern, PROBE_CAP, Probe, Request};
use twoply_party::messages::PROTOCOL_VERSION;
use twoply_party::transport::{Accept, Detail, Dial, Endpoint, Error, Link, Reason, Role};
use twoply_primitives::Channel;
use twoply_tests::model::{Kind, PLAIN};
use twoply_tests::world::Pair;
use twoply_tests::{Ended, Proc, SOON, World, digits};

/// What the doctor says in a home of the world.
fn doctor(world: &World, home: &str, more: &[String]) -> Ended {
    let mut args = ["doctor", "--format", "json", "--patience", "10", "--home"].map(String::from).to_vec();
    args.push(world.path(home));
    args.extend(more.iter().cloned());
    Proc::start("doctor", &args).wait(SOON)
}

fn flags(all: &[&str]) -> Vec<String> {
    all.iter().map(|&text| text.to_owned()).collect()
}

/// The findings with this state: side and point.
fn points(ended: &Ended, state: &str) -> Vec<String> {
    let shown: Value = serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {}", ended.out));
    let all = shown["findings"].as_array().unwrap().clone();
    let name = |f: &Value| format!("{} {}", f["side"].as_str().unwrap(), f["point"].as_str().unwrap());
    for finding in &all {
        assert_eq!(finding["state"] == "failure", finding["code"].is_number(), "{finding}");
        assert_eq!(finding["state"] == "ok", finding["remedy"].is_null(), "{finding}");
    }
    all.iter().filter(|f| f["state"] == state).map(name).collect()
}

/// Ended with this code, because of this point.
fn fails(ended: &Ended, code: i32, point: &str) {
    ended.is(code);
    assert_eq!(points(ended, "failure")[0], point, "{}", ended.out);
    let (side, point) = point.split_once(' ').unwrap();
    ended.says(&[&format!("error: {side}: {point}: ")]);
}

#[test]
fn parties_in_order_are_found_so_and_not_disturbed() {
    let world = World::dealt(PLAIN, 8, 4);
    let pair = world.parties();
    let everything =
        [flags(&["--plan", &world.path("plan.json"), "--listen", "127.0.0.1:0"]), world.places(&pair)]
            .concat();
    for party in &pair.procs {
        party.hear("connected to P", SOON).unwrap();
    }
    let early = doctor(&world, "client", &everything);
    early.is(0);
    assert_eq!(points(&early, "warning"), ["P0 weights", "P1 weights"]);
    world.provision(&pair, &[]).is(0);
    world.infer_right(&pair, 0..3); // then both know what the other one has
    for home in ["client", "owner", "p1"] {
        let ended = doctor(&world, home, &everything);
        ended.is(0);
        assert_eq!(points(&ended, "warning"), Vec::<String>::new(), "{}", ended.out);
        let good = points(&ended, "ok");
        assert_eq!(
            good.contains(&"P1 key".to_owned()),
            home == "p1",
            "P1 is found to be this machine itself"
        );
        for side in if home == "p1" { &["P0"][..] } else { &["P0", "P1"] } {
            for point in ["tcp", "quic", "version", "plan", "weights", "peer", "keys", "concern", "clock"] {
                assert!(good.contains(&format!("{side} {point}")), "{home}: {side} {point}: {good:?}");
            }
        }
    }
    for report in pair.stop() {
        assert_eq!((&report["images_left"], &report["images_burnt"]), (&5.into(), &0.into()));
    }
}

#[test]
fn what_is_wrong_with_a_party_is_named_with_its_side() {
    let world = World::dealt(PLAIN, 8, 4);
    let pair = world.parties();
    let places = world.places(&pair);
    let with = |at: usize, text: &str| {
        let mut places = places.clone();
        places[at] = text.to_owned();
        places
    };
    // Nobody has this port: it was drawn and given back.
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let missing = doctor(&world, "client", &with(5, &closed));
    fails(&missing, 4, "P1 tcp");
    assert!(points(&missing, "ok").contains(&"P0 tcp".to_owned()), "the other one is asked all the same");
    fails(&doctor(&world, "client", &with(3, &world.keys[2])), 5, "P0 tcp");
    fails(&doctor(&world, "client", &with(3, "tp1-nonsense")), 3, "P0 key");
    let swapped = Pair { procs: vec![], addresses: pair.addresses.iter().rev().cloned().collect() };
    fails(&doctor(&world, "client", &world.places(&swapped)), 5, "P0 tcp");
    let only = [&flags(&["--p1"])[..], &places[1..2], &flags(&["--p1-key"]), &places[3..4]].concat();
    fails(&doctor(&world, "client", &only), 6, "P1 tcp");

    std::fs::create_dir(world.path("stranger")).unwrap();
    let key = std::path::PathBuf::from(world.path("stranger")).join("identity.key");
    let stranger = Identity::create(&key).unwrap().fingerprint().to_string();
    let refused = doctor(&world, "stranger", &places);
    fails(&refused, 5, "P0 tcp");
    refused.says(&[&stranger]);
    std::fs::remove_file(key).unwrap();
    let nobody = doctor(&world, "stranger", &places);
    fails(&nobody, 3, "here identity");
    assert_eq!(points(&nobody, "warning"), ["P0 key", "P1 key"]);

    let kind = Kind { reveal: Reveal::Label, ..PLAIN };
    let other = world.write("other.json", digits().plan(kind).to_json().unwrap().as_bytes());
    fails(&doctor(&world, "client", &[flags(&["--plan", &other]), places.clone()].concat()), 6, "P0 plan");
    fails(&doctor(&world, "client", &flags(&["--listen", &pair.addresses[0]])), 16, "here listen");
}

/// Counts keys of a folder and room for more.
#[test]
fn keys_and_disk_are_checked_here() {
    let world = World::dealt(PLAIN, 8, 4);
    let (plan, keys) = (world.path("plan.json"), world.path("keys/p1"));
    let ask = |images: &str, keys: &str, role: &str| {
        let all = ["--plan", &plan, "--images", images, "--keys", keys, "--role", role];
        doctor(&world, "p1", &flags(&all))
    };
    let enough = ask("8", &keys, "1");
    enough.is(0);
    assert!(!points(&enough, "ok").contains(&"here disk".to_owned()), "no room is needed");
    let short = ask("9", &keys, "1");
    fails(&short, 8, "here keys");
    assert!(points(&short, "ok").contains(&"here disk".to_owned()));
    // Requests go on from one key set to the next, so what is left in all of them counts.
    world.deal("more", "plan.json", 6, 4).is(0);
    world.adopt("more");
    let both = ask("14", &keys, "1");
    both.is(0);
    assert!(both.out.contains("2 key sets, 14 images left"), "{}", both.out);
    assert!(!points(&both, "ok").contains(&"here disk".to_owned()), "no room is needed");
    let short = ask("15", &keys, "1");
    fails(&short, 8, "here keys");
    short.says(&["keys for 14 images", "15 are wanted (2 key sets)"]);
    assert!(short.out.contains("keys for 1 images need"), "room for what is missing: {}", short.out);
    fails(&ask("8", &world.path("nowhere"), "1"), 8, "here keys");
    for (images, code) in [("4000000000", 16), ("1000000000000", 2)] {
        fails(&doctor(&world, "p1", &flags(&["--plan", &plan, "--images", images])), code, "here disk");
    }
}

/// A party in this process that answers the first word of whoever comes as `answer` does.
fn fake(world: &World, answer: impl Fn(Link) + Send + 'static) -> Vec<String> {
    let accept = Accept::these([world.identity("client").fingerprint()]);
    let at = Some(([127, 0, 0, 1], 0).into());
    let endpoint = Endpoint::bind(world.identity("p0"), Role::P0, at, accept).unwrap();
    let places = flags(&["--p0", &endpoint.address().to_string(), "--p0-key", &world.keys[0]]);
    std::thread::spawn(move || {
        while let Ok(mut link) = endpoint.accept(SOON) {
            if link.recv_message::<Request>().is_ok() {
                answer(link);
            }
        }
    });
    places
}

/// What a party says of itself that is in order but for its clock.
fn well() -> About {
    About {
        protocol: PROTOCOL_VERSION,
        software: env!("CARGO_PKG_VERSION").into(),
        plan: [0; 32],
        provisioned: true,
        met: true,
        sets: 1,
        images: 1,
        concern: Concern::None,
        clock: 0,
    }
}

/// A party in this process that says this of itself.
fn saying(world: &World, about: About) -> Vec<String> {
    fake(world, move |mut link| {
        link.send_message(&about).unwrap();
        while let Ok(Request::Probe(Probe::Echo { up, down })) = link.recv_message() {
            link.recv(up as usize).unwrap();
            link.send(&vec![0; down as usize]).unwrap();
        }
    })
}

/// Each with a finding of its own, and with what to do.
#[test]
fn what_a_party_lacks_or_worries_about_is_named() {
    let world = World::new(PLAIN);
    let concern = |concern| About { concern, ..well() };
    let cases = [
        (About { met: false, images: 0, ..well() }, "peer", "start the other party"),
        (About { sets: 0, images: 0, ..well() }, "keys", "deal more keys"),
        (About { images: 0, ..well() }, "keys", "deal more keys"),
        (concern(Concern::RestoredHere), "concern", "its key folder was restored from a copy"),
        (concern(Concern::RestoredThere), "concern", "that key folder was restored from a copy"),
        (concern(Concern::RestoredThere), "concern", "discard at both every key set"),
        (concern(Concern::Cloned), "concern", "stop one of the two, and never run copies of a key folder"),
        (concern(Concern::Damaged), "concern", twoply_preprocessing::DAMAGED),
    ];
    for (about, point, words) in cases {
        let ended = doctor(&world, "client", &saying(&world, about));
        ended.is(0);
        assert_eq!(points(&ended, "warning"), [&format!("P0 {point}"), "P0 clock"], "{}", ended.out);
        assert!(ended.out.contains(words), "no {words:?} in {}", ended.out);
    }
}

/// On a party's machine its own key is right, if it is the one that answers. Elsewhere it was copied by mistake.
#[test]
fn this_machines_own_key_for_a_party() {
    let world = World::dealt(PLAIN, 4, 4);
    let own = world.keys[3].clone();
    let remedy = "give P0's fingerprint, the line that `twoply id` prints there";
    let named = |address: &str, key: &str| flags(&["--p0", address, "--p0-key", key]);
    let nowhere = "127.0.0.1:1";
    fails(&doctor(&world, "client", &named(nowhere, &own)), 5, "P0 key");
    let (party, address) = world.party(0, "", &[]);
    let wrong = doctor(&world, "client", &named(&address, &own));
    fails(&wrong, 5, "P0 key");
    wrong.says(&[remedy, &world.keys[0]]);
    let itself = doctor(&world, "p0", &named(&address, &world.keys[0]));
    itself.is(0);
    assert!(points(&itself, "ok").contains(&"P0 key".to_owned()));
    // Who says that this machine is P0 may ask before P0 runs; who says that it is P1 may not call it P0.
    let role = |role: &str, address: &str| {
        doctor(&world, "p0", &[named(address, &world.keys[0]), flags(&["--role", role])].concat())
    };
    let early = role("0", nowhere);
    early.is(0);
    assert_eq!(points(&early, "warning"), ["P0 key"]);
    fails(&role("1", &address), 5, "P0 key");
    let one =
        [named(&address, &world.keys[0]), flags(&["--p1", &address, "--p1-key", &world.keys[0]])].concat();
    fails(&doctor(&world, "p0", &one), 3, "P1 key");
    drop(party);
}

/// A party restored from a copy is caught up with, and named on both sides.
#[test]
fn a_restored_key_folder_is_named_on_both_sides() {
    let world = World::dealt(PLAIN, 400, 10);
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    pair.stop();
    let ledger = world.set(1).join("ledger");
    let copy = std::fs::read(&ledger).unwrap();
    let pair = world.parties();
    world.infer_right(&pair, 0..100);
    pair.stop();
    std::fs::write(ledger, copy).unwrap();
    let pair = world.parties();
    for party in &pair.procs {
        party.hear("ledger was", SOON).unwrap();
    }
    world.infer_right(&pair, 0..1);
    let ended = doctor(&world, "client", &world.places(&pair));
    ended.is(0);
    assert_eq!(points(&ended, "warning"), ["P0 concern", "P1 concern"]);
    for words in ["that key folder was restored from a copy", "its key folder was restored from a copy"] {
        assert!(ended.out.contains(words), "no {words:?} in {}", ended.out);
    }
    for ended in pair.stopped() {
        assert!(!ended.err.contains("deal keys"), "{}", ended.err);
    }
}

/// Both parties with weights, P1 over this transport; P0's place.
fn served(world: &World, transport: &str) -> (Pair, Vec<String>) {
    let pair = world.parties_with([&[], &["--transport", transport]]);
    world.provision(&pair, &[]).is(0);
    let p0 = flags(&["--p0", &pair.addresses[0], "--p0-key", &world.keys[0]]);
    (pair, p0)
}

/// Two processes with one key, as of a machine that was cloned: the older one ends and says why, P0 and the doctor say it too.
#[test]
fn a_cloned_party_is_named_on_both_sides() {
    for transport in ["tcp", "quic"] {
        let world = World::dealt(PLAIN, 40, 10);
        let (pair, p0) = served(&world, transport);
        let (keys, copy) = (world.path("keys/p1"), world.path("copy"));
        assert!(std::process::Command::new("cp").args(["-a", &keys, &copy]).status().unwrap().success());
        let (clone, address) =
            world.party(1, &pair.addresses[0], &["--keys", &copy, "--transport", transport]);
        let line = pair.procs[0].hear("P1 called again", SOON).unwrap();
        assert!(line.contains("it runs twice, or a copy of it runs (a clone)"), "{transport}: {line}");
        pair.procs[0].hear("connected to P1", SOON).unwrap();
        let ended = doctor(&world, "client", &p0);
        ended.is(0);
        assert_eq!(points(&ended, "warning"), ["P0 concern"], "{transport}: {}", ended.out);
        assert!(ended.out.contains("it runs twice, or its machine was cloned"), "{}", ended.out);
        let mut procs = pair.procs.into_iter();
        let (first, older) = (procs.next().unwrap(), procs.next().unwrap());
        older.wait(SOON).is(5).says(&[
            "another process with this party's key has taken its place at P0",
            "is this party running twice, or was its machine cloned?",
        ]);
        let addresses = vec![pair.addresses[0].clone(), address];
        let pair = Pair { procs: vec![first, clone], addresses };
        world.infer_right(&pair, 0..1);
        pair.stop();
    }
}

/// Its earlier life may seem to be there still, but answers nothing.
#[test]
fn a_party_that_is_started_again_and_again_is_no_clone() {
    for transport in ["tcp", "quic"] {
        let world = World::dealt(PLAIN, 40, 10);
        let (mut pair, p0) = served(&world, transport);
        for _ in 0..4 {
            pair.procs[1].kill();
            let more = ["--listen", &pair.addresses[1], "--transport", transport];
            let (party, address) = world.party(1, &pair.addresses[0], &more);
            assert_eq!(address, pair.addresses[1], "the port is free again");
            pair.procs[1] = party;
            pair.procs[1].hear("connected to P0", SOON).unwrap();
        }
        let ended = doctor(&world, "client", &p0);
        ended.is(0);
        assert_eq!(points(&ended, "warning"), Vec::<String>::new(), "{transport}: {}", ended.out);
        for ended in pair.stopped() {
            assert!(!ended.err.contains("a copy of it runs"), "{transport}: {}", ended.err);
        }
    }
}

#[test]
fn a_party_of_another_version_is_told_apart() {
    let world = World::new(PLAIN);
    let ignorant = fake(&world, |link| link.abort(Reason::OutOfStep, Detail::None));
    fails(&doctor(&world, "client", &ignorant), 7, "P0 tcp");
    let newer = saying(&world, About { protocol: PROTOCOL_VERSION + 1, software: "9.9.9".into(), ..well() });
    let ended = doctor(&world, "client", &newer);
    fails(&ended, 7, "P0 version");
    assert_eq!(points(&ended, "warning"), ["P0 clock"]);
}

#[test]
fn probes_are_limited() {
    let world = World::dealt(PLAIN, 4, 4);
    let (party, address) = world.party(0, "", &[]);
    let call = |role: Role| {
        let endpoint = Endpoint::bind(world.identity("client"), role, None, Accept::nobody()).unwrap();
        let dial = Dial::new(&address, world.keys[0].parse().unwrap());
        (endpoint.connect(&dial).unwrap(), endpoint)
    };
    let refused = |link: &mut Link, code: ExitCode| {
        while link.recv(0).is_ok() {}
        let fault = link.fault().cloned();
        assert!(
            matches!(&fault, Some(Error::PeerFailed { reason: Reason::Failed(found), .. }) if *found == code),
            "{fault:?}"
        );
    };
    let probe = |link: &mut Link, up: u32, down: u32| {
        let asked = link.send_message(&Request::Probe(Probe::Echo { up, down }));
        asked.is_ok() && link.send(&vec![0; up as usize]).is_ok() && link.recv(down as usize).is_ok()
    };
    let (mut link, _end) = call(Role::Probe);
    link.send_message(&Request::Probe(Probe::Echo { up: 0, down: PROBE_CAP + 1 })).unwrap();
    refused(&mut link, ExitCode::Policy);
    let (mut link, _end) = call(Role::Probe);
    assert!(probe(&mut link, PROBE_CAP, PROBE_CAP), "what is allowed is answered");
    assert!(!(0..8).all(|_| probe(&mut link, 0, PROBE_CAP)), "but not for ever");
    let (mut link, _end) = call(Role::Client);
    link.send_message(&Request::Probe(Probe::About)).unwrap();
    refused(&mut link, ExitCode::Identity);
    let (mut link, _end) = call(Role::Probe);
    assert!(probe(&mut link, 1, 1), "the party has taken no harm");
    drop(party);
}
