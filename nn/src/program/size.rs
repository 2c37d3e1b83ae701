//! What is too large for any plan, refused by shapes alone, before anything is made of that size.
//!
//! Limits lie far above networks that run: VGG16 on images of 224x224 has wires of at most 2^21.6 elements, and some 2^24
//! comparisons altogether. Pools have a limit of their own, on their taps.

use crate::engine::PlannedGate;
use crate::graph::{Graph, Op};
use crate::{Error, Result};

/// Most elements of a wire, per image: parties hold a value and a share of each in memory.
const MAX_WIRE: usize = 1 << 26;
/// Most places of a concatenation or a padded wire, per image: each is an index in memory.
const MAX_PLACES: usize = 1 << 24;
/// Most comparisons per image: some 4 GB of one-time keys.
const MAX_COMPARISONS: u64 = 1 << 28;

fn too_large(name: &str, what: &str, found: Option<usize>, most: usize) -> Error {
    let found = found.map_or("more than can be counted".into(), |n| n.to_string());
    let why = format!("`{name}`: {found} {what} per image, {most} at most; use smaller images or windows");
    Error::data("plan", why)
}

/// Checks every wire, and every operation that keeps an index per place; `shapes` are those of the nodes.
///
/// # Errors
/// [`Error::Data`] naming the first layer that is too large.
pub(super) fn check(graph: &Graph, shapes: &[Vec<usize>]) -> Result<()> {
    let elements = |shape: &[usize]| shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let within = |n: Option<usize>, most: usize| n.is_some_and(|n| n <= most);
    let wires = graph.nodes.iter().map(|n| &n.name).zip(shapes);
    for (name, shape) in std::iter::once((&graph.input.name, &graph.input.shape)).chain(wires) {
        let found = elements(shape);
        if !within(found, MAX_WIRE) {
            return Err(too_large(name, "elements", found, MAX_WIRE));
        }
    }
    for (node, shape) in graph.nodes.iter().zip(shapes) {
        let places = elements(shape);
        if matches!(node.op, Op::Pad(_) | Op::Transpose(_) | Op::Take(_) | Op::Concat)
            && !within(places, MAX_PLACES)
        {
            return Err(too_large(&node.name, "places", places, MAX_PLACES));
        }
    }
    Ok(())
}

/// Checks what one image costs altogether.
///
/// # Errors
/// [`Error::Data`] naming the layer with the most comparisons.
pub(crate) fn check_bill(gates: &[PlannedGate]) -> Result<()> {
    let total = gates.iter().fold(0u64, |n, g| n.saturating_add(g.cost.comparisons));
    if total <= MAX_COMPARISONS {
        return Ok(());
    }
    let most = gates.iter().max_by_key(|g| g.cost.comparisons).map_or("", |g| &g.layer);
    let why = format!("{total} comparisons per image, {MAX_COMPARISONS} at most, most of them in `{most}`");
    Err(Error::data("plan", format!("{why}; use smaller images or windows")))
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Input, Node, Normalise, Op, Source};
    use crate::{Options, Plan};
    use twoply_primitives::Window;

    /// Nodes one after the other; a concatenation joins its operand with itself.
    fn plan(input: [usize; 3], ops: Vec<Op>) -> Result<Plan, String> {
        let node = |(i, op): (usize, Op)| {
            let before = if i == 0 { Source::Input } else { Source::Node(i - 1) };
            let inputs = if op == Op::Concat { vec![before; 2] } else { vec![before] };
            Node { name: format!("n{i}"), op, inputs }
        };
        let input = Input {
            name: "x".into(),
            shape: input.to_vec(),
            normalise: Normalise::default(),
            layout: Default::default(),
        };
        let nodes = ops.into_iter().enumerate().map(node).collect();
        let graph = Graph { name: "g".into(), input, params: vec![], nodes };
        Plan::new(graph, Options::default(), None).map_err(|e| e.to_string())
    }

    /// None of these may take memory or time in proportion to its size: each would be gigabytes.
    #[test]
    fn what_no_plan_could_run_is_refused_by_name() {
        let pool = |k, stride| Op::MaxPool(Window::square(k, stride));
        let refused = [
            (plan([1, 1 << 13, 1 << 14], vec![Op::Relu]), "`x`"),
            (plan([4, 1 << 10, 1 << 10], vec![Op::Relu, Op::Pad([2048; 4])]), "`n1`"),
            (plan([1, 1 << 12, 1 << 11], vec![Op::Concat, Op::Concat]), "`n1`"),
            (plan([1, 1 << 13, 1 << 13], vec![pool(3, 2)]), "`n0`"),
            (
                plan([64, 1 << 10, 1 << 10], vec![Op::Relu, Op::Relu, Op::Relu, Op::Relu, Op::Relu]),
                "comparisons",
            ),
        ];
        for (plan, name) in refused {
            let why = plan.unwrap_err();
            assert!(why.contains(name) && ["most", "more than"].iter().any(|w| why.contains(w)), "{why}");
        }
    }

    /// The largest that is allowed is planned without its tree of comparisons: from counts.
    #[test]
    fn a_large_pool_is_planned_from_counts() {
        let window = Window::square(3, 2).padded(1);
        let plan = plan([64, 256, 256], vec![Op::MaxPool(window)]).unwrap();
        // along each axis 127 windows have three taps within the image, and the first one has two
        let axis = 127 * 3 + 2;
        assert_eq!(plan.gates[1].cost.comparisons, 64 * (axis * axis - 128 * 128));
    }
}
