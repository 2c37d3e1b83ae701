//! Which kernel multiplies: tensor cores on digits of the words, or plain integers where there is too little for their tiles.

mod adjoint;

pub use adjoint::{conv_dw, conv_dx, dot, linear_dw, linear_dx};

use super::Cuda;
use super::arg::{Conv, Gemm, Window};
use super::compile::at_ring;
use super::device::Arg;
use super::memory::{Block, Buf};
use crate::{Form, Ring};
use std::sync::Arc;

/// Tiles of the product, as `matmul.cu` has them.
const TILE_M: usize = 64;
const TILE_N: usize = 128;
const TILE_K: usize = 64;
/// Most columns that are exact at once.
const PIECE: usize = 32768 - TILE_K;
/// Dynamic shared memory of a stage: four planes of each operand.
pub const STAGE: u32 = 4 * ((TILE_M + TILE_N) * TILE_K) as u32;
/// Kernels that want stages.
pub const GEMMS: [&str; 2] = ["gemm_32", "gemm_64"];

/// Stages that fit into a block's shared memory: at least two are needed, four are enough.
pub fn stages(shared: u32) -> u32 {
    (shared / STAGE).min(4)
}

/// Fewest rows of either operand for which tiles are worth filling.
const FEW: usize = 16;
/// Digits of a convolution's second operand in memory at once; a linear layer's are there altogether.
const SCRATCH: usize = 256 << 20;

/// Digits of a matrix: planes of rows, padded to whole tiles.
struct Digits {
    planes: Arc<Block>,
    rows: usize,
    rows_pad: usize,
}

/// How a product's results lie, and how much of it is there: see `Gemm` in `matmul.cu`.
struct Layout {
    k: usize,
    from: usize,
    span: usize,
    image: usize,
    row: usize,
    at: usize,
}

/// `x [batch, k]` times the transpose of `w [n, k]`.
pub fn linear<R: Ring>(dev: &Cuda<R>, [x_form, w_form]: [&Form; 2], x: &Buf<R>, w: &Buf<R>) -> Buf<R> {
    let (batch, n, k) = (x_form.shape.batch(), w_form.shape.batch(), w_form.shape.row());
    if batch < FEW {
        return plain_linear(dev, [x_form, w_form], x, w);
    }
    let out = dev.buf(batch * n);
    if out.len == 0 {
        return out;
    }
    dev.dev.size(out.len + TILE_N);
    let (a, b) = (digits(dev, x, batch, k, TILE_M), digits(dev, w, n, k, TILE_N));
    let layout = Layout { k, from: 0, span: n, image: 0, row: n, at: 0 };
    let pieces = pieces(dev, [a.rows_pad, b.rows_pad], k);
    if pieces > 1 {
        out.block.zero();
    }
    multiply(dev, &out, [&a, &b], &layout, pieces);
    out
}

/// The same in plain integers, whatever the shape.
pub fn plain_linear<R: Ring>(dev: &Cuda<R>, [x_form, w_form]: [&Form; 2], x: &Buf<R>, w: &Buf<R>) -> Buf<R> {
    let (batch, n, k) = (x_form.shape.batch(), w_form.shape.batch(), w_form.shape.row());
    let out = dev.buf(batch * n);
    if out.len > 0 {
        let [batch, k, n32] = [batch, k, n].map(|v| dev.dev.size(v));
        let args: [&dyn Arg; 6] = [&out.ptr(), &x.ptr(), &w.ptr(), &batch, &k, &n32];
        dev.run("product_linear", 32 * n, &args);
    }
    out
}

/// `x [batch, c, h, w]` with kernels `w [oc, c / groups, kh, kw]`.
pub fn conv<R: Ring>(
    dev: &Cuda<R>,
    [x_form, w_form]: [&Form; 2],
    x: &Buf<R>,
    w: &Buf<R>,
    window: &crate::Window,
    groups: usize,
) -> Buf<R> {
    let (&[batch, c, h, wd], &[oc, ..]) = (&x_form.shape.0[..], &w_form.shape.0[..]) else {
        return dev.buf(0);
    };
    let Ok([oh, ow]) = window.output(h, wd) else { return dev.buf(0) };
    let shape = [batch, c, h, wd, oc, oh, ow, groups].map(|v| dev.dev.size(v));
    let [b32, c32, h32, w32, oc32, oh32, ow32, g32] = shape;
    let window = Window::of(&dev.dev, window);
    let geometry =
        Conv { batch: b32, c: c32, h: h32, w: w32, oc: oc32, oh: oh32, ow: ow32, groups: g32, window };
    let (out, rows, k) = (dev.buf(batch * oc * oh * ow), oc / groups, w_form.shape.row());
    if out.len == 0 {
        return out;
    }
    // the kernels count elements, and the tiles that they lie in, in 32 bits
    dev.dev.size(out.len + TILE_N);
    if rows < FEW {
        let args: [&dyn Arg; 4] = [&out.ptr(), &x.ptr(), &w.ptr(), &geometry];
        dev.run("product_conv", out.len, &args);
        return out;
    }
    let (positions, limbs, k_pad) = (batch * oh * ow, size_of::<R>(), pad(k, TILE_K));
    let step = (SCRATCH / (limbs * k_pad) / TILE_N).max(1) * TILE_N;
    let steps: Vec<(usize, usize)> =
        (0..positions).step_by(step).map(|from| (from, step.min(positions - from))).collect();
    let pieces = |count: usize| pieces(dev, [pad(rows, TILE_M), pad(count, TILE_N)], k);
    if steps.iter().any(|&(_, count)| pieces(count) > 1) {
        out.block.zero();
    }
    for group in 0..groups {
        let a = digits(dev, &w.slice(group * rows * k, rows * k), rows, k, TILE_M);
        for &(from, count) in &steps {
            let b = positions_digits(dev, x, &geometry, [group, from, count, k_pad]);
            let at = group * rows * oh * ow;
            let layout = Layout { k, from, span: oh * ow, image: oc * oh * ow, row: oh * ow, at };
            multiply(dev, &out, [&a, &b], &layout, pieces(count));
        }
    }
    out
}

fn pad(n: usize, to: usize) -> usize {
    n.next_multiple_of(to)
}

fn digits<R: Ring>(dev: &Cuda<R>, x: &Buf<R>, rows: usize, k: usize, tile: usize) -> Digits {
    let (rows_pad, k_pad) = (pad(rows, tile), pad(k, TILE_K));
    let planes = Block::new(&dev.dev, size_of::<R>() * rows_pad * k_pad);
    let [r, k, rp, kp] = [rows, k, rows_pad, k_pad].map(|v| dev.dev.size(v));
    let args: [&dyn Arg; 6] = [&planes.ptr(), &x.ptr(), &r, &k, &rp, &kp];
    dev.run("limbs", rows_pad * k_pad / 4, &args);
    Digits { planes, rows, rows_pad }
}

/// Digits of im2col: a row per output position.
fn positions_digits<R: Ring>(
    dev: &Cuda<R>,
    x: &Buf<R>,
    geometry: &Conv,
    [group, from, count, k_pad]: [usize; 4],
) -> Digits {
    let rows_pad = pad(count, TILE_N);
    let planes = Block::new(&dev.dev, size_of::<R>() * rows_pad * k_pad);
    let [group, from, count32, rp, kp] = [group, from, count, rows_pad, k_pad].map(|v| dev.dev.size(v));
    let args: [&dyn Arg; 8] = [&planes.ptr(), &x.ptr(), geometry, &group, &from, &count32, &rp, &kp];
    dev.run("limbs_conv", rows_pad * k_pad / 16, &args);
    Digits { planes, rows: count, rows_pad }
}

/// Into how many pieces the columns are cut: as many as keep totals exact, and as fill the device.
fn pieces<R: Ring>(dev: &Cuda<R>, [m_pad, n_pad]: [usize; 2], k: usize) -> usize {
    let tiles = m_pad / TILE_M * (n_pad / TILE_N);
    let fill = (dev.dev.processors as usize / tiles).min(k.div_ceil(4 * TILE_K));
    fill.max(k.div_ceil(PIECE)).max(1)
}

/// One product. Several pieces are added to what is there.
fn multiply<R: Ring>(dev: &Cuda<R>, out: &Buf<R>, [a, b]: [&Digits; 2], layout: &Layout, pieces: usize) {
    let k_pad = pad(layout.k, TILE_K);
    let piece = pad(k_pad.div_ceil(pieces), TILE_K);
    let [m, n, m_pad, n_pad, k, piece32] =
        [a.rows, b.rows, a.rows_pad, b.rows_pad, k_pad, piece].map(|v| dev.dev.size(v));
    let [from, span, image, row, at] =
        [layout.from, layout.span, layout.image, layout.row, layout.at].map(|v| dev.dev.size(v));
    let add = u32::from(pieces > 1);
    let g = Gemm { m, n, m_pad, n_pad, k, piece: piece32, add, from, span, image, row, at };
    let grid = (dev.dev.size(a.rows_pad / TILE_M * (b.rows_pad / TILE_N)), 1, k_pad.div_ceil(piece) as u32);
    let args: [&dyn Arg; 4] = [&out.ptr(), &a.planes.ptr(), &b.planes.ptr(), &g];
    dev.dev.run_on(at_ring("gemm", R::BITS), grid, dev.dev.stages * STAGE, &args);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The host and the kernels agree on the tiles.
    #[test]
    fn tiles_are_those_of_the_kernels() {
        let text = include_str!("matmul.cu");
        for (name, value) in [("MATMUL_M", TILE_M), ("MATMUL_N", TILE_N), ("MATMUL_K", TILE_K)] {
            assert!(text.contains(&format!("#define {name} {value}\n")), "{name}");
        }
        assert!(text.contains("#define MATMUL_PIECE (32768 - MATMUL_K)\n"));
        assert!(text.contains("#define MATMUL_STAGES 4\n"));
        // of a block of an A100, an RTX 30, an H100
        assert_eq!([163 << 10, 99 << 10, 227 << 10].map(stages), [3, 2, 4]);
    }
}
