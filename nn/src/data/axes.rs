//! Which axis of a picture has its channels. Everything here is channel by channel (`[c, h, w]`), as pictures, IDX and CIFAR
//! files are read; an array of four axes may be `[n, c, h, w]` or `[n, h, w, c]` and does not say which, nor do rows say
//! which order they were made from.

use super::{Images, Pixels, picture};
use crate::graph::Input;
use crate::{Error, Result};

/// Most channels that pictures have: grey or colour, with transparency.
const MOST: usize = 4;

/// Whether the format says which axis has the channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Axes {
    /// It does: the first, or the values are flat rows.
    Said,
    /// It does, and what they are: one is grey, three are red, green and blue.
    Picture,
    /// It does not: three axes of an image in an array.
    Unsaid,
}

/// The pixels in the order of the input where they are not yet; `None` where they stand right.
///
/// # Errors
/// [`Error::Data`] if the shape is not the input's, or could be meant in two ways.
pub(super) fn fit(images: &Images, input: &Input) -> Result<Option<Pixels>> {
    let shape = &images.shape[..];
    let refuse = |hint: &str| {
        let what = format!("shape {shape:?}, but input `{}` takes {:?}{hint}", input.name, input.shape);
        Err(Error::data("images", what))
    };
    if shape == input.shape {
        return Ok(None);
    }
    if images.axes == Axes::Picture
        && let Some(pixels) = picture::channels(images, input)?
    {
        return Ok(Some(pixels));
    }
    let last = images.axes == Axes::Unsaid;
    match (shape, &input.shape[..]) {
        ([h, w, c], [channels, height, width]) if last && [c, h, w] == [channels, height, width] => {
            Ok(Some(turn(images, h * w, *c)))
        }
        // Axes of one place order nothing; the three axes of a picture stay what they are.
        ([_, _, ..], [_, _, ..])
            if (images.axes == Axes::Said || input.shape.len() != 3) && long(shape) == long(&input.shape) =>
        {
            Ok(None)
        }
        // One value per place, or one place: both orders are the same.
        ([h, w, c], [k]) if last && (2..=MOST).contains(c) && h * w > 1 && h * w * c == *k => refuse(
            ", and the picture may be [c, h, w] or [h, w, c]; pictures in PNG files give all of one channel before the \
             next: for that order save x.reshape(len(x), -1) of x as [n, c, h, w] (of [n, h, w, c]: \
             x.transpose(0, 3, 1, 2) first); for any other order save the rows as the network wants them, x.reshape(len(x), -1)",
        ),
        ([k], [a, b, c]) if *k == a * b * c && ambiguous([*a, *b, *c]) => refuse(
            ", and the rows may be pictures as [c, h, w] or [h, w, c]; save the array before it was made flat, or \
             x.reshape(len(x), c, h, w) with what c, h and w are",
        ),
        (_, [k]) if images.row() == *k => Ok(None),
        ([k], _) if input.row() == *k => Ok(None),
        _ if images.len() > 1 && images.len() * images.row() == input.row() => {
            refuse("; the first axis counts images: for one image save x[None]")
        }
        ([_, h, w], [_, height, width]) if images.axes == Axes::Picture && (h, w) != (height, width) => {
            refuse(&format!("; resize the picture to {width} x {height} as in training"))
        }
        ([k], _) if *k == input.row() + 1 => {
            refuse("; a row has one value more, perhaps its label: take the other columns, as file.csv:2-785")
        }
        _ => refuse(""),
    }
}

fn long(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|d| *d != 1).collect()
}

/// Whether flat rows of an input could be channel by channel or place by place.
fn ambiguous([a, b, c]: [usize; 3]) -> bool {
    let channels = |channels: usize, places: usize| (2..=MOST).contains(&channels) && places > 1;
    channels(a, b * c) || a > MOST && channels(c, a * b)
}

/// From place by place to channel by channel.
fn turn(images: &Images, plane: usize, channels: usize) -> Pixels {
    let image =
        |i: usize| (0..channels).flat_map(move |c| (0..plane).map(move |p| (i * plane + p) * channels + c));
    images.pixels.gather((0..images.len()).flat_map(image))
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
        Images::read(&file).unwrap().0
    }

    fn planes(image: &[u8], channels: usize) -> Vec<u8> {
        (0..channels).flat_map(|c| image.iter().skip(c).step_by(channels).copied()).collect()
    }

    /// The same pictures as PNG, as NPY with channels last and with channels first: one order, or a refusal, for every
    /// input they fit.
    #[test]
    fn a_picture_never_has_two_orders() {
        let npy = |shape: &[usize], values: &[u8]| {
            Images::read(&npy::write_bytes(shape, values).unwrap()).unwrap().0
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
        let found = Images::read(&bytes).unwrap().0.inputs(&input, Floats::Raw).unwrap();
        assert_eq!(found, [1.0, 3.0, 2.0, 4.0]);
    }

    #[test]
    fn grey_and_feature_maps_need_no_word() {
        for shape in [[1usize, 4, 5, 1], [1, 1, 4, 5], [1, 8, 2, 7]] {
            let count = shape.iter().product();
            let bytes = npy::write_bytes(&shape, &vec![3; count]).unwrap();
            let images = Images::read(&bytes).unwrap().0;
            assert_eq!(images.inputs(&input(&[count]), Floats::Raw).unwrap().len(), count, "{shape:?}");
        }
    }

    #[test]
    fn flat_rows_fit_one_channel_and_are_refused_for_several() {
        let rows = |k: usize| Images::read(&npy::write_bytes(&[2, k], &vec![7; 2 * k]).unwrap()).unwrap().0;
        for shape in [&[1usize, 4, 3][..], &[12], &[12, 1, 1], &[2, 6], &[6, 2, 1]] {
            let found = rows(12).inputs(&input(shape), Floats::Raw);
            assert_eq!(found.unwrap_or_else(|e| panic!("{shape:?}: {e}")).len(), 24);
        }
        for shape in [[3, 2, 2], [2, 2, 3], [6, 1, 2]] {
            let why = rows(12).inputs(&input(&shape), Floats::Raw).unwrap_err().to_string();
            assert!(why.contains("may be pictures as [c, h, w] or [h, w, c]"), "{why}");
        }
        let why = rows(13).inputs(&input(&[1, 4, 3]), Floats::Raw).unwrap_err().to_string();
        assert!(why.contains("perhaps its label"), "{why}");
        let one = Images::read(&npy::write_bytes(&[4, 3], &[7; 12]).unwrap()).unwrap().0;
        let why = one.inputs(&input(&[1, 4, 3]), Floats::Raw).unwrap_err().to_string();
        assert!(why.contains("x[None]"), "{why}");
    }

    #[test]
    fn axes_of_one_place_do_not_matter() {
        let array = |shape: &[usize]| {
            let values: Vec<u8> = (0..shape.iter().product::<usize>() as u8).collect();
            Images::read(&npy::write_bytes(shape, &values).unwrap()).unwrap().0
        };
        for (file, takes) in [
            (&[2usize, 5, 6][..], &[5usize, 6][..]),
            (&[2, 5, 6], &[1, 5, 6]),
            (&[2, 1, 5, 6], &[5, 6]),
            (&[2, 5, 6, 1], &[1, 5, 6]),
            (&[1, 2, 3, 4, 5], &[2, 3, 4, 5]),
        ] {
            let found = array(file).inputs(&input(takes), Floats::Raw).unwrap();
            assert!(found.iter().enumerate().all(|(i, v)| *v == i as f32), "{file:?} for {takes:?}");
        }
        assert!(array(&[1, 6, 5]).inputs(&input(&[5, 6]), Floats::Raw).is_err());
    }
}
