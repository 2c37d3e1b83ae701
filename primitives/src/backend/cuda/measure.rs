//! What benchmarks ask of a device beyond its work: what it is, what bounds its kernels, and kernels alone.

use super::arg::Key;
use super::device::{Arg, THREADS};
use super::driver::refused;
use super::memory::{Buf, Planes};
use super::{Cuda, product};
use crate::backend::{Slots, Trees};
use crate::prg::{Roots, Stream};
use crate::{Form, Result, Ring};
use cudarc::driver::sys;
use std::sync::atomic::Ordering;

/// What a device says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Compute capability.
    pub capability: (u32, u32),
    /// Multiprocessors.
    pub processors: u32,
    /// Their highest clock, in MHz, if it says so.
    pub clock: Option<u32>,
    /// Bytes of its memory.
    pub memory: usize,
    /// Version of CUDA that the driver knows.
    pub driver: (u32, u32),
}

impl<R: Ring> Cuda<R> {
    /// What the device says about itself.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if it does not answer.
    pub fn about(&self) -> Result<About> {
        let context = &self.dev.context;
        let clock = context.attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
        let said = || {
            let (major, minor) = context.compute_capability()?;
            let mut driver = 0;
            // SAFETY: writes one integer.
            unsafe { sys::cuDriverGetVersion(&mut driver) }.result()?;
            Ok(About {
                name: context.name()?,
                capability: (major as u32, minor as u32),
                processors: self.dev.processors,
                clock: clock.ok().map(|khz| khz as u32 / 1000),
                memory: context.total_mem()?,
                driver: (driver as u32 / 1000, driver as u32 % 1000 / 10),
            })
        };
        said().map_err(|e| refused("asking what the device is", &e))
    }
    /// Kernels asked of the device so far, by all who share it.
    pub fn launches(&self) -> u64 {
        self.dev.launches.load(Ordering::Relaxed)
    }
    /// Encrypts `blocks` independent blocks on each of as many threads as AES kernels run on: what they are measured
    /// against. Returns how many that is together.
    pub fn ceiling(&self, stream: Stream, blocks: u32) -> u64 {
        let grid = self.dev.most("aes_ceiling");
        let threads = (grid * THREADS) as usize;
        let out = Planes::new(&self.dev, 1, threads * 32);
        let args: [&dyn Arg; 3] = [&out.ptr(), &blocks, &Key::of(stream.rounds())];
        self.dev.run_on("aes_ceiling", (grid, 1, 1), 0, &args);
        threads as u64 * u64::from(blocks)
    }
    /// [`crate::Backend::dpf_keys`] without the way to the host.
    pub fn dpf_keys_stay(&self, trees: &Trees, w: u32, roots: [Roots; 2], alpha: &Buf<R>, slots: &Slots) {
        self.dpf_words(trees, w, roots, alpha, slots);
    }
    /// [`crate::backend::Product::Linear`] in plain integers, whatever the shape.
    pub fn plain_product(&self, forms: [&Form; 2], x: &Buf<R>, w: &Buf<R>) -> Buf<R> {
        product::plain_linear(self, forms, x, w)
    }
}
