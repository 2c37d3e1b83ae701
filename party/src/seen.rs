//! Which images a data owner was granted, and to which weights a model owner bound a mask: records in the owner's home,
//! so that parties restored from a backup cannot make it mask twice.
//!
//! Within a key set what is granted only rises, and the owner also notes the parties' cursor: how far they had spent
//! the key set, for whomever. The parties' reservations end with their meeting (one link between them), so what a later
//! meeting grants starts at the cursor or after it. Parties that went back in time meet anew and start below it.

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use crate::exit::{ExitCode, Failure};
use crate::jobs::Grant;
use std::collections::HashMap;
use std::path::Path;
use twoply_preprocessing::{News, Record, parse_key_set};
use twoply_primitives::KeySetId;

/// Images granted to this data owner: one line each, `key-set first end cursor meeting`. Up to protocol 2 it was the
/// first three words.
pub struct Seen {
    record: Record,
    marks: HashMap<KeySetId, Mark>,
}

/// How far a key set is known to be spent.
#[derive(Clone, Copy, Default)]
struct Mark {
    /// Highest end of images granted to this owner.
    end: u64,
    /// Highest cursor of the parties: images below it may be somebody's.
    cursor: u64,
    /// The meeting of the parties that this cursor is from.
    meeting: Option<[u8; 32]>,
}

impl Mark {
    /// First image that a grant may start with.
    fn lowest(&self, meeting: &[u8; 32]) -> u64 {
        // what is reserved in one meeting is handed out piece by piece below its cursor
        if self.meeting.as_ref() == Some(meeting) { self.end } else { self.cursor }
    }

    /// Whether nobody can have been granted these images before, as far as this owner was told.
    fn admits(&self, grant: &Grant) -> bool {
        grant.first >= self.lowest(&grant.meeting) && grant.cursor >= self.cursor
    }

    /// Notes a grant.
    fn rise(&mut self, end: u64, cursor: u64, meeting: Option<[u8; 32]>) {
        self.end = self.end.max(end);
        if cursor >= self.cursor {
            (self.cursor, self.meeting) = (cursor, meeting);
        }
    }
}

/// A line of the record.
struct Line {
    set: KeySetId,
    end: u64,
    cursor: u64,
    meeting: Option<[u8; 32]>,
}

impl Line {
    fn parse(line: &str) -> Option<Line> {
        let parts: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| parts[at].parse::<u64>().ok();
        let (set, first, end) = match parts.len() {
            3 | 5 => (parse_key_set(parts[0])?, number(1)?, number(2)?),
            _ => return None,
        };
        let (cursor, meeting) = match parts.len() {
            3 => (end, None),
            _ => (number(3)?, Some(*blake3::Hash::from_hex(parts[4]).ok()?.as_bytes())),
        };
        (first < end && end <= cursor).then_some(Line { set, end, cursor, meeting })
    }
}

impl Seen {
    /// Reads the record, or begins one.
    ///
    /// # Errors
    /// 9 when it is damaged, 16 when the system refuses.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let mut seen = Seen { record: Record::open(path)?, marks: HashMap::new() };
        let marks = &mut seen.marks;
        seen.record.turn(|path, news| absorb(marks, path, news).map(|()| None))?;
        Ok(seen)
    }

    /// Notes a grant durably; refuses images that somebody may have been granted before. Other processes of this home
    /// may do the same meanwhile.
    ///
    /// # Errors
    /// 9 when images are granted again, 6 for a grant that no party makes, 16 when the system refuses.
    pub fn grant(&mut self, grant: &Grant) -> Result<(), Failure> {
        let (set, first) = (grant.key_set, grant.first);
        let end = first.saturating_add(grant.images.into());
        if first >= end || end > grant.cursor {
            let text = format!("the parties grant images {first}..{end} and have reserved {}", grant.cursor);
            return Err(Failure::new(ExitCode::PlanMismatch, text));
        }
        let marks = &mut self.marks;
        self.record.turn(|path, news| {
            absorb(marks, path, news)?;
            let mark = marks.get(&set).copied().unwrap_or_default();
            if !mark.admits(grant) {
                return Err(again(&mark, grant, end));
            }
            let meeting = blake3::Hash::from_bytes(grant.meeting).to_hex();
            Ok(Some(format!("{set} {first} {end} {} {meeting}", grant.cursor)))
        })
    }
}

/// Takes over what was appended to the record since it was read.
fn absorb(marks: &mut HashMap<KeySetId, Mark>, path: &Path, news: News<'_>) -> Result<(), Failure> {
    for (number, text) in news {
        let line = Line::parse(text).ok_or_else(|| Record::corrupt(path, *number))?;
        marks.entry(line.set).or_default().rise(line.end, line.cursor, line.meeting);
    }
    Ok(())
}

fn again(mark: &Mark, grant: &Grant, end: u64) -> Failure {
    let (set, first) = (grant.key_set, grant.first);
    let text = if first < mark.end {
        format!("the parties grant images {first}..{end} of key set {set} again: {} was the last", mark.end)
    } else {
        format!(
            "the parties went back in time: they grant images {first}..{end} of key set {set}, which may be granted \
             again: {} were spent before",
            mark.cursor
        )
    };
    Failure::new(ExitCode::KeysSpent, text)
        .remedy("a party was restored from a backup: discard this key set at both parties and deal a new one")
}

/// Binds a key set's weight mask to masked weights: one line, `key-set digest`.
///
/// # Errors
/// 9 when it is bound to others or the record is damaged, 16 when the system refuses.
pub fn bind_weights(path: &Path, set: KeySetId, digest: &[u8; 32]) -> Result<(), Failure> {
    let digest = blake3::Hash::from_bytes(*digest);
    Record::open(path)?.turn(|path, lines| {
        let parse = |line: &str| {
            let (set, to) = line.split_once(' ')?;
            Some((parse_key_set(set)?, blake3::Hash::from_hex(to).ok()?))
        };
        let mut bound = false;
        for (number, line) in lines {
            let (of, to) = parse(line).ok_or_else(|| Record::corrupt(path, *number))?;
            if of == set && to != digest {
                let text = format!("the weight mask of key set {set} was used for other weights");
                return Err(
                    Failure::new(ExitCode::KeysSpent, text).remedy("deal a new key set for the new weights")
                );
            }
            bound |= of == set;
        }
        Ok((!bound).then(|| format!("{set} {}", digest.to_hex())))
    })
}
