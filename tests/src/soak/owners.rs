//! Data owners that ask all the time.

use super::nap;
use super::party::failure_of;
use super::record::{Fate, Run, Verb};
use super::stage::{Stage, lock};
use crate::model::idx_of;
use crate::{Dice, Ended, Proc, digits};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use twoply_party::exit::ExitCode;

/// When an owner's process counts as hung.
const HUNG: Duration = crate::SOON;

/// How often an owner may fail after the last blow before it counts as locked out.
const LAST: usize = 3;

/// Asks until `quiet`.
pub fn ask(stage: &Stage, at: usize, quiet: &AtomicBool) {
    let mut dice = stage.dice(100 + at as u64);
    while !nap(Duration::from_millis(dice.below(200)), &[quiet, stage.interrupt]) {
        let batches = stage.owners[at].batches;
        let batch = batches[dice.below(batches.len() as u64) as usize];
        let images = 1 + dice.below(3 * batch);
        if one(stage, at, &mut dice, (batch, images)) == Fate::Exit(ExitCode::KeysMissing as i32) {
            stage.refused.fetch_add(1, Ordering::SeqCst);
            nap(Duration::from_secs(1), &[quiet, stage.interrupt]);
        }
    }
}

/// After the last blow: an owner that asks must be served.
pub fn last(stage: &Stage, at: usize) {
    let mut dice = stage.dice(200 + at as u64);
    let served = (0..LAST).any(|_| {
        stage.interrupt.load(Ordering::SeqCst) || one(stage, at, &mut dice, (2, 4)) == Fate::Exit(0)
    });
    if !served {
        stage.trouble(format!("{} was locked out", stage.owners[at].home));
    }
}

/// One process that asks for some images in requests of `batch`.
fn one(stage: &Stage, at: usize, dice: &mut Dice, (batch, images): (u64, u64)) -> Fate {
    let owner = &stage.owners[at];
    let from = dice.below(stage.images.len() as u64) as usize;
    let chosen: Vec<usize> =
        (0..images as usize).map(|i| stage.images[(from + i) % stage.images.len()]).collect();
    let file = stage.world.write(&format!("{}.idx", owner.home), &idx_of(&chosen));
    let mut args = stage.owner_args("infer", &owner.home);
    let batch_text = batch.to_string();
    let more = ["--images", &file, "--batch", &batch_text, "--transport", owner.transport];
    args.extend(more.map(String::from));
    // Every other process gives up at the first failure, so that failures are heard.
    if let Some(retry) = stage.retry.filter(|_| dice.below(2) == 0) {
        args.extend(retry.iter().map(|word| (*word).to_owned()));
    }
    let began = stage.clock.now();
    *lock(&owner.running) = (Some(Proc::start(&owner.home, &args)), false);
    let (ended, fate) = wait(stage, at);
    let wanted: Vec<usize> = chosen.iter().map(|image| digits().labels[*image]).collect();
    let answers: Vec<(usize, f64)> = ended
        .out
        .lines()
        .zip(&ended.told)
        .filter_map(|(line, when)| Some((label(line)?, stage.clock.at(*when))))
        .collect();
    stage.ran(Run {
        owner: owner.home.clone(),
        verb: Verb::Infer,
        batch,
        wanted,
        answers: answers.iter().map(|a| a.0).collect(),
        answered: answers.iter().map(|a| a.1).collect(),
        from: began,
        to: stage.clock.now(),
        fate,
        said: if fate == Fate::Exit(0) { String::new() } else { failure_of(&ended) },
        retries: retries(&ended),
    });
    fate
}

/// Waits for an owner's process, which others may kill meanwhile.
fn wait(stage: &Stage, at: usize) -> (Ended, Fate) {
    let until = Instant::now() + HUNG;
    loop {
        let mut running = lock(&stage.owners[at].running);
        let alive = running.0.as_mut().is_some_and(Proc::runs);
        let (hung, interrupted) = (Instant::now() >= until, stage.interrupt.load(Ordering::SeqCst));
        if alive && !hung && !interrupted {
            drop(running);
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let (process, killed) = std::mem::take(&mut *running);
        let ended = process.map(|mut process| process.finish()).unwrap_or_default();
        let fate = match ended.code {
            _ if killed || interrupted => Fate::Killed,
            _ if alive => Fate::Hung,
            // Killed by nobody, and yet by a signal.
            code => Fate::Exit(code.unwrap_or(-1)),
        };
        return (ended, fate);
    }
}

/// SIGKILL to an owner's process; whether there was one.
pub fn kill(stage: &Stage, at: usize) -> bool {
    let mut running = lock(&stage.owners[at].running);
    let (Some(process), killed) = &mut *running else { return false };
    let alive = process.runs();
    if alive {
        process.kill();
        *killed = true;
    }
    alive
}

/// A line of a text result is a label, perhaps behind the number of its image.
fn label(line: &str) -> Option<usize> {
    line.split_whitespace().last()?.parse().ok()
}

/// How often a process said that it tried again.
pub fn retries(ended: &Ended) -> u64 {
    let said =
        |line: &&str| ["retry", "retries", "trying again", "try again"].iter().any(|w| line.contains(w));
    let notes = ended.err.lines().take_while(|line| !line.starts_with("error:"));
    notes.filter(said).count() as u64
}
