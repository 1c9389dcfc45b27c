//! A lane: the second of the two hot loops, as one thread runs it.
//!
//! Takes a batch, and makes `loss.epochs` updates of it: copies the newest weights, computes the gradient
//! holding nothing, and applies it when it is its turn at the [`Hub`]. Owns what a gradient needs: weights,
//! activations, the gradient itself, and a clock, so that its stages add up to its time. The learner runs one
//! lane or several.

use std::sync::Mutex;

use super::cluster::contribution::Contribution;
use super::gradient::{Epoch, Gradient};
use super::hub::{Hub, Then};
use super::intake::{Intake, SlotBatch};
use super::pass::{Pass, PassSums};
use super::{LearnerError, MessageSink, lock};
use crate::base::clock::monotonic_ns;
use crate::base::faults::{self, Point};
use crate::base::stages::{Stage, StageClock};
use crate::config::{Config, ConfigError};
use crate::rollout::Rollout;
use crate::run::sizes::Sizes;
use crate::shm::weights::WeightsReader;
use crate::shm::{Segment, SegmentError};

/// What the thread of a lane but the first is called; profiles tell by it whose samples they are.
pub fn thread_name(number: usize) -> String {
    format!("impala-lane{number}")
}

/// One thread of the learner.
pub struct Lane<'run, 'seg, S> {
    number: usize,
    intake: Closing<'run, 'seg>,
    hub: &'run Mutex<Hub<'seg, S>>,
    batch: SlotBatch<'seg>,
    weights: WeightsReader<'seg>,
    params: Vec<f32>,
    /// Policy version of `params`.
    version: u64,
    pass: Pass,
    sums: PassSums,
    contribution: Contribution,
    config: &'run Config,
    /// Frames learned from when this lane last had its turn.
    frames: u64,
    /// What the batch's rewards are multiplied with.
    reward_scale: f32,
    /// When the work on the update began, ns.
    started_ns: u64,
    clock: StageClock,
}

impl<'run, 'seg, S: MessageSink> Lane<'run, 'seg, S> {
    /// The lane with this number of the learner that `intake` and `hub` belong to.
    ///
    /// # Errors
    /// If the configuration was not checked.
    pub fn new(
        number: usize,
        config: &'run Config,
        segment: &'seg Segment,
        intake: &'run Intake<'seg>,
        hub: &'run Mutex<Hub<'seg, S>>,
    ) -> Result<Self, ConfigError> {
        let n_params = Sizes::of(config)?.n_params();
        Ok(Lane {
            number,
            intake: Closing(number, intake),
            hub,
            batch: SlotBatch { lane: number, ..SlotBatch::default() },
            weights: segment.weights_reader(),
            params: vec![0.0; n_params],
            version: 0,
            pass: Pass::new(config)?,
            sums: PassSums::default(),
            contribution: Contribution::of(config)?,
            config,
            frames: lock(hub).frames(),
            reward_scale: config.loss.reward_scale,
            started_ns: 0,
            clock: StageClock::start(),
        })
    }

    /// Learns until the intake gives no more batches. The learner's hot loop.
    ///
    /// # Errors
    /// If training diverges, the segment is damaged or the supervisor is gone. However a lane ends, the
    /// others end with it.
    pub fn run(mut self) -> Result<(), LearnerError> {
        while self.take() {
            faults::reach(Point::AfterTake);
            self.scale_rewards();
            for epoch in Epoch::all(self.config.loss.epochs) {
                self.read_weights()?;
                self.learn();
                if self.apply(epoch)? != Then::NextEpoch {
                    break;
                }
            }
            self.release();
        }
        let mut hub = lock(self.hub);
        hub.leave(&self.batch);
        hub.count_rest(&mut self.clock);
        Ok(())
    }

    /// Waits for the next batch; false when there shall be none, be there the beginning of one or not.
    fn take(&mut self) -> bool {
        self.intake.1.take(&mut self.batch, &mut self.clock)
    }

    /// Finds out what the batch's rewards are multiplied with, where that is not the same for all.
    fn scale_rewards(&mut self) {
        if self.config.loss.reward_norm {
            self.reward_scale = lock(self.hub).reward_scale(&self.batch);
            self.pass.set_reward_scale(self.reward_scale);
        }
    }

    /// Copies the newest weights. After the batch was taken, so that nothing stands between them and
    /// their use.
    fn read_weights(&mut self) -> Result<(), LearnerError> {
        self.started_ns = self.clock.last_ns();
        let read = self.weights.read_if_newer(&mut self.params);
        self.version = read.map_err(SegmentError::from)?.unwrap_or(self.version);
        Ok(())
    }

    /// Computes the gradient of the batch's summed loss.
    fn learn(&mut self) {
        self.contribution.clear();
        self.pass.set_entropy_cost(self.entropy_cost() as f32);
        self.sums = PassSums::default();
        self.pass.clear_target_sums();
        for (slots, number) in self.batch.slots.chunks(self.pass.n_slots()).zip(0..) {
            let rollouts: Vec<Rollout> = slots.iter().map(|slot| slot.rollout()).collect();
            let grad = self.contribution.part(number);
            let pass = self.pass.learn(&rollouts, &self.params, grad, &mut self.clock);
            self.sums.merge(&pass);
        }
        if faults::reach(Point::Loss) {
            self.sums.losses.policy = f64::NAN;
        }
    }

    /// Weight of the entropy bonus at this lane's frame.
    fn entropy_cost(&self) -> f64 {
        self.config.loss.entropy_cost.at(self.frames, self.config.frames)
    }

    /// Changes the weights by the gradient, when it is this lane's turn; unless another lane has ended the
    /// run meanwhile, with the last update or with an error.
    fn apply(&mut self, epoch: Epoch) -> Result<Then, LearnerError> {
        let pulse = self.intake.1.pulse();
        pulse.rest(self.number);
        let mut hub = lock(self.hub);
        self.clock.lap(Stage::Turn);
        pulse.beat(self.number, self.clock.last_ns());
        if self.intake.1.is_closed() {
            if epoch.is_first() {
                hub.leave(&self.batch);
            }
            return Ok(Then::End);
        }
        let entropy_cost = self.entropy_cost();
        let mut gradient = Gradient {
            contribution: &mut self.contribution,
            version: self.version,
            sums: self.sums,
            targets: self.pass.target_sums().collect(),
            total_loss: self.pass.total_loss(&self.sums.losses),
            entropy_cost,
            reward_scale: self.reward_scale,
            epoch,
            started_ns: self.started_ns,
        };
        let mut beat = || pulse.beat(self.number, monotonic_ns());
        let applied = hub.apply(&mut gradient, &self.batch, &mut self.clock, &mut beat);
        if matches!(applied, Err(_) | Ok(Then::End)) {
            // Before the next lane has its turn.
            self.intake.1.close();
        }
        self.frames = hub.frames();
        applied
    }

    /// Hands the batch's slots back. After the weights were published, so that an actor that was waiting
    /// reads those just made from its own rollout; and after the turn at the hub, because waking takes a
    /// system call each.
    fn release(&mut self) {
        self.intake.1.release(&mut self.batch);
        self.clock.lap(Stage::Release);
    }
}

/// The intake, closed when the lane ends, be it by a panic, so that no lane goes on alone.
struct Closing<'run, 'seg>(usize, &'run Intake<'seg>);

impl Drop for Closing<'_, '_> {
    fn drop(&mut self) {
        let Closing(lane, intake) = self;
        intake.pulse().rest(*lane);
        intake.close();
    }
}
