//! AES-128 (FIPS-197) under one key on one rung of instruction sets, and its counter mode.
//!
//! The portable rung is the `aes` crate: constant-time software, or the processor's AES where the crate finds one;
//! built with `--cfg aes_backend="soft"` it is software alone, and so it is checked for secret-dependent branches
//! (`constant-time/run.sh`). The other rungs run our kernels on round keys that one schedule makes.
#![allow(unsafe_code)] // kernels of detected instruction sets, words written into fresh memory

#[cfg(target_arch = "x86_64")]
mod ni;
#[cfg(target_arch = "x86_64")]
mod vaes;

use crate::Ring;
use crate::backend::Isa;
use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use std::mem::MaybeUninit;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Blocks per call of the `aes` crate: fewer leave most of its speed unused where it finds instructions.
const BATCH: usize = 64;

/// Round keys 0 to 10, little-endian.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Rounds(pub [u128; 11]);

/// Types of which any bytes are a value. Seals [`Ring`].
///
/// # Safety
/// Every bit pattern must be a value; no padding.
pub unsafe trait Plain: Copy {}
// SAFETY: integers.
unsafe impl Plain for u8 {}
// SAFETY: integers.
unsafe impl Plain for u32 {}
// SAFETY: integers.
unsafe impl Plain for u64 {}

/// A key, expanded for the kernels of one rung.
#[derive(Clone)]
pub(crate) struct Cipher {
    kernel: Kernel,
    #[cfg(feature = "cuda")]
    key: zeroize::Zeroizing<[u8; 16]>,
}

#[cfg(feature = "cuda")]
impl Rounds {
    /// The key schedule, by the processor's AES where it has it and by constant-time software elsewhere.
    pub fn of(key: &[u8; 16]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if Isa::detected() > Isa::Portable {
            // SAFETY: a rung above `Portable` is detected only with AES-NI.
            return unsafe { ni::schedule(key) };
        }
        Rounds::portable(key)
    }
    /// The same on any machine: a round on four equal columns is their substitution, but for the mixing.
    fn portable(key: &[u8; 16]) -> Self {
        let substituted = |word: u32| {
            let mut block = Array([0; 16]);
            block.chunks_exact_mut(4).for_each(|c| c.copy_from_slice(&word.to_le_bytes()));
            aes::hazmat::cipher_round(&mut block, &Array([0; 16]));
            aes::hazmat::inv_mix_columns(&mut block);
            u32::from_le_bytes([block[0], block[1], block[2], block[3]])
        };
        let mut all = [u128::from_le_bytes(*key); 11];
        let mut constant = 1u32;
        for i in 1..11 {
            let last = all[i - 1];
            let mut word = substituted(((last >> 96) as u32).rotate_right(8)) ^ constant;
            constant = (constant << 1) ^ ((constant >> 7) * 0x11b);
            all[i] = (0..4).fold(0, |round, c| {
                word ^= (last >> (32 * c)) as u32;
                round | (word as u128) << (32 * c)
            });
        }
        Rounds(all)
    }
}

/// What a kernel runs on. Only [`Cipher::new`] makes one, and the rungs above the first only where the machine has
/// them: whoever holds the reference may call code compiled for that rung.
#[derive(Clone)]
pub(crate) enum Kernel {
    Portable(Aes128),
    #[cfg(target_arch = "x86_64")]
    Avx2(Rounds),
    #[cfg(target_arch = "x86_64")]
    Avx512(Rounds),
}

impl Cipher {
    /// `key` on a rung that this machine has; on its highest if `isa` is above that.
    pub fn new(isa: Isa, key: &[u8; 16]) -> Self {
        let kernel = match isa.min(Isa::detected()) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a rung above `Portable` is detected only with AES-NI.
            Isa::Avx2 => Kernel::Avx2(unsafe { ni::schedule(key) }),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx512 => Kernel::Avx512(unsafe { ni::schedule(key) }),
            _ => Kernel::Portable(Aes128::new(&Array(*key))),
        };
        Cipher {
            kernel,
            #[cfg(feature = "cuda")]
            key: zeroize::Zeroizing::new(*key),
        }
    }
    /// Round keys, for kernels of another device.
    #[cfg(feature = "cuda")]
    pub fn rounds(&self) -> Rounds {
        Rounds::of(&self.key)
    }

    /// What the kernels of this rung run on.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Encrypts every block in place.
    pub fn encrypt(&self, blocks: &mut [u128]) {
        match &self.kernel {
            Kernel::Portable(aes) => {
                for chunk in blocks.chunks_mut(BATCH) {
                    let mut b = [Array([0; 16]); BATCH];
                    b.iter_mut().zip(&*chunk).for_each(|(b, s)| b.0 = s.to_le_bytes());
                    aes.encrypt_blocks(&mut b[..chunk.len()]);
                    chunk.iter_mut().zip(&b).for_each(|(s, b)| *s = u128::from_le_bytes(b.0));
                }
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: these variants exist only on machines with AES-NI.
            Kernel::Avx2(k) | Kernel::Avx512(k) => unsafe { ni::encrypt(k, blocks) },
        }
    }

    /// Bytes `from..from + out.len()` of the counter stream `high`: the encryptions of `high << 64 | i`, `i = 0, 1, ..`,
    /// each anded with `mask`. Writes every byte of `out`.
    pub fn fill(&self, high: u64, from: usize, mask: u128, out: &mut [MaybeUninit<u8>]) {
        let (first, skip) = ((from / 16) as u64, from % 16);
        let (head, rest) = out.split_at_mut(out.len().min((16 - skip) % 16));
        if !head.is_empty() {
            let mut block = [MaybeUninit::uninit(); 16];
            self.stream(high, first, mask, &mut block);
            head.copy_from_slice(&block[skip..skip + head.len()]);
        }
        self.stream(high, first + (skip > 0) as u64, mask, rest);
    }

    /// The same from block `first` on.
    fn stream(&self, high: u64, first: u64, mask: u128, out: &mut [MaybeUninit<u8>]) {
        match &self.kernel {
            Kernel::Portable(aes) => portable(aes, high, first, mask, out),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this variant exists only on machines of the rung.
            Kernel::Avx2(k) => unsafe { ni::keystream(k, high, first, mask, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kernel::Avx512(k) => unsafe { vaes::keystream(k, high, first, mask, out) },
        }
    }

    /// `fill` of plain bytes.
    pub fn bytes(&self, high: u64, from: usize, out: &mut [u8]) {
        // SAFETY: bytes may be viewed as bytes that need not be initialised, since `fill` writes nothing but
        // initialised ones.
        let out = unsafe { &mut *(out as *mut [u8] as *mut [MaybeUninit<u8>]) };
        self.fill(high, from, u128::MAX, out);
    }

    /// The stream from byte `from` on, as words.
    pub fn fill_words(&self, high: u64, from: usize, out: &mut [u64]) {
        // SAFETY: the bytes of `out`, of which `fill` leaves none uninitialised.
        let bytes = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast(), size_of_val(out)) };
        self.fill(high, from, u128::MAX, bytes);
        if cfg!(target_endian = "big") {
            out.iter_mut().for_each(|w| *w = w.swap_bytes());
        }
    }

    /// Whole blocks of a stream, from block `first` on.
    #[inline]
    pub fn blocks(&self, high: u64, first: u64, out: &mut [u128]) {
        // SAFETY: the bytes of `out`, of which `stream` leaves none uninitialised.
        let bytes = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast(), out.len() * 16) };
        self.stream(high, first, u128::MAX, bytes);
        if cfg!(target_endian = "big") {
            out.iter_mut().for_each(|b| *b = b.swap_bytes());
        }
    }

    /// Words `from..from + len` of a stream, a whole ring element each, of which the lowest `bits` bits are kept: one
    /// pass, straight into the vector.
    pub fn words<R: Ring>(&self, high: u64, from: usize, len: usize, bits: u32) -> Vec<R> {
        let size = size_of::<R>();
        let mask = (0..16 / size).fold(0, |m, i| m | (R::ones(bits).low() as u128) << (i * size * 8));
        let mut out: Vec<R> = self.vector(high, from, len, mask);
        if cfg!(target_endian = "big") {
            out.iter_mut().for_each(|w| *w = R::from_u64(w.low().swap_bytes() >> (64 - R::BITS)));
        }
        out
    }

    /// Values `from..from + len` of a stream, each as wide as its type.
    pub fn vector<T: Plain>(&self, high: u64, from: usize, len: usize, mask: u128) -> Vec<T> {
        let mut out = Vec::<T>::with_capacity(len);
        let spare = &mut out.spare_capacity_mut()[..len];
        // SAFETY: the spare room of `len` elements, seen as its bytes, which need not be initialised.
        let bytes = unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast(), size_of_val(spare)) };
        self.fill(high, from * size_of::<T>(), mask, bytes);
        // SAFETY: `fill` has written every byte of `len` elements, and any bytes are a `T`.
        unsafe { out.set_len(len) };
        out
    }

    /// Encrypts `blocks` blocks (rounded up to what the rung holds in registers), none of which waits for another:
    /// nothing can be faster on this machine, so this is what kernels are measured against. Returns something that
    /// depends on all of them.
    pub fn ceiling(&self, blocks: usize) -> u128 {
        match &self.kernel {
            Kernel::Portable(_) => {
                let mut b = [1; BATCH];
                (0..blocks.div_ceil(BATCH)).for_each(|_| self.encrypt(&mut b));
                b.iter().fold(0, |a, b| a ^ b)
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this variant exists only on machines of the rung.
            Kernel::Avx2(k) => unsafe { ni::ceiling(k, blocks) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kernel::Avx512(k) => unsafe { vaes::ceiling(k, blocks) },
        }
    }
}

fn portable(aes: &Aes128, high: u64, first: u64, mask: u128, out: &mut [MaybeUninit<u8>]) {
    let mut i = (high as u128) << 64 | first as u128;
    for chunk in out.chunks_mut(16 * BATCH) {
        let mut blocks = [Array([0; 16]); BATCH];
        let count = chunk.len().div_ceil(16);
        for b in &mut blocks[..count] {
            b.0 = i.to_le_bytes();
            i += 1;
        }
        aes.encrypt_blocks(&mut blocks[..count]);
        for (out, b) in chunk.chunks_mut(16).zip(&blocks) {
            let kept = (u128::from_le_bytes(b.0) & mask).to_le_bytes();
            out.iter_mut().zip(kept).for_each(|(o, b)| _ = o.write(b));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> [u8; 16] {
        std::array::from_fn(|i| i as u8)
    }

    /// FIPS-197 appendix C.1, as a block and as a counter.
    #[test]
    fn every_rung_is_aes_128() {
        let plain = u128::from_le_bytes(std::array::from_fn(|i| (i * 0x11) as u8));
        let wanted = 0x5ac5_b470_80b7_cdd8_3004_7b6a_d8e0_c469_u128;
        for isa in Isa::here() {
            let cipher = Cipher::new(isa, &key());
            let mut blocks = [plain; 77];
            cipher.encrypt(&mut blocks);
            assert_eq!(blocks, [wanted; 77], "{isa:?}");
            let mut out = [MaybeUninit::new(0); 16];
            cipher.stream((plain >> 64) as u64, plain as u64, u128::MAX, &mut out);
            // SAFETY: all written, twice.
            assert_eq!(u128::from_le_bytes(out.map(|b| unsafe { b.assume_init() })), wanted, "{isa:?}");
        }
    }

    #[cfg(all(feature = "cuda", target_arch = "x86_64"))]
    #[test]
    fn the_portable_key_schedule_is_the_processors() {
        assert_eq!(Rounds::portable(&key()).0, Rounds::of(&key()).0);
        assert_eq!(Rounds::portable(&key()).0[10].to_le_bytes()[..4], [0x13, 0x11, 0x1d, 0x7f], "FIPS-197");
    }

    #[test]
    fn every_rung_gives_the_same_stream() {
        let slow = Cipher::new(Isa::Portable, &key());
        let mut all = vec![0; 5000];
        slow.bytes(3, 0, &mut all);
        let mut one = [(3u128 << 64) + 41];
        slow.encrypt(&mut one);
        assert_eq!(all[41 * 16..42 * 16], one[0].to_le_bytes(), "the counter is field, then block");
        for isa in Isa::here() {
            let cipher = Cipher::new(isa, &key());
            for len in (0..700).chain([1023, 1024, 1025, 4000]) {
                for from in [0, 1, 15, 16, 37, 999] {
                    let mut out = vec![0xa5; len + 2];
                    cipher.bytes(3, from, &mut out[1..=len]);
                    assert_eq!(out[1..=len], all[from..from + len], "{isa:?}: {len} bytes from {from}");
                    assert_eq!((out[0], out[len + 1]), (0xa5, 0xa5), "{isa:?}: no byte beside them");
                }
            }
        }
    }

    #[test]
    fn every_rung_gives_the_same_words() {
        fn words<R: Ring>(isa: Isa) {
            let (slow, cipher) = (Cipher::new(Isa::Portable, &key()), Cipher::new(isa, &key()));
            for bits in [1, 5, 20, 31, R::BITS] {
                let mut bytes = vec![0; 300 * size_of::<R>()];
                slow.bytes(9, 0, &mut bytes);
                let word = |c: &[u8]| c.iter().rev().fold(0, |w, b| w << 8 | *b as u64);
                let all: Vec<R> = bytes
                    .chunks_exact(size_of::<R>())
                    .map(|c| R::from_u64(word(c)).and(R::ones(bits)))
                    .collect();
                for (from, len) in [(0, 300), (1, 299), (3, 7), (6, 1), (5, 0), (17, 200)] {
                    assert_eq!(cipher.words::<R>(9, from, len, bits), all[from..from + len], "{isa:?}");
                }
            }
        }
        Isa::here().for_each(words::<u32>);
        Isa::here().for_each(words::<u64>);
    }
}
