//! The private half of a model: values parallel to [`Graph::params`], kept as safetensors bytes bound to the graph's digest.

use crate::{Error, Graph, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;
use std::fmt;

/// Key of the file's metadata: the graph's digest in hex, a space, and its name.
const GRAPH_KEY: &str = "twoply.graph";

/// One row-major tensor per parameter of a graph, in the graph's order. Secret: never printed.
#[derive(Clone, PartialEq)]
pub struct Weights(pub Vec<Vec<f32>>);

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weights({} tensors)", self.0.len())
    }
}

impl Weights {
    /// Checks count, sizes and finiteness against the graph.
    ///
    /// # Errors
    /// [`Error::Weights`] listing all mismatches.
    pub fn check(&self, graph: &Graph) -> Result<()> {
        let mut faults = Vec::new();
        if self.0.len() != graph.params.len() {
            faults.push(format!("{} tensors for {} parameters", self.0.len(), graph.params.len()));
        }
        for (p, values) in graph.params.iter().zip(&self.0) {
            if crate::graph::elements(&p.shape) != Some(values.len()) {
                faults.push(format!("`{}`: {} values for shape {:?}", p.name, values.len(), p.shape));
            }
            if !values.iter().all(|v| v.is_finite()) {
                faults.push(format!("`{}`: holds NaN or infinity", p.name));
            }
        }
        refuse(graph, faults)
    }

    /// Safetensors bytes: float32, named as the parameters, with the graph's digest in the metadata.
    ///
    /// # Errors
    /// [`Error::Weights`] if the values do not fit the graph.
    pub fn to_safetensors(&self, graph: &Graph) -> Result<Vec<u8>> {
        self.check(graph)?;
        let bytes: Vec<Vec<u8>> =
            self.0.iter().map(|v| v.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
        let failed = |e: safetensors::SafeTensorError| unfit(graph, vec![format!("cannot be written: {e}")]);
        let views = graph.params.iter().zip(&bytes).map(|(p, b)| {
            TensorView::new(Dtype::F32, p.shape.clone(), b).map(|view| (p.name.as_str(), view))
        });
        let views = views.collect::<std::result::Result<Vec<_>, _>>().map_err(failed)?;
        let metadata = HashMap::from([(GRAPH_KEY.to_string(), mark(graph))]);
        safetensors::serialize(views, Some(metadata)).map_err(failed)
    }

    /// Reads what [`Weights::to_safetensors`] wrote for this graph.
    ///
    /// # Errors
    /// [`Error::Weights`]: another graph's weights (by its name), or all missing, surplus and misshapen tensors.
    pub fn from_safetensors(graph: &Graph, bytes: &[u8]) -> Result<Weights> {
        let damaged =
            |e: safetensors::SafeTensorError| unfit(graph, vec![format!("not a safetensors file: {e}")]);
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let found = header.metadata().as_ref().and_then(|m| m.get(GRAPH_KEY));
        match found {
            Some(found) if *found == mark(graph) => {}
            Some(found) => return Err(unfit(graph, vec![other_graph(graph, found)])),
            None => {
                let why = format!("no `{GRAPH_KEY}` in the metadata: not a weights file written by import");
                return Err(unfit(graph, vec![why]));
            }
        }
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let mut faults = Vec::new();
        let values = graph.params.iter().map(|p| match file.tensor(&p.name) {
            Err(_) => {
                faults.push(format!("`{}`: missing", p.name));
                Vec::new()
            }
            Ok(t) if t.dtype() != Dtype::F32 || t.shape() != p.shape => {
                let (dtype, shape) = (t.dtype(), t.shape());
                faults.push(format!("`{}`: {dtype:?} {shape:?}, wanted F32 {:?}", p.name, p.shape));
                Vec::new()
            }
            Ok(t) => t.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        });
        let weights = Weights(values.collect());
        for name in file.names() {
            if !graph.params.iter().any(|p| p.name == *name) {
                faults.push(format!("`{name}`: the graph has no such parameter"));
            }
        }
        refuse(graph, faults)?;
        weights.check(graph)?;
        Ok(weights)
    }
}

fn unfit(graph: &Graph, faults: Vec<String>) -> Error {
    Error::Weights { graph: graph.name.clone(), faults }
}

fn refuse(graph: &Graph, faults: Vec<String>) -> Result<()> {
    if faults.is_empty() { Ok(()) } else { Err(unfit(graph, faults)) }
}

fn mark(graph: &Graph) -> String {
    let hex: String = graph.digest().iter().map(|b| format!("{b:02x}")).collect();
    format!("{hex} {}", graph.name)
}

fn other_graph(graph: &Graph, found: &str) -> String {
    let name = found.split_once(' ').map_or("?", |(_, name)| name);
    if name == graph.name {
        format!("written for another version of `{name}` (structure, names or normalisation differ)")
    } else {
        format!("written for graph `{}`", name.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Input, Node, Normalise, Op, Param, Role, Source};

    fn graph() -> Graph {
        let param =
            |name: &str, shape: &[usize], role| Param { name: name.into(), shape: shape.to_vec(), role };
        Graph {
            name: "fc".into(),
            input: Input {
                name: "x".into(),
                shape: vec![2],
                normalise: Normalise::default(),
                layout: Default::default(),
            },
            params: vec![param("w", &[3, 2], Role::Weight), param("b", &[3], Role::Bias)],
            nodes: vec![Node {
                name: "fc".into(),
                op: Op::Linear { weight: 0, bias: Some(1) },
                inputs: vec![Source::Input],
            }],
        }
    }
    fn weights() -> Weights {
        Weights(vec![vec![0.5, -1.0, 2.0, f32::MIN_POSITIVE, 0.1, -0.0], vec![1.0, 2.0, 3.0]])
    }
    fn why<T>(r: Result<T>) -> String {
        r.err().expect("refused").to_string()
    }

    #[test]
    fn roundtrip_is_exact_and_repeatable() {
        let bytes = weights().to_safetensors(&graph()).unwrap();
        assert_eq!(Weights::from_safetensors(&graph(), &bytes).unwrap(), weights());
        assert_eq!(weights().to_safetensors(&graph()).unwrap(), bytes);
        assert!(!format!("{:?}", weights()).contains("0.5"));
    }

    #[test]
    fn another_graph_is_refused_by_name() {
        let bytes = weights().to_safetensors(&graph()).unwrap();
        let renamed = Graph { name: "fc2".into(), ..graph() };
        assert!(why(Weights::from_safetensors(&renamed, &bytes)).contains("written for graph `fc`"));
        let mut changed = graph();
        changed.input.normalise.scale = 2.0;
        assert!(why(Weights::from_safetensors(&changed, &bytes)).contains("another version of `fc`"));
    }

    #[test]
    fn all_mismatches_are_listed() {
        let g = graph();
        let data = [0u8; 24];
        let view =
            |dtype, shape: &[usize], n: usize| TensorView::new(dtype, shape.to_vec(), &data[..n]).unwrap();
        let file = |tensors: Vec<(&str, TensorView<'_>)>, marked: bool| {
            let metadata = marked.then(|| HashMap::from([(GRAPH_KEY.to_string(), mark(&g))]));
            safetensors::serialize(tensors, metadata).unwrap()
        };
        let text = why(Weights::from_safetensors(
            &g,
            &file(vec![("w", view(Dtype::F32, &[2, 3], 24)), ("c", view(Dtype::F64, &[1], 8))], true),
        ));
        for want in ["`w`: F32 [2, 3], wanted F32 [3, 2]", "`b`: missing", "`c`: the graph has no such"] {
            assert!(text.contains(want), "missing {want:?} in {text}");
        }
        let text = why(Weights::from_safetensors(&g, &file(vec![("b", view(Dtype::F32, &[3], 12))], false)));
        assert!(text.contains("not a weights file"), "{text}");
    }

    #[test]
    fn damage_and_bad_values_are_errors() {
        let bytes = weights().to_safetensors(&graph()).unwrap();
        for cut in 0..bytes.len() {
            assert!(Weights::from_safetensors(&graph(), &bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut huge = bytes.clone();
        huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Weights::from_safetensors(&graph(), &huge).is_err());
        let mut nan = bytes;
        let end = nan.len();
        nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(why(Weights::from_safetensors(&graph(), &nan)).contains("NaN"));
        let mut short = weights();
        short.0[1].pop();
        assert!(why(short.to_safetensors(&graph())).contains("`b`: 2 values for shape [3]"));
        short.0.pop();
        assert!(why(short.check(&graph())).contains("1 tensors for 2 parameters"));
    }
}
