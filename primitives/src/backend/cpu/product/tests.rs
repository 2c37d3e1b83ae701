//! Every path against the definition, on odd shapes and hostile values.

use super::super::matmul::Path;
use super::*;
use crate::{Shape, backend::Isa};

/// All ones, single bits, and what looks random.
pub fn values<R: Ring>(len: usize, salt: u64) -> Vec<R> {
    let value = |i: usize| {
        let x = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(salt << 32);
        match x >> 61 {
            0 => u64::MAX,
            1 => 1 << (x >> 40 & 63),
            2 => 0x8000_8000_8000_8000,
            _ => x ^ x >> 29,
        }
    };
    (0..len).map(|i| R::from_u64(value(i))).collect()
}

pub fn paths() -> impl Iterator<Item = Path> {
    Path::all(Isa::detected())
}

fn dense<R: Ring>([batch, k, n]: [usize; 3]) {
    let (x, w) = (values::<R>(batch * k, 1), values::<R>(n * k, 2));
    let dot = |i: usize, j: usize| (0..k).fold(R::ZERO, |z, l| z.add(x[i * k + l].mul(w[j * k + l])));
    let want: Vec<R> = (0..batch * n).map(|e| dot(e / n, e % n)).collect();
    for path in paths() {
        let groups = vec![(&w[..], Columns { x: &x, k })];
        let job = Job { groups, m: n, k, images: batch, positions: 1, threads: 1 };
        assert_eq!(R::multiply(&job, path), want, "{batch} {k} {n} {path:?}");
    }
    for isa in Isa::here() {
        assert_eq!(dots(isa, &x, &w, batch, k), want, "{batch} {k} {n} dots {isa:?}");
        assert_eq!(linear(isa, [batch, k, n], &x, &w), want, "{batch} {k} {n} {isa:?}");
    }
}

#[test]
fn linear_layers_equal_the_definition_on_every_path() {
    let shapes = [
        [1, 1, 1],
        [2, 3, 1],
        [3, 17, 5],
        [5, 2, 13],
        [8, 31, 7],
        [16, 600, 9],
        [17, 129, 50],
        [33, 40, 65],
        [70, 5, 3],
        [530, 7, 6],
    ];
    for shape in shapes {
        dense::<u32>(shape);
        dense::<u64>(shape);
    }
}

/// `images, groups, cg, h, w, og` and a window.
type Case = ([usize; 6], Window);

fn conv_case<R: Ring>(([images, groups, cg, h, w, og], win): &Case) {
    let (images, groups, cg, h, w, og) = (*images, *groups, *cg, *h, *w, *og);
    let [kh, kw] = win.kernel;
    let (c, oc, k) = (groups * cg, groups * og, cg * kh * kw);
    let (x, weight) = (values::<R>(images * c * h * w, 3), values::<R>(oc * k, 4));
    let [oh, ow] = win.output(h, w).unwrap();
    let tap = |image: usize, channel: usize, y: usize, xx: usize| match (y < h, xx < w) {
        (true, true) => x[((image * c + channel) * h + y) * w + xx],
        _ => R::ZERO,
    };
    let mut want = vec![];
    for (image, o, p) in
        (0..images).flat_map(|b| (0..oc).flat_map(move |o| (0..oh * ow).map(move |p| (b, o, p))))
    {
        let sum = (0..k).fold(R::ZERO, |z, l| {
            let (ch, i, j) = (l / (kh * kw), l / kw % kh, l % kw);
            let y = (p / ow * win.stride[0] + i * win.dilation[0]).wrapping_sub(win.pad[0]);
            let xx = (p % ow * win.stride[1] + j * win.dilation[1]).wrapping_sub(win.pad[1]);
            z.add(tap(image, o / og * cg + ch, y, xx).mul(weight[o * k + l]))
        });
        want.push(sum);
    }
    let taps = Taps::new(win, &x, [c, h, w], [oh, ow]);
    for path in paths() {
        let group = |g| (&weight[g * og * k..][..og * k], taps.channels(g * cg));
        let all = (0..groups).map(group).collect();
        let job = Job { groups: all, m: og, k, images, positions: oh * ow, threads: 2 };
        assert_eq!(R::multiply(&job, path), want, "{images} {groups} {cg} {h} {w} {og} {win:?} {path:?}");
    }
    let forms =
        [Form::new([images, c, h, w], R::BITS), Form { shape: Shape(vec![oc, cg, kh, kw]), bits: R::BITS }];
    let p = Product::Conv { window: *win, groups };
    assert_eq!(product(&p, [&forms[0], &forms[1]], &x, &weight), want);
}

#[test]
fn convolutions_equal_the_definition_on_every_path() {
    let uneven = Window { kernel: [2, 3], stride: [2, 1], pad: [0, 2, 1, 3], dilation: [1, 2] };
    let far = Window { kernel: [3, 3], stride: [3, 2], pad: [4, 5, 3, 6], dilation: [2, 3] };
    let cases: [Case; 12] = [
        ([1, 1, 1, 28, 28, 20], Window::square(5, 1)),
        ([3, 1, 4, 12, 12, 7], Window::square(5, 1)),
        ([2, 1, 3, 7, 9, 5], Window::square(3, 1).padded(1)),
        ([2, 2, 3, 8, 7, 4], Window::square(3, 2).padded(1)),
        ([1, 6, 1, 9, 9, 1], Window::square(3, 1).padded(1)),
        ([4, 1, 5, 6, 7, 9], Window::square(1, 1)),
        ([2, 1, 5, 7, 7, 9], Window::square(1, 2)),
        ([2, 1, 2, 5, 6, 3], uneven),
        ([1, 2, 2, 6, 5, 3], far),
        ([5, 1, 3, 4, 4, 8], Window::square(4, 1)),
        ([40, 1, 1, 3, 3, 2], Window::square(2, 1)),
        ([1, 1, 70, 13, 11, 50], Window::square(3, 1).padded(1)),
    ];
    for case in &cases {
        conv_case::<u32>(case);
        conv_case::<u64>(case);
    }
}

/// Cutting a job for threads changes nothing: by images, by positions down to a single one, by rows, by groups.
#[test]
fn threads_change_nothing() {
    fn product<R: Ring>(threads: usize, [images, groups, k, m, positions]: [usize; 5]) -> Vec<R> {
        let (x, w) = (values::<R>(images * groups * k * positions, 5), values::<R>(groups * m * k, 6));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let taps = Taps::new(&Window::square(1, 1), &x, [groups * k, 1, positions], [1, positions]);
        let group = |g| (&w[g * m * k..][..m * k], taps.channels(g * k));
        let groups = (0..groups).map(group).collect();
        pool.install(|| Job { groups, m, k, images, positions, threads }.product(Isa::detected()))
    }
    let shapes = [
        [6, 1, 90, 40, 150],
        [1, 1, 400, 300, 49],
        [1, 1, 400, 300, 33],
        [2, 1, 300, 2000, 9],
        [1, 2, 200, 70, 97],
        [130, 1, 100, 200, 1],
        [40, 3, 50, 30, 17],
    ];
    for shape in shapes {
        let (narrow, wide) = (product::<u32>(1, shape), product::<u64>(1, shape));
        for threads in [2, 3, 8] {
            assert!(product::<u32>(threads, shape) == narrow, "{shape:?} {threads} threads");
            assert!(product::<u64>(threads, shape) == wide, "{shape:?} {threads} threads");
        }
    }
}
