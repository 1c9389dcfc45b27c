//! The segment: where its parts lie, as what they are.
//!
//! Owns the mapping and the layout together, and so the casts of all that is shared (invariants in
//! `shm/mod.rs`). Made once by the supervisor; what is done with the parts is their own files' affair.

use std::fs::File;

use rustix::mm::MprotectFlags;

use super::board::Board;
use super::cells::CellsRegion;
#[cfg(feature = "faults")]
use super::checks;
use super::doorbell::Doorbell;
use super::error::SegmentError;
use super::header::SegmentHeader;
use super::layout::{self, Layout, LayoutError, SegmentShape};
use super::memory::Memory;
use super::ring::RingState;
use super::roles::{Held, Roles};
use super::shared::Shared;
use super::slot::SlotPtr;
use super::state::{StateReader, StateWriter};
use super::weights::{WeightsReader, WeightsWriter};
use crate::base::span::Span;
use crate::rollout::RolloutShape;
use crate::state::LearnerState;
#[cfg(feature = "faults")]
use crate::telemetry::SelfChecks;

/// The memory that all processes of one run share.
///
/// Made once by the supervisor; forked children inherit it. Forking is where M4 is promised.
pub struct Segment {
    memory: Memory,
    layout: Layout,
    roles: Roles,
    /// A read-only descriptor of the memory, until [`Segment::take_view_file`].
    view_file: Option<File>,
}

// SAFETY: the memory may be freed by any thread, and is accessed through atomics (M3) or by the one
// holder of a role (M4), who owns the slots that R2 gives it.
unsafe impl Send for Segment {}
// SAFETY: as above.
unsafe impl Sync for Segment {}

impl Segment {
    /// A segment of this shape in shared memory, all of it present, already without a name.
    ///
    /// The name exists for some microseconds: from creation until the file has been opened a second
    /// time. Whatever dies later, nothing is left in the file system.
    ///
    /// # Errors
    /// [`SegmentError::Layout`], [`SegmentError::Create`], [`SegmentError::Open`],
    /// [`SegmentError::System`], and [`SegmentError::TooSmall`] instead of the SIGBUS that the first
    /// touch of a missing page would be.
    pub fn create(shape: &SegmentShape) -> Result<Segment, SegmentError> {
        let layout = Layout::new(shape)?;
        let shared = Memory::shared(layout.total_bytes);
        let (memory, view_file) = shared.map_err(|error| with_fitting_envs(error, shape))?;
        let mut segment = Segment::over(memory, layout);
        segment.view_file = Some(view_file);
        segment.write_header();
        segment.prefault()?;
        Ok(segment)
    }

    /// The same in private memory, where only threads of this process see it.
    ///
    /// # Errors
    /// [`SegmentError::Layout`].
    pub fn heap(shape: &SegmentShape) -> Result<Segment, SegmentError> {
        let layout = Layout::new(shape)?;
        let pages = std::alloc::Layout::from_size_align(layout.total_bytes, layout::PAGE_BYTES)
            .map_err(|_| LayoutError::TooLarge { shape: *shape })?;
        let segment = Segment::over(Memory::heap(pages), layout);
        segment.write_header();
        Ok(segment)
    }

    /// A segment of this layout in memory that may hold one already.
    pub(super) fn over(memory: Memory, layout: Layout) -> Segment {
        Segment { memory, layout, roles: Roles::new(layout.shape.n_actors), view_file: None }
    }

    fn write_header(&self) {
        self.header().write(&self.layout);
    }

    /// Makes all but the board as it was when the segment was made: after damage, for the supervisor,
    /// while no worker lives. The board's counters are totals over everything.
    pub fn reset(&self) {
        self.write_header();
        self.weights_region().state.reset();
        self.state_region().state.reset();
        (0..self.layout.shape.n_actors).for_each(|actor| self.ring_state(actor).reset());
    }

    /// The descriptor through which others of this user can look on (`/proc/<pid>/fd/<n>`), for the
    /// supervisor to keep and for its children to close: an open file keeps the pages when all mappings
    /// are gone. `None` when taken before, and for private memory.
    pub fn take_view_file(&mut self) -> Option<File> {
        self.view_file.take()
    }

    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// For a worker, before anything else: whether this is the segment that it believes it is.
    ///
    /// # Errors
    /// [`SegmentError::Header`].
    pub fn check_header(&self) -> Result<(), SegmentError> {
        self.header().check(&self.layout)
    }

    /// Makes every page present in this process, so that no page fault (0.25 µs) falls into a hot loop.
    /// For a worker before it says that it is ready, and before [`Segment::protect_for_actor`].
    ///
    /// # Errors
    /// [`SegmentError::System`].
    pub fn prefault(&self) -> Result<(), SegmentError> {
        self.memory.prefault(self.layout.total_bytes)
    }

    /// Contains wild writes of actor `actor`'s process, from now until it ends: header and weights become
    /// read-only, the learner's state and the rings of other actors inaccessible. Touching them is a
    /// SIGSEGV of this process alone.
    ///
    /// # Errors
    /// [`SegmentError::System`], e.g. where pages are larger than [`layout::PAGE_BYTES`].
    pub fn protect_for_actor(&self, actor: usize) -> Result<(), SegmentError> {
        let protect = |pages, access| self.memory.protect(pages, access);
        protect(self.layout.header, MprotectFlags::READ)?;
        protect(self.layout.weights(), MprotectFlags::READ)?;
        protect(self.layout.state(), MprotectFlags::empty())?;
        (0..self.layout.shape.n_actors)
            .filter(|&other| other != actor)
            .try_for_each(|other| protect(self.layout.ring_region(other), MprotectFlags::empty()))
    }

    /// The status board.
    pub fn board(&self) -> Board<'_> {
        let orders = self.layout.board.offset;
        let learner = orders + layout::STATUS_BYTES;
        let actors = learner + layout::STATUS_BYTES;
        Board {
            orders: self.shared(orders),
            learner: self.shared(learner),
            actors: self.shared_slice(actors, self.layout.shape.n_actors),
        }
    }

    /// Rung by the actors after publishing; the learner waits at it.
    pub fn learner_doorbell(&self) -> &Doorbell {
        self.shared(self.layout.learner_doorbell.offset)
    }

    /// Rung by the learner after releasing; this actor waits at it.
    pub fn actor_doorbell(&self, actor: usize) -> &Doorbell {
        self.shared(self.layout.ring_region(actor).offset + self.layout.ring.doorbell.offset)
    }

    /// What all self-checks have found. For the supervisor, when the learner has ended.
    #[cfg(feature = "faults")]
    pub fn self_checks(&self) -> SelfChecks {
        let rings = (0..self.layout.shape.n_actors).map(|actor| self.ring_state(actor).glance());
        checks::found(self.board(), rings.map(|(_, tail)| tail).sum())
    }

    /// The writer of the weights, with the role that makes it the only one.
    ///
    /// # Errors
    /// [`SegmentError::RoleTaken`].
    pub fn weights_writer(&self) -> Result<Held<'_, WeightsWriter<'_>>, SegmentError> {
        let role = self.roles.weights_writer()?;
        let writer = WeightsWriter::attach(self.weights_region(), self.layout.shape.n_params);
        Ok(Held::new(writer, role))
    }

    /// A reader of the weights.
    pub fn weights_reader(&self) -> WeightsReader<'_> {
        WeightsReader::attach(self.weights_region(), self.layout.shape.n_params)
    }

    /// The writer of the learner's state, with the role that makes it the only one.
    ///
    /// # Errors
    /// [`SegmentError::RoleTaken`].
    pub fn state_writer(&self) -> Result<Held<'_, StateWriter<'_>>, SegmentError> {
        let role = self.roles.state_writer()?;
        let writer = StateWriter::attach(self.state_region(), &self.layout.shape);
        Ok(Held::new(writer, role))
    }

    /// A reader of the learner's state.
    pub fn state_reader(&self) -> StateReader<'_> {
        StateReader::attach(self.state_region(), &self.layout.shape)
    }

    /// Makes `state` what learners and actors go on from: for the supervisor, while there is no learner.
    /// `consumed` says how many slots of each ring it is the result of.
    ///
    /// # Errors
    /// [`SegmentError::RoleTaken`].
    pub fn put_state(&self, state: &LearnerState, consumed: Vec<u64>) -> Result<(), SegmentError> {
        self.state_writer()?.save(state.as_view(), consumed);
        self.weights_writer()?.publish(state.counters.updates, &state.params);
        Ok(())
    }

    pub(super) fn roles(&self) -> &Roles {
        &self.roles
    }

    pub(super) fn header(&self) -> &SegmentHeader {
        self.shared(self.layout.header.offset)
    }

    pub(super) fn ring_state(&self, actor: usize) -> &RingState {
        self.shared(self.layout.ring_region(actor).offset + self.layout.ring.state.offset)
    }

    fn weights_region(&self) -> CellsRegion<'_> {
        self.cells(self.layout.weights_state, self.layout.weights_cells)
    }

    fn state_region(&self) -> CellsRegion<'_> {
        self.cells(self.layout.state_head, self.layout.state_cells)
    }

    fn cells(&self, state: Span, cells: [Span; 2]) -> CellsRegion<'_> {
        let words = |cell: Span| self.shared_slice(cell.offset, cell.n_bytes / size_of::<u64>());
        CellsRegion { state: self.shared(state.offset), cells: cells.map(words) }
    }

    pub(super) fn slot(&self, actor: usize, index: u64) -> SlotPtr<'_> {
        let base = self.at(self.layout.slot_offset(actor, index));
        // SAFETY: M2 puts a slot there; M1 keeps it as long as `self`.
        unsafe { SlotPtr::new(base, &self.layout.slot) }
    }

    fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset < self.layout.total_bytes);
        // SAFETY: M2; the offset comes from the layout and is inside the segment (M1).
        unsafe { self.memory.base().add(offset) }
    }

    fn shared<T: Shared>(&self, offset: usize) -> &T {
        &self.shared_slice(offset, 1)[0]
    }

    fn shared_slice<T: Shared>(&self, offset: usize, len: usize) -> &[T] {
        // SAFETY: M2 puts `len` aligned values here and nothing else on top of them; M3 lets us share
        // them whatever their bits; M1 keeps them as long as `self`.
        unsafe { std::slice::from_raw_parts(self.at(offset).cast(), len) }
    }
}

/// The same error with the number of environments that there is room for, where that is what was lacking.
fn with_fitting_envs(error: SegmentError, shape: &SegmentShape) -> SegmentError {
    let SegmentError::TooSmall { needed_bytes, free_bytes, .. } = error else { return error };
    let n_bytes = |n_envs| {
        let rollout = RolloutShape { n_envs, ..shape.rollout };
        Layout::new(&SegmentShape { rollout, ..*shape }).map(|layout| layout.total_bytes as u64)
    };
    let fits = |n_envs: &usize| n_bytes(*n_envs).is_ok_and(|n_bytes| n_bytes <= free_bytes);
    let fitting_envs = (1..shape.rollout.n_envs).rev().find(fits);
    SegmentError::TooSmall { needed_bytes, free_bytes, fitting_envs }
}
