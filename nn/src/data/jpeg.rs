//! JPEG, baseline or progressive: grey or colour, 8 bits. Decoders round and interpolate colours differently, by
//! up to 3 of 255 in a pixel. What a camera noted of its orientation is not applied, nor is it by Pillow and torchvision unless
//! asked for.

use super::picture::{self, MAX_SIDE, planes};
use super::{Images, Pixels};
use crate::{Error, Result};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

pub(super) fn image(bytes: &[u8]) -> Result<Images> {
    let refuse = |e: &dyn std::fmt::Debug| Error::data("JPEG", format!("{e:?}"));
    // Without strict mode missing parts of a picture would come as grey.
    let options =
        DecoderOptions::new_safe().set_strict_mode(true).set_max_width(MAX_SIDE).set_max_height(MAX_SIDE);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| refuse(&e))?;
    let (w, h) = decoder.dimensions().ok_or_else(|| Error::data("JPEG", "the header has no extents"))?;
    picture::plausible("JPEG", (w, h), 8, bytes)?;
    if !ends(bytes) {
        return Err(Error::data("JPEG", "damaged: its end is missing"));
    }
    let (channels, space) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (1, ColorSpace::Luma),
        Some(ColorSpace::YCbCr | ColorSpace::RGB) => (3, ColorSpace::RGB),
        other => {
            let other = other.unwrap_or(ColorSpace::Unknown);
            let why =
                format!("colours as {other:?}, wanted grey or RGB; convert it (Pillow: convert('RGB'))");
            return Err(Error::data("JPEG", why));
        }
    };
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let data = decoder.decode().map_err(|e| refuse(&e))?;
    if data.len() != w * h * channels {
        return Err(Error::data("JPEG", format!("{} values for {w} x {h} x {channels}", data.len())));
    }
    picture::image("JPEG", [channels, h, w], Pixels::Raw(planes(&data, channels, channels)))
}

/// Whether the last scan (FF DA) is followed by the end of a picture (FF D9); within a scan, FF stands before 00 alone. The
/// decoder takes what is missing from the last few blocks for zeros, also in strict mode.
fn ends(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    last(0xda) < last(0xd9)
}
