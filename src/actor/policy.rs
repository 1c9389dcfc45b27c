//! The behaviour policy: from observations to sampled (or greedy) actions, batched over environments.
//!
//! Owns a network with a private copy of the weights, the head that draws actions from its outputs, and the
//! random numbers of that. Knows nothing of shared memory or episodes. Used by actors and by evaluation.
//! Allocates nothing once built.

use ndarray::Array2;
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::kernels::Simd;
use crate::network::heads::{Head, Odds};
use crate::network::{self, Acting, Arithmetic, NetworkSpec};
use crate::space::{ActionSpace, ActionsMut, Obs};

/// A policy acting in E environments at once.
pub struct Policy {
    network: Box<dyn Acting>,
    head: Head<Simd, f32>,
    /// `[P, E]`.
    outputs: Array2<f32>,
    rng: Xoshiro256PlusPlus,
}

impl Policy {
    /// A policy for `n_envs` environments with all-zero weights; see [`Policy::params_mut`].
    pub fn new(
        network: &NetworkSpec,
        actions: &ActionSpace,
        arithmetic: Arithmetic,
        n_envs: usize,
        seed: u64,
    ) -> Self {
        Policy {
            network: network::acting(network, arithmetic, n_envs),
            head: Head::new(actions, arithmetic.kernels, n_envs),
            outputs: Array2::zeros((network.n_action_params, n_envs)),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
        }
    }

    /// The flat weights, to be overwritten with a newer version.
    pub fn params_mut(&mut self) -> &mut [f32] {
        self.network.params_mut()
    }

    /// Draws one action an environment and writes log μ(a|x) of it.
    ///
    /// `obs` are of E frames, `actions` `[K, E]`, `log_mu` `[E]`.
    pub fn sample(&mut self, obs: Obs<'_>, actions: ActionsMut<'_>, log_mu: &mut [f32]) {
        self.network.outputs(obs, self.outputs.view_mut());
        self.head.sample(self.outputs.view(), &mut self.rng, actions, log_mu);
    }

    /// Takes the most probable action in each environment; `obs` are of E frames, `actions` `[K, E]`.
    pub fn greedy(&mut self, obs: Obs<'_>, actions: ActionsMut<'_>) {
        self.network.outputs(obs, self.outputs.view_mut());
        self.head.best(self.outputs.view(), actions);
    }

    /// What it thinks of each part of the action in environment `env`, `[K]`, as the last [`Policy::sample`] saw
    /// the observations.
    pub fn odds(&self, env: usize) -> Vec<Odds> {
        self.head.odds(self.outputs.view(), env)
    }
}
