//! `deal` into folders and over the network, killed and resumed.

use crate::lab::{Lab, Said};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEAL: [&str; 2] = ["deal", "digits.plan.json"];

fn deal<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&DEAL[..], more].concat()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![] };
    let inner = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.map(|entry| entry.unwrap().path()).flat_map(inner).collect()
}

fn named(folder: &Path, start: &str, end: &str) -> usize {
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    files(folder).iter().map(name).filter(|name| name.starts_with(start) && name.ends_with(end)).count()
}

fn segments(folder: &Path) -> usize {
    named(folder, "seg-", ".key")
}

/// Waits until `ready`, or fails.
fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < Duration::from_secs(120), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn kill(mut child: Child) {
    // SIGKILL: nothing is cleaned up.
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_deal_gives_two_private_folders_and_the_lines_to_run() {
    let lab = Lab::new();
    lab.plan();
    let said = lab.ok(&deal(&["--images", "25", "--segment", "10", "--out", "my keys", "--threads", "1"]));
    assert!(said.stdout.contains("25 images in 3 segments"), "{}", said.stdout);
    for line in
        ["'my keys/p0'", "--role 0 --keys p0", "--role 1 --keys p1 --listen 0.0.0.0:7700 --peer P0_HOST:7700"]
    {
        assert!(said.stderr.contains(line), "{line} in {}", said.stderr);
    }
    for half in ["my keys/p0", "my keys/p1"] {
        assert_eq!(lab.path(half).metadata().unwrap().permissions().mode() & 0o777, 0o700);
        for file in files(&lab.path(half)) {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
    }
    let again = lab.json(&deal(&["--resume", "--out", "my keys"]));
    assert_eq!(
        (&again["dealt"], &again["images"], &again["segment_images"]),
        (&0.into(), &25.into(), &10.into())
    );
    // The deal is finished: another one is a new key set beside it, and needs no flag.
    let next = lab.json(&deal(&["--images", "5", "--out", "my keys", "-q"]));
    assert_ne!(next["key_set"], again["key_set"]);
    let listed = lab.json(&["keys", "ls", "--keys", "my keys/p1", "--party", "1"]);
    let images = listed["key_sets"].as_array().unwrap().iter().map(|set| set["images"].as_u64().unwrap());
    assert_eq!(images.sum::<u64>(), 30);
    lab.fails(2, &deal(&["--resume", "--out", "nowhere"]));
    lab.fails(2, &deal(&["--resume", "--out", "my keys", "--images", "26"]));
    // Moved away, as the lines above say: nothing is left to resume, but there is room.
    fs::rename(lab.path("my keys/p1"), lab.path("p1")).unwrap();
    let said = lab.fails(16, &deal(&["--resume", "--out", "my keys"]));
    assert!(said.contains("P1's half") && said.contains("moved away"), "{said}");
    lab.ok(&deal(&["--images", "5", "--out", "my keys", "-q"]));
    lab.fails(15, &["deal", "none.json", "--images", "1", "--out", "k"]);
}

#[test]
fn test_seeds_repeat_and_are_stamped() {
    let lab = Lab::new();
    lab.plan();
    let deal = |out| lab.json(&deal(&["--images", "3", "--insecure-test-seed", "7", "--out", out, "-q"]));
    let (a, b) = (deal("a"), deal("b"));
    assert_eq!((&a["key_set"], &a["insecure_test_seed"]), (&b["key_set"], &7.into()));
    let bytes = |folder: &str| {
        let mut all = files(&lab.path(folder));
        all.sort();
        all.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    assert!(bytes("a/p1") == bytes("b/p1"));
    let said = lab.ok(&["keys", "ls", "--keys", "a/p0", "--role", "0"]);
    assert!(said.stderr.contains("worth nothing"), "{}", said.stderr);
}

#[test]
fn a_killed_deal_goes_on_and_keeps_what_was_complete() {
    let lab = Lab::new();
    lab.plan();
    let args = deal(&["--images", "2000", "--segment", "2", "--out", "keys", "-q"]);
    let mut command = lab.command(&args);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("a segment", || segments(&lab.path("keys/p1")) >= 5);
    kill(child);
    let there = segments(&lab.path("keys/p1"));
    assert!(there < 1000, "killed too late to show anything");
    let first = files(&lab.path("keys/p1")).into_iter().find(|p| p.ends_with("seg-00000.key")).unwrap();
    let before = fs::read(&first).unwrap();

    let done = lab.json(&[&args[..], &["--resume"]].concat());
    let dealt = done["dealt"].as_u64().unwrap();
    assert!(
        (1000 - there as u64..=1001 - there as u64).contains(&dealt),
        "{dealt} dealt, {there} were there"
    );
    assert!(fs::read(&first).unwrap() == before);
    for (half, party) in [("keys/p0", "0"), ("keys/p1", "1")] {
        assert_eq!(segments(&lab.path(half)), 1000);
        assert_eq!(named(&lab.path(half), "", ".part"), 0);
        lab.ok(&["keys", "verify", "--keys", half, "--role", party, "--plan", "digits.plan.json"]);
    }
}

/// A file size limit stands in for a full disk: both are refusals in the middle of a write.
#[test]
fn a_refused_write_is_exit_16_and_leaves_no_half_written_keys() {
    let lab = Lab::new();
    lab.plan();
    let binary = env!("CARGO_BIN_EXE_twoply");
    let script =
        format!("trap '' XFSZ; ulimit -f 64; exec '{binary}' deal digits.plan.json --images 100 --out keys");
    let mut shell = Command::new("bash");
    lab.in_here(shell.args(["-c", &script]));
    let said: Said = shell.output().unwrap().into();
    assert_eq!(said.code, 16, "{}", said.stderr);
    assert!(said.stderr.contains("seg-00000.key"), "{}", said.stderr);
    assert_eq!((segments(&lab.path("keys")), named(&lab.path("keys"), "", ".part")), (0, 0));
    assert_eq!(lab.json(&deal(&["--resume", "--out", "keys"]))["dealt"], 1);
}

#[test]
fn keys_that_do_not_fit_are_refused_before_dealing() {
    let lab = Lab::new();
    lab.plan();
    let said = lab.fails(16, &deal(&["--images", "100000000000", "--out", "keys"]));
    assert!(said.contains("need") && said.contains(" MB are free"), "{said}");
    assert!(!lab.path("keys").exists());
}

/// A machine of a deal over the network: its key, and its fingerprint.
fn machine(lab: &Lab, name: &str) -> String {
    let key = format!("{name}.key");
    lab.ok(&["id", "--new", "-q", "--key", &key]).stdout.trim().to_owned()
}

/// A party that waits for its keys, and where.
fn receiver(lab: &Lab, party: &str, dealer: &str) -> (Child, String) {
    let (keys, key) = (format!("at{party}"), format!("{party}.key"));
    let mut command = lab.command(&["keys", "receive", "--role", party, "--plan", "digits.plan.json"]);
    command.args(["--keys", &keys, "--key", &key, "--listen", "127.0.0.1:0", "--dealer", dealer]);
    command.args(["--patience", "60", "--format", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    // Nobody reads the rest, but the pipe must stay.
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    let address = line.split_whitespace().nth(2).unwrap_or_else(|| panic!("{line}"));
    (child, address.to_owned())
}

fn ended(child: Child) -> Value {
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn keys_arrive_over_the_network_although_everyone_is_killed_on_the_way() {
    let lab = Lab::new();
    lab.plan();
    let [dealer, zero, one] = ["dealer", "0", "1"].map(|name| machine(&lab, name));
    let run = |at0: &str, at1: &str, more: &[&str]| {
        let mut command = lab.command(&deal(&[
            "--images",
            "400",
            "--segment",
            "4",
            "--work",
            "work",
            "--key",
            "dealer.key",
        ]));
        command
            .args(["--p0", at0, "--p0-key", &zero, "--p1", at1, "--p1-key", &one, "--format", "json"])
            .args(more);
        command
    };
    let (p0, at0) = receiver(&lab, "0", &dealer);
    let (p1, at1) = receiver(&lab, "1", &dealer);
    let child = run(&at0, &at1, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("a few segments", || segments(&lab.path("at1")) >= 3);
    [child, p0, p1].into_iter().for_each(kill);
    let there = segments(&lab.path("at1"));
    assert!(there < 100, "killed too late to show anything");
    assert!(!files(&lab.path("work")).is_empty());

    let (p0, at0) = receiver(&lab, "0", &dealer);
    let (p1, at1) = receiver(&lab, "1", &dealer);
    let said: Said = run(&at0, &at1, &["--resume"]).output().unwrap().into();
    assert_eq!(said.code, 0, "{}", said.stderr);
    let done: Value = serde_json::from_str(&said.stdout).unwrap();
    for (party, child) in [("0", p0), ("1", p1)] {
        let received = ended(child);
        assert_eq!((&received["key_set"], &received["images"]), (&done["key_set"], &400.into()));
        let came = received["segments"].as_u64().unwrap();
        assert!(came > 0 && came < 100, "{came} segments came again");
        let keys = format!("at{party}");
        assert_eq!(segments(&lab.path(&keys)), 100);
        lab.ok(&["keys", "verify", "--keys", &keys, "--role", party, "--plan", "digits.plan.json"]);
    }
    assert!(!lab.path("work").exists(), "the dealer keeps no secret");
    assert!(done["folders"].is_null());
}

#[test]
fn a_dealer_is_no_party_and_parties_are_two() {
    let lab = Lab::new();
    lab.plan();
    let [dealer, zero] = ["dealer", "0"].map(|name| machine(&lab, name));
    let run = |p0: &str, p1: &str| {
        let args =
            deal(&["--images", "1", "--key", "dealer.key", "--p0", "localhost:1", "--p1", "localhost:2"]);
        lab.fails(3, &[&args[..], &["--p0-key", p0, "--p1-key", p1]].concat())
    };
    assert!(run(&dealer, &zero).contains("must not be a party"));
    assert!(run(&zero, &zero).contains("one machine"));
    assert!(run("tp1-x", &zero).contains("fingerprint"));
    let keys = [
        "keys",
        "receive",
        "--role",
        "0",
        "--plan",
        "digits.plan.json",
        "--keys",
        "k",
        "--key",
        "dealer.key",
    ];
    let cause = lab.fails(3, &[&keys[..], &["--listen", "127.0.0.1:0", "--dealer", &dealer]].concat());
    assert!(cause.contains("its own keys"), "{cause}");
    let keys = [&keys[..], &["--dealer", &zero]].concat();
    lab.fails(3, &[&keys[..], &["--listen", "nonsense"]].concat());
    lab.fails(4, &[&keys[..], &["--listen", "127.0.0.1:0", "--patience", "1"]].concat());
    // Nobody answers at these addresses.
    let args = deal(&["--images", "1", "--key", "dealer.key", "--p0", "127.0.0.1:9", "--p1", "127.0.0.1:9"]);
    lab.fails(4, &[&args[..], &["--p0-key", &zero, "--p1-key", &other(&lab), "--patience", "1"]].concat());
}

fn other(lab: &Lab) -> String {
    machine(lab, "other")
}
