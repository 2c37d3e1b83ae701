//! Licences, sources and bans of dependencies, as `deny.toml` states them. Advisories need a database that is not at hand
//! everywhere: see there.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

#[derive(Deserialize)]
struct Rules {
    licenses: Licences,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    #[serde(default)]
    deny_multiple_versions: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
}

fn read<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// All packages that are built here. What is at hand is enough; else the registry is asked; without it, and without what
/// optional features need, those of the usual build.
fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let run = |args: &[&str]| -> Result<String, String> {
        let out = Command::new(&cargo).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if out.status.success() { Ok(text(&out.stdout)) } else { Err(text(&out.stderr)) }
    };
    let about = run(&["-vV"]).unwrap();
    let host = about.lines().find_map(|l| l.strip_prefix("host: ")).unwrap();
    let wanted = ["metadata", "--format-version", "1", "--locked", "--filter-platform", host];
    let with = |more: &[&str]| run(&[&wanted[..], more].concat());
    let all = with(&["--all-features", "--offline"]).or_else(|_| with(&["--all-features"]));
    let text = all.or_else(|_| with(&["--offline"])).unwrap_or_else(|why| panic!("cargo metadata: {why}"));
    serde_json::from_str::<Metadata>(&text).unwrap().packages
}

/// Whether an SPDX expression can be met with these licences: `OR` needs one side, `AND` both; an old `/` is an `OR`.
fn allowed(expression: &str, licences: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any(&words, &mut at, licences);
    met && at == words.len()
}

fn any(words: &[&str], at: &mut usize, licences: &BTreeSet<String>) -> bool {
    let mut met = all(words, at, licences);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all(words, at, licences);
    }
    met
}

fn all(words: &[&str], at: &mut usize, licences: &BTreeSet<String>) -> bool {
    let mut met = one(words, at, licences);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, licences);
    }
    met
}

fn one(words: &[&str], at: &mut usize, licences: &BTreeSet<String>) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = any(words, at, licences);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return met && closed;
    }
    let mut name = word.to_string();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    licences.contains(&name)
}

#[test]
fn licences_are_those_that_are_allowed() {
    let rules: Rules = read("deny.toml");
    let all = packages();
    assert!(all.len() > 100, "{} packages", all.len());
    let faults: Vec<String> = all
        .iter()
        .filter(|p| !p.license.as_ref().is_some_and(|l| allowed(l, &rules.licenses.allow)))
        .map(|p| format!("{} {}: {:?}", p.name, p.version, p.license))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn sources_are_registries_that_are_listed_and_nothing_banned_is_among_them() {
    let (rules, lock): (Rules, Lock) = (read("deny.toml"), read("Cargo.lock"));
    let known: Vec<String> = rules.sources.allow_registry.iter().map(|r| format!("registry+{r}")).collect();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for p in &lock.package {
        versions.entry(&p.name).or_default().insert(&p.version);
        // members of the workspace have no source
        let ours = p.source.is_none() && p.name.starts_with("twoply-");
        assert!(ours || p.source.as_ref().is_some_and(|s| known.contains(s)), "{}: {:?}", p.name, p.source);
    }
    for ban in &rules.bans.deny {
        let found = versions.get(&ban.name[..]).map_or(0, BTreeSet::len);
        let most = if ban.deny_multiple_versions { 1 } else { 0 };
        assert!(found <= most, "{}: {:?}", ban.name, versions[&ban.name[..]]);
        assert!(most == 0 || found == 1, "{} is listed and not used", ban.name);
    }
}

#[test]
fn expressions_are_read_as_they_are_meant() {
    let licences = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].map(String::from).into();
    let allows = |e| allowed(e, &licences);
    for good in [
        "MIT",
        "GPL-3.0-only OR MIT",
        "MIT/Apache-2.0",
        "MIT AND (GPL-3.0-only OR Apache-2.0)",
        "Apache-2.0 WITH LLVM-exception",
        "MIT OR GPL-3.0-only AND Zlib",
    ] {
        assert!(allows(good), "{good}");
    }
    for bad in [
        "GPL-3.0-only",
        "MIT AND GPL-3.0-only",
        "MIT WITH other",
        "(MIT",
        "MIT MIT",
        "",
        "(MIT OR Zlib) AND Zlib",
    ] {
        assert!(!allows(bad), "{bad}");
    }
}
