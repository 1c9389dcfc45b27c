//! The filling end of a ring: what an actor writes its rollouts with.
//!
//! Owns that a slot is lent only while it is the producer's, and what is stamped on it. Called by the actor.

use std::time::Duration;

#[cfg(feature = "faults")]
use super::checks;
use super::error::SegmentError;
use super::ring::RingProducer;
use super::roles::HeldRole;
use super::segment::Segment;
use crate::base::latency::monotonic_ns;
use crate::rollout::RolloutMut;

/// The filling end of one actor's ring.
pub struct Producer<'a> {
    segment: &'a Segment,
    actor: usize,
    generation: u64,
    ring: RingProducer<'a>,
    /// Whether it breaks the protocol, so that a storm can show that it notices.
    #[cfg(feature = "faults")]
    publishes_early: bool,
    _role: HeldRole<'a>,
}

impl Segment {
    /// The filling end of an actor's ring. `generation` goes into the header of what it publishes.
    ///
    /// # Errors
    /// [`SegmentError::RoleTaken`], [`SegmentError::Ring`].
    pub fn producer(&self, actor: usize, generation: u64) -> Result<Producer<'_>, SegmentError> {
        let role = self.roles().producer(actor)?;
        let ring = RingProducer::attach(
            self.ring_state(actor),
            self.layout().shape.slots_per_actor as u64,
        )
        .map_err(|source| SegmentError::Ring { actor, source })?;
        Ok(Producer {
            segment: self,
            actor,
            generation,
            ring,
            #[cfg(feature = "faults")]
            publishes_early: checks::publishes_early(),
            _role: role,
        })
    }
}

impl Producer<'_> {
    /// The free slot to fill next, or `None` while the ring is full. The same slot until it is published.
    pub fn try_claim(&mut self) -> Option<RolloutMut<'_>> {
        let index = self.ring.try_claim()?;
        Some(self.claimed(index))
    }

    /// The free slot to fill next; waits once, until the learner releases slots or `timeout` has passed.
    pub fn claim(&mut self, timeout: Duration) -> Option<RolloutMut<'_>> {
        let doorbell = self.segment.actor_doorbell(self.actor);
        let index = doorbell.wait_for(timeout, || self.ring.try_claim())?;
        Some(self.claimed(index))
    }

    /// Stamps the claimed slot's header with `policy_version`, generation, sequence and time, gives it to
    /// the learner and rings for it.
    ///
    /// # Panics
    /// If no slot is claimed.
    pub fn publish(&mut self, policy_version: u64) {
        let sequence = self.ring.claimed().expect("publish needs a claimed slot");
        // SAFETY: R2; the slot is claimed and not published, and `&mut self` says that the rollout lent
        // by `claim` has been given back.
        let header = unsafe { self.segment.slot(self.actor, sequence).header_mut() };
        header.policy_version = policy_version;
        header.generation = self.generation;
        header.sequence = sequence;
        header.published_ns = monotonic_ns();
        #[cfg(feature = "faults")]
        self.seal(sequence);
        self.ring.publish();
        self.segment.learner_doorbell().ring();
    }

    /// Leaves the sum of the claimed slot in its header.
    #[cfg(feature = "faults")]
    fn seal(&mut self, index: u64) {
        let slot = self.segment.slot(self.actor, index);
        // SAFETY: R2; as in `publish`. The reference to the content ends before the header is written.
        unsafe {
            let sum = checks::slot_sum(slot.header(), slot.content());
            slot.header_mut().checksum = sum;
        }
    }

    fn claimed(&mut self, index: u64) -> RolloutMut<'_> {
        #[cfg(feature = "faults")]
        if self.publishes_early {
            self.ring.publish_early();
        }
        // SAFETY: R2; the slot is free, M4 makes us the only producer, and the rollout borrows us
        // mutably: it ends before the slot is published or lent again.
        unsafe { self.segment.slot(self.actor, index).rollout_mut() }
    }
}
