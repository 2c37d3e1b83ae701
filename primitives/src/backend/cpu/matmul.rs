//! `C = A B` over Z_2^n, blocked: panels of B and blocks of A are laid out for the register tile that multiplies them.
//!
//! B is never formed: a [`Source`] writes a panel of it when it is needed, be it a transposed batch or the taps of a
//! convolution. The loops are those of Goto and van de Geijn ("Anatomy of high-performance matrix multiplication",
//! 2008): columns, then depth, then rows; a panel stays in the cache while all rows pass. Addresses depend on shapes alone.

mod bound;
mod dots;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod limbs;
mod words;

pub use bound::spin;
pub use dots::{dots, inner};
#[cfg(test)]
pub use kernel::Path;
pub use kernel::{Kernel, Multiply};

use crate::Ring;
use rayon::prelude::*;
use std::ops::Range;

/// Bytes of one panel of B. A panel comes from the second-level cache, which tiles outlast; a deep one means few
/// additions to the result, and that rows of A are read a memory page at a time.
const PANEL: usize = 128 << 10;
/// Columns laid out together: with [`PANEL`], two megabytes. A panel may come from the third-level cache each time
/// another block of rows begins.
const COLUMNS: usize = 512;
/// Rows of A laid out together.
const ROWS: usize = 48;
/// Bytes of a cache line: panels begin at one, since a vector across two costs twice.
const LINE: usize = 64;
/// Multiplications that are worth a task of their own: some 10 microseconds.
const TASK: usize = 1 << 19;

/// Where the columns of B come from.
pub trait Source<R>: Sync {
    /// Writes rows `k` of columns `columns`, of which there are at most as many as the panel is wide. What the panel
    /// holds behind them is not looked at.
    fn fill(&self, k: Range<usize>, columns: Range<usize>, panel: &mut Panel<R>);
}

/// A panel of B under construction.
pub struct Panel<'a, R> {
    /// All of it; longer by [`Panel::SLACK`] than its rows.
    words: &'a mut [R],
    width: usize,
    /// Rows that two rows take once they are recoded.
    per_pair: usize,
}

impl<R> Panel<'_, R> {
    /// Elements behind a row that may be overwritten as long as the rows are written in order.
    pub const SLACK: usize = 16;

    /// Row `k`, counted from the panel's first, and its slack.
    pub fn row(&mut self, k: usize) -> &mut [R] {
        let at = (k / 2 * self.per_pair + k % 2) * self.width;
        &mut self.words[at..][..self.width + Self::SLACK]
    }
}

/// Products of several groups, each of its own A and B, with one result `[images, groups, m, positions]`. The columns
/// of B are `[images, positions]`.
pub struct Job<'a, R, S> {
    /// For each group A `[m, k]`, row-major, and where B comes from.
    pub groups: Vec<(&'a [R], S)>,
    /// Rows of A.
    pub m: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Images.
    pub images: usize,
    /// Columns of B per image.
    pub positions: usize,
    /// Threads that share it.
    pub threads: usize,
}

/// Some rows and columns of the result, as slices that nobody else has.
struct Task<'c, R> {
    group: usize,
    rows: Range<usize>,
    /// First column.
    first: usize,
    columns: usize,
    /// Columns of an image in this task.
    len: usize,
    /// One slice for all rows of an image, or one for each row of the one image.
    out: Vec<&'c mut [R]>,
}

/// How the result is cut into tasks: images, positions and rows of a task.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Cut {
    images: usize,
    positions: usize,
    rows: usize,
}

impl<R: Ring, S: Source<R>> Job<'_, R, S> {
    /// The product, on the kernels of `K`.
    fn run<K: Kernel<R>>(&self, kernel: &K) -> Vec<R> {
        let mut c = vec![R::ZERO; self.images * self.groups.len() * self.m * self.positions];
        if self.k > 0 && !c.is_empty() {
            let cut = self.cut::<K>();
            self.tasks(cut, &mut c).into_par_iter().for_each(|task| self.task(kernel, task));
        }
        c
    }

    /// As many tasks as there is work for: two per thread, or one where the parts would be narrow. Columns are cut (images first, so that small ones stay
    /// together) unless there are too few: each part lays out A again, which costs less than laying out B.
    fn cut<K: Kernel<R>>(&self) -> Cut {
        let (threads, columns) = (self.threads, self.images * self.positions);
        let work = self.m * self.k * columns * self.groups.len();
        let wanted = if threads == 1 { 1 } else { (work / TASK).clamp(1, 2 * threads) };
        let (wanted, panels) = (wanted.div_ceil(self.groups.len()), columns.div_ceil(K::COLUMNS));
        let wanted = if panels < 4 * wanted { wanted.min(threads) } else { wanted };
        let mut cut = Cut { images: self.images, positions: self.positions, rows: self.m };
        if panels < wanted {
            cut.rows = self.m.div_ceil(wanted).next_multiple_of(K::ROWS).min(self.m);
        } else if self.images < wanted {
            let parts = wanted.div_ceil(self.images);
            cut.images = 1;
            cut.positions = self.positions.div_ceil(parts).next_multiple_of(K::COLUMNS).min(self.positions);
        } else {
            cut.images = self.images.div_ceil(wanted);
        }
        cut
    }

    fn tasks<'c>(&self, cut: Cut, c: &'c mut [R]) -> Vec<Task<'c, R>> {
        let (m, len) = (self.m, self.positions);
        let (row_parts, parts) = (m.div_ceil(cut.rows), len.div_ceil(cut.positions));
        let per_batch = self.groups.len() * row_parts * parts;
        let mut tasks = Vec::with_capacity(self.images.div_ceil(cut.images) * per_batch);
        for from in (0..self.images).step_by(cut.images) {
            let images = cut.images.min(self.images - from);
            for (group, r, part) in places(self.groups.len(), row_parts, parts) {
                let (rows, at) = (r * cut.rows..m.min((r + 1) * cut.rows), part * cut.positions);
                let len = cut.positions.min(len - at);
                let first = from * self.positions + at;
                tasks.push(Task { group, rows, first, columns: images * len, len, out: vec![] });
            }
        }
        for (image, c) in c.chunks_mut(self.groups.len() * m * len).enumerate() {
            let tasks = &mut tasks[image / cut.images * per_batch..][..per_batch];
            for (g, c) in c.chunks_mut(m * len).enumerate() {
                let tasks = &mut tasks[g * row_parts * parts..][..row_parts * parts];
                for (tasks, c) in tasks.chunks_mut(parts).zip(c.chunks_mut(cut.rows * len)) {
                    match tasks {
                        [whole] => whole.out.push(c),
                        _ => c.chunks_mut(len).for_each(|row| {
                            let pieces = row.chunks_mut(cut.positions);
                            tasks.iter_mut().zip(pieces).for_each(|(t, piece)| t.out.push(piece));
                        }),
                    }
                }
            }
        }
        tasks
    }

    fn task<K: Kernel<R>>(&self, kernel: &K, mut task: Task<R>) {
        let (a, source) = &self.groups[task.group];
        let size = R::BITS as usize / 8;
        let deep = (PANEL * 2 / (K::COLUMNS * K::PAIR * size)).next_multiple_of(2);
        let deep = self.k.div_ceil(self.k.div_ceil(deep)).next_multiple_of(2);
        let panel_len = deep / 2 * K::PAIR * K::COLUMNS;
        let wide = COLUMNS.min(task.columns.next_multiple_of(K::COLUMNS));
        let mut space = vec![R::ZERO; wide / K::COLUMNS * panel_len + Panel::<R>::SLACK + LINE];
        let b = match space.as_ptr().align_offset(LINE) {
            skip if skip < LINE => &mut space[skip..],
            _ => &mut space[..],
        };
        let mut left = Vec::new();
        let mut tile = vec![R::ZERO; K::ROWS * K::COLUMNS];
        for j in (0..task.columns).step_by(wide) {
            let columns = j..task.columns.min(j + wide);
            let panels = || columns.clone().step_by(K::COLUMNS).map(|c| c..columns.end.min(c + K::COLUMNS));
            for k in (0..self.k).step_by(deep).map(|k| k..self.k.min(k + deep)) {
                for (p, range) in panels().enumerate() {
                    let words = &mut b[p * panel_len..][..panel_len + Panel::<R>::SLACK];
                    let mut panel = Panel { words, width: width::<R, K>(&range), per_pair: K::PAIR };
                    source.fill(k.clone(), task.first + range.start..task.first + range.end, &mut panel);
                    let width = panel.width;
                    kernel.right(k.len(), width, words);
                }
                for at in task.rows.clone().step_by(ROWS) {
                    let rows = at..task.rows.end.min(at + ROWS);
                    let block = kernel.left(a, self.k, rows.clone(), k.clone(), &mut left);
                    for (p, range) in panels().enumerate() {
                        let (b, width) = (&b[p * panel_len..][..panel_len], width::<R, K>(&range));
                        for tall in balanced(0..rows.len(), K::ROWS) {
                            let at = block.rows(tall.clone());
                            kernel.tile(at, tall.len(), b, width, k.len(), &mut tile);
                            let from = rows.start - task.rows.start;
                            task.add(from + tall.start..from + tall.end, range.clone(), &tile, width);
                        }
                    }
                }
            }
        }
    }
}

/// Columns that a tile computes for these: half a tile suffices for few.
fn width<R, K: Kernel<R>>(range: &Range<usize>) -> usize {
    if range.len() <= K::COLUMNS / 2 { K::COLUMNS / 2 } else { K::COLUMNS }
}

/// `range` in pieces of at most `most`, equal up to one: a short last piece would waste a tile.
fn balanced(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let (len, pieces) = (range.len(), range.len().div_ceil(most));
    (0..pieces).map(move |i| range.start + i * len / pieces..range.start + (i + 1) * len / pieces)
}

fn places(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a * b * c).map(move |i| (i / (b * c), i / c % b, i % c))
}

impl<R: Ring> Task<'_, R> {
    /// Adds a tile of `width` columns, whose first `columns.len()` count, where it belongs.
    fn add(&mut self, rows: Range<usize>, columns: Range<usize>, tile: &[R], width: usize) {
        let per_image = self.columns / self.len;
        if self.len == 1 && self.out.len() == per_image {
            for (j, column) in columns.enumerate() {
                for (i, c) in self.out[column][rows.clone()].iter_mut().enumerate() {
                    *c = c.add(tile[i * width + j]);
                }
            }
            return;
        }
        let mut at = columns.start;
        while at < columns.end {
            let (image, p) = (at / self.len, at % self.len);
            let n = (self.len - p).min(columns.end - at);
            for (i, row) in rows.clone().enumerate() {
                let c = match self.out.len() == per_image {
                    true => &mut self.out[image][row * self.len + p..][..n],
                    false => &mut self.out[row][p..p + n],
                };
                let tile = &tile[i * width + at - columns.start..][..n];
                c.iter_mut().zip(tile).for_each(|(c, t)| *c = c.add(*t));
            }
            at += n;
        }
    }
}
