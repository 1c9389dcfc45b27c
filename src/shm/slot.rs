//! A slot's memory as the rollout in it.
//!
//! Owns the casts from bytes to fields (invariants M1 to M3 in `shm/mod.rs`). Whose turn it is to touch a slot
//! it does not know: each of its callers, `producer.rs` and `consumer.rs`, says why that is theirs (R2).

use bytemuck::Pod;

use super::layout::{Layout, Span};
use crate::rollout::{Rollout, RolloutHeader, RolloutMut, matrix, matrix_mut};

/// A slot's memory.
pub struct SlotPtr<'a> {
    base: *mut u8,
    layout: &'a Layout,
}

impl<'a> SlotPtr<'a> {
    /// # Safety
    /// A slot of this layout begins at `base` and exists during `'a`.
    pub unsafe fn new(base: *mut u8, layout: &'a Layout) -> Self {
        SlotPtr { base, layout }
    }

    /// # Safety
    /// Nobody writes the slot during `'a`, and `T` is the type for which `field` was placed.
    unsafe fn field<T: Pod>(&self, field: Span) -> &'a [T] {
        // SAFETY: M1, M2, M3; that nobody writes is the caller's promise.
        unsafe {
            std::slice::from_raw_parts(
                self.base.add(field.offset).cast(),
                field.n_bytes / size_of::<T>(),
            )
        }
    }

    /// # Safety
    /// Nobody else touches the slot during `'a`, each field is borrowed once, and `T` is the type for
    /// which `field` was placed.
    unsafe fn field_mut<T: Pod>(&self, field: Span) -> &'a mut [T] {
        let len = field.n_bytes / size_of::<T>();
        // SAFETY: M1, M2, M3; that we are alone is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(field.offset).cast(), len) }
    }

    /// # Safety
    /// Nobody writes the slot's header during `'a`.
    pub unsafe fn header(&self) -> &'a RolloutHeader {
        // SAFETY: the caller's promise; the type is that of `SlotLayout`.
        unsafe { &self.field(self.layout.slot.header)[0] }
    }

    /// # Safety
    /// Nobody writes the slot during `'a`.
    pub unsafe fn rollout(&self) -> Rollout<'a> {
        let (slot, shape) = (&self.layout.slot, &self.layout.shape.rollout);
        // SAFETY: the caller's promise; types are those of `SlotLayout`.
        unsafe {
            Rollout {
                header: self.header(),
                obs: matrix(self.field(slot.obs), shape.obs_dim, shape.n_obs_columns()),
                actions: self.field(slot.actions),
                rewards: self.field(slot.rewards),
                kinds: self.field(slot.kinds),
                behaviour_log_probs: matrix(
                    self.field(slot.behaviour_log_probs),
                    shape.n_actions,
                    shape.n_frames(),
                ),
                episode_returns: self.field(slot.episode_returns),
                episode_lengths: self.field(slot.episode_lengths),
            }
        }
    }

    /// # Safety
    /// Nobody else touches the slot during `'a`.
    pub unsafe fn rollout_mut(&self) -> RolloutMut<'a> {
        let (slot, shape) = (&self.layout.slot, &self.layout.shape.rollout);
        // SAFETY: the caller's promise; each field is borrowed once; types are those of `SlotLayout`.
        unsafe {
            RolloutMut {
                header: self.header_mut(),
                obs: matrix_mut(self.field_mut(slot.obs), shape.obs_dim, shape.n_obs_columns()),
                actions: self.field_mut(slot.actions),
                rewards: self.field_mut(slot.rewards),
                kinds: self.field_mut(slot.kinds),
                behaviour_log_probs: matrix_mut(
                    self.field_mut(slot.behaviour_log_probs),
                    shape.n_actions,
                    shape.n_frames(),
                ),
                episode_returns: self.field_mut(slot.episode_returns),
                episode_lengths: self.field_mut(slot.episode_lengths),
            }
        }
    }

    /// All bytes behind the header.
    ///
    /// # Safety
    /// Nobody writes the slot during `'a`.
    #[cfg(feature = "faults")]
    pub unsafe fn content(&self) -> &'a [u8] {
        let slot = &self.layout.slot;
        let offset = slot.header.end();
        // SAFETY: M1, M2, M3; the bytes between fields are zero. That nobody writes is the caller's promise.
        unsafe { self.field(Span { offset, n_bytes: slot.stride_bytes - offset }) }
    }

    /// # Safety
    /// Nobody else touches the slot's header during `'a`.
    pub unsafe fn header_mut(&self) -> &'a mut RolloutHeader {
        // SAFETY: the caller's promise; the type is that of `SlotLayout`.
        unsafe { &mut self.field_mut(self.layout.slot.header)[0] }
    }
}
