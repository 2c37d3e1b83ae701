//! What the parties' control messages take: the bill that a report's counters must equal.

use super::{Follow, Job, Lead, Piece, Reserved};
use crate::exit::ExitCode;
use crate::identity::Fingerprint;
use crate::messages::Message;
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
    pub fn add(&mut self, message: &impl Kind, bytes: usize) {
        let (kind, sets) = message.kind();
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

/// Payload bytes of a message of this kind that names no key set; `None` if there is no such kind. A list of key sets takes
/// [`SET`] bytes more for each, and one more from 128 on.
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
    find(&lead, kind).or_else(|| find(&follow, kind)).or_else(|| find(&reserved, kind))
}

/// Bytes that a key set takes in a list.
pub const SET: u64 = 64;

/// Whether these counters are what the kinds of messages take, for so many pieces of jobs that were run: nothing else was
/// said in their place. The first difference in words.
///
/// # Errors
/// The difference.
pub fn as_billed(sent: &[Sent], pieces: u64, me: usize) -> Result<(), String> {
    for s in sent {
        let each = length(&s.kind).ok_or_else(|| format!("`{}` is no kind of message", s.kind))?;
        let (least, lists) = (s.messages * each + s.sets * SET, s.messages * u64::from(s.sets > 0));
        if !(least..=least + lists).contains(&s.bytes) {
            return Err(format!("{} messages `{}` took {} bytes, not {least}", s.messages, s.kind, s.bytes));
        }
    }
    let count = |kind: &str| sent.iter().filter(|s| s.kind == kind).map(|s| s.messages).sum::<u64>();
    let runs = [count("run"), count("running")][me];
    if runs < pieces || (me == 1 && runs != pieces) {
        return Err(format!("{runs} pieces were led, {pieces} ran"));
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

    #[test]
    fn a_byte_more_is_noticed() {
        let mut counts = Counts::default();
        counts.add(&Lead::Run([1; 16], [2; 16], [3; 32]), 65);
        counts.add(&Lead::Sets(vec![]), 2);
        assert_eq!(as_billed(&counts.sent(), 1, 0), Ok(()));
        assert!(as_billed(&counts.sent(), 2, 0).is_err(), "a run without its message");
        counts.add(&Lead::Run([1; 16], [2; 16], [3; 32]), 65 + 32);
        assert!(as_billed(&counts.sent(), 2, 0).unwrap_err().contains("`run`"));
        let odd = Sent { kind: "seed".into(), messages: 1, bytes: 32, sets: 0 };
        assert!(as_billed(&[odd], 0, 0).unwrap_err().contains("no kind"));
    }
}
