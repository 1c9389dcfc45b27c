//! Views of one rollout: T steps of E environments, as the actor writes them and the learner reads them.
//!
//! Owns: the shape of a rollout, its header, and the names, shapes and order of its fields. Does not know
//! where the memory lies: `shm/slot.rs` makes these views over slots of the segment, [`RolloutBuffer`]
//! over the heap for tests and benchmarks. Called by both worker loops.
//!
//! All matrices are feature-major: a row is one feature, a column one frame, and column `n = t·E + e` is
//! environment `e` at step `t`. So a layer `W·X` reads contiguous rows, and step `t` of all environments
//! is the column range `t·E..(t+1)·E`.

mod episodes;
mod kind;

use bytemuck::{Pod, Zeroable};
use ndarray::{ArrayView2, ArrayViewMut2};

use crate::base::finite::all_finite;

pub use episodes::EpisodeLog;
pub use kind::StepKind;

/// Size of a rollout. T unroll length, E environments, D observation size, A actions.
///
/// **The T+1 rule.** Observations have T+1 steps, everything else T. Step T is what the environments
/// showed after the last action: it was not acted upon in this rollout, and is there so that the learner
/// can bootstrap from its value. The next rollout of the same actor begins with it as its step 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RolloutShape {
    /// T: steps of each environment.
    pub unroll_length: usize,
    /// E: environments of the actor.
    pub n_envs: usize,
    /// D: numbers in one observation.
    pub obs_dim: usize,
    /// A: actions to choose from.
    pub n_actions: usize,
}

impl RolloutShape {
    /// T·E: environment steps in a rollout.
    pub fn n_frames(&self) -> usize {
        self.unroll_length * self.n_envs
    }

    /// (T+1)·E: columns of the observations.
    pub fn n_obs_columns(&self) -> usize {
        (self.unroll_length + 1) * self.n_envs
    }
}

/// What a rollout says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct RolloutHeader {
    /// Version of the weights of the behaviour policy; set on publishing.
    pub policy_version: u64,
    /// Generation of the actor process; set on publishing.
    pub generation: u64,
    /// Index of the slot since the ring was made: goes up by one, across generations; set on publishing.
    pub sequence: u64,
    /// When the slot was claimed, ns of `CLOCK_MONOTONIC`.
    pub claimed_ns: u64,
    /// When the slot was published, ns of `CLOCK_MONOTONIC`; set on publishing.
    pub published_ns: u64,
    /// Time blocked on a full ring before this rollout, ns.
    pub claim_wait_ns: u64,
    /// Time copying weights, ns.
    pub read_weights_ns: u64,
    /// Time in forward passes and sampling, ns.
    pub act_ns: u64,
    /// Time in environments, ns.
    pub env_ns: u64,
    /// Number of episodes that finished in this rollout.
    pub n_episodes: u64,
    /// Sum of all else in the slot; set on publishing.
    #[cfg(feature = "faults")]
    pub checksum: u64,
}

/// A published rollout.
#[derive(Clone, Copy)]
pub struct Rollout<'a> {
    /// What the actor says about the rollout.
    pub header: &'a RolloutHeader,
    /// `[D, (T+1)·E]`: observations before each step, and after the last one.
    pub obs: ArrayView2<'a, f32>,
    /// `[T·E]`: actions taken.
    pub actions: &'a [i32],
    /// `[T·E]`: rewards of these actions, as the environment gave them.
    pub rewards: &'a [f32],
    /// `[T·E]`: what each step was.
    pub kinds: &'a [StepKind],
    /// `[A, T·E]`: log μ(·|x) of the behaviour policy, normalised.
    pub behaviour_log_probs: ArrayView2<'a, f32>,
    /// `[T·E]`: undiscounted returns; the first `n_episodes` are set.
    pub episode_returns: &'a [f32],
    /// `[T·E]`: lengths in steps; the first `n_episodes` are set.
    pub episode_lengths: &'a [u32],
}

impl Rollout<'_> {
    /// Return and length (in steps) of each episode that finished in this rollout.
    pub fn episodes(&self) -> impl Iterator<Item = (f32, u32)> {
        let episodes =
            self.episode_returns.iter().copied().zip(self.episode_lengths.iter().copied());
        episodes.take(self.header.n_episodes as usize)
    }
}

/// A rollout that is being filled; the fields of [`Rollout`].
///
/// It holds what the slot held a round ago: an actor writes every entry and every header field that is
/// not set on publishing.
pub struct RolloutMut<'a> {
    /// What the actor says about the rollout.
    pub header: &'a mut RolloutHeader,
    /// `[D, (T+1)·E]`.
    pub obs: ArrayViewMut2<'a, f32>,
    /// `[T·E]`.
    pub actions: &'a mut [i32],
    /// `[T·E]`.
    pub rewards: &'a mut [f32],
    /// `[T·E]`.
    pub kinds: &'a mut [StepKind],
    /// `[A, T·E]`.
    pub behaviour_log_probs: ArrayViewMut2<'a, f32>,
    /// `[T·E]`, the first `n_episodes` count.
    pub episode_returns: &'a mut [f32],
    /// `[T·E]`, the first `n_episodes` count.
    pub episode_lengths: &'a mut [u32],
}

impl RolloutMut<'_> {
    /// Whether no observation and no reward is NaN or infinite. One pass over both, without a branch.
    pub fn is_finite(&self) -> bool {
        let obs = self.obs.as_slice().expect("columns of a rollout are contiguous");
        all_finite(obs) && all_finite(self.rewards)
    }
}

/// A rollout in private memory, all zero at first.
pub struct RolloutBuffer {
    shape: RolloutShape,
    header: RolloutHeader,
    obs: Vec<f32>,
    actions: Vec<i32>,
    rewards: Vec<f32>,
    kinds: Vec<StepKind>,
    behaviour_log_probs: Vec<f32>,
    episode_returns: Vec<f32>,
    episode_lengths: Vec<u32>,
}

impl RolloutBuffer {
    /// A rollout of this shape.
    pub fn new(shape: RolloutShape) -> Self {
        let n_frames = shape.n_frames();
        RolloutBuffer {
            shape,
            header: RolloutHeader::default(),
            obs: vec![0.0; shape.obs_dim * shape.n_obs_columns()],
            actions: vec![0; n_frames],
            rewards: vec![0.0; n_frames],
            kinds: vec![StepKind::ORDINARY; n_frames],
            behaviour_log_probs: vec![0.0; shape.n_actions * n_frames],
            episode_returns: vec![0.0; n_frames],
            episode_lengths: vec![0; n_frames],
        }
    }

    /// The rollout to read.
    pub fn view(&self) -> Rollout<'_> {
        let RolloutShape { obs_dim, n_actions, .. } = self.shape;
        Rollout {
            header: &self.header,
            obs: matrix(&self.obs, obs_dim, self.shape.n_obs_columns()),
            actions: &self.actions,
            rewards: &self.rewards,
            kinds: &self.kinds,
            behaviour_log_probs: matrix(
                &self.behaviour_log_probs,
                n_actions,
                self.shape.n_frames(),
            ),
            episode_returns: &self.episode_returns,
            episode_lengths: &self.episode_lengths,
        }
    }

    /// The rollout to fill.
    pub fn view_mut(&mut self) -> RolloutMut<'_> {
        let RolloutShape { obs_dim, n_actions, .. } = self.shape;
        let n_frames = self.shape.n_frames();
        RolloutMut {
            header: &mut self.header,
            obs: matrix_mut(&mut self.obs, obs_dim, self.shape.n_obs_columns()),
            actions: &mut self.actions,
            rewards: &mut self.rewards,
            kinds: &mut self.kinds,
            behaviour_log_probs: matrix_mut(&mut self.behaviour_log_probs, n_actions, n_frames),
            episode_returns: &mut self.episode_returns,
            episode_lengths: &mut self.episode_lengths,
        }
    }
}

/// `field` as rows × columns, row by row. Panics if it has another number of entries.
pub(crate) fn matrix(field: &[f32], rows: usize, columns: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((rows, columns), field).expect("the field was made with this shape")
}

/// [`matrix`], to write to.
pub(crate) fn matrix_mut(field: &mut [f32], rows: usize, columns: usize) -> ArrayViewMut2<'_, f32> {
    ArrayViewMut2::from_shape((rows, columns), field).expect("the field was made with this shape")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: RolloutShape =
        RolloutShape { unroll_length: 3, n_envs: 2, obs_dim: 4, n_actions: 5 };

    #[test]
    fn columns_are_frames_with_the_step_slowest() {
        let mut buffer = RolloutBuffer::new(SHAPE);
        let rollout = buffer.view_mut();
        let mut obs = rollout.obs;
        for ((d, column), number) in obs.indexed_iter_mut() {
            let (t, e) = (column / SHAPE.n_envs, column % SHAPE.n_envs);
            *number = (100 * d + 10 * t + e) as f32;
        }
        let rollout = buffer.view();
        assert_eq!(rollout.obs.dim(), (4, 8));
        assert_eq!(
            rollout.obs.row(1).to_slice().unwrap()[6..],
            [130.0, 131.0],
            "step T of feature 1"
        );
        assert_eq!(rollout.behaviour_log_probs.dim(), (5, 6));
        let lengths = [rollout.actions.len(), rollout.rewards.len(), rollout.kinds.len()];
        assert_eq!(lengths, [6; 3]);
    }

    #[test]
    fn only_finished_episodes_are_told_even_if_the_header_lies() {
        let mut buffer = RolloutBuffer::new(SHAPE);
        let rollout = buffer.view_mut();
        rollout.episode_returns[..2].copy_from_slice(&[9.0, 500.0]);
        rollout.episode_lengths[..2].copy_from_slice(&[9, 500]);
        rollout.header.n_episodes = 2;
        assert_eq!(buffer.view().episodes().collect::<Vec<_>>(), [(9.0, 9), (500.0, 500)]);
        buffer.view_mut().header.n_episodes = u64::MAX;
        assert_eq!(buffer.view().episodes().count(), SHAPE.n_frames());
    }
}
