//! What of a graph its output needs: what lies beside that is not looked at.

use super::proto::{GraphProto, NodeProto};
use std::collections::{HashMap, HashSet};

/// What some values of a graph depend on.
pub(super) struct Needed<'m> {
    /// By place in the graph.
    pub(super) nodes: Vec<bool>,
    /// Values that are read on the way, the outputs themselves included.
    pub(super) names: HashSet<&'m str>,
}

impl<'m> Needed<'m> {
    pub(super) fn of(graph: &'m GraphProto, outputs: &[&'m str]) -> Needed<'m> {
        // A name that two nodes give is a fault of the file, which both of them show.
        let mut givers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, node) in graph.node.iter().enumerate() {
            node.output.iter().for_each(|name| givers.entry(name).or_default().push(i));
        }
        let mut needed = Needed { nodes: vec![false; graph.node.len()], names: HashSet::new() };
        let mut open: Vec<&'m str> = outputs.to_vec();
        while let Some(name) = open.pop() {
            if !needed.names.insert(name) {
                continue;
            }
            for &i in givers.get(name).into_iter().flatten() {
                if !std::mem::replace(&mut needed.nodes[i], true) {
                    reads(&graph.node[i], &mut open);
                }
            }
        }
        needed
    }
}

/// All names that a node reads, those in its branches too.
fn reads<'m>(node: &'m NodeProto, names: &mut Vec<&'m str>) {
    names.extend(node.input.iter().filter(|n| !n.is_empty()).map(String::as_str));
    for body in node.attribute.iter().filter_map(|a| a.g.as_deref()) {
        names.extend(body.output.iter().map(|o| o.name.as_str()));
        body.node.iter().for_each(|inner| reads(inner, names));
    }
}
