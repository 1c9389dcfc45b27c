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
use super::slot::SlotPtr;
use crate::base::clock::monotonic_ns;
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

impl<'seg> Producer<'seg> {
    /// The free slot to fill next, or `None` while the ring is full. The same slot until it is published.
    pub fn try_claim(&mut self) -> Option<ClaimedSlot<'_, 'seg>> {
        let index = self.ring.try_claim()?;
        Some(self.claimed(index))
    }

    /// The free slot to fill next; waits once, until the learner releases slots or `timeout` has passed.
    pub fn claim(&mut self, timeout: Duration) -> Option<ClaimedSlot<'_, 'seg>> {
        let doorbell = self.segment.actor_doorbell(self.actor);
        let index = doorbell.wait_for(timeout, || self.ring.try_claim())?;
        Some(self.claimed(index))
    }

    fn claimed(&mut self, index: u64) -> ClaimedSlot<'_, 'seg> {
        #[cfg(feature = "faults")]
        if self.publishes_early {
            self.ring.publish_early();
        }
        ClaimedSlot { producer: self, index }
    }
}

/// A slot between claim and publish. Dropped, it is not published: the next claim is of the same slot.
pub struct ClaimedSlot<'p, 'seg> {
    producer: &'p mut Producer<'seg>,
    index: u64,
}

impl ClaimedSlot<'_, '_> {
    /// What is in it, to be written.
    pub fn rollout(&mut self) -> RolloutMut<'_> {
        // SAFETY: R2; the slot is free until it is published, which takes `self` away. M4 makes its producer
        // the only one, which `self` borrows mutably, as the rollout borrows `self`: it is lent once at a time.
        unsafe { self.slot().rollout_mut() }
    }

    /// Stamps the slot's header with `policy_version`, generation, sequence and time, gives it to the
    /// learner and rings for it.
    pub fn publish(self, policy_version: u64) {
        // SAFETY: R2; the slot is still free, and the rollout lent by `rollout` has been given back.
        let header = unsafe { self.slot().header_mut() };
        header.policy_version = policy_version;
        header.generation = self.producer.generation;
        header.sequence = self.index;
        header.published_ns = monotonic_ns();
        #[cfg(feature = "faults")]
        self.seal();
        self.producer.ring.publish();
        self.producer.segment.learner_doorbell().ring();
    }

    /// Leaves the sum of the slot in its header.
    #[cfg(feature = "faults")]
    fn seal(&self) {
        let slot = self.slot();
        // SAFETY: R2; as in `publish`. The reference to the content ends before the header is written.
        unsafe {
            let sum = checks::slot_sum(slot.header(), slot.content());
            slot.header_mut().checksum = sum;
        }
    }

    fn slot(&self) -> SlotPtr<'_> {
        self.producer.segment.slot(self.producer.actor, self.index)
    }
}
