//! What parties tell each other, and their owners, besides masked values: every message is made again from public facts, and
//! parties that leak a seed in any of them are found.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{JoinHandle, spawn};
use std::time::Instant;
use twoply_party::exit::Failure;
use twoply_party::jobs::{Follow, Grant, Job, Lead, Reserved, SetState};
use twoply_party::messages::{Greeting, Message, Verdict};
use twoply_party::record::{Hearer, Record, Said};
use twoply_party::serve::{Config, Served, Setup, serve};
use twoply_party::transport::{Detail, Reason, Shape, Transport};
use twoply_primitives::{Cpu, PartyId};
use twoply_tests::model::PLAIN;
use twoply_tests::view::{Asked, Facts, Seen, Transcript, judge};
use twoply_tests::{Odd, Pair, SOON, World, digits};

/// A party in this process.
struct Here {
    thread: JoinHandle<Result<Served, Failure>>,
    stop: Arc<AtomicBool>,
    record: Record,
    address: String,
}

impl Here {
    fn start(world: &World, me: usize, peer: Option<String>) -> Here {
        let key = |home: usize| world.keys[home].parse().unwrap();
        let (record, stop) = (Record::default(), Arc::new(AtomicBool::new(false)));
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            peer: key(1 - me),
            peer_address: peer,
            transport: Transport::default(),
            link: Shape::default(),
            clients: vec![key(3), key(4)],
            owners: vec![key(2)],
            labels_only: false,
            patience: Some(SOON),
            images_per_client: None,
            record_coins: None,
            record_control: Some(record.clone()),
        };
        let setup = Setup {
            me: PartyId::BOTH[me],
            plan: world.plan.clone(),
            keys: PathBuf::from(world.path(&format!("keys/p{me}"))),
            runs: PathBuf::from(world.path(&format!("p{me}/train/runs"))),
            identity: world.identity(&format!("p{me}")),
            insecure_test_seed: false,
            config,
        };
        let (tell, said) = channel();
        let stopped = stop.clone();
        let thread = spawn(move || {
            let say = |text: &str| drop(tell.send(text.to_owned()));
            serve(setup, Cpu::<u32>::new(), &stopped, &say)
        });
        let line = said.recv_timeout(SOON).unwrap();
        let address = line.split(" listens on ").nth(1).and_then(|rest| rest.split(' ').next());
        Here { thread, stop, record, address: address.unwrap().to_owned() }
    }
    fn end(self) -> (Served, Vec<Said>) {
        self.stop.store(true, Ordering::SeqCst);
        let served = self.thread.join().expect("no panic").expect("it stops in order");
        (served, self.record.said())
    }
    /// Waits until it has said this kind of message `times` times.
    fn says(&self, times: usize, kind: impl Fn(&Said) -> bool) {
        let began = Instant::now();
        while self.record.said().iter().filter(|s| kind(s)).count() < times {
            assert!(began.elapsed() < SOON, "it does not say that");
            std::thread::yield_now();
        }
    }
}

/// What becomes of a piece.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Answered,
    /// The owner leaves before it sends its masked input.
    Left,
    /// The owner sends it to P0, and leaves P1.
    LeftOne,
    /// The owner sends two different ones.
    Differs,
}

/// Two key sets of 40 images in segments of 10, two parties, and data owners.
struct Scene {
    world: World,
    pair: Pair,
    parties: [Here; 2],
    facts: Facts,
    jobs: u8,
}

impl Scene {
    fn new() -> Scene {
        let world = World::dealt(PLAIN, 40, 10);
        world.deal("more", "plan.json", 40, 10).is(0);
        world.adopt("more");
        let mut facts = Facts::read(&world, [40, 10]);
        let p0 = Here::start(&world, 0, None);
        let p1 = Here::start(&world, 1, Some(p0.address.clone()));
        let pair = Pair { procs: vec![], addresses: vec![p0.address.clone(), p1.address.clone()] };
        world.provision(&pair, &[]).is(0);
        facts.provisioned(&world);
        Scene { world, pair, parties: [p0, p1], facts, jobs: 0 }
    }
    /// A job with a name that nobody could mistake for something else.
    fn job(&mut self, odd: &Odd, images: u32) -> Job {
        self.jobs += 1;
        let id = blake3::hash(&[self.jobs]).as_bytes()[..16].try_into().unwrap();
        Job { id, ..odd.job(images, 0) }
    }
    /// A data owner asks and does as `end` says with the last piece; `late` lets P1 hear of it late.
    fn ask(&mut self, home: usize, images: u32, end: End, late: bool) {
        let mut odd = Odd::new(&self.world, &self.pair, ["client", "other"][home]);
        let job = self.job(&odd, images);
        if late {
            let not_yet = |s: &Said| s.bytes == postcard::to_stdvec(&Follow::NotYet).unwrap();
            let before = self.parties[1].record.said().iter().filter(|s| not_yet(s)).count();
            odd.link(0).say(&twoply_party::jobs::Request::Infer(job)).unwrap();
            self.parties[1].says(before + 1, not_yet);
            odd.link(1).say(&twoply_party::jobs::Request::Infer(job)).unwrap();
        } else {
            odd.ask(job);
        }
        let mut pieces: Vec<Seen> = vec![];
        let mut done = 0;
        while done < images {
            let (grant, keys) = odd.granted();
            done += grant.images;
            let end = if done == images { end } else { End::Answered };
            let count = grant.images as usize;
            let packed = odd.mask(digits().images(0..count), [&keys[0], &keys[1]]);
            let mut inputs = [packed.clone(), packed];
            match end {
                End::Answered => {}
                End::Left => inputs = [vec![], vec![]],
                End::LeftOne => inputs[1].clear(),
                End::Differs => inputs[1][0] ^= 1,
            }
            (0..2).filter(|me| !inputs[*me].is_empty()).for_each(|me| odd.send(me, &grant, &inputs[me]));
            pieces.push(Seen { grant, inputs });
            match end {
                End::Answered => drop(odd.shares(count)),
                _ => self.leave(&mut odd, end),
            }
        }
        let client = self.world.keys[3 + home].parse().unwrap();
        self.facts.jobs.insert(job.id, Asked { job, client, pieces });
    }
    fn leave(&self, odd: &mut Odd, end: End) {
        let mut abort = |me: usize| {
            odd.links[me].take().unwrap().abort(Reason::Interrupted, Detail::None);
        };
        match end {
            End::Left => (0..2).for_each(abort),
            End::LeftOne => abort(1),
            _ => {}
        }
        // whoever is still there hears that it is over
        for me in 0..2 {
            if odd.links[me].is_some() {
                odd.refused(me, SOON);
            }
        }
    }
    fn stop(self) -> (Facts, [Served; 2], Transcript) {
        let [p0, p1] = self.parties;
        let (served, said) = p0.end();
        let (other, more) = p1.end();
        (self.facts, [served, other], [said, more])
    }
}

/// All that parties of a whole session said.
fn session() -> (Facts, [Served; 2], Transcript) {
    let mut scene = Scene::new();
    scene.ask(0, 1, End::Answered, false);
    scene.ask(1, 1, End::Answered, true);
    scene.ask(0, 21, End::Answered, false);
    scene.ask(1, 2, End::Left, false);
    scene.ask(0, 1, End::LeftOne, false);
    scene.ask(1, 1, End::Differs, false);
    scene.ask(0, 30, End::Answered, false);
    let looks = |s: &Said| s.name == Lead::NAME && s.bytes.first() == Some(&0);
    let before = scene.parties[0].record.said().iter().filter(|s| looks(s)).count();
    scene.parties[0].says(before + 1, looks);
    scene.stop()
}

#[test]
fn nothing_is_said_but_public_facts() {
    let (facts, served, transcript) = session();
    let heard = judge(&facts, &transcript).unwrap();
    let kinds = [
        "sets",
        "bind",
        "grant",
        "run",
        "drop",
        "bye",
        "ready",
        "not yet",
        "refused",
        "running",
        "reserved",
        "to an owner",
    ];
    for kind in kinds {
        assert!(heard.contains_key(kind), "`{kind}` was not said: {heard:?}");
    }
    let sets: std::collections::BTreeSet<_> =
        facts.jobs.values().flat_map(|j| j.pieces.iter().map(|p| p.grant.key_set.0)).collect();
    assert_eq!(sets.len(), 2, "both key sets were used");
    assert!(heard["reserved"] < 2 * heard["ready"], "some pieces were reserved before");
    whole(&facts, &served, &transcript);
    let blind = Facts { secrets: vec![], ..facts.clone() };
    for (name, leak) in LEAKS {
        let mut leaking = transcript.clone();
        leak(&mut leaking, &facts.secrets[0]);
        assert_ne!(leaking, transcript, "{name}: nothing was planted");
        assert!(judge(&facts, &leaking).is_err(), "{name}: not found");
        // by what is due, and not only by what is secret; a nonce is random, but it names the meeting in every grant
        assert!(judge(&blind, &leaking).is_err(), "{name}: only found as a secret");
    }
}

/// The record is everything that went from party to party: to the byte, beside gates and the digests that end runs.
fn whole(facts: &Facts, served: &[Served; 2], transcript: &Transcript) {
    let ran = |p: &&Seen| !p.inputs[0].is_empty() && p.inputs[0] == p.inputs[1];
    let runs = facts.jobs.values().flat_map(|j| &j.pieces).filter(ran).count() as u64;
    for me in 0..2 {
        let report = served[me].tally.report(me);
        let peer = transcript[me].iter().filter(|s| s.to == Hearer::Peer);
        let said = peer.map(|s| s.bytes.len() as u64).sum::<u64>();
        assert_eq!(said, report.control[me].iter().map(|s| s.bytes).sum::<u64>());
        assert_eq!(report.peer_bytes[me], report.bytes_sent[me].map(|gates| gates + said + 32 * runs));
    }
}

/// A party that tells a seed, in place of what it should say.
type Leak = fn(&mut Transcript, &[u8]);

/// Ways to leak a seed of 32 bytes.
const LEAKS: [(&str, Leak); 19] = [
    ("seed in place of a request's name", |t, seed| {
        change(t, 0, |m| {
            if let Lead::Run(id, ..) = m {
                id.copy_from_slice(&seed[..16])
            }
        });
    }),
    ("seed in place of a digest", |t, seed| {
        change(t, 0, |m| {
            if let Lead::Run(_, _, digest) = m {
                digest.copy_from_slice(seed)
            }
        });
    }),
    ("seed with a constant in place of a digest", |t, seed| {
        change(t, 1, |m| {
            if let Follow::Running(_, digest) = m {
                *digest = mixed(seed)
            }
        });
    }),
    ("seed backwards in place of a segment's name", |t, seed| {
        let mut half: [u8; 16] = seed[..16].try_into().unwrap();
        half.reverse();
        change(t, 0, |m| {
            if let Lead::Run(_, name, _) = m {
                *name = half
            }
        });
    }),
    ("half of a seed in place of P1's segment", |t, seed| {
        change(t, 1, |m| {
            if let Follow::Running(name, _) = m {
                name.copy_from_slice(&mixed(seed)[..16])
            }
        });
    }),
    ("seed in a cursor", |t, seed| {
        let number = word(&mixed(seed));
        change(t, 0, |m| {
            if let Lead::Sets(sets) = m {
                sets[0].cursor = number
            }
        });
    }),
    ("a byte of a seed in a cursor of P1", |t, seed| {
        change(t, 1, |m| {
            if let Follow::Sets(sets) = m {
                sets[0].cursor ^= 1 + u64::from(seed[0] / 2)
            }
        });
    }),
    ("a bit of a seed in the end of what is dealt", |t, _| {
        change(t, 1, |m| {
            if let Follow::Sets(sets) = m {
                sets[0].dealt ^= 1
            }
        });
    }),
    ("seed in place of the digest of weights", |t, seed| {
        change(t, 0, |m| {
            if let Lead::Grant(_, _, piece) = m {
                piece.weights = mixed(seed)
            }
        });
    }),
    ("a bit of a seed in what is reserved", |t, _| {
        change(t, 0, |m| {
            if let Lead::Grant(_, _, piece) = m {
                piece.to += 1
            }
        });
    }),
    ("seed in what P1 reserved", |t, seed| {
        let number = word(&mixed(seed));
        change(t, 1, |m: &mut Reserved| m.to = number);
    }),
    ("a longer list", |t, seed| {
        let key_set = twoply_primitives::KeySetId(mixed(seed)[..16].try_into().unwrap());
        let more = SetState { key_set, cursor: 0, dealt: 40, weights: [0; 32] };
        change(t, 1, |m| {
            if let Follow::Sets(sets) = m {
                sets.push(more)
            }
        });
    }),
    ("a message more of P0", |t, seed| {
        let id = mixed(seed)[..16].try_into().unwrap();
        more(t, 0, &Lead::Drop(id, twoply_party::exit::ExitCode::PeerFailed.into()));
    }),
    ("a message more of P1", |t, _| more(t, 1, &Follow::NotYet)),
    ("bytes after a message", |t, seed| t[1].last_mut().unwrap().bytes.extend(mixed(seed))),
    ("a reason that is none", |t, seed| {
        let refused = |s: &&mut Said| s.name == Follow::NAME && s.bytes.len() == 3 && s.bytes[0] == 3;
        t[1].iter_mut().find(refused).unwrap().bytes[2] = seed[0] | 1;
    }),
    ("another verdict", |t, _| {
        let differs = Verdict::Differs(twoply_party::messages::Field::Graph);
        change(t, 1, |m: &mut Verdict| *m = differs);
    }),
    ("seed in place of a nonce", |t, seed| {
        change(t, 0, |Greeting::V1(hello)| hello.nonce.copy_from_slice(seed));
    }),
    ("seed in a grant to an owner", |t, seed| {
        change(t, 0, |grant: &mut Grant| grant.meeting = mixed(seed));
    }),
];

/// A seed so that it looks like something else: with every byte changed.
fn mixed(seed: &[u8]) -> [u8; 32] {
    let bytes: Vec<u8> = seed.iter().map(|b| b ^ 0x5a).collect();
    bytes.try_into().unwrap()
}

fn word(seed: &[u8]) -> u64 {
    u64::from_le_bytes(seed[..8].try_into().unwrap())
}

/// Changes the first message of a kind that `f` changes.
fn change<M: Message + Clone + PartialEq>(transcript: &mut Transcript, me: usize, f: impl Fn(&mut M)) {
    for said in transcript[me].iter_mut().filter(|s| s.name == M::NAME) {
        let message: M = postcard::from_bytes(&said.bytes).unwrap();
        let mut changed = message.clone();
        f(&mut changed);
        if changed != message {
            said.bytes = postcard::to_stdvec(&changed).unwrap();
            return;
        }
    }
}

/// Says something more before the last word.
fn more<M: Message>(transcript: &mut Transcript, me: usize, message: &M) {
    let bytes = postcard::to_stdvec(message).unwrap();
    let at = transcript[me].len() - 1;
    transcript[me].insert(at, Said { to: Hearer::Peer, name: M::NAME, bytes });
}
