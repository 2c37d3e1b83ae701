//! A training run in real processes: homes, a plan, and the verbs that its roles call.

use crate::model::digits;
use crate::{Ended, Proc, Terms};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use twoply_nn::train::{Loss, Rate, Recipe, Share, TrainingPlan, trunk};
use twoply_party::identity::Identity;

/// Who has a home: parties, dealer, owners of data, owner of the model.
pub const ROLES: [&str; 6] = ["p0", "p1", "dealer", "owner", "other", "model"];

/// How long a run may take on a loaded machine.
pub const LONG: Duration = Duration::from_secs(300);

/// Homes, keys, a plan of the digits network.
pub struct School {
    dir: TempDir,
    /// The plan in `digits.train.json`.
    pub plan: TrainingPlan,
    keys: Vec<String>,
    /// Where P0 and P1 listen, once they do; the same after a restart.
    ports: [u16; 2],
}

/// Ports that nobody has: asked for, and given back.
fn ports() -> [u16; 2] {
    let hold = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    hold.each_ref().map(|l| l.local_addr().expect("an address").port())
}

impl School {
    /// A plan of `rows` digits in batches of 16, so many epochs, a checkpoint every `checkpoint` steps.
    pub fn new((rows, epochs): (u64, u32), shares: Vec<Share>, checkpoint: u32) -> School {
        let dir = tempfile::tempdir().expect("a folder");
        let keys = ROLES.map(|role| {
            let home = dir.path().join(role);
            fs::create_dir(&home).expect("a home");
            Identity::create(&home.join("identity.key")).expect("an identity").fingerprint().to_string()
        });
        let recipe =
            Recipe { rate: Rate { factor: 1, shift: 5 }, ..Recipe::usual(32, 16, Loss::CrossEntropy) };
        let graph = trunk(&digits().graph, recipe.loss).expect("a graph").0;
        let plan = TrainingPlan::new(graph, recipe, (rows, epochs), 1).expect("a plan");
        let shares = if shares.is_empty() { plan.shares.clone() } else { shares };
        let plan = plan.shared(shares, checkpoint).expect("shares");
        let school = School { dir, plan, keys: keys.into(), ports: ports() };
        school.replan("digits.train.json", &school.plan);
        school
    }
    /// Writes a plan.
    pub fn replan(&self, name: &str, plan: &TrainingPlan) {
        fs::write(self.path(name), plan.to_json().expect("a plan")).expect("a file");
    }
    /// A path in the school.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    /// Where P0 and P1 listen.
    pub fn ports(&self) -> [u16; 2] {
        self.ports
    }
    /// The fingerprint of a role.
    pub fn key(&self, role: &str) -> &str {
        &self.keys[ROLES.iter().position(|r| *r == role).expect("a role")]
    }
    /// Starts a verb; `more` stands at its end.
    pub fn start(&self, name: &str, args: &[String], more: &[&str]) -> Proc {
        self.start_under(Terms::default(), name, args, more)
    }
    /// The same under terms that no user would choose.
    pub fn start_under(&self, terms: Terms, name: &str, args: &[String], more: &[&str]) -> Proc {
        let all: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        Proc::start_under(terms, self.dir.path(), name, &all)
    }
    fn words(&self, text: &str) -> Vec<String> {
        text.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect()
    }
    fn places(&self) -> String {
        let [a, b] = self.ports;
        let (p0, p1) = (self.key("p0"), self.key("p1"));
        format!("--p0 127.0.0.1:{a} --p0-key {p0} --p1 127.0.0.1:{b} --p1-key {p1}")
    }
    /// What party `me` is told, after `verb`.
    pub fn party_words(&self, verb: &str, me: usize) -> Vec<String> {
        let (peer, [p0, _]) = (self.key(["p1", "p0"][me]), self.ports);
        let call = if me == 1 { format!("--peer 127.0.0.1:{p0}") } else { String::new() };
        let owners = self.plan.shares.iter().zip(["owner", "other"].iter().cycle());
        let owners: Vec<_> =
            owners.map(|(s, role)| format!("--owner {}={}", s.owner, self.key(role))).collect();
        self.words(&format!(
            "train {verb} digits.train.json --role {me} --home p{me} --listen 127.0.0.1:{} --peer-key {peer} {call} --dealer {} {} \
             --model-owner {} --patience 120 --format json",
            self.ports[me],
            self.key("dealer"),
            owners.join(" "),
            self.key("model")
        ))
    }
    /// Starts a party, and waits until it listens.
    pub fn party(&self, verb: &str, me: usize, more: &[&str]) -> Proc {
        let party = self.start(&format!("p{me}"), &self.party_words(verb, me), more);
        party.hear("listens on", LONG).expect("it listens");
        party
    }
    /// What the dealer is told.
    pub fn dealer_words(&self) -> Vec<String> {
        let words = format!(
            "deal digits.train.json --follow --home dealer {} --stay 120 --format json",
            self.places()
        );
        self.words(&words)
    }
    /// Starts the dealer.
    pub fn dealer(&self, more: &[&str]) -> Proc {
        self.start("dealer", &self.dealer_words(), more)
    }
    /// What the owner of share `name`, whose home is `role`, is told.
    pub fn owner_words(&self, name: &str, role: &str) -> Vec<String> {
        let words = format!(
            "share digits.train.json --as {name} --home {role} {} --wait 60 --format json",
            self.places()
        );
        self.words(&words)
    }
    /// Starts the owner of share `name`, whose home is `role`.
    pub fn owner(&self, name: &str, role: &str, more: &[&str]) -> Proc {
        self.start(role, &self.owner_words(name, role), more)
    }
    /// What the model's owner is told.
    pub fn fetcher_words(&self) -> Vec<String> {
        let words = format!(
            "train fetch digits.train.json --out learnt --home model {} --format json",
            self.places()
        );
        self.words(&words)
    }
    /// Starts the model's owner.
    pub fn fetcher(&self, more: &[&str]) -> Proc {
        self.start("model", &self.fetcher_words(), more)
    }
    /// What the owner of share `name`, whose home is `role`, is told to take its figures.
    pub fn watcher_words(&self, name: &str, role: &str) -> Vec<String> {
        let words = format!(
            "train watch digits.train.json --as {name} --home {role} {} --format json",
            self.places()
        );
        self.words(&words)
    }
    /// Starts the owner of share `name`, whose home is `role`, to take its figures.
    pub fn watcher(&self, name: &str, role: &str, more: &[&str]) -> Proc {
        self.start(role, &self.watcher_words(name, role), more)
    }
    /// Flags of all digits: inputs and labels.
    pub fn digits(&self) -> [String; 4] {
        let of = |name: &str| format!("{}/../examples/digits/{name}", env!("CARGO_MANIFEST_DIR"));
        ["--samples".into(), of("digits-images.idx"), "--labels".into(), of("digits-labels.idx")]
    }
    /// `twoply train status` of a role's folder.
    pub fn status(&self, role: &str) -> serde_json::Value {
        let runs = format!("{role}/train");
        let words = ["train", "status", "--runs", &runs, "--format", "json"];
        let ended: Ended = Proc::start_in(self.dir.path(), "status", &words).finish_within(LONG);
        ended.is(0);
        ended.json()
    }
}
