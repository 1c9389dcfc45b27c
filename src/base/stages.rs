//! Where the time of both hot loops goes: their stages, one histogram a stage, and the clock that cuts laps.
//!
//! Owns: the closed list of [`Stage`]s, their tags, and the [`StageClock`] that cuts a loop into laps
//! with no gap between them, so that the stages of a loop add up to its wall time. Knows nothing of
//! what a stage does. Used by both worker loops, the telemetry and the report.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::clock::monotonic_ns;

/// A named part of one of the two hot loops.
///
/// The learner's stages are timed once an update, the actor's once a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Learner: no complete batch of slots had been published yet, or another lane took it.
    Wait,
    /// Learner: taking slots, copying the newest weights, gathering slots where libtorch needs it.
    Batching,
    /// Learner: outputs of the target policy and the baseline for every row of the batch.
    Forward,
    /// Learner: importance ratios and V-trace targets.
    Vtrace,
    /// Learner: losses and their gradient with respect to every parameter.
    Backward,
    /// Learner: waiting until no other lane applies its gradient.
    Turn,
    /// Learner of several ranks: the round in which they sum their gradients, waiting for the slowest included.
    Exchange,
    /// Learner: clipping of the gradient and the optimiser's step.
    Optimizer,
    /// Learner: copying the new weights into the shared region.
    Publish,
    /// Learner: handing the slots back to their actors.
    Release,
    /// Learner: folding the update into metrics and sending them.
    Report,
    /// Actor: claiming a free slot, waiting on a full ring included.
    ActorClaim,
    /// Actor: copying the newest weights out of the shared region.
    ActorReadWeights,
    /// Actor: forward passes and sampling of T steps.
    ActorAct,
    /// Actor: T steps of E environments.
    ActorEnv,
    /// From an actor's publish to the learner's take of that slot.
    HandOver,
}

impl Stage {
    /// Every stage, in the order of the loops; `stage as usize` is its index here.
    pub const ALL: [Stage; 16] = [
        Stage::Wait,
        Stage::Batching,
        Stage::Forward,
        Stage::Vtrace,
        Stage::Backward,
        Stage::Turn,
        Stage::Exchange,
        Stage::Optimizer,
        Stage::Publish,
        Stage::Release,
        Stage::Report,
        Stage::ActorClaim,
        Stage::ActorReadWeights,
        Stage::ActorAct,
        Stage::ActorEnv,
        Stage::HandOver,
    ];

    /// The stages that together make up all of the time of each of the learner's lanes.
    pub const LEARNER: [Stage; 11] = *Stage::ALL.first_chunk().unwrap();

    /// The name used in `latency.hlog`, `summary.json` and `metrics.csv`.
    pub fn tag(self) -> &'static str {
        match self {
            Stage::Wait => "wait",
            Stage::Batching => "batching",
            Stage::Forward => "forward",
            Stage::Vtrace => "vtrace",
            Stage::Backward => "backward",
            Stage::Turn => "turn",
            Stage::Exchange => "exchange",
            Stage::Optimizer => "optimizer",
            Stage::Publish => "publish",
            Stage::Release => "release",
            Stage::Report => "report",
            Stage::ActorClaim => "actor_claim",
            Stage::ActorReadWeights => "actor_read_weights",
            Stage::ActorAct => "actor_act",
            Stage::ActorEnv => "actor_env",
            Stage::HandOver => "hand_over",
        }
    }

    /// The stage with this tag.
    pub fn from_tag(tag: &str) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.tag() == tag)
    }
}

/// Largest latency told apart: an hour. Longer ones are counted as this long.
const MAX_LATENCY_NS: u64 = 3_600_000_000_000;

/// Two significant digits (1 % steps) keep a histogram's encoded size near 2 kB, so that a report of all
/// stages fits into the channel's socket buffer with room to spare.
const SIGNIFICANT_DIGITS: u8 = 2;

/// An empty histogram of nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY_NS, SIGNIFICANT_DIGITS)
        .expect("constant bounds are valid: 1 >= 1, high >= 2 low, digits <= 5")
}

/// One histogram of nanoseconds for each [`Stage`].
pub struct StageHistograms {
    by_stage: Vec<Histogram<u64>>,
}

impl Default for StageHistograms {
    fn default() -> Self {
        StageHistograms { by_stage: Stage::ALL.iter().map(|_| histogram()).collect() }
    }
}

impl StageHistograms {
    /// Counts one latency. Values beyond an hour saturate; nothing is allocated.
    pub fn record(&mut self, stage: Stage, latency_ns: u64) {
        self.by_stage[stage as usize].saturating_record(latency_ns);
    }

    /// The histogram of one stage, in nanoseconds.
    pub fn get(&self, stage: Stage) -> &Histogram<u64> {
        &self.by_stage[stage as usize]
    }

    /// Adds another histogram of nanoseconds to a stage.
    pub fn add(&mut self, stage: Stage, other: &Histogram<u64>) {
        self.by_stage[stage as usize]
            .add(other)
            .expect("every stage histogram has the same bounds");
    }

    /// Forgets all counts, keeps the memory.
    pub fn clear(&mut self) {
        self.by_stage.iter_mut().for_each(Histogram::reset);
    }

    /// Whether nothing has been counted.
    pub fn is_empty(&self) -> bool {
        self.by_stage.iter().all(Histogram::is_empty)
    }
}

/// Cuts a loop's time into laps without a gap: each lap begins where the last one ended, so that the
/// stages of a loop add up to its wall time.
#[derive(Debug)]
pub struct StageClock {
    last_ns: u64,
    /// Time in each stage since [`StageClock::take`].
    laps_ns: [u64; Stage::ALL.len()],
}

impl StageClock {
    /// Starts the first lap now.
    pub fn start() -> Self {
        StageClock { last_ns: monotonic_ns(), laps_ns: [0; Stage::ALL.len()] }
    }

    /// Ends the current lap, counts it for `stage`, starts the next one; returns its length.
    pub fn lap(&mut self, stage: Stage) -> u64 {
        let now_ns = monotonic_ns();
        let lap_ns = now_ns - self.last_ns;
        self.laps_ns[stage as usize] += lap_ns;
        self.last_ns = now_ns;
        lap_ns
    }

    /// When the current lap began.
    pub fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Time in each stage (indexed by `stage as usize`) since the last call.
    pub fn take(&mut self) -> [u64; Stage::ALL.len()] {
        std::mem::replace(&mut self.laps_ns, [0; Stage::ALL.len()])
    }
}
