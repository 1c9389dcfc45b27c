//! The behaviour policy: from observations to sampled (or greedy) actions, batched over environments.
//!
//! Owns a private copy of the weights and the random numbers of action selection. Knows nothing of
//! shared memory or episodes. Used by actors and by evaluation. Allocates nothing once built.

use ndarray::{Array2, ArrayView2, ArrayViewMut2};
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::kernels::{Kernels, Simd};
use crate::network::mlp::{Activations, Mlp};
use crate::network::params::{NetworkShape, unit_f32};

/// A policy acting in E environments at once.
#[derive(Debug)]
pub struct Policy {
    mlp: Mlp<Simd>,
    params: Vec<f32>,
    activations: Activations<f32>,
    /// `[A, E]`.
    logits: Array2<f32>,
    /// `[A, E]`.
    probs: Array2<f32>,
    /// Of each environment's uniform number, what the probabilities so far have left, `[E]`.
    left: Vec<f32>,
    rng: Xoshiro256PlusPlus,
}

impl Policy {
    /// A policy for `n_envs` environments with all-zero weights; see [`Policy::params_mut`].
    pub fn new(shape: &NetworkShape, kernels: Simd, n_envs: usize, seed: u64) -> Self {
        let mlp = Mlp::new(shape, kernels);
        Policy {
            params: vec![0.0; mlp.layout().len()],
            mlp,
            activations: Activations::new(shape, n_envs),
            logits: Array2::zeros((shape.n_actions, n_envs)),
            probs: Array2::zeros((shape.n_actions, n_envs)),
            left: vec![0.0; n_envs],
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
        }
    }

    /// The flat weights, to be overwritten with a newer version.
    pub fn params_mut(&mut self) -> &mut [f32] {
        &mut self.params
    }

    /// Samples one action an environment from softmax(logits) and writes log μ(·|x).
    ///
    /// `obs` is `[D, E]`, `log_probs` `[A, E]`, `actions` `[E]`.
    pub fn sample(
        &mut self,
        obs: ArrayView2<f32>,
        log_probs: ArrayViewMut2<f32>,
        actions: &mut [i32],
    ) {
        self.mlp.policy(&self.params, obs, &mut self.activations, self.logits.view_mut());
        self.mlp.kernels().log_softmax(self.logits.view(), log_probs, self.probs.view_mut());
        self.draw(actions);
    }

    /// Takes the most probable action in each environment; `obs` is `[D, E]`, `actions` `[E]`.
    pub fn greedy(&mut self, obs: ArrayView2<f32>, actions: &mut [i32]) {
        self.mlp.policy(&self.params, obs, &mut self.activations, self.logits.view_mut());
        for (logits, action) in self.logits.columns().into_iter().zip(actions) {
            let best = logits.indexed_iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
            *action = best.map_or(0, |(index, _)| index as i32);
        }
    }

    /// Inverts every environment's distribution function at a uniform number. The last action takes what
    /// rounding leaves, so that an action is always in range, as it is where a probability is NaN.
    ///
    /// Counts the actions that the number lies beyond instead of leaving at the right one: which one that is
    /// no processor can guess, and a wrong guess costs more than the counting.
    fn draw(&mut self, actions: &mut [i32]) {
        assert_eq!(actions.len(), self.left.len(), "one action an environment");
        actions.fill(0);
        self.left.fill_with(|| unit_f32(&mut self.rng));
        let last = self.probs.nrows() - 1;
        for probs in self.probs.outer_iter().take(last) {
            for ((action, left), p) in actions.iter_mut().zip(&mut self.left).zip(probs) {
                *left -= p;
                *action += i32::from(*left >= 0.0);
            }
        }
    }
}
