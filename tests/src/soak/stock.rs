//! The stock of keys: sets dealt while everything runs, moved to both parties, provisioned; sizes stay small, since
//! parties erase segments whose images are spent.

use super::nap;
use super::owners::retries;
use super::party::failure_of;
use super::record::{Fate, Run, Verb};
use super::stage::Stage;
use crate::Proc;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long dealing, listing or provisioning may take.
const LONG: Duration = Duration::from_secs(90);

/// How often provisioning is tried for no set in particular.
const TRIES: usize = 8;

/// A key set in a listing.
pub struct Listed {
    pub name: String,
    pub images: u64,
    pub spent: u64,
    pub left: u64,
}

/// What `keys ls` says of a party's folder.
pub fn list(stage: &Stage, me: usize) -> Option<Vec<Listed>> {
    let (keys, role) = (stage.world.path(&format!("keys/p{me}")), me.to_string());
    let args = ["keys", "ls", "--keys", &keys, "--role", &role, "--format", "json"];
    let ended = Proc::start("keys ls", &args).finish_within(LONG);
    let json: Option<serde_json::Value> = serde_json::from_str(&ended.out).ok();
    let Some(json) = json.filter(|_| ended.code == Some(0)) else {
        stage.trouble(format!("`keys ls` of P{me} failed: {}", failure_of(&ended)));
        return None;
    };
    let set = |set: &serde_json::Value| {
        let number = |key: &str| set[key].as_u64();
        let name = set["key_set"].as_str()?.to_owned();
        Some(Listed { name, images: number("images")?, spent: number("spent")?, left: number("left")? })
    };
    json["key_sets"].as_array()?.iter().map(set).collect()
}

/// Images left in sets that both parties have.
fn left(stage: &Stage) -> Option<u64> {
    let [a, b] = [list(stage, 0)?, list(stage, 1)?];
    let common = |set: &Listed| b.iter().find(|s| s.name == set.name).map(|s| s.left.min(set.left));
    Some(a.iter().filter_map(common).sum())
}

/// Keeps the stock until `quiet`.
pub fn keep(stage: &Stage, quiet: &AtomicBool) {
    let mut refused = 0;
    while !nap(Duration::from_millis(500), &[quiet, stage.interrupt]) {
        // Below this, the next set is made; what is left lasts until it is there.
        if left(stage).is_some_and(|left| left < stage.settings.stock)
            && let Some(set) = stage.top_up()
        {
            provision(stage, Some((&set, quiet)));
        }
        // Whoever was refused may lack weights.
        let now = stage.refused.load(Ordering::SeqCst);
        if now > refused {
            provision(stage, None);
            refused = now;
        }
    }
}

impl Stage<'_> {
    /// Deals a set and moves both halves to their parties; its name.
    pub fn top_up(&self) -> Option<String> {
        let number = self.record().dealt;
        let (images, segment) = (self.settings.set, self.settings.segment);
        let out = format!("deal-{number}");
        let mut dealer = self.world.deal_args(&out, "plan.json", images, segment, &["--threads", "1"]);
        let ended = dealer.finish_within(LONG);
        if ended.code != Some(0) {
            self.trouble(format!("dealing failed: {}", failure_of(&ended)));
            return None;
        }
        let moved = [0, 1].map(|me| self.move_half(&out, me));
        let _ = fs::remove_dir_all(self.world.path(&out));
        match moved {
            [Ok(name), Ok(_)] => {
                self.record().dealt += 1;
                Some(name)
            }
            [a, b] => {
                self.trouble(format!("keys could not be moved: {a:?}, {b:?}"));
                None
            }
        }
    }
    /// Moves a party's half of a deal into its key folder.
    fn move_half(&self, out: &str, me: usize) -> std::io::Result<String> {
        let from = PathBuf::from(self.world.path(&format!("{out}/p{me}")));
        let to = PathBuf::from(self.world.path(&format!("keys/p{me}")));
        let sets = fs::read_dir(from)?.flatten().map(|entry| entry.path());
        let set = sets.filter(|path| path.join("set.key").exists()).max();
        let set = set.ok_or_else(|| std::io::Error::other("no set was dealt"))?;
        let name = set.file_name().unwrap_or_default().to_owned();
        fs::rename(&set, to.join(&name))?;
        Ok(name.to_string_lossy().into_owned())
    }
}

/// The model owner opens its weights, again until it succeeds and, for a new set, until it tells of that one, however long
/// parties are down: nobody can use a set without weights, and the stock counts it.
pub fn provision(stage: &Stage, set: Option<(&str, &AtomicBool)>) {
    for tried in 1.. {
        let said = once(stage);
        let enough = match set {
            None => said.is_some() || tried == TRIES,
            Some((name, quiet)) => said.is_some_and(|out| out.contains(name)) || quiet.load(Ordering::SeqCst),
        };
        if enough || nap(Duration::from_millis(700), &[stage.interrupt]) {
            return;
        }
    }
}

fn once(stage: &Stage) -> Option<String> {
    let mut args = stage.owner_args("provision", "owner");
    args.extend(["--weights".to_owned(), stage.world.path("weights")]);
    let from = stage.clock.now();
    let ended = Proc::start("owner", &args).finish_within(LONG);
    if stage.interrupt.load(Ordering::SeqCst) {
        return None;
    }
    stage.ran(Run {
        owner: "owner".into(),
        verb: Verb::Provision,
        batch: 0,
        wanted: vec![],
        answers: vec![],
        answered: vec![],
        from,
        to: stage.clock.now(),
        fate: ended.code.map_or(Fate::Hung, Fate::Exit),
        said: if ended.code == Some(0) { String::new() } else { failure_of(&ended) },
        retries: retries(&ended),
    });
    (ended.code == Some(0)).then(|| ended.out + &ended.err)
}
