//! One pass over some slots: gather, forward, V-trace, losses and gradient, each its own stage.
//!
//! The learner's arithmetic without its rings, so that it can be tested and measured from memory.

use crate::base::latency::{Stage, StageClock};
use crate::config::{Config, ConfigError, LearnerKind};
use crate::kernels::Simd;
use crate::rollout::Rollout;

use super::backend::{Backend, Batch, LossCosts, Losses, Outputs};
use super::batch::Gather;
use super::native::Native;
use super::targets::{OffPolicyStats, ReturnSettings, TargetBuilder};

/// Sums of one or several passes.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassSums {
    /// Summed losses.
    pub losses: Losses,
    /// Importance ratios and targets.
    pub off_policy: OffPolicyStats,
}

impl PassSums {
    /// Adds another pass.
    pub fn merge(&mut self, other: &PassSums) {
        self.losses.policy += other.losses.policy;
        self.losses.critic += other.losses.critic;
        self.losses.entropy += other.losses.entropy;
        self.off_policy.merge(&other.off_policy);
    }
}

/// A backend with its buffers.
pub struct Pass {
    backend: Box<dyn Backend>,
    n_slots: usize,
    gather: Gather,
    targets: TargetBuilder<Simd>,
    outputs: Outputs<f32>,
    costs: LossCosts<f32>,
}

impl Pass {
    /// The pass of a checked configuration.
    ///
    /// # Errors
    /// If the configuration asks for a backend that this build does not have.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        Pass::with_backend(config, make_backend(config)?)
    }

    /// The same around another backend.
    ///
    /// # Errors
    /// If the configuration was not checked.
    pub fn with_backend(config: &Config, backend: Box<dyn Backend>) -> Result<Self, ConfigError> {
        let rollout = config.rollout_shape()?;
        let n_slots = backend.slots_per_pass(config.loss.batch_slots);
        let (n_steps, n_obs) = (n_slots * rollout.n_frames(), n_slots * rollout.n_obs_columns());
        let baseline_cost = config.loss.baseline_cost;
        let entropy_cost = config.loss.entropy_cost.at(0) as f32;
        let returns = ReturnSettings::of(&config.loss);
        Ok(Pass {
            backend,
            n_slots,
            gather: Gather::new(&rollout, n_slots),
            targets: TargetBuilder::new(returns, config.simd()?, n_steps),
            outputs: Outputs::new(rollout.n_actions, n_steps, n_obs),
            costs: LossCosts { baseline_cost, entropy_cost },
        })
    }

    /// Sets the weight of the entropy bonus from the next rollouts on.
    pub fn set_entropy_cost(&mut self, entropy_cost: f32) {
        self.costs.entropy_cost = entropy_cost;
    }

    /// The loss that the gradient of these terms belongs to.
    pub fn total_loss(&self, losses: &Losses) -> f64 {
        let LossCosts { baseline_cost, entropy_cost } = self.costs;
        let (baseline_cost, entropy_cost) = (baseline_cost.into(), entropy_cost.into());
        losses.total(&LossCosts { baseline_cost, entropy_cost })
    }

    /// The backend's name.
    pub fn backend_name(&self) -> &'static str {
        self.backend.name()
    }

    /// How many rollouts [`Pass::learn`] takes at a time.
    pub fn n_slots(&self) -> usize {
        self.n_slots
    }

    /// Adds the gradient of the rollouts' summed loss to `grad`. Ends a lap of `clock` for each stage.
    ///
    /// # Panics
    /// If there are not [`Pass::n_slots`] rollouts.
    pub fn learn<'a>(
        &'a mut self,
        rollouts: &[Rollout<'a>],
        params: &[f32],
        grad: &mut [f32],
        clock: &mut StageClock,
    ) -> PassSums {
        assert_eq!(rollouts.len(), self.n_slots, "buffers are made for this many rollouts");
        let batch = match rollouts {
            [rollout] => Batch::from_rollout(rollout),
            several => self.gather.gather(several),
        };
        clock.lap(Stage::Batching);
        self.backend.forward(params, &batch, &mut self.outputs);
        clock.lap(Stage::Forward);
        let (targets, off_policy) = self.targets.solve(&batch, &self.outputs);
        clock.lap(Stage::Vtrace);
        let (outputs, costs) = (&self.outputs, &self.costs);
        let losses = self.backend.backward(params, &batch, outputs, &targets, costs, grad);
        clock.lap(Stage::Backward);
        PassSums { losses, off_policy }
    }
}

/// The backend that the configuration asks for.
fn make_backend(config: &Config) -> Result<Box<dyn Backend>, ConfigError> {
    match config.learner {
        LearnerKind::Auto | LearnerKind::Native => make_native(config),
        LearnerKind::Torch => make_torch(config),
    }
}

fn make_native(config: &Config) -> Result<Box<dyn Backend>, ConfigError> {
    let (network, rollout) = (config.network_shape()?, config.rollout_shape()?);
    let (n_steps, n_obs) = (rollout.n_frames(), rollout.n_obs_columns());
    Ok(Box::new(Native::new(&network, config.simd()?, n_steps, n_obs)))
}

#[cfg(feature = "torch")]
fn make_torch(config: &Config) -> Result<Box<dyn Backend>, ConfigError> {
    Ok(Box::new(super::torch::Torch::new(&config.network_shape()?)))
}

#[cfg(not(feature = "torch"))]
fn make_torch(_config: &Config) -> Result<Box<dyn Backend>, ConfigError> {
    Err(ConfigError::NoTorch)
}
