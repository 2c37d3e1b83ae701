//! What the parties' control messages take: the bill that a report's counters must equal.

use super::{Follow, Job, Lead, Piece, Reserved};
use crate::exit::ExitCode;
use crate::identity::Fingerprint;
use crate::messages::{Greeting, Hello, Message, Verdict};
use crate::report::Report;
use crate::transport::Label;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use twoply_primitives::KeySetId;

/// Messages of one kind that a party sent to the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Kind of message.
    pub kind: Cow<'static, str>,
    /// How many.
    pub messages: u64,
    /// Payload bytes of all.
    pub bytes: u64,
    /// Key sets named in them.
    pub sets: u64,
}

/// Counts of control messages by kind.
#[derive(Clone, Debug, Default)]
pub struct Counts(BTreeMap<&'static str, Sent>);

impl Counts {
    /// One message more.
    pub fn add(&mut self, message: &impl Kind) {
        let bytes = postcard::to_stdvec(message).unwrap_or_default().len();
        self.note(message.kind(), bytes);
    }
    fn note(&mut self, (kind, sets): (&'static str, usize), bytes: usize) {
        let sent = self.0.entry(kind).or_default();
        sent.kind = kind.into();
        (sent.messages, sent.bytes) = (sent.messages + 1, sent.bytes + bytes as u64);
        sent.sets += sets as u64;
    }
    /// All kinds, by name.
    pub fn sent(&self) -> Vec<Sent> {
        self.0.values().cloned().collect()
    }
}

/// A message between parties, with the name it is billed under and the number of key sets it lists.
pub trait Kind: Message {
    /// Name and key sets.
    fn kind(&self) -> (&'static str, usize);
}

impl Kind for Lead {
    fn kind(&self) -> (&'static str, usize) {
        match self {
            Lead::Sets(sets) => ("sets", sets.len()),
            Lead::Bind(..) => ("bind", 0),
            Lead::Grant(..) => ("grant", 0),
            Lead::Run(..) => ("run", 0),
            Lead::Drop(..) => ("drop", 0),
            Lead::Bye => ("bye", 0),
        }
    }
}

impl Kind for Follow {
    fn kind(&self) -> (&'static str, usize) {
        match self {
            Follow::Sets(sets) => ("sets", sets.len()),
            Follow::Ready => ("ready", 0),
            Follow::NotYet => ("not yet", 0),
            Follow::Refused(_) => ("refused", 0),
            Follow::Running(..) => ("running", 0),
        }
    }
}

impl Kind for Reserved {
    fn kind(&self) -> (&'static str, usize) {
        (Reserved::NAME, 0)
    }
}

impl Kind for Greeting {
    fn kind(&self) -> (&'static str, usize) {
        let Greeting::V1(hello) = self;
        (Greeting::NAME, hello.sets.len())
    }
}

impl Kind for Verdict {
    fn kind(&self) -> (&'static str, usize) {
        (Verdict::NAME, 0)
    }
}

/// Kinds that each party sends, besides those that both do.
const ONLY: [&[&str]; 2] =
    [&["bind", "grant", "run", "drop", "bye"], &["ready", "not yet", "refused", "running"]];

/// Payload bytes of a message of this kind that names no key set; `None` if there is no such kind. A list of key sets takes
/// [`SET`] bytes more for each, and one more from 128 on; a hello takes what its labels have, which both parties must
/// say alike.
pub fn length(kind: &str) -> Option<u64> {
    let (job, set) = (Job { id: [0; 16], plan: [0; 32], images: 0 }, KeySetId([0; 16]));
    let piece = Piece { key_set: set, first: 0, images: 0, weights: [0; 32], from: 0, to: 0 };
    let lead = [
        Lead::Sets(vec![]),
        Lead::Bind(set, [0; 32]),
        Lead::Grant(job, Fingerprint::of_spki(b""), piece),
        Lead::Run([0; 16], [0; 16], [0; 32]),
        Lead::Drop([0; 16], ExitCode::Internal.into()),
        Lead::Bye,
    ];
    let follow = [
        Follow::Ready,
        Follow::NotYet,
        Follow::Refused(ExitCode::Internal.into()),
        Follow::Running([0; 16], [0; 32]),
    ];
    let reserved = [Reserved { key_set: set, from: 0, to: 0 }];
    fn find(all: &[impl Kind], kind: &str) -> Option<u64> {
        let found = all.iter().find(|m| m.kind().0 == kind)?;
        Some(postcard::to_stdvec(found).ok()?.len() as u64)
    }
    let hello = find(&[Greeting::V1(Hello::unlabelled())], kind).or_else(|| find(&[Verdict::Agreed], kind));
    find(&lead, kind).or_else(|| find(&follow, kind)).or_else(|| find(&reserved, kind)).or(hello)
}

/// Most bytes of a hello's names of the program's version, the comparison and the truncation.
const LABELS: u64 = 3 * Label::LONGEST as u64;

/// Payload bytes of a piece's messages that P0 and P1 send, and of those that each sends where images are reserved for it.
pub fn piece() -> ([u64; 2], u64) {
    let sum = |kinds: [&str; 2]| kinds.into_iter().filter_map(length).sum();
    ([sum(["grant", "run"]), sum(["ready", "running"])], length(Reserved::NAME).unwrap_or_default())
}

/// Bytes that a key set takes in a list.
pub const SET: u64 = 64;

/// Bytes of the digest of all that was said that ends a run.
const TRANSCRIPT: u64 = 32;

fn count(sent: &[Sent], kind: &str) -> u64 {
    sent.iter().filter(|s| s.kind == kind).map(|s| s.messages).sum()
}

/// Whether these counters of party `me` are what the kinds of messages take, for so many pieces of jobs that were run:
/// nothing else was said in their place.
///
/// # Errors
/// The first difference in words.
pub fn as_billed(sent: &[Sent], pieces: u64, me: usize) -> Result<(), String> {
    for s in sent {
        let each = length(&s.kind).ok_or_else(|| format!("`{}` is no kind of message", s.kind))?;
        if ONLY[1 - me].contains(&&*s.kind) {
            return Err(format!("`{}` is no message of P{me}", s.kind));
        }
        let (least, lists) = (s.messages * each + s.sets * SET, s.messages * u64::from(s.sets > 0));
        let labels = s.messages * if s.kind == Greeting::NAME { LABELS } else { 0 };
        if !(least..=least + lists + labels).contains(&s.bytes) {
            return Err(format!("{} messages `{}` took {} bytes, not {least}", s.messages, s.kind, s.bytes));
        }
    }
    let runs = count(sent, ["run", "running"][me]);
    let granted = count(sent, ["grant", "ready"][me]);
    if runs < pieces || (me == 1 && runs != pieces) || granted < pieces {
        return Err(format!("{granted} pieces were granted and {runs} led, {pieces} ran"));
    }
    Ok(())
}

/// Whether both parties' reports of `runs` runs, none of which broke off, are paid for to the byte: each message is one of
/// the list, each question has its answer, and nothing else went over their link than gates, messages and the digests that
/// end runs.
///
/// # Errors
/// The first difference in words.
pub fn settled(report: &Report, runs: u64) -> Result<(), String> {
    let [p0, p1] = &report.control;
    for (me, sent) in [p0, p1].into_iter().enumerate() {
        as_billed(sent, runs, me).map_err(|why| format!("P{me}: {why}"))?;
        let control = sent.iter().map(|s| s.bytes).sum::<u64>();
        let known = report.bytes_sent[me].map(|gates| gates + control + TRANSCRIPT * runs);
        if report.peer_bytes[me] != known {
            let all = report.peer_bytes[me];
            return Err(format!("P{me} sent {all:?} bytes, of which {known:?} are accounted for"));
        }
    }
    let sum = |sent: &[Sent], kinds: &[&str]| kinds.iter().map(|kind| count(sent, kind)).sum::<u64>();
    let asked = sum(p0, &["sets", "bind", "grant", "run"]);
    let answered = sum(p1, &["sets", "ready", "not yet", "refused", "running"]);
    // P1 may stop before it answers
    let meetings = count(p0, Greeting::NAME);
    if !(answered..=answered + meetings).contains(&asked) {
        return Err(format!("P0 asked {asked} times, P1 answered {answered} times"));
    }
    for kind in [Greeting::NAME, Verdict::NAME, Reserved::NAME] {
        let both = [p0, p1].map(|sent| count(sent, kind));
        if both[0] != both[1] {
            return Err(format!("`{kind}` was said {} times by P0 and {} times by P1", both[0], both[1]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;
    use crate::transport::CONTROL_CAP;

    fn encoded(message: &impl Message) -> usize {
        postcard::to_stdvec(message).unwrap().len()
    }

    /// The longest of each kind is as long as its cap says, whatever the numbers in it.
    #[test]
    fn caps_are_the_longest_encodings() {
        let set = KeySetId([255; 16]);
        let job = Job { id: [255; 16], plan: [255; 32], images: u32::MAX };
        let state = SetState { key_set: set, cursor: u64::MAX, dealt: u64::MAX, weights: [255; 32] };
        let all = vec![state; MOST_SETS];
        assert_eq!(encoded(&Lead::Sets(all.clone())), Lead::LONGEST);
        assert_eq!(encoded(&Follow::Sets(all)), Follow::LONGEST);
        assert_eq!(encoded(&Request::Infer(job)), Request::LONGEST);
        assert_eq!(encoded(&Stock { images: u64::MAX }), Stock::LONGEST);
        let grant =
            Grant { key_set: set, first: u64::MAX, images: u32::MAX, cursor: u64::MAX, meeting: [255; 32] };
        assert_eq!(encoded(&grant), Grant::LONGEST);
        assert_eq!(encoded(&WeightSets { key_sets: vec![set; MOST_SETS] }), WeightSets::LONGEST);
        assert_eq!(encoded(&Provision::Bind([255; 32])), Provision::LONGEST);
        assert_eq!(encoded(&Reserved { key_set: set, from: u64::MAX, to: 0 }), Reserved::LONGEST);
        let about = About {
            protocol: u16::MAX,
            software: Label::new(&"x".repeat(Label::LONGEST)),
            plan: [255; 32],
            provisioned: true,
            met: true,
            sets: u32::MAX,
            images: u64::MAX,
            concern: Concern::Damaged,
            clock: u64::MAX,
        };
        assert_eq!(encoded(&about), About::LONGEST);
        assert!([Lead::LONGEST, Follow::LONGEST, WeightSets::LONGEST].iter().all(|&l| l <= CONTROL_CAP));
    }

    /// A message is as long whatever it says, but for lists.
    #[test]
    fn lengths_do_not_depend_on_content() {
        let job = |byte, images| Job { id: [byte; 16], plan: [byte; 32], images };
        for (byte, number) in [(0, 0), (1, 127), (255, u64::MAX)] {
            let set = KeySetId([byte; 16]);
            let piece = Piece {
                key_set: set,
                first: number,
                images: number as u32,
                weights: [byte; 32],
                from: number,
                to: number,
            };
            let grant = Lead::Grant(job(byte, number as u32), Fingerprint::of_spki(&[byte]), piece);
            assert_eq!(Some(encoded(&grant) as u64), length("grant"));
            let reserved = Reserved { key_set: set, from: number, to: number };
            assert_eq!(Some(encoded(&reserved) as u64), length("reserved"));
            let state = SetState { key_set: set, cursor: number, dealt: number, weights: [byte; 32] };
            let (some, none) = (encoded(&Lead::Sets(vec![state; 3])), encoded(&Lead::Sets(vec![])));
            assert_eq!((some - none) as u64, 3 * SET);
        }
    }

    /// So it is with what owners and probes are told, but for lists and the name of the version.
    #[test]
    fn nor_do_those_of_words_to_owners() {
        for (byte, number) in [(0, 0), (1, 127), (255, u64::MAX)] {
            let key_set = KeySetId([byte; 16]);
            let images = number as u32;
            let grant = Grant { key_set, first: number, images, cursor: number, meeting: [byte; 32] };
            assert_eq!(encoded(&grant), 16 + 8 + 4 + 8 + 32);
            assert_eq!(encoded(&Stock { images: number }), 8);
            assert_eq!(encoded(&WeightSets { key_sets: vec![key_set; 3] }), 1 + 3 * 16);
            assert_eq!(encoded(&Provision::Open(key_set)), 17);
            assert_eq!(encoded(&Provision::Bind([byte; 32])), 33);
            assert_eq!(encoded(&Provision::Bound) + encoded(&Provision::Stored), 2);
            let about = About {
                protocol: number as u16,
                software: Label::new("0.1.0"),
                plan: [byte; 32],
                provisioned: byte > 0,
                met: byte > 0,
                sets: images,
                images: number,
                concern: Concern::Cloned,
                clock: number,
            };
            assert_eq!(encoded(&about), 2 + 6 + 32 + 2 + 4 + 8 + 1 + 8);
            let state = SetState { key_set, cursor: number, dealt: number, weights: [byte; 32] };
            let (graph, plan, nonce, sets) = ([byte; 32], [byte; 32], [byte; 32], vec![state; 2]);
            let hello = Hello { graph, plan, nonce, sets, ..Hello::unlabelled() };
            assert_eq!(encoded(&Greeting::V1(hello)) as u64, length("hello").unwrap() + 2 * SET);
        }
        // Its variant, seven short fields, three digests, and no key sets.
        assert_eq!((length("hello"), length("verdict")), (Some(1 + 7 + 3 * 32 + 1), Some(1)));
    }

    /// A report of one run of `gates` bytes each way, as `change` leaves it.
    fn report(change: impl FnOnce(&mut [Counts; 2], &mut [u64; 2])) -> Report {
        let (mut counts, mut sent) = ([Counts::default(), Counts::default()], [1000; 2]);
        let piece =
            Piece { key_set: KeySetId([1; 16]), first: 0, images: 1, weights: [1; 32], from: 0, to: 2 };
        let job = Job { id: [1; 16], plan: [1; 32], images: 2 };
        for one in &mut counts {
            one.add(&Greeting::V1(Hello::unlabelled()));
            one.add(&Verdict::Agreed);
            one.add(&Reserved { key_set: KeySetId([1; 16]), from: 0, to: 2 });
        }
        counts[0].add(&Lead::Grant(job, Fingerprint::of_spki(b""), piece));
        counts[1].add(&Follow::Ready);
        counts[0].add(&Lead::Run([1; 16], [2; 16], [3; 32]));
        counts[1].add(&Follow::Running([2; 16], [3; 32]));
        for me in 0..2 {
            sent[me] += TRANSCRIPT + counts[me].sent().iter().map(|s| s.bytes).sum::<u64>();
        }
        change(&mut counts, &mut sent);
        let control = [counts[0].sent(), counts[1].sent()];
        Report { control, bytes_sent: [Some(1000); 2], peer_bytes: sent.map(Some), ..Report::default() }
    }

    #[test]
    fn whatever_is_said_besides_is_on_no_bill() {
        assert_eq!(settled(&report(|_, _| ()), 1), Ok(()));
        let why = |report| settled(&report, 1).unwrap_err();
        // a seed that is sent past the counters
        assert!(why(report(|_, sent| sent[1] += 32)).contains("accounted for"));
        // an answer to nothing, and a question more
        let extra = report(|counts, sent| {
            counts[1].add(&Follow::NotYet);
            sent[1] += 1;
        });
        assert!(why(extra).contains("answered 3 times"));
        let extra = report(|counts, sent| {
            (0..2).for_each(|_| counts[0].add(&Lead::Bind(KeySetId([9; 16]), [9; 32])));
            sent[0] += 2 * 49;
        });
        assert!(why(extra).contains("asked 4 times"));
        let extra = report(|counts, sent| {
            counts[0].add(&Reserved { key_set: KeySetId([9; 16]), from: 9, to: 9 });
            sent[0] += 32;
        });
        assert!(why(extra).contains("`reserved`"));
    }

    #[test]
    fn a_byte_more_is_noticed() {
        let mut counts = Counts::default();
        let piece =
            Piece { key_set: KeySetId([1; 16]), first: 0, images: 1, weights: [1; 32], from: 0, to: 0 };
        let job = Job { id: [1; 16], plan: [1; 32], images: 2 };
        (0..2).for_each(|_| counts.add(&Lead::Grant(job, Fingerprint::of_spki(b""), piece)));
        counts.add(&Lead::Run([1; 16], [2; 16], [3; 32]));
        counts.add(&Lead::Sets(vec![]));
        assert_eq!(as_billed(&counts.sent(), 1, 0), Ok(()));
        assert!(as_billed(&counts.sent(), 2, 0).is_err(), "a run without its message");
        counts.note(("run", 0), 65 + 32);
        assert!(as_billed(&counts.sent(), 2, 0).unwrap_err().contains("`run`"));
        let odd = Sent { kind: "seed".into(), messages: 1, bytes: 32, sets: 0 };
        assert!(as_billed(&[odd], 0, 0).unwrap_err().contains("no kind"));
        let mut counts = Counts::default();
        counts.add(&Follow::NotYet);
        assert_eq!(as_billed(&counts.sent(), 0, 1), Ok(()));
        assert!(as_billed(&counts.sent(), 0, 0).unwrap_err().contains("no message of P0"));
    }
}
