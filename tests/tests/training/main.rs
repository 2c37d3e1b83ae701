//! `twoply train` as its users call it, the wrong ways too.

mod control;
mod deaths;
mod differ;
mod full;
mod plans;
mod points;
mod reveal;
mod run;
mod slow;
mod under;

use std::path::Path;
use std::time::Duration;
use twoply_tests::{Ended, Proc};

/// How long a rehearsal may take on a loaded machine.
const LONG: Duration = Duration::from_secs(300);

fn twoply(folder: &Path, args: &[&str]) -> Ended {
    Proc::start_in(folder, "train", args).finish_within(LONG)
}

fn digits(name: &str) -> String {
    format!("{}/../examples/digits/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A folder with the digits' graph and weights.
fn imported() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let scale = ["--scale", "1/16", "--mean", "0.3125", "--std", "0.5"];
    twoply(folder.path(), &[&["import", &digits("digits.onnx"), "--out", "digits"], &scale[..]].concat())
        .is(0);
    folder
}

#[test]
fn digits_are_planned_and_rehearsed() {
    let folder = imported();
    let here = folder.path();
    let (images, labels) = (digits("digits-images.idx"), digits("digits-labels.idx"));
    let data = ["--samples", &images, "--labels", &labels, "--held", "100"];
    let plan = ["train", "plan", "digits.graph.json", "--rows", "256", "--batch", "32", "--rate", "0.0625"];
    let planned = twoply(here, &[&plan[..], &data, &["--simulate", "60", "--format", "json"]].concat());
    planned.is(0);
    let said = planned.json();
    assert_eq!((&said["steps"], &said["rate"]), (&80.into(), &0.0625.into()), "{said}");
    assert!(
        said["step"]["key_bytes"][1].as_u64() > Some(1000)
            && said["reach"][0]["largest"].as_f64() < Some(0.25)
    );

    let check = ["train", "check", "digits.train.json", "--steps", "100", "--every", "50"];
    let more = ["--html", "curves.html", "--model-out", "learnt", "--format", "json"];
    let checked = twoply(here, &[&check[..], &data, &more].concat());
    checked.is(0);
    let said = checked.json();
    assert_eq!((&said["differing"], &said["miscounted"]), (&0.into(), &0.into()), "{said}");
    let points = said["points"].as_array().unwrap();
    let right = |at: usize, whose: &str| points[at][whose].as_u64().unwrap();
    assert_eq!(points.len(), 3);
    for whose in ["right_float", "right_fixed"] {
        assert!(right(0, whose) < 40 && right(2, whose) > 75, "{whose}: {said}");
    }
    let page = std::fs::read_to_string(here.join("curves.html")).unwrap();
    assert_eq!((page.matches("<polyline").count(), page.matches("<script").count()), (4, 0));

    // What was learnt is a model like any other.
    let evaluate =
        ["check", "learnt.graph.json", "--weights", "learnt.weights.safetensors", "--samples", &images];
    let good = twoply(here, &[&evaluate[..], &["--limit", "20"]].concat());
    assert!(good.is(0).out.contains("float/two parties 20"), "{}", good.out);
    // And a start like any other.
    let again = ["--weights", "learnt.weights.safetensors", "--no-parties", "--format", "json"];
    let again = twoply(here, &[&check[..], &data, &again].concat());
    again.is(0);
    assert!(
        again.json()["points"][0]["right_fixed"].as_u64() > Some(75) && again.json()["differing"].is_null()
    );
    // Nothing is overwritten unasked.
    twoply(here, &[&check[..], &data, &["--html", "curves.html"]].concat()).is(16).says(&["curves.html"]);
    twoply(here, &[&plan[..], &data].concat()).is(16).says(&["digits.train.json", "--force"]);
}

#[test]
fn what_cannot_be_trained_says_why() {
    let folder = imported();
    let here = folder.path();
    let (images, labels) = (digits("digits-images.idx"), digits("digits-labels.idx"));
    let data = ["--samples", &images, "--labels", &labels];
    let plan = |more: &[&str]| {
        let all = ["train", "plan", "digits.graph.json", "--rows", "256", "--force"];
        twoply(here, &[&all[..], more].concat())
    };
    plan(&[]).is(10).says(&["--samples", "--unchecked-ranges"]);
    plan(&["--unchecked-ranges", "--batch", "24"]).is(2).says(&["power of two"]);
    plan(&["--unchecked-ranges", "--rate", "ten"]).is(2).says(&["no number"]);
    plan(&["--unchecked-ranges", "--rate", "4", "--batch", "16"]).is(2).says(&["choose a smaller rate"]);
    plan(&["--unchecked-ranges", "--freeze", "nobody"]).is(15).says(&["no layer `nobody`"]);
    plan(&["--unchecked-ranges", "--batch", "512"]).is(15).says(&["at least one batch"]);
    plan(&["--samples", &images]).is(2).says(&["--labels"]);
    plan(&["--unchecked-ranges", "--share", "a=rows:100"]).is(15).says(&["bring 100 rows, the run has 256"]);
    plan(&["--unchecked-ranges", "--share", "a=columns:0..10+targets"])
        .is(15)
        .says(&["up to 10, a row has 64"]);
    plan(&["--unchecked-ranges", "--share", "a"]).is(2).says(&["NAME=rows:N"]);
    plan(&["--unchecked-ranges", "--index", "nowhere.txt"]).is(16).says(&["nowhere.txt"]);
    plan(&["--unchecked-ranges", "--rate-at", "99=1/128"]).is(15).says(&["a rate from epoch 99 on"]);
    let reveal = |more: &[&str]| plan(&[&["--unchecked-ranges", "--reveal"], more].concat());
    let held = ["--share", "judge=held:200"];
    reveal(&["weights=data"]).is(2).says(&["FIGURE=NAME:STEPS"]);
    reveal(&["accuracy=data"]).is(15).says(&["fill no batch of 128", "NAME=held:ROWS"]);
    reveal(&[&["accuracy=nobody"][..], &held].concat()).is(15).says(&["`nobody`", "choose from data, judge"]);
    reveal(&[&["accuracy=judge", "--loss", "squared-error"][..], &held].concat()).is(15).says(&["--loss"]);
    plan(&[&["--unchecked-ranges"][..], &held].concat()).is(15).says(&["nothing about them is revealed"]);
    plan(&[&data[..], &["--held", "9999999"]].concat()).is(2).says(&["--held"]);
    std::fs::write(here.join("far.txt"), "10\n".repeat(3)).unwrap();
    plan(&["--samples", &images, "--labels", "far.txt"]).is(15).says(&["none of the 10 classes"]);
    std::fs::write(here.join("few.txt"), "1\n2\n3\n").unwrap();
    plan(&["--samples", &images, "--labels", "few.txt"]).is(15).says(&["and 3 labels"]);
    // Values beyond their range are named, and nothing is written.
    let wide = [&data[..], &["--rate", "2", "--simulate", "60"]].concat();
    plan(&wide).is(10).says(&["layer `", "more bits are needed", "--fractions"]);
    assert!(!here.join("digits.train.json").exists());
    // Plans of inference and of training are told apart.
    plan(&["--unchecked-ranges"]).is(0);
    let deal = ["deal", "digits.train.json", "--images", "5", "--out", "keys"];
    twoply(here, &deal).is(15).says(&["is the plan of a training run", "deal --follow"]);
    let inference = ["plan", "digits.graph.json", "--unchecked-ranges", "--out", "digits.plan.json"];
    twoply(here, &inference).is(0);
    let fetch = [
        "train",
        "fetch",
        "digits.plan.json",
        "--out",
        "x",
        "--p0",
        "h:1",
        "--p0-key",
        "x",
        "--p1",
        "h:1",
        "--p1-key",
        "x",
    ];
    twoply(here, &fetch).is(15).says(&["is no plan of a training run", "train plan"]);
    // A plan that was changed is none.
    plan(&["--unchecked-ranges"]).is(0).says(&["ranges are unchecked"]);
    let path = here.join("digits.train.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"batch\": 128", "\"batch\": 64", 1)).unwrap();
    let check = |more: &[&str]| twoply(here, &[&["train", "check", "digits.train.json"], more].concat());
    check(&data).is(15).says(&["plan again"]);
    std::fs::write(&path, text).unwrap();
    check(&[]).is(2).says(&["--samples"]);
}
