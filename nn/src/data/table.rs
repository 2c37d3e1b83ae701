//! Tables as text: a row of numbers per image or record, a number per line for labels. Separated by commas, semicolons or tabs,
//! with quotes where there are some, or by spaces; with a row of names above or without.
//!
//! Nothing is guessed that could lose a record: the first row is names only if none of its cells is a number or a missing
//! value. A first column without a name, where the others have one, numbers the rows (pandas' index) and is left out.

use super::MAX_VALUES;
use crate::{Error, Result};
use csv::{ByteRecord, ReaderBuilder};
use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// Cells that stand for a missing value.
const MISSING: [&str; 7] = ["", "na", "n/a", "null", "none", "?", "-"];
/// From so many columns on, a first row 0, 1, 2, .. looks like the names that pandas gives.
const NUMBERED: usize = 8;
/// Most bytes and most cells of a row.
const MAX_ROW: usize = 64 << 20;
const MAX_COLUMNS: usize = 1 << 22;
/// Most characters of a cell, and most names, that are shown.
const SHOWN: usize = 24;

/// Numbers of a table.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Table<T> {
    pub columns: usize,
    /// Row after row.
    pub values: Vec<T>,
}

/// Whether bytes are text: UTF-8 without control characters but tabs and ends of lines.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    let control = |b: &u8| *b < b' ' && !matches!(b, b'\t' | b'\n' | b'\r');
    !bytes.is_empty() && !bytes.iter().any(control) && std::str::from_utf8(bytes).is_ok()
}

fn refuse<T>(why: String) -> Result<T> {
    Err(Error::data("CSV", why))
}

/// Number of the line of a row, from 1 on.
fn line(text: &[u8], row: &Row) -> usize {
    let (before, rest) = text.split_at(row.at.min(text.len()));
    let blank = rest.iter().take_while(|b| b.is_ascii_whitespace());
    1 + before.iter().chain(blank).filter(|b| **b == b'\n').count()
}

/// The columns that `part` names, or all; each number as `f` makes it, refused with the cause where that is `None`.
pub(super) fn read<T>(text: &[u8], part: Option<&str>, f: impl Fn(f64) -> Option<T>) -> Result<Table<T>> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut rows = Rows::new(text);
    let Some(first) = rows.next()? else { return refuse("there is no row".into()) };
    let width = first.cells.len();
    let names = names(&first, line(text, &first))?;
    let columns = match (part, &names) {
        (Some(part), _) => chosen(part, names.as_deref(), width)?,
        (None, Some(names)) if width > 1 && names[0].is_empty() => (1..width).collect(),
        (None, _) => (0..width).collect(),
    };
    let mut values = vec![];
    let mut row = if names.is_some() { rows.next()? } else { Some(first) };
    while let Some(cells) = row {
        if cells.cells.len() != width {
            let (line, found) = (line(text, &cells), cells.cells.len());
            return refuse(format!("line {line}: {found} cells, and {width} in the first line"));
        }
        for &c in &columns {
            let cell = cells.cells[c].as_str();
            match number(cell).and_then(&f) {
                Some(value) => values.push(value),
                None => {
                    let name = names.as_ref().map_or(String::new(), |n| format!(" (`{}`)", short(&n[c])));
                    let (line, column) = (line(text, &cells), c + 1);
                    return refuse(format!("line {line}, column {column}{name}: {}", cause(cell)));
                }
            }
        }
        if values.len() > MAX_VALUES {
            return refuse(format!("more than {MAX_VALUES} numbers at once; split the table"));
        }
        row = rows.next()?;
    }
    if values.is_empty() {
        return refuse(format!(
            "there is no row of numbers below the names {}",
            list(&names.unwrap_or_default())
        ));
    }
    Ok(Table { columns: columns.len(), values })
}

/// A line of a table.
struct Row {
    /// Where in the text it begins, or the ends of empty lines before it.
    at: usize,
    cells: Vec<String>,
}

/// Text that is given out as long as no row is longer than [`MAX_ROW`].
struct Bounded<'a> {
    text: &'a [u8],
    left: Rc<Cell<usize>>,
}

impl Read for Bounded<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let some = out.len().min(self.left.get());
        if some == 0 && !self.text.is_empty() {
            return Err(io::Error::other(format!(
                "a row of more than {MAX_ROW} bytes; is a quote never closed?"
            )));
        }
        self.left.set(self.left.get() - some.min(self.text.len()));
        self.text.read(&mut out[..some])
    }
}

/// Lines that are not empty.
enum Rows<'a> {
    Separated { reader: Box<csv::Reader<Bounded<'a>>>, left: Rc<Cell<usize>>, record: ByteRecord },
    Spaced { lines: std::slice::Split<'a, u8, fn(&u8) -> bool>, at: usize },
}

impl<'a> Rows<'a> {
    fn new(text: &'a [u8]) -> Self {
        let newline: fn(&u8) -> bool = |b| *b == b'\n';
        let line =
            text.split(newline).map(<[u8]>::trim_ascii).find(|line| !line.is_empty()).unwrap_or_default();
        // What stands between quotes separates nothing.
        let open = || line.split(|b| *b == b'"').step_by(2).flatten();
        let separator = [b'\t', b';', b','].into_iter().find(|s| open().any(|b| b == s));
        match separator.or(line.starts_with(b"\"").then_some(b',')) {
            Some(separator) => {
                let mut builder = ReaderBuilder::new();
                builder.delimiter(separator).has_headers(false).flexible(true);
                let left = Rc::new(Cell::new(MAX_ROW));
                let reader = builder.from_reader(Bounded { text, left: left.clone() });
                Rows::Separated { reader: Box::new(reader), left, record: ByteRecord::new() }
            }
            None => Rows::Spaced { lines: text.split(newline), at: 0 },
        }
    }

    fn next(&mut self) -> Result<Option<Row>> {
        let row = match self {
            Rows::Separated { reader, left, record } => loop {
                left.set(MAX_ROW);
                if !reader.read_byte_record(record).map_err(|e| Error::data("CSV", format!("{e}")))? {
                    break None;
                }
                // A line of blanks alone is a record to the reader.
                if record.len() > 1 || !record[0].trim_ascii().is_empty() {
                    let at = record.position().map_or(0, |p| p.byte() as usize);
                    break Some(Row::of(at, record.iter())?);
                }
            },
            Rows::Spaced { lines, at } => loop {
                let Some(full) = lines.next() else { break None };
                let (begin, line) = (*at, full.trim_ascii());
                // numpy.savetxt puts # before its header.
                let line = if begin == 0 { line.strip_prefix(b"#").unwrap_or(line) } else { line };
                let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                *at += full.len() + 1;
                if words.clone().next().is_some() {
                    break Some(Row::of(begin, words)?);
                }
            },
        };
        Ok(row)
    }
}

impl Row {
    fn of<'a>(at: usize, cells: impl Iterator<Item = &'a [u8]> + Clone) -> Result<Row> {
        if cells.clone().count() > MAX_COLUMNS {
            return refuse(format!("a row of more than {MAX_COLUMNS} cells; a row is one image"));
        }
        let text = |cell: &[u8]| String::from_utf8_lossy(cell.trim_ascii()).into_owned();
        Ok(Row { at, cells: cells.map(text).collect() })
    }
}

/// What a cell holds; `True` and `False` are 1 and 0.
fn number(cell: &str) -> Option<f64> {
    match cell.parse() {
        Ok(value) => Some(value).filter(|v: &f64| v.is_finite()),
        Err(_) if cell.eq_ignore_ascii_case("true") => Some(1.0),
        Err(_) if cell.eq_ignore_ascii_case("false") => Some(0.0),
        Err(_) => None,
    }
}

fn missing(cell: &str) -> bool {
    MISSING.contains(&cell.to_ascii_lowercase().as_str()) || cell.parse().is_ok_and(f64::is_nan)
}

/// Why a cell cannot be taken, and what to do.
fn cause(cell: &str) -> String {
    let shown = short(cell);
    if missing(cell) {
        let what = if cell.is_empty() { "the cell is empty".into() } else { format!("`{shown}`") };
        return format!("{what}: a missing value; fill it in (pandas: df.fillna), or leave the row out");
    }
    if number(&cell.replacen(',', ".", 1)).is_some() && cell.contains(',') {
        return format!("`{shown}` is no number; write decimals with a point (pandas: to_csv(decimal='.'))");
    }
    match number(cell) {
        Some(_) => format!("{shown} is out of range here"),
        None => format!("`{shown}` is no number; encode it as numbers, or take other columns (file.csv:1-3)"),
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}..", text[..end].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

/// The names of the columns, if the first row has them.
fn names(first: &Row, line: usize) -> Result<Option<Vec<String>>> {
    let cells = &first.cells;
    let counted = |cells: &[String]| cells.iter().enumerate().all(|(i, cell)| *cell == i.to_string());
    let name = |cell: &String| number(cell).is_none() && !missing(cell);
    let below_index = |rest: &[String]| !rest.is_empty() && (rest.iter().all(name) || counted(rest));
    if cells.iter().all(name) || cells[0].is_empty() && below_index(&cells[1..]) {
        return Ok(Some(cells.clone()));
    }
    if cells.len() >= NUMBERED && counted(cells) {
        return refuse(format!(
            "the first line is 0 to {}: if these are names, write the table without (pandas: to_csv(header=False)); if they \
             are values, put a line of names above",
            cells.len() - 1
        ));
    }
    match cells.iter().position(name) {
        Some(c) if cells.iter().any(|cell| number(cell).is_some()) => refuse(format!(
            "line {line}, column {}: {}; numbers stand beside it, so the line is no names of columns",
            c + 1,
            cause(&cells[c])
        )),
        _ => Ok(None),
    }
}

/// Columns by name, number or range of numbers, from 1 on, with commas between.
fn chosen(part: &str, names: Option<&[String]>, width: usize) -> Result<Vec<usize>> {
    let named = |name: &str| names.and_then(|names| names.iter().position(|n| n == name));
    let place =
        |text: &str| text.trim().parse().ok().filter(|n| (1..=width).contains(n)).map(|n: usize| n - 1);
    if let Some(column) = named(part) {
        return Ok(vec![column]);
    }
    let mut columns = vec![];
    for piece in part.split(',').map(str::trim) {
        let range = piece.split_once('-').and_then(|(a, b)| Some(place(a)?..=place(b)?));
        match (named(piece).or_else(|| place(piece)), range) {
            (Some(column), _) => columns.push(column),
            (None, Some(range)) if !range.is_empty() => columns.extend(range),
            _ => {
                let there = match names {
                    Some(names) => format!("{width}: {}", list(names)),
                    None => format!("{width}, without names"),
                };
                let piece = short(piece);
                return refuse(format!("no column is called or numbered `{piece}`; columns are {there}"));
            }
        }
        if columns.len() > MAX_VALUES {
            return refuse("too many columns".into());
        }
    }
    Ok(columns)
}

fn list(names: &[String]) -> String {
    let listed = names.iter().take(SHOWN).map(|name| short(name)).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{listed}, ..") } else { listed }
}

#[cfg(test)]
mod tests;
