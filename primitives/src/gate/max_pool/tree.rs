//! Which values a MaxPool compares: the levels of the trees of all windows of an image.

use crate::{Error, Result, Window};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One level: places of `a` and of `b` among the image and the results of all levels before, concatenated.
#[derive(Debug)]
pub struct Level {
    /// Of the first operands: at a tie they are the larger.
    pub a: Arc<[usize]>,
    /// Of the second.
    pub b: Arc<[usize]>,
}

/// All levels. Every window's last comparison falls into the last one, so that its results are the output.
pub type Tree = Vec<Level>;

/// Places kept at once, 8 bytes each, beside the newest tree's.
const KEPT: usize = 1 << 23;

/// The trees of windows on images, newest last. They depend on shapes alone, are asked for again and again (a run, its
/// bill, its masks), and a large image's takes longer to build than to use; a device keeps indices by their address.
static TREES: Mutex<Vec<Kept>> = Mutex::new(vec![]);

/// A tree, with the window and the image it is of.
type Kept = (Window, [usize; 3], Arc<Tree>);

/// The tree of `window` on images of `[c, h, w]`, with `[oh, ow]` positions.
pub fn of(window: Window, image: [usize; 3], out: [usize; 2]) -> Result<Arc<Tree>> {
    let kept = |trees: &[Kept]| trees.iter().find(|t| (t.0, t.1) == (window, image)).map(|t| t.2.clone());
    let lock = || TREES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(tree) = kept(&lock()) {
        return Ok(tree);
    }
    let tree = Arc::new(build(window, image, out)?);
    let mut trees = lock();
    if let Some(other) = kept(&trees) {
        return Ok(other);
    }
    let places = |tree: &Tree| tree.iter().map(|l| 2 * l.a.len()).sum::<usize>();
    while trees.iter().map(|t| places(&t.2)).sum::<usize>() > KEPT {
        trees.remove(0);
    }
    trees.push((window, image, tree.clone()));
    Ok(tree)
}

/// Comparisons of every level of that tree, from how many taps the windows have: rows times columns of each.
pub fn sizes(window: Window, [c, h, w]: [usize; 3], [oh, ow]: [usize; 2]) -> Result<Vec<usize>> {
    let (rows, columns) = (taps(&window, 0, h, oh), taps(&window, 1, w, ow));
    let mut windows: BTreeMap<usize, usize> = BTreeMap::new();
    for (r, n) in &rows {
        for (k, m) in &columns {
            *windows.entry(r * k).or_default() += n * m * c;
        }
    }
    let (Some(least), Some(most)) = (windows.keys().next(), windows.keys().last()) else {
        return Err(Error::shape("max-pool", "no window"));
    };
    if *least == 0 {
        return Err(Error::shape("max-pool", "a window lies in the padding altogether"));
    }
    let mut live: Vec<(usize, usize)> = windows.iter().map(|(taps, count)| (*taps, *count)).collect();
    let level = |left: u32| -> usize {
        let merge = |(taps, count): &mut (usize, usize)| {
            let pairs = match (left, *taps) {
                (0, 1) => 1,
                (_, taps) => taps.saturating_sub(1 << left),
            };
            *taps = (*taps - pairs).max(1);
            pairs * *count
        };
        live.iter_mut().map(merge).sum()
    };
    Ok((0..depth(*most)).rev().map(level).collect())
}

/// Along one axis: how many taps windows have, and how many windows have as many.
fn taps(window: &Window, axis: usize, size: usize, out: usize) -> BTreeMap<usize, usize> {
    let (k, s, d, pad) = (window.kernel[axis], window.stride[axis], window.dilation[axis], window.pad[axis]);
    let mut counts = BTreeMap::new();
    for o in 0..out {
        // tap i lies at o s + i d - pad
        let first = pad.saturating_sub(o * s).div_ceil(d);
        let end = (size + pad).saturating_sub(o * s).div_ceil(d).min(k);
        *counts.entry(end.saturating_sub(first)).or_default() += 1;
    }
    counts
}

/// Levels for windows of at most so many taps.
fn depth(most: usize) -> u32 {
    (most.max(2) - 1).ilog2() + 1
}

fn build(window: Window, [c, h, w]: [usize; 3], [oh, ow]: [usize; 2]) -> Result<Tree> {
    let mut live: Vec<Vec<usize>> = (0..c * oh * ow)
        .map(|o| {
            let (plane, p) = (o / (oh * ow), o % (oh * ow));
            window.taps(h, w, p / ow, p % ow).map(|t| plane * h * w + t).collect()
        })
        .collect();
    if live.iter().any(|l| l.is_empty()) {
        return Err(Error::shape("max-pool", "a window lies in the padding altogether"));
    }
    let most = live.iter().map(Vec::len).max().unwrap_or(1);
    let (mut levels, mut next) = (vec![], c * h * w);
    for left in (0..depth(most)).rev() {
        let (mut a, mut b) = (vec![], vec![]);
        for window in &mut live {
            // merge as few as needed to finish in the levels left; one alone is compared with itself at the end
            if left == 0 && window.len() == 1 {
                window.push(window[0]);
            }
            let merged: Vec<usize> = window.drain(..2 * window.len().saturating_sub(1 << left)).collect();
            for pair in merged.chunks_exact(2) {
                a.push(pair[0]);
                b.push(pair[1]);
                window.push(next);
                next += 1;
            }
        }
        levels.push(Level { a: a.into(), b: b.into() });
    }
    Ok(levels)
}

#[cfg(test)]
mod tests {
    use super::super::MaxPool;
    use super::*;
    use crate::compare::Scheme;
    use crate::{Form, Gate};

    /// A plan asks for costs of pools that nobody may ever run.
    #[test]
    fn costs_need_no_tree() {
        let window = Window { kernel: [37, 3], stride: [5, 2], pad: [0; 4], dilation: [1, 1] };
        let form = Form::new([2, 3, 200, 211], 20);
        let gate = MaxPool { scheme: Scheme::Digits, window };
        assert!(gate.cost(32, &[&form]).unwrap().comparisons > 0);
        gate.output(32, &[&form]).unwrap();
        assert!(!TREES.lock().unwrap().iter().any(|kept| kept.0 == window), "it was built");
    }

    #[test]
    fn sizes_are_those_of_the_tree() {
        let mut met = 0;
        for (kernel, stride, dilation) in
            (1..5).flat_map(|k| (1..4).flat_map(move |s| (1..3).map(move |d| (k, s, d))))
        {
            for pad in [[0; 4], [1; 4], [2, 0, 1, 0], [0, 3, 0, 2]] {
                let window =
                    Window { kernel: [kernel, 3], stride: [stride, 2], pad, dilation: [dilation, 1] };
                for image in [[1, 5, 6], [3, 4, 9]] {
                    let Ok(out) = window.output(image[1], image[2]) else { continue };
                    match (sizes(window, image, out), build(window, image, out)) {
                        (Ok(sizes), Ok(tree)) => {
                            let levels: Vec<usize> = tree.iter().map(|l| l.a.len()).collect();
                            assert_eq!(sizes, levels, "{window:?} on {image:?}");
                            met += 1;
                        }
                        (Err(a), Err(b)) => assert_eq!(a.to_string(), b.to_string()),
                        (a, b) => panic!("{window:?} on {image:?}: {a:?}, {}", b.is_ok()),
                    }
                }
            }
        }
        assert!(met > 100, "{met} windows");
    }
}
