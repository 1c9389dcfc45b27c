//! Another process's segment, seen read-only by one who did not inherit it.
//!
//! Owns: the way in, and plain copies of what the board and the rings say. A view can change nothing: its
//! pages are mapped without the right to write, and it hands out numbers, no ends of anything. What it
//! believes is checked first: size, then magic and layout hash, then any other word. Called by `live.rs`.

use std::fs::File;
use std::path::Path;

use super::board::{Phase, Vitals};
use super::error::SegmentError;
use super::layout::{Layout, SegmentShape};
use super::memory::Memory;
use super::segment::Segment;

/// A live segment to look at.
pub struct SegmentView {
    segment: Segment,
}

/// What a worker said about itself when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerSigns {
    /// Process id of the present, or last, process.
    pub pid: u64,
    /// Processes that had its place before it in this part of the run.
    pub restarts: u64,
    /// What it is doing.
    pub phase: Phase,
    /// When it last said so, ns of `CLOCK_MONOTONIC`.
    pub heartbeat_ns: u64,
    /// Frames collected, or learned from.
    pub frames: u64,
    /// Time it has waited for slots, ns.
    pub wait_ns: u64,
}

/// A ring's two indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSigns {
    /// Slots ever published.
    pub published: u64,
    /// Slots ever handed back.
    pub released: u64,
}

impl SegmentView {
    /// Maps the segment behind `path`, which should be one of this shape.
    ///
    /// # Errors
    /// [`SegmentError::Layout`], [`SegmentError::Open`], [`SegmentError::System`]; and
    /// [`SegmentError::Header`] for one that is shorter, or that another build or configuration made.
    pub fn attach(path: &Path, shape: &SegmentShape) -> Result<SegmentView, SegmentError> {
        let layout = Layout::new(shape)?;
        let open_error = |source| SegmentError::Open { path: path.display().to_string(), source };
        let file = File::open(path).map_err(open_error)?;
        // Pages behind the end of the file would be a SIGBUS, so the size comes before the mapping.
        let found = file.metadata().map_err(open_error)?.len();
        let expected = layout.total_bytes as u64;
        if found < expected {
            return Err(SegmentError::Header { field: "size", found, expected });
        }
        let segment = Segment::over(Memory::viewed(&file, layout.total_bytes)?, layout);
        segment.check_header()?;
        Ok(SegmentView { segment })
    }

    /// Capacity of each ring, in slots.
    pub fn slots_per_actor(&self) -> usize {
        self.segment.layout().shape.slots_per_actor
    }

    /// What the learner says.
    pub fn learner(&self) -> WorkerSigns {
        let status = self.segment.board().learner();
        signs(&status.vitals, status.frames.get(), status.wait_ns.get())
    }

    /// What each actor says.
    pub fn actors(&self) -> Vec<WorkerSigns> {
        let actors = self.segment.board().actors();
        let signs = actors.iter().map(|a| signs(&a.vitals, a.frames.get(), a.claim_wait_ns.get()));
        signs.collect()
    }

    /// Where each ring stands. The two indices are not of one instant.
    pub fn rings(&self) -> Vec<RingSigns> {
        let rings = (0..self.segment.layout().shape.n_actors).map(|actor| {
            let (published, released) = self.segment.ring_state(actor).glance();
            RingSigns { published, released }
        });
        rings.collect()
    }

    /// Updates of the weights so far.
    pub fn updates(&self) -> u64 {
        self.segment.board().learner().updates.get()
    }

    /// Whether the workers have been told to stop.
    pub fn stop_ordered(&self) -> bool {
        self.segment.board().stop_ordered()
    }
}

fn signs(vitals: &Vitals, frames: u64, wait_ns: u64) -> WorkerSigns {
    WorkerSigns {
        pid: vitals.pid.get(),
        restarts: vitals.restarts.get(),
        phase: vitals.phase.get(),
        heartbeat_ns: vitals.heartbeat_ns.get(),
        frames,
        wait_ns,
    }
}
