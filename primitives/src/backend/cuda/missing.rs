//! Machines on which something is missing or broken: each is a process of its own, with the libraries and the folders that
//! it is to have. Needs the stand-in of `tests/cuda/`.

use super::Cuda;
use super::tests::gpu;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Set where this program is to open a device and say what came of it.
const OPEN: &str = "TWOPLY_TEST_OPEN";

#[test]
fn open_and_tell() {
    if std::env::var_os(OPEN).is_some() {
        match Cuda::<u32>::open(0) {
            Ok(dev) => eprintln!("it opened: {:?}", dev.finish().is_ok()),
            Err(e) => eprintln!("it refused: {e}"),
        }
    }
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("twoply-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
    /// With a link to a library.
    fn with(self, library: &Path) -> Self {
        symlink(library, self.0.join(library.file_name().unwrap())).unwrap();
        self
    }
    fn files(&self) -> Vec<PathBuf> {
        let all = std::fs::read_dir(self.0.join("twoply"));
        all.map_or(vec![], |all| all.map(|f| f.unwrap().path()).collect())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where the stand-in is.
fn stand_in() -> Option<PathBuf> {
    gpu::<u32>()?;
    let named = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let here = |f: &PathBuf| f.join("libcuda.so.1").exists() && f.join("table.inc").exists();
    let found = std::env::split_paths(&named).find(here);
    let wanted = std::env::var("TWOPLY_NEED_CUDA").is_ok_and(|v| v != "device");
    assert!(
        found.is_some() || !wanted,
        "TWOPLY_NEED_CUDA is set, and the stand-in is not in LD_LIBRARY_PATH"
    );
    found
}

/// Opens a device in a process with these libraries and this folder for what it keeps.
fn start(libraries: &[&Path], cache: &Path, more: &[(&str, &str)]) -> Child {
    let test = ["backend::cuda::missing::open_and_tell", "--exact", "--nocapture"];
    let paths = std::env::join_paths(libraries).unwrap();
    let envs = [("LD_LIBRARY_PATH", paths.as_os_str()), ("XDG_CACHE_HOME", cache.as_os_str())];
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(test).env(OPEN, "1").env_remove("HOME").envs(envs).envs(more.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}
fn said(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !err.contains("panicked"), "{}: {out}\n{err}", output.status);
    err.lines().find_map(|l| l.find("it ").map(|at| l[at..].to_owned())).unwrap_or_else(|| panic!("{err}"))
}
/// It refuses for all of these reasons.
fn refuses(child: Child, why: &[&str]) {
    let said = said(child);
    assert!(said.starts_with("it refused: device: "), "{said}");
    assert!(why.iter().all(|w| said.contains(w)), "{said}: {why:?}");
}
fn opens(child: Child) {
    assert_eq!(said(child), "it opened: true");
}

#[test]
fn without_a_library_it_says_which() {
    let Some(all) = stand_in() else { return };
    let cache = Folder::new("nothing-kept");
    let nothing = Folder::new("no-libraries");
    refuses(start(&[&nothing.0], &cache.0, &[]), &["libcuda.so.1", "--device cpu"]);
    let driver = Folder::new("driver-alone").with(&all.join("libcuda.so.1"));
    refuses(start(&[&driver.0], &cache.0, &[]), &["libnvrtc.so", "--device cpu"]);
    let old = all.join("old");
    refuses(start(&[&old, &all], &cache.0, &[]), &["too old", "cuCtxGetCurrent"]);
    refuses(start(&[&all], &cache.0, &[("TWOPLY_EMULATED_DEVICES", "0")]), &["no cuda:0", "0 CUDA devices"]);
}

#[test]
fn kernels_are_kept_whole_or_not_at_all() {
    let Some(all) = stand_in() else { return };
    let cache = Folder::new("kept");
    // four at once
    let children: Vec<Child> = (0..4).map(|_| start(&[&all], &cache.0, &[])).collect();
    children.into_iter().for_each(opens);
    let files = cache.files();
    assert!(files.len() == 1 && files[0].extension().unwrap() == "cubin", "{files:?}");
    let whole = std::fs::read(&files[0]).unwrap();
    for broken in [&whole[..whole.len() / 2], b"", b"\xff\xfe"] {
        std::fs::write(&files[0], broken).unwrap();
        opens(start(&[&all], &cache.0, &[]));
        assert!(std::fs::read(&files[0]).unwrap() == whole, "compiled again");
    }
    // nowhere to keep them
    for nowhere in ["/dev/null", ""] {
        opens(start(&[&all], Path::new(nowhere), &[]));
    }
}

/// Where the real compiler is, if it was fetched for `tests/cuda/compile.sh`.
fn compiler() -> Option<PathBuf> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cuda-compilers");
    let venv = std::env::var_os("TWOPLY_CUDA_VENV").map_or(fetched, PathBuf::from);
    let python = std::fs::read_dir(venv.join("lib")).ok()?.flatten().map(|f| f.path());
    let folder = |lib: PathBuf| lib.join("site-packages/nvidia/cu13/lib");
    python.map(folder).find(|f| f.join("libnvrtc.so.13").exists())
}

#[test]
fn the_real_compiler_takes_the_kernels() {
    let (Some(all), Some(real)) = (stand_in(), compiler()) else { return };
    let cache = Folder::new("compiled");
    let driver = Folder::new("driver-for-the-compiler").with(&all.join("libcuda.so.1"));
    opens(start(&[&driver.0, &real], &cache.0, &[]));
    let files = cache.files();
    assert_eq!(std::fs::read(&files[0]).unwrap()[32..36], *b"\x7fELF", "{files:?}");
    // it opens a library of its own by name
    let (cache, alone) = (Folder::new("not-compiled"), Folder::new("compiler-alone"));
    let alone = alone.with(&real.join("libnvrtc.so.13"));
    refuses(start(&[&driver.0, &alone.0], &cache.0, &[]), &["nvrtc-builtins", "LD_LIBRARY_PATH"]);
    assert_eq!(cache.files(), Vec::<PathBuf>::new());
}
