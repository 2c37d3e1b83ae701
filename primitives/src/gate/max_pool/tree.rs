//! Which values a MaxPool compares: the levels of the trees of all windows of an image.

use crate::{Error, Result, Window};
use std::sync::{Arc, Mutex, PoisonError};

/// One level: places of `a` and of `b` among the image and the results of all levels before, concatenated.
pub struct Level {
    pub a: Arc<[usize]>,
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
    let depth = (most.max(2) - 1).ilog2() + 1;
    let (mut levels, mut next) = (vec![], c * h * w);
    for left in (0..depth).rev() {
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
