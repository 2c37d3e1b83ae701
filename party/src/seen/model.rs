//! All short schedules of parties that serve several owners, lose each other and are both restored to earlier states:
//! which images can be masked twice, given what each owner's record refuses.

use super::Mark;
use crate::jobs::Grant;
use twoply_primitives::KeySetId;

const SET: KeySetId = KeySetId([0; 16]);
/// Images reserved at once, beyond what is asked for.
const CHUNK: u64 = 2;

/// Both parties (after their greeting they agree in everything), every owner's record, and what was masked.
#[derive(Clone)]
struct World {
    /// First image not spent, as the ledgers say.
    next: u64,
    /// First image reserved and not handed out.
    free: u64,
    meeting: u8,
    marks: Vec<Mark>,
    /// Who masked each image, and after how many restores.
    masked: Vec<Vec<(usize, usize)>>,
    /// Every owner's highest cursor at each restore.
    told: Vec<Vec<u64>>,
    /// What the ledgers said at any time: copies to restore.
    copies: Vec<u64>,
}

/// What can happen next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// An owner asks for some images.
    Ask(usize, u64),
    /// The parties lose each other and meet again.
    Meet,
    /// Both are restored to a copy, and meet.
    Restore(usize),
}

/// An image that was masked before: by whom now, and what that owner knew.
struct Reuse {
    owner: usize,
    image: u64,
    /// The owner's highest cursor when the parties went back to before that.
    told: u64,
}

impl World {
    fn new(owners: usize) -> World {
        let (marks, masked) = (vec![Mark::default(); owners], vec![vec![]; 64]);
        World { next: 0, free: 0, meeting: 0, marks, masked, told: vec![], copies: vec![0] }
    }

    fn steps(&self, restores: bool) -> Vec<Step> {
        let asks = (0..self.marks.len()).flat_map(|owner| [Step::Ask(owner, 1), Step::Ask(owner, 3)]);
        let back = (0..self.copies.len()).filter(|_| restores).map(Step::Restore);
        asks.chain([Step::Meet]).chain(back).collect()
    }

    /// Takes a step; whatever was masked twice by it. `meetings` are told to the owners, or not.
    fn take(&mut self, step: Step, meetings: bool) -> Vec<Reuse> {
        match step {
            Step::Ask(owner, images) => return self.ask(owner, images, meetings),
            Step::Meet => {}
            Step::Restore(copy) => {
                self.told.push(self.marks.iter().map(|mark| mark.cursor).collect());
                self.next = self.copies[copy];
            }
        }
        self.meeting += 1;
        self.free = self.next;
        vec![]
    }

    fn ask(&mut self, owner: usize, images: u64, meetings: bool) -> Vec<Reuse> {
        let missing = images.saturating_sub(self.next - self.free);
        if missing > 0 {
            self.next += missing.max(CHUNK);
            if !self.copies.contains(&self.next) {
                self.copies.push(self.next);
            }
        }
        let first = self.free;
        // served or refused, the images are spent
        self.free += images;
        let meeting = [if meetings { self.meeting } else { 0 }; 32];
        let grant = Grant { key_set: SET, first, images: images as u32, cursor: self.next, meeting };
        let mark = &mut self.marks[owner];
        if !mark.admits(&grant) {
            return vec![];
        }
        mark.rise(self.free, self.next, Some(meeting));
        let mut reused = vec![];
        for image in first..self.free {
            let users = &mut self.masked[image as usize];
            // without a restore since there is none to look up, and the test fails
            reused.extend(users.iter().map(|&(_, then)| Reuse {
                owner,
                image,
                told: self.told[then][owner],
            }));
            users.push((owner, self.told.len()));
        }
        reused
    }
}

/// Follows every schedule of at most `left` more steps; `look` sees each reuse with the world after it.
fn search(world: &World, left: usize, meetings: bool, restores: bool, look: &mut impl FnMut(&World, &Reuse)) {
    if left == 0 {
        return;
    }
    for step in world.steps(restores) {
        let mut next = world.clone();
        next.take(step, meetings).iter().for_each(|reuse| look(&next, reuse));
        search(&next, left - 1, meetings, restores, look);
    }
}

#[test]
fn without_a_restore_nothing_is_refused_or_reused() {
    fn walk(world: &World, left: usize) {
        for step in world.steps(false).into_iter().filter(|_| left > 0) {
            let mut next = world.clone();
            assert!(next.take(step, true).is_empty());
            if let Step::Ask(owner, _) = step {
                assert_eq!(next.marks[owner].end, next.free, "{step:?} was refused");
            }
            walk(&next, left - 1);
        }
    }
    walk(&World::new(2), 6);
}

/// What an owner was told of before the parties went back protects it: of the images used until then it masks none below
/// its cursor. So an owner that knew of all that was used is safe from any restore. What remains, and SECURITY.md says
/// so: an owner takes images that others used after it was last served, or that never was served.
#[test]
fn an_owner_never_masks_again_what_it_was_told_of() {
    let mut remaining = 0u64;
    for (owners, steps) in [(2, 6), (3, 5)] {
        search(&World::new(owners), steps, true, true, &mut |world, reuse| {
            assert!(reuse.image >= reuse.told, "image {}, told of {}", reuse.image, reuse.told);
            let users = &world.masked[reuse.image as usize];
            let mine = users.iter().filter(|(user, _)| *user == reuse.owner).count();
            assert_eq!(mine, 1, "an owner masked image {} twice by itself", reuse.image);
            remaining += 1;
        });
    }
    assert!(remaining > 0, "the schedules that SECURITY.md names");
}

/// Why a grant names the parties' meeting: without it, what the refused owner burnt on its way leads it to images that
/// were another owner's.
#[test]
fn the_cursor_alone_does_not_protect() {
    let mut broken = 0u64;
    search(&World::new(2), 5, false, true, &mut |_, reuse| broken += u64::from(reuse.image < reuse.told));
    assert!(broken > 0);
}
