//! Figures of a run: two parties against the oracle, the oracle against floating point, plans that list them.

use super::{everything, recipe, small, targets};
use crate::common::build::{Builder, Model, Rng};
use twoply_nn::engine::Clear;
use twoply_nn::float::Evaluator;
use twoply_nn::graph::Source;
use twoply_nn::plan::Totals;
use twoply_nn::train::{
    Batch, Brings, Figure, Loss, Moment, Piece, Recipe, Rehearsal, Share, Step, TrainingPlan, Wanted,
};
use twoply_nn::{Meaning, with_ring};
use twoply_primitives::compare::Scheme;
use twoply_primitives::{Cpu, Ring};

/// Rows of a batch.
fn pick(values: &[f32], width: usize, rows: &[usize]) -> Vec<f32> {
    rows.iter().flat_map(|r| values[r * width..(r + 1) * width].iter().copied()).collect()
}

/// Figures before and after two steps: what both parties' shares add up to is what the oracle says with P1's coins, batch by batch, and
/// every counter is the plan's. Evaluations leave the state as it was. The numbers of the last figure.
fn same_as_oracle<R: Ring>(model: &Model, recipe: &Recipe, figure: Figure) -> Vec<i64> {
    let step = Step::new(&model.graph, recipe).unwrap();
    let rows = model.inputs.len() / model.graph.input.row();
    let y = targets(&step, rows, &mut Rng(4));
    let mut both = Rehearsal::new(Cpu::<R>::new(), &step, &model.weights, &model.inputs, &y).unwrap();
    let mut clear = step.clear::<R>(&model.weights).unwrap();
    let of = |rows: &[usize]| {
        let (x, t) = (step.input().shape.row(), step.targets().shape.row());
        (pick(&model.inputs, x, rows), pick(&y, t, rows))
    };
    let all: Vec<usize> = (0..rows).collect();
    let batches: Vec<&[usize]> = all.chunks_exact(recipe.batch).collect();
    let planned = step.planned_figure(figure).unwrap().gates;
    let mut last = vec![];
    for round in 0..3 {
        let before = both.state().unwrap();
        let (found, played) = both.figure((&step, figure), &batches).unwrap();
        let mut wanted = vec![0; step.numbers(figure).unwrap().len()];
        for (played, rows) in played.into_iter().zip(&batches) {
            assert_eq!(played.miscounted(&planned), 0, "{}", model.graph.name);
            let (x, t) = of(rows);
            let mut engine = Clear::<R>::with_coins(vec![], played.coins);
            let numbers = step.figure_on_clear(&mut engine, figure, &clear, (&x, &t)).unwrap();
            wanted.iter_mut().zip(numbers).for_each(|(sum, n)| *sum += n);
        }
        assert_eq!(found, wanted, "{}, {figure}, {round}", model.graph.name);
        let after = both.state().unwrap();
        assert!(before.weights == after.weights && before.velocity == after.velocity);
        last = found;
        let now = (&step, Moment { step: round, ..Moment::default() });
        let coins = both.run(now, batches[0]).unwrap().coins;
        let (x, t) = of(batches[0]);
        clear = step.on_clear(&mut Clear::with_coins(vec![], coins), now.1, &clear, (&x, &t)).unwrap();
    }
    last
}

/// One score.
fn score() -> Model {
    let mut b = Builder::new("score", &[6], 2);
    let x = b.linear(Source::Input, 5);
    let x = b.relu(x);
    b.linear(x, 1);
    b.finish(16)
}

#[test]
fn accuracy_of_two_parties_is_that_of_the_oracle() {
    let accuracy = Figure::Accuracy;
    for (n, compare) in [(32, Scheme::Digits), (32, Scheme::Dpf), (64, Scheme::Digits), (64, Scheme::Dpf)] {
        let of = |loss| Recipe { compare, ..recipe(n, 4, loss) };
        with_ring!(n, R => same_as_oracle::<R>(&small(), &of(Loss::CrossEntropy), accuracy));
        with_ring!(n, R => same_as_oracle::<R>(&score(), &of(Loss::BinaryCrossEntropy), accuracy));
    }
    same_as_oracle::<u32>(&everything(), &recipe(32, 8, Loss::CrossEntropy), accuracy);
}

#[test]
fn losses_and_range_counts_of_two_parties_are_those_of_the_oracle() {
    for (n, compare) in [(32, Scheme::Digits), (64, Scheme::Dpf)] {
        for loss in [Loss::SquaredError, Loss::CrossEntropy] {
            let recipe = Recipe { compare, ..recipe(n, 4, loss) };
            for figure in [Figure::Loss, Figure::RangeCounts] {
                with_ring!(n, R => same_as_oracle::<R>(&small(), &recipe, figure));
            }
        }
    }
    let recipe = recipe(32, 8, Loss::CrossEntropy);
    for figure in [Figure::Loss, Figure::RangeCounts] {
        same_as_oracle::<u32>(&everything(), &recipe, figure);
    }
}

/// A mean over rows is that of floating point, but for what the logits' and the table's steps leave.
#[test]
fn losses_are_those_of_floating_point() {
    let mut b = Builder::new("rows", &[6], 2);
    let x = b.linear(Source::Input, 8);
    let x = b.relu(x);
    b.linear(x, 5);
    let model = b.finish(1024);
    for (n, loss, near) in [
        (32, Loss::SquaredError, 0.002),
        (32, Loss::CrossEntropy, 0.01),
        (64, Loss::SquaredError, 0.0005),
        (64, Loss::CrossEntropy, 0.005),
    ] {
        let step = Step::new(&model.graph, &recipe(n, 1024, loss)).unwrap();
        let y = targets(&step, 1024, &mut Rng(6));
        let sum = with_ring!(n, R => {
            let clear = step.clear::<R>(&model.weights).unwrap();
            step.figure_on_clear(&mut Clear::simulated(7), Figure::Loss, &clear, (&model.inputs, &y)).unwrap()
        });
        let outputs = Evaluator::new(&model.graph, &model.weights).unwrap().run(&model.inputs).unwrap();
        let float = outputs.iter().zip(y.chunks_exact(5)).map(|(z, t)| loss.of(z, t)).sum::<f64>() / 1024.0;
        let mean = step.mean_loss(sum[0], 1024);
        eprintln!("{n} bits, {loss:?}: {mean:.5}, in floating point {float:.5}");
        assert!((mean - float).abs() < near, "{n} bits, {loss:?}: {mean} and {float}");
    }
}

/// Values that come near the end are counted where they are, and none of a network that keeps them small.
#[test]
fn range_counts_name_the_layer() {
    let model = small();
    let step = Step::new(&model.graph, &recipe(32, 4, Loss::CrossEntropy)).unwrap();
    let y = targets(&step, 4, &mut Rng(3));
    let rows = 4 * model.graph.input.row();
    let names: Vec<String> =
        step.numbers(Figure::RangeCounts).unwrap().into_iter().map(|(name, _)| name).collect();
    let counts = |factor: f32| {
        let weights = model.weights.0.iter().map(|w| w.iter().map(|v| v * factor).collect()).collect();
        let clear = step.clear::<u32>(&twoply_nn::Weights(weights)).unwrap();
        let batch = (&model.inputs[..rows], &y[..]);
        step.figure_on_clear(&mut Clear::simulated(1), Figure::RangeCounts, &clear, batch).unwrap()
    };
    let usual = counts(1.0);
    assert!(usual.iter().all(|count| *count == 0), "{names:?}: {usual:?}");
    let large = counts(40.0);
    let first = &model.graph.nodes[0].name;
    let of = |layer: &str| -> i64 {
        names.iter().zip(&large).filter(|(name, _)| name.starts_with(layer)).map(|(_, count)| count).sum()
    };
    assert!(of(first) > 0, "{names:?}: {large:?}");
    // every gate that cuts has a number: forward, backward and the update
    assert!(names.contains(&format!("{first}, conv2d")), "{names:?}");
    assert!(names.iter().any(|name| name.contains("backward")), "{names:?}");
}

/// The oracle's count is what floating point counts, but for rows whose best two logits are as good as equal.
#[test]
fn accuracy_is_what_floating_point_counts() {
    for (model, loss) in [(small(), Loss::CrossEntropy), (score(), Loss::BinaryCrossEntropy)] {
        let step = Step::new(&model.graph, &recipe(32, 16, loss)).unwrap();
        let outputs = Evaluator::new(&model.graph, &model.weights).unwrap().run(&model.inputs).unwrap();
        let meaning = Meaning::of(&model.graph).unwrap();
        // every second row is labelled with what the network says, the others with something else
        let (width, mut y) = (step.targets().shape.row(), vec![]);
        for (at, z) in outputs.iter().enumerate() {
            let said = meaning.label(z).unwrap();
            let label = if at % 2 == 0 { said } else { said + 1 };
            match width {
                1 => y.push((label % 2) as f32),
                _ => y.extend((0..width).map(|k| f32::from(k == label % width))),
            }
        }
        let clear = step.clear::<u32>(&model.weights).unwrap();
        let mut engine = Clear::simulated(7);
        let right = step.figure_on_clear(&mut engine, Figure::Accuracy, &clear, (&model.inputs, &y)).unwrap();
        assert!((7..=9).contains(&right[0]), "{}: {right:?} of 16", model.graph.name);
    }
}

/// Equal logits are right, whichever is asked for.
#[test]
fn ties_are_right() {
    let model = small();
    let step = Step::new(&model.graph, &recipe(32, 16, Loss::CrossEntropy)).unwrap();
    let zeros = twoply_nn::Weights(model.weights.0.iter().map(|w| vec![0.0; w.len()]).collect());
    let clear = step.clear::<u32>(&zeros).unwrap();
    let y = targets(&step, 16, &mut Rng(3));
    let mut engine = Clear::simulated(1);
    let right = step.figure_on_clear(&mut engine, Figure::Accuracy, &clear, (&model.inputs, &y)).unwrap();
    assert_eq!(right, [16]);
}

/// A plan on 64 rows of two owners and held-out rows of a third.
fn plan(held: Vec<Share>, loss: Loss) -> TrainingPlan {
    let share = |owner: &str, brings| Share { owner: owner.into(), brings };
    let shares = vec![share("a", Brings::Rows(40)), share("b", Brings::Rows(24))];
    let plan = TrainingPlan::new(small().graph, recipe(32, 8, loss), (64, 3), 1).unwrap();
    plan.shared([shares, held].concat(), 5).unwrap()
}
fn held(owner: &str, rows: u64) -> Share {
    Share { owner: owner.into(), brings: Brings::Held(rows) }
}
fn wanted(to: &str, every: Option<u32>) -> Wanted {
    Wanted { figure: Figure::Accuracy, to: to.into(), every }
}

#[test]
fn a_plan_lists_what_it_reveals() {
    let bare = plan(vec![held("judge", 20)], Loss::CrossEntropy);
    let made = bare.clone().revealing(&[wanted("judge", None), wanted("a", None)]).unwrap();
    let reveal = &made.reveals[0];
    assert_eq!((reveal.every, reveal.to.len(), made.reveals.len()), (8, 2, 1));
    assert_eq!((made.held(), made.judged(), made.figures()), (20, 16, 3));
    let slices = made.slices().unwrap();
    assert_eq!(slices[2].as_ref().unwrap().rows, 64..84);
    assert_eq!((made.held_rows(0), made.held_rows(1)), (64..72, 72..80));
    assert!(made.reveals_to(0, 0) && !made.reveals_to(0, 1) && made.reveals_to(0, 2));
    // The bill is that of the gates, and part of the run's.
    let gates = made.program().unwrap().planned_figure(Figure::Accuracy).unwrap().gates;
    let mut batch = Totals::default();
    batch.add_gates(&gates);
    assert_eq!((reveal.cost.rounds, reveal.cost.bytes), (2 * batch.rounds, 2 * batch.bytes));
    assert_eq!(made.total().key_bytes[1], 24 * made.step.key_bytes[1] + 6 * batch.key_bytes[1]);
    // It reads itself, and no other bill, reveal or owner.
    let json = made.to_json().unwrap();
    assert_eq!(TrainingPlan::from_json(&json).unwrap(), made);
    let of = |from: &str, to: &str| TrainingPlan::from_json(&json.replacen(from, to, 1)).map(drop);
    let bytes = format!("\"bytes\": {}", reveal.cost.bytes);
    assert!(of(&bytes, "\"bytes\": 1").unwrap_err().to_string().contains("plan again"));
    assert!(of("\"every\": 8", "\"every\": 0").unwrap_err().to_string().contains("choose 1 to 24"));
    assert!(of("\"judge\"\n      ]", "\"c\"\n      ]").is_err() || of("\"judge\",", "\"c\",").is_err());
    // The digest covers it; without reveals it is that of plans that knew of none.
    let other = bare.revealing(&[wanted("judge", Some(7))]).unwrap();
    assert_ne!(other.digest().unwrap(), made.digest().unwrap());
    let none = plan(vec![], Loss::CrossEntropy);
    assert!(!none.to_json().unwrap().contains("reveals"));
}

#[test]
fn figures_come_behind_their_steps() {
    let plan = plan(vec![held("judge", 17)], Loss::CrossEntropy).revealing(&[wanted("judge", Some(10))]);
    let plan = plan.unwrap();
    let figure = |steps, number, last| Piece::Figure(Batch { reveal: 0, steps, number, last });
    let both = |steps| [figure(steps, 0, false), figure(steps, 1, true)];
    let steps = |range: std::ops::Range<u32>| range.map(Piece::Step).collect::<Vec<_>>();
    let all = [&steps(0..10)[..], &both(10), &steps(10..20), &both(20), &steps(20..24), &both(24)].concat();
    assert!(plan.pieces(0).eq(all.iter().copied()));
    // An attempt from a checkpoint begins with what is due there; so does one from the end.
    assert!(plan.pieces(10).eq(all[10..].iter().copied()));
    assert!(plan.pieces(11).eq(all[13..].iter().copied()));
    assert!(plan.pieces(24).eq(both(24)));
    assert_eq!((plan.figures(), plan.reveals[0].most), (3, 19));
}

#[test]
fn what_cannot_be_revealed_is_refused() {
    let why = |plan: TrainingPlan, all: &[Wanted]| plan.revealing(all).unwrap_err().to_string();
    let classes = || plan(vec![held("judge", 20)], Loss::CrossEntropy);
    let found = why(classes(), &[wanted("c", None)]);
    assert!(found.contains("`c`") && found.contains("choose from a, b, judge"), "{found}");
    assert!(why(classes(), &[wanted("a", None), wanted("a", None)]).contains("somebody twice"));
    assert!(why(classes(), &[wanted("a", None), wanted("b", Some(3))]).contains("one rhythm"));
    assert!(why(classes(), &[wanted("a", Some(0))]).contains("choose 1 to 24"));
    assert!(why(classes(), &[wanted("a", Some(25))]).contains("choose 1 to 24"));
    assert!(why(classes(), &[]).contains("nothing about them is revealed"));
    let few = why(plan(vec![held("judge", 7)], Loss::CrossEntropy), &[wanted("judge", None)]);
    assert!(few.contains("fill no batch of 8") && few.contains("NAME=held:ROWS"), "{few}");
    assert!(why(plan(vec![], Loss::CrossEntropy), &[wanted("a", None)]).contains("NAME=held:ROWS"));
    let values = why(plan(vec![held("judge", 8)], Loss::SquaredError), &[wanted("judge", None)]);
    assert!(values.contains("--loss cross-entropy"), "{values}");
    let many = why(plan(vec![held("judge", 8)], Loss::BinaryCrossEntropy), &[wanted("judge", None)]);
    assert!(many.contains("5 yes-or-no outputs"), "{many}");
    let other = |figure| Wanted { figure, to: "a".into(), every: None };
    let scores = plan(vec![held("judge", 8)], Loss::BinaryCrossEntropy);
    assert!(why(scores, &[other(Figure::Loss)]).contains("reveal accuracy"));
    // rows that are held out are of no use to range counts, which come at every checkpoint
    assert!(why(classes(), &[other(Figure::RangeCounts)]).contains("nothing about them is revealed"));
    let made = plan(vec![], Loss::SquaredError).revealing(&[other(Figure::RangeCounts)]).unwrap();
    assert_eq!((made.reveals[0].every, made.figures(), made.figure_rows(Figure::RangeCounts)), (5, 5, 8));
    let none = Share { owner: "judge".into(), brings: Brings::Held(0) };
    let made = TrainingPlan::new(small().graph, recipe(32, 8, Loss::CrossEntropy), (64, 1), 1).unwrap();
    let rows = made.shares.clone();
    assert!(
        made.shared([rows, vec![none]].concat(), 5).unwrap_err().to_string().contains("holds out no rows")
    );
}
