//! Where the parameters of a zoo network come from.

use crate::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors};
use std::collections::{HashMap, HashSet};

/// What a parameter does, for those that are made up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Multiplied and summed: `[out, ..]`.
    Weight,
    /// Added, or subtracted.
    Shift,
    /// Multiplied, per channel.
    Factor,
    /// Divided by, as a square root.
    Variance,
}

/// Gives parameters by name.
pub trait Tensors {
    /// The values of a tensor of this shape, or what is wrong with it.
    fn take(&mut self, name: &str, shape: &[usize], kind: Kind) -> std::result::Result<Vec<f32>, String>;
    /// What nobody asked for, as faults.
    fn left(&self) -> Vec<String> {
        vec![]
    }
}

/// Parameters made up from a seed, for cost runs: reproducible, of a size that keeps the activations of every network of
/// the zoo near 1. Worth nothing as a classifier.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seeded(pub u64);

impl Tensors for Seeded {
    fn take(&mut self, name: &str, shape: &[usize], kind: Kind) -> std::result::Result<Vec<f32>, String> {
        let len: usize = shape.iter().product();
        let mut bytes = vec![0; 4 * len];
        let mut h = blake3::Hasher::new_derive_key("twoply 2026-11 seeded weights v1");
        h.update(&self.0.to_le_bytes()).update(name.as_bytes()).finalize_xof().fill(&mut bytes);
        let fan_in = shape[1..].iter().product::<usize>().max(1) as f64;
        let (low, high) = match kind {
            // uniform, of variance 1.2 / fan-in: a ReLU halves the mean square, a max pool raises it
            Kind::Weight => (-(3.6 / fan_in).sqrt(), (3.6 / fan_in).sqrt()),
            Kind::Shift => (-0.05, 0.05),
            Kind::Factor => (0.5, 1.0),
            Kind::Variance => (0.8, 1.2),
        };
        let unit = |b: &[u8; 4]| u32::from_le_bytes(*b) as f64 / (1u64 << 32) as f64;
        Ok(bytes.as_chunks().0.iter().map(|b| (low + (high - low) * unit(b)) as f32).collect())
    }
}

/// A PyTorch state dictionary, saved as safetensors.
pub struct StateDict {
    tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
    faults: Vec<String>,
    asked: HashSet<String>,
}

impl StateDict {
    /// Reads all tensors of 16 and 32-bit floats; counters of batches are not needed.
    ///
    /// # Errors
    /// [`Error::Data`] if the bytes are no safetensors file.
    pub fn read(bytes: &[u8]) -> Result<StateDict> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|e| Error::data("parameters", format!("not a safetensors file: {e}")))?;
        let mut dict = StateDict { tensors: HashMap::new(), faults: vec![], asked: HashSet::new() };
        for (name, t) in file.tensors() {
            let name = name.strip_prefix("module.").unwrap_or(&name).to_string();
            if name.ends_with(".num_batches_tracked") {
                continue;
            }
            let values = match t.dtype() {
                Dtype::F32 => t.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
                Dtype::BF16 => {
                    let wide = |b: &[u8; 2]| f32::from_bits((u16::from_le_bytes(*b) as u32) << 16);
                    t.data().as_chunks().0.iter().map(wide).collect()
                }
                other => {
                    dict.faults.push(format!("`{name}`: {other:?}; save float32"));
                    dict.asked.insert(name);
                    continue;
                }
            };
            dict.tensors.insert(name, (t.shape().to_vec(), values));
        }
        Ok(dict)
    }
}

impl Tensors for StateDict {
    fn take(&mut self, name: &str, shape: &[usize], _: Kind) -> std::result::Result<Vec<f32>, String> {
        self.asked.insert(name.to_string());
        match self.tensors.remove(name) {
            None => Err(format!("`{name}`: missing")),
            Some((found, _)) if found != shape => Err(format!("`{name}`: {found:?}, wanted {shape:?}")),
            Some((_, values)) if !values.iter().all(|v| v.is_finite()) => {
                Err(format!("`{name}`: holds NaN or infinity"))
            }
            Some((_, values)) => Ok(values),
        }
    }
    fn left(&self) -> Vec<String> {
        let mut names: Vec<&String> = self.tensors.keys().collect();
        names.sort();
        let surplus = names.into_iter().map(|n| format!("`{n}`: the network has no such parameter"));
        self.faults.iter().cloned().chain(surplus).collect()
    }
}
