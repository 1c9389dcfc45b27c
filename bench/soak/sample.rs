//! What a run shows from outside at one moment: plain data.

use serde::Serialize;

/// One look at a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// Seconds since the run was first looked at.
    pub time_s: f64,
    /// Frames learned from so far.
    pub frames: u64,
    /// Processor time that all of the run's processes have had since the first look, s.
    pub cpu_s: f64,
    /// Frames that a learner alone learned from in a second of processor time, just before this look.
    pub yardstick: f64,
    /// Mean policy lag in the newest row of `metrics.csv`, updates; NaN before the first.
    pub policy_lag: f64,
    /// Workers that had to be replaced so far.
    pub restarts: u64,
    /// Load average of the machine over a minute.
    pub load: f64,
    /// Each process: the supervisor, the learner, the actors.
    pub processes: Vec<Process>,
}

/// One process of the run in a sample.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Process {
    /// `supervisor`, `learner`, or `actor0` and so on.
    pub name: String,
    /// Memory, shared pages in equal parts for all who share them.
    pub pss_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
}
