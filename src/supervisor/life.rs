//! A worker's life: what its process does from the fork to its exit status.
//!
//! Owns the way from a worker's error to the status by which the supervisor tells what it died of. Called
//! by the supervisor in a process that it has just forked.

use crate::actor::{Actor, ActorError};
use crate::base::clock::RunClock;
use crate::base::faults;
use crate::config::Config;
use crate::learner::{Learner, LearnerError, MessageSink};
use crate::os::process::{EXIT_DIVERGED, EXIT_ERROR, EXIT_SEGMENT, leave_words, set_process_name};
use crate::shm::{Segment, SegmentError};

/// All that the learner's process does; its exit status. `is_first` says that none was in its place before.
pub fn of_learner(
    config: &Config,
    segment: &Segment,
    run_clock: RunClock,
    sink: impl MessageSink + Send,
    is_first: bool,
) -> i32 {
    faults::take_part(|| "learner".into(), is_first);
    set_process_name("impala-learner");
    exit_status("learner", learn(config, segment, run_clock, sink))
}

fn learn(
    config: &Config,
    segment: &Segment,
    run_clock: RunClock,
    sink: impl MessageSink + Send,
) -> Result<(), WorkerError> {
    Ok(Learner::new(config, segment, run_clock, sink)?.run()?)
}

/// All that an actor's process does; its exit status. `is_first` says that none was in its place before.
pub fn of_actor(
    config: &Config,
    segment: &Segment,
    actor: usize,
    generation: u64,
    is_first: bool,
) -> i32 {
    faults::take_part(|| format!("actor{actor}"), is_first);
    // No dash: the number of the last of 256 actors just fits.
    set_process_name(&format!("impala-actor{actor}"));
    exit_status(&format!("actor {actor}"), act(config, segment, actor, generation))
}

fn act(
    config: &Config,
    segment: &Segment,
    actor: usize,
    generation: u64,
) -> Result<(), WorkerError> {
    match Actor::new(config, segment, actor, generation)? {
        Some(actor) => Ok(actor.run()?),
        None => Ok(()),
    }
}

/// Why a worker ended early.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error(transparent)]
    Learner(#[from] LearnerError),
    #[error(transparent)]
    Actor(#[from] ActorError),
}

impl WorkerError {
    /// Whether the worker found the shared segment damaged.
    fn is_damage(&self) -> bool {
        use SegmentError::{Cell, Header, Ring};
        match self {
            WorkerError::Learner(LearnerError::NoState) => true,
            WorkerError::Learner(LearnerError::Segment(error))
            | WorkerError::Actor(ActorError::Segment(error)) => {
                matches!(error, Cell(_) | Header { .. } | Ring { .. })
            }
            WorkerError::Learner(_) | WorkerError::Actor(_) => false,
        }
    }
}

/// The exit status of a worker; says on stderr why it failed, if it did.
fn exit_status(role: &str, result: Result<(), WorkerError>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            leave_words(&format!("{role}: {error}"));
            match error {
                _ if error.is_damage() => EXIT_SEGMENT,
                WorkerError::Learner(LearnerError::Diverged { .. }) => EXIT_DIVERGED,
                WorkerError::Learner(_) | WorkerError::Actor(_) => EXIT_ERROR,
            }
        }
    }
}
