//! Who brings what to a run. Every share is masked once, under a data key set of its own (training, section 8), and may serve
//! other runs that cut the same rows in the same way.

use super::TrainingPlan;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use twoply_preprocessing::rows::DataSpec;
use twoply_preprocessing::{Cut, PlanDigest};
use twoply_primitives::KeySetId;

/// Rows of a chunk: what an owner sends, and a party stores, at once.
const CHUNK: u32 = 1024;
/// Most shares of a run.
pub const MOST_SHARES: usize = 64;
/// Longest name of an owner.
const LONGEST: usize = 32;

/// What one owner brings, masked once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The owner's name among those of this run.
    pub owner: String,
    /// What it brings.
    pub brings: Brings,
}

/// What an owner brings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Brings {
    /// So many whole rows, with their targets; they follow those of the owner before.
    Rows(u64),
    /// So many whole rows, with their targets, that are never trained on: what a plan reveals is about them.
    Held(u64),
    /// Of every row these elements of the input, as it lies in memory, and perhaps the targets.
    Columns {
        /// The first one, and the one behind the last.
        inputs: [usize; 2],
        /// Whether the targets are this owner's.
        targets: bool,
    },
    /// The weights that training begins with.
    Start,
}

/// The digest of an index of rows, as a plan names it: of a file's bytes.
pub fn index_digest(bytes: &[u8]) -> String {
    let digest = blake3::derive_key("twoply 2026-11 index of training rows v1", bytes);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// The part of the data that a share is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slice {
    /// Rows of the run; those that are held out are behind those that are trained on.
    pub rows: Range<u64>,
    /// Elements of a row's input.
    pub inputs: Range<usize>,
    /// Elements of a row's target.
    pub targets: usize,
}

impl Slice {
    /// Elements of a row, inputs and then targets.
    pub fn width(&self) -> usize {
        self.inputs.len() + self.targets
    }
}

impl TrainingPlan {
    /// The same run on data of these owners, with a checkpoint every so many steps.
    ///
    /// # Errors
    /// [`Error::Data`] where shares do not cover all rows, inputs and targets exactly once.
    pub fn shared(self, shares: Vec<Share>, checkpoint: u32) -> Result<Self> {
        let plan = TrainingPlan { shares, checkpoint, ..self };
        plan.check_shares()?;
        Ok(plan)
    }
    /// The owner that brings the weights to begin with; without one they follow from the plan's seed.
    pub fn start(&self) -> Option<usize> {
        self.shares.iter().position(|s| s.brings == Brings::Start)
    }
    /// The part of the data that each share is; `None` for the start.
    ///
    /// # Errors
    /// Those of the graph.
    pub fn slices(&self) -> Result<Vec<Option<Slice>>> {
        let (inputs, targets) = self.widths()?;
        let (mut next, mut held) = (0, self.rows);
        let slice = |share: &Share| match &share.brings {
            Brings::Start => None,
            Brings::Held(rows) => {
                let first = held;
                held += rows;
                Some(Slice { rows: first..held, inputs: 0..inputs, targets })
            }
            Brings::Rows(rows) => {
                let first = next;
                next += rows;
                Some(Slice { rows: first..next, inputs: 0..inputs, targets })
            }
            Brings::Columns { inputs: [from, to], targets: brought } => {
                let targets = if *brought { targets } else { 0 };
                Some(Slice { rows: 0..self.rows, inputs: *from..*to, targets })
            }
        };
        Ok(self.shares.iter().map(slice).collect())
    }
    fn widths(&self) -> Result<(usize, usize)> {
        let step = self.program()?;
        Ok((step.input().shape.row(), step.targets().shape.row()))
    }

    /// The data key set of a share, under this name. Another run's is the same where owner, form, fractions and rows are.
    ///
    /// # Errors
    /// Those of the graph.
    pub fn data_spec(&self, share: usize, set: KeySetId) -> Result<DataSpec> {
        let (owner, slice) = (&self.shares[share].owner, self.slices()?[share].clone());
        let (fractions, word) = (self.recipe.fractions, u64::from(self.recipe.n / 8));
        let layout = |images, chunk| Ok::<_, Error>(Cut::new(images, chunk)?);
        let (forms, cut, row) = match &slice {
            Some(slice) => {
                let fractions = (fractions.activations, self.recipe.loss.target_fraction(&fractions));
                let order = (&self.index, &self.graph.input.normalise, &self.graph.input.layout);
                let what = (owner, &slice.inputs, slice.targets, self.recipe.n, fractions, order);
                let what = match slice.rows.start < self.rows {
                    true => serde_json::to_vec(&what),
                    // rows that are held out are others than those that an owner trains on elsewhere
                    false => serde_json::to_vec(&(what, "held")),
                };
                (what, layout(slice.rows.end - slice.rows.start, CHUNK)?, slice.width())
            }
            None => {
                let params = self.program()?.params();
                let what = (owner, &self.graph.params, self.recipe.n, fractions.weights);
                (serde_json::to_vec(&what), layout(1, 1)?, params.iter().map(|f| f.len()).sum())
            }
        };
        let forms = forms.map_err(|e| Error::data("training plan", e.to_string()))?;
        let forms = PlanDigest(blake3::derive_key("twoply 2026-11 forms of a data key set v1", &forms));
        Ok(DataSpec { set, forms, cut, row_bytes: row as u64 * word })
    }

    pub(super) fn check_shares(&self) -> Result<()> {
        let fault = |why: String| Err(Error::data("training plan", why));
        let named = |name: &str| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
            !name.is_empty() && name.len() <= LONGEST && name.chars().all(plain)
        };
        if let Some(share) = self.shares.iter().find(|s| !named(&s.owner)) {
            let why =
                format!("an owner's name is 1 to {LONGEST} of a-z, 0-9, - and _, not `{}`", share.owner);
            return fault(why);
        }
        for (at, share) in self.shares.iter().enumerate() {
            if self.shares[..at].iter().any(|s| s.owner == share.owner) {
                return fault(format!("two shares are called `{}`", share.owner));
            }
        }
        if self.shares.iter().filter(|s| s.brings == Brings::Start).count() > 1 {
            return fault("two owners bring weights to begin with".into());
        }
        if self.shares.len() > MOST_SHARES {
            return fault(format!("{} shares: at most {MOST_SHARES}", self.shares.len()));
        }
        if self.checkpoint == 0 {
            return fault("a checkpoint every 0 steps: choose at least 1".into());
        }
        let trained = |b: &&Brings| !matches!(b, Brings::Start | Brings::Held(_));
        let data: Vec<&Brings> = self.shares.iter().map(|s| &s.brings).filter(trained).collect();
        if self.shares.iter().any(|s| s.brings == Brings::Held(0)) {
            return fault("an owner holds out no rows".into());
        }
        let rows: Option<u64> =
            data.iter().map(|b| if let Brings::Rows(n) = b { Some(*n) } else { None }).sum();
        let (inputs, _) = self.widths()?;
        match rows {
            Some(_) if data.is_empty() => fault("nobody brings data".into()),
            Some(_) if data.contains(&&Brings::Rows(0)) => fault("an owner brings no rows".into()),
            Some(rows) if rows == self.rows => Ok(()),
            Some(rows) => fault(format!("the owners bring {rows} rows, the run has {}", self.rows)),
            None => columns(&data, inputs),
        }
    }
}

/// Whether all columns are brought once.
fn columns(data: &[&Brings], inputs: usize) -> Result<()> {
    let fault = |why: String| Err(Error::data("training plan", why));
    let (mut ranges, mut targets) = (vec![], 0);
    for share in data {
        match share {
            Brings::Columns { inputs: [from, to], targets: brought } => {
                if from > to || (from == to && !brought) {
                    return fault(format!("columns {from} to {to} without targets are none"));
                }
                ranges.push((*from, *to));
                targets += usize::from(*brought);
            }
            _ => return fault("some owners bring rows and some columns: all must do the same".into()),
        }
    }
    ranges.retain(|(from, to)| from < to);
    ranges.sort_unstable();
    let mut next = 0;
    for (from, to) in ranges {
        if from != next {
            return fault(format!("columns are brought up to {next}, and then from {from}"));
        }
        next = to;
    }
    match (next == inputs, targets) {
        (true, 1) => Ok(()),
        (true, n) => fault(format!("{n} owners bring the targets: one must")),
        (false, _) => fault(format!("columns are brought up to {next}, a row has {inputs}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Loss, Recipe, trunk};
    use crate::zoo::{self, Seeded};

    fn plan(shares: Vec<Share>) -> Result<TrainingPlan> {
        let graph = zoo::named("network-1")?.build(&mut Seeded::default())?.graph;
        let graph = trunk(&graph, Loss::CrossEntropy)?.0;
        TrainingPlan::new(graph, Recipe::usual(32, 128, Loss::CrossEntropy), (5000, 1), 1)?.shared(shares, 10)
    }
    fn share(owner: &str, brings: Brings) -> Share {
        Share { owner: owner.into(), brings }
    }
    fn cols(from: usize, to: usize, targets: bool) -> Brings {
        Brings::Columns { inputs: [from, to], targets }
    }

    #[test]
    fn shares_cover_the_data_once() {
        use Brings::{Rows, Start};
        let by_rows = [share("a", Rows(3000)), share("start", Start), share("b", Rows(2000))];
        let made = plan(by_rows.to_vec()).unwrap();
        let slices = made.slices().unwrap();
        assert_eq!(slices[2], Some(Slice { rows: 3000..5000, inputs: 0..784, targets: 10 }));
        assert_eq!((&slices[1], made.start()), (&None, Some(1)));
        let spec = made.data_spec(2, KeySetId([1; 16])).unwrap();
        assert_eq!((spec.cut.segments(), spec.row_bytes), (2, 794 * 4));
        let spec = made.data_spec(1, KeySetId([1; 16])).unwrap();
        let params: usize = made.program().unwrap().params().iter().map(|f| f.len()).sum();
        assert_eq!((spec.cut.segments(), spec.row_bytes), (1, 4 * params as u64));
        let by_columns = [share("b", cols(300, 784, false)), share("a", cols(0, 300, true))];
        assert_eq!(plan(by_columns.to_vec()).unwrap().slices().unwrap()[1].as_ref().unwrap().width(), 310);

        for (shares, why) in [
            (vec![], "nobody brings data"),
            (vec![share("a", Rows(4999))], "bring 4999 rows, the run has 5000"),
            (vec![share("a", Rows(5000)), share("b", Rows(0))], "no rows"),
            (vec![share("a", Rows(2500)), share("a", Rows(2500))], "two shares are called `a`"),
            (vec![share("A", Rows(5000))], "not `A`"),
            (vec![share("a", Rows(5000)), share("b", Start), share("c", Start)], "two owners bring weights"),
            (vec![share("a", Rows(5000)), share("b", cols(0, 784, true))], "all must do the same"),
            (
                vec![share("a", cols(0, 300, true)), share("b", cols(301, 784, false))],
                "up to 300, and then from 301",
            ),
            (vec![share("a", cols(0, 300, true)), share("b", cols(299, 784, false))], "and then from 299"),
            (vec![share("a", cols(0, 300, true)), share("b", cols(300, 783, false))], "a row has 784"),
            (vec![share("a", cols(0, 784, false))], "0 owners bring the targets"),
            (vec![share("a", cols(0, 784, true)), share("b", cols(5, 5, false))], "are none"),
        ] {
            let found = plan(shares).unwrap_err().to_string();
            assert!(found.contains(why), "{found}");
        }
        let none = plan(by_rows.to_vec()).unwrap().shared(by_rows.to_vec(), 0).unwrap_err();
        assert!(none.to_string().contains("every 0 steps"));
    }

    #[test]
    fn a_data_key_set_is_for_its_owner_form_and_rows() {
        let forms = |owner: &str, brings| {
            let plan = plan(vec![share(owner, brings), share("x", cols(300, 784, true))]).unwrap();
            plan.data_spec(0, KeySetId([1; 16])).unwrap().forms
        };
        let one = forms("a", cols(0, 300, false));
        assert_eq!(one, forms("a", cols(0, 300, false)));
        assert_ne!(one, forms("b", cols(0, 300, false)));
        let mut other = plan(vec![share("a", Brings::Rows(5000))]).unwrap();
        let before = other.data_spec(0, KeySetId([1; 16])).unwrap().forms;
        other.recipe.fractions.activations -= 1;
        assert_ne!(before, other.data_spec(0, KeySetId([1; 16])).unwrap().forms);
    }
}
