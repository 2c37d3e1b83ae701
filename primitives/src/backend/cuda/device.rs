//! One GPU: its context, its kernels, its streams, and the first thing that went wrong with it.
//!
//! Work is asked for on three streams: `compute` runs kernels in the order of the calls, `feed` brings bytes in, `out` takes
//! them out. Events order them where one needs what another made; nothing waits for the whole device.

use super::driver::{guarded, refused, said};
use super::host::Pinned;
use super::transfer::Readings;
use super::{compile, driver, product};
use crate::{Error, Result};
use cudarc::driver::{
    CudaContext, CudaEvent, CudaFunction, CudaModule, CudaStream, DriverError, result, sys,
};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Threads of a block.
pub const THREADS: u32 = 256;
/// Times over that a launch fills the device at most: kernels loop over what is left.
const FILLS: u32 = 4;
/// The oldest devices that have what the products need: tensor cores for bytes, and copies to shared memory.
const OLDEST: (i32, i32) = (8, 0);

/// A GPU.
pub struct Device {
    pub context: Arc<CudaContext>,
    pub compute: Arc<CudaStream>,
    pub feed: Arc<CudaStream>,
    pub out: Arc<CudaStream>,
    pub pinned: Pinned,
    /// Multiprocessors.
    pub processors: u32,
    /// Bytes of its memory.
    pub memory: usize,
    /// Stages of the products, as the kernels were compiled.
    pub stages: u32,
    /// Kernels asked for so far.
    pub launches: AtomicU64,
    kernels: HashMap<&'static str, Kernel>,
    failure: OnceLock<String>,
    /// What copies that are still under way read from.
    pub reading: Readings,
}

struct Kernel {
    function: CudaFunction,
    /// Blocks that a launch asks for at most.
    blocks: u32,
}

/// Values that a kernel takes by value: of the very type that its source names.
///
/// # Safety
/// Laid out as in the kernels' source.
pub unsafe trait Arg {}
// SAFETY: `u32` there.
unsafe impl Arg for u32 {}
// SAFETY: `u64` there, and pointers.
unsafe impl Arg for u64 {}

/// Makes a context this thread's. Other than the bindings' own it does not fail for what went wrong in some drop before.
pub fn bind(context: &CudaContext) -> std::result::Result<(), DriverError> {
    if result::ctx::get_current()? != Some(context.cu_ctx()) {
        // SAFETY: the context is there as long as its owner.
        unsafe { result::ctx::set_current(context.cu_ctx()) }?;
    }
    Ok(())
}

/// Whether this program can compute on device number `ordinal`, as far as that is known without opening it.
///
/// # Errors
/// [`Error::Device`] with cause and remedy: no driver, no such device, one that is too old, no compiler.
pub fn check(ordinal: usize) -> Result<()> {
    use sys::CUdevice_attribute::*;
    let there = driver::count()?;
    if ordinal >= there {
        let remedy = "`twoply doctor` lists them; or compute on the CPU with `--device cpu`";
        let why = format!("no cuda:{ordinal} among the {there} CUDA devices of this machine; {remedy}");
        return Err(Error::Device(why));
    }
    guarded(|| {
        let read = || {
            let device = result::device::get(ordinal as i32)?;
            // SAFETY: reads what a device is.
            let of = |what| unsafe { result::device::get_attribute(device, what) };
            Ok((
                (
                    of(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                    of(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
                ),
                of(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
                of(CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED)? > 0,
            ))
        };
        let (version, shared, pools) =
            read().map_err(|e: DriverError| refused("asking what the device is", &e))?;
        usable(version, product::stages(shared as u32), pools)?;
        compile::there()
    })
}

impl Device {
    /// Opens device number `ordinal` with its kernels compiled.
    ///
    /// # Errors
    /// [`Error::Device`] with cause and remedy.
    pub fn open(ordinal: usize) -> Result<Self> {
        check(ordinal)?;
        guarded(|| {
            let preparing = |e: DriverError| refused("preparing the device", &e);
            let context = CudaContext::new(ordinal).map_err(|e| refused("opening the device", &e))?;
            // SAFETY: every buffer is ordered by the events of this module.
            unsafe { context.disable_event_tracking() };
            let version = context.compute_capability().map_err(preparing)?;
            let shared = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
            let stages = product::stages(context.attribute(shared).map_err(preparing)? as u32);
            let module = compile::module(&context, version, stages)?;
            Device::prepare(context, &module, stages).map_err(preparing)
        })
    }
    fn prepare(
        context: Arc<CudaContext>,
        module: &Arc<CudaModule>,
        stages: u32,
    ) -> std::result::Result<Self, DriverError> {
        keep_memory(&context)?;
        let processors = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let processors = context.attribute(processors)? as u32;
        let kernel = |name| {
            let function = module.load_function(name)?;
            // every block of these fills its table first, so no more of them than run at once
            let fills = if compile::has_table(name) {
                let share = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT;
                function.set_attribute(share, 100)?;
                1
            } else {
                FILLS
            };
            let resident = function.occupancy_max_active_blocks_per_multiprocessor(THREADS, 0, None)?;
            Ok((name, Kernel { function, blocks: processors * resident.max(1) * fills }))
        };
        let kernels: HashMap<_, _> = compile::names().map(kernel).collect::<std::result::Result<_, _>>()?;
        for name in product::GEMMS {
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            kernels[name].function.set_attribute(most, (stages * product::STAGE) as i32)?;
        }
        Ok(Device {
            compute: context.new_stream()?,
            feed: context.new_stream()?,
            out: context.new_stream()?,
            pinned: Pinned::new(context.clone()),
            processors,
            memory: context.total_mem()?,
            stages,
            launches: AtomicU64::new(0),
            kernels,
            failure: OnceLock::new(),
            reading: Readings::default(),
            context,
        })
    }

    /// The first failure, as an error.
    pub fn health(&self) -> Result<()> {
        self.failure.get().map_or(Ok(()), |why| Err(Error::Device(why.clone())))
    }
    /// Keeps a failure, if it is the first.
    pub fn fail(&self, why: String) {
        let _ = self.failure.set(why);
    }
    /// Does something unless the device has failed; a failure is kept.
    pub fn try_to<T>(
        &self,
        what: &str,
        f: impl FnOnce() -> std::result::Result<T, DriverError>,
    ) -> Option<T> {
        // what the bindings could not say when something was dropped
        if let Err(e) = self.context.check_err() {
            self.fail(said("giving something back", &e));
        }
        if self.failure.get().is_some() { None } else { self.anyway(what, f) }
    }
    /// Does something whatever went wrong before: waits, wipes, gives back. A failure is kept.
    pub fn anyway<T>(
        &self,
        what: &str,
        f: impl FnOnce() -> std::result::Result<T, DriverError>,
    ) -> Option<T> {
        bind(&self.context).and_then(|()| f()).map_err(|e| self.fail(said(what, &e))).ok()
    }
    /// A size as kernels take it. One that they cannot take fails the device before anything is computed with it.
    pub fn size(&self, n: usize) -> u32 {
        u32::try_from(n).unwrap_or_else(|_| {
            self.fail(format!(
                "{n} elements at once are more than the kernels count; run fewer images at once"
            ));
            0
        })
    }

    /// Blocks that a launch of this kernel asks for at most.
    pub fn most(&self, name: &'static str) -> u32 {
        self.kernels[name].blocks
    }
    /// Runs a kernel on the compute stream: `threads` of them at least, or as many as the device holds at once.
    pub fn run(&self, name: &'static str, threads: usize, args: &[&dyn Arg]) {
        // kernels divide by sizes and rows in 32 bits
        let blocks = self.size(threads).div_ceil(THREADS).clamp(1, self.most(name));
        self.run_on(name, (blocks, 1, 1), 0, args);
    }
    /// The same on a grid of blocks, with so many bytes of dynamic shared memory.
    pub fn run_on(&self, name: &'static str, grid: (u32, u32, u32), shared: u32, args: &[&dyn Arg]) {
        let mut args: Vec<*mut c_void> =
            args.iter().map(|a| (*a as *const dyn Arg).cast_mut().cast()).collect();
        self.launches.fetch_add(1, Ordering::Relaxed);
        let (kernel, stream) = (self.kernels[name].function.cu_function(), self.compute.cu_stream());
        // SAFETY: kernels are called by the methods of this module alone, which pass the types that their source names,
        // pointers into live buffers of the lengths that go with them, and what a launch reads is copied by it.
        self.try_to(name, || unsafe {
            result::launch_kernel(kernel, grid, (THREADS, 1, 1), shared, stream, &mut args)
        });
    }

    /// Marks what was asked of a stream so far.
    pub fn mark(&self, stream: &CudaStream) -> Option<CudaEvent> {
        self.try_to("marking a stream", || stream.record_event(None))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // what is under way reads and writes memory that goes away now
        for stream in [&self.feed, &self.compute, &self.out] {
            self.wait_for(stream);
        }
    }
}

/// Whether the kernels can run on a device.
fn usable(version: (i32, i32), stages: u32, pools: bool) -> Result<()> {
    let [(major, minor), (least, beyond)] = [version, OLDEST];
    if version < OLDEST {
        let remedy = "use an A100, an RTX 30 or anything newer, or use --device cpu";
        let why = format!("the device is of version {major}.{minor}, {least}.{beyond} is needed; {remedy}");
        return Err(Error::Device(why));
    }
    if stages < 2 || !pools {
        let what = if pools { "too little shared memory" } else { "no memory pools" };
        return Err(Error::Device(format!("the device has {what}; use another one, or --device cpu")));
    }
    Ok(())
}

/// Freed memory stays with the process: taking it from the device and giving it back is slow and waits for everything.
fn keep_memory(context: &CudaContext) -> std::result::Result<(), DriverError> {
    let mut all = u64::MAX;
    let kept = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the attribute is a u64, read during the call.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        sys::cuMemPoolSetAttribute(pool, kept, (&raw mut all).cast()).result()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_cannot_run_the_kernels_are_refused() {
        assert!(usable((9, 0), 4, true).is_ok());
        assert!(usable((8, 6), 2, true).is_ok());
        for (version, stages, pools, why) in
            [((7, 5), 4, true, "7.5"), ((9, 0), 1, true, "shared memory"), ((9, 0), 4, false, "pools")]
        {
            let said = usable(version, stages, pools).unwrap_err().to_string();
            assert!(said.contains(why) && said.contains("--device cpu"), "{said}");
        }
    }
}
