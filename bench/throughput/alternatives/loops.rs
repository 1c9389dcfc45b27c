//! The two hot loops of the engine without what they tell about themselves: the same work a frame.

use std::convert::Infallible;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Result;
use impala::collector::Collector;
use impala::config::Config;
use impala::latency::StageClock;
use impala::learner::optim::{Optimizer, UpdateRule, clip_grad_norm};
use impala::learner::pass::Pass;
use impala::params::ParamLayout;
use impala::seeds::{Stream, stream_seed};
use impala::shm::Segment;

use super::Figures;
use super::transport::Transport;
use super::weights::Weights;

/// A loop does not return.
pub type Never = Infallible;

/// `impala::actor`'s loop.
pub fn act(
    config: &Config,
    segment: &Segment,
    actor: usize,
    transport: &dyn Transport,
    weights: &dyn Weights,
) -> Result<Never> {
    segment.prefault()?;
    let (mut slots, mut weights) = (transport.filler(actor)?, weights.reader(actor));
    let mut collector = Collector::new(config, actor as u64, 0)?;
    let mut version = 0;
    loop {
        slots.claim();
        version = weights.read(collector.params_mut()).unwrap_or(version);
        collector.collect(&mut slots.rollout());
        slots.publish(version);
    }
}

/// `impala::learner`'s loop.
pub fn learn(
    config: &Config,
    segment: &Segment,
    transport: &dyn Transport,
    weights: &dyn Weights,
    figures: &Figures,
) -> Result<Never> {
    segment.prefault()?;
    let (mut slots, mut weights) = (transport.taker()?, weights.writer()?);
    let layout = ParamLayout::new(&config.network_shape()?);
    let mut params = layout.init(stream_seed(config.seed, Stream::Weights));
    let mut grad = vec![0.0; layout.len()];
    let mut pass = Pass::new(config)?;
    let mut optimizer = Optimizer::new(UpdateRule::of(&config.optimizer), layout.len());
    let schedule = &config.optimizer.learning_rate;
    let n_frames = config.rollout_shape()?.n_frames() as u64;
    let mut clock = StageClock::start();
    // The segment comes with the same weights as version 0, which the other ways cannot see.
    let mut version = 1;
    weights.publish(version, &params, &Vec::from_iter(0..config.actors.count));
    loop {
        let actor = slots.take();
        let rollout = slots.rollout();
        let lag = version - rollout.header.policy_version;
        grad.fill(0.0);
        pass.learn(&[rollout], &params, &mut grad, &mut clock);
        clip_grad_norm(&mut grad, config.optimizer.max_grad_norm);
        optimizer.step(&mut params, &grad, schedule.at((version - 1) * n_frames) as f32);
        version += 1;
        weights.publish(version, &params, &[actor]);
        slots.release();
        // Relaxed: nobody else writes them, and they are only looked at.
        figures.updates.store(version - 1, Relaxed);
        figures.lag_sum.fetch_add(lag, Relaxed);
    }
}
