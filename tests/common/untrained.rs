//! A CartPole-v1 policy as it is before training, for tests of what reads checkpoints.

use impala::env::{EnvArgs, Registry};
use impala::network::NetworkSpec;
use impala::network::params::ParamLayout;
use impala::state::checkpoint::Checkpoint;
use impala::state::{Counters, LearnerState, OptimizerState, SCORE_WINDOW};

/// A checkpoint that says it has learned from `frames` frames in one update.
pub fn checkpoint(frames: u64) -> Checkpoint {
    let network = NetworkSpec::mlp(4, &[8], 2);
    let params = ParamLayout::new(&network).init(3);
    let square = vec![0.0; params.len()];
    let state = LearnerState {
        counters: Counters { frames, updates: 1, ..Counters::default() },
        recent_returns: [0.0; SCORE_WINDOW],
        params,
        optimizer: OptimizerState { n_steps: 1, square, mean: Vec::new() },
    };
    let spec = Registry::default().spec("CartPole-v1", &EnvArgs::default()).unwrap();
    Checkpoint { spec, network, state, settings: String::new(), elapsed_ns: 1 }
}
