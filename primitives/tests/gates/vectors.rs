//! Frozen vectors: the bytes of every gate's tiles and the transcript of a run, from fixed seeds, in `testdata/gates.json`.
//!
//! A change of the record format, of a field number, of an order or of the generator shows here. When it is meant, raise
//! `PRG_VERSION` or the record version and write the file anew: `TWOPLY_FREEZE=1 cargo test -p twoply-primitives --test gates vectors`.
//! Below the good vectors are bad tiles: each must end in the named error.

use crate::common::bits::Choices;
use crate::common::{Dealt, Store, deal, parties, random};
use serde_json::{Map, Value, json};
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::*;
use twoply_primitives::*;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/gates.json");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
fn unhex(s: &str) -> Vec<u8> {
    (0..s.len() / 2).map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// Hash of one party's tiles with their places.
fn tiles(store: &Store, party: PartyId) -> String {
    let mut h = blake3::Hasher::new();
    for (at, tile) in store.places() {
        let bytes = store.bytes(at, tile, party);
        let place = [at.gate as u64, at.part as u64, tile as u64, bytes.len() as u64];
        for n in place {
            h.update(&n.to_le_bytes());
        }
        h.update(bytes);
    }
    hex(h.finalize().as_bytes())
}

/// Deals and runs one gate on small values.
fn vector<R: Ring, G: Gate>(out: &mut Map<String, Value>, what: &str, gate: &G, forms: &[Form]) {
    let dealt = deal::<R, G>(gate, forms, 300);
    let played = dealt.play(gate, &small(forms));
    let name = format!("{} {what} mod 2^{}", G::NAME, R::BITS).replace("  ", " ");
    enter(out, name, &dealt.store, &played.transcript);
}

/// A sign and every kind of choice by it.
fn choices<R: Ring>(out: &mut Map<String, Value>, scheme: Scheme, forms: &[Form]) {
    let select = |(lift, out)| Select { lift, out };
    let kinds = [(Kind::Relu, R::BITS), (Kind::Signed, R::BITS), (Kind::Narrow, 8)];
    let all = Choices { sign: Sign { scheme }, selects: kinds.map(select).to_vec(), same: false };
    let dealt = all.deal::<R>(forms, 300);
    let played = all.play(&dealt, &small(forms));
    enter(out, format!("sign, select {scheme} mod 2^{}", R::BITS), &dealt.store, &played.transcript);
}

/// Small values for wires of these forms.
fn small<R: Ring>(forms: &[Form]) -> Vec<Vec<R>> {
    let one = |(i, f): (usize, &Form)| {
        let value = |v: &u64| R::from_i64((v % 4001) as i64 - 2000).and(R::ones(f.bits));
        random(301 + i as u64, f.len()).iter().map(value).collect()
    };
    forms.iter().enumerate().map(one).collect()
}

fn enter(out: &mut Map<String, Value>, name: String, store: &Store, transcript: &[u8; 32]) {
    let entry = json!({
        "p0": tiles(store, PartyId::P0),
        "p1": tiles(store, PartyId::P1),
        "transcript": hex(transcript),
    });
    assert!(out.insert(name, entry).is_none(), "names are unique");
}

fn ring<R: Ring>(out: &mut Map<String, Value>, f: u32) {
    let (n, m) = (R::BITS, R::BITS - f);
    let image = |bits| Form::new([2, 2, 4, 4], bits);
    // a segment of two tiles, the last one short
    let row = |bits| Form::new([2, 2100], bits);
    vector::<R, _>(
        out,
        "",
        &Linear { cut: f },
        &[Form::new([2, 5], n), Form::new([3, 5], n), Form::new([3], n)],
    );
    let conv = Conv2d { window: Window::square(3, 1).padded(1), groups: 1, cut: f };
    vector::<R, _>(out, "", &conv, &[image(n), Form::new([3, 2, 3, 3], n)]);
    vector::<R, _>(out, "", &Mul { cut: 0 }, &[Form::new([2, 5], n), Form::new([2, 5], n)]);
    vector::<R, _>(out, "cut", &Mul { cut: f }, &[row(n), row(n)]);
    vector::<R, _>(out, "", &Lift, &[row(m)]);
    for (what, width, shift) in [("", 8, 0), ("narrow", 3, 0), ("open", 8, 4), ("half-tree", 9, 0)] {
        let entries = (0..1u32 << width).map(|j| j * 37 % 101).collect();
        vector::<R, _>(out, what, &Table { width, shift, bits: 7, entries }, &[row(m)]);
    }
    vector::<R, _>(out, "public coin", &Truncate { cut: f, mode: Mode::PublicCoin }, &[row(n)]);
    for scheme in [Scheme::Dpf, Scheme::Digits] {
        let s = scheme.to_string();
        vector::<R, _>(out, &s, &Relu { scheme, shift: 0, out: n }, &[row(m)]);
        vector::<R, _>(out, &format!("{s} narrow"), &Relu { scheme, shift: 0, out: m }, &[row(m)]);
        vector::<R, _>(out, &format!("{s} open"), &Relu { scheme, shift: f, out: n }, &[row(n)]);
        vector::<R, _>(out, &s, &ReluFloor { scheme, cut: f }, &[row(n)]);
        vector::<R, _>(out, &s, &Truncate { cut: f, mode: Mode::Floor(scheme) }, &[row(n)]);
        vector::<R, _>(
            out,
            &format!("{s} short"),
            &Truncate { cut: 5, mode: Mode::Floor(scheme) },
            &[row(n)],
        );
        vector::<R, _>(out, &s, &MaxPool { scheme, window: Window::square(3, 1) }, &[image(m)]);
        vector::<R, _>(out, &s, &Argmax { scheme }, &[Form::new([3, 5], n)]);
        let steps = [-900, -1, 0, 700].map(|at| Step { at, by: 7 - at });
        vector::<R, _>(out, &s, &Staircase { scheme, base: -5, steps: steps.into() }, &[row(m)]);
        vector::<R, _>(out, &s, &Audit { scheme, theta: 1000 }, &[row(m)]);
        let window = Window::square(2, 2);
        let mean = AvgPool { window, count_include_pad: true, cut: f, mode: Mode::Floor(scheme) };
        vector::<R, _>(out, &format!("{s} mean"), &mean, &[image(n)]);
        choices::<R>(out, scheme, &[row(m), row(m)]);
    }
}

#[test]
fn tiles_and_transcripts_are_frozen() {
    let mut now = Map::new();
    ring::<u32>(&mut now, 12);
    ring::<u64>(&mut now, 16);
    if std::env::var_os("TWOPLY_FREEZE").is_some() {
        let text = serde_json::to_string_pretty(&json!({ "good": now, "bad": bad_tiles() })).unwrap();
        std::fs::write(FILE, text + "\n").unwrap();
    }
    let file: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    let frozen = file["good"].as_object().unwrap();
    assert_eq!(frozen.keys().collect::<Vec<_>>(), now.keys().collect::<Vec<_>>(), "the same gates");
    for (name, entry) in &now {
        assert_eq!(&frozen[name], entry, "{name}");
    }
}

/// The gate that the bad tiles are offered to, and its good tile.
fn victim() -> (Relu, Dealt<u32>, Vec<u8>) {
    let gate = Relu { scheme: Scheme::Digits, shift: 0, out: 32 };
    let dealt = deal(&gate, &[Form::new([1, 3], 20)], 310);
    let good = dealt.store.bytes(Site { gate: 1, part: 0 }, 0, PartyId::P1).to_vec();
    (gate, dealt, good)
}

fn bad_tiles() -> Value {
    let (_, _, good) = victim();
    let other =
        deal::<u32, _>(&Relu { scheme: Scheme::Dpf, shift: 0, out: 32 }, &[Form::new([1, 3], 20)], 310);
    let longer =
        deal::<u32, _>(&Relu { scheme: Scheme::Digits, shift: 0, out: 32 }, &[Form::new([1, 4], 20)], 310);
    let bytes = |d: &Dealt<u32>, p| hex(d.store.bytes(Site { gate: 1, part: 0 }, 0, p));
    let one = |what: &str, tile: String| json!({ "what": what, "tile": tile });
    json!([
        one("empty", String::new()),
        one("last byte missing", hex(&good[..good.len() - 1])),
        one("one byte too long", hex(&[&good[..], &[0]].concat())),
        one("words only, no tables", hex(&good[good.len() - 40..])),
        one("of another scheme", bytes(&other, PartyId::P1)),
        one("P0's tile of another scheme", bytes(&other, PartyId::P0)),
        one("of a longer segment", bytes(&longer, PartyId::P1)),
    ])
}

#[test]
fn bad_tiles_are_refused() {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    let bad = file["bad"].as_array().unwrap();
    assert_eq!(bad.len(), 7);
    for case in bad {
        let (gate, mut dealt, good) = victim();
        let what = case["what"].as_str().unwrap();
        let tile = unhex(case["tile"].as_str().unwrap());
        assert_ne!(tile, good, "{what}");
        let found = format!("{} bytes", tile.len());
        dealt.store.replace(Site { gate: 1, part: 0 }, 0, PartyId::P1, tile);
        let value = [dealt.operands[0].hide(&[1, 2, 3])];
        let [(p0, _), (p1, _)] = parties(&dealt.store, &dealt.seeds, 1, |s| dealt.program(&gate, &value, s));
        match p1.unwrap_err() {
            Error::PlanMismatch { at: 1, found: f, .. } => assert_eq!(f, found, "{what}"),
            other => panic!("{what}: {other}"),
        }
        assert!(matches!(p0, Err(Error::Channel(_))), "{what}: the other side ends too");
    }
}

#[test]
fn a_tile_of_another_gate_is_refused_by_name() {
    let (_, dealt, _) = victim();
    let form = dealt.operands[0].form.clone();
    let ends = parties(&dealt.store, &dealt.seeds, 1, |s| {
        s.end_gate();
        Lift.eval(s, &[&dealt.operands[0].wire(s.me, &vec![0; form.len()])]).map(drop)
    });
    match &ends[1].0 {
        Err(Error::PlanMismatch { at: 1, wanted, found }) => {
            assert_eq!((&wanted[..], &found[..]), ("lift", "relu"))
        }
        other => panic!("{other:?}"),
    }
}
