//! The private answer beside the plain network's, where one process may know both.

use crate::exit::Failure;
use crate::report::Report;
use twoply_nn::roles::Answer;
use twoply_nn::{Evaluator, Labels, Meaning, Plan, Weights};

/// Fills in what needs the plain network: agreement, errors, and values out of range. Returns the plain labels, where the
/// output has any.
///
/// # Errors
/// 15 when weights or inputs do not fit the plan's graph.
pub fn compare(
    report: &mut Report,
    (plan, weights): (&Plan, &Weights),
    inputs: &[f32],
    answer: &Answer,
) -> Result<Option<Vec<usize>>, Failure> {
    let float = Evaluator::new(&plan.graph, weights)?;
    let plain = match Meaning::of(&plan.graph)?.labels(answer) {
        Some(private) => {
            let plain = float.labels(inputs)?;
            report.agree = Some(private.iter().zip(&plain).filter(|(a, b)| a == b).count() as u64);
            Some(plain)
        }
        None => None,
    };
    let limit = plan.options.scale().limit();
    let count = |n: &mut u64, _: usize, y: &[f32]| {
        *n += y.iter().filter(|v| f64::from(v.abs()) > limit).count() as u64
    };
    report.wraps = Some(float.watch(inputs, || 0, count, |a, b| a + b)?);
    if let Answer::Logits(rows) = answer {
        let scale = f64::from(plan.options.fixed.f).exp2();
        let plain = float.run(inputs)?.concat();
        let pairs = rows.iter().flatten().zip(&plain);
        let worst = pairs.map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max);
        let largest = plain.iter().fold(0.0, |m: f64, v| f64::from(v.abs()).max(m));
        report.worst_relative = (largest > 0.0).then_some(worst / largest);
        report.worst_ulp = Some((worst * scale * 10.0).round() / 10.0);
    }
    Ok(plain)
}

/// Number of labels that are the given ones, if there are both.
pub fn correct(labels: Option<&[usize]>, truth: Option<&Labels>) -> Option<u64> {
    let pairs = labels?.iter().zip(&truth?.0);
    Some(pairs.filter(|(a, b)| **a == **b as usize).count() as u64)
}
