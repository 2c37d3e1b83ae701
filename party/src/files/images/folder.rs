//! What is read of a folder, and in which order.

use crate::exit::{ExitCode, Failure, Phase};
use crate::files::refused;
use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What systems leave in folders without a dot in front.
const LEFT: [&str; 3] = ["Thumbs.db", "desktop.ini", "__MACOSX"];

/// The files of a folder, in the order they are read.
pub(super) struct Folder {
    pub files: Vec<File>,
    /// Number of subfolders, where they are classes.
    pub classes: Option<usize>,
}

/// One of them.
pub(super) struct File {
    pub path: PathBuf,
    /// Its path below the folder.
    pub name: String,
    /// The number of its subfolder.
    pub class: Option<u32>,
}

/// Names of a folder's files and subfolders that are not hidden.
struct Names {
    files: Vec<String>,
    folders: Vec<String>,
}

/// Lists a folder: its files; or where it has subfolders alone, theirs.
///
/// # Errors
/// 15 for names that are no text and for subfolders of classes; 16 when the system refuses.
pub(super) fn list(folder: &Path) -> Result<Folder, Failure> {
    let Names { files, folders } = names(folder)?;
    let file = |name: String| File { path: folder.join(&name), name, class: None };
    if !files.is_empty() || folders.is_empty() {
        if !folders.is_empty() {
            let (folder, names) = (folder.display(), folders.join(", "));
            tracing::warn!("{folder}: subfolders beside files are passed over: {names}");
        }
        return Ok(Folder { files: files.into_iter().map(file).collect(), classes: None });
    }
    let mut all = vec![];
    for (class, name) in (0..).zip(&folders) {
        let path = folder.join(name);
        let inside = names(&path)?;
        if let Some(deeper) = inside.folders.first() {
            let what = format!("{}: a subfolder of a class", path.join(deeper).display());
            return Err(Failure::new(ExitCode::Model, what)
                .remedy("give a folder of pictures, or of a subfolder of pictures for each class")
                .during(Phase::Import));
        }
        all.extend(inside.files.into_iter().map(|file| File {
            path: path.join(&file),
            name: format!("{name}/{file}"),
            class: Some(class),
        }));
    }
    Ok(Folder { files: all, classes: Some(folders.len()) })
}

/// Files in natural order; folders in the order of their characters, which is that of class numbers elsewhere.
fn names(folder: &Path) -> Result<Names, Failure> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|e| refused("list", folder, &e).during(Phase::Import))?;
    let mut names = Names { files: vec![], folders: vec![] };
    for entry in entries {
        let name = entry.file_name().into_string().map_err(|name| {
            let what = format!("{}: its name is no UTF-8 text", folder.join(name).display());
            Failure::new(ExitCode::Model, what).remedy("rename it").during(Phase::Import)
        })?;
        if name.starts_with('.') || LEFT.contains(&name.as_str()) {
            continue;
        }
        match entry.path().is_dir() {
            true => names.folders.push(name),
            false => names.files.push(name),
        }
    }
    names.files.sort_by(|a, b| natural(a, b));
    names.folders.sort();
    Ok(names)
}

/// Order of names in which numbers count as numbers: 2 before 10. Names that differ in leading zeros alone go by characters.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a, b);
    while !x.is_empty() && !y.is_empty() {
        let ((m, rest_x), (n, rest_y)) = (number(x), number(y));
        let order = if m.is_empty() || n.is_empty() {
            let (mut xs, mut ys) = (x.chars(), y.chars());
            let order = xs.next().cmp(&ys.next());
            (x, y) = (xs.as_str(), ys.as_str());
            order
        } else {
            (x, y) = (rest_x, rest_y);
            let (m, n) = (m.trim_start_matches('0'), n.trim_start_matches('0'));
            m.len().cmp(&n.len()).then(m.cmp(n))
        };
        if order.is_ne() {
            return order;
        }
    }
    x.len().cmp(&y.len()).then(a.cmp(b))
}

/// The digits that a name begins with, and the rest.
fn number(name: &str) -> (&str, &str) {
    name.split_at(name.bytes().take_while(u8::is_ascii_digit).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count() {
        let want = [
            "01",
            "1",
            "2",
            "10",
            "99999999999999999999",
            "B1",
            "a",
            "a2",
            "a2b",
            "a10",
            "x1y9",
            "x1y10",
            "ü2",
        ];
        let mut names = want;
        names.sort();
        assert_ne!(names, want);
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, want);
        for (a, b) in names.iter().flat_map(|a| names.iter().map(move |b| (a, b))) {
            assert_eq!(natural(a, b), natural(b, a).reverse());
            assert_eq!(natural(a, b).is_eq(), a == b);
        }
    }
}
