//! Damaged files: read or refused, never a panic, and never more memory than such files can be worth.

use crate::jpeg::Jpeg;
use flate2::write::GzEncoder;
use peak_alloc::PeakAlloc;
use std::io::{Cursor, Write};
use twoply_nn::data::npy;
use twoply_nn::{Images, Labels};

#[global_allocator]
static PEAK: PeakAlloc = PeakAlloc;

/// Files of one format, and the most bytes of memory for a byte of a file.
struct Format {
    name: &'static str,
    files: Vec<Vec<u8>>,
    /// Values as they are take up to eight bytes each, twice; a compressed byte stands for 1,032 at most.
    factor: usize,
    /// Makes checksums right again, where a format has some.
    mend: fn(&mut [u8]),
}

const PLAIN: usize = 64;
const PACKED: usize = 1032 * 64;
/// What decoders take for themselves.
const SELF: usize = 8 << 20;

fn formats() -> Vec<Format> {
    let floats: Vec<f32> = (0..24).map(|i| i as f32 / 3.0).collect();
    let npy = npy::write(&[2, 3, 2, 2], &floats).unwrap();
    let fortran = String::from_utf8_lossy(&npy[10..128]).replace("False", "True ");
    let fortran = [&npy[..10], &fortran.as_bytes()[..118], &npy[128..]].concat();
    let labels = npy::write_bytes(&[12], &[7; 12]).unwrap();
    let idx = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4][..], &[5; 24]].concat();
    let wide = [&[0, 0, 14, 1, 0, 0, 0, 2][..], &[0; 16]].concat();
    let table: &[&[u8]] = &[
        b"name,\"a, b\",c\n\"1\",1.5,2\n0,-3e2,True\n",
        b"1;2;3\r\n4;5;6\r\n",
        b"# a b\n 1.0e+00  2\n3 4\n",
        b"label\n3\n1\n4\n",
    ];
    let mut gzip = GzEncoder::new(vec![], flate2::Compression::default());
    gzip.write_all(&npy).unwrap();
    let values: Vec<u8> = (0..12).map(|i| i * 20).collect();
    let jpeg = |components, progressive| Jpeg {
        blocks: (2, 2),
        values: &values[..4 * components as usize],
        components,
        progressive,
    };
    let plain = |name, files| Format { name, files, factor: PLAIN, mend: |_| () };
    let packed = |name, files, mend| Format { name, files, factor: PACKED, mend };
    vec![
        plain("NPY", vec![npy.clone(), fortran, labels.clone()]),
        plain("IDX", vec![idx, wide]),
        plain("CSV", table.iter().map(|text| text.to_vec()).collect()),
        plain("CIFAR", vec![vec![3; 3073], vec![3; 2 * 3074]]),
        packed("gzip", vec![gzip.finish().unwrap()], |_| ()),
        packed("NPZ", vec![zip(&npy, &labels, true), zip(&npy, &labels, false)], |_| ()),
        packed("PNG", pngs(), mend_png),
        packed("JPEG", vec![jpeg(1, false).bytes(), jpeg(3, false).bytes(), jpeg(3, true).bytes()], |_| ()),
    ]
}

fn zip(x: &[u8], y: &[u8], deflated: bool) -> Vec<u8> {
    let method = if deflated { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    let mut zip = zip::ZipWriter::new(Cursor::new(vec![]));
    for (name, bytes) in [("x.npy", x), ("y.npy", y)] {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn pngs() -> Vec<Vec<u8>> {
    use png::{BitDepth, ColorType};
    let file = |colour, depth, data: &[u8]| {
        let mut out = vec![];
        let mut encoder = png::Encoder::new(&mut out, 4, 2);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        if colour == ColorType::Indexed {
            encoder.set_palette(vec![1, 2, 3, 4, 5, 6]);
            encoder.set_trns(vec![255, 255]);
        }
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        writer.finish().unwrap();
        out
    };
    vec![
        file(ColorType::Rgb, BitDepth::Eight, &[9; 24]),
        file(ColorType::Indexed, BitDepth::Two, &[0b0100_0001; 2]),
        file(ColorType::Grayscale, BitDepth::One, &[0xa0; 2]),
        file(ColorType::Rgba, BitDepth::Sixteen, &[0xff; 64]),
    ]
}

/// Right checksums for the chunks, as far as they can be followed.
fn mend_png(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = bytes.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]])) {
        let end = at + 8 + length as usize;
        let Some(chunk) = bytes.get(at + 4..end) else { return };
        let mut crc = flate2::Crc::new();
        crc.update(chunk);
        let sum = crc.sum().to_be_bytes();
        let Some(place) = bytes.get_mut(end..end + 4) else { return };
        place.copy_from_slice(&sum);
        at = end + 4;
    }
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n.max(1)
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        match self.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, self.below(256) as u8),
            2 => drop(bytes.drain(at..(at + 1 + self.below(8)).min(bytes.len()))),
            3 => {
                let piece = bytes[at..(at + 1 + self.below(40)).min(bytes.len())].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            4 => {
                let extreme =
                    [[0xff; 4], [0; 4], [0x7f, 0xff, 0xff, 0xff], [0, 0, 0x10, 0], [0xff, 0xff, 0xff, 0x7f]];
                let extreme = extreme[self.below(5)];
                bytes[at..].iter_mut().zip(extreme).for_each(|(byte, new)| *byte = new);
            }
            5 => bytes[at] = self.below(256) as u8,
            // Digits and commas are what headers and tables are made of.
            6 => bytes[at] = b"0123456789,;()\"\n"[self.below(16)],
            _ => bytes[at] ^= 1 << self.below(8),
        }
    }
}

#[test]
fn damaged_files_do_no_harm() {
    let rounds = if std::env::var_os("TWOPLY_FULL").is_some() { 400_000 } else { 4_000 };
    for format in formats() {
        let (mut random, mut refused) = (Random(0x9e37_79b9_7f4a_7c15), 0);
        for file in &format.files {
            assert!(Images::read_part(file, None).is_ok() || format.name == "NPZ", "{}", format.name);
        }
        for round in 0..rounds {
            let mut bytes = format.files[round % format.files.len()].clone();
            for _ in 0..=random.below(3) {
                if !bytes.is_empty() {
                    random.mutate(&mut bytes);
                }
            }
            if round % 4 > 0 {
                (format.mend)(&mut bytes);
            }
            let part = [None, Some("x"), Some("2-3")][random.below(3)];
            PEAK.reset_peak_usage();
            let before = PEAK.current_usage();
            let images = Images::read_part(&bytes, part);
            let labels = Labels::read_part(&bytes, part);
            let peak = PEAK.peak_usage().saturating_sub(before);
            let most = SELF + format.factor * bytes.len();
            assert!(
                peak <= most,
                "{} {round}: {peak} bytes of memory for {} of a file",
                format.name,
                bytes.len()
            );
            if let Ok((images, _)) = &images {
                assert_eq!(images.len() * images.row(), values(images), "{} {round}", format.name);
            }
            refused += usize::from(images.is_err() && labels.is_err());
        }
        // Some damage is none, and some is always found.
        assert!(refused > rounds / 20 && refused < rounds, "{}: {refused} of {rounds}", format.name);
    }
}

fn values(images: &Images) -> usize {
    use twoply_nn::data::Pixels;
    match &images.pixels {
        Pixels::Raw(v) => v.len(),
        Pixels::Whole(v) | Pixels::Float(v) => v.len(),
    }
}
