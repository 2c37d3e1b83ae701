//! Budgets: a plan beyond one is refused, and says what would fit.

use super::bill::Bill;
use super::forecast::{Forecast, memory};
use crate::cli::output::bytes;
use crate::deal::room::key_files;
use crate::exit::{ExitCode, Failure};
use std::time::Duration;
use twoply_nn::Plan;
use twoply_preprocessing::Cut;

/// Flags about budgets.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Budget {
    /// Refuse a plan whose key files take a party more than this, as in 20GB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_disk: Option<u64>,
    /// Refuse a plan that needs a party more memory than this, by estimate
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_ram: Option<u64>,
    /// Refuse a plan whose images take longer online than this, as in 90s or 2h; rehearses like --time
    #[arg(long, value_name = "TIME", value_parser = time)]
    max_time: Option<Duration>,
}

impl Budget {
    /// Whether times must be known.
    pub(super) fn wants_time(&self) -> bool {
        self.max_time.is_some()
    }

    /// Checks everything that has a budget, and names all that is beyond.
    ///
    /// # Errors
    /// 12.
    pub(super) fn check(&self, plan: &Plan, bill: &Bill, forecast: Option<&Forecast>) -> Result<(), Failure> {
        let (images, mut over, mut fits) = (bill.report.images, vec![], vec![]);
        let disk = bill.key_file_bytes.into_iter().max().unwrap_or(0);
        if let Some(most) = self.max_disk.filter(|most| disk > *most) {
            over.push(format!("key files take a party {}, the budget is {}", bytes(disk), bytes(most)));
            fits.push(match most_images(plan, bill.segment_images, images, most)? {
                0 => "--compare digits, which has smaller keys, or a smaller network".into(),
                fit => format!("--images {fit}"),
            });
        }
        let ram = memory(plan, bill.batch);
        if let Some(most) = self.max_ram.filter(|most| ram > *most) {
            over.push(format!("a party needs about {}, the budget is {}", bytes(ram), bytes(most)));
            let fit = (1..bill.batch).rev().find(|&batch| memory(plan, batch) <= most);
            fits.push(fit.map_or("a smaller network".into(), |fit| format!("--batch {fit}")));
        }
        if let (Some(most), Some(f)) = (self.max_time, forecast) {
            let each = f.online / f.batch.max(1) as f64;
            let all = each * images as f64;
            if all > most.as_secs_f64() {
                over.push(format!(
                    "{images} images take {all:.1} s online, the budget is {} s",
                    most.as_secs_f64()
                ));
                fits.push(match (most.as_secs_f64() / each) as u64 {
                    0 => "a nearer link, or a smaller network".into(),
                    fit => format!("--images {fit}"),
                });
            }
        }
        if over.is_empty() {
            return Ok(());
        }
        let remedy = format!("raise the budget; what would fit: {}", fits.join(", "));
        Err(Failure::new(ExitCode::Budget, over.join("; ")).remedy(remedy))
    }
}

/// The most images whose key files a party can store.
fn most_images(plan: &Plan, segment: u32, images: u64, most: u64) -> Result<u64, Failure> {
    let (mut fits, mut beyond) = (0, images);
    while fits + 1 < beyond {
        let middle = fits + (beyond - fits) / 2;
        let files = key_files(plan, Cut::new(middle, segment)?)?;
        match files.into_iter().max().unwrap_or(0) <= most {
            true => fits = middle,
            false => beyond = middle,
        }
    }
    Ok(fits)
}

/// A number and a unit of `units`, the first of which is meant where there is none.
fn quantity(text: &str, units: &[(&str, f64)]) -> Result<f64, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let (number, unit) = (text[..split].trim(), text[split..].trim());
    let names = || units.iter().map(|u| u.0).collect::<Vec<_>>().join(", ");
    let factor = match unit {
        "" => units.first().map(|u| u.1),
        unit => units.iter().find(|u| u.0.eq_ignore_ascii_case(unit)).map(|u| u.1),
    };
    let factor = factor.ok_or_else(|| format!("unit `{unit}`, known are {}", names()))?;
    match number.parse::<f64>() {
        Ok(value) if value > 0.0 && (value * factor).is_finite() => Ok(value * factor),
        _ => Err(format!("`{number}` is not a positive number")),
    }
}

fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 8] = [
        ("B", 1.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("MiB", 1048576.0),
        ("GiB", 1073741824.0),
        ("TiB", 1099511627776.0),
    ];
    quantity(text, &UNITS).map(|v| v as u64)
}

fn time(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 5] = [("s", 1.0), ("ms", 1e-3), ("min", 60.0), ("h", 3600.0), ("d", 86400.0)];
    let seconds = quantity(text, &UNITS)?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_units() {
        assert_eq!(size("20GB"), Ok(20_000_000_000));
        assert_eq!(size("1.5 mib"), Ok(1_572_864));
        assert_eq!(size("7"), Ok(7));
        assert_eq!(time("1.5min"), Ok(Duration::from_secs(90)));
        assert_eq!(time("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "GB", "-1GB", "0", "1XB", "1e999GB", "nan"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert!(time("1e300d").is_err() && time("3 weeks").is_err());
    }
}
