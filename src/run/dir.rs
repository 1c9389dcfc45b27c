//! The folder of one run: its name, its place, and the path of every file in it.
//!
//! Owns naming, creation, and the `latest` link. Does not know what the files contain. The supervisor
//! creates one; the sinks and the report ask it for paths.
//!
//! ```text
//! results/
//!   latest -> CartPole-v1-native-s1-20261122T140405Z
//!   CartPole-v1-native-s1-20261122T140405Z/
//!     meta.json  config.toml  metrics.csv  latency.hlog  summary.json    written by the run
//!     processes.csv                                                      the same
//!     slots.csv  evaluations.csv                                         the same, if asked for
//!     events.out.tfevents.1795356245.impala                              the same for TensorBoard
//!     env-{actor<n>,eval}.log                                            what environments in processes of
//!                                                                        their own print, if they do
//!     live.json                                                          only while it runs
//!     observation.png                                                    written at its end, of pictures alone
//!     checkpoint.safetensors  checkpoints/{frames-*,best}.safetensors    written by the supervisor
//!     report.html  report.md  plots/*                                    written by the report
//!     parts/<000...>/                                                    what earlier parts wrote, where the run
//!                                                                        went on in its own folder
//!     ranks/<001...>/                                                    the first six files of each other rank,
//!                                                                        where several learned together
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::os::launcher::Rank;

/// Name of the link to the newest run, beside the runs.
const LATEST: &str = "latest";

/// Name of the folder that has one for each rank but the first.
const RANKS: &str = "ranks";

/// Name of the folder that has one for each earlier part of a run that went on in its own folder.
const PARTS: &str = "parts";

/// How the file of a numbered checkpoint begins; its frames follow.
const FRAMES_PREFIX: &str = "frames-";

/// How every checkpoint's file ends.
const CHECKPOINT_SUFFIX: &str = ".safetensors";

/// Runs of one name started within one second; more is a loop gone wild, not a need.
const MAX_SAME_NAME: u32 = 1000;

/// A run folder that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

/// What a run folder is named after: `<name or env>-<learner>-s<seed>-<timestamp>`.
#[derive(Clone, Copy, Debug)]
pub struct RunName<'a> {
    /// The run's own name, or the id of its environment.
    pub of: &'a str,
    /// Learner that ran.
    pub learner: &'a str,
    /// Seed of the run.
    pub seed: u64,
    /// When the run began.
    pub started: Timestamp,
}

/// Why a run folder cannot be created or opened.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// The folder, or one above it, cannot be made.
    #[error("cannot create the folder {}: {source}; choose a folder that you may write to", path.display())]
    Create {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The folder holds an earlier run.
    #[error("{} already holds a run; name another folder, or move that one away", .0.display())]
    ExistingRun(PathBuf),
    /// Another process writes there.
    #[error(
        "{} belongs to a run that is still going on; name another folder, or end that run first (its pid is in \
         live.json)", .0.display()
    )]
    InUse(PathBuf),
    /// The folder holds something that is no run of ours.
    #[error("{} exists and is not an empty folder; name a new or an empty one", .0.display())]
    NotEmpty(PathBuf),
    /// `latest` could not be switched to the new run.
    #[error(
        "cannot point {} at the new run: {source}; if it is a file or a folder, move it away, \
         else see whether you may write there", path.display()
    )]
    Latest {
        /// The link.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The folder to open cannot be reached.
    #[error("cannot open the run folder {}: {source}; name a folder below results/", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The folder was there and is not any more.
    #[error("{} was deleted or renamed while the run ran; what was written before is where it is now", .0.display())]
    Gone(PathBuf),
    /// The folder to open has none of the files of a run.
    #[error(
        "{} is not a run folder (it has no meta.json, metrics.csv or summary.json); \
         name a folder below results/", .0.display()
    )]
    NotARun(PathBuf),
}

impl RunDir {
    /// Creates a folder named after the run below `results_root` and points `results_root/latest` at it.
    ///
    /// Two runs of one name and second get folders of their own. The link changes in one step: a
    /// reader sees the old run or the new one, never nothing.
    ///
    /// # Errors
    /// [`RunDirError::Create`] where the folder cannot be made, [`RunDirError::Latest`] where only the
    /// link cannot.
    pub fn create(results_root: &Path, name: RunName) -> Result<RunDir, RunDirError> {
        create_with_parents(results_root)?;
        let path = create_unused(results_root, &name.to_string())?;
        point_latest_at(results_root, &path)?;
        Ok(RunDir { path })
    }

    /// Creates the run folder at `path` itself; an empty folder that is there already is taken.
    /// No link is touched: who names a folder knows where it is.
    ///
    /// # Errors
    /// [`RunDirError::ExistingRun`], [`RunDirError::NotEmpty`] or [`RunDirError::Create`].
    pub fn create_at(path: &Path) -> Result<RunDir, RunDirError> {
        if path.exists() {
            refuse_unless_empty(path)?;
        }
        create_with_parents(path)?;
        Ok(RunDir { path: path.to_owned() })
    }

    /// The same for a run that goes on in its own folder: what its earlier part wrote is put aside, in `parts/`.
    ///
    /// # Errors
    /// [`RunDirError::NotEmpty`] of another folder, [`RunDirError::Create`] where the files cannot be moved.
    pub fn go_on_at(path: &Path) -> Result<RunDir, RunDirError> {
        let run = RunDir { path: path.to_owned() };
        if !run.holds_a_run() {
            return RunDir::create_at(path);
        }
        run.put_aside().map_err(|source| RunDirError::Create { path: path.join(PARTS), source })?;
        Ok(run)
    }

    /// Moves what is there into a folder of its own. What other ranks may be reading, to go on from it, stays as well:
    /// each of these files will be replaced in one step.
    fn put_aside(&self) -> io::Result<()> {
        fs::create_dir_all(self.path.join(PARTS))?;
        let n_parts = fs::read_dir(self.path.join(PARTS))?.count();
        let part = self.path.join(PARTS).join(format!("{n_parts:03}"));
        fs::create_dir(&part)?;
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let (from, to) = (entry.path(), part.join(entry.file_name()));
            if [self.meta(), self.config()].contains(&from) {
                fs::copy(from, to)?;
            } else if ![
                self.checkpoint(),
                self.checkpoints(),
                self.path.join(PARTS),
                self.path.join(RANKS),
            ]
            .contains(&from)
            {
                fs::rename(from, to)?;
            }
        }
        Ok(())
    }

    /// Where a rank of several writes: the run's folder at `path`, or one of its own below that.
    pub fn path_for_rank(path: &Path, rank: Rank) -> PathBuf {
        match rank.number {
            0 => path.to_owned(),
            number => path.join(RANKS).join(format!("{number:03}")),
        }
    }

    /// Whether any checkpoint lies in it.
    pub fn has_checkpoint(&self) -> bool {
        self.checkpoint().exists() || !self.numbered_checkpoints().is_empty()
    }

    /// Opens an existing run folder; links such as `results/latest` are followed.
    ///
    /// # Errors
    /// [`RunDirError::Open`] where there is no such folder, [`RunDirError::NotARun`] where it is
    /// something else.
    pub fn open(path: &Path) -> Result<RunDir, RunDirError> {
        let path = fs::canonicalize(path)
            .map_err(|source| RunDirError::Open { path: path.to_owned(), source })?;
        let run = RunDir { path };
        if run.holds_a_run() { Ok(run) } else { Err(RunDirError::NotARun(run.path)) }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Program, machine, command, start and end.
    pub fn meta(&self) -> PathBuf {
        self.path.join("meta.json")
    }

    /// Every setting of the run, defaults included.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// One row a reporting interval.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.csv")
    }

    /// HdrHistogram interval log of every stage.
    pub fn latency(&self) -> PathBuf {
        self.path.join("latency.hlog")
    }

    /// The whole run in one object.
    pub fn summary(&self) -> PathBuf {
        self.path.join("summary.json")
    }

    /// Where a running run can be looked into; there only while it runs, and after a kill.
    pub fn live(&self) -> PathBuf {
        self.path.join("live.json")
    }

    /// The newest checkpoint; when the run has ended, the trained network.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint.safetensors")
    }

    /// Memory and restarts of every process, sampled over the run.
    pub fn processes(&self) -> PathBuf {
        self.path.join("processes.csv")
    }

    /// One observation as a picture, of a run that learned from pictures and was evaluated.
    pub fn observation(&self) -> PathBuf {
        self.path.join("observation.png")
    }

    /// Which slots each update learned from, where the run logs that.
    pub fn slots(&self) -> PathBuf {
        self.path.join("slots.csv")
    }

    /// What evaluations found while the run trained, where it has such.
    pub fn evaluations(&self) -> PathBuf {
        self.path.join("evaluations.csv")
    }

    /// Rows of each of several tasks.
    pub fn tasks(&self) -> PathBuf {
        self.path.join("tasks.csv")
    }

    /// TensorBoard's file of a run that began this many seconds after the epoch; TensorBoard knows such
    /// files by their name.
    pub fn events(&self, started_s: i64) -> PathBuf {
        self.path.join(format!("events.out.tfevents.{started_s}.impala"))
    }

    /// Folder of the last few checkpoints and the best one.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The checkpoint after `frames` frames; names sort as their numbers do.
    pub fn checkpoint_after(&self, frames: u64) -> PathBuf {
        self.checkpoints().join(format!("{FRAMES_PREFIX}{frames:0>15}{CHECKPOINT_SUFFIX}"))
    }

    /// The checkpoint with the highest score.
    pub fn best_checkpoint(&self) -> PathBuf {
        self.checkpoints().join(format!("best{CHECKPOINT_SUFFIX}"))
    }

    /// The numbered checkpoints that there are, newest first.
    pub fn numbered_checkpoints(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.checkpoints()) else { return Vec::new() };
        let numbered = |path: PathBuf| {
            let name = path.file_name()?.to_str()?;
            let frames = name.strip_prefix(FRAMES_PREFIX)?.strip_suffix(CHECKPOINT_SUFFIX)?;
            Some((frames.parse::<u64>().ok()?, path))
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut checkpoints: Vec<(u64, PathBuf)> = paths.filter_map(numbered).collect();
        checkpoints.sort_unstable_by_key(|(frames, _)| std::cmp::Reverse(*frames));
        checkpoints.into_iter().map(|(_, path)| path).collect()
    }

    /// The finished page.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// Folder of the report's plots.
    pub fn plots(&self) -> PathBuf {
        self.path.join("plots")
    }

    /// Whether the folder of a run that has begun still lies where it was made: with the file that every run
    /// begins with.
    ///
    /// # Errors
    /// [`RunDirError::Gone`].
    pub fn check_there(&self) -> Result<(), RunDirError> {
        if self.meta().is_file() { Ok(()) } else { Err(RunDirError::Gone(self.path.clone())) }
    }

    fn holds_a_run(&self) -> bool {
        [self.meta(), self.metrics(), self.summary()].iter().any(|file| file.is_file())
    }
}

impl std::fmt::Display for RunName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let RunName { of, learner, seed, started } = self;
        // An id such as `vec:ALE/Pong-v5` must not become two folders, nor one that `scp` takes for a host's.
        let of = of.replace(['/', '\\', ':'], "_");
        write!(f, "{of}-{learner}-s{seed}-{}", started.strftime("%Y%m%dT%H%M%SZ"))
    }
}

fn create_with_parents(path: &Path) -> Result<(), RunDirError> {
    fs::create_dir_all(path).map_err(|source| RunDirError::Create { path: path.to_owned(), source })
}

/// `create_dir` fails on what exists, so that of two processes with one name only one gets it.
fn create_unused(root: &Path, name: &str) -> Result<PathBuf, RunDirError> {
    let mut path = root.join(name);
    for attempt in 2..=MAX_SAME_NAME {
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                path = root.join(format!("{name}-{attempt}"));
            }
            Err(source) => return Err(RunDirError::Create { path, source }),
        }
    }
    Err(RunDirError::ExistingRun(path))
}

/// A link made aside and renamed over the old one, since a link cannot be overwritten in place.
fn point_latest_at(root: &Path, run: &Path) -> Result<(), RunDirError> {
    let Some(name) = run.file_name() else {
        return Ok(());
    };
    let latest = root.join(LATEST);
    let aside = root.join(format!(".{LATEST}-{}", name.to_string_lossy()));
    let switched = std::os::unix::fs::symlink(name, &aside)
        .and_then(|()| fs::rename(&aside, &latest))
        .inspect_err(|_| drop(fs::remove_file(&aside)));
    switched.map_err(|source| RunDirError::Latest { path: latest, source })
}

fn refuse_unless_empty(path: &Path) -> Result<(), RunDirError> {
    let run = RunDir { path: path.to_owned() };
    if run.holds_a_run() {
        return Err(RunDirError::ExistingRun(run.path));
    }
    // Of several ranks another one may have been here first, which writes below it.
    let is_other =
        |entry: io::Result<fs::DirEntry>| entry.is_ok_and(|entry| entry.file_name() != RANKS);
    let is_empty = fs::read_dir(path).is_ok_and(|mut entries| !entries.any(is_other));
    if is_empty { Ok(()) } else { Err(RunDirError::NotEmpty(run.path)) }
}
