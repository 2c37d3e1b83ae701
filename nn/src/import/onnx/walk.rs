//! The walk over a model's nodes, in file order: constants are computed, everything else is lowered, and what stands in
//! the way is gathered. Only what the output needs is looked at.

use super::beside::Beside;
use super::call::{Call, Lowered, Stop, Value};
use super::ending::{Ending, Role};
use super::needed::Needed;
use super::obstacle::{Obstacles, unsupported};
use super::proto::{GraphProto, NodeProto, kind};
use super::{Dropped, classes, constant, decode, inputs, layout, lower};
use crate::graph::{Layout, Normalise};
use crate::import::draft::{Draft, clean};
use std::collections::HashMap;
use std::rc::Rc;

/// State of an import: what is known of each value by its name, and what stood in the way.
pub(super) struct Importer<'m> {
    pub(super) draft: Draft,
    pub(super) obstacles: Obstacles,
    pub(super) dropped: Vec<Dropped>,
    /// Values by name; those of a branch behind those around it.
    scopes: Vec<HashMap<&'m str, Value>>,
    /// Shapes per image that the file states for its intermediate values.
    stated: HashMap<&'m str, Vec<usize>>,
    beside: &'m Beside<'m>,
    ending: Ending,
    opset: i64,
    keep_probabilities: bool,
    layout: Option<Layout>,
}

/// What is known before the walk.
pub(super) struct Setting {
    pub(super) opset: i64,
    pub(super) normalise: Normalise,
    pub(super) obstacles: Obstacles,
    pub(super) keep_probabilities: bool,
    pub(super) keep_dropout: bool,
    pub(super) keep_batchnorm: bool,
    pub(super) layout: Option<Layout>,
}

impl<'m> Importer<'m> {
    /// Walks what `output` needs.
    pub(super) fn walk(
        graph: &'m GraphProto,
        output: &'m str,
        beside: &'m Beside<'m>,
        setting: Setting,
    ) -> Importer<'m> {
        let Setting { opset, normalise, obstacles, keep_probabilities, keep_dropout, keep_batchnorm, layout } =
            setting;
        let stated = graph.value_info.iter().chain(&graph.output);
        let stated = stated.filter_map(|v| inputs::per_image(v).ok().map(|s| (v.name.as_str(), s))).collect();
        let needed = Needed::of(graph, &[output]);
        let mut importer = Importer {
            draft: Draft::new("input", vec![1], Normalise::default()),
            obstacles,
            dropped: Vec::new(),
            scopes: vec![HashMap::new()],
            stated,
            beside,
            ending: Ending::find(graph, &needed, output),
            opset,
            keep_probabilities,
            layout,
        };
        (importer.draft.keep_dropout, importer.draft.keeps_norms) = (keep_dropout, keep_batchnorm);
        importer.constants(graph, &needed);
        importer.input(graph, &needed, normalise);
        importer.nodes(graph, &needed);
        importer
    }

    /// What is known of a value.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name))
    }

    /// Makes a value known; false if its name was taken.
    fn learn(&mut self, name: &'m str, value: Value) -> bool {
        self.scopes.last_mut().is_some_and(|scope| scope.insert(name, value).is_none())
    }

    fn constants(&mut self, graph: &'m GraphProto, needed: &Needed<'m>) {
        let dense = graph.initializer.iter().map(|t| (t.name.as_str(), Ok(t)));
        let sparse =
            graph.sparse_initializer.iter().map(|t| (t.values.as_ref().map_or("", |v| &v.name), Err(t)));
        for (name, tensor) in dense.chain(sparse) {
            if self.scopes.last().is_some_and(|scope| scope.contains_key(name)) {
                self.obstacles.add(name, "initializer", "stands there twice; export again");
            }
            // What no one reads need not be understood, nor be there.
            let value = match tensor {
                _ if !needed.names.contains(name) => Value::Lost,
                Ok(t) if classes::is_words(t) && self.ending.names_classes(name) => Value::Lost,
                Ok(t) => self.decoded(name, decode::tensor(t, self.beside)),
                Err(t) => {
                    let decoded = decode::sparse(t, self.beside, self.draft.room());
                    let decoded = decoded.and_then(|t| self.draft.spend(t.len()).map(|()| t));
                    self.decoded(name, decoded)
                }
            };
            self.learn(name, value);
        }
    }

    fn decoded(&mut self, name: &str, tensor: Result<super::tensor::Tensor, String>) -> Value {
        match tensor {
            Ok(t) => {
                self.draft.make_room(constant::AGAIN * t.len());
                Value::Const(Rc::new(t))
            }
            Err(why) => {
                self.obstacles.add(name, "initializer", why);
                Value::Lost
            }
        }
    }

    fn input(&mut self, graph: &'m GraphProto, needed: &Needed<'m>, normalise: Normalise) {
        // Before IR version 4 initializers are listed as inputs too.
        let inputs = graph.input.iter().filter(|v| self.value(&v.name).is_none());
        let all: Vec<_> = inputs.collect();
        let read: Vec<_> = all.iter().copied().filter(|v| needed.names.contains(v.name.as_str())).collect();
        // An output that reads nothing is told of later.
        let chosen = if read.is_empty() { all } else { read };
        if chosen.len() != 1 {
            let names: Vec<String> = chosen.iter().map(|v| format!("`{}`", clean(&v.name, "?"))).collect();
            let reason = format!(
                "{} inputs {}, wanted one; put them into one tensor, and take it apart in the network",
                names.len(),
                names.join(", ")
            );
            self.obstacles.add(&graph.name, "model", reason);
        }
        for (i, v) in chosen.into_iter().enumerate() {
            let value = match inputs::per_image(v).and_then(|shape| inputs::floats(v, graph).map(|()| shape))
            {
                Ok(shape) if i == 0 => {
                    let room = self.draft.room();
                    if self.layout.is_some() && shape.len() != 3 {
                        let why =
                            "has no channels; a layout is for [h, w, c] or [c, h, w]: leave --layout out";
                        self.obstacles.add(&v.name, "input", why);
                    }
                    let given = self.layout.filter(|_| shape.len() == 3);
                    let layout = given.unwrap_or_else(|| layout::of(graph, &v.name, &shape));
                    let kept = (self.draft.keep_dropout, self.draft.keeps_norms);
                    self.draft = Draft::new(&v.name, shape, normalise.clone());
                    (self.draft.keep_dropout, self.draft.keeps_norms) = kept;
                    self.draft.make_room(room.saturating_sub(self.draft.room()));
                    self.draft.input_in(layout)
                }
                Ok(_) => Value::Lost,
                Err(why) => {
                    self.obstacles.add(&v.name, "input", why);
                    Value::Lost
                }
            };
            self.learn(&v.name, value);
        }
    }

    fn nodes(&mut self, graph: &'m GraphProto, needed: &Needed<'m>) {
        for (i, node) in graph.node.iter().enumerate().filter(|(i, _)| needed.nodes[*i]) {
            self.node(i, node, needed);
        }
    }

    fn node(&mut self, index: usize, node: &'m NodeProto, needed: &Needed<'m>) {
        let label = label(index, node);
        let operands = self.operands(&label, node);
        let role = if self.scopes.len() == 1 { self.ending.role(index) } else { Role::Inner };
        let result = match (role, node.op_type.as_str()) {
            (Role::Passed(operand), _) => Ok(operands.get(operand).cloned().flatten().unwrap_or(Value::Lost)),
            (Role::Aside, _) => Ok(Value::Lost),
            (Role::Last, _) => self.last(&label, node, operands.clone()),
            (Role::Inner, "ArgMax") => Err(
                "an index in the middle of the network, where no gate goes on with it; let it be the last node, or export the \
                 network up to its scores"
                    .into(),
            ),
            (_, "If") => self.branch(&label, node, operands.first().cloned().flatten()),
            (_, "Loop" | "Scan") => {
                self.inside(node);
                Err(unsupported(&node.domain, &node.op_type).into())
            }
            _ => self.lowered(node, operands.clone()),
        };
        let given = result.is_ok();
        let value = result.unwrap_or_else(|stop| {
            if let Stop::Because(why) = stop {
                self.obstacles.add(&label, &node.op_type, why);
            }
            self.stand_in(node, &operands)
        });
        let mut values = match value {
            Value::Several(values) => values,
            one => vec![one],
        }
        .into_iter();
        for name in &node.output {
            let value = values.next();
            if name.is_empty() {
                continue;
            }
            if value.is_none() && given && needed.names.contains(name.as_str()) {
                let why = format!("its output `{}` is used, and only the first is known", clean(name, "?"));
                self.obstacles.add(&label, &node.op_type, why);
            }
            if !self.learn(name, value.unwrap_or(Value::Lost)) {
                let why = format!("gives `{}`, which is there already; export again", clean(name, "?"));
                self.obstacles.add(&label, &node.op_type, why);
            }
        }
    }

    /// A node's operands; an empty name stands for one left out.
    fn operands(&mut self, label: &str, node: &NodeProto) -> Vec<Option<Value>> {
        let mut operands = Vec::with_capacity(node.input.len());
        for name in &node.input {
            let value = self.value(name).cloned();
            if value.is_none() && !name.is_empty() {
                let why =
                    format!("reads `{}`, which nothing before it gives; export again", clean(name, "?"));
                self.obstacles.add(label, &node.op_type, why);
            }
            operands.push(if name.is_empty() { None } else { Some(value.unwrap_or(Value::Lost)) });
        }
        operands
    }

    fn lowered(&mut self, node: &NodeProto, operands: Vec<Option<Value>>) -> Lowered {
        let mut call = Call { node, operands, draft: &mut self.draft, beside: self.beside };
        if super::call::is_default(&node.domain)
            && let Some(folded) = constant::fold(&mut call)
        {
            let values = folded?.into_iter().map(|t| Value::Const(Rc::new(t)));
            return Ok(Value::Several(values.collect()));
        }
        lower(call)
    }

    /// The last function of the network, which may go.
    fn last(&mut self, label: &str, node: &NodeProto, operands: Vec<Option<Value>>) -> Lowered {
        let call = Call { node, operands, draft: &mut self.draft, beside: self.beside };
        let (value, dropped) = self.ending.without(call, self.opset, label)?;
        if let Some(dropped) = dropped.as_ref().filter(|d| self.keep_probabilities && d.function.is_some()) {
            return Err(Stop::Because(format!(
                "there is no gate for {} yet, so probabilities cannot be kept; import without --keep-probabilities, and compute \
                 them from the logits",
                dropped.op
            )));
        }
        self.dropped.extend(dropped);
        Ok(value)
    }

    /// An If whose condition is known: the branch that it takes.
    fn branch(&mut self, label: &str, node: &'m NodeProto, condition: Option<Value>) -> Lowered {
        let Some(Value::Const(condition)) = condition else {
            self.inside(node);
            return match condition {
                Some(Value::Lost) => Err(Stop::Upstream),
                _ => Err("its condition depends on the input; choose one branch before export".into()),
            };
        };
        let taken = match condition.integers()? {
            [0] => "else_branch",
            [_] => "then_branch",
            more => return Err(format!("a condition of {} values", more.len()).into()),
        };
        let body = node.attribute.iter().find(|a| a.name == taken && a.kind == kind::GRAPH);
        let body: &'m GraphProto = body.and_then(|a| a.g.as_deref()).ok_or("has no such branch")?;
        let outputs: Vec<&str> = body.output.iter().map(|o| o.name.as_str()).collect();
        let needed = Needed::of(body, &outputs);
        self.scopes.push(HashMap::new());
        self.constants(body, &needed);
        self.nodes(body, &needed);
        let values = outputs.iter().map(|o| self.value(o).cloned().unwrap_or(Value::Lost)).collect();
        self.scopes.pop();
        if outputs.len() < node.output.len() {
            self.obstacles.add(label, "If", format!("its {taken} gives {} outputs", outputs.len()));
        }
        Ok(Value::Several(values))
    }

    /// Names the unsupported operators inside a Loop, or a branch that cannot be chosen.
    fn inside(&mut self, node: &NodeProto) {
        let bodies = node.attribute.iter().filter_map(|a| a.g.as_deref());
        for (i, inner) in bodies.flat_map(|g| g.node.iter().enumerate()) {
            if !super::takes(&inner.domain, &inner.op_type) {
                let why = unsupported(&inner.domain, &inner.op_type);
                self.obstacles.add(&label(i, inner), &inner.op_type, why);
            }
            self.inside(inner);
        }
    }

    /// A value to go on with behind an obstacle, if its shape can be told for sure.
    fn stand_in(&mut self, node: &NodeProto, operands: &[Option<Value>]) -> Value {
        if !operands.iter().flatten().any(|v| matches!(v, Value::Wire(_) | Value::Lost)) {
            return Value::Lost;
        }
        let stated = node.output.first().and_then(|o| self.stated.get(o.as_str())).cloned();
        let like = match operands.first() {
            Some(Some(Value::Wire(s))) if keeps_shape(&node.op_type) => Some(self.draft.shape(*s).to_vec()),
            _ => None,
        };
        match stated.or(like) {
            Some(shape) => self.draft.placeholder(shape).map_or(Value::Lost, Value::Wire),
            None => Value::Lost,
        }
    }
}

/// A node's name, or its first output, or its place.
pub(super) fn label(index: usize, node: &NodeProto) -> String {
    match (&node.name[..], node.output.first()) {
        ("", Some(output)) if !output.is_empty() => output.clone(),
        ("", _) => format!("#{index}"),
        (name, _) => name.into(),
    }
}

/// Unsupported operators that give what they get in shape, so that what follows can still be judged.
fn keeps_shape(op: &str) -> bool {
    const UNARY: &[&str] = &[
        "Sigmoid",
        "Tanh",
        "LeakyRelu",
        "Elu",
        "Selu",
        "Celu",
        "Gelu",
        "Swish",
        "Clip",
        "HardSwish",
        "HardSigmoid",
        "Softplus",
        "Softsign",
        "ThresholdedRelu",
        "Mish",
        "Erf",
        "Softmax",
        "LogSoftmax",
        "LayerNormalization",
        "InstanceNormalization",
        "GroupNormalization",
        "RMSNormalization",
        "LRN",
        "BatchNormalization",
        "Exp",
        "Log",
        "Sqrt",
        "Reciprocal",
        "Neg",
        "Abs",
        "Sin",
        "Cos",
        "Floor",
        "Ceil",
        "Round",
        "Sign",
        "Cast",
    ];
    UNARY.contains(&op)
}
