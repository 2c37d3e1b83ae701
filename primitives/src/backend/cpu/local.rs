//! Maps that each party applies to its own share, image by image, on as many threads as there are.

use crate::local::Sums;
use crate::tensor::Window;
use crate::{Form, Local, Ring};
use rayon::prelude::*;

/// Elements of a result that one thread computes before another is worth its call.
const BLOCK: usize = 1 << 15;

/// A map, of operands of these forms, into a result of the form `out`.
pub fn local<R: Ring>(f: &Local, out: &Form, forms: &[&Form], x: &[&[R]]) -> Vec<R> {
    let mask = R::ones(out.bits);
    let row = out.len() / forms[0].shape.batch().max(1);
    match f {
        Local::Add => zip([x[0], x[1]], |a, b| a.add(b).and(mask)),
        Local::Sub => zip([x[0], x[1]], |a, b| a.sub(b).and(mask)),
        Local::AddRow => each_row(out.len(), x[1].len(), |i, z| {
            let image = &x[0][i * z.len()..];
            z.iter_mut().zip(image).zip(x[1]).for_each(|((z, a), b)| *z = a.add(*b).and(mask));
        }),
        Local::Scale(c) => {
            let c = R::from_i64(*c);
            map(x[0], |a| a.mul(c).and(mask))
        }
        Local::AddPublic(c) => {
            let c = R::from_i64(*c);
            map(x[0], |a| a.add(c).and(mask))
        }
        Local::Reshape(_) => x[0].to_vec(),
        Local::Reduce(_) => map(x[0], |a| a.and(mask)),
        Local::Gather(index) => each_row(out.len(), row, |i, z| {
            let image = Image::of(i, forms, x);
            let image = image.values();
            z.iter_mut().zip(&index[..]).for_each(|(z, &at)| *z = image[at].and(mask));
        }),
        Local::Sums(sums) => each_row(out.len(), row, |i, z| {
            let image = Image::of(i, forms, x);
            sum_places(sums, image.values(), mask, z);
        }),
        Local::SumPool(window) => match (&forms[0].shape.0[..], &out.shape.0[..]) {
            (&[.., h, w], &[.., oh, ow]) => each_row(out.len(), oh * ow, |i, z| {
                sum_windows(window, (&x[0][i * h * w..], [h, w]), [oh, ow], mask, z)
            }),
            _ => vec![],
        },
        Local::ScaleEach(c) => {
            let c: Vec<R> = c.iter().map(|&c| R::from_i64(c)).collect();
            each_row(out.len(), c.len(), |i, z| {
                let image = &x[0][i * z.len()..];
                z.iter_mut().zip(image).zip(&c).for_each(|((z, a), c)| *z = a.mul(*c).and(mask));
            })
        }
        Local::SumBatch => {
            let mut z = vec![R::ZERO; out.len()];
            for image in x[0].chunks_exact(out.len().max(1)) {
                z.iter_mut().zip(image).for_each(|(z, &v)| *z = z.add(v));
            }
            z.iter_mut().for_each(|z| *z = z.and(mask));
            z
        }
    }
}

fn map<R: Ring>(x: &[R], f: impl Fn(R) -> R + Sync) -> Vec<R> {
    each_row(x.len(), 1 << 12, |i, z| {
        z.iter_mut().zip(&x[i << 12..]).for_each(|(z, &a)| *z = f(a));
    })
}

fn zip<R: Ring>([x, y]: [&[R]; 2], f: impl Fn(R, R) -> R + Sync) -> Vec<R> {
    each_row(x.len(), 1 << 12, |i, z| {
        let at = i << 12;
        z.iter_mut().zip(&x[at..]).zip(&y[at..]).for_each(|((z, &a), &b)| *z = f(a, b));
    })
}

/// A result of `len` elements in rows of `row`, the last perhaps shorter: `f` fills each.
pub fn each_row<R: Ring>(len: usize, row: usize, f: impl Fn(usize, &mut [R]) + Sync) -> Vec<R> {
    let (mut z, row) = (vec![R::ZERO; len], row.max(1));
    let rows = BLOCK.div_ceil(row);
    match len > rows * row {
        true => {
            let block = |(b, z): (usize, &mut [R])| {
                z.chunks_mut(row).enumerate().for_each(|(i, z)| f(b * rows + i, z));
            };
            z.par_chunks_mut(rows * row).enumerate().for_each(block);
        }
        false => z.chunks_mut(row).enumerate().for_each(|(i, z)| f(i, z)),
    }
    z
}

/// The operands' values of one image, one operand after the other.
enum Image<'a, R> {
    One(&'a [R]),
    Some(Vec<R>),
}

impl<'a, R: Ring> Image<'a, R> {
    fn of(i: usize, forms: &[&Form], x: &[&'a [R]]) -> Self {
        let part = |(form, x): (&&Form, &&'a [R])| {
            let row = form.shape.row();
            &x[i * row..(i + 1) * row]
        };
        let mut parts = forms.iter().zip(x).map(part);
        match (parts.next(), parts.len()) {
            (Some(one), 0) => Image::One(one),
            (first, _) => Image::Some(first.into_iter().chain(parts).collect::<Vec<_>>().concat()),
        }
    }
    fn values(&self) -> &[R] {
        match self {
            Image::One(x) => x,
            Image::Some(x) => x,
        }
    }
}

fn sum_places<R: Ring>(sums: &Sums, x: &[R], mask: R, z: &mut [R]) {
    for (z, s) in z.iter_mut().zip(sums.starts.windows(2)) {
        let sum = sums.places[s[0]..s[1]].iter().fold(R::ZERO, |sum, &at| sum.add(x[at]));
        *z = sum.and(mask);
    }
}

/// Sums of one plane's windows.
fn sum_windows<R: Ring>(
    window: &Window,
    (plane, [h, w]): (&[R], [usize; 2]),
    [_, ow]: [usize; 2],
    mask: R,
    z: &mut [R],
) {
    for (at, z) in z.iter_mut().enumerate() {
        let taps = window.taps(h, w, at / ow, at % ow);
        *z = taps.fold(R::ZERO, |sum, i| sum.add(plane[i])).and(mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_filled_once_by_its_number() {
        for len in [0, 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
            for row in [1, 7, 1 << 12, BLOCK - 1, 2 * BLOCK] {
                let z: Vec<u64> = each_row(len, row, |i, z| {
                    let first = (i * row) as u64;
                    (first..).zip(z).for_each(|(at, z)| *z += at + 1);
                });
                assert!(z.into_iter().eq(1..=len as u64), "{len} in rows of {row}");
            }
        }
    }

    /// Many images of several operands: as many sums and places as threads may share.
    #[test]
    fn many_images_are_as_each_alone() {
        let (batch, rows) = (40, [600, 900]);
        let forms = rows.map(|row| Form::new([batch, row], 20));
        let values = forms
            .each_ref()
            .map(|f| (0..f.len() as u32).map(|v| v.wrapping_mul(2_654_435)).collect::<Vec<_>>());
        let index: Vec<usize> = (0..1500).map(|at| at * 6 % 1500).collect();
        for map in [Local::Gather(index.clone().into()), Local::Sums(Sums::adjoint(&index, 1500))] {
            let run =
                |forms: [&Form; 2], x: [&[u32]; 2]| local(&map, &map.output(&forms).unwrap(), &forms, &x);
            let all = run([&forms[0], &forms[1]], [&values[0], &values[1]]);
            let one = rows.map(|row| Form::new([1, row], 20));
            let alone = (0..batch).flat_map(|i| {
                let image = |p: usize| &values[p][i * rows[p]..(i + 1) * rows[p]];
                run([&one[0], &one[1]], [image(0), image(1)])
            });
            assert!(all.iter().copied().eq(alone) && all.len() > BLOCK);
        }
    }
}
