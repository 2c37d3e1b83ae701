//! A network of the zoo while it is written down, layer behind layer.

use super::tensors::{Kind, Tensors};
use crate::graph::{Norm, Normalise, Op, Role, Source};
use crate::import::draft::Draft;
use crate::{Error, Imported, Result};
use twoply_primitives::tensor::Window;

/// PyTorch's default in batch normalisation.
const EPSILON: f64 = 1e-5;

/// What a parameter of this role does.
fn kind(role: Role) -> Kind {
    match role {
        Role::Weight => Kind::Weight,
        Role::Bias | Role::Mean => Kind::Shift,
        Role::Factor => Kind::Factor,
        Role::Variance => Kind::Variance,
    }
}

/// The draft, and the wire that the next layer reads.
pub(super) struct Net<'t> {
    draft: Draft,
    tensors: &'t mut dyn Tensors,
    at: Source,
    faults: Vec<String>,
}

impl<'t> Net<'t> {
    pub(super) fn new(input: [usize; 3], normalise: Normalise, tensors: &'t mut dyn Tensors) -> Self {
        let draft = Draft::new("image", input.to_vec(), normalise);
        Net { draft, tensors, at: Source::Input, faults: vec![] }
    }
    /// Keeps batch normalisations as they are.
    pub(super) fn keeping_norms(mut self) -> Self {
        self.draft.keeps_norms = true;
        self
    }
    /// The wire that the next layer reads.
    pub(super) fn here(&self) -> Source {
        self.at
    }
    /// Goes on from another wire.
    pub(super) fn go_to(&mut self, at: Source) {
        self.at = at;
    }
    /// Channels of the current wire, or its length.
    pub(super) fn channels(&self) -> usize {
        self.draft.shape(self.at)[0]
    }

    fn note<T>(&mut self, made: std::result::Result<T, String>) -> Option<T> {
        made.map_err(|why| self.faults.push(why)).ok()
    }
    fn push(&mut self, name: &str, op: Op, inputs: &[Source]) {
        let made = self.draft.push(name, op, inputs);
        if let Some(at) = self.note(made) {
            self.at = at;
        }
    }
    fn tensor(&mut self, name: &str, shape: &[usize], kind: Kind) -> Vec<f32> {
        let made = self.tensors.take(name, shape, kind);
        self.note(made).unwrap_or_else(|| vec![0.0; shape.iter().product()])
    }
    fn param(&mut self, name: &str, shape: &[usize], role: Role) -> usize {
        let values = self.tensor(name, shape, kind(role));
        let made = self.draft.param(name, shape, role, values);
        self.note(made).unwrap_or(0)
    }

    /// A convolution to `to` channels.
    pub(super) fn conv(&mut self, name: &str, to: usize, window: Window, bias: bool) {
        let [kh, kw] = window.kernel;
        let shape = [to, self.channels(), kh, kw];
        let weight = self.param(&format!("{name}.weight"), &shape, Role::Weight);
        let bias = bias.then(|| self.param(&format!("{name}.bias"), &[to], Role::Bias));
        self.push(name, Op::Conv2d { weight, bias, window, groups: 1 }, &[self.at]);
    }
    /// A fully connected layer to `to` values.
    pub(super) fn linear(&mut self, name: &str, to: usize) {
        let weight = self.param(&format!("{name}.weight"), &[to, self.channels()], Role::Weight);
        let bias = Some(self.param(&format!("{name}.bias"), &[to], Role::Bias));
        self.push(name, Op::Linear { weight, bias }, &[self.at]);
    }
    /// Batch normalisation with its statistics; folded, unless it is kept for training.
    pub(super) fn norm(&mut self, name: &str) {
        let shape = [self.channels()];
        let parts = [
            ("weight", Role::Factor),
            ("bias", Role::Bias),
            ("running_mean", Role::Mean),
            ("running_var", Role::Variance),
        ];
        let made = match self.draft.keeps_norms {
            true => {
                let [gamma, beta, mean, variance] =
                    parts.map(|(part, role)| self.param(&format!("{name}.{part}"), &shape, role));
                let op = Op::BatchNorm { gamma, beta, mean, variance, epsilon: EPSILON };
                self.draft.push(name, op, &[self.at])
            }
            false => {
                let values =
                    parts.map(|(part, role)| self.tensor(&format!("{name}.{part}"), &shape, kind(role)));
                let [gamma, beta, mean, variance] = values.each_ref().map(|v| &v[..]);
                let norm = Norm { gamma, beta, mean, variance, epsilon: EPSILON };
                let affine = norm.affine().map_err(|why| format!("`{name}`: {why}"));
                affine.and_then(|(scale, shift)| self.draft.affine(name, self.at, &scale, &shift))
            }
        };
        if let Some(at) = self.note(made) {
            self.at = at;
        }
    }
    pub(super) fn relu(&mut self, name: &str) {
        self.push(name, Op::Relu, &[self.at]);
    }
    pub(super) fn max_pool(&mut self, name: &str, window: Window) {
        self.push(name, Op::MaxPool(window), &[self.at]);
    }
    /// The mean of each channel.
    pub(super) fn mean(&mut self, name: &str) {
        let shape = self.draft.shape(self.at).to_vec();
        let window = Window { kernel: [shape[1], shape[2]], ..Window::square(1, 1) };
        self.push(name, Op::AvgPool { window, count_include_pad: false }, &[self.at]);
    }
    /// The sum with another wire.
    pub(super) fn add(&mut self, name: &str, other: Source) {
        self.push(name, Op::Add, &[self.at, other]);
    }
    /// All elements in a row.
    pub(super) fn flatten(&mut self) {
        let row = self.draft.shape(self.at).iter().product();
        self.push("flatten", Op::Reshape(vec![row]), &[self.at]);
    }

    pub(super) fn finish(mut self, name: &str) -> Result<Imported> {
        self.faults.extend(self.tensors.left());
        match self.faults.is_empty() {
            true => self.draft.finish(name, self.at),
            false => Err(Error::data("zoo", format!("{name}: {}", self.faults.join("; ")))),
        }
    }
}
