//! Stands in for `src/rollout`: what `layout.rs` computes with. No scenario has a rollout.

/// As the real one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RolloutShape {
    pub unroll_length: usize,
    pub n_envs: usize,
    pub obs_dim: usize,
    pub n_actions: usize,
}

/// Only its size is asked for, and nothing here depends on that.
pub struct RolloutHeader(pub [u64; 10]);
