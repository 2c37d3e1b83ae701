//! Images, rows of tables and labels from bytes: see [`FORMATS`], each also gzipped. No file system here.

mod array;
mod axes;
mod cifar;
mod formats;
mod idx;
mod jpeg;
pub mod npy;
mod npz;
mod picture;
mod png;
mod table;

pub use array::{Array, Type};
pub use axes::Axes;
pub use formats::FORMATS;

use crate::graph::Input;
use crate::{Error, Result};
use formats::{Format, format};
use std::borrow::Cow;
use std::io::Read;

/// Most bytes of one data set, before and after unpacking.
pub const MAX_BYTES: usize = 1 << 31;
/// Most values of one data set that are no bytes.
const MAX_VALUES: usize = MAX_BYTES / size_of::<f32>();

/// Images of one shape, in order. A record of a table is an image of one axis.
#[derive(Clone, PartialEq, Debug)]
pub struct Images {
    /// Extents of one image: `[c, h, w]` for pictures; flat rows of tables and two-axis arrays are `[n]`.
    pub shape: Vec<usize>,
    /// The values, image after image, row-major.
    pub pixels: Pixels,
    /// Whether the format says which axis has the channels.
    pub axes: Axes,
}

/// Values of images.
#[derive(Clone, PartialEq, Debug)]
pub enum Pixels {
    /// Bytes as cameras and data sets deliver them, and bools as 0 and 1. Always raw.
    Raw(Vec<u8>),
    /// Whole numbers of other integer types, rounded to float32 beyond 2^24. Raw as bytes are, on whatever scale: 16-bit
    /// pictures lie in 0..65535.
    Whole(Vec<f32>),
    /// Finite floats, and numbers of text; what they mean is for the caller to say ([`Floats`]).
    Float(Vec<f32>),
}

/// The kind of [`Pixels`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Bytes and bools: every value lies in [`Input::byte_range`] when normalised.
    Bytes,
    /// Other integers.
    Whole,
    /// Floats.
    Floats,
}

/// What float images hold. Bytes and other integers are always raw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Floats {
    /// Raw values, which the graph's normalisation still has to be applied to.
    Raw,
    /// What the network's input takes: normalised already.
    Normalised,
}

/// Class numbers, one per image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Labels(pub Vec<u32>);

impl Pixels {
    /// Which kind they are.
    pub fn kind(&self) -> Kind {
        match self {
            Pixels::Raw(_) => Kind::Bytes,
            Pixels::Whole(_) => Kind::Whole,
            Pixels::Float(_) => Kind::Floats,
        }
    }
    fn len(&self) -> usize {
        match self {
            Pixels::Raw(v) => v.len(),
            Pixels::Whole(v) | Pixels::Float(v) => v.len(),
        }
    }
    fn value(&self, i: usize) -> f64 {
        match self {
            Pixels::Raw(v) => f64::from(v[i]),
            Pixels::Whole(v) | Pixels::Float(v) => f64::from(v[i]),
        }
    }
    /// The values at these places.
    fn gather(&self, places: impl Iterator<Item = usize>) -> Pixels {
        match self {
            Pixels::Raw(v) => Pixels::Raw(places.map(|i| v[i]).collect()),
            Pixels::Whole(v) => Pixels::Whole(places.map(|i| v[i]).collect()),
            Pixels::Float(v) => Pixels::Float(places.map(|i| v[i]).collect()),
        }
    }
}

impl Images {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.row().max(1)
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Values per image.
    pub fn row(&self) -> usize {
        self.shape.iter().product()
    }

    /// Reads whatever format the first bytes show; labels where the format carries them (CIFAR).
    ///
    /// # Errors
    /// [`Error::Data`] naming the format and what is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<(Images, Option<Labels>)> {
        Images::read_part(bytes, None)
    }

    /// The same of a part of a file: an array of an NPZ file by its name, or columns of a table by names and numbers, from
    /// 1 on (`label`, `2-785`, `age,3-7`).
    ///
    /// # Errors
    /// As [`Images::read`], and where there is no such part.
    pub fn read_part(bytes: &[u8], part: Option<&str>) -> Result<(Images, Option<Labels>)> {
        let bytes = unpack(bytes)?;
        let images = match whole(format(&bytes)?, part)? {
            Format::Npy => npy::read(&bytes)?.images()?,
            Format::Npz => npy::read(&npz::read(&bytes, part)?)?.images()?,
            Format::Idx => idx::read(&bytes)?.images()?,
            Format::Png => png::image(&bytes)?,
            Format::Jpeg => jpeg::image(&bytes)?,
            Format::Csv => {
                let float = |v: f64| Some(v as f32).filter(|v| v.is_finite());
                let table = table::read(&bytes, part, float)?;
                Images { shape: vec![table.columns], pixels: Pixels::Float(table.values), axes: Axes::Said }
            }
            Format::Cifar => {
                let (images, labels) = cifar::read(&bytes)?;
                return Ok((images, Some(labels)));
            }
        };
        Ok((images, None))
    }

    /// Reads an IDX file and nothing else.
    ///
    /// # Errors
    /// [`Error::Data`] on a wrong magic number, type, number of axes or length.
    pub fn from_idx(bytes: &[u8]) -> Result<Images> {
        idx::read(&unpack(bytes)?)?.images()
    }

    /// Several sets in one, in order.
    ///
    /// # Errors
    /// [`Error::Data`] if there is none, or as [`Images::append`].
    pub fn concat(sets: Vec<Images>) -> Result<Images> {
        let mut sets = sets.into_iter();
        let mut all = sets.next().ok_or_else(|| Error::data("images", "none given"))?;
        sets.try_for_each(|set| all.append(set))?;
        Ok(all)
    }

    /// Puts another set behind this one.
    ///
    /// # Errors
    /// [`Error::Data`] if shapes or kinds of values differ, or both together are too many.
    pub fn append(&mut self, set: Images) -> Result<()> {
        if set.shape != self.shape {
            let what = format!("shapes {:?} and {:?} do not mix", self.shape, set.shape);
            return Err(Error::data("images", what));
        }
        self.axes = match (self.axes, set.axes) {
            (a, b) if a == b => a,
            (Axes::Unsaid, _) | (_, Axes::Unsaid) => Axes::Unsaid,
            _ => Axes::Said,
        };
        match (&mut self.pixels, set.pixels) {
            (Pixels::Raw(a), Pixels::Raw(b)) if a.len() + b.len() <= MAX_BYTES => a.extend(b),
            (Pixels::Whole(a), Pixels::Whole(b)) | (Pixels::Float(a), Pixels::Float(b))
                if a.len() + b.len() <= MAX_VALUES =>
            {
                a.extend(b);
            }
            (a, b) if a.kind() == b.kind() => {
                return Err(Error::data("images", "too many at once; split them"));
            }
            _ => return Err(Error::data("images", "bytes, other integers and floats do not mix")),
        }
        Ok(())
    }

    /// The images in the shape of `input`, their values in its order: channel by channel, whatever the format. A picture with
    /// channels last is turned round where the input is `[c, h, w]`, and refused where the input is flat and its own order
    /// could be meant just as well. Flat rows fit an input of one axis as they are, and one of several where it has one
    /// channel; pictures fit a flat input of as many values. In picture formats, grey fits three channels, and colour without
    /// colour fits one.
    ///
    /// # Errors
    /// [`Error::Data`] if the shape is not the input's, or its axes could be meant in two ways.
    pub fn fitted(self, input: &Input) -> Result<Images> {
        let turned = axes::fit(&self, input)?;
        Ok(Images { shape: input.shape.clone(), pixels: turned.unwrap_or(self.pixels), axes: Axes::Said })
    }

    /// What the network takes: whole images one after another, [`Images::fitted`] and normalised. Integers always go through
    /// the graph's normalisation; floats as `floats` says.
    ///
    /// # Errors
    /// As [`Images::fitted`], and if a value is not finite.
    pub fn inputs(&self, input: &Input, floats: Floats) -> Result<Vec<f32>> {
        let turned = axes::fit(self, input)?;
        let plane = (input.row() / input.channels().max(1)).max(1);
        let apply =
            |i: usize, raw: f64| input.normalise.apply(raw, i / plane % input.channels().max(1)) as f32;
        let values: Vec<f32> = match turned.as_ref().unwrap_or(&self.pixels) {
            Pixels::Float(v) if floats == Floats::Normalised => v.clone(),
            Pixels::Raw(v) => v.iter().enumerate().map(|(i, &b)| apply(i, f64::from(b))).collect(),
            Pixels::Whole(v) | Pixels::Float(v) => {
                v.iter().enumerate().map(|(i, &x)| apply(i, f64::from(x))).collect()
            }
        };
        match values.iter().position(|v| !v.is_finite()) {
            Some(i) => {
                Err(Error::data("images", format!("image {}: a value is not finite", i / input.row().max(1))))
            }
            None => Ok(values),
        }
    }
}

impl Labels {
    /// Labels in whatever format the first bytes show: integers `[n]` or `[n, 1]` of NPY, NPZ and IDX files, one whole number
    /// per line of text, and CIFAR's own. `part` as in [`Images::read_part`].
    ///
    /// # Errors
    /// [`Error::Data`] naming the format and what is wrong, and on labels outside 0..2^32.
    pub fn read_part(bytes: &[u8], part: Option<&str>) -> Result<Labels> {
        let bytes = unpack(bytes)?;
        match whole(format(&bytes)?, part)? {
            Format::Npy => npy::read(&bytes)?.labels(),
            Format::Npz => npy::read(&npz::read(&bytes, part)?)?.labels(),
            Format::Idx => idx::read(&bytes)?.labels(),
            Format::Cifar => cifar::read(&bytes).map(|(_, labels)| labels),
            Format::Csv => {
                let table = table::read(&bytes, part, Some)?;
                if table.columns > 1 {
                    let why = format!("{} columns; name that of the labels, file.csv:label", table.columns);
                    return Err(Error::data("CSV", why));
                }
                table.values.into_iter().map(|v| array::label(v, "CSV")).collect::<Result<_>>().map(Labels)
            }
            Format::Png | Format::Jpeg => Err(Error::data("labels", "this is a picture, and has none")),
        }
    }

    /// [`Labels::read_part`] of the whole file.
    ///
    /// # Errors
    /// As there.
    pub fn read(bytes: &[u8]) -> Result<Labels> {
        Labels::read_part(bytes, None)
    }
}

/// The format, if a part may be named where one is.
fn whole(format: Format, part: Option<&str>) -> Result<Format> {
    match (format, part) {
        (Format::Npz | Format::Csv, _) | (_, None) => Ok(format),
        (_, Some(part)) => {
            let why = format!("only NPZ files and tables have parts; leave out `:{part}`");
            Err(Error::data("images", why))
        }
    }
}

/// Unwraps gzip, told by its magic number; anything else is passed through.
fn unpack(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut out = Vec::new();
    // One byte more than allowed shows that there is too much, without unpacking all of it.
    let read = flate2::read::MultiGzDecoder::new(bytes).take(MAX_BYTES as u64 + 1).read_to_end(&mut out);
    read.map_err(|e| Error::data("gzip", format!("damaged: {e}")))?;
    if out.len() > MAX_BYTES {
        return Err(Error::data("gzip", format!("unpacks to more than {MAX_BYTES} bytes")));
    }
    Ok(Cow::Owned(out))
}

#[cfg(test)]
mod tests;
