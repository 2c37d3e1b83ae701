//! IDX, the format of MNIST: 0, 0, a type byte, the number of axes, big-endian u32 extents, values.

use super::{Axes, Images, Labels, Pixels, count};
use crate::{Error, Result};

/// Type byte of unsigned bytes, the only one image sets use.
const BYTES: u8 = 8;

pub(super) fn images(bytes: &[u8]) -> Result<Images> {
    let (dims, values) = parse::<3>(bytes)?;
    if dims[1] == 0 || dims[2] == 0 {
        return refuse(format!("images of {} x {} pixels", dims[1], dims[2]));
    }
    Ok(Images { shape: vec![1, dims[1], dims[2]], pixels: Pixels::Raw(values.to_vec()), axes: Axes::Said })
}

pub(super) fn labels(bytes: &[u8]) -> Result<Labels> {
    let (_, values) = parse::<1>(bytes)?;
    Ok(Labels(values.iter().map(|&b| b as u32).collect()))
}

fn refuse<T>(why: String) -> Result<T> {
    Err(Error::data("IDX", why))
}

fn parse<const AXES: usize>(bytes: &[u8]) -> Result<([usize; AXES], &[u8])> {
    let Some((&[a, b, kind, axes], rest)) = bytes.split_first_chunk::<4>() else {
        return refuse(format!("{} bytes, too short for a header", bytes.len()));
    };
    if (a, b) != (0, 0) {
        return refuse(format!("wrong magic number {a:02x} {b:02x}, wanted 00 00"));
    }
    if kind != BYTES || axes as usize != AXES {
        return refuse(format!("type {kind:#x} with {axes} axes, wanted bytes (0x8) with {AXES}"));
    }
    let mut dims = [0; AXES];
    let mut rest = rest;
    for d in &mut dims {
        let Some((size, tail)) = rest.split_first_chunk::<4>() else {
            return refuse("the header is cut short".into());
        };
        (*d, rest) = (u32::from_be_bytes(*size) as usize, tail);
    }
    if count(&dims) != Some(rest.len()) {
        return refuse(format!("{} values for the shape {dims:?} of the header", rest.len()));
    }
    Ok((dims, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(kind: u8, dims: &[u32], values: &[u8]) -> Vec<u8> {
        let mut out = vec![0, 0, kind, dims.len() as u8];
        out.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
        out.extend(values);
        out
    }

    #[test]
    fn reads_images_and_labels() {
        let im = images(&file(8, &[2, 1, 2], &[1, 2, 3, 4])).unwrap();
        assert_eq!((im.shape.as_slice(), im.len()), (&[1, 1, 2][..], 2));
        assert_eq!(im.pixels, Pixels::Raw(vec![1, 2, 3, 4]));
        assert_eq!(labels(&file(8, &[3], &[7, 0, 255])).unwrap().0, [7, 0, 255]);
    }

    #[test]
    fn refuses_everything_else_by_name() {
        let good = file(8, &[2, 1, 2], &[1, 2, 3, 4]);
        for cut in 0..good.len() {
            assert!(images(&good[..cut]).is_err());
        }
        let mut long = good.clone();
        long.push(0);
        let mut magic = good.clone();
        magic[0] = 1;
        for (bytes, want) in [
            (long, "5 values for the shape"),
            (magic, "wrong magic"),
            (file(13, &[1, 1, 1], &[0; 4]), "type 0xd"),
            (file(8, &[1], &[0]), "with 1 axes"),
            (file(8, &[u32::MAX, u32::MAX, u32::MAX], &[]), "0 values"),
            (file(8, &[5, 0, 3], &[]), "0 x 3 pixels"),
        ] {
            let why = images(&bytes).unwrap_err().to_string();
            assert!(why.contains(want), "{why}");
        }
    }
}
