//! Exact rewrites of a graph. Each keeps the function it computes, and the graph valid if it was.

use crate::graph::{Graph, Op, Source};
use crate::weights::Weights;

/// All passes that import applies, in their order.
pub fn all(graph: &mut Graph, weights: &mut Weights) {
    drop_dead(graph, weights);
    join_moves(graph, weights);
    drop_identities(graph);
    relu_behind_max_pool(graph);
}

/// A reshape of a reshape, and a transpose of a transpose, read what the first of them reads. An invalid graph is left as it is.
pub fn join_moves(graph: &mut Graph, weights: &mut Weights) {
    let Ok(shapes) = graph.shapes() else { return };
    for (i, shape) in shapes.iter().enumerate() {
        while let [Source::Node(before)] = graph.nodes[i].inputs[..] {
            let first = &graph.nodes[before];
            let op = match (&first.op, &graph.nodes[i].op) {
                (Op::Reshape(_), Op::Reshape(to)) => Op::Reshape(to.clone()),
                (Op::Transpose(first), Op::Transpose(perm)) => {
                    let perm: Vec<usize> = perm.iter().map(|&a| first[a]).collect();
                    if perm.is_sorted() { Op::Reshape(shape.clone()) } else { Op::Transpose(perm) }
                }
                _ => break,
            };
            let inputs = first.inputs.clone();
            (graph.nodes[i].op, graph.nodes[i].inputs) = (op, inputs);
        }
    }
    drop_dead(graph, weights);
}

/// Removes reshapes that keep the shape (what is left of Identity and Dropout); their readers read their operand.
/// A network that is nothing but the identity keeps its last node. An invalid graph is left as it is. Node indexes change.
pub fn drop_identities(graph: &mut Graph) {
    let Ok(shapes) = graph.shapes() else { return };
    let last = graph.nodes.len() - 1;
    // Where readers of a node shall read instead; chains are followed because operands come first.
    let mut target: Vec<Source> = Vec::new();
    for (i, node) in graph.nodes.iter_mut().enumerate() {
        for source in &mut node.inputs {
            if let Source::Node(j) = source {
                *source = target[*j];
            }
        }
        let from = node.inputs[0];
        let before = match from {
            Source::Input => &graph.input.shape,
            Source::Node(j) => &shapes[j],
        };
        let idle =
            matches!(&node.op, Op::Reshape(to) if to == before) && !(i == last && from == Source::Input);
        target.push(if idle { from } else { Source::Node(i) });
    }
    // In a valid graph every node feeds the output, so behind the new output there are only identities.
    if let Source::Node(output) = target[last] {
        let live: Vec<bool> = (0..=last).map(|i| i <= output && target[i] == Source::Node(i)).collect();
        keep(graph, &live);
    }
}

/// Removes nodes whose result never reaches the output, and parameters no node uses. Indexes change.
pub fn drop_dead(graph: &mut Graph, weights: &mut Weights) {
    let mut live = vec![false; graph.nodes.len()];
    if let Some(last) = live.last_mut() {
        *last = true;
    }
    for i in (0..graph.nodes.len()).rev() {
        if live[i] {
            for source in &graph.nodes[i].inputs {
                if let Source::Node(j) = source {
                    live[*j] = true;
                }
            }
        }
    }
    keep(graph, &live);
    let mut index = vec![None; graph.params.len()];
    for i in graph.nodes.iter().flat_map(|n| n.op.params()) {
        index[i] = Some(0);
    }
    for (new, slot) in index.iter_mut().flatten().enumerate() {
        *slot = new;
    }
    let mut used = index.iter().map(Option::is_some);
    graph.params.retain(|_| used.next().unwrap_or(false));
    let mut used = index.iter().map(Option::is_some);
    weights.0.retain(|_| used.next().unwrap_or(false));
    for node in &mut graph.nodes {
        node.op.renumber(|old| index[old].unwrap_or(old));
    }
}

/// `max_pool(relu(x)) = relu(max_pool(x))`, since every window has a tap and activations are monotone: fewer comparisons,
/// the same values. Only where nothing else reads the activation.
pub fn relu_behind_max_pool(graph: &mut Graph) {
    let readers = graph.consumers();
    // From the back, and each ReLU as far as it goes: chains of ReLUs and of pools end in order after one sweep.
    for start in (0..graph.nodes.len()).rev() {
        let mut relu = start;
        while graph.nodes[relu].op.activation().is_some()
            && let [pool] = readers[relu][..]
            && matches!(graph.nodes[pool].op, Op::MaxPool(_))
        {
            // The two change places and leave the edges alone; what stands between them reads neither.
            let (head, tail) = graph.nodes.split_at_mut(pool);
            std::mem::swap(&mut head[relu].op, &mut tail[0].op);
            std::mem::swap(&mut head[relu].name, &mut tail[0].name);
            relu = pool;
        }
    }
}

/// Keeps the marked nodes and renumbers; no kept node may read one that goes.
fn keep(graph: &mut Graph, live: &[bool]) {
    let mut next = 0;
    let count = |&l: &bool| {
        next += l as usize;
        next - l as usize
    };
    let index: Vec<usize> = live.iter().map(count).collect();
    let mut marks = live.iter();
    graph.nodes.retain(|_| *marks.next().unwrap_or(&false));
    for source in graph.nodes.iter_mut().flat_map(|n| &mut n.inputs) {
        if let Source::Node(j) = source {
            *j = index[*j];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::float::Evaluator;
    use crate::graph::{Input, Node, Normalise, Param, Role};
    use twoply_primitives::tensor::Window;

    /// Nodes named by their place, reading the node before them unless told otherwise.
    fn graph(ops: Vec<(Op, Vec<Source>)>) -> (Graph, Weights) {
        let node = |(i, (op, inputs)): (usize, (Op, Vec<Source>))| {
            let before = if i == 0 { Source::Input } else { Source::Node(i - 1) };
            Node { name: format!("n{i}"), op, inputs: if inputs.is_empty() { vec![before] } else { inputs } }
        };
        let param = |i: usize| Param { name: format!("w{i}"), shape: vec![2, 2, 1, 1], role: Role::Weight };
        let graph = Graph {
            name: "g".into(),
            input: Input {
                name: "x".into(),
                shape: vec![2, 4, 4],
                normalise: Normalise::default(),
                layout: Default::default(),
            },
            params: (0..3).map(param).collect(),
            nodes: ops.into_iter().enumerate().map(node).collect(),
        };
        (graph, Weights((0..3).map(|i| vec![0.5, -1.0, i as f32, 2.0]).collect()))
    }
    fn conv(weight: usize) -> Op {
        Op::Conv2d { weight, bias: None, window: Window::square(1, 1), groups: 1 }
    }
    fn pool() -> Op {
        Op::MaxPool(Window::square(2, 1))
    }
    fn names(g: &Graph) -> String {
        g.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(" ")
    }
    fn run(g: &Graph, w: &Weights) -> Vec<f32> {
        let x: Vec<f32> = (0..32).map(|i| ((i * 37 + 11) % 23) as f32 / 7.0 - 1.5).collect();
        Evaluator::new(g, w).unwrap().run(&x).unwrap().remove(0)
    }

    #[test]
    fn relu_passes_every_pool_it_feeds_alone() {
        let skip = vec![Source::Node(4), Source::Node(5)];
        let (mut g, w) = graph(vec![
            (conv(1), vec![]),
            (Op::Relu, vec![]),
            (Op::Relu, vec![]),
            (pool(), vec![]),
            (Op::Relu, vec![]),
            (Op::MaxPool(Window::square(3, 1).padded(1)), vec![]),
            (Op::Add, skip),
        ]);
        g.params = vec![g.params[1].clone()];
        g.nodes[0].op = conv(0);
        let w = Weights(vec![w.0[1].clone()]);
        let before = run(&g, &w);
        relu_behind_max_pool(&mut g);
        // n4 feeds the sum as well: it must stay in front of n5.
        assert_eq!(names(&g), "n0 n3 n1 n2 n4 n5 n6");
        assert_eq!(run(&g, &w), before);
        g.nodes.truncate(6);
        relu_behind_max_pool(&mut g);
        assert_eq!(names(&g), "n0 n3 n5 n1 n2 n4");
    }

    #[test]
    fn dead_nodes_and_their_parameters_go() {
        let (mut g, mut w) = graph(vec![
            (conv(2), vec![]),
            (conv(1), vec![]),
            (conv(0), vec![Source::Node(0)]),
            (Op::Add, vec![Source::Node(2), Source::Node(0)]),
        ]);
        drop_dead(&mut g, &mut w);
        assert_eq!(names(&g), "n0 n2 n3");
        assert_eq!(g.params.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["w0", "w2"]);
        assert_eq!((g.nodes[0].op.clone(), w.0[1][2]), (conv(1), 2.0));
        w.check(&g).unwrap();
        g.validate().unwrap();
    }

    #[test]
    fn identities_go_wherever_they_stand() {
        let same = || Op::Reshape(vec![2, 4, 4]);
        let (mut g, mut w) = graph(vec![
            (same(), vec![]),
            (same(), vec![]),
            (conv(0), vec![]),
            (same(), vec![]),
            (Op::Add, vec![Source::Node(3), Source::Node(1)]),
            (Op::Reshape(vec![32]), vec![]),
            (Op::Reshape(vec![32]), vec![]),
        ]);
        w.0.truncate(1);
        g.params.truncate(1);
        let before = run(&g, &w);
        all(&mut g, &mut w);
        assert_eq!(names(&g), "n2 n4 n6");
        assert_eq!(g.nodes[1].inputs, [Source::Node(0), Source::Input]);
        assert_eq!(run(&g, &w), before);
        let (mut g, mut w) = graph(vec![(same(), vec![]), (same(), vec![])]);
        all(&mut g, &mut w);
        assert_eq!((names(&g).as_str(), &g.nodes[0].inputs[..]), ("n1", &[Source::Input][..]));
        g.validate().unwrap();
    }

    #[test]
    fn moves_are_joined() {
        let turn = |perm: [usize; 3]| Op::Transpose(perm.to_vec());
        let (mut g, mut w) = graph(vec![
            (conv(0), vec![]),
            (turn([1, 2, 0]), vec![]),
            (turn([2, 0, 1]), vec![]),
            (Op::Relu, vec![]),
            (Op::Reshape(vec![32]), vec![]),
            (Op::Reshape(vec![4, 8]), vec![]),
            (Op::Reshape(vec![8, 4]), vec![Source::Node(4)]),
            (Op::Reshape(vec![4, 8]), vec![]),
            (Op::Add, vec![Source::Node(5), Source::Node(7)]),
        ]);
        w.0.truncate(1);
        g.params.truncate(1);
        let before = run(&g, &w);
        all(&mut g, &mut w);
        assert_eq!(names(&g), "n0 n3 n5 n7 n8");
        assert_eq!(run(&g, &w), before);
    }
}
