//! Control messages: what two processes say to each other besides masked values.
//!
//! Every message is a versioned enum in postcard. The first one is the hello: before any byte that depends
//! on a secret, both parties compare what they are about to run, and both learn of the first difference.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::exit::{ExitCode, Failure, Phase};
use crate::jobs::{MOST_SETS, SetState};
use crate::transport::{Detail, Error, Label, Link, Role};

/// Version of the messages and of their order. Both sides must have the same.
pub const PROTOCOL_VERSION: u16 = 3;

/// A control message: one of a closed list, of a known greatest length.
pub trait Message: Serialize + DeserializeOwned {
    /// What it is called.
    const NAME: &'static str;
    /// Bytes of its longest encoding.
    const LONGEST: usize;
}

impl Link {
    /// Sends a control message.
    ///
    /// # Errors
    /// As [`Link::send_message`].
    pub fn say<M: Message>(&mut self, message: &M) -> Result<(), Error> {
        self.send_named(M::NAME, message)
    }
    /// Receives a control message, which must be no longer than its kind can be.
    ///
    /// # Errors
    /// As [`Link::recv_message`].
    pub fn hear<M: Message>(&mut self) -> Result<M, Error> {
        self.recv_message_within(M::LONGEST)
    }
}

/// What one party is about to run. Everything but `sets` and `nonce` must agree, roles by being opposite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the messages.
    pub protocol: u16,
    /// Version of the program.
    pub software: Label,
    /// Party 0 or party 1.
    pub role: Role,
    /// Ring bits, 32 or 64.
    pub ring_bits: u32,
    /// Fraction bits.
    pub fraction_bits: u32,
    /// Comparison, with its parameters.
    pub comparison: Label,
    /// Truncation mode.
    pub truncation: Label,
    /// Digest of the public graph.
    pub graph: [u8; 32],
    /// Digest of the plan: gates, shapes, record layouts.
    pub plan: [u8; 32],
    /// Its key sets, with cursors and the digests of the masked weights (never of weights). Those that both name are
    /// used, from the larger cursor on.
    pub sets: Vec<SetState>,
    /// Fresh randomness: both sides' name their meeting, which data owners are told of ([`Hello::meeting`]).
    pub nonce: [u8; 32],
}

/// A compared part of a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Field {
    /// [`Hello::protocol`].
    Protocol,
    /// [`Hello::software`].
    Software,
    /// [`Hello::role`].
    Role,
    /// [`Hello::ring_bits`].
    RingBits,
    /// [`Hello::fraction_bits`].
    FractionBits,
    /// [`Hello::comparison`].
    Comparison,
    /// [`Hello::truncation`].
    Truncation,
    /// [`Hello::graph`].
    Graph,
    /// [`Hello::plan`].
    Plan,
}

impl Field {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Field::Protocol => "protocol version",
            Field::Software => "software version",
            Field::Role => "role",
            Field::RingBits => "ring bits",
            Field::FractionBits => "fraction bits",
            Field::Comparison => "comparison",
            Field::Truncation => "truncation",
            Field::Graph => "graph",
            Field::Plan => "plan",
        }
    }

    /// Kind of failure when it differs.
    fn code(self) -> ExitCode {
        match self {
            Field::Protocol | Field::Software => ExitCode::Version,
            _ => ExitCode::PlanMismatch,
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Field::Protocol | Field::Software => "run the same version of twoply on both machines",
            Field::Role => "configure one machine as P0 and the other as P1",
            Field::RingBits | Field::FractionBits | Field::Comparison | Field::Truncation => {
                "use the same settings on both machines"
            }
            Field::Graph => "give both machines the same public graph file",
            Field::Plan => "plan again on both machines, with the same graph, batch and settings",
        }
    }
}

/// One part on which two hellos disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which part.
    pub field: Field,
    /// This side's value.
    pub mine: String,
    /// The other side's value.
    pub theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} here, {} there", self.field.name(), self.mine, self.theirs)
    }
}

impl Hello {
    /// One without names and key sets, as short as a hello is.
    pub(crate) fn unlabelled() -> Hello {
        let none = || Label::new("");
        Hello {
            protocol: PROTOCOL_VERSION,
            software: none(),
            role: Role::P0,
            ring_bits: 32,
            fraction_bits: 12,
            comparison: none(),
            truncation: none(),
            graph: [0; 32],
            plan: [0; 32],
            sets: vec![],
            nonce: [0; 32],
        }
    }

    /// The name of this meeting of two parties: fresh if either of them is honest, equal at both.
    pub fn meeting(&self, peer: &Hello) -> [u8; 32] {
        let mut nonces = [&self.nonce, &peer.nonce];
        if self.role == Role::P1 {
            nonces.reverse();
        }
        let mut hash = blake3::Hasher::new_derive_key("twoply 2026-11 meeting of two parties");
        nonces.iter().for_each(|nonce| {
            hash.update(*nonce);
        });
        *hash.finalize().as_bytes()
    }

    /// All differences, the one to report first in front: versions, then settings, then the digests, which
    /// differ as a consequence of settings. Both sides find the same fields.
    pub fn compare(&self, peer: &Hello) -> Vec<Difference> {
        let mut all = Vec::new();
        let mut note = |same: bool, field, mine: &dyn fmt::Display, theirs: &dyn fmt::Display| {
            if !same {
                all.push(Difference { field, mine: mine.to_string(), theirs: theirs.to_string() });
            }
        };
        let (a, b) = (self, peer);
        note(a.protocol == b.protocol, Field::Protocol, &a.protocol, &b.protocol);
        note(a.software == b.software, Field::Software, &a.software, &b.software);
        note(a.role.opposite(b.role), Field::Role, &a.role, &b.role);
        note(a.ring_bits == b.ring_bits, Field::RingBits, &a.ring_bits, &b.ring_bits);
        note(a.fraction_bits == b.fraction_bits, Field::FractionBits, &a.fraction_bits, &b.fraction_bits);
        note(a.comparison == b.comparison, Field::Comparison, &a.comparison, &b.comparison);
        note(a.truncation == b.truncation, Field::Truncation, &a.truncation, &b.truncation);
        note(a.graph == b.graph, Field::Graph, &Hex(&a.graph), &Hex(&b.graph));
        note(a.plan == b.plan, Field::Plan, &Hex(&a.plan), &Hex(&b.plan));
        all
    }
}

/// The first bytes of a digest: enough to tell two apart by eye.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The first exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Greeting {
    /// Of this version.
    V1(Hello),
}

impl Message for Greeting {
    const NAME: &'static str = "hello";
    const LONGEST: usize = 1 + 3 + 4 + 2 * 5 + 3 * (1 + Label::LONGEST) + 3 * 32 + 2 + 64 * MOST_SETS;
}

/// The second exchange: what each side makes of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// No difference.
    Agreed,
    /// This is the first one.
    Differs(Field),
}

impl Message for Verdict {
    const NAME: &'static str = "verdict";
    const LONGEST: usize = 2;
}

/// Exchanges hellos with the other party, and then verdicts. Returns the peer's hello only if both sides
/// found no difference; nothing else has crossed the link by then.
///
/// # Errors
/// [`ExitCode::Version`] or [`ExitCode::PlanMismatch`] naming the first difference; the link's own errors.
/// On a difference the peer has been told, so the link needs no further word.
pub fn hello(link: &mut Link, mine: Hello) -> Result<Hello, Failure> {
    exchange(link, mine).map_err(|failure| failure.during(Phase::Hello))
}

fn exchange(link: &mut Link, mine: Hello) -> Result<Hello, Failure> {
    let greeting = Greeting::V1(mine);
    link.say(&greeting).map_err(|e| Failure::on_link(e, link))?;
    let Greeting::V1(mine) = greeting;
    let Greeting::V1(theirs) = match link.hear() {
        Ok(greeting) => greeting,
        // Before anything else is agreed, a greeting that does not decode is another version's.
        Err(Error::Malformed { peer, .. }) => {
            return Err(Failure::from(Error::Version { peer, theirs: None }));
        }
        Err(error) => return Err(Failure::on_link(error, link)),
    };
    let first = mine.compare(&theirs).into_iter().next();
    let verdict = first.as_ref().map_or(Verdict::Agreed, |first| Verdict::Differs(first.field));
    link.say(&verdict).map_err(|e| Failure::on_link(e, link))?;
    let answer = link.hear::<Verdict>();
    if let Some(first) = first {
        // Both sides know by now, whatever the peer's verdict was or whether it came.
        return Err(differs(first.field, format!("both parties must agree, but {first}"), link));
    }
    match answer {
        Ok(Verdict::Agreed) => Ok(theirs),
        Ok(Verdict::Differs(field)) => Err(differs(
            field,
            format!("the peer reports a difference in {} that this side does not see", field.name()),
            link,
        )),
        Err(error) => Err(Failure::on_link(error, link)),
    }
}

fn differs(field: Field, what: String, link: &Link) -> Failure {
    Failure::new(field.code(), what)
        .remedy(field.remedy())
        .with_peer(link.name())
        .with_detail(Detail::Item(Label::new(field.name())))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use twoply_primitives::KeySetId;

    fn state(set: u8, cursor: u64) -> SetState {
        SetState { key_set: KeySetId([set; 16]), cursor, dealt: 100, weights: [3; 32] }
    }

    /// A hello for tests.
    pub(crate) fn sample(role: Role) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            software: "0.1.0".into(),
            role,
            ring_bits: 32,
            fraction_bits: 12,
            comparison: "digits 8".into(),
            truncation: "exact".into(),
            graph: [1; 32],
            plan: [2; 32],
            sets: vec![state(5, 6)],
            nonce: [7; 32],
        }
    }

    #[test]
    fn every_field_is_compared_and_named_on_both_sides() {
        let mine = sample(Role::P0);
        let theirs = sample(Role::P1);
        assert_eq!(mine.compare(&theirs), []);
        type Change = fn(&mut Hello);
        let changes: [(Field, Change); 10] = [
            (Field::Protocol, |h| h.protocol += 1),
            (Field::Software, |h| h.software = "0.2.0".into()),
            (Field::Role, |h| h.role = Role::P0),
            (Field::Role, |h| h.role = Role::Client),
            (Field::RingBits, |h| h.ring_bits = 64),
            (Field::FractionBits, |h| h.fraction_bits = 13),
            (Field::Comparison, |h| h.comparison = "dpf".into()),
            (Field::Truncation, |h| h.truncation = "local".into()),
            (Field::Graph, |h| h.graph[31] ^= 1),
            (Field::Plan, |h| h.plan[0] ^= 1),
        ];
        for (field, change) in changes {
            let mut theirs = theirs.clone();
            change(&mut theirs);
            let here: Vec<Field> = mine.compare(&theirs).iter().map(|d| d.field).collect();
            let there: Vec<Field> = theirs.compare(&mine).iter().map(|d| d.field).collect();
            assert_eq!(here, [field]);
            assert_eq!(there, [field]);
        }
    }

    #[test]
    fn both_sides_name_their_meeting_alike_and_every_nonce_counts() {
        let zero = Hello { nonce: [1; 32], ..sample(Role::P0) };
        let one = Hello { nonce: [2; 32], ..sample(Role::P1) };
        let name = zero.meeting(&one);
        assert_eq!(name, one.meeting(&zero));
        for (a, b) in [([1; 32], [3; 32]), ([3; 32], [2; 32]), ([2; 32], [1; 32])] {
            let (zero, one) = (Hello { nonce: a, ..zero.clone() }, Hello { nonce: b, ..one.clone() });
            assert_ne!(zero.meeting(&one), name);
        }
    }

    #[test]
    fn key_sets_and_nonce_may_differ() {
        let theirs = Hello { sets: vec![state(4, 0), state(5, 99)], nonce: [0; 32], ..sample(Role::P1) };
        assert_eq!(sample(Role::P0).compare(&theirs), []);
    }

    #[test]
    fn the_longest_hello_is_no_longer_than_its_cap() {
        let long = |text: char| Label::new(&text.to_string().repeat(Label::LONGEST));
        let hello = Hello {
            protocol: u16::MAX,
            software: long('a'),
            ring_bits: u32::MAX,
            fraction_bits: u32::MAX,
            comparison: long('b'),
            truncation: long('c'),
            sets: vec![state(255, u64::MAX); MOST_SETS],
            ..sample(Role::Probe)
        };
        let length = postcard::to_stdvec(&Greeting::V1(hello)).unwrap().len();
        assert!((Greeting::LONGEST - 5..=Greeting::LONGEST).contains(&length), "{length}");
    }

    #[test]
    fn settings_are_named_before_the_digests_they_change() {
        let mut theirs = sample(Role::P1);
        theirs.plan = [9; 32];
        theirs.ring_bits = 64;
        let all = sample(Role::P0).compare(&theirs);
        assert_eq!(all[0].to_string(), "ring bits: 32 here, 64 there");
        assert_eq!(all[1].to_string(), "plan: 0202020202020202 here, 0909090909090909 there");
    }

    #[test]
    fn hostile_hellos_do_not_decode_or_do_no_harm() {
        let good = postcard::to_stdvec(&Greeting::V1(sample(Role::P0))).unwrap();
        for length in 0..good.len() {
            assert!(postcard::from_bytes::<Greeting>(&good[..length]).is_err(), "{length}");
        }
        let mut wrong = good.clone();
        wrong[0] = 1;
        assert!(postcard::from_bytes::<Greeting>(&wrong).is_err(), "an unknown version");
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut wrong = good.clone();
                wrong[at] ^= 1 << bit;
                if let Ok(Greeting::V1(hello)) = postcard::from_bytes(&wrong) {
                    assert!(hello.software.as_str().is_ascii());
                }
            }
        }
    }
}
