//! How far a run has come, for people and as JSON lines.

use crate::exit::Failure;
use crate::files;
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a range of steps is told.
const EVERY: Duration = Duration::from_secs(5);

/// A range of steps, as one line of JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Range {
    /// The first step, counted from 1.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// All that the run has.
    pub of: u64,
    /// Epoch of the last one, counted from 1.
    pub epoch: u64,
    /// The attempt.
    pub attempt: u32,
    /// Steps a second, over this range.
    pub steps_per_second: f64,
    /// Seconds until the end at this speed.
    pub seconds_left: f64,
    /// Bytes of keys that are here and not used; at the dealer, none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_bytes_ahead: Option<u64>,
}

/// Tells ranges of steps.
pub struct Progress<'a> {
    steps: [u64; 2],
    log: Option<(PathBuf, File)>,
    since: (u64, Instant),
    say: &'a mut dyn FnMut(&Range),
}

impl<'a> Progress<'a> {
    /// For a run of so many steps, so many an epoch. `log` is appended to; `say` hears every range.
    ///
    /// # Errors
    /// 16 when the log cannot be written.
    pub fn new(steps: [u64; 2], log: Option<&Path>, say: &'a mut dyn FnMut(&Range)) -> Result<Self, Failure> {
        let open = |path: &Path| {
            let file = File::options().append(true).create(true).open(path);
            file.map(|file| (path.to_path_buf(), file)).map_err(|e| files::refused("open", path, &e))
        };
        let log = log.map(open).transpose()?;
        Ok(Progress { steps, log, since: (0, Instant::now()), say })
    }
    /// An attempt goes on after this step.
    pub fn begin(&mut self, step: u64) {
        self.since = (step, Instant::now());
    }
    /// A step is done.
    ///
    /// # Errors
    /// 16 when the log cannot be written.
    pub fn at(&mut self, step: u64, attempt: u32, key_bytes_ahead: Option<u64>) -> Result<(), Failure> {
        let (from, since) = self.since;
        let [of, epoch] = self.steps;
        let passed = since.elapsed();
        if step <= from || (passed < EVERY && step != of) {
            return Ok(());
        }
        let speed = (step - from) as f64 / passed.as_secs_f64().max(1e-9);
        let range = Range {
            from: from + 1,
            to: step,
            of,
            epoch: step.div_ceil(epoch.max(1)),
            attempt,
            steps_per_second: speed,
            seconds_left: (of - step.min(of)) as f64 / speed,
            key_bytes_ahead,
        };
        self.since = (step, Instant::now());
        (self.say)(&range);
        if let Some((path, file)) = &mut self.log {
            let line = serde_json::to_string(&range).unwrap_or_default();
            writeln!(file, "{line}").map_err(|e| files::refused("write", path, &e))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_is_always_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut told = vec![];
        let mut say = |range: &Range| told.push((range.from, range.to, range.epoch));
        let mut progress = Progress::new([6, 3], Some(&path), &mut say).unwrap();
        progress.begin(2);
        (3..=6).for_each(|step| progress.at(step, 1, Some(5)).unwrap());
        drop(progress);
        assert_eq!(told, [(3, 6, 2)]);
        let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(
            (&line["of"], &line["attempt"], &line["key_bytes_ahead"]),
            (&6.into(), &1.into(), &5.into())
        );
    }
}
