//! Random batches for the learner's tests.

use impala::learner::losses::Targets;
use impala::network::NetworkSpec;
use impala::rollout::{Frames, StepKind};
use impala::space::{Actions, Obs};
use ndarray::Array2;

use crate::uniform::Uniform;

/// T·B steps of random numbers with every kind of row in them.
pub struct RandomBatch {
    pub n_trajectories: usize,
    pub obs: Array2<f64>,
    pub actions: Vec<i32>,
    pub kinds: Vec<StepKind>,
    pub vs: Vec<f64>,
    pub rhos: Vec<f64>,
    pub pg_advantages: Vec<f64>,
    pub weights: Vec<f64>,
}

impl RandomBatch {
    /// A batch for a network of `spec`.
    pub fn new(spec: &NetworkSpec, n_steps: usize, n_trajectories: usize, seed: u64) -> Self {
        let mut random = Uniform::seeded(seed);
        let n = n_steps * n_trajectories;
        let kinds =
            [StepKind::ORDINARY, StepKind::TERMINATED, StepKind::TRUNCATED, StepKind::RESET];
        let kinds: Vec<StepKind> = (0..n).map(|_| kinds[random.below(4)]).collect();
        let weight = |kind: &StepKind| if kind.is_learned() { 1.0 } else { 0.0 };
        let weights: Vec<f64> = kinds.iter().map(weight).collect();
        let masked = |values: Vec<f64>| values.iter().zip(&weights).map(|(v, w)| v * w).collect();
        RandomBatch {
            n_trajectories,
            obs: random.matrix(spec.n_inputs, n + n_trajectories),
            actions: (0..n).map(|_| random.below(spec.n_action_params) as i32).collect(),
            vs: random.vec(n, 2.0),
            pg_advantages: masked(random.vec(n, 2.0)),
            rhos: random.vec(n, 1.0).iter().map(|x| x.exp()).collect(),
            weights,
            kinds,
        }
    }

    pub fn frames(&self) -> Frames<'_, f64> {
        let (n_trajectories, kinds) = (self.n_trajectories, &*self.kinds);
        Frames { n_trajectories, obs: Obs::Numbers(self.obs.view()), kinds }
    }

    pub fn actions(&self) -> Actions<'_> {
        Actions::of_indices(&self.actions)
    }

    pub fn targets(&self) -> Targets<'_, f64> {
        let RandomBatch { vs, rhos, pg_advantages, weights, .. } = self;
        Targets { vs, rhos, pg_advantages, weights }
    }
}
