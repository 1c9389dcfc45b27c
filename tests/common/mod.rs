//! Random batches for the learner's tests.

use impala::learner::backend::{Batch, Outputs, Targets};
use impala::network::params::NetworkShape;
use impala::rollout::StepKind;
use ndarray::{Array2, NdFloat};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// T·B steps of random numbers with every kind of row in them.
pub struct RandomBatch {
    pub n_trajectories: usize,
    pub obs: Array2<f64>,
    pub actions: Vec<i32>,
    pub rewards: Vec<f64>,
    pub kinds: Vec<StepKind>,
    pub behaviour_log_probs: Array2<f64>,
    pub vs: Vec<f64>,
    pub pg_advantages: Vec<f64>,
    pub weights: Vec<f64>,
}

/// Uniform numbers in ±1.
pub struct Uniform(Xoshiro256PlusPlus);

impl Uniform {
    pub fn seeded(seed: u64) -> Self {
        Uniform(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    pub fn draw(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }

    pub fn vec(&mut self, len: usize, scale: f64) -> Vec<f64> {
        (0..len).map(|_| scale * self.draw()).collect()
    }

    pub fn matrix(&mut self, rows: usize, columns: usize) -> Array2<f64> {
        Array2::from_shape_simple_fn((rows, columns), || self.draw())
    }
}

impl RandomBatch {
    /// A batch for a network of `shape`.
    pub fn new(shape: &NetworkShape, n_steps: usize, n_trajectories: usize, seed: u64) -> Self {
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
            obs: random.matrix(shape.obs_dim, n + n_trajectories),
            actions: (0..n).map(|_| random.below(shape.n_actions) as i32).collect(),
            rewards: random.vec(n, 1.0),
            behaviour_log_probs: log_softmax(random.matrix(shape.n_actions, n)),
            vs: random.vec(n, 2.0),
            pg_advantages: masked(random.vec(n, 2.0)),
            weights,
            kinds,
        }
    }

    pub fn batch(&self) -> Batch<'_, f64> {
        Batch {
            n_trajectories: self.n_trajectories,
            obs: self.obs.view(),
            actions: &self.actions,
            rewards: &self.rewards,
            kinds: &self.kinds,
            behaviour_log_probs: self.behaviour_log_probs.view(),
        }
    }

    pub fn targets(&self) -> Targets<'_, f64> {
        Targets { vs: &self.vs, pg_advantages: &self.pg_advantages, weights: &self.weights }
    }

    pub fn outputs<R: NdFloat>(&self) -> Outputs<R> {
        Outputs::new(self.behaviour_log_probs.nrows(), self.actions.len(), self.obs.ncols())
    }
}

/// Normalised logs of the columns' softmax.
pub fn log_softmax(mut logits: Array2<f64>) -> Array2<f64> {
    for mut column in logits.columns_mut() {
        let log_sum = column.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        column.mapv_inplace(|logit| logit - log_sum);
    }
    logits
}
