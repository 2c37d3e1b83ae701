//! Reading and writing the files of a project: plans, graphs, weights, images. Every failure names the path, the
//! cause and the remedy.
//!
//! Exit codes: 15 for files that are missing or unusable as model or data, 16 for what the system refuses.

use crate::exit::{ExitCode, Failure, Phase};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use twoply_nn::data::MAX_BYTES;
use twoply_nn::train::TrainingPlan;
use twoply_nn::{Graph, Plan, Weights};
use zeroize::Zeroizing;

mod images;

pub use images::{Inputs, read_images, read_labels};

/// The failure of a file operation: missing files are unusable data, anything else is the system's refusal.
pub fn refused(what: &str, path: &Path, error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => Failure::new(ExitCode::Model, format!("there is no file {}", path.display()))
            .remedy("check the path"),
        ErrorKind::IsADirectory => {
            Failure::new(ExitCode::Model, format!("{} is a folder", path.display())).remedy("name a file")
        }
        ErrorKind::PermissionDenied => Failure::io(what, path.display(), error)
            .remedy(format!("give this user access to {}", path.display())),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Failure::io(what, path.display(), error).remedy("free space, or choose a place on another disk")
        }
        _ => Failure::io(what, path.display(), error),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|e| refused("read", path, &e).during(Phase::Import))
}

/// Reads a data set, of no more bytes than one may have.
fn read_bounded(path: &Path) -> Result<Vec<u8>, Failure> {
    let run = || -> io::Result<Vec<u8>> {
        let mut bytes = vec![];
        let file = File::open(path)?;
        // Devices and pipes do not say how long they are.
        file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = run().map_err(|e| refused("read", path, &e).during(Phase::Import))?;
    if bytes.len() > MAX_BYTES {
        let why = format!("it is larger than {MAX_BYTES} bytes; split it into files of a folder");
        return Err(unusable(path, twoply_nn::Error::data("images", why)));
    }
    Ok(bytes)
}

/// The failure of a file's content, with the file's name.
fn unusable(path: &Path, error: twoply_nn::Error) -> Failure {
    let failure = Failure::from(error);
    let content = failure.content();
    let named = Failure::new(content.code, format!("{}: {}", path.display(), content.what));
    let named = named.remedy(content.remedy.clone()).during(Phase::Import);
    match &content.layer {
        Some(layer) => named.in_layer(layer.clone()),
        None => named,
    }
}

/// Reads a plan and checks it against this version.
///
/// # Errors
/// 15 when it is missing, damaged, of another version, or one of training; 10 when its ranges do not fit.
pub fn read_plan(path: &Path) -> Result<Plan, Failure> {
    let text = plan_text(path)?;
    if trains(&text) {
        let failure =
            Failure::new(ExitCode::Model, format!("{} is the plan of a training run", path.display()));
        let remedy = "call `twoply train run`, `twoply deal --follow`, `twoply share`, `twoply train fetch` or `twoply train watch` with it";
        return Err(failure.during(Phase::Import).remedy(remedy));
    }
    Plan::from_json(&text).map_err(|e| unusable(path, e))
}

/// Reads a training plan; what its graph and recipe would cost is recomputed.
///
/// # Errors
/// 15 when it is missing, of another version, changed, or one of inference.
pub fn read_training_plan(path: &Path) -> Result<TrainingPlan, Failure> {
    let text = plan_text(path)?;
    if serde_json::from_str::<serde_json::Value>(&text).is_ok() && !trains(&text) {
        let failure =
            Failure::new(ExitCode::Model, format!("{} is no plan of a training run", path.display()));
        return Err(failure.during(Phase::Import).remedy("make one with `twoply train plan`"));
    }
    TrainingPlan::from_json(&text).map_err(|e| unusable(path, e))
}

fn plan_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path)?)
        .map_err(|_| unusable(path, twoply_nn::Error::data("plan", "it is not text")))
}

/// Whether a plan is one of training.
fn trains(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok_and(|plan| plan.get("recipe").is_some())
}

/// Reads a graph and validates it.
///
/// # Errors
/// 15 when it is missing or breaks the rules of graphs.
pub fn read_graph(path: &Path) -> Result<Graph, Failure> {
    let bytes = read(path)?;
    Graph::from_json(&bytes).map_err(|e| match is_onnx(path, &bytes) {
        true => {
            let shown = path.display();
            Failure::new(ExitCode::Model, format!("{shown} is an ONNX model, and a graph is wanted"))
                .remedy(format!(
                    "import it first, `twoply import {shown}`, and name the graph that this writes"
                ))
                .during(Phase::Import)
        }
        false => unusable(path, e),
    })
}

/// Whether a file is an ONNX model, by its name or by how such files begin (the field of the format's version).
fn is_onnx(path: &Path, bytes: &[u8]) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")) || bytes.first() == Some(&8)
}

/// Reads the weights of `graph`. A file that others may read is used, with a warning in the log.
///
/// # Errors
/// 15 when they are missing, damaged, or another graph's.
pub fn read_weights(path: &Path, graph: &Graph) -> Result<Weights, Failure> {
    let bytes = Zeroizing::new(read(path)?);
    if let Ok(facts) = fs::metadata(path)
        && facts.mode() & 0o077 != 0
    {
        let (path, mode) = (path.display(), facts.mode() & 0o777);
        tracing::warn!("{path}: mode {mode:03o} lets others read these weights; run `chmod 600 {path}`");
    }
    Weights::from_safetensors(graph, &bytes).map_err(|e| unusable(path, e))
}

/// What happens to a file that is there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Existing {
    /// It stays, and writing fails with exit 16.
    Keep,
    /// It is replaced.
    Replace,
}

/// Fails when `path` is taken and must be kept. For checks before long work.
///
/// # Errors
/// 16, with `--force` as the remedy.
pub fn vacant(path: &Path, existing: Existing) -> Result<(), Failure> {
    if existing == Existing::Keep && path.symlink_metadata().is_ok() {
        let what = format!("{} exists and is not overwritten", path.display());
        return Err(Failure::new(ExitCode::System, what).remedy("choose another name, or add --force"));
    }
    Ok(())
}

/// Writes a file that only this user may read (mode 0600), completely or not at all.
///
/// # Errors
/// 16 when it exists and must be kept, or the system refuses.
pub fn write_private(path: &Path, bytes: &[u8], existing: Existing) -> Result<(), Failure> {
    write(path, bytes, existing, 0o600)
}

/// Writes a file that others may read, completely or not at all.
///
/// # Errors
/// As [`write_private`].
pub fn write_public(path: &Path, bytes: &[u8], existing: Existing) -> Result<(), Failure> {
    write(path, bytes, existing, 0o644)
}

fn write(path: &Path, bytes: &[u8], existing: Existing, mode: u32) -> Result<(), Failure> {
    vacant(path, existing)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = path.with_file_name(format!(".{name}.{}.{number}.tmp", std::process::id()));
    let mut open = OpenOptions::new();
    let file = open.write(true).create(true).truncate(true).mode(mode).open(&draft);
    let done = file
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, path))
        .and_then(|()| sync_parent(path));
    done.map_err(|e| {
        // What is left of a failed draft is of no use; its own failure changes nothing.
        let _ = fs::remove_file(&draft);
        match e.kind() {
            ErrorKind::NotFound => Failure::io("write", path.display(), &e).remedy("create its folder first"),
            _ => refused("write", path, &e),
        }
    })
}

/// Appends a line to a file that only this user may read: mode 0600, also where it was there before.
///
/// # Errors
/// 16 when the system refuses.
pub fn append_private(path: &Path, line: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let run = |mut file: File| -> io::Result<()> {
        let facts = file.metadata()?;
        if facts.is_file() && facts.mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        writeln!(file, "{line}")
    };
    file.and_then(run).map_err(|e| refused("write", path, &e))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Creates a folder, and its parents, that only this user may enter. One that exists is left as it is.
///
/// # Errors
/// 16 when the system refuses.
pub fn private_dir(path: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| Failure::io("create the folder", path.display(), &e))
}

/// Overwrites a file with zeros and removes it. Solid-state disks, copy-on-write file systems, snapshots and
/// backups may keep the old bytes: a place in memory (tmpfs) has none of these.
///
/// # Errors
/// 16 when the system refuses; a file that is gone is fine.
pub fn wipe(path: &Path) -> Result<(), Failure> {
    let run = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let mut left = file.metadata()?.len();
        let zeros = vec![0; 1 << 20];
        file.seek(SeekFrom::Start(0))?;
        while left > 0 {
            let now = left.min(zeros.len() as u64);
            file.write_all(&zeros[..now as usize])?;
            left -= now;
        }
        file.sync_all()?;
        fs::remove_file(path)?;
        sync_parent(path)
    };
    match run() {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Failure::io("erase", path.display(), &e)),
        _ => Ok(()),
    }
}

/// [`wipe`]s every file below a folder and removes the folder. Links are removed, not followed.
///
/// # Errors
/// As [`wipe`].
pub fn wipe_dir(path: &Path) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::io("erase", path.display(), &e);
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            wipe_dir(&entry.path())?;
        } else if kind.is_file() {
            wipe(&entry.path())?;
        } else {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    fs::remove_dir(path).and_then(|()| sync_parent(path)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn private_files_are_private_whole_and_never_replaced_by_accident() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w");
        write_private(&path, b"one", Existing::Keep).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let failure = write_private(&path, b"two", Existing::Keep).unwrap_err();
        assert_eq!(failure.code(), ExitCode::System);
        assert!(failure.content().remedy.contains("--force"));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write_private(&path, b"two", Existing::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        let nowhere = folder.path().join("none").join("w");
        assert_eq!(write_public(&nowhere, b"", Existing::Keep).unwrap_err().code(), ExitCode::System);
    }

    #[test]
    fn lines_are_appended_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("coins");
        append_private(&path, "one").unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        append_private(&path, "two").unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600, "a file of an older version is closed");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let failure = append_private(folder.path(), "three").unwrap_err();
        assert_eq!(failure.code(), ExitCode::Model);
    }

    #[test]
    fn failures_name_the_file_and_carry_their_code() {
        let folder = tempfile::tempdir().unwrap();
        let none = folder.path().join("none.json");
        for failure in
            [read_plan(&none).unwrap_err(), read_graph(&none).unwrap_err(), read_labels(&none).unwrap_err()]
        {
            assert_eq!(failure.code(), ExitCode::Model);
            assert!(failure.content().what.contains("none.json"), "{failure}");
        }
        let bad = folder.path().join("bad.json");
        fs::write(&bad, b"\xff{").unwrap();
        for failure in [read_plan(&bad).unwrap_err(), read_graph(&bad).unwrap_err()] {
            assert_eq!(failure.code(), ExitCode::Model);
            assert!(failure.content().what.contains("bad.json"), "{failure}");
        }
        let model = folder.path().join("net.ONNX");
        fs::write(&model, b"anything").unwrap();
        let by_name = read_graph(&model).unwrap_err();
        fs::write(&bad, b"\x08\x0a\x12").unwrap();
        for failure in [by_name, read_graph(&bad).unwrap_err()] {
            assert!(failure.content().what.contains("is an ONNX model"), "{failure}");
            assert!(failure.content().remedy.contains("import it first, `twoply import "), "{failure}");
        }
        assert_eq!(read_plan(folder.path()).unwrap_err().code(), ExitCode::Model);
    }

    #[test]
    fn wiping_a_folder_overwrites_and_does_not_follow_links() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, outside) = (folder.path().join("d"), folder.path().join("outside"));
        private_dir(&dir.join("inner")).unwrap();
        fs::write(&outside, b"keep").unwrap();
        fs::write(dir.join("inner/secret"), vec![7; (1 << 20) + 9]).unwrap();
        fs::hard_link(dir.join("inner/secret"), folder.path().join("seen")).unwrap();
        symlink(&outside, dir.join("link")).unwrap();
        wipe_dir(&dir).unwrap();
        wipe_dir(&dir).unwrap();
        assert!(!dir.exists());
        assert_eq!(fs::read(&outside).unwrap(), b"keep");
        assert!(fs::read(folder.path().join("seen")).unwrap() == vec![0; (1 << 20) + 9]);
    }
}
