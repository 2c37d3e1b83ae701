//! What a dealer's folder says about the deal in it: `deal.json`. Public; makes resuming exact and keeps two
//! dealers out of one folder.

use super::Order;
use super::folder::halves;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::{self, Existing};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use twoply_preprocessing::{Cut, KeyDir, PlanDigest, SeedSource, parse_key_set};
use twoply_primitives::{KeySetId, PartyId};

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
    /// Where the keys go; up to protocol 2 this was not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    way: Option<Way>,
    /// The key set, named before its first file is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_set: Option<String>,
    /// Both halves are there: one that is not was moved away.
    #[serde(default)]
    begun: bool,
    /// All segments are there: the halves may be moved away.
    #[serde(default)]
    finished: bool,
}

/// Where the keys of a deal go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Way {
    /// They stay in the folder until somebody moves them.
    Folder,
    /// To both parties; the folder is erased.
    Network,
}

/// A dealer's folder, locked for as long as this lives.
pub(super) struct Note {
    folder: PathBuf,
    content: Content,
    _lock: File,
}

impl Content {
    fn of(order: &Order, way: Way) -> Result<Self, Failure> {
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
            way: Some(way),
            key_set: None,
            begun: false,
            finished: false,
        })
    }

    /// Why this deal is not the one that is `wanted`.
    fn differs(&self, wanted: &Content, folder: &Path) -> Option<Failure> {
        let other = |code, what: String, remedy| Some(Failure::new(code, what).remedy(remedy));
        let folder = folder.display();
        if self.plan != wanted.plan {
            let what = format!("the deal in {folder} is for another plan");
            let remedy = "resume with the plan it was begun with, or deal into another folder";
            return other(ExitCode::PlanMismatch, what, remedy);
        }
        if self.way.is_some_and(|way| Some(way) != wanted.way) {
            let what =
                format!("the deal in {folder} was begun the other way: with --out, or with --p0 and --p1");
            return other(
                ExitCode::Usage,
                what,
                "go on with it the way it was begun, or name another folder",
            );
        }
        let cut = |c: &Content| (c.images, c.segment_images, c.insecure_test_seed);
        if cut(self) != cut(wanted) {
            let what = format!(
                "the deal in {folder} was begun with --images {} --segment {}{}",
                self.images,
                self.segment_images,
                self.insecure_test_seed.map(|n| format!(" --insecure-test-seed {n}")).unwrap_or_default(),
            );
            let remedy = "resume with the settings the deal was begun with, or deal into another folder";
            return other(ExitCode::Usage, what, remedy);
        }
        None
    }
}

impl Note {
    /// Begins a deal in `folder`, which is created. One that is finished there makes room; its halves, where they are
    /// still here, stay.
    pub(super) fn begin(folder: &Path, order: &Order, way: Way) -> Result<Self, Failure> {
        let path = folder.join(FILE);
        let mut content = Content::of(order, way)?;
        if path.exists() {
            let lock = lock(&path)?;
            let before = read(&path)?;
            if !before.finished || before.way != content.way {
                return Err(begun(&path));
            }
            content.key_set = Some(fresh(folder, order)?.to_string());
            write(&path, &content)?;
            return Ok(Note { folder: folder.into(), content, _lock: lock });
        }
        if let Some(taken) = halves(folder).into_iter().find(|half| half.exists()) {
            return Err(begun(&taken));
        }
        files::private_dir(folder)?;
        content.key_set = Some(fresh(folder, order)?.to_string());
        write(&path, &content)?;
        Ok(Note { folder: folder.into(), content, _lock: lock(&path)? })
    }

    /// Goes on with the deal in `folder`, which must be the one ordered.
    pub(super) fn resume(folder: &Path, order: &Order, way: Way) -> Result<Self, Failure> {
        let path = folder.join(FILE);
        let lock = lock(&path)?;
        let mut content = read(&path)?;
        if let Some(failure) = content.differs(&Content::of(order, way)?, folder) {
            return Err(failure.during(Phase::Deal));
        }
        content.way = Some(way);
        Ok(Note { folder: folder.into(), content, _lock: lock })
    }

    /// Whether all keys have arrived at the parties.
    pub(super) fn delivered(&self) -> bool {
        self.content.delivered
    }

    /// Whether all segments were made.
    pub(super) fn finished(&self) -> bool {
        self.content.finished
    }

    /// The key set, and whether both halves of it were there; up to protocol 2 this was not noted.
    pub(super) fn key_set(&self) -> Option<(KeySetId, bool)> {
        let id = self.content.key_set.as_deref().and_then(parse_key_set)?;
        Some((id, self.content.begun))
    }

    /// Notes the key set durably: its name before its first file is made, `begun` once both halves are there.
    pub(super) fn name(&mut self, key_set: KeySetId, begun: bool) -> Result<(), Failure> {
        self.content.key_set = Some(key_set.to_string());
        self.content.begun = begun;
        write(&self.folder.join(FILE), &self.content)
    }

    /// All segments are there: notes it durably.
    pub(super) fn complete(mut self) -> Result<(), Failure> {
        if self.content.finished {
            return Ok(());
        }
        self.content.finished = true;
        write(&self.folder.join(FILE), &self.content)
    }

    /// All keys have arrived: notes it durably, then erases everything.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.content.delivered = true;
        write(&self.folder.join(FILE), &self.content)?;
        self.erase()
    }

    /// Erases the folder, this note last. Halves that a party uses or has used are refused.
    pub(super) fn erase(self) -> Result<(), Failure> {
        let cut = Cut::new(self.content.images, self.content.segment_images)?;
        for (half, party) in halves(&self.folder).into_iter().zip(PartyId::BOTH) {
            if half.exists() {
                let dir = KeyDir::open(&half, party)?;
                dir.key_sets()?.into_iter().try_for_each(|id| dir.clear_delivered(id, cut))?;
            }
            files::wipe_dir(&half)?;
        }
        files::wipe(&self.folder.join(FILE))?;
        // A folder that others use too stays.
        let _ = fs::remove_dir(&self.folder);
        Ok(())
    }
}

/// The name of a new key set in `folder`. A test seed gives the same one every time, and what has it stays.
pub(super) fn fresh(folder: &Path, order: &Order) -> Result<KeySetId, Failure> {
    let key_set = order.seeds.key_set()?;
    match halves(folder).into_iter().map(|half| half.join(key_set.to_string())).find(|path| path.exists()) {
        Some(path) => Err(twoply_preprocessing::Error::Exists { path }.into()),
        None => Ok(key_set),
    }
}

fn begun(taken: &Path) -> Failure {
    let what = format!("{} exists: a deal was begun in this folder", taken.display());
    Failure::new(ExitCode::System, what)
        .during(Phase::Deal)
        .remedy("go on with it by --resume, or choose another folder")
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
