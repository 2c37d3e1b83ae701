//! Which axis of a picture has its channels. Everything here is channel by channel (`[c, h, w]`), as PNG, IDX and CIFAR-10
//! files are read; an NPY file of four axes may be `[n, c, h, w]` or `[n, h, w, c]` and does not say which.

use super::{Images, Pixels};
use crate::graph::Input;
use crate::{Error, Result};

/// Most channels that pictures have: grey or colour, with transparency.
const MOST: usize = 4;

/// Whether the format says which axis has the channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Axes {
    /// It does: the first, or the values are flat rows.
    Said,
    /// It does not: three axes of an image in an NPY file.
    Unsaid,
}

/// The pixels channel by channel where they are not yet; `None` where they stand right.
///
/// # Errors
/// [`Error::Data`] if the shape is not the input's, or could be meant in two ways.
pub(super) fn channels_first(images: &Images, input: &Input) -> Result<Option<Pixels>> {
    let shape = &images.shape[..];
    let refuse = |hint: &str| {
        let what = format!("shape {shape:?}, but input `{}` takes {:?}{hint}", input.name, input.shape);
        Err(Error::data("images", what))
    };
    if shape == input.shape {
        return Ok(None);
    }
    let last = images.axes == Axes::Unsaid;
    match (shape, &input.shape[..]) {
        ([h, w, c], [channels, height, width]) if last && [c, h, w] == [channels, height, width] => {
            Ok(Some(turn(&images.pixels, h * w, *c)))
        }
        // One value per place, or one place: both orders are the same.
        ([h, w, c], [k]) if last && (2..=MOST).contains(c) && h * w > 1 && h * w * c == *k => refuse(
            ", and the picture may be [c, h, w] or [h, w, c]; pictures in PNG files give all of one channel before the \
             next: for that order save x.reshape(len(x), -1) of x as [n, c, h, w] (of [n, h, w, c]: \
             x.transpose(0, 3, 1, 2) first); for any other order save the rows as the network wants them, x.reshape(len(x), -1)",
        ),
        (_, [k]) if images.row() == *k => Ok(None),
        _ => refuse(""),
    }
}

/// From place by place to channel by channel.
fn turn(pixels: &Pixels, plane: usize, channels: usize) -> Pixels {
    fn each<T: Copy>(values: &[T], plane: usize, channels: usize) -> Vec<T> {
        let image = |image: &[T]| -> Vec<T> {
            (0..channels).flat_map(|c| image.iter().skip(c).step_by(channels).copied()).collect()
        };
        values.chunks(plane * channels).flat_map(image).collect()
    }
    match pixels {
        Pixels::Raw(v) => Pixels::Raw(each(v, plane, channels)),
        Pixels::Float(v) => Pixels::Float(each(v, plane, channels)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Floats, npy};
    use super::*;
    use crate::graph::Normalise;

    /// Two RGB pictures of 2 x 3.
    const PICTURES: [[u8; 18]; 2] = {
        let mut all = [[0; 18]; 2];
        let mut i = 0;
        while i < 36 {
            all[i / 18][i % 18] = i as u8 * 7;
            i += 1;
        }
        all
    };

    fn input(shape: &[usize]) -> Input {
        Input {
            name: "x".into(),
            shape: shape.to_vec(),
            normalise: Normalise::default(),
            layout: Default::default(),
        }
    }

    fn png(interleaved: &[u8], w: u32, h: u32) -> Images {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, w, h);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(interleaved).unwrap();
        writer.finish().unwrap();
        Images::from_png(&file).unwrap()
    }

    fn planes(image: &[u8], channels: usize) -> Vec<u8> {
        (0..channels).flat_map(|c| image.iter().skip(c).step_by(channels).copied()).collect()
    }

    /// The same pictures as PNG, as NPY with channels last and with channels first: one order, or a refusal, for every
    /// input they fit.
    #[test]
    fn a_picture_never_has_two_orders() {
        let npy = |shape: &[usize], values: &[u8]| {
            Images::from_npy(&npy::write_bytes(shape, values).unwrap()).unwrap()
        };
        for (h, w) in [(2usize, 3usize), (3, 2), (1, 6), (6, 1)] {
            let pngs = Images::concat(PICTURES.iter().map(|p| png(p, w as u32, h as u32)).collect()).unwrap();
            let last = npy(&[2, h, w, 3], &PICTURES.concat());
            let first = npy(&[2, 3, h, w], &PICTURES.iter().flat_map(|p| planes(p, 3)).collect::<Vec<_>>());
            for shape in [&[3, h, w][..], &[18]] {
                let want = pngs.inputs(&input(shape), Floats::Raw).unwrap();
                for images in [&last, &first] {
                    if let Ok(found) = images.inputs(&input(shape), Floats::Raw) {
                        assert_eq!(found, want, "{:?} for {shape:?}", images.shape);
                    }
                }
            }
            assert!(last.inputs(&input(&[3, h, w]), Floats::Raw).is_ok(), "turned round");
            assert!(first.inputs(&input(&[3, h, w]), Floats::Raw).is_ok());
            let why = last.inputs(&input(&[18]), Floats::Raw).unwrap_err().to_string();
            assert!(why.contains("PNG") && why.contains("reshape"), "{why}");
        }
        // Flat rows are what they are.
        let rows = npy(&[2, 18], &PICTURES.concat());
        let found = rows.inputs(&input(&[18]), Floats::Raw).unwrap();
        assert_eq!(found, PICTURES.concat().into_iter().map(f32::from).collect::<Vec<_>>());
    }

    #[test]
    fn normalisation_follows_the_channels() {
        let normalise = Normalise { scale: 1.0, mean: vec![0.0, 100.0], std: vec![] };
        let input = Input { normalise, ..input(&[2, 1, 2]) };
        let bytes = npy::write(&[1, 1, 2, 2], &[1.0, 102.0, 3.0, 104.0]).unwrap();
        let found = Images::from_npy(&bytes).unwrap().inputs(&input, Floats::Raw).unwrap();
        assert_eq!(found, [1.0, 3.0, 2.0, 4.0]);
    }

    #[test]
    fn grey_and_feature_maps_need_no_word() {
        for shape in [[1usize, 4, 5, 1], [1, 1, 4, 5], [1, 8, 2, 7]] {
            let count = shape.iter().product();
            let bytes = npy::write_bytes(&shape, &vec![3; count]).unwrap();
            let images = Images::from_npy(&bytes).unwrap();
            assert_eq!(images.inputs(&input(&[count]), Floats::Raw).unwrap().len(), count, "{shape:?}");
        }
    }
}
