//! A rollout as the learner sees it: what its network may know of it, and what only its head and loss do.

use ndarray::ArrayView2;

use super::{Rollout, StepKind};
use crate::space::{Actions, Obs};

/// What a network sees of B trajectories of T steps. Frame `n = t·B + b`, so a row of time is contiguous.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'a, R = f32> {
    /// B.
    pub n_trajectories: usize,
    /// Observations of (T+1)·B frames; the last B are those after step T, whose value is the bootstrap.
    pub obs: Obs<'a, R>,
    /// What each step was, `[T, B]`.
    pub kinds: &'a [StepKind],
    /// What the network remembered before step 0, as the actor had it, `[R, B]`. It is zero again after a reset.
    pub state: ArrayView2<'a, R>,
    /// What is told of the step before each frame, `[L, (T+1)·B]`; no rows where nothing is.
    pub last_steps: ArrayView2<'a, R>,
    /// Which task each trajectory is of, `[B]`; empty where there is one.
    pub tasks: &'a [u32],
}

impl<'a, R> Frames<'a, R> {
    /// Frames of one task, of a network that remembers nothing.
    pub fn memoryless(n_trajectories: usize, obs: Obs<'a, R>, kinds: &'a [StepKind]) -> Self {
        let (state, last_steps) = (no_rows(), no_rows());
        Frames { n_trajectories, obs, kinds, state, last_steps, tasks: &[] }
    }

    /// The same frames with other observations of them.
    pub fn with_obs<'b>(&self, obs: Obs<'b, R>) -> Frames<'b, R>
    where
        'a: 'b,
    {
        let Frames { n_trajectories, kinds, state, last_steps, tasks, .. } = *self;
        let (state, last_steps) = (state.reborrow(), last_steps.reborrow());
        Frames { n_trajectories, obs, kinds, state, last_steps, tasks }
    }
}

fn no_rows<'a, R>() -> ArrayView2<'a, R> {
    ArrayView2::from_shape((0, 0), &[]).expect("no rows need no numbers")
}

/// B trajectories of T steps: what the network sees of them, and what it does not.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, R = f32> {
    /// What the network sees.
    pub frames: Frames<'a, R>,
    /// Actions taken, `[K, T·B]`.
    pub actions: Actions<'a>,
    /// Raw rewards, `[T, B]`.
    pub rewards: &'a [R],
    /// log μ(a|x) of the actions taken, by the behaviour policy, `[T, B]`.
    pub log_mu: &'a [R],
}

impl<R> Batch<'_, R> {
    /// T·B, the number of steps (reset rows included).
    pub fn n_steps(&self) -> usize {
        self.rewards.len()
    }
}

impl<'a> Batch<'a, f32> {
    /// The batch of one rollout, or of several gathered, without copying it. Nothing is told of last steps.
    pub fn of(rollout: &Rollout<'a>) -> Self {
        Batch {
            frames: Frames {
                n_trajectories: rollout.shape.n_envs,
                obs: rollout.obs,
                kinds: rollout.kinds,
                state: rollout.state,
                last_steps: no_rows(),
                tasks: rollout.tasks,
            },
            actions: rollout.actions,
            rewards: rollout.rewards,
            log_mu: rollout.log_mu,
        }
    }
}
