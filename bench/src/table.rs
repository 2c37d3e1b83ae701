//! Tables of figures, each row measured beside what bounds it, so that a ratio is of one run and one moment.

mod comparisons;
#[cfg(feature = "cuda")]
pub mod gpu;
mod networks;
mod products;
mod timing;
mod training;

use serde::Serialize;
use twoply_primitives::Result;
use twoply_primitives::backend::Isa;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Row {
    /// Something done per comparison, or per AES block where `w` is 0.
    Comparison {
        /// What.
        name: String,
        /// Ring bits.
        n: u32,
        /// Compared bits.
        w: u32,
        /// Threads.
        threads: usize,
        /// Nanoseconds of wall time per comparison (per block).
        ns: f64,
        /// Time that the AES blocks it needs take at this machine's ceiling, by its own time; none where it needs none.
        ceiling_fraction: Option<f64>,
        /// Time of `fss-rs`'s comparison by its own, at the same width on one thread.
        ratio_fss_rs: Option<f64>,
        /// Bytes that P0 and P1 store per comparison.
        key_bytes: Option<[f64; 2]>,
    },
    /// A ring product.
    Product {
        /// What.
        name: String,
        /// Extents.
        shape: String,
        /// `u32` or `u64`.
        ring: String,
        /// Threads.
        threads: usize,
        /// 10^9 multiply-adds per second.
        gmac_per_s: f64,
        /// Of what the machine's multiply instructions allow these threads.
        bound_fraction: f64,
    },
    /// A network, both parties and the data owner in one process, without TLS and disk.
    Network {
        /// Network and comparison.
        name: String,
        /// Ring bits.
        n: u32,
        /// Images at once.
        batch: usize,
        /// Milliseconds per image, from the request to the answer.
        online_ms: f64,
        /// Of these, P0 computes.
        compute_ms: f64,
        /// Of these, P0 waits for P1.
        wait_ms: f64,
    },
    /// A step of training, dealer and both parties in one process, one after the other, without TLS and disk.
    Training {
        /// Network.
        name: String,
        /// Ring bits.
        n: u32,
        /// Samples of a step.
        batch: usize,
        /// Key bytes of P0 and P1 for a step, by the plan.
        key_bytes: [u64; 2],
        /// Bytes that each party sends to the other in a step.
        sent: u64,
        /// Messages in sequence.
        rounds: u64,
        /// Milliseconds that the dealer takes for a step.
        dealing_ms: f64,
        /// Milliseconds that both parties take together.
        running_ms: f64,
        /// Seconds of an epoch of 60,000 samples at these two.
        epoch_s: f64,
    },
}

/// A table with what one must know to read it.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// The processor's name for itself.
    pub machine: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Rung of the kernels; see `primitives/src/backend/cpu/isa.rs`.
    pub rung: &'static str,
    /// Rows.
    pub rows: Vec<Row>,
}

/// Measures comparisons, products and networks; `say` hears what is being measured.
pub fn primitives(say: &mut dyn FnMut(&str)) -> Result<Table> {
    let top = Isa::current();
    let mut rows = vec![];
    comparisons::rows(top, &mut rows, say)?;
    products::rows(top, &mut rows, say);
    networks::rows(&mut rows, say)?;
    Ok(Table { machine: machine(), cores: cores(), rung: top.name(), rows })
}

/// Measures steps of training; `say` hears what is being measured.
///
/// # Errors
/// What planning, dealing or a party reports.
pub fn training(say: &mut dyn FnMut(&str)) -> twoply_nn::Result<Table> {
    let mut rows = vec![];
    training::rows(&mut rows, say)?;
    Ok(Table { machine: machine(), cores: cores(), rung: Isa::current().name(), rows })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |key: &str| {
        let line = info.lines().find(|l| l.starts_with(key))?;
        line.split_once(':').map(|(_, v)| v.trim().to_string())
    };
    let name = field("model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let numbers = [field("cpu family"), field("model\t")].map(|n| n.unwrap_or_else(|| "?".into()));
    format!("{name} (family {}, model {})", numbers[0], numbers[1])
}

impl Table {
    /// For people.
    pub fn text(&self) -> String {
        let mut out = format!("{}, {} cores, {} kernels\n", self.machine, self.cores, self.rung);
        let part = |title: &[&str], pick: fn(&Row) -> Option<Vec<String>>| {
            let mut lines = vec![title.iter().map(|t| t.to_string()).collect::<Vec<_>>()];
            lines.extend(self.rows.iter().filter_map(pick));
            if lines.len() == 1 { String::new() } else { format!("\n{}", aligned(&lines, &[0])) }
        };
        let title =
            ["comparison", "n", "w", "threads", "ns", "of AES ceiling", "times fss-rs", "key bytes P0 / P1"];
        out += &part(&title, comparison_cells);
        out += &part(&["product", "shape", "ring", "threads", "G MAC/s", "of bound"], product_cells);
        out += &part(&["network", "n", "batch", "online ms/image", "compute", "wait"], network_cells);
        let title = [
            "training step",
            "n",
            "batch",
            "key MB P0 / P1",
            "sent MB",
            "rounds",
            "dealing ms",
            "running ms",
            "epoch s",
        ];
        out += &part(&title, training_cells);
        out
    }
}

fn training_cells(r: &Row) -> Option<Vec<String>> {
    let Row::Training { name, n, batch, key_bytes, sent, rounds, dealing_ms, running_ms, epoch_s } = r else {
        return None;
    };
    let mb = |bytes: &u64| format!("{:.2}", *bytes as f64 / 1e6);
    Some(vec![
        name.clone(),
        n.to_string(),
        batch.to_string(),
        format!("{} / {}", mb(&key_bytes[0]), mb(&key_bytes[1])),
        mb(sent),
        rounds.to_string(),
        format!("{dealing_ms:.1}"),
        format!("{running_ms:.1}"),
        format!("{epoch_s:.0}"),
    ])
}

fn comparison_cells(r: &Row) -> Option<Vec<String>> {
    let Row::Comparison { name, n, w, threads, ns, ceiling_fraction, ratio_fss_rs, key_bytes } = r else {
        return None;
    };
    let or_dash = |v: Option<String>| v.unwrap_or_else(|| "-".into());
    Some(vec![
        name.clone(),
        n.to_string(),
        or_dash((*w > 0).then(|| w.to_string())),
        threads.to_string(),
        format!("{ns:.2}"),
        or_dash(ceiling_fraction.map(|f| format!("{:.0} %", 100.0 * f))),
        or_dash(ratio_fss_rs.map(|r| format!("{r:.1}"))),
        or_dash(key_bytes.map(|[a, b]| format!("{a:.2} / {b:.2}"))),
    ])
}

fn product_cells(r: &Row) -> Option<Vec<String>> {
    let Row::Product { name, shape, ring, threads, gmac_per_s, bound_fraction } = r else { return None };
    let share = format!("{:.0} %", 100.0 * bound_fraction);
    Some(vec![
        name.clone(),
        shape.clone(),
        ring.clone(),
        threads.to_string(),
        format!("{gmac_per_s:.1}"),
        share,
    ])
}

fn network_cells(r: &Row) -> Option<Vec<String>> {
    let Row::Network { name, n, batch, online_ms, compute_ms, wait_ms } = r else { return None };
    let ms = |v: &f64| format!("{v:.3}");
    Some(vec![name.clone(), n.to_string(), batch.to_string(), ms(online_ms), ms(compute_ms), ms(wait_ms)])
}

/// Columns: these to the left, all others to the right.
fn aligned(lines: &[Vec<String>], left: &[usize]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |c: usize| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for line in lines {
        for (c, cell) in line.iter().enumerate() {
            let pad = " ".repeat(widths[c] - cell.chars().count());
            out += &if left.contains(&c) { format!("{cell}{pad}  ") } else { format!("{pad}{cell}  ") };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}
