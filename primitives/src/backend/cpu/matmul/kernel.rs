//! What a register tile promises, and which one a process uses.

use super::dots::{self, Rows};
#[cfg(target_arch = "x86_64")]
use super::limbs;
use super::{Job, Source, words};
use crate::backend::cpu::product::product;
use crate::backend::{Isa, Product};
use crate::{Form, Ring};
use std::ops::Range;
use std::sync::OnceLock;
use zeroize::Zeroize;

/// A register tile with the layouts it wants.
///
/// Depth is taken in pairs, since the widest multiply instructions add two products. In a panel of B, row `k` lies at
/// `k / 2 * PAIR + k % 2`; the other rows of a pair are for [`Kernel::right`] to fill.
pub trait Kernel<R>: Sync {
    /// Most rows.
    const ROWS: usize;
    /// Columns; half as many can be had too.
    const COLUMNS: usize;
    /// Words for two elements of a row or column.
    const PAIR: usize;

    /// Recodes a panel of B, `k` deep, in place.
    fn right(&self, k: usize, width: usize, panel: &mut [R]);
    /// Rows and columns of A, `stride` long, as this tile reads them; `space` is for the copy, if there must be one.
    fn left<'a>(
        &self,
        a: &'a [R],
        stride: usize,
        rows: Range<usize>,
        k: Range<usize>,
        space: &'a mut Vec<R>,
    ) -> Left<'a, R>;
    /// The first `rows` rows of `a` times a panel of B: `out [rows, width]`.
    fn tile(&self, a: Left<R>, rows: usize, b: &[R], width: usize, k: usize, out: &mut [R]);
}

/// Rows of A, recoded.
#[derive(Clone, Copy)]
pub struct Left<'a, R> {
    /// From the first element on.
    pub words: &'a [R],
    /// From one row to the next.
    pub stride: usize,
}

impl<'a, R> Left<'a, R> {
    /// Some of the rows.
    pub fn rows(self, rows: Range<usize>) -> Left<'a, R> {
        Left { words: &self.words[rows.start * self.stride..], ..self }
    }
}

/// Which instructions multiply. Intel's 512-bit word multiplies are two (32 bits) or three (64 bits) operations each,
/// but its 16-bit dot products and 52-bit multiply-adds are one: limbs win, by 2 and by 1.6. On AMD all are one
/// operation: words win. So the vendor decides; both give the same bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// Whole words, as the compiler vectorises them for the rung.
    Words(Isa),
    /// 16-bit dot products, and 52-bit multiply-adds.
    Limbs,
}

impl Path {
    /// Every path of the rungs up to `isa`.
    pub fn all(isa: Isa) -> impl Iterator<Item = Path> {
        let words = Isa::ALL.into_iter().filter(move |i| *i <= isa).map(Path::Words);
        words.chain((isa == Isa::Avx512).then_some(Path::Limbs))
    }
    /// The fastest of a rung on this machine, or of the machine's highest.
    pub fn of(isa: Isa) -> Path {
        let isa = isa.min(Isa::detected());
        if isa == Isa::Avx512 && splits_multiplies() { Path::Limbs } else { Path::Words(isa) }
    }
}

/// Whether this machine splits wide word multiplies: all of Intel's do, none of AMD's. Asked once: in a virtual
/// machine the question alone takes 20 microseconds.
#[cfg(target_arch = "x86_64")]
fn splits_multiplies() -> bool {
    static SPLITS: OnceLock<bool> = OnceLock::new();
    *SPLITS.get_or_init(|| {
        let id = std::arch::x86_64::__cpuid(0);
        [id.ebx, id.edx, id.ecx].map(u32::to_le_bytes).concat() != b"AuthenticAMD"
    })
}
#[cfg(not(target_arch = "x86_64"))]
fn splits_multiplies() -> bool {
    false
}

/// The rings that there are kernels for. What is generic in the ring ends here: a crate that names a backend would
/// otherwise compile all kernels again.
pub trait Multiply: Copy + Zeroize {
    /// A bilinear map; see [`crate::Backend::product`].
    fn product(p: &Product, forms: [&Form; 2], x: &[Self], w: &[Self]) -> Vec<Self>;
    /// Runs a job on the kernels of one path.
    fn multiply<S: Source<Self>>(job: &Job<Self, S>, path: Path) -> Vec<Self>;
    /// Inner products on one rung: `z[i * stride + j]` becomes row `i` of `w` times row `j` of `x`.
    fn dot(isa: Isa, rows: Rows<Self>, z: &mut [Self], stride: usize);
}

macro_rules! multiply {
    ($ring:ty, [$avx2:expr, $avx512:expr, $limbs:expr], $narrow:ident, $wide:ident) => {
        impl Multiply for $ring {
            fn product(p: &Product, forms: [&Form; 2], x: &[$ring], w: &[$ring]) -> Vec<$ring> {
                product(p, forms, x, w)
            }
            fn multiply<S: Source<$ring>>(job: &Job<$ring, S>, path: Path) -> Vec<$ring> {
                match path {
                    #[cfg(target_arch = "x86_64")]
                    Path::Limbs => job.run(&$limbs),
                    #[cfg(target_arch = "x86_64")]
                    Path::Words(Isa::Avx512) => job.run(&$avx512),
                    #[cfg(target_arch = "x86_64")]
                    Path::Words(Isa::Avx2) => job.run(&$avx2),
                    _ => job.run(&words::Plain),
                }
            }
            fn dot(isa: Isa, rows: Rows<$ring>, z: &mut [$ring], stride: usize) {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => dots::$wide(rows, z, stride),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => dots::$narrow(rows, z, stride),
                    _ => dots::plain(rows, z, stride),
                }
            }
        }
    };
}
multiply!(u32, [words::Narrow, words::Wide, limbs::Limbs16], narrow32, narrow32);
multiply!(u64, [limbs::Limbs32, words::Wide64, limbs::Limbs52], narrow64, wide64);

/// Up to this many columns recoding A costs more than limbs save.
const FEW: usize = 8;

impl<R: Ring, S: Source<R>> Job<'_, R, S> {
    /// The product on the best path of a rung.
    pub fn product(&self, isa: Isa) -> Vec<R> {
        let path = match Path::of(isa) {
            Path::Limbs if self.images * self.positions <= FEW => Path::Words(Isa::Avx2),
            path => path,
        };
        R::multiply(self, path)
    }
}
