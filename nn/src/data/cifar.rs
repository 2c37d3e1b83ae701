//! CIFAR binary: records of label bytes and 3,072 pixel bytes, red plane, green plane, blue plane. A record of CIFAR-10 has
//! one label, of CIFAR-100 two, coarse and fine; the fine one, of 100 classes, is taken.

use super::{Axes, Images, Labels, Pixels};
use crate::{Error, Result};

/// Bytes of one picture.
const PICTURE: usize = 3 * 32 * 32;

/// A record's labels: how many classes each has.
struct Kind {
    name: &'static str,
    classes: &'static [u8],
}

const KINDS: [Kind; 2] =
    [Kind { name: "CIFAR-10", classes: &[10] }, Kind { name: "CIFAR-100", classes: &[20, 100] }];

impl Kind {
    fn record(&self) -> usize {
        self.classes.len() + PICTURE
    }
    fn fits(&self, bytes: &[u8]) -> bool {
        !bytes.is_empty() && bytes.len().is_multiple_of(self.record())
    }
    /// The first label that the format does not have, with the number of its record.
    fn fault(&self, bytes: &[u8]) -> Option<(usize, u8)> {
        let mut labels = bytes.chunks(self.record()).enumerate().flat_map(|(i, record)| {
            record.iter().zip(self.classes).map(move |(label, most)| (i, *label, *most))
        });
        labels.find(|(_, label, most)| label >= most).map(|(i, label, _)| (i, label))
    }
}

/// Whether the length is one of a CIFAR file.
pub(super) fn fits(bytes: &[u8]) -> bool {
    KINDS.iter().any(|kind| kind.fits(bytes))
}

pub(super) fn read(bytes: &[u8]) -> Result<(Images, Labels)> {
    let mut fitting = KINDS.iter().filter(|kind| kind.fits(bytes)).peekable();
    let Some(first) = fitting.peek() else {
        let [ten, hundred] = KINDS.map(|kind| kind.record());
        let why = format!("{} bytes are no whole number of records of {ten} or {hundred}", bytes.len());
        return Err(Error::data("CIFAR", why));
    };
    let name = first.name;
    let Some(kind) = fitting.find(|kind| kind.fault(bytes).is_none()) else {
        let (i, label) =
            KINDS.iter().find(|k| k.name == name).and_then(|k| k.fault(bytes)).unwrap_or_default();
        return Err(Error::data(name, format!("record {i}: there is no label {label}")));
    };
    let records = bytes.chunks_exact(kind.record()).map(|record| record.split_at(kind.classes.len()));
    let labels = records.clone().filter_map(|(labels, _)| labels.last().copied().map(u32::from)).collect();
    let pixels = records.flat_map(|(_, picture)| picture).copied().collect();
    Ok((Images { shape: vec![3, 32, 32], pixels: Pixels::Raw(pixels), axes: Axes::Said }, Labels(labels)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_checked() {
        let record = KINDS[0].record();
        let mut file = vec![5u8; 2 * record];
        file[record] = 9;
        let (images, labels) = read(&file).unwrap();
        assert_eq!((images.len(), labels.0), (2, vec![5, 9]));
        assert_eq!(images.pixels, Pixels::Raw(vec![5; 2 * PICTURE]));
        assert!(read(&file[1..]).unwrap_err().to_string().contains("whole number"));
        assert!(read(&[]).is_err());
        file[record] = 10;
        assert!(read(&file).unwrap_err().to_string().contains("record 1: there is no label 10"));
    }

    #[test]
    fn the_fine_label_of_a_hundred_is_taken() {
        let record = KINDS[1].record();
        let mut file = vec![3u8; 2 * record];
        (file[0], file[1], file[record], file[record + 1]) = (19, 99, 0, 42);
        let (images, labels) = read(&file).unwrap();
        assert_eq!((images.len(), labels.0), (2, vec![99, 42]));
        assert_eq!(images.pixels, Pixels::Raw(vec![3; 2 * PICTURE]));
        file[record] = 20;
        assert!(read(&file).unwrap_err().to_string().contains("CIFAR-100: record 1: there is no label 20"));
    }

    /// So many records of one kind are as long as others of the other kind.
    #[test]
    fn labels_decide_where_the_length_does_not() {
        let [ten, hundred] = KINDS.map(|kind| kind.record());
        let mut file = vec![200u8; ten * hundred];
        file.chunks_mut(hundred).for_each(|record| (record[0], record[1]) = (1, 77));
        assert_eq!(read(&file).unwrap().1.0, vec![77; ten]);
    }
}
