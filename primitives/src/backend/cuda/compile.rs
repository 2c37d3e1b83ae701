//! The kernels: one text, compiled by NVRTC for the device at hand, and kept on disk by what it was made from.

use super::driver::refused;
use crate::{Error, Result};
use cudarc::driver::{CudaContext, CudaModule};
use cudarc::nvrtc::result::{self as nvrtc, NvrtcError};
use cudarc::nvrtc::{Ptx, sys};
use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The files in the order in which they make one text: none names another.
const FILES: [&str; 12] = [
    include_str!("types.cuh"),
    include_str!("aes.cuh"),
    include_str!("words.cu"),
    include_str!("packing.cu"),
    include_str!("bits.cu"),
    include_str!("dpf.cu"),
    include_str!("digits.cu"),
    include_str!("lookup.cu"),
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
                $(($name, 32) => concat!($name, "_32"), ($name, 64) => concat!($name, "_64"),)*
                _ => unreachable!("no kernel {name}"),
            }
        }
        const OF_RINGS: &[&str] = &[$(concat!($name, "_32"), concat!($name, "_64")),*];
    };
}
of_rings! {
    "expand" "expand_each" "sum" "mul" "shift" "add_row" "scale_each" "pack" "unpack" "add_packed" "stored" "bit" "correct"
    "dpf_evaluate" "dpf_generate" "at_most" "look_up" "look_up_tree" "digit_lookup" "one_hot" "gather" "sum_pool" "segments"
    "sum_batch" "limbs" "limbs_conv" "gemm" "product_linear" "product_conv" "product_transpose" "product_conv_dx"
    "product_conv_dw" "product_dot"
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
    ["expand", "correct", "dpf_", "look_up_tree", "bit_fields", "aes_"]
        .iter()
        .any(|begin| name.starts_with(begin))
}

/// The text.
pub fn source() -> String {
    FILES.concat()
}

/// Whether there is a compiler.
///
/// # Errors
/// [`Error::Device`] if not.
pub fn there() -> Result<()> {
    // SAFETY: opens the library if it is there; its initialisation is NVIDIA's own.
    if unsafe { sys::is_culib_present() } {
        return Ok(());
    }
    let remedy = "install the CUDA 13 runtime compiler, or use --device cpu";
    Err(Error::Device(format!("no CUDA compiler on this machine (libnvrtc.so); {remedy}")))
}

/// The kernels on a device of some version, their products in so many stages.
///
/// # Errors
/// [`Error::Device`] if the compiler is missing, or does not know the device.
pub fn module(context: &Arc<CudaContext>, version: (i32, i32), stages: u32) -> Result<Arc<CudaModule>> {
    let image = image(version, stages)?;
    context.load_module(Ptx::from_binary(image)).map_err(|e| refused("loading the kernels", &e))
}

/// The kernels in the code of a version of devices, from the disk if they were compiled before. Code, not PTX: a driver takes
/// PTX of no compiler newer than itself, and would compile it once more.
fn image((major, minor): (i32, i32), stages: u32) -> Result<Vec<u8>> {
    let options = [
        format!("--gpu-architecture=sm_{major}{minor}"),
        "--std=c++17".into(),
        format!("-DMATMUL_STAGES={stages}"),
    ];
    let source = source();
    let mut digest = blake3::Hasher::new_derive_key("twoply 2026-11 compiled kernels v2");
    options.iter().for_each(|o| {
        digest.update(o.as_bytes()).update(b"\n");
    });
    digest.update(compiler().as_bytes()).update(source.as_bytes());
    let kept = cache().map(|dir| dir.join(format!("kernels-{}.cubin", &digest.finalize().to_hex()[..32])));
    if let Some(image) = kept.as_ref().and_then(|path| std::fs::read(path).ok()).and_then(unseal) {
        return Ok(image);
    }
    let source = CString::new(source).map_err(|e| Error::Device(format!("compiling the kernels: {e}")))?;
    let image = Program::compile(&source, &options)?;
    if let Some(path) = kept {
        keep(&path, &seal(&image));
    }
    Ok(image)
}

/// A program of the compiler.
struct Program(sys::nvrtcProgram);

impl Program {
    /// The code of a source.
    fn compile(source: &CStr, options: &[String]) -> Result<Vec<u8>> {
        let refused = |e: NvrtcError| not_compiled(&format!("{e}"));
        let program = Program(nvrtc::create_program(source, None).map_err(refused)?);
        // SAFETY: the program is there until this returns, and buffers are as long as the compiler says they must be.
        unsafe {
            nvrtc::compile_program(program.0, options).map_err(|e| {
                let log = nvrtc::get_program_log(program.0).unwrap_or_default();
                let log: Vec<u8> = log.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
                let log: Vec<_> =
                    String::from_utf8_lossy(&log).split_whitespace().map(str::to_owned).collect();
                not_compiled(&format!("{e}: {}", log.join(" ").trim_end_matches('.')))
            })?;
            let mut len = 0;
            sys::nvrtcGetCUBINSize(program.0, &raw mut len).result().map_err(refused)?;
            let mut image = vec![0_u8; len];
            sys::nvrtcGetCUBIN(program.0, image.as_mut_ptr().cast()).result().map_err(refused)?;
            Ok(image)
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: nobody else has it.
        let _ = unsafe { nvrtc::destroy_program(self.0) };
    }
}

/// Why the kernels do not compile, in the compiler's words.
fn not_compiled(why: &str) -> Error {
    let remedy = if why.contains("nvrtc-builtins") {
        "name the folder of libnvrtc.so in LD_LIBRARY_PATH, its other libraries are there too"
    } else if why.contains("gpu-architecture") {
        "the compiler is older than the device: install a newer CUDA"
    } else {
        "see `twoply doctor`"
    };
    Error::Device(format!("compiling the kernels: {why}; {remedy}"))
}

/// Code behind its digest, so that half a file is none; against who can write there it is no protection.
fn seal(image: &[u8]) -> Vec<u8> {
    [blake3::hash(image).as_bytes(), image].concat()
}
fn unseal(sealed: Vec<u8>) -> Option<Vec<u8>> {
    let (digest, image) = sealed.split_first_chunk::<32>()?;
    (blake3::hash(image) == *digest).then(|| image.to_vec())
}

/// Which compiler there is: its version is part of what compiled kernels are known by.
fn compiler() -> String {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two integers.
    unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    format!("nvrtc {major}.{minor}")
}

/// Where compiled kernels are kept: this user's cache, if there is one.
fn cache() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let dir = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")))?.join("twoply");
    let mut new = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut new, 0o700);
    new.recursive(true).create(&dir).ok()?;
    private(&dir).then_some(dir)
}

/// Whom this process acts for. Not the owner of `/proc/self`: that is root while the process may not be dumped.
#[cfg(unix)]
fn user() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let ids = status.lines().find_map(|l| l.strip_prefix("Uid:"))?;
    // real, effective, saved, of the file system
    ids.split_whitespace().nth(1)?.parse().ok()
}

/// Whether nobody else can write to a folder: what lies there is run.
fn private(dir: &std::path::Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let closed = |m: &std::fs::Metadata| m.permissions().mode() & 0o022 == 0;
        let mine = |m: &std::fs::Metadata| user().is_some_and(|me| m.uid() == me);
        std::fs::metadata(dir).is_ok_and(|m| closed(&m) && mine(&m))
    }
    #[cfg(not(unix))]
    {
        let _ = dir;
        true
    }
}

/// Written beside and moved, so that nobody reads half of it. Without it the next start compiles again.
fn keep(path: &std::path::Path, image: &[u8]) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{number}.new", std::process::id()));
    let write = || {
        std::fs::write(&beside, image)?;
        std::fs::rename(&beside, path)
    };
    if write().is_err() {
        let _ = std::fs::remove_file(&beside);
    }
}
