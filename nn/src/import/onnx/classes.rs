//! The names of a classifier's classes, where a file has them: scikit-learn's converter writes them beside the scores.

use super::beside::Beside;
use super::decode;
use super::proto::{Attribute, GraphProto, NodeProto, TensorProto};
use super::types;
use crate::import::draft::clean;

/// Names of `count` classes, in the order of the scores.
pub(super) fn names(graph: &GraphProto, count: usize) -> Vec<String> {
    let all = graph.node.iter().filter(|n| n.domain == super::ml::DOMAIN).filter_map(|n| of_node(graph, n));
    all.into_iter().find(|names| names.len() == count).unwrap_or_default()
}

fn of_node(graph: &GraphProto, node: &NodeProto) -> Option<Vec<String>> {
    let named = |attribute: &&Attribute| attribute.name.starts_with("classlabels_");
    match node.op_type.as_str() {
        "ZipMap" | "LinearClassifier" => {
            let a = node.attribute.iter().find(named)?;
            Some(if a.strings.is_empty() {
                a.ints.iter().map(i64::to_string).collect()
            } else {
                words(&a.strings)
            })
        }
        "ArrayFeatureExtractor" => {
            let classes = graph.initializer.iter().find(|t| Some(&t.name) == node.input.first())?;
            if is_words(classes) {
                return Some(words(&classes.string_data));
            }
            let classes = decode::tensor(classes, &Beside::new(None)).ok()?;
            Some(classes.integers().ok()?.iter().map(i64::to_string).collect())
        }
        _ => None,
    }
}

/// Whether a tensor holds text, which only names of classes are.
pub(super) fn is_words(t: &TensorProto) -> bool {
    types::name(t.data_type.into()) == "STRING"
}

fn words(list: &[Vec<u8>]) -> Vec<String> {
    list.iter().map(|word| clean(&String::from_utf8_lossy(word), "?")).collect()
}
