//! Deals in one process: two parties on threads, real sockets, crashes where they hurt.

use super::receive::segment_file;
use super::*;
use crate::exit::ExitCode;
use crate::identity::Identity;
use crate::transport::{Accept, Endpoint, Role, Transport};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;
use tempfile::TempDir;
use twoply_nn::{Graph, Input, Node, Normalise, Op, Options, Param, Source};
use twoply_preprocessing::{KeyDir, KeySet};
use twoply_primitives::{KeySetId, PartyId};

/// `relu(W x)` on 4 values; `name` makes another plan.
fn plan(name: &str) -> Plan {
    let param = Param { name: "w".into(), shape: vec![3, 4], role: twoply_nn::Role::Weight };
    let node = |name: &str, op, input| Node { name: name.into(), op, inputs: vec![input] };
    let graph = Graph {
        name: name.into(),
        input: Input { name: "x".into(), shape: vec![4], normalise: Normalise::default() },
        params: vec![param],
        nodes: vec![
            node("fc", Op::Linear { weight: 0, bias: None }, Source::Input),
            node("relu", Op::Relu, Source::Node(0)),
        ],
    };
    Plan::new(graph, Options::default(), None).unwrap()
}

/// 23 images in segments of 4.
fn order(seeds: SeedSource) -> Order {
    Order { plan: plan("a"), cut: Cut::new(23, 4).unwrap(), seeds, device: Device::Cpu }
}

fn quiet() -> impl FnMut(u64) {
    |_| {}
}

fn set_of(folder: &Path, party: PartyId, id: KeySetId) -> KeySet {
    let plan = plan("a");
    let dir = KeyDir::open(folder, party).unwrap();
    dir.key_set(id, plan.digest().unwrap(), plan.layout(), true).unwrap()
}

/// Both halves are whole.
fn check(folders: [&Path; 2], id: KeySetId) {
    for (folder, party) in folders.into_iter().zip(PartyId::BOTH) {
        let results = set_of(folder, party, id).verify().unwrap();
        assert_eq!(results.len(), 6, "{party}");
        assert!(results.into_iter().all(|(_, result)| result.is_ok()), "{party}");
    }
}

/// Segment names of both halves, from the headers.
fn names(folder: &Path, id: KeySetId) -> Vec<[u8; 16]> {
    let file = |s| fs::read(segment_file(&folder.join(id.to_string()), s)).unwrap();
    (0..6).map(|s| file(s)[72..88].try_into().unwrap()).collect()
}

#[test]
fn a_deal_into_a_folder_goes_on_where_it_stopped() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("keys");
    let order = order(SeedSource::Os);
    let mut seen = vec![];
    let first = into_folder(&order, &folder, false, &mut |done| seen.push(done)).unwrap();
    assert_eq!((first.new, first.old, &seen[..]), (6, 0, &[4, 8, 12, 16, 20, 23][..]));
    let halves = [first.folders[0].as_path(), first.folders[1].as_path()];
    check(halves, first.key_set);
    let before = names(halves[0], first.key_set);

    // Half of segment 2 is lost: both halves are dealt again, the others stay.
    fs::remove_file(segment_file(&halves[1].join(first.key_set.to_string()), 2)).unwrap();
    let second = into_folder(&order, &folder, true, &mut quiet()).unwrap();
    assert_eq!((second.key_set, second.new, second.old), (first.key_set, 1, 5));
    check(halves, first.key_set);
    let after = names(halves[0], first.key_set);
    assert_eq!(after, names(halves[1], first.key_set));
    let changed: Vec<usize> = (0..6).filter(|&s| before[s] != after[s]).collect();
    assert_eq!(changed, [2]);
}

/// Changes the note of a deal.
fn renote(folder: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(folder.join("deal.json")).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    fs::write(folder.join("deal.json"), text.replace(from, to)).unwrap();
}

/// Every file below a folder with its content.
fn everything(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = vec![];
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => all.extend(everything(&entry)),
            false => all.push((entry.clone(), fs::read(&entry).unwrap())),
        }
    }
    all.sort();
    all
}

/// Killed anywhere while the key set was begun: after its name was noted, and after either half's ledger or `set.key`.
#[test]
fn what_was_killed_at_the_very_beginning_is_begun_again() {
    for seeds in [SeedSource::InsecureTest(5), SeedSource::Os] {
        for gone in [&["p0", "p1"][..], &["p1"], &["p0/set.key", "p1/set.key"], &["p1/set.key"], &[]] {
            let root = TempDir::new().unwrap();
            let folder = root.path().join("keys");
            let order = order(seeds);
            let first = into_folder(&order, &folder, false, &mut quiet()).unwrap();
            let set = first.folders.each_ref().map(|half| half.join(first.key_set.to_string()));
            for segment in 0..6 {
                set.iter().for_each(|set| fs::remove_file(segment_file(set, segment)).unwrap());
            }
            for gone in gone {
                let half = &set[usize::from(gone.starts_with("p1"))];
                match gone.split_once('/') {
                    Some((_, file)) => fs::remove_file(half.join(file)).unwrap(),
                    None => fs::remove_dir_all(half).unwrap(),
                }
            }
            if *gone == ["p1"] {
                fs::remove_file(set[0].join("set.key")).unwrap();
            }
            renote(&folder, "\"finished\": true", "\"finished\": false");
            renote(&folder, "\"begun\": true", "\"begun\": false");
            let second = into_folder(&order, &folder, true, &mut quiet()).unwrap();
            assert_eq!((second.key_set, second.new), (first.key_set, 6), "{gone:?}");
            check(second.folders.each_ref().map(PathBuf::as_path), first.key_set);
            assert_eq!(cut_of(&folder).unwrap(), order.cut);
        }
    }
}

/// A half that was moved away, as the tool says, may be in use, and so may the one that stayed: neither is dealt anew.
#[test]
fn repro_a_half_that_was_moved_away_is_not_dealt_anew() {
    for (finished, moved) in [(true, 0), (true, 1), (false, 0), (false, 1)] {
        for whole in [true, false] {
            let root = TempDir::new().unwrap();
            let folder = root.path().join("keys");
            let order = order(SeedSource::Os);
            let first = into_folder(&order, &folder, false, &mut quiet()).unwrap();
            if !finished {
                renote(&folder, "\"finished\": true", "\"finished\": false");
            }
            // the folder of the party, or what is in it
            let half = &first.folders[moved];
            let away = if whole { half.clone() } else { half.join(first.key_set.to_string()) };
            fs::rename(away, root.path().join("elsewhere")).unwrap();
            let before = everything(&folder);
            let failure = into_folder(&order, &folder, true, &mut quiet()).unwrap_err();
            assert_eq!(failure.code(), ExitCode::System);
            let text = failure.to_string();
            assert!(text.contains(&format!("P{moved}'s half")) && text.contains("moved away"), "{text}");
            assert!(everything(&folder) == before, "nothing is touched");
        }
    }
}

/// A folder of a release that noted neither key set nor end: what is there in one half only is left alone too.
#[test]
fn notes_of_earlier_releases_are_read() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("keys");
    let order = order(SeedSource::Os);
    let first = into_folder(&order, &folder, false, &mut quiet()).unwrap();
    let plan: String = order.plan.digest().unwrap().0.iter().map(|byte| format!("{byte:02x}")).collect();
    let old =
        format!("{{\"plan\": \"{plan}\", \"images\": 23, \"segment_images\": 4, \"delivered\": false}}");
    fs::write(folder.join("deal.json"), &old).unwrap();
    let refused = into_folder(&order, &folder, false, &mut quiet());
    assert_eq!(code(&refused), Some(ExitCode::System));
    fs::remove_file(segment_file(&first.folders[1].join(first.key_set.to_string()), 2)).unwrap();
    let second = into_folder(&order, &folder, true, &mut quiet()).unwrap();
    assert_eq!((second.key_set, second.new), (first.key_set, 1));
    let third = into_folder(&order, &folder, true, &mut quiet()).unwrap();
    assert_eq!((third.key_set, third.new), (first.key_set, 0));
    fs::write(folder.join("deal.json"), &old).unwrap();
    fs::rename(&first.folders[1], root.path().join("elsewhere")).unwrap();
    let before = everything(&folder);
    assert_eq!(code(&into_folder(&order, &folder, true, &mut quiet())), Some(ExitCode::System));
    assert!(everything(&folder) == before);
}

#[test]
fn a_finished_deal_makes_room_for_the_next_one() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("keys");
    let order = order(SeedSource::Os);
    let first = into_folder(&order, &folder, false, &mut quiet()).unwrap();
    let kept = everything(&first.folders[0]);
    let next = into_folder(&order, &folder, false, &mut quiet()).unwrap();
    assert_ne!(next.key_set, first.key_set);
    let halves = next.folders.each_ref().map(PathBuf::as_path);
    [first.key_set, next.key_set].into_iter().for_each(|id| check(halves, id));
    let now = everything(&first.folders[0]);
    assert!(kept.iter().all(|file| now.contains(file)), "the first one is as it was");
    // resuming means the last one, although the first one is here too
    fs::remove_file(segment_file(&halves[0].join(next.key_set.to_string()), 3)).unwrap();
    let resumed = into_folder(&order, &folder, true, &mut quiet()).unwrap();
    assert_eq!((resumed.key_set, resumed.new), (next.key_set, 1));
    // and with both halves moved away there is nothing to go on with, but room
    next.folders.iter().for_each(|half| fs::rename(half, half.with_extension("moved")).unwrap());
    let failure = into_folder(&order, &folder, true, &mut quiet()).unwrap_err();
    assert!(failure.to_string().contains("without --resume"), "{failure}");
    let third = into_folder(&order, &folder, false, &mut quiet()).unwrap();
    assert_eq!(third.new, 6);
    // A test seed names the same key set again; the one that is there stays.
    let test = Order { seeds: SeedSource::InsecureTest(9), ..order };
    into_folder(&test, &folder, false, &mut quiet()).unwrap();
    let before = everything(&folder.join("p0"));
    assert_eq!(code(&into_folder(&test, &folder, false, &mut quiet())), Some(ExitCode::System));
    assert!(everything(&folder.join("p0")) == before);
}

#[test]
fn another_deal_in_the_folder_is_refused() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("keys");
    let order = order(SeedSource::Os);
    let code = |order: &Order, folder: &Path, resume| {
        into_folder(order, folder, resume, &mut quiet()).map(|dealt| dealt.new).map_err(|f| f.code())
    };
    assert_eq!(code(&order, &folder, true), Err(ExitCode::Usage), "nothing to resume");
    assert_eq!(code(&order, &folder, false), Ok(6));
    let other = Order { plan: plan("b"), ..order.clone() };
    assert_eq!(code(&other, &folder, true), Err(ExitCode::PlanMismatch));
    let other = Order { cut: Cut::new(24, 4).unwrap(), ..order.clone() };
    assert_eq!(code(&other, &folder, true), Err(ExitCode::Usage));
    let other = Order { seeds: SeedSource::InsecureTest(1), ..order.clone() };
    assert_eq!(code(&other, &folder, true), Err(ExitCode::Usage));
    renote(&folder, "\"finished\": true", "\"finished\": false");
    assert_eq!(
        code(&order, &folder, false),
        Err(ExitCode::System),
        "no second deal before the first is through"
    );
    fs::write(folder.join("deal.json"), "{").unwrap();
    assert_eq!(code(&order, &folder, true), Err(ExitCode::System));
}

/// The folder of a deal with --out is no work folder of a delivery, which would be erased at the end.
#[test]
fn repro_halves_in_a_folder_are_not_delivered_and_erased() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("keys");
    let order = order(SeedSource::Os);
    let first = into_folder(&order, &folder, false, &mut quiet()).unwrap();
    let before = everything(&folder);
    for resume in [false, true] {
        assert!(to_parties(&order, &folder, resume, &nowhere(), &mut quiet()).is_err());
    }
    assert!(everything(&folder) == before);
    // Not even where the note says so: a party has used one half, or runs on it.
    renote(&folder, "\"folder\"", "\"network\"");
    renote(&folder, "\"delivered\": false", "\"delivered\": true");
    let set = set_of(&first.folders[1], PartyId::P1, first.key_set);
    let mut ledger = set.ledger().unwrap();
    let running = to_parties(&order, &folder, true, &nowhere(), &mut quiet());
    assert_eq!(code(&running), Some(ExitCode::System));
    ledger.advance_to(1).unwrap();
    drop(ledger);
    let used = to_parties(&order, &folder, true, &nowhere(), &mut quiet());
    assert_eq!(code(&used), Some(ExitCode::System));
    assert!(set.verify().unwrap().iter().all(|(_, whole)| whole.is_ok()));
}

/// More keys than any disk holds: refused before anything is made.
#[test]
fn keys_that_do_not_fit_on_the_disk_are_not_begun() {
    let root = TempDir::new().unwrap();
    let order = Order { cut: Cut::new(1 << 42, 1 << 20).unwrap(), ..order(SeedSource::Os) };
    let folder = root.path().join("keys");
    for resume in [false, true] {
        let failure = into_folder(&order, &folder, resume, &mut quiet()).unwrap_err();
        assert_eq!(failure.code(), if resume { ExitCode::Usage } else { ExitCode::System });
        assert!(!folder.exists());
        if !resume {
            assert!(failure.to_string().contains(" MB are free"), "{failure}");
        }
    }
}

/// Machines of a deal over the network.
struct World {
    root: TempDir,
    dealer: Arc<Identity>,
    parties: [Arc<Identity>; 2],
}

/// How a party behaves.
#[derive(Clone)]
struct Party {
    plan: Plan,
    insecure: bool,
    role: PartyId,
    /// Panics once it has received so many bytes, before it can say that they are stored.
    dies_at: u64,
}

impl Party {
    fn pair() -> [Party; 2] {
        PartyId::BOTH.map(|role| Party { plan: plan("a"), insecure: false, role, dies_at: u64::MAX })
    }
}

type Outcome = Option<Result<Received, Failure>>;

impl World {
    fn new() -> World {
        let key = || Arc::new(Identity::ephemeral().unwrap());
        let world = World { root: TempDir::new().unwrap(), dealer: key(), parties: [key(), key()] };
        world.folders().iter().for_each(|folder| fs::create_dir(folder).unwrap());
        world
    }
    fn folders(&self) -> [PathBuf; 2] {
        ["p0", "p1"].map(|name| self.root.path().join(name))
    }
    fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// A party that takes one delivery; its address, and how it ends (`None` if it panics or nobody comes).
    fn party(&self, me: usize, party: Party) -> (String, JoinHandle<Outcome>) {
        let role = [Role::P0, Role::P1][party.role.index()];
        let accept = Accept::these([self.dealer.fingerprint()]);
        let listen = Some(([127, 0, 0, 1], 0).into());
        let endpoint = Endpoint::bind(self.parties[me].clone(), role, listen, accept).unwrap();
        let address = endpoint.address().to_string();
        let folder = self.folders()[me].clone();
        let thread = spawn(move || {
            // Nobody comes when the dealer fails with the other party first.
            let link = endpoint.accept(Duration::from_secs(10)).ok()?;
            let keys = KeyDir::open(folder, party.role).unwrap();
            let told = &mut |bytes: u64| assert!(bytes < party.dies_at, "killed by the test");
            let run = || receive(link, &party.plan, &keys, party.insecure, told);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).ok()
        });
        (address, thread)
    }

    /// One attempt at delivery.
    fn deliver(
        &self,
        order: &Order,
        resume: bool,
        parties: [Party; 2],
    ) -> (Result<Delivered, Failure>, [Outcome; 2]) {
        let [zero, one] = parties;
        let (zero, one) = (self.party(0, zero), self.party(1, one));
        let peer =
            |at: &(String, _), me: usize| Peer { address: at.0.clone(), key: self.parties[me].fingerprint() };
        let peers = [peer(&zero, 0), peer(&one, 1)];
        let within = Duration::from_secs(30);
        let route = Route { me: self.dealer.clone(), peers, within, transport: Transport::Auto };
        let done = to_parties(order, &self.work(), resume, &route, &mut quiet());
        (done, [zero.1.join().unwrap(), one.1.join().unwrap()])
    }
}

/// A route that must not be taken.
fn nowhere() -> Route {
    let me = Arc::new(Identity::ephemeral().unwrap());
    let peer = || Peer { address: "127.0.0.1:1".into(), key: me.fingerprint() };
    let within = Duration::from_millis(1);
    Route { peers: [peer(), peer()], me: me.clone(), within, transport: Transport::Auto }
}

fn code<T>(outcome: &Result<T, Failure>) -> Option<ExitCode> {
    outcome.as_ref().err().map(Failure::code)
}

#[test]
fn a_delivery_leaves_all_with_the_parties_and_nothing_with_the_dealer() {
    let world = World::new();
    let (done, ends) = world.deliver(&order(SeedSource::Os), false, Party::pair());
    let done = done.unwrap();
    let id = done.key_set.unwrap();
    let [a, b] = world.folders();
    check([&a, &b], id);
    assert_eq!(names(&a, id), names(&b, id));
    for (end, bytes) in ends.into_iter().zip(done.bytes) {
        let received = end.unwrap().unwrap();
        assert_eq!((received.key_set, received.images, received.segments), (id, 23, 6));
        assert_eq!(received.bytes, bytes);
    }
    assert!(!world.work().exists(), "the dealer keeps nothing");
}

#[test]
fn a_delivery_that_was_cut_short_goes_on_and_sends_no_segment_twice() {
    let world = World::new();
    let order = order(SeedSource::Os);
    let [zero, one] = Party::pair();
    // P1 dies after its third segment.
    let whole = order.plan.layout().file_bytes(PartyId::P1, 4).unwrap();
    let dying = Party { dies_at: 2 * whole + 1, ..one.clone() };
    let (done, ends) = world.deliver(&order, false, [zero.clone(), dying]);
    assert_eq!(code(&done), Some(ExitCode::PeerFailed), "{done:?}");
    assert!(ends[1].is_none());
    assert_eq!(code(ends[0].as_ref().unwrap()), Some(ExitCode::PeerFailed), "P0 is told");
    assert!(world.work().join("deal.json").exists());

    let again = to_parties(&order, &world.work(), false, &nowhere(), &mut quiet());
    assert_eq!(code(&again), Some(ExitCode::System), "without resume it is not touched");

    let (done, ends) = world.deliver(&order, true, [zero, one]);
    let done = done.unwrap();
    let id = done.key_set.unwrap();
    let [a, b] = world.folders();
    check([&a, &b], id);
    assert_eq!(names(&a, id), names(&b, id));
    // Both had three, although P1 did not live to say so.
    assert_eq!(ends.map(|end| end.unwrap().unwrap().segments), [3, 3]);
    assert!(!world.work().exists());
}

/// A party has used a segment before the delivery went on: its keys are spent, and its peer needs none.
#[test]
fn spent_segments_are_not_delivered_again() {
    let world = World::new();
    let order = order(SeedSource::Os);
    let [zero, one] = Party::pair();
    let whole = order.plan.layout().file_bytes(PartyId::P1, 4).unwrap();
    let dying = Party { dies_at: 2 * whole + 1, ..one.clone() };
    world.deliver(&order, false, [zero.clone(), dying]).0.unwrap_err();
    let [a, b] = world.folders();
    let id = KeyDir::open(&b, PartyId::P1).unwrap().key_sets().unwrap()[0];
    let set = set_of(&a, PartyId::P0, id);
    let mut ledger = set.ledger().unwrap();
    ledger.advance_to(18).unwrap();
    drop(ledger);
    let (done, _) = world.deliver(&order, true, [zero, one]);
    done.unwrap();
    // Segments 0 to 2 came before; 3 is spent at P0; 4 holds image 18 and is needed.
    for folder in [&a, &b] {
        let there: Vec<u32> =
            (0..6).filter(|&s| segment_file(&folder.join(id.to_string()), s).exists()).collect();
        assert_eq!(there, [0, 1, 2, 4, 5]);
    }
    assert_eq!(set.tally().unwrap().next, 18, "the ledger stays");
}

#[test]
fn all_delivered_but_not_erased_is_erased_by_resuming() {
    let root = TempDir::new().unwrap();
    let order = order(SeedSource::Os);
    let work = root.path().join("work");
    into_folder(&order, &work, false, &mut quiet()).unwrap();
    renote(&work, "\"folder\"", "\"network\"");
    renote(&work, "\"delivered\": false", "\"delivered\": true");
    let done = to_parties(&order, &work, true, &nowhere(), &mut quiet()).unwrap();
    assert_eq!(done, Delivered { key_set: None, bytes: [0; 2], new: 0 });
    assert!(!work.exists());
}

#[test]
fn both_sides_learn_why_keys_are_refused() {
    let [zero, one] = Party::pair();
    let other = Party { plan: plan("b"), ..one.clone() };
    let swapped = [Party { role: PartyId::P1, ..zero.clone() }, Party { role: PartyId::P0, ..one.clone() }];
    let willing = Party { insecure: true, ..zero.clone() };
    let cases = [
        (SeedSource::Os, [zero.clone(), other], [ExitCode::PlanMismatch; 2]),
        (SeedSource::InsecureTest(3), [willing, one.clone()], [ExitCode::KeysSpent; 2]),
        (SeedSource::Os, swapped, [ExitCode::Config, ExitCode::PeerFailed]),
    ];
    for (seeds, parties, wanted) in cases {
        let world = World::new();
        let (done, ends) = world.deliver(&order(seeds), false, parties);
        let refusing = ends.iter().flatten().filter_map(|end| end.as_ref().err()).map(|f| f.code());
        assert_eq!(code(&done), Some(wanted[0]), "{done:?}");
        assert!(refusing.into_iter().any(|code| code == wanted[1]), "{ends:?}");
        let sets = KeyDir::open(&world.folders()[1], PartyId::P1).unwrap().key_sets().unwrap();
        assert!(sets.is_empty(), "nothing is stored");
    }
}

/// A party that was killed while it took `set.key` is begun again, one whose `set.key` vanished later is not: its
/// ledger knows what is spent.
#[test]
fn a_key_set_without_set_key_is_begun_again_only_if_nothing_is_spent() {
    let world = World::new();
    let order = order(SeedSource::Os);
    let [zero, one] = Party::pair();
    let whole = order.plan.layout().file_bytes(PartyId::P1, 4).unwrap();
    let dying = Party { dies_at: whole / 2, ..one.clone() };
    world.deliver(&order, false, [zero.clone(), dying.clone()]).0.unwrap_err();
    let [a, b] = world.folders();
    let id = KeyDir::open(&b, PartyId::P1).unwrap().key_sets().unwrap()[0];
    fs::remove_file(b.join(id.to_string()).join("set.key")).unwrap();
    fs::remove_file(segment_file(&b.join(id.to_string()), 0)).unwrap();
    world.deliver(&order, true, [zero.clone(), dying]).0.unwrap_err();
    assert!(b.join(id.to_string()).join("set.key").exists(), "begun again");

    set_of(&b, PartyId::P1, id).ledger().unwrap().advance_to(1).unwrap();
    fs::remove_file(b.join(id.to_string()).join("set.key")).unwrap();
    fs::remove_file(segment_file(&b.join(id.to_string()), 0)).unwrap();
    let (done, ends) = world.deliver(&order, true, [zero, one]);
    assert_eq!(code(&done), Some(ExitCode::PeerFailed));
    assert_eq!(code(ends[1].as_ref().unwrap()), Some(ExitCode::KeysMissing));
    assert!(a.join(id.to_string()).join("set.key").exists());
}
