//! Operators that a model defines itself (`ModelProto.functions`). Every call becomes the nodes of the function's body before
//! anything else is looked at; values inside get the number of the call in front of their names.
//!
//! ONNX IR specification, "Functions". A file that lets functions call each other may ask for very many nodes: what they take
//! together is bounded by what the file takes.

use super::call::is_default;
use super::inputs::{self, OPSETS};
use super::proto::{Attribute, FunctionProto, GraphProto, ModelProto, NodeProto};
use super::walk::label;
use prost::Message;
use std::collections::HashMap;

/// Most functions and branches inside each other.
const DEEPEST: usize = 40;
/// Bytes that bodies may take in a file of any size.
const ROOM: usize = 1 << 24;

/// A call that cannot become nodes.
pub(super) struct Refused {
    pub(super) node: String,
    pub(super) op: String,
    pub(super) why: String,
}

/// Puts bodies in the place of calls; `size` is the file's in bytes.
///
/// # Errors
/// The first call of a function that calls itself, is another operator set's, is not given what it takes, or of so many that
/// they would take more than the file accounts for.
pub(super) fn inline(model: &mut ModelProto, opset: i64, size: usize) -> Result<(), Refused> {
    if model.functions.is_empty() {
        return Ok(());
    }
    let key = |f: &FunctionProto| [&f.domain, &f.name, &f.overload].map(String::clone);
    let functions = std::mem::take(&mut model.functions).into_iter().map(|f| (key(&f), f)).collect();
    let mut calls = Calls { functions: &functions, opset, made: 0, room: size.saturating_add(ROOM) };
    match &mut model.graph {
        Some(graph) => calls.expand(graph, 0),
        None => Ok(()),
    }
}

type Functions = HashMap<[String; 3], FunctionProto>;

struct Calls<'m> {
    functions: &'m Functions,
    opset: i64,
    made: usize,
    room: usize,
}

impl Calls<'_> {
    fn expand(&mut self, graph: &mut GraphProto, depth: usize) -> Result<(), Refused> {
        let mut nodes = Vec::with_capacity(graph.node.len());
        for node in std::mem::take(&mut graph.node) {
            self.node(node, depth, &mut nodes)?;
        }
        graph.node = nodes;
        Ok(())
    }

    fn node(&mut self, mut node: NodeProto, depth: usize, out: &mut Vec<NodeProto>) -> Result<(), Refused> {
        let functions = self.functions;
        let function = functions.get(&[&node.domain, &node.op_type, &node.overload].map(String::clone));
        let refused =
            |node: &NodeProto, why: String| Refused { node: label(0, node), op: node.op_type.clone(), why };
        if depth > DEEPEST {
            let why = format!(
                "more than {DEEPEST} functions and branches inside each other, or one that calls itself; export without functions"
            );
            return Err(refused(&node, why));
        }
        for branch in node.attribute.iter_mut().filter_map(|a| a.g.as_deref_mut()) {
            self.expand(branch, depth + 1)?;
        }
        let Some(function) = function else {
            out.push(node);
            return Ok(());
        };
        self.made += 1;
        let body = self.fits(&node, function).and_then(|()| Body::new(self, &node, function).nodes());
        for inner in body.map_err(|why| refused(&node, why))? {
            self.node(inner, depth + 1, out)?;
        }
        Ok(())
    }

    /// Whether a call is one of this function, in words that are the model's.
    fn fits(&self, node: &NodeProto, function: &FunctionProto) -> Result<(), String> {
        if is_default(&function.domain) {
            return Err("a function in ONNX's own domain, where other readers do not look for it; export it under a domain of its own"
                .into());
        }
        let version = inputs::version(&function.opset_import).unwrap_or(self.opset);
        // Softmax is the one operator here that means another thing under the same form, since opset 13.
        if !OPSETS.contains(&version) || (version < 13) != (self.opset < 13) {
            return Err(format!(
                "a function of operator set {version} in a model of operator set {}; export both with one",
                self.opset
            ));
        }
        let sides = [(&node.input, &function.input, "operands"), (&node.output, &function.output, "results")];
        let beyond = sides.into_iter().find(|(given, own, _)| given.len() > own.len());
        beyond.map_or(Ok(()), |(given, own, what)| {
            Err(format!("a function of {} {what}, called with {}; export again", own.len(), given.len()))
        })
    }

    fn spend(&mut self, n: usize) -> Result<(), String> {
        let left = self
            .room
            .checked_sub(n)
            .ok_or("the model's functions become too many nodes; export without functions")?;
        self.room = left;
        Ok(())
    }
}

/// A function's nodes for one call.
struct Body<'a, 'm> {
    calls: &'a mut Calls<'m>,
    node: &'a NodeProto,
    function: &'a FunctionProto,
    /// The caller's names of the function's own operands and results.
    names: HashMap<&'a str, &'a str>,
}

impl<'a, 'm> Body<'a, 'm> {
    fn new(calls: &'a mut Calls<'m>, node: &'a NodeProto, function: &'a FunctionProto) -> Body<'a, 'm> {
        let given = node.input.iter().map(String::as_str).chain(std::iter::repeat(""));
        let operands = function.input.iter().map(String::as_str).zip(given);
        let results = function.output.iter().zip(&node.output).filter(|(_, to)| !to.is_empty());
        let results = results.map(|(own, to)| (own.as_str(), to.as_str()));
        let names = results.chain(operands).collect();
        Body { calls, node, function, names }
    }

    fn nodes(&mut self) -> Result<Vec<NodeProto>, String> {
        let function = self.function;
        let mut nodes = function.node.iter().map(|n| self.renamed(n)).collect::<Result<Vec<_>, _>>()?;
        // What is handed through has two names.
        for (own, to) in function.output.iter().zip(&self.node.output) {
            if function.input.contains(own) {
                let (input, output) = (vec![self.name(own)?], vec![to.clone()]);
                nodes.push(NodeProto { input, output, op_type: "Identity".into(), ..Default::default() });
            }
        }
        Ok(nodes)
    }

    fn name(&mut self, own: &str) -> Result<String, String> {
        let name = match self.names.get(own) {
            Some(name) => (*name).to_owned(),
            None if own.is_empty() => String::new(),
            None => format!("{}:{own}", self.calls.made),
        };
        self.calls.spend(name.len())?;
        Ok(name)
    }

    fn renamed(&mut self, node: &NodeProto) -> Result<NodeProto, String> {
        self.calls.spend(1 + node.encoded_len())?;
        let name = format!("{}/{}", label(0, self.node), label(0, node));
        self.calls.spend(name.len())?;
        let mut to = NodeProto { name, attribute: Vec::new(), ..node.clone() };
        for name in to.input.iter_mut().chain(&mut to.output) {
            *name = self.name(name)?;
        }
        for attribute in &node.attribute {
            to.attribute.extend(self.attribute(attribute)?);
        }
        Ok(to)
    }

    /// An attribute, or what the call gives for it; neither given nor known otherwise, it is left out.
    fn attribute(&mut self, attribute: &Attribute) -> Result<Option<Attribute>, String> {
        if !attribute.reference.is_empty() {
            let mut all = self.node.attribute.iter().chain(&self.function.attribute);
            let Some(given) = all.find(|a| a.name == attribute.reference) else { return Ok(None) };
            self.calls.spend(given.encoded_len())?;
            return Ok(Some(Attribute { name: attribute.name.clone(), ..given.clone() }));
        }
        let mut attribute = attribute.clone();
        if let Some(branch) = attribute.g.as_deref_mut() {
            for tensor in &mut branch.initializer {
                tensor.name = self.name(&tensor.name)?;
            }
            for values in branch.sparse_initializer.iter_mut().filter_map(|t| t.values.as_mut()) {
                values.name = self.name(&values.name)?;
            }
            for value in branch.output.iter_mut().chain(&mut branch.input) {
                value.name = self.name(&value.name)?;
            }
            branch.node = branch.node.iter().map(|n| self.renamed(n)).collect::<Result<_, _>>()?;
        }
        Ok(Some(attribute))
    }
}
