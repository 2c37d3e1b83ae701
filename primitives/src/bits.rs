//! Bit vectors, and arrays of narrow words packed without gaps: the only two shapes in which data travels or is stored.
//!
//! Bit `i` of a packed array is bit `i % 8` of byte `i / 8`; word `j` of width `w` takes bits `j*w..(j+1)*w`, lowest first.

use crate::ring::ones;

/// A vector of bits, 64 to a word, lowest first. Bits past `len` are zero.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Bits { words: vec![0; len.div_ceil(64)], len }
    }
    /// From words; bits past `len` are cleared.
    pub fn from_words(mut words: Vec<u64>, len: usize) -> Self {
        words.resize(len.div_ceil(64), 0);
        if !len.is_multiple_of(64) {
            words[len / 64] &= ones(len as u32 % 64);
        }
        Bits { words, len }
    }
    /// Bit `i` is `f(i)`; only its lowest bit counts.
    pub fn from_fn(len: usize, f: impl Fn(usize) -> u64) -> Self {
        let word = |w: usize| (0..64.min(len - w * 64)).fold(0, |acc, i| acc | (f(w * 64 + i) & 1) << i);
        Bits { words: (0..len.div_ceil(64)).map(word).collect(), len }
    }
    /// `len` bits of a packed array from bit `from` on. The array must hold them.
    pub fn read(bytes: &[u8], from: usize, len: usize) -> Self {
        let words =
            (0..len.div_ceil(64)).map(|w| read_word(bytes, from + w * 64, 64.min(len - w * 64) as u32));
        Bits { words: words.collect(), len }
    }
    /// Number of bits.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether there is no bit.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The words; bits past `len` are zero.
    pub fn words(&self) -> &[u64] {
        &self.words
    }
    /// Bit `i`, as 0 or 1.
    #[inline(always)]
    pub fn bit(&self, i: usize) -> u64 {
        self.words[i / 64] >> (i % 64) & 1
    }
    /// Exclusive or with a vector of the same length.
    pub fn xor(&self, o: &Bits) -> Bits {
        debug_assert_eq!(self.len, o.len);
        Bits { words: self.words.iter().zip(&o.words).map(|(a, b)| a ^ b).collect(), len: self.len }
    }
    /// And with a vector of the same length.
    pub fn and(&self, o: &Bits) -> Bits {
        debug_assert_eq!(self.len, o.len);
        Bits { words: self.words.iter().zip(&o.words).map(|(a, b)| a & b).collect(), len: self.len }
    }
    /// Complement.
    pub fn not(&self) -> Bits {
        Bits::from_words(self.words.iter().map(|w| !w).collect(), self.len)
    }
    /// Appends `o`.
    pub fn append(&mut self, o: &Bits) {
        let shift = self.len % 64;
        self.len += o.len;
        if shift == 0 {
            self.words.extend_from_slice(&o.words);
        } else {
            for &w in &o.words {
                if let Some(last) = self.words.last_mut() {
                    *last |= w << shift;
                }
                self.words.push(w >> (64 - shift));
            }
            self.words.truncate(self.len.div_ceil(64));
        }
    }
    /// Bits `from..from + len`.
    pub fn slice(&self, from: usize, len: usize) -> Bits {
        assert!(from + len <= self.len, "bits {from}..{} of {}", from + len, self.len);
        let (base, shift) = (from / 64, from % 64);
        let word = |w: usize| {
            let low = self.words[base + w] >> shift;
            match self.words.get(base + w + 1) {
                Some(&high) if shift > 0 => low | high << (64 - shift),
                _ => low,
            }
        };
        Bits::from_words((0..len.div_ceil(64)).map(word).collect(), len)
    }
    /// Packed, `ceil(len / 8)` bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out: Vec<u8> = self.words.iter().flat_map(|w| w.to_le_bytes()).collect();
        out.truncate(self.len.div_ceil(8));
        out
    }
}

/// `width <= 64` bits of a packed array from bit `at` on; bits past the end of the array read as zero.
#[inline(always)]
pub fn read_word(bytes: &[u8], at: usize, width: u32) -> u64 {
    let (byte, shift) = (at / 8, at as u32 % 8);
    if let Some(chunk) = bytes.get(byte..byte + 16) {
        let mut b = [0; 16];
        b.copy_from_slice(chunk);
        return (u128::from_le_bytes(b) >> shift) as u64 & ones(width);
    }
    let mut b = [0; 16];
    let rest = bytes.get(byte..).unwrap_or(&[]);
    let n = rest.len().min(16);
    b[..n].copy_from_slice(&rest[..n]);
    (u128::from_le_bytes(b) >> shift) as u64 & ones(width)
}

/// Packs words at `width` bits; upper bits are ignored. `ceil(len * width / 8)` bytes.
pub fn pack(words: impl ExactSizeIterator<Item = u64>, width: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity((words.len() * width as usize).div_ceil(8));
    let (mut acc, mut held) = (0u128, 0);
    for w in words {
        acc |= ((w & ones(width)) as u128) << held;
        held += width;
        while held >= 8 {
            out.push(acc as u8);
            acc >>= 8;
            held -= 8;
        }
    }
    if held > 0 {
        out.push(acc as u8);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packing_round_trips(words in prop::collection::vec(any::<u64>(), 0..50), width in 1u32..=64) {
            let packed = pack(words.iter().copied(), width);
            prop_assert_eq!(packed.len(), (words.len() * width as usize).div_ceil(8));
            for (i, w) in words.iter().enumerate() {
                prop_assert_eq!(read_word(&packed, i * width as usize, width), w & ones(width));
            }
        }

        #[test]
        fn slices_of_appended_vectors_are_the_parts(
            a in prop::collection::vec(0u64..2, 0..200),
            b in prop::collection::vec(0u64..2, 0..200),
            skip in 0usize..100,
        ) {
            let bits = |v: &[u64]| Bits::from_fn(v.len(), |i| v[i]);
            let mut all = bits(&a);
            all.append(&bits(&b));
            let both: Vec<u64> = a.iter().chain(&b).copied().collect();
            prop_assert_eq!(&all, &bits(&both));
            prop_assert_eq!(all.slice(a.len(), b.len()), bits(&b));
            let skip = skip.min(both.len());
            prop_assert_eq!(Bits::read(&all.to_bytes(), skip, both.len() - skip), bits(&both[skip..]));
            prop_assert_eq!(all.not().xor(&all), Bits::from_fn(both.len(), |_| 1));
        }
    }
}
