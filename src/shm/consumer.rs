//! The emptying end of a ring: what the learner reads rollouts with.
//!
//! Owns that a slot is read only between take and release, in whichever thread. Called by the learner's
//! intake.

use std::sync::Arc;

#[cfg(feature = "faults")]
use super::checks;
use super::error::SegmentError;
use super::ring::RingConsumer;
use super::roles::HeldRole;
use super::segment::Segment;
use crate::rollout::{Rollout, RolloutHeader};

/// The emptying end of one actor's ring.
pub struct Consumer<'a> {
    segment: &'a Segment,
    actor: usize,
    ring: RingConsumer<'a>,
    /// Shared with the slots taken, so that no other consumer comes before all of them are gone.
    role: Arc<HeldRole<'a>>,
}

impl Segment {
    /// The emptying end of an actor's ring.
    ///
    /// # Errors
    /// [`SegmentError::RoleTaken`], [`SegmentError::Ring`].
    pub fn consumer(&self, actor: usize) -> Result<Consumer<'_>, SegmentError> {
        let role = self.roles().consumer(actor)?;
        let ring = RingConsumer::attach(
            self.ring_state(actor),
            self.layout().shape.slots_per_actor as u64,
        )
        .map_err(|source| SegmentError::Ring { actor, source })?;
        Ok(Consumer { segment: self, actor, ring, role: Arc::new(role) })
    }
}

impl<'a> Consumer<'a> {
    /// Number of published slots that have not been taken.
    pub fn n_ready(&mut self) -> u64 {
        self.ring.n_ready()
    }

    /// Takes the oldest published slot, if there is one. Several may be taken before they are released.
    pub fn try_take(&mut self) -> Option<TakenSlot<'a>> {
        let index = self.ring.try_take()?;
        let (segment, actor, role) = (self.segment, self.actor, Arc::clone(&self.role));
        let slot = TakenSlot { segment, actor, index, _role: role };
        #[cfg(feature = "faults")]
        segment.board().learner().checks.on_take(slot.is_whole());
        Some(slot)
    }

    /// Takes and hands back slots until `n_taken` have been taken, by earlier consumers too: those that a
    /// predecessor had learned from but died before it could hand back.
    pub fn skip_to(&mut self, n_taken: u64) {
        while self.ring.n_taken() < n_taken
            && let Some(slot) = self.try_take()
        {
            self.release(slot);
        }
    }

    /// Hands a slot back to the actor, and rings for it. Slots go back in the order in which they were
    /// taken: one that is released before an older one waits for that.
    ///
    /// # Panics
    /// If the slot is of another ring.
    pub fn release(&mut self, slot: TakenSlot<'a>) {
        assert_eq!(slot.actor, self.actor, "a slot goes back to its own ring");
        if self.ring.release(slot.index) {
            self.segment.actor_doorbell(self.actor).ring();
        }
    }
}

/// A slot between take and release, for whichever thread of the process has it. Dropped, it is not handed
/// back: only a consumer attached later takes it again.
pub struct TakenSlot<'a> {
    segment: &'a Segment,
    actor: usize,
    index: u64,
    _role: Arc<HeldRole<'a>>,
}

impl TakenSlot<'_> {
    /// Whose rollout it holds.
    pub fn actor(&self) -> usize {
        self.actor
    }

    /// Its place in the ring's history: how many slots were published before it.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// What the actor says about the rollout in it.
    pub fn header(&self) -> &RolloutHeader {
        // SAFETY: as in `rollout`.
        unsafe { self.segment.slot(self.actor, self.index).header() }
    }

    /// What is in it.
    pub fn rollout(&self) -> Rollout<'_> {
        // SAFETY: R2; the slot is published and not released, because releasing takes `self` away, so
        // nobody writes it. M4: the role that `self` shares keeps other consumers from releasing it.
        unsafe { self.segment.slot(self.actor, self.index).rollout() }
    }

    /// Whether it holds what was sealed when this slot of the ring's history was published.
    #[cfg(feature = "faults")]
    pub fn is_whole(&self) -> bool {
        // SAFETY: as in `rollout`.
        let content = unsafe { self.segment.slot(self.actor, self.index).content() };
        let header = self.rollout().header;
        header.sequence == self.index && header.checksum == checks::slot_sum(header, content)
    }
}
