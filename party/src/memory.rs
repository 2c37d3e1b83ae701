//! This process's memory: kept out of dumps, and its peak (heap and stacks, not mapped key files) by sampling.

use crate::exit::{ExitCode, Failure};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Keeps seeds, masks and shares out of core files, for the rest of the process: no core is written whatever kills it, and
/// no other process of this user may read its memory. To debug, start it under the debugger (`gdb --args twoply ..`), or
/// attach as root.
///
/// # Errors
/// 16 when the system refuses.
pub fn never_dumped() -> Result<(), Failure> {
    let refused = |e| {
        Failure::new(ExitCode::System, format!("cannot keep this process's memory out of core files: {e}"))
            .remedy("allow prctl(PR_SET_DUMPABLE) and setrlimit(RLIMIT_CORE) to this process")
    };
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(refused)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(refused)
}

const EVERY: Duration = Duration::from_millis(20);

/// Watches from its creation on; stops when dropped.
pub struct Peak {
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Peak {
    /// Starts watching.
    pub fn watch() -> Self {
        let (most, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (m, o) = (most.clone(), over.clone());
        // A machine that starts no more threads has worse troubles than this figure.
        let _ = std::thread::Builder::new().name("memory".into()).spawn(move || {
            while !o.load(Ordering::Relaxed) {
                m.fetch_max(anonymous().unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(EVERY);
            }
        });
        Peak { most, over }
    }
    /// The most seen so far, in bytes; `None` where the system does not tell.
    pub fn bytes(&self) -> Option<u64> {
        self.most.fetch_max(anonymous()?, Ordering::Relaxed);
        Some(self.most.load(Ordering::Relaxed))
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Resident anonymous memory now, in bytes.
fn anonymous() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|k| k * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_stays_out_of_core_files() {
        never_dumped().unwrap();
        never_dumped().unwrap();
        assert_eq!(rustix::process::getrlimit(Resource::Core).current, Some(0));
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert!(anonymous().is_some(), "a process may still look at itself");
    }

    #[test]
    fn sees_what_was_allocated_and_freed() {
        let peak = Peak::watch();
        let before = peak.bytes().unwrap();
        let block = vec![1u8; 64 << 20];
        let with = peak.bytes().unwrap();
        assert!(with >= before + (60 << 20), "{before} {with} {}", block[1]);
        drop(block);
        assert!(peak.bytes().unwrap() >= with);
    }
}
