//! Four homes in one temporary folder: two parties, the model owner, the data owner; and the verbs they call.

use crate::model::{Kind, Network, digits, idx};
use crate::{Ended, Proc, SOON};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use twoply_nn::Plan;
use twoply_party::client::Place;
use twoply_party::identity::Identity;

/// Who has a home.
pub const HOMES: [&str; 5] = ["p0", "p1", "owner", "client", "other"];

/// Folders, keys, a plan, weights.
pub struct World {
    dir: TempDir,
    /// The plan in `plan.json`.
    pub plan: Plan,
    /// Fingerprints, in the order of [`HOMES`].
    pub keys: Vec<String>,
}

impl World {
    /// A world with a plan of the digits network, without keys.
    pub fn new(kind: Kind) -> World {
        World::of(digits(), kind)
    }
    /// A world with a plan of any network, without keys.
    pub fn of(network: &Network, kind: Kind) -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let mut world = World { dir, plan: network.plan(kind), keys: vec![] };
        world.keys = HOMES.map(|home| world.home(home)).into();
        world.write("plan.json", world.plan.to_json().expect("a plan").as_bytes());
        world.write("weights", &network.weights_file());
        world
    }
    /// Makes a home with an identity; its fingerprint.
    pub fn home(&self, name: &str) -> String {
        let home = self.dir.path().join(name);
        fs::create_dir(&home).expect("a home");
        Identity::create(&home.join("identity.key")).expect("an identity").fingerprint().to_string()
    }
    /// A world with keys for `images` in segments of `segment`.
    pub fn dealt(kind: Kind, images: u64, segment: u32) -> World {
        let world = World::new(kind);
        world.deal("keys", "plan.json", images, segment).is(0);
        world
    }
    /// A path in the world.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
    /// Writes a private file; its path.
    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        path
    }
    /// The identity of a home.
    pub fn identity(&self, home: &str) -> Arc<Identity> {
        Arc::new(Identity::load(&self.dir.path().join(home).join("identity.key")).expect("an identity"))
    }
    /// Deals into the folder `out`.
    pub fn deal(&self, out: &str, plan: &str, images: u64, segment: u32) -> Ended {
        self.deal_args(out, plan, images, segment, &[]).wait(SOON)
    }
    /// Starts dealing.
    pub fn deal_args(&self, out: &str, plan: &str, images: u64, segment: u32, more: &[&str]) -> Proc {
        let (images, segment) = (images.to_string(), segment.to_string());
        let (plan, out) = (self.path(plan), self.path(out));
        let args = ["deal", &plan, "--images", &images, "--segment", &segment, "--out", &out, "--quiet"];
        Proc::start("dealer", &[&args, more].concat())
    }
    /// Moves the key sets of another deal into both parties' folders, as an operator does.
    pub fn adopt(&self, deal: &str) {
        for me in 0..2 {
            let from = self.dir.path().join(deal).join(format!("p{me}"));
            let sets = fs::read_dir(from).expect("keys").flatten().map(|e| e.path()).filter(|p| p.is_dir());
            for set in sets {
                let to = self
                    .dir
                    .path()
                    .join("keys")
                    .join(format!("p{me}"))
                    .join(set.file_name().expect("a name"));
                fs::rename(set, to).expect("moved");
            }
        }
    }
    /// The folder of a party's only key set.
    pub fn set(&self, me: usize) -> PathBuf {
        let root = self.dir.path().join("keys").join(format!("p{me}"));
        let entries = fs::read_dir(root).expect("keys").flatten().map(|e| e.path());
        entries.filter(|p| p.is_dir()).max().expect("a key set")
    }
    /// Files of the first images.
    pub fn images(&self, images: std::ops::Range<usize>) -> String {
        self.write(&format!("images-{}-{}.idx", images.start, images.end), &idx(images))
    }

    /// Arguments of a party that listens on any port; `peer` is P0's address.
    pub fn party_args(&self, me: usize, peer: &str) -> Vec<String> {
        let mut args: Vec<String> =
            ["party", "--format", "json", "--listen", "127.0.0.1:0"].map(String::from).into();
        let role = me.to_string();
        let home = self.path(&format!("p{me}"));
        let (plan, keys) = (self.path("plan.json"), self.path(&format!("keys/p{me}")));
        let flags = [
            ("--role", &role),
            ("--home", &home),
            ("--keys", &keys),
            ("--peer-key", &self.keys[1 - me]),
            ("--owner", &self.keys[2]),
            ("--client", &self.keys[3]),
            ("--client", &self.keys[4]),
        ];
        args.extend(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.clone()]));
        args.push(plan);
        if me == 1 {
            args.extend(["--peer".to_owned(), peer.to_owned()]);
        }
        args
    }
    /// Starts both parties.
    pub fn parties(&self) -> Pair {
        self.parties_with([&[], &[]])
    }
    /// Starts both parties, each with more arguments (see [`adjusted`]).
    pub fn parties_with(&self, more: [&[&str]; 2]) -> Pair {
        let mut pair = Pair { procs: vec![], addresses: vec![] };
        for (me, more) in more.into_iter().enumerate() {
            let p0 = pair.addresses.first().cloned().unwrap_or_default();
            let (party, address) = self.party(me, &p0, more);
            pair.addresses.push(address);
            pair.procs.push(party);
        }
        pair
    }
    /// Starts one party; its address is empty when it ends before it listens.
    pub fn party(&self, me: usize, p0: &str, more: &[&str]) -> (Proc, String) {
        let party = Proc::start(&format!("P{me}"), &adjusted(self.party_args(me, p0), more));
        let line = party.hear(" listens on ", SOON).unwrap_or_default();
        let address = line.split(" listens on ").nth(1).and_then(|rest| rest.split(' ').next());
        let address = address.unwrap_or_default().to_owned();
        (party, address)
    }
    /// Starts a party again that was killed or has ended, at the same address.
    pub fn restart(&self, pair: &mut Pair, me: usize) {
        let listen = pair.addresses[me].clone();
        let (party, address) = self.party(me, &pair.addresses[0].clone(), &["--listen", &listen]);
        assert_eq!(address, listen, "the port is free again");
        pair.procs[me] = party;
    }
    /// Flags that name both parties.
    pub fn places(&self, pair: &Pair) -> Vec<String> {
        let flag = |me: usize| {
            [format!("--p{me}"), pair.addresses[me].clone(), format!("--p{me}-key"), self.keys[me].clone()]
        };
        [flag(0), flag(1)].concat()
    }
    /// Both parties, for clients in this process.
    pub fn place(&self, pair: &Pair) -> [Place; 2] {
        [0, 1].map(|me| Place {
            address: pair.addresses[me].clone(),
            key: self.keys[me].parse().expect("a fingerprint"),
            transport: twoply_party::transport::Transport::Auto,
        })
    }
    /// Starts `twoply VERB plan ... --home HOME`.
    pub fn call(&self, verb: &str, home: &str, pair: &Pair, more: &[&str]) -> Proc {
        let mut args = vec![verb.to_owned(), self.path("plan.json"), "--format".into(), "json".into()];
        args.extend(["--home".into(), self.path(home), "--patience".into(), "10".into()]);
        args.extend(self.places(pair));
        Proc::start(home, &adjusted(args, more))
    }
    /// Provisions the weights.
    pub fn provision(&self, pair: &Pair, more: &[&str]) -> Ended {
        let weights = self.path("weights");
        self.call("provision", "owner", pair, &[&["--weights", &weights], more].concat()).wait(SOON)
    }
    /// Starts inference on some images.
    pub fn asking(&self, home: &str, pair: &Pair, images: std::ops::Range<usize>, more: &[&str]) -> Proc {
        let file = self.images(images);
        self.call("infer", home, pair, &[&["--images", &file], more].concat())
    }
    /// Inference on some images by the client.
    pub fn infer(&self, pair: &Pair, images: std::ops::Range<usize>) -> Ended {
        self.asking("client", pair, images, &[]).wait(SOON)
    }
    /// Inference that must succeed, with the float network's labels.
    pub fn infer_right(&self, pair: &Pair, images: std::ops::Range<usize>) {
        let labels = labels(&self.infer(pair, images.clone()).json());
        assert_eq!(labels, digits().labels[images]);
    }
    /// Images granted to a home's data owner: first and end, in the order of the record.
    pub fn seen(&self, home: &str) -> Vec<(u64, u64)> {
        let text = fs::read_to_string(self.path(&format!("{home}/seen"))).unwrap_or_default();
        let number = |part: Option<&str>| part.and_then(|p| p.parse().ok()).expect("a number");
        let line = |l: &str| {
            let mut parts = l.split(' ').skip(1);
            (number(parts.next()), number(parts.next()))
        };
        text.lines().map(line).collect()
    }
}

/// Labels of `twoply infer`'s result.
pub fn labels(json: &serde_json::Value) -> Vec<usize> {
    let list = json["labels"].as_array().expect("labels");
    list.iter().map(|l| l.as_u64().expect("a label") as usize).collect()
}

/// `args` with flags of `more` in place of the same flags before (pairs of flag and value; others are added).
pub fn adjusted(mut args: Vec<String>, more: &[&str]) -> Vec<String> {
    for pair in more.chunks(2) {
        if let [flag, value] = pair
            && let Some(at) = args.iter().position(|a| a == flag)
        {
            args[at + 1] = (*value).to_owned();
        } else {
            args.extend(pair.iter().map(|p| (*p).to_owned()));
        }
    }
    args
}

/// Two running parties.
pub struct Pair {
    /// P0, P1.
    pub procs: Vec<Proc>,
    /// Where they listen.
    pub addresses: Vec<String>,
}

impl Pair {
    /// Waits for both to end.
    pub fn ended(self, within: Duration) -> [Ended; 2] {
        let all: Vec<Ended> = self.procs.into_iter().map(|p| p.wait(within)).collect();
        all.try_into().expect("two parties")
    }
    /// Stops both, which must succeed; their reports.
    pub fn stop(self) -> [serde_json::Value; 2] {
        self.stopped().map(|ended| ended.json())
    }
    /// Stops both, which must succeed; all they said.
    pub fn stopped(self) -> [Ended; 2] {
        self.procs.iter().for_each(Proc::terminate);
        self.ended(SOON).map(|ended| ended.is(0).clone())
    }
    /// Whether both run.
    pub fn run(&mut self) -> bool {
        self.procs.iter_mut().all(Proc::runs)
    }
}
