//! What was trained answers under the mask that it has: two parties give the oracle's logits on the trained integers, to the last bit.

use super::common::build::{Model, Rng};
use super::{all, everything, recipe, small, targets};
use twoply_nn::engine::Clear;
use twoply_nn::train::{Checkpoint, Loss, Recipe, Rehearsal, Schedule, Step, TrainingPlan};
use twoply_nn::{Options, Program, Reveal, roles, with_ring};
use twoply_primitives::gate::Rounding;
use twoply_primitives::{Cpu, Ring};

/// Some steps, then inference of every kind on what they left. The shares that the dealer hands out are the parties' own.
fn trained_and_asked<R: Ring>(model: &Model, recipe: &Recipe) {
    let rows = model.inputs.len() / model.graph.input.row();
    let plan = TrainingPlan::new(model.graph.clone(), recipe.clone(), (rows as u64, 1), 1).unwrap();
    let step = Step::new(&model.graph, recipe).unwrap();
    let mut rng = Rng(31);
    let y = targets(&step, rows, &mut rng);
    let dev = Cpu::<R>::new();
    let mut both = Rehearsal::new(dev.clone(), &step, &model.weights, &model.inputs, &y).unwrap();
    let schedule = Schedule::new(&step, 1, 3);
    for at in 0..3 {
        let chosen: Vec<usize> = (0..recipe.batch).map(|_| rng.within(0, rows - 1)).collect();
        both.run(schedule.at(at), &chosen).unwrap();
    }
    let Checkpoint { masks, snapshots } = both.checkpoint().unwrap();
    let bytes = snapshots[0].weights.len();
    assert_eq!(snapshots[0].weights, snapshots[1].weights);
    for (mine, dealt) in snapshots.iter().zip(&masks.shares) {
        assert!(mine.shares[..bytes] == dealt[..bytes], "a party's share is not the dealer's");
    }
    let learnt = both.state().unwrap();
    let start = step.clear::<R>(&model.weights).unwrap();
    assert!(!all(&learnt).eq(all(&start).map(|w| &w.1)), "nothing was learnt");
    for (rounding, reveal, audit) in [
        (Rounding::PublicCoin, Reveal::Logits, false),
        (Rounding::Floor, Reveal::Logits, true),
        (Rounding::PublicCoin, Reveal::Label, true),
    ] {
        let options = Options { rounding, reveal, audit, ..Options::default() };
        let plan = plan.inference(options).unwrap();
        let program: Program = plan.program().unwrap();
        let dealt = masks.shares.each_ref().map(|share| &share[..bytes]);
        let weights = snapshots.each_ref().map(|mine| {
            roles::trained_weights(&dev, &program, (&mine.weights, &mine.shares[..bytes])).unwrap()
        });
        let masks = roles::trained_masks(&dev, &program, dealt).unwrap();
        let mut asked = twoply_nn::Rehearsal::on(dev.clone(), &program, (masks, weights)).unwrap();
        // twice: the mask and the integer under it are the same, keys are not
        for images in [2, 3] {
            let inputs = &model.inputs[..images * model.graph.input.row()];
            let x = program.encode_input::<R>(inputs).unwrap();
            let played = asked.run(&x).unwrap();
            let mut oracle = Clear::with_coins(x, played.coins);
            let params: Vec<_> = program.params().into_iter().zip(learnt.weights.clone()).collect();
            program.run(&mut oracle, &params, images).unwrap();
            let bits = program.output(images).unwrap().0.bits;
            let ones = R::ones(bits);
            let low = |all: &[R]| all.iter().map(|v| v.and(ones)).collect::<Vec<_>>();
            assert_eq!(
                low(&played.answer),
                low(&oracle.output),
                "{} {rounding:?} {reveal:?}",
                model.graph.name
            );
        }
    }
}

#[test]
fn what_was_trained_answers_under_its_mask() {
    for n in [32, 64] {
        with_ring!(n, R => trained_and_asked::<R>(&small(), &recipe(n, 4, Loss::SquaredError)));
    }
    trained_and_asked::<u32>(&everything(), &recipe(32, 8, Loss::CrossEntropy));
}

/// Shares of another network are none of this one.
#[test]
fn bytes_of_another_network_are_refused() {
    let program = TrainingPlan::new(small().graph, recipe(32, 4, Loss::SquaredError), (8, 1), 1)
        .and_then(|plan| plan.inference(Options::default()))
        .and_then(|plan| plan.program())
        .unwrap();
    let dev = Cpu::<u32>::new();
    let whole = vec![0; roles::masked_weights_len(&program)];
    for (bytes, why) in [(&whole[1..], "do not fit"), (&[&whole[..], &[0; 4]].concat()[..], "4 bytes more")] {
        let e = roles::trained_masks(&dev, &program, [&whole, bytes]).map(drop).unwrap_err().to_string();
        assert!(e.contains(why), "{e}");
        let e = roles::trained_weights(&dev, &program, (bytes, &whole)).map(drop).unwrap_err().to_string();
        assert!(e.contains(why), "{e}");
    }
}
