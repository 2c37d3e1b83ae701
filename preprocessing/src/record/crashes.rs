//! An owner's record is opened by one process, then by another, and both note what they must not forget.

use super::Record;
use crate::disk::life::{self, Found, Life};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// So many lines are noted.
#[derive(Clone, Copy, Debug)]
struct Noted(usize);

impl life::Promise for Noted {
    fn erases(&self) -> Option<(PathBuf, bool)> {
        None
    }
}

fn note(record: &mut Record, number: usize) -> Result<()> {
    record.turn(|path, news| {
        for (at, line) in news {
            line.parse::<usize>().ok().filter(|found| found + 1 == *at).ok_or(Record::corrupt(path, *at))?;
        }
        Ok::<_, Error>(Some(number.to_string()))
    })
}

fn live(root: &Path, promise: &mut dyn FnMut(Noted)) {
    let path = root.join("home/seen");
    for process in 0..2 {
        let mut record = Record::open(&path).unwrap();
        for line in 2 * process..2 * process + 2 {
            note(&mut record, line).unwrap();
            promise(Noted(line + 1));
        }
    }
}

/// All that was noted is there, at most one more, and the next process goes on behind it.
fn found(root: &Path, told: &[Noted]) -> Found {
    let path = root.join("home/seen");
    let mut record = Record::open(&path).map_err(|e| e.to_string())?;
    let mut lines = 0;
    let count = record.turn(|_, news| {
        lines = news.len();
        Ok::<_, Error>(None)
    });
    count.map_err(|e| e.to_string())?;
    let least = told.iter().map(|Noted(lines)| *lines).max().unwrap_or(0);
    if !(least..=least + 1).contains(&lines) {
        return Err(format!("{lines} lines where {least} were noted"));
    }
    note(&mut record, lines).and_then(|()| note(&mut record, lines + 1)).map_err(|e| e.to_string())
}

#[test]
fn a_crash_between_any_two_calls_forgets_nothing_and_every_sync_is_needed() {
    Life::record(&["home"], live).crash(4, found);
}
