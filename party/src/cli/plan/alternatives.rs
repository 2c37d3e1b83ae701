//! The same network under other choices, side by side.

use super::bill::Bill;
use super::forecast::forecast;
use crate::cli::output::{bytes, table};
use crate::exit::Failure;
use crate::transport::Shape;
use serde::Serialize;
use twoply_nn::{Options, Plan};
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::Rounding;

/// One choice and its bill over all images.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub compare: String,
    pub rounding: String,
    pub comparisons: u64,
    pub key_file_bytes: [u64; 2],
    pub bytes_sent: u64,
    pub rounds: u64,
    /// Dealer's compute and online time of one run, in seconds, if times were asked for.
    pub seconds: Option<[f64; 2]>,
}

/// Both comparisons under both roundings; exceptions of single layers are left out.
pub(super) fn rows(
    plan: &Plan,
    (images, batch): (u64, Option<u64>),
    link: Option<&Shape>,
) -> Result<Vec<Row>, Failure> {
    let mut rows = vec![];
    for compare in [Scheme::Digits, Scheme::Dpf] {
        for rounding in [Rounding::PublicCoin, Rounding::Floor] {
            let options =
                Options { compare, rounding, compare_at: Default::default(), ..plan.options.clone() };
            let other = Plan::new(plan.graph.clone(), options, plan.ranges.clone())?;
            let bill = Bill::new(&other, images, batch)?;
            let times = link.map(|link| forecast(&other, bill.batch, link)).transpose()?;
            rows.push(Row {
                compare: format!("{compare:?}").to_lowercase(),
                rounding: if rounding == Rounding::Floor { "floor" } else { "public-coin" }.into(),
                comparisons: bill.report.comparisons,
                key_file_bytes: bill.key_file_bytes,
                bytes_sent: bill.report.bytes_sent[0].unwrap_or(0),
                rounds: bill.report.rounds,
                seconds: times.map(|t| [t.deal, t.online]),
            });
        }
    }
    Ok(rows)
}

/// As a table.
pub(super) fn text(rows: &[Row]) -> String {
    let head = [
        "compare",
        "rounding",
        "comparisons",
        "keys P0",
        "keys P1",
        "sent each",
        "rounds",
        "dealing",
        "online",
    ];
    let mut all = vec![head.map(String::from).to_vec()];
    for r in rows {
        let seconds = |i: usize| r.seconds.map_or("-".into(), |s| format!("{:.1} ms", s[i] * 1e3));
        all.push(vec![
            r.compare.clone(),
            r.rounding.clone(),
            r.comparisons.to_string(),
            bytes(r.key_file_bytes[0]),
            bytes(r.key_file_bytes[1]),
            bytes(r.bytes_sent),
            r.rounds.to_string(),
            seconds(0),
            seconds(1),
        ]);
    }
    format!("other choices (times of one run):\n{}", table(&all))
}
