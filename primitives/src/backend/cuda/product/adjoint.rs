//! Transposes of layers, and inner products per channel: matrices are turned and multiplied as in a layer, the rest goes to
//! plain integer kernels.

use super::linear;
use crate::backend::cuda::Cuda;
use crate::backend::cuda::arg::{Conv, Window};
use crate::backend::cuda::device::Arg;
use crate::backend::cuda::memory::Buf;
use crate::{Form, Ring};

/// `g [batch, n]` times `w [n, k]`.
pub fn linear_dx<R: Ring>(dev: &Cuda<R>, [g_form, w_form]: [&Form; 2], g: &Buf<R>, w: &Buf<R>) -> Buf<R> {
    let (form, w) = transpose(dev, w_form, w);
    linear(dev, [g_form, &form], g, &w)
}

/// The transpose of `g [batch, n]` times `x [batch, k]`.
pub fn linear_dw<R: Ring>(dev: &Cuda<R>, [g_form, x_form]: [&Form; 2], g: &Buf<R>, x: &Buf<R>) -> Buf<R> {
    let ((g_form, g), (x_form, x)) = (transpose(dev, g_form, g), transpose(dev, x_form, x));
    linear(dev, [&g_form, &x_form], &g, &x)
}

fn transpose<R: Ring>(dev: &Cuda<R>, form: &Form, x: &Buf<R>) -> (Form, Buf<R>) {
    let (rows, columns, out) = (form.shape.batch(), form.shape.row(), dev.buf(x.len));
    if out.len > 0 {
        dev.dev.size(out.len);
        let args: [&dyn Arg; 4] = [&out.ptr(), &x.ptr(), &dev.dev.size(rows), &dev.dev.size(columns)];
        dev.run("product_transpose", out.len, &args);
    }
    (Form::new([columns, rows], form.bits), out)
}

/// A layer from `[batch, c, h, w]` to `[batch, oc, oh, ow]`, counted in 32 bits.
fn layer<R: Ring>(
    dev: &Cuda<R>,
    window: &crate::Window,
    groups: usize,
    [batch, c, h, w]: [usize; 4],
    [oc, oh, ow]: [usize; 3],
) -> Conv {
    dev.dev.size((batch * c * h * w).max(batch * oc * oh * ow));
    let [batch, c, h, w, oc, oh, ow, groups] = [batch, c, h, w, oc, oh, ow, groups].map(|v| dev.dev.size(v));
    Conv { batch, c, h, w, oc, oh, ow, groups, window: Window::of(&dev.dev, window) }
}

/// `g [batch, oc, oh, ow]` back to `[batch, c, h, w]`.
pub fn conv_dx<R: Ring>(
    dev: &Cuda<R>,
    [g_form, w_form]: [&Form; 2],
    g: &Buf<R>,
    w: &Buf<R>,
    window: &crate::Window,
    (groups, [h, wd]): (usize, [usize; 2]),
) -> Buf<R> {
    let (&[batch, oc, oh, ow], &[_, cg, ..]) = (&g_form.shape.0[..], &w_form.shape.0[..]) else {
        return dev.buf(0);
    };
    let out = dev.buf(batch * cg * groups * h * wd);
    if out.len > 0 {
        let layer = layer(dev, window, groups, [batch, cg * groups, h, wd], [oc, oh, ow]);
        dev.run("product_conv_dx", out.len, &[&out.ptr(), &g.ptr(), &w.ptr(), &layer]);
    }
    out
}

/// `g [batch, oc, oh, ow]` with `x [batch, c, h, w]`: `[oc, c / groups, kh, kw]`.
pub fn conv_dw<R: Ring>(
    dev: &Cuda<R>,
    [g_form, x_form]: [&Form; 2],
    g: &Buf<R>,
    x: &Buf<R>,
    window: &crate::Window,
    groups: usize,
) -> Buf<R> {
    let (&[batch, oc, oh, ow], &[_, c, h, w]) = (&g_form.shape.0[..], &x_form.shape.0[..]) else {
        return dev.buf(0);
    };
    let out = dev.buf(oc * (c / groups) * window.kernel[0] * window.kernel[1]);
    if out.len > 0 {
        dev.dev.size(out.len);
        let layer = layer(dev, window, groups, [batch, c, h, w], [oc, oh, ow]);
        dev.run("product_conv_dw", 32 * out.len, &[&out.ptr(), &g.ptr(), &x.ptr(), &layer]);
    }
    out
}

/// Inner products per channel over blocks of places: `[blocks, c]`.
pub fn dot<R: Ring>(dev: &Cuda<R>, form: &Form, x: &Buf<R>, y: &Buf<R>, block: usize) -> Buf<R> {
    let (c, plane) = (form.shape.0[1], form.shape.0[2..].iter().product::<usize>());
    let (places, block) = (form.shape.batch() * plane, block.min(form.len().max(1)));
    let (blocks, out) = (places.div_ceil(block), dev.buf(places.div_ceil(block) * c));
    if out.len > 0 {
        dev.dev.size(out.len);
        let [places, plane, c, block, blocks] = [places, plane, c, block, blocks].map(|v| dev.dev.size(v));
        let args: [&dyn Arg; 8] = [&out.ptr(), &x.ptr(), &y.ptr(), &places, &plane, &c, &block, &blocks];
        dev.run("product_dot", 32 * out.len, &args);
    }
    out
}
