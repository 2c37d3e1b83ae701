//! Every transpose against its definition and against its layer, on random shapes and hostile values.

use super::super::product;
use super::super::tests::{paths, values};
use super::*;
use crate::Form;
use crate::backend::Product;
use proptest::prelude::*;

fn form<R: Ring>(shape: &[usize]) -> Form {
    Form { shape: Shape(shape.into()), bits: R::BITS }
}

/// The product on this machine's rung, in the shape that it promises.
fn of<R: Ring>(p: Product, (x_shape, x): (&[usize], &[R]), (w_shape, w): (&[usize], &[R])) -> Vec<R> {
    let (a, b) = (form::<R>(x_shape), form::<R>(w_shape));
    let z = product(&p, [&a, &b], x, w);
    assert_eq!(z.len(), p.shape(&a.shape, &b.shape).unwrap().len(), "{p:?}");
    z
}

fn inner<R: Ring>(a: &[R], b: &[R]) -> R {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(R::ZERO, |z, (a, b)| z.add(a.mul(*b)))
}

fn dense<R: Ring>([batch, n, k]: [usize; 3]) {
    let (g, w, x) = (values::<R>(batch * n, 1), values::<R>(n * k, 2), values::<R>(batch * k, 3));
    let (mut dx, mut dw) = (vec![R::ZERO; batch * k], vec![R::ZERO; n * k]);
    for (b, i, j) in (0..batch * n * k).map(|e| (e / (n * k), e / k % n, e % k)) {
        dx[b * k + j] = dx[b * k + j].add(g[b * n + i].mul(w[i * k + j]));
        dw[i * k + j] = dw[i * k + j].add(g[b * n + i].mul(x[b * k + j]));
    }
    for isa in Isa::here() {
        assert_eq!(linear_dx(isa, [batch, n, k], &g, &w), dx, "{isa:?}");
        assert_eq!(linear_dw(isa, [batch, n, k], &g, &x), dw, "{isa:?}");
    }
    let (g, w, x) = ((&[batch, n][..], &g[..]), (&[n, k][..], &w[..]), (&[batch, k][..], &x[..]));
    let y = of(Product::Linear, x, w);
    let all =
        [(&y[..], g.1), (&of(Product::LinearDx, g, w)[..], x.1), (&of(Product::LinearDw, g, x)[..], w.1)];
    assert_eq!(all.map(|(a, b)| inner(a, b)), [inner(&y, g.1); 3]);
}

/// `images, groups, cg, og, h, w` and a window that fits.
#[derive(Clone, Debug)]
struct Case([usize; 6], Window);

fn conv<R: Ring>(Case([images, groups, cg, og, h, w], window): &Case) {
    let ([images, groups, cg, og, h, w], [kh, kw]) = ([*images, *groups, *cg, *og, *h, *w], window.kernel);
    let ([oh, ow], c, oc) = (window.output(h, w).unwrap(), groups * cg, groups * og);
    let (x_shape, w_shape, y_shape) = ([images, c, h, w], [oc, cg, kh, kw], [images, oc, oh, ow]);
    let [x, kernels, g] = [(x_shape, 4), (w_shape, 5), (y_shape, 6)]
        .map(|(shape, salt)| values::<R>(shape.iter().product(), salt));
    let (mut y, mut dx, mut dw) =
        (vec![R::ZERO; g.len()], vec![R::ZERO; x.len()], vec![R::ZERO; kernels.len()]);
    for (image, o, p) in (0..g.len()).map(|e| (e / (oc * oh * ow), e / (oh * ow) % oc, e % (oh * ow))) {
        for (l, (channel, i, j)) in (0..cg * kh * kw).map(|l| (l, (l / (kh * kw), l / kw % kh, l % kw))) {
            let row = (p / ow * window.stride[0] + i * window.dilation[0]).wrapping_sub(window.pad[0]);
            let column = (p % ow * window.stride[1] + j * window.dilation[1]).wrapping_sub(window.pad[1]);
            if row >= h || column >= w {
                continue;
            }
            let at = ((image * c + o / og * cg + channel) * h + row) * w + column;
            let (from, tap) = ((image * oc + o) * oh * ow + p, o * cg * kh * kw + l);
            y[from] = y[from].add(x[at].mul(kernels[tap]));
            dx[at] = dx[at].add(g[from].mul(kernels[tap]));
            dw[tap] = dw[tap].add(g[from].mul(x[at]));
        }
    }
    let shapes = [&y_shape, &w_shape, &x_shape].map(|s| Shape(s.to_vec()));
    for isa in Isa::here() {
        assert_eq!(
            conv_dx(isa, window, (groups, [h, w]), [&shapes[0], &shapes[1]], &g, &kernels),
            dx,
            "{isa:?}"
        );
        assert_eq!(conv_dw(isa, window, groups, [&shapes[0], &shapes[2]], &g, &x), dw, "{isa:?}");
    }
    if images == 1 {
        let taps = Taps::new(window, &x, [c, h, w], [oh, ow]);
        let (m, k) = (og, oh * ow);
        for path in paths() {
            let groups =
                (0..groups).map(|i| (&g[i * m * k..][..m * k], Across(taps.channels(i * cg)))).collect();
            let job = Job { groups, m, k, images, positions: cg * kh * kw, threads: 2 };
            assert_eq!(R::multiply(&job, path), dw, "{path:?}");
        }
    }
    let (g, kernels, x) = ((&y_shape[..], &g[..]), (&w_shape[..], &kernels[..]), (&x_shape[..], &x[..]));
    let (window, input) = (*window, [h, w]);
    assert_eq!(of(Product::Conv { window, groups }, x, kernels), y);
    let (dx, dw) = (
        of(Product::ConvDx { window, groups, input }, g, kernels),
        of(Product::ConvDw { window, groups }, g, x),
    );
    assert_eq!([inner(&dx, x.1), inner(&dw, kernels.1)], [inner(&y, g.1); 2], "adjoint");
}

fn cases() -> impl Strategy<Value = Case> {
    let pair = |most: usize| [1..=most, 1..=most];
    let window = (pair(4), pair(3), [0usize..=3, 0..=3, 0..=3, 0..=3], pair(3));
    let extents = [1usize..=5, 1..=3, 1..=4, 1..=5, 1..=11, 1..=11];
    (extents, window).prop_filter_map("no window fits", |(extents, (kernel, stride, pad, dilation))| {
        let window = Window { kernel, stride, pad, dilation };
        window.output(extents[4], extents[5]).ok().map(|_| Case(extents, window))
    })
}

/// Sums over blocks of places, place after place.
fn dots<R: Ring>(shape: &[usize], block: usize) {
    let (channels, plane) = (shape[1], shape[2..].iter().product::<usize>());
    let places = shape[0] * plane;
    let (x, y) = (values::<R>(places * channels, 7), values::<R>(places * channels, 8));
    let mut want = vec![R::ZERO; places.div_ceil(block) * channels];
    for (e, (x, y)) in x.iter().zip(&y).enumerate() {
        let (image, channel, p) = (e / plane / channels, e / plane % channels, e % plane);
        let z = &mut want[(image * plane + p) / block * channels + channel];
        *z = z.add(x.mul(*y));
    }
    assert_eq!(of(Product::Dot { block }, (shape, &x), (shape, &y)), want);
    for isa in Isa::here() {
        assert_eq!(super::super::dot(isa, block, &Shape(shape.into()), &x, &y), want, "{isa:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn linear_layers(shape in [1usize..=40, 1usize..=40, 1usize..=70]) {
        dense::<u32>(shape);
        dense::<u64>(shape);
    }

    #[test]
    fn convolutions(case in cases()) {
        conv::<u32>(&case);
        conv::<u64>(&case);
    }

    #[test]
    fn sums_of_products(
        (images, channels, plane) in (1usize..=9, 1usize..=5, prop::option::of([1usize..=7, 1usize..=7])),
        block in 1usize..=100,
    ) {
        let shape = [&[images, channels][..], plane.as_ref().map_or(&[], |p| &p[..])].concat();
        dots::<u32>(&shape, block);
        dots::<u64>(&shape, block);
    }
}

/// More images than a piece holds, and columns, rows and depth of several panels.
#[test]
fn layers_of_more_than_one_piece() {
    let cases = [
        Case([128, 1, 1, 3, 12, 12], Window::square(5, 1)),
        Case([3, 1, 33, 50, 9, 8], Window::square(3, 1).padded(1)),
        Case([9, 2, 9, 4, 34, 35], Window::square(3, 2).padded(1)),
        Case([1, 1, 3, 2, 70, 71], Window { stride: [3, 2], ..Window::square(3, 1) }),
    ];
    for case in &cases {
        conv::<u32>(case);
        conv::<u64>(case);
    }
    for shape in [[130, 50, 600], [3, 1100, 70]] {
        dense::<u32>(shape);
        dense::<u64>(shape);
    }
    dots::<u32>(&[40, 3, 30, 31], 20_000);
}

/// How many threads share the work changes nothing.
#[test]
fn threads_change_nothing() {
    let on = |threads: usize, images: usize| {
        let (g, w, x) = (values::<u64>(images * 6 * 36, 1), values(6 * 3 * 9, 2), values(images * 3 * 64, 3));
        let (g_shape, w_shape, x_shape) = ([images, 6, 6, 6], [6, 3, 3, 3], [images, 3, 8, 8]);
        let (window, groups, input) = (Window::square(3, 1), 1, [8, 8]);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let dx = of(Product::ConvDx { window, groups, input }, (&g_shape, &g), (&w_shape, &w));
            (dx, of(Product::ConvDw { window, groups }, (&g_shape, &g), (&x_shape, &x)))
        })
    };
    for images in [1, 2, 5, 300] {
        let one = on(1, images);
        for threads in [2, 3, 8] {
            assert!(on(threads, images) == one, "{images} images, {threads} threads");
        }
    }
}
