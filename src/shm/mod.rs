//! The shared segment: the only place that maps memory and casts bytes.
//!
//! Owns: [`Segment`], its mapping, and the typed ends that it hands out. Knows nothing of processes: who
//! forks and who restarts is the supervisor's affair. Called by the supervisor (creates it, reads the
//! board and the learner's state), the actors (a [`Producer`], a [`WeightsReader`]) and the learner (a
//! [`Consumer`] an actor, the [`WeightsWriter`], the [`StateWriter`]).
//!
//! ```text
//!  page                                        written by                readable by
//! ┌─────────┬───────────────────────────────┐
//! │ header  │ magic · bytes · layout's hash │  supervisor, before forks   all
//! ├─────────┼───────────────────────────────┤
//! │ board   │ orders                        │  supervisor                 all
//! │         │ learner: vitals, counters     │  learner                    all
//! │         │ actor 0 … actor N-1           │  actor k its own            all
//! │         │ learner's doorbell            │  learner, actors            both
//! ├─────────┼───────────────────────────────┤
//! │ weights │ cell in use                   │  learner                    actors
//! │         │ cell 0: sequence, version     │
//! │         │ cell 1: sequence, version     │
//! │         │ cell 0: parameters            │
//! │         │ cell 1: parameters            │
//! ├─────────┼───────────────────────────────┤
//! │ state   │ as the weights, of all that   │  learner                    supervisor,
//! │         │ learning goes on from         │                             next learner
//! ├─────────┼───────────────────────────────┤
//! │ ring 0  │ head                          │  actor 0                    learner
//! │         │ tail                          │  learner                    actor 0
//! │         │ actor's doorbell              │  learner, actor 0           both
//! │         │ slot 0: header, obs, actions, │  actor 0 while it is        learner while
//! │         │   rewards, kinds, log μ,      │  unpublished                it is published
//! │         │   episode returns and lengths │
//! │         │ slot 1 …                      │
//! ├─────────┼───────────────────────────────┤
//! │ ring 1… │                               │
//! └─────────┴───────────────────────────────┘
//! ```
//!
//! # Invariants
//! SAFETY comments cite them by number.
//!
//! Memory
//! - **M1** The segment is `layout.total_bytes` of zeroed, page-aligned memory that lives as long as its
//!   `Segment` and, being unlinked before the first fork, has no name by which a stranger could find it.
//!   Who may trace the supervisor, that is its user, can look on through a descriptor that it keeps
//!   (`view`): such a mapping is read-only, and its header is checked like anyone's.
//! - **M2** What [`Layout`] places is inside the segment, aligned for its type, and overlaps nothing else
//!   (property-tested).
//! - **M3** All but the slots is accessed through atomics only, and any bits are a value of them. Slots
//!   hold plain numbers, of which the same is true.
//! - **M4** A role (producer of ring k, consumer of ring k, writer of the weights, writer of the state) has
//!   at most one holder. Inside a process the `Segment` sees to it. Between processes whoever forks does:
//!   a worker takes only its own roles, the supervisor takes the two writers' only while no learner
//!   lives, and a replacement is forked after its predecessor was reaped.
//!
//! Ring
//! - **R1** Only the producer writes head; only the consumer writes tail.
//! - **R2** Slot `i` belongs to the consumer while `tail ≤ i < head`, and to the producer while
//!   `head ≤ i < tail + n_slots`. Nobody touches a slot that is not his.
//! - **R3** A slot passes to the other side with one release store, after the last access to it.
//! - **R4** Indices never go back and never wrap; a replacement continues from those in the segment.
//! - **R5** `0 ≤ head − tail ≤ n_slots`; checked by each side before it trusts them.
//!
//! Weights, and the learner's state likewise
//! - **W1** Only the writer writes them.
//! - **W2** The cell in use is never written to: the other one is filled, then the index is flipped.
//! - **W3** A cell's sequence is odd from before its first word is written until after its last one; every
//!   write has numbers of its own, also after a writer died in the middle.
//! - **W4** The published version never goes back.
//! - **W5** The state of an update is whole before the weights of that update are published: what an actor
//!   has acted with is never ahead of what a replaced learner goes on from.
//!
//! Board
//! - **B1** Every word has one writing process.
//! - **B2** No word publishes another one: all accesses are relaxed.
//! - **B3** Counters are totals over all generations.
//!
//! Doorbells
//! - **D1** A doorbell carries no data: a lost or needless ring costs time, never correctness. Its word
//!   is the only one with several writers.

pub mod board;
#[cfg(feature = "faults")]
pub mod checks;
pub mod doorbell;
pub mod layout;
pub mod ring;
pub mod state;
pub mod view;
pub mod weights;

use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error};
use std::fs::{File, OpenOptions};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use bytemuck::Pod;
use nix::errno::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use shared_memory::{Shmem, ShmemConf, ShmemError};

use crate::latency::monotonic_ns;
use crate::rollout::{Rollout, RolloutHeader, RolloutMut, matrix, matrix_mut};
use crate::state::LearnerState;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use board::{ActorStatus, Board, LearnerStatus, Orders};
use doorbell::Doorbell;
use layout::{Layout, LayoutError, SegmentShape, Span};
use ring::{CorruptRing, RingConsumer, RingProducer, RingState};
use state::{StateReader, StateWriter};
use weights::{WeightsReader, WeightsRegion, WeightsState, WeightsWriter};

/// "IMPALA-1" in ASCII.
const MAGIC: u64 = u64::from_be_bytes(*b"IMPALA-1");

/// Where the C library keeps named shared memory.
const SHM_DIR: &str = "/dev/shm";

const _: () = {
    assert!(size_of::<SegmentHeader>() == layout::HEADER_BYTES);
    assert!(size_of::<Orders>() == layout::STATUS_BYTES);
    assert!(size_of::<LearnerStatus>() == layout::STATUS_BYTES);
    assert!(size_of::<ActorStatus>() == layout::STATUS_BYTES);
    assert!(size_of::<Doorbell>() == layout::DOORBELL_BYTES);
    assert!(size_of::<RingState>() == layout::RING_STATE_BYTES);
    assert!(size_of::<WeightsState>() == layout::WEIGHTS_STATE_BYTES);
};

/// What can go wrong with a segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The shape has no layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The operating system made no shared memory.
    #[error(
        "cannot create shared memory: {0}; check that {SHM_DIR} exists and is writable, and that \
         `ulimit -f` allows files of its size"
    )]
    Create(#[from] ShmemError),
    /// The file of the shared memory could not be opened.
    #[error("cannot open {path}: {source}; check that {SHM_DIR} is where shared memory is mounted")]
    Open {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// There is less shared memory than the segment needs.
    #[error(
        "{SHM_DIR} is too small: the segment needs {needed_bytes} bytes, {free_bytes} are free; enlarge it \
         (`mount -o remount,size=1G {SHM_DIR}`, or `--shm-size` of a container) or choose fewer actors, \
         slots, environments or a shorter unroll"
    )]
    TooSmall {
        /// Size of the segment.
        needed_bytes: usize,
        /// What was free just after the attempt.
        free_bytes: u64,
    },
    /// A system call failed for another reason.
    #[error("{call} failed on the shared segment: {errno}")]
    System {
        /// The system call.
        call: &'static str,
        /// Its error.
        errno: Errno,
    },
    /// The segment's header is not the one that this build writes for this shape.
    #[error(
        "segment header: {field} is {found:#x}, expected {expected:#x}; all processes must run the same build"
    )]
    Header {
        /// Which word.
        field: &'static str,
        /// What it is.
        found: u64,
        /// What it should be.
        expected: u64,
    },
    /// A ring's indices are impossible.
    #[error("actor {actor}: {source}")]
    Ring {
        /// Whose ring.
        actor: usize,
        /// What they are.
        source: CorruptRing,
    },
    /// This process holds the role already.
    #[error("this process already holds the role of {role}; drop the other holder first")]
    RoleTaken {
        /// Which role.
        role: &'static str,
    },
}

fn system_error(call: &'static str) -> impl Fn(rustix::io::Errno) -> SegmentError {
    move |errno| SegmentError::System { call, errno: Errno::from_raw(errno.raw_os_error()) }
}

/// Types that may lie in the segment outside of slots.
///
/// # Safety
/// Made of atomics only, so that any bits are a value and all processes may access it at once (M3).
unsafe trait Shared {}

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
unsafe impl Shared for WeightsState {}

/// First words of the segment, by which a process knows what it is looking at. Written once, before the
/// first fork.
#[repr(C, align(128))]
struct SegmentHeader {
    magic: AtomicU64,
    total_bytes: AtomicU64,
    layout_hash: AtomicU64,
}

impl SegmentHeader {
    fn words(&self) -> [(&'static str, &AtomicU64); 3] {
        [
            ("magic", &self.magic),
            ("total_bytes", &self.total_bytes),
            ("layout_hash", &self.layout_hash),
        ]
    }

    /// What the words should be, in the same order.
    fn expected(layout: &Layout) -> [u64; 3] {
        [MAGIC, layout.total_bytes as u64, layout.hash()]
    }
}

/// The memory under a segment; frees it when dropped.
enum Memory {
    /// Shared with all processes forked from here.
    Mapped(Shmem),
    /// Private to this process, for tests and for Miri, which has no shared mappings.
    Heap(HeapPages),
    /// Another process's, without the right to write. Only a [`view::SegmentView`] has such memory.
    Viewed(ViewedPages),
}

impl Memory {
    fn base(&self) -> *mut u8 {
        match self {
            Memory::Mapped(shmem) => shmem.as_ptr(),
            Memory::Heap(pages) => pages.base.as_ptr(),
            Memory::Viewed(pages) => pages.base.as_ptr(),
        }
    }
}

/// Zeroed, page-aligned memory of one process.
struct HeapPages {
    base: NonNull<u8>,
    layout: std::alloc::Layout,
}

impl HeapPages {
    fn new(layout: std::alloc::Layout) -> Self {
        assert!(layout.size() > 0);
        // SAFETY: the size is not zero.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        HeapPages { base, layout }
    }
}

impl Drop for HeapPages {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed only here.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

/// A read-only mapping of a segment's file.
struct ViewedPages {
    base: NonNull<u8>,
    n_bytes: usize,
}

impl ViewedPages {
    fn map(file: &File, n_bytes: usize) -> Result<Self, SegmentError> {
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe {
            let flags = MapFlags::SHARED;
            rustix::mm::mmap(std::ptr::null_mut(), n_bytes, ProtFlags::READ, flags, file, 0)
        };
        let base = base.map_err(system_error("mmap"))?;
        let base = NonNull::new(base.cast()).expect("the kernel maps nothing at address 0");
        Ok(ViewedPages { base, n_bytes })
    }
}

impl Drop for ViewedPages {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length, and unmapped only here. A failure could only mean
        // that it is not mapped.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.n_bytes) };
    }
}

/// Which roles this process has handed out (M4).
struct Roles {
    weights_writer: AtomicBool,
    state_writer: AtomicBool,
    producers: Box<[AtomicBool]>,
    consumers: Box<[AtomicBool]>,
}

impl Roles {
    fn new(n_actors: usize) -> Self {
        let free = || (0..n_actors).map(|_| AtomicBool::new(false)).collect();
        Roles {
            weights_writer: AtomicBool::new(false),
            state_writer: AtomicBool::new(false),
            producers: free(),
            consumers: free(),
        }
    }
}

/// A role that this process holds; given back when dropped.
struct HeldRole<'a> {
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
        let mut shmem = ShmemConf::new().size(layout.total_bytes).create()?;
        let (file, view_file) = open_and_unlink(&mut shmem)?;
        reserve(&file, layout.total_bytes)?;
        let mut segment = Segment::over(Memory::Mapped(shmem), layout);
        segment.view_file = Some(view_file);
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
        Ok(Segment::over(Memory::Heap(HeapPages::new(pages)), layout))
    }

    /// Writes the header of fresh memory.
    fn over(memory: Memory, layout: Layout) -> Segment {
        let roles = Roles::new(layout.shape.n_actors);
        let segment = Segment { memory, layout, roles, view_file: None };
        segment.write_header();
        segment
    }

    fn write_header(&self) {
        for ((_, word), value) in
            self.header().words().into_iter().zip(SegmentHeader::expected(&self.layout))
        {
            // Relaxed: no other process exists; forking orders this before all they do.
            word.store(value, Ordering::Relaxed);
        }
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
        for ((field, word), expected) in
            self.header().words().into_iter().zip(SegmentHeader::expected(&self.layout))
        {
            let found = word.load(Ordering::Relaxed);
            if found != expected {
                return Err(SegmentError::Header { field, found, expected });
            }
        }
        Ok(())
    }

    /// Makes every page present in this process, so that no page fault (0.25 µs) falls into a hot loop.
    /// For a worker before it says that it is ready, and before [`Segment::protect_for_actor`].
    ///
    /// # Errors
    /// [`SegmentError::System`].
    pub fn prefault(&self) -> Result<(), SegmentError> {
        let Memory::Mapped(_) = self.memory else { return Ok(()) };
        let base = self.memory.base();
        // SAFETY: M1; this is our mapping from end to end, and populating it changes no byte of it.
        let populated = unsafe {
            rustix::mm::madvise(base.cast(), self.layout.total_bytes, Advice::LinuxPopulateWrite)
        };
        match populated {
            // A kernel before 5.14 does not know the advice: pages then come at the first touch, which
            // cannot fail because they have been reserved.
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
            Err(errno) => Err(system_error("madvise")(errno)),
        }
    }

    /// Contains wild writes of actor `actor`'s process, from now until it ends: header and weights become
    /// read-only, the learner's state and the rings of other actors inaccessible. Touching them is a
    /// SIGSEGV of this process alone.
    ///
    /// # Errors
    /// [`SegmentError::System`], e.g. where pages are larger than [`layout::PAGE_BYTES`].
    pub fn protect_for_actor(&self, actor: usize) -> Result<(), SegmentError> {
        self.protect(self.layout.header, MprotectFlags::READ)?;
        self.protect(self.layout.weights(), MprotectFlags::READ)?;
        self.protect(self.layout.state(), MprotectFlags::empty())?;
        (0..self.layout.shape.n_actors).filter(|&other| other != actor).try_for_each(|other| {
            self.protect(self.layout.ring_region(other), MprotectFlags::empty())
        })
    }

    fn protect(&self, pages: Span, access: MprotectFlags) -> Result<(), SegmentError> {
        // SAFETY: M1, M2; the pages are ours. Taking access away cannot break memory safety: whoever
        // still has a reference into them is ended by the kernel.
        unsafe { rustix::mm::mprotect(self.at(pages.offset).cast(), pages.n_bytes, access) }
            .map_err(system_error("mprotect"))
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

    /// Rung by the actors after publishing; the learner sleeps on it.
    pub fn learner_doorbell(&self) -> &Doorbell {
        self.shared(self.layout.learner_doorbell.offset)
    }

    /// Rung by the learner after releasing; this actor sleeps on it.
    pub fn actor_doorbell(&self, actor: usize) -> &Doorbell {
        self.shared(self.layout.ring_region(actor).offset + self.layout.ring.doorbell.offset)
    }

    /// The writer of the weights, with the role that makes it the only one.
    ///
    /// # Errors
    /// [`SegmentError::RoleTaken`].
    pub fn weights_writer(&self) -> Result<SegmentWeightsWriter<'_>, SegmentError> {
        let role = HeldRole::take(&self.roles.weights_writer, "weights writer")?;
        let writer = WeightsWriter::attach(self.weights_region(), self.layout.shape.n_params);
        Ok(SegmentWeightsWriter { writer, _role: role })
    }

    /// A reader of the weights.
    pub fn weights_reader(&self) -> WeightsReader<'_> {
        WeightsReader::attach(self.weights_region(), self.layout.shape.n_params)
    }

    /// The writer of the learner's state, with the role that makes it the only one.
    ///
    /// # Errors
    /// [`SegmentError::RoleTaken`].
    pub fn state_writer(&self) -> Result<SegmentStateWriter<'_>, SegmentError> {
        let role = HeldRole::take(&self.roles.state_writer, "state writer")?;
        let writer = StateWriter::attach(self.state_region(), &self.layout.shape);
        Ok(SegmentStateWriter { writer, _role: role })
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

    /// The filling end of an actor's ring. `generation` goes into the header of what it publishes.
    ///
    /// # Errors
    /// [`SegmentError::RoleTaken`], [`SegmentError::Ring`].
    pub fn producer(&self, actor: usize, generation: u64) -> Result<Producer<'_>, SegmentError> {
        let role = HeldRole::take(&self.roles.producers[actor], "producer")?;
        let ring =
            RingProducer::attach(self.ring_state(actor), self.layout.shape.slots_per_actor as u64)
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

    /// The emptying end of an actor's ring.
    ///
    /// # Errors
    /// [`SegmentError::RoleTaken`], [`SegmentError::Ring`].
    pub fn consumer(&self, actor: usize) -> Result<Consumer<'_>, SegmentError> {
        let role = HeldRole::take(&self.roles.consumers[actor], "consumer")?;
        let ring =
            RingConsumer::attach(self.ring_state(actor), self.layout.shape.slots_per_actor as u64)
                .map_err(|source| SegmentError::Ring { actor, source })?;
        Ok(Consumer { segment: self, actor, ring, role: Arc::new(role) })
    }

    fn header(&self) -> &SegmentHeader {
        self.shared(self.layout.header.offset)
    }

    fn ring_state(&self, actor: usize) -> &RingState {
        self.shared(self.layout.ring_region(actor).offset + self.layout.ring.state.offset)
    }

    fn weights_region(&self) -> WeightsRegion<'_> {
        let n_words = weights::n_words(self.layout.shape.n_params);
        WeightsRegion {
            state: self.shared(self.layout.weights_state.offset),
            cells: self.layout.weights_cells.map(|cell| self.shared_slice(cell.offset, n_words)),
        }
    }

    fn state_region(&self) -> WeightsRegion<'_> {
        let [first, _] = self.layout.state_cells;
        let n_words = first.n_bytes / size_of::<u64>();
        WeightsRegion {
            state: self.shared(self.layout.state_head.offset),
            cells: self.layout.state_cells.map(|cell| self.shared_slice(cell.offset, n_words)),
        }
    }

    fn slot(&self, actor: usize, index: u64) -> SlotPtr<'_> {
        SlotPtr { base: self.at(self.layout.slot_offset(actor, index)), layout: &self.layout }
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

/// Takes the name away from fresh shared memory; returns a file of it for [`reserve`] to work on, and
/// one that can only be read.
fn open_and_unlink(shmem: &mut Shmem) -> Result<(File, File), SegmentError> {
    let name = shmem.get_os_id().to_owned();
    let path = format!("{SHM_DIR}{name}");
    let open = |options: &mut OpenOptions| {
        let file = options.read(true).open(&path);
        file.map_err(|source| SegmentError::Open { path: path.clone(), source })
    };
    // While it owns the name, a dropped `Shmem` unlinks it; forked children must not even try.
    let files = (open(File::options().write(true))?, open(&mut File::options())?);
    nix::sys::mman::shm_unlink(name.as_str())
        .map_err(|errno| SegmentError::System { call: "shm_unlink", errno })?;
    shmem.set_owner(false);
    Ok(files)
}

/// Reserves memory for the whole file.
fn reserve(file: &File, needed_bytes: usize) -> Result<(), SegmentError> {
    loop {
        match nix::fcntl::posix_fallocate(file, 0, needed_bytes as i64) {
            Ok(()) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::ENOSPC) => {
                let space = nix::sys::statvfs::fstatvfs(file);
                let free_bytes =
                    space.map_or(0, |space| space.blocks_available() * space.fragment_size());
                return Err(SegmentError::TooSmall { needed_bytes, free_bytes });
            }
            Err(errno) => return Err(SegmentError::System { call: "posix_fallocate", errno }),
        }
    }
}

/// A slot's memory.
struct SlotPtr<'a> {
    base: *mut u8,
    layout: &'a Layout,
}

impl<'a> SlotPtr<'a> {
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
    /// Nobody writes the slot during `'a`.
    unsafe fn rollout(&self) -> Rollout<'a> {
        let (slot, shape) = (&self.layout.slot, &self.layout.shape.rollout);
        // SAFETY: the caller's promise; types are those of `SlotLayout`.
        unsafe {
            Rollout {
                header: &self.field(slot.header)[0],
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
    unsafe fn rollout_mut(&self) -> RolloutMut<'a> {
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
    unsafe fn content(&self) -> &'a [u8] {
        let slot = &self.layout.slot;
        let offset = slot.header.end();
        // SAFETY: M1, M2, M3; the bytes between fields are zero. That nobody writes is the caller's promise.
        unsafe { self.field(Span { offset, n_bytes: slot.stride_bytes - offset }) }
    }

    /// # Safety
    /// Nobody else touches the slot's header during `'a`.
    unsafe fn header_mut(&self) -> &'a mut RolloutHeader {
        // SAFETY: the caller's promise; the type is that of `SlotLayout`.
        unsafe { &mut self.field_mut(self.layout.slot.header)[0] }
    }
}

/// The writer of the weights in this process; see [`WeightsWriter`], to which it derefs.
pub struct SegmentWeightsWriter<'a> {
    writer: WeightsWriter<'a>,
    _role: HeldRole<'a>,
}

impl<'a> std::ops::Deref for SegmentWeightsWriter<'a> {
    type Target = WeightsWriter<'a>;

    fn deref(&self) -> &Self::Target {
        &self.writer
    }
}

impl std::ops::DerefMut for SegmentWeightsWriter<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.writer
    }
}

/// The writer of the learner's state in this process; see [`StateWriter`], to which it derefs.
pub struct SegmentStateWriter<'a> {
    writer: StateWriter<'a>,
    _role: HeldRole<'a>,
}

impl<'a> std::ops::Deref for SegmentStateWriter<'a> {
    type Target = StateWriter<'a>;

    fn deref(&self) -> &Self::Target {
        &self.writer
    }
}

impl std::ops::DerefMut for SegmentStateWriter<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.writer
    }
}

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

impl Producer<'_> {
    /// The free slot to fill next, or `None` while the ring is full. The same slot until it is published.
    pub fn try_claim(&mut self) -> Option<RolloutMut<'_>> {
        let index = self.ring.try_claim()?;
        Some(self.claimed(index))
    }

    /// The free slot to fill next; sleeps once until the learner releases slots or `timeout` has passed.
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
            let sum = checks::slot_sum(&slot.field(slot.layout.slot.header)[0], slot.content());
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

/// The emptying end of one actor's ring.
pub struct Consumer<'a> {
    segment: &'a Segment,
    actor: usize,
    ring: RingConsumer<'a>,
    /// Shared with the slots taken, so that no other consumer comes before all of them are gone.
    role: Arc<HeldRole<'a>>,
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
        segment.board().learner().checks.on_take(&slot);
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

    /// What is in it.
    pub fn rollout(&self) -> Rollout<'_> {
        // SAFETY: R2; the slot is published and not released, because releasing takes `self` away, so
        // nobody writes it. M4: the role that `self` shares keeps other consumers from releasing it.
        unsafe { self.segment.slot(self.actor, self.index).rollout() }
    }

    /// Whether it holds what was sealed when this slot of the ring's history was published.
    #[cfg(feature = "faults")]
    fn is_whole(&self) -> bool {
        // SAFETY: as in `rollout`.
        let content = unsafe { self.segment.slot(self.actor, self.index).content() };
        let header = self.rollout().header;
        header.sequence == self.index && header.checksum == checks::slot_sum(header, content)
    }
}

#[cfg(test)]
mod tests;
