//! The private answer beside the plain network's, where one process may know both.

use crate::exit::Failure;
use crate::report::Report;
use twoply_nn::roles::Answer;
use twoply_nn::{Evaluator, Labels, Plan, Weights};

/// Fills in what needs the plain network: agreement, errors, values out of range, and accuracy if labels are given.
///
/// # Errors
/// 15 when weights or inputs do not fit the plan's graph.
pub fn compare(
    report: &mut Report,
    (plan, weights): (&Plan, &Weights),
    inputs: &[f32],
    answer: &Answer,
) -> Result<Vec<usize>, Failure> {
    let float = Evaluator::new(&plan.graph, weights)?;
    let plain = float.labels(inputs)?;
    let private = answer.labels();
    report.agree = Some(private.iter().zip(&plain).filter(|(a, b)| a == b).count() as u64);
    let limit = plan.options.fixed.limit();
    let count = |n: &mut u64, _: usize, y: &[f32]| {
        *n += y.iter().filter(|v| f64::from(v.abs()) > limit).count() as u64
    };
    report.wraps = Some(float.watch(inputs, || 0, count, |a, b| a + b)?);
    if let Answer::Logits(rows) = answer {
        let scale = f64::from(plan.options.fixed.f).exp2();
        let pairs = rows.iter().flatten().zip(float.run(inputs)?.into_iter().flatten());
        let worst = pairs.map(|(a, b)| (a - f64::from(b)).abs()).fold(0.0, f64::max);
        report.worst_ulp = Some((worst * scale * 10.0).round() / 10.0);
    }
    Ok(plain)
}

/// Number of labels that are the given ones.
pub fn correct(labels: &[usize], truth: &Labels) -> u64 {
    labels.iter().zip(&truth.0).filter(|(a, b)| **a == **b as usize).count() as u64
}
