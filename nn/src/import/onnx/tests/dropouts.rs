//! Dropouts, kept for training or left out.

use super::*;

/// A ReLU, a Dropout with these operands behind its first and attributes, and a product.
fn model(more: &[&str], attribute: Vec<Attribute>) -> Model {
    let operands: Vec<&str> = ["r"].into_iter().chain(more.iter().copied()).collect();
    Model::new(&[4])
        .init("w", &[3, 4])
        .floats("tenth", &[], &[0.1])
        .floats("none", &[1], &[0.0])
        .node("Relu", &["x"], "r", vec![])
        .node("Dropout", &operands, "d", attribute)
        .node("Gemm", &["d", "w"], "y", vec![int("transB", 1)])
}

/// The ratio that an import for training keeps, if any.
fn kept(mut m: Model) -> Result<Option<f64>> {
    let options = Options { keep_dropout: true, ..Options::default() };
    let (model, _) = read(&m.bytes(), &options)?;
    let ratio = |op: &Op| if let Op::Dropout { ratio } = op { Some(*ratio) } else { None };
    Ok(model.graph.nodes.iter().find_map(|n| ratio(&n.op)))
}

fn flag(mut m: Model, training: i32) -> Model {
    m.graph().initializer.push(TensorProto {
        name: "flag".into(),
        data_type: 9,
        int32_data: vec![training],
        ..Default::default()
    });
    m
}

#[test]
fn ratios_are_operands_attributes_or_a_half() {
    assert_eq!(kept(model(&[], vec![])).unwrap(), Some(0.5));
    assert_eq!(kept(model(&["tenth"], vec![])).unwrap(), Some(f64::from(0.1f32)));
    assert_eq!(kept(model(&["none"], vec![])).unwrap(), None, "nothing is left out");
    let ratio = Attribute { name: "ratio".into(), kind: kind::FLOAT, f: 0.25, ..Default::default() };
    let mut old = model(&[], vec![ratio]);
    old.0.opset_import[0].version = 10;
    assert_eq!(kept(old).unwrap(), Some(0.25));
    assert!(kept(model(&["w"], vec![])).unwrap_err().to_string().contains("12 ratios, wanted one"));
    let all = model(&["one"], vec![]).floats("one", &[], &[1.0]);
    assert!(kept(all).unwrap_err().to_string().contains("a ratio of 1, wanted 0 to below 1"));
}

/// PyTorch's exporter leaves dropouts out in evaluation mode: a file that has them is mostly in training mode.
#[test]
fn training_mode_is_for_training() {
    for training in [0, 1] {
        assert_eq!(kept(flag(model(&["tenth", "flag"], vec![]), training)).unwrap(), Some(f64::from(0.1f32)));
    }
    assert_eq!(ops(&flag(model(&["tenth", "flag"], vec![]), 0).import().unwrap().graph), ["relu", "linear"]);
    assert!(flag(model(&["tenth", "flag"], vec![]), 1).obstacle().contains("export in eval mode"));
}

/// A kept dropout does not change what the network computes.
#[test]
fn inference_does_without() {
    let options = Options { keep_dropout: true, ..Options::default() };
    let mut m = model(&["tenth"], vec![]);
    let (kept, _) = read(&m.bytes(), &options).unwrap();
    assert_eq!(ops(&kept.graph), ["relu", "dropout", "linear"]);
    let x = [0.5, -1.0, 2.0, 0.25];
    assert_eq!(run(&kept, &x), run(&m.import().unwrap(), &x));
}
