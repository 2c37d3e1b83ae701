//! What all verbs share: results on standard output, everything else on standard error.

use crate::exit::{ExitCode, Failure};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often progress is told where no bar can be drawn.
const EVERY: Duration = Duration::from_secs(10);

/// Form of results.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object; failures are a JSON object on standard error too.
    Json,
}

/// Flags of every verb.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Form of the result on standard output
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "FORM")]
    pub format: Format,
    /// Say nothing but results and failures
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Say more; twice for details
    #[arg(long, short, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Folder of this machine's identity and working files [default: ~/.twoply]
    #[arg(long, global = true, env = "TWOPLY_HOME", value_name = "DIR")]
    pub home: Option<PathBuf>,
}

/// Where a verb puts what it has to say.
#[derive(Clone, Debug)]
pub struct Output {
    format: Format,
    quiet: bool,
    verbose: u8,
    home: Option<PathBuf>,
}

impl Output {
    /// As the flags say.
    pub fn new(flags: &Flags) -> Self {
        Output { format: flags.format, quiet: flags.quiet, verbose: flags.verbose, home: flags.home.clone() }
    }

    /// Whether results are JSON.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }
    /// Whether notes and progress are left out.
    pub fn quiet(&self) -> bool {
        self.quiet
    }
    /// How often `-v` was given.
    pub fn verbose(&self) -> u8 {
        self.verbose
    }

    /// The folder of this machine's identity and working files: `--home`, `TWOPLY_HOME`, or `~/.twoply`.
    ///
    /// # Errors
    /// 3 when none of them is known.
    pub fn home(&self) -> Result<PathBuf, Failure> {
        let default = || std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        self.home.clone().or_else(|| Some(default()?.join(".twoply"))).ok_or_else(|| {
            Failure::new(ExitCode::Config, "this user has no home folder").remedy("name one with --home DIR")
        })
    }

    /// The identity file: `key` if given, else `identity.key` in [`Output::home`].
    ///
    /// # Errors
    /// As [`Output::home`].
    pub fn key_file(&self, key: Option<&PathBuf>) -> Result<PathBuf, Failure> {
        match key {
            Some(key) => Ok(key.clone()),
            None => Ok(self.home()?.join("identity.key")),
        }
    }

    /// One line of a text result on standard output; nothing when results are JSON.
    ///
    /// # Errors
    /// 16 when standard output refuses. A reader that went away is fine.
    pub fn line(&self, text: impl Display) -> Result<(), Failure> {
        if self.is_json() { Ok(()) } else { print(&text) }
    }

    /// The JSON result on standard output; nothing when results are text.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn result_json(&self, result: &impl Serialize) -> Result<(), Failure> {
        self.json(|| serde_json::to_string_pretty(result))
    }

    /// One JSON value on one line of standard output; nothing when results are text.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.json(|| serde_json::to_string(value))
    }

    fn json(&self, text: impl FnOnce() -> serde_json::Result<String>) -> Result<(), Failure> {
        if !self.is_json() {
            return Ok(());
        }
        print(&text().map_err(|e| {
            Failure::new(ExitCode::Internal, format!("a result cannot be written as JSON: {e}"))
        })?)
    }

    /// One line on standard error, unless quiet.
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            say(&text);
        }
    }

    /// One line on standard error, even if quiet: something that the reader must not miss.
    pub fn warn(&self, text: impl Display) {
        say(&format_args!("warning: {text}"));
    }

    /// Progress of something that has `total` steps (0 if that is not known): a bar on a terminal, else a line every 10 s.
    pub fn progress(&self, what: impl Into<String>, total: u64) -> Progress {
        let what = what.into();
        let drawn = !self.quiet && io::stderr().is_terminal();
        let bar = drawn.then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let form = if total == 0 { "{msg}: {pos}" } else { "{msg} {bar:30} {pos}/{len}, {eta} left" };
            if let Ok(style) = ProgressStyle::with_template(form) {
                bar.set_style(style);
            }
            bar.set_message(what.clone());
            bar
        });
        Progress { what, total, bar, quiet: self.quiet, start: Instant::now(), told: Instant::now() }
    }

    /// A failure on standard error: if results are JSON as a JSON object, unless this stands `alone` with the text below.
    pub fn failure(&self, failure: &Failure, alone: bool) {
        let json = self.is_json().then(|| serde_json::to_string(failure).ok()).flatten();
        if let Some(json) = &json {
            say(json);
        }
        if json.is_none() || !alone {
            say(failure);
        }
    }
}

fn print(text: &dyn Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("write to", "standard output", &e))
        }
        _ => Ok(()),
    }
}

/// Standard error may be closed; there is nobody to tell then.
fn say(text: &dyn Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Progress under way; see [`Output::progress`].
pub struct Progress {
    what: String,
    total: u64,
    bar: Option<ProgressBar>,
    quiet: bool,
    start: Instant,
    told: Instant,
}

impl Progress {
    /// `done` steps are done.
    pub fn at(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if !self.quiet && self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            let seconds = self.start.elapsed().as_secs();
            let of = if self.total == 0 { String::new() } else { format!(" of {}", self.total) };
            say(&format_args!("{}: {done}{of}, {seconds} s", self.what));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Bytes as people read them: three digits and a decimal unit.
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if value < 999.5 || unit == "TB" {
            let digits = if unit == "B" || value >= 99.95 { 0 } else { 1 + usize::from(value < 9.995) };
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{n} B")
}

/// A table with aligned columns; the first column is text and stands left, the others right.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cell = |(c, text): (usize, &String)| match c {
            0 => format!("{text:<width$}", width = widths[c]),
            _ => format!("{text:>width$}", width = widths[c]),
        };
        row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A path as it can be pasted into a shell.
pub fn shell(path: impl AsRef<std::path::Path>) -> String {
    let text = path.as_ref().display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits_and_a_unit() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (12_345, "12.3 kB"),
            (999_999, "1.00 MB"),
            (179_000_000, "179 MB"),
            (u64::MAX, "18446744 TB"),
        ];
        for (n, text) in cases {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn tables_line_up() {
        let rows = [vec!["layer".into(), "bytes".into()], vec!["fc".into(), "7".into()]];
        assert_eq!(table(&rows), "layer  bytes\nfc         7");
    }

    #[test]
    fn paths_are_quoted_for_the_shell_when_they_must_be() {
        assert_eq!(shell("keys/p0"), "keys/p0");
        assert_eq!(shell("my keys/it's"), r"'my keys/it'\''s'");
    }

    #[test]
    fn the_home_folder_can_be_named() {
        let flags = Flags { format: Format::Json, quiet: true, verbose: 0, home: Some("h".into()) };
        let out = Output::new(&flags);
        assert_eq!(out.key_file(None).unwrap(), PathBuf::from("h/identity.key"));
        assert_eq!(out.key_file(Some(&"k".into())).unwrap(), PathBuf::from("k"));
        assert!(out.is_json() && out.quiet());
    }
}
