//! The kernels: one text, compiled by NVRTC for the device at hand, and kept on disk by what it was made from.

use super::device::refused;
use crate::{Error, Result};
use cudarc::driver::{CudaContext, CudaModule};
use cudarc::nvrtc::{CompileOptions, Ptx, compile_ptx_with_opts};
use std::path::PathBuf;
use std::sync::Arc;

/// The files in the order in which they make one text: none names another.
const FILES: [&str; 11] = [
    include_str!("types.cuh"),
    include_str!("aes.cuh"),
    include_str!("words.cu"),
    include_str!("packing.cu"),
    include_str!("bits.cu"),
    include_str!("dpf.cu"),
    include_str!("digits.cu"),
    include_str!("local.cu"),
    include_str!("limbs.cu"),
    include_str!("matmul.cu"),
    include_str!("product.cu"),
];

/// Kernels of words: `name_32` and `name_64`.
macro_rules! of_rings {
    ($($name:literal)*) => {
        /// A kernel's name at a ring of `n` bits.
        pub fn at_ring(name: &str, n: u32) -> &'static str {
            match (name, n) {
                $(($name, 32) => concat!($name, "_32"), ($name, _) => concat!($name, "_64"),)*
                _ => unreachable!("no kernel {name}"),
            }
        }
        const OF_RINGS: &[&str] = &[$(concat!($name, "_32"), concat!($name, "_64")),*];
    };
}
of_rings! {
    "expand" "expand_each" "sum" "mul" "shift" "add_row" "scale_each" "pack" "unpack" "add_packed" "stored" "bit" "correct"
    "dpf_evaluate" "dpf_generate" "at_most" "digit_lookup" "one_hot" "gather" "sum_pool" "limbs" "limbs_conv" "gemm"
    "product_linear" "product_conv"
}
/// Kernels of bits.
const OF_BITS: [&str; 8] =
    ["logic", "bit_fields", "stored_planes", "join", "open", "digit_products", "digit_merge", "aes_ceiling"];

/// All kernels.
pub fn names() -> impl Iterator<Item = &'static str> {
    OF_RINGS.iter().chain(&OF_BITS).copied()
}

/// Whether a kernel begins by filling the AES table in shared memory.
pub fn has_table(name: &str) -> bool {
    ["expand", "correct", "dpf_", "bit_fields", "aes_"].iter().any(|begin| name.starts_with(begin))
}

/// The text.
pub fn source() -> String {
    FILES.concat()
}

/// The kernels on a device.
///
/// # Errors
/// [`Error::Device`] if the compiler is missing, or does not know the device.
pub fn module(context: &Arc<CudaContext>) -> Result<Arc<CudaModule>> {
    let version = context.compute_capability().map_err(|e| refused("asking for the device's version", &e))?;
    let ptx = ptx(version)?;
    context.load_module(Ptx::from_src(ptx)).map_err(|e| refused("loading the kernels", &e))
}

/// The kernels for a version of devices, from the disk if they were compiled before.
fn ptx((major, minor): (i32, i32)) -> Result<String> {
    // SAFETY: opens the library if it is there; its initialisation is NVIDIA's own.
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        return Err(Error::Device(
            "no CUDA compiler on this machine (libnvrtc.so); install the CUDA 13 runtime compiler, or use --device cpu"
                .into(),
        ));
    }
    let arch = format!("--gpu-architecture=compute_{major}{minor}");
    let source = source();
    let mut digest = blake3::Hasher::new_derive_key("twoply 2026-11 compiled kernels v1");
    digest.update(arch.as_bytes()).update(compiler().as_bytes()).update(source.as_bytes());
    let kept = cache().map(|dir| dir.join(format!("kernels-{}.ptx", &digest.finalize().to_hex()[..32])));
    if let Some(text) = kept.as_ref().and_then(|path| std::fs::read_to_string(path).ok()) {
        return Ok(text);
    }
    let options = vec![arch, "--std=c++17".into(), "--extra-device-vectorization".into()];
    let options = CompileOptions { options, ..CompileOptions::default() };
    let text = compile_ptx_with_opts(&source, options)
        .map_err(|e| Error::Device(format!("compiling the kernels: {e}")))?
        .to_src();
    if let Some(path) = kept {
        keep(&path, &text);
    }
    Ok(text)
}

/// Which compiler there is: its version is part of what compiled kernels are known by.
fn compiler() -> String {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two integers.
    unsafe { cudarc::nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
    format!("nvrtc {major}.{minor}")
}

/// Where compiled kernels are kept: this user's cache, if there is one.
fn cache() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    Some(of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")))?.join("twoply"))
}

/// Written beside and moved, so that nobody reads half of it. Without it the next start compiles again.
fn keep(path: &std::path::Path, text: &str) {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        std::fs::create_dir_all(path.parent().unwrap_or(path))?;
        std::fs::write(&beside, text)?;
        std::fs::rename(&beside, path)
    };
    if write().is_err() {
        let _ = std::fs::remove_file(&beside);
    }
}
