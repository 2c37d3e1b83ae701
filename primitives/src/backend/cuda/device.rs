//! One GPU: its context, its kernels, its streams, and the first thing that went wrong with it.
//!
//! Work is asked for on three streams: `compute` runs kernels in the order of the calls, `feed` brings bytes in, `out` takes
//! them out. Events order them where one needs what another made; nothing waits for the whole device.

use super::compile;
use super::memory::Pinned;
use crate::{Error, Result};
use cudarc::driver::{CudaContext, CudaEvent, CudaFunction, CudaStream, DriverError, sys};
use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Threads of a block.
const THREADS: u32 = 256;
/// Blocks per multiprocessor that a launch asks for at most: kernels loop over what is left.
const BLOCKS: u32 = 32;
/// The same of kernels that fill an AES table of 32 KiB first.
const AES_BLOCKS: u32 = 6;
/// Copies to the device that are under way at once: bounds pinned memory.
const HELD: usize = 32;

/// A GPU.
pub struct Device {
    pub context: Arc<CudaContext>,
    pub compute: Arc<CudaStream>,
    pub feed: Arc<CudaStream>,
    pub out: Arc<CudaStream>,
    pub pinned: Pinned,
    /// Multiprocessors.
    pub processors: u32,
    kernels: HashMap<&'static str, CudaFunction>,
    failure: OnceLock<String>,
    /// What copies that are still under way read from.
    pub reading: Mutex<Vec<(CudaEvent, Box<dyn Send>)>>,
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

/// How many devices there are.
///
/// # Errors
/// [`Error::Device`] if there is no driver, or it does not answer.
pub fn count() -> Result<usize> {
    guarded(|| {
        let _ = cudarc::driver::result::init();
        CudaContext::device_count().map_err(|e| refused("counting devices", &e)).map(|n| n.max(0) as usize)
    })
}

/// A device's name.
///
/// # Errors
/// As [`count`], or if there is no such device.
pub fn name(ordinal: usize) -> Result<String> {
    guarded(|| {
        let name = || {
            cudarc::driver::result::init()?;
            cudarc::driver::result::device::get_name(cudarc::driver::result::device::get(ordinal as i32)?)
        };
        name().map_err(|e| refused("naming a device", &e))
    })
}

/// The bindings panic where a library or one of its functions is missing: none of that may come through.
fn guarded<T>(f: impl FnOnce() -> Result<T> + std::panic::UnwindSafe) -> Result<T> {
    // SAFETY: opens the library if it is there; its initialisation is the driver's own.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::Device(
            "no CUDA driver on this machine (libcuda.so.1); install NVIDIA's driver, or use --device cpu"
                .into(),
        ));
    }
    let old = "CUDA's libraries lack a function that is needed; CUDA 13, or a driver for it, is wanted";
    catch_unwind(f).unwrap_or_else(|_| Err(Error::Device(old.into())))
}

/// What the driver said, in words.
pub fn refused(what: &str, e: &DriverError) -> Error {
    let said = match e.error_string() {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => format!("{:?}", e.0),
    };
    let remedy = match e.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => "; run fewer images at once, or use a larger device",
        sys::CUresult::CUDA_ERROR_NO_DEVICE | sys::CUresult::CUDA_ERROR_INVALID_DEVICE => {
            "; see `twoply doctor`"
        }
        _ => "",
    };
    Error::Device(format!("{what}: {said}{remedy}"))
}

impl Device {
    /// Opens device number `ordinal` with its kernels compiled.
    ///
    /// # Errors
    /// [`Error::Device`] with cause and remedy.
    pub fn open(ordinal: usize) -> Result<Self> {
        let there = count()?;
        if ordinal >= there {
            let why = format!("there is no device {ordinal}: {there} found; see `twoply doctor`");
            return Err(Error::Device(why));
        }
        guarded(move || {
            let context = CudaContext::new(ordinal).map_err(|e| refused("opening the device", &e))?;
            let module = compile::module(&context)?;
            let opened = || {
                // SAFETY: every buffer is ordered by the events of this module.
                unsafe { context.disable_event_tracking() };
                keep_memory(&context)?;
                let mut kernels = HashMap::new();
                for name in compile::names() {
                    kernels.insert(name, module.load_function(name)?);
                }
                for (name, bytes) in super::product::SHARED {
                    let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                    kernels[name].set_attribute(most, bytes as i32)?;
                }
                let count = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
                Ok(Device {
                    compute: context.new_stream()?,
                    feed: context.new_stream()?,
                    out: context.new_stream()?,
                    pinned: Pinned::new(context.clone()),
                    processors: context.attribute(count)? as u32,
                    kernels,
                    failure: OnceLock::new(),
                    reading: Mutex::default(),
                    context: context.clone(),
                })
            };
            opened().map_err(|e: DriverError| refused("preparing the device", &e))
        })
    }

    /// The first failure, as an error.
    pub fn health(&self) -> Result<()> {
        self.failure.get().map_or(Ok(()), |why| Err(Error::Device(why.clone())))
    }
    /// Does something unless the device has failed; a failure is kept.
    pub fn try_to<T>(
        &self,
        what: &str,
        f: impl FnOnce() -> std::result::Result<T, DriverError>,
    ) -> Option<T> {
        if self.failure.get().is_some() {
            return None;
        }
        match self.context.bind_to_thread().and_then(|()| f()) {
            Ok(v) => Some(v),
            Err(e) => {
                let _ = self.failure.set(refused(what, &e).to_string().replacen("device: ", "", 1));
                None
            }
        }
    }

    /// Runs a kernel on the compute stream: `threads` of them at least, or as many as the device holds at once.
    pub fn run(&self, name: &'static str, threads: usize, args: &[&dyn Arg]) {
        let per = if compile::has_table(name) { AES_BLOCKS } else { BLOCKS };
        let blocks = (threads.div_ceil(THREADS as usize) as u64).clamp(1, u64::from(self.processors * per));
        self.run_on(name, (blocks as u32, 1, 1), 0, args);
    }
    /// The same on a grid of blocks, with so many bytes of dynamic shared memory.
    pub fn run_on(&self, name: &'static str, grid: (u32, u32, u32), shared: u32, args: &[&dyn Arg]) {
        let mut args: Vec<*mut c_void> =
            args.iter().map(|a| (*a as *const dyn Arg).cast_mut().cast()).collect();
        self.try_to(name, || {
            let kernel = self.kernels[name].cu_function();
            // SAFETY: kernels are called by the methods of this module alone, which pass the types that their source names,
            // pointers into live buffers of the lengths that go with them, and what a launch reads is copied by it.
            unsafe {
                cudarc::driver::result::launch_kernel(
                    kernel,
                    grid,
                    (THREADS, 1, 1),
                    shared,
                    self.compute.cu_stream(),
                    &mut args,
                )
            }
        });
    }

    /// Marks what was asked of a stream so far.
    pub fn mark(&self, stream: &CudaStream) -> Option<CudaEvent> {
        self.try_to("marking a stream", || stream.record_event(None))
    }
    /// Keeps something until a copy that reads from it is done.
    pub fn hold(&self, until: CudaEvent, what: Box<dyn Send>) {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        reading.retain(|(event, _)| !event.is_complete());
        if reading.len() >= HELD {
            let _ = reading[0].0.synchronize();
        }
        reading.push((until, what));
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // what is under way reads and writes memory that goes away now
        let _ = self.context.bind_to_thread();
        for stream in [&self.feed, &self.compute, &self.out] {
            let _ = stream.synchronize();
        }
    }
}

/// Freed memory stays with the process: taking it from the device and giving it back is slow and waits for everything.
fn keep_memory(context: &CudaContext) -> std::result::Result<(), DriverError> {
    let mut all = u64::MAX;
    let kept = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the attribute is a u64, read during the call.
    unsafe {
        let pool = cudarc::driver::result::device::get_default_mem_pool(context.cu_device())?;
        sys::cuMemPoolSetAttribute(pool, kept, (&raw mut all).cast()).result()
    }
}
