//! A policy as it is before training, for tests of what reads checkpoints.

use impala::env::{EnvArgs, Registry};
use impala::network::params::ParamLayout;
use impala::network::{NetworkSpec, Torso};
use impala::space::ObsSpace;
use impala::state::checkpoint::Checkpoint;
use impala::state::{Counters, LearnerState, OptimizerState, SCORE_WINDOW};

/// A checkpoint of an environment that says it has learned from `frames` frames in one update.
pub fn checkpoint(env: &str, frames: u64) -> Checkpoint {
    let spec = Registry::default().spec(env, &EnvArgs::default()).unwrap();
    let torso = match spec.obs {
        ObsSpace::Vector { .. } => Torso::Mlp { hidden: vec![8] },
        ObsSpace::Image { .. } => Torso::Minatar,
    };
    let network = NetworkSpec::of(&spec, torso);
    let params = ParamLayout::new(&network).init(3);
    let square = vec![0.0; params.len()];
    let state = LearnerState {
        counters: Counters { frames, updates: 1, ..Counters::default() },
        recent_returns: [0.0; SCORE_WINDOW],
        return_stats: Default::default(),
        params,
        optimizer: OptimizerState { n_steps: 1, square, mean: Vec::new() },
    };
    Checkpoint { spec, network, state, settings: String::new(), elapsed_ns: 1 }
}
