//! What the output of a network means: classes, one score, or values that are no classes. Nobody else decides what a label is.

use crate::graph::{Graph, Op, Source};
use crate::roles::Answer;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the output of a network means.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Meaning {
    /// One value per class, or the index of the largest: the label is that index, the lowest of equals. An output
    /// `[k, 1, 1]` counts as `[k]`.
    Classes {
        /// Number of classes, 2 or more.
        classes: usize,
    },
    /// One value: above 0 is class 1, anything else class 0.
    Score,
    /// Anything else, such as a map `[c, h, w]`: there is no label.
    Values {
        /// Extents of one image's output.
        shape: Vec<usize>,
    },
}

impl Meaning {
    /// What the output of `graph` means.
    ///
    /// # Errors
    /// [`Error::Graph`] where the graph breaks its rules, and [`Error::Data`] for an argmax over one value, which is 0
    /// whatever the network says.
    pub fn of(graph: &Graph) -> Result<Meaning> {
        let shapes = graph.shapes()?;
        let shape = match graph.nodes.last() {
            // Its own result is an index; the operand has the classes.
            Some(node) if node.op == Op::Argmax => match node.inputs.first() {
                Some(Source::Node(j)) => shapes.get(*j),
                _ => Some(&graph.input.shape),
            },
            _ => shapes.last(),
        };
        let shape = shape.map(Vec::as_slice).unwrap_or_default();
        match shape {
            [1] if crate::program::ends_in_argmax(graph) => Err(Error::data(
                "output",
                "the argmax of one value is always 0; export the network without it, and the sign of its value decides",
            )),
            [k, rest @ ..] if *k > 1 && rest.iter().all(|d| *d == 1) => Ok(Meaning::Classes { classes: *k }),
            all if all.iter().all(|d| *d == 1) => Ok(Meaning::Score),
            _ => Ok(Meaning::Values { shape: shape.to_vec() }),
        }
    }

    /// The label that the values of one image stand for, if there is one.
    pub fn label<T: Copy + Into<f64>>(&self, values: &[T]) -> Option<usize> {
        let at = |i: usize| values[i].into();
        match self {
            Meaning::Classes { .. } => (!values.is_empty())
                .then(|| (1..values.len()).fold(0, |b, i| if at(i) > at(b) { i } else { b })),
            Meaning::Score => values.first().map(|v| usize::from((*v).into() > 0.0)),
            Meaning::Values { .. } => None,
        }
    }

    /// The label of every image: from its values, or what the parties gave.
    pub fn labels(&self, answer: &Answer) -> Option<Vec<usize>> {
        match answer {
            Answer::Logits(rows) => rows.iter().map(|row| self.label(row)).collect(),
            Answer::Labels(labels) => Some(labels.clone()),
        }
    }

    /// Checks that the parties can find the label, so that nothing else is revealed.
    ///
    /// # Errors
    /// [`Error::Data`] for anything but classes.
    pub(crate) fn revealed(&self) -> Result<()> {
        let why = match self {
            Meaning::Classes { .. } => return Ok(()),
            Meaning::Score => {
                "labels need two or more classes, and this is one score: its label is a sign, which would need a gate of \
                 its own; reveal logits, and the data owner takes the sign"
                    .to_owned()
            }
            Meaning::Values { shape } => {
                format!("labels need two or more classes, and this output is {shape:?}; reveal logits")
            }
        };
        Err(Error::data("output", why))
    }

    /// Why there are no labels; `None` where there are.
    pub fn no_labels(&self) -> Option<String> {
        match self {
            Meaning::Values { shape } => {
                Some(format!("an output {shape:?} is no vector of classes: it has no label"))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Meaning::Classes { classes } => write!(f, "{classes} classes"),
            Meaning::Score => f.write_str("one score: class 1 where it is above 0, otherwise class 0"),
            Meaning::Values { shape } => write!(f, "values {shape:?} without labels"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Input, Node, Normalise};

    fn graph(shapes: &[&[usize]], argmax: bool) -> Graph {
        let node = |name: String, op, before: usize| Node {
            name,
            op,
            inputs: vec![if before == 0 { Source::Input } else { Source::Node(before - 1) }],
        };
        let reshape = |(i, s): (usize, &&[usize])| node(format!("r{i}"), Op::Reshape(s.to_vec()), i);
        let mut nodes: Vec<Node> = shapes.iter().enumerate().map(reshape).collect();
        if argmax {
            nodes.push(node("top".into(), Op::Argmax, shapes.len()));
        }
        let size = shapes[0].iter().product();
        let input = Input {
            name: "x".into(),
            shape: vec![size],
            normalise: Normalise::default(),
            layout: Default::default(),
        };
        Graph { name: "g".into(), input, params: vec![], nodes }
    }

    #[test]
    fn outputs_are_told_apart_by_their_shape() {
        let of = |shape: &[usize]| Meaning::of(&graph(&[shape], false)).unwrap();
        for shape in [&[3][..], &[3, 1, 1]] {
            assert_eq!(of(shape), Meaning::Classes { classes: 3 });
        }
        for shape in [&[1][..], &[1, 1, 1]] {
            assert_eq!(of(shape), Meaning::Score);
        }
        for shape in [&[2, 4, 4][..], &[1, 4, 4], &[1, 3], &[2, 3]] {
            assert_eq!(of(shape), Meaning::Values { shape: shape.to_vec() });
        }
        assert_eq!(Meaning::of(&graph(&[&[5]], true)).unwrap(), Meaning::Classes { classes: 5 });
        assert!(Meaning::of(&graph(&[&[1]], true)).unwrap_err().to_string().contains("always 0"));
    }

    #[test]
    fn no_label_is_invented() {
        let rows = Answer::Logits(vec![vec![1.0, 5.0, 5.0], vec![0.0, -1.0, 0.0]]);
        assert_eq!(Meaning::Classes { classes: 3 }.labels(&rows), Some(vec![1, 0]));
        let scores = Answer::Logits(vec![vec![0.5], vec![0.0], vec![-0.25]]);
        assert_eq!(Meaning::Score.labels(&scores), Some(vec![1, 0, 0]));
        let map = Meaning::Values { shape: vec![1, 1, 3] };
        assert_eq!(map.labels(&rows), None);
        assert!(map.no_labels().unwrap().contains("[1, 1, 3]"));
        assert_eq!(Meaning::Classes { classes: 3 }.labels(&Answer::Labels(vec![2])), Some(vec![2]));
    }
}
