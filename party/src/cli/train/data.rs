//! Public data of a rehearsal: inputs with labels or targets, the last rows held out.

use crate::exit::{ExitCode, Failure, Phase};
use crate::files::{Inputs, read_images, read_labels};
use std::path::{Path, PathBuf};
use twoply_nn::graph::{Input, Normalise};
use twoply_nn::train::{Course, Loss, Step, TrainingPlan};
use twoply_nn::{Labels, Meaning, Weights};

/// Flags about data.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Data {
    /// Public inputs: a file or folder, as `twoply infer --help` lists them
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// The inputs are floats that are normalised already
    #[arg(long, requires = "samples")]
    samples_normalised: bool,
    /// Their classes: integers of NPY, NPZ or IDX, or a number a line [default: those that the inputs carry]
    #[arg(long, value_name = "FILE", requires = "samples")]
    labels: Option<PathBuf>,
    /// Values to learn instead of classes, a row for every input, for the losses that take them
    #[arg(long, value_name = "FILE", requires = "samples", conflicts_with = "labels")]
    targets: Option<PathBuf>,
    /// Rows at the end that are not trained on, but judged by [default: a tenth]
    #[arg(long, value_name = "N", requires = "samples")]
    held: Option<usize>,
    /// Inputs to judge by, instead of rows at the end
    #[arg(long, value_name = "FILE", requires = "samples", conflicts_with = "held")]
    test: Option<PathBuf>,
    /// Their classes [default: those that the inputs carry]
    #[arg(long, value_name = "FILE", requires = "test")]
    test_labels: Option<PathBuf>,
    /// Train on the first N rows only
    #[arg(long, value_name = "N", requires = "samples", conflicts_with = "held")]
    first: Option<usize>,
}

/// Rows of data, in the network's own scale.
pub(in crate::cli) struct Rows {
    pub inputs: Vec<f32>,
    pub targets: Vec<f32>,
    pub held: Vec<f32>,
    pub held_targets: Vec<f32>,
}

impl Rows {
    /// Training on them as planned, for so many steps.
    pub(in crate::cli) fn course<'a>(
        &'a self,
        (plan, step, weights): (&TrainingPlan, &'a Step, &'a Weights),
        (steps, every): (usize, usize),
        parties: bool,
    ) -> Course<'a> {
        Course {
            step,
            weights,
            inputs: &self.inputs,
            targets: &self.targets,
            held: &self.held,
            held_targets: &self.held_targets,
            seed: plan.seed,
            steps,
            every,
            figures: &[],
            parties,
        }
    }
}

fn unfit(what: String) -> Failure {
    Failure::new(ExitCode::Model, what).during(Phase::Import)
}

impl Data {
    /// Rows and labels of files, of rows only the first ones, and those to judge by: of files, or else the rows behind the first.
    pub(in crate::cli) fn named(
        [samples, labels]: [Option<PathBuf>; 2],
        test: Option<[Option<PathBuf>; 2]>,
        first: Option<usize>,
    ) -> Data {
        let [test, test_labels] = test.unwrap_or_default();
        let (samples_normalised, targets, held) = (false, None, None);
        Data { samples, samples_normalised, labels, targets, held, test, test_labels, first }
    }
    /// Whether there is any.
    pub(super) fn is_named(&self) -> bool {
        self.samples.is_some()
    }
    /// The rows, for a step of training.
    ///
    /// # Errors
    /// 2 where none are named; 15 when files are unusable, labels are out of range or not as many as inputs.
    pub(in crate::cli) fn read(&self, step: &Step) -> Result<Rows, Failure> {
        let Some(samples) = &self.samples else {
            return Err(Failure::new(ExitCode::Usage, "training runs data, and none is named")
                .remedy("add --samples FILE, with --labels FILE where it carries none"));
        };
        let graph = step.graph();
        let inputs = read_images(samples, &graph.input, self.samples_normalised)?;
        let targets = targets(step, &inputs, self.labels.as_deref(), self.targets.as_deref())?;
        let outputs = step.targets().shape.row();
        let (row, mut inputs, mut targets) = (graph.input.row(), inputs, targets);
        let first = match (self.first, self.held, &self.test) {
            (Some(first), ..) => first,
            (None, Some(held), _) => inputs.images.saturating_sub(held),
            (None, None, Some(_)) => inputs.images,
            (None, None, None) => inputs.images - inputs.images.div_ceil(10),
        };
        if first == 0 || first > inputs.images || (first == inputs.images && self.test.is_none()) {
            let what = format!(
                "{first} of {} rows to train on leave nothing to judge by or to train on",
                inputs.images
            );
            return Err(Failure::new(ExitCode::Usage, what).remedy("choose another --held or --first"));
        }
        let (mut held, mut held_targets) =
            (inputs.values.split_off(first * row), targets.split_off(first * outputs));
        if let Some(path) = &self.test {
            let judges = read_images(path, &graph.input, self.samples_normalised)?;
            held_targets = self::targets(step, &judges, self.test_labels.as_deref(), None)?;
            held = judges.values;
        }
        Ok(Rows { inputs: inputs.values, targets, held, held_targets })
    }
}

/// The targets of these inputs: of a file, or those that the inputs carry.
///
/// # Errors
/// 2 where there are none; 15 when files are unusable, labels are out of range or not as many as inputs.
pub(in crate::cli) fn targets(
    step: &Step,
    inputs: &Inputs,
    labels: Option<&Path>,
    values: Option<&Path>,
) -> Result<Vec<f32>, Failure> {
    let (graph, outputs) = (step.graph(), step.targets().shape.row());
    let targets = match values {
        Some(path) => {
            let (normalise, layout) = (Normalise::default(), Default::default());
            let plain = Input { name: "targets".into(), shape: vec![outputs], normalise, layout };
            read_images(path, &plain, true)?.values
        }
        None => {
            let labels = match labels {
                Some(path) => read_labels(path)?,
                None => inputs.labels(&Meaning::of(graph)?).ok_or_else(|| {
                    Failure::new(ExitCode::Usage, "the inputs carry no labels")
                        .remedy("add --labels FILE, or --targets FILE for values")
                })?,
            };
            hot(&labels, outputs, step.recipe().loss)?
        }
    };
    if targets.len() != inputs.images * outputs {
        let found = targets.len() / outputs.max(1);
        return Err(unfit(format!("{} inputs, and {found} labels or targets", inputs.images)));
    }
    Ok(targets)
}

/// Labels as the targets of a loss: one-hot, or one of 0 and 1 for one output.
fn hot(Labels(labels): &Labels, outputs: usize, loss: Loss) -> Result<Vec<f32>, Failure> {
    let classes = if outputs == 1 { 2 } else { outputs };
    if let Some((at, label)) = labels.iter().enumerate().find(|(_, label)| **label as usize >= classes) {
        let what = format!("label {label} of row {at} is none of the {classes} classes of the network");
        return Err(unfit(what));
    }
    if outputs == 1 && loss == Loss::CrossEntropy {
        return Err(unfit("one output cannot be trained with cross-entropy".into()));
    }
    let row = |label: &u32| -> Vec<f32> {
        match outputs {
            1 => vec![*label as f32],
            _ => (0..outputs).map(|k| f32::from(k == *label as usize)).collect(),
        }
    };
    Ok(labels.iter().flat_map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_targets() {
        let of = |labels: &[u32], outputs, loss| hot(&Labels(labels.to_vec()), outputs, loss);
        assert_eq!(of(&[1, 0], 3, Loss::CrossEntropy).unwrap(), [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(of(&[1, 0], 1, Loss::BinaryCrossEntropy).unwrap(), [1.0, 0.0]);
        let far = of(&[0, 3], 3, Loss::SquaredError).unwrap_err().to_string();
        assert!(far.contains("label 3 of row 1"), "{far}");
        assert!(of(&[2], 1, Loss::BinaryCrossEntropy).is_err());
    }
}
