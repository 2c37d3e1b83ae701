//! A life that was recorded, crashed between any two calls that change the disk: nothing that was promised is lost,
//! forgotten or left over. And each sync is needed: without it, one of these crashes breaks a promise.

use super::crash::{Disk, Tree};
use super::watch::{self, Call};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Debug;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What is wrong, if anything.
pub(crate) type Found = Result<(), String>;

/// What someone was told, which must outlive any crash from then on.
pub(crate) trait Promise: Copy + Debug {
    /// The file, relative to the life's folder, that may be erased from now on (false) or is erased (true).
    fn erases(&self) -> Option<(PathBuf, bool)>;
}

/// A life that was recorded: the calls, and after how many of them what was promised.
pub(crate) struct Life<P> {
    root: TempDir,
    /// Folders that were there before.
    places: Vec<PathBuf>,
    calls: Vec<Call>,
    promises: Vec<(usize, P)>,
}

impl<P: Promise> Life<P> {
    /// Lives for real: `run` gets the life's folder, with these folders in it, and whom to tell what is promised.
    pub fn record(places: &[&str], run: impl FnOnce(&Path, &mut dyn FnMut(P))) -> Life<P> {
        let root = tempfile::tempdir().unwrap();
        let places: Vec<_> = places.iter().map(|name| root.path().join(name)).collect();
        places.iter().for_each(|place| fs::create_dir(place).unwrap());
        let mut promises = vec![];
        watch::begin();
        run(root.path(), &mut |promise| promises.push((watch::count(), promise)));
        Life { calls: watch::end(), promises, places, root }
    }

    fn short<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(self.root.path()).unwrap()
    }

    /// Goes through all crashes; what the first broken promise is. `cache` knows trees that were looked at, after so
    /// many promises.
    fn check(
        &self,
        calls: &[Call],
        promises: &[(usize, P)],
        cache: &RefCell<HashMap<(usize, Tree), Found>>,
        look: &dyn Fn(&Path, &[P]) -> Found,
    ) -> Found {
        let mut disk = Disk::new(self.root.path(), &self.places);
        let mut numbers = HashMap::new();
        for at in 0..=calls.len() {
            if at > 0 {
                disk.take(&calls[at - 1]);
            }
            let told: Vec<P> = promises.iter().filter(|(after, _)| *after <= at).map(|p| p.1).collect();
            for (file, _) in told.iter().filter_map(P::erases) {
                let number = disk.number(&self.root.path().join(&file));
                numbers.entry(file).or_insert(number);
            }
            let erased = |file: &PathBuf| told.iter().any(|p| p.erases() == Some((file.clone(), true)));
            for (file, number) in &numbers {
                let number = number.ok_or("what is erased was never there")?;
                residue(&disk, number, erased(file)).map_err(|why| format!("after {at} calls: {why}"))?;
            }
            for tree in disk.after_crash() {
                let key = (told.len(), tree);
                let known = cache.borrow().get(&key).cloned();
                let found = known.unwrap_or_else(|| self.look(&key.1, &told, look));
                cache.borrow_mut().insert(key, found.clone());
                found.map_err(|why| format!("after {at} calls: {why}"))?;
            }
        }
        Ok(())
    }

    /// Lets a machine find this after a crash.
    fn look(&self, tree: &Tree, told: &[P], look: &dyn Fn(&Path, &[P]) -> Found) -> Found {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        self.places.iter().for_each(|place| fs::create_dir(root.join(self.short(place))).unwrap());
        for (path, content) in tree {
            let path = root.join(path);
            match content {
                None => fs::create_dir(&path).unwrap(),
                Some(bytes) => {
                    fs::write(&path, bytes).unwrap();
                    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
                }
            }
        }
        look(root, told)
    }

    /// Crashes between any two calls (there are more than `calls`): `look` says what is wrong with what is found.
    pub fn survives(&self, calls: usize, look: impl Fn(&Path, &[P]) -> Found) {
        assert!(self.calls.len() > calls, "{}", self.calls.len());
        self.check(&self.calls, &self.promises, &RefCell::default(), &look).unwrap();
    }

    /// The same. Then each sync (there are more than `syncs`) is left out in turn, and missed.
    pub fn crash(&self, syncs: usize, look: impl Fn(&Path, &[P]) -> Found) {
        let cache = RefCell::default();
        let is_sync = |call: &Call| matches!(call, Call::Synced(_) | Call::SyncedFolder(_));
        let found = self.calls.iter().filter(|call| is_sync(call)).count();
        assert!(found > syncs && self.calls.len() > 2 * found, "{found} of {}", self.calls.len());
        self.check(&self.calls, &self.promises, &cache, &look).unwrap();
        for (at, call) in self.calls.iter().enumerate().filter(|(_, call)| is_sync(call)) {
            let mut calls = self.calls.clone();
            calls.remove(at);
            let earlier = |after: usize| if after > at { after - 1 } else { after };
            let promises: Vec<_> = self.promises.iter().map(|(after, p)| (earlier(*after), *p)).collect();
            let found = self.check(&calls, &promises, &cache, &look);
            assert!(found.is_err(), "call {at}, {call:?}, is not missed");
        }
    }
}

/// The first page (of keys, the seed) goes first: nothing else of a file that is being erased is gone while it may be
/// there. In the end nothing is left.
fn residue(disk: &Disk, number: usize, erased: bool) -> Found {
    let page = crate::layout::PAGE;
    for content in disk.residue(number) {
        let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        if erased && !zeros(&content) {
            return Err("an erased file has left its content".into());
        }
        if content.len() > page && zeros(&content[page..]) && !zeros(&content[..page]) {
            return Err("the rest was erased before the first page".into());
        }
    }
    Ok(())
}
