//! A CartPole-v1 policy as it is before training, for tests of what reads checkpoints.

use impala::network::params::{NetworkShape, ParamLayout};
use impala::state::checkpoint::Checkpoint;
use impala::state::{Counters, LearnerState, OptimizerState, SCORE_WINDOW};

/// A checkpoint that says it has learned from `frames` frames in one update.
pub fn checkpoint(frames: u64) -> Checkpoint {
    let shape = NetworkShape { obs_dim: 4, hidden: vec![8], n_actions: 2 };
    let params = ParamLayout::new(&shape).init(3);
    let square = vec![0.0; params.len()];
    let state = LearnerState {
        counters: Counters { frames, updates: 1, ..Counters::default() },
        recent_returns: [0.0; SCORE_WINDOW],
        params,
        optimizer: OptimizerState { n_steps: 1, square, mean: Vec::new() },
    };
    let env = "CartPole-v1".into();
    Checkpoint { env, shape, state, settings: String::new(), elapsed_ns: 1 }
}
