//! The driver: whether it is there and new enough, what devices it has, and what it says when it refuses.

use crate::{Error, Result};
use cudarc::driver::{CudaContext, DriverError, result, sys};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Its functions that the bindings look up when they are first called, and panic without.
const NEEDED: [&str; 38] = [
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetDefaultMemPool",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventQuery",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAllocAsync",
    "cuMemFreeAsync",
    "cuMemFreeHost",
    "cuMemHostAlloc",
    "cuMemPoolSetAttribute",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
];

/// How many devices there are.
///
/// # Errors
/// [`Error::Device`] if there is no driver, or it does not answer.
pub fn count() -> Result<usize> {
    guarded(|| {
        match result::init() {
            // a driver without a device says so here
            Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => return Ok(0),
            done => done.map_err(|e| refused("asking the driver", &e))?,
        }
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
            result::init()?;
            result::device::get_name(result::device::get(i32::try_from(ordinal).unwrap_or(i32::MAX))?)
        };
        name().map_err(|e| refused("naming a device", &e))
    })
}

/// Does something with the driver, if it is there and has what is needed. Whatever the bindings panic for after all does not
/// come through.
pub fn guarded<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: opens the library if it is there; its initialisation is the driver's own.
    if !unsafe { sys::is_culib_present() } {
        let remedy = "install NVIDIA's driver, or use --device cpu";
        return Err(Error::Device(format!("no CUDA driver on this machine (libcuda.so.1); {remedy}")));
    }
    // SAFETY: looked up, not called.
    let there = |name: &str| unsafe { sys::culib().get::<unsafe extern "C" fn()>(name).is_ok() };
    if let Some(name) = NEEDED.into_iter().find(|name| !there(name)) {
        let remedy = "install NVIDIA's driver for CUDA 13 or newer, or use --device cpu";
        return Err(Error::Device(format!("the CUDA driver is too old, it has no {name}; {remedy}")));
    }
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| {
        Err(Error::Device("the CUDA libraries do not fit together; install CUDA 13 and its driver".into()))
    })
}

/// What the driver said, as an error.
pub fn refused(what: &str, e: &DriverError) -> Error {
    Error::Device(said(what, e))
}

/// What the driver said, in words.
pub fn said(what: &str, e: &DriverError) -> String {
    use sys::CUresult::*;
    let why = match e.error_string() {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => format!("{:?}", e.0),
    };
    let remedy = match e.0 {
        CUDA_ERROR_OUT_OF_MEMORY => "; run fewer images at once, or use a larger device",
        CUDA_ERROR_NO_DEVICE | CUDA_ERROR_INVALID_DEVICE => "; see `twoply doctor`",
        CUDA_ERROR_NO_BINARY_FOR_GPU | CUDA_ERROR_INVALID_IMAGE | CUDA_ERROR_UNSUPPORTED_PTX_VERSION => {
            "; the driver is older than the compiler: update the driver"
        }
        CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => "; the driver was updated: restart the machine",
        CUDA_ERROR_ILLEGAL_ADDRESS
        | CUDA_ERROR_LAUNCH_FAILED
        | CUDA_ERROR_LAUNCH_TIMEOUT
        | CUDA_ERROR_ILLEGAL_INSTRUCTION
        | CUDA_ERROR_MISALIGNED_ADDRESS
        | CUDA_ERROR_HARDWARE_STACK_ERROR
        | CUDA_ERROR_ECC_UNCORRECTABLE => "; the device takes no more work from this process: start it again",
        _ => "; see `twoply doctor`",
    };
    format!("{what}: {why}{remedy}")
}
