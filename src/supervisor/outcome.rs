//! What a run came to, when its last worker has ended: plain data.
//!
//! Made by the supervisor; `train.rs` makes the summary of it.

use super::place::Place;
use super::recorder::Totals;
use crate::shm::board::ActorStatus;
use crate::state::checkpoint::{Checkpoint, CheckpointError};
use crate::telemetry::{Exit, Reliability};

/// What a run came to.
pub struct RunOutcome {
    /// How it ended.
    pub exit: Exit,
    /// The same in words.
    pub reason: String,
    /// What was reported and sampled, added up.
    pub totals: Totals,
    /// Rollouts left out of learning because their policy was too old.
    pub rollouts_dropped: u64,
    /// What each actor did.
    pub actors: Vec<ActorFigures>,
    /// Time the learner waited for slots, ns.
    pub learner_wait_ns: u64,
    /// Where training stood at the end, whether or not it could be written.
    pub checkpoint: Checkpoint,
    /// Why the last checkpoint could not be written, where it could not.
    pub unsaved: Option<CheckpointError>,
    /// What was saved, and what went wrong.
    pub reliability: Reliability,
}

/// Totals of one actor's place over all its processes.
#[derive(Clone, Copy, Debug)]
pub struct ActorFigures {
    /// Environment steps in published rollouts.
    pub frames: u64,
    /// Rollouts published.
    pub rollouts: u64,
    /// Time blocked on a full ring, ns.
    pub claim_wait_ns: u64,
    /// Time copying weights, ns.
    pub read_weights_ns: u64,
    /// Time in forward passes and sampling, ns.
    pub act_ns: u64,
    /// Time in environments, ns.
    pub env_ns: u64,
    /// Times the ring was full when it came to claim a slot.
    pub n_waits: u64,
    /// Reads of the weights that had to begin anew.
    pub weights_retries: u64,
    /// Times it was started again.
    pub n_restarts: u64,
    /// Rollouts that were not published for a number that was none.
    pub n_bad_rollouts: u64,
}

impl ActorFigures {
    /// What the board says of an actor, and what its place has seen.
    pub fn of(actor: &ActorStatus, place: &Place) -> Self {
        ActorFigures {
            frames: actor.frames.get(),
            rollouts: actor.rollouts.get(),
            claim_wait_ns: actor.claim_wait_ns.get(),
            read_weights_ns: actor.read_weights_ns.get(),
            act_ns: actor.act_ns.get(),
            env_ns: actor.env_ns.get(),
            n_waits: actor.n_waits.get(),
            weights_retries: actor.weights_retries.get(),
            n_restarts: place.n_restarts(),
            n_bad_rollouts: actor.bad_rollouts.get(),
        }
    }
}

/// How a run ended that nothing hindered, in words.
pub fn reason(exit: Exit) -> &'static str {
    match exit {
        Exit::Finished => "the frame budget was consumed",
        Exit::Solved => "the task was solved",
        Exit::Interrupted => "a signal asked for it",
        Exit::Failed => "a worker failed",
    }
}
