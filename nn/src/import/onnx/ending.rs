//! The end of a network. A last Softmax, LogSoftmax or Sigmoid says of every class what its logit says, in other numbers:
//! it is dropped, and the report says so. What turns an index into a label, and a vector into a table, goes too.

use super::beside::Beside;
use super::call::{Call, Lowered, Stop, Value, axis};
use super::dropped::Function;
use super::needed::Needed;
use super::proto::{GraphProto, NodeProto};
use super::{Dropped, decode, ml};
use crate::graph::Op;
use std::collections::{HashMap, HashSet};

/// What a node does for the network's end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing: something that computes stands behind it.
    Inner,
    /// It may lose its last function.
    Last,
    /// It stands for its operand of this number.
    Passed(usize),
    /// It is part of what is dropped.
    Aside,
}

/// The nodes at the end, by place in the graph.
pub(super) struct Ending {
    roles: HashMap<usize, Role>,
    /// `[1 - p, p]` of one Sigmoid is the output: both classes of a network with one logit.
    pair: bool,
    /// The list that a label is looked up in.
    classes: Option<String>,
}

impl Ending {
    /// Goes back from the output as long as nothing else reads the value.
    pub(super) fn find(graph: &GraphProto, needed: &Needed<'_>, output: &str) -> Ending {
        let mut ending = Ending { roles: HashMap::new(), pair: false, classes: None };
        let live = || graph.node.iter().enumerate().filter(|(i, _)| needed.nodes[*i]);
        let mut readers: HashMap<&str, usize> = HashMap::new();
        let mut givers: HashMap<&str, (usize, &NodeProto)> = HashMap::new();
        for (i, node) in live() {
            node.input.iter().for_each(|name| *readers.entry(name).or_default() += 1);
            givers.extend(node.output.iter().map(|name| (name.as_str(), (i, node))));
        }
        let readers = |name: &str| readers.get(name).copied().unwrap_or(0);
        // What may stand behind an index, and says no more than it.
        let mut behind = Vec::new();
        let mut seen = HashSet::new();
        let (mut name, mut wanted) = (output, 0);
        while let Some(&(i, node)) = givers.get(name)
            && readers(name) == wanted
            // A damaged file may read in a circle.
            && seen.insert(i)
        {
            let mut next = 0;
            wanted = 1;
            match node.op_type.as_str() {
                "Identity" | "Dropout" | "Cast" | "CastLike" | "Reshape" | "Flatten" | "Squeeze"
                | "Unsqueeze" => {
                    behind.push((i, Role::Passed(0)));
                }
                "LabelEncoder" => behind.push((i, Role::Passed(0))),
                "ArrayFeatureExtractor" => {
                    behind.push((i, Role::Passed(1)));
                    ending.classes = node.input.first().cloned();
                    next = 1;
                }
                "ArgMax" => {
                    ending.roles.insert(i, Role::Last);
                    ending.roles.extend(behind.drain(..));
                }
                "Softmax" | "LogSoftmax" | "Sigmoid" => drop(ending.roles.insert(i, Role::Last)),
                "ZipMap" | "Normalizer" | "LinearClassifier" => {
                    ending.roles.insert(i, Role::Last);
                    if node.op_type == "LinearClassifier" && node.output.first().is_some_and(|o| o == name) {
                        ending.roles.extend(behind.drain(..));
                    }
                }
                "Concat" => {
                    let complement = |name: &String| givers.get(name.as_str()).filter(|_| readers(name) == 1);
                    let [no, yes] = &node.input[..] else { break };
                    let Some((sub, minus)) = complement(no).filter(|(_, n)| n.op_type == "Sub") else {
                        break;
                    };
                    let of_one = minus.input.first().is_some_and(|one| is_one(graph, one));
                    let along = node.attribute.iter().find(|a| a.name == "axis").map(|a| a.i);
                    let once = readers(yes) == 2 && matches!(along, Some(1 | -1));
                    if !of_one || !once || minus.input.get(1) != Some(yes) {
                        break;
                    }
                    if givers.get(yes.as_str()).is_none_or(|(_, n)| n.op_type != "Sigmoid") {
                        break;
                    }
                    ending.roles.extend([(i, Role::Passed(1)), (*sub, Role::Aside)]);
                    ending.pair = true;
                    (next, wanted) = (1, 2);
                }
                _ => break,
            }
            let Some(before) = node.input.get(next).filter(|n| !n.is_empty()) else { break };
            name = before;
        }
        ending
    }

    /// Whether an initializer only names the classes.
    pub(super) fn names_classes(&self, initializer: &str) -> bool {
        self.classes.as_deref() == Some(initializer)
    }

    pub(super) fn role(&self, index: usize) -> Role {
        self.roles.get(&index).copied().unwrap_or(Role::Inner)
    }

    /// The value in front of a last function, and what it was.
    pub(super) fn without(
        &self,
        call: Call<'_>,
        opset: i64,
        label: &str,
    ) -> Result<(Value, Option<Dropped>), Stop> {
        let op = call.node.op_type.clone();
        let (value, function, meaning): (_, _, String) = match op.as_str() {
            "ArgMax" => return argmax(call).map(|value| (value, None)),
            "Softmax" | "LogSoftmax" => {
                over_classes(&call, opset)?;
                let function = if op == "Softmax" { Function::Softmax } else { Function::LogSoftmax };
                let meaning = "the output is the logits: the largest one is the label, and their softmax the probabilities";
                (call.wire(0)?, function, meaning.into())
            }
            "Sigmoid" => {
                call.knows(&[])?;
                let (x, shape) = call.shaped(0)?;
                let one = shape.iter().product::<usize>() == 1;
                if self.pair && !one {
                    return Err("of several labels at once; export the network up to its logits".into());
                }
                let meaning = match one {
                    true => "the output is one logit: above 0 is class 1, and its sigmoid the probability",
                    false => {
                        "the outputs are logits: each is above 0 where its probability is above 1/2, and the largest stays it"
                    }
                };
                (x, if self.pair { Function::Pair } else { Function::Sigmoid }, meaning.into())
            }
            _ => return ml::last(call, label),
        };
        Ok((Value::Wire(value), Some(Dropped { node: label.into(), op, meaning, function: Some(function) })))
    }
}

fn is_one(graph: &GraphProto, name: &str) -> bool {
    let tensor = graph.initializer.iter().find(|t| t.name == name);
    let tensor = tensor.and_then(|t| decode::tensor(t, &Beside::new(None)).ok());
    tensor.is_some_and(|t| t.len() == 1 && t.real(0) == 1.0)
}

/// A Softmax may go if it goes over the classes of each image, or of each place of an image.
fn over_classes(call: &Call<'_>, opset: i64) -> Result<(), Stop> {
    call.knows(&["axis"])?;
    let at = call.int("axis", if opset < 13 { 1 } else { -1 })?;
    let (_, shape) = call.shaped(0)?;
    let at = axis(at, shape.len() + 1)?;
    // All axes from this one on before opset 13.
    let last = if opset < 13 { shape.len() } else { at };
    let within = |a: usize| (at..=last).contains(&(a + 1));
    let count = |inside: bool| (0..shape.len()).filter(|&a| within(a) == inside && shape[a] != 1).count();
    if shape.iter().product::<usize>() == 1 {
        return Err(
            "over one class: its result is 1, whatever the input; end with Sigmoid, or with two classes"
                .into(),
        );
    }
    if at == 0 || count(true) != 1 || count(false) > 0 && at != 1 {
        return Err(Stop::Because(format!(
            "along axis {at} of {shape:?} per image, which are not the classes: without it other labels could come out; \
             export the network up to its logits"
        )));
    }
    Ok(())
}

/// The index of the largest logit, whether the file keeps the axis or not.
pub(super) fn argmax(mut call: Call<'_>) -> Lowered {
    call.knows(&["axis", "keepdims", "select_last_index"])?;
    let at = call.int("axis", 0)?;
    if call.int("select_last_index", 0)? != 0 {
        return Err("select_last_index=1: ties go to the lower index here; export without it".into());
    }
    let (x, shape) = call.shaped(0)?;
    let along = axis(at, shape.len() + 1)?;
    let classes: usize = shape.iter().product();
    if along == 0 {
        return Err("along axis 0, which would mix images; let it go along the classes".into());
    }
    if shape[along - 1] != classes {
        return Err(Stop::Because(format!(
            "along axis {along} of {shape:?} per image gives {} indices, and its gate one index an image; export the network up to \
             its scores, and take the largest of each place where they are known",
            classes / shape[along - 1]
        )));
    }
    if classes == 1 {
        return Err("over one class: its index is 0, whatever the input; end with the logit itself".into());
    }
    let x = call.view(x, &[classes])?;
    call.push(Op::Argmax, &[x])
}
