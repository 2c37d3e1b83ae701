use super::*;
use crate::set::Cut;
use std::io;
use twoply_primitives::PartyId;

fn account() -> Account {
    Account { key_set: KeySetId([5; 16]), party: PartyId::P1, cut: Cut::new(1000, 100).unwrap() }
}

/// A disk in memory that dies after some more bytes.
struct Disk {
    bytes: Vec<u8>,
    left: usize,
}

impl Log for &mut Disk {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.bytes.clone())
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let now = bytes.len().min(self.left);
        let at = offset as usize;
        self.bytes.resize(self.bytes.len().max(at + now), 0);
        self.bytes[at..at + now].copy_from_slice(&bytes[..now]);
        self.left -= now;
        if now < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

fn disk() -> Disk {
    Disk { bytes: new_ledger(&account()).to_vec(), left: usize::MAX }
}

fn open(disk: &mut Disk) -> Result<Ledger<&mut Disk>> {
    Ledger::open(disk, "ledger", account())
}

/// Four records after the first.
fn written() -> Disk {
    let mut disk = disk();
    let mut ledger = open(&mut disk).unwrap();
    for range in [0..64, 64..128] {
        let _ = ledger.reserve(range).unwrap();
    }
    ledger.bind_weights([7; 32]).unwrap();
    ledger.advance_to(200).unwrap();
    disk
}

#[test]
fn an_image_is_reserved_once_and_for_ever() {
    let mut disk = disk();
    let mut ledger = open(&mut disk).unwrap();
    assert_eq!((ledger.tally().next, ledger.remaining()), (0, 1000));
    let pending = ledger.reserve(10..74).unwrap();
    assert_eq!(pending.claim(), Claim { key_set: KeySetId([5; 16]), from: 10, to: 74 });
    for from in [0, 10, 73] {
        assert!(matches!(ledger.reserve(from..100), Err(Error::Spent { next: 74, .. })));
    }
    for range in [100..1001, 80..80] {
        assert!(matches!(ledger.reserve(range), Err(Error::Short { .. })));
    }
    let mut ledger = open(&mut disk).unwrap();
    assert!(matches!(ledger.reserve(73..74), Err(Error::Spent { .. })));
    assert_eq!(ledger.tally().next, 74);
}

#[test]
fn only_the_equal_claim_of_the_peer_makes_a_reservation() {
    let mut disk = disk();
    let mut ledger = open(&mut disk).unwrap();
    for change in [
        |c: &mut Claim| c.from += 1,
        |c: &mut Claim| c.to -= 1,
        |c: &mut Claim| c.key_set = KeySetId([6; 16]),
    ] {
        let next = ledger.tally().next;
        let pending = ledger.reserve(next..next + 10).unwrap();
        let mut peer = pending.claim();
        change(&mut peer);
        assert!(matches!(pending.acknowledged(&peer), Err(Error::PeerDiffers { .. })));
        assert_eq!(ledger.tally().next, next + 10, "a refused range stays spent");
    }
}

fn reserve(ledger: &mut Ledger<&mut Disk>, range: Range<u64>) -> Reservation {
    let pending = ledger.reserve(range).unwrap();
    let claim = pending.claim();
    pending.acknowledged(&claim).unwrap()
}

#[test]
fn runs_take_the_next_images_and_cross_segments_in_pieces() {
    let mut disk = disk();
    let mut ledger = open(&mut disk).unwrap();
    let mut images = reserve(&mut ledger, 90..210);
    let pieces = |leases: Vec<Lease>| leases.iter().map(|l| (l.segment(), l.images())).collect::<Vec<_>>();
    assert_eq!(pieces(images.take(4).unwrap()), [(0, 90..94)]);
    assert_eq!(pieces(images.take(110).unwrap()), [(0, 94..100), (1, 0..100), (2, 0..4)]);
    assert!(matches!(images.take(7), Err(Error::Short { wanted: 7, left: 6 })));
    assert!(images.take(0).is_err());
    assert_eq!((images.taken(), images.left()), (114, 6));
}

/// Two reservations that met within a segment once made two pieces of one job; the segment was erased between them.
#[test]
fn repro_leases_that_meet_within_a_segment_join() {
    let mut disk = disk();
    let mut ledger = open(&mut disk).unwrap();
    let (mut first, mut second) = (reserve(&mut ledger, 0..50), reserve(&mut ledger, 50..120));
    let [a] = <[Lease; 1]>::try_from(first.take(50).unwrap()).unwrap();
    let [b, c] = <[Lease; 2]>::try_from(second.take(70).unwrap()).unwrap();
    let joined = a.join(b).unwrap();
    assert_eq!((joined.segment(), joined.images()), (0, 0..100));
    let (joined, c) = joined.join(c).unwrap_err();
    assert_eq!((joined.images(), c.segment()), (0..100, 1));
    let (c, joined) = c.join(joined).unwrap_err();
    assert_eq!((c.images(), joined.images()), (0..20, 0..100));
}

#[test]
fn burnt_images_are_those_spent_and_not_used() {
    let mut disk = disk();
    let mut ledger = open(&mut disk).unwrap();
    let mut images = reserve(&mut ledger, 0..64);
    let _ = images.take(50).unwrap();
    ledger.settle(images);
    ledger.close().unwrap();
    let mut ledger = open(&mut disk).unwrap();
    assert_eq!((ledger.tally().used, ledger.tally().burnt()), (50, 14));
    // A crash here: the reservation is spent, its use is not known.
    drop(reserve(&mut ledger, 64..128));
    let mut ledger = open(&mut disk).unwrap();
    ledger.advance_to(200).unwrap();
    ledger.advance_to(100).unwrap();
    assert_eq!((ledger.tally().next, ledger.tally().burnt()), (200, 150));
    assert!(matches!(ledger.advance_to(1001), Err(Error::Short { .. })));
}

#[test]
fn a_weight_mask_covers_one_model() {
    let mut disk = disk();
    open(&mut disk).unwrap().bind_weights([1; 32]).unwrap();
    let mut ledger = open(&mut disk).unwrap();
    ledger.bind_weights([1; 32]).unwrap();
    let e = ledger.bind_weights([2; 32]).unwrap_err();
    assert!(e.to_string().contains("already bound to other weights; deal a new key set"), "{e}");
    assert_eq!(ledger.tally().weights, Some([1; 32]));
}

#[test]
fn proposals_amortise_and_never_exceed_what_is_there() {
    assert_eq!([chunk(1, 10_000), chunk(1, 160), chunk(1, 8), chunk(100, 10_000)], [64, 10, 1, 100]);
    let mut disk = disk();
    let ledger = open(&mut disk).unwrap();
    assert_eq!(ledger.propose(1, 1000).unwrap(), 0..62);
    assert_eq!(ledger.propose(20, 25).unwrap(), 0..20);
    assert_eq!(ledger.propose(1, 5000).unwrap(), 0..62);
    assert!(matches!(ledger.propose(26, 25), Err(Error::Short { wanted: 26, left: 25 })));
    assert!(ledger.propose(0, 25).is_err());
}

#[test]
fn every_flipped_bit_is_an_error_even_in_the_last_record() {
    let good = written();
    for bit in 0..good.bytes.len() * 8 {
        let mut bad = written();
        bad.bytes[bit / 8] ^= 1 << (bit % 8);
        let e = open(&mut bad).map(|_| ()).unwrap_err();
        assert!(matches!(e, Error::LedgerCorrupt { .. }), "bit {bit}: {e}");
    }
}

#[test]
fn a_torn_last_record_is_ignored_and_overwritten() {
    let whole = written().bytes;
    for keep in 0..64 {
        for zeros in [false, true] {
            let end = whole.len() - 64;
            let mut torn = Disk { bytes: whole[..end + keep.min(48)].to_vec(), left: usize::MAX };
            if zeros {
                torn.bytes.resize(whole.len(), 0);
            }
            let mut ledger = open(&mut torn).unwrap();
            assert_eq!(ledger.tally().next, 128, "{keep} bytes of the last record");
            let _ = ledger.reserve(128..130).unwrap();
            assert_eq!(open(&mut torn).unwrap().tally().next, 130);
        }
    }
}

#[test]
fn a_hole_in_the_middle_and_a_torn_beginning_are_errors() {
    let whole = written().bytes;
    for record in 0..whole.len() / 64 - 1 {
        let mut hole = Disk { bytes: whole.clone(), left: 0 };
        hole.bytes[record * 64..record * 64 + 64].fill(0);
        assert!(matches!(open(&mut hole), Err(Error::LedgerCorrupt { .. })));
        let mut gone = Disk { bytes: whole.clone(), left: 0 };
        gone.bytes.drain(record * 64..record * 64 + 64);
        assert!(matches!(open(&mut gone), Err(Error::LedgerCorrupt { .. })));
    }
    for len in 0..64 {
        let mut short = Disk { bytes: whole[..len].to_vec(), left: 0 };
        assert!(matches!(open(&mut short), Err(Error::LedgerCorrupt { record: 0, .. })));
    }
}

#[test]
fn a_ledger_of_someone_else_is_refused() {
    let refused = |account: Account| {
        let mut disk = written();
        Ledger::open(&mut disk, "ledger", account).map(|_| ()).unwrap_err()
    };
    let with = |f: fn(&mut Account)| {
        let mut a = account();
        f(&mut a);
        refused(a)
    };
    assert!(matches!(with(|a| a.party = PartyId::P0), Error::WrongParty { .. }));
    assert!(matches!(with(|a| a.key_set = KeySetId([1; 16])), Error::WrongKeySet { .. }));
    assert!(matches!(with(|a| a.cut = Cut::new(2000, 100).unwrap()), Error::LedgerCorrupt { .. }));
}

/// Kills the process at every byte that it writes, twice in a row, and checks what the next one finds.
#[test]
fn killed_at_any_byte_nothing_granted_is_forgotten() {
    for first_kill in 0..260 {
        for second_kill in (0..200).step_by(7) {
            let mut disk = disk();
            let mut granted = 0;
            for budget in [first_kill, second_kill, usize::MAX] {
                disk.left = budget;
                let mut ledger = open(&mut disk).unwrap();
                let before = ledger.tally().next;
                assert!(before >= granted, "forgot {before}..{granted}");
                for _ in 0..3 {
                    let next = ledger.tally().next;
                    match ledger.reserve(next..next + 10) {
                        Ok(pending) => granted = pending.claim().to,
                        Err(Error::DiskFull { .. }) => {
                            let after = ledger.reserve(next + 10..next + 20);
                            assert!(matches!(after, Err(Error::LedgerFailed { .. })));
                            break;
                        }
                        Err(e) => panic!("{e}"),
                    }
                }
            }
            assert!(granted >= 30);
        }
    }
}

#[test]
fn one_process_at_a_time_owns_a_ledger_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let absent = Ledger::open_file(&path, account()).map(|_| ()).unwrap_err();
    assert!(absent.to_string().contains("deal a new key set"), "{absent}");
    FileLog::create(path.clone(), &new_ledger(&account())).unwrap();
    let mut ledger = Ledger::open_file(&path, account()).unwrap();
    assert!(matches!(Ledger::open_file(&path, account()), Err(Error::Locked { .. })));
    let _ = ledger.reserve(0..5).unwrap();
    assert_eq!(Tally::read(&path, &account()).unwrap().next, 5, "reading needs no lock");
    drop(ledger);
    assert_eq!(Ledger::open_file(&path, account()).unwrap().tally().next, 5);
}

/// Frozen: ledgers of earlier releases must open.
#[test]
fn the_bytes_of_a_ledger_are_frozen() {
    let digest = "4abba2a11d0983a5391c2a6940951597dcb88260ffd5f26245206c342032cd44";
    assert_eq!(blake3::hash(&written().bytes).to_hex().as_str(), digest);
}
