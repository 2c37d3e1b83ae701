//! What kernels take by value, laid out as in their source.

use super::device::{Arg, Device};
use crate::Ring;
use crate::backend::Slots;
use crate::prg::Rounds;

/// Terms and operands of one launch.
pub const MOST: usize = 12;

/// `Key` there: AES-128 round keys.
#[repr(C)]
pub struct Key(pub [u32; 44]);

impl Key {
    pub fn of(rounds: Rounds) -> Self {
        let mut words = [0; 44];
        for (words, round) in words.as_chunks_mut::<4>().0.iter_mut().zip(rounds.0) {
            *words = [0, 32, 64, 96].map(|at| (round >> at) as u32);
        }
        Key(words)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// `Slots` there.
#[repr(C)]
pub struct Where {
    first: u64,
    elements: u64,
    len: u32,
}

impl Where {
    pub fn of(dev: &Device, s: &Slots) -> Self {
        Where { first: s.range.start as u64, elements: s.elements as u64, len: dev.size(s.len()) }
    }
}

/// `Stored` there.
#[repr(C)]
pub struct Stored {
    pub bytes: u64,
    pub stride: u64,
    pub full: u64,
    pub last: u64,
    pub width: u32,
}

/// A ring element.
#[repr(transparent)]
pub struct Word<R>(pub R);

/// One of `Terms`: null pointers count as one.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sum<R> {
    pub c: R,
    pub when: u64,
    pub x: u64,
}

/// `Terms` there.
#[repr(C)]
pub struct Sums<R> {
    count: u32,
    at: [Sum<R>; MOST],
}

impl<R: Ring> Sums<R> {
    /// At most [`MOST`].
    pub fn new(terms: &[Sum<R>]) -> Self {
        let mut at = [Sum { c: R::ZERO, when: 0, x: 0 }; MOST];
        at[..terms.len()].copy_from_slice(terms);
        Sums { count: terms.len() as u32, at }
    }
}

/// One of `Operands`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Operand {
    pub x: u64,
    pub row: u32,
}

/// `Operands` there.
#[repr(C)]
pub struct Operands {
    count: u32,
    at: [Operand; MOST],
}

impl Operands {
    /// At most [`MOST`].
    pub fn new(all: &[Operand]) -> Self {
        let mut at = [Operand::default(); MOST];
        at[..all.len()].copy_from_slice(all);
        Operands { count: all.len() as u32, at }
    }
}

/// `Window` there.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Window {
    kernel: [u32; 2],
    stride: [u32; 2],
    pad: [u32; 4],
    dilation: [u32; 2],
}

impl Window {
    pub fn of(dev: &Device, w: &crate::Window) -> Self {
        let two = |v: [usize; 2]| v.map(|v| dev.size(v));
        Window {
            kernel: two(w.kernel),
            stride: two(w.stride),
            pad: w.pad.map(|v| dev.size(v)),
            dilation: two(w.dilation),
        }
    }
}

/// `Conv` there.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Conv {
    pub batch: u32,
    pub c: u32,
    pub h: u32,
    pub w: u32,
    pub oc: u32,
    pub oh: u32,
    pub ow: u32,
    pub groups: u32,
    pub window: Window,
}

/// `Gemm` there.
#[repr(C)]
pub struct Gemm {
    pub m: u32,
    pub n: u32,
    pub m_pad: u32,
    pub n_pad: u32,
    pub k: u32,
    pub piece: u32,
    pub add: u32,
    pub from: u32,
    pub span: u32,
    pub image: u32,
    pub row: u32,
    pub at: u32,
}

macro_rules! args {
    ($($t:ty),*) => {$(
        // SAFETY: laid out as in the source of the kernels.
        unsafe impl Arg for $t {}
    )*};
}
args!(Key, Where, Stored, Operands, Window, Conv, Gemm);
// SAFETY: as above.
unsafe impl<R: Ring> Arg for Word<R> {}
// SAFETY: as above.
unsafe impl<R: Ring> Arg for Sums<R> {}
