//! A training run in real processes, and what kills it.

use super::deaths::tidy;
use std::fs;
use std::time::Duration;
use twoply_nn::Weights;
use twoply_nn::train::{Brings, Share, TrainingPlan};
use twoply_tests::school::{LONG, School};
use twoply_tests::{Dice, Proc};

pub fn limited<'a>(digits: &'a [String; 4], rows: &'a str) -> Vec<&'a str> {
    digits.iter().map(String::as_str).chain(["--limit", rows]).collect()
}

pub fn weights(school: &School) -> Weights {
    let bytes = fs::read(school.path("learnt.weights.safetensors")).unwrap();
    Weights::from_safetensors(&school.plan.graph, &bytes).unwrap()
}

#[test]
fn a_run_is_planned_brought_trained_and_fetched() {
    let school = School::new((96, 3), vec![], 5);
    let digits = school.digits();
    let log = school.path("p1.jsonl").display().to_string();
    let parties = [school.party("run", 0, &[]), school.party("run", 1, &["--log", &log, "--ahead", "2"])];
    let dealer = school.dealer(&[]);
    let owner = school.owner("data", "owner", &limited(&digits, "96")).wait(LONG);
    assert_eq!(owner.is(0).json()["rows"], 96);
    let fetched = school.fetcher(&[]).wait(LONG);
    assert_eq!(fetched.is(0).json()["step"], 18);
    let dealt = dealer.wait(LONG);
    assert_eq!((&dealt.is(0).json()["ended"], &dealt.json()["steps"]), (&18.into(), &18.into()));
    for party in parties {
        let said = party.wait(LONG);
        let said = said.is(0).json();
        assert_eq!(
            (&said["ended"], &said["steps"], &said["delivered"]),
            (&18.into(), &18.into(), &true.into())
        );
        assert_eq!(said["counted"]["rounds"], 18 * school.plan.step.rounds);
        assert_eq!(said["counted"]["bytes"], 18 * school.plan.step.bytes);
    }
    let last = fs::read_to_string(&log).unwrap();
    let last: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!((&last["to"], &last["epoch"]), (&18.into(), &3.into()));
    for (role, checkpoint) in
        [("p0", serde_json::json!(18)), ("p1", 18.into()), ("dealer", serde_json::Value::Null)]
    {
        let status = school.status(role);
        let run = &status[0];
        assert_eq!(
            (&run["attempts"], &run["ended"], &run["checkpoint"]),
            (&1.into(), &18.into(), &checkpoint)
        );
    }
    // What was masked is gone at its owner; of the run, ledger and one checkpoint are left at each, and no key.
    ["p0", "p1", "dealer"].into_iter().for_each(|role| tidy(&school, role));
    let all = fs::read_dir(school.path("owner/rows")).unwrap().map(|e| e.unwrap().path());
    let folders: Vec<_> = all.filter(|path| path.is_dir()).collect();
    assert_eq!(fs::read_dir(&folders[0]).unwrap().count(), 1, "the ledger alone");

    // The model again, for who lost it: the same bytes.
    let first = fs::read(school.path("learnt.weights.safetensors")).unwrap();
    let parties = [school.party("resume", 0, &[]), school.party("resume", 1, &[])];
    school.fetcher(&[]).wait(LONG).is(16).says(&["learnt.graph.json", "--force"]);
    school.fetcher(&["--force"]).wait(LONG).is(0);
    assert!(fs::read(school.path("learnt.weights.safetensors")).unwrap() == first);
    for party in parties {
        party.wait(LONG).is(0);
    }

    // Another run on the same rows: they are not brought again.
    let parties = [school.party("run", 0, &[]), school.party("run", 1, &[])];
    let dealer = school.dealer(&[]);
    let known = school.owner("data", "owner", &limited(&digits, "96")).wait(LONG);
    assert_eq!(known.is(0).json()["known"], true);
    school.fetcher(&["--force"]).wait(LONG).is(0);
    dealer.wait(LONG).is(0);
    for party in parties {
        party.wait(LONG).is(0);
    }
    assert_eq!(school.status("p0").as_array().unwrap().len(), 2);
}

/// Owners of rows, of columns and of the weights to begin with; of columns, aligned by an index.
#[test]
fn several_owners_bring_their_shares() {
    let columns = |from, to, targets| Brings::Columns { inputs: [from, to], targets };
    let share = |owner: &str, brings| Share { owner: owner.into(), brings };
    let shares = vec![
        share("left", columns(0, 24, false)),
        share("right", columns(24, 64, true)),
        share("first", Brings::Start),
    ];
    let mut school = School::new((32, 1), shares, 2);
    let index: String = (0..32).map(|i| format!("patient-{i}\n")).collect();
    fs::write(school.path("index.txt"), format!("# 7c1f\n{index}")).unwrap();
    school.plan.index = Some(twoply_nn::train::index_digest(format!("# 7c1f\n{index}").as_bytes()));
    school.replan("digits.train.json", &school.plan);
    fs::write(
        school.path("start"),
        twoply_nn::train::initial(&school.plan.graph, 9).to_safetensors(&school.plan.graph).unwrap(),
    )
    .unwrap();
    // `right` has its rows the other way round, and one more
    let table = |name: &str, columns: std::ops::Range<usize>, rows: &[usize]| {
        let row = |r: &usize| {
            let of = |c: usize| ((r * 37 + c * 11) % 17).to_string();
            columns.clone().map(of).collect::<Vec<_>>().join(",") + "\n"
        };
        fs::write(school.path(name), rows.iter().map(row).collect::<String>()).unwrap();
    };
    let (all, turned): (Vec<usize>, Vec<usize>) = ((0..32).collect(), (0..33).rev().collect());
    table("left.csv", 0..24, &all);
    table("right.csv", 24..64, &turned);
    let names = |rows: &[usize]| rows.iter().map(|r| format!("patient-{r}\n")).collect::<String>();
    fs::write(school.path("left.ids"), names(&all)).unwrap();
    fs::write(school.path("right.ids"), names(&turned)).unwrap();
    fs::write(
        school.path("right.labels"),
        turned.iter().map(|r| format!("{}\n", r % 10)).collect::<String>(),
    )
    .unwrap();

    let parties = [school.party("run", 0, &[]), school.party("run", 1, &[])];
    let dealer = school.dealer(&[]);
    let left = ["--samples", "left.csv", "--index", "index.txt", "--ids", "left.ids"];
    let right =
        ["--samples", "right.csv", "--labels", "right.labels", "--index", "index.txt", "--ids", "right.ids"];
    // The wrong ways first.
    school
        .owner("middle", "owner", &left)
        .wait(LONG)
        .is(2)
        .says(&["no share `middle`", "left, right, first"]);
    school.owner("left", "owner", &["--samples", "left.csv"]).wait(LONG).is(2).says(&["--index"]);
    school.owner("left", "owner", &["--weights", "start"]).wait(LONG).is(2).says(&["--samples"]);
    school.owner("first", "owner", &left).wait(LONG).is(2).says(&["--weights"]);
    let labelled = [&left[..], &["--labels", "right.labels"]].concat();
    school.owner("left", "owner", &labelled).wait(LONG).is(2).says(&["another owner's"]);
    let other = ["--samples", "left.csv", "--index", "left.ids", "--ids", "left.ids"];
    school.owner("left", "owner", &other).wait(LONG).is(15).says(&["not the index of this plan"]);
    fs::write(school.path("short.ids"), names(&[0; 1]) + &names(&(100..131).collect::<Vec<_>>())).unwrap();
    let short = ["--samples", "left.csv", "--index", "index.txt", "--ids", "short.ids"];
    school.owner("left", "owner", &short).wait(LONG).is(15).says(&["31 rows of the index", "patient-1"]);
    // `other` is the owner of `right`, not of `left`
    school.owner("left", "other", &left).wait(LONG).is(5);
    school.owner("left", "owner", &left).wait(LONG).is(0);
    school.owner("right", "other", &right).wait(LONG).is(0);
    school.owner("first", "owner", &["--weights", "start"]).wait(LONG).is(0);
    let fetched = school.fetcher(&[]).wait(LONG);
    assert_eq!(fetched.is(0).json()["step"], 2);
    dealer.wait(LONG).is(0);
    for party in parties {
        party.wait(LONG).is(0);
    }
    assert_eq!(weights(&school).0.len(), school.plan.graph.params.len());
}

/// Who is killed, or told to stop, and when.
const MATRIX: [(&str, &str, bool); 15] = [
    ("p0", "waits for the rows", true),
    ("p1", "waits for the rows", true),
    ("dealer", "both parties are here", true),
    ("p0", "waits for the rows", false),
    ("p1", "waits for the rows", false),
    ("dealer", "both parties are here", false),
    ("p0", "goes on after", true),
    ("p1", "goes on after", true),
    ("dealer", "goes on after", true),
    ("p0", "goes on after", false),
    ("p1", "goes on after", false),
    ("dealer", "goes on after", false),
    ("p0", "later", true),
    ("p1", "later", true),
    ("dealer", "later", true),
];

/// Every process is killed at every phase, and started again: the run goes on from the last checkpoint that all hold, and ends.
#[test]
fn whoever_dies_the_run_ends() {
    let mut dice = Dice::new(7);
    let school = School::new((96, 60), vec![], 10);
    let digits = school.digits();
    let verbs = |me: usize, again: bool| school.party(if again { "resume" } else { "run" }, me, &[]);
    let mut all = [verbs(0, false), verbs(1, false), school.dealer(&[])];
    let (mut brought, fetcher) = (false, school.fetcher(&["--patience", "200"]));
    for (role, phase, killed) in MATRIX {
        let at = ["p0", "p1", "dealer"].iter().position(|r| *r == role).unwrap();
        if phase != "waits for the rows" && phase != "both parties are here" && !brought {
            school.owner("data", "owner", &limited(&digits, "96")).wait(LONG).is(0);
            brought = true;
        }
        match phase {
            "later" => std::thread::sleep(Duration::from_millis(500 + dice.below(1500))),
            phase => drop(all[at].hear(phase, LONG)),
        }
        assert!(all[at].runs(), "{role} has ended before it was killed: make the run longer");
        match killed {
            true => all[at].kill(),
            false => {
                all[at].terminate();
                all[at].finish_within(LONG).is(0);
            }
        }
        all[at] = match at {
            2 => school.dealer(&["--resume"]),
            // before it knows of the run it begins it again
            me => verbs(me, school.status(role).as_array().is_some_and(|runs| !runs.is_empty())),
        };
    }
    let fetched = fetcher.wait(LONG);
    assert_eq!(fetched.is(0).json()["step"], 360);
    for process in all {
        process.wait(LONG).is(0);
    }
    for role in ["p0", "p1", "dealer"] {
        let status = school.status(role);
        assert_eq!(status[0]["ended"], 360, "{role}");
        assert!(status[0]["attempts"].as_u64() > Some(3), "{role}: {status}");
    }
    assert!(weights(&school).0.iter().flatten().all(|w| w.is_finite()));
}

/// Rows that were masked once stay what they are, whatever an owner loses.
#[test]
fn other_rows_under_the_same_mask_do_not_leave() {
    let school = School::new((32, 1), vec![], 5);
    let digits = school.digits();
    let parties = [school.party("run", 0, &[]), school.party("run", 1, &[])];
    let mut dealer = school.dealer(&[]);
    school
        .owner("data", "owner", &limited(&digits, "31"))
        .wait(LONG)
        .is(15)
        .says(&["31 rows where the plan has 32"]);
    school.owner("data", "owner", &limited(&digits, "32")).wait(LONG).is(0);
    // it brings other labels, and knows that it did not before
    fs::write(school.path("other.txt"), "1\n".repeat(500)).unwrap();
    let other = ["--samples", &digits[1], "--labels", "other.txt", "--limit", "32"];
    let again = school.owner("data", "owner", &other).wait(LONG);
    again.is(9).says(&["other rows than these", "--new-data data"]);
    // the owner's disk is lost, and it brings other rows: the parties are bound
    fs::remove_dir_all(school.path("owner/rows")).unwrap();
    let refused = school.owner("data", "owner", &other).wait(LONG);
    refused.is(9).says(&["bound to other rows", "--new-data data"]);
    drop(parties);
    dealer.finish();
    // whom the same share of the same plan belongs to now is not who brought it
    let other_owner = |verb, me| {
        let named = format!("data={}", school.key("other"));
        let mut words = school.party_words(verb, me);
        let at = words.iter().position(|w| w == "--owner").unwrap();
        words[at + 1] = named;
        let party = school.start("p", &words, &[]);
        party.hear("listens on", LONG).unwrap();
        party
    };
    // another run on the same data key set, whether the first one has ended or not
    fs::remove_dir_all(school.path("dealer/train/runs")).unwrap();
    let parties = [other_owner("run", 0), other_owner("run", 1)];
    let mut dealer = school.dealer(&[]);
    school.owner("data", "other", &other).wait(LONG).is(9).says(&["another owner's", "--new-data data"]);
    drop(parties);
    dealer.finish();
    // a new data key set takes them
    fs::remove_dir_all(school.path("owner/rows")).unwrap();
    fs::remove_dir_all(school.path("dealer/train/runs")).unwrap();
    let parties = [school.party("run", 0, &[]), school.party("run", 1, &[])];
    let dealer = school.dealer(&["--new-data", "data"]);
    school.owner("data", "owner", &other).wait(LONG).is(0);
    school.fetcher(&[]).wait(LONG).is(0);
    dealer.wait(LONG).is(0);
    for party in parties {
        party.wait(LONG).is(0);
    }
}

#[test]
fn roles_that_do_not_go_together_say_so() {
    let mut school = School::new((32, 1), vec![], 5);
    let (plan, digits) = (school.plan.clone(), school.digits());
    let spoken = |words: Vec<String>, more: &[&str]| school.start("wrong", &words, more).wait(LONG);
    let words = school.party_words("run", 0);
    let with = |flag: &str, value: &str| {
        let mut words = words.clone();
        let at = words.iter().position(|w| w == flag).unwrap();
        words[at + 1] = value.into();
        words
    };
    spoken(with("--dealer", school.key("p0")), &[]).is(3).says(&["must not be a party", "third machine"]);
    spoken(with("--peer-key", school.key("p0")), &[]).is(3).says(&["this machine's own"]);
    spoken(with("--owner", "nobody=tp1-x"), &[]).is(3).says(&["no share `nobody`", "data"]);
    spoken(with("--owner", school.key("owner")), &[]).is(3).says(&["names no share"]);
    spoken(with("--model-owner", "tp1-x"), &[]).is(3).says(&["--model-owner"]);
    // The dealer goes on with a run that a party does not have.
    let mut dealer = school.dealer(&[]);
    dealer.hear("keys for", LONG);
    dealer.finish(); // it has begun one, and reached nobody
    let p0 = school.party("run", 0, &[]);
    let p1 = school.party("resume", 1, &[]);
    let dealer = school.dealer(&["--resume"]);
    p1.wait(LONG).is(8).says(&["this party only resumes", "twoply train run"]);
    dealer.wait(LONG).is(8);
    drop(p0);
    school.dealer(&[]).wait(LONG).is(3).says(&["has not ended", "--resume"]);
    fs::remove_dir_all(school.path("dealer/train")).unwrap();
    school.dealer(&["--resume"]).wait(LONG).is(8).says(&["no run of this plan"]);
    school.dealer(&["--new-data", "x"]).wait(LONG).is(2).says(&["no share `x`"]);
    // Labels that are none.
    fs::write(school.path("far.txt"), "10\n".repeat(500)).unwrap();
    let far = ["--samples", &digits[1], "--labels", "far.txt"];
    school.owner("data", "owner", &far).wait(LONG).is(15).says(&["none of the 10 classes"]);
    school.plan = plan;
}

/// A demo of everything, as a new user starts it.
#[test]
fn the_demo_trains() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["demo", "--train", "--epochs", "4", "--format", "json", "--quiet"];
    let ended = Proc::start_in(folder.path(), "demo", &args).wait(LONG);
    let said = ended.is(0).json();
    let right = |at: usize| said["right"][at].as_u64().unwrap();
    assert!(right(1) > right(0) + 20 && right(1) + 10 > right(2), "{said}");
    assert_eq!(said["steps"], 48);
}

/// The figures of a run in real processes are those of its plan.
#[test]
fn training_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["bench", "--table", "training", "--network", "network-1", "--steps", "2", "--format", "json"];
    let said = Proc::start_in(folder.path(), "bench", &[&args[..], &["--quiet"]].concat()).wait(LONG);
    let said = said.is(0).json();
    let row = &said[0];
    assert_eq!((&row["steps"], &row["ariann_epoch_seconds"]), (&2.into(), &2808.into()), "{said}");
    // AriaNN's Network-1 at batch 128 (training, section 13)
    assert_eq!(row["online_bytes"].as_u64().unwrap() / 10_000, 117, "{said}");
    assert!(row["step_ms"].as_f64() > Some(0.0) && row["memory"][2].as_u64() > Some(0), "{said}");
}

/// An imported network whose last layer learns on, by one command.
#[test]
fn the_demo_fine_tunes() {
    let folder = tempfile::tempdir().unwrap();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/digits");
    let [model, images, labels] =
        ["digits.onnx", "digits-images.idx", "digits-labels.idx"].map(|name| format!("{examples}/{name}"));
    let data = ["--rows", &images, "--row-labels", &labels, "--test", &images, "--test-labels", &labels];
    let pixels = ["--scale=0.0625", "--mean=0.3125", "--std=0.5"];
    let run =
        ["demo", "--train", "--fine-tune", &model, "--train-last", "1", "--first", "64", "--batch", "32"];
    let kept = ["--keep", "kept", "--format", "json", "--quiet"];
    let args = [&run[..], &data, &pixels, &kept].concat();
    let said = Proc::start_in(folder.path(), "demo", &args).wait(LONG);
    let said = said.is(0).json();
    assert_eq!(said["steps"], 2);
    assert!(said["right"][0].as_u64().unwrap() > 450, "it begins with the model's weights: {said}");
    assert!(said["right"][1].as_u64().unwrap() > 450, "{said}");

    let kept = folder.path().join("kept");
    let plan = TrainingPlan::from_json(&fs::read_to_string(kept.join("model.train.json")).unwrap()).unwrap();
    let read = |name: &str| {
        let bytes = fs::read(kept.join(name)).unwrap();
        Weights::from_safetensors(&plan.graph, &bytes).unwrap()
    };
    let (before, after) = (read("model.weights.safetensors"), read("learnt.weights.safetensors"));
    let ulp = 0.5f32.powi(plan.recipe.fractions.weights as i32);
    let last = plan.graph.nodes.iter().rev().find_map(|node| node.op.params().next()).unwrap();
    for (at, (before, after)) in before.0.iter().zip(&after.0).enumerate() {
        let moved = before.iter().zip(after).any(|(a, b)| (a - b).abs() > ulp);
        assert_eq!(moved, at >= last, "parameter {at}");
    }

    let none = [&run[..4], &["--train-last", "9", "--first", "64"], &data, &pixels, &["--quiet"]].concat();
    Proc::start_in(folder.path(), "none", &none).wait(LONG).is(15).says(&["with parameters"]);
    let alone = ["demo", "--train", "--fine-tune", &model];
    Proc::start_in(folder.path(), "alone", &alone).wait(LONG).is(2).says(&["--rows"]);
}
