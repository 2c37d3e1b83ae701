//! What stands in the way of an import, gathered: one line for every kind, with how often it occurs and what to do.

use super::call::is_default;
use crate::Obstacle;
use crate::import::draft::clean;
use std::collections::HashMap;

/// The obstacles of a model in file order, those of one kind as one.
#[derive(Clone, Default)]
pub(super) struct Obstacles {
    list: Vec<Obstacle>,
    /// Place in the list of what has been said, by operator and reason.
    said: HashMap<(String, String), usize>,
}

impl Obstacles {
    pub(super) fn add(&mut self, node: &str, op: &str, reason: impl Into<String>) {
        let reason = reason.into();
        // A remedy stands behind the last semicolon.
        let (reason, remedy) = match reason.rsplit_once("; ") {
            Some((reason, remedy)) => (reason.to_owned(), Some(remedy.to_owned())),
            None => (reason, None),
        };
        let op = clean(op, "?");
        let key = (op.clone(), reason.clone());
        if let Some(&at) = self.said.get(&key) {
            self.list[at].times += 1;
            return;
        }
        self.said.insert(key, self.list.len());
        let remedy = remedy.unwrap_or_else(|| way_out(&op).into());
        self.list.push(Obstacle { node: clean(node, "?"), op, times: 1, reason, remedy });
    }

    /// Those of another walk behind these.
    pub(super) fn append(&mut self, others: Obstacles) {
        let known = |o: &Obstacle| self.said.contains_key(&(o.op.clone(), o.reason.clone()));
        let new: Vec<Obstacle> = others.list.into_iter().filter(|o| !known(o)).collect();
        self.list.extend(new);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn into_list(self) -> Vec<Obstacle> {
        self.list
    }
}

/// Why an operator that is in no table is not taken.
pub(super) fn unsupported(domain: &str, op: &str) -> String {
    if !is_default(domain) {
        let domain = clean(domain, "");
        return format!("operators of the domain `{domain}` are not known; {}", foreign(&domain));
    }
    let why = match op {
        "Sigmoid" | "Tanh" | "Elu" | "Selu" | "Celu" | "Gelu" | "Softplus" | "Softsign" | "Mish"
        | "Swish" | "Erf" | "Exp" | "Log" | "Sqrt" | "Reciprocal" | "Sin" | "Cos" => {
            "a smooth function, for which there is no gate yet"
        }
        "Softmax" | "LogSoftmax" | "Hardmax" => "inside the network it needs a gate that does not exist yet",
        "Sign" | "Floor" | "Ceil" | "Round" | "Equal" => {
            "it jumps, and fixed-point values fall on either side of a jump"
        }
        _ => "not supported",
    };
    format!("{why}; {}", way_out(op))
}

/// What to do about an operator that is not taken, or not in the way it is used.
fn way_out(op: &str) -> &'static str {
    match op {
        "Sigmoid" | "Tanh" | "Elu" | "Selu" | "Celu" | "Gelu" | "Softplus" | "Softsign" | "Mish"
        | "Swish" | "Erf" | "ThresholdedRelu" | "Shrink" => {
            "train with Relu, LeakyRelu, PRelu, HardSwish or Clip in its place"
        }
        "Softmax" | "LogSoftmax" | "Hardmax" => {
            "only a last one over the classes can go; leave attention out of the private part of the network"
        }
        "Exp" | "Log" | "Sqrt" | "Reciprocal" | "Sin" | "Cos" | "Pow" | "Abs" => {
            "take it out of the network, or apply it to the data before encoding"
        }
        "QuantizeLinear"
        | "DequantizeLinear"
        | "DynamicQuantizeLinear"
        | "QLinearConv"
        | "QLinearMatMul"
        | "QLinearAdd"
        | "ConvInteger"
        | "MatMulInteger" => "export the float network, before quantization",
        "LayerNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "RMSNormalization"
        | "LRN"
        | "MeanVarianceNormalization"
        | "LpNormalization" => "train with BatchNormalization, the one normalisation that costs nothing",
        "LSTM" | "GRU" | "RNN" | "Loop" | "Scan" => "unroll it in the module, or replace it by convolutions",
        "If" => "choose one branch before export; a private network cannot branch on its data",
        "NonMaxSuppression" | "TopK" | "NonZero" | "Unique" | "RoiAlign" => {
            "export the network up to its raw scores, and do the rest where the result is known"
        }
        op if op.contains("Sequence") => {
            "take the parts of sequences by constant places, and join them again"
        }
        "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "Not" | "And" | "Or" | "Xor"
        | "Where" => "write the choice as Relu, Clip, Min or Max",
        "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike" | "Bernoulli"
        | "Multinomial" => "export in eval mode",
        "initializer" => "export again, with weights in FLOAT",
        other if super::takes("", other) => "`twoply import --list-operators` says what of it is taken",
        _ => "rewrite this part of the module with operators of `twoply import --list-operators`",
    }
}

/// What to do about operators of another domain.
fn foreign(domain: &str) -> &'static str {
    match domain {
        "com.microsoft" | "com.microsoft.nchwc" | "com.ms.internal.nhwc" => {
            "this file was optimized for ONNX Runtime: import the model that was exported, before that"
        }
        "ai.onnx.ml" => "only linear models and scalers of this domain are: export a neural network",
        "pkg.onnxscript.torch_lib" => "export with torch 2.6 or newer, which writes plain operators",
        _ => "export without custom operators",
    }
}
