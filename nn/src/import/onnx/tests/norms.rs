//! Batch normalisations that are kept for training, and folded later.

use super::*;
use crate::import::folded;

fn keep(mut m: Model) -> Imported {
    read(&m.bytes(), &Options { keep_batchnorm: true, ..Options::default() }).unwrap().0
}

fn conv() -> Model {
    Model::new(&[1, 2, 2]).init("w", &[2, 1, 1, 1]).node("Conv", &["x", "w"], "c", vec![])
}

#[test]
fn kept_normalisations_are_layers_that_fold_as_import_does() {
    let x = [1.0, -2.0, 0.5, 4.0];
    let behind_relu = || conv().node("Relu", &["c"], "r", vec![]);
    for (model, from) in [(conv as fn() -> Model, "c"), (behind_relu, "r")] {
        let (mut kept, plain) =
            (keep(batch_norm(model(), from)), batch_norm(model(), from).import().unwrap());
        let norm = kept.graph.nodes.last_mut().unwrap();
        assert!(matches!(norm.op, Op::BatchNorm { epsilon: 0.5, .. }), "{norm:?}");
        // the file has no names, and import calls a factor otherwise than a layer
        assert_eq!(std::mem::replace(&mut norm.name, "scale1".into()), "norm1");
        assert_eq!(kept.graph.params.len(), 5);
        close(&run(&kept, &x), &run(&plain, &x));
        assert_eq!(folded(&kept.graph, &kept.weights).unwrap(), plain);
        assert_eq!(folded(&plain.graph, &plain.weights).unwrap(), plain, "nothing to fold");
    }
}

/// Exported in training mode the statistics are those so far; the node then also gives the next ones.
#[test]
fn training_mode_is_taken_where_it_is_kept() {
    let model = |mode: i64| {
        let m = batch_norm(conv(), "c");
        let mut m = Model(m.0);
        let node = m.graph().node.last_mut().unwrap();
        node.attribute.push(int("training_mode", mode));
        node.output.extend(["next_mean".into(), "next_variance".into()]);
        m.node("Relu", &["bn"], "y", vec![])
    };
    assert_eq!(keep(model(1)), keep(model(0)));
    assert!(model(1).obstacle().contains("eval mode"));
}

/// A weight that two layers share becomes two, as each has a normalisation of its own behind it.
#[test]
fn shared_weights_fold_apart() {
    let m =
        batch_norm(conv(), "c").node("Conv", &["x", "w"], "d", vec![]).node("Add", &["bn", "d"], "y", vec![]);
    let mut kept = keep(m);
    let weights: Vec<usize> =
        kept.graph.nodes.iter().filter(|n| n.op.kind() == "conv2d").flat_map(|n| n.op.params()).collect();
    let [first, second] = weights[..] else { panic!("{weights:?}") };
    let Imported { graph, weights } = &mut kept;
    graph.nodes.iter_mut().for_each(|n| n.op.renumber(|p| if p == second { first } else { p }));
    graph.params.remove(second);
    weights.0.remove(second);
    graph.nodes.iter_mut().for_each(|n| n.op.renumber(|p| if p > second { p - 1 } else { p }));
    let plain = folded(graph, weights).unwrap();
    close(&run(&plain, &[1.0, -2.0, 0.5, 4.0]), &run(&kept, &[1.0, -2.0, 0.5, 4.0]));
}

#[test]
fn a_variance_without_a_root_is_refused() {
    let mut kept = keep(batch_norm(conv(), "c"));
    kept.weights.0.last_mut().unwrap()[0] = -1.0;
    let why = folded(&kept.graph, &kept.weights).unwrap_err().to_string();
    assert!(why.contains("variance + epsilon"), "{why}");
}
