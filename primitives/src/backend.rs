//! The device seam: arithmetic and key batches on one device. Knows neither party nor peer.

mod cpu;

pub use cpu::{Cpu, Isa, spin};
pub(crate) use cpu::{Kernels, Multiply};

use crate::bits::Bits;
use crate::prg::{Roots, Stream, TreeHash};
use crate::{Form, Local, Ring, Window};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Words of one width packed without gaps, as they lie in a key tile or come from a seed; a view from bit `at` on.
pub struct Packed<'a> {
    /// The bytes.
    pub bytes: Cow<'a, [u8]>,
    /// Bit at which word 0 begins.
    pub at: usize,
    /// Bits per word.
    pub width: u32,
    /// Number of words.
    pub len: usize,
}

/// A bilinear map of an activation and a weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Product {
    /// `x [batch, k]` times the transpose of `w [n, k]`.
    Linear,
    /// `x [batch, c, h, w]` with kernels `w [oc, c / groups, kh, kw]`, padded with zeros.
    Conv {
        /// Kernel size, stride, padding, dilation.
        window: Window,
        /// Channel groups.
        groups: usize,
    },
    /// Element by element, two wires of one shape.
    Elementwise,
}

/// One device. Ring vectors and bit vectors live on it; the gates only combine them.
///
/// Every method is data-oblivious: neither branches nor addresses depend on the contents of a buffer.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Ring of the session.
    type Ring: Ring;
    /// Ring elements on the device.
    type Buf: Clone + Send + Sync;

    /// Copies to the device.
    fn upload(&self, v: &[Self::Ring]) -> Self::Buf;
    /// Copies from the device.
    fn download(&self, b: &Self::Buf) -> Vec<Self::Ring>;
    /// Overwrites with zeros, for good.
    fn wipe(&self, b: &mut Self::Buf);
    /// Number of elements.
    fn len(&self, b: &Self::Buf) -> usize;
    /// Elements `from..from + len`.
    fn slice(&self, b: &Self::Buf, from: usize, len: usize) -> Self::Buf;
    /// One after the other.
    fn concat(&self, parts: Vec<Self::Buf>) -> Self::Buf;

    /// Words `from..from + len` of a stream, `bits` wide. A word takes a whole ring element of the stream.
    fn expand(&self, stream: Stream, from: usize, len: usize, bits: u32) -> Self::Buf;
    /// A public map; `out` is the form of its result.
    fn local(&self, f: &Local, out: &Form, forms: &[&Form], x: &[&Self::Buf]) -> Self::Buf;
    /// The sum of these terms on `len` elements, mod 2^bits.
    fn sum(&self, len: usize, terms: &[Term<Self::Ring, Self::Buf>], bits: u32) -> Self::Buf;
    /// `sum of c * x` mod 2^bits, of at least one term.
    fn lin(&self, terms: &[(Self::Ring, &Self::Buf)], bits: u32) -> Self::Buf {
        let all: Vec<_> = terms.iter().map(|&(c, x)| Term::of(c, x)).collect();
        self.sum(terms.first().map_or(0, |t| self.len(t.1)), &all, bits)
    }
    /// Element by element, mod 2^n.
    fn mul(&self, a: &Self::Buf, b: &Self::Buf) -> Self::Buf;
    /// The bilinear map, mod 2^n.
    fn product(&self, p: &Product, forms: [&Form; 2], x: &Self::Buf, w: &Self::Buf) -> Self::Buf;
    /// Adds `row`, repeated, where each of its elements covers `span` consecutive ones (a bias per channel).
    fn add_row(&self, x: &Self::Buf, row: &Self::Buf, span: usize) -> Self::Buf;
    /// `floor((x + add) / 2^by)` mod 2^bits, of the unsigned representative, the sum taken without wrapping.
    fn shift(&self, x: &Self::Buf, add: u64, by: u32, bits: u32) -> Self::Buf;

    /// Bit `i` of every element.
    fn bit(&self, x: &Self::Buf, i: u32) -> Bits;
    /// Bits as ring elements 0 and 1.
    fn of_bits(&self, b: &Bits) -> Self::Buf {
        self.sum(b.len(), &[Term::one(Self::Ring::ONE).when(b)], Self::Ring::BITS)
    }
    /// Packed at `bits`, for the wire or a tile.
    fn pack(&self, x: &Self::Buf, bits: u32) -> Vec<u8>;
    /// The inverse of `pack`; words of at most n bits.
    fn unpack(&self, p: &Packed) -> Self::Buf;

    /// Adds packed words to the elements from `from` on, mod 2^width; in place, as openings are the largest buffers.
    fn add_packed(&self, x: &mut Self::Buf, from: usize, p: &Packed);

    /// Half-tree keys of `w` bits for `alpha`, whose roots begin as `roots` do: writes all of `out`, `16 (w - 6)` bytes per
    /// element in blocks of [`DPF_BLOCK`].
    fn dpf_generate(&self, hash: &TreeHash, w: u32, roots: [Roots; 2], alpha: &Self::Buf, out: &mut [u8]);
    /// This party's bits of `[alpha <= x]` on elements `from..` of a tile whose first root is that of `roots`.
    fn dpf_evaluate(&self, hash: &TreeHash, w: u32, roots: Roots, tile: DpfTile, x: &Self::Buf) -> Bits;
    /// One-hot tables of the digit of `x` at bit `shift`, `bits` wide, packed at `2^bits`.
    fn one_hot(&self, x: &Self::Buf, shift: u32, bits: u32) -> Vec<u8>;
    /// Looks the same digit up in shared tables: `T[digit]` and the parity of T above digit, as bits. Both places have a
    /// word for every 64 elements begun; bits past the last element are left undefined.
    fn digit_lookup(&self, tables: &Packed, x: &Self::Buf, shift: u32, out: [&mut [u64]; 2]);
    /// Multiplies digits out: this party's share of `[x < alpha]` on the digits `from..`, as bits.
    fn digit_merge(&self, m: &Merge, from: usize) -> Vec<u64>;
}

/// One term of [`Backend::sum`]: `c * [bit] * x`; what is absent counts as one.
pub struct Term<'a, R, Buf> {
    /// Coefficient, public.
    pub c: R,
    /// A bit per element, secret or not.
    pub when: Option<&'a Bits>,
    /// The elements.
    pub x: Option<&'a Buf>,
}

impl<'a, R, Buf> Term<'a, R, Buf> {
    /// `c * x`.
    pub fn of(c: R, x: &'a Buf) -> Self {
        Term { c, when: None, x: Some(x) }
    }
    /// `c`.
    pub fn one(c: R) -> Self {
        Term { c, when: None, x: None }
    }
    /// The term where the bit is set, else nothing.
    pub fn when(self, bits: &'a Bits) -> Self {
        Term { when: Some(bits), ..self }
    }
}

/// What a party multiplies out at the end of a comparison by k digits: bit vectors of the same number of words.
///
/// A set S of digits is a bit mask: bit j stands for digit j.
pub struct Merge<'a> {
    /// Opened `L_i = l_i + a_i` of every digit.
    pub l: Vec<&'a [u64]>,
    /// Opened `E_j = e_j + b_j` of every digit but the last.
    pub e: Vec<&'a [u64]>,
    /// Shares of `a_i prod_{j in S} b_j` for every set S of digits before `i`, at `2^i - 1 + S`.
    pub a: Vec<&'a [u64]>,
    /// Shares of `prod_{j in S} b_j` for every set S of digits but the last.
    pub b: Vec<&'a [u64]>,
}

/// Keys of one block of half-tree keys in a tile; the last block of a tile may be short. Inside a block the words lie
/// level by level. As many keys as kernels hold in registers: any other number costs them time, on every machine alike.
pub const DPF_BLOCK: usize = 32;

/// Where the elements of a run lie in a tile of half-tree keys.
#[derive(Clone, Copy)]
pub struct DpfTile<'a> {
    /// Correction words of the whole tile.
    pub words: &'a [u8],
    /// Elements of the whole tile.
    pub tile_len: usize,
    /// First element wanted.
    pub from: usize,
}
