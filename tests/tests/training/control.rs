//! What dealer and parties of a training run tell each other and their owners besides keys, masked rows and masked values: every message is made
//! again from public facts, and processes that leak a seed in any of them are found.
//!
//! Parties say the same to each other, word for word, so what either says the other knows. To the dealer, who has all masks,
//! neither says a digest of rows or of weights. Free are the names that the dealer draws: run, data key sets, keys of attempts.

use postcard::{from_bytes, to_stdvec};
use rayon::ThreadPoolBuilder;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;
use twoply_party::client::{Call, Place};
use twoply_party::identity::Identity;
use twoply_party::messages::Message;
use twoply_party::record::{Hearer, Record, Said};
use twoply_party::train::wire::{DealerErrand, Invitation, Peer, ToDealer, ToOwner, ToParty};
use twoply_party::train::{COMPUTING, Dealing, Guests, Progress, Setup, deal, serve};
use twoply_party::transport::{Shape, Transport};
use twoply_preprocessing::FileFolder;
use twoply_preprocessing::rows::DataSet;
use twoply_preprocessing::run::{
    Ask, CheckpointId, FirstCredit, Held, Hello, Mark, Offer, Reserved, RunId, RunInfo, RunSpec, survey,
};
use twoply_primitives::{Cpu, KeySetId, PartyId};
use twoply_tests::school::{LONG, School};

/// What P0, P1 and the dealer said.
type Transcript = [Vec<Said>; 3];

/// What is known of a run by other ways than its messages.
#[derive(Clone)]
struct Facts {
    plan: [u8; 32],
    spec: RunSpec,
    info: RunInfo,
    /// Steps from one checkpoint to the next.
    every: u32,
    /// Seeds of P0.
    secrets: Vec<Vec<u8>>,
}

fn identity(school: &School, role: &str) -> Arc<Identity> {
    Arc::new(Identity::load(&school.path(role).join("identity.key")).unwrap())
}

/// A role as a process of its own would be: a party's workers wait for keys, which the dealer's must be free to make.
fn role<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn(|| ThreadPoolBuilder::new().num_threads(2).build().unwrap().install(work))
}

/// A whole run: both parties and the dealer in this process, owners as processes.
fn session() -> (Facts, Transcript) {
    let every = 3;
    let school = School::new((64, 2), vec![], every);
    let records = [Record::default(), Record::default(), Record::default()];
    let (mut threads, mut addresses) = (vec![], vec![]);
    let key = |role: &str| school.key(role).parse().unwrap();
    for me in 0..2 {
        let setup = Setup {
            me: PartyId::BOTH[me],
            plan: school.plan.clone(),
            dir: school.path(["p0", "p1"][me]).join("train"),
            identity: identity(&school, ["p0", "p1"][me]),
            listen: ([127, 0, 0, 1], school.ports()[me]).into(),
            peer_address: addresses.first().cloned().filter(|_| me == 1),
            transport: Transport::default(),
            link: Shape::default(),
            guests: Guests {
                peer: key(["p1", "p0"][me]),
                dealer: key("dealer"),
                owners: vec![key("owner")],
                model_owners: vec![key("model")],
            },
            begins: true,
            ahead: 2,
            patience: LONG,
            computing: COMPUTING,
            record: Some(records[me].clone()),
        };
        addresses.push(setup.listen.to_string());
        let (tell, said) = channel();
        threads.push(role(move || {
            let (mut quiet, stop) = (|_: &_| (), Arc::new(AtomicBool::new(false)));
            let mut progress = Progress::new([8, 4], None, &mut quiet).unwrap();
            let tell = std::sync::Mutex::new(tell);
            let say = |text: &str| drop(tell.lock().unwrap().send(text.to_owned()));
            serve(&setup, Cpu::<u32>::new(), &stop, &mut progress, &say).map(|outcome| outcome.ended)
        }));
        assert!(said.recv_timeout(LONG).unwrap().contains(" listens on "));
    }
    let place = |me: usize| Place {
        address: addresses[me].clone(),
        key: key(["p0", "p1"][me]),
        transport: Transport::default(),
    };
    let dealing = Dealing {
        plan: school.plan.clone(),
        dir: school.path("dealer").join("train"),
        identity: identity(&school, "dealer"),
        places: [place(0), place(1)],
        call: Call { within: Duration::from_secs(60), link: Shape::default() },
        resume: false,
        anew: vec![],
        patience: LONG,
        computing: COMPUTING,
        record: Some(records[2].clone()),
    };
    threads.push(role(move || {
        let (mut quiet, stop) = (|_: &_| (), Arc::new(AtomicBool::new(false)));
        let mut progress = Progress::new([8, 4], None, &mut quiet).unwrap();
        let dealt = deal(&dealing, Cpu::<u32>::new(), &stop, &mut progress, &|_| ());
        stop.store(true, Ordering::SeqCst);
        dealt.map(|dealt| dealt.ended)
    }));
    let digits = school.digits();
    let rows = [&digits.each_ref().map(String::as_str)[..], &["--limit", "64"]].concat();
    school.owner("data", "owner", &rows).wait(LONG).is(0);
    school.fetcher(&[]).wait(LONG).is(0);
    for thread in threads {
        assert_eq!(thread.join().unwrap().unwrap(), Some(8));
    }

    let info = survey(&school.path("p0").join("train/runs")).unwrap().remove(0);
    let plan = &school.plan;
    let spec = RunSpec {
        run: info.run,
        plan: plan.digest().unwrap(),
        order: plan.order_digest(),
        sets: info.sets.clone(),
        schedule: plan.checkpoints(),
        lengths: plan.program().unwrap().lengths().unwrap(),
    };
    let rows = plan.data_spec(0, info.sets[0]).unwrap();
    let set: DataSet<FileFolder> =
        DataSet::open(&school.path("p0").join("train/data"), PartyId::P0, rows, false).unwrap();
    let secrets = vec![set.seed().unwrap().expose().to_vec()];
    let facts = Facts { plan: spec.plan.0, spec, info, every, secrets };
    (facts, records.map(|record| record.said()))
}

/// The messages of a kind's list, each the only way to write it.
fn of<M: Message + PartialEq>(said: &[&Said]) -> Result<Vec<M>, String> {
    let read = |said: &&Said| {
        let message: M = from_bytes(&said.bytes).map_err(|e| format!("{}: {e}", said.name))?;
        match said.name == M::NAME && to_stdvec(&message).is_ok_and(|bytes| bytes == said.bytes) {
            true => Ok(message),
            false => Err(format!("`{}` where `{}` is due, or not written as it is", said.name, M::NAME)),
        }
    };
    said.iter().map(read).collect()
}

fn same<T: PartialEq + std::fmt::Debug>(who: &str, got: T, due: T) -> Result<(), String> {
    match got == due {
        true => Ok(()),
        false => Err(format!("{who} said {got:?}, where public facts make {due:?}")),
    }
}

/// The first finding in words.
fn judge(facts: &Facts, transcript: &Transcript) -> Result<(), String> {
    for secret in &facts.secrets {
        for (who, said) in transcript.iter().enumerate() {
            let all: Vec<u8> = said.iter().flat_map(|s| s.bytes.iter().copied()).collect();
            if secret.windows(8).any(|secret| all.windows(8).any(|w| w == secret)) {
                return Err(format!("process {who} told eight bytes of a secret"));
            }
        }
    }
    let to = |who: usize, hearer: Hearer| -> Vec<&Said> {
        transcript[who].iter().filter(|said| said.to == hearer).collect()
    };
    let (set, marks) = between(facts, [to(0, Hearer::Peer), to(1, Hearer::Peer)])?;
    for me in 0..2 {
        same("a party to the dealer", of(&to(me, Hearer::Dealer))?, dealer_hears(facts, set, &marks))?;
        same("the dealer", to(2, Hearer::Party(me)).len(), 3)?;
        let [run, offer, keys] = [0, 1, 2].map(|at| vec![to(2, Hearer::Party(me))[at]]);
        let invitation = Invitation { plan: facts.plan, run: facts.spec.run, sets: facts.spec.sets.clone() };
        same("the dealer", of(&run)?, vec![DealerErrand::Run(invitation)])?;
        let due = Offer { run: facts.spec.run, attempt: 1, from: CheckpointId::START, set };
        same("the dealer", of(&offer)?, vec![ToParty::Offer(due)])?;
        same("the dealer", of(&keys)?, vec![DealerErrand::Keys(set)])?;
        owners(facts, &of(&to(me, Hearer::Owner))?, &marks)?;
    }
    let told = |me: usize| of::<ToOwner>(&to(me, Hearer::Owner));
    same("P1 to owners", told(1)?, told(0)?)?;
    let known = [Hearer::Peer, Hearer::Dealer, Hearer::Owner];
    let others = transcript[..2].iter().flatten().filter(|said| !known.contains(&said.to)).count();
    same("messages to others", others, 0)
}

/// What parties say to each other; the name of the attempt's keys, and the checkpoints.
fn between(facts: &Facts, said: [Vec<&Said>; 2]) -> Result<(KeySetId, Vec<Mark>), String> {
    let [mine, theirs] = [of::<Peer>(&said[0])?, of::<Peer>(&said[1])?];
    same("P1", &theirs, &mine)?;
    let (mut marks, mut terms, mut set) = (vec![], None, None);
    for word in &mine {
        match word {
            Peer::Hello(hello) => {
                terms.get_or_insert(hello.terms);
                marks.extend(hello.held.iter().filter(|mark| mark.id == CheckpointId::START).take(1));
            }
            Peer::Reserved(reserved) => set = Some(reserved.set),
            Peer::Checkpoint(mark) => marks.push(*mark),
            _ => {}
        }
    }
    let (Some(terms), Some(set), Some(start)) = (terms, set, marks.first().copied()) else {
        return Err("no attempt".into());
    };
    let steps = facts.spec.schedule.steps;
    let ends = (facts.every..steps).step_by(facts.every as usize).chain([steps]);
    let ids: Vec<_> = ends.map(|step| CheckpointId { attempt: 1, step }).collect();
    same("checkpoints", marks[1..].iter().map(|mark| mark.id).collect(), ids)?;
    let run = facts.spec.run;
    let data = match mine.get(1) {
        Some(Peer::Data(data)) => *data,
        other => return Err(format!("{other:?} for rows")),
    };
    same("the rows' set", data.set, facts.spec.sets[0])?;
    let hello = |highest, held, ended| Peer::Hello(Hello { run, terms, highest, held, ended });
    let last = [marks[marks.len() - 1]; 2];
    let mut due = vec![Peer::Run(facts.plan, run), Peer::Data(data), hello(0, [start; 2], false)];
    due.push(Peer::Reserved(Reserved { run, terms, attempt: 1, from: start, set }));
    due.extend(marks[1..].iter().map(|mark| Peer::Checkpoint(*mark)));
    due.push(hello(1, last, true));
    same("P0", mine, due)?;
    Ok((set, marks))
}

/// What the dealer is told: no digest.
fn dealer_hears(facts: &Facts, set: KeySetId, marks: &[Mark]) -> Vec<ToDealer> {
    let (run, terms, from) = (facts.spec.run, facts.spec.shared_hash(), CheckpointId::START);
    let mut due = vec![ToDealer::Wants(vec![0])];
    due.push(ToDealer::Ask(Ask { run, terms, highest: 0, from }));
    due.push(ToDealer::Credit(FirstCredit { set }));
    due.extend(marks[1..].iter().map(|mark| ToDealer::Held(Held { set, id: mark.id })));
    due.push(ToDealer::Ended(marks[marks.len() - 1].id));
    due
}

/// What owners are told: names, what they said themselves, and the checkpoint of the model.
fn owners(facts: &Facts, said: &[ToOwner], marks: &[Mark]) -> Result<(), String> {
    let set = facts.info.sets[0];
    match said {
        [
            ToOwner::Set(named, false),
            ToOwner::Bound(bound, false),
            ToOwner::Stored(stored),
            ToOwner::Model(mark),
        ] => {
            same("to an owner", (*named, bound.0.set, bound.0.chunk), (set, set, 0))?;
            same("to an owner", stored.0, bound.0)?;
            same("to the model's owner", *mark, marks[marks.len() - 1])
        }
        other => Err(format!("owners were told {other:?}")),
    }
}

#[test]
fn nothing_is_told_but_public_facts() {
    // on a machine that is busy a link may be given up, and everybody calls again: what is said then is another conversation
    let once =
        |(_, said): &(Facts, Transcript)| said[2].iter().filter(|s| s.to == Hearer::Party(0)).count() == 3;
    let mut sessions = (0..3).map(|_| session());
    let (facts, transcript) = sessions.find(once).expect("a run in one meeting");
    judge(&facts, &transcript).unwrap();
    let seed: [u8; 32] = facts.secrets[0].clone().try_into().unwrap();
    let mixed = seed.map(|byte| byte ^ 0x5a);
    let half = |bytes: [u8; 32]| -> [u8; 16] { bytes[..16].try_into().unwrap() };
    let id = |step| CheckpointId { attempt: 1, step };
    type Leak<'a> = (&'a str, Box<dyn Fn(&mut Transcript) + 'a>);
    let leaks: Vec<Leak<'_>> = vec![
        (
            "a seed in place of a run",
            Box::new(|t| {
                change(t, 0, |m| {
                    if let Peer::Run(_, run) = m {
                        *run = RunId(half(seed))
                    }
                })
            }),
        ),
        (
            "a seed in place of a root",
            Box::new(|t| {
                change(t, 0, |m| {
                    if let Peer::Data(data) = m {
                        data.root = mixed
                    }
                })
            }),
        ),
        (
            "a seed in a checkpoint's digest",
            Box::new(|t| {
                change(t, 1, |m| {
                    if let Peer::Checkpoint(mark) = m {
                        mark.digest = mixed
                    }
                })
            }),
        ),
        (
            "a bit of a seed in an attempt",
            Box::new(|t| {
                change(t, 1, |m| {
                    if let Peer::Hello(hello) = m {
                        hello.highest ^= 1
                    }
                })
            }),
        ),
        (
            "a checkpoint's digest for the dealer",
            Box::new(|t| {
                change(t, 0, |m| {
                    if let ToDealer::Ask(ask) = m {
                        ask.terms.0 = mixed[..24].try_into().unwrap()
                    }
                })
            }),
        ),
        (
            "a seed in the name of keys",
            Box::new(|t| {
                change(t, 0, |m| {
                    if let ToDealer::Credit(credit) = m {
                        credit.set = KeySetId(half(mixed))
                    }
                })
            }),
        ),
        (
            "a bit of a seed in a checkpoint that is held",
            Box::new(|t| {
                change(t, 1, |m| {
                    if let ToDealer::Held(held) = m {
                        held.id = id(held.id.step ^ 1)
                    }
                })
            }),
        ),
        (
            "a wish more",
            Box::new(|t| {
                change(t, 1, |m| {
                    if let ToDealer::Wants(wants) = m {
                        wants.push(mixed[0])
                    }
                })
            }),
        ),
        (
            "masks in an offer",
            Box::new(|t| {
                change(t, 2, |m| {
                    let ToParty::Offer(offer) = m;
                    offer.set = KeySetId(half(mixed))
                })
            }),
        ),
        (
            "a seed for an owner",
            Box::new(|t| {
                change(t, 0, |m| {
                    if let ToOwner::Bound(bound, _) = m {
                        bound.0.digest = mixed
                    }
                })
            }),
        ),
        (
            "a word more to an owner",
            Box::new(|t| {
                let again = t[1].iter().rfind(|said| said.to == Hearer::Owner).unwrap().clone();
                t[1].push(again);
            }),
        ),
        (
            "a word more to the dealer",
            Box::new(|t| {
                let bytes = to_stdvec(&ToDealer::Ended(id(8))).unwrap();
                t[0].push(Said { to: Hearer::Dealer, name: ToDealer::NAME, bytes });
            }),
        ),
        ("bytes behind a message", Box::new(|t| t[0].last_mut().unwrap().bytes.extend(mixed))),
        (
            "a word of the dealer to nobody",
            Box::new(|t| {
                let said = t[2][0].clone();
                t[0].push(said);
            }),
        ),
    ];
    let blind = Facts { secrets: vec![], ..facts.clone() };
    for (name, leak) in leaks {
        let mut leaking = transcript.clone();
        leak(&mut leaking);
        assert_ne!(leaking, transcript, "{name}: nothing was planted");
        assert!(judge(&blind, &leaking).is_err(), "{name}: not found");
    }
}

/// Changes the first message of a kind that `f` changes.
fn change<M: Message + Clone + PartialEq>(transcript: &mut Transcript, who: usize, f: impl Fn(&mut M)) {
    for said in transcript[who].iter_mut().filter(|said| said.name == M::NAME) {
        let Ok(message) = from_bytes::<M>(&said.bytes) else { continue };
        let mut changed = message.clone();
        f(&mut changed);
        if changed != message {
            said.bytes = to_stdvec(&changed).unwrap();
            return;
        }
    }
}
