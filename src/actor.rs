//! The actor: the first of the two hot loops. Claims a free slot, reads the newest weights, collects
//! a rollout straight into the slot, publishes it.
//!
//! Owns one [`Collector`] and the filling end of one ring. Nothing in the loop allocates, locks or
//! logs. The kernel is asked for two things: to sleep while the ring is full, which is counted, and to
//! wake the learner where it sleeps. Called
//! by the supervisor in a forked process.

use std::time::Duration;

use crate::collector::{CollectTime, Collector};
use crate::config::{Config, ConfigError};
use crate::latency::monotonic_ns;
use crate::shm::board::{ActorStatus, Board, Phase};
use crate::shm::weights::WeightsReader;
use crate::shm::{Producer, Segment, SegmentError};

/// How long a blocked actor sleeps before it says that it lives and looks at the order to stop, even
/// if nobody rings.
const WAIT_TIMEOUT: Duration = Duration::from_millis(50);

/// Why an actor could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ActorError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The shared segment is damaged or of another layout.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

/// One actor process.
pub struct Actor<'seg> {
    board: Board<'seg>,
    status: &'seg ActorStatus,
    producer: Producer<'seg>,
    weights: WeightsReader<'seg>,
    collector: Collector,
    /// Version of the weights that the collector acts with.
    policy_version: u64,
}

impl<'seg> Actor<'seg> {
    /// The actor in place `index`, after `generation` others.
    ///
    /// # Errors
    /// If the configuration was not checked, or the segment is damaged.
    pub fn new(
        config: &Config,
        segment: &'seg Segment,
        index: usize,
        generation: u64,
    ) -> Result<Self, ActorError> {
        segment.check_header()?;
        let board = segment.board();
        let status = board.actor(index);
        status.vitals.start(std::process::id(), generation, monotonic_ns());
        segment.prefault()?;
        segment.protect_for_actor(index)?;
        Ok(Actor {
            board,
            status,
            producer: segment.producer(index, generation)?,
            weights: segment.weights_reader(),
            collector: Collector::new(config, index as u64, generation)?,
            policy_version: 0,
        })
    }

    /// Collects until the board says stop. The actor's hot loop.
    pub fn run(mut self) {
        while let Some(claim_wait_ns) = self.wait_for_slot() {
            let read_weights_ns = self.read_weights();
            let time = self.collect(claim_wait_ns, read_weights_ns);
            self.publish(time);
        }
        self.status.vitals.enter(Phase::Finished, monotonic_ns());
    }

    /// Claims a free slot; returns how long the ring was full, ns, or `None` when it is time to stop.
    fn wait_for_slot(&mut self) -> Option<u64> {
        if self.board.stop_ordered() {
            return None;
        }
        if self.producer.try_claim().is_some() {
            return Some(0);
        }
        let start_ns = monotonic_ns();
        self.status.n_waits.add(1);
        self.status.vitals.enter(Phase::Waiting, start_ns);
        let mut is_claimed = false;
        while !is_claimed && !self.board.stop_ordered() {
            is_claimed = self.producer.claim(WAIT_TIMEOUT).is_some();
            self.status.vitals.beat(monotonic_ns());
        }
        let waited_ns = monotonic_ns() - start_ns;
        self.status.claim_wait_ns.add(waited_ns);
        is_claimed.then_some(waited_ns)
    }

    /// Copies the newest weights; returns how long that took, ns. The slot is claimed first, so that
    /// nothing stands between the newest weights and their use.
    fn read_weights(&mut self) -> u64 {
        let start_ns = monotonic_ns();
        self.status.vitals.enter(Phase::Collecting, start_ns);
        let retries_before = self.weights.n_retries();
        if let Some(version) = self.weights.read_if_newer(self.collector.params_mut()) {
            self.policy_version = version;
        }
        self.status.weights_retries.add(self.weights.n_retries() - retries_before);
        let read_ns = monotonic_ns() - start_ns;
        self.status.read_weights_ns.add(read_ns);
        read_ns
    }

    /// Fills the claimed slot.
    fn collect(&mut self, claim_wait_ns: u64, read_weights_ns: u64) -> CollectTime {
        let mut rollout =
            self.producer.try_claim().expect("the slot stays ours until it is published");
        rollout.header.claimed_ns = self.status.vitals.heartbeat_ns.get();
        rollout.header.claim_wait_ns = claim_wait_ns;
        rollout.header.read_weights_ns = read_weights_ns;
        let time = self.collector.collect(&mut rollout);
        rollout.header.act_ns = time.act_ns;
        rollout.header.env_ns = time.env_ns;
        time
    }

    /// Hands the slot to the learner.
    fn publish(&mut self, time: CollectTime) {
        self.producer.publish(self.policy_version);
        self.status.rollouts.add(1);
        self.status.frames.add(self.collector.frames_per_rollout());
        self.status.act_ns.add(time.act_ns);
        self.status.env_ns.add(time.env_ns);
    }
}
