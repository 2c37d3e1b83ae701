//! The soak as a command: see `tests/soak.sh`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};
use twoply_tests::soak::{self, Settings, summary::Summary};

const USAGE: &str = "usage: soak [MINUTES] [--seed N] [--json FILE]

Two parties and five data owners for MINUTES (default 2), with kills, stops, suspensions, several key sets and top-up;
then an audit. Prints a table, and the same as JSON: to FILE, or as the last line. Exit 0 if every rule holds, 1 if one
is broken, 2 for other arguments, 130 when interrupted.";

/// What the arguments say.
struct Args {
    minutes: u64,
    seed: u64,
    json: Option<String>,
}

impl Args {
    /// `None` for anything but the usage.
    fn read(mut words: impl Iterator<Item = String>) -> Option<Args> {
        let (mut minutes, mut seed, mut json) = (None, None, None);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--seed" if seed.is_none() => seed = Some(words.next()?.parse().ok()?),
                "--json" if json.is_none() => json = Some(words.next()?),
                number if minutes.is_none() => minutes = Some(number.parse().ok().filter(|m| *m > 0)?),
                _ => return None,
            }
        }
        let drawn = || {
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos() as u64) % 1_000_000_007
        };
        Some(Args { minutes: minutes.unwrap_or(2), seed: seed.unwrap_or_else(drawn), json })
    }
}

fn main() -> ExitCode {
    let Some(args) = Args::read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        if let Err(e) = signal_hook::flag::register(signal, interrupt.clone()) {
            eprintln!("error: signals cannot be handled: {e}");
            return ExitCode::FAILURE;
        }
    }
    eprintln!("soak of {} min, --seed {}", args.minutes, args.seed);
    let settings = Settings::minutes(args.minutes, args.seed);
    let Some(record) = soak::run(&settings, &interrupt, &|line| eprintln!("{line}")) else {
        eprintln!("interrupted; every process was ended");
        return ExitCode::from(130);
    };
    let summary = Summary::of(&record);
    show(&summary.to_string());
    match &args.json {
        None => show(&(summary.json() + "\n")),
        Some(file) => {
            if let Err(e) = std::fs::write(file, summary.json() + "\n") {
                eprintln!("error: cannot write {file}: {e}");
                return ExitCode::FAILURE;
            }
        }
    }
    if summary.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Standard output may be closed; there is nobody to tell then.
fn show(text: &str) {
    use std::io::Write;
    let _ = write!(std::io::stdout().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::Args;

    fn read(line: &str) -> Option<(u64, Option<u64>, Option<String>)> {
        let fixed = line.contains("--seed");
        let args = Args::read(line.split_whitespace().map(String::from))?;
        Some((args.minutes, fixed.then_some(args.seed), args.json))
    }

    #[test]
    fn arguments() {
        assert_eq!(read(""), Some((2, None, None)));
        assert_eq!(read("15"), Some((15, None, None)));
        assert_eq!(read("--seed 7 3 --json out"), Some((3, Some(7), Some("out".into()))));
        for wrong in
            ["0", "-1", "1.5", "two", "1 2", "--seed", "--seed x", "--json", "--help", "3 --seed 1 --seed 2"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
