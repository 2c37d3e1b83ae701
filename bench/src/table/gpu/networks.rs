//! Whole networks: both parties on the one device, in one process, keys in pinned memory; labels beside the plain network's.

use super::homes::pinned;
use super::limits::Work;
use super::{Bench, Unit};
use crate::network::{Dealt, enlarged, of_zoo, pixels};
use twoply_nn::roles::Answer;
use twoply_nn::{Evaluator, Graph, Meaning, Options, Weights};
use twoply_primitives::compare::Scheme;
use twoply_primitives::{Error, PartyId, Result};

/// A network, and the batches that it is timed on.
struct Case {
    name: &'static str,
    model: fn() -> (Graph, Weights),
    batches: &'static [usize],
}

const FULL: [Case; 5] = [
    Case { name: "Network-1", model: || of_zoo("network-1"), batches: &[1, 128] },
    Case { name: "LeNet", model: || of_zoo("lenet"), batches: &[1, 128] },
    Case { name: "AlexNet 64x64", model: || of_zoo("alexnet-64x64"), batches: &[1, 16] },
    Case { name: "ResNet-18 224x224", model: || of_zoo("resnet18"), batches: &[1, 4] },
    Case { name: "VGG-16 224x224", model: || enlarged(of_zoo("vgg16-64x64"), [3, 224, 224]), batches: &[1] },
];

const QUICK: [Case; 1] = [Case { name: "Network-1", model: || of_zoo("network-1"), batches: &[2] }];

/// How far the plain network's logit of a private label may lie below its best one, of the spread of all: two that lie
/// closer than the rounding of fixed-point numbers may change places.
const NEAR: f64 = 0.05;

/// All networks with both comparisons.
pub fn rows(b: &mut Bench) -> Result<()> {
    for case in b.pick(&FULL[..], &QUICK) {
        let model = (case.model)();
        for &batch in case.batches {
            (b.say)(&format!("{}, {batch} images", case.name));
            let plain = Evaluator::new(&model.0, &model.1).and_then(|e| e.run(&pixels(&model.0, batch)));
            let plain = plain.map_err(failed)?;
            for scheme in [Scheme::Dpf, Scheme::Digits] {
                network(b, case.name, &model, (scheme, batch), &plain)?;
            }
        }
    }
    Ok(())
}

fn failed(e: twoply_nn::Error) -> Error {
    Error::shape("network", e.to_string())
}

fn network(
    b: &mut Bench,
    name: &str,
    model: &(Graph, Weights),
    (compare, batch): (Scheme, usize),
    plain: &[Vec<f32>],
) -> Result<()> {
    let options = Options { compare, ..Options::default() };
    let dev = b.dev.clone();
    let dealt = Dealt::new(dev.clone(), model.clone(), options, batch, &pinned(&dev)).map_err(failed)?;
    let before = b.dev.launches();
    let answer = dealt.run().map_err(failed)?.0;
    let launches = (b.dev.launches() - before) as f64 / batch as f64;
    let seconds = b.time(|| dealt.run().map(drop).map_err(failed))?;
    let gates = dealt.gates().map_err(failed)?;
    let sum =
        |f: &dyn Fn(&twoply_primitives::Cost) -> u64| gates.iter().map(|g| f(&g.cost)).sum::<u64>() as f64;
    // what goes to and from both parties takes one bus
    let said = 2.0 * sum(&|c| c.bytes);
    let keys: f64 = PartyId::BOTH.iter().map(|p| sum(&|c| c.key_bits(p.index())) / 8.0).sum();
    let (comparisons, images) = (sum(&|c| c.comparisons) / batch as f64, batch as f64);
    let work = Work { into: keys + said, out: said, ..Work::default() };
    let case = format!("{compare}, batch {batch}");
    let agree = agreeing(&answer, plain).unwrap_or_else(|why| {
        b.faults.push(format!("{name}, {case}: {why}"));
        "WRONG".into()
    });
    let row = b.row(name, &case, Unit::Millis("ms/image"), (images, seconds), work);
    row.note = Some(format!(
        "labels as plain: {agree}; per image {launches:.0} kernels, {comparisons:.0} comparisons, {:.1} MB of keys",
        keys / images / 1e6
    ));
    Ok(())
}

/// How many labels are the plain network's, in words; or which is another and no near one.
fn agreeing(answer: &Answer, plain: &[Vec<f32>]) -> std::result::Result<String, String> {
    let classes = plain.first().map_or(0, Vec::len);
    let labels = Meaning::Classes { classes }.labels(answer).unwrap_or_default();
    if labels.len() != plain.len() {
        return Err(format!("{} labels for {} images", labels.len(), plain.len()));
    }
    let mut agree = 0;
    for (image, (&label, row)) in labels.iter().zip(plain).enumerate() {
        let of = |f: fn(f32, f32) -> f32| f64::from(row.iter().copied().reduce(f).unwrap_or(f32::NAN));
        let (best, least) = (of(f32::max), of(f32::min));
        let mine = row.get(label).copied().map_or(f64::NAN, f64::from);
        // what is not a number is not near
        let near = best - mine <= NEAR * (best - least);
        if !near {
            return Err(format!("image {image} is {label}: plain logit {mine}, the best is {best}"));
        }
        agree += usize::from(mine == best);
    }
    Ok(format!("{agree} of {}", plain.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_label_is_an_error_and_a_near_one_is_not() {
        let plain = [vec![0.0, 1.0, 0.99]];
        let labels = |l| agreeing(&Answer::Labels(vec![l]), &plain);
        assert_eq!((labels(1).unwrap(), labels(2).unwrap()), ("1 of 1".into(), "0 of 1".into()));
        assert!(labels(0).is_err() && labels(7).is_err());
        assert!(agreeing(&Answer::Labels(vec![]), &plain).is_err());
        assert!(agreeing(&Answer::Labels(vec![1]), &[vec![f32::NAN, f32::NAN]]).is_err());
    }
}
