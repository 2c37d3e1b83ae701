//! What each side says when another one is killed, stopped, suspended, or was never there: causes are told apart, each
//! with its remedy, and nobody calls somebody else's end a mistake of the program. And that all count burnt images alike.

use std::net::TcpListener;
use std::time::Duration;
use twoply_party::exit::ExitCode;
use twoply_party::jobs::{Grant, Request};
use twoply_party::transport::{Accept, Detail, Dial, Endpoint, Error, Label, Link, Reason, Role};
use twoply_primitives::{Channel, KeySetId};
use twoply_tests::model::{PLAIN, idx_of};
use twoply_tests::{Ended, Odd, Pair, Proc, SOON, World};

fn served(images: u64, segment: u32) -> (World, Pair) {
    let world = World::dealt(PLAIN, images, segment);
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    world.infer_right(&pair, 0..1);
    (world, pair)
}

/// It blames no mistake of the program.
fn plain(ended: &Ended) -> &Ended {
    for word in ["internal error", "report", "mistake"] {
        assert!(!ended.err.contains(word), "{word:?} in:\n{}", ended.err);
    }
    ended
}

/// A client in the middle of many requests.
fn busy(world: &World, pair: &Pair) -> Proc {
    let before = world.seen("other").len();
    let client = world.asking("other", pair, 0..300, &["--batch", "1", "--patience", "3"]);
    client.hear("connected to both parties", SOON);
    while world.seen("other").len() < before + 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    client
}

/// Waits until a party's process is gone: it takes calls until then.
fn gone(pair: &mut Pair, me: usize) {
    while pair.procs[me].runs() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How a party's end is called by the other one.
const ENDS: [(&str, &str); 2] =
    [("KILL", "went away without a goodbye, as a process that was killed"), ("TERM", "left: it was stopped")];

#[test]
fn a_party_that_ends_between_runs() {
    let (world, mut pair) = served(64, 16);
    for victim in [1, 0] {
        for (signal, words) in ENDS {
            pair.procs[victim].signal(signal);
            pair.procs[1 - victim].hear(words, SOON).unwrap();
            gone(&mut pair, victim);
            let more = ["--patience", "2"];
            let ended = world.asking("client", &pair, 0..1, &more).wait(SOON);
            plain(&ended).is(4).says(&[
                "nobody listens there",
                "start the process there",
                &pair.addresses[victim],
            ]);
            world.provision(&pair, &more).is(4).says(&["nobody listens there", "start the process there"]);
            if victim == 0 {
                let line = pair.procs[1].hear("waiting for P0", SOON).unwrap();
                assert!(line.contains("nobody listens there; start the process there"), "{line}");
            }
            world.restart(&mut pair, victim);
            world.infer_right(&pair, 0..1);
        }
    }
    pair.stopped().iter().for_each(|ended| _ = plain(ended));
}

#[test]
fn a_party_that_ends_in_a_run() {
    let (world, mut pair) = served(3000, 1000);
    for victim in [1, 0] {
        for (signal, words) in ENDS {
            // The client blames the one that ended, not the one that told of it.
            let name = format!("P{victim} {}", &world.keys[victim][..9]);
            let heard = match signal {
                "KILL" => format!("the connection to {name} was lost: it went away without a goodbye"),
                _ => format!("{name} stopped: it was interrupted"),
            };
            let client = busy(&world, &pair);
            pair.procs[victim].signal(signal);
            pair.procs[1 - victim].hear(words, SOON).unwrap();
            let ended = client.wait(SOON);
            plain(&ended).is_one_of(&[4, 14]).says(&[&format!("error: {heard}")]);
            gone(&mut pair, victim);
            world.restart(&mut pair, victim);
            world.infer_right(&pair, 0..1);
        }
    }
    pair.stopped().iter().for_each(|ended| _ = plain(ended));
}

/// Suspended for longer than the transport's idle time.
#[test]
fn a_party_that_is_suspended() {
    let (world, pair) = served(800, 400);
    let client = busy(&world, &pair);
    pair.procs[1].signal("STOP");
    let line = pair.procs[0].hear("broke off", SOON).unwrap();
    assert!(line.contains("nothing was heard for 20.0 s"), "{line}");
    let ended = client.wait(SOON);
    plain(&ended).is(4).says(&["P1", "process is not suspended"]);
    let ended = world.asking("client", &pair, 0..1, &["--patience", "2"]).wait(SOON);
    plain(&ended).is(4).says(&[
        "the port is open, but nothing is said",
        "stopped or hangs",
        &pair.addresses[1],
    ]);
    pair.procs[1].signal("CONT");
    pair.procs[0].hear("connected to P1", SOON).unwrap();
    world.infer_right(&pair, 0..1);
    pair.stopped().iter().for_each(|ended| _ = plain(ended));
}

/// A link over which what an owner says is so late that it can be met while it is waited for.
const SLOW: [&str; 2] = ["--link", "rtt=1s,rate=4mbit"];

/// How both parties call the end of an owner.
const OWNERS: [(&str, &str); 3] =
    [ENDS[0], ("TERM", "stopped: it was interrupted"), ("INT", "stopped: it was interrupted")];

/// Waits until both parties have said how `owner` ended, and for its end.
fn told_apart(pair: &Pair, owner: &str, process: Proc, (signal, words): (&str, &str)) {
    process.signal(signal);
    for party in &pair.procs {
        let line = party.hear(owner, SOON).unwrap();
        assert!(line.contains(words), "{signal}: {line}");
    }
    let ended = process.wait(SOON);
    assert_eq!(ended.code, None, "it ends by the signal, {signal}: {}", ended.err);
    if signal != "KILL" {
        plain(&ended).says(&["warning: this process was told to stop; start it again"]);
    }
}

/// It has sent a part of its masked input for the second grant, of nearly all images, which takes more than a second.
#[test]
fn a_data_owner_that_ends_with_a_grant() {
    let (world, pair) = served(4800, 4800);
    let all: Vec<usize> = (0..1500).map(|i| i % 500).collect();
    let images = world.write("many.idx", &idx_of(&all));
    for end in OWNERS {
        let before = world.seen("other").len();
        let more = ["--images", &images, "--batch", "1500", SLOW[0], SLOW[1]];
        let mut client = world.call("infer", "other", &pair, &more);
        while world.seen("other").len() < before + 2 {
            assert!(client.runs());
            std::thread::sleep(Duration::from_millis(5));
        }
        told_apart(&pair, &format!("client {}", &world.keys[4][..9]), client, end);
    }
    world.infer_right(&pair, 0..1);
    pair.stopped().iter().for_each(|ended| _ = plain(ended));
}

#[test]
fn a_model_owner_that_ends_before_it_has_bound_its_weights() {
    let world = World::dealt(PLAIN, 4, 4);
    let pair = world.parties();
    pair.procs[0].hear("connected to P1", SOON).unwrap();
    let weights = world.path("weights");
    for end in OWNERS {
        let bound = world.path("owner/bound");
        let more = ["--weights", &weights, SLOW[0], SLOW[1]];
        let mut owner = world.call("provision", "owner", &pair, &more);
        while std::fs::read(&bound).unwrap_or_default().is_empty() {
            assert!(owner.runs());
            std::thread::sleep(Duration::from_millis(5));
        }
        told_apart(&pair, &format!("model owner {}", &world.keys[2][..9]), owner, end);
        std::fs::remove_file(bound).unwrap();
    }
    world.provision(&pair, &[]).is(0);
    world.infer_right(&pair, 0..1);
    pair.stopped().iter().for_each(|ended| _ = plain(ended));
}

/// Calls that nobody takes: there is nobody to tell, and the process ends at once.
#[test]
fn an_owner_that_is_stopped_while_it_calls() {
    let world = World::dealt(PLAIN, 4, 4);
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let pair = Pair { procs: vec![], addresses: vec![address; 2] };
    let client = world.asking("client", &pair, 0..1, &["--patience", "3600", "--transport", "tcp"]);
    mute.accept().unwrap();
    client.terminate();
    assert_eq!(client.wait(SOON).code, None);
}

/// One party grants, sends its keys and leaves, the other one fails before it has said anything: what is told is the failure, and
/// not that a grant was in the way of it.
#[test]
fn a_grant_of_a_party_that_leaves_hides_nothing() {
    let world = World::new(PLAIN);
    let party = |home: &str, role, then: fn(Link)| {
        let accept = Accept::these([world.identity("client").fingerprint()]);
        let endpoint =
            Endpoint::bind(world.identity(home), role, Some(([127, 0, 0, 1], 0).into()), accept).unwrap();
        let address = endpoint.address().to_string();
        let serve = move || {
            let mut link = endpoint.accept(SOON).unwrap();
            link.recv_message::<Request>().unwrap();
            then(link);
            // whoever called reads it before the endpoint is gone
            std::thread::sleep(Duration::from_secs(3));
        };
        (std::thread::spawn(serve), address)
    };
    let (p0, first) = party("p0", Role::P0, |mut link| {
        let grant = Grant { key_set: KeySetId([1; 16]), first: 0, images: 1, cursor: 64, meeting: [2; 32] };
        link.send_message(&grant).unwrap();
        link.send(&[0; 16]).unwrap();
        link.abort(Reason::Failed(ExitCode::Unreachable), Detail::Item(Label::new("P1")));
    });
    let (p1, second) = party("p1", Role::P1, |link| {
        std::thread::sleep(Duration::from_secs(1));
        link.abort(Reason::Failed(ExitCode::Device), Detail::None);
    });
    let pair = Pair { procs: vec![], addresses: vec![first, second] };
    let ended = world.asking("client", &pair, 0..1, &[]).wait(SOON);
    plain(&ended).is(14).says(&["P1", "device (exit 13)"]);
    p0.join().unwrap();
    p1.join().unwrap();
}

/// A port that is closed, and one behind which nobody says anything, for every verb that calls.
#[test]
fn ports_are_told_apart() {
    let (world, pair) = served(8, 4);
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).unwrap().to_string();
    let kinds = [
        (closed, "nobody listens there", "start the process there"),
        (mute.local_addr().unwrap().to_string(), "the port is open, but nothing is said", "stopped or hangs"),
    ];
    let key = &world.keys[1];
    for (address, words, remedy) in &kinds {
        let words = [*words, *remedy];
        let to = ["--p1", address, "--patience", "2"];
        plain(&world.asking("client", &pair, 0..1, &to).wait(SOON)).is(4).says(&words);
        plain(&world.provision(&pair, &to)).is(4).says(&words);
        let home = world.path("client");
        let doctor = ["doctor", "--home", &home, "--p1", address, "--p1-key", key, "--patience", "2"];
        for transport in ["tcp", "auto"] {
            let ended =
                Proc::start("doctor", &[&doctor[..], &["--transport", transport]].concat()).wait(SOON);
            plain(&ended).is(4).says(&words);
        }
    }
    pair.stop();
    for (address, words, remedy) in &kinds {
        let (party, _) = world.party(1, address, &["--patience", "3"]);
        plain(&party.wait(SOON)).is(4).says(&["P0 did not come within 3 s", words, remedy]);
    }
}

/// The transport says once that strangers are refused, and then how many; who leaves is no failure.
#[test]
fn callers_that_are_refused_or_leave_fill_no_log() {
    let world = World::dealt(PLAIN, 4, 4);
    world.home("stranger");
    let (party, address) = world.party(0, "", &[]);
    let call = |home: &str| {
        let endpoint = Endpoint::bind(world.identity(home), Role::Client, None, Accept::nobody()).unwrap();
        let link = endpoint.connect(&Dial::new(&address, world.keys[0].parse().unwrap()));
        link.map(|link| (link, endpoint))
    };
    for _ in 0..5 {
        assert!(matches!(call("stranger"), Err(Error::Refused { .. })));
    }
    drop(call("client").unwrap());
    for reason in [Reason::Interrupted, Reason::Dropped] {
        let (link, _end) = call("client").unwrap();
        link.abort(reason, Detail::None);
    }
    let (link, _end) = call("client").unwrap();
    link.close(SOON).unwrap();
    party.terminate();
    let ended = party.wait(SOON);
    ended.is(0).says(&["4 more callers were refused: their keys are not accepted"]);
    assert_eq!(ended.err.matches("refused a caller").count(), 1, "{}", ended.err);
    assert!(!ended.err.contains("client tp1-"), "{}", ended.err);
}

#[test]
fn a_bad_fingerprint_is_named_with_its_place_and_value() {
    let world = World::dealt(PLAIN, 4, 4);
    let good = &world.keys;
    let bad = good[1].replacen("tp1-", "tp1-x", 1);
    let settings = |peer: &str, client: &str, owner: &str| {
        format!(
            "role = 0\nlisten = '127.0.0.1:0'\npeer_key = '{peer}'\nclients = ['{client}']\nowners = ['{owner}']\n"
        )
    };
    let (plan, keys, home) = (world.path("plan.json"), world.path("keys/p0"), world.path("p0"));
    let texts = [
        ("peer_key", settings(&bad, &good[3], &good[2])),
        ("clients", settings(&good[1], &bad, &good[2])),
        ("owners", settings(&good[1], &good[3], &bad)),
    ];
    for (name, text) in texts {
        let file = world.write("party.toml", text.as_bytes());
        let args = ["party", &plan, "--keys", &keys, "--home", &home, "--config", &file];
        let ended = Proc::start("P0", &args).wait(SOON);
        ended.is(3).says(&[&format!("{file}: `{name}` is {bad:?}: "), "`twoply id`"]);
    }
    for flag in ["--peer-key", "--client", "--owner"] {
        let (party, _) = world.party(0, "", &[flag, &bad]);
        party.wait(SOON).is(3).says(&[&format!("{flag} is {bad:?}: ")]);
    }
    let pair = Pair { procs: vec![], addresses: vec!["127.0.0.1:1".into(); 2] };
    for flag in ["--p0-key", "--p1-key"] {
        let said = format!("{flag} is {bad:?}: ");
        world.asking("client", &pair, 0..1, &[flag, &bad]).wait(SOON).is(3).says(&[&said]);
        world.provision(&pair, &[flag, &bad]).is(3).says(&[&said]);
        let home = world.path("client");
        let side = flag.trim_end_matches("-key");
        let doctor = ["doctor", "--home", &home, side, "127.0.0.1:1", flag, &bad];
        Proc::start("doctor", &doctor).wait(SOON).is(3).says(&[&said]);
    }
    let receive =
        ["keys", "receive", "--plan", &plan, "--keys", &keys, "--role", "0", "--listen", "127.0.0.1:0"];
    let receive = [&receive[..], &["--home", &home, "--dealer", &bad]].concat();
    Proc::start("receive", &receive).wait(SOON).is(3).says(&[&format!("--dealer is {bad:?}: ")]);
}

/// What `keys ls` says of a party's only key set.
fn listed(world: &World, me: usize) -> [u64; 3] {
    let (keys, role) = (world.path(&format!("keys/p{me}")), me.to_string());
    let args = ["keys", "ls", "--format", "json", "--keys", &keys, "--role", &role];
    let json = Proc::start("keys ls", &args).wait(SOON).json();
    ["left", "burnt", "spent"].map(|key| json["key_sets"][0][key].as_u64().unwrap())
}

/// After a clean stop, and after an owner that left with what it had been granted.
#[test]
fn everybody_counts_burnt_images_alike() {
    let (world, pair) = served(64, 64);
    // Left and burnt, if everybody says the same and it is the truth: `used` by all runs, `ran` in this one.
    let agree = |pair: Pair, used: u64, ran: u64| {
        let reports = pair.stop();
        let counts =
            reports.map(|r| ["images_left", "images_burnt", "images"].map(|k| r[k].as_u64().unwrap()));
        assert_eq!(counts[0], counts[1], "P0 and P1");
        let [left, burnt, served] = counts[0];
        assert_eq!((served, left + burnt + used), (ran, 64));
        for me in 0..2 {
            assert_eq!(listed(&world, me), [left, burnt, burnt + used], "keys ls of P{me}");
        }
        burnt
    };
    world.infer_right(&pair, 1..5);
    // What was reserved ahead and not given away.
    let before = agree(pair, 5, 5);
    let pair = world.parties();
    let mut odd = Odd::new(&world, &pair, "other");
    odd.ask(odd.job(3, 1));
    let (grant, _) = odd.granted();
    assert_eq!(grant.images, 3);
    drop(odd);
    for party in &pair.procs {
        party.hear("are burnt", SOON).unwrap();
    }
    world.infer_right(&pair, 0..2);
    let cursor = world.seen("client").last().unwrap().1;
    let after = agree(pair, 7, 2);
    assert!(after >= before + 3, "what was granted in vain is burnt: {before}, then {after}");
    assert!(after + 7 >= cursor, "{after} burnt and 7 used, but images below {cursor} were granted");
}
