//! ONNX models from PyTorch's exporters (and others that write plain feed-forward networks). Everything that stands in the
//! way is reported at once. Operator semantics from the ONNX operator specification, opsets 7 to 26.

mod activation;
mod affine;
mod arithmetic;
mod axes;
mod call;
mod conv;
mod extremes;
mod join;
mod layout;
mod linear;
mod pad;
mod pool;
mod proto;
mod reduce;
mod resize;
mod rows;
mod select;
mod shape;
mod space;
mod tensor;
mod view;
mod window;

use super::Imported;
use super::draft::{Draft, clean};
use crate::graph::{Layout, MAX_RANK, Normalise, Source, elements};
use crate::{Error, Obstacle, Result};
use call::{Call, Lowered, Stop, Value};
use prost::Message;
use proto::{Extent, GraphProto, ModelProto, NodeProto, ValueInfo, data_type};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use tensor::Tensor;

/// Operator set versions whose meaning of the operators below is known.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=26;

/// Reads an ONNX model from the bytes of its file. `name` replaces the graph's own; `normalise` is written into the graph as
/// it is. Never panics, whatever the bytes, and allocates in proportion to them.
///
/// # Errors
/// [`Error::Onnx`] if the bytes are no ONNX model; [`Error::Import`] listing everything that cannot be taken over;
/// [`Error::Graph`] if `normalise` does not fit the input.
pub fn import(bytes: &[u8], name: Option<&str>, normalise: Option<Normalise>) -> Result<Imported> {
    import_as(bytes, name, normalise, None)
}

/// The same for a file whose pictures have this layout, whatever it looks like.
///
/// # Errors
/// As [`import`], and for a layout of an input that is no picture.
pub fn import_as(
    bytes: &[u8],
    name: Option<&str>,
    normalise: Option<Normalise>,
    layout: Option<Layout>,
) -> Result<Imported> {
    let model = ModelProto::decode(bytes).map_err(|e| Error::Onnx(e.to_string()))?;
    let Some(graph) = &model.graph else {
        return Err(Error::Onnx("it holds no graph".into()));
    };
    if graph.node.is_empty() {
        return Err(Error::Onnx("its graph holds no node".into()));
    }
    let mut obstacles = Vec::new();
    check_opset(&model, &mut obstacles);
    let mut importer = Importer::new(graph, (normalise.unwrap_or_default(), layout), obstacles);
    for (i, node) in graph.node.iter().enumerate() {
        importer.node(i, node);
    }
    let output = importer.output(graph);
    match output {
        Some(output) if importer.obstacles.is_empty() => {
            importer.draft.finish(name.unwrap_or(&graph.name), output)
        }
        _ => Err(Error::Import { obstacles: importer.obstacles }),
    }
}

/// The version of the default operator set must be known.
fn check_opset(model: &ModelProto, obstacles: &mut Vec<Obstacle>) {
    let versions = model.opset_import.iter().filter(|o| is_default(&o.domain)).map(|o| o.version);
    let version = versions.max();
    if !version.is_some_and(|v| OPSETS.contains(&v)) {
        let found = version.map_or("none".into(), |v| v.to_string());
        let reason = format!("operator set {found}, known are {} to {}", OPSETS.start(), OPSETS.end());
        obstacles.push(Obstacle { node: "opset_import".into(), op: "model".into(), reason });
    }
}

fn is_default(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// State of an import: what is known of each value by its name, and what stood in the way.
struct Importer<'m> {
    draft: Draft,
    values: HashMap<&'m str, Value>,
    /// Names that something reads.
    used: HashSet<&'m str>,
    /// Shapes per image that the file states for its intermediate values.
    stated: HashMap<&'m str, Vec<usize>>,
    obstacles: Vec<Obstacle>,
}

impl<'m> Importer<'m> {
    fn new(
        graph: &'m GraphProto,
        (normalise, layout): (Normalise, Option<Layout>),
        obstacles: Vec<Obstacle>,
    ) -> Importer<'m> {
        let reads = graph.node.iter().flat_map(|n| &n.input).map(String::as_str);
        let used: HashSet<&str> = reads.chain(graph.output.iter().map(|o| o.name.as_str())).collect();
        let stated = graph.value_info.iter().chain(&graph.output);
        let stated = stated.filter_map(|v| input_shape(v).ok().map(|s| (v.name.as_str(), s))).collect();
        let mut importer = Importer {
            draft: Draft::new("input", vec![1], Normalise::default()),
            values: HashMap::new(),
            used,
            stated,
            obstacles,
        };
        importer.constants(graph);
        importer.input(graph, normalise, layout);
        importer
    }

    fn obstacle(&mut self, node: &str, op: &str, reason: impl Into<String>) {
        self.obstacles.push(Obstacle { node: clean(node, "?"), op: clean(op, "?"), reason: reason.into() });
    }

    fn constants(&mut self, graph: &'m GraphProto) {
        for t in &graph.initializer {
            let value = match Tensor::decode(t) {
                Ok(t) => Value::Const(Rc::new(t)),
                Err(why) => {
                    if self.used.contains(t.name.as_str()) {
                        self.obstacle(&t.name, "initializer", why);
                    }
                    Value::Lost
                }
            };
            if self.values.insert(&t.name, value).is_some() {
                self.obstacle(&t.name, "initializer", "stands there twice");
            }
        }
    }

    fn input(&mut self, graph: &'m GraphProto, normalise: Normalise, layout: Option<Layout>) {
        // Before IR version 4 initializers are listed as inputs too.
        let inputs: Vec<&ValueInfo> =
            graph.input.iter().filter(|v| !self.values.contains_key(v.name.as_str())).collect();
        if inputs.len() != 1 {
            let names: Vec<String> = inputs.iter().map(|v| clean(&v.name, "?")).collect();
            let reason = format!("{} inputs {names:?}, wanted one", names.len());
            self.obstacle(&graph.name, "model", reason);
        }
        for (i, v) in inputs.into_iter().enumerate() {
            let value = match input_shape(v) {
                Ok(shape) if i == 0 => {
                    let found = layout::of(graph, &v.name, &shape);
                    if layout.is_some() && shape.len() != 3 {
                        self.obstacle(
                            &v.name,
                            "input",
                            "has no channels: a layout is for [h, w, c] or [c, h, w]",
                        );
                    }
                    let layout = layout.filter(|_| shape.len() == 3).unwrap_or(found);
                    self.draft = Draft::new(&v.name, shape, normalise.clone());
                    self.draft.input_in(layout)
                }
                Ok(_) => Value::Lost,
                Err(why) => {
                    self.obstacle(&v.name, "input", why);
                    Value::Lost
                }
            };
            self.values.insert(&v.name, value);
        }
    }

    fn node(&mut self, index: usize, node: &'m NodeProto) {
        let label = match (&node.name[..], node.output.first()) {
            ("", Some(output)) if !output.is_empty() => output.clone(),
            ("", _) => format!("#{index}"),
            (name, _) => name.into(),
        };
        let mut operands = Vec::with_capacity(node.input.len());
        for name in &node.input {
            let value = self.values.get(name.as_str()).cloned();
            if value.is_none() && !name.is_empty() {
                let name = clean(name, "?");
                self.obstacle(
                    &label,
                    &node.op_type,
                    format!("reads `{name}`, which nothing before it gives"),
                );
            }
            // An empty name stands for an operand left out.
            operands.push(if name.is_empty() { None } else { Some(value.unwrap_or(Value::Lost)) });
        }
        let passes_shape = keeps_shape(&node.op_type).then(|| operands.first().cloned().flatten()).flatten();
        let call = Call { node, operands, draft: &mut self.draft };
        let value = match lower(call) {
            Ok(value) => value,
            Err(stop) => {
                if let Stop::Because(why) = stop {
                    self.obstacle(&label, &node.op_type, why);
                }
                self.stand_in(node, passes_shape)
            }
        };
        let lost = matches!(value, Value::Lost);
        let values = match value {
            Value::Several(values) => values,
            one => vec![one],
        };
        let unknown = |o: &String| !o.is_empty() && self.used.contains(o.as_str());
        if !lost && node.output.iter().skip(values.len()).any(unknown) {
            self.obstacle(&label, &node.op_type, "a second output is used");
        }
        for (i, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let value = values.get(i).cloned().unwrap_or(Value::Lost);
            if self.values.insert(name, value).is_some() {
                let reason = format!("gives `{}`, which is there already", clean(name, "?"));
                self.obstacle(&label, &node.op_type, reason);
            }
        }
    }

    /// A value to go on with behind an obstacle, if its shape can be told.
    fn stand_in(&mut self, node: &NodeProto, like: Option<Value>) -> Value {
        let stated = node.output.first().and_then(|o| self.stated.get(o.as_str())).cloned();
        let shape = match (stated, like) {
            (Some(shape), _) => shape,
            (None, Some(Value::Wire(s))) => self.draft.shape(s).to_vec(),
            _ => return Value::Lost,
        };
        self.draft.placeholder(shape).map_or(Value::Lost, Value::Wire)
    }

    fn output(&mut self, graph: &GraphProto) -> Option<Source> {
        let [output] = &graph.output[..] else {
            self.obstacle(&graph.name, "model", format!("{} outputs, wanted one", graph.output.len()));
            return None;
        };
        match self.values.get(output.name.as_str()) {
            Some(Value::Wire(source @ Source::Node(_))) => return Some(*source),
            Some(Value::Rows(source)) => {
                let rows = *source;
                return rows::output(&mut self.draft, rows).ok();
            }
            Some(Value::Wire(Source::Input)) => self.obstacle(&output.name, "output", "is the input itself"),
            Some(Value::Const(_)) => self.obstacle(&output.name, "output", "does not depend on the input"),
            Some(Value::Lost) if !self.obstacles.is_empty() => {}
            Some(Value::Lost | Value::Several(_)) | None => {
                self.obstacle(&output.name, "output", "no node gives it")
            }
        }
        None
    }
}

/// Extents per image of a value whose first axis is the batch.
fn input_shape(v: &ValueInfo) -> std::result::Result<Vec<usize>, String> {
    let tensor = v.kind.as_ref().and_then(|k| k.tensor.as_ref()).ok_or("is no tensor")?;
    if tensor.elem_type != data_type::FLOAT && tensor.elem_type != data_type::DOUBLE {
        return Err(format!("of {} values, wanted FLOAT", data_type::name(tensor.elem_type)));
    }
    let dims = tensor.shape.as_ref().map_or(&[][..], |s| &s.dim);
    let Some((batch, rest)) =
        dims.split_first().filter(|(_, rest)| !rest.is_empty() && rest.len() <= MAX_RANK)
    else {
        return Err(format!("has {} axes, wanted the batch and 1 to {MAX_RANK} more", dims.len()));
    };
    if let Some(Extent::Value(n)) = batch.extent
        && n != 1
    {
        return Err(format!("fixes the batch at {n}; export with a symbolic batch axis, or with 1"));
    }
    let extents = rest.iter().map(|d| match &d.extent {
        Some(Extent::Value(n)) => {
            usize::try_from(*n).ok().filter(|&n| n > 0).ok_or(format!("has an extent of {n}"))
        }
        Some(Extent::Symbol(s)) => {
            Err(format!("leaves extent `{}` open; only the batch may vary", s.escape_debug()))
        }
        None => Err("leaves an extent open; only the batch may vary".into()),
    });
    let shape = extents.collect::<std::result::Result<Vec<_>, String>>()?;
    elements(&shape).map(|_| shape.clone()).ok_or_else(|| format!("shape {shape:?} is too large"))
}

/// The one table of operators.
fn lower(call: Call<'_>) -> Lowered {
    let node = call.node;
    if !is_default(&node.domain) {
        return Err(Stop::Because(format!("operator domain `{}` is not known", clean(&node.domain, ""))));
    }
    if call.operands.iter().all(|v| matches!(v, Some(Value::Const(_)) | None)) || node.op_type == "Shape" {
        return of_constants(call);
    }
    if call.operands.iter().any(|v| matches!(v, Some(Value::Rows(_)))) {
        return rows::lower(call, on_wires);
    }
    on_wires(call)
}

/// Operators on wires.
fn on_wires(call: Call<'_>) -> Lowered {
    match call.node.op_type.as_str() {
        "Conv" => conv::conv(call),
        "ConvTranspose" => conv::conv_transpose(call),
        "MaxPool" => pool::max_pool(call),
        "AveragePool" => pool::average_pool(call),
        "GlobalAveragePool" => pool::global_pool(call, true),
        "GlobalMaxPool" => pool::global_pool(call, false),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" => reduce::reduce(call),
        "Gemm" => linear::gemm(call),
        "MatMul" => linear::matmul(call),
        "BatchNormalization" => affine::batch_normalization(call),
        "Add" | "Sub" | "Mul" | "Div" => arithmetic::arithmetic(call),
        "Sum" => arithmetic::sum(call, false),
        "Mean" => arithmetic::sum(call, true),
        "Pow" => arithmetic::pow(call),
        "Max" => extremes::extreme(call, true),
        "Min" => extremes::extreme(call, false),
        "Relu" => activation::relu(call),
        "LeakyRelu" => activation::leaky_relu(call),
        "PRelu" => activation::prelu(call),
        "Clip" => activation::clip(call),
        "HardSigmoid" => activation::hard_sigmoid(call),
        "HardSwish" => activation::hard_swish(call),
        "Abs" => activation::abs(call),
        "Neg" => activation::neg(call),
        "Shrink" => activation::shrink(call),
        "Pad" => pad::pad(call),
        "Identity" | "Dropout" => shape::identity(call),
        "Flatten" => view::flatten(call),
        "Reshape" => view::reshape(call),
        "Squeeze" => view::squeeze(call, false),
        "Unsqueeze" => view::squeeze(call, true),
        "Transpose" => view::transpose(call),
        "Concat" => join::concat(call),
        "Slice" => select::slice(call),
        "Split" => select::split(call),
        "Gather" => select::gather(call),
        "Expand" => select::expand(call),
        "Tile" => select::tile(call),
        "DepthToSpace" => space::depth_to_space(call),
        "SpaceToDepth" => space::space_to_depth(call),
        "Upsample" => resize::upsample(call),
        "Resize" => resize::resize(call),
        "ArgMax" => view::argmax(call),
        other => Err(Stop::Because(format!("not supported{}", hint(other)))),
    }
}

/// Operators on nothing but constants.
fn of_constants(call: Call<'_>) -> Lowered {
    match call.node.op_type.as_str() {
        "Identity" | "Dropout" => shape::identity(call),
        "Reshape" => shape::reshape(call),
        "Squeeze" => shape::squeeze(call, false),
        "Unsqueeze" => shape::squeeze(call, true),
        "Transpose" => shape::transpose(call),
        "Constant" => shape::constant_node(call),
        "Shape" => shape::shape(call),
        "Gather" => shape::gather(call),
        "Concat" => shape::concat(call),
        "Cast" => shape::cast(call),
        other => Err(Stop::Because(format!("{other} of constants; fold them before export"))),
    }
}

/// What to do about an operator that is not supported.
fn hint(op: &str) -> &'static str {
    match op {
        "Softmax" | "LogSoftmax" => {
            "; it does not change which logit is largest: export the network without it"
        }
        "Sigmoid" | "Tanh" | "Elu" | "Celu" | "Selu" | "Gelu" | "Softplus" | "Softsign" | "Swish"
        | "Mish" | "Erf" => {
            "; activations are Relu, LeakyRelu, PRelu, Clip, HardSigmoid and HardSwish: train with one of them"
        }
        "ThresholdedRelu" | "Sign" | "Where" | "Floor" | "Ceil" | "Round" | "Greater" | "Less" | "Equal" => {
            "; it jumps, and fixed-point values fall on either side of a jump"
        }
        "LpPool" | "GlobalLpPool" | "Sqrt" | "Reciprocal" | "Exp" | "Log" => {
            "; only sums, products, comparisons and what is made of them"
        }
        "QuantizeLinear" | "DequantizeLinear" | "QLinearConv" | "ConvInteger" => "; export the float network",
        "LayerNormalization" | "InstanceNormalization" | "GroupNormalization" | "LRN" => {
            "; BatchNormalization is the one normalisation that costs nothing"
        }
        _ => "",
    }
}

/// Unsupported operators that give what they get in shape, so that what follows can still be judged.
fn keeps_shape(op: &str) -> bool {
    const ELEMENTWISE: &[&str] = &[
        "Sigmoid",
        "Tanh",
        "LeakyRelu",
        "PRelu",
        "ThresholdedRelu",
        "Celu",
        "Softsign",
        "Elu",
        "Selu",
        "Gelu",
        "Clip",
        "HardSwish",
        "HardSigmoid",
        "Softplus",
        "Mish",
        "Erf",
        "Softmax",
        "LogSoftmax",
        "LayerNormalization",
        "InstanceNormalization",
        "GroupNormalization",
        "LRN",
        "Exp",
        "Log",
        "Sqrt",
        "Neg",
        "Abs",
        "Cast",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "BatchNormalization",
    ];
    ELEMENTWISE.contains(&op)
}

#[cfg(test)]
mod tests;
