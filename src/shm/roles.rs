//! Roles: who in this process is the producer of a ring, its consumer, the writer of weights or state.
//!
//! Owns that each has one holder at a time (invariant M4 in `shm/mod.rs`). Knows nothing of what a role
//! allows. A role is taken with the end that needs it, and given back when that is dropped.

use std::ops::{Deref, DerefMut};

use super::error::SegmentError;
use crate::base::sync::{AtomicBool, Ordering};

/// Which roles this process has handed out (M4).
pub struct Roles {
    weights_writer: AtomicBool,
    state_writer: AtomicBool,
    producers: Box<[AtomicBool]>,
    consumers: Box<[AtomicBool]>,
}

impl Roles {
    /// All of them free.
    pub fn new(n_actors: usize) -> Self {
        let free = || (0..n_actors).map(|_| AtomicBool::new(false)).collect();
        Roles {
            weights_writer: AtomicBool::new(false),
            state_writer: AtomicBool::new(false),
            producers: free(),
            consumers: free(),
        }
    }

    /// Takes the role of the weights' writer. This and the others: an error if somebody has it.
    pub fn weights_writer(&self) -> Result<HeldRole<'_>, SegmentError> {
        HeldRole::take(&self.weights_writer, "weights writer")
    }

    /// Takes the role of the state's writer.
    pub fn state_writer(&self) -> Result<HeldRole<'_>, SegmentError> {
        HeldRole::take(&self.state_writer, "state writer")
    }

    /// Takes the role of this ring's producer.
    pub fn producer(&self, actor: usize) -> Result<HeldRole<'_>, SegmentError> {
        HeldRole::take(&self.producers[actor], "producer")
    }

    /// Takes the role of this ring's consumer.
    pub fn consumer(&self, actor: usize) -> Result<HeldRole<'_>, SegmentError> {
        HeldRole::take(&self.consumers[actor], "consumer")
    }
}

/// A role that this process holds; given back when dropped.
pub struct HeldRole<'a> {
    is_taken: &'a AtomicBool,
}

impl<'a> HeldRole<'a> {
    fn take(is_taken: &'a AtomicBool, role: &'static str) -> Result<Self, SegmentError> {
        // SYNC: partner of the store in `drop`. What the last holder did, perhaps in another thread,
        // happened before all we do; relaxed, two holders could touch the same slot at once.
        if is_taken.swap(true, Ordering::Acquire) {
            return Err(SegmentError::RoleTaken { role });
        }
        Ok(HeldRole { is_taken })
    }
}

impl Drop for HeldRole<'_> {
    fn drop(&mut self) {
        // SYNC: partner of the swap in `take`.
        self.is_taken.store(false, Ordering::Release);
    }
}

/// An end with the role that makes it the only one in this process.
pub struct Held<'a, W> {
    end: W,
    _role: HeldRole<'a>,
}

impl<'a, W> Held<'a, W> {
    /// Keeps the role until the end is dropped.
    pub(super) fn new(end: W, role: HeldRole<'a>) -> Self {
        Held { end, _role: role }
    }
}

impl<W> Deref for Held<'_, W> {
    type Target = W;

    fn deref(&self) -> &W {
        &self.end
    }
}

impl<W> DerefMut for Held<'_, W> {
    fn deref_mut(&mut self) -> &mut W {
        &mut self.end
    }
}
