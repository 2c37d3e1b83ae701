//! Everything that can be wrong before or at the beginning of a run: all processes end in time, with a code of the
//! book, and say cause and remedy; and nobody else is harmed.

use std::fs;
use std::time::Duration;
use twoply_nn::Reveal;
use twoply_tests::model::{Kind, PLAIN};
use twoply_tests::{Ended, Proc, SOON, World, digits};

/// Ends both parties at once; for pairs that must fail by themselves.
fn fail(world: &World, more: [&[&str]; 2]) -> [Ended; 2] {
    world.parties_with(more).ended(SOON)
}

fn edit(path: &std::path::Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn folders_of_keys_that_are_swapped_or_absent() {
    let world = World::dealt(PLAIN, 2, 2);
    let (p0, p1) = (world.path("keys/p0"), world.path("keys/p1"));
    let [a, b] = fail(&world, [&["--keys", &p1, "--patience", "1"], &["--keys", &p0, "--patience", "1"]]);
    a.is(9).says(&["P1", "P0"]);
    b.is_one_of(&[9, 4]);
    let nowhere = world.path("nowhere");
    world.party(0, "", &["--keys", &nowhere]).0.wait(SOON).is(8).says(&["nowhere"]);
    fs::create_dir(&nowhere).unwrap();
    world.party(0, "", &["--keys", &nowhere]).0.wait(SOON).is(8).says(&["deal"]);
}

#[test]
fn keys_of_another_plan() {
    let world = World::dealt(PLAIN, 2, 2);
    let other = digits().plan(Kind { n: 64, ..PLAIN });
    world.write("other.json", other.to_json().unwrap().as_bytes());
    // The plan has no keys here.
    fs::rename(world.path("plan.json"), world.path("mine.json")).unwrap();
    fs::copy(world.path("other.json"), world.path("plan.json")).unwrap();
    world.party(0, "", &[]).0.wait(SOON).is(8).says(&["for plan"]);
    fs::rename(world.path("mine.json"), world.path("plan.json")).unwrap();
    // A segment of the other plan's key set in this one's folder.
    world.deal("foreign", "other.json", 2, 2).is(0);
    let foreign = fs::read_dir(world.path("foreign/p1")).unwrap().flatten().next().unwrap().path();
    fs::copy(foreign.join("seg-00000.key"), world.set(1).join("seg-00000.key")).unwrap();
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    world.infer(&pair, 0..1).is(6);
    // The key set is out of use; the parties are not.
    world.infer(&pair, 0..1).is(8).says(&["found 0"]);
    let [_, b] = pair.stopped();
    b.says(&["is not used any more", "seg-00000.key"]);
}

/// A flipped bit in a tile is found when the tile is read; a lost tail when the segment is opened.
#[test]
fn damaged_segments() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(Damage, &str); 2] = [
        (|bytes| *bytes.iter_mut().rev().nth(9000).unwrap() ^= 4, "corrupt"),
        (|bytes| bytes.truncate(bytes.len() - 100), "bytes"),
    ];
    for (damage, word) in damages {
        let world = World::dealt(PLAIN, 2, 2);
        edit(&world.set(1).join("seg-00000.key"), damage);
        let pair = world.parties();
        world.provision(&pair, &[]).is(0);
        world.infer(&pair, 0..1).is_one_of(&[9, 14]).says(&["P1", "corrupt"]);
        world.infer(&pair, 0..1).is(8).says(&["found 0"]);
        // A good one takes its place while they run.
        world.deal("more", "plan.json", 2, 2).is(0);
        world.adopt("more");
        world.provision(&pair, &[]).is(0);
        world.infer_right(&pair, 0..2);
        let [_, b] = pair.stopped();
        b.says(&["is not used any more", "seg-00000.key", word]);
    }
}

#[test]
fn keys_that_run_out_cost_only_the_request() {
    let world = World::dealt(PLAIN, 4, 2);
    let pair = world.parties();
    // Nothing is provisioned yet.
    world.infer(&pair, 0..1).is(8).says(&["twoply provision"]);
    world.provision(&pair, &[]).is(0);
    world.infer_right(&pair, 0..3);
    world.infer(&pair, 0..2).is(8).says(&["wanted 2, found 1", "at most 1 images"]);
    world.infer_right(&pair, 5..6);
    world.infer(&pair, 0..1).is(8).says(&["wanted 1, found 0"]);
    let reports = pair.stop();
    for report in reports {
        assert_eq!(report["images"], 4);
        assert_eq!((&report["images_left"], &report["images_burnt"]), (&0.into(), &0.into()));
    }
    world.party(0, "", &[]).0.wait(SOON).is(8);
}

#[test]
fn parties_that_do_not_fit_each_other() {
    // Halves of two deals.
    let world = World::dealt(PLAIN, 2, 2);
    world.deal("again", "plan.json", 2, 2).is(0);
    let other = world.path("again/p1");
    let pair = world.parties_with([&[], &["--keys", &other]]);
    world.provision(&pair, &[]).is(8).says(&["no key set in common", "two halves of one deal"]);
    world.infer(&pair, 0..1).is(8);
    for ended in pair.stopped() {
        ended.says(&["no key set in common"]);
    }
    // Two plans.
    let label = digits().plan(Kind { n: 64, reveal: Reveal::Label, ..PLAIN });
    let (p0, address) = world.party(0, "", &[]);
    world.write("plan.json", label.to_json().unwrap().as_bytes());
    world.deal("label", "plan.json", 2, 2).is(0);
    let (p1, _) = world.party(1, &address, &["--keys", &world.path("label/p1")]);
    for ended in [p0.wait(SOON), p1.wait(SOON)] {
        ended.is(6).says(&["ring bits", "32", "64", "same settings"]);
    }
    // A policy of one party.
    let world = World::dealt(PLAIN, 2, 2);
    world.party(0, "", &["--labels-only"]).0.wait(SOON).is(11).says(&["logits", "--reveal label"]);
}

#[test]
fn keys_of_machines() {
    let world = World::dealt(PLAIN, 2, 2);
    let strange = &world.keys[3];
    // P1 expects somebody else at P0's address: it says so at once, and P0 does not wait for ever.
    let [a, b] = fail(&world, [&["--patience", "2"], &["--peer-key", strange]]);
    a.is(4).says(&["P1 did not come"]);
    b.is(5).says(&[&world.keys[0], strange]);
    // P0 does not list P1.
    let [a, b] = fail(&world, [&["--peer-key", strange, "--patience", "2"], &[]]);
    a.is_one_of(&[4, 5]);
    b.is(5).says(&[&world.keys[1]]);
    // Its own key, and no key at all.
    world.party(0, "", &["--peer-key", &world.keys[0]]).0.wait(SOON).is(3).says(&["own"]);
    world.party(0, "", &["--peer-key", "tp1-nonsense"]).0.wait(SOON).is(3).says(&["twoply id"]);
    world.party(0, "", &["--home", &world.path("keys")]).0.wait(SOON).is(3).says(&["twoply id --new"]);
}

#[test]
fn peers_that_are_not_there_and_ports_that_are_taken() {
    let world = World::dealt(PLAIN, 2, 2);
    let (p0, address) = world.party(0, "", &["--patience", "2"]);
    world.party(0, "", &["--listen", &address]).0.wait(SOON).is(16).says(&[&address, "another port"]);
    p0.wait(SOON).is(4).says(&["P1 did not come within 2 s", "--listen"]);
    let (p1, _) = world.party(1, &address, &["--patience", "2"]);
    p1.wait(SOON).is(4).says(&["P0 did not come within 2 s", "--peer"]);
    world.party(1, "nonsense", &[]).0.wait(SOON).is(3).says(&["host:port"]);
    let pair = twoply_tests::Pair { procs: vec![], addresses: vec![address; 2] };
    let client = world.asking("client", &pair, 0..1, &["--patience", "2"]);
    client.wait(Duration::from_secs(30)).is(4).says(&["nobody listens"]);
}

#[test]
fn callers_who_are_not_welcome_and_data_that_does_not_fit() {
    let world = World::dealt(PLAIN, 8, 4);
    let mut pair = world.parties();
    world.provision(&pair, &[]).is(0);
    // Who calls.
    world.asking("p0", &pair, 0..1, &["--seen", &world.path("s")]).wait(SOON).is(5).says(&[&world.keys[0]]);
    let owner = world.asking("owner", &pair, 0..1, &[]).wait(SOON);
    owner.is(5).says(&[
        "listed as a model owner",
        "may provision weights and not ask for inferences",
        "--client",
    ]);
    let client = world.call("provision", "client", &pair, &["--weights", &world.path("weights")]).wait(SOON);
    client.is(5).says(&[
        "listed as a data owner",
        "may ask for inferences and not provision weights",
        "--owner",
    ]);
    world.asking("client", &pair, 0..1, &["--p1-key", &world.keys[0]]).wait(SOON).is(3).says(&["same key"]);
    let swapped = ["--p0", &pair.addresses[1], "--p0-key", &world.keys[1], "--p1", &pair.addresses[0]];
    let swapped = [&swapped[..], &["--p1-key", &world.keys[0]]].concat();
    world.asking("client", &pair, 0..1, &swapped).wait(SOON).is(6).says(&["swap --p0 and --p1"]);
    // What is asked.
    let mine = fs::read(world.path("plan.json")).unwrap();
    let other = digits().plan(Kind { reveal: Reveal::Label, ..PLAIN });
    world.write("plan.json", other.to_json().unwrap().as_bytes());
    world.infer(&pair, 0..1).is(6).says(&["plan"]);
    world.provision(&pair, &[]).is(6).says(&["plan"]);
    world.write("plan.json", &mine);
    wrong_images(&world, &pair);
    wrong_weights(&world, &pair);
    assert_eq!(world.seen("client"), [], "no image was granted to any of them");
    assert!(pair.run());
    world.infer_right(&pair, 0..2);
    let reports = pair.stop();
    assert!(reports.iter().all(|r| r["images"] == 3 && r["images_left"].as_u64() >= Some(4)), "{reports:?}");
}

/// An NPY file of float32 in `[n, 1, 8, 8]`.
fn npy(values: &[f32], shape: &str) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    header.extend(std::iter::repeat_n(' ', 63 - (10 + header.len()) % 64));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

fn wrong_images(world: &World, pair: &twoply_tests::Pair) {
    let ask = |bytes: &[u8], more: &[&str]| {
        let file = world.write("bad.npy", bytes);
        world.call("infer", "client", pair, &[&["--images", &file], more].concat()).wait(SOON)
    };
    ask(b"", &[]).is(15).says(&["bad.npy"]);
    ask(&npy(&[0.0; 63], "(1, 1, 7, 9)"), &[]).is(15).says(&["bad.npy"]);
    let mut cut = npy(&[0.0; 64], "(1, 1, 8, 8)");
    ask(&cut, &["--normalised"]).is(0); // the file is good
    fs::remove_file(world.path("client/seen")).unwrap();
    cut.truncate(cut.len() - 3);
    ask(&cut, &[]).is(15);
    for bad in [f32::NAN, f32::INFINITY, 1e6, -65.0] {
        // In the last of several requests: those before must not be spent on it.
        let mut values = vec![0.5; 192];
        values[190] = bad;
        ask(&npy(&values, "(3, 1, 8, 8)"), &["--normalised", "--batch", "1"]).is_one_of(&[10, 15]);
    }
}

fn wrong_weights(world: &World, pair: &twoply_tests::Pair) {
    let mut weights = digits().weights.clone();
    let good = weights.to_safetensors(&digits().graph).unwrap();
    let provision = |bytes: &[u8], more: &[&str]| {
        let file = world.write("bad", bytes);
        world.call("provision", "owner", pair, &[&["--weights", &file], more].concat()).wait(SOON)
    };
    provision(&good[..good.len() - 4], &[]).is(15).says(&["bad"]);
    provision(b"{}", &[]).is(15);
    weights.0[0][0] += 0.5;
    let others = weights.to_safetensors(&digits().graph).unwrap();
    provision(&others, &[]).is(9).says(&["other weights", "deal a new key set"]);
    // The owner's own record is lost: the parties remember.
    provision(&others, &["--bound", &world.path("fresh")]).is(9).says(&["refused"]);
    provision(&good, &[]).is(0);
}

/// Killed between the parties: P1 holds the weights, P0 does not. Refused with the remedy, which works.
#[test]
fn weights_at_one_party_only() {
    let world = World::dealt(PLAIN, 4, 4);
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    let reports = pair.stop();
    assert!(reports.iter().all(|r| r["images"] == 0));
    for me in [0, 1] {
        fs::remove_file(world.set(me).join("weights.masked")).unwrap();
        let pair = world.parties();
        world.infer(&pair, 0..1).is(8).says(&["twoply provision"]);
        world.provision(&pair, &[]).is(0);
        world.infer_right(&pair, 0..1);
        pair.stop();
    }
    // Damaged on disk: named at the start, and mended in the same way.
    edit(&world.set(0).join("weights.masked"), |bytes| bytes[7] ^= 1);
    let pair = world.parties();
    world.infer(&pair, 0..1).is(8).says(&["twoply provision"]);
    world.provision(&pair, &[]).is(0);
    world.infer_right(&pair, 0..1);
    pair.procs.iter().for_each(Proc::terminate);
    let [p0, _] = pair.ended(SOON);
    p0.is(0).says(&["weights.masked", "provision again"]);
}

/// The remedy of the message above must be possible.
#[test]
fn arguments_that_make_no_sense() {
    let start = |args: &[&str]| Proc::start("usage", args).wait(SOON);
    assert_eq!(start(&["party"]).code, Some(3));
    assert_eq!(start(&["party", "--role", "2"]).code, Some(2));
    assert_eq!(start(&["nonsense"]).code, Some(2));
    assert_eq!(start(&["infer", "x.json", "--images", "y"]).code, Some(2));
}
