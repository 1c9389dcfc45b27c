//! The keeper of a run's states: what of its training is never lost, and where it goes back to.
//!
//! Owns what was last read of the learner's state in shared memory, the checkpoints made of it, and what
//! the segment is given to go on from after a divergence or damage. Knows no process: it writes into the
//! segment only when its caller, the supervisor, says that there is no learner.

use super::divergence::{Divergence, Remedy};
use crate::base::clock::{RunClock, monotonic_ns};
use crate::config::{Config, ConfigError};
use crate::run::checkpoints::Checkpoints;
use crate::run::dir::RunDir;
use crate::run::first_state::fresh_state;
use crate::shm::state::{SavedState, StateReader};
use crate::shm::{Segment, SegmentError};
use crate::state::checkpoint::{Checkpoint, CheckpointError};
use crate::state::{Counters, LearnerState};
use crate::telemetry::Reliability;

/// The states that a run can go on from.
pub struct Keeper<'a> {
    segment: &'a Segment,
    run_clock: RunClock,
    is_deterministic: bool,
    /// Whether this one writes checkpoints: of several ranks, whose states are equal, the first does.
    is_writer: bool,
    /// The learner's state, from which checkpoints are made.
    saved: StateReader<'a>,
    /// Whether it could not be read.
    found_damage: bool,
    /// Frames learned from, less those that the board counts. The board goes on over a reset, also of what is
    /// lost with it; the difference may then be below zero.
    frames_off_board: i64,
    /// The newest state that was read, and the one before that.
    state: LearnerState,
    state_before: LearnerState,
    divergence: Divergence,
    checkpoints: Checkpoints,
    n_rollbacks: u64,
    n_resets: u64,
}

impl<'a> Keeper<'a> {
    /// Begins with the state in the segment, at `now_ns`.
    ///
    /// # Errors
    /// If the configuration cannot work.
    pub fn new(
        config: &Config,
        run: &RunDir,
        run_clock: RunClock,
        segment: &'a Segment,
        now_ns: u64,
    ) -> Result<Self, ConfigError> {
        let mut saved = segment.state_reader();
        // It is damaged at most as soon as there are workers.
        let state = saved.read_if_newer().ok().flatten();
        let state = state.map_or_else(|| fresh_state(config), |saved| Ok(saved.state))?;
        Ok(Keeper {
            segment,
            run_clock,
            is_deterministic: config.deterministic,
            is_writer: config.rank.is_first(),
            saved,
            found_damage: false,
            frames_off_board: state.counters.frames as i64 - frames_on_board(segment),
            state_before: state.clone(),
            state,
            divergence: Divergence::new(config.supervision.max_bad_updates),
            checkpoints: Checkpoints::new(config, run, now_ns)?,
            n_rollbacks: 0,
            n_resets: 0,
        })
    }

    /// What had been counted when the state was last read.
    pub fn counters(&self) -> &Counters {
        &self.state.counters
    }

    /// Times the segment was made new.
    pub fn n_resets(&self) -> u64 {
        self.n_resets
    }

    /// What was saved and what was gone back for; all else is 0.
    pub fn reliability(&self) -> Reliability {
        Reliability {
            checkpoints: self.checkpoints.n_written(),
            checkpoint_errors: self.checkpoints.n_failed(),
            segment_resets: self.n_resets,
            rollbacks: self.n_rollbacks,
            ..Reliability::default()
        }
    }

    /// Whether it is time for a checkpoint.
    pub fn is_checkpoint_due(&self) -> bool {
        self.is_writer && self.checkpoints.is_due(monotonic_ns())
    }

    /// Writes where training stands, from shared memory, where this is the one that writes. The learner goes on
    /// meanwhile.
    ///
    /// # Errors
    /// If the file system refuses; it is counted, and all that was there before still is.
    pub fn write_checkpoint(&mut self) -> Result<(), CheckpointError> {
        let now_ns = monotonic_ns();
        let mut checkpoint = self.checkpoint(now_ns);
        if !self.is_writer {
            return Ok(());
        }
        if self.is_deterministic {
            checkpoint.forget_times();
        }
        self.checkpoints.write(&checkpoint, now_ns)
    }

    /// Where training stands at `now_ns`.
    pub fn checkpoint(&mut self, now_ns: u64) -> Checkpoint {
        match self.saved.read_if_newer() {
            Ok(Some(saved)) => self.state_before = std::mem::replace(&mut self.state, saved.state),
            Ok(None) => {}
            Err(_) => self.found_damage = true,
        }
        let mut state = self.state.clone();
        state.counters.frames_produced_before += self.segment.board().frames_produced();
        self.checkpoints.checkpoint(state, self.run_clock.since_start_ns(now_ns))
    }

    /// Where training stands at `now_ns`, for somebody who only looks: nothing is ever taken back to it. `None`
    /// where the segment is damaged, which is for others to find.
    pub fn look(&self, now_ns: u64) -> Option<Checkpoint> {
        let SavedState { mut state, .. } =
            self.segment.state_reader().read_if_newer().ok().flatten()?;
        state.counters.frames_produced_before += self.segment.board().frames_produced();
        Some(self.checkpoints.checkpoint(state, self.run_clock.since_start_ns(now_ns)))
    }

    /// Keeps a checkpoint as the best one, if no evaluation had a higher mean.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn keep_if_best(
        &mut self,
        mut checkpoint: Checkpoint,
        mean: f64,
    ) -> Result<(), CheckpointError> {
        if self.is_deterministic {
            checkpoint.forget_times();
        }
        self.checkpoints.keep_if_best(&checkpoint, mean)
    }

    /// Whether the state could not be read since the last call.
    pub fn take_damage(&mut self) -> bool {
        std::mem::take(&mut self.found_damage)
    }

    /// Frames learned from until now, as the learner counts them in the segment.
    pub fn frames_now(&self) -> u64 {
        (self.frames_off_board + frames_on_board(self.segment)) as u64
    }

    /// After a learner's death for want of finite updates: takes weights and optimiser back to where they
    /// had proved themselves, and says where that is. All counts go on. `None`, and nothing is done, where
    /// the segment holds no sound state.
    ///
    /// # Errors
    /// If somebody holds the learner's roles.
    pub fn go_back(&mut self) -> Result<Option<Remedy>, SegmentError> {
        let last = self.segment.state_reader().read_if_newer();
        let Ok(Some(SavedState { state: last, consumed })) = last else { return Ok(None) };
        let n_updates = |state: &LearnerState| state.counters.updates;
        let (newest, older) = (n_updates(&self.state), n_updates(&self.state_before));
        let remedy = self.divergence.decide(n_updates(&last), newest, older);
        let goal = match remedy {
            Remedy::GoBackTo(goal) if goal == newest => &self.state,
            _ => &self.state_before,
        };
        let mut counters = last.counters;
        // Versions never go back (W4): what is taken back counts as one more update.
        counters.updates += u64::from(remedy != Remedy::Stop);
        self.state = LearnerState { counters, recent_returns: last.recent_returns, ..goal.clone() };
        self.state_before = self.state.clone();
        if remedy == Remedy::Stop {
            // Nobody learns from here on. What stands in the segment is passed over as if it had been read.
            _ = self.saved.read_if_newer();
        } else {
            self.segment.put_state(&self.state, consumed)?;
            self.n_rollbacks += 1;
        }
        Ok(Some(remedy))
    }

    /// Makes the segment new around the last state that was read, while no worker lives.
    ///
    /// # Errors
    /// If somebody holds the learner's roles.
    pub fn reset_segment(&mut self) -> Result<(), SegmentError> {
        self.segment.reset();
        self.segment.put_state(&self.state, vec![0; self.segment.layout().shape.n_actors])?;
        self.saved = self.segment.state_reader();
        let frames = self.state.counters.frames as i64;
        self.frames_off_board = frames - frames_on_board(self.segment);
        self.n_resets += 1;
        Ok(())
    }
}

/// Frames learned from in this segment, over all its resets.
fn frames_on_board(segment: &Segment) -> i64 {
    segment.board().learner().frames.get() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::sizes::Sizes;

    /// Of 5,000 frames 3,000 were saved; then the segment is damaged.
    #[test]
    fn frames_lost_with_a_segment_are_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create_at(&folder.path().join("run")).unwrap();
        let config = Config::default();
        let segment = Segment::heap(&Sizes::of(&config).unwrap().segment).unwrap();
        let state = fresh_state(&config).unwrap();
        let save = |frames| {
            let counters = Counters { frames, updates: frames / 1000, ..state.counters };
            let state = LearnerState { counters, ..state.clone() };
            segment.put_state(&state, vec![0; config.actors.count]).unwrap();
        };
        save(0);
        let clock = RunClock::starting_at(0);
        let mut keeper = Keeper::new(&config, &run, clock, &segment, 0).unwrap();
        save(3000);
        keeper.checkpoint(0);
        segment.board().learner().frames.add(5000);
        assert_eq!(keeper.frames_now(), 5000);
        keeper.reset_segment().unwrap();
        assert_eq!(keeper.frames_now(), 3000);
        segment.board().learner().frames.add(10);
        assert_eq!(keeper.frames_now(), 3010);
    }

    /// A run that diverges, goes back, and diverges again at once: only going back counts as an update.
    #[test]
    fn a_run_that_ends_diverged_counts_no_update_that_was_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create_at(&folder.path().join("run")).unwrap();
        let config = Config::default();
        let segment = Segment::heap(&Sizes::of(&config).unwrap().segment).unwrap();
        let consumed = || vec![0; config.actors.count];
        let state = fresh_state(&config).unwrap();
        segment.put_state(&state, consumed()).unwrap();
        let clock = RunClock::starting_at(0);
        let mut keeper = Keeper::new(&config, &run, clock, &segment, 0).unwrap();
        let learned = |updates: u64| {
            let counters = Counters { updates, ..state.counters };
            let params = vec![f32::MAX; state.params.len()];
            let hopeless = LearnerState { counters, params, ..state.clone() };
            segment.put_state(&hopeless, consumed()).unwrap();
        };
        learned(3);
        assert_eq!(keeper.go_back().unwrap(), Some(Remedy::GoBackTo(0)));
        assert_eq!(keeper.checkpoint(0).state.counters.updates, 4);
        learned(5);
        assert_eq!(keeper.go_back().unwrap(), Some(Remedy::Stop));
        let last = keeper.checkpoint(0).state;
        assert_eq!((last.counters.updates, last.params), (5, state.params), "sound weights");
        assert_eq!(keeper.reliability().rollbacks, 1);
    }
}
