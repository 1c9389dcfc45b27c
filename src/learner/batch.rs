//! Slots into batches: a view of one slot where it lies, or several gathered side by side.

use ndarray::{Array2, s};

use crate::rollout::StepKind;
use crate::rollout::{Rollout, RolloutShape};

use super::backend::Batch;

impl<'a> Batch<'a, f32> {
    /// The batch of one rollout, without copying it.
    pub fn from_rollout(rollout: &Rollout<'a>) -> Self {
        Batch {
            n_trajectories: rollout.obs.ncols() - rollout.actions.len(),
            obs: rollout.obs,
            actions: rollout.actions,
            rewards: rollout.rewards,
            kinds: rollout.kinds,
            behaviour_log_probs: rollout.behaviour_log_probs,
        }
    }
}

/// Buffers in which several rollouts become one batch of B = S·E trajectories.
#[derive(Debug)]
pub struct Gather {
    n_envs: usize,
    obs: Array2<f32>,
    actions: Vec<i32>,
    rewards: Vec<f32>,
    kinds: Vec<StepKind>,
    behaviour_log_probs: Array2<f32>,
}

impl Gather {
    /// Buffers for `n_slots` rollouts of `shape`.
    pub fn new(shape: &RolloutShape, n_slots: usize) -> Self {
        let n_steps = n_slots * shape.n_frames();
        Gather {
            n_envs: shape.n_envs,
            obs: Array2::zeros((shape.obs_dim, n_slots * shape.n_obs_columns())),
            actions: vec![0; n_steps],
            rewards: vec![0.0; n_steps],
            kinds: vec![StepKind::RESET; n_steps],
            behaviour_log_probs: Array2::zeros((shape.n_actions, n_steps)),
        }
    }

    /// Copies the rollouts side by side: column `t·B + s·E + e` is slot `s`'s column `t·E + e`.
    pub fn gather(&mut self, rollouts: &[Rollout]) -> Batch<'_, f32> {
        for (slot, rollout) in rollouts.iter().enumerate() {
            self.copy_steps(slot, rollouts.len(), rollout);
            self.copy_matrices(slot, rollouts.len(), rollout);
        }
        Batch {
            n_trajectories: rollouts.len() * self.n_envs,
            obs: self.obs.view(),
            actions: &self.actions,
            rewards: &self.rewards,
            kinds: &self.kinds,
            behaviour_log_probs: self.behaviour_log_probs.view(),
        }
    }

    fn copy_steps(&mut self, slot: usize, n_slots: usize, rollout: &Rollout) {
        let n_envs = self.n_envs;
        for t in 0..rollout.actions.len() / n_envs {
            let from = t * n_envs..(t + 1) * n_envs;
            let start = (t * n_slots + slot) * n_envs;
            let to = start..start + n_envs;
            self.actions[to.clone()].copy_from_slice(&rollout.actions[from.clone()]);
            self.rewards[to.clone()].copy_from_slice(&rollout.rewards[from.clone()]);
            self.kinds[to].copy_from_slice(&rollout.kinds[from]);
        }
    }

    fn copy_matrices(&mut self, slot: usize, n_slots: usize, rollout: &Rollout) {
        let pairs = [
            (&mut self.obs, rollout.obs),
            (&mut self.behaviour_log_probs, rollout.behaviour_log_probs),
        ];
        for (gathered, matrix) in pairs {
            for t in 0..matrix.ncols() / self.n_envs {
                let from = t * self.n_envs;
                let to = (t * n_slots + slot) * self.n_envs;
                let source = matrix.slice(s![.., from..from + self.n_envs]);
                gathered.slice_mut(s![.., to..to + self.n_envs]).assign(&source);
            }
        }
    }
}
