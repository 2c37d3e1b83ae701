use super::*;
use crate::calibrate::{calibrate, observed_limits};
use crate::{Evaluator, Weights};
use safetensors::tensor::{Dtype, TensorView};

fn seeded(name: &str) -> Imported {
    named(name).unwrap().build(&mut Seeded(1)).unwrap()
}

/// AriaNN's published totals, and the part of them that is argmax.
#[test]
fn comparisons_are_counted_as_in_the_paper() {
    for (name, total, argmax) in [
        ("network-1", 366, 100),
        ("network-2", 10_450, 100),
        ("lenet", 15_330, 100),
        ("alexnet-cifar10", 25_550, 100),
        ("alexnet-64x64", 93_888, 40_000),
        ("vgg16-cifar10", 284_772, 100),
        ("vgg16-64x64", 1_154_112, 40_000),
        ("resnet18-2", 3_311_620, 4),
    ] {
        let counts = ariann::count(&seeded(name).graph).unwrap();
        assert_eq!((counts.total(), counts.argmax), (total, argmax), "{name}");
    }
}

#[test]
fn shapes_and_parameters_are_those_of_the_definitions() {
    for (name, parameters) in [
        ("network-1", 784 * 128 + 128 + 128 * 128 + 128 + 1290),
        ("lenet", 520 + 25_050 + 400_500 + 5_010),
        ("resnet8-cifar10", 432 + 2 * 2304 + 4608 + 9216 + 512 + 18_432 + 36_864 + 2048 + 336 + 650),
        // torchvision counts 11,689,512: a factor and a term per channel, of which a bias is left
        ("resnet18", 11_689_512 - 4_800),
    ] {
        let Imported { graph, weights } = seeded(name);
        let found: usize = weights.0.iter().map(Vec::len).sum();
        assert_eq!(found, parameters, "{name}");
        assert_eq!(graph.shapes().unwrap().last().unwrap(), &[named(name).unwrap().classes], "{name}");
    }
    assert!(named("alexnet").err().unwrap().to_string().contains("vgg16-64x64"));
}

/// In AlexNet for CIFAR-10 two normalisations stand behind ReLUs and before padded convolutions: their factors go into those,
/// and their addends, which padding must not get, are added place by place.
#[test]
fn a_normalisation_before_padding_leaves_its_addends() {
    let graph = seeded("alexnet-cifar10").graph;
    let alone = graph.nodes.iter().filter(|n| n.name.contains("bn"));
    assert_eq!(
        alone.map(|n| (n.name.as_str(), n.op.kind())).collect::<Vec<_>>(),
        [("bn1", "offset"), ("bn2", "offset")]
    );
    let resnet = seeded("resnet20-cifar10").graph;
    assert!(resnet.nodes.iter().all(|n| !n.name.contains("bn")), "behind convolutions they are folded");
}

/// Networks that are to be trained keep their normalisations; folded they are the networks of inference.
#[test]
fn kept_normalisations_fold_to_the_same_network() {
    for name in ["resnet8-cifar10", "resnet20-cifar10", "alexnet-cifar10"] {
        let kept = named(name).unwrap().with_norms(&mut Seeded(1)).unwrap();
        let norms = |g: &crate::Graph| g.nodes.iter().filter(|n| n.op.kind() == "batch_norm").count();
        let wanted = named(name).unwrap().build(&mut Seeded(1)).unwrap();
        assert!(norms(&kept.graph) >= 2 && norms(&wanted.graph) == 0, "{name}");
        assert_eq!(crate::import::folded(&kept.graph, &kept.weights).unwrap(), wanted, "{name}");
    }
}

#[test]
fn seeded_activations_fit_a_ring_of_32_bits() {
    for name in ["network-1", "network-2", "lenet", "alexnet-cifar10", "resnet20-cifar10"] {
        let Imported { graph, weights } = seeded(name);
        let noise: Vec<f32> = (0..graph.input.row() as u64)
            .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 23) as f32 * 2.0 - 2.0)
            .collect();
        let ranges = calibrate(&graph, &weights, &noise, &observed_limits(&graph, &noise)).unwrap();
        let most = ranges.nodes.iter().map(|n| n.observed).fold(0.0, f64::max);
        let last = ranges.nodes.last().unwrap().observed;
        assert!(most < 40.0 && last > 0.01, "{name}: at most {most}, at the end {last}");
    }
}

/// All parameters of a network as PyTorch saves them.
fn state_dict(name: &str, change: impl Fn(&mut Vec<(String, Vec<usize>, Vec<f32>)>)) -> Vec<u8> {
    struct Record(Seeded, Vec<(String, Vec<usize>, Vec<f32>)>);
    impl Tensors for Record {
        fn take(&mut self, name: &str, shape: &[usize], kind: Kind) -> std::result::Result<Vec<f32>, String> {
            let values = self.0.take(name, shape, kind)?;
            self.1.push((name.into(), shape.to_vec(), values.clone()));
            Ok(values)
        }
    }
    let mut record = Record(Seeded(1), vec![]);
    named(name).unwrap().build(&mut record).unwrap();
    change(&mut record.1);
    let bytes: Vec<Vec<u8>> =
        record.1.iter().map(|t| t.2.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = record.1.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn a_state_dictionary_gives_the_same_network() {
    let name = "resnet20-cifar10";
    let bytes = state_dict(name, |t| t.push(("bn1.num_batches_tracked".into(), vec![], vec![7.0])));
    let read = named(name).unwrap().build(&mut StateDict::read(&bytes).unwrap()).unwrap();
    assert_eq!(read, seeded(name));
}

#[test]
fn every_fault_of_a_state_dictionary_is_listed() {
    let bytes = state_dict("lenet", |t| {
        t.retain(|(name, ..)| name != "conv2.bias");
        t[0].1 = vec![20, 25, 1, 1];
        t.push(("fc9.weight".into(), vec![1], vec![0.0]));
        t.iter_mut().find(|(name, ..)| name == "fc2.bias").unwrap().2[0] = f32::NAN;
    });
    let dict = &mut StateDict::read(&bytes).unwrap();
    let text = named("lenet").unwrap().build(dict).err().unwrap().to_string();
    for want in
        ["`conv2.bias`: missing", "`conv1.weight`: [20, 25, 1, 1]", "`fc9.weight`", "`fc2.bias`: holds NaN"]
    {
        assert!(text.contains(want), "{want} in {text}");
    }
    assert!(StateDict::read(b"nothing").is_err());
}

/// The definitions run: the plain evaluator gives finite logits.
#[test]
fn every_small_network_evaluates() {
    for name in ["network-2", "alexnet-cifar10", "resnet20-cifar10"] {
        let Imported { graph, weights } = seeded(name);
        let weights = Weights(weights.0);
        let x = vec![0.25; graph.input.row()];
        let logits = Evaluator::new(&graph, &weights).unwrap().run(&x).unwrap().remove(0);
        assert!(logits.len() == 10 && logits.iter().all(|v| v.is_finite()), "{name}");
    }
}
