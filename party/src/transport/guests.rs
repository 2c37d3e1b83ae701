//! How many callers there may be at once, over both transports together, and who goes when there are too many.
//!
//! Two budgets. *Unfinished* callers have proved nothing yet: there are few, they have little time, and when there are
//! too many the oldest goes, so that whoever is honest, and done in some round trips, always gets in. Many honest
//! callers may share one address behind a NAT, so that one address may hold all places as long as half of them are
//! free; only then it keeps a few, of which again the oldest goes. *Links* have proved a key that is listed: more than
//! there is room for are told to come back. Parties whose keys are reserved need no room, and a new link of such a
//! key takes the place of an older one in the same role: its peer is back, and the older one is dead.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::Limits;
use super::inbox::Inbox;
use super::preamble::Role;
use crate::identity::Fingerprint;

/// Everybody who is here.
pub(super) struct Guests {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// The oldest first.
    unfinished: BTreeMap<u64, Stranger>,
    links: HashMap<u64, Known>,
}

struct Stranger {
    from: IpAddr,
    spoke: bool,
    go: Arc<Notify>,
}

struct Known {
    key: Fingerprint,
    role: Role,
    inbox: Weak<Inbox>,
}

/// One caller's place, until it is dropped.
pub(super) struct Ticket {
    guests: Arc<Guests>,
    id: u64,
    go: Arc<Notify>,
}

impl Guests {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether half of the places for unfinished callers are taken: addresses are to be proved, and share no more.
    pub(super) fn is_pressed(&self) -> bool {
        self.state().unfinished.len() >= self.limits.unfinished.div_ceil(2)
    }

    /// A place for a caller at `from`, and whether another one had to go for it.
    pub(super) fn enter(self: &Arc<Self>, from: IpAddr) -> (Arc<Ticket>, bool) {
        let pressed = self.is_pressed();
        let (from, go) = (prefix(from), Arc::new(Notify::new()));
        let mut state = self.state();
        let same = |stranger: &Stranger| stranger.from == from;
        let crowd = state.unfinished.values().filter(|&s| same(s)).count();
        let gone = if pressed && crowd >= self.limits.unfinished_per_address {
            state.dismiss(same)
        } else if state.unfinished.len() >= self.limits.unfinished {
            state.dismiss(|_| true)
        } else {
            false
        };
        let id = state.next;
        state.next += 1;
        state.unfinished.insert(id, Stranger { from, spoke: false, go: go.clone() });
        (Arc::new(Ticket { guests: self.clone(), id, go }), gone)
    }

    /// A peer that only asks how things are is one caller of many.
    fn is_reserved(&self, key: &Fingerprint, role: Role) -> bool {
        matches!(role, Role::P0 | Role::P1) && self.limits.reserved.contains(key)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        let state = self.state();
        (state.unfinished.len(), state.links.len())
    }
}

impl State {
    /// Sends off the oldest of these who has said nothing, or if all have, the oldest.
    fn dismiss(&mut self, these: impl Fn(&Stranger) -> bool) -> bool {
        let mut all = self.unfinished.iter().filter(|(_, stranger)| these(stranger));
        let silent = all.clone().find(|(_, stranger)| !stranger.spoke);
        let Some((&id, _)) = silent.or_else(|| all.next()) else { return false };
        if let Some(stranger) = self.unfinished.remove(&id) {
            stranger.go.notify_one();
        }
        true
    }
}

impl Ticket {
    /// The caller said something.
    pub(super) fn spoke(&self) {
        if let Some(stranger) = self.guests.state().unfinished.get_mut(&self.id) {
            stranger.spoke = true;
        }
    }

    /// Waits until this caller has to go for another one.
    pub(super) async fn dismissed(&self) {
        self.go.notified().await;
    }

    /// The caller has proved its key: whether there is room for its link.
    pub(super) fn admit(&self, key: Fingerprint, role: Role) -> bool {
        let mut state = self.guests.state();
        let limits = &self.guests.limits;
        if !self.guests.is_reserved(&key, role) {
            let others =
                state.links.values().filter(|known| !self.guests.is_reserved(&known.key, known.role));
            let same = others.clone().filter(|known| known.key == key).count();
            if same >= limits.links_per_key || others.count() >= limits.connections {
                return false;
            }
        }
        state.unfinished.remove(&self.id);
        state.links.insert(self.id, Known { key, role, inbox: Weak::new() });
        true
    }

    /// Whether the caller has a key that is reserved.
    pub(super) fn is_reserved(&self) -> bool {
        let state = self.guests.state();
        state.links.get(&self.id).is_some_and(|known| self.guests.is_reserved(&known.key, known.role))
    }

    /// The link is there: ends older ones in whose place it comes.
    pub(super) fn settle(&self, name: &str, inbox: &Arc<Inbox>) {
        let mut state = self.guests.state();
        let Some(mine) = state.links.get_mut(&self.id) else { return };
        mine.inbox = Arc::downgrade(inbox);
        let (key, role) = (mine.key, mine.role);
        if !self.guests.is_reserved(&key, role) {
            return;
        }
        let older =
            state.links.iter().filter(|(id, other)| **id < self.id && (other.key, other.role) == (key, role));
        for inbox in older.filter_map(|(_, other)| other.inbox.upgrade()) {
            inbox.replace(name);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.guests.state();
        state.unfinished.remove(&self.id);
        state.links.remove(&self.id);
    }
}

/// What counts as one address: of IPv6, the network, since one customer gets 2^64 of them.
fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << 64)).into(),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guests(unfinished: usize, unfinished_per_address: usize) -> Arc<Guests> {
        Guests::new(Limits { unfinished, unfinished_per_address, ..Limits::default() })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn is_here(ticket: &Ticket) -> bool {
        ticket.guests.state().unfinished.contains_key(&ticket.id)
    }

    #[test]
    fn the_oldest_goes_and_those_who_spoke_go_last() {
        let guests = guests(4, 4);
        let here: Vec<_> = (0..4).map(|i| guests.enter(address(&format!("10.0.0.{i}"))).0).collect();
        here[0].spoke();
        let later: Vec<_> = (0..4).map(|_| guests.enter(address("10.0.1.1"))).collect();
        assert!(later.iter().all(|(_, gone)| *gone));
        assert_eq!(here.iter().map(|t| is_here(t)).collect::<Vec<_>>(), [true, false, false, false]);
        assert!(!is_here(&later[0].0) && is_here(&later[3].0), "the newest is in");
        assert_eq!(guests.count(), (4, 0));
        drop((here, later));
        assert_eq!(guests.count(), (0, 0));
    }

    #[test]
    fn one_address_is_held_to_few_only_when_places_are_short() {
        let guests = guests(100, 10);
        let crowd: Vec<_> = (0..50).map(|_| guests.enter(address("10.0.0.1"))).collect();
        assert!(crowd.iter().all(|(ticket, gone)| !gone && is_here(ticket)), "one NAT may hold half");
        let honest = guests.enter(address("10.0.0.2")).0;
        let flood: Vec<_> = (0..1000).map(|_| guests.enter(address("10.0.0.1"))).collect();
        assert!(is_here(&honest), "another address is not touched");
        assert!(guests.count().0 <= 51);
        drop(flood);
    }

    #[test]
    fn of_ipv6_the_network_counts_and_mapped_ipv4_is_ipv4() {
        assert_eq!(prefix(address("2001:db8:1:2:3:4:5:6")), prefix(address("2001:db8:1:2::9")));
        assert_ne!(prefix(address("2001:db8:1:2::")), prefix(address("2001:db8:1:3::")));
        assert_eq!(prefix(address("::ffff:10.0.0.1")), address("10.0.0.1"));
    }

    #[test]
    fn links_are_counted_by_key_and_in_all_but_reserved_keys_get_in() {
        let key = |i: u8| Fingerprint::of_spki(&[i]);
        let reserved = vec![key(0)];
        let limits = Limits { connections: 3, links_per_key: 2, reserved, ..Limits::default() };
        let guests = Guests::new(limits);
        let come = |i: u8, role| {
            let ticket = guests.enter(address("10.0.0.1")).0;
            ticket.admit(key(i), role).then_some(ticket)
        };
        let first: Vec<_> = (0..2).map(|_| come(1, Role::Client).unwrap()).collect();
        assert!(come(1, Role::Probe).is_none(), "two links of one key");
        let last = come(2, Role::Client).unwrap();
        assert!(come(3, Role::Client).is_none(), "three links of all");
        assert!(come(0, Role::Probe).is_none(), "the peer's operator who asks is one of many");
        let inboxes: Vec<_> = (0..3).map(|_| Arc::new(Inbox::new(100, 100))).collect();
        let peers: Vec<_> = [Role::P1, Role::P0, Role::P1]
            .into_iter()
            .zip(&inboxes)
            .map(|(role, inbox)| {
                let ticket = come(0, role).unwrap();
                ticket.settle("P1", inbox);
                assert!(ticket.is_reserved());
                ticket
            })
            .collect();
        let ends: Vec<_> = inboxes.iter().map(|inbox| inbox.end().is_some()).collect();
        assert_eq!(ends, [true, false, false], "the newer link of the same role takes the older one's place");
        drop((first, last));
        assert_eq!(guests.count(), (0, 3));
        assert!(come(3, Role::Client).is_some());
        drop(peers);
    }
}
