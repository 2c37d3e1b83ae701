//! `twoply train check`: floating point, fixed point and two parties train side by side on public data.

use super::ModelFiles;
use super::data::Data;
use super::page;
use super::plan::{CONTRACT, GUARD, beyond, farthest, start};
use crate::cli::output::{Output, shell, table};
use crate::exit::{ExitCode, Failure};
use crate::files::{self, Existing};
use serde::Serialize;
use std::path::PathBuf;
use twoply_nn::train::{Compared, Course, Figure, Point, TrainingPlan, compare};
use twoply_nn::with_ring;

/// Train public data in floating point, in fixed point and between two parties, side by side
///
/// The two parties run in this process, with real keys in memory. Fixed point tosses the coins that they tossed, so both must hold
/// the same weights, bit for bit, and every counter must be the plan's. Nothing is opened between steps: the curves are those of
/// weights that are joined for the purpose.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply train check digits.train.json --samples examples/digits/digits-images.idx --labels \
    examples/digits/digits-labels.idx --steps 200 --html digits.train.html"
)]
pub struct Args {
    /// The plan, from `twoply train plan`
    #[arg(value_name = "PLAN.json")]
    plan: PathBuf,
    #[command(flatten)]
    data: Data,
    /// Weights to begin with, instead of those of the plan's seed
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Steps [default: those of the plan]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Steps from one point of the curves to the next [default: a tenth]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    every: Option<u32>,
    /// Leave the two parties out: fixed point tosses coins of its own, and is much quicker
    #[arg(long)]
    no_parties: bool,
    /// Write the curves to one HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write what fixed point learnt, as `twoply import` would: NAME.graph.json and NAME.weights.safetensors
    #[arg(long, value_name = "NAME")]
    model_out: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
}

/// The JSON result.
#[derive(Serialize)]
struct Checked<'a> {
    graph: &'a str,
    /// Digest of the plan.
    plan: String,
    /// What is wrong, in the words of the failure.
    trouble: Option<&'a str>,
    #[serde(flatten)]
    found: &'a Compared,
}

/// Checks.
///
/// # Errors
/// 10 when values leave their range; 15 when plan, weights or data are unusable; 1 when the parties compute something
/// else than fixed point does. The report comes first.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    let plan = files::read_training_plan(&args.plan)?;
    args.html.iter().try_for_each(|path| files::vacant(path, existing))?;
    let model =
        args.model_out.as_deref().map(|name| ModelFiles::new(name, &plan.graph, existing)).transpose()?;
    let (step, weights) = (plan.program()?, start(args.weights.as_ref(), &plan)?);
    let rows = args.data.read(&step)?;
    let steps = args.steps.map_or(plan.steps(), u64::from) as usize;
    let every = args.every.map_or(steps.div_ceil(10), |n| n as usize);
    let figures: Vec<Figure> = plan.reveals.iter().map(|reveal| reveal.figure).collect();
    let course = rows.course((&plan, &step, &weights), (steps, every), !args.no_parties);
    let course = Course { figures: &figures, ..course };
    let mut progress = out.progress("steps", steps as u64);
    let told = |done: usize, _: Option<&Point>| progress.at(done as u64);
    let found = with_ring!(plan.recipe.n, R => compare::<R>(&course, told))?;
    drop(progress);
    let trouble = trouble(&found);
    if let Some(path) = &args.html {
        let what = trouble.as_ref().map(|t| t.content().what.as_str());
        files::write_public(path, page::page(&plan, &found, what).as_bytes(), existing)?;
        out.note(format_args!("curves: {}", shell(path)));
    }
    if let Some(model) = &model {
        model.write(&plan.graph, &found.weights)?;
        let [graph, weights] = model.folded.as_ref().unwrap_or(&model.own);
        out.note(format_args!("model: {} {}", shell(graph), shell(weights)));
    }
    show(&plan, &found, trouble.as_ref(), out)?;
    trouble.map_or(Ok(()), Err)
}

/// What is wrong, the worst first: beyond the contract the parties need not agree with the oracle.
fn trouble(found: &Compared) -> Option<Failure> {
    let differ = || {
        let differing = found.differing.filter(|n| *n > 0)?;
        let what = format!("two parties differ from fixed point in {differing} parameters and velocities");
        Some(Failure::new(ExitCode::Internal, what))
    };
    let miscounted = || {
        let what = format!("{} gates counted something else than the plan says", found.miscounted);
        (found.miscounted > 0).then(|| Failure::new(ExitCode::Internal, what))
    };
    farthest(&found.reach).and_then(|far| beyond(far, CONTRACT)).or_else(differ).or_else(miscounted)
}

fn show(
    plan: &TrainingPlan,
    found: &Compared,
    trouble: Option<&Failure>,
    out: &Output,
) -> Result<(), Failure> {
    out.line(format_args!(
        "{}, {} held-out rows, ring {} bits, batch {}, rate {}",
        plan.graph.name,
        found.held,
        plan.recipe.n,
        plan.recipe.batch,
        plan.recipe.rate.real()
    ))?;
    out.line(table(&rows(found)))?;
    if let Some(far) = farthest(&found.reach) {
        let less = if far.largest > GUARD { ", less than a bit from its end" } else { "" };
        out.line(format_args!(
            "the farthest values, in layer `{}`, reach {:.2} of half their wire{less}",
            far.layer, far.largest
        ))?;
    }
    match (found.differing, found.step_seconds) {
        (Some(differing), Some([dealing, running])) => out.line(format_args!(
            "two parties against fixed point, at every line of the table: {differing} values differ; a step takes the dealer \
             {:.1} ms, both parties {:.1} ms on this machine",
            dealing * 1e3,
            running * 1e3
        ))?,
        _ => out.line("fixed point tossed its own coins: no parties ran")?,
    }
    let trouble = trouble.map(|failure| failure.content().what.as_str());
    let digest = plan.digest()?.to_string();
    out.result_json(&Checked { graph: &plan.graph.name, plan: digest, trouble, found })
}

/// The head of the table, and a row per point; the page shows the same.
pub(super) fn rows(found: &Compared) -> Vec<Vec<String>> {
    let private = if found.differing.is_some() { "two parties" } else { "fixed point" };
    let mut head = vec!["step".to_owned(), "loss, float".into(), format!("loss, {private}")];
    let classes = found.points.iter().all(|p| p.right_float.is_some());
    if classes {
        head.extend(["right, float".to_owned(), format!("right, {private}")]);
    }
    let figures: Vec<Figure> = found.points.first().map_or(vec![], |p| p.revealed.keys().copied().collect());
    head.extend(figures.iter().map(|figure| match figure {
        Figure::Accuracy => format!("accuracy of {}, revealed", found.judged),
        _ => format!("{figure}, revealed"),
    }));
    head.push("weights apart".into());
    let row = |p: &Point| {
        let mut row =
            vec![p.step.to_string(), format!("{:.4}", p.loss_float), format!("{:.4}", p.loss_fixed)];
        row.extend(p.right_float.iter().chain(&p.right_fixed).map(usize::to_string));
        row.extend(p.revealed.iter().map(|(figure, numbers)| match figure {
            Figure::Loss => format!("{:.4}", numbers.iter().sum::<f64>()),
            _ => format!("{:.0}", numbers.iter().sum::<f64>()),
        }));
        row.push(format!("{:.4}", p.apart));
        row
    };
    [head].into_iter().chain(found.points.iter().map(row)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use twoply_nn::Weights;
    use twoply_nn::engine::Reach;

    /// A good check.
    pub fn good() -> Compared {
        let point = |step: usize| Point {
            step,
            loss_float: 2.0 / (step + 1) as f64,
            loss_fixed: 2.1 / (step + 1) as f64,
            right_float: Some(step),
            right_fixed: Some(step),
            apart: 0.01,
            revealed: [(Figure::Accuracy, vec![step as f64])].into(),
        };
        Compared {
            held: 10,
            judged: 8,
            points: vec![point(0), point(5), point(9)],
            reach: vec![Reach { layer: "fc".into(), gate: "linear", largest: 0.1 }],
            differing: Some(0),
            miscounted: 0,
            step_seconds: Some([0.001, 0.002]),
            weights: Weights(vec![]),
        }
    }

    #[test]
    fn the_worst_trouble_is_the_one_that_is_told() {
        let mut found = good();
        assert!(trouble(&found).is_none());
        found.miscounted = 1;
        assert_eq!(trouble(&found).map(|f| f.code()), Some(ExitCode::Internal));
        found.differing = Some(3);
        assert_eq!(trouble(&found).map(|f| f.code()), Some(ExitCode::Internal));
        found.reach[0].largest = 0.6;
        let failure = trouble(&found).unwrap();
        assert_eq!((failure.code(), failure.content().layer.as_deref()), (ExitCode::Range, Some("fc")));
        assert!(failure.content().what.contains("1 more"), "{failure}");
    }

    #[test]
    fn columns_of_classes_are_there_where_there_are_classes() {
        let mut found = good();
        assert!(rows(&found).iter().all(|row| row.len() == 7));
        assert_eq!(rows(&found)[0][5], "accuracy of 8, revealed");
        found.points.iter_mut().for_each(|p| (p.right_float, p.right_fixed) = (None, None));
        found.points.iter_mut().for_each(|p| p.revealed.clear());
        assert!(rows(&found).iter().all(|row| row.len() == 4));
    }
}
