//! The two hot loops of the engine without what they tell about themselves: the same work a frame.

use std::convert::Infallible;
use std::panic;
use std::process::abort;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard};
use std::thread;

use anyhow::Result;
use impala::actor::collector::Collector;
use impala::base::seeds::{Stream, stream_seed};
use impala::base::stages::StageClock;
use impala::config::Config;
use impala::learner::optim::{Optimizer, UpdateRule, clip_grad_norm};
use impala::learner::pass::Pass;
use impala::network::params::ParamLayout;
use impala::run::sizes::Sizes;
use impala::shm::Segment;

use super::Figures;
use super::transport::{Take, Transport};
use super::weights::{Weights, Write};

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
        let mut collected = Ok(());
        slots.fill(&mut |rollout| collected = collector.collect(rollout).map(drop));
        collected?;
        slots.publish(version);
    }
}

/// `impala::learner`'s lanes, each on a thread of its own.
pub fn learn(
    config: &Config,
    segment: &Segment,
    transport: &dyn Transport,
    weights: &dyn Weights,
    figures: &Figures,
) -> Result<Never> {
    segment.prefault()?;
    // The others would go on without a lane that has panicked, and be measured. No backtrace: it takes longer
    // than a short measurement.
    panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        abort();
    }));
    let hub = Mutex::new(Hub::new(config, weights.writer()?, figures)?);
    let lane = |slots| Ok(Lane { config, slots, hub: &hub, pass: Pass::new(config)? });
    let takers = transport.takers(config.n_learner_threads())?;
    let lanes = takers.into_iter().map(lane).collect::<Result<Vec<_>>>()?;
    thread::scope(|scope| {
        lanes.into_iter().for_each(|lane| _ = scope.spawn(|| lane.run()));
    });
    unreachable!("lanes do not return")
}

/// `impala::learner::hub`, for one lane at a time.
struct Hub<'a> {
    config: &'a Config,
    weights: Box<dyn Write + 'a>,
    params: Vec<f32>,
    optimizer: Optimizer,
    version: u64,
    frames_per_slot: u64,
    figures: &'a Figures,
}

impl<'a> Hub<'a> {
    fn new(
        config: &'a Config,
        mut weights: Box<dyn Write + 'a>,
        figures: &'a Figures,
    ) -> Result<Self> {
        let layout = ParamLayout::new(&Sizes::of(config)?.network);
        let params = layout.init(stream_seed(config.seed, Stream::Weights));
        // The segment comes with the same weights as version 0, which the other ways cannot see.
        let version = 1;
        weights.publish(version, &params, &Vec::from_iter(0..config.actors.count));
        let optimizer = Optimizer::new(UpdateRule::of(&config.optimizer), layout.len());
        let frames_per_slot = Sizes::of(config)?.rollout.n_frames() as u64;
        Ok(Hub { config, weights, params, optimizer, version, frames_per_slot, figures })
    }

    /// Makes new weights known by a gradient of a slot that `actor` filled with those of `policy_version`.
    fn apply(&mut self, grad: &[f32], actor: usize, policy_version: u64) {
        let n_frames = (self.version - 1) * self.frames_per_slot;
        let learning_rate = self.config.optimizer.learning_rate.at(n_frames, self.config.frames);
        self.optimizer.step(&mut self.params, grad, learning_rate as f32);
        // Relaxed: nobody else writes them, and they are only looked at.
        self.figures.updates.store(self.version, Relaxed);
        self.figures.lag_sum.fetch_add(self.version - policy_version, Relaxed);
        self.version += 1;
        self.weights.publish(self.version, &self.params, &[actor]);
    }
}

/// `impala::learner::lane`.
struct Lane<'run, 'seg> {
    config: &'run Config,
    slots: Box<dyn Take + 'seg>,
    hub: &'run Mutex<Hub<'seg>>,
    pass: Pass,
}

impl Lane<'_, '_> {
    fn run(mut self) {
        let mut params = lock(self.hub).params.clone();
        let mut grad = vec![0.0; params.len()];
        let mut clock = StageClock::start();
        loop {
            let actor = self.slots.take();
            // In every variant alike, however weights travel to the actors: lanes are in one process.
            params.copy_from_slice(&lock(self.hub).params);
            let rollout = self.slots.rollout();
            let policy_version = rollout.header.policy_version;
            grad.fill(0.0);
            self.pass.learn(&[rollout], &params, &mut grad, &mut clock);
            clip_grad_norm(&mut grad, self.config.optimizer.max_grad_norm);
            lock(self.hub).apply(&grad, actor, policy_version);
            self.slots.release();
        }
    }
}

/// Takes a lock that the lanes share.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a lane that panics ends the process")
}
