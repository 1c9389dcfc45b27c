//! A run while it runs, as somebody sees it who did not start it.
//!
//! Owns: the way from the note `live.json`, by which a run's supervisor can be found, to its shared
//! memory, and what is read there at one moment; and whether that supervisor trains, ends the run, or is
//! gone. Judges nothing and draws nothing. The supervisor makes the note; `impala inspect` and
//! `impala runs` look.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::base::clock::monotonic_ns;
use crate::base::input::{open_regular, read_text_at_most};
use crate::config::{Config, ConfigError};
use crate::os::cores::{CoreTime, core_times};
use crate::os::process::start_ticks;
use crate::run::dir::RunDir;
use crate::run::sizes::Sizes;
use crate::shm::SegmentError;
use crate::shm::view::{RingSigns, SegmentView, WorkerSigns};
use crate::telemetry::LiveNote;

/// A note is a few numbers and the spec of an environment.
const MAX_NOTE_BYTES: u64 = 1 << 20;

fn path_of(note: &LiveNote) -> PathBuf {
    format!("/proc/{}/fd/{}", note.pid, note.descriptor).into()
}

/// Why a run cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// It has no note: it has ended, or has not begun.
    #[error("{} is not running (it has no live.json); `impala runs` says how it ended", .0.display())]
    NotRunning(PathBuf),
    /// Its workers have ended, and with them what there was to look into; its supervisor has not.
    #[error(
        "training is over; process {pid} evaluates the final weights or writes summary and report"
    )]
    Ending {
        /// The supervisor's process.
        pid: u32,
    },
    /// It was killed: its supervisor is not there any more.
    #[error(
        "the run's supervisor (pid {pid}) is gone; it was killed, and no report of its end was written"
    )]
    Gone {
        /// Its former process.
        pid: u32,
    },
    /// The note cannot be read.
    #[error("{}: {reason}; the run was made by another version, or the file was changed", path.display())]
    Note {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system does not let us look.
    #[error("cannot look into process {pid}: {source}; look as the user who started the run")]
    Denied {
        /// The supervisor's process.
        pid: u32,
        /// The system's answer.
        source: io::Error,
    },
    /// The run's settings cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What is there is not the run's segment.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

/// What the supervisor of a run does that has not recorded how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It watches over the training.
    Training,
    /// It evaluates the final weights, or writes summary and report.
    Ending,
    /// It is gone, or nobody can find it.
    Gone,
}

impl Life {
    /// That of the run in this folder.
    pub fn of(run: &RunDir) -> Life {
        match read_note(run).and_then(|note| find_segment(&note)) {
            Ok(()) | Err(LiveError::Denied { .. }) => Life::Training,
            Err(LiveError::Ending { .. }) => Life::Ending,
            Err(_) => Life::Gone,
        }
    }
}

/// A running run.
pub struct LiveRun {
    view: SegmentView,
    note: LiveNote,
}

/// What a run says of itself at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// When, ns of `CLOCK_MONOTONIC`.
    pub taken_ns: u64,
    /// Whether the workers have been told to stop.
    pub stop_ordered: bool,
    /// Updates of the weights so far.
    pub updates: u64,
    /// The learner.
    pub learner: WorkerSigns,
    /// Each actor.
    pub actors: Vec<WorkerSigns>,
    /// What the threads of each process got of the cores: the supervisor's, the learner's, each actor's;
    /// `None` where the kernel does not tell.
    pub cores: Vec<Option<CoreTime>>,
    /// Each actor's ring.
    pub rings: Vec<RingSigns>,
    /// Capacity of each ring, in slots.
    pub slots_per_actor: usize,
}

impl LiveRun {
    /// Finds the run's supervisor and maps its segment read-only.
    ///
    /// # Errors
    /// [`LiveError`].
    pub fn attach(run: &RunDir) -> Result<LiveRun, LiveError> {
        let note = read_note(run)?;
        find_segment(&note)?;
        let config = Config::from_file(&run.config())?;
        let sizes = sizes(run, &config, &note)?;
        let view = SegmentView::attach(&path_of(&note), &sizes.segment)?;
        Ok(LiveRun { view, note })
    }

    /// The supervisor's process id.
    pub fn supervisor_pid(&self) -> u32 {
        self.note.pid
    }

    /// Threads of the learner.
    pub fn learner_threads(&self) -> usize {
        self.note.learner_threads
    }

    /// How many threads compute the batch of each of them together.
    pub fn batch_threads(&self) -> usize {
        self.note.batch_threads
    }

    /// Whether training still goes on.
    pub fn is_running(&self) -> bool {
        find_segment(&self.note).is_ok()
    }

    /// What the board and the rings say now.
    pub fn snapshot(&self) -> Snapshot {
        let (learner, actors) = (self.view.learner(), self.view.actors());
        let workers = std::iter::once(&learner).chain(&actors).map(|worker| worker.pid);
        let pids = std::iter::once(self.note.pid.into()).chain(workers);
        Snapshot {
            taken_ns: monotonic_ns(),
            stop_ordered: self.view.stop_ordered(),
            updates: self.view.updates(),
            cores: pids.map(cores_of).collect(),
            learner,
            actors,
            rings: self.view.rings(),
            slots_per_actor: self.view.slots_per_actor(),
        }
    }
}

/// What a process got of the cores. A worker that has not begun says that its number is 0.
fn cores_of(pid: u64) -> Option<CoreTime> {
    let threads = core_times(u32::try_from(pid).ok()?);
    (!threads.is_empty()).then(|| threads.into_iter().map(|(_, time)| time).sum())
}

/// Whether the segment is where the note says.
fn find_segment(note: &LiveNote) -> Result<(), LiveError> {
    let pid = note.pid;
    let found = std::fs::metadata(path_of(note));
    // After the look at the descriptor: whoever lives now had it then, if it was to be had.
    if start_ticks(pid) != Some(note.start_ticks) {
        return Err(LiveError::Gone { pid });
    }
    match found {
        Ok(found) if found.ino() == note.inode => Ok(()),
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            Err(LiveError::Denied { pid, source })
        }
        Ok(_) | Err(_) => Err(LiveError::Ending { pid }),
    }
}

/// The run's sizes. The note has the environment's spec, since the run may be of an environment that only the
/// program knows that trains it.
fn sizes(run: &RunDir, config: &Config, note: &LiveNote) -> Result<Sizes, LiveError> {
    let refused = |reason| LiveError::Note { path: run.live(), reason };
    if let Some(fault) = note.spec.fault() {
        return Err(refused(fault));
    }
    Sizes::with_spec(config, note.spec.clone()).map_err(|error| refused(error.to_string()))
}

fn read_note(run: &RunDir) -> Result<LiveNote, LiveError> {
    let path = run.live();
    let text = match open_regular(&path).and_then(|file| read_text_at_most(file, MAX_NOTE_BYTES)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LiveError::NotRunning(run.path().to_owned()));
        }
        Err(error) => return Err(LiveError::Note { path, reason: error.to_string() }),
    };
    serde_json::from_str(&text).map_err(|error| LiveError::Note { path, reason: error.to_string() })
}
