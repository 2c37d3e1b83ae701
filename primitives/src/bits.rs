//! Bit vectors, and arrays of narrow words packed without gaps: the only two shapes in which data travels or is stored.
//!
//! Bit `i` of a packed array is bit `i % 8` of byte `i / 8`; word `j` of width `w` takes bits `j*w..(j+1)*w`, lowest first.

use crate::Ring;
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
        let mut words = vec![0; len.div_ceil(64)];
        read_bits(bytes, from, len, &mut words);
        Bits { words, len }
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
        match self.words.pop() {
            Some(mut carry) if shift > 0 => {
                self.words.extend(o.words.iter().map(|w| {
                    let word = carry | w << shift;
                    carry = w >> (64 - shift);
                    word
                }));
                self.words.push(carry);
                self.words.truncate(self.len.div_ceil(64));
            }
            last => {
                self.words.extend(last);
                self.words.extend_from_slice(&o.words);
            }
        }
    }
    /// Bits `from..from + len`.
    pub fn slice(&self, from: usize, len: usize) -> Bits {
        let mut words = vec![0; len.div_ceil(64)];
        self.copy(from, len, &mut words);
        Bits { words, len }
    }
    /// Bits `from..from + len` into words; bits past `len` become zero.
    fn copy(&self, from: usize, len: usize, out: &mut [u64]) {
        assert!(from + len <= self.len, "bits {from}..{} of {}", from + len, self.len);
        let (words, shift) = (&self.words[from / 64..], from % 64);
        if shift == 0 {
            out.copy_from_slice(&words[..out.len()]);
        } else {
            let high = words[1..].iter().chain([&0]);
            for ((out, low), high) in out.iter_mut().zip(words).zip(high) {
                *out = low >> shift | high << (64 - shift);
            }
        }
        clear_past(out, len);
    }
    /// Packed, `ceil(len / 8)` bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![0; self.words.len() * 8];
        write_words(&self.words, &mut out);
        out.truncate(self.len.div_ceil(8));
        out
    }
}

/// Bit vectors of one length in one allocation; each begins at a word, and bits past its length are zero.
pub struct Planes {
    words: Vec<u64>,
    len: usize,
}

impl Planes {
    /// `count` vectors of `len` zeros.
    pub fn zeros(count: usize, len: usize) -> Self {
        Planes { words: vec![0; count * len.div_ceil(64)], len }
    }
    /// From vectors of one length, at least one.
    pub fn of(bits: Vec<Bits>) -> Self {
        let len = bits.first().map_or(0, Bits::len);
        debug_assert!(bits.iter().all(|b| b.len == len));
        let mut all = bits.into_iter();
        let mut words = all.next().unwrap_or_default().words;
        all.for_each(|b| words.extend_from_slice(&b.words));
        Planes { words, len }
    }
    /// Bits of each.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether they have no bits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Number of vectors; of empty ones nobody knows.
    pub fn count(&self) -> usize {
        self.words.len().checked_div(self.stride()).unwrap_or(0)
    }
    /// Vector `p` by itself.
    pub fn bits(&self, p: usize) -> Bits {
        Bits { words: self.plane(p).to_vec(), len: self.len }
    }
    /// Exclusive or with as many vectors of the same length.
    pub fn xor(mut self, o: &Planes) -> Planes {
        debug_assert_eq!((self.len, self.words.len()), (o.len, o.words.len()));
        self.words.iter_mut().zip(&o.words).for_each(|(a, b)| *a ^= b);
        self
    }
    /// All of them, one after the other without gaps.
    pub fn join(&self) -> Bits {
        let stride = self.stride();
        if self.len == stride * 64 {
            return Bits { len: self.words.len() * 64, words: self.words.clone() };
        }
        let mut out = Bits::default();
        for plane in self.words.chunks_exact(stride) {
            out.append(&Bits { words: plane.to_vec(), len: self.len });
        }
        out
    }
    /// Vector `p`.
    pub fn plane(&self, p: usize) -> &[u64] {
        &self.words[p * self.stride()..][..self.stride()]
    }
    /// Vector `a` and, to be written to, vector `b` behind it.
    pub fn pair(&mut self, a: usize, b: usize) -> [&mut [u64]; 2] {
        let stride = self.stride();
        let (low, high) = self.words.split_at_mut(b * stride);
        [&mut low[a * stride..][..stride], &mut high[..stride]]
    }
    /// All vectors, to be written to: bits past the length must stay zero.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u64]> {
        let stride = self.stride().max(1);
        self.words.chunks_exact_mut(stride)
    }
    fn stride(&self) -> usize {
        self.len.div_ceil(64)
    }
}

/// Clears the bits from `len` on.
pub fn clear_past(words: &mut [u64], len: usize) {
    if !len.is_multiple_of(64) {
        words[len / 64] &= ones(len as u32 % 64);
    }
}

/// `len` bits of a packed array from bit `from` on, into words; bits past `len` become zero.
pub fn read_bits(bytes: &[u8], from: usize, len: usize, out: &mut [u64]) {
    let shift = from % 8;
    let bytes = &bytes[from / 8..(from + len).div_ceil(8)];
    let (whole, rest) = bytes.as_chunks::<8>();
    for (out, b) in out.iter_mut().zip(whole) {
        *out = u64::from_le_bytes(*b);
    }
    if let Some(out) = out.get_mut(whole.len()) {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        *out = u64::from_le_bytes(last);
    }
    if shift > 0 {
        for (i, out) in out.iter_mut().enumerate() {
            let high = bytes.get(8 * i + 8).copied().unwrap_or(0) as u64;
            *out = *out >> shift | high << (64 - shift);
        }
    }
    clear_past(out, len);
}

/// Little-endian bytes of words; `out` has 8 for each.
pub fn write_words(words: &[u64], out: &mut [u8]) {
    for (out, w) in out.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *out = w.to_le_bytes();
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

/// Words handled together: 8 words of any width fill whole bytes, so groups do not wait for each other.
const GROUP: usize = 8;

/// Packs words at `width <= n` bits; upper bits are ignored. `ceil(len * width / 8)` bytes.
pub fn pack<R: Ring>(words: &[R], width: u32) -> Vec<u8> {
    let size = (words.len() * width as usize).div_ceil(8);
    // every step writes 16 bytes, of which the next one overwrites what it did not mean
    let mut out = vec![0; size + 16];
    match (width, R::BITS) {
        (32, 32) => whole(words, &mut out, |w, out: &mut [u8; 4]| *out = (w.low() as u32).to_le_bytes()),
        (64, 64) => whole(words, &mut out, |w, out: &mut [u8; 8]| *out = w.low().to_le_bytes()),
        (0..=28, _) => groups(words, width, &mut out, pack_pairs),
        (29..=56, _) => groups(words, width, &mut out, pack_narrow),
        _ => groups(words, width, &mut out, pack_wide),
    }
    out.truncate(size);
    out
}

/// Words that take whole bytes.
#[inline(always)]
fn whole<R: Ring, const N: usize>(words: &[R], out: &mut [u8], f: impl Fn(R, &mut [u8; N])) {
    words.iter().zip(out.as_chunks_mut().0).for_each(|(w, out)| f(*w, out));
}

#[inline(always)]
fn groups<R: Ring>(words: &[R], width: u32, out: &mut [u8], f: impl Fn(&[R; GROUP], u32, &mut [u8])) {
    let (full, rest) = words.as_chunks::<GROUP>();
    let bytes = width as usize;
    for (i, group) in full.iter().enumerate() {
        f(group, width, &mut out[i * bytes..][..bytes + 16]);
    }
    let mut last = [R::ZERO; GROUP];
    last[..rest.len()].copy_from_slice(rest);
    let mut tail = [0; 64 + 16];
    f(&last, width, &mut tail);
    let at = full.len() * bytes;
    let len = (rest.len() * bytes).div_ceil(8);
    out[at..at + len].copy_from_slice(&tail[..len]);
}

/// Two words at a time, of at most 28 bits each.
#[inline(always)]
fn pack_pairs<R: Ring>(words: &[R; GROUP], width: u32, out: &mut [u8]) {
    let (mut acc, mut held, mut at) = (0, 0, 0);
    for [low, high] in words.as_chunks::<2>().0 {
        let pair = low.low() & ones(width) | (high.low() & ones(width)) << width;
        acc |= pair << held;
        out[at..at + 8].copy_from_slice(&acc.to_le_bytes());
        held += 2 * width;
        at += held as usize / 8;
        acc >>= held & !7;
        held &= 7;
    }
}

/// Words of at most 56 bits.
#[inline(always)]
fn pack_narrow<R: Ring>(words: &[R; GROUP], width: u32, out: &mut [u8]) {
    let (mut acc, mut held, mut at) = (0, 0, 0);
    for w in words {
        acc |= (w.low() & ones(width)) << held;
        out[at..at + 8].copy_from_slice(&acc.to_le_bytes());
        held += width;
        at += held as usize / 8;
        acc >>= held & !7;
        held &= 7;
    }
}

/// Words of at most 64 bits.
#[inline(always)]
fn pack_wide<R: Ring>(words: &[R; GROUP], width: u32, out: &mut [u8]) {
    let (mut acc, mut held, mut at) = (0, 0, 0);
    for w in words {
        acc |= ((w.low() & ones(width)) as u128) << held;
        out[at..at + 16].copy_from_slice(&acc.to_le_bytes());
        held += width;
        at += held as usize / 8;
        acc >>= held & !7;
        held &= 7;
    }
}

/// The inverse of [`pack`]: `len` words of `width <= n` bits from bit `at` on. The array must hold them.
pub fn unpack<R: Ring>(bytes: &[u8], at: usize, width: u32, len: usize) -> Vec<R> {
    let end = (at + len * width as usize).div_ceil(8);
    let bytes = &bytes[..end];
    match (width, at % 8, R::BITS) {
        (32, 0, 32) => {
            let (words, _) = bytes[at / 8..].as_chunks();
            return words.iter().map(|b| R::from_u64(u32::from_le_bytes(*b) as u64)).collect();
        }
        (64, 0, 64) => {
            let (words, _) = bytes[at / 8..].as_chunks();
            return words.iter().map(|b| R::from_u64(u64::from_le_bytes(*b))).collect();
        }
        _ => {}
    }
    // words whose 9 bytes lie within the array, then the few at its end
    let inner = ((bytes.len() * 8).saturating_sub(at + 72) / width.max(1) as usize).min(len);
    let mut out = Vec::with_capacity(len);
    let mask = ones(width);
    if width <= 57 {
        out.extend((0..inner).map(|i| {
            let at = at + i * width as usize;
            R::from_u64(load(bytes, at / 8) >> (at % 8) & mask)
        }));
    } else {
        out.extend((0..inner).map(|i| {
            let at = at + i * width as usize;
            let high = (bytes[at / 8 + 8] as u64) << 1 << (63 - at % 8);
            R::from_u64((load(bytes, at / 8) >> (at % 8) | high) & mask)
        }));
    }
    out.extend((inner..len).map(|i| R::from_u64(read_word(bytes, at + i * width as usize, width))));
    out
}

/// 8 bytes from `at` on.
#[inline(always)]
fn load(bytes: &[u8], at: usize) -> u64 {
    let mut b = [0; 8];
    b.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packing_round_trips(words in prop::collection::vec(any::<u64>(), 0..50), width in 1u32..=64) {
            let packed = pack(&words, width);
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
