//! Images and labels from bytes: IDX, NPY, PNG and CIFAR-10 binary, each also gzipped. No file system here.

mod axes;
mod cifar;
mod idx;
pub mod npy;
mod png;

pub use axes::Axes;

use crate::graph::Input;
use crate::{Error, Result};
use std::borrow::Cow;
use std::io::Read;

/// Most bytes of one data set, after unpacking.
pub const MAX_BYTES: usize = 1 << 31;

/// Images of one shape, in order.
#[derive(Clone, PartialEq, Debug)]
pub struct Images {
    /// Extents of one image: `[c, h, w]` for pictures; flat rows of a two-axis NPY file are `[n]`.
    pub shape: Vec<usize>,
    /// The values, image after image, row-major.
    pub pixels: Pixels,
    /// Whether the format says which axis has the channels.
    pub axes: Axes,
}

/// Values of images.
#[derive(Clone, PartialEq, Debug)]
pub enum Pixels {
    /// Bytes as cameras and data sets deliver them.
    Raw(Vec<u8>),
    /// Finite floats; what they mean is for the caller to say ([`Floats`]).
    Float(Vec<f32>),
}

/// What float images hold. Bytes are always raw.
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

impl Images {
    /// Number of images.
    pub fn len(&self) -> usize {
        let values = match &self.pixels {
            Pixels::Raw(v) => v.len(),
            Pixels::Float(v) => v.len(),
        };
        values / self.row().max(1)
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Values per image.
    pub fn row(&self) -> usize {
        self.shape.iter().product()
    }

    /// Reads whatever format the first bytes show; labels where the format carries them (CIFAR-10).
    ///
    /// # Errors
    /// [`Error::Data`] naming the format and what is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<(Images, Option<Labels>)> {
        let bytes = unpack(bytes)?;
        match &bytes[..] {
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Ok((Images::from_npy(&bytes)?, None)),
            [0x89, b'P', b'N', b'G', ..] => Ok((Images::from_png(&bytes)?, None)),
            [0, 0, 8, 3, ..] => Ok((Images::from_idx(&bytes)?, None)),
            b if !b.is_empty() && b.len() % cifar::RECORD == 0 => {
                cifar::read(&bytes).map(|(images, labels)| (images, Some(labels)))
            }
            b => Err(Error::data(
                "images",
                format!(
                    "{} bytes starting with {:02x?} are neither IDX, NPY, PNG nor CIFAR-10",
                    b.len(),
                    &b[..b.len().min(8)]
                ),
            )),
        }
    }

    /// IDX images: bytes, `[n, h, w]`.
    ///
    /// # Errors
    /// [`Error::Data`] on a wrong magic number, type, number of axes or length.
    pub fn from_idx(bytes: &[u8]) -> Result<Images> {
        idx::images(&unpack(bytes)?)
    }
    /// NPY images: u8, f32 or f64; `[n, h, w]` (one channel), `[n, c, h, w]` (or `[n, h, w, c]`, see
    /// [`Images::inputs`]), or flat rows `[n, k]`.
    ///
    /// # Errors
    /// [`Error::Data`] on another type, order or number of axes, a wrong length, and values that are not finite.
    pub fn from_npy(bytes: &[u8]) -> Result<Images> {
        npy::images(&unpack(bytes)?)
    }
    /// One PNG picture: 8 bits, grey or RGB.
    ///
    /// # Errors
    /// [`Error::Data`] on damage and on other colour types and depths.
    pub fn from_png(bytes: &[u8]) -> Result<Images> {
        png::image(bytes)
    }
    /// CIFAR-10 binary: records of a label byte and 3x32x32 pixels, plane by plane.
    ///
    /// # Errors
    /// [`Error::Data`] on a wrong length or label.
    pub fn from_cifar(bytes: &[u8]) -> Result<(Images, Labels)> {
        cifar::read(&unpack(bytes)?)
    }

    /// Several sets in one, in order.
    ///
    /// # Errors
    /// [`Error::Data`] if there is none, or shapes or kinds of values differ.
    pub fn concat(sets: Vec<Images>) -> Result<Images> {
        let mut sets = sets.into_iter();
        let mut all = sets.next().ok_or_else(|| Error::data("images", "none given"))?;
        for set in sets {
            if set.shape != all.shape {
                return Err(Error::data(
                    "images",
                    format!("shapes {:?} and {:?} do not mix", all.shape, set.shape),
                ));
            }
            if set.axes == Axes::Unsaid {
                all.axes = Axes::Unsaid;
            }
            match (&mut all.pixels, set.pixels) {
                (Pixels::Raw(a), Pixels::Raw(b)) => a.extend(b),
                (Pixels::Float(a), Pixels::Float(b)) => a.extend(b),
                _ => return Err(Error::data("images", "bytes and floats do not mix")),
            }
        }
        Ok(all)
    }

    /// What the network takes: whole images one after another, normalised. Bytes always go through the graph's
    /// normalisation; floats as `floats` says.
    ///
    /// Values stand channel by channel, whatever the format: a picture with channels last is turned round where the input
    /// is `[c, h, w]`, and refused where the input is flat and its own order could be meant just as well. Flat rows fit an
    /// input of one axis as they are; pictures fit a flat input of as many values.
    ///
    /// # Errors
    /// [`Error::Data`] if the shape is not the input's, its axes could be meant in two ways, or a value is not finite.
    pub fn inputs(&self, input: &Input, floats: Floats) -> Result<Vec<f32>> {
        let turned = axes::channels_first(self, input)?;
        let plane = (input.row() / input.channels().max(1)).max(1);
        let apply =
            |i: usize, raw: f64| input.normalise.apply(raw, i / plane % input.channels().max(1)) as f32;
        let values: Vec<f32> = match turned.as_ref().unwrap_or(&self.pixels) {
            Pixels::Raw(v) => v.iter().enumerate().map(|(i, &b)| apply(i, b as f64)).collect(),
            Pixels::Float(v) if floats == Floats::Raw => {
                v.iter().enumerate().map(|(i, &x)| apply(i, x as f64)).collect()
            }
            Pixels::Float(v) => v.clone(),
        };
        match values.iter().position(|v| !v.is_finite()) {
            Some(i) => {
                Err(Error::data("images", format!("image {}: a value is not finite", i / self.row().max(1))))
            }
            None => Ok(values),
        }
    }
}

impl Labels {
    /// IDX labels: bytes, `[n]`.
    ///
    /// # Errors
    /// [`Error::Data`] on a wrong magic number, type, number of axes or length.
    pub fn from_idx(bytes: &[u8]) -> Result<Labels> {
        idx::labels(&unpack(bytes)?)
    }
    /// NPY labels: u8 or i64, `[n]`.
    ///
    /// # Errors
    /// [`Error::Data`] on another type, order or number of axes, a wrong length, and labels outside 0..2^32.
    pub fn from_npy(bytes: &[u8]) -> Result<Labels> {
        npy::labels(&unpack(bytes)?)
    }
    /// IDX or NPY, whichever the first bytes show.
    ///
    /// # Errors
    /// As the reader of that format.
    pub fn read(bytes: &[u8]) -> Result<Labels> {
        let bytes = unpack(bytes)?;
        if bytes.starts_with(b"\x93NUMPY") { npy::labels(&bytes) } else { idx::labels(&bytes) }
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

/// The product of extents from a file, if memory can hold as many bytes.
fn count(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Normalise;

    fn input(shape: &[usize]) -> Input {
        let normalise = Normalise { scale: 0.5, mean: vec![1.0, 0.0], std: vec![] };
        Input { name: "x".into(), shape: shape.to_vec(), normalise, layout: Default::default() }
    }

    #[test]
    fn bytes_are_normalised_and_floats_as_told() {
        let raw = Images { shape: vec![2, 1, 1], pixels: Pixels::Raw(vec![2, 4, 6, 8]), axes: Axes::Said };
        assert_eq!(raw.inputs(&input(&[2, 1, 1]), Floats::Normalised).unwrap(), [0.0, 2.0, 2.0, 4.0]);
        let float = Images { shape: vec![2, 1, 1], pixels: Pixels::Float(vec![2.0, 4.0]), axes: Axes::Said };
        assert_eq!(float.inputs(&input(&[2, 1, 1]), Floats::Raw).unwrap(), [0.0, 2.0]);
        assert_eq!(float.inputs(&input(&[2, 1, 1]), Floats::Normalised).unwrap(), [2.0, 4.0]);
        assert_eq!((raw.len(), float.len()), (2, 1));
    }

    #[test]
    fn shapes_must_fit_the_input() {
        let image = Images { shape: vec![4, 4, 3], pixels: Pixels::Raw(vec![0; 48]), axes: Axes::Said };
        let why = image.inputs(&input(&[3, 2, 8]), Floats::Raw).unwrap_err().to_string();
        assert!(why.contains("[4, 4, 3]") && why.contains("[3, 2, 8]"), "{why}");
        assert_eq!(image.inputs(&input(&[48]), Floats::Raw).unwrap().len(), 48);
        assert!(image.inputs(&input(&[49]), Floats::Raw).is_err());
        let wide = Images { shape: vec![1], pixels: Pixels::Float(vec![f32::MAX]), axes: Axes::Said };
        let mut steep = input(&[1]);
        steep.normalise = Normalise { scale: 1e30, ..Normalise::default() };
        assert!(wide.inputs(&steep, Floats::Raw).unwrap_err().to_string().contains("image 0"));
    }

    #[test]
    fn sets_join_only_when_alike() {
        let raw = |n| Images { shape: vec![1, 1, n], pixels: Pixels::Raw(vec![7; n]), axes: Axes::Said };
        assert_eq!(Images::concat(vec![raw(2), raw(2)]).unwrap().len(), 2);
        assert!(Images::concat(vec![raw(2), raw(3)]).is_err());
        let float = Images { shape: vec![1, 1, 2], pixels: Pixels::Float(vec![0.0; 2]), axes: Axes::Said };
        assert!(Images::concat(vec![raw(2), float]).is_err());
        assert!(Images::concat(vec![]).is_err());
    }

    #[test]
    fn unknown_and_damaged_bytes_are_named() {
        for (bytes, want) in [
            (&b""[..], "neither IDX"),
            (b"GIF89a....", "neither IDX"),
            (&[0x1f, 0x8b, 8, 0, 0], "gzip: damaged"),
            (&[0, 0, 8, 3, 0], "IDX"),
        ] {
            let why = Images::read(bytes).unwrap_err().to_string();
            assert!(why.contains(want), "{why}");
        }
    }
}
