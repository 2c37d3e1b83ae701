//! The binary as its users meet it: every verb, and the wrong ways; exit codes, JSON, what is left behind.

mod checks;
mod costs;
mod deals;
mod devices;
mod inputs;
mod keys;
mod lab;
mod meanings;
mod models;
mod onnx;
mod training;

use lab::Lab;
use std::fs::OpenOptions;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

#[test]
fn help_is_a_result_and_nonsense_is_a_mistake() {
    let lab = Lab::new();
    for good in [&["--help"][..], &["--version"], &["help", "plan"], &["keys", "--help"]] {
        let out = lab.run(good);
        assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{good:?}");
        assert!(!out.stdout.is_empty());
    }
    for bad in [
        &[][..],
        &["nonsense"],
        &["id", "--nonsense"],
        &["id", "--format", "xml"],
        &["id", "-v", "--quiet"],
        &["plan"],
        &["deal", "p", "--images", "0", "--out", "k"],
        &["deal", "p", "--images", "1"],
        &[
            "deal", "p", "--images", "1", "--out", "k", "--p0", "h:1", "--p0-key", "x", "--p1", "h:2",
            "--p1-key", "y",
        ],
        &["deal", "p", "--images", "1", "--p0", "h:1"],
        &["keys"],
        &["keys", "ls", "--keys", "k", "--role", "2"],
        &["party", "--link", "lann"],
        &["demo", "--link", "rtt=40"],
        &["demo", "--device", "cuda:x"],
        &["deal", "p", "--images", "1", "--out", "k", "--device", "gpu0"],
        &["bench"],
        &["bench", "--table", "nonsense"],
        &["bench", "--table", "links", "--link", "rate=1mbit"],
        &["doctor", "--p0", "h:1"],
        &["doctor", "--images", "5"],
        &["doctor", "--keys", "k"],
    ] {
        let out = lab.run(bad);
        assert_eq!((out.code, out.stdout.as_str()), (2, ""), "{bad:?}");
        assert!(out.stderr.contains("Usage") || out.stderr.contains("--help"), "{bad:?}: {}", out.stderr);
    }
}

#[test]
fn an_identity_is_made_on_request_and_never_replaced() {
    let lab = Lab::new();
    let out = lab.run(&["id"]);
    assert_eq!((out.code, out.stdout.as_str()), (3, ""));
    assert!(out.stderr.contains("twoply id --new"), "{}", out.stderr);

    let made = lab.ok(&["id", "--new"]);
    let fingerprint = made.stdout.trim().to_owned();
    assert!(fingerprint.starts_with("tp1-") && made.stdout.lines().count() == 1, "{}", made.stdout);
    assert!(made.stderr.contains(&format!("--peer-key {fingerprint}")), "{}", made.stderr);
    let key = lab.path("home/identity.key");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(lab.path("home").metadata().unwrap().permissions().mode() & 0o777, 0o700);

    let before = std::fs::read(&key).unwrap();
    assert_eq!(lab.run(&["id", "--new"]).code, 3);
    assert_eq!(std::fs::read(&key).unwrap(), before);

    let shown = lab.json(&["id"]);
    assert_eq!((&shown["fingerprint"], &shown["created"]), (&fingerprint.clone().into(), &false.into()));
    let quiet = lab.ok(&["id", "--quiet"]);
    assert_eq!((quiet.stdout.trim(), quiet.stderr.as_str()), (fingerprint.as_str(), ""));
    let other = lab.ok(&["id", "--new", "--key", "other.key", "-q"]);
    assert_ne!(other.stdout.trim(), fingerprint);
    let elsewhere = lab.run(&["id", "--home", "elsewhere"]);
    assert_eq!(elsewhere.code, 3);

    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let out = lab.run(&["id"]);
    assert_eq!(out.code, 3);
    assert!(out.stderr.contains("chmod 600"), "{}", out.stderr);
}

#[test]
fn failures_are_json_too_when_results_are() {
    let lab = Lab::new();
    let out = lab.run(&["id", "--format", "json"]);
    assert_eq!((out.code, out.stdout.as_str()), (3, ""));
    let failure = out.failure();
    assert_eq!((&failure["code"], &failure["phase"]), (&3.into(), &"start".into()));
    assert!(failure["remedy"].as_str().unwrap().contains("--new"), "{failure}");
}

#[test]
fn a_full_disk_below_standard_output_is_a_failure_and_a_reader_that_left_is_none() {
    let lab = Lab::new();
    lab.ok(&["id", "--new"]);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = lab.command(&["id"]).stdout(full).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(16));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = lab.command(&["id"]).stdout(writer).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

/// Standard error may be gone altogether.
#[test]
fn nobody_listening_on_standard_error_changes_nothing() {
    let lab = Lab::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = lab.command(&["id", "--new"]).stdout(Stdio::null()).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_unknown_key_of_the_configuration_is_named_with_a_suggestion() {
    let lab = Lab::new();
    std::fs::write(lab.path("party.toml"), "role = 0\nlissten = '127.0.0.1:0'\n").unwrap();
    let out = lab.run(&["party", "--config", "party.toml"]);
    assert_eq!(out.code, 3, "{}", out.stderr);
    assert!(out.stderr.contains("did you mean `listen`?"), "{}", out.stderr);
    let out = lab.run(&["party", "--config", "none.toml"]);
    assert_eq!(out.code, 3, "{}", out.stderr);
    let out = lab.command(&["party"]).env("TWOPLY_LISTN", "x").output().unwrap();
    assert_eq!(out.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&out.stderr).contains("did you mean `TWOPLY_LISTEN`?"));
}

#[test]
fn an_instruction_set_is_named_rightly_or_refused() {
    let lab = Lab::new();
    let id =
        |name: &str| lab.command(&["id", "--new", "--home", name]).env("TWOPLY_CPU", name).output().unwrap();
    assert!(["portable", "avx2", "avx512"].map(id).iter().all(|out| out.status.success()));
    let out = id("sse9");
    assert_eq!(out.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&out.stderr).contains("portable, avx2, avx512"));
}

#[test]
fn a_bad_link_is_named_with_what_would_be_one() {
    let lab = Lab::new();
    let out = lab.run(&["party", "--link", "rtt=40"]);
    assert_eq!(out.code, 2);
    for part in
        ["--link", "`40` is no time in us, ms or s", "loopback, dc, lan, wan, slow", "rtt=40ms,rate=400mbit"]
    {
        assert!(out.stderr.contains(part), "{part} in {}", out.stderr);
    }
    let out = lab.command(&["party"]).env("TWOPLY_LINK", "lann").output().unwrap();
    assert_eq!(out.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&out.stderr).contains("TWOPLY_LINK=`lann`: `lann` names no link"));
}

/// The figures are this machine's; that they are there, and no round trip is too short, holds anywhere.
#[test]
fn emulated_links_are_measured() {
    let lab = Lab::new();
    let link = "rtt=20ms,rate=400mbit";
    let shown = lab.json(&["bench", "--table", "links", "--link", link]);
    let rows = shown["links"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for (row, carrier) in rows.iter().zip(["tcp", "quic"]) {
        assert_eq!(row["transport"], carrier);
        assert_eq!((&row["rtt_seconds"], &row["bits_per_second"]), (&0.02.into(), &400_000_000.into()));
        assert!(row["own"]["rtt_seconds"].as_f64().unwrap() > 0.0);
        assert!(row["emulated"]["rtt_seconds"].as_f64().unwrap() >= 0.02, "{row}");
        assert!(row["rtt_as_set"].is_boolean() && row["bandwidth_as_set"].is_boolean());
    }
}

#[test]
fn a_machine_without_parties_is_examined_too() {
    let lab = Lab::new();
    let out = lab.run(&["doctor"]);
    assert_eq!(out.code, 3, "{}", out.stderr);
    assert!(
        out.stdout.contains("FAILURE  here  identity") && out.stdout.contains("twoply id --new"),
        "{}",
        out.stdout
    );
    lab.ok(&["id", "--new"]);
    let shown = lab.json(&["doctor", "--listen", "127.0.0.1:0"]);
    let points: Vec<&str> =
        shown["findings"].as_array().unwrap().iter().map(|f| f["point"].as_str().unwrap()).collect();
    assert_eq!(points, ["identity", "processor", "cores", "cuda", "listen"]);
    let out = lab.ok(&["doctor"]);
    assert!(out.stdout.contains("points in order, "), "{}", out.stdout);
    let out = lab.run(&["doctor", "--plan", "none.json", "--listen", "nonsense"]);
    assert_eq!(out.code, 3, "the first failure decides: {}", out.stderr);
    assert!(out.stderr.contains("here: listen: `nonsense`"), "{}", out.stderr);
}
