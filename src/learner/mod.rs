//! The learner: the second of the two hot loops. Takes slots, computes V-trace targets and the
//! gradient, steps the optimiser, publishes the weights, hands the slots back.
//!
//! Owns the parameters, the optimiser, the consuming end of every ring and the writing end of the
//! weights. Every part of its loop is one lap of a [`StageClock`], so that the stages add up to its
//! time. Called by the supervisor in a forked process.

pub mod backend;
pub mod batch;
pub mod meters;
pub mod native;
pub mod optim;
pub mod overlap;
pub mod pass;
pub mod score;
pub mod targets;
#[cfg(feature = "torch")]
pub mod torch;

use std::time::Duration;

use crate::config::{Config, ConfigError};
use crate::latency::{RunClock, Stage, StageClock, monotonic_ns};
use crate::rollout::{Rollout, RolloutHeader};
use crate::shm::board::{Board, LearnerStatus, Phase};
use crate::shm::doorbell::Doorbell;
use crate::shm::{Consumer, Segment, SegmentError, SegmentStateWriter, SegmentWeightsWriter};
use crate::state::{Counters, StateView};
use crate::telemetry::{Exit, LearnerOutcome, Message};

use backend::Losses;
use meters::{Meters, Update};
use optim::{Optimizer, UpdateRule, clip_grad_norm};
use overlap::{Overlap, Span};
use pass::{Pass, PassSums};

/// How long a waiting learner sleeps before it looks at the stop flag and says that it lives.
const WAIT_TIMEOUT: Duration = Duration::from_millis(50);

/// Why a learner could not go on.
#[derive(Debug, thiserror::Error)]
pub enum LearnerError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The shared segment is damaged or of another layout.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// Nobody has saved a state to start from.
    #[error(
        "the shared segment holds no sound state to learn from; the supervisor saves the first"
    )]
    NoState,
    /// Training diverged.
    #[error(
        "update {update}: the gradient is not finite (losses {losses:?}); \
         lower optimizer.learning_rate.start or loss.reward_scale"
    )]
    NotFinite {
        /// The update that failed.
        update: u64,
        /// Its summed losses.
        losses: Losses,
    },
    /// The supervisor is gone or deaf.
    #[error("the supervisor does not take reports: {0}")]
    Report(String),
}

/// Where the learner's messages go.
pub trait MessageSink {
    /// Sends one message.
    ///
    /// # Errors
    /// If nobody listens any more.
    fn send(&mut self, message: Message) -> Result<(), LearnerError>;
}

/// A slot taken from a ring into the current batch.
#[derive(Clone, Copy, Debug)]
struct Taken {
    ring: usize,
    index: u64,
}

/// The learner process.
pub struct Learner<'seg, S> {
    config: &'seg Config,
    sink: S,
    board: Board<'seg>,
    status: &'seg LearnerStatus,
    doorbell: &'seg Doorbell,
    rings: Vec<Consumer<'seg>>,
    weights: SegmentWeightsWriter<'seg>,
    /// Where the next learner goes on if this one dies.
    saved: SegmentStateWriter<'seg>,
    /// The ring that the next batch begins with, so that none is favoured.
    next_ring: usize,
    taken: Vec<Taken>,
    pass: Pass,
    /// Environment steps in a slot.
    frames_per_slot: u64,
    /// Mean score from which the task counts as solved.
    reward_threshold: f64,
    params: Vec<f32>,
    grad: Vec<f32>,
    optimizer: Optimizer,
    clock: StageClock,
    meters: Meters,
    run: RunFigures,
}

/// What the learner counts once a run.
#[derive(Debug)]
struct RunFigures {
    loop_start_ns: u64,
    first_frame_ns: Option<u64>,
    n_dropped: u64,
    /// When the current update began: the end of the wait for its slots.
    update_start_ns: u64,
    /// How much of the updates actors were collecting in.
    overlap: Overlap,
}

impl<'seg, S: MessageSink> Learner<'seg, S> {
    /// A learner that goes on from the state in the segment, be it fresh, resumed, or what a learner
    /// before it left.
    ///
    /// # Errors
    /// If the configuration cannot work, or the segment is damaged or holds no state.
    pub fn new(
        config: &'seg Config,
        segment: &'seg Segment,
        run_clock: RunClock,
        sink: S,
    ) -> Result<Self, LearnerError> {
        let clock = StageClock::start();
        let now_ns = clock.last_ns();
        segment.check_header()?;
        let board = segment.board();
        board.learner().vitals.start(std::process::id(), 0, now_ns);
        let saved = segment.state_reader().read_if_newer().ok_or(LearnerError::NoState)?;
        if !saved.state.is_finite() {
            return Err(LearnerError::NoState);
        }
        let rings = rings_after(segment, &saved.consumed)?;
        let state = saved.state;
        let mut weights = segment.weights_writer()?;
        if weights.version() < Some(state.counters.updates) {
            weights.publish(state.counters.updates, &state.params);
        }
        Ok(Learner {
            config,
            sink,
            board,
            status: board.learner(),
            doorbell: segment.learner_doorbell(),
            rings,
            weights,
            saved: segment.state_writer()?,
            next_ring: 0,
            taken: Vec::with_capacity(config.loss.batch_slots),
            pass: Pass::new(config)?,
            frames_per_slot: config.rollout_shape()?.n_frames() as u64,
            reward_threshold: config.spec()?.reward_threshold,
            grad: vec![0.0; state.params.len()],
            clock,
            meters: Meters::new(config, run_clock, now_ns, &state),
            params: state.params,
            optimizer: Optimizer::resume(UpdateRule::of(&config.optimizer), state.optimizer),
            run: RunFigures::starting_at(now_ns),
        })
    }

    /// Learns until the budget is spent, the task is solved (if that ends the run) or the board says
    /// stop. The learner's hot loop.
    ///
    /// # Errors
    /// If training diverges or the supervisor is gone.
    pub fn run(mut self) -> Result<(), LearnerError> {
        let exit = loop {
            if let Some(exit) = self.exit() {
                break exit;
            }
            if !(self.wait() && self.take()) {
                continue;
            }
            let sums = self.learn();
            let update = self.optimise(&sums)?;
            self.publish();
            let n_frames = self.release();
            self.report(n_frames, &update)?;
        };
        self.finish(exit)
    }

    /// Whether, and why, the loop ends here.
    fn exit(&self) -> Option<Exit> {
        if self.board.stop_ordered() {
            Some(Exit::Interrupted)
        } else if self.config.stop_when_solved && self.meters.counters().solved().is_some() {
            Some(Exit::Solved)
        } else if self.meters.frames() >= self.config.frames {
            Some(Exit::Finished)
        } else {
            None
        }
    }

    /// Waits until the rings hold what the batch still lacks; false when it is time to stop.
    fn wait(&mut self) -> bool {
        let n_missing = self.config.loss.batch_slots - self.taken.len();
        while self.n_ready() < n_missing {
            if self.board.stop_ordered() {
                return false;
            }
            self.status.vitals.enter(Phase::Waiting, monotonic_ns());
            let (doorbell, rings) = (&self.doorbell, &mut self.rings);
            doorbell.wait_for(WAIT_TIMEOUT, || (n_ready(rings) >= n_missing).then_some(()));
        }
        self.status.wait_ns.add(self.clock.lap(Stage::Wait));
        self.status.vitals.enter(Phase::Learning, self.clock.last_ns());
        true
    }

    /// Takes slots from one ring after the other until the batch is complete; false if it is not,
    /// because some were too stale.
    fn take(&mut self) -> bool {
        self.run.update_start_ns = self.clock.last_ns();
        let batch_slots = self.config.loss.batch_slots;
        let mut n_empty = 0;
        while self.taken.len() < batch_slots && n_empty < self.rings.len() {
            let ring = self.next_ring;
            self.next_ring = (ring + 1) % self.rings.len();
            match self.rings[ring].try_take() {
                Some(index) => self.admit(Taken { ring, index }),
                None => n_empty += 1,
            }
        }
        self.taken.len() == batch_slots
    }

    /// Puts a taken slot into the batch, or drops it if its policy is too old.
    fn admit(&mut self, taken: Taken) {
        let rollout = self.rings[taken.ring].rollout(taken.index);
        let lag = self.meters.updates().saturating_sub(rollout.header.policy_version);
        self.run.first_frame_ns.get_or_insert(rollout.header.claimed_ns);
        if lag > self.config.loss.max_policy_lag {
            self.run.n_dropped += 1;
            // Slots of one ring only get younger: none of this ring is in the batch yet.
            self.rings[taken.ring].release();
            return;
        }
        let RolloutHeader { claimed_ns, published_ns, .. } = *rollout.header;
        self.run.overlap.add_collect(Span { start_ns: claimed_ns, end_ns: published_ns });
        self.meters.count_slot(rollout.header, self.clock.last_ns());
        for (episode_return, _) in rollout.episodes() {
            self.meters.score.add(f64::from(episode_return));
        }
        self.taken.push(taken);
    }

    /// Computes the gradient of the batch's summed loss.
    fn learn(&mut self) -> PassSums {
        self.grad.fill(0.0);
        self.pass.set_entropy_cost(self.entropy_cost() as f32);
        let mut sums = PassSums::default();
        for slots in self.taken.chunks(self.pass.n_slots()) {
            let rollouts = slots.iter().map(|slot| self.rings[slot.ring].rollout(slot.index));
            let rollouts: Vec<Rollout> = rollouts.collect();
            let pass = self.pass.learn(&rollouts, &self.params, &mut self.grad, &mut self.clock);
            sums.merge(&pass);
        }
        sums
    }

    /// Clips the gradient and takes one step of the optimiser.
    fn optimise(&mut self, sums: &PassSums) -> Result<Update, LearnerError> {
        let grad_norm = clip_grad_norm(&mut self.grad, self.config.optimizer.max_grad_norm);
        if !grad_norm.is_finite() {
            return Err(LearnerError::NotFinite {
                update: self.meters.updates(),
                losses: sums.losses,
            });
        }
        let learning_rate = self.config.optimizer.learning_rate.at(self.meters.frames());
        self.optimizer.step(&mut self.params, &self.grad, learning_rate as f32);
        self.clock.lap(Stage::Optimizer);
        Ok(Update {
            sums: *sums,
            grad_norm,
            total_loss: self.pass.total_loss(&sums.losses),
            learning_rate,
            entropy_cost: self.entropy_cost(),
            n_ready: self.n_ready(),
        })
    }

    /// Makes the new weights visible to all actors, after what a replacement would need (W5).
    fn publish(&mut self) {
        self.save_state(self.meters.counters_after(self.n_frames()));
        self.weights.publish(self.meters.updates() + 1, &self.params);
        self.clock.lap(Stage::Publish);
    }

    /// Makes `counters` and all that goes with them the state to go on from.
    fn save_state(&mut self, counters: Counters) {
        let state = StateView {
            counters,
            recent_returns: self.meters.score.recent(),
            params: &self.params,
            optimizer: self.optimizer.state(),
        };
        self.saved.save(state, self.rings.iter().map(Consumer::n_taken));
    }

    /// Hands the batch's slots back to their actors; returns the frames that were in them.
    fn release(&mut self) -> u64 {
        for slot in &self.taken {
            self.rings[slot.ring].release();
        }
        let n_frames = self.n_frames();
        self.taken.clear();
        self.clock.lap(Stage::Release);
        let (start_ns, end_ns) = (self.run.update_start_ns, self.clock.last_ns());
        self.run.overlap.add_update(Span { start_ns, end_ns });
        n_frames
    }

    /// Folds the update into the meters; sends a report when one is due.
    fn report(&mut self, n_frames: u64, update: &Update) -> Result<(), LearnerError> {
        let now_ns = self.clock.last_ns();
        self.status.frames.add(n_frames);
        self.status.updates.add(1);
        self.meters.count_stages(&self.clock.take());
        self.meters.count_update(n_frames, update);
        self.meters.note_if_solved(self.reward_threshold, now_ns);
        if self.meters.row_is_due() {
            self.meters.close_row(now_ns, self.frames_produced());
        }
        if let Some(report) = self.meters.due_report(now_ns) {
            self.sink.send(Message::Report(report))?;
        }
        self.clock.lap(Stage::Report);
        Ok(())
    }

    /// Sends what is left to say.
    fn finish(mut self, exit: Exit) -> Result<(), LearnerError> {
        let now_ns = monotonic_ns();
        self.save_state(self.meters.counters());
        self.meters.close_row(now_ns, self.frames_produced());
        let report = self.meters.take_report(now_ns);
        self.sink.send(Message::Report(report))?;
        let outcome = LearnerOutcome {
            exit,
            train_s: (now_ns - self.run.loop_start_ns) as f64 / 1e9,
            first_frame_ns: self.run.first_frame_ns,
            policy_lag: self.meters.lag_summary(),
            rho: self.meters.rho_summary(),
            collected_during_updates: self.run.overlap.share(),
            rollouts_dropped: self.run.n_dropped,
        };
        self.sink.send(Message::Finished(Box::new(outcome)))?;
        self.status.vitals.enter(Phase::Finished, monotonic_ns());
        Ok(())
    }

    /// Frames in the batch.
    fn n_frames(&self) -> u64 {
        self.taken.len() as u64 * self.frames_per_slot
    }

    /// Weight of the entropy bonus in the current update.
    fn entropy_cost(&self) -> f64 {
        self.config.loss.entropy_cost.at(self.meters.frames())
    }

    fn n_ready(&mut self) -> usize {
        n_ready(&mut self.rings)
    }

    fn frames_produced(&self) -> u64 {
        self.board.actors().iter().map(|actor| actor.frames.get()).sum()
    }
}

/// The consuming end of every ring, `consumed` slots of which have been learned from already.
fn rings_after<'seg>(
    segment: &'seg Segment,
    consumed: &[u64],
) -> Result<Vec<Consumer<'seg>>, SegmentError> {
    let ring = |(actor, &n_taken)| {
        let mut ring = segment.consumer(actor)?;
        ring.skip_to(n_taken);
        Ok(ring)
    };
    consumed.iter().enumerate().map(ring).collect()
}

/// Published slots that nobody has taken.
fn n_ready(rings: &mut [Consumer]) -> usize {
    rings.iter_mut().map(|ring| ring.n_ready() as usize).sum()
}

impl RunFigures {
    fn starting_at(now_ns: u64) -> Self {
        RunFigures {
            loop_start_ns: now_ns,
            first_frame_ns: None,
            n_dropped: 0,
            update_start_ns: now_ns,
            overlap: Overlap::default(),
        }
    }
}
