//! A learner's work on one rollout that lies in its memory: nobody to wait for, always the same.

use anyhow::Result;
use impala::actor::collector::Collector;
use impala::base::stages::{Stage, StageClock};
use impala::config::Config;
use impala::learner::optim::{Optimizer, UpdateRule, clip_grad_norm};
use impala::learner::pass::Pass;
use impala::network::params::ParamLayout;
use impala::rollout::RolloutBuffer;
use impala::run::sizes::Sizes;

/// Everything that it works with.
pub struct LoneLearner {
    slot: RolloutBuffer,
    n_frames: u64,
    pass: Pass,
    optimizer: Optimizer,
    max_grad_norm: f32,
    params: Vec<f32>,
    grad: Vec<f32>,
}

impl LoneLearner {
    /// One with a rollout of the first policy.
    ///
    /// # Errors
    /// If the configuration cannot work.
    pub fn new(config: &Config) -> Result<LoneLearner> {
        let mut slot = RolloutBuffer::new(Sizes::of(config)?.rollout);
        let mut collector = Collector::new(config, 0, 0)?;
        let layout = ParamLayout::new(&Sizes::of(config)?.network);
        let params = layout.init(1);
        collector.params_mut().copy_from_slice(&params);
        collector.collect(&mut slot.view_mut())?;
        Ok(LoneLearner {
            slot,
            n_frames: collector.frames_per_rollout(),
            pass: Pass::new(config)?,
            optimizer: Optimizer::new(UpdateRule::of(&config.optimizer), layout.len()),
            max_grad_norm: config.optimizer.max_grad_norm,
            params,
            grad: vec![0.0; layout.len()],
        })
    }

    /// One update, each stage of which is a lap of the clock. Returns the frames that it learned from.
    pub fn learn(&mut self, clock: &mut StageClock) -> u64 {
        self.grad.fill(0.0);
        self.pass.learn(&[self.slot.view()], &self.params, &mut self.grad, clock);
        clip_grad_norm(&mut self.grad, self.max_grad_norm);
        // A rate of zero keeps the weights, and with them the work, the same.
        self.optimizer.step(&mut self.params, &self.grad, 0.0);
        clock.lap(Stage::Optimizer);
        self.n_frames
    }
}
