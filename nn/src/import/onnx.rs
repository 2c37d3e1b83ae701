//! ONNX models from PyTorch's exporters (and others that write plain feed-forward networks). Everything that stands in the
//! way is reported at once. Operator semantics from the ONNX operator specification, opsets 7 to 28.

mod activation;
mod affine;
mod arithmetic;
mod axes;
mod beside;
mod call;
mod cast;
mod choice;
mod classes;
mod constant;
mod conv;
mod decode;
mod dropped;
mod ending;
mod extremes;
mod functions;
mod inputs;
mod join;
mod layout;
mod linear;
mod mask;
mod ml;
mod needed;
mod obstacle;
mod operators;
mod outputs;
mod pad;
mod pool;
mod proto;
mod reduce;
mod resize;
mod rows;
mod select;
mod sequence;
mod space;
mod tensor;
mod turned;
mod types;
mod view;
mod walk;
mod window;

use super::Imported;
use super::draft::{Kind, clean};
use crate::graph::{Layout, Normalise, Op, Source};
use crate::{Error, Result};
use beside::Beside;
use call::{Call, Lowered, Stop, Value, is_default};
use obstacle::{Obstacles, unsupported};
use prost::Message;
use proto::ModelProto;
use serde::Serialize;
use walk::{Importer, Setting};

pub use beside::Folder;
use dropped::Function;
pub use inputs::OPSETS;
pub use operators::{OPERATORS, Operator};

/// How a model is imported.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// Replaces the graph's own name.
    pub name: Option<&'a str>,
    /// Written into the graph as it is.
    pub normalise: Option<&'a Normalise>,
    /// The output to take; without one, the only one that can be taken.
    pub output: Option<&'a str>,
    /// Where values that do not lie in the model itself are read from.
    pub folder: Option<&'a dyn Folder>,
    /// Refuse a model whose last function would be dropped.
    pub keep_probabilities: bool,
    /// Keep dropouts, which inference does without, for training.
    pub keep_dropout: bool,
    /// Keep batch normalisations as layers of their own, for training; [`crate::import::folded`] folds them later.
    pub keep_batchnorm: bool,
    /// How pictures lie in the file's input; without it, as the file shows.
    pub layout: Option<Layout>,
}

/// What an import did beside importing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// The output that was taken.
    pub output: String,
    /// The model's outputs that were left.
    pub others: Vec<String>,
    /// Functions at the end that the network does without.
    pub dropped: Vec<Dropped>,
    /// Names of the classes, in the order of the scores, where the file has them.
    pub classes: Vec<String>,
}

/// A function at the end of a network that does not decide which class it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Dropped {
    /// Its name in the file.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// What the output is now.
    pub meaning: String,
    /// What it computes; `None` for what only names the output's parts.
    #[serde(skip)]
    function: Option<Function>,
}

/// Reads an ONNX model that lies in one file, as [`read`] does.
///
/// # Errors
/// As [`read`].
pub fn import(bytes: &[u8], name: Option<&str>, normalise: Option<Normalise>) -> Result<Imported> {
    read(bytes, &Options { name, normalise: normalise.as_ref(), ..Options::default() })
        .map(|(model, _)| model)
}

/// Reads an ONNX model from the bytes of its file. Never panics, whatever the bytes, and allocates in proportion to them
/// (and to the files beside the model).
///
/// # Errors
/// [`Error::Onnx`] if the bytes are no ONNX model; [`Error::Import`] listing everything that cannot be taken over;
/// [`Error::Graph`] if `normalise` does not fit the input.
pub fn read(bytes: &[u8], options: &Options<'_>) -> Result<(Imported, Report)> {
    let mut model = ModelProto::decode(bytes).map_err(|e| Error::Onnx(e.to_string()))?;
    let mut obstacles = Obstacles::default();
    let opset = inputs::opset(&model, &mut obstacles);
    let calls = functions::inline(&mut model, opset, bytes.len());
    let refused = |mut obstacles: Obstacles, node: &str, op: &str, why: String| {
        obstacles.add(node, op, why);
        Err(Error::Import { obstacles: obstacles.into_list() })
    };
    if let Err(call) = calls {
        return refused(obstacles, &call.node, &call.op, call.why);
    }
    let Some(graph) = &model.graph else {
        return Err(Error::Onnx("it holds no graph".into()));
    };
    if graph.node.is_empty() {
        return Err(Error::Onnx("its graph holds no node".into()));
    }
    let candidates = match outputs::candidates(graph, options.output) {
        Ok(candidates) => candidates,
        Err(why) => return refused(obstacles, &graph.name, "model", why),
    };
    let beside = Beside::new(options.folder);
    let mut taken = None;
    let mut last = None;
    for &output in candidates.iter().take(outputs::TRIED) {
        let setting = Setting {
            opset,
            normalise: options.normalise.cloned().unwrap_or_default(),
            obstacles: obstacles.clone(),
            keep_probabilities: options.keep_probabilities,
            keep_dropout: options.keep_dropout,
            keep_batchnorm: options.keep_batchnorm,
            layout: options.layout,
        };
        let mut importer = Importer::walk(graph, output, &beside, setting);
        match importer.output(output) {
            Some(source) if importer.obstacles.is_empty() => {
                if taken.replace((output, importer, source)).is_some() {
                    let why = format!(
                        "{} outputs, wanted one; choose with --output NAME: {}",
                        graph.output.len(),
                        outputs::listed(graph)
                    );
                    return refused(obstacles, &graph.name, "model", why);
                }
            }
            _ => last = Some(importer.obstacles),
        }
    }
    if let Some((output, importer, source)) = taken {
        let others = graph.output.iter().filter(|o| o.name != output).map(|o| clean(&o.name, "?")).collect();
        let classes = classes::names(graph, importer.classes(source));
        let report = Report { output: clean(output, "?"), others, dropped: importer.dropped, classes };
        let name = options.name.unwrap_or(&graph.name);
        return Ok((importer.draft.finish(name, source)?, report));
    }
    if candidates.len() != 1 {
        let why = format!(
            "{} outputs, none of which can be taken (below is what stands in the way of the last one); choose with --output \
             NAME: {}",
            graph.output.len(),
            outputs::listed(graph)
        );
        obstacles.add(&graph.name, "model", why);
    }
    obstacles.append(last.unwrap_or_default());
    Err(Error::Import { obstacles: obstacles.into_list() })
}

impl Importer<'_> {
    /// How many classes the output tells apart.
    fn classes(&self, output: Source) -> usize {
        let of = |source: Source| self.draft.shape(source).iter().product();
        match output {
            // A label is the index of one of its operand's elements.
            Source::Node(i) if matches!(self.draft.steps[i].kind, Kind::Op(Op::Argmax)) => {
                of(self.draft.steps[i].inputs[0])
            }
            // One logit is of two classes.
            output => std::cmp::max(of(output), 2),
        }
    }

    /// The wire of the output, if there is one.
    fn output(&mut self, name: &str) -> Option<Source> {
        let why = match self.value(name) {
            Some(Value::Wire(source @ Source::Node(_))) => return Some(*source),
            Some(Value::Rows(source)) => {
                let rows = *source;
                return rows::output(&mut self.draft, rows).ok();
            }
            Some(Value::Wire(Source::Input)) => "is the input itself",
            Some(Value::Const(_)) => "does not depend on the input",
            Some(Value::Several(_) | Value::Lost) if !self.obstacles.is_empty() => return None,
            Some(Value::Several(_) | Value::Lost) | None => "no node gives it",
            Some(Value::Turned(..)) => "has its images along another axis than the first",
            Some(Value::Sequence(_)) => "is a sequence, wanted one tensor",
            Some(Value::Compared(_)) => "is a comparison, which jumps, wanted values",
        };
        self.obstacles.add(name, "output", format!("{why}; export the network again, with its output"));
        None
    }
}

/// Whether there is anything for an operator: on wires, on constants, or at the end.
fn takes(domain: &str, op: &str) -> bool {
    let listed = |name: &str| OPERATORS.iter().any(|o| o.name == name);
    match domain {
        ml::DOMAIN => listed(&format!("{domain}.{op}")),
        domain => is_default(domain) && (constant::known(op) || listed(op)),
    }
}

/// The one table of operators.
fn lower(call: Call<'_>) -> Lowered {
    let (domain, op) = (&call.node.domain, &call.node.op_type);
    if domain == ml::DOMAIN {
        return ml::lower(call);
    }
    if !is_default(domain) {
        return Err(unsupported(domain, op).into());
    }
    let any = |kind: fn(&Value) -> bool| call.operands.iter().flatten().any(kind);
    if !sequence::OPERATORS.contains(&op.as_str()) {
        if any(|v| matches!(v, Value::Rows(_))) {
            return rows::lower(call, on_wires);
        }
        if any(|v| matches!(v, Value::Turned(..))) {
            return turned::lower(call, on_wires);
        }
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
        "ThresholdedRelu" => activation::thresholded_relu(call),
        "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" => choice::compare(call),
        "Not" => choice::not(call),
        "Where" => choice::choose(call),
        "Pad" => pad::pad(call),
        "Identity" => cast::identity(call),
        "Dropout" => cast::dropout(call),
        "Flatten" => view::flatten(call),
        "Reshape" => view::reshape(call),
        "Squeeze" => view::squeeze(call, false),
        "Unsqueeze" => view::squeeze(call, true),
        "Transpose" => turned::transpose(call),
        "Concat" => join::concat(call),
        "Slice" => select::slice(call),
        "Split" => select::split(call),
        "Gather" => select::gather(call),
        "GatherND" => turned::gather_nd(call),
        "SplitToSequence" => sequence::split(call),
        "SequenceConstruct" => sequence::construct(call),
        "SequenceAt" => sequence::at(call),
        "ConcatFromSequence" => sequence::concat(call),
        "Expand" => select::expand(call),
        "Tile" => select::tile(call),
        "DepthToSpace" => space::depth_to_space(call),
        "SpaceToDepth" => space::space_to_depth(call),
        "Upsample" => resize::upsample(call),
        "Resize" => resize::resize(call),
        "Cast" => cast::cast(call),
        "CastLike" => cast::cast_like(call),
        "ArgMax" => ending::argmax(call),
        // Known, but only of constants: whether it is one is not known behind another obstacle.
        other if constant::known(other) && call.lost() => Err(Stop::Upstream),
        other => Err(unsupported(&call.node.domain, other).into()),
    }
}

/// Operators on constants and shapes, which are computed while importing.
pub fn constant_operators() -> impl Iterator<Item = &'static str> {
    constant::TABLE.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests;
