//! The wires of a run under way, each dropped with its last use.

use crate::graph::{Graph, Source};
use crate::{Error, Result};

/// What the nodes of a graph read: the input, and the results of nodes before.
pub(crate) struct Wires<'g, W> {
    graph: &'g Graph,
    input: Option<W>,
    nodes: Vec<Option<W>>,
    /// Uses that are left, the input's behind those of the nodes. Whoever runs the program uses the last result once.
    left: Vec<usize>,
}

impl<'g, W: Clone> Wires<'g, W> {
    /// Before the first node.
    pub fn new(graph: &'g Graph, input: W) -> Self {
        let nodes = graph.nodes.len();
        let mut left = vec![0; nodes + 1];
        for s in graph.nodes.iter().flat_map(|n| &n.inputs) {
            left[at(s, nodes)] += 1;
        }
        if let Some(last) = nodes.checked_sub(1) {
            left[last] += 1;
        }
        Wires { graph, input: Some(input), nodes: graph.nodes.iter().map(|_| None).collect(), left }
    }
    /// Operand `k` of node `i`.
    pub fn operand(&mut self, i: usize, k: usize) -> Result<W> {
        let source = self.graph.nodes[i].inputs.get(k).copied();
        source
            .and_then(|s| self.take(s))
            .ok_or_else(|| Error::data("plan", "a node reads a wire that is not there"))
    }
    /// Uses a wire once.
    pub fn take(&mut self, s: Source) -> Option<W> {
        let left = self.left.get_mut(at(&s, self.nodes.len()))?;
        *left = left.saturating_sub(1);
        let last = *left == 0;
        let wire = match s {
            Source::Input => &mut self.input,
            Source::Node(j) => self.nodes.get_mut(j)?,
        };
        if last { wire.take() } else { wire.clone() }
    }
    /// Puts a node's result down.
    pub fn put(&mut self, i: usize, wire: Option<W>) {
        self.nodes[i] = wire.filter(|_| self.left[i] > 0);
    }
}

fn at(s: &Source, nodes: usize) -> usize {
    match s {
        Source::Input => nodes,
        Source::Node(j) => *j,
    }
}
