//! What can go wrong with a segment.
//!
//! Owns the words for it, and what to do about each. Every file of this folder that can fail returns it.

use nix::errno::Errno;
use shared_memory::ShmemError;

use super::SHM_DIR;
use super::cells::CorruptCell;
use super::layout::LayoutError;
use super::ring::CorruptRing;

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
         (`mount -o remount,size=1G {SHM_DIR}`, or `--shm-size=1g` of a container) or choose fewer actors, \
         slots, environments or a shorter unroll{}", .fitting_envs.map_or(String::new(), with_envs)
    )]
    TooSmall {
        /// Size of the segment.
        needed_bytes: usize,
        /// What was free just after the attempt.
        free_bytes: u64,
        /// The most environments an actor that there is room for, if for any.
        fitting_envs: Option<usize>,
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
    /// The weights or the learner's state cannot be read.
    #[error("weights or state: {0}")]
    Cell(#[from] CorruptCell),
    /// This process holds the role already.
    #[error("this process already holds the role of {role}; drop the other holder first")]
    RoleTaken {
        /// Which role.
        role: &'static str,
    },
}

fn with_envs(n_envs: usize) -> String {
    format!(": `--set actors.envs_per_actor={n_envs}` fits")
}

pub(super) fn system_error(call: &'static str) -> impl Fn(rustix::io::Errno) -> SegmentError {
    move |errno| SegmentError::System { call, errno: Errno::from_raw(errno.raw_os_error()) }
}
