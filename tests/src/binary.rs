//! The program under test: the one built beside the test, and not an older one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Path of `twoply`, of the test's own profile. Built here if it is missing or older than its sources.
pub fn twoply() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows where it is");
        let folder = test.parent().expect("a program lies in a folder");
        // Tests lie in a folder of their own, programs beside `twoply`.
        let profile = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
        let profile = profile.expect("deps lies in the profile's folder");
        let path = profile.join("twoply");
        if modified(&path).is_none_or(|built| built < sources()) {
            build(profile);
        }
        path
    })
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|m| m.modified()).ok()
}

/// When a source file of the program was last changed.
fn sources() -> SystemTime {
    fn newest(folder: &Path) -> SystemTime {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let times = entries.map(|e| match e.path() {
            p if p.is_dir() => newest(&p),
            p => modified(&p).unwrap_or(SystemTime::UNIX_EPOCH),
        });
        times.max().unwrap_or(SystemTime::UNIX_EPOCH)
    }
    let folders = ["primitives", "preprocessing", "nn", "party"];
    let newest = folders.iter().map(|f| newest(&root().join(f).join("src")));
    newest.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn build(profile: &Path) {
    // with this crate: fewer of the crates that both depend on have other features, and are built again, than without it
    let command = match cfg!(feature = "cuda") {
        true => "cargo build -p twoply-party -p twoply-tests --bin twoply --features cuda",
        false => "cargo build -p twoply-party -p twoply-tests --bin twoply",
    };
    let target = profile.parent().expect("a profile lies in the target folder");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(command.split(' ').skip(1)).arg("--target-dir").arg(target).current_dir(root());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.status().is_ok_and(|status| status.success());
    assert!(built, "the program under test is missing or old; build it with `{command}`");
}

/// The workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above").to_owned()
}
