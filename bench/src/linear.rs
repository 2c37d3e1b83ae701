//! Ring products: the shapes that are timed.

use crate::values;
use twoply_primitives::backend::Product;
use twoply_primitives::{Form, Ring, Shape, Window};

/// One product.
pub struct Case {
    /// Layer, or what it stands for.
    pub name: &'static str,
    /// Its shape in words.
    pub shape: String,
    /// The map.
    pub product: Product,
    /// Shape of the activation.
    pub x: Vec<usize>,
    /// Shape of the weight.
    pub w: Vec<usize>,
}

impl Case {
    /// `m x k x n`: `x [m, k]` times the transpose of `w [n, k]`.
    pub fn dense(name: &'static str, [m, k, n]: [usize; 3]) -> Case {
        Case { name, shape: format!("{m}x{k}x{n}"), product: Product::Linear, x: vec![m, k], w: vec![n, k] }
    }
    /// `batch` square images of `from` channels to `to` channels.
    pub fn conv(name: &'static str, batch: usize, [from, size, to]: [usize; 3], window: Window) -> Case {
        let ([k, _], [stride, _]) = (window.kernel, window.stride);
        let shape = format!("{batch}x{from}x{size}x{size} to {to}, {k}x{k}/{stride}");
        let (x, w) = (vec![batch, from, size, size], vec![to, from, k, k]);
        Case { name, shape, product: Product::Conv { window, groups: 1 }, x, w }
    }
    /// What the layer's gradients take: with respect to its input, and to its weight.
    pub fn gradients(&self) -> [Case; 2] {
        let (dx, dw) = match self.product {
            Product::Conv { window, groups } => {
                let input = [self.x[2], self.x[3]];
                (Product::ConvDx { window, groups, input }, Product::ConvDw { window, groups })
            }
            _ => (Product::LinearDx, Product::LinearDw),
        };
        let g = self.result();
        let case = |what, product, w: &Vec<usize>| {
            let shape = format!("{}, {what}", self.shape);
            Case { name: self.name, shape, product, x: g.clone(), w: w.clone() }
        };
        [case("dx", dx, &self.w), case("dw", dw, &self.x)]
    }
    /// Shape of the result; of none if the operands do not fit.
    fn result(&self) -> Vec<usize> {
        let shape = |s: &Vec<usize>| Shape(s.clone());
        self.product.shape(&shape(&self.x), &shape(&self.w)).map_or(vec![], |s| s.0)
    }
    /// Multiplications of ring elements.
    pub fn multiplications(&self) -> u64 {
        let len = |s: &[usize]| s.iter().product::<usize>();
        let (all, per) = match self.product {
            Product::LinearDx | Product::ConvDx { .. } => (len(&self.x), len(&self.w[1..])),
            Product::LinearDw | Product::ConvDw { .. } => (len(&self.x), len(&self.result()[1..])),
            _ => (len(&self.result()), len(&self.w[1..])),
        };
        (all * per) as u64
    }
    /// Forms of the operands, and reproducible values for them.
    pub fn operands<R: Ring>(&self) -> ([Form; 2], Vec<R>, Vec<R>) {
        let form = |s: &Vec<usize>| Form { shape: Shape(s.clone()), bits: R::BITS };
        let forms = [form(&self.x), form(&self.w)];
        let (x, w) = (values(forms[0].len(), 30, R::BITS), values(forms[1].len(), 30, R::BITS));
        (forms, x, w)
    }
}

/// Matrix products: square, skinny, one image.
pub fn matrices() -> Vec<Case> {
    [[512, 512, 512], [64, 4096, 4096], [1, 4096, 4096], [4, 4096, 4096], [8, 4096, 4096]]
        .map(|shape| Case::dense("matrix", shape))
        .into()
}

/// Layers of LeNet at two batch sizes, and convolutions of ResNet-18 and VGG-16 on one image of 224 x 224.
pub fn layers() -> Vec<Case> {
    let (small, same) = (Window::square(5, 1), Window::square(3, 1).padded(1));
    let mut all = vec![];
    for batch in [1, 128] {
        all.push(Case::conv("lenet conv1", batch, [1, 28, 20], small));
        all.push(Case::conv("lenet conv2", batch, [20, 12, 50], small));
        all.push(Case::dense("lenet fc1", [batch, 800, 500]));
    }
    all.push(Case::conv("resnet18 conv1", 1, [3, 224, 64], Window::square(7, 2).padded(3)));
    for (from, size) in [(64, 56), (128, 28), (256, 14), (512, 7)] {
        all.push(Case::conv("resnet18 3x3", 1, [from, size, from], same));
    }
    all.push(Case::conv("resnet18 3x3/2", 1, [128, 28, 256], Window::square(3, 2).padded(1)));
    all.push(Case::conv("resnet18 1x1/2", 1, [128, 28, 256], Window::square(1, 2)));
    for [from, size, to] in [[3, 224, 64], [64, 224, 64], [128, 112, 128], [256, 56, 256], [512, 28, 512]] {
        all.push(Case::conv("vgg16 3x3", 1, [from, size, to], same));
    }
    all.push(Case::conv("vgg16 3x3", 1, [512, 14, 512], same));
    all
}

/// What the gradients of LeNet's layers take, at the batch that it is trained with.
pub fn gradients() -> Vec<Case> {
    let lenet = layers().into_iter().filter(|c| c.name.starts_with("lenet") && c.x[0] == 128);
    lenet.flat_map(|c| c.gradients()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_multiply_what_they_say() {
        assert_eq!(matrices()[0].multiplications(), 512 * 512 * 512);
        let [conv1, conv2, fc1] = &layers()[..3] else { panic!("LeNet comes first") };
        let counted = [conv1, conv2, fc1].map(Case::multiplications);
        assert_eq!(counted, [24 * 24 * 20 * 25, 8 * 8 * 50 * 500, 400_000]);
        for layer in [conv1, conv2, fc1] {
            let [dx, dw] = layer.gradients();
            assert_eq!([dx.result(), dw.result()], [&layer.x[..], &layer.w[..]]);
            assert_eq!([dx, dw].map(|c| c.multiplications()), [layer.multiplications(); 2]);
        }
        assert_eq!(gradients().len(), 6);
        assert!(matrices().iter().chain(&layers()).all(|c| c.multiplications() > 0));
    }
}
