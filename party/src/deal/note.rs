//! What a dealer's folder says about the deal in it: `deal.json`. Public; makes resuming exact and keeps two
//! dealers out of one folder.

use super::Order;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::{self, Existing};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use twoply_preprocessing::{Cut, PlanDigest, SeedSource};

const FILE: &str = "deal.json";

/// The content of `deal.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    plan: String,
    images: u64,
    segment_images: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    insecure_test_seed: Option<u64>,
    /// Everything has arrived at the parties: what is left here is to be erased.
    #[serde(default)]
    delivered: bool,
}

/// A dealer's folder, locked for as long as this lives.
pub(super) struct Note {
    folder: PathBuf,
    content: Content,
    _lock: File,
}

impl Content {
    fn of(order: &Order) -> Result<Self, Failure> {
        let PlanDigest(digest) = order.plan.digest()?;
        Ok(Content {
            plan: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            images: order.cut.images(),
            segment_images: order.cut.segment_images(),
            insecure_test_seed: match order.seeds {
                SeedSource::Os => None,
                SeedSource::InsecureTest(number) => Some(number),
            },
            delivered: false,
        })
    }
}

impl Note {
    /// Begins a deal in `folder`, which is created.
    pub(super) fn begin(folder: &Path, order: &Order) -> Result<Self, Failure> {
        let path = folder.join(FILE);
        let taken = [path.clone(), folder.join("p0"), folder.join("p1")].into_iter().find(|p| p.exists());
        if let Some(taken) = taken {
            let what = format!("{} exists: a deal was begun in this folder", taken.display());
            return Err(Failure::new(ExitCode::System, what)
                .during(Phase::Deal)
                .remedy("go on with it by --resume, or choose another folder"));
        }
        files::private_dir(folder)?;
        let content = Content::of(order)?;
        write(&path, &content)?;
        Ok(Note { folder: folder.into(), content, _lock: lock(&path)? })
    }

    /// Goes on with the deal in `folder`, which must be the one ordered.
    pub(super) fn resume(folder: &Path, order: &Order) -> Result<Self, Failure> {
        let path = folder.join(FILE);
        let lock = lock(&path)?;
        let content = read(&path)?;
        let mut wanted = Content::of(order)?;
        wanted.delivered = content.delivered;
        let differs = |what: String| {
            Failure::new(ExitCode::Usage, what)
                .during(Phase::Deal)
                .remedy("resume with the settings the deal was begun with, or deal into another folder")
        };
        if content.plan != wanted.plan {
            let what = format!("the deal in {} is for another plan", folder.display());
            return Err(Failure::new(ExitCode::PlanMismatch, what)
                .during(Phase::Deal)
                .remedy("resume with the plan it was begun with, or deal into another folder"));
        }
        if content != wanted {
            return Err(differs(format!(
                "the deal in {} was begun with --images {} --segment {}{}",
                folder.display(),
                content.images,
                content.segment_images,
                content.insecure_test_seed.map(|n| format!(" --insecure-test-seed {n}")).unwrap_or_default(),
            )));
        }
        Ok(Note { folder: folder.into(), content, _lock: lock })
    }

    /// Whether all keys have arrived at the parties.
    pub(super) fn delivered(&self) -> bool {
        self.content.delivered
    }

    /// All keys have arrived: notes it durably, then erases everything.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.content.delivered = true;
        write(&self.folder.join(FILE), &self.content)?;
        self.erase()
    }

    /// Erases the folder, this note last.
    pub(super) fn erase(self) -> Result<(), Failure> {
        files::wipe_dir(&self.folder.join("p0"))?;
        files::wipe_dir(&self.folder.join("p1"))?;
        files::wipe(&self.folder.join(FILE))?;
        // A folder that others use too stays.
        let _ = fs::remove_dir(&self.folder);
        Ok(())
    }
}

/// The images and segments of the deal that was begun in `folder`.
///
/// # Errors
/// 2 when none was, 16 when its note is damaged.
pub fn cut_of(folder: &Path) -> Result<Cut, Failure> {
    let content = read(&folder.join(FILE))?;
    Ok(Cut::new(content.images, content.segment_images)?)
}

fn write(path: &Path, content: &Content) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(content).map_err(|e| {
        Failure::new(ExitCode::Internal, format!("the note of a deal cannot be written: {e}"))
    })?;
    files::write_private(path, text.as_bytes(), Existing::Replace)
}

fn read(path: &Path) -> Result<Content, Failure> {
    let text = fs::read(path).map_err(|e| absent(path, &e))?;
    serde_json::from_slice(&text).map_err(|e| {
        Failure::new(ExitCode::System, format!("{} is damaged: {e}", path.display()))
            .remedy("deal into another folder, and erase this one")
    })
}

fn absent(path: &Path, error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(path).display();
            Failure::new(ExitCode::Usage, format!("no deal was begun in {folder}"))
                .during(Phase::Deal)
                .remedy("name the folder of the deal, or start a new one without --resume")
        }
        _ => Failure::io("read", path.display(), error),
    }
}

/// The lock is on the folder: the note is replaced by renaming.
fn lock(note: &Path) -> Result<File, Failure> {
    let folder = note.parent().unwrap_or(note);
    let file = File::open(folder).map_err(|e| absent(note, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let what = format!("another dealer works in {}", folder.display());
            Err(Failure::new(ExitCode::System, what).remedy("wait for it, or deal into another folder"))
        }
        Err(TryLockError::Error(e)) => Err(Failure::io("lock", folder.display(), &e)),
    }
}
