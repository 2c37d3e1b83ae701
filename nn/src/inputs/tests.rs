use super::*;
use crate::data::{Axes, Pixels};
use crate::graph::{Graph, Node, Normalise, Op, Source};
use crate::{Floats, Images, Options, Plan, Ranges, Weights, calibrate};

const SIDE: usize = 8;

/// A network that takes pictures of three channels and hands them on.
fn graph(normalise: Normalise) -> Graph {
    Graph {
        name: "g".into(),
        input: Input { name: "x".into(), shape: vec![3, SIDE, SIDE], normalise, layout: Default::default() },
        params: vec![],
        nodes: vec![Node { name: "relu".into(), op: Op::Relu, inputs: vec![Source::Input] }],
    }
}

/// Scales as importers write them: ImageNet's, MNIST's way with a factor of 16, and no more than 1/255.
fn scales() -> [Normalise; 3] {
    let mean = vec![0.485, 0.456, 0.406];
    let std = vec![0.229, 0.224, 0.225];
    [
        Normalise { scale: 1.0 / 255.0, mean, std },
        Normalise { scale: 1.0 / 255.0, mean: vec![0.5; 3], std: vec![0.5; 3] },
        Normalise { scale: 1.0 / 255.0, ..Normalise::default() },
    ]
}

/// Pictures with the look of photographs: a gradient, a bright spot, noise; some of them dark.
fn photos(count: u64, from: u64) -> Vec<u8> {
    let noise = |i: u64| ((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % 64;
    let pixel = |i: u64, c: u64, y: u64, x: u64| {
        let light = if i % 5 == 4 { 3 } else { 12 };
        let spot = if x.abs_diff(i % 8) + y.abs_diff(c + 2) < 2 { 14 * light } else { 0 };
        (y * light + spot + noise(i * 1000 + c * 100 + y * 10 + x)).min(255) as u8
    };
    let picture =
        |i: u64| (0..3).flat_map(move |c| (0..8).flat_map(move |y| (0..8).map(move |x| pixel(i, c, y, x))));
    (from..from + count).flat_map(picture).collect()
}

fn inputs(graph: &Graph, pixels: Pixels, floats: Floats) -> Vec<f32> {
    let images = Images { shape: graph.input.shape.clone(), pixels, axes: Axes::Said };
    images.inputs(&graph.input, floats).unwrap()
}

fn plan(normalise: &Normalise, samples: Pixels) -> Plan {
    let graph = graph(normalise.clone());
    let samples = inputs(&graph, samples, Floats::Raw);
    let ranges = calibrate(&graph, &Weights(vec![]), &samples, &graph.input.byte_range()).unwrap();
    Plan::new(graph, Options::default(), Some(ranges)).unwrap()
}

fn raw(plan: &Plan, values: Vec<f32>) -> Option<Doubt> {
    let values = inputs(&plan.graph, Pixels::Float(values), Floats::Raw);
    examine(plan, &values, Given::Floats, "--normalised", 0)
}
fn normalised(plan: &Plan, values: &[f32]) -> Option<Doubt> {
    examine(plan, values, Given::Normalised, "--normalised", 0)
}
fn bytes(plan: &Plan, values: Vec<u8>) -> Option<Doubt> {
    examine(plan, &inputs(&plan.graph, Pixels::Raw(values), Floats::Raw), Given::Bytes, "--normalised", 0)
}
fn whole(plan: &Plan, values: Vec<f32>) -> Option<Doubt> {
    // Whatever is said of floats: integers are raw.
    let values = inputs(&plan.graph, Pixels::Whole(values), Floats::Normalised);
    examine(plan, &values, Given::Whole, "--normalised", 0)
}
fn floats(bytes: &[u8], divided: f32) -> Vec<f32> {
    bytes.iter().map(|b| f32::from(*b) / divided).collect()
}

#[test]
fn a_profile_is_of_raw_values_whatever_the_file_held() {
    for normalise in scales() {
        let g = graph(normalise);
        let photos = photos(20, 0);
        let of_bytes = inputs(&g, Pixels::Raw(photos.clone()), Floats::Raw);
        let found = Profile::of(&g.input, &of_bytes);
        let as_floats = inputs(&g, Pixels::Float(floats(&photos, 1.0)), Floats::Raw);
        assert_eq!(Profile::of(&g.input, &as_floats), found);
        assert_eq!(Profile::of(&g.input, &inputs(&g, Pixels::Float(of_bytes), Floats::Normalised)), found);
        assert!(found.whole && found.contrast > 50.0, "{found:?}");
        let mean = photos.iter().map(|b| f64::from(*b)).sum::<f64>() / photos.len() as f64;
        assert!((found.mean() - mean).abs() < 1e-3, "{} {mean}", found.mean());
        let ends = (photos.iter().min().unwrap(), photos.iter().max().unwrap());
        assert_eq!((found.low(), found.high()), (f64::from(*ends.0), f64::from(*ends.1)));
        found.check(&g.input).unwrap();
    }
    let g = graph(Normalise::default());
    let two =
        Profile { channels: vec![Channel { low: 0.0, high: 1.0, mean: 0.5 }; 2], contrast: 1.0, whole: true };
    assert!(two.check(&g.input).is_err());
    let nan = Profile { contrast: f64::NAN, ..Profile::bytes(&g.input) };
    assert!(nan.check(&g.input).is_err());
}

/// Pictures like the samples, one at a time and together, as bytes, floats and normalised; and black, white and grey.
#[test]
fn no_false_alarm() {
    for normalise in scales() {
        let plan = plan(&normalise, Pixels::Raw(photos(20, 0)));
        let row = plan.graph.input.row();
        let others = photos(40, 500);
        let plain = |values: u8| vec![values; row];
        let mut noisy = plain(0);
        noisy[7] = 3;
        let batches =
            [others.clone(), plain(0), plain(255), plain(127), noisy, [plain(0), plain(255)].concat()];
        for batch in others.chunks(row).map(<[u8]>::to_vec).chain(batches) {
            let as_input = inputs(&plan.graph, Pixels::Raw(batch.clone()), Floats::Raw);
            assert_eq!(bytes(&plan, batch.clone()), None);
            assert_eq!(raw(&plan, floats(&batch, 1.0)), None);
            assert_eq!(normalised(&plan, &as_input), None);
        }
        // Floats between bytes, as resizing leaves them.
        let soft: Vec<f32> = floats(&others, 1.0).windows(2).map(|w| (w[0] + w[1]) / 2.0).collect();
        assert_eq!(raw(&plan, soft[..row * 39].to_vec()), None);
    }
}

/// Every mistake of scale, one image and many: named, and refused where bytes cannot be meant.
#[test]
fn every_other_scale_is_named() {
    for normalise in scales() {
        let plan = plan(&normalise, Pixels::Raw(photos(20, 0)));
        let row = plan.graph.input.row();
        for images in [1, 40] {
            let batch = photos(images, 500)[..row * images as usize].to_vec();
            let unit = floats(&batch, 255.0);
            let found = raw(&plan, unit.clone()).expect("0..1");
            assert!(found.what.contains("0..1") && found.what.contains("mean"), "{found:?}");
            assert_eq!(found.grade, Grade::Certain);
            let scaled = normalise.mean.is_empty();
            assert_eq!(found.remedy.contains("--normalised"), scaled, "{found:?}");
            let signed: Vec<f32> = unit.iter().map(|v| v * 2.0 - 1.0).collect();
            let found = raw(&plan, signed).expect("-1..1");
            assert_eq!(found.grade, Grade::Certain, "{found:?}");
            let as_input = inputs(&plan.graph, Pixels::Raw(batch.clone()), Floats::Raw);
            let found = raw(&plan, as_input).expect("normalised");
            let text = if scaled { "0..1" } else { "look normalised already" };
            assert!(found.what.contains(text) && found.remedy.contains("--normalised"), "{found:?}");
            assert_eq!(found.grade, Grade::Certain);
            let found = normalised(&plan, &floats(&batch, 1.0)).expect("raw bytes as normalised floats");
            assert!(found.grade == Grade::Beyond && found.what.contains("look like raw values"), "{found:?}");
            assert!(found.remedy.contains("leave out --normalised"), "{found:?}");
            let bits = batch.iter().map(|b| b >> 7).collect();
            assert_eq!(bytes(&plan, bits).expect("bits").grade, Grade::Likely);
        }
        let unit = floats(&photos(40, 500), 255.0);
        if let Some(found) = normalised(&plan, &unit) {
            assert!(found.grade == Grade::Likely && found.what.contains("not normalised"), "{found:?}");
        } else {
            assert!(normalise.mean.is_empty(), "values in 0..1 are normalised by 1/255");
        }
    }
    // Samples in 0..1, images in 0..255, as floats and as bytes.
    let identity = plan(&Normalise::default(), Pixels::Float(floats(&photos(20, 0), 255.0)));
    let pixels = photos(3, 500);
    let found = raw(&identity, floats(&pixels, 1.0)).unwrap();
    assert!(found.what.contains("0..255") && found.remedy.contains("divide them by 255"), "{found:?}");
    let found = raw(&identity, floats(&pixels, 6.0)).unwrap();
    assert!(
        found.grade == Grade::Beyond && !found.what.contains("look like"),
        "no cause is made up: {found:?}"
    );
    let found = bytes(&identity, pixels).unwrap();
    assert!(found.grade == Grade::Beyond && found.remedy.contains("--scale 1/255"), "{found:?}");
}

#[test]
fn integers_are_raw_on_whatever_scale() {
    let pictures = floats(&photos(20, 500), 1.0);
    let times = |factor: f32| pictures.iter().map(|v| v * factor).collect::<Vec<f32>>();
    for normalise in scales() {
        let plan = plan(&normalise, Pixels::Raw(photos(20, 0)));
        assert_eq!(whole(&plan, pictures.clone()), None, "bytes as int64");
        let found = whole(&plan, times(257.0)).unwrap();
        assert!(found.grade == Grade::Beyond && found.remedy.contains("divide them by 257"), "{found:?}");
        let found = whole(&plan, pictures.iter().map(|v| v - 128.0).collect()).unwrap();
        assert!(found.what.contains("below 0") && !found.remedy.contains("--normalised"), "{found:?}");
        let found = bytes(&plan, pictures.iter().map(|v| u8::from(*v > 40.0)).collect()).unwrap();
        assert!(found.grade == Grade::Likely && found.what.contains("0 and 1 alone"), "{found:?}");
    }
    let deep = Normalise { scale: 1.0 / 65535.0, ..Normalise::default() };
    let plan = plan(&deep, Pixels::Whole(times(257.0)));
    assert!(plan.ranges.as_ref().unwrap().raw.as_ref().unwrap().whole);
    assert_eq!(whole(&plan, times(257.0)), None);
    for found in [whole(&plan, pictures.clone()), bytes(&plan, photos(20, 500))] {
        let found = found.unwrap();
        assert!(found.grade == Grade::Likely && found.what.contains("look like bytes"), "{found:?}");
    }
}

/// Samples that are floats between bytes leave room for doubt.
#[test]
fn what_is_not_certain_is_likely() {
    let soft: Vec<f32> = floats(&photos(20, 0), 1.0).iter().map(|v| v * 0.999).collect();
    let plan = plan(&scales()[0], Pixels::Float(soft));
    let found = raw(&plan, floats(&photos(3, 500), 255.0)).unwrap();
    assert!(found.grade == Grade::Likely && found.what.contains("0..1"), "{found:?}");
    let found = raw(&plan, floats(&photos(10, 500), 20.0)).unwrap();
    assert!(found.grade == Grade::Likely && found.what.contains("on average"), "{found:?}");
}

#[test]
fn values_beyond_the_samples_are_counted_by_image_and_channel() {
    let plan = plan(&Normalise::default(), Pixels::Float(floats(&photos(20, 0), 255.0)));
    let (row, margin) = (plan.graph.input.row(), plan.options.margin as f32);
    let ends = plan.ranges.as_ref().unwrap().raw.as_ref().unwrap().channels.clone();
    let mut values = vec![0.5f32; row * 10];
    // Just within, in every channel.
    for c in 0..3 {
        values[c * 64] = ends[c].high as f32 * margin;
    }
    assert_eq!(raw(&plan, values.clone()), None);
    for image in [1, 2, 3, 4, 6, 8, 9] {
        values[image * row + 130] = -(ends[2].high as f32) * margin - image as f32;
    }
    let found = raw(&plan, values).unwrap();
    assert_eq!(found.grade, Grade::Beyond);
    assert!(found.what.contains("7 of 10 images (1, 2, 3, 4, 6, ..)"), "{found:?}");
    let largest = format!("up to {:.3}", ends[2].high * 1.5 + 9.0);
    assert!(found.what.contains(&largest), "{found:?} {largest}");
}

#[test]
fn bounds_hold_for_bytes_and_no_ranges_for_nothing() {
    let graph = graph(scales()[0].clone());
    let black = vec![0.0; graph.input.row()];
    let ranges = calibrate(&graph, &Weights(vec![]), &black, &graph.input.byte_range()).unwrap();
    let bounds = Ranges { samples: 0, raw: None, ..ranges };
    let known =
        Plan::new(graph.clone(), Options { margin: 1.01, ..Options::default() }, Some(bounds)).unwrap();
    let white = vec![255u8; graph.input.row()];
    assert_eq!(bytes(&known, white.clone()), None);
    assert_eq!(bytes(&known, photos(3, 0)), None);
    assert_eq!(raw(&known, floats(&white, 0.9)).unwrap().grade, Grade::Beyond);
    assert_eq!(raw(&known, floats(&photos(3, 0), 255.0)).unwrap().grade, Grade::Certain);
    let unknown = Plan::new(graph, Options::default(), None).unwrap();
    assert_eq!(raw(&unknown, floats(&white, 1e-3)), None);
}

#[test]
fn samples_of_another_scale_than_the_graph_are_told() {
    let misfits = |normalise: &Normalise, values: Vec<f32>, given| {
        let g = graph(normalise.clone());
        let values = inputs(&g, Pixels::Float(values), Floats::Raw);
        misfit(normalise, &Profile::of(&g.input, &values), given)
    };
    let photos = photos(4, 0);
    for normalise in scales() {
        let text = misfits(&normalise, floats(&photos, 255.0), Given::Floats).unwrap();
        assert!(text.contains("0..1"), "{text}");
        let signed = floats(&photos, 127.5).iter().map(|v| v - 1.0).collect();
        let text = misfits(&normalise, signed, Given::Floats).unwrap();
        assert!(text.contains("--samples-normalised"), "{text}");
        assert_eq!(misfits(&normalise, floats(&photos, 1.0), Given::Floats), None);
        assert_eq!(misfits(&normalise, floats(&photos, 255.0), Given::Normalised), None);
        assert_eq!(misfits(&normalise, vec![0.0; 192], Given::Floats), None);
    }
    assert_eq!(misfits(&Normalise::default(), floats(&photos, 255.0), Given::Floats), None);
}
