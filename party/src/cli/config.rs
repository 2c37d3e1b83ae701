//! The configuration of a party: defaults, below one TOML file, below `TWOPLY_*` variables, below flags.
//!
//! Unknown keys are errors, with a suggestion. Paths in a file are relative to the file's folder. Names of variables
//! are the keys in capitals (`TWOPLY_PEER_KEY`); lists are separated by commas.

use super::places::fingerprint;
use crate::exit::{ExitCode, Failure, Phase};
use crate::transport::{Shape, Transport};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use twoply_primitives::backend::Choice;

/// Settings of `twoply party`; `None` (or an empty list) means not set here.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Party {
    /// Which party: 0 or 1.
    pub role: Option<u8>,
    /// The plan file.
    pub plan: Option<PathBuf>,
    /// Folder of this party's key sets.
    pub keys: Option<PathBuf>,
    /// Folder that this party trained in, for key sets of trained weights.
    pub runs: Option<PathBuf>,
    /// This machine's key file.
    pub key: Option<PathBuf>,
    /// Where to listen, `host:port`.
    pub listen: Option<String>,
    /// Where P0 is, `host:port`; for P1.
    pub peer: Option<String>,
    /// Fingerprint of the other party's key.
    pub peer_key: Option<String>,
    /// What P1 calls P0 over.
    pub transport: Option<Transport>,
    /// Link to emulate on all connections.
    pub link: Option<Shape>,
    /// Fingerprints of data owners that may ask.
    pub clients: Option<Vec<String>>,
    /// Fingerprints of model owners that may provision.
    pub owners: Option<Vec<String>>,
    /// Refuse plans that reveal more than labels.
    pub labels_only: Option<bool>,
    /// Seconds the other party may stay away; not set: for ever.
    pub patience: Option<u64>,
    /// Most images that each data owner's key may ask for.
    pub images_per_client: Option<u64>,
    /// What to compute on.
    pub device: Option<Choice>,
    /// Threads for computing.
    pub threads: Option<usize>,
    /// Take keys that were dealt from a public test seed.
    pub insecure_test_seed: Option<bool>,
}

/// The keys, as in the file.
const KEYS: [&str; 18] = [
    "role",
    "plan",
    "keys",
    "runs",
    "key",
    "listen",
    "peer",
    "peer_key",
    "transport",
    "link",
    "clients",
    "owners",
    "labels_only",
    "patience",
    "images_per_client",
    "device",
    "threads",
    "insecure_test_seed",
];
/// Variables of this prefix that are no settings of a party.
const OTHER_VARIABLES: [&str; 3] = ["TWOPLY_HOME", "TWOPLY_LOG", "TWOPLY_CPU"];
const PREFIX: &str = "TWOPLY_";

impl Party {
    /// Flags above the environment above the file, if there is one.
    ///
    /// # Errors
    /// 3 naming every unknown key with a suggestion, or the value that cannot be read.
    pub fn load(file: Option<&Path>, flags: Party) -> Result<Party, Failure> {
        let file = file.map_or_else(|| Ok(Party::default()), Party::from_file)?;
        // A variable that is not Unicode has no name or value of ours.
        let texts = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment = Party::from_variables(std::env::vars_os().filter_map(texts))?;
        environment.fingerprints(|key| format!("{PREFIX}{}", key.to_ascii_uppercase()))?;
        flags.fingerprints(|key| match key {
            "peer_key" => "--peer-key".into(),
            list => format!("--{}", list.trim_end_matches('s')),
        })?;
        Ok(flags.over(environment).over(file))
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// 3, as [`Party::load`].
    pub fn from_file(path: &Path) -> Result<Party, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| bad(format!("cannot read {}: {e}", path.display())).remedy("check --config"))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let party = Party::from_toml(&text).map_err(|failure| {
            let content = failure.content();
            bad(format!("{}: {}", path.display(), content.what)).remedy(content.remedy.clone())
        })?;
        party.fingerprints(|key| format!("{}: `{key}`", path.display()))?;
        let place = |path: Option<PathBuf>| path.map(|path| folder.join(path));
        Ok(Party {
            plan: place(party.plan),
            keys: place(party.keys),
            runs: place(party.runs),
            key: place(party.key),
            ..party
        })
    }

    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// 3, as [`Party::load`].
    pub fn from_toml(text: &str) -> Result<Party, Failure> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| bad(e.to_string()))?;
        let unknown: Vec<String> = table
            .keys()
            .filter(|key| !KEYS.contains(&key.as_str()))
            .map(|key| format!("unknown key `{key}`{}", suggestion(key, KEYS)))
            .collect();
        if !unknown.is_empty() {
            return Err(bad(unknown.join("; ")).remedy(format!("known keys: {}", KEYS.join(", "))));
        }
        let party: Party = toml::from_str(text).map_err(|e| bad(e.to_string()))?;
        party.check()
    }

    /// Reads `TWOPLY_*` variables. One that resembles a key of ours is an error; others are left alone.
    ///
    /// # Errors
    /// 3, as [`Party::load`].
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Party, Failure> {
        let mut party = Party::default();
        for (name, value) in variables {
            if let Some(key) = name.strip_prefix(PREFIX).filter(|_| !OTHER_VARIABLES.contains(&name.as_str()))
            {
                party.set(&name, &key.to_ascii_lowercase(), value)?;
            }
        }
        party.check()
    }

    fn set(&mut self, name: &str, key: &str, value: String) -> Result<(), Failure> {
        let list = |value: &str| Some(value.split(',').map(|item| item.trim().to_owned()).collect());
        match key {
            "role" => self.role = Some(parse(name, &value)?),
            "plan" => self.plan = Some(value.into()),
            "keys" => self.keys = Some(value.into()),
            "runs" => self.runs = Some(value.into()),
            "key" => self.key = Some(value.into()),
            "listen" => self.listen = Some(value),
            "peer" => self.peer = Some(value),
            "peer_key" => self.peer_key = Some(value),
            "transport" => self.transport = Some(parse(name, &value)?),
            "link" => self.link = Some(parse(name, &value)?),
            "clients" => self.clients = list(&value),
            "owners" => self.owners = list(&value),
            "labels_only" => self.labels_only = Some(parse(name, &value)?),
            "patience" => self.patience = Some(parse(name, &value)?),
            "images_per_client" => self.images_per_client = Some(parse(name, &value)?),
            "device" => self.device = Some(parse(name, &value)?),
            "threads" => self.threads = Some(parse(name, &value)?),
            "insecure_test_seed" => self.insecure_test_seed = Some(parse(name, &value)?),
            _ if !suggestion(key, KEYS).is_empty() => {
                let names = KEYS.map(|key| format!("{PREFIX}{}", key.to_ascii_uppercase()));
                let suggested = suggestion(name, names.iter().map(String::as_str));
                return Err(bad(format!("unknown variable `{name}`{suggested}")));
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads every fingerprint here; `name` says what a setting is called where these come from.
    ///
    /// # Errors
    /// 3 naming the setting, and its value.
    fn fingerprints(&self, name: impl Fn(&str) -> String) -> Result<(), Failure> {
        let list = |all: &'_ Option<Vec<String>>| all.clone().unwrap_or_default();
        let settings = [
            ("peer_key", self.peer_key.iter().cloned().collect()),
            ("clients", list(&self.clients)),
            ("owners", list(&self.owners)),
        ];
        let mut all = settings.iter().flat_map(|(key, values)| values.iter().map(move |text| (key, text)));
        all.try_for_each(|(key, text)| fingerprint(&name(key), text).map(drop))
    }

    fn check(self) -> Result<Party, Failure> {
        match self.role {
            Some(role) if role > 1 => {
                Err(bad(format!("there is no party {role}")).remedy("set role to 0 or 1"))
            }
            _ => Ok(self),
        }
    }

    /// What is set here, and below it what is set in `lower`. Lists are replaced, not joined.
    #[must_use]
    pub fn over(self, lower: Party) -> Party {
        Party {
            role: self.role.or(lower.role),
            plan: self.plan.or(lower.plan),
            keys: self.keys.or(lower.keys),
            runs: self.runs.or(lower.runs),
            key: self.key.or(lower.key),
            listen: self.listen.or(lower.listen),
            peer: self.peer.or(lower.peer),
            peer_key: self.peer_key.or(lower.peer_key),
            transport: self.transport.or(lower.transport),
            link: self.link.or(lower.link),
            clients: self.clients.or(lower.clients),
            owners: self.owners.or(lower.owners),
            labels_only: self.labels_only.or(lower.labels_only),
            patience: self.patience.or(lower.patience),
            images_per_client: self.images_per_client.or(lower.images_per_client),
            device: self.device.or(lower.device),
            threads: self.threads.or(lower.threads),
            insecure_test_seed: self.insecure_test_seed.or(lower.insecure_test_seed),
        }
    }
}

fn bad(what: String) -> Failure {
    Failure::new(ExitCode::Config, what).during(Phase::Start)
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str, value: &str) -> Result<T, Failure> {
    value.parse().map_err(|e| bad(format!("{name}=`{value}`: {e}")))
}

/// "; did you mean ...?" for the nearest of `known`, if one is near.
fn suggestion<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let plain = text.to_ascii_lowercase().replace('-', "_");
    let nearest = known.into_iter().map(|k| (distance(&plain, &k.to_ascii_lowercase()), k)).min();
    match nearest {
        Some((far, key)) if far <= 1 + plain.len() / 5 => format!(", did you mean `{key}`?"),
        _ => String::new(),
    }
}

/// Characters to insert, remove or exchange to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (corner + usize::from(x != *y)).min(above + 1).min(row[j] + 1);
            corner = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(all: &[(&str, &str)]) -> Result<Party, Failure> {
        Party::from_variables(all.iter().map(|(name, value)| (name.to_string(), value.to_string())))
    }

    #[test]
    fn flags_stand_above_variables_above_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("party.toml");
        std::fs::write(&path, "role = 1\nplan = 'a.json'\npeer = 'file:1'\nlisten = 'file:2'\n").unwrap();
        let file = Party::from_file(&path).unwrap();
        assert_eq!(file.plan, Some(folder.path().join("a.json")));
        let environment =
            variables(&[("TWOPLY_PEER", "env:1"), ("TWOPLY_LISTEN", "env:2"), ("HOME", "x")]).unwrap();
        let flags = Party { listen: Some("flag:2".into()), ..Party::default() };
        let all = flags.over(environment).over(file);
        assert_eq!(all.role, Some(1));
        assert_eq!((all.peer.as_deref(), all.listen.as_deref()), (Some("env:1"), Some("flag:2")));
    }

    #[test]
    fn unknown_keys_are_all_named_with_a_suggestion() {
        let failure = Party::from_toml("rol = 0\nlisten-to = 'x'\nxyzzy = 1\npeer-key = 'k'").unwrap_err();
        assert_eq!(failure.code(), ExitCode::Config);
        let what = &failure.content().what;
        for part in
            ["`rol`, did you mean `role`", "`peer-key`, did you mean `peer_key`", "`listen-to`", "`xyzzy`"]
        {
            assert!(what.contains(part), "{part} in {what}");
        }
        assert!(!what.contains("`xyzzy`,"), "{what}");
        let failure = variables(&[("TWOPLY_PER_KEY", "x")]).unwrap_err();
        assert!(failure.content().what.contains("did you mean `TWOPLY_PEER_KEY`"), "{failure}");
        assert!(
            variables(&[("TWOPLY_HOME", "x"), ("TWOPLY_LOG", "x"), ("TWOPLY_SOMETHING_ELSE", "x")]).is_ok()
        );
    }

    #[test]
    fn bad_values_are_named() {
        for text in [
            "role = 2",
            "role = 'P0'",
            "role = -1",
            "clients = 'x'",
            "transport = 'udp'",
            "link = 'rtt=1'",
            "device = 'gpu0'",
            "device = 0",
            "[role]",
            "role = 0\nrole = 1",
            "\u{0}",
        ] {
            assert_eq!(Party::from_toml(text).unwrap_err().code(), ExitCode::Config, "{text}");
        }
        let failure = variables(&[("TWOPLY_THREADS", "many")]).unwrap_err();
        assert!(failure.content().what.contains("TWOPLY_THREADS=`many`"), "{failure}");
        assert!(variables(&[("TWOPLY_ROLE", "3")]).is_err());
        assert!(variables(&[("TWOPLY_TRANSPORT", "udp")]).is_err());
        assert!(variables(&[("TWOPLY_LINK", "lann")]).is_err());
        let failure = variables(&[("TWOPLY_DEVICE", "cuda:x")]).unwrap_err();
        assert!(
            failure.content().what.contains("TWOPLY_DEVICE=`cuda:x`: `cuda:x` is no device"),
            "{failure}"
        );
    }

    #[test]
    fn lists_in_variables_are_separated_by_commas() {
        let party = variables(&[("TWOPLY_CLIENTS", "a, b"), ("TWOPLY_LABELS_ONLY", "true")]).unwrap();
        assert_eq!(party.clients, Some(vec!["a".into(), "b".into()]));
        assert_eq!(party.labels_only, Some(true));
    }

    /// Every key can be set in both ways, and no key is left out of the list.
    #[test]
    fn every_key_has_its_variable() {
        let text = "role = 1\nplan = '1'\nkeys = '1'\nruns = '1'\nkey = '1'\nlisten = '1'\npeer = '1'\npeer_key = '1'\n\
                    transport = 'tcp'\nlink = 'wan'\n\
                    clients = ['1']\nowners = ['1']\nlabels_only = true\npatience = 1\nimages_per_client = 1\n\
                    device = 'cpu'\nthreads = 1\n\
                    insecure_test_seed = true\n";
        let file = Party::from_toml(text).unwrap();
        let value = |key: &str| match key {
            "labels_only" | "insecure_test_seed" => "true",
            "transport" => "tcp",
            "link" => "wan",
            "device" => "cpu",
            _ => "1",
        };
        let all = KEYS.map(|key| (format!("TWOPLY_{}", key.to_uppercase()), value(key).to_string()));
        assert_eq!(Party::from_variables(all).unwrap(), file);
        assert_eq!(text.lines().count(), KEYS.len());
        assert!(!format!("{file:?}").contains("None"));
    }

    #[test]
    fn the_samples_in_the_documentation_are_read() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let basic = std::fs::read_to_string(docs.join("party.toml")).unwrap();
        assert!(basic.lines().count() <= 15);
        let basic = Party::from_toml(&basic).unwrap();
        assert!(
            basic.role.is_some() && basic.plan.is_some() && basic.keys.is_some() && basic.peer_key.is_some()
        );
        let full = std::fs::read_to_string(docs.join("party-full.toml")).unwrap();
        Party::from_toml(&full).unwrap();
        for key in KEYS {
            let line = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{key} = "));
            assert!(full.lines().any(line), "{key} is not in party-full.toml");
        }
        // What is commented out must be right as well.
        let all: String = full
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(setting) if KEYS.iter().any(|key| setting.starts_with(&format!("{key} = "))) => {
                    format!("{setting}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect();
        let full = Party::from_toml(&all).unwrap();
        assert!(!format!("{full:?}").contains("None"));
    }
}
