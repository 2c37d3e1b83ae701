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
}

impl Local {
    /// The form of the result, or why the operands do not fit.
    pub fn output(&self, x: &[&Form]) -> Result<Form> {
        let want = match self {
            Local::Add | Local::Sub | Local::AddRow => 2,
            Local::Gather(_) => x.len().max(1),
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
