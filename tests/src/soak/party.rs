//! Both parties' processes: started again whenever they are gone, and every end written down.

use super::nap;
use super::record::{Blow, End};
use super::stage::{Stage, lock};
use crate::{Ended, Proc};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// How long a party may take to end after SIGTERM.
const STOP: Duration = crate::SOON;

/// When a party that has said nothing of its peer counts as back, for want of a word.
const MUTE: Duration = Duration::from_secs(60);

/// A party's process, or its absence.
#[derive(Default)]
pub struct Slot {
    process: Option<Proc>,
    /// When the process was started.
    started: Option<Instant>,
    /// When it is to be started.
    due: Option<Instant>,
    /// Whether it has said that it reached the other one since it was started.
    reached: bool,
    /// The outage that it ends when it is back.
    outage: Option<usize>,
    /// Quick ends in a row.
    stumbles: u32,
}

impl Slot {
    /// Whether it runs and has reached its peer.
    pub fn connected(&mut self) -> bool {
        self.reached && self.process.as_mut().is_some_and(Proc::runs)
    }
    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(Proc::runs)
    }
    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        if let Some(process) = &self.process {
            process.signal(name);
        }
    }
}

/// Keeps both running until `closing`.
pub fn keep(stage: &Stage, closing: &AtomicBool) {
    while !nap(Duration::from_millis(10), &[closing]) {
        (0..2).for_each(|me| look(stage, me));
    }
}

/// One look at a party.
fn look(stage: &Stage, me: usize) {
    // Whoever holds it is stopping or suspending this party.
    let Ok(mut slot) = stage.parties[me].try_lock() else { return };
    if slot.process.is_none() {
        if slot.due.is_none_or(|due| Instant::now() >= due) {
            let args = stage.party_args(me);
            slot.process = Some(Proc::start(&format!("P{me}"), &args));
            (slot.started, slot.reached) = (Some(Instant::now()), false);
        }
        return;
    }
    if !slot.runs() {
        let quick = slot.started.is_some_and(|at| at.elapsed() < Duration::from_secs(2));
        slot.stumbles = if quick { slot.stumbles + 1 } else { 0 };
        let wait = Duration::from_millis(200 << slot.stumbles.min(4));
        over(stage, me, &mut slot, (Blow::Itself, wait));
        return;
    }
    let peer = format!("connected to P{}", 1 - me);
    let back = slot.process.as_ref().is_some_and(|process| process.has_said(&peer));
    if back || slot.started.is_some_and(|at| at.elapsed() > MUTE) {
        slot.reached = true;
        slot.outage.take().into_iter().for_each(|outage| stage.back(outage));
    }
}

/// The end of a party's process: how it was and what it said goes into the record; it starts again after `wait`.
fn over(stage: &Stage, me: usize, slot: &mut Slot, (blow, wait): (Blow, Duration)) {
    let Some(mut process) = slot.process.take() else { return };
    let at = stage.clock.now();
    let ended = process.finish();
    // An outage that goes on is one outage.
    let going_on = slot.outage.take();
    going_on.into_iter().for_each(|outage| stage.back(outage));
    slot.outage = Some(stage.lost(me, blow, at));
    slot.due = Some(Instant::now() + wait);
    slot.reached = false;
    let end = End { party: me, at, blow, code: ended.code, said: failure_of(&ended) };
    stage.record().ends.push(end);
}

/// SIGKILL, and a start after `wait`; whether there was somebody to kill.
pub fn kill(stage: &Stage, me: usize, wait: Duration) -> bool {
    let mut slot = lock(&stage.parties[me]);
    let runs = slot.runs();
    if runs {
        over(stage, me, &mut slot, (Blow::Kill, wait));
    }
    runs
}

/// SIGTERM, its end, and a start after `wait`.
pub fn stop(stage: &Stage, me: usize, wait: Duration) {
    let mut slot = lock(&stage.parties[me]);
    if !slot.runs() {
        return;
    }
    let from = stage.clock.now();
    slot.signal("TERM");
    let until = Instant::now() + STOP;
    while slot.runs() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    over(stage, me, &mut slot, (Blow::Stop, wait));
    if let Some(outage) = slot.outage {
        stage.record().outages[outage].from = from;
    }
}

/// SIGSTOP, and SIGCONT after a time.
pub fn suspend(stage: &Stage, me: usize, time: Duration) {
    let mut slot = lock(&stage.parties[me]);
    if !slot.runs() {
        return;
    }
    let outage = stage.lost(me, Blow::Suspend, stage.clock.now());
    slot.signal("STOP");
    nap(time, &[stage.interrupt]);
    slot.signal("CONT");
    stage.back(outage);
}

/// The clean stop at the end: both at once.
pub fn stop_both(stage: &Stage) {
    for me in 0..2 {
        let mut slot = lock(&stage.parties[me]);
        if slot.runs() {
            slot.signal("TERM");
        }
    }
    for me in 0..2 {
        let mut slot = lock(&stage.parties[me]);
        let until = Instant::now() + STOP;
        while slot.runs() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        let Some(mut process) = slot.process.take() else { continue };
        let ended = process.finish();
        let end = End {
            party: me,
            at: stage.clock.now(),
            blow: Blow::Stop,
            code: ended.code,
            said: failure_of(&ended),
        };
        stage.record().ends.push(end);
    }
}

/// The failure in what a process said, as text or as JSON; notes before it name parties that were well.
pub fn failure_of(ended: &Ended) -> String {
    let lines: Vec<&str> = ended.err.lines().collect();
    let begins = |line: &&str| line.starts_with("error:") || line.starts_with("{\"code\"");
    let from = lines.iter().rposition(begins).unwrap_or(lines.len().saturating_sub(3));
    let text = lines[from..].join(" ");
    text.chars().take(600).collect()
}
