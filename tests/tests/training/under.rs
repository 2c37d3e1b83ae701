//! From training to private inference in real processes, without anybody opening the weights on the way; and the wrong ways.

use std::fs;
use std::path::PathBuf;
use twoply_nn::accuracy::bounds;
use twoply_nn::{Evaluator, Floats, Images, Options, Plan, Weights};
use twoply_preprocessing::KeyDir;
use twoply_preprocessing::run::{CheckpointId, Lengths, Schedule, SegmentKind, Snapshot};
use twoply_preprocessing::run::{Ended as Half, EndedWeights, Offer, PartyRun, RunSpec};
use twoply_preprocessing::{PlanDigest, Trained};
use twoply_primitives::{KeySetId, PartyId};
use twoply_tests::Ended;
use twoply_tests::Proc;
use twoply_tests::school::{LONG, School};

/// Words of a verb, up to its end.
fn said(school: &School, words: &str) -> Ended {
    let words: Vec<&str> = words.split_whitespace().collect();
    Proc::start_in(&school.path(""), "verb", &words).wait(LONG)
}

/// A party that serves inference to `other`; `peer` is P0's address. And where it listens, if it does.
fn party(school: &School, me: usize, peer: &str, more: &str) -> (Proc, String) {
    let (theirs, client) = (school.key(["p1", "p0"][me]), school.key("other"));
    let call = if me == 1 { format!("--peer {peer}") } else { String::new() };
    let words = format!(
        "party digits.plan.json --role {me} --home p{me} --keys keys/p{me} --listen 127.0.0.1:0 --peer-key {theirs} {call} \
         --client {client} --owner {} --format json {more}",
        school.key("model")
    );
    let words: Vec<&str> = words.split_whitespace().collect();
    let proc = Proc::start_in(&school.path(""), &format!("p{me}"), &words);
    let line = proc.hear(" listens on ", LONG).unwrap_or_default();
    let address = line.split(" listens on ").nth(1).and_then(|rest| rest.split(' ').next());
    (proc, address.unwrap_or_default().to_owned())
}

fn both(school: &School) -> ([Proc; 2], String) {
    let (p0, first) = party(school, 0, "", "");
    let (p1, second) = party(school, 1, &first, "");
    let (a, b) = (school.key("p0"), school.key("p1"));
    ([p0, p1], format!("--p0 {first} --p0-key {a} --p1 {second} --p1-key {b}"))
}

fn infer(school: &School, places: &str, from: usize, images: usize) -> Ended {
    let all = &school.digits()[1];
    said(
        school,
        &format!(
            "infer digits.plan.json --images {all} --from {from} --limit {images} --home other {places} --patience 20 --format json"
        ),
    )
}

/// A run of 18 steps, and what its model's owner fetched.
fn trained(school: &School) -> Weights {
    let digits = school.digits();
    let rows: Vec<&str> = digits.iter().map(String::as_str).chain(["--limit", "96"]).collect();
    let parties = [school.party("run", 0, &[]), school.party("run", 1, &[])];
    let dealer = school.dealer(&[]);
    school.owner("data", "owner", &rows).wait(LONG).is(0);
    school.fetcher(&[]).wait(LONG).is(0);
    dealer.wait(LONG).is(0);
    parties.into_iter().for_each(|party| _ = party.wait(LONG).is(0));
    let bytes = fs::read(school.path("learnt.weights.safetensors")).unwrap();
    Weights::from_safetensors(&school.plan.graph, &bytes).unwrap()
}

/// The logits of the model in floating point, and how far two parties may be from them.
fn plain(
    plan: &Plan,
    weights: &Weights,
    school: &School,
    range: std::ops::Range<usize>,
) -> (Vec<Vec<f32>>, f64) {
    let file = fs::read(&school.digits()[1]).unwrap();
    let inputs = Images::from_idx(&file).unwrap().inputs(&plan.graph.input, Floats::Raw).unwrap();
    let row = plan.graph.input.row();
    let inputs = &inputs[range.start * row..range.end * row];
    let float = Evaluator::new(&plan.graph, weights).unwrap();
    let peak = |values: &[f32]| values.iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
    let mut peaks = vec![peak(inputs)];
    let keep = |all: &mut Vec<f64>, _: usize, y: &[f32]| all.push(peak(y));
    let wider = |a: Vec<f64>, b: Vec<f64>| match a.is_empty() {
        true => b,
        false => a.iter().zip(&b).map(|(a, b)| a.max(*b)).collect(),
    };
    peaks.extend(float.watch(inputs, Vec::new, keep, wider).unwrap());
    (float.run(inputs).unwrap(), *bounds(plan, weights, &peaks).last().unwrap())
}

#[test]
fn what_was_trained_answers_without_being_opened() {
    let school = School::new((96, 3), vec![], 5);
    // Before a run has ended there is nothing to deal for.
    said(&school, "plan --trained digits.train.json").is(0).says(&["--trained digits.train.json"]);
    let deal = "deal digits.plan.json --trained digits.train.json --home dealer --images 12 --segment 6";
    said(&school, &format!("{deal} --out keys")).is(8).says(&["no run of this training plan", "--runs"]);
    let mut dealer = school.dealer(&[]);
    dealer.hear("keys for", LONG);
    dealer.finish(); // it has begun one, and reached nobody
    said(&school, &format!("{deal} --out keys")).is(8).says(&["has not ended", "--resume"]);
    fs::remove_dir_all(school.path("dealer/train")).unwrap();

    let weights = trained(&school);
    let plan = Plan::from_json(&fs::read_to_string(school.path("digits.plan.json")).unwrap()).unwrap();
    assert_eq!((plan.options.fixed.f, plan.options.weight_fraction), (8, Some(16)));
    // A plan of other fractions, and one that says nothing of them.
    let usual = Plan::new(plan.graph.clone(), Options::default(), None).unwrap();
    fs::write(school.path("usual.plan.json"), usual.to_json().unwrap()).unwrap();
    let other = deal.replace("digits.plan", "usual.plan");
    said(&school, &format!("{other} --out keys")).is(6).says(&["fraction bits", "plan --trained"]);
    said(&school, &format!("{deal} --out keys --run {}", "0".repeat(32))).is(8).says(&["no run of this"]);
    said(&school, &format!("{deal} --out keys --run x")).is(2).says(&["no name of a run"]);
    said(&school, "deal digits.plan.json --home dealer --images 2 --out keys --runs dealer/train").is(2);

    let dealt = said(&school, &format!("{deal} --out keys --format json"));
    let run = school.status("dealer")[0]["run"].as_str().unwrap().to_owned();
    assert_eq!(dealt.is(0).json()["trained"], format!("run {run} at step 18 of attempt 1"));
    assert_eq!(school.status("dealer")[0]["provisioned"], 1);
    let listed = said(&school, "keys ls --role 1 --keys keys/p1 --format json");
    assert_eq!(listed.json()["key_sets"][0]["trained"], dealt.json()["trained"]);
    // The same deal goes on for the same weights only.
    said(&school, "deal digits.plan.json --resume --home dealer --out keys").is(6).says(&["dealt for", &run]);

    // Over the network, straight to both parties.
    let hold = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = hold.each_ref().map(|l| l.local_addr().unwrap().port());
    drop(hold);
    let receive = |me: usize| {
        let (port, dealer) = (ports[me], school.key("dealer"));
        let words = format!(
            "keys receive --role {me} --plan digits.plan.json --keys keys/p{me} --home p{me} --listen 127.0.0.1:{port} --dealer {dealer}"
        );
        let words: Vec<&str> = words.split(' ').collect();
        Proc::start_in(&school.path(""), &format!("p{me}"), &words)
    };
    let takers = [receive(0), receive(1)];
    let [a, b] = ports;
    let (first, second) = (school.key("p0"), school.key("p1"));
    let to = format!("--p0 127.0.0.1:{a} --p0-key {first} --p1 127.0.0.1:{b} --p1-key {second}");
    said(&school, &format!("{deal} {to}")).is(0);
    takers.into_iter().for_each(|taker| _ = taker.wait(LONG).is(0));

    let ([p0, p1], places) = both(&school);
    // all that is there is for trained weights: nobody has anything to open
    let learnt = "learnt.weights.safetensors";
    said(
        &school,
        &format!("provision digits.plan.json --weights {learnt} --home model {places} --patience 20"),
    )
    .is_one_of(&[0, 8, 9]);
    let answers = infer(&school, &places, 100, 12);
    let json = answers.is(0).json();
    let again = infer(&school, &places, 112, 8).is(0).json();
    let (float, off) = plain(&plan, &weights, &school, 100..120);
    let logits = |json: &serde_json::Value| -> Vec<Vec<f64>> {
        serde_json::from_value(json["logits"].clone()).unwrap()
    };
    let found = [logits(&json), logits(&again)].concat();
    assert_eq!(found.len(), float.len());
    for (found, float) in found.iter().zip(&float) {
        let worst = found.iter().zip(float).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max);
        assert!(worst <= off, "{worst} of {off}: {found:?}, {float:?}");
    }
    let best = |row: &Vec<f32>| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    let labels: Vec<usize> = [&json, &again].iter().flat_map(|j| twoply_tests::world::labels(j)).collect();
    let agree = labels.iter().zip(&float).filter(|(label, row)| **label == best(row)).count();
    assert!(agree + 1 >= labels.len(), "{agree} of {} labels", labels.len());
    for party in [p0, p1] {
        party.terminate();
        party.wait(LONG).is(0);
    }
    // Each key set is noted in the run that it is for.
    assert!(["p0", "p1"].iter().all(|role| school.status(role)[0]["provisioned"].as_u64() >= Some(3)));
    for me in 0..2 {
        let files = fs::read_dir(school.path(&format!("keys/p{me}"))).unwrap().flatten();
        assert!(files.map(|f| f.path().join("weights.masked")).all(|path| !path.exists()));
    }
    wrong_folders(&school);
}

/// What a party lacks is said by name, and nobody answers with other weights.
fn wrong_folders(school: &School) {
    let (p0, _) = party(school, 0, "", "--runs nowhere");
    p0.wait(LONG).is(8).says(&["the run is not here", "name the folder"]);
    let (p0, _) = party(school, 0, "", "--runs p1/train");
    p0.wait(LONG).is(9).says(&["kept by P1, this is P0"]);
    // P1 has another state under the same name, with the right share of the mask.
    let dir = KeyDir::open(school.path("keys/p1"), PartyId::P1).unwrap();
    let trained = dir.summary(dir.key_sets().unwrap()[0]).unwrap().trained.unwrap();
    forged(school, trained);
    let (p0, first) = party(school, 0, "", "");
    let (p1, _) = party(school, 1, &first, "--runs forged");
    p1.wait(LONG).is(9).says(&["bound to other weights"]);
    drop(p0);
    for me in 0..2 {
        fs::remove_dir_all(school.path(&format!("keys/p{me}"))).unwrap();
    }
    let deal = "deal digits.plan.json --trained digits.train.json --home dealer --images 6 --out more";
    said(school, deal).is(0);
    fs::create_dir_all(school.path("keys")).unwrap();
    for me in 0..2 {
        fs::rename(school.path(&format!("more/p{me}")), school.path(&format!("keys/p{me}"))).unwrap();
    }
    let (p0, first) = party(school, 0, "", "");
    let (p1, second) = party(school, 1, &first, "--runs forged");
    p0.hear("does not hold the same weights of run", LONG).unwrap();
    p1.hear("does not hold the same weights of run", LONG).unwrap();
    let (a, b) = (school.key("p0"), school.key("p1"));
    let places = format!("--p0 {first} --p0-key {a} --p1 {second} --p1-key {b}");
    infer(school, &places, 100, 1).is(8);
    drop((p0, p1));
}

/// A run of the same name that ended at the same checkpoint at P1, with other weights under the true mask.
fn forged(school: &School, trained: Trained) {
    let me = PartyId::P1;
    let EndedWeights { mut values, share } =
        Half::find(&school.path("p1/train/runs"), me, trained).unwrap().weights().unwrap();
    values[0] ^= 1;
    let root: PathBuf = school.path("forged/runs");
    fs::create_dir_all(&root).unwrap();
    let (steps, len) = (trained.at.step, trained.bytes);
    let spec = RunSpec {
        run: trained.run,
        plan: PlanDigest([0; 32]),
        order: [0; 32],
        sets: vec![],
        schedule: Schedule { steps, every: steps },
        lengths: Lengths::new(len, len, 0).unwrap(),
    };
    let velocities = vec![0; len as usize];
    let shares = [&share[..], &velocities].concat().into();
    let state = Snapshot { weights: values, velocities, accumulators: vec![], shares };
    PartyRun::create(&root, me, &spec, &[], &state).unwrap();
    let mut run = PartyRun::open(&root, me, spec, &[]).unwrap();
    let (attempt, from, set) = (trained.at.attempt, CheckpointId::START, KeySetId([1; 16]));
    let pending = run.offered(&Offer { run: trained.run, attempt, from, set }).unwrap();
    let reserved = pending.reserved();
    let mut attempt = pending.agree(&reserved).unwrap();
    for _ in 0..steps {
        let segment = attempt.begin(SegmentKind::Train).unwrap();
        attempt.finish(segment, [0; 32]).unwrap();
    }
    let ours = attempt.checkpoint(&state).unwrap();
    let mark = ours.mark();
    assert_eq!(attempt.hear(ours, &mark).unwrap().0.end().unwrap(), trained.at);
}
