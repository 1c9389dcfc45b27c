//! The behaviour policy: from observations to sampled (or greedy) actions, batched over environments.
//!
//! Owns a network with a private copy of the weights, what it remembers, the head that draws actions from its
//! outputs, and the random numbers of that. Knows nothing of shared memory. Used by actors and by evaluation.
//! Allocates nothing once built.

use ndarray::{Array2, ArrayViewMut2, s};
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::kernels::Simd;
use crate::network::heads::last_step::Steps;
use crate::network::heads::{Head, Odds};
use crate::network::{self, Acting, Arithmetic, NetworkSpec};
use crate::rollout::StepKind;
use crate::space::{ActionSpace, ActionsMut, Obs};

/// A policy acting in E environments at once.
pub struct Policy {
    network: Box<dyn Acting>,
    head: Head<Simd, f32>,
    /// `[P, E]`.
    outputs: Array2<f32>,
    /// What the network remembers, `[R, E]`; no rows where it remembers nothing.
    state: Array2<f32>,
    /// L: how many of these rows, the last ones, tell of the step before.
    n_last_step: usize,
    actions: ActionSpace,
    rng: Xoshiro256PlusPlus,
}

impl Policy {
    /// A policy for `n_envs` environments of the task with this number, with all-zero weights; see
    /// [`Policy::params_mut`].
    pub fn new(
        task: usize,
        network: &NetworkSpec,
        actions: &ActionSpace,
        arithmetic: Arithmetic,
        n_envs: usize,
        seed: u64,
    ) -> Self {
        Policy {
            network: network::acting(network, arithmetic, n_envs, task as u32),
            head: Head::new(actions, arithmetic.kernels, n_envs),
            outputs: Array2::zeros((network.n_action_params, n_envs)),
            state: Array2::zeros((network.n_state(), n_envs)),
            n_last_step: network.n_last_step(),
            actions: actions.clone(),
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
        self.see(obs);
        self.head.sample(self.outputs.view(), &mut self.rng, actions, log_mu);
    }

    /// Takes the most probable action in each environment; `obs` are of E frames, `actions` `[K, E]`.
    pub fn greedy(&mut self, obs: Obs<'_>, actions: ActionsMut<'_>) {
        self.see(obs);
        self.best(actions);
    }

    /// The same of the observations seen last.
    pub fn best(&self, actions: ActionsMut<'_>) {
        self.head.best(self.outputs.view(), actions);
    }

    fn see(&mut self, obs: Obs<'_>) {
        self.network.outputs(obs, self.state.view_mut(), self.outputs.view_mut());
    }

    /// Remembers of E steps what the network is told of them; after a reset, nothing.
    pub fn remember(&mut self, steps: Steps<'_>) {
        if self.state.is_empty() {
            return;
        }
        let last_step = self.state.nrows() - self.n_last_step;
        if self.n_last_step > 0 {
            steps.tell(&self.actions, self.state.slice_mut(s![last_step.., ..]));
        }
        for (env, kind) in steps.kinds.iter().enumerate() {
            if *kind == StepKind::RESET {
                self.forget(env);
            }
        }
    }

    /// Remembers nothing of environment `env`.
    pub fn forget(&mut self, env: usize) {
        self.state.column_mut(env).fill(0.0);
    }

    /// Copies what it remembers into `state`, `[R, E]`. What is no number, of weights that were no good, is forgotten
    /// before: it would stay so for as long as the episode.
    pub fn recall(&mut self, mut state: ArrayViewMut2<f32>) {
        if self.state.is_empty() {
            return;
        }
        for env in 0..self.state.ncols() {
            if !self.state.column(env).iter().all(|number| number.is_finite()) {
                self.forget(env);
            }
        }
        state.assign(&self.state);
    }

    /// What it thinks of each part of the action in environment `env`, `[K]`, as the last [`Policy::sample`] saw
    /// the observations.
    pub fn odds(&self, env: usize) -> Vec<Odds> {
        self.head.odds(self.outputs.view(), env)
    }
}
