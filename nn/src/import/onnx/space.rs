//! Channels and places exchanged in blocks: DepthToSpace (pixel shuffle) and SpaceToDepth.

use super::call::{Call, Lowered, Stop};
use crate::graph::Op;

pub(super) fn depth_to_space(mut call: Call<'_>) -> Lowered {
    call.knows(&["blocksize", "mode"])?;
    let block = block(&call)?;
    let channels_first = match call.text("mode")?.as_deref() {
        None | Some("DCR") => false,
        Some("CRD") => true,
        Some(other) => return Err(Stop::Because(format!("mode {}", other.escape_debug()))),
    };
    let (x, shape) = call.shaped(0)?;
    let &[c, h, w] = &shape[..] else {
        return Err(Stop::Because(format!("takes [c, h, w] per image, found {shape:?}")));
    };
    if c % (block * block) != 0 {
        return Err(Stop::Because(format!("{c} channels into blocks of {block} x {block}")));
    }
    let c = c / block / block;
    let (split, perm) = match channels_first {
        true => (vec![c, block, block, h, w], vec![0, 3, 1, 4, 2]),
        false => (vec![block, block, c, h, w], vec![2, 3, 0, 4, 1]),
    };
    let y = call.view(x, &split)?;
    let y = call.step(Op::Transpose(perm), &[y])?;
    call.shown(y, vec![c, h * block, w * block])
}

pub(super) fn space_to_depth(mut call: Call<'_>) -> Lowered {
    call.knows(&["blocksize"])?;
    let block = block(&call)?;
    let (x, shape) = call.shaped(0)?;
    let &[c, h, w] = &shape[..] else {
        return Err(Stop::Because(format!("takes [c, h, w] per image, found {shape:?}")));
    };
    if h % block != 0 || w % block != 0 {
        return Err(Stop::Because(format!("{h} x {w} into blocks of {block} x {block}")));
    }
    let (h, w) = (h / block, w / block);
    let y = call.view(x, &[c, h, block, w, block])?;
    let y = call.step(Op::Transpose(vec![2, 4, 0, 1, 3]), &[y])?;
    call.shown(y, vec![c * block * block, h, w])
}

fn block(call: &Call<'_>) -> Result<usize, Stop> {
    let block = call.int("blocksize", 0)?;
    let fits = usize::try_from(block).ok().filter(|b| (1..=crate::graph::MAX_WINDOW).contains(b));
    fits.ok_or_else(|| Stop::Because(format!("blocks of {block}")))
}
