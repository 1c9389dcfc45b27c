//! One pass over some slots: gather, forward, V-trace, losses and gradient, each its own stage.
//!
//! The learner's arithmetic without its rings, so that it can be tested and measured from memory.

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use super::losses::{ActorCritic, LossCosts, Losses};
use super::popart::{PopArt, TargetSums};
use super::targets::{OffPolicyStats, ReturnSettings, TargetBuilder};
use crate::base::stages::{Stage, StageClock};
use crate::config::{Config, ConfigError};
use crate::kernels::{Simd, Work};
use crate::network::heads::Head;
use crate::network::heads::last_step::LastSteps;
use crate::network::{self, Learning};
use crate::rollout::{Batch, Gather, Rollout, StackedFrames};
use crate::run::sizes::Sizes;

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
        self.losses.merge(&other.losses);
        self.off_policy.merge(&other.off_policy);
    }
}

/// A network, its head and its loss, with buffers for batches of one size.
pub struct Pass {
    simd: Simd,
    network: Box<dyn Learning>,
    n_slots: usize,
    gather: Gather,
    last_steps: LastSteps,
    /// `None` where the network sees one observation at a time.
    stacks: Option<StackedFrames>,
    /// `[P + V, (T+1)·B]`.
    outputs: Array2<f32>,
    head: Head<Simd, f32>,
    targets: TargetBuilder<Simd>,
    /// `None` where values are returns.
    popart: Option<PopArt>,
    loss: ActorCritic<f32>,
    costs: LossCosts<f32>,
    /// Derivative of the loss by the outputs, `[P + V, T·B]`.
    d_outputs: Array2<f32>,
}

impl Pass {
    /// The pass of a checked configuration.
    ///
    /// # Errors
    /// If the configuration asks for a learner that this build does not have.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        Pass::with_network(config, make_network(config)?)
    }

    /// The same around another network.
    ///
    /// # Errors
    /// If the configuration was not checked.
    pub fn with_network(config: &Config, network: Box<dyn Learning>) -> Result<Self, ConfigError> {
        let Sizes { spec, network: shape, rollout, .. } = Sizes::of(config)?;
        let n_slots = network.slots_per_pass(config.loss.batch_slots);
        let (n_steps, n_obs) = (n_slots * rollout.n_frames(), n_slots * rollout.n_observations());
        let kernels = config.simd()?;
        let targets = TargetBuilder::new(ReturnSettings::of(&config.loss), kernels, n_steps);
        Ok(Pass {
            simd: kernels,
            network,
            n_slots,
            gather: Gather::new(&rollout, n_slots),
            last_steps: LastSteps::new(&spec.actions, shape.n_last_step(), n_obs),
            stacks: StackedFrames::new(&rollout, n_slots),
            outputs: Array2::zeros((shape.n_outputs(), n_obs)),
            head: Head::new(&spec.actions, kernels, n_steps),
            targets: targets.with_task_scales(config.task_scales()),
            popart: PopArt::of(&shape, &config.loss),
            loss: ActorCritic::new(n_steps),
            costs: LossCosts::of(&config.loss),
            d_outputs: Array2::zeros((shape.n_outputs(), n_steps)),
        })
    }

    /// Sets the weight of the entropy bonus from the next rollouts on.
    pub fn set_entropy_cost(&mut self, entropy_cost: f32) {
        self.costs.entropy_cost = entropy_cost;
    }

    /// Sets what rewards are multiplied with from the next rollouts on.
    pub fn set_reward_scale(&mut self, reward_scale: f32) {
        self.targets.set_reward_scale(reward_scale);
    }

    /// Sums over the targets of each task since the last [`Pass::clear_target_sums`]; of a run of one task without
    /// PopArt there are none.
    pub fn target_sums(&self) -> impl Iterator<Item = TargetSums> {
        self.targets.sums()
    }

    /// Begins a new batch's sums.
    pub fn clear_target_sums(&mut self) {
        self.targets.clear_sums();
    }

    /// The loss that the gradient of these terms belongs to.
    pub fn total_loss(&self, losses: &Losses) -> f64 {
        losses.total(&self.costs)
    }

    /// The learner's name: `native` or `torch`.
    pub fn learner_name(&self) -> &'static str {
        self.network.name()
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
        let mut batch = match rollouts {
            [rollout] => Batch::of(rollout),
            several => Batch::of(&self.gather.gather(several)),
        };
        batch.frames.last_steps = self.last_steps.of(&batch);
        let frames = match &mut self.stacks {
            None => batch.frames,
            Some(stacks) => stacks.of(&batch.frames),
        };
        clock.lap(Stage::Batching);
        self.network.forward(params, &frames, self.outputs.view_mut());
        if let Some(popart) = &self.popart {
            self.targets.set_units(popart.units(params));
        }
        let sums = self.simd.run(Differentiate {
            head: &mut self.head,
            targets: &mut self.targets,
            loss: &mut self.loss,
            costs: &self.costs,
            batch: &batch,
            tasks: frames.tasks,
            outputs: self.outputs.view(),
            d_outputs: self.d_outputs.view_mut(),
            clock,
        });
        self.network.backward(params, &frames, self.d_outputs.view(), grad);
        clock.lap(Stage::Backward);
        sums
    }
}

/// From the network's outputs to the derivative by them, as work for wide vectors.
struct Differentiate<'a, 'b> {
    head: &'a mut Head<Simd, f32>,
    targets: &'a mut TargetBuilder<Simd>,
    loss: &'a mut ActorCritic<f32>,
    costs: &'a LossCosts<f32>,
    batch: &'a Batch<'b, f32>,
    tasks: &'a [u32],
    outputs: ArrayView2<'a, f32>,
    d_outputs: ArrayViewMut2<'a, f32>,
    clock: &'a mut StageClock,
}

impl Work for Differentiate<'_, '_> {
    type Output = PassSums;

    #[inline(always)]
    fn run(self) -> PassSums {
        let Differentiate { head, targets, loss, costs, batch, tasks, outputs, d_outputs, clock } =
            self;
        let seen = head.evaluate(outputs, batch.actions, tasks);
        clock.lap(Stage::Forward);
        let (targets, off_policy) = targets.solve(batch, &seen);
        clock.lap(Stage::Vtrace);
        let (losses, slopes) = loss.differentiate(&seen, &targets, costs);
        head.chain(batch.actions, tasks, &slopes, d_outputs);
        PassSums { losses, off_policy }
    }
}

/// The network of the learner that the configuration asks for.
fn make_network(config: &Config) -> Result<Box<dyn Learning>, ConfigError> {
    let Sizes { network: spec, rollout, .. } = Sizes::of(config)?;
    let (backend, arithmetic) = (config.backend(&spec)?, config.arithmetic()?);
    Ok(network::learning(&spec, backend, arithmetic, rollout.n_observations()))
}
