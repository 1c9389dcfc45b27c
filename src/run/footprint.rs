//! How much memory a run will take, before it takes any.
//!
//! Owns the sum over all processes of what grows with the settings: the segment, the learner's activations
//! and batches, and each process's copies of the weights. It leaves out more than it counts too much, so that
//! nothing is refused that would have run. Called by `train.rs`.

use super::sizes::Sizes;
use crate::config::Config;
use crate::network::Backend;
use crate::os::memory_limits::{MemoryLimit, tightest_memory_limit};
use crate::shm::layout::Layout;

/// What a process takes of its own that runs a tiny network: less than `processes.csv` shows of any.
const PROCESS_BYTES: u128 = 1 << 20;

const F32_BYTES: u128 = size_of::<f32>() as u128;

/// The run would take more memory than it may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the run needs {needed_bytes} bytes of memory ({segment_bytes} for the shared segment, {learner_bytes} for the \
     learner's activations, batches and weights), {} are free of the {} that {} allows; raise that limit, or \
     choose fewer actors, environments, slots or hidden units", .limit.free_bytes, .limit.limit_bytes, .limit.place
)]
pub struct TooLittleMemory {
    /// What all processes need together.
    pub needed_bytes: u128,
    /// The shared segment's part.
    pub segment_bytes: u128,
    /// The learner's part.
    pub learner_bytes: u128,
    /// What there is.
    pub limit: MemoryLimit,
}

/// Makes sure that there is memory for a run of these sizes.
///
/// # Errors
/// If a control group of this process, or the machine, has too little left.
pub fn check_memory(config: &Config, sizes: &Sizes) -> Result<(), TooLittleMemory> {
    // One that cannot be laid out is refused where it is made.
    let Ok(layout) = Layout::new(&sizes.segment) else { return Ok(()) };
    let (n_actors, segment_bytes) = (config.actors.count as u128, layout.total_bytes as u128);
    let learner_bytes = learner_bytes(config, sizes);
    // The supervisor keeps the state that checkpoints are made of.
    let needed_bytes = segment_bytes
        + learner_bytes
        + state_bytes(sizes)
        + n_actors * actor_bytes(sizes)
        + (2 + n_actors) * PROCESS_BYTES;
    match tightest_memory_limit() {
        Some(limit) if needed_bytes > u128::from(limit.free_bytes) => {
            Err(TooLittleMemory { needed_bytes, segment_bytes, learner_bytes, limit })
        }
        _ => Ok(()),
    }
}

/// Weights and what the optimiser remembers of them.
fn state_bytes(sizes: &Sizes) -> u128 {
    F32_BYTES * sizes.n_params() as u128 * (1 + sizes.segment.n_moments as u128)
}

/// The state; and for each thread weights, gradient and one pass: activations and their gradients, outputs and
/// theirs, probabilities, targets, and the batch where it is gathered from several slots.
fn learner_bytes(config: &Config, sizes: &Sizes) -> u128 {
    let slots_a_pass = match config.backend(&sizes.network) {
        Ok(Backend::Torch) => config.loss.batch_slots as u128,
        _ => 1,
    };
    let n_columns = slots_a_pass * sizes.rollout.n_observations() as u128;
    let gathered_bytes = if slots_a_pass > 1 { obs_bytes(sizes) } else { 0 };
    let stacked_bytes = if sizes.rollout.n_stacked > 1 { stack_bytes(sizes) } else { 0 };
    // Of each output its derivative, its probability and the logarithm of that; of each step eight sums and targets.
    let n_rows =
        2 * sizes.network.n_activations() as u128 + 4 * sizes.network.n_action_params as u128 + 8;
    let lane_bytes = F32_BYTES * (2 * sizes.n_params() as u128 + n_rows * n_columns)
        + (gathered_bytes + stacked_bytes) * n_columns;
    state_bytes(sizes) + config.n_learner_threads() as u128 * lane_bytes
}

/// Weights, and one step of all environments.
fn actor_bytes(sizes: &Sizes) -> u128 {
    let n_rows = sizes.network.n_activations() as u128 + 3 * sizes.network.n_action_params as u128;
    let n_envs = sizes.rollout.n_envs as u128;
    F32_BYTES * (sizes.n_params() as u128 + n_rows * n_envs) + stack_bytes(sizes) * n_envs
}

/// Of what a network sees of one frame.
fn stack_bytes(sizes: &Sizes) -> u128 {
    sizes.rollout.n_stacked as u128 * obs_bytes(sizes)
}

/// Of one frame.
fn obs_bytes(sizes: &Sizes) -> u128 {
    let obs = sizes.rollout.obs;
    obs.number.n_bytes() as u128 * obs.len as u128
}
