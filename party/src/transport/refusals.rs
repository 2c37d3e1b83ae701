//! What is said of callers who do not get through: each reason once, and then how often it came again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a reason that was said is only counted.
pub(super) const EVERY: Duration = Duration::from_secs(10);

/// Why a caller did not get through, as far as the log tells reasons apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// It said nothing, or did not end its handshake in time.
    Silent,
    /// There were too many unfinished handshakes, and it was the oldest.
    Dismissed,
    /// Its key, or all keys together, have enough links.
    Crowded,
    /// Its key is not accepted.
    Uninvited,
    /// It does not accept ours.
    Unwanted,
    /// It speaks something else.
    Foreign,
    /// Its connection fell.
    Fell,
    /// The system gave no socket for it.
    NoSocket,
}

impl Why {
    fn words(self) -> &'static str {
        match self {
            Why::Silent => "were silent for too long",
            Why::Dismissed => "did not end their handshakes before too many others came",
            Why::Crowded => "were told to come back: they have, or all have, too many links",
            Why::Uninvited => "were refused: their keys are not accepted",
            Why::Unwanted => "do not accept this machine's key",
            Why::Foreign => "do not speak this wire version",
            Why::Fell => "fell before they were through",
            Why::NoSocket => "could not be taken by the system",
        }
    }
}

/// What was said, and how often it would have been said again.
#[derive(Default)]
pub(super) struct Refusals(Mutex<BTreeMap<Why, Said>>);

struct Said {
    since: Instant,
    more: u64,
}

/// A reason that came again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Again {
    why: Why,
    count: u64,
    within: Duration,
}

impl Refusals {
    fn said(&self) -> MutexGuard<'_, BTreeMap<Why, Said>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a caller; whether it is to be spoken of by itself.
    pub(super) fn is_news(&self, why: Why, now: Instant) -> bool {
        let mut said = self.said();
        match said.get_mut(&why) {
            Some(said) => {
                said.more += 1;
                false
            }
            None => {
                said.insert(why, Said { since: now, more: 0 });
                true
            }
        }
    }

    /// The counts that have waited for `age`, begun anew; reasons that did not come again are news again.
    pub(super) fn due(&self, now: Instant, age: Duration) -> Vec<Again> {
        let mut found = Vec::new();
        self.said().retain(|&why, said| {
            let within = now.saturating_duration_since(said.since);
            if within < age {
                return true;
            }
            let count = std::mem::take(&mut said.more);
            said.since = now;
            if count > 0 {
                found.push(Again { why, count, within });
            }
            count > 0
        });
        found
    }

    /// Logs what is due.
    pub(super) fn log(&self, age: Duration) {
        for Again { why, count, within } in self.due(Instant::now(), age) {
            tracing::warn!("{count} more callers {} within {} s", why.words(), within.as_secs().max(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_and_then_one_for_each_ten_seconds() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let news = (0..1560u64).filter(|&i| refusals.is_news(Why::Silent, at(i))).count();
        assert_eq!(news, 1);
        assert!(refusals.is_news(Why::Foreign, at(5)), "another reason is other news");
        assert_eq!(refusals.due(at(9_999), EVERY), []);
        let within = Duration::from_millis(10_100);
        assert_eq!(refusals.due(at(10_100), EVERY), [Again { why: Why::Silent, count: 1559, within }]);
        // Foreign came no more: it is news again. Silent goes on.
        assert!(refusals.is_news(Why::Foreign, at(10_200)));
        assert!(!refusals.is_news(Why::Silent, at(10_200)));
        assert_eq!(refusals.due(at(10_300), Duration::ZERO).len(), 1, "the rest at the end");
    }
}
