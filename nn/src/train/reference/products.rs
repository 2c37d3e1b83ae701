//! Gradients of linear layers and convolutions in floating point, ordered so that the compiler vectorizes them.

use twoply_primitives::Window;

/// Partial sums of a dot product; fixed, so that results do not depend on the machine.
const LANES: usize = 8;

/// Adds `g x` to `dw` and gives `g w` back, for some samples: a row of the weights stays in the cache for all of them.
pub fn linear(w: &[f64], x: &[&[f32]], g: &[Vec<f64>], dw: &mut [f64]) -> Vec<Vec<f64>> {
    let features = x.first().map_or(1, |x| x.len().max(1));
    let mut dx: Vec<Vec<f64>> = x.iter().map(|x| vec![0.0; x.len()]).collect();
    for (o, (w, dw)) in w.chunks_exact(features).zip(dw.chunks_exact_mut(features)).enumerate() {
        for ((x, g), dx) in x.iter().zip(g).zip(&mut dx) {
            let g = g[o];
            dx.iter_mut().zip(w).for_each(|(dx, w)| *dx += g * w);
            dw.iter_mut().zip(*x).for_each(|(dw, x)| *dw += g * f64::from(*x));
        }
    }
    dx
}

/// A convolution's weights and what it does with them.
pub struct Conv<'a> {
    pub w: &'a [f64],
    pub window: &'a Window,
    pub groups: usize,
    /// Output channels.
    pub oc: usize,
}

/// Neighbouring results and what one tap of each reads: results `to..to + len`, elements from `from`, `step` apart.
struct Run {
    to: usize,
    from: usize,
    step: usize,
    len: usize,
}

impl Conv<'_> {
    /// Adds the weights' gradient of one image to `dw` and gives the image's back.
    pub fn back(&self, (x, shape): (&[f64], [usize; 3]), g: &[f64], dw: &mut [f64]) -> Vec<f64> {
        let ([c, h, wd], mut dx) = (shape, vec![0.0; x.len()]);
        let Ok([oh, ow]) = self.window.output(h, wd) else { return dx };
        let (plane, positions, per) = (h * wd, oh * ow, c / self.groups);
        let taps = self.window.kernel[0] * self.window.kernel[1];
        let runs: Vec<Vec<Run>> = (0..taps).map(|t| self.runs(t, [h, wd], [oh, ow])).collect();
        for o in 0..self.oc {
            let (first, g) = (o / (self.oc / self.groups) * per, &g[o * positions..][..positions]);
            for ch in 0..per {
                let at = (first + ch) * plane;
                let (x, dx) = (&x[at..at + plane], &mut dx[at..at + plane]);
                for (t, runs) in runs.iter().enumerate() {
                    let weight = (o * per + ch) * taps + t;
                    let w = self.w[weight];
                    for run in runs {
                        dw[weight] += run.back(w, x, &g[run.to..run.to + run.len], dx);
                    }
                }
            }
        }
        dx
    }

    /// Where tap `t` reads no padding, row after row.
    fn runs(&self, t: usize, [h, w]: [usize; 2], [oh, ow]: [usize; 2]) -> Vec<Run> {
        let Window { kernel, stride, pad, dilation } = *self.window;
        let (i, j) = (t / kernel[1] * dilation[0], t % kernel[1] * dilation[1]);
        // results whose tap is inside: its place is that of the result times the stride, plus the tap, less the padding
        let inside = |tap: usize, axis: usize, len: usize, results: usize| {
            let begin = pad[axis].saturating_sub(tap).div_ceil(stride[axis]);
            let end = (len + pad[axis]).saturating_sub(tap).div_ceil(stride[axis]).min(results);
            begin..end.max(begin)
        };
        let columns = inside(j, 1, w, ow);
        let run = |y: usize| {
            let row = y * stride[0] + i - pad[0];
            let from = row * w + columns.start * stride[1] + j - pad[1];
            Run { to: y * ow + columns.start, from, step: stride[1], len: columns.len() }
        };
        match columns.is_empty() {
            true => vec![],
            false => inside(i, 0, h, oh).map(run).collect(),
        }
    }
}

impl Run {
    fn back(&self, w: f64, x: &[f64], g: &[f64], dx: &mut [f64]) -> f64 {
        let end = self.from + (self.len - 1) * self.step + 1;
        let (x, dx) = (&x[self.from..end], &mut dx[self.from..end]);
        match self.step {
            1 => {
                dx.iter_mut().zip(g).for_each(|(dx, g)| *dx += g * w);
                dot(x, g)
            }
            step => {
                dx.iter_mut().step_by(step).zip(g).for_each(|(dx, g)| *dx += g * w);
                x.iter().step_by(step).zip(g).map(|(x, g)| x * g).sum()
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_layers_go_back_as_defined() {
        let (inputs, outputs) = (5, 3);
        let w: Vec<f64> = (0..inputs * outputs).map(|at| at as f64 - 6.0).collect();
        let x = [[1.0, -2.0, 3.0, 0.0, 7.0], [4.0, 4.0, -1.0, 2.0, 0.0]];
        let g = [vec![2.0, -1.0, 0.0], vec![1.0, 5.0, -3.0]];
        let mut dw = vec![1.0; w.len()];
        let dx = linear(&w, &x.each_ref().map(|x: &[f32; 5]| &x[..]), &g, &mut dw);
        for (b, j) in (0..x.len()).flat_map(|b| (0..inputs).map(move |j| (b, j))) {
            let sum: f64 = (0..outputs).map(|o| g[b][o] * w[o * inputs + j]).sum();
            assert_eq!(dx[b][j], sum, "sample {b}, input {j}");
        }
        for (o, j) in (0..outputs).flat_map(|o| (0..inputs).map(move |j| (o, j))) {
            let sum: f64 = (0..x.len()).map(|b| g[b][o] * f64::from(x[b][j])).sum();
            assert_eq!(dw[o * inputs + j], 1.0 + sum, "output {o}, input {j}");
        }
    }

    /// Place by place, as the sum is defined.
    fn plainly(conv: &Conv, (x, [c, h, wd]): (&[f64], [usize; 3]), g: &[f64], dw: &mut [f64]) -> Vec<f64> {
        let [oh, ow] = conv.window.output(h, wd).unwrap();
        let (per, kernel, mut dx) = (c / conv.groups, conv.window.kernel, vec![0.0; x.len()]);
        for (at, g) in g.iter().enumerate() {
            let (o, y, xx) = (at / (oh * ow), at / ow % oh, at % ow);
            for (ch, t) in (0..per).flat_map(|ch| (0..kernel[0] * kernel[1]).map(move |t| (ch, t))) {
                let place = |axis: usize, out: usize, tap: usize| {
                    let Window { stride, dilation, pad, .. } = conv.window;
                    (out * stride[axis] + tap * dilation[axis]).checked_sub(pad[axis])
                };
                let (row, column) = (place(0, y, t / kernel[1]), place(1, xx, t % kernel[1]));
                let (Some(row), Some(column)) = (row, column) else { continue };
                if row < h && column < wd {
                    let from = ((o / (conv.oc / conv.groups) * per + ch) * h + row) * wd + column;
                    let weight = (o * per + ch) * kernel[0] * kernel[1] + t;
                    dx[from] += g * conv.w[weight];
                    dw[weight] += g * x[from];
                }
            }
        }
        dx
    }

    #[test]
    fn convolutions_of_every_kind_go_back_as_defined() {
        let number = |at: usize| ((at * 7919 + 3) % 101) as f64 - 50.0;
        let numbers = |len: usize| (0..len).map(number).collect::<Vec<f64>>();
        let strides = [[1, 1], [2, 1], [1, 3]];
        for (kernel, pad, dilation) in [
            ([3, 3], [1; 4], [1, 1]),
            ([2, 3], [0, 2, 1, 0], [2, 1]),
            ([1, 1], [0; 4], [1, 1]),
            ([5, 4], [3; 4], [1, 2]),
        ] {
            for (stride, groups) in strides.into_iter().flat_map(|s| [1, 2].map(|g| (s, g))) {
                let window = Window { kernel, stride, pad, dilation };
                let (shape, oc) = ([4, 9, 13], 6);
                let [oh, ow] = window.output(9, 13).unwrap();
                let w = numbers(oc * 4 / groups * kernel[0] * kernel[1]);
                let conv = Conv { w: &w, window: &window, groups, oc };
                let (x, g) = (numbers(4 * 9 * 13), numbers(oc * oh * ow));
                let [mut found, mut wanted] = [vec![1.0; w.len()], vec![1.0; w.len()]];
                // whole numbers: exact in any order
                assert_eq!(
                    conv.back((&x, shape), &g, &mut found),
                    plainly(&conv, (&x, shape), &g, &mut wanted)
                );
                assert_eq!(found, wanted);
            }
        }
    }
}
