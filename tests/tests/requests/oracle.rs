//! Two processes compute, bit for bit, what the fixed-point oracle computes; and one party's view of the same image is
//! another one each time.

use std::fs;
use std::os::unix::fs::MetadataExt;
use twoply_nn::{Reveal, with_ring};
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::Rounding;
use twoply_tests::model::{Kind, Network, PLAIN, gated, oracle};
use twoply_tests::world::labels;
use twoply_tests::{Odd, SOON, World, digits};

type Coins = Vec<(u32, Vec<u64>)>;

/// What the client printed, in units of 2^-fraction.
fn printed(json: &serde_json::Value, fraction: u32) -> Vec<i64> {
    let rows = json["logits"].as_array().unwrap().iter();
    let values = rows.flat_map(|row| row.as_array().unwrap()).map(|v| v.as_f64().unwrap());
    let whole = |v: f64| {
        let scaled = v * f64::from(fraction).exp2();
        // Reading decimal numbers may cost a last bit; a value between two multiples would be a mistake.
        assert!((scaled - scaled.round()).abs() < 1e-3, "{v} is no multiple of 2^-{fraction}");
        scaled.round() as i64
    };
    values.map(whole).collect()
}

/// Runs 3 and 2 images (the second over two segments) of a network and compares each piece.
fn exact_on(network: &Network, kind: Kind) {
    let world = World::of(network, kind);
    world.deal("keys", "plan.json", 5, 4).is(0);
    let coins = world.path("coins");
    let p1 = ["--insecure-record-coins", coins.as_str()];
    let pair = world.parties_with([&[], &p1]);
    world.provision(&pair, &[]).is(0);
    let json = world.asking("client", &pair, 0..5, &["--batch", "3"]).wait(SOON).json();
    let [_, report] = pair.stop();
    assert_eq!(report["insecure"][0], "insecure-record-coins");
    assert_eq!(fs::metadata(&coins).unwrap().mode() & 0o777, 0o600, "coins are for this user alone");
    let text = fs::read_to_string(&coins).unwrap();
    let runs: Vec<Coins> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(runs.len(), 3, "pieces of 3, 1 and 1 images");
    assert_eq!(runs.iter().any(|run| !run.is_empty()), kind.rounding == Rounding::PublicCoin);
    let (mut want, mut fraction) = (vec![], 0);
    for (images, coins) in [0..3, 3..4, 4..5].into_iter().zip(runs) {
        let inputs = network.images(images);
        let piece = with_ring!(kind.n, R => oracle::<R>(&world.plan, &network.weights, inputs, coins));
        want.extend(piece.0);
        fraction = piece.1;
    }
    match kind.reveal {
        Reveal::Logits => assert_eq!(printed(&json, fraction), want, "{kind:?}"),
        Reveal::Label => {
            assert!(json["logits"].is_null());
            assert_eq!(labels(&json).into_iter().map(|l| l as i64).collect::<Vec<_>>(), want, "{kind:?}");
        }
    }
}

fn exact(kind: Kind) {
    exact_on(digits(), kind);
}

/// Hard swish, squeeze and excitation, private addends, sums of windows, axes in another order.
#[test]
fn products_of_wires() {
    exact_on(gated(), PLAIN);
    exact_on(gated(), Kind { n: 64, compare: Scheme::Dpf, rounding: Rounding::Floor, ..PLAIN });
}

#[test]
fn public_coins() {
    exact(PLAIN);
    exact(Kind { n: 64, compare: Scheme::Dpf, ..PLAIN });
}

#[test]
fn floor_32() {
    for compare in [Scheme::Digits, Scheme::Dpf] {
        exact(Kind { compare, rounding: Rounding::Floor, ..PLAIN });
    }
}

#[test]
fn floor_64() {
    for compare in [Scheme::Digits, Scheme::Dpf] {
        exact(Kind { n: 64, compare, rounding: Rounding::Floor, ..PLAIN });
    }
}

#[test]
fn labels_only() {
    exact(Kind { reveal: Reveal::Label, ..PLAIN });
    exact(Kind { n: 64, reveal: Reveal::Label, compare: Scheme::Dpf, ..PLAIN });
}

/// The same image twice: masked inputs and both shares of the result look unrelated.
#[test]
fn the_same_image_never_looks_the_same() {
    let world = World::dealt(PLAIN, 8, 8);
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    let mut owner = Odd::new(&world, &pair, "client");
    let mut views = vec![];
    for name in 0..2 {
        let job = owner.job(1, name);
        owner.ask(job);
        let (grant, keys) = owner.granted();
        let packed = owner.mask(digits().images(0..1), [&keys[0], &keys[1]]);
        for me in 0..2 {
            owner.send(me, &grant, &packed);
        }
        views.push((packed, owner.shares(1)));
    }
    let same = |a: &[u8], b: &[u8]| {
        assert_eq!(a.len(), b.len());
        a.chunks(4).zip(b.chunks(4)).filter(|(x, y)| x == y).count()
    };
    let (a, b) = (&views[0], &views[1]);
    // 64 random words of 32 bits: two equal ones by chance would be a wonder.
    assert_eq!(a.0.len(), 256);
    assert!(same(&a.0, &b.0) <= 1);
    for me in 0..2 {
        assert!(same(&a.1[me], &b.1[me]) <= 1, "shares of P{me}");
    }
    drop(owner);
    pair.stop();
}
