//! JPEG files written by hand: every block of 8 x 8 pixels has one value.

use twoply_nn::data::Pixels;
use twoply_nn::{Images, Labels};

/// What to write.
pub struct Jpeg<'a> {
    /// Extents in blocks.
    pub blocks: (u8, u8),
    /// The value of every block, row by row: of each component, and all components of a block together.
    pub values: &'a [u8],
    /// 1, 3 or 4.
    pub components: u8,
    pub progressive: bool,
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    rest: u32,
    count: u32,
}

impl Bits {
    fn push(&mut self, value: u32, width: u32) {
        for bit in (0..width).rev() {
            (self.rest, self.count) = (self.rest << 1 | value >> bit & 1, self.count + 1);
            if self.count == 8 {
                self.bytes.push(self.rest as u8);
                if self.rest == 0xff {
                    self.bytes.push(0);
                }
                (self.rest, self.count) = (0, 0);
            }
        }
    }
}

impl Jpeg<'_> {
    /// Quantisation 8: a coefficient of d moves all of a block by d. Differences of d have 4 bits for how many bits d has; one
    /// bit ends a block.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0xff, 0xd8];
        let mut segment = |marker: u8, body: &[u8]| {
            out.extend([0xff, marker]);
            out.extend((body.len() as u16 + 2).to_be_bytes());
            out.extend(body);
        };
        segment(0xdb, &[&[0][..], &[8; 64]].concat());
        let (w, h) = (8 * u16::from(self.blocks.0), 8 * u16::from(self.blocks.1));
        let components = (1..=self.components).flat_map(|c| [c, 0x11, 0]);
        let size = [&[8][..], &h.to_be_bytes(), &w.to_be_bytes(), &[self.components]].concat();
        segment(
            if self.progressive { 0xc2 } else { 0xc0 },
            &size.into_iter().chain(components).collect::<Vec<_>>(),
        );
        let lengths =
            |at: usize, count: u8| (0..16).map(|i| if i == at { count } else { 0 }).collect::<Vec<u8>>();
        segment(0xc4, &[&[0][..], &lengths(3, 12), &(0..12).collect::<Vec<u8>>()].concat());
        segment(0xc4, &[&[0x10][..], &lengths(0, 1), &[0]].concat());
        let scanned = (1..=self.components).flat_map(|c| [c, 0]);
        let last = if self.progressive { 0 } else { 63 };
        let scan = [self.components].into_iter().chain(scanned).chain([0, last, 0]).collect::<Vec<_>>();
        segment(0xda, &scan);
        let (mut bits, mut before) = (Bits::default(), vec![128i32; usize::from(self.components)]);
        for block in self.values.chunks(usize::from(self.components)) {
            for (value, before) in block.iter().zip(&mut before) {
                let step = i32::from(*value) - *before;
                *before = i32::from(*value);
                let width = 32 - step.unsigned_abs().leading_zeros();
                bits.push(width, 4);
                bits.push((if step < 0 { step - 1 } else { step }) as u32, width);
                if !self.progressive {
                    bits.push(0, 1);
                }
            }
        }
        bits.push(u32::MAX, (8 - bits.count) % 8);
        out.extend(bits.bytes);
        out.extend([0xff, 0xd9]);
        out
    }
}

fn raw(bytes: &[u8]) -> (Vec<usize>, Vec<u8>) {
    let (images, labels) = Images::read(bytes).unwrap();
    assert_eq!(labels, None::<Labels>);
    let Pixels::Raw(values) = images.pixels else { panic!("wanted bytes") };
    (images.shape, values)
}

#[test]
fn grey_and_colour_become_planes() {
    for progressive in [false, true] {
        let grey = Jpeg { blocks: (2, 1), values: &[200, 3], components: 1, progressive };
        let (shape, values) = raw(&grey.bytes());
        assert_eq!(shape, [1, 8, 16]);
        for row in values.chunks(16) {
            assert!(row[..8] == [200; 8] && row[8..] == [3; 8], "{row:?}");
        }
        // A grey and a red block, as luma and two chromas.
        let values = [77, 128, 128, 76, 85, 255];
        let colour = Jpeg { blocks: (1, 2), values: &values, components: 3, progressive };
        let (shape, values) = raw(&colour.bytes());
        assert_eq!(shape, [3, 16, 8]);
        let pixels: Vec<[u8; 3]> = (0..128).map(|i| [0, 128, 256].map(|c| values[c + i])).collect();
        assert!(pixels[..64].iter().all(|p| *p == [77; 3]), "{:?}", pixels[0]);
        let red = |p: &[u8; 3]| p[0] >= 253 && p[1] <= 2 && p[2] <= 2;
        assert!(pixels[64..].iter().all(red), "{:?}", pixels[64]);
    }
}

#[test]
fn parts_and_other_colours_are_refused() {
    let four = Jpeg { blocks: (1, 1), values: &[9; 4], components: 4, progressive: false };
    let why = Images::read(&four.bytes()).unwrap_err().to_string();
    assert!(why.contains("wanted grey or RGB"), "{why}");
    let values: Vec<u8> = (0..64).map(|i| i * 4).collect();
    let good = Jpeg { blocks: (8, 8), values: &values, components: 1, progressive: false }.bytes();
    raw(&good);
    // Nothing is filled in for what is missing.
    for cut in 3..good.len() - 2 {
        assert!(Images::read(&good[..cut]).is_err(), "cut at {cut} of {}", good.len());
    }
}
