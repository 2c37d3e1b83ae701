//! The whole way as a user goes it: every verb, three machines' folders, and nothing secret in what is said.

use serde_json::Value;
use std::fs;
use twoply_tests::binary::root;
use twoply_tests::model::{PLAIN, idx};
use twoply_tests::world::{Pair, labels};
use twoply_tests::{Proc, SOON, World, digits};

fn act(args: &[&str]) -> Value {
    let args = [args, &["--format", "json"]].concat();
    Proc::start(args[0], &args).wait(SOON).json()
}

#[test]
fn three_machines_by_the_book() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let example = |name: &str| root().join("examples/digits").join(name).display().to_string();
    let keys: Vec<String> = ["p0", "p1", "owner", "client"]
        .iter()
        .map(|home| act(&["id", "--new", "--home", &path(home)])["fingerprint"].as_str().unwrap().to_owned())
        .collect();
    let (model, samples) = (example("digits.onnx"), example("calibration-images.idx"));
    let normalise = ["--scale", "0.0625", "--mean", "0.3125", "--std", "0.5"];
    act(&[&["import", &model, "--out", &path("net")], &normalise[..]].concat());
    let (graph, weights, plan) =
        (path("net.graph.json"), path("net.weights.safetensors"), path("net.plan.json"));
    let bill = ["--images", "7", "--batch", "3"];
    let promised =
        act(&[&["plan", &graph, "--weights", &weights, "--samples", &samples], &bill[..]].concat());
    act(&["deal", &plan, "--images", "7", "--out", &path("dealt")]);
    // Each half goes to its machine; the dealer keeps none.
    for p in ["p0", "p1"] {
        fs::rename(path(&format!("dealt/{p}")), path(&format!("{p}/keys"))).unwrap();
    }
    let mut pair = Pair { procs: vec![], addresses: vec![] };
    for (me, home) in ["p0", "p1"].into_iter().enumerate() {
        let (keys_at, role, home) = (path(&format!("{home}/keys")), me.to_string(), path(home));
        let mut args = vec!["party", &plan, "--role", &role, "--home", &home, "--keys", &keys_at];
        args.extend(["--listen", "127.0.0.1:0", "--format", "json", "--peer-key", &keys[1 - me]]);
        args.extend(["--owner", &keys[2], "--client", &keys[3]]);
        let p0 = pair.addresses.first().cloned().unwrap_or_default();
        if me == 1 {
            args.extend(["--peer", &p0]);
        }
        let party = Proc::start(&role, &args);
        let line = party.hear(" listens on ", SOON).unwrap();
        assert!(line.contains(&keys[me]), "a party says who it is: {line}");
        pair.addresses.push(line.split(" on ").nth(1).unwrap().split(' ').next().unwrap().to_owned());
        pair.procs.push(party);
    }
    let (owner, client, images) = (path("owner"), path("client"), path("seven.idx"));
    fs::write(&images, idx(0..7)).unwrap();
    let places =
        ["--p0", &pair.addresses[0], "--p0-key", &keys[0], "--p1", &pair.addresses[1], "--p1-key", &keys[1]];
    act(&[&["provision", &plan, "--weights", &weights, "--home", &owner], &places[..]].concat());
    // Idle time, in which both prepare for the first image.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let infer =
        ["infer", &plan, "--images", &images, "--batch", "3", "--home", &client, "--weights", &weights];
    let inferred = act(&[&infer[..], &places[..]].concat());
    assert_eq!(labels(&inferred), digits().labels[..7]);
    assert_eq!((inferred["images"].as_u64(), inferred["agree"].as_u64()), (Some(7), Some(7)));
    assert_eq!(inferred["wraps"], 0);
    assert!(inferred["worst_ulp"].as_f64().unwrap() < 200.0, "{}", inferred["worst_ulp"]);
    assert_eq!(inferred["requests"].as_array().unwrap().len(), 3);
    assert_eq!(inferred["logits"].as_array().unwrap().len(), 7);
    let reports = pair.stop();
    as_promised(&promised, &reports);
}

/// What both parties counted is what `twoply plan` said before.
fn as_promised(promised: &Value, reports: &[Value; 2]) {
    for (me, report) in reports.iter().enumerate() {
        for counter in ["images", "comparisons", "rounds"] {
            assert_eq!(report[counter], promised[counter], "{counter} of P{me}");
        }
        for counter in ["bytes_sent", "owner_bytes", "key_bytes"] {
            assert_eq!(report[counter][me], promised[counter][me], "{counter} of P{me}");
            assert!(report[counter][1 - me].is_null(), "P{me} speaks for itself only");
        }
        assert_eq!((&report["images_left"], &report["images_burnt"]), (&0.into(), &0.into()));
        assert_eq!(report["opened"], promised["opened"]);
        assert!(report["seconds"]["prepared"].as_f64().unwrap() > 0.0, "P{me} used its idle time");
        let layers = report["layers"].as_array().unwrap();
        assert_eq!(layers.len(), promised["layers"].as_array().unwrap().len());
        assert!(layers.iter().all(|l| l["seconds"]["compute"].is_number()));
        assert_eq!(report["insecure"], Value::Array(vec![]));
    }
}

/// Seeds, weights, pixels and logits: not in what either party says, however much it is asked to say.
#[test]
fn nothing_secret_is_said() {
    let world = World::dealt(PLAIN, 6, 3);
    let mut secrets = seeds(&world);
    assert!(secrets.len() >= 2 * 3 * 2, "{} seeds", secrets.len());
    let pair = world.parties_with([&["-vv"], &["-vv"]]);
    let owner = world.provision(&pair, &["-vv"]);
    owner.is(0);
    let inferred = world.asking("client", &pair, 0..4, &["-vv"]).wait(SOON);
    let logits = inferred.json()["logits"].clone();
    let numbers = logits.as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
    let logits: Vec<String> = numbers.map(ToString::to_string).filter(|text| text.len() > 6).collect();
    assert!(logits.len() > 20);
    secrets.extend(logits.iter().cloned());
    let weights = digits().weights.0.iter().flatten().take(500);
    secrets.extend(weights.map(ToString::to_string).filter(|text| text.len() > 7));
    pair.procs.iter().for_each(Proc::terminate);
    let mut said = vec![("owner", owner.err), ("owner", owner.out), ("client", inferred.err.clone())];
    for ended in pair.ended(SOON) {
        ended.is(0);
        said.extend([("party", ended.out), ("party", ended.err)]);
    }
    for (who, text) in said {
        let lower = text.to_lowercase();
        let told = secrets.iter().find(|s| lower.contains(s.as_str()));
        assert_eq!(told, None, "said by {who}");
    }
}

/// First halves of all seeds of both parties, in hexadecimal and as a list of bytes.
fn seeds(world: &World) -> Vec<String> {
    let mut all = vec![];
    for me in 0..2 {
        for file in fs::read_dir(world.set(me)).unwrap().flatten().map(|e| e.path()) {
            if file.extension().is_some_and(|e| e == "key") {
                let bytes = fs::read(file).unwrap();
                let seed = &bytes[104..112];
                assert_ne!(seed, [0; 8]);
                all.push(seed.iter().map(|b| format!("{b:02x}")).collect());
                all.push(seed.iter().map(u8::to_string).collect::<Vec<_>>().join(", "));
            }
        }
    }
    all
}
