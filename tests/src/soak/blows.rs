//! What befalls the processes of a soak, at random.

use super::stage::Stage;
use super::{nap, owners, party};
use crate::Dice;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// A hand of blows; every hand holds the same ones in another order.
#[derive(Clone, Copy)]
enum Card {
    Kill,
    KillBoth,
    Stop,
    Suspend,
}

const HAND: [Card; 6] = [Card::Kill, Card::Kill, Card::Kill, Card::KillBoth, Card::Stop, Card::Suspend];

fn shuffled(dice: &mut Dice) -> [Card; 6] {
    let mut hand = HAND;
    for at in (1..hand.len()).rev() {
        hand.swap(at, dice.below(at as u64 + 1) as usize);
    }
    hand
}

fn between(dice: &mut Dice, [least, most]: [Duration; 2]) -> Duration {
    let span = most.saturating_sub(least).as_millis() as u64 + 1;
    least + Duration::from_millis(dice.below(span))
}

/// Blows to parties for as long as the soak is to last. A party comes back at once or after up to two seconds.
pub fn parties(stage: &Stage) {
    let mut dice = stage.dice(1);
    let until = Instant::now() + stage.settings.time;
    let mut hand: Vec<Card> = vec![];
    while Instant::now() < until {
        let left = until.saturating_duration_since(Instant::now());
        if nap(between(&mut dice, stage.settings.pause).min(left), &[stage.interrupt]) {
            return;
        }
        if hand.is_empty() {
            hand = shuffled(&mut dice).into();
        }
        let (me, wait) = (dice.below(2) as usize, Duration::from_millis(dice.below(3) * dice.below(1000)));
        match hand.pop() {
            Some(Card::KillBoth) => {
                party::kill(stage, me, wait);
                nap(Duration::from_millis(dice.below(100)), &[]);
                party::kill(stage, 1 - me, Duration::from_millis(dice.below(1000)));
            }
            Some(Card::Stop) => party::stop(stage, me, wait),
            Some(Card::Suspend) => {
                let most = Duration::from_secs(6).min(stage.settings.time / 10);
                let time = between(&mut dice, [Duration::from_secs(1), most]);
                party::suspend(stage, me, time);
            }
            Some(Card::Kill) | None => drop(party::kill(stage, me, wait)),
        }
    }
}

/// Kills of owners until `quiet`.
pub fn owners(stage: &Stage, quiet: &AtomicBool) {
    let mut dice = stage.dice(2);
    while !nap(between(&mut dice, stage.settings.pause), &[quiet, stage.interrupt]) {
        let victim = dice.below(stage.owners.len() as u64) as usize;
        // Wherever it is: an owner that has just ended is killed a moment later in its next life.
        for _ in 0..200 {
            if owners::kill(stage, victim) || nap(Duration::from_millis(5), &[quiet, stage.interrupt]) {
                break;
            }
        }
    }
}
