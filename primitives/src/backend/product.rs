//! Bilinear maps of two wires: layers, and what their gradients are made of.

use crate::{Error, Result, Shape, Window};
use serde::{Deserialize, Serialize};

/// A bilinear map, mod 2^n. The transposes are the adjoints of the layers: `<g, layer(x, w)> = <dx(g, w), x> = <dw(g, x), w>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Product {
    /// `x [batch, k]` times the transpose of `w [n, k]`: `[batch, n]`.
    Linear,
    /// `x [batch, c, h, w]` with kernels `w [oc, c / groups, kh, kw]`, padded with zeros: `[batch, oc, oh, ow]`.
    Conv {
        /// Kernel size, stride, padding, dilation.
        window: Window,
        /// Channel groups.
        groups: usize,
    },
    /// Element by element, two wires of one shape.
    Elementwise,
    /// `g [batch, n]` times `w [n, k]`: `[batch, k]`.
    LinearDx,
    /// The transpose of `g [batch, n]` times `x [batch, k]`, which sums over the batch: `[n, k]`.
    LinearDw,
    /// `g [batch, oc, oh, ow]` with kernels `w [oc, c / groups, kh, kw]`: `[batch, c, h, w]`, the transposed convolution.
    ConvDx {
        /// Of the layer.
        window: Window,
        /// Of the layer.
        groups: usize,
        /// Height and width of the layer's input: a step may leave rows and columns out that no output tells of.
        input: [usize; 2],
    },
    /// `g [batch, oc, oh, ow]` with `x [batch, c, h, w]`, summed over batch and positions: `[oc, c / groups, kh, kw]`.
    ConvDw {
        /// Of the layer.
        window: Window,
        /// Of the layer.
        groups: usize,
    },
    /// Inner products per channel of two wires `[batch, c, h, w]` or `[batch, c]` of one shape: `[blocks, c]`, each the sum
    /// over `block` places, counted image by image; the last block may be short.
    Dot {
        /// Places of a block.
        block: usize,
    },
}

impl Product {
    /// What it is called where operands do not fit.
    fn name(&self) -> &'static str {
        match self {
            Product::Linear => "linear",
            Product::Conv { .. } => "conv2d",
            Product::Elementwise => "mul",
            Product::LinearDx => "linear-dx",
            Product::LinearDw => "linear-dw",
            Product::ConvDx { .. } => "conv2d-dx",
            Product::ConvDw { .. } => "conv2d-dw",
            Product::Dot { .. } => "dot",
        }
    }

    /// The shape of the result.
    ///
    /// # Errors
    /// [`Error::Shape`] if the operands do not fit.
    pub fn shape(&self, x: &Shape, w: &Shape) -> Result<Shape> {
        let refused = |why: String| Err(Error::shape(self.name(), why));
        let unlike = |wanted: &str| refused(format!("wants {wanted}, got {:?} and {:?}", x.0, w.0));
        match (self, &x.0[..], &w.0[..]) {
            (Product::Linear, &[batch, k], &[n, wk]) => match k == wk {
                true => Ok(Shape::from([batch, n])),
                false => refused(format!("input has {k} features, the weight wants {wk}")),
            },
            (Product::LinearDx, &[batch, n], &[wn, k]) if n == wn => Ok(Shape::from([batch, k])),
            (Product::LinearDw, &[batch, n], &[xb, k]) if batch == xb => Ok(Shape::from([n, k])),
            (&Product::Conv { window, groups }, &[batch, c, h, wd], &[oc, cg, kh, kw]) => {
                let out = self.windows(&window, groups, [c, h, wd], &[oc, cg, kh, kw])?;
                Ok(Shape::from([batch, oc, out[0], out[1]]))
            }
            (&Product::ConvDx { window, groups, input }, &[batch, oc, oh, ow], &[wo, cg, kh, kw])
                if oc == wo =>
            {
                let [h, wd] = input;
                let Some(c) = cg.checked_mul(groups) else { return unlike("channels that can be counted") };
                self.same([oh, ow], self.windows(&window, groups, [c, h, wd], &[oc, cg, kh, kw])?)?;
                Ok(Shape::from([batch, c, h, wd]))
            }
            (&Product::ConvDw { window, groups }, &[batch, oc, oh, ow], &[xb, c, h, wd]) if batch == xb => {
                let [kh, kw] = window.kernel;
                let kernels = [oc, c / groups.max(1), kh, kw];
                self.same([oh, ow], self.windows(&window, groups, [c, h, wd], &kernels)?)?;
                Ok(Shape::from(kernels))
            }
            (Product::Elementwise, ..) if x == w => Ok(x.clone()),
            (Product::Dot { block: 0 }, ..) => refused("a block has at least one place".into()),
            (Product::Dot { block }, &[batch, c, ..], _) if x == w && [2, 4].contains(&x.0.len()) => {
                let places = batch * x.0[2..].iter().product::<usize>();
                Ok(Shape::from([places.div_ceil(*block), c]))
            }
            (Product::Linear, ..) => unlike("[batch, k] and [n, k]"),
            (Product::LinearDx, ..) => unlike("[batch, n] and [n, k]"),
            (Product::LinearDw, ..) => unlike("[batch, n] and [batch, k]"),
            (Product::Conv { .. }, ..) => unlike("[batch, c, h, w] and [oc, c/g, kh, kw]"),
            (Product::ConvDx { .. }, ..) => unlike("[batch, oc, oh, ow] and [oc, c/g, kh, kw]"),
            (Product::ConvDw { .. }, ..) => unlike("[batch, oc, oh, ow] and [batch, c, h, w]"),
            (Product::Elementwise, ..) => refused(format!("shapes {:?} and {:?} differ", x.0, w.0)),
            (Product::Dot { .. }, ..) => unlike("[batch, c, h, w] or [batch, c] twice"),
        }
    }

    /// Height and width of a layer's result on `[c, h, w]`, if its kernels fit.
    fn windows(
        &self,
        window: &Window,
        groups: usize,
        [c, h, w]: [usize; 3],
        kernels: &[usize; 4],
    ) -> Result<[usize; 2]> {
        let &[oc, cg, kh, kw] = kernels;
        if groups == 0
            || Some(c) != cg.checked_mul(groups)
            || !oc.is_multiple_of(groups)
            || [kh, kw] != window.kernel
        {
            return Err(Error::shape(
                self.name(),
                format!(
                    "{c} channels in {groups} groups do not fit kernels {kernels:?} of window {:?}",
                    window.kernel
                ),
            ));
        }
        window.output(h, w)
    }

    /// A gradient has the layer's extents.
    fn same(&self, gradient: [usize; 2], layer: [usize; 2]) -> Result<()> {
        match gradient == layer {
            true => Ok(()),
            false => {
                Err(Error::shape(self.name(), format!("a gradient of {gradient:?} for results of {layer:?}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(p: Product, x: &[usize], w: &[usize]) -> Result<Vec<usize>> {
        p.shape(&Shape(x.into()), &Shape(w.into())).map(|s| s.0)
    }

    #[test]
    fn gradients_have_the_shapes_of_what_they_are_of() {
        let window = Window { kernel: [3, 2], stride: [2, 1], pad: [1, 0, 2, 1], dilation: [1, 2] };
        let (x, w) = ([5, 4, 7, 6], [6, 2, 3, 2]);
        let y = shape(Product::Conv { window, groups: 2 }, &x, &w).unwrap();
        assert_eq!(shape(Product::ConvDx { window, groups: 2, input: [7, 6] }, &y, &w).unwrap(), x);
        assert_eq!(shape(Product::ConvDw { window, groups: 2 }, &y, &x).unwrap(), w);
        assert_eq!(shape(Product::LinearDx, &[5, 3], &[3, 8]).unwrap(), [5, 8]);
        assert_eq!(shape(Product::LinearDw, &[5, 3], &[5, 8]).unwrap(), [3, 8]);
        assert_eq!(shape(Product::Dot { block: 60 }, &x, &x).unwrap(), [4, 4]);
        assert_eq!(shape(Product::Dot { block: 5 }, &[5, 8], &[5, 8]).unwrap(), [1, 8]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let window = Window::square(3, 2);
        let dx = |groups, input| Product::ConvDx { window, groups, input };
        let dw = |groups| Product::ConvDw { window, groups };
        let cases: [(Product, &[usize], &[usize]); 17] = [
            (Product::LinearDx, &[2, 3], &[4, 3]),
            (Product::LinearDx, &[2, 3], &[3]),
            (Product::LinearDw, &[2, 3], &[3, 3]),
            (Product::LinearDw, &[2, 3, 1], &[2, 3]),
            (dx(1, [7, 7]), &[2, 4, 3, 3], &[5, 2, 3, 3]),
            (dx(1, [9, 7]), &[2, 4, 3, 3], &[4, 2, 3, 3]),
            (dx(1, [2, 7]), &[2, 4, 3, 3], &[4, 2, 3, 3]),
            (dx(1, [7, 7]), &[2, 4, 3, 3], &[4, 2, 3, 2]),
            (dx(3, [7, 7]), &[2, 4, 3, 3], &[4, 2, 3, 3]),
            (dx(0, [7, 7]), &[2, 4, 3, 3], &[4, 2, 3, 3]),
            (dw(1), &[2, 4, 3, 3], &[3, 2, 7, 7]),
            (dw(1), &[2, 4, 3, 3], &[2, 2, 7, 9]),
            (dw(3), &[2, 4, 3, 3], &[2, 3, 7, 7]),
            (dw(0), &[2, 4, 3, 3], &[2, 3, 7, 7]),
            (Product::Dot { block: 0 }, &[2, 3], &[2, 3]),
            (Product::Dot { block: 4 }, &[2, 3], &[3, 2]),
            (Product::Dot { block: 4 }, &[2, 3, 5], &[2, 3, 5]),
        ];
        for (p, x, w) in cases {
            let why = shape(p, x, w).expect_err(&format!("{p:?} {x:?} {w:?}")).to_string();
            assert!(why.contains(p.name()) || why.contains("window"), "{p:?}: {why}");
        }
        assert_eq!(
            shape(dx(1, [8, 7]), &[2, 4, 3, 3], &[4, 2, 3, 3]).unwrap(),
            [2, 2, 8, 7],
            "a row left out"
        );
    }
}
