//! Deals in one process: two parties on threads, real sockets, crashes where they hurt.

mod folder;

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
        input: Input {
            name: "x".into(),
            shape: vec![4],
            normalise: Normalise::default(),
            layout: Default::default(),
        },
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
    Order { plan: plan("a"), cut: Cut::new(23, 4).unwrap(), seeds, trained: None, device: Device::Cpu }
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

/// Changes the note of a deal.
fn renote(folder: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(folder.join("deal.json")).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    fs::write(folder.join("deal.json"), text.replace(from, to)).unwrap();
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

/// A party asks for its disk's room before it takes anything.
#[test]
fn a_party_without_room_takes_nothing() {
    let world = World::new();
    let order = Order { cut: Cut::new(1 << 42, 1 << 14).unwrap(), ..order(SeedSource::Os) };
    let (done, ends) = world.deliver(&order, false, Party::pair());
    assert_eq!(code(&done), Some(ExitCode::PeerFailed), "{done:?}");
    let failures: Vec<String> =
        ends.iter().flatten().filter_map(|end| end.as_ref().err()).map(ToString::to_string).collect();
    assert!(failures.iter().any(|text| text.contains(" MB are free")), "{failures:?}");
    for (folder, party) in world.folders().iter().zip(PartyId::BOTH) {
        assert!(KeyDir::open(folder, party).unwrap().key_sets().unwrap().is_empty());
    }
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
