//! Random batches for the learner's tests.

use impala::learner::losses::Targets;
use impala::network::NetworkSpec;
use impala::rollout::{Frames, StepKind};
use impala::space::{Actions, Obs};
use ndarray::Array2;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// T·B steps of random numbers with every kind of row in them.
pub struct RandomBatch {
    pub n_trajectories: usize,
    pub obs: Array2<f64>,
    pub actions: Vec<i32>,
    pub kinds: Vec<StepKind>,
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
        Targets { vs: &self.vs, pg_advantages: &self.pg_advantages, weights: &self.weights }
    }
}
