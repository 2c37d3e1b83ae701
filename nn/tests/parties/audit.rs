//! Plans with an audit: what is counted, layer by layer and image by image, in every variant, by two parties with key files
//! and by a rehearsal; what is not counted; what it costs.

use super::common::build::{Builder, Model};
use super::common::{Shift, two_parties, variants};
use twoply_nn::program::RangeAudit;
use twoply_nn::{Options, Plan, Rehearsal, Reveal, Source, with_ring};
use twoply_primitives::gate::Rounding;
use twoply_primitives::{Cpu, Fixed, Window};

fn audited(options: Options) -> Options {
    Options { audit: true, ..options }
}

/// conv, relu, (conv + conv) relu, average pool, linear.
fn model() -> Model {
    let mut b = Builder::new("audited", &[2, 6, 6], 21);
    let three = Window::square(3, 1).padded(1);
    let x = b.conv(Source::Input, 3, three, 1);
    let x = b.relu(x);
    let y = b.conv(x, 4, three, 1);
    let z = b.conv(x, 4, Window::square(1, 1), 1);
    let x = b.add(y, z);
    let x = b.relu(x);
    let x = b.avg_pool(x, Window::square(6, 1), true);
    b.linear(x, 3);
    b.finish(4).scale_to(4.0)
}

/// The counts of a run whose values stay in the contract: then they are the oracle's.
fn run(plan: &Plan, model: &Model, inputs: &[f32]) -> RangeAudit {
    let (counts, exact) = counts(plan, model, inputs);
    assert!(exact, "{:?}: the counts are the oracle's", plan.options);
    counts
}

/// The counts of a run, and whether it was as the oracle says.
fn counts(plan: &Plan, model: &Model, inputs: &[f32]) -> (RangeAudit, bool) {
    let images = inputs.len() / model.graph.input.row();
    let shift = Shift { dealt: images as u64, segment: images as u32, runs: &[images] };
    let runs = with_ring!(plan.options.fixed.n, R => two_parties::<R>(plan, &model.weights, inputs, &shift));
    let (mut all, exact) = (RangeAudit::default(), runs.iter().all(|r| r.exact));
    runs.into_iter().for_each(|r| all.extend(r.audit));
    (all, exact)
}

/// Inputs like the samples are not counted in any layer; inputs much larger are, in nearly every one.
#[test]
fn values_beyond_their_range_are_counted_in_every_variant() {
    let model = model();
    let row = model.graph.input.row();
    for options in variants().into_iter().map(audited) {
        // a ring of 64 bits with few fraction bits has room for anything that an input can be
        let fixed = if options.fixed.n == 64 { Fixed { n: 64, f: 28 } } else { options.fixed };
        let options = Options { fixed, ..options };
        let model = if options.reveal == Reveal::Label { model.clone().flat() } else { model.clone() };
        let plan = Plan::new(model.graph.clone(), options, Some(model.ranges())).unwrap();
        let fine = run(&plan, &model, &model.inputs);
        assert_eq!(fine.0.len(), 6, "{fine:?}");
        assert!(fine.0.iter().all(|(_, counts)| counts.len() == 4));
        assert_eq!(fine.found().count(), 0, "{fine:?}");
        // the second image alone is beyond
        let peak = model.inputs.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let mut inputs = model.inputs.clone();
        let most = plan.options.fixed.limit() as f32 * 0.99;
        inputs[row..2 * row].iter_mut().for_each(|v| *v *= most / peak);
        let (found, _) = counts(&plan, &model, &inputs);
        let layers: Vec<_> = found.found().collect();
        assert!(layers.len() >= 3, "{found:?}");
        assert!(layers.iter().all(|(_, images)| images.iter().all(|(image, _)| *image == 1)), "{found:?}");
    }
}

/// A layer that gives its input on: what is counted is known to the element.
fn identity(peak: f32) -> Model {
    let mut b = Builder::new("identity", &[1, 4, 4], 22);
    let x = b.conv(Source::Input, 1, Window::square(1, 1), 1);
    let x = b.relu(x);
    b.linear(x, 2);
    let mut model = b.finish(2);
    let names: Vec<String> = model.graph.params.iter().map(|p| p.name.clone()).collect();
    for (values, name) in model.weights.0.iter_mut().zip(names) {
        let conv = values.len() == 1 && !name.contains('b');
        values.iter_mut().for_each(|v| *v = if conv { 1.0 } else { 0.0 });
    }
    model.inputs = (0..32).map(|i| peak * i as f32 / 31.0).collect();
    model
}

#[test]
fn elements_count_from_half_of_the_contract_on_and_twice_at_the_rings_end() {
    for (rounding, compare) in variants().into_iter().map(|o| (o.rounding, o.compare)) {
        let options = audited(Options { rounding, compare, ..Options::default() });
        let model = identity(1.0);
        let plan = Plan::new(model.graph.clone(), options.clone(), Some(model.ranges())).unwrap();
        let mut x = vec![0.5f32; 32];
        // of the contract's 64: below the half, at it, beyond it in both directions; the rounding may add a step
        x[..6].copy_from_slice(&[31.9, -31.9, 32.0, -32.1, 63.9, -63.9]);
        x[16] = 33.0;
        let counts = run(&plan, &model, &x);
        assert_eq!(counts.0[0].1, [4, 1], "{counts:?}");

        // where the plan's own range reaches beyond the half, only what is outside the contract counts
        let wide = identity(40.0);
        let plan = Plan::new(wide.graph.clone(), options.clone(), Some(wide.ranges())).unwrap();
        let counts = run(&plan, &wide, &x);
        assert_eq!(counts.0[0].1, [0, 0], "{counts:?}");

        // weights of 1.9 take 63.9 to 121.4, beyond 128 - 32: such an element counts twice; 40 becomes 76: once
        let mut large = identity(1.0);
        large.weights.0.iter_mut().for_each(|w| w.iter_mut().filter(|v| **v == 1.0).for_each(|v| *v = 1.9));
        let plan = Plan::new(large.graph.clone(), options, Some(large.ranges())).unwrap();
        let mut x = vec![0.5f32; 32];
        x[..4].copy_from_slice(&[63.9, -63.9, 40.0, -40.0]);
        assert_eq!(run(&plan, &large, &x).0[0].1, [6, 0]);
    }
}

/// The owner counts what it receives in the clear; an average pool has a range of its own.
#[test]
fn outputs_and_average_pools_are_looked_at_too() {
    let mut b = Builder::new("pool", &[1, 3, 3], 23);
    let x = b.avg_pool(Source::Input, Window::square(3, 1), true);
    let x = b.relu(x);
    b.flat(x);
    let mut model = b.finish(2);
    model.inputs = vec![1.0; 2 * 9];
    for rounding in [Rounding::PublicCoin, Rounding::Floor] {
        let options = audited(Options { rounding, ..Options::default() });
        let plan = Plan::new(model.graph.clone(), options, Some(model.ranges())).unwrap();
        let program = plan.program().unwrap();
        let limit = program.limit(0);
        assert!(limit < plan.options.fixed.limit(), "less room than the contract: {limit}");
        let mut x = model.inputs.clone();
        x[9..].iter_mut().for_each(|v| *v = (1.2 * limit) as f32);
        let (found, _) = counts(&plan, &model, &x);
        assert_eq!(found.0[0], (plan.graph.nodes[0].name.clone(), vec![0, 1]), "{found:?}");

        // the output, which the parties do not open: its owner counts
        let mut x = identity(1.0).inputs;
        x[0] = 63.9;
        let mut model = identity(1.0);
        let sums = model.weights.0.iter_mut().find(|w| w.len() == 32).unwrap();
        sums.iter_mut().for_each(|w| *w = 1.0);
        let options = audited(Options { rounding, ..Options::default() });
        let plan = Plan::new(model.graph.clone(), options, Some(model.ranges())).unwrap();
        let counts = run(&plan, &model, &x);
        assert_eq!(counts.0.last().unwrap(), &(plan.graph.nodes.last().unwrap().name.clone(), vec![2, 0]));
    }
}

#[test]
fn a_rehearsal_hears_the_counts_and_the_bill_has_them() {
    let model = model();
    let plain = Plan::new(model.graph.clone(), Options::default(), Some(model.ranges())).unwrap();
    let plan = Plan::new(model.graph.clone(), audited(Options::default()), Some(model.ranges())).unwrap();
    assert!(!plain.to_json().unwrap().contains("audit\":"), "off leaves no trace");
    assert_eq!(Plan::from_json(&plan.to_json().unwrap()).unwrap(), plan);
    assert_ne!(plan.digest().unwrap(), plain.digest().unwrap());
    let audits: Vec<_> = plan.gates.iter().filter(|g| g.gate == "audit").collect();
    assert_eq!(audits.len(), 5, "three convolutions, the sum, the pool");
    assert!(audits.iter().all(|g| g.cost.comparisons > 0 && g.to_owner == 1 && g.owner_bytes > 0));
    let [more, less] = [&plan, &plain].map(|p| p.predict(&[2]).unwrap());
    assert!(more.owner_bytes > less.owner_bytes && more.key_bytes[1] > less.key_bytes[1]);
    // but for these, the gates are those of the plan without
    let rest: Vec<_> = plan.gates.iter().filter(|g| g.gate != "audit").collect();
    assert_eq!(rest, plain.gates.iter().collect::<Vec<_>>());

    let program = plan.program().unwrap();
    let inputs: Vec<f32> = model.inputs.iter().map(|v| v * 20.0).collect();
    let mut rehearsal = Rehearsal::new(Cpu::<u32>::new(), &program, &model.weights).unwrap();
    let played = rehearsal.run(&program.encode_input(&inputs).unwrap()).unwrap();
    assert_eq!(played.audit.0.len(), 6);
    assert!(played.audit.found().count() > 0, "{:?}", played.audit);
    let json = serde_json::to_value(&played.audit).unwrap();
    assert_eq!(json[&plan.graph.nodes[0].name].as_array().unwrap().len(), 4);
}

#[test]
fn shares_of_a_wrong_length_are_refused() {
    let model = model();
    let plan = Plan::new(model.graph.clone(), audited(Options::default()), Some(model.ranges())).unwrap();
    let reply = plan.program().unwrap().reply(3).unwrap();
    let (right, short) = (vec![0u8; reply.bytes()], vec![0u8; reply.bytes() - 1]);
    assert!(reply.join::<u32>([&right, &right]).is_ok());
    assert!(reply.join::<u32>([&right, &short]).is_err() && reply.join::<u32>([&short, &right]).is_err());
}
