//! Can any schedule of crashes let other rows under a mask? One chunk, its owner and two parties, each with the real
//! ledger: every schedule of a few crashes is searched, in the middle of writes too. The rules of the reference's model
//! (`train_crash_model.py`, section 8), and older ones that must be caught.

use crate::memory::{Disk, Memory};
use crate::search::{Model, Verdict, explore};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use twoply_preprocessing::rows::*;
use twoply_preprocessing::run::Holder;
use twoply_preprocessing::{Cut, PlanDigest};
use twoply_primitives::{KeySetId, PartyId};

#[derive(Clone, Copy, PartialEq)]
enum Rule {
    /// As it is.
    Full,
    /// The parties take whatever comes.
    OwnerBindsAlone,
    /// The owner keeps nothing on disk.
    PartiesBindAlone,
    /// The owner sends rows before both parties are bound to them.
    RowsAtOnce,
    /// The salt leaves with the digest, so that the digest can be inverted.
    SaltWithDigest,
}

struct Upload {
    rule: Rule,
    crashes: u8,
    /// Whether the owner may lose its disk with a crash.
    disk_lost: bool,
    /// What the owner made of a disk by writing an encoding to it: once, since salts are random.
    written: RefCell<HashMap<(Disk, Rows), Written>>,
}

/// An integer that was encoded; each encoding is another one.
type Rows = u8;

/// An encoding with its salt, and the digest of both.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Encoded {
    bytes: Vec<u8>,
    digest: RowsDigest,
}

#[derive(Clone)]
struct Written {
    encoded: Encoded,
    disk: Rc<Disk>,
    between: Vec<Disk>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Message {
    /// DIGEST, and what leaves with it.
    Digest(RowsDigest, Option<Vec<u8>>),
    Rows(Encoded),
    Bound(Bound),
    Stored(Stored),
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    owner: Rc<Disk>,
    parties: [Rc<Disk>; 2],
    /// What the owner is sending in this session, if it is in one, and what the parties have answered.
    sending: Option<(Encoded, [Option<Bound>; 2])>,
    /// From the owner to each party, and back.
    links: [[Vec<Message>; 2]; 2],
    broken: bool,
    /// What a party has seen under the mask, or confirmed by a digest.
    seen: BTreeSet<Rows>,
    /// What it knows to be, or might guess to be, the salt of anything.
    salts: BTreeSet<Vec<u8>>,
    encodings: Rows,
    crashes: u8,
}

fn spec() -> DataSpec {
    let cut = Cut::new(1, 1).unwrap();
    DataSpec { set: KeySetId([7; 16]), forms: PlanDigest([1; 32]), cut, row_bytes: 1 }
}

fn party(memory: &mut Memory, party: usize) -> DataSet<&mut Memory> {
    DataSet::with(memory, PartyId::BOTH[party], spec()).expect("every crash leaves a ledger that opens")
}
fn owner(memory: &mut Memory) -> OwnerRows<&mut Memory> {
    OwnerRows::with(memory, spec()).expect("every crash leaves a ledger that opens")
}
fn fresh_owner() -> Rc<Disk> {
    Rc::new(Disk { ledger: new_ledger(Holder::Owner, &spec()).to_vec(), ..Disk::default() })
}
fn fresh_party(party: usize) -> Rc<Disk> {
    let ledger = new_ledger(Holder::Party(PartyId::BOTH[party]), &spec()).to_vec();
    Rc::new(Disk { ledger, ..Disk::default() })
}
/// Whether a chunk that is bound to this digest would take these bytes: anybody may try.
fn confirms(rows: &RowsDigest, bytes: &[u8]) -> bool {
    let mut memory = Memory::new(&fresh_party(0));
    let mut set = party(&mut memory, 0);
    set.bind(rows).unwrap();
    set.store(0, bytes).is_ok()
}

impl World {
    /// A party tries everything that was ever encoded, with every salt it knows.
    fn guess(&mut self, rows: &RowsDigest) {
        for guess in 1..=self.encodings {
            let salted = |salt: &Vec<u8>| [&salt[..], &[guess]].concat();
            if self.salts.iter().any(|salt| confirms(rows, &salted(salt))) {
                self.seen.insert(guess);
            }
        }
    }

    /// A session ends, what was sent to someone who left is lost.
    fn unlinked(mut self) -> World {
        self.sending = None;
        self.broken = false;
        self
    }
}

impl Upload {
    /// The owner writes this encoding to its disk.
    fn write(&self, disk: &Disk, rows: Rows) -> Written {
        let write = || {
            let mut memory = Memory::new(disk);
            let digest = owner(&mut memory).write(0, &[rows]).unwrap();
            let encoded = Encoded { bytes: memory.disk.files["chunk-00000.rows"].clone(), digest };
            Written { encoded, disk: Rc::new(memory.disk), between: memory.between.take() }
        };
        self.written.borrow_mut().entry((disk.clone(), rows)).or_insert_with(write).clone()
    }

    /// The party's disk holds `between` after a crash; nothing of what it was about to say was said.
    fn party_crashes(&self, w: &World, p: usize, between: &[Disk], out: &mut Vec<(World, bool)>) {
        for disk in between.iter().filter(|_| w.crashes < self.crashes) {
            for said in 0..=w.links[1][p].len() {
                let mut world = w.clone();
                world.parties[p] = Rc::new(disk.clone());
                world.links[0][p].clear();
                world.links[1][p].truncate(said);
                (world.broken, world.crashes) = (true, w.crashes + 1);
                out.push((world, true));
            }
        }
    }

    fn owner_crashes(&self, w: &World, between: &[Disk], out: &mut Vec<(World, bool)>) {
        let lost = self.disk_lost.then(fresh_owner);
        let disks = between.iter().cloned().map(Rc::new).chain(lost);
        for disk in disks.filter(|_| w.crashes < self.crashes) {
            for said in 0..=w.links[0][0].len() {
                for more in 0..=w.links[0][1].len() {
                    let mut world = w.clone().unlinked();
                    world.owner = disk.clone();
                    world.links[0][0].truncate(said);
                    world.links[0][1].truncate(more);
                    world.links[1] = Default::default();
                    world.crashes += 1;
                    out.push((world, true));
                }
            }
        }
    }

    /// The owner begins: with what is on disk, or with what it encodes now.
    fn begins(&self, w: &World, out: &mut Vec<(World, bool)>) {
        let mut world = w.clone();
        let kept = owner(&mut Memory::new(&w.owner)).digest(0);
        let encoded = match kept {
            Some(digest) => Encoded { bytes: w.owner.files["chunk-00000.rows"].clone(), digest },
            None => {
                world.encodings += 1;
                let written = self.write(&w.owner, world.encodings);
                if self.rule != Rule::PartiesBindAlone {
                    let during = World { encodings: world.encodings, ..w.clone() };
                    self.owner_crashes(&during, &written.between, out);
                    world.owner = written.disk;
                }
                written.encoded
            }
        };
        world.sending = Some((encoded.clone(), [None; 2]));
        world.links = Default::default();
        world.broken = false;
        for link in &mut world.links[0] {
            let salt = (self.rule == Rule::SaltWithDigest).then(|| encoded.bytes[..SALT].to_vec());
            link.push(Message::Digest(encoded.digest, salt));
            if self.rule == Rule::RowsAtOnce || self.rule == Rule::PartiesBindAlone {
                link.push(Message::Rows(encoded.clone()));
            }
        }
        out.push((world, false));
    }

    fn party_hears(&self, w: &World, p: usize, out: &mut Vec<(World, bool)>) {
        let mut world = w.clone();
        let heard = world.links[0][p].remove(0);
        let mut memory = Memory::new(&w.parties[p]);
        match heard {
            Message::Digest(rows, salt) => {
                world.salts.extend(salt);
                world.guess(&rows);
                let bound = match self.rule {
                    Rule::OwnerBindsAlone => Bound(rows),
                    _ => party(&mut memory, p).bind(&rows).unwrap(),
                };
                world.links[1][p].push(Message::Bound(bound));
            }
            Message::Rows(Encoded { bytes, digest }) => {
                world.seen.insert(bytes[SALT]);
                world.salts.insert(bytes[..SALT].to_vec());
                if self.rule == Rule::OwnerBindsAlone {
                    memory = Memory::new(&fresh_party(p));
                    party(&mut memory, p).bind(&digest).unwrap();
                }
                if let Ok(stored) = party(&mut memory, p).store(0, &bytes) {
                    world.links[1][p].push(Message::Stored(stored));
                }
            }
            Message::Bound(_) | Message::Stored(_) => unreachable!("the owner says neither"),
        }
        let before = World { seen: world.seen.clone(), salts: world.salts.clone(), ..w.clone() };
        self.party_crashes(&before, p, &memory.between.borrow(), out);
        world.parties[p] = Rc::new(memory.disk);
        out.push((world, false));
    }

    fn owner_hears(&self, w: &World, p: usize, out: &mut Vec<(World, bool)>) {
        let mut world = w.clone();
        let heard = world.links[1][p].remove(0);
        if let (Some((encoded, answers)), Message::Bound(bound)) = (&mut world.sending, heard) {
            answers[p] = Some(bound);
            if let [Some(a), Some(b)] = answers {
                let cleared = match self.rule {
                    Rule::PartiesBindAlone | Rule::RowsAtOnce => false,
                    _ => {
                        let mut memory = Memory::new(&w.owner);
                        let sender = owner(&mut memory);
                        let bytes = sender
                            .cleared(0, [(PartyId::P0, a), (PartyId::P1, b)])
                            .and_then(|cleared| cleared.bytes());
                        assert!(bytes.as_ref().is_ok_and(|bytes| *bytes == encoded.bytes) || bytes.is_err());
                        bytes.is_ok()
                    }
                };
                if cleared {
                    world.links[0].iter_mut().for_each(|link| link.push(Message::Rows(encoded.clone())));
                }
            }
        }
        out.push((world, false));
    }
}

impl Model for Upload {
    type State = World;

    fn start(&self) -> World {
        World {
            owner: fresh_owner(),
            parties: [0, 1].map(fresh_party),
            sending: None,
            links: Default::default(),
            broken: false,
            seen: BTreeSet::new(),
            salts: BTreeSet::from([vec![], vec![0; SALT]]),
            encodings: 0,
            crashes: 0,
        }
    }

    fn next(&self, w: &World) -> Vec<(World, bool)> {
        let mut out = vec![];
        for p in 0..2 {
            self.party_crashes(w, p, &[(*w.parties[p]).clone()], &mut out);
            if !w.links[0][p].is_empty() {
                self.party_hears(w, p, &mut out);
            }
            if !w.links[1][p].is_empty() && w.sending.is_some() {
                self.owner_hears(w, p, &mut out);
            }
        }
        self.owner_crashes(w, &[(*w.owner).clone()], &mut out);
        match w.sending {
            None => self.begins(w, &mut out),
            // It notices, and begins again.
            Some(_) if w.broken => out.push((w.clone().unlinked(), false)),
            Some(_) => {}
        }
        out
    }

    /// Each party has rows, the same ones, and says so to the other.
    fn done(&self, w: &World) -> bool {
        let data = |p: usize| party(&mut Memory::new(&w.parties[p]), p).data().ok();
        data(0).is_some() && data(0) == data(1)
    }

    fn wrong(&self, w: &World) -> Option<String> {
        (w.seen.len() > 1).then(|| format!("one mask meets {:?}", w.seen))
    }
}

fn search(name: &str, rule: Rule, crashes: u8, disk_lost: bool) -> Verdict {
    explore(name, &Upload { rule, crashes, disk_lost, written: RefCell::default() })
}

#[test]
fn no_schedule_of_crashes_lets_other_rows_under_a_mask_or_ends_the_upload() {
    let Verdict::Sound(states) = search("upload", Rule::Full, 3, false) else { panic!() };
    assert!(states > 500, "the search ended too early: {states}");
}

#[test]
fn an_owner_that_loses_its_disk_needs_a_new_set_and_leaks_nothing() {
    assert!(matches!(search("disk lost", Rule::Full, 3, true), Verdict::DeadEnds(_)));
}

#[test]
fn binding_at_the_owner_only_is_found() {
    assert!(matches!(search("owner binds alone", Rule::OwnerBindsAlone, 2, true), Verdict::Wrong(_)));
    assert!(matches!(search("no answers awaited", Rule::RowsAtOnce, 2, true), Verdict::Wrong(_)));
}

#[test]
fn a_digest_that_can_be_inverted_is_found() {
    assert!(matches!(search("salt leaves with it", Rule::SaltWithDigest, 2, true), Verdict::Wrong(_)));
}

#[test]
fn binding_at_the_parties_only_is_found() {
    assert!(matches!(search("parties bind alone", Rule::PartiesBindAlone, 2, false), Verdict::Wrong(_)));
}
