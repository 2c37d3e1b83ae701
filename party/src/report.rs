//! The report of a run: counters gate by gate, and what the owner learnt, as JSON and as a table.
//!
//! One shape for every process: what a process cannot know is null. `demo` merges the reports of all.

use crate::jobs::control::Sent;
use crate::transport::Shape;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use twoply_nn::engine::PlannedGate;
use twoply_nn::roles::Ran;

/// Seconds of the four phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Dealer's compute.
    pub deal: Option<f64>,
    /// Key transfer.
    pub transfer: Option<f64>,
    /// From a masked input's request to its result.
    pub online: Option<f64>,
    /// Computing beforehand, while nobody waited; in no other figure.
    #[serde(default)]
    pub prepared: Option<f64>,
    /// All of it.
    pub total: Option<f64>,
}

/// Time of a gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerSeconds {
    /// Computing.
    pub compute: f64,
    /// Waiting for the other party.
    pub wait: f64,
}

/// One gate of the network, over all runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Layer of the network.
    pub name: String,
    /// Gate.
    pub gate: String,
    /// Comparisons.
    pub comparisons: u64,
    /// Key bytes, P0 and P1.
    pub key_bytes: [Option<u64>; 2],
    /// Payload bytes to the other party, P0 and P1.
    pub bytes_sent: [Option<u64>; 2],
    /// Messages in sequence.
    pub rounds: u64,
    /// Time; null in a plan.
    pub seconds: Option<LayerSeconds>,
}

/// Something that was opened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// What.
    pub what: String,
    /// To whom.
    pub to: String,
    /// Number of values.
    pub elements: u64,
}

/// Most anonymous memory (heap and stacks, not mapped key files) of the processes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The dealer.
    pub dealer: Option<u64>,
    /// P0 and P1.
    pub parties: [Option<u64>; 2],
}

/// What computed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Devices {
    /// The dealer's device.
    pub dealer: Option<String>,
    /// Those of P0 and P1.
    pub parties: [Option<String>; 2],
}

/// What a party's key tiles cost beside the run's own work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyReading {
    /// Bytes read and verified, with padding.
    pub bytes: u64,
    /// Of these, before the run asked for them.
    pub ahead: u64,
    /// Seconds, over all threads.
    pub seconds: f64,
}

/// A link that was emulated; see [`Shape`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Emulated {
    /// In words.
    pub what: String,
    /// Round-trip time, added to the real link's.
    pub rtt_seconds: f64,
    /// Rate of each end; null if there is no limit.
    pub bits_per_second: Option<u64>,
}

impl Emulated {
    /// What `shape` adds, if anything.
    pub fn by(shape: Shape) -> Option<Self> {
        let (rtt_seconds, bits_per_second) = (shape.rtt.as_secs_f64(), shape.bits_per_second);
        (!shape.is_nothing()).then(|| Emulated { what: shape.to_string(), rtt_seconds, bits_per_second })
    }
}

/// A run's report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Images.
    pub images: u64,
    /// Images whose private label is the plain network's.
    pub agree: Option<u64>,
    /// Images whose private label is the given one.
    pub correct_private: Option<u64>,
    /// Images whose plain label is the given one.
    pub correct_plain: Option<u64>,
    /// Largest error of an output, in units of 2^-f.
    pub worst_ulp: Option<f64>,
    /// The same beside the largest output of the plain network.
    pub worst_relative: Option<f64>,
    /// Values that left the range of the fixed-point contract.
    pub wraps: Option<u64>,
    /// Comparisons.
    pub comparisons: u64,
    /// Messages in sequence between the parties.
    pub rounds: u64,
    /// Payload bytes to the other party.
    pub bytes_sent: [Option<u64>; 2],
    /// Payload bytes to the data owner.
    pub owner_bytes: [Option<u64>; 2],
    /// Key bytes consumed.
    pub key_bytes: [Option<u64>; 2],
    /// All payload bytes to the other party: of the gates, of control messages, and the digest that ends each run.
    #[serde(default)]
    pub peer_bytes: [Option<u64>; 2],
    /// Control messages to the other party, by kind; not among the bytes of the gates. P0's and P1's.
    #[serde(default, skip_serializing_if = "nothing_said")]
    pub control: [Vec<Sent>; 2],
    /// Time of the phases.
    pub seconds: Seconds,
    /// Seconds of every request, as the data owner sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<f64>,
    /// Of these, from the departure of the masked input to the result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<f64>,
    /// Peak memory.
    #[serde(default)]
    pub memory: Memory,
    /// Devices.
    #[serde(default)]
    pub devices: Devices,
    /// Reading and verifying key tiles, P0 and P1; overlaps with the online time.
    #[serde(default)]
    pub key_reading: [Option<KeyReading>; 2],
    /// Values near the end of their range or beyond it, by layer and image, if the plan has an audit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub range_audit: BTreeMap<String, Vec<u64>>,
    /// The link, if this process emulated one; it is no real one then.
    #[serde(default)]
    pub link: Option<Emulated>,
    /// Everything that was opened, and to whom.
    pub opened: Vec<Opened>,
    /// Gate by gate.
    pub layers: Vec<Layer>,
}

fn nothing_said(control: &[Vec<Sent>; 2]) -> bool {
    control.iter().all(Vec::is_empty)
}

/// A party's counters over all its runs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Images run.
    pub images: u64,
    /// Seconds of all runs, from the first message to the owner to the last.
    pub online: f64,
    /// Seconds spent computing beforehand.
    pub prepared: f64,
    /// Control messages to the other party.
    pub control: Vec<Sent>,
    /// All payload bytes to the other party, over links that are over.
    pub peer_bytes: u64,
    owner_bytes: u64,
    keys: KeyReading,
    gates: Vec<(Layer, u64, u64, u64, u64)>,
}

impl Tally {
    /// Adds one run.
    pub fn add_run(&mut self, images: usize, ran: &Ran, seconds: f64) {
        self.images += images as u64;
        self.online += seconds;
        self.owner_bytes += ran.traffic.sent;
        self.gates.resize_with(ran.stats.len(), Default::default);
        for ((layer, key, bytes, opened, to_owner), s) in self.gates.iter_mut().zip(&ran.stats) {
            layer.name.clone_from(&s.layer);
            layer.gate = s.gate.into();
            layer.comparisons += s.comparisons;
            layer.rounds += s.rounds;
            *key += s.key_bits.div_ceil(8);
            *bytes += s.bytes;
            *opened += s.opened;
            let time = layer.seconds.get_or_insert_default();
            time.wait += s.wait.as_secs_f64();
            time.compute += s.total.saturating_sub(s.wait).as_secs_f64();
            *to_owner += s.to_owner;
        }
    }

    /// Adds what reading the keys of a run took.
    pub fn add_reading(&mut self, r: &twoply_preprocessing::Reading) {
        self.keys.bytes += r.bytes;
        self.keys.ahead += r.ahead;
        self.keys.seconds += r.time.as_secs_f64();
    }

    /// The report of party `me` (0 or 1).
    pub fn report(&self, me: usize) -> Report {
        let mut key_reading = [None; 2];
        key_reading[me] = Some(self.keys);
        let of = |v: u64| {
            let mut both = [None; 2];
            both[me] = Some(v);
            both
        };
        let layer = |(l, key, bytes, ..): &(Layer, u64, u64, u64, u64)| Layer {
            key_bytes: of(*key),
            bytes_sent: of(*bytes),
            ..l.clone()
        };
        let sum = |f: fn(&(Layer, u64, u64, u64, u64)) -> u64| self.gates.iter().map(f).sum::<u64>();
        Report {
            images: self.images,
            comparisons: sum(|g| g.0.comparisons),
            rounds: sum(|g| g.0.rounds),
            bytes_sent: of(sum(|g| g.2)),
            owner_bytes: of(self.owner_bytes),
            peer_bytes: of(self.peer_bytes),
            control: if me == 0 { [self.control.clone(), vec![]] } else { [vec![], self.control.clone()] },
            key_bytes: of(sum(|g| g.1)),
            seconds: Seconds {
                online: Some(self.online),
                prepared: Some(self.prepared),
                ..Seconds::default()
            },
            key_reading,
            opened: self.opened(),
            layers: self.gates.iter().map(layer).collect(),
            ..Report::default()
        }
    }

    fn opened(&self) -> Vec<Opened> {
        let masked = |g: &(Layer, u64, u64, u64, u64)| (g.0.clone(), g.3, "both parties, masked");
        let owner = |g: &(Layer, u64, u64, u64, u64)| (g.0.clone(), g.4, "the data owner");
        let all = self.gates.iter().map(masked).chain(self.gates.iter().map(owner));
        all.filter(|(_, n, _)| *n > 0).map(|(l, n, to)| opened(&l.name, &l.gate, n, to)).collect()
    }
}

fn opened(layer: &str, gate: &str, elements: u64, to: &str) -> Opened {
    Opened { what: format!("{layer} ({gate})"), to: to.into(), elements }
}

/// What a plan promises for runs of these gates, in the shape of a report.
pub fn predicted(runs: &[(usize, Vec<PlannedGate>)]) -> Report {
    let mut r = Report::default();
    let mut totals = twoply_nn::Totals::default();
    for (images, gates) in runs {
        r.images += *images as u64;
        totals.add_gates(gates);
        r.layers.resize_with(gates.len(), Default::default);
        for (layer, g) in r.layers.iter_mut().zip(gates) {
            layer.name.clone_from(&g.layer);
            layer.gate.clone_from(&g.gate);
            layer.comparisons += g.cost.comparisons;
            layer.rounds += g.cost.rounds;
            for p in [0, 1] {
                *layer.key_bytes[p].get_or_insert(0) += g.cost.key_bits(p).div_ceil(8);
                *layer.bytes_sent[p].get_or_insert(0) += g.cost.bytes;
            }
        }
    }
    let count =
        |f: fn(&PlannedGate) -> u64, i: usize| runs.iter().map(|(_, gates)| f(&gates[i])).sum::<u64>();
    let masked = (0..r.layers.len()).map(|i| (i, count(|g| g.cost.opened, i), "both parties, masked"));
    let owner = (0..r.layers.len()).map(|i| (i, count(|g| g.to_owner, i), "the data owner"));
    let named = |(i, n, to): (usize, u64, &str)| opened(&r.layers[i].name, &r.layers[i].gate, n, to);
    r.opened = masked.chain(owner).filter(|o| o.1 > 0).map(named).collect();
    r.comparisons = totals.comparisons;
    r.rounds = totals.rounds;
    r.bytes_sent = [Some(totals.bytes); 2];
    r.owner_bytes = [Some(totals.owner_bytes); 2];
    r.key_bytes = totals.key_bytes.map(Some);
    r
}

impl Report {
    /// Takes over what the other process knows and this one does not.
    pub fn merge(&mut self, other: &Report) {
        fn pair<T: Clone>(mine: &mut [Option<T>; 2], theirs: &[Option<T>; 2]) {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a = a.take().or(b.clone()));
        }
        pair(&mut self.bytes_sent, &other.bytes_sent);
        pair(&mut self.owner_bytes, &other.owner_bytes);
        pair(&mut self.key_bytes, &other.key_bytes);
        pair(&mut self.peer_bytes, &other.peer_bytes);
        pair(&mut self.memory.parties, &other.memory.parties);
        pair(&mut self.devices.parties, &other.devices.parties);
        pair(&mut self.key_reading, &other.key_reading);
        for (mine, theirs) in self.control.iter_mut().zip(&other.control) {
            if mine.is_empty() {
                mine.clone_from(theirs);
            }
        }
        if self.layers.is_empty() {
            self.layers.clone_from(&other.layers);
            self.opened.clone_from(&other.opened);
            self.comparisons = other.comparisons;
            self.rounds = other.rounds;
        }
        for (mine, theirs) in self.layers.iter_mut().zip(&other.layers) {
            pair(&mut mine.key_bytes, &theirs.key_bytes);
            pair(&mut mine.bytes_sent, &theirs.bytes_sent);
        }
        self.link = self.link.take().or(other.link.clone());
        self.agree = self.agree.or(other.agree);
        self.correct_private = self.correct_private.or(other.correct_private);
        self.correct_plain = self.correct_plain.or(other.correct_plain);
        self.worst_ulp = self.worst_ulp.or(other.worst_ulp);
        self.worst_relative = self.worst_relative.or(other.worst_relative);
        self.wraps = self.wraps.or(other.wraps);
    }

    /// As a table for people.
    pub fn table(&self) -> String {
        let mut t = String::new();
        let head = [
            "layer",
            "gate",
            "comparisons",
            "key P0",
            "key P1",
            "sent P0",
            "sent P1",
            "rounds",
            "compute",
            "wait",
        ];
        let mut rows = vec![head.map(String::from)];
        rows.extend(self.layers.iter().map(row));
        let total = Layer {
            name: "total".into(),
            gate: format!("{} images", self.images),
            comparisons: self.comparisons,
            key_bytes: self.key_bytes,
            bytes_sent: self.bytes_sent,
            rounds: self.rounds,
            seconds: self
                .layers
                .iter()
                .filter_map(|l| l.seconds)
                .reduce(|a, b| LayerSeconds { compute: a.compute + b.compute, wait: a.wait + b.wait }),
        };
        rows.push(row(&total));
        let wide = |c: usize| rows.iter().map(|r| r[c].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(wide).collect();
        for r in &rows {
            for (c, cell) in r.iter().enumerate() {
                let w = widths[c];
                let _ = if c < 2 { write!(t, "{cell:<w$}  ") } else { write!(t, "{cell:>w$}  ") };
            }
            t.truncate(t.trim_end().len());
            t.push('\n');
        }
        t
    }

    /// What was opened and to whom, one line each.
    pub fn opened_lines(&self) -> String {
        let line = |o: &Opened| format!("  {:>10} values of {} to {}\n", o.elements, o.what, o.to);
        let lines: String = self.opened.iter().map(line).collect();
        format!("opened:\n{lines}  nothing else was opened\n")
    }
}

fn row(l: &Layer) -> [String; 10] {
    let n = |v: Option<u64>| v.map_or("-".into(), |v| v.to_string());
    let ms = |v: Option<f64>| v.map_or("-".into(), |v| format!("{:.1} ms", v * 1e3));
    [
        l.name.clone(),
        l.gate.clone(),
        l.comparisons.to_string(),
        n(l.key_bytes[0]),
        n(l.key_bytes[1]),
        n(l.bytes_sent[0]),
        n(l.bytes_sent[1]),
        l.rounds.to_string(),
        ms(l.seconds.map(|s| s.compute)),
        ms(l.seconds.map(|s| s.wait)),
    ]
}
