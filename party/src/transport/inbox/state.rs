//! What an inbox holds: bytes in order, in blocks.

use std::collections::VecDeque;
use std::time::Instant;

use super::Error;

/// Bytes, and what is known of their sender and their reader.
pub(super) struct State {
    pub(super) blocks: VecDeque<Vec<u8>>,
    /// Bytes of the first block already taken.
    taken: usize,
    /// Bytes held.
    pub(super) held: usize,
    /// Bytes for which the reader sleeps; fewer do not wake it.
    pub(super) wanted: usize,
    pub(super) end: Option<Error>,
    pub(super) heard: Instant,
    /// Whether the peer answered when it was told that the link is over.
    pub(super) answered: Option<bool>,
}

impl State {
    pub(super) fn new() -> Self {
        let (blocks, heard) = (VecDeque::new(), Instant::now());
        Self { blocks, taken: 0, held: 0, wanted: 0, end: None, heard, answered: None }
    }

    /// Keeps bytes, in new blocks of this size where the last one is full.
    pub(super) fn append(&mut self, mut bytes: &[u8], size: usize) {
        self.held += bytes.len();
        while !bytes.is_empty() {
            if self.blocks.back().is_none_or(|block| block.len() == block.capacity()) {
                self.blocks.push_back(Vec::with_capacity(size));
            }
            if let Some(block) = self.blocks.back_mut() {
                let (now, later) = bytes.split_at(bytes.len().min(block.capacity() - block.len()));
                block.extend_from_slice(now);
                bytes = later;
            }
        }
    }

    /// The longest contiguous part at the front, at most `most` bytes.
    pub(super) fn first(&self, most: usize) -> &[u8] {
        let part = self.blocks.front().map_or(&[][..], |block| &block[self.taken..]);
        &part[..part.len().min(most)]
    }

    /// Forgets the first `count` bytes, all of them in the first block. The last block is kept for reuse.
    pub(super) fn drop_front(&mut self, count: usize) {
        self.held -= count;
        self.taken += count;
        if self.blocks.front().is_some_and(|block| block.len() == self.taken) {
            self.taken = 0;
            match self.blocks.len() {
                1 => self.blocks[0].clear(),
                _ => drop(self.blocks.pop_front()),
            }
        }
    }
}
