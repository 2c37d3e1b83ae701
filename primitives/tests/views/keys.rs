//! Keys of both comparisons, as one party holds them, against alpha.

use crate::common::{ORIGIN, Store, full, random, seeds};
use crate::stats::{Plane, View, planes, xor};
use crate::tree::{Keys, secrets};
use twoply_primitives::bits::read_word;
use twoply_primitives::compare::{Comparison, Widths, digits::Digits};
use twoply_primitives::deal::TileDeal;
use twoply_primitives::*;

/// Keys per test, and per test of bias at a fixed alpha.
pub const KEYS: usize = 15 * TILE;
const MANY: usize = 25 * TILE;

/// Bits of alpha, sample by sample.
pub fn alpha_planes(alpha: &[u64], w: u32) -> Vec<Plane> {
    planes(&alpha.iter().map(|&a| a as u128).collect::<Vec<_>>(), w, 1)
}

/// Everything a party has of half-tree keys: the words, its seeds and control bits along two paths that do not depend
/// on alpha, its leaves there, and the words combined with the seeds.
pub fn tree_view(keys: &Keys, party: usize, pairs: bool) -> View {
    let mut v = View::default();
    let mut control = vec![];
    for (l, words) in keys.words.iter().enumerate() {
        let range = v.see(&format!("word {l}"), planes(words, 128, 1));
        control.push(range.start);
        if pairs {
            v.pair(range);
        }
    }
    for (name, x) in [("left", 0), ("right", ring::ones(keys.w))] {
        for (l, seeds) in keys.walk(party, |_| x).iter().enumerate() {
            let seen = planes(seeds, 128, 1);
            let words = planes(&keys.words[(l + 1).min(keys.words.len() - 1)], 128, 1);
            v.see(
                &format!("{name} seed {l} xor next word"),
                seen.iter().zip(&words).map(|(a, b)| xor(a, b)).collect(),
            );
            let first = v.see(&format!("{name} seed {l}"), seen).start;
            // the two children of the root differ by the root, whose control bit is the party's number
            if l > 0 || x == 0 {
                control.push(first);
            }
        }
    }
    // control bits: the lowest ones of all words and seeds
    v.pair(control);
    v
}

fn tree_against_alpha(w: u32, pairs: bool) {
    let keys = Keys::deal(w, secrets(w, KEYS, 50 + w as u64), 60);
    for party in [0, 1] {
        // the words are the same for both: one party's pairs are enough
        let mut v = tree_view(&keys, party, pairs && party == 0);
        v.keep("alpha", alpha_planes(&keys.alpha, w));
        v.worst().clean(&format!("half-tree of {w} bits, P{party}, random alpha"));
    }
}

#[test]
fn half_tree_keys_do_not_show_alpha() {
    tree_against_alpha(8, true);
    tree_against_alpha(19, true);
    tree_against_alpha(31, full());
    if full() {
        tree_against_alpha(63, true);
    }
}

#[test]
fn half_tree_keys_look_uniform_for_a_fixed_alpha() {
    let w = 19;
    for alpha in [0, ring::ones(w), 0b101_1100_0101_0110_0101] {
        let keys = Keys::deal(w, vec![alpha; MANY], 70);
        for party in [0, 1] {
            tree_view(&keys, party, party == 0)
                .worst()
                .clean(&format!("half-tree, P{party}, alpha = {alpha:#x}"));
        }
    }
}

/// Stored fields of one party's tiles of a part, but for words of point functions, which both have: width and value of every
/// element; tables of 256 bits in halves.
pub fn stored(store: &Store, site: Site, part: &Part, party: PartyId) -> Vec<(u32, Vec<u128>)> {
    let fields = &part.fields[party.index()];
    // width of the field, first bit of what is read of it, and values
    let halves = |&w: &u32| (0..w).step_by(128).map(move |low| (w, low, Vec::with_capacity(part.elements)));
    let mut out: Vec<(u32, u32, Vec<u128>)> = fields.iter().flat_map(halves).collect();
    for tile in 0..part.tiles() {
        if part.bits(party.index()) == 0 {
            continue;
        }
        let (bytes, len) = (store.bytes(site, tile, party), part.tile_len(tile));
        let mut from = 0;
        for (width, low, values) in &mut out {
            let (w, low) = (*width as usize, *low as usize);
            let part = |i: usize, low: usize| {
                read_word(bytes, from * 8 + i * w + low, (w - low).min(64) as u32) as u128
            };
            let more = |i: usize| if w > low + 64 { part(i, low + 64) << 64 } else { 0 };
            values.extend((0..len).map(|i| part(i, low) | more(i)));
            if low + 128 >= w {
                from += record::packed_len(*width, len);
            }
        }
    }
    // words of point functions lie in blocks; they are tested above
    out.retain(|(w, ..)| !part.fields[0].contains(w));
    out.into_iter().map(|(w, _, values)| (w.min(128), values)).collect()
}

/// Deals one part of one gate by hand: `f` fills the tiles of `alpha`.
pub fn by_hand(
    fields: Vec<u32>,
    alpha: &[u64],
    f: impl Fn(&mut TileDeal<Cpu<u64>>, &Vec<u64>) + Sync,
) -> View {
    let (site, mut store) = (Site { gate: 0, part: 0 }, Store::default());
    let part = Part { elements: alpha.len(), fields: [vec![], fields] };
    let mut d = Deal::new(Cpu::<u64>::new(), seeds(80), ORIGIN, 1, &mut store);
    let alpha = alpha.to_vec();
    d.tiles("by hand", 0, &part, |t| f(t, &t.part_of(&alpha))).unwrap();
    assert!(stored(&store, site, &part, PartyId::P0).is_empty(), "P0 has its seed alone");
    let mut v = View::default();
    for (i, (width, values)) in stored(&store, site, &part, PartyId::P1).iter().enumerate() {
        v.see(&format!("field {i}"), planes(values, *width, 1));
    }
    v
}

fn digits_view(w: u32, low: Option<u32>, alpha: &[u64]) -> View {
    let digits = Digits::new(Widths { w, low });
    let [_, fields] = Comparison::<Cpu<u64>>::fields(&digits);
    by_hand(fields, alpha, |t, alpha| digits.deal(t, alpha))
}

#[test]
fn digit_tables_and_products_do_not_show_alpha() {
    let wide =
        if full() { &[(31, None), (31, Some(12)), (47, None), (63, None)][..] } else { &[(31, Some(12))] };
    for &(w, low) in [(8, None), (19, None)].iter().chain(wide) {
        let alpha = secrets(w, KEYS, 81);
        let mut v = digits_view(w, low, &alpha);
        v.keep("alpha", alpha_planes(&alpha, w));
        if w > 19 && !full() {
            v.thin(8);
        }
        v.pair_all();
        v.worst().clean(&format!("digits of {w} bits, P1, random alpha"));
        for alpha in [0, ring::ones(w), random(82, 1)[0] & ring::ones(w)] {
            let mut v = digits_view(w, low, &vec![alpha; MANY]);
            v.pair_all();
            v.worst().clean(&format!("digits of {w} bits, P1, alpha = {alpha:#x}"));
        }
    }
}
