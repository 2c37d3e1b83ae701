//! What may be on a disk after a crash between two recorded calls.
//!
//! Content that was not synced may be lost, there in part or there; each change of a folder that was not synced may be
//! lost, whatever came after it. Real file systems keep more order than that; nothing here may rely on it.

use super::watch::Call;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Folders and files by name, as a machine finds them after a crash.
pub(super) type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// What a name stands for.
#[derive(Clone, PartialEq)]
enum Node {
    Folder,
    File(usize),
}

/// A change of a folder's names that may not be durable.
#[derive(Clone)]
enum Change {
    Put(PathBuf, Node),
    Move(PathBuf, PathBuf, Node),
    Remove(PathBuf),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Change::Put(path, node) => drop(names.insert(path.clone(), node.clone())),
            Change::Move(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), node.clone());
            }
            Change::Remove(path) => drop(names.remove(path)),
        }
    }
}

/// A change of content.
#[derive(Clone)]
enum Edit {
    /// Bytes at a position.
    Write(usize, Vec<u8>),
    /// Nothing beyond so many bytes.
    Shorten(usize),
}

impl Edit {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Edit::Shorten(length) => content.truncate(*length),
            Edit::Write(at, bytes) => {
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

#[derive(Clone, Default)]
struct Content {
    durable: Vec<u8>,
    pending: Vec<Edit>,
}

impl Content {
    /// What the file may hold after a crash.
    fn possible(&self) -> BTreeSet<Vec<u8>> {
        let with = |edits: &[Edit]| {
            let mut content = self.durable.clone();
            edits.iter().for_each(|edit| edit.apply(&mut content));
            content
        };
        let all = &self.pending[..];
        let mut states = BTreeSet::from([with(&[]), with(all)]);
        if let [before @ .., last] = all {
            states.insert(with(before));
            // only what came last, and half of it
            states.insert(with(std::slice::from_ref(last)));
            if let Edit::Write(at, bytes) = last {
                let half = Edit::Write(*at, bytes[..bytes.len() / 2].to_vec());
                states.insert(with(&[before, &[half]].concat()));
            }
        }
        states
    }
}

#[derive(Clone, Default)]
struct Folder {
    durable: BTreeMap<PathBuf, Node>,
    pending: Vec<Change>,
}

impl Folder {
    fn now(&self) -> BTreeMap<PathBuf, Node> {
        let mut names = self.durable.clone();
        self.pending.iter().for_each(|change| change.apply(&mut names));
        names
    }
    /// The names that a crash may leave: any of the pending changes are lost.
    fn possible(&self) -> Vec<BTreeMap<PathBuf, Node>> {
        assert!(self.pending.len() <= 8, "too many changes of a folder without a sync to try all");
        let subset = |kept: u32| {
            let mut names = self.durable.clone();
            let kept = self.pending.iter().enumerate().filter(|(i, _)| kept >> i & 1 == 1);
            kept.for_each(|(_, change)| change.apply(&mut names));
            names
        };
        (0..1 << self.pending.len()).map(subset).collect()
    }
}

/// A disk that knows what it was told and what it has promised.
#[derive(Clone)]
pub(super) struct Disk {
    root: PathBuf,
    folders: BTreeMap<PathBuf, Folder>,
    contents: Vec<Content>,
    /// Contents by the inode number of the file that has it now.
    inodes: BTreeMap<u64, usize>,
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).into()
}

impl Disk {
    /// A disk on which the folders `roots` are, durably; paths are shown relative to `root`.
    pub fn new(root: &Path, roots: &[PathBuf]) -> Disk {
        let folders = roots.iter().map(|root| (root.clone(), Folder::default())).collect();
        Disk { root: root.into(), folders, contents: vec![], inodes: BTreeMap::new() }
    }

    fn change(&mut self, path: &Path, change: Change) {
        self.folders.entry(parent(path)).or_default().pending.push(change);
    }
    fn node(&self, path: &Path) -> Option<Node> {
        self.folders.get(&parent(path))?.now().remove(path)
    }
    fn edit(&mut self, inode: u64, edit: Edit) {
        let id = self.inodes[&inode];
        self.contents[id].pending.push(edit);
    }

    /// Takes the next call.
    pub fn take(&mut self, call: &Call) {
        match call {
            Call::Folder(path) => {
                self.folders.insert(path.clone(), Folder::default());
                self.change(path, Change::Put(path.clone(), Node::Folder));
            }
            Call::File(path, inode) => {
                if self.node(path).is_none() {
                    self.inodes.insert(*inode, self.contents.len());
                    self.change(path, Change::Put(path.clone(), Node::File(self.contents.len())));
                    self.contents.push(Content::default());
                }
            }
            Call::Shortened(inode, length) => self.edit(*inode, Edit::Shorten(*length as usize)),
            Call::Written(inode, at, bytes) => {
                self.edit(*inode, Edit::Write(*at as usize, bytes.clone()));
            }
            Call::Synced(inode) => {
                let content = &mut self.contents[self.inodes[inode]];
                for pending in std::mem::take(&mut content.pending) {
                    pending.apply(&mut content.durable);
                }
            }
            Call::Renamed(from, to) => {
                let node = self.node(from).expect("what is renamed is there");
                self.change(to, Change::Move(from.clone(), to.clone(), node));
            }
            Call::Removed(path) => self.change(path, Change::Remove(path.clone())),
            Call::SyncedFolder(path) => {
                let folder = self.folders.entry(path.clone()).or_default();
                folder.durable = folder.now();
                folder.pending.clear();
            }
        }
    }

    /// Every tree that a crash now may leave; files that have no name of their own yet are left out.
    pub fn after_crash(&self) -> BTreeSet<Tree> {
        let mut trees: Vec<BTreeMap<PathBuf, Node>> = vec![BTreeMap::new()];
        for folder in self.folders.values() {
            let possible = folder.possible();
            trees = trees
                .iter()
                .flat_map(|tree| {
                    possible
                        .iter()
                        .map(|names| tree.iter().chain(names).map(|(p, n)| (p.clone(), n.clone())).collect())
                })
                .collect();
        }
        let mut all = BTreeSet::new();
        trees.iter().for_each(|tree| self.fill(tree, &mut all));
        all
    }

    /// Adds every tree with these names.
    fn fill(&self, names: &BTreeMap<PathBuf, Node>, all: &mut BTreeSet<Tree>) {
        // a name in a folder that was lost is lost
        let reached = |path: &Path| {
            path.ancestors()
                .skip(1)
                .take_while(|at| *at != self.root)
                .all(|at| self.is_root(at) || names.get(at) == Some(&Node::Folder))
        };
        let mut trees: Vec<Tree> = vec![BTreeMap::new()];
        for (path, node) in names.iter().filter(|(path, _)| reached(path)) {
            let short = path.strip_prefix(&self.root).unwrap_or(path).to_path_buf();
            let contents: Vec<Option<Vec<u8>>> = match node {
                Node::Folder => vec![None],
                Node::File(_) if path.extension().is_some_and(|e| e == super::PART) => continue,
                Node::File(id) => self.contents[*id].possible().into_iter().map(Some).collect(),
            };
            trees = trees
                .into_iter()
                .flat_map(|tree| {
                    contents
                        .iter()
                        .map(|content| {
                            let mut tree = tree.clone();
                            tree.insert(short.clone(), content.clone());
                            tree
                        })
                        .collect::<Vec<_>>()
                })
                .collect();
        }
        all.extend(trees);
    }

    fn is_root(&self, path: &Path) -> bool {
        self.folders.contains_key(path) && !self.folders.contains_key(&parent(path))
    }

    /// What the disk may still hold of a content, by the number it was created with, whether it has a name or not.
    pub fn residue(&self, number: usize) -> BTreeSet<Vec<u8>> {
        self.contents[number].possible()
    }
    /// The number of the content that a name stands for now.
    pub fn number(&self, path: &Path) -> Option<usize> {
        match self.node(path)? {
            Node::File(id) => Some(id),
            Node::Folder => None,
        }
    }
}
