//! Linear relations between what one party sees: of any number of bits, over the field of two elements.
//!
//! If any sum and difference of opened values is the same in every run on equal secrets, so is the exclusive or of their
//! lowest bits. Pairs and triples of bits find that for two and three values; here it is found for any number, by rank:
//! bits of a clean view, and the constant 1, are independent.

use super::stats::Plane;

/// Bits over all samples that follow from bits before them: their numbers.
pub fn dependent(bits: &[Plane]) -> Vec<usize> {
    let words = bits[0].len();
    // the constant comes first: a bit that never changes depends on it
    let mut basis: Vec<(usize, Plane)> = vec![(0, vec![u64::MAX; words])];
    let mut out = vec![];
    for (i, plane) in bits.iter().enumerate() {
        let mut rest = plane.clone();
        for (pivot, row) in &basis {
            if rest[pivot / 64] >> (pivot % 64) & 1 == 1 {
                rest.iter_mut().zip(row).for_each(|(a, b)| *a ^= b);
            }
        }
        match rest.iter().position(|&w| w != 0) {
            None => out.push(i),
            Some(w) => basis.push((w * 64 + rest[w].trailing_zeros() as usize, rest)),
        }
    }
    assert!(64 * words >= bits.len() + 65, "{} bits need more samples than {}", bits.len(), 64 * words);
    out
}

#[test]
fn relations_of_many_bits_are_found() {
    let random = super::common::random;
    let mut bits: Vec<Plane> = (0..100).map(|i| random(i, 8)).collect();
    assert_eq!(dependent(&bits), [0; 0]);
    let five = |f: fn(u64) -> u64| -> Plane {
        (0..8).map(|w| f([3, 20, 41, 77, 90].iter().fold(0, |z, &i| z ^ bits[i][w]))).collect()
    };
    let (even, odd) = (five(|z| z), five(|z| !z));
    bits.extend([even, vec![0; 8], odd, vec![u64::MAX; 8], random(200, 8)]);
    assert_eq!(dependent(&bits), [100, 101, 102, 103]);
}
