//! The actor: the first of the two hot loops. Claims a free slot, reads the newest weights, collects
//! a rollout straight into the slot, publishes it.
//!
//! Owns one [`Collector`] and the filling end of one ring. Nothing in the loop allocates, locks or
//! logs. The kernel is asked to let others run, then to sleep, while the ring is full, which is counted; to wake
//! the learner where it sleeps; and for what environments outside cost. A rollout with a number that is none
//! is never published. Called by the supervisor in a forked process.

pub mod collector;
pub mod policy;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::base::clock::monotonic_ns;
use crate::base::faults::{self, Point};
use crate::base::units::number_of;
use crate::config::Config;
use crate::env::EnvError;
use crate::os::process::{leave_words, remark};
use crate::rollout::RolloutMut;
use crate::shm::board::{ActorStatus, Board, Phase};
use crate::shm::weights::WeightsReader;
use crate::shm::{ClaimedSlot, Producer, Segment, SegmentError};
use collector::{BadNumber, CollectTime, Collector, CollectorError};

/// How long a blocked actor sleeps before it says that it lives and looks at the order to stop, even
/// if nobody rings.
const WAIT_TIMEOUT: Duration = Duration::from_millis(50);

/// Why an actor could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ActorError {
    /// There is nothing to collect with.
    #[error(transparent)]
    Collector(#[from] CollectorError),
    /// An environment failed.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// The shared segment is damaged or of another layout.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// No rollout can be collected that has only numbers in it.
    #[error(
        "{} in a row had a NaN or infinite observation or reward: {last}; mend the environment, or bear more \
         with supervision.max_bad_rollouts", number_of(*n_in_a_row, "rollout")
    )]
    BadNumbers {
        /// Rollouts in a row.
        n_in_a_row: u64,
        /// The first one in the last of them.
        last: BadNumber,
    },
}

/// One actor process.
pub struct Actor<'seg> {
    producer: Producer<'seg>,
    player: Player<'seg>,
}

/// All that an actor works with besides its ring, so that it can be used while a slot of that is claimed.
struct Player<'seg> {
    index: usize,
    board: Board<'seg>,
    status: &'seg ActorStatus,
    weights: WeightsReader<'seg>,
    collector: Collector,
    /// Version of the weights that the collector acts with.
    policy_version: u64,
    /// Rollouts in a row with a bad number; so many end the process.
    n_bad_in_a_row: u64,
    max_bad_in_a_row: u64,
    /// Whether a bad number was told of: one is news, the others are counted.
    has_remarked: bool,
}

impl<'seg> Actor<'seg> {
    /// The actor in place `index`, whose seeds follow from `generation`; `None` where the order to stop came
    /// while its environments started.
    ///
    /// # Errors
    /// If the configuration was not checked, or the segment is damaged.
    pub fn new(
        config: &Config,
        segment: &'seg Segment,
        index: usize,
        generation: u64,
    ) -> Result<Option<Self>, ActorError> {
        segment.check_header()?;
        let board = segment.board();
        segment.prefault()?;
        segment.protect_for_actor(index)?;
        let producer = segment.producer(index, generation)?;
        let mut goes_on = || {
            board.actor(index).vitals.beat(monotonic_ns());
            !board.stop_ordered()
        };
        let collector = Collector::new_while(config, index as u64, generation, &mut goes_on)?;
        let Some(collector) = collector else { return Ok(None) };
        let player = Player {
            index,
            board,
            status: board.actor(index),
            weights: segment.weights_reader(),
            collector,
            policy_version: 0,
            n_bad_in_a_row: 0,
            max_bad_in_a_row: config.supervision.max_bad_rollouts,
            has_remarked: false,
        };
        Ok(Some(Actor { producer, player }))
    }

    /// Collects until the board says stop. The actor's hot loop.
    ///
    /// # Errors
    /// If rollout after rollout has numbers that are none, an environment fails, or the segment is damaged.
    pub fn run(self) -> Result<(), ActorError> {
        let Actor { mut producer, mut player } = self;
        while let Some((mut slot, claim_wait_ns)) = player.claim(&mut producer) {
            let read_weights_ns = player.read_weights()?;
            let mut rollout = slot.rollout();
            rollout.header.claim_wait_ns = claim_wait_ns;
            rollout.header.read_weights_ns = read_weights_ns;
            let Some(time) = player.collect(&mut rollout)? else { break };
            if player.is_sound(&rollout)? {
                player.publish(slot, time);
            }
        }
        player.status.vitals.enter(Phase::Finished, monotonic_ns());
        Ok(())
    }
}

impl Player<'_> {
    /// Claims a free slot; returns it and how long the ring was full, ns, or `None` when it is time to stop.
    fn claim<'p, 'seg>(
        &mut self,
        producer: &'p mut Producer<'seg>,
    ) -> Option<(ClaimedSlot<'p, 'seg>, u64)> {
        if self.board.stop_ordered() {
            return None;
        }
        let is_free = producer.try_claim().is_some();
        let claim_wait_ns = if is_free { 0 } else { self.wait_for_slot(producer)? };
        // The same slot again: it stays ours until it is published.
        Some((producer.try_claim()?, claim_wait_ns))
    }

    /// Waits while the ring is full; returns how long, ns, or `None` when it is time to stop.
    fn wait_for_slot(&mut self, producer: &mut Producer) -> Option<u64> {
        let start_ns = monotonic_ns();
        self.status.n_waits.add(1);
        self.status.vitals.enter(Phase::Waiting, start_ns);
        let mut is_claimed = false;
        while !is_claimed && !self.board.stop_ordered() {
            is_claimed = producer.claim(WAIT_TIMEOUT).is_some();
            self.status.vitals.beat(monotonic_ns());
        }
        let waited_ns = monotonic_ns() - start_ns;
        self.status.claim_wait_ns.add(waited_ns);
        is_claimed.then_some(waited_ns)
    }

    /// Copies the newest weights; returns how long that took, ns. The slot is claimed first, so that
    /// nothing stands between the newest weights and their use.
    fn read_weights(&mut self) -> Result<u64, ActorError> {
        let start_ns = monotonic_ns();
        self.status.vitals.enter(Phase::Collecting, start_ns);
        let retries_before = self.weights.n_retries();
        let read = self.weights.read_if_newer(self.collector.params_mut());
        if let Some(version) = read.map_err(SegmentError::from)? {
            self.policy_version = version;
            #[cfg(feature = "faults")]
            {
                let is_torn = self.weights.is_torn(self.collector.params_mut());
                self.status.checks.on_read(version, is_torn);
            }
        }
        self.status.weights_retries.add(self.weights.n_retries() - retries_before);
        let read_ns = monotonic_ns() - start_ns;
        self.status.read_weights_ns.add(read_ns);
        Ok(read_ns)
    }

    /// Fills the claimed slot, with a sign of life after each step, because an environment may take long;
    /// `None` when it is time to stop.
    fn collect(&mut self, rollout: &mut RolloutMut) -> Result<Option<CollectTime>, EnvError> {
        rollout.header.claimed_ns = self.status.vitals.heartbeat_ns.get();
        let (board, vitals) = (self.board, &self.status.vitals);
        let goes_on = |now_ns| {
            vitals.beat(now_ns);
            !board.stop_ordered()
        };
        // Only to say whose fault it is: the process ends all the same.
        let collected =
            catch_unwind(AssertUnwindSafe(|| self.collector.collect_while(rollout, goes_on)));
        let time = collected.unwrap_or_else(|panic| {
            if let Some((env, seed)) = self.collector.env_at_work() {
                leave_words(&format!("actor {}: in environment {env} (seed {seed})", self.index));
            }
            resume_unwind(panic)
        })?;
        if let Some(CollectTime { act_ns, env_ns }) = time {
            (rollout.header.act_ns, rollout.header.env_ns) = (act_ns, env_ns);
        }
        Ok(time)
    }

    /// Whether all numbers in the slot are some. If not it is counted and will be filled anew, by
    /// environments of which those at fault have begun new episodes.
    fn is_sound(&mut self, rollout: &RolloutMut) -> Result<bool, ActorError> {
        let Some(bad) = self.collector.mend(rollout)? else {
            self.n_bad_in_a_row = 0;
            return Ok(true);
        };
        self.status.bad_rollouts.add(1);
        self.n_bad_in_a_row += 1;
        if self.n_bad_in_a_row >= self.max_bad_in_a_row {
            return Err(ActorError::BadNumbers { n_in_a_row: self.n_bad_in_a_row, last: bad });
        }
        if !std::mem::replace(&mut self.has_remarked, true) {
            let actor = self.index;
            remark(&format!(
                "actor {actor}: {bad}; the rollout is dropped and the environment reset, further ones are \
                 counted"
            ));
        }
        Ok(false)
    }

    /// Hands the slot to the learner.
    fn publish(&self, slot: ClaimedSlot, time: CollectTime) {
        faults::reach(Point::BeforePublish);
        slot.publish(self.policy_version);
        self.status.rollouts.add(1);
        self.status.frames.add(self.collector.frames_per_rollout());
        self.status.act_ns.add(time.act_ns);
        self.status.env_ns.add(time.env_ns);
    }
}
