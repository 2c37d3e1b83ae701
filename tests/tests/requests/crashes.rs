//! `kill -9` anywhere, and key folders restored from copies: the survivor waits and goes on with the one that comes back,
//! and no image is granted twice.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use twoply_tests::model::PLAIN;
use twoply_tests::{Dice, Pair, SOON, World};

/// One pair of homes, several crashes. A client that was granted an image twice would exit with 9.
fn rounds(seed: u64, count: u32) {
    let dealt = 300 * u64::from(count);
    let world = World::dealt(PLAIN, dealt, 40);
    let mut dice = Dice::new(seed);
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    pair.stop();
    let mut pair = world.parties();
    for round in 0..count {
        let client = world.asking("client", &pair, 0..200, &["--batch", "1"]);
        if dice.below(4) > 0 {
            client.hear("connected to both parties", SOON);
        }
        std::thread::sleep(Duration::from_millis(dice.below(400)));
        let victim = dice.below(2) as usize;
        pair.procs[victim].kill();
        client.wait(SOON).is_one_of(&[0, 4, 14]);
        let survivor = 1 - victim;
        assert!(pair.procs[survivor].runs(), "seed {seed}, round {round}: P{survivor} waits for P{victim}");
        world.restart(&mut pair, victim);
        world.infer_right(&pair, 0..2);
    }
    world.infer_right(&pair, 0..5);
    let reports = pair.stop();
    disjoint(&world, dealt, &reports);
}

/// No image was granted twice, and none beyond what both parties' ledgers call spent.
fn disjoint(world: &World, dealt: u64, reports: &[serde_json::Value; 2]) {
    let mut seen = world.seen("client");
    seen.sort_unstable();
    assert!(seen.windows(2).all(|w| w[0].1 <= w[1].0), "granted twice: {seen:?}");
    let last = seen.last().unwrap().1;
    for report in reports {
        let spent = dealt - report["images_left"].as_u64().unwrap();
        assert!(last <= spent, "image {} was granted, {spent} are spent", last - 1);
    }
}

#[test]
fn parties_killed_at_random_points() {
    let rounds_each = if std::env::var_os("TWOPLY_FULL").is_some() { 12 } else { 2 };
    std::thread::scope(|scope| {
        let runs: Vec<_> = (1..=4).map(|seed| scope.spawn(move || rounds(seed, rounds_each))).collect();
        for run in runs {
            run.join().unwrap();
        }
    });
}

fn ledgers(world: &World) -> [PathBuf; 2] {
    [0, 1].map(|me| world.set(me).join("ledger"))
}

/// One party restored from a copy catches up with the other; both restored are stopped by the client's own record.
#[test]
fn ledgers_restored_from_copies() {
    let world = World::dealt(PLAIN, 40, 40);
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    world.infer_right(&pair, 0..3);
    pair.stop();
    let copies = ledgers(&world).map(|path| fs::read(path).unwrap());
    let run = || {
        let pair = world.parties();
        let ended = world.infer(&pair, 0..3);
        pair.stop();
        ended
    };
    run().is(0);
    for (path, copy) in ledgers(&world).iter().zip(&copies) {
        fs::write(path, copy).unwrap();
        run().is(0);
        let seen = world.seen("client");
        assert!(seen.windows(2).all(|w| w[0].1 <= w[1].0), "granted twice: {seen:?}");
    }
    for (path, copy) in ledgers(&world).iter().zip(&copies) {
        fs::write(path, copy).unwrap();
    }
    let before = world.seen("client");
    run().is(9).says(&["again", "restored from a backup", "deal a new one"]);
    assert_eq!(world.seen("client"), before);
    // A damaged ledger is no empty one, and a missing one neither.
    fs::write(&ledgers(&world)[0], &copies[0][..100]).unwrap();
    fs::write(&ledgers(&world)[1], []).unwrap();
    for me in 0..2 {
        let (party, _) = world.party(me, "127.0.0.1:9", &["--patience", "1"]);
        let ended = party.wait(SOON);
        // A torn last record (of P0) is what a crash leaves; then nobody is there to talk to.
        ended.is_one_of(if me == 0 { &[4] } else { &[9] });
    }
    fs::remove_file(&ledgers(&world)[1]).unwrap();
    world.party(1, "127.0.0.1:9", &["--patience", "1"]).0.wait(SOON).is(8).says(&["deal keys"]);
}

/// Both parties restored to before two data owners were served: neither owner's images are granted to the other one, as
/// long as the parties are below the cursor that it knows. Each refusal costs the images that were to be granted.
#[test]
fn repro_restored_parties_do_not_grant_one_owner_what_another_one_used() {
    let world = World::dealt(PLAIN, 640, 640);
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    pair.stop();
    let copies = ledgers(&world).map(|path| fs::read(path).unwrap());
    let pair = world.parties();
    world.infer_right(&pair, 0..3);
    let ask = |pair: &Pair, images| world.asking("other", pair, images, &["--batch", "12"]).wait(SOON);
    ask(&pair, 10..22).is(0);
    pair.stop();
    // 40 images were reserved at once: the first owner was told so, and used three.
    let (mine, theirs) = (world.seen("client"), world.seen("other"));
    assert_eq!((&mine[..], &theirs[..]), (&[(0, 3)][..], &[(3, 15)][..]));
    for (path, copy) in ledgers(&world).iter().zip(&copies) {
        fs::write(path, copy).unwrap();
    }
    let pair = world.parties();
    for _ in 0..3 {
        world.infer(&pair, 0..3).is(9).says(&["again", "restored from a backup", "deal a new one"]);
    }
    ask(&pair, 10..22).is(9).says(&["again", "restored from a backup", "deal a new one"]);
    assert_eq!((world.seen("client"), world.seen("other")), (mine, theirs), "nothing was masked");
    // 21 images are burnt, 16 more and 3; the next ones are new.
    world.asking("client", &pair, 0..16, &["--batch", "16"]).wait(SOON).is(9);
    world.infer(&pair, 0..3).is(9);
    world.infer_right(&pair, 0..3);
    assert_eq!(world.seen("client")[1..], [(40, 43)]);
    pair.stop();
}

#[test]
fn two_processes_on_one_ledger() {
    let world = World::dealt(PLAIN, 4, 4);
    let (_first, _) = world.party(0, "", &[]);
    // The ledger is locked a moment after the port is open.
    std::thread::sleep(Duration::from_secs(1));
    world.party(0, "", &[]).0.wait(SOON).is(16).says(&["ledger"]);
}

/// A dealer that is killed goes on where it was; no segment is dealt in halves that do not fit.
#[test]
fn a_dealer_that_is_killed() {
    let world = World::new(PLAIN);
    let mut dealer = world.deal_args("keys", "plan.json", 400, 4, &[]);
    let segment = PathBuf::from(world.path("keys/p1"));
    let began = std::time::Instant::now();
    let some = || {
        let sets = fs::read_dir(&segment).into_iter().flatten().flatten();
        sets.flat_map(|set| fs::read_dir(set.path()).into_iter().flatten().flatten()).count() > 6
    };
    while dealer.runs() && !some() {
        assert!(began.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(2));
    }
    dealer.kill();
    let resumed = world.deal_args("keys", "plan.json", 400, 4, &["--resume", "--format", "json"]).wait(SOON);
    let json = resumed.json();
    assert!(json["dealt"].as_u64() < Some(100), "some were there already: {json}");
    for me in ["0", "1"] {
        let (keys, plan) = (world.path(&format!("keys/p{me}")), world.path("plan.json"));
        let args = ["keys", "verify", "--keys", &keys, "--role", me, "--plan", &plan, "--format", "json"];
        twoply_tests::Proc::start("verify", &args).wait(SOON).is(0);
    }
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    world.infer_right(&pair, 0..9);
    pair.stop();
}

/// Every file of a party's key set with its content.
fn key_files(world: &World, me: usize) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(world.set(me)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

/// One half was moved to its party, the other one is used where it was dealt: a dealer that resumes touches neither.
#[test]
fn repro_a_dealer_that_resumes_beside_a_half_in_use() {
    let world = World::dealt(PLAIN, 60, 20);
    let moved = world.path("moved");
    fs::rename(world.path("keys/p1"), &moved).unwrap();
    let pair = world.parties_with([&[], &["--keys", &moved]]);
    world.provision(&pair, &[]).is(0);
    world.infer_right(&pair, 0..3);
    let before = key_files(&world, 0);
    let resume = || world.deal_args("keys", "plan.json", 60, 20, &["--resume"]).wait(SOON);
    resume().is(16).says(&["P1's half", "moved away"]);
    assert!(key_files(&world, 0) == before, "P0's half is touched");
    assert!(!PathBuf::from(world.path("keys/p1")).exists());
    world.infer_right(&pair, 3..6);
    let reports = pair.stop();
    assert!(reports.iter().all(|report| report["images"] == 6), "{reports:?}");
    // Nor where the other half's folder is there and empty, and nobody runs.
    fs::create_dir(world.path("keys/p1")).unwrap();
    let before = key_files(&world, 0);
    resume().is(16).says(&["P1's half", "moved away"]);
    assert!(key_files(&world, 0) == before);
}

/// A segment is dealt again while the parties run, who have prepared products with its old keys.
#[test]
fn repro_a_segment_dealt_again_under_running_parties() {
    let world = World::dealt(PLAIN, 40, 20);
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    world.infer_right(&pair, 0..3);
    for round in 1..4 {
        // While the dealer starts, both prepare the next three images.
        let old = fs::read(world.set(0).join("seg-00000.key")).unwrap();
        fs::remove_file(world.set(1).join("seg-00000.key")).unwrap();
        world.deal_args("keys", "plan.json", 40, 20, &["--resume"]).wait(SOON).is(0);
        assert!(fs::read(world.set(0).join("seg-00000.key")).unwrap() != old, "dealt again");
        world.infer_right(&pair, 3 * round..3 * round + 3);
    }
    pair.stop();
}
