//! PNG, 8 bits, grey or RGB; other pictures are refused, since converting them silently would change what is classified.

use super::{Axes, Images, Pixels};
use crate::{Error, Result};
use png::{BitDepth, ColorType, Decoder, Limits};
use std::io::Cursor;

/// Most pixels in each direction.
const MAX_SIDE: u32 = 1 << 12;
/// Most bytes the decoder may take for its own use.
const MAX_DECODER: usize = 64 << 20;

pub(super) fn image(bytes: &[u8]) -> Result<Images> {
    let damaged = |e: png::DecodingError| Error::data("PNG", format!("{e}"));
    let decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: MAX_DECODER });
    let mut reader = decoder.read_info().map_err(damaged)?;
    let info = reader.info();
    let (w, h) = (info.width, info.height);
    if w > MAX_SIDE || h > MAX_SIDE {
        return Err(Error::data("PNG", format!("{w} x {h} pixels, more than {MAX_SIDE} in one direction")));
    }
    let channels = match (info.color_type, info.bit_depth) {
        (ColorType::Grayscale, BitDepth::Eight) => 1,
        (ColorType::Rgb, BitDepth::Eight) => 3,
        (colour, depth) => {
            let why = format!("{colour:?} with {} bits; convert it to 8 bits, grey or RGB", depth as u8);
            return Err(Error::data("PNG", why));
        }
    };
    let (w, h) = (w as usize, h as usize);
    // The file may be a few bytes that claim a large picture: rows are read one by one.
    let mut interleaved = Vec::new();
    if info.interlaced {
        return Err(Error::data("PNG", "interlaced; save it without"));
    }
    while let Some(row) = reader.next_row().map_err(damaged)? {
        interleaved.extend_from_slice(row.data());
    }
    if interleaved.len() != w * h * channels {
        return Err(Error::data("PNG", format!("{} values for {w} x {h} x {channels}", interleaved.len())));
    }
    let planes = (0..channels).flat_map(|c| interleaved.iter().skip(c).step_by(channels).copied()).collect();
    Ok(Images { shape: vec![channels, h, w], pixels: Pixels::Raw(planes), axes: Axes::Said })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(w: u32, h: u32, colour: ColorType, depth: BitDepth, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, w, h);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        writer.finish().unwrap();
        out
    }

    #[test]
    fn grey_and_rgb_become_planes() {
        let grey = image(&file(3, 2, ColorType::Grayscale, BitDepth::Eight, &[1, 2, 3, 4, 5, 6])).unwrap();
        assert_eq!((grey.shape, grey.pixels), (vec![1, 2, 3], Pixels::Raw(vec![1, 2, 3, 4, 5, 6])));
        let rgb = image(&file(2, 1, ColorType::Rgb, BitDepth::Eight, &[1, 2, 3, 4, 5, 6])).unwrap();
        assert_eq!((rgb.shape, rgb.pixels), (vec![3, 1, 2], Pixels::Raw(vec![1, 4, 2, 5, 3, 6])));
    }

    #[test]
    fn other_pictures_and_damage_are_errors() {
        let deep = file(1, 1, ColorType::Grayscale, BitDepth::Sixteen, &[0, 1]);
        assert!(image(&deep).unwrap_err().to_string().contains("Grayscale with 16 bits"));
        let alpha = file(1, 1, ColorType::Rgba, BitDepth::Eight, &[0; 4]);
        assert!(image(&alpha).unwrap_err().to_string().contains("Rgba"));
        let good = file(8, 8, ColorType::Grayscale, BitDepth::Eight, &[9; 64]);
        // The last chunk (12 bytes of IEND) holds nothing; everything before it is needed.
        for cut in 0..good.len() - 12 {
            assert!(image(&good[..cut]).is_err(), "cut at {cut}");
        }
        let mut huge = file(1, 1, ColorType::Grayscale, BitDepth::Eight, &[0]);
        huge[16..20].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
        assert!(image(&huge).is_err());
    }
}
