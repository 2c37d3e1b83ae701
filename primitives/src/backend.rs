//! The device seam: arithmetic and key batches on one device. Knows neither party nor peer.

mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod device;
mod field;
mod product;

pub use cpu::{Cpu, Isa, spin};
pub(crate) use cpu::{Kernels, Multiply};
#[cfg(feature = "cuda")]
pub use cuda::Cuda;
#[cfg(not(feature = "cuda"))]
#[doc(hidden)]
pub use device::cuda;
pub use device::{Choice, Device, NoDevice};
pub use field::{Digit, Field, Fields, Hot, Lookup, Merge, Merging, Place, Slots, Stored, Trees};
pub use product::Product;

use crate::prg::{Roots, Stream, Streams};
use crate::{Form, Local, Result, Ring, TileBytes};
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

/// What leaves a device for the host: it may still be under way.
pub trait Packet: Send {
    /// The bytes, once they are there.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device failed in this or in anything before it.
    fn wait(self) -> Result<Vec<u8>>;
}

impl Packet for Vec<u8> {
    fn wait(self) -> Result<Vec<u8>> {
        Ok(self)
    }
}

/// How much of a part a device takes at once.
#[derive(Clone, Copy, Debug)]
pub struct Grain {
    /// Tiles that are computed as one.
    pub tiles: usize,
    /// Groups of tiles under way at once: what they need is in memory together.
    pub wave: usize,
    /// Whether the groups of a wave are computed by as many threads; else one thread hands them to the device in turn.
    pub threads: bool,
    /// Elements of a result that are added up at once while it is opened.
    pub opened: usize,
    /// Bytes of keys that may be on the device before a gate asks for them; 0 where they need not travel, and where threads
    /// ask for keys in any order.
    pub ahead: usize,
}

/// One device. Ring vectors and bit vectors live on it; the gates only combine them.
///
/// Every method is data-oblivious: neither branches nor addresses depend on the contents of a buffer. A device that fails
/// says so when something leaves it ([`Packet::wait`], [`Backend::health`]); what it returns until then is of no use, and
/// none of it leaves.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Ring of the session.
    type Ring: Ring;
    /// Ring elements on the device.
    type Buf: Clone + Send + Sync;
    /// A bit vector on the device.
    type Bits: Clone + Send + Sync;
    /// Bit vectors of one length on the device.
    type Planes: Send + Sync;
    /// Key tiles on the device.
    type Keys: Send + Sync;
    /// Bytes on their way to the host.
    type Packet: Packet;

    /// How the device likes its work.
    const GRAIN: Grain;

    /// Whether everything that was asked of the device so far went well; waits for none of it.
    fn health(&self) -> Result<()> {
        Ok(())
    }

    /// Waits for everything that was asked of the device, and says whether it went well.
    fn settle(&self) -> Result<()> {
        self.health()
    }
    /// Bytes of keys that may come to this device ahead of the gates, at most [`Grain::ahead`].
    fn ahead(&self) -> usize {
        Self::GRAIN.ahead
    }

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
    /// The first `row` words of stream 0 under each key, one row behind the other.
    fn expand_each(&self, keys: &[[u8; 16]], row: usize, bits: u32) -> Self::Buf;
    /// A public map; `out` is the form of its result.
    fn local(&self, f: &Local, out: &Form, forms: &[&Form], x: &[&Self::Buf]) -> Self::Buf;
    /// The sum of these terms on `len` elements, mod 2^bits.
    fn sum(&self, len: usize, terms: &[Term<Self>], bits: u32) -> Self::Buf;
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

    /// Packed at `bits`, for the wire.
    fn pack(&self, x: &Self::Buf, bits: u32) -> Self::Packet;
    /// The inverse of `pack`; words of at most n bits.
    fn unpack(&self, p: &Packed) -> Self::Buf;
    /// Adds packed words to the elements from `from` on, mod 2^width; in place, as openings are the largest buffers.
    fn add_packed(&self, x: &mut Self::Buf, from: usize, p: &Packed);

    /// Bit `i` of every element.
    fn bit(&self, x: &Self::Buf, i: u32) -> Self::Bits;
    /// Bits as ring elements 0 and 1.
    fn of_bits(&self, b: &Self::Bits) -> Self::Buf {
        self.sum(self.count(b), &[Term::one(Self::Ring::ONE).when(b)], Self::Ring::BITS)
    }
    /// Number of bits.
    fn count(&self, b: &Self::Bits) -> usize;
    /// Exclusive or.
    fn xor(&self, a: &Self::Bits, b: &Self::Bits) -> Self::Bits;
    /// And.
    fn and(&self, a: &Self::Bits, b: &Self::Bits) -> Self::Bits;
    /// Complement.
    fn not(&self, a: &Self::Bits) -> Self::Bits;
    /// Vectors of one length, at least one.
    fn planes(&self, bits: Vec<Self::Bits>) -> Self::Planes;
    /// Vector `i`.
    fn plane(&self, p: &Self::Planes, i: usize) -> Self::Bits;
    /// Exclusive or, vector by vector.
    fn xor_planes(&self, a: Self::Planes, b: &Self::Planes) -> Self::Planes;
    /// Bit vectors of these slots as they travel: tile after tile, in each tile vector after vector, without gaps.
    fn say(&self, p: &Self::Planes, slots: &Slots) -> Self::Packet;
    /// What [`Backend::say`] said of this party's vectors and the peer's: their exclusive or.
    fn open(&self, mine: &Self::Planes, theirs: &Packed, slots: &Slots) -> Self::Planes;

    /// Brings the tiles of these slots to the device; they hold these fields, one after the other.
    fn load(&self, tiles: Vec<TileBytes>, fields: &[u32], slots: &Slots) -> Self::Keys;
    /// Lets go of half-tree words, if they take room on the device: most of a tile, and of no use after the comparison.
    fn compared(&self, _: &mut Self::Keys) {}
    /// Words of a field, mod 2^bits.
    fn word(&self, field: Field<Self::Keys>, slots: &Slots, bits: u32) -> Self::Buf;
    /// Fields of one bit.
    fn bit_fields(&self, fields: Fields<Self::Keys>, slots: &Slots) -> Self::Planes;
    /// Dealer: what P1 stores of a word whose other share is P0's stream: `x` less the stream, packed at `bits`.
    fn correction(&self, x: &Self::Buf, stream: Stream, slots: &Slots, bits: u32) -> Self::Packet;

    /// Dealer: half-tree keys of `w` bits for `alpha`, `16 (w - 6)` bytes per element in blocks of [`DPF_BLOCK`].
    fn dpf_keys(
        &self,
        tree: &Trees,
        w: u32,
        roots: [Roots; 2],
        alpha: &Self::Buf,
        slots: &Slots,
    ) -> Self::Packet;
    /// Party: its bits of `[alpha <= x]`.
    fn dpf_bits(
        &self,
        tree: &Trees,
        w: u32,
        roots: Roots,
        words: Stored<Self::Keys>,
        x: &Self::Buf,
        slots: &Slots,
    ) -> Self::Bits;
    /// Party: its bits of `[alpha <= x mod 2^w]` from a shared table of `2^w` bits.
    fn at_most(&self, table: Field<Self::Keys>, w: u32, x: &Self::Buf, slots: &Slots) -> Self::Bits;

    /// Party: its share, by exclusive or, of `entries[(x - alpha) mod 2^w]`. Every entry is touched for every element.
    fn look_up(&self, table: Lookup, hot: Hot<Self::Keys>, x: &Self::Buf, slots: &Slots) -> Self::Buf;

    /// Dealer: what P1 stores of the one-hot tables of a digit of `x`, whose other shares are P0's stream.
    fn digit_tables(&self, x: &Self::Buf, digit: Digit, stream: Stream, slots: &Slots) -> Self::Packet;
    /// Dealer: what P1 stores of the products of masks that [`Merge`] names, from the masks and P0's streams of them.
    fn digit_products(
        &self,
        merge: &Merge,
        masks: &Self::Planes,
        other: (&Streams, &[u32]),
        slots: &Slots,
    ) -> Self::Packet;
    /// Party: looks the digits of `x` up in shared tables, highest first: `T[> y]` by parity, then `T[y]` but for the last
    /// digit, each plus its mask.
    fn digit_planes(
        &self,
        tables: Vec<(Digit, Field<Self::Keys>)>,
        masks: &Self::Planes,
        x: &Self::Buf,
        slots: &Slots,
    ) -> Self::Planes;
    /// Party: multiplies digits out: its share of `[alpha <= x]` on the digits `from..`.
    fn digit_merge(&self, merge: &Merge, from: usize, p: Merging<Self>) -> Self::Bits;
}

/// One term of [`Backend::sum`]: `c * [bit] * x`; what is absent counts as one.
pub struct Term<'a, B: Backend> {
    /// Coefficient, public.
    pub c: B::Ring,
    /// A bit per element, secret or not.
    pub when: Option<&'a B::Bits>,
    /// The elements.
    pub x: Option<&'a B::Buf>,
}

impl<'a, B: Backend> Term<'a, B> {
    /// `c * x`.
    pub fn of(c: B::Ring, x: &'a B::Buf) -> Self {
        Term { c, when: None, x: Some(x) }
    }
    /// `c`.
    pub fn one(c: B::Ring) -> Self {
        Term { c, when: None, x: None }
    }
    /// The term where the bit is set, else nothing.
    pub fn when(self, bits: &'a B::Bits) -> Self {
        Term { when: Some(bits), ..self }
    }
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
