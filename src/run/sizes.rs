//! All sizes of a run, which follow from its settings and from the spec of its environment.

use crate::config::{Config, ConfigError};
use crate::network::NetworkSpec;
use crate::network::params::ParamLayout;
use crate::rollout::RolloutShape;
use crate::shm::layout::SegmentShape;
use crate::space::Spec;

/// What a run works on, and how large it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// Its environment.
    pub spec: Spec,
    /// Its network.
    pub network: NetworkSpec,
    /// One slot.
    pub rollout: RolloutShape,
    /// The shared segment.
    pub segment: SegmentShape,
}

impl Sizes {
    /// Those of a configuration.
    ///
    /// # Errors
    /// If the environment is not known, or there is no network for it.
    pub fn of(config: &Config) -> Result<Sizes, ConfigError> {
        Sizes::with_spec(config, config.spec()?)
    }

    /// The same where the environment's spec is known, though perhaps the environment is not.
    ///
    /// # Errors
    /// If there is no network for it.
    pub fn with_spec(config: &Config, spec: Spec) -> Result<Sizes, ConfigError> {
        let network = config.network(&spec)?;
        let actors = &config.actors;
        let rollout = RolloutShape {
            n_state: network.n_state(),
            n_stacked: config.frame_stack,
            n_tasks: config.n_tasks(),
            ..RolloutShape::new(&spec, actors.unroll_length, actors.envs_per_actor)
        };
        let segment = SegmentShape {
            n_actors: actors.count,
            slots_per_actor: actors.slots_per_actor,
            n_params: ParamLayout::new(&network).len(),
            n_moments: config.optimizer.kind.n_moments(),
            rollout,
        };
        Ok(Sizes { spec, network, rollout, segment })
    }

    /// Numbers in the flat vector of parameters.
    pub fn n_params(&self) -> usize {
        self.segment.n_params
    }
}
