//! A run's checkpoints: when one is due, what it says, which are kept.
//!
//! Owns the run folder's `checkpoints/` and `checkpoint.safetensors`. Is given the state and the time,
//! and knows no process and no shared memory. Called by the supervisor, so that the learner's loop never
//! touches the disk.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::dir::RunDir;
use super::sizes::Sizes;
use crate::base::clock::in_ns;
use crate::base::input::open_regular;
use crate::config::{Config, ConfigError};
use crate::network::NetworkSpec;
use crate::space::Spec;
use crate::state::LearnerState;
use crate::state::checkpoint::{Checkpoint, CheckpointError, copy};
use crate::telemetry::EvalRow;

/// Far more than evaluations of a long run take.
const MAX_FILE_BYTES: u64 = 1 << 24;

/// Writes and prunes the checkpoints of one run.
pub struct Checkpoints {
    run: RunDir,
    spec: Spec,
    network: NetworkSpec,
    settings: String,
    interval_ns: u64,
    keep: usize,
    /// When the last one was written or tried.
    last_ns: u64,
    /// Updates in the last one written.
    last_updates: Option<u64>,
    /// Whether evaluations say which is the best one; else the score of training does.
    is_evaluated: bool,
    best_score: Option<f64>,
    n_written: u64,
    n_failed: u64,
}

impl Checkpoints {
    /// The checkpoints of a run that starts or goes on at `now_ns`.
    ///
    /// # Errors
    /// If the configuration was not checked.
    pub fn new(config: &Config, run: &RunDir, now_ns: u64) -> Result<Self, ConfigError> {
        // That of the run that this one goes on from. One that cannot be read is no best one; the next will be.
        let best = Checkpoint::load(&run.best_checkpoint()).ok();
        let is_evaluated = config.eval.is_on();
        let Sizes { spec, network, .. } = Sizes::of(config)?;
        let best_score = match is_evaluated {
            true => best.and_then(|_| best_evaluation(run)),
            false => best.and_then(|best| training_score(&best)),
        };
        Ok(Checkpoints {
            run: run.clone(),
            spec,
            network,
            settings: config.to_toml(),
            interval_ns: in_ns(config.checkpoint.interval_s),
            keep: config.checkpoint.keep,
            last_ns: now_ns,
            last_updates: None,
            is_evaluated,
            best_score,
            n_written: 0,
            n_failed: 0,
        })
    }

    /// Whether it is time for one.
    pub fn is_due(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns) >= self.interval_ns
    }

    /// How many were written.
    pub fn n_written(&self) -> u64 {
        self.n_written
    }

    /// How many could not be written.
    pub fn n_failed(&self) -> u64 {
        self.n_failed
    }

    /// The checkpoint of a state, in memory.
    pub fn checkpoint(&self, state: LearnerState, elapsed_ns: u64) -> Checkpoint {
        let Checkpoints { spec, network, settings, .. } = self;
        Checkpoint {
            spec: spec.clone(),
            network: network.clone(),
            state,
            settings: settings.clone(),
            elapsed_ns,
        }
    }

    /// Writes a checkpoint, unless nothing was learned since the last one, and prunes.
    ///
    /// # Errors
    /// If the file system refuses; it is counted, and all that was there before still is.
    pub fn write(&mut self, checkpoint: &Checkpoint, now_ns: u64) -> Result<(), CheckpointError> {
        self.last_ns = now_ns;
        let updates = checkpoint.state.counters.updates;
        if self.last_updates == Some(updates) && self.run.checkpoint().is_file() {
            return Ok(());
        }
        self.write_files(checkpoint).inspect_err(|_| self.n_failed += 1)?;
        self.last_updates = Some(updates);
        self.n_written += 1;
        Ok(())
    }

    fn write_files(&mut self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        // First, for it needs no further folder; and where the run's own is gone, none is made in its place.
        let newest = self.run.checkpoint();
        checkpoint.save(&newest)?;
        make_folder(&self.run)?;
        copy(&newest, &self.run.checkpoint_after(checkpoint.state.counters.frames))?;
        let score = training_score(checkpoint);
        if !self.is_evaluated && (score >= self.best_score || self.best_score.is_none()) {
            copy(&newest, &self.run.best_checkpoint())?;
            self.best_score = score;
        }
        for old in self.run.numbered_checkpoints().iter().skip(self.keep) {
            // One that cannot be removed costs space and is tried again next time.
            let _ = fs::remove_file(old);
        }
        Ok(())
    }
}

impl Checkpoints {
    /// Keeps a checkpoint as the best one, if no evaluation before had a higher mean return than `mean`.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn keep_if_best(
        &mut self,
        checkpoint: &Checkpoint,
        mean: f64,
    ) -> Result<(), CheckpointError> {
        if self.best_score.is_some_and(|best| best > mean) {
            return Ok(());
        }
        make_folder(&self.run)?;
        checkpoint.save(&self.run.best_checkpoint())?;
        self.best_score = Some(mean);
        Ok(())
    }
}

/// Makes the last checkpoint the best one too, if no evaluation before had a higher mean return than `mean`.
///
/// # Errors
/// If the file system refuses.
pub fn keep_last_if_best(run: &RunDir, mean: f64) -> Result<(), CheckpointError> {
    if best_evaluation(run).is_some_and(|best| best > mean) || !run.checkpoint().is_file() {
        return Ok(());
    }
    copy(&run.checkpoint(), &run.best_checkpoint())
}

/// What checkpoints are compared by where nothing is evaluated. Those of several tasks cannot be, so that the newest one
/// counts as the best: scores of different tasks have no common scale.
fn training_score(checkpoint: &Checkpoint) -> Option<f64> {
    checkpoint.state.score().filter(|_| checkpoint.network.n_values == 1)
}

/// The highest mean return that is recorded.
fn best_evaluation(run: &RunDir) -> Option<f64> {
    let file = open_regular(&run.evaluations()).ok()?;
    let mut reader = csv::Reader::from_reader(file.take(MAX_FILE_BYTES));
    let rows = reader.deserialize().map_while(|row: csv::Result<EvalRow>| row.ok());
    rows.map(|row| row.mean).max_by(f64::total_cmp)
}

fn make_folder(run: &RunDir) -> Result<(), CheckpointError> {
    let folder = run.checkpoints();
    fs::create_dir_all(&folder).map_err(|source| CheckpointError::Io { path: folder, source })
}

/// Makes the best checkpoint of an earlier part the best one of `run` so far.
///
/// # Errors
/// If the file system refuses.
pub fn inherit_best(run: &RunDir, best: &Path) -> Result<(), CheckpointError> {
    make_folder(run)?;
    copy(best, &run.best_checkpoint())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::params::ParamLayout;
    use crate::state::{Counters, OptimizerState, ReturnStats, SCORE_WINDOW};

    const SECOND_NS: u64 = 1_000_000_000;

    fn run(folder: &Path) -> RunDir {
        RunDir::create_at(&folder.join("run")).unwrap()
    }

    fn checkpoints(run: &RunDir) -> Checkpoints {
        let mut config = Config::default();
        config.checkpoint.keep = 2;
        Checkpoints::new(&config, run, 0).unwrap()
    }

    fn state(updates: u64, score: f64) -> LearnerState {
        let layout = ParamLayout::new(&Sizes::of(&Config::default()).unwrap().network);
        let counters =
            Counters { frames: 640 * updates, updates, episodes: 1_000, ..Counters::default() };
        let params = layout.init(updates);
        let optimizer = OptimizerState { n_steps: updates, square: params.clone(), mean: vec![] };
        let (recent_returns, return_stats) = ([score; SCORE_WINDOW], ReturnStats::default());
        LearnerState { counters, recent_returns, return_stats, params, optimizer }
    }

    fn write(checkpoints: &mut Checkpoints, updates: u64, score: f64) {
        let checkpoint = checkpoints.checkpoint(state(updates, score), updates);
        checkpoints.write(&checkpoint, updates * SECOND_NS).unwrap();
    }

    fn updates_in(path: &Path) -> u64 {
        Checkpoint::load(path).unwrap().state.counters.updates
    }

    #[test]
    fn the_last_ones_and_the_best_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let mut checkpoints = checkpoints(&run);
        for (updates, score) in [(1, 20.0), (2, 400.0), (3, 30.0), (4, 40.0), (5, 35.0)] {
            write(&mut checkpoints, updates, score);
        }
        let kept = run.numbered_checkpoints();
        assert_eq!(kept, [run.checkpoint_after(5 * 640), run.checkpoint_after(4 * 640)]);
        assert_eq!(kept.iter().map(|path| updates_in(path)).collect::<Vec<_>>(), [5, 4]);
        assert_eq!((updates_in(&run.checkpoint()), updates_in(&run.best_checkpoint())), (5, 2));
        assert_eq!(fs::read_dir(run.checkpoints()).unwrap().count(), 3, "nothing else is left");
        assert_eq!((checkpoints.n_written(), checkpoints.n_failed()), (5, 0));
    }

    #[test]
    fn of_several_tasks_the_newest_is_the_best() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let games = "MinAtar/Breakout-v0,MinAtar/Asterix-v0";
        let config = Config { env: games.into(), ..Config::default() };
        let mut checkpoints = Checkpoints::new(&config, &run, 0).unwrap();
        let params = ParamLayout::new(&checkpoints.network).init(1);
        for (updates, score) in [(1, 400.0), (2, 20.0)] {
            let mut state = state(updates, score);
            state.params = params.clone();
            state.optimizer.square = params.clone();
            let checkpoint = checkpoints.checkpoint(state, updates);
            checkpoints.write(&checkpoint, updates * SECOND_NS).unwrap();
        }
        assert_eq!(updates_in(&run.best_checkpoint()), 2);
    }

    #[test]
    fn evaluations_say_which_is_the_best_where_there_are_any() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let mut config = Config::default();
        config.eval.interval_s = 1.0;
        let again = || Checkpoints::new(&config, &run, 0).unwrap();
        let mut checkpoints = again();
        let mut evaluations =
            "time_s,frames,updates,episodes,cut,mean,standard_error,min,max\n".to_owned();
        let mut evaluate = |checkpoints: &mut Checkpoints, updates, mean: f64| {
            let checkpoint = checkpoints.checkpoint(state(updates, 0.0), 0);
            checkpoints.keep_if_best(&checkpoint, mean).unwrap();
            evaluations += &format!("1,{},{updates},20,0,{mean},0.1,0,500\n", 640 * updates);
            fs::write(run.evaluations(), &evaluations).unwrap();
            updates_in(&run.best_checkpoint())
        };
        assert_eq!(evaluate(&mut checkpoints, 1, 50.0), 1);
        assert_eq!(evaluate(&mut checkpoints, 2, 70.0), 2);
        assert_eq!(evaluate(&mut checkpoints, 3, 60.0), 2);
        write(&mut checkpoints, 4, 400.0);
        assert_eq!(updates_in(&run.best_checkpoint()), 2, "the score of training says nothing");
        assert_eq!(evaluate(&mut again(), 5, 69.0), 2, "a later part remembers");
        assert_eq!(evaluate(&mut again(), 6, 70.0), 6, "of equals the one trained longer");
        keep_last_if_best(&run, 69.0).unwrap();
        assert_eq!(updates_in(&run.best_checkpoint()), 6);
        keep_last_if_best(&run, 71.0).unwrap();
        assert_eq!(updates_in(&run.best_checkpoint()), 4, "the last one written");
    }

    #[test]
    fn what_is_done_to_one_file_is_done_to_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        write(&mut checkpoints(&run), 1, 20.0);
        let files = [run.checkpoint(), run.checkpoint_after(640), run.best_checkpoint()];
        for (emptied, path) in files.iter().enumerate() {
            fs::File::options().write(true).truncate(true).open(path).unwrap();
            let are_whole = files[emptied + 1..].iter().all(|path| updates_in(path) == 1);
            assert!(are_whole, "damaged together with {}", path.display());
        }
    }

    #[test]
    fn one_that_was_deleted_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let mut checkpoints = checkpoints(&run);
        write(&mut checkpoints, 1, 20.0);
        fs::remove_file(run.checkpoint()).unwrap();
        write(&mut checkpoints, 1, 20.0);
        assert_eq!(updates_in(&run.checkpoint()), 1);
    }

    #[test]
    fn a_run_folder_that_is_gone_is_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let mut checkpoints = checkpoints(&run);
        fs::remove_dir_all(run.path()).unwrap();
        let checkpoint = checkpoints.checkpoint(state(1, 1.0), 1);
        checkpoints.write(&checkpoint, SECOND_NS).unwrap_err();
        assert!(!run.path().exists());
    }

    #[test]
    fn the_best_of_an_earlier_process_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        write(&mut checkpoints(&run), 1, 400.0);
        let mut later = checkpoints(&run);
        write(&mut later, 2, 399.0);
        assert_eq!(updates_in(&run.best_checkpoint()), 1);
        write(&mut later, 3, 400.0);
        assert_eq!(updates_in(&run.best_checkpoint()), 3, "of equals the one trained longer");
    }

    #[test]
    fn one_is_due_an_interval_after_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let mut checkpoints = checkpoints(&run);
        assert!(!checkpoints.is_due(59 * SECOND_NS));
        assert!(checkpoints.is_due(60 * SECOND_NS));
        write(&mut checkpoints, 61, 1.0);
        assert!(!checkpoints.is_due(120 * SECOND_NS));
        write(&mut checkpoints, 61, 1.0);
        assert_eq!(checkpoints.n_written(), 1, "nothing was learned in between");
    }

    #[test]
    fn a_folder_that_takes_no_file_is_counted_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let mut checkpoints = checkpoints(&run);
        fs::write(run.checkpoints(), "in the way").unwrap();
        let checkpoint = checkpoints.checkpoint(state(1, 1.0), 1);
        let error = checkpoints.write(&checkpoint, SECOND_NS).unwrap_err().to_string();
        assert!(error.contains("checkpoints"), "{error}");
        assert_eq!((checkpoints.n_written(), checkpoints.n_failed()), (0, 1));
        fs::remove_file(run.checkpoints()).unwrap();
        checkpoints.write(&checkpoint, 2 * SECOND_NS).unwrap();
        assert_eq!((checkpoints.n_written(), checkpoints.n_failed()), (1, 1));
    }
}
