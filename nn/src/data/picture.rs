//! What picture formats have in common: extents, planes, and what may be made of grey and colour.

use super::{Axes, Images, Pixels};
use crate::graph::Input;
use crate::{Error, Result};

/// Most pixels in each direction.
pub(super) const MAX_SIDE: usize = 1 << 12;
/// Most bytes of pixels that a byte of a compressed picture can stand for: deflate's best; JPEG's is below that.
const MAX_RATIO: usize = 1032;

/// Refuses extents that no network takes, and those that so few bytes cannot hold, before anything is allocated for them.
pub(super) fn plausible(
    format: &'static str,
    (w, h): (usize, usize),
    bits: usize,
    bytes: &[u8],
) -> Result<()> {
    if w > MAX_SIDE || h > MAX_SIDE {
        return Err(Error::data(format, format!("{w} x {h} pixels, more than {MAX_SIDE} in one direction")));
    }
    if w * h * bits / 8 > bytes.len().saturating_mul(MAX_RATIO) {
        let why = format!("damaged: {w} x {h} pixels cannot be in {} bytes", bytes.len());
        return Err(Error::data(format, why));
    }
    Ok(())
}

/// The first `kept` channels of interleaved values, one after the other.
pub(super) fn planes<T: Copy>(values: &[T], channels: usize, kept: usize) -> Vec<T> {
    (0..kept).flat_map(|c| values.iter().skip(c).step_by(channels).copied()).collect()
}

/// One picture, channel by channel.
pub(super) fn image(format: &'static str, shape: [usize; 3], pixels: Pixels) -> Result<Images> {
    if shape.contains(&0) {
        return Err(Error::data(format, format!("a picture of shape {shape:?}")));
    }
    Ok(Images { shape: shape.to_vec(), pixels, axes: Axes::Picture })
}

/// Pictures in the number of channels that `input` takes, where nothing is lost by it: grey as three equal channels, and
/// three equal channels as grey. `None` where that is not what they need.
///
/// # Errors
/// [`Error::Data`] where colour would be lost.
pub(super) fn channels(images: &Images, input: &Input) -> Result<Option<Pixels>> {
    let [c, h, w] = images.shape[..] else { return Ok(None) };
    let (plane, all) = (h * w, images.len());
    let fits = |c: usize| input.shape == [c, h, w] || input.shape == [c * plane];
    match c {
        1 if fits(3) => {
            let order = (0..3 * all).flat_map(|i| i / 3 * plane..(i / 3 + 1) * plane);
            Ok(Some(images.pixels.gather(order)))
        }
        3 if fits(1) => {
            let first = (0..all).flat_map(|i| 3 * i * plane..(3 * i + 1) * plane);
            let value = |i| images.pixels.value(i);
            if first.clone().any(|i| value(i) != value(i + plane) || value(i) != value(i + 2 * plane)) {
                let what = format!("a picture in colour, but input `{}` takes {:?}", input.name, input.shape);
                let remedy = "convert it to grey as the network's training did (Pillow: convert('L'))";
                return Err(Error::data("images", format!("{what}; {remedy}")));
            }
            Ok(Some(images.pixels.gather(first)))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Floats;
    use super::*;
    use crate::graph::Normalise;

    fn input(shape: &[usize]) -> Input {
        Input {
            name: "x".into(),
            shape: shape.to_vec(),
            normalise: Normalise::default(),
            layout: Default::default(),
        }
    }

    #[test]
    fn grey_and_colour_where_nothing_is_lost() {
        let grey = image("PNG", [1, 1, 2], Pixels::Raw(vec![1, 2])).unwrap();
        let pair =
            Images::concat(vec![grey.clone(), image("PNG", [1, 1, 2], Pixels::Raw(vec![3, 4])).unwrap()]);
        for shape in [&[3, 1, 2][..], &[6]] {
            let found = pair.as_ref().unwrap().inputs(&input(shape), Floats::Raw).unwrap();
            assert_eq!(found, [1., 2., 1., 2., 1., 2., 3., 4., 3., 4., 3., 4.]);
        }
        let same = image("PNG", [3, 1, 2], Pixels::Raw(vec![1, 2, 1, 2, 1, 2])).unwrap();
        for shape in [&[1, 1, 2][..], &[2]] {
            assert_eq!(same.inputs(&input(shape), Floats::Raw).unwrap(), [1., 2.]);
        }
        let colour = image("PNG", [3, 1, 2], Pixels::Raw(vec![1, 2, 1, 2, 1, 3])).unwrap();
        let why = colour.inputs(&input(&[1, 1, 2]), Floats::Raw).unwrap_err().to_string();
        assert!(why.contains("in colour") && why.contains("convert('L')"), "{why}");
        // An array of one channel is no picture of a known kind.
        let array = Images { axes: Axes::Said, ..grey };
        assert!(array.inputs(&input(&[3, 1, 2]), Floats::Raw).is_err());
    }

    #[test]
    fn extents_are_bounded_by_what_bytes_can_hold() {
        assert!(plausible("PNG", (MAX_SIDE + 1, 1), 8, &[0; 100]).is_err());
        assert!(plausible("PNG", (1000, 1000), 8, &[0; 100]).is_err());
        plausible("PNG", (1000, 1000), 8, &[0; 1000]).unwrap();
    }
}
