//! What was trained answers under the mask that it has: two parties give the oracle's logits on the trained integers, to the last bit.

use super::common::build::{Builder, Model, Rng};
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
    let mut both = Rehearsal::new(dev, &step, &model.weights, &model.inputs, &y).unwrap();
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
        let mut asked = twoply_nn::Rehearsal::on(dev, &program, (masks, weights)).unwrap();
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

/// Words of what one party has of trained weights, run after run: its half of the key set, and the masked values that both have.
struct View {
    share: Vec<u32>,
    value: Vec<u32>,
}

/// Both parties' views of a layer that begins with these weights, after a step, in so many runs; `halves` makes the key set's halves.
fn views(weight: f32, runs: usize, halves: impl Fn(&[Vec<u32>; 2]) -> [Vec<u32>; 2]) -> [View; 2] {
    let mut b = Builder::new("layer", &[3], 7);
    b.linear(twoply_nn::Source::Input, 2);
    let mut model = b.finish(4);
    model.weights.0.iter_mut().flatten().for_each(|w| *w = weight);
    let recipe = recipe(32, 4, Loss::SquaredError);
    let step = Step::new(&model.graph, &recipe).unwrap();
    let y = targets(&step, 4, &mut Rng(5));
    let words =
        |bytes: &[u8]| bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect::<Vec<_>>();
    let mut all = [(); 2].map(|()| View { share: vec![], value: vec![] });
    for _ in 0..runs {
        let mut both = Rehearsal::new(Cpu::<u32>::new(), &step, &model.weights, &model.inputs, &y).unwrap();
        both.run(Schedule::new(&step, 1, 3).at(0), &[0, 1, 2, 3]).unwrap();
        let Checkpoint { masks, snapshots } = both.checkpoint().unwrap();
        let len = snapshots[0].weights.len();
        let dealt = halves(&masks.shares.each_ref().map(|share| words(&share[..len])));
        for ((view, mine), share) in all.iter_mut().zip(&snapshots).zip(dealt) {
            view.share.extend(share);
            view.value.extend(words(&mine.weights));
        }
    }
    all
}

/// Chi-square of the highest and of the lowest four bits against uniform ones, 15 degrees of freedom each: the larger.
fn far(words: impl Iterator<Item = u32> + Clone) -> f64 {
    let of = |shift: u32| {
        let mut bins = [0f64; 16];
        words.clone().for_each(|word| bins[(word >> shift & 15) as usize] += 1.0);
        let each = bins.iter().sum::<f64>() / 16.0;
        bins.iter().map(|n| (n - each).powi(2) / each).sum::<f64>()
    };
    of(0).max(of(28))
}

/// The largest of what a party can make of its view: both parts, sum and difference.
fn worst(view: &View) -> f64 {
    let pairs = || view.share.iter().zip(&view.value);
    let made = [
        far(view.share.iter().copied()),
        far(view.value.iter().copied()),
        far(pairs().map(|(s, v)| v.wrapping_sub(*s)).collect::<Vec<_>>().into_iter()),
        far(pairs().map(|(s, v)| v.wrapping_add(*s)).collect::<Vec<_>>().into_iter()),
    ];
    made.into_iter().fold(0.0, f64::max)
}

/// Neither half of a key set says anything of the weights, alone or beside the masked values: all is uniform, whatever they are. A
/// dealer that put the mask itself into a half is caught.
#[test]
fn a_half_of_the_key_set_is_uniform_and_independent_of_the_weights() {
    // beyond 60 by chance once in three million
    const FAR: f64 = 60.0;
    for weight in [0.0, 1.5] {
        for view in &views(weight, 400, |shares| shares.clone()) {
            assert!(worst(view) < FAR, "weights of {weight}: {}", worst(view));
        }
        let sum =
            |[a, b]: &[Vec<u32>; 2]| a.iter().zip(b).map(|(a, b)| a.wrapping_add(*b)).collect::<Vec<_>>();
        let planted = views(weight, 100, |shares| [sum(shares), shares[1].clone()]);
        assert!(worst(&planted[0]) > FAR, "the mask itself in P0's half goes unnoticed");
        assert!(worst(&planted[1]) < FAR);
    }
}
