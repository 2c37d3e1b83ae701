//! What was computed for a run before it had its input: consumed by the run of these images, of no use to any other.

use crate::Backend;
use crate::prg::Origin;
use std::collections::HashMap;
use std::ops::Range;

/// Results of gates on images of one segment, in runs of neighbouring images. Wiped when dropped; not `Clone`.
pub struct Prepared<B: Backend> {
    dev: B,
    origin: Origin,
    runs: Vec<Run<B>>,
}

/// Some images, the results by number of the gate.
struct Run<B: Backend> {
    images: Range<usize>,
    gates: HashMap<u32, B::Buf>,
}

impl<B: Backend> Prepared<B> {
    /// Nothing yet, for a segment.
    pub fn new(dev: B, origin: Origin) -> Self {
        Prepared { dev, origin, runs: vec![] }
    }
    /// Key set and segment.
    pub fn origin(&self) -> Origin {
        self.origin
    }
    /// The images that something is there for.
    pub fn images(&self) -> Range<usize> {
        let ends = self.runs.first().zip(self.runs.last());
        ends.map_or(0..0, |(a, b)| a.images.start..b.images.end)
    }
    /// Ring elements held.
    pub fn elements(&self) -> usize {
        self.runs.iter().flat_map(|r| r.gates.values()).map(|b| self.dev.len(b)).sum()
    }
    /// What follows is for these images, which come after all others.
    pub fn begin(&mut self, images: Range<usize>) {
        debug_assert!(self.runs.last().is_none_or(|r| r.images.end <= images.start));
        self.runs.push(Run { images, gates: HashMap::new() });
    }
    /// The result of a gate, `[images, row]`.
    pub fn put(&mut self, gate: u32, result: B::Buf) {
        if let Some(run) = self.runs.last_mut() {
            run.gates.insert(gate, result);
        }
    }
    /// Takes what is there of a gate for the first of these images: how many, and their results.
    pub(crate) fn take(&mut self, gate: u32, images: Range<usize>) -> (usize, B::Buf) {
        let (mut at, mut parts) = (images.start, vec![]);
        for run in &mut self.runs {
            if at == images.end || !run.images.contains(&at) {
                continue;
            }
            let Some(mut all) = run.gates.remove(&gate) else { break };
            let (row, end) = (self.dev.len(&all) / run.images.len(), images.end.min(run.images.end));
            if (at..end) == run.images {
                parts.push(all);
            } else {
                parts.push(self.dev.slice(&all, (at - run.images.start) * row, (end - at) * row));
                self.dev.wipe(&mut all);
            }
            at = end;
        }
        (at - images.start, self.dev.concat(parts))
    }
}

impl<B: Backend> Drop for Prepared<B> {
    fn drop(&mut self) {
        let dev = &self.dev;
        self.runs.iter_mut().flat_map(|r| r.gates.values_mut()).for_each(|b| dev.wipe(b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cpu, KeySetId};

    #[test]
    fn images_get_their_own_rows_and_no_others() {
        let origin = Origin { set: KeySetId([0; 16]), segment: 3 };
        let filled = || {
            let mut p = Prepared::new(Cpu::<u32>::new(), origin);
            p.begin(4..6);
            p.put(1, vec![40, 41, 50, 51]);
            p.put(2, vec![4, 5]);
            p.begin(6..9);
            p.put(1, vec![60, 61, 70, 71, 80, 81]);
            p
        };
        assert_eq!((filled().images(), filled().elements()), (4..9, 12));
        assert_eq!(filled().take(1, 4..9), (5, vec![40, 41, 50, 51, 60, 61, 70, 71, 80, 81]));
        assert_eq!(filled().take(1, 5..8), (3, vec![50, 51, 60, 61, 70, 71]));
        assert_eq!(filled().take(1, 8..12), (1, vec![80, 81]));
        assert_eq!(filled().take(2, 4..9), (2, vec![4, 5]), "the second run lacks it");
        for (gate, images) in [(1, 3..5), (1, 9..10), (3, 4..6), (1, 0..2)] {
            assert_eq!(filled().take(gate, images), (0, vec![]));
        }
        let mut p = filled();
        assert_eq!((p.take(2, 4..6).0, p.take(2, 4..6).0), (2, 0), "once");
    }
}
