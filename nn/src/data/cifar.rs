//! CIFAR-10 binary: records of one label byte and 3,072 pixel bytes, red plane, green plane, blue plane.

use super::{Axes, Images, Labels, Pixels};
use crate::{Error, Result};

/// Bytes of one record.
pub(super) const RECORD: usize = 1 + 3 * 32 * 32;

pub(super) fn read(bytes: &[u8]) -> Result<(Images, Labels)> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        let why = format!("{} bytes are no whole number of records of {RECORD}", bytes.len());
        return Err(Error::data("CIFAR-10", why));
    }
    let mut pixels = Vec::with_capacity(bytes.len());
    let mut labels = Vec::with_capacity(bytes.len() / RECORD);
    for (i, record) in bytes.chunks_exact(RECORD).enumerate() {
        if record[0] > 9 {
            return Err(Error::data("CIFAR-10", format!("record {i}: label {}, wanted 0 to 9", record[0])));
        }
        labels.push(record[0] as u32);
        pixels.extend_from_slice(&record[1..]);
    }
    Ok((Images { shape: vec![3, 32, 32], pixels: Pixels::Raw(pixels), axes: Axes::Said }, Labels(labels)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_checked() {
        let mut file = vec![5u8; 2 * RECORD];
        file[RECORD] = 9;
        let (images, labels) = read(&file).unwrap();
        assert_eq!((images.len(), labels.0), (2, vec![5, 9]));
        assert_eq!(images.pixels, Pixels::Raw(vec![5; 2 * (RECORD - 1)]));
        assert!(read(&file[1..]).unwrap_err().to_string().contains("whole number"));
        assert!(read(&[]).is_err());
        file[RECORD] = 10;
        assert!(read(&file).unwrap_err().to_string().contains("record 1: label 10"));
    }
}
