//! Maps that act on a wire without keys and without talk: linear, with public integer coefficients.

use crate::{Error, Form, Result, Shape, Window};
use std::sync::Arc;

/// A map on wires. Applied alike to public values, to masks and to shares of masks; coefficients are integers, so
/// no ring appears. The result lives in the narrowest ring of its operands: a wire mod 2^n is also one mod 2^m.
#[derive(Clone, Debug)]
pub enum Local {
    /// Sum of two wires of one shape.
    Add,
    /// Difference of two wires of one shape.
    Sub,
    /// Sum of every image of a wire with one row that serves all images: a second wire, of as many elements as an image.
    AddRow,
    /// Product with an integer.
    Scale(i64),
    /// Sum with an integer; its homogeneous part is the identity.
    AddPublic(i64),
    /// New extents per image; the number of elements stays.
    Reshape(Vec<usize>),
    /// The same value mod 2^bits, `bits` at most the wire's.
    Reduce(u32),
    /// Per image: elements of the operands' images, concatenated, at these places, in this order.
    Gather(Arc<[usize]>),
    /// Sum over the window at every position of `[batch, channels, height, width]`; padding adds nothing.
    SumPool(Window),
    /// Product of every element of an image with its own integer.
    ScaleEach(Arc<[i64]>),
    /// Per image: sums of elements of the operands' images, concatenated.
    Sums(Sums),
    /// Sum over the batch, whose axis goes.
    SumBatch,
}

/// For every element of a result, which places it is the sum of.
#[derive(Clone, Debug)]
pub struct Sums {
    /// Where the places of element `j` begin in `places`; one more, where the last end.
    pub starts: Arc<[usize]>,
    /// The places, element after element.
    pub places: Arc<[usize]>,
}

impl Sums {
    /// The adjoint of a gather of the places `index` out of `row`: every element goes back to where it was taken from, and
    /// nowhere from a place beyond.
    pub fn adjoint(index: &[usize], row: usize) -> Sums {
        let taken = || index.iter().enumerate().filter(|(_, at)| **at < row);
        let mut starts = vec![0; row + 1];
        taken().for_each(|(_, at)| starts[at + 1] += 1);
        (0..row).for_each(|at| starts[at + 1] += starts[at]);
        let (mut next, mut places) = (starts.clone(), vec![0; starts[row]]);
        for (from, &at) in taken() {
            places[next[at]] = from;
            next[at] += 1;
        }
        Sums { starts: starts.into(), places: places.into() }
    }
    /// Elements of the result.
    pub fn row(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }
    /// Whether every element's places are some of `have`.
    fn fits(&self, have: usize) -> bool {
        let rises = self.starts.windows(2).all(|s| s[0] <= s[1]);
        let ends = self.starts.first() == Some(&0) && self.starts.last() == Some(&self.places.len());
        rises && ends && self.places.iter().all(|&at| at < have)
    }
}

impl Local {
    /// The form of the result, or why the operands do not fit.
    pub fn output(&self, x: &[&Form]) -> Result<Form> {
        let want = match self {
            Local::Add | Local::Sub | Local::AddRow => 2,
            Local::Gather(_) | Local::Sums(_) => x.len().max(1),
            _ => 1,
        };
        if x.len() != want {
            return Err(Error::shape("local", format!("{self:?} takes {want} wires, got {}", x.len())));
        }
        let bits = x.iter().map(|f| f.bits).min().unwrap_or(0);
        let shape = &x[0].shape;
        if !matches!(self, Local::AddRow) && x.iter().any(|f| f.shape.batch() != shape.batch()) {
            return Err(Error::shape("local", "operands of different batch size"));
        }
        match self {
            Local::Add | Local::Sub if x[0].shape != x[1].shape => {
                Err(Error::shape("local", format!("cannot add {:?} and {:?}", x[0].shape.0, x[1].shape.0)))
            }
            Local::AddRow if x[1].len() != shape.row() => Err(Error::shape(
                "local",
                format!("cannot add {:?} to every image of {:?}", x[1].shape.0, shape.0),
            )),
            Local::Reshape(row) if row.iter().product::<usize>() != shape.row() => Err(Error::shape(
                "local",
                format!("cannot reshape {:?} per image into {row:?}", &shape.0[1..]),
            )),
            Local::Reshape(row) => Ok(Form { shape: shape.with_row(row), bits }),
            Local::Reduce(to) if *to > bits => {
                Err(Error::shape("local", format!("cannot widen {bits} bits to {to} without a lift")))
            }
            Local::Reduce(to) => Ok(Form { shape: shape.clone(), bits: *to }),
            Local::Gather(index) => {
                let have: usize = x.iter().map(|f| f.shape.row()).sum();
                match index.iter().find(|&&i| i >= have) {
                    Some(i) => Err(Error::shape("local", format!("gather reads element {i} of {have}"))),
                    None => Ok(Form { shape: shape.with_row(&[index.len()]), bits }),
                }
            }
            Local::SumPool(w) => {
                let &[_, c, h, wd] = &shape.0[..] else {
                    return Err(Error::shape("pool", format!("wants [batch, c, h, w], got {:?}", shape.0)));
                };
                let [oh, ow] = w.output(h, wd)?;
                Ok(Form { shape: Shape::from([shape.batch(), c, oh, ow]), bits })
            }
            Local::ScaleEach(c) if c.len() != shape.row() => {
                Err(Error::shape("local", format!("{} coefficients for {} elements", c.len(), shape.row())))
            }
            Local::Sums(sums) => {
                let have = x.iter().map(|f| f.shape.row()).sum();
                match sums.fits(have) {
                    true => Ok(Form { shape: shape.with_row(&[sums.row()]), bits }),
                    false => {
                        Err(Error::shape("local", format!("sums over places beyond the {have} there are")))
                    }
                }
            }
            Local::SumBatch if shape.0.len() < 2 => {
                Err(Error::shape("local", format!("{:?} has no batch to sum over", shape.0)))
            }
            Local::SumBatch => Ok(Form { shape: Shape(shape.0[1..].to_vec()), bits }),
            _ => Ok(Form { shape: shape.clone(), bits }),
        }
    }

    /// What acts on a mask or on a share of one.
    pub fn homogeneous(&self) -> Local {
        match self {
            Local::AddPublic(_) => Local::AddPublic(0),
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, Cpu};

    fn run(f: &Local, forms: &[&Form], x: &[&Vec<u32>]) -> Vec<u32> {
        let out = f.output(forms).unwrap();
        let z = Cpu::<u32>::new().local(f, &out, forms, x);
        assert_eq!(z.len(), out.len());
        z
    }

    #[test]
    fn what_a_gather_took_goes_back() {
        let (x, y) = (Form::new([2, 5], 32), Form::new([2, 7], 32));
        let index = [3, 0, 3, 1, 3, 4, 0];
        let twice = Sums::adjoint(&[&index[..], &[5, 9]].concat(), 5);
        assert_eq!(twice.places, Sums::adjoint(&index, 5).places, "places beyond the row are nobody's");
        let values: Vec<u32> = (0..10).map(|i| i * i + 1).collect();
        let back: Vec<u32> = (0..14).map(|i| 100 + i).collect();
        let there = run(&Local::Gather(index.into()), &[&x], &[&values]);
        let here = run(&Local::Sums(Sums::adjoint(&index, 5)), &[&y], &[&back]);
        let dot = |a: &[u32], b: &[u32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<u32>();
        assert_eq!(dot(&there, &back), dot(&values, &here));
        assert_eq!(here[..5], [101 + 106, 103, 0, 100 + 102 + 104, 105]);
    }

    #[test]
    fn sums_over_the_batch_lose_its_axis() {
        let values: Vec<u32> = (0..12).collect();
        let form = Form::new([3, 2, 2], 4);
        assert_eq!(Local::SumBatch.output(&[&form]).unwrap(), Form::new([2, 2], 4));
        assert_eq!(run(&Local::SumBatch, &[&form], &[&values]), [12, 15, 18 % 16, 21 % 16]);
        assert!(Local::SumBatch.output(&[&Form::new([3], 4)]).is_err());
    }

    #[test]
    fn places_that_are_not_there() {
        let form = Form::new([2, 5], 32);
        let sums = |starts: &[usize], places: &[usize]| {
            Local::Sums(Sums { starts: starts.into(), places: places.into() }).output(&[&form])
        };
        assert!(sums(&[0, 1, 2], &[0, 4]).is_ok());
        assert!(sums(&[0, 1, 2], &[0, 5]).is_err(), "beyond the row");
        assert!(
            sums(&[0, 2, 1], &[0, 4]).is_err() && sums(&[0, 1], &[0, 4]).is_err() && sums(&[], &[]).is_err()
        );
    }
}
