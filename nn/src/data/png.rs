//! PNG of every kind: grey or RGB, 8 or 16 bits. Palettes are RGB; fewer bits are spread over 0..255, as every viewer does.
//!
//! A network sees no transparency: an alpha channel that is opaque everywhere says nothing and is left out; a pixel that is
//! not opaque is refused, since what is behind it is nobody's to guess.

use super::picture::{self, planes};
use super::{Images, Pixels};
use crate::{Error, Result};
use png::{BitDepth, ColorType, Decoder, Limits, Transformations};
use std::io::Cursor;

/// Most bytes the decoder may take for its own use.
const MAX_DECODER: usize = 64 << 20;

pub(super) fn image(bytes: &[u8]) -> Result<Images> {
    let damaged = |e: png::DecodingError| Error::data("PNG", format!("{e}"));
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: MAX_DECODER });
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let info = reader.info();
    let (w, h) = (info.width as usize, info.height as usize);
    let bits = info.color_type.samples() * info.bit_depth as usize;
    picture::plausible("PNG", (w, h), bits, bytes)?;
    let (colour, depth) = reader.output_color_type();
    let size = reader.output_buffer_size().ok_or_else(|| Error::data("PNG", "too large"))?;
    let mut data = vec![0; size];
    reader.next_frame(&mut data).map_err(damaged)?;
    let (channels, alpha) = match colour {
        ColorType::Grayscale => (1, false),
        ColorType::GrayscaleAlpha => (2, true),
        ColorType::Rgba => (4, true),
        // Palettes come expanded.
        ColorType::Rgb | ColorType::Indexed => (3, false),
    };
    let pixels = match depth {
        BitDepth::Sixteen => {
            let values: Vec<u16> = data.as_chunks::<2>().0.iter().map(|b| u16::from_be_bytes(*b)).collect();
            let values = opaque(values, (channels, alpha), u16::MAX)?;
            Pixels::Whole(values.into_iter().map(f32::from).collect())
        }
        _ => Pixels::Raw(opaque(data, (channels, alpha), u8::MAX)?),
    };
    picture::image("PNG", [channels - usize::from(alpha), h, w], pixels)
}

/// The colours of pixels, channel by channel, without the alpha channel if there is one.
fn opaque<T: Copy + PartialEq>(values: Vec<T>, (channels, alpha): (usize, bool), full: T) -> Result<Vec<T>> {
    let pixels = values.len() / channels;
    let seen = values.chunks_exact(channels).filter(|pixel| alpha && pixel[channels - 1] != full).count();
    if seen > 0 {
        return Err(Error::data(
            "PNG",
            format!(
                "{seen} of {pixels} pixels are transparent, and what is behind them is not said; put the picture on a \
                 background and save it without alpha (Pillow: Image.alpha_composite, then convert('RGB'))"
            ),
        ));
    }
    Ok(planes(&values, channels, channels - usize::from(alpha)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(
        (w, h): (u32, u32),
        colour: ColorType,
        depth: BitDepth,
        more: impl Fn(&mut png::Encoder<'_, &mut Vec<u8>>),
        data: &[u8],
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, w, h);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        more(&mut encoder);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        writer.finish().unwrap();
        out
    }
    fn file(w: u32, h: u32, colour: ColorType, depth: BitDepth, data: &[u8]) -> Vec<u8> {
        encoded((w, h), colour, depth, |_| (), data)
    }
    fn found(bytes: &[u8]) -> (Vec<usize>, Pixels) {
        let image = image(bytes).unwrap();
        (image.shape, image.pixels)
    }
    fn why(bytes: &[u8]) -> String {
        image(bytes).unwrap_err().to_string()
    }

    #[test]
    fn grey_and_rgb_become_planes() {
        let grey = file(3, 2, ColorType::Grayscale, BitDepth::Eight, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(found(&grey), (vec![1, 2, 3], Pixels::Raw(vec![1, 2, 3, 4, 5, 6])));
        let rgb = file(2, 1, ColorType::Rgb, BitDepth::Eight, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(found(&rgb), (vec![3, 1, 2], Pixels::Raw(vec![1, 4, 2, 5, 3, 6])));
    }

    #[test]
    fn few_bits_are_spread_and_sixteen_stay() {
        for (depth, data, want) in [
            (BitDepth::One, [0b1010_0000, 0], [255, 0, 255, 0]),
            (BitDepth::Two, [0b0001_1011, 0], [0, 85, 170, 255]),
            (BitDepth::Four, [0x0f, 0x17], [0, 255, 17, 119]),
        ] {
            let data = &data[..if depth == BitDepth::Four { 2 } else { 1 }];
            let bytes = file(4, 1, ColorType::Grayscale, depth, data);
            assert_eq!(found(&bytes), (vec![1, 1, 4], Pixels::Raw(want.to_vec())));
        }
        let deep = file(2, 1, ColorType::Grayscale, BitDepth::Sixteen, &[0, 1, 255, 255]);
        assert_eq!(found(&deep), (vec![1, 1, 2], Pixels::Whole(vec![1.0, 65535.0])));
        let deep = file(1, 1, ColorType::Rgb, BitDepth::Sixteen, &[0, 1, 0, 2, 1, 0]);
        assert_eq!(found(&deep).1, Pixels::Whole(vec![1.0, 2.0, 256.0]));
    }

    #[test]
    fn palettes_are_rgb() {
        let palette = |e: &mut png::Encoder<'_, &mut Vec<u8>>| e.set_palette(vec![9, 8, 7, 1, 2, 3]);
        let bytes = encoded((2, 1), ColorType::Indexed, BitDepth::Eight, palette, &[1, 0]);
        assert_eq!(found(&bytes), (vec![3, 1, 2], Pixels::Raw(vec![1, 9, 2, 8, 3, 7])));
        let clear = |e: &mut png::Encoder<'_, &mut Vec<u8>>| {
            e.set_palette(vec![9, 8, 7, 1, 2, 3]);
            e.set_trns(vec![255, 0]);
        };
        let unused = encoded((2, 1), ColorType::Indexed, BitDepth::Eight, clear, &[0, 0]);
        assert_eq!(found(&unused).1, Pixels::Raw(vec![9, 9, 8, 8, 7, 7]));
        let used = encoded((2, 1), ColorType::Indexed, BitDepth::Eight, clear, &[1, 0]);
        assert!(why(&used).contains("1 of 2 pixels are transparent"));
    }

    #[test]
    fn alpha_is_left_out_where_it_says_nothing() {
        let grey = file(2, 1, ColorType::GrayscaleAlpha, BitDepth::Eight, &[1, 255, 2, 255]);
        assert_eq!(found(&grey), (vec![1, 1, 2], Pixels::Raw(vec![1, 2])));
        let rgba = file(1, 1, ColorType::Rgba, BitDepth::Eight, &[1, 2, 3, 255]);
        assert_eq!(found(&rgba), (vec![3, 1, 1], Pixels::Raw(vec![1, 2, 3])));
        let deep = file(1, 1, ColorType::GrayscaleAlpha, BitDepth::Sixteen, &[1, 0, 255, 255]);
        assert_eq!(found(&deep).1, Pixels::Whole(vec![256.0]));
        let glass = file(2, 1, ColorType::Rgba, BitDepth::Eight, &[1, 2, 3, 254, 0, 0, 0, 255]);
        assert!(why(&glass).contains("1 of 2 pixels are transparent") && why(&glass).contains("background"));
    }

    /// Adam7 by hand: the seven passes of a 2 x 2 picture have its pixels 0, none, none, none, none, 1, and 2 and 3.
    #[test]
    fn interlaced_pictures_are_read() {
        let plain = file(2, 2, ColorType::Grayscale, BitDepth::Eight, &[1, 2, 3, 4]);
        let mut deflate = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::default());
        std::io::Write::write_all(&mut deflate, &[0, 1, 0, 2, 0, 3, 4]).unwrap();
        let data = deflate.finish().unwrap();
        let mut bytes = plain[..8].to_vec();
        let header = [0, 0, 0, 2, 0, 0, 0, 2, 8, 0, 0, 0, 1];
        for (kind, body) in [(b"IHDR", &header[..]), (b"IDAT", &data), (b"IEND", &[])] {
            bytes.extend((body.len() as u32).to_be_bytes());
            let chunk = [&kind[..], body].concat();
            let mut crc = flate2::Crc::new();
            crc.update(&chunk);
            bytes.extend(chunk);
            bytes.extend(crc.sum().to_be_bytes());
        }
        assert_eq!(found(&bytes), found(&plain));
    }

    #[test]
    fn damage_is_an_error() {
        let good = file(8, 8, ColorType::Grayscale, BitDepth::Eight, &[9; 64]);
        // The last chunk (12 bytes of IEND) holds nothing; everything before it is needed.
        for cut in 0..good.len() - 12 {
            assert!(image(&good[..cut]).is_err(), "cut at {cut}");
        }
        let mut huge = file(1, 1, ColorType::Grayscale, BitDepth::Eight, &[0]);
        huge[16..20].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
        assert!(image(&huge).is_err());
        // Few bytes may stand for many, but not for any number.
        let blank = file(4000, 4000, ColorType::Grayscale, BitDepth::One, &[0; 4000 * 500]);
        assert!(image(&blank).is_ok());
    }
}
