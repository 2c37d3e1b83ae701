//! Parties whose checkpoints are not the same: nobody goes on, everybody says why, and an older checkpoint stays good.

use super::deaths::{attempts, tidy};
use super::run::limited;
use std::fs;
use std::path::Path;
use twoply_nn::train::initial;
use twoply_nn::train::roles::Learner;
use twoply_preprocessing::FileFolder;
use twoply_preprocessing::rows::DataSet;
use twoply_preprocessing::run::{CheckpointId, Offer, PartyRun, RunSpec, SegmentKind, Snapshot, survey};
use twoply_primitives::{Cpu, KeySetId, PartyId};
use twoply_tests::school::{LONG, School};
use twoply_tests::{Proc, Terms};

fn under(name: &'static str, value: &str) -> Terms {
    Terms { variable: Some((name, value.to_owned())), ..Terms::default() }
}

/// A run whose processes are started, and whose rows are brought; P1 under these terms.
fn begun(school: &School, terms: Terms) -> [Proc; 3] {
    let p0 = school.party("run", 0, &[]);
    let p1 = school.start_under(terms, "p1", &school.party_words("run", 1), &[]);
    let dealer = school.dealer(&[]);
    school.owner("data", "owner", &limited(&school.digits(), "96")).wait(LONG).is(0);
    [p0, p1, dealer]
}

/// All three again, to the end.
fn goes_on(school: &School, after: &str) {
    let parties = [school.party("resume", 0, &[]), school.party("resume", 1, &[])];
    let dealer = school.dealer(&["--resume"]);
    parties[0].hear(after, LONG).unwrap();
    school.fetcher(&[]).wait(LONG).is(0);
    for process in parties.into_iter().chain([dealer]) {
        assert_eq!(process.wait(LONG).is(0).json()["ended"], 18);
    }
    ["p0", "p1", "dealer"].into_iter().for_each(|role| tidy(school, role));
}

/// P1 errs in one bit of one weight of its second checkpoint: both parties drop it, and all end.
#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds cannot be told to err")]
fn a_checkpoint_that_differs_is_dropped() {
    let school = School::new((96, 3), vec![], 2);
    let [p0, p1, dealer] = begun(&school, under("TWOPLY_TEST_WRONG", "2"));
    for party in [p0, p1] {
        let ended = party.wait(LONG);
        ended.is(9).says(&["computed different states at", "it was dropped", "the one before"]);
    }
    dealer.wait(LONG).is(9).says(&["keys corrupt or already spent", "see the message of that process"]);
    for role in ["p0", "p1"] {
        assert_eq!(checkpoints(&school.path(role).join("train/runs")), ["00001-00000002.checkpoint"]);
    }
    goes_on(&school, "goes on after step 2");
}

/// P1 holds another state of the checkpoint that both would go on from.
#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds do not know where to die")]
fn parties_without_a_common_checkpoint_do_not_go_on() {
    let school = School::new((96, 3), vec![], 2);
    let [p0, mut p1, dealer] = begun(&school, under("TWOPLY_TEST_DIE", "HeldSaid:1"));
    assert_eq!(p1.finish_within(LONG).code, None);
    for process in [p0, dealer] {
        process.hear("the attempt is over", LONG).unwrap();
        process.terminate();
        process.wait(LONG).is(0);
    }
    let (runs, kept) = (school.path("p1/train/runs"), school.path("p1/kept"));
    fs::rename(&runs, &kept).unwrap();
    forge(&school, &kept, &runs);
    let before = checkpoints(&school.path("p0/train/runs"));

    let parties = [school.party("resume", 0, &[]), school.party("resume", 1, &[])];
    let dealer = school.dealer(&["--resume"]);
    for party in parties {
        let ended = party.wait(LONG);
        ended.is(9).says(&["every checkpoint of the other side differs", "compare", "begin again"]);
    }
    dealer.wait(LONG).is(9).says(&["keys corrupt or already spent", "see the message of that process"]);
    assert_eq!(checkpoints(&school.path("p0/train/runs")), before, "P0's stays");

    fs::remove_dir_all(&runs).unwrap();
    fs::rename(&kept, &runs).unwrap();
    goes_on(&school, "goes on after step 2");
}

/// Files of checkpoints of the one run in this folder.
fn checkpoints(runs: &Path) -> Vec<String> {
    let run = fs::read_dir(runs).unwrap().next().unwrap().unwrap().path();
    let names = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".checkpoint")).collect();
    names.sort();
    names
}

/// P1's run again, of equal terms and with the same attempt; one weight of its checkpoint is another.
fn forge(school: &School, kept: &Path, runs: &Path) {
    let (me, plan, from) = (PartyId::P1, &school.plan, CheckpointId::START);
    let (info, step) = (survey(kept).unwrap().remove(0), plan.program().unwrap());
    let spec = RunSpec {
        run: info.run,
        plan: plan.digest().unwrap(),
        order: plan.order_digest(),
        sets: info.sets.clone(),
        schedule: plan.checkpoints(),
        lengths: step.lengths().unwrap(),
    };
    let rows = plan.data_spec(0, info.sets[0]).unwrap();
    let data: DataSet<FileFolder> = DataSet::open(&school.path("p1/train/data"), me, rows, false).unwrap();
    let whole = data.whole().unwrap();
    let mut state: Snapshot =
        PartyRun::open(kept, me, spec.clone(), &[whole.root()]).unwrap().state(info.last.unwrap()).unwrap();
    state.weights[0] ^= 1;

    let start = Learner::begin(Cpu::<u32>::new(), &step, vec![], &initial(&plan.graph, plan.seed)).unwrap();
    fs::create_dir_all(runs).unwrap();
    PartyRun::create(runs, me, &spec, &[&whole], &start.snapshot().unwrap()).unwrap();
    let mut run = PartyRun::open(runs, me, spec, &[whole.root()]).unwrap();
    let (attempt, set) = attempts(&kept.join(info.run.to_string()))[0];
    let pending = run.offered(&Offer { run: info.run, attempt, from, set: KeySetId(set) }).unwrap();
    let reserved = pending.reserved();
    let mut attempt = pending.agree(&reserved).unwrap();
    while attempt.due().is_none() {
        let segment = attempt.begin(SegmentKind::Train).unwrap();
        attempt.finish(segment, [0; 32]).unwrap();
    }
    let ours = attempt.checkpoint(&state).unwrap();
    let mark = ours.mark();
    let (_, held) = attempt.hear(ours, &mark).unwrap();
    assert_eq!(held.id, mark.id);
}
