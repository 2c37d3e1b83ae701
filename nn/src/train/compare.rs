//! The same training three times: in floating point, in fixed point, and between two parties, on public data.
//!
//! Weights are never opened between steps: what the parties hold is compared at the points where the curves are taken. How
//! far values reached into their wires is what a plan's guard bits are judged by (training, section 10).

use super::norm::GATHERED;
use super::{Figure, Loss, Reference, Rehearsal, Schedule, State, Step, batches};
use crate::engine::{Clear, Reach};
use crate::float::Evaluator;
use crate::{Error, Meaning, Result, Weights};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use twoply_primitives::{Cpu, Form, Ring};

/// What is compared, and on what.
pub struct Course<'a> {
    /// The first step; rates of later epochs are those of its recipe.
    pub step: &'a Step,
    /// What it begins with.
    pub weights: &'a Weights,
    /// Training inputs, normalised, whole rows.
    pub inputs: &'a [f32],
    /// Their targets.
    pub targets: &'a [f32],
    /// Held-out inputs.
    pub held: &'a [f32],
    /// Their targets.
    pub held_targets: &'a [f32],
    /// Public seed of the data's order, and of what the steps draw.
    pub seed: u64,
    /// Steps.
    pub steps: usize,
    /// Steps from one point of the curves to the next.
    pub every: usize,
    /// Figures that the plan reveals, which are computed privately at every point, of held-out rows that fill batches.
    pub figures: &'a [Figure],
    /// Whether two parties run beside; without them fixed point tosses its own coins.
    pub parties: bool,
}

/// One point of the curves, of held-out data.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Point {
    /// Steps so far.
    pub step: usize,
    /// Mean loss, float.
    pub loss_float: f64,
    /// Mean loss of the weights trained in fixed point.
    pub loss_fixed: f64,
    /// Right answers of the float network, where targets say classes: one-hot, or one of 0 and 1.
    pub right_float: Option<usize>,
    /// Right answers of the one trained in fixed point.
    pub right_fixed: Option<usize>,
    /// Largest difference of a parameter that is learnt, in real terms.
    pub apart: f64,
    /// The numbers of each figure that the plan reveals, as the two parties compute them; by fixed point where none run. Losses are
    /// means over rows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub revealed: BTreeMap<Figure, Vec<f64>>,
}

/// What three trainings gave.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Compared {
    /// Held-out samples.
    pub held: usize,
    /// Of them, those that figures are about.
    pub judged: usize,
    /// The curves.
    pub points: Vec<Point>,
    /// How far the results of gates that cut reached into their wires, over all steps.
    pub reach: Vec<Reach>,
    /// Parameters, velocities, accumulators and figures in which the two parties and fixed point differ, of all points; none if no
    /// parties ran.
    pub differing: Option<usize>,
    /// Gates that counted something else than the plan says, of all steps and both parties.
    pub miscounted: usize,
    /// Time of a step: dealing, and both parties on this machine.
    pub step_seconds: Option<[f64; 2]>,
    /// The weights trained in fixed point.
    #[serde(skip)]
    pub weights: Weights,
}

/// Trains three times; `told` hears how many steps are done, and each point.
///
/// # Errors
/// Data that does not fit the step, and what gates and parties report.
pub fn compare<R: Ring>(course: &Course, mut told: impl FnMut(usize, Option<&Point>)) -> Result<Compared> {
    let step = course.step;
    let mut float = Reference::new(step, course.weights)?;
    let mut clear = step.clear::<R>(course.weights)?;
    let parties = |_| {
        // rows that are held out stand behind the others, as in a run
        let inputs = [course.inputs, course.held].concat();
        let targets = [course.targets, course.held_targets].concat();
        Rehearsal::new(Cpu::<R>::new(), step, course.weights, &inputs, &targets)
    };
    let mut parties = course.parties.then_some(()).map(parties).transpose()?;
    let mut found = Compared {
        held: course.held.len() / step.input().shape.row(),
        judged: course.judged().len() * step.recipe.batch,
        points: vec![],
        reach: vec![],
        differing: parties.as_ref().map(|_| 0),
        miscounted: 0,
        step_seconds: None,
        weights: course.weights.clone(),
    };
    let schedule = course.schedule();
    let mut planned = step.planned()?.gates;
    let (mut times, mut beside) = ([Duration::ZERO; 2], vec![]);
    let mut start = point(course, 0, &float, &learnt(course, &clear, 0))?;
    start.revealed = revealed(course, &clear, &mut parties, (&mut found, &mut beside))?;
    told(0, Some(&start));
    found.points.push(start);
    let mut gathered = 0;
    for (at, chosen) in (1..=course.steps).zip(course.order()?) {
        if course.gathers_anew(at) {
            float.forget();
            clear.accumulators = step.clear_accumulators();
            parties.iter_mut().for_each(Rehearsal::forget);
            gathered = 0;
        }
        gathered += 1;
        let rows = course.batch(&chosen);
        let (step, moment) = schedule.at(at as u64 - 1);
        float.run((step, moment), &rows.inputs, &rows.targets)?;
        let mut engine = match &mut parties {
            Some(both) => {
                let played = both.run((step, moment), &chosen)?;
                if moment.before.is_some() {
                    planned = step.planned()?.gates;
                }
                found.miscounted += played.miscounted(&planned);
                times[0] += played.dealing;
                times[1] += played.running;
                let mut engine = Clear::with_coins(vec![], played.coins);
                engine.measure();
                engine
            }
            None => course.tossed(at),
        };
        clear = step.on_clear(&mut engine, moment, &clear, rows.as_slices())?;
        farther(&mut found.reach, engine.take_reach());
        let due = course.due(at);
        if due {
            if let (Some(both), Some(differing)) = (&parties, &mut found.differing) {
                let held = both.state()?;
                let held = held.weights.iter().chain(&held.velocity).chain(&held.accumulators);
                let clear = clear.weights.iter().chain(&clear.velocity).chain(&clear.accumulators);
                let pairs = held.zip(clear);
                *differing +=
                    pairs.map(|(a, b)| a.iter().zip(&b.1).filter(|(a, b)| a != b).count()).sum::<usize>();
            }
            let mut point = point(course, at, &float, &learnt(course, &clear, gathered))?;
            point.revealed = revealed(course, &clear, &mut parties, (&mut found, &mut beside))?;
            found.points.push(point);
        }
        told(at, found.points.last().filter(|_| due));
    }
    found.reach.append(&mut beside);
    found.weights = learnt(course, &clear, gathered);
    let per_step = |t: Duration| t.as_secs_f64() / course.steps.max(1) as f64;
    found.step_seconds = parties.map(|_| times.map(per_step));
    Ok(found)
}

/// The figures of the weights at a point: those of the two parties, beside the oracle's, or the oracle's alone.
fn revealed<R: Ring>(
    course: &Course,
    clear: &State<(Form, Vec<R>)>,
    parties: &mut Option<Rehearsal<'_, Cpu<R>>>,
    (found, beside): (&mut Compared, &mut Vec<Reach>),
) -> Result<BTreeMap<Figure, Vec<f64>>> {
    let (step, mut all) = (course.step, BTreeMap::new());
    for &figure in course.figures {
        // rows that are held out, or the first ones of those that are trained on
        let batches = if figure.judges() { course.judged() } else { vec![(0..step.recipe.batch).collect()] };
        let rows: Vec<&[usize]> = batches.iter().map(Vec::as_slice).collect();
        let planned = step.planned_figure(figure)?.gates;
        let played = parties.as_mut().map(|both| both.figure((step, figure), &rows)).transpose()?;
        let (numbers, mut played) =
            played.map_or((None, vec![]), |(numbers, played)| (Some(numbers), played));
        let mut sums = vec![0; step.numbers(figure)?.len()];
        for (at, rows) in batches.iter().enumerate() {
            let batch = if figure.judges() { course.held_batch(rows) } else { course.batch(rows) };
            let mut engine = match played.get_mut(at) {
                Some(played) => {
                    found.miscounted += played.miscounted(&planned);
                    Clear::with_coins(vec![], std::mem::take(&mut played.coins))
                }
                None => course.tossed(found.points.len()),
            };
            engine.measure();
            let batch = step.figure_on_clear(&mut engine, figure, clear, batch.as_slices())?;
            sums.iter_mut().zip(batch).for_each(|(sum, number)| *sum += number);
            farthest(beside, engine.take_reach());
        }
        if let (Some(numbers), Some(differing)) = (&numbers, &mut found.differing) {
            *differing += numbers.iter().zip(&sums).filter(|(a, b)| a != b).count();
        }
        let real = |number: i64| match figure {
            Figure::Loss => step.mean_loss(number, (batches.len() * step.recipe.batch) as u64),
            _ => number as f64,
        };
        all.insert(figure, numbers.unwrap_or(sums).into_iter().map(real).collect());
    }
    Ok(all)
}

/// How far the gates' results reach when fixed point alone trains.
///
/// # Errors
/// Data that does not fit the step.
pub fn reach<R: Ring>(course: &Course, mut told: impl FnMut(usize)) -> Result<Vec<Reach>> {
    let (schedule, mut all) = (course.schedule(), vec![]);
    let mut clear = course.step.clear::<R>(course.weights)?;
    for (at, chosen) in (1..=course.steps).zip(course.order()?) {
        let mut engine = course.tossed(at);
        let (step, moment) = schedule.at(at as u64 - 1);
        clear = step.on_clear(&mut engine, moment, &clear, course.batch(&chosen).as_slices())?;
        farther(&mut all, engine.take_reach());
        told(at);
    }
    Ok(all)
}

/// The network after some steps of fixed point, with the statistics of as many as were gathered.
fn learnt<R: Ring>(course: &Course, state: &State<(Form, Vec<R>)>, gathered: usize) -> Weights {
    let mut weights = course.step.decode(&values(&state.weights), course.weights);
    if gathered > 0 {
        course.step.set_statistics(&mut weights, &values(&state.accumulators), gathered);
    }
    weights
}

impl Course<'_> {
    fn rows(&self) -> usize {
        self.inputs.len() / self.step.input().shape.row()
    }
    fn schedule(&self) -> Schedule {
        Schedule::new(self.step, (self.rows() / self.step.recipe.batch) as u64, self.seed)
    }
    /// Whether a point of the curves is taken after this step.
    fn due(&self, at: usize) -> bool {
        at.is_multiple_of(self.every.max(1)) || at == self.steps
    }
    /// Whether statistics of batch normalisations begin anew with this step: behind a point, and as many steps before the next
    /// as are averaged for it.
    fn gathers_anew(&self, at: usize) -> bool {
        let next = at.next_multiple_of(self.every.max(1)).min(self.steps);
        at == 1 || self.due(at - 1) || next + 1 == at + GATHERED
    }
    /// The rows of every step.
    fn order(&self) -> Result<impl Iterator<Item = Vec<usize>> + use<>> {
        let (rows, batch) = (self.rows(), self.step.recipe.batch);
        if rows < batch {
            return Err(Error::data("training", format!("{rows} rows are less than a batch of {batch}")));
        }
        let seed = self.seed;
        Ok((0..).flat_map(move |epoch| batches(seed, epoch, rows, batch)))
    }
    /// Rows that figures are about, batch by batch, behind those that are trained on.
    fn judged(&self) -> Vec<Vec<usize>> {
        let held = self.held.len() / self.step.input().shape.row();
        let all: Vec<usize> = (self.rows()..self.rows() + held).collect();
        all.chunks_exact(self.step.recipe.batch).map(<[usize]>::to_vec).collect()
    }
    fn held_batch(&self, rows: &[usize]) -> Batch {
        let rows: Vec<usize> = rows.iter().map(|row| row - self.rows()).collect();
        Batch {
            inputs: pick(self.held, self.step.input().shape.row(), &rows),
            targets: pick(self.held_targets, self.step.targets().shape.row(), &rows),
        }
    }
    fn batch(&self, rows: &[usize]) -> Batch {
        Batch {
            inputs: pick(self.inputs, self.step.input().shape.row(), rows),
            targets: pick(self.targets, self.step.targets().shape.row(), rows),
        }
    }
    /// An oracle with coins of its own for this step.
    fn tossed<R: Ring>(&self, at: usize) -> Clear<R> {
        let mut engine = Clear::simulated((self.seed as u128) << 64 | at as u128);
        engine.measure();
        engine
    }
}

/// A step's rows.
struct Batch {
    inputs: Vec<f32>,
    targets: Vec<f32>,
}

impl Batch {
    fn as_slices(&self) -> (&[f32], &[f32]) {
        (&self.inputs, &self.targets)
    }
}

fn values<R: Ring>(wires: &[(Form, Vec<R>)]) -> Vec<Vec<R>> {
    wires.iter().map(|w| w.1.clone()).collect()
}

fn pick(values: &[f32], row: usize, rows: &[usize]) -> Vec<f32> {
    rows.iter().flat_map(|r| values[r * row..(r + 1) * row].iter().copied()).collect()
}

/// Keeps the farthest of each layer's gates that are there, beside what is new.
fn farthest(all: &mut Vec<Reach>, figure: Vec<Reach>) {
    for new in figure {
        match all.iter_mut().find(|r| (&r.layer, r.gate) == (&new.layer, new.gate)) {
            Some(known) => known.largest = known.largest.max(new.largest),
            None => all.push(new),
        }
    }
}

/// Keeps the farthest of each gate.
fn farther(all: &mut Vec<Reach>, step: Vec<Reach>) {
    if all.is_empty() {
        *all = step;
        return;
    }
    all.iter_mut().zip(step).for_each(|(a, b)| a.largest = a.largest.max(b.largest));
}

fn point(course: &Course, at: usize, float: &Reference, fixed: &Weights) -> Result<Point> {
    let (loss_float, right_float) = judge(course, &float.weights)?;
    let (loss_fixed, right_fixed) = judge(course, fixed)?;
    let pairs = float.weights.0.iter().zip(&fixed.0).zip(&course.step.graph.params);
    let learnt = pairs.filter(|(_, param)| param.role.is_learnt());
    let pairs = learnt.flat_map(|((a, b), _)| a.iter().zip(b));
    let apart = pairs.fold(0.0, |m: f64, (a, b)| m.max(f64::from((a - b).abs())));
    let revealed = BTreeMap::new();
    Ok(Point { step: at, loss_float, loss_fixed, right_float, right_fixed, apart, revealed })
}

/// Trains in floating point alone; the weights after the course.
///
/// # Errors
/// Data that does not fit the step.
pub fn plain(course: &Course) -> Result<Weights> {
    let (schedule, mut float) = (course.schedule(), Reference::new(course.step, course.weights)?);
    for (at, chosen) in (0..course.steps).zip(course.order()?) {
        if at + GATHERED == course.steps {
            float.forget();
        }
        let rows = course.batch(&chosen);
        float.run(schedule.at(at as u64), &rows.inputs, &rows.targets)?;
    }
    Ok(float.weights)
}

/// Mean loss and right answers of weights on held-out data, by the float network.
///
/// # Errors
/// Data that does not fit the step.
pub fn judge(course: &Course, weights: &Weights) -> Result<(f64, Option<usize>)> {
    let step = course.step;
    let outputs = Evaluator::new(&step.graph, weights)?.run(course.held)?;
    let targets = course.held_targets.chunks_exact(step.targets().shape.row());
    let losses = outputs.iter().zip(targets.clone()).map(|(z, t)| step.recipe.loss.of(z, t));
    let loss = losses.sum::<f64>() / outputs.len().max(1) as f64;
    let meaning = Meaning::of(&step.graph)?;
    let single = step.recipe.loss != Loss::SquaredError;
    let classes = targets.clone().all(|t| t.iter().sum::<f32>() == 1.0 || (t.len() == 1 && single))
        && course.held_targets.iter().all(|t| [0.0, 1.0].contains(t));
    if !classes || meaning.no_labels().is_some() {
        return Ok((loss, None));
    }
    let right = outputs.iter().zip(targets).filter(|(z, t)| meaning.label(z) == meaning.label(t));
    Ok((loss, Some(right.count())))
}
