//! Which comparison a layer takes, by its time on a link.

use super::forecast::{Forecast, forecast};
use crate::exit::Failure;
use crate::transport::Shape;
use std::collections::BTreeMap;
use twoply_nn::{Options, Plan};
use twoply_primitives::compare::Scheme;

/// The plan in which every layer compares in the way that was faster in a rehearsal, and why. What was asked for a layer
/// is kept.
pub(super) fn choose(
    plan: Plan,
    asked: &BTreeMap<String, Scheme>,
    batch: u64,
    link: &Shape,
) -> Result<(Plan, Vec<String>), Failure> {
    let under = |compare: Scheme| -> Result<Forecast, Failure> {
        let options = Options { compare, compare_at: Default::default(), ..plan.options.clone() };
        let other = Plan::new(plan.graph.clone(), options, plan.ranges.clone())?;
        forecast(&other, batch, link)
    };
    let (digits, dpf) = (under(Scheme::Digits)?, under(Scheme::Dpf)?);
    let mut options = Options { compare: Scheme::Digits, ..plan.options.clone() };
    let mut why = vec![];
    for (a, b) in digits.layers.iter().zip(&dpf.layers).filter(|(a, _)| a.compare.is_some()) {
        let [digits, dpf] = [a, b].map(|t| (t.compute + t.wait) * 1e3);
        let better = if dpf < digits { Scheme::Dpf } else { Scheme::Digits };
        let chosen = match asked.get(&a.name) {
            Some(scheme) => *scheme,
            // what the program adds behind the graph has no layer to except
            None if !plan.graph.nodes.iter().any(|n| n.name == a.name) => continue,
            None => better,
        };
        options.compare_at.insert(a.name.clone(), chosen);
        let note = if chosen == better { "" } else { ", as asked" };
        why.push(format!(
            "{}: {}{note}; digits {digits:.2} ms, dpf {dpf:.2} ms",
            a.name,
            format!("{chosen:?}").to_lowercase()
        ));
    }
    Ok((Plan::new(plan.graph, options, plan.ranges)?, why))
}
