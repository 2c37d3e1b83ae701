//! Figures of a GPU, each beside the bound that it runs into and the share of it that it reaches.
//!
//! Bounds are measured in the same run where they can be: AES by [`Cuda::ceiling`], memory by a copy on the device, the bus
//! by copies of pinned memory. What nobody can measure alone is taken from the device's clock and called nominal.

mod comparisons;
mod homes;
mod layers;
mod limits;
mod networks;
mod products;
mod resident;

use super::{aligned, cores, machine};
use limits::{Limits, Work};
use serde::Serialize;
use std::time::Instant;
use twoply_primitives::Result;
use twoply_primitives::backend::Cuda;
use twoply_primitives::backend::cuda::About;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What is measured.
    pub name: String,
    /// At which size, and in which case.
    pub case: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it runs into first, where something is known that it must run into.
    pub bound: Option<Bound>,
    /// The same on another engine.
    pub beside: Option<Beside>,
    /// What else is to say.
    pub note: Option<String>,
}

/// What a figure cannot be better than.
#[derive(Clone, Debug, Serialize)]
pub struct Bound {
    /// What bounds it.
    pub name: &'static str,
    /// The figure if nothing else did.
    pub value: f64,
    /// The share of it that is reached.
    pub reached: f64,
}

/// The same thing measured elsewhere.
#[derive(Clone, Debug, Serialize)]
pub struct Beside {
    /// Where.
    pub name: &'static str,
    /// The figure there, in the row's unit.
    pub value: f64,
    /// How many times faster the row's own is.
    pub times: f64,
}

/// All figures of one device.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// The device, in words.
    pub device: String,
    /// Whether it is a stand-in, whose figures mean nothing.
    pub emulated: bool,
    /// Whether everything was tiny, to see that it runs.
    pub quick: bool,
    /// The processor's name for itself.
    pub machine: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Rows.
    pub rows: Vec<Row>,
    /// What computed something else than it should.
    pub faults: Vec<String>,
}

/// What a row's figure is in.
#[derive(Clone, Copy)]
enum Unit {
    /// So many units, times this, per second.
    PerSecond(f64, &'static str),
    /// Milliseconds of one unit.
    Millis(&'static str),
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::PerSecond(_, name) | Unit::Millis(name) => name,
        }
    }
    fn of(self, units: f64, seconds: f64) -> f64 {
        match self {
            Unit::PerSecond(scale, _) => units / seconds / scale,
            Unit::Millis(_) => 1e3 * seconds / units,
        }
    }
}

/// What is measured, and for how long.
struct Bench<'a> {
    dev: Cuda<u32>,
    about: About,
    quick: bool,
    limits: Limits,
    rows: Vec<Row>,
    faults: Vec<String>,
    say: &'a mut dyn FnMut(&str),
}

/// Measures device number `ordinal`; `quick` takes everything tiny and once. `say` hears what is being measured.
///
/// # Errors
/// The device's.
pub fn table(ordinal: usize, quick: bool, say: &mut dyn FnMut(&str)) -> Result<Table> {
    let dev = Cuda::<u32>::open(ordinal)?;
    let about = dev.about()?;
    let limits = Limits::nominal(&about);
    let mut bench = Bench { dev, about, quick, limits, rows: vec![], faults: vec![], say };
    limits::rows(&mut bench)?;
    comparisons::rows(&mut bench)?;
    products::rows(&mut bench)?;
    layers::rows(&mut bench)?;
    networks::rows(&mut bench)?;
    let Bench { about, rows, faults, .. } = bench;
    let (device, emulated) = (described(&about), emulated(&about));
    Ok(Table { device, emulated, quick, machine: machine(), cores: cores(), rows, faults })
}

/// Whether it is the stand-in of `tests/cuda`, which says so in its name.
fn emulated(a: &About) -> bool {
    a.name.starts_with("Emulated")
}

fn described(a: &About) -> String {
    let clock = a.clock.map_or(String::new(), |mhz| format!(" at up to {mhz} MHz"));
    let gib = a.memory as f64 / f64::from(1 << 30);
    let worth = if emulated(a) { "; emulated: figures mean nothing" } else { "" };
    format!(
        "{}, {} multiprocessors{clock}, {gib:.0} GiB, driver for CUDA {}.{}{worth}",
        a.name, a.processors, a.driver.0, a.driver.1
    )
}

impl Bench<'_> {
    /// One of two sizes.
    fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
    /// Median seconds of some work, the device idle before and done after.
    fn time(&self, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
        let (least, most, together) = self.pick((5, 41, 0.5), (1, 1, 0.0));
        let mut once = || {
            self.dev.finish()?;
            let begin = Instant::now();
            work()?;
            self.dev.finish()?;
            Ok(begin.elapsed().as_secs_f64().max(1e-9))
        };
        let warm = once()?;
        let runs = ((together / warm) as usize).clamp(least, most);
        let mut all = (0..runs).map(|_| once()).collect::<Result<Vec<f64>>>()?;
        all.sort_by(f64::total_cmp);
        Ok(all[all.len() / 2])
    }
    /// Enters a figure of so many units in so many seconds, which cannot be had without this work.
    fn row(
        &mut self,
        name: &str,
        case: &str,
        unit: Unit,
        (units, seconds): (f64, f64),
        work: Work,
    ) -> &mut Row {
        let bound = self.limits.longest(&work).map(|(name, least)| Bound {
            name,
            value: unit.of(units, least),
            reached: least / seconds,
        });
        self.enter(name, case, unit.name(), unit.of(units, seconds), bound)
    }
    fn enter(
        &mut self,
        name: &str,
        case: &str,
        unit: &'static str,
        value: f64,
        bound: Option<Bound>,
    ) -> &mut Row {
        let (name, case) = (name.to_string(), case.to_string());
        // at once: whoever stops a long run keeps what there is
        (self.say)(&format!("  {name}, {case}: {} {unit}", figure(value)));
        let at = self.rows.len();
        self.rows.push(Row { name, case, value, unit, bound, beside: None, note: None });
        &mut self.rows[at]
    }
}

impl Table {
    /// For people.
    pub fn text(&self) -> String {
        let mut out = format!("{}\n", self.device);
        if self.quick {
            out += "quick: tiny sizes, each measured once\n";
        }
        out += &format!("{}, {} cores\n\n", self.machine, self.cores);
        let title = ["", "case", "figure", "", "at most", "reached", "by", "beside", ""];
        let mut lines = vec![title.map(String::from).to_vec()];
        lines.extend(self.rows.iter().map(cells));
        for fault in &self.faults {
            out += &format!("WRONG: {fault}\n");
        }
        out + &aligned(&lines, &[0, 1, 3, 6, 8])
    }
}

fn cells(r: &Row) -> Vec<String> {
    let dash = || String::from("-");
    let [most, reached, by] = r.bound.as_ref().map_or([dash(), dash(), dash()], |b| {
        [figure(b.value), format!("{:.0} %", 100.0 * b.reached), b.name.into()]
    });
    let beside = |b: &Beside| format!("{} {}, {} times faster", b.name, figure(b.value), figure(b.times));
    vec![
        r.name.clone(),
        r.case.clone(),
        figure(r.value),
        r.unit.into(),
        most,
        reached,
        by,
        r.beside.as_ref().map_or(dash(), beside),
        r.note.clone().unwrap_or_default(),
    ]
}

/// Three digits that count.
fn figure(v: f64) -> String {
    let whole = v.abs().max(1e-3).log10().floor() as i32;
    format!("{v:.*}", (2 - whole).clamp(0, 5) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(name: &str) -> About {
        let (name, capability) = (name.into(), (9, 0));
        About { name, capability, processors: 2, clock: Some(1980), memory: 8 << 30, driver: (13, 0) }
    }

    #[test]
    fn figures_of_a_stand_in_look_like_nothing_else() {
        let bound = Some(Bound { name: "AES", value: 4.0, reached: 0.5 });
        let (name, case) = ("dpf evaluate".into(), "u32".into());
        let row = Row { name, case, value: 2.0, unit: "G/s", bound, beside: None, note: None };
        for (name, stands_in) in [("Emulated GPU 0", true), ("NVIDIA H100 80GB HBM3", false)] {
            let (device, emulated) = (described(&about(name)), emulated(&about(name)));
            let (machine, rows) = ("a CPU".into(), vec![row.clone()]);
            let text =
                Table { device, emulated, quick: false, machine, cores: 2, rows, faults: vec![] }.text();
            let head = text.lines().next().unwrap();
            assert!(
                head.starts_with(&format!("{name}, 2 multiprocessors at up to 1980 MHz, 8 GiB")),
                "{head}"
            );
            assert_eq!(head.ends_with("emulated: figures mean nothing"), stands_in);
            assert_eq!(emulated, stands_in);
            assert!(text.contains("50 %") && text.contains("AES"), "{text}");
        }
    }

    #[test]
    fn units_turn_over() {
        assert_eq!(Unit::PerSecond(1e6, "M/s").of(4e6, 2.0), 2.0);
        assert_eq!(Unit::Millis("ms").of(2.0, 1.0), 500.0);
        assert_eq!(["0.00123", "1.23", "123", "12346"], [0.001234, 1.234, 123.4, 12345.6].map(figure)[..]);
    }
}
