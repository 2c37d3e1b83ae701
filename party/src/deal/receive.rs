//! The party's side of a deal over the network.

use super::wire::{ASK, Answer, Greeting, Held, Offer, SET_KEY, ToDealer, ToParty};
use super::{Told, room};
use crate::exit::{ExitCode, Failure, Phase};
use crate::transport::{Error, Link, Role};
use std::io::pipe;
use std::path::{Path, PathBuf};
use std::time::Duration;
use twoply_nn::Plan;
use twoply_nn::roles::masked_weights_len;
use twoply_preprocessing::{Cut, KeyDir, KeySet, Segment, SegmentState, Trained, Wanted};
use twoply_primitives::{Channel, KeySetId};
use zeroize::Zeroizing;

/// Longest pause of a dealer between two messages: it may be making a large segment. A dealer that died is noticed by
/// the transport within its idle timeout.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Time for the last words.
const GOODBYE: Duration = Duration::from_secs(20);

/// What a dealer brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// The key set.
    pub key_set: KeySetId,
    /// Images of the key set.
    pub images: u64,
    /// Segments that came now.
    pub segments: u32,
    /// Their bytes.
    pub bytes: u64,
}

/// Takes keys for `plan` into `keys` from the dealer at the other end of `link`, and ends the link. What is there is
/// kept; a key set whose delivery was cut short goes on. `insecure` accepts keys from a test seed. `told` is called
/// with the bytes received so far. A party may run meanwhile: it uses segments as they come.
///
/// # Errors
/// 6 or 9 when the keys are for another plan or party or from a test seed; 16 when the disk refuses; 4, 14 when the
/// dealer goes away. Both sides are told.
pub fn receive(
    mut link: Link,
    plan: &Plan,
    keys: &KeyDir,
    insecure: bool,
    told: &mut Told<'_>,
) -> Result<Received, Failure> {
    link.set_patience(PATIENCE);
    let store = Store { plan, keys, insecure };
    match store.take(&mut link, told) {
        Ok(received) => match link.close(GOODBYE) {
            // The keys are here and durable; how the dealer takes its leave does not matter.
            Ok(()) | Err(_) => Ok(received),
        },
        Err(failure) => {
            let failure = failure.during(Phase::Deal);
            let (reason, detail) = failure.reason();
            link.abort(reason, detail);
            Err(failure)
        }
    }
}

/// Where keys go, and what is taken.
struct Store<'a> {
    plan: &'a Plan,
    keys: &'a KeyDir,
    insecure: bool,
}

impl Store<'_> {
    fn take(&self, link: &mut Link, told: &mut Told<'_>) -> Result<Received, Failure> {
        if link.role() != Role::Dealer {
            let what = format!("{} called where a dealer is expected", link.name());
            return Err(Failure::new(ExitCode::Identity, what).with_peer(link.name()));
        }
        let (offer, trained) = greet(link)?;
        let set = self.begin(link, &offer, trained)?;
        let mut received = Received { key_set: offer.key_set, images: offer.images, segments: 0, bytes: 0 };
        loop {
            match link.recv_message().map_err(|e| Failure::on_link(e, link))? {
                ToParty::Ask { from, count } => {
                    let answer = ToDealer::Holds(self.holds(&set, from, count)?);
                    link.send_message(&answer).map_err(|e| Failure::on_link(e, link))?;
                }
                ToParty::Segment { segment, id, bytes } => {
                    let before = received.bytes;
                    segment_from(link, &set, (segment, bytes), &mut |now| told(before + now))?;
                    if self.open(&set, segment)?.header().id != id {
                        let what = format!("segment {segment} is not the one that the dealer announced");
                        return Err(Failure::new(ExitCode::KeysSpent, what));
                    }
                    received.segments += 1;
                    received.bytes += bytes;
                    stored(link)?;
                }
                ToParty::Done => {
                    stored(link)?;
                    return Ok(received);
                }
            }
        }
    }

    /// Answers the offer, takes `set.key` if it is not there, and opens the key set.
    fn begin(&self, link: &mut Link, offer: &Offer, trained: Option<Trained>) -> Result<KeySet, Failure> {
        if let Some((answer, failure)) = self.refuse(offer)? {
            link.send_message(&answer).map_err(|e| Failure::on_link(e, link))?;
            return Err(failure.with_peer(link.name()));
        }
        let keys = self.keys;
        let cut = Cut::new(offer.images, offer.segment_images)?;
        let folder = keys.path(offer.key_set);
        keys.clear_stillborn(offer.key_set, cut)?;
        let begun = folder.exists();
        self.enough(offer.key_set, cut)?;
        link.send_message(&Answer::Agreed { begun }).map_err(|e| Failure::on_link(e, link))?;
        if !begun {
            let weights = masked_weights_len(&self.plan.program()?) as u64;
            if trained.is_some_and(|trained| trained.bytes != weights) {
                return Err(other_set("the dealer's trained weights are not those of this plan's network"));
            }
            let len = trained.map_or(SET_KEY, |trained| trained.file_bytes() as usize);
            link.admit(len);
            let bytes = Zeroizing::new(link.recv(len).map_err(|e| Failure::on_link(e, link))?);
            let arrived = keys.receive_set(&mut &bytes[..], weights)?;
            if arrived != offer.key_set {
                return Err(other_set("the key set that arrived is not the one announced"));
            }
            stored(link)?;
        }
        let set = keys.key_set(offer.key_set, self.plan.digest()?, self.plan.layout(), self.insecure)?;
        if set.cut() != cut {
            return Err(other_set("the key set here has other images or segments than the dealer's"));
        }
        if set.trained() != trained {
            return Err(other_set("the key set here is for other weights than the dealer's"));
        }
        Ok(set)
    }

    /// Whether the disk has room for this party's half, beside what is there of it.
    fn enough(&self, key_set: KeySetId, cut: Cut) -> Result<(), Failure> {
        let whole = room::key_files(self.plan, cut)?[self.keys.party().index()];
        // nothing is there yet, or it is found damaged when it is opened
        let there = self.keys.summary(key_set).map_or(0, |summary| {
            let gone = summary.segments.iter().filter(|s| s.state == SegmentState::Erased);
            let size = |images| self.plan.layout().file_bytes(self.keys.party(), images).unwrap_or(0);
            summary.bytes + gone.map(|s| size(s.images as u32)).sum::<u64>()
        });
        room::enough(&self.keys.path(key_set), whole.saturating_sub(there)).map(|_| ())
    }

    /// Why an offer is not taken: the answer for the dealer, and the failure here.
    fn refuse(&self, offer: &Offer) -> Result<Option<(Answer, Failure)>, Failure> {
        let (me, mine) = (self.keys.party(), self.plan.digest()?);
        let refusal =
            |answer, code, what: String, remedy| Some((answer, Failure::new(code, what).remedy(remedy)));
        Ok(if offer.party != me {
            let what = format!("the dealer brings the keys of {}, this is {me}", offer.party);
            let remedy = "exchange the dealer's --p0 and --p1, or this party's role";
            refusal(Answer::OtherParty(me), ExitCode::Config, what, remedy)
        } else if offer.plan != mine {
            let what = format!("the dealer brings keys for plan {}, this party runs plan {mine}", offer.plan);
            let remedy = "give dealer and party the same plan file";
            refusal(Answer::OtherPlan(mine), ExitCode::PlanMismatch, what, remedy)
        } else if offer.insecure && !self.insecure {
            let what = "the dealer brings keys from --insecure-test-seed, worth nothing as secrets".into();
            let remedy = "deal without it, or start this side with --insecure-test-seed too";
            refusal(Answer::Insecure, ExitCode::KeysSpent, what, remedy)
        } else {
            None
        })
    }

    /// What is held of `count` segments from `from` on.
    fn holds(&self, set: &KeySet, from: u32, count: u32) -> Result<Vec<Held>, Failure> {
        let all = set.cut().segments();
        let Some(end) = from.checked_add(count).filter(|&end| end <= all && count <= ASK) else {
            let what = format!("the dealer asks for {count} segments from {from} on, of {all}");
            return Err(Failure::new(ExitCode::PlanMismatch, what));
        };
        let next = set.tally()?.next;
        let held = |segment: u32| {
            if set.cut().range(segment).is_some_and(|range| range.end <= next) {
                return Ok(Held::Spent);
            }
            match self.open(set, segment) {
                Ok(open) => Ok(Held::Whole(open.header().id)),
                // Missing or damaged: it comes again. A refusal of the system will not go away by that.
                Err(failure) if failure.code() == ExitCode::System => Err(failure),
                Err(_) => Ok(Held::Nothing),
            }
        };
        (from..end).map(held).collect()
    }

    /// Opens a segment of a set; its index is checked, its tiles were when it came.
    fn open(&self, set: &KeySet, segment: u32) -> Result<Segment, Failure> {
        let path = segment_file(&self.keys.path(set.id()), segment);
        let plan = Some(self.plan.digest()?);
        let wanted = Wanted { party: set.party(), key_set: set.id(), plan, insecure: self.insecure };
        Ok(Segment::open(&path, &wanted, set.cut(), segment, &self.plan.layout())?)
    }
}

fn stored(link: &mut Link) -> Result<(), Failure> {
    link.send_message(&ToDealer::Stored).map_err(|e| Failure::on_link(e, link))
}

/// What the dealer brings, and the trained weights that it is for, if it is for such.
fn greet(link: &mut Link) -> Result<(Offer, Option<Trained>), Failure> {
    match link.recv_message() {
        Ok(Greeting::V1(offer)) => Ok((offer, None)),
        Ok(Greeting::V2(offer, weights)) => Ok((offer, Some(weights.into()))),
        // Before anything is agreed, a greeting that does not decode is another version's.
        Err(Error::Malformed { peer, .. }) => Err(Error::Version { peer, theirs: None }.into()),
        Err(error) => Err(Failure::on_link(error, link)),
    }
}

fn other_set(what: &str) -> Failure {
    Failure::new(ExitCode::KeysSpent, what).remedy("deal a new key set")
}

/// Name of a segment's file within its key set.
pub(super) fn segment_file(folder: &Path, segment: u32) -> PathBuf {
    folder.join(format!("seg-{segment:05}.key"))
}

/// Takes one segment: the link writes into a pipe, the key store reads from it, verifies and names it.
fn segment_from(
    link: &mut Link,
    set: &KeySet,
    (segment, bytes): (u32, u64),
    told: &mut Told<'_>,
) -> Result<(), Failure> {
    let (mut from, mut to) = pipe().map_err(|e| Failure::io("make", "a pipe", &e))?;
    let (sent, kept) = std::thread::scope(|scope| {
        let keeper = scope.spawn(move || set.receive(segment, &mut from));
        let sent = link.recv_to_file(&mut to, bytes, told);
        drop(to);
        (sent, keeper.join())
    });
    match (kept, sent) {
        (Ok(Ok(found)), Ok(())) if found == bytes => Ok(()),
        // who took all that the plan says reads no further
        (Ok(Ok(found)), Ok(()) | Err(Error::File { .. })) => {
            let what =
                format!("the dealer announced {bytes} bytes for segment {segment}, the plan says {found}");
            Err(Failure::new(ExitCode::PlanMismatch, what))
        }
        // A broken pipe here is the key store's doing, a short stream there is the link's.
        (Ok(Err(kept)), Err(Error::File { .. }) | Ok(())) => Err(kept.into()),
        (_, Err(sent)) => Err(Failure::on_link(sent, link)),
        (Err(_), Ok(())) => Err(Failure::new(ExitCode::Internal, "storing a segment panicked")),
    }
}
