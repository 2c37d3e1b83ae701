//! `docs/deadlines.md` says the numbers that are in the code, and leaves no deadline out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files whose times are no deadlines: tests, measurements, forecasts, emulated links, the display.
const OTHERS: [&str; 8] = [
    "transport/hostile.rs",
    "transport/flooded.rs",
    "transport/emulate",
    "cli/bench/",
    "cli/plan/",
    "cli/output.rs",
    "memory.rs",
    "probe.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// A time as the page writes it, `20 s` or `300 ms`.
fn time(text: &str) -> Duration {
    let (number, unit) = text.split_once(' ').unwrap_or_else(|| panic!("`{text}` is no time"));
    let number: u64 = number.parse().unwrap_or_else(|e| panic!("`{text}`: {e}"));
    match unit {
        "s" => Duration::from_secs(number),
        "ms" => Duration::from_millis(number),
        _ => panic!("`{text}`: no unit of ours"),
    }
}

/// The page's rows: place and time.
fn page() -> BTreeMap<(String, String), Duration> {
    let text = fs::read_to_string(root().join("../../docs/deadlines.md")).unwrap();
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| What |")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{line}");
        let place: Vec<&str> = cells[4].split('`').collect();
        let place = (place[1].to_owned(), place[3].to_owned());
        assert!(all.insert(place, time(cells[1])).is_none(), "{line}: twice");
    }
    all
}

/// `Duration::from_secs(20)` at the beginning of a text.
fn value(text: &str) -> Option<Duration> {
    let rest = text.trim_start().strip_prefix("Duration::from_")?;
    let (unit, rest) = rest.split_once('(')?;
    let number = rest.split(')').next()?.replace('_', "").parse().ok()?;
    match unit {
        "secs" => Some(Duration::from_secs(number)),
        "millis" => Some(Duration::from_millis(number)),
        _ => None,
    }
}

/// What a file of the code says of a name: a constant, a default of `Limits`, or a flag's default in seconds.
fn code(text: &str, name: &str) -> Option<Duration> {
    let constant = text.split_once(&format!("const {name}: Duration =")).map(|(_, rest)| rest);
    let field = text
        .split_once(&format!("            {name}: Duration::"))
        .map(|(_, rest)| format!("Duration::{rest}"));
    let flag = text.split_once(&format!("\n    {name}: u64")).and_then(|(before, _)| {
        let (_, rest) = before.rsplit_once("default_value = \"")?;
        rest.split('"').next()?.parse().ok().map(Duration::from_secs)
    });
    constant.and_then(value).or_else(|| field.as_deref().and_then(value)).or(flag)
}

/// The files whose times are deadlines, by place, without their tests.
fn sources(folder: &Path, all: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        let test = name.split('/').any(|part| part == "tests" || part == "tests.rs");
        if test || OTHERS.iter().any(|other| name.starts_with(other)) {
            continue;
        }
        if path.is_dir() {
            sources(&path, all);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            all.insert(name, text.split("\nmod tests {").next().unwrap().to_owned());
        }
    }
}

/// The name of the constant of a time that a line gives, if it does.
fn constant(line: &str) -> Option<&str> {
    Some(line.split_once("const ")?.1.split_once(": Duration =")?.0)
}

/// Whether a line has a time in numbers.
fn is_number(line: &str) -> bool {
    let mut calls = line.split("Duration::from_").skip(1).filter_map(|rest| rest.split_once('('));
    calls.any(|(_, arguments)| arguments.starts_with(|first: char| first.is_ascii_digit()))
}

#[test]
fn the_page_says_what_the_code_does() {
    let page = page();
    for ((file, name), said) in &page {
        let text = fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        let found = code(&text, name).unwrap_or_else(|| panic!("{file} has no time `{name}`"));
        assert_eq!(found, *said, "{file}: {name}");
    }
    let mut all = BTreeMap::new();
    sources(&root(), &mut all);
    for (name, text) in &all {
        for constant in text.lines().filter_map(constant) {
            let place = (name.clone(), constant.to_owned());
            assert!(page.contains_key(&place), "{place:?} is not in docs/deadlines.md");
        }
    }
}

/// A time that has no name cannot be on the page.
#[test]
fn no_time_stands_in_the_midst_of_the_code() {
    let (page, mut all) = (page(), BTreeMap::new());
    sources(&root(), &mut all);
    assert!(all.len() > 100, "the sources are found");
    for (name, text) in &all {
        for line in text.lines().filter(|line| is_number(line) && constant(line).is_none()) {
            // A default of `Limits`, which has a row of its own.
            let field = line.trim().split_once(": Duration::").map(|(field, _)| field);
            let listed = field.is_some_and(|field| page.contains_key(&(name.clone(), field.to_owned())));
            assert!(
                listed,
                "{name}: name this time, and write it down in docs/deadlines.md: {}",
                line.trim()
            );
        }
    }
    assert!(is_number("x(Duration::from_secs(1))") && is_number("let t = Duration::from_secs_f64(0.2);"));
    assert!(!is_number("Duration::from_secs(args.patience)") && !is_number("Duration::ZERO"));
}

/// Numbers that are in the page's words.
#[test]
fn numbers_in_words_are_right_too() {
    let link = fs::read_to_string(root().join("transport/link.rs")).unwrap();
    assert!(link.contains("const SLOWEST: u64 = 256 << 10;"), "1 s for each 256 KiB");
    let requests = fs::read_to_string(root().join("serve/requests.rs")).unwrap();
    assert!(requests.contains("AGAIN * (1 << entry.tries.min(6))"), "up to 64 times as long");
}
