//! Where a run goes on that was ended or killed: its newest sound checkpoint, and what it had recorded up
//! to there.
//!
//! Owns the choice of the checkpoint and the cut through the earlier part's files: rows and intervals
//! younger than the checkpoint are told again by the part that follows. Writes nothing: a resumed run has
//! a folder of its own, and the earlier one stays as it is. Called by `train.rs` and `impala train`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::clock::{in_ns, in_seconds};
use crate::base::input::{open_regular, read_text_at_most};
use crate::config::{Config, ConfigError, OptimizerKind, dotted};
use crate::network::{LstmSpec, NetworkSpec, Torso};
use crate::report::read::RunData;
use crate::run::dir::{RunDir, RunDirError};
use crate::space::{ObsSpace, Spec};
use crate::state::OptimizerState;
use crate::state::checkpoint::{Checkpoint, CheckpointError};
use crate::telemetry::{EvalRow, MetricsRow, TaskRow};

/// A log of hours is a few megabytes; more than this is none of ours.
const MAX_LOG_BYTES: u64 = 1 << 30;

/// Settings that the weights and the optimiser's memory belong to.
const FIXED: [&str; 2] = ["env", "optimizer.kind"];

/// Why a run cannot be resumed.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// There is no run there.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// None of the run's checkpoints can be used.
    #[error("{} has no sound checkpoint to go on from{reasons}; start a new run", path.display())]
    NoCheckpoint {
        /// The run's folder.
        path: PathBuf,
        /// What was wrong with each.
        reasons: String,
    },
    /// The settings in the checkpoint are not of this version.
    #[error("{}: its settings cannot be used: {reason}; give --config FILE", path.display())]
    Settings {
        /// The checkpoint.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The settings ask for something else than was trained.
    #[error(
        "{field} = {now}, but the checkpoint has {then}, which cannot change when a run is resumed; leave it \
         as it was, or start a new run"
    )]
    Differs {
        /// Which setting.
        field: &'static str,
        /// What the checkpoint has.
        then: String,
        /// What is asked for.
        now: String,
    },
    /// The environment is not the one that was trained in, though it has its name.
    #[error("{env} has {now}, but the checkpoint's network was made for {then}; start a new run")]
    Environment {
        /// The environment.
        env: String,
        /// The spaces that the checkpoint has.
        then: String,
        /// Those that the environment has now.
        now: String,
    },
    /// The run had solved its task, and shall end when it has.
    #[error(
        "the checkpoint had solved its task after {frames} frames, and stop_when_solved ends a run there; go \
         on with --set stop_when_solved=false"
    )]
    Solved {
        /// Frames learned from until then.
        frames: u64,
    },
    /// The run had learned from all of its frames.
    #[error(
        "frames = {frames}: the run has learned from {learned} already; give more with --frames"
    )]
    NothingLeft {
        /// The budget.
        frames: u64,
        /// Frames learned from.
        learned: u64,
    },
}

/// A checkpoint to go on from.
#[derive(Debug)]
pub struct Resumption {
    path: PathBuf,
    checkpoint: Checkpoint,
    /// The run it belongs to, where a folder was named.
    run: Option<RunDir>,
    /// Newer checkpoints that were damaged.
    passed_over: Vec<CheckpointError>,
}

/// What a run had recorded until its checkpoint.
#[derive(Default)]
pub struct Records {
    /// Rows of `metrics.csv`.
    pub rows: Vec<MetricsRow>,
    /// Lines of `latency.hlog`.
    pub latency_lines: String,
    /// Rows of `tasks.csv`.
    pub task_rows: Vec<TaskRow>,
    /// Rows of `evaluations.csv`.
    pub evaluations: Vec<EvalRow>,
}

impl Resumption {
    /// The newest sound checkpoint of a run's folder, or the checkpoint in a file.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(path: &Path) -> Result<Resumption, ResumeError> {
        if path.is_dir() {
            return Resumption::newest_of(RunDir::open(path)?);
        }
        let checkpoint = Checkpoint::load(path)?;
        // `latest` in it will soon mean another run.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Ok(Resumption { path, checkpoint, run: None, passed_over: Vec::new() })
    }

    fn newest_of(run: RunDir) -> Result<Resumption, ResumeError> {
        let mut passed_over = Vec::new();
        let numbered = run.numbered_checkpoints();
        for path in numbered.into_iter().chain([run.checkpoint()]) {
            match Checkpoint::load(&path) {
                Ok(mut checkpoint) => {
                    recall_times(&mut checkpoint, &run);
                    return Ok(Resumption { path, checkpoint, run: Some(run), passed_over });
                }
                Err(error) => passed_over.push(error),
            }
        }
        let reasons = passed_over.iter().map(|error| format!("; {error}")).collect();
        Err(ResumeError::NoCheckpoint { path: run.path().to_owned(), reasons })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What training goes on from.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The settings it was trained with.
    ///
    /// # Errors
    /// If they are not of this version.
    pub fn settings(&self) -> Result<Config, ResumeError> {
        toml::from_str(&self.checkpoint.settings).map_err(|error: toml::de::Error| {
            let reason = error.message().replace('\n', " ");
            ResumeError::Settings { path: self.path.clone(), reason }
        })
    }

    /// Whether training can go on with these settings.
    ///
    /// # Errors
    /// If they ask for another task, network or optimiser, or leave nothing to learn.
    pub fn check(&self, config: &Config) -> Result<(), ResumeError> {
        let Checkpoint { spec, network, state, .. } = &self.checkpoint;
        let mut then = config.clone();
        then.env.clone_from(&spec.id);
        then.optimizer.kind = optimizer_kind(&state.optimizer);
        let (then, now) = (settings_of(&then.to_toml()), settings_of(&config.to_toml()));
        for field in FIXED {
            let (then, now) = (then[field].clone(), now[field].clone());
            if then != now {
                return Err(ResumeError::Differs { field, then, now });
            }
        }
        let now = config.spec()?;
        check_spaces(spec, &now)?;
        check_network(network, &config.network(&now)?, &now.obs)?;
        if let Some((frames, _)) = state.counters.solved()
            && config.stop_when_solved
        {
            return Err(ResumeError::Solved { frames });
        }
        let (frames, learned) = (config.frames, state.counters.frames);
        if learned >= frames { Err(ResumeError::NothingLeft { frames, learned }) } else { Ok(()) }
    }

    /// What a user should know before training goes on, a line each: where it does, what was damaged,
    /// which settings differ from those before.
    pub fn notes(&self, config: &Config) -> Vec<String> {
        let passed_over = self.passed_over.iter().map(|error| format!("passed over: {error}"));
        let frames = self.checkpoint.state.counters.frames;
        let from = format!("goes on from {} at frame {frames}", self.path.display());
        let changes = changes(&self.checkpoint.settings, &config.to_toml());
        passed_over.chain([from]).chain(changes).collect()
    }

    /// The best checkpoint that the run had made until then; none where only a file was named.
    pub fn best(&self) -> Option<PathBuf> {
        let path = self.run.as_ref()?.best_checkpoint();
        let best = Checkpoint::load(&path).ok()?;
        let is_earlier = best.state.counters.frames <= self.checkpoint.state.counters.frames;
        is_earlier.then_some(path)
    }

    /// What the run had recorded until the checkpoint; nothing where only a file was named.
    pub fn records(&self) -> Records {
        let Some(run) = &self.run else { return Records::default() };
        let frames = self.checkpoint.state.counters.frames;
        let RunData { mut rows, mut task_rows, mut evaluations, .. } = RunData::read(run);
        rows.retain(|row| row.frames <= frames);
        task_rows.retain(|row| row.frames <= frames);
        evaluations.retain(|row| row.frames <= frames);
        let elapsed_s = in_seconds(self.checkpoint.elapsed_ns);
        let log = read_log(&run.latency());
        let kept = log.lines().filter(|line| ends_by(line, elapsed_s));
        let latency_lines = kept.map(|line| format!("{line}\n")).collect();
        Records { rows, latency_lines, task_rows, evaluations }
    }
}

/// Whose memory it is: Adam is the one that remembers a mean.
fn optimizer_kind(memory: &OptimizerState) -> OptimizerKind {
    if memory.mean.is_empty() { OptimizerKind::RmsProp } else { OptimizerKind::Adam }
}

/// An environment may have changed under its name.
fn check_spaces(then: &Spec, now: &Spec) -> Result<(), ResumeError> {
    if then.has_spaces_of(now) {
        return Ok(());
    }
    let env = now.id.clone();
    Err(ResumeError::Environment { env, then: then.spaces(), now: now.spaces() })
}

/// A network cannot change its layers.
fn check_network(then: &NetworkSpec, now: &NetworkSpec, obs: &ObsSpace) -> Result<(), ResumeError> {
    let (field, then, now) = match (&then.torso, &now.torso) {
        (torso, same) if torso == same => return check_parts(then, now, obs),
        (Torso::Mlp { hidden: then }, Torso::Mlp { hidden: now }) => {
            ("network.hidden", format!("{then:?}"), format!("{now:?}"))
        }
        (then, now) => ("network.torso", then.name().to_owned(), now.name().to_owned()),
    };
    Err(ResumeError::Differs { field, then, now })
}

/// Nor its memory, nor the units of its values, nor what it sees.
fn check_parts(then: &NetworkSpec, now: &NetworkSpec, obs: &ObsSpace) -> Result<(), ResumeError> {
    let normalizes = |spec: &NetworkSpec| spec.normalizes.to_string();
    let normalizes = ("network.normalize_observations", normalizes(then), normalizes(now));
    let stacked = |spec: &NetworkSpec| spec.n_stacked(obs).unwrap_or_default().to_string();
    let stacked = ("frame_stack", stacked(then), stacked(now));
    let popart = |spec: &NetworkSpec| if spec.scales_values { "above 0" } else { "0" }.to_owned();
    let popart = ("loss.popart", popart(then), popart(now));
    let (then, now) = (then.lstm, now.lstm);
    let units = |lstm: Option<LstmSpec>| lstm.map_or(0, |lstm| lstm.units).to_string();
    let inputs = |lstm: Option<LstmSpec>| match lstm {
        Some(LstmSpec { n_last_step: 1.., .. }) => "last_step".to_owned(),
        _ => "features".to_owned(),
    };
    let units = ("network.lstm", units(then), units(now));
    let inputs = ("network.lstm_inputs", inputs(then), inputs(now));
    let mut facts = [normalizes, stacked, units, inputs, popart].into_iter();
    match facts.find(|(_, then, now)| then != now) {
        Some((field, then, now)) => Err(ResumeError::Differs { field, then, now }),
        None => Ok(()),
    }
}

/// Checkpoints of a deterministic run say no times: they are those of the run's rows.
fn recall_times(checkpoint: &mut Checkpoint, run: &RunDir) {
    if checkpoint.elapsed_ns > 0 {
        return;
    }
    let (rows, counters) = (RunData::read(run).rows, &mut checkpoint.state.counters);
    let ns = |row: &MetricsRow| in_ns(row.time_s);
    let last = rows.iter().rfind(|row| row.frames <= counters.frames);
    checkpoint.elapsed_ns = last.map_or(0, ns);
    if let Some((solved_frames, _)) = counters.solved() {
        let solved = rows.iter().find(|row| row.frames >= solved_frames);
        counters.solved_ns = solved.map_or(0, ns);
    }
}

/// The log's text; a log that cannot be read was lost with whatever else happened to the run.
fn read_log(path: &Path) -> String {
    let log = open_regular(path).and_then(|file| read_text_at_most(file, MAX_LOG_BYTES));
    log.unwrap_or_default()
}

/// Whether this is a complete interval that ended by then: `Tag=…,start,length,max,histogram`.
fn ends_by(line: &str, elapsed_s: f64) -> bool {
    let fields: Vec<&str> = line.split(',').collect();
    let [tag, start, length, _, _] = fields[..] else { return false };
    let end_s = start.parse::<f64>().and_then(|start| Ok(start + length.parse::<f64>()?));
    tag.starts_with("Tag=") && end_s.is_ok_and(|end_s| end_s <= elapsed_s + 1e-3)
}

/// The settings of two configurations that differ, by their dotted names.
fn changes(then: &str, now: &str) -> Vec<String> {
    let (old, new) = (settings_of(then), settings_of(now));
    let was = |name: &String| old.get(name).map_or("nothing", String::as_str);
    let changed = new.iter().filter(|(name, now)| was(name) != now.as_str());
    changed.map(|(name, now)| format!("{name} = {now} (was {})", was(name))).collect()
}

/// Every setting of a TOML document by its dotted name.
fn settings_of(toml: &str) -> BTreeMap<String, String> {
    dotted(&toml.parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_belongs_to_the_part_in_which_it_ended() {
        let line = "Tag=wait,1.500,0.500,12.3,HISTFAAA";
        assert!(ends_by(line, 2.0));
        assert!(!ends_by(line, 1.9));
        for broken in ["Tag=wait,1.5,0.5", "#[a comment]", "wait,1.5,0.5,1,x", "Tag=a,b,c,d,e", ""]
        {
            assert!(!ends_by(broken, 1e9), "{broken}");
        }
    }

    #[test]
    fn settings_that_differ_are_named_with_both_values() {
        let now = Config { frames: 5, ..Config::default() };
        let mut then = Config::default();
        then.loss.discount = 0.5;
        assert_eq!(
            changes(&then.to_toml(), &now.to_toml()),
            ["frames = 5 (was 2000000)", "loss.discount = 0.99 (was 0.5)"]
        );
        assert_eq!(changes(&now.to_toml(), &now.to_toml()), [""; 0]);
    }
}
