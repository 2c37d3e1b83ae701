//! Ctrl-C, SIGTERM and SIGHUP for verbs that call both parties. While a party waits for this process it is told that it was
//! stopped; otherwise, and for who asks twice, the process ends as if it had no say in it.

use super::output::Output;
use super::party::stopping;
use crate::client::Parties;
use crate::exit::{Failure, Phase};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How often a pause looks whether it is to end.
const STEP: Duration = Duration::from_millis(100);

/// What signals set.
pub(super) struct Stop {
    asked: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
    /// No party knows of this process.
    alone: Arc<AtomicBool>,
}

impl Stop {
    /// Listens from now on.
    ///
    /// # Errors
    /// 16 when the system refuses.
    pub fn watch() -> Result<Self, Failure> {
        let stop = Stop { asked: Arc::default(), signal: Arc::default(), alone: Arc::new(true.into()) };
        use signal_hook::flag::{register, register_conditional_default, register_usize};
        for signal in stopping() {
            // In this order: the first signal of two is not the one that ends it.
            register_conditional_default(signal, stop.alone.clone())
                .and_then(|_| register_conditional_default(signal, stop.asked.clone()))
                .and_then(|_| register_usize(signal, stop.signal.clone(), signal as usize))
                .and_then(|_| register(signal, stop.asked.clone()))
                .map_err(|e| Failure::io("handle", "signals", &e).during(Phase::Start))?;
        }
        Ok(stop)
    }

    /// Whether a signal came.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Calls both parties; from then on they are told.
    ///
    /// # Errors
    /// As the call.
    pub fn connect(&self, call: impl FnOnce() -> Result<Parties, Failure>) -> Result<Parties, Failure> {
        self.alone.store(true, Ordering::SeqCst);
        let mut parties = call()?;
        parties.stop_with(&self.asked);
        self.alone.store(false, Ordering::SeqCst);
        Ok(parties)
    }

    /// No party waits for this process any more.
    pub fn left(&self) {
        self.alone.store(true, Ordering::SeqCst);
    }

    /// A pause, which a signal ends.
    pub fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.asked() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(STEP));
        }
    }

    /// If a signal ended the work, ends the process by it, as whoever sent it expects; the parties have been told.
    pub fn obey<T>(&self, result: Result<T, Failure>, out: &Output) -> Result<T, Failure> {
        if let (true, Err(failure)) = (self.asked(), &result) {
            out.warn(format_args!("{}; {}", failure.content().what, failure.content().remedy));
            // Where the system refuses, the failure stands.
            let _ =
                signal_hook::low_level::emulate_default_handler(self.signal.load(Ordering::SeqCst) as i32);
        }
        result
    }
}
