//! A slot's memory as the rollout in it.
//!
//! Owns the step from a pointer to bytes (invariants M1 to M3 in `shm/mod.rs`); what lies where in them is the
//! affair of `rollout/slot.rs`. Whose turn it is to touch a slot it does not know: each of its callers,
//! `producer.rs` and `consumer.rs`, says why that is theirs (R2).

use std::slice;

use crate::base::span::Span;
use crate::rollout::{Rollout, RolloutHeader, RolloutMut, SlotLayout};

/// A slot's memory.
pub struct SlotPtr<'a> {
    base: *mut u8,
    layout: &'a SlotLayout,
}

impl<'a> SlotPtr<'a> {
    /// # Safety
    /// A slot of this layout begins at `base` and exists during `'a`.
    pub unsafe fn new(base: *mut u8, layout: &'a SlotLayout) -> Self {
        SlotPtr { base, layout }
    }

    /// # Safety
    /// Nobody writes these bytes of the slot during `'a`.
    unsafe fn bytes(&self, span: Span) -> &'a [u8] {
        // SAFETY: M1, M2, M3; that nobody writes is the caller's promise.
        unsafe { slice::from_raw_parts(self.base.add(span.offset), span.n_bytes) }
    }

    /// # Safety
    /// Nobody else touches these bytes of the slot during `'a`.
    unsafe fn bytes_mut(&self, span: Span) -> &'a mut [u8] {
        // SAFETY: M1, M2, M3; that we are alone is the caller's promise.
        unsafe { slice::from_raw_parts_mut(self.base.add(span.offset), span.n_bytes) }
    }

    /// # Safety
    /// Nobody writes the slot's header during `'a`.
    pub unsafe fn header(&self) -> &'a RolloutHeader {
        // SAFETY: the caller's promise.
        bytemuck::from_bytes(unsafe { self.bytes(self.layout.header) })
    }

    /// # Safety
    /// Nobody else touches the slot's header during `'a`.
    pub unsafe fn header_mut(&self) -> &'a mut RolloutHeader {
        // SAFETY: the caller's promise.
        bytemuck::from_bytes_mut(unsafe { self.bytes_mut(self.layout.header) })
    }

    /// # Safety
    /// Nobody writes the slot during `'a`.
    pub unsafe fn rollout(&self) -> Rollout<'a> {
        // SAFETY: the caller's promise.
        Rollout::over(unsafe { self.bytes(self.whole()) }, self.layout)
    }

    /// # Safety
    /// Nobody else touches the slot during `'a`.
    pub unsafe fn rollout_mut(&self) -> RolloutMut<'a> {
        // SAFETY: the caller's promise.
        RolloutMut::over(unsafe { self.bytes_mut(self.whole()) }, self.layout)
    }

    /// All bytes behind the header; those between fields are zero.
    ///
    /// # Safety
    /// Nobody writes the slot during `'a`.
    #[cfg(feature = "faults")]
    pub unsafe fn content(&self) -> &'a [u8] {
        let offset = self.layout.header.end();
        // SAFETY: the caller's promise.
        unsafe { self.bytes(Span { offset, n_bytes: self.layout.stride_bytes - offset }) }
    }

    fn whole(&self) -> Span {
        Span { offset: 0, n_bytes: self.layout.stride_bytes }
    }
}
