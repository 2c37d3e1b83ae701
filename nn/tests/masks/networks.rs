//! Small networks in which every operation occurs, and the networks of the zoo without their weights.

use super::common::build::{Builder, Model};
use super::common::variants;
use std::collections::BTreeSet;
use twoply_nn::{Imported, Options, Plan, Program, Reveal, Source, zoo};
use twoply_primitives::Window;

/// Fully connected, with a residual connection and a difference.
pub fn dense() -> Model {
    let mut b = Builder::new("dense", &[4], 21);
    let x = b.linear(Source::Input, 4);
    let y = b.relu(x);
    let y = b.linear(y, 4);
    let z = b.add(x, y);
    let z = b.leaky_relu(z, 0.2);
    let z = b.sub(z, y);
    b.linear(z, 3);
    b.finish(1).scale_to(2.0)
}

/// Convolutions with stride, padding and groups, both pools, a concatenation, a dropout whose factor is cut.
pub fn spatial() -> Model {
    let mut b = Builder::new("spatial", &[2, 4, 4], 22);
    let x = b.conv(Source::Input, 2, Window::square(3, 1).padded(1), 2);
    let x = b.max_pool(x, Window::square(2, 2));
    let x = b.relu(x);
    let x = b.dropout(x, 0.25);
    let y = b.conv(x, 2, Window::square(2, 2), 1);
    let z = b.avg_pool(x, Window::square(2, 2), true);
    let x = b.concat(&[y, z]);
    b.linear(x, 2);
    b.finish(1).scale_to(2.0)
}

/// Padding, clips, a pool whose windows overlap and reach into padding, an argmax.
pub fn clipped() -> Model {
    let mut b = Builder::new("clipped", &[1, 2, 2], 23);
    let x = b.pad(Source::Input, [1, 0, 0, 1]);
    let x = b.conv(x, 1, Window::square(2, 1), 1);
    let x = b.clip(x, Some(-0.3), Some(0.6));
    let x = b.max_pool(x, Window::square(3, 1).padded(1));
    let x = b.clip(x, None, Some(0.5));
    let x = b.reshape(x, &[4]);
    let x = b.linear(x, 3);
    b.argmax(x);
    b.finish(1).scale_to(2.0)
}

/// Products of two wires, one of them a square; private addends, public factors, sums over windows, elements elsewhere.
pub fn multiplied() -> Model {
    let mut b = Builder::new("multiplied", &[2, 2, 2], 24);
    let x = b.offset(Source::Input);
    let x = b.squeeze(x, 1);
    let y = b.mul(x, x);
    let y = b.transpose(y, &[0, 2, 1]);
    let x = b.add(x, y);
    let x = b.sum_pool(x, Window::square(2, 1));
    b.linear(x, 2);
    b.finish(1).scale_to(2.0)
}

/// Normalisations of channels and of a row, for training alone.
pub fn normalised() -> Model {
    let mut b = Builder::new("normalised", &[1, 3, 3], 25);
    let x = b.conv(Source::Input, 2, Window::square(1, 1), 1);
    let x = b.batch_norm(x);
    let x = b.relu(x);
    let x = b.linear(x, 3);
    let x = b.batch_norm(x);
    b.linear(x, 2);
    b.finish(1)
}

/// All that inference has.
pub fn all() -> [Model; 4] {
    [dense(), spatial(), clipped(), multiplied()]
}

/// The program of a model.
pub fn program(model: &Model, options: &Options) -> Program {
    Plan::new(model.graph.clone(), options.clone(), Some(model.ranges())).unwrap().program().unwrap()
}

/// Both rings, both comparisons, both roundings; and with a tournament behind the output, if asked for.
pub fn options(reveal: &[Reveal]) -> Vec<Options> {
    variants().into_iter().filter(|o| reveal.contains(&o.reveal)).collect()
}

/// A network of the zoo; what its weights are is of no account to a dealer.
pub fn zoo(entry: &zoo::Entry) -> Imported {
    struct Ones;
    impl zoo::Tensors for Ones {
        fn take(&mut self, _: &str, shape: &[usize], _: zoo::Kind) -> Result<Vec<f32>, String> {
            Ok(vec![1.0; shape.iter().product()])
        }
    }
    entry.build(&mut Ones).unwrap()
}

#[test]
fn every_operation_occurs() {
    let kinds: BTreeSet<_> =
        all().iter().flat_map(|m| m.graph.nodes.iter().map(|n| n.op.kind()).collect::<Vec<_>>()).collect();
    assert_eq!(kinds.len(), 20, "{kinds:?}");
}
