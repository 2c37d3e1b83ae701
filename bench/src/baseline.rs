//! The comparison of `fss-rs`, for scale. Its stock generator lets a key give its secret away: never use it for keys.

use crate::values;
use fss_rs::dcf::{BoundState, CmpFn, Dcf, DcfImpl};
use fss_rs::group::{Group, byte::ByteGroup};
use fss_rs::prg::Aes128MatyasMeyerOseasPrg;

/// A key, both parties' halves.
pub type Key = fss_rs::Share<16, ByteGroup<16>>;

/// `fss-rs`'s comparison function of points of `N` bytes, one key after another.
pub struct Baseline<const N: usize> {
    dcf: DcfImpl<N, 16, Aes128MatyasMeyerOseasPrg<16, 2, 4>>,
    functions: Vec<CmpFn<N, 16, ByteGroup<16>>>,
    points: Vec<[u8; N]>,
}

impl<const N: usize> Baseline<N> {
    /// `len` functions of `w` bits and as many points.
    pub fn new(w: u32, len: usize) -> Self {
        let prg = Aes128MatyasMeyerOseasPrg::new(&[&[1; 16], &[2; 16], &[3; 16], &[4; 16]]);
        // big-endian, the compared bits leftmost
        let aligned = |v: &u64| {
            let mut bytes = [0; N];
            bytes.copy_from_slice(&(v << (64 - w)).to_be_bytes()[..N]);
            bytes
        };
        let alphas = values::<u64>(len, w - 1, w);
        let function = |v| CmpFn { alpha: aligned(v), beta: ByteGroup([1; 16]), bound: BoundState::LtAlpha };
        Baseline {
            dcf: DcfImpl::new_with_filter(prg, w as usize),
            functions: alphas.iter().map(function).collect(),
            points: alphas.iter().rev().map(aligned).collect(),
        }
    }
    /// Makes all keys.
    pub fn generate(&self) -> Vec<Key> {
        self.functions.iter().map(|f| self.dcf.r#gen(f, [&[5; 16], &[6; 16]])).collect()
    }
    /// One party's answers, key by key.
    pub fn evaluate(&self, keys: &[Key]) -> ByteGroup<16> {
        let mut y = ByteGroup::zero();
        for (key, x) in keys.iter().zip(&self.points) {
            self.dcf.eval(false, key, &[x], &mut [&mut y]);
        }
        y
    }
}
