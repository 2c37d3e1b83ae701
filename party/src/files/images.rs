//! Images, rows of tables and labels: one file, a part of one, or a folder.

mod folder;

use super::{read_bounded, unusable};
use crate::exit::{ExitCode, Failure, Phase};
use std::path::{Path, PathBuf};
use twoply_nn::data::Kind;
use twoply_nn::{Error, Floats, Images, Input, Labels, Meaning};

/// Images as the network takes them.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Normalised values, image after image, row-major.
    pub values: Vec<f32>,
    /// Number of images.
    pub images: usize,
    /// Images of the files that stand before these.
    pub skipped: usize,
    /// What the files held. Of [`Kind::Bytes`], every value lies in [`Input::byte_range`].
    pub kind: Kind,
    /// Where each image of a folder comes from: its file, below the folder; with its number where a file has several.
    pub names: Option<Vec<String>>,
    /// Labels that the files carry, or a folder's subfolders.
    known: Option<Known>,
}

/// Labels that come with images.
#[derive(Clone, Debug)]
struct Known {
    labels: Vec<u32>,
    /// Subfolders, where these are the classes.
    folders: Option<usize>,
}

impl Inputs {
    /// All but the first `skipped` images.
    ///
    /// # Errors
    /// 15 when there are no more than that.
    pub fn from(mut self, skipped: usize) -> Result<Self, Failure> {
        if skipped >= self.images {
            let what =
                format!("there are {} images, numbered from 0; none is left from {skipped} on", self.images);
            return Err(Failure::new(ExitCode::Model, what).during(Phase::Import));
        }
        self.values.drain(..self.values.len() / self.images * skipped);
        self.images -= skipped;
        self.skipped += skipped;
        if let Some(names) = &mut self.names {
            names.drain(..skipped);
        }
        if let Some(known) = &mut self.known {
            known.labels.drain(..skipped);
        }
        Ok(self)
    }
    /// The first `limit` images.
    #[must_use]
    pub fn first(mut self, limit: usize) -> Self {
        if limit < self.images {
            self.values.truncate(self.values.len() / self.images * limit);
            self.images = limit;
            if let Some(names) = &mut self.names {
                names.truncate(limit);
            }
            if let Some(known) = &mut self.known {
                known.labels.truncate(limit);
            }
        }
        self
    }
    /// The labels that came with the images, where the network's can be compared with them: it has classes, and as many as
    /// there are subfolders, if these are the labels.
    pub fn labels(&self, output: &Meaning) -> Option<Labels> {
        let known = self.known.as_ref()?;
        let classes = match output {
            Meaning::Classes { classes } => *classes,
            Meaning::Score => 2,
            Meaning::Values { .. } => return None,
        };
        if let Some(folders) = known.folders.filter(|folders| *folders != classes) {
            tracing::warn!("{folders} subfolders are no labels of {classes} classes: they are not compared");
            return None;
        }
        Some(Labels(known.labels.clone()))
    }
}

/// Reads images for `input`, in any of [`twoply_nn::data::FORMATS`]: a file; a part of it, `file.npz:name` or
/// `table.csv:columns`; or a folder of files. `normalised` says that floats are what the network takes, instead of raw values.
///
/// A folder is read in the natural order of names (2 before 10), without hidden files. One that has nothing but subfolders is
/// read class by class: subfolders sorted by name are classes 0, 1, .., as torchvision's ImageFolder has them. Subfolders
/// beside files are passed over, with a warning.
///
/// # Errors
/// 15 when there are none, or they do not fit the input, naming the file.
pub fn read_images(path: &Path, input: &Input, normalised: bool) -> Result<Inputs, Failure> {
    let (images, names, known) = match path.is_dir() {
        true => read_folder(path, input)?,
        false => {
            let (images, labels) = read_set(path, input)?;
            (images, None, labels.map(|Labels(labels)| Known { labels, folders: None }))
        }
    };
    if images.is_empty() {
        return Err(unusable(path, Error::data("images", "there are none")));
    }
    let floats = if normalised { Floats::Normalised } else { Floats::Raw };
    let values = images.inputs(input, floats).map_err(|e| unusable(path, e))?;
    let kind = images.pixels.kind();
    Ok(Inputs { values, images: images.len(), skipped: 0, kind, names, known })
}

type Set = (Images, Option<Vec<String>>, Option<Known>);

fn read_folder(path: &Path, input: &Input) -> Result<Set, Failure> {
    let folder = folder::list(path)?;
    let (mut all, mut names, mut labels) = (None::<Images>, vec![], vec![]);
    for file in &folder.files {
        let (images, carried) = read_set(&file.path, input)?;
        let count = images.len();
        match count {
            1 => names.push(file.name.clone()),
            _ => names.extend((0..count).map(|i| format!("{}[{i}]", file.name))),
        }
        match (file.class, carried) {
            (Some(class), _) => labels.extend(std::iter::repeat_n(class, count)),
            (None, Some(Labels(carried))) => labels.extend(carried),
            (None, None) => {}
        }
        match &mut all {
            None => all = Some(images),
            Some(all) => all.append(images).map_err(|e| unusable(&file.path, e))?,
        }
    }
    let images = all.ok_or_else(|| {
        let hint = "a folder of pictures, or of a subfolder of pictures for each class";
        unusable(path, Error::data("images", "there are none in the folder")).remedy(format!("give {hint}"))
    })?;
    let known = (labels.len() == images.len()).then_some(Known { labels, folders: folder.classes });
    Ok((images, Some(names), known))
}

/// One file in the input's shape.
fn read_set(path: &Path, input: &Input) -> Result<(Images, Option<Labels>), Failure> {
    let (file, part) = parted(path);
    let read = |bytes: &[u8]| {
        let (images, labels) = Images::read_part(bytes, part.as_deref())?;
        Ok((images.fitted(input)?, labels))
    };
    read(&read_bounded(&file)?).map_err(|e| unusable(path, e))
}

/// Reads labels: integers of NPY, NPZ and IDX files, one whole number per line of text, CIFAR's own; a part of a file as in
/// [`read_images`].
///
/// # Errors
/// 15 when they are missing or damaged.
pub fn read_labels(path: &Path) -> Result<Labels, Failure> {
    let (file, part) = parted(path);
    Labels::read_part(&read_bounded(&file)?, part.as_deref()).map_err(|e| unusable(path, e))
}

/// A file and the name of a part of it, `file:part`. A file of the whole name goes first, and one that is nowhere has no parts.
fn parted(path: &Path) -> (PathBuf, Option<String>) {
    let whole = (path.to_owned(), None);
    let Some(text) = path.to_str().filter(|_| !path.exists()) else { return whole };
    let colons = text.match_indices(':').map(|(i, _)| text.split_at(i));
    let mut files = colons.map(|(file, part)| (PathBuf::from(file), Some(part[1..].to_owned())));
    files.find(|(file, _)| file.is_file()).unwrap_or(whole)
}

#[cfg(test)]
mod tests;
