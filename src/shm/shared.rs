//! What lies in the segment outside of slots: types of which any bits are a value, for all processes at once.
//!
//! Owns the list of them (invariant M3 in `shm/mod.rs`), and that each has the size that the layout gives it.
//! Whoever audits the casts of `segment.rs` reads this list.

use super::board::{ActorStatus, LearnerStatus, Orders};
use super::cells::CellsState;
use super::doorbell::Doorbell;
use super::header::SegmentHeader;
use super::layout;
use super::ring::RingState;
use crate::base::sync::AtomicU64;

const _: () = {
    assert!(size_of::<SegmentHeader>() == layout::HEADER_BYTES);
    assert!(size_of::<Orders>() == layout::STATUS_BYTES);
    assert!(size_of::<LearnerStatus>() == layout::STATUS_BYTES);
    assert!(size_of::<ActorStatus>() == layout::STATUS_BYTES);
    assert!(size_of::<Doorbell>() == layout::DOORBELL_BYTES);
    assert!(size_of::<RingState>() == layout::RING_STATE_BYTES);
    assert!(size_of::<CellsState>() == layout::CELLS_STATE_BYTES);
};

/// Types that may lie in the segment outside of slots.
///
/// # Safety
/// Made of atomics only, so that any bits are a value and all processes may access it at once (M3).
pub unsafe trait Shared {}

// SAFETY: M3; one atomic word.
unsafe impl Shared for AtomicU64 {}
// SAFETY: M3; three atomic words.
unsafe impl Shared for SegmentHeader {}
// SAFETY: M3; words of `board.rs`, each a transparent atomic.
unsafe impl Shared for Orders {}
// SAFETY: M3; words of `board.rs`, each a transparent atomic.
unsafe impl Shared for LearnerStatus {}
// SAFETY: M3; words of `board.rs`, each a transparent atomic.
unsafe impl Shared for ActorStatus {}
// SAFETY: M3; one transparent atomic.
unsafe impl Shared for Doorbell {}
// SAFETY: M3; two atomic words.
unsafe impl Shared for RingState {}
// SAFETY: M3; five atomic words.
unsafe impl Shared for CellsState {}
