//! Weights in a file beside the model: read from the model's own folder, and from nowhere else.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use twoply_nn::import::onnx::Folder;

/// The folder that the model lies in.
pub(super) struct Beside(PathBuf);

impl Beside {
    pub(super) fn of(model: &Path) -> Beside {
        let parent = model.parent().filter(|p| !p.as_os_str().is_empty());
        Beside(parent.unwrap_or(Path::new(".")).to_path_buf())
    }

    /// The file at a location, if it lies in the folder, links resolved.
    fn file(&self, location: &str) -> Result<PathBuf, String> {
        let path = Path::new(location);
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if location.is_empty() || !path.components().all(plain) {
            return Err(
                "is a path out of the model's folder; save the model again, with its weights beside it"
                    .into(),
            );
        }
        let wanted = self.0.join(path);
        let cannot = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => format!(
                "is not there; copy it to {} too, or export with everything in one file (external_data=False)",
                self.0.display()
            ),
            _ => format!("cannot be read: {e}; check {}", wanted.display()),
        };
        let folder = fs::canonicalize(&self.0).map_err(cannot)?;
        let found = fs::canonicalize(&wanted).map_err(cannot)?;
        if !found.starts_with(&folder) {
            return Err(
                "is a link out of the model's folder; copy the model and its weights into one folder".into(),
            );
        }
        match fs::metadata(&found).map_err(cannot)?.is_file() {
            true => Ok(found),
            false => Err("is no file; save the model again, with its weights beside it".into()),
        }
    }
}

impl Folder for Beside {
    fn length(&self, location: &str) -> Result<u64, String> {
        let file = self.file(location)?;
        fs::metadata(file).map(|facts| facts.len()).map_err(|e| format!("cannot be read: {e}"))
    }

    fn read(&self, location: &str, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        let cannot = |e: std::io::Error| format!("cannot be read: {e}");
        let file = File::open(self.file(location)?).map_err(cannot)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset).map_err(cannot)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn ranges_come_from_the_folder_and_from_nowhere_else() {
        let all = tempfile::tempdir().unwrap();
        let folder = all.path().join("model");
        fs::create_dir_all(folder.join("parts")).unwrap();
        fs::write(all.path().join("secret"), "12345678").unwrap();
        fs::write(folder.join("w.data"), "abcdefgh").unwrap();
        fs::write(folder.join("parts/w"), "xyz").unwrap();
        symlink("w.data", folder.join("inside")).unwrap();
        symlink("../secret", folder.join("outside")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        let beside = Beside::of(&folder.join("m.onnx"));
        assert_eq!(beside.length("w.data"), Ok(8));
        assert_eq!(beside.read("w.data", 2, 3).unwrap(), b"cde");
        assert_eq!(beside.read("./parts/w", 0, 3).unwrap(), b"xyz");
        assert_eq!(beside.read("inside", 7, 1).unwrap(), b"h");
        let secret = all.path().join("secret").display().to_string();
        for (location, why) in [
            ("../secret", "out of the model's folder"),
            (secret.as_str(), "out of the model's folder"),
            ("parts/../../secret", "out of the model's folder"),
            ("", "out of the model's folder"),
            ("outside", "link out of the model's folder"),
            ("up/secret", "link out of the model's folder"),
            ("absent", "is not there; copy it"),
            ("parts", "is no file"),
        ] {
            let refused = beside.length(location).unwrap_err();
            assert!(refused.contains(why), "{location}: {refused}");
            assert!(beside.read(location, 0, 1).is_err());
        }
        assert!(beside.read("w.data", 6, 3).is_err());
        // A model named without a folder lies in this one.
        assert!(Beside::of(Path::new("m.onnx")).length("Cargo.toml").is_ok());
    }
}
