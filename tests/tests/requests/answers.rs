//! Answers are kept: those of finished requests are printed whatever comes after them, and a run goes on from there.

use std::time::{Duration, Instant};
use twoply_tests::model::PLAIN;
use twoply_tests::world::labels;
use twoply_tests::{Pair, SOON, World, digits};

fn served(images: u64, more: &[&str]) -> (World, Pair) {
    let world = World::dealt(PLAIN, images, 10);
    let pair = world.parties_with([more, more]);
    world.provision(&pair, &[]).is(0);
    (world, pair)
}

/// The third request is more than this key may ask for.
#[test]
fn what_was_answered_before_a_failure_is_printed_and_the_rest_can_be_asked_for() {
    let (world, pair) = served(40, &["--images-per-client", "8"]);
    let small = ["--batch", "4"];
    let broken = world.asking("client", &pair, 0..12, &small).wait(SOON);
    broken.is(12).says(&["the first 8 images are answered: go on with --from 8", "found 0"]);
    let json: serde_json::Value = serde_json::from_str(&broken.out).unwrap();
    assert_eq!(labels(&json), digits().labels[..8]);
    assert_eq!(json["images"], 8);
    // Lines of text, and of JSON.
    let file = world.images(0..12);
    let ask = |home: &str, more: &[&str]| {
        let args = [&["--images", &file, "--batch", "4"], more].concat();
        world.call("infer", home, &pair, &args).wait(SOON)
    };
    let text = ask("other", &["--format", "text", "--from", "2"]);
    text.is(12).says(&["the first 8 images are answered: go on with --from 10"]);
    let lines: Vec<usize> = text.out.lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(lines, digits().labels[2..10]);
    pair.stop();
    let pair = world.parties();
    let file = world.images(0..12);
    let args = ["--images", &file[..], "--batch", "4", "--from", "8", "--stream"];
    let rest = world.call("infer", "client", &pair, &args).wait(SOON);
    rest.is(0);
    let lines: Vec<serde_json::Value> = rest.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 5, "four images and the report: {}", rest.out);
    for (i, line) in lines[..4].iter().enumerate() {
        assert_eq!((&line["image"], &line["label"]), (&(8 + i).into(), &digits().labels[8 + i].into()));
        assert_eq!(line["logits"].as_array().unwrap().len(), 10);
    }
    assert_eq!(lines[4]["report"]["images"], 4);
    let beyond = world.call("infer", "client", &pair, &["--images", &file, "--from", "12"]).wait(SOON);
    beyond.is(15).says(&["none is left from 12 on"]);
    pair.stop();
}

#[test]
fn a_request_is_sent_again_when_a_party_was_lost() {
    let (world, mut pair) = served(2000, &[]);
    for victim in [0, 1] {
        let more = ["--batch", "1", "--retry", "9"];
        let asking = world.asking("client", &pair, 0..150, &more);
        asking.hear("connected to both parties", SOON);
        pair.procs[victim].kill();
        world.restart(&mut pair, victim);
        let ended = asking.wait(SOON);
        assert_eq!(labels(&ended.json()), digits().labels[..150]);
    }
    pair.stop();
}

#[test]
fn keys_for_all_images_are_asked_for_before_the_first_one() {
    let (world, pair) = served(10, &[]);
    let short = world.asking("client", &pair, 0..12, &["--batch", "4"]).wait(SOON);
    short.is(8).says(&["12 images are asked for", "for 10", "--limit"]);
    assert!(short.out.is_empty() && world.seen("client").is_empty(), "nothing was granted");
    world.asking("client", &pair, 0..10, &["--batch", "4"]).wait(SOON).is(0);
    pair.stop();
}

/// What a client that is killed had printed: those who read along have every request that was answered.
#[test]
fn lines_appear_as_requests_end() {
    let (world, pair) = served(800, &[]);
    let killed = |home: &str, more: &[&str]| {
        let mut client = world.asking(home, &pair, 0..300, &[&["--batch", "1"], more].concat());
        let began = Instant::now();
        // The fourth grant is asked for when three requests have been answered and shown.
        while world.seen(home).len() < 4 {
            assert!(client.runs() && began.elapsed() < SOON);
            std::thread::sleep(Duration::from_millis(1));
        }
        client.kill();
        let ended = client.finish();
        assert_eq!(ended.code, None, "it was in the middle of its requests: {}", ended.err);
        ended.out
    };
    let right = |labels: Vec<usize>, out: &str| {
        assert!(labels.len() >= 3, "three requests were answered: {out}");
        assert_eq!(labels, digits().labels[..labels.len()]);
    };
    let text = killed("client", &["--format", "text"]);
    right(text.lines().map(|line| line.parse().unwrap()).collect(), &text);
    let stream = killed("other", &["--stream"]);
    let line = |(i, line): (usize, &str)| {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(json["image"], i);
        json["label"].as_u64().unwrap() as usize
    };
    right(stream.lines().enumerate().map(line).collect(), &stream);
    pair.stop();
}
