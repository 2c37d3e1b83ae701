//! Inference on trained weights under the mask that they have: which plan of inference fits a plan of training (training, section 11).

use super::TrainingPlan;
use crate::graph::Op;
use crate::{Error, Options, Plan, Result};
use twoply_primitives::Fixed;

impl TrainingPlan {
    /// `options` with the ring and the fraction bits that trained weights have.
    fn under(&self, options: Options) -> Options {
        let (n, f) = (self.recipe.n, self.recipe.fractions);
        Options { fixed: Fixed { n, f: f.activations }, weight_fraction: Some(f.weights), ..options }
    }

    /// The plan of inference on the weights that a run of this plan ends with, as they are. Nothing is known of their ranges.
    ///
    /// # Errors
    /// [`Error::Data`] for a network with batch normalisations, which fold with their weights only, and as [`Plan::new`].
    pub fn inference(&self, options: Options) -> Result<Plan> {
        let kept = |op: &Op| matches!(op, Op::BatchNorm { .. });
        if let Some(norm) = self.graph.nodes.iter().find(|n| kept(&n.op)) {
            let why = format!(
                "`{}`: a batch normalisation folds into the weights beside it, and nobody sees those under their mask; take the model \
                 with `twoply train fetch`, then plan, deal and provision it as any other",
                norm.name
            );
            return Err(Error::data("plan", why));
        }
        Plan::new(self.graph.clone(), self.under(options), None)
    }

    /// Whether a plan of inference is for weights that a run of this plan ends with.
    ///
    /// # Errors
    /// [`Error::Data`] with what differs.
    pub fn fits(&self, plan: &Plan) -> Result<()> {
        let under = self.under(plan.options.clone());
        let differs = match () {
            () if plan.graph_digest() != self.graph.digest() => "network",
            () if plan.options.fixed.n != under.fixed.n => "ring",
            () if plan.options != under => "fraction bits",
            () => return Ok(()),
        };
        let why = format!(
            "its {differs} is not that of the training plan, so trained weights cannot be used as they are; make the plan with `twoply \
             plan --trained PLAN.train.json`"
        );
        Err(Error::data("plan", why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Loss, Recipe, trunk};
    use crate::zoo::{self, Seeded};

    fn training(network: &str) -> TrainingPlan {
        let graph = zoo::named(network).unwrap().build(&mut Seeded::default()).unwrap().graph;
        let recipe = Recipe::usual(32, 128, Loss::CrossEntropy);
        let graph = trunk(&graph, recipe.loss).unwrap().0;
        TrainingPlan::new(graph, recipe, (1000, 1), 1).unwrap()
    }

    #[test]
    fn a_plan_of_training_names_its_plan_of_inference() {
        let trained = training("network-1");
        let plan = trained.inference(Options { audit: true, ..Options::default() }).unwrap();
        assert_eq!((plan.options.fixed, plan.options.weight_fraction), (Fixed { n: 32, f: 8 }, Some(16)));
        assert!(plan.options.audit);
        trained.fits(&plan).unwrap();
        assert_eq!(Plan::from_json(&plan.to_json().unwrap()).unwrap(), plan);
        let with = |options: Options| Plan::new(trained.graph.clone(), options, None).unwrap();
        let why = |plan: &Plan| trained.fits(plan).unwrap_err().to_string();
        for fixed in [Fixed { n: 32, f: 9 }, Fixed { n: 64, f: 8 }] {
            let other = with(Options { fixed, ..plan.options.clone() });
            assert!(why(&other).contains(if fixed.n == 32 { "fraction bits" } else { "ring" }));
        }
        assert!(
            why(&with(Options { weight_fraction: None, ..plan.options.clone() })).contains("fraction bits")
        );
        let other = training("network-2").inference(Options::default()).unwrap();
        assert!(why(&other).contains("its network"));
    }
}
