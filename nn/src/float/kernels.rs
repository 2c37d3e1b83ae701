//! Loops of the float evaluator, ordered so that the compiler vectorizes them. Shapes were checked by the graph.

use twoply_primitives::tensor::Window;

/// Partial sums of a dot product; fixed, so that results do not depend on the machine.
const LANES: usize = 16;
/// Floats of one im2col tile: half a usual L2 cache.
const TILE: usize = 1 << 16;

/// What a convolution needs beside its operands.
pub(crate) struct Conv {
    pub(crate) window: Window,
    pub(crate) groups: usize,
    /// Output channels.
    pub(crate) oc: usize,
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] += x[i] * y[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}

/// `W x + b`; `w` is row-major `[out, x.len()]`.
pub(crate) fn linear(x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let rows = w.chunks_exact(x.len()).map(|row| dot(row, x));
    match bias {
        Some(b) => rows.zip(b).map(|(y, b)| y + b).collect(),
        None => rows.collect(),
    }
}

/// Cross-correlation of `[c, h, w]` with zero padding, by im2col in tiles of output positions.
pub(crate) fn conv2d(x: &[f32], shape: &[usize], w: &[f32], bias: Option<&[f32]>, conv: &Conv) -> Vec<f32> {
    let Conv { window, groups, oc } = conv;
    let (h, width) = (shape[1], shape[2]);
    let Ok([oh, ow]) = window.output(h, width) else { return Vec::new() };
    let (area, plane) = (oh * ow, h * width);
    let (oc_group, c_group) = (oc / groups, shape[0] / groups);
    let taps = c_group * window.kernel[0] * window.kernel[1];
    let span = (TILE / taps).clamp(16, 4096).min(area);
    let mut out = vec![0.0; oc * area];
    let mut columns = vec![0.0; taps * span];
    for g in 0..*groups {
        let x = &x[g * c_group * plane..(g + 1) * c_group * plane];
        for start in (0..area).step_by(span) {
            let n = span.min(area - start);
            im2col(x, [h, width], window, (start, ow), &mut columns[..taps * n], n);
            for o in g * oc_group..(g + 1) * oc_group {
                let y = &mut out[o * area + start..][..n];
                y.fill(bias.map_or(0.0, |b| b[o]));
                accumulate(y, &w[o * taps..(o + 1) * taps], &columns);
            }
        }
    }
    out
}

/// Row k of `columns` (`n` long) holds what tap k sees at the output positions from `start` on; 0 in the padding.
fn im2col(
    x: &[f32],
    [h, w]: [usize; 2],
    window: &Window,
    (start, ow): (usize, usize),
    columns: &mut [f32],
    n: usize,
) {
    let [kh, kw] = window.kernel;
    for (k, row) in columns.chunks_exact_mut(n).enumerate() {
        let (c, i, j) = (k / (kh * kw), k / kw % kh, k % kw);
        let image = &x[c * h * w..(c + 1) * h * w];
        let (mut oy, mut ox) = (start / ow, start % ow);
        for value in row {
            let y = (oy * window.stride[0] + i * window.dilation[0]).wrapping_sub(window.pad[0]);
            let x = (ox * window.stride[1] + j * window.dilation[1]).wrapping_sub(window.pad[1]);
            *value = if y < h && x < w { image[y * w + x] } else { 0.0 };
            ox += 1;
            if ox == ow {
                (oy, ox) = (oy + 1, 0);
            }
        }
    }
}

/// `y += sum_k w[k] * columns[k]`, four rows at a time to save passes over `y`.
fn accumulate(y: &mut [f32], w: &[f32], columns: &[f32]) {
    let n = y.len();
    let (fours, rest) = w.as_chunks::<4>();
    for (k, [w0, w1, w2, w3]) in fours.iter().enumerate() {
        let (c0, tail) = columns[4 * k * n..4 * (k + 1) * n].split_at(n);
        let (c1, tail) = tail.split_at(n);
        let (c2, c3) = tail.split_at(n);
        for (i, y) in y.iter_mut().enumerate() {
            *y += (w0 * c0[i] + w1 * c1[i]) + (w2 * c2[i] + w3 * c3[i]);
        }
    }
    for (k, w) in (w.len() - rest.len()..).zip(rest) {
        for (y, c) in y.iter_mut().zip(&columns[k * n..(k + 1) * n]) {
            *y += w * c;
        }
    }
}

/// Largest element under each window of `[c, h, w]`; padding is left out.
pub(crate) fn max_pool(x: &[f32], shape: &[usize], window: &Window) -> Vec<f32> {
    pool(x, shape, window, |plane, taps| taps.fold(f32::NEG_INFINITY, |m, t| m.max(plane[t])))
}

/// Mean under each window of `[c, h, w]`; the divisor counts padded taps if `count_include_pad`.
pub(crate) fn avg_pool(x: &[f32], shape: &[usize], window: &Window, count_include_pad: bool) -> Vec<f32> {
    let full = window.kernel[0] * window.kernel[1];
    pool(x, shape, window, |plane, taps| {
        let (sum, count) = taps.fold((0.0, 0usize), |(s, n), t| (s + plane[t], n + 1));
        sum / if count_include_pad { full } else { count } as f32
    })
}

/// Sum under each window of `[c, h, w]`.
pub(crate) fn sum_pool(x: &[f32], shape: &[usize], window: &Window) -> Vec<f32> {
    pool(x, shape, window, |plane, taps| taps.map(|t| plane[t]).sum())
}

fn pool(
    x: &[f32],
    shape: &[usize],
    window: &Window,
    reduce: impl Fn(&[f32], &mut dyn Iterator<Item = usize>) -> f32,
) -> Vec<f32> {
    let (h, w) = (shape[1], shape[2]);
    let Ok([oh, ow]) = window.output(h, w) else { return Vec::new() };
    let mut out = Vec::with_capacity(shape[0] * oh * ow);
    for plane in x.chunks_exact(h * w) {
        for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
            out.push(reduce(plane, &mut window.taps(h, w, y, x)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0).collect()
    }

    /// The definition, in f64, tap by tap.
    fn direct(x: &[f32], shape: [usize; 3], w: &[f32], bias: &[f32], conv: &Conv) -> Vec<f64> {
        let [c, h, width] = shape;
        let win = conv.window;
        let [oh, ow] = win.output(h, width).unwrap();
        let (cg, og) = (c / conv.groups, conv.oc / conv.groups);
        let mut out = Vec::new();
        for (o, y, xx) in (0..conv.oc * oh * ow).map(|i| (i / (oh * ow), i / ow % oh, i % ow)) {
            let mut sum = bias[o] as f64;
            for (k, i, j) in (0..cg * win.kernel[0] * win.kernel[1]).map(|t| {
                (t / (win.kernel[0] * win.kernel[1]), t / win.kernel[1] % win.kernel[0], t % win.kernel[1])
            }) {
                let r = (y * win.stride[0] + i * win.dilation[0]) as i64 - win.pad[0] as i64;
                let s = (xx * win.stride[1] + j * win.dilation[1]) as i64 - win.pad[1] as i64;
                if (0..h as i64).contains(&r) && (0..width as i64).contains(&s) {
                    let channel = o / og * cg + k;
                    let weight = w[((o * cg + k) * win.kernel[0] + i) * win.kernel[1] + j];
                    sum += weight as f64 * x[(channel * h + r as usize) * width + s as usize] as f64;
                }
            }
            out.push(sum);
        }
        out
    }

    #[test]
    fn convolutions_agree_with_the_definition() {
        let odd = Window { kernel: [3, 2], stride: [2, 1], pad: [1, 0, 2, 1], dilation: [1, 3] };
        for (shape, oc, groups, window) in [
            ([1, 5, 6], 2, 1, Window::square(3, 1)),
            ([4, 9, 8], 6, 2, odd),
            ([6, 7, 7], 6, 6, Window::square(3, 2).padded(1)),
            ([3, 70, 70], 2, 1, Window::square(5, 1).padded(4)), // several tiles, the last one short
        ] {
            let conv = Conv { window, groups, oc };
            let x = ramp(shape.iter().product(), 1);
            let w = ramp(oc * shape[0] / groups * window.kernel[0] * window.kernel[1], 2);
            let bias = ramp(oc, 3);
            let got = conv2d(&x, &shape, &w, Some(&bias), &conv);
            let want = direct(&x, shape, &w, &bias, &conv);
            assert_eq!(got.len(), want.len());
            for (g, w) in got.iter().zip(&want) {
                assert!((*g as f64 - w).abs() < 1e-5, "{g} {w} {shape:?}");
            }
        }
    }

    #[test]
    fn linear_with_a_tail() {
        let (x, w) = (ramp(37, 1), ramp(37 * 3, 2));
        let y = linear(&x, &w, Some(&[1.0, 2.0, 3.0]));
        for (o, y) in y.iter().enumerate() {
            let want: f64 = (0..37).map(|i| w[o * 37 + i] as f64 * x[i] as f64).sum::<f64>() + o as f64 + 1.0;
            assert!((*y as f64 - want).abs() < 1e-5);
        }
        assert_eq!(linear(&[2.0], &[3.0, -1.0], None), [6.0, -2.0]);
    }

    #[test]
    fn pools_treat_padding_by_their_rules() {
        let x = [-1.0, -2.0, -3.0, -4.0];
        let window = Window::square(2, 2).padded(1);
        // Each window sees one pixel: padding must not win as 0.
        assert_eq!(max_pool(&x, &[1, 2, 2], &window), x);
        assert_eq!(avg_pool(&x, &[1, 2, 2], &window, false), x);
        assert_eq!(avg_pool(&x, &[1, 2, 2], &window, true), [-0.25, -0.5, -0.75, -1.0]);
        assert_eq!(
            max_pool(&x, &[2, 1, 2], &Window { kernel: [1, 2], ..Window::square(1, 1) }),
            [-1.0, -3.0]
        );
    }
}
