//! What can be imported, for people: README's table and `twoply import --list-operators`.

use serde::Serialize;

/// An operator that can be imported.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Operator {
    /// Name in the specification.
    pub name: &'static str,
    /// What of it is taken.
    pub limits: &'static str,
}

const fn operator(name: &'static str, limits: &'static str) -> Operator {
    Operator { name, limits }
}

/// Operators on values that depend on the input: those of the importer's one table, and what may stand at the end.
pub const OPERATORS: &[Operator] = &[
    operator("Abs", ""),
    operator("Add", "wires and constants, broadcast"),
    operator("ArgMax", "last, over the classes; ties go to the lower index"),
    operator("AveragePool", "one or two axes: padding, `ceil_mode`, `count_include_pad`, dilation"),
    operator("BatchNormalization", "in evaluation mode"),
    operator("Cast", "between floats"),
    operator("CastLike", "between floats"),
    operator("Clip", "constant limits"),
    operator("Concat", "along any axis behind the batch, with constants too"),
    operator("ConcatFromSequence", "of parts that are known at import"),
    operator("Conv", "one or two axes: strides, padding, dilation, groups; constant weights"),
    operator("ConvTranspose", "one or two axes, likewise"),
    operator("DepthToSpace", "both modes"),
    operator("Div", "by constants, broadcast"),
    operator("Dropout", "nothing to inference; kept for training with `--keep-dropout`"),
    operator("Expand", ""),
    operator("Flatten", "axis 1"),
    operator("Gather", "constant places"),
    operator("GatherND", "constant places, along axes that a Transpose put in front of the batch"),
    operator("Gemm", "constant weights"),
    operator("GlobalAveragePool", ""),
    operator("GlobalMaxPool", ""),
    operator("Greater", "with a number, as the condition of a Where"),
    operator("GreaterOrEqual", "with a number, as the condition of a Where"),
    operator("HardSigmoid", ""),
    operator("HardSwish", ""),
    operator("Identity", ""),
    operator("If", "with a condition that is known at import"),
    operator("LeakyRelu", "any slope"),
    operator("Less", "with a number, as the condition of a Where"),
    operator("LessOrEqual", "with a number, as the condition of a Where"),
    operator("LogSoftmax", "last, over the classes: dropped, the output is the logits"),
    operator("MatMul", "with a constant on either side, along any axis"),
    operator("Max", "any number of wires and constants, broadcast"),
    operator("MaxPool", "one or two axes: padding, `ceil_mode`, dilation; no places"),
    operator("Mean", "any number of wires and constants, broadcast"),
    operator("Min", "any number of wires and constants, broadcast"),
    operator("Mul", "wires and constants, broadcast"),
    operator("Neg", ""),
    operator("Not", "of a comparison with a number, before a Where"),
    operator("PRelu", "constant slopes, broadcast"),
    operator("Pad", "all modes and values; negative pads crop"),
    operator("Pow", "squares"),
    operator("ReduceMax", "any axes behind the batch"),
    operator("ReduceMean", "any axes behind the batch"),
    operator("ReduceMin", "any axes behind the batch"),
    operator("ReduceSum", "any axes behind the batch"),
    operator("Relu", ""),
    operator("Reshape", "within each image, or into rows that come back to images"),
    operator("Resize", "nearest and linear"),
    operator("SequenceAt", "constant places"),
    operator("SequenceConstruct", ""),
    operator("Shrink", "soft: `bias` equals `lambd`"),
    operator("Sigmoid", "last: dropped, the output is the logits"),
    operator("Slice", "any axes behind the batch, any steps"),
    operator("Softmax", "last, over the classes: dropped, the output is the logits"),
    operator("SpaceToDepth", ""),
    operator("Split", "any axis behind the batch"),
    operator("SplitToSequence", "any axis behind the batch"),
    operator("Squeeze", "within each image"),
    operator("Sub", "wires and constants, broadcast"),
    operator("Sum", "any number of wires and constants, broadcast"),
    operator("ThresholdedRelu", "`alpha` 0"),
    operator("Tile", "any axes behind the batch"),
    operator("Transpose", "any axes; the batch too, if it comes back before anything mixes images"),
    operator("Unsqueeze", "within each image"),
    operator("Upsample", "nearest and linear"),
    operator(
        "Where",
        "between multiples of the value compared, plus numbers, that meet at the threshold; by a constant, which becomes public",
    ),
    operator("ai.onnx.ml.ArrayFeatureExtractor", "constant places of a vector; last, of classes: dropped"),
    operator("ai.onnx.ml.LabelEncoder", "last, of classes: dropped"),
    operator("ai.onnx.ml.LinearClassifier", "its SOFTMAX or LOGISTIC is dropped"),
    operator("ai.onnx.ml.LinearRegressor", ""),
    operator("ai.onnx.ml.Normalizer", "last, L1: dropped"),
    operator("ai.onnx.ml.Scaler", ""),
    operator("ai.onnx.ml.ZipMap", "last: dropped, the output is a vector"),
];
