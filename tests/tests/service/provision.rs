//! Weights for many key sets, under running parties; and model owners that tell the two parties different things.

use crate::{deal, folder, number, served};
use std::path::Path;
use std::time::Duration;
use twoply_nn::roles;
use twoply_party::files::read_weights;
use twoply_party::jobs::{Provision, Request, Stock, WeightSets};
use twoply_party::transport::Role;
use twoply_primitives::{Channel, KeySetId};
use twoply_tests::model::PLAIN;
use twoply_tests::{Ended, Odd, Pair, SOON, World, digits};

/// A raw model owner.
fn owner(world: &World, pair: &Pair) -> Odd {
    Odd::with(world.identity("owner"), Role::ModelOwner, world, pair)
}

/// Asks a party to provision its first key set, and hears its keys.
fn open(odd: &mut Odd, world: &World, me: usize) -> (KeySetId, Vec<[u8; 16]>) {
    let plan = odd.job(1, 1).plan;
    odd.link(me).say(&Request::Provision(plan)).unwrap();
    let set = odd.link(me).hear::<WeightSets>().unwrap().key_sets[0];
    odd.link(me).say(&Provision::Open(set)).unwrap();
    let params = world.plan.program().unwrap().params().len();
    let keys = odd.link(me).recv(16 * params).unwrap();
    (set, keys.as_chunks::<16>().0.to_vec())
}

/// Provisions other weights, from a home that does not know of the first ones.
fn others(world: &World, pair: &Pair, record: &str) -> Ended {
    let mut bytes = digits().weights_file();
    let end = bytes.len() - 4;
    bytes[end..].copy_from_slice(&0.625f32.to_le_bytes());
    let (weights, bound) = (world.write("others", &bytes), world.path(record));
    world.call("provision", "owner", pair, &["--weights", &weights, "--bound", &bound]).wait(SOON)
}

#[test]
fn a_running_party_takes_new_sets_and_their_weights() {
    let world = World::dealt(PLAIN, 3, 3);
    let pair = served(&world, [&[], &[]]);
    world.infer_right(&pair, 0..1);
    deal(&world, 0..2, 3);
    (0..2).for_each(|n| world.adopt(&folder(n)));
    // Two that lack weights, one in use.
    let told = world.provision(&pair, &[]).json();
    assert_eq!(told["key_sets"].as_array().unwrap().len(), 3, "{told}");
    // Both know for how many images there are keys; P1 hears it from P0, which asks it first.
    let mut asking = Odd::new(&world, &pair, "other");
    let plan = asking.job(1, 1).plan;
    let left = [0, 1].map(|me| {
        asking.link(me).say(&Request::Stock(plan)).unwrap();
        asking.link(me).hear::<Stock>().unwrap().images
    });
    assert_eq!(left, [8, 8]);
    others(&world, &pair, "elsewhere").is(9);
    world.infer_right(&pair, 0..8);
    // All spent, the parties run on, and take what comes.
    world.infer(&pair, 0..1).is(8);
    deal(&world, 2..3, 3);
    world.adopt(&folder(2));
    world.provision(&pair, &[]).is(0);
    world.infer_right(&pair, 0..3);
    for report in pair.stop() {
        assert_eq!(["images", "images_left", "images_burnt"].map(|key| number(&report, key)), [12, 0, 0]);
    }
}

/// A request is judged by what both parties have when it comes, not by what they told each other a moment before.
#[test]
fn repro_weights_that_came_a_moment_ago_count() {
    let world = World::dealt(PLAIN, 6, 6);
    let pair = world.parties();
    let mut asking = Odd::new(&world, &pair, "client");
    let job = asking.job(1, 1);
    let weights = read_weights(Path::new(&world.path("weights")), &world.plan.graph).unwrap();
    let mut odd = owner(&world, &pair);
    let keys = [0, 1].map(|me| open(&mut odd, &world, me).1);
    let program = world.plan.program().unwrap();
    let packed = roles::mask_weights::<u32>(&program, &weights, [&keys[0], &keys[1]]).unwrap();
    for me in 0..2 {
        odd.link(me).say(&Provision::Bind(*blake3::hash(&packed).as_bytes())).unwrap();
    }
    for me in 0..2 {
        assert_eq!(odd.link(me).hear::<Provision>().unwrap(), Provision::Bound);
        if me == 1 {
            // they tell each other that one of them has no weights yet
            asking.link(0).say(&Request::Stock(job.plan)).unwrap();
            assert_eq!(asking.link(0).hear::<Stock>().unwrap().images, 0);
        }
        odd.link(me).send(&packed).unwrap();
        assert_eq!(odd.link(me).hear::<Provision>().unwrap(), Provision::Stored);
    }
    asking.ask(job);
    assert_eq!(asking.granted().0.images, 1);
    pair.stop();
}

/// Masked weights that were damaged on disk are asked for again, from a home that remembers what they are.
#[test]
fn damaged_weights_are_taken_again() {
    let world = World::dealt(PLAIN, 6, 6);
    served(&world, [&[], &[]]).stop();
    let path = std::fs::read_dir(world.set(1)).unwrap().flatten().map(|e| e.path());
    let path = path.max_by_key(|p| p.to_string_lossy().contains("weights")).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[7] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let pair = world.parties();
    world.infer(&pair, 0..1).is(8).says(&["twoply provision"]);
    world.provision(&pair, &[]).is(0);
    world.infer_right(&pair, 0..3);
    pair.stopped()[1].says(&["not the masked weights this key set is bound to"]);
}

#[test]
fn neither_party_binds_what_the_other_one_did_not_hear() {
    let world = World::dealt(PLAIN, 6, 6);
    let pair = world.parties();
    let mut odd = owner(&world, &pair);
    for me in 0..2 {
        open(&mut odd, &world, me);
        odd.link(me).say(&Provision::Bind([me as u8; 32])).unwrap();
    }
    for me in 0..2 {
        let why = odd.refused(me, SOON);
        assert!(why.contains("plan or parties disagree") || why.contains("exit 6"), "{why}");
    }
    // Told to one party only, by an owner that leaves: the next one need not wait.
    for me in 0..2 {
        let mut odd = owner(&world, &pair);
        open(&mut odd, &world, me);
        odd.link(me).say(&Provision::Bind([3; 32])).unwrap();
        odd.links.iter_mut().for_each(|link| link.take().unwrap().close(Duration::from_secs(1)).unwrap());
        pair.procs[me].hear("it ended before the other party had heard of the same weights", SOON).unwrap();
    }
    world.provision(&pair, &[]).is(0);
    world.infer_right(&pair, 0..3);
    pair.stop();
}

#[test]
fn provisioning_without_p1_binds_nothing() {
    let world = World::dealt(PLAIN, 6, 6);
    let mut pair = world.parties();
    pair.procs[0].hear("connected to", SOON).unwrap();
    pair.procs[1].kill();
    let ended =
        world.call("provision", "owner", &pair, &["--weights", &world.path("weights"), "--patience", "1"]);
    ended.wait(SOON).is(4).says(&[&pair.addresses[1], "with P1"]);
    // P1 runs, and P0 has not heard of it.
    let (p1, address) = world.party(1, "127.0.0.1:9", &["--listen", &pair.addresses[1]]);
    assert_eq!(address, pair.addresses[1]);
    pair.procs[1] = p1;
    world.provision(&pair, &["--bound", &world.path("nothing")]).is(4).says(&["peer unreachable at P"]);
    pair.procs[1].kill();
    world.restart(&mut pair, 1);
    // Nothing is bound: weights of another owner are taken.
    others(&world, &pair, "elsewhere").is(0);
    world.provision(&pair, &[]).is(9);
    pair.stop();
}
