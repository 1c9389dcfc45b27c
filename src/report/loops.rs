//! How long the loops of a run's processes ran, from its summary.
//!
//! Owns what a loop's time is taken to be where it was not measured as such. Judges nothing; the bottleneck,
//! the tables and the plots of shares divide by it.

use crate::base::stages::Stage;
use crate::telemetry::{ActorSummary, Summary};

/// Time of one stage over the whole run.
#[derive(Clone, Copy, Debug)]
pub struct StageTime {
    /// The stage.
    pub stage: Stage,
    /// All of it, s.
    pub total_s: f64,
    /// In the mean, µs.
    pub mean_us: f64,
}

/// Every stage of the learner that was measured, in the order of the loop.
pub fn learner_stages(summary: &Summary) -> Vec<StageTime> {
    let time_of = |stage: Stage| {
        let latency = summary.latency_us.get(stage.tag())?;
        let total_s = finite(latency.count as f64 * latency.mean) / 1e6;
        Some(StageTime { stage, total_s, mean_us: latency.mean })
    };
    Stage::LEARNER.into_iter().filter_map(time_of).collect()
}

/// Seconds of the learner's loops, waiting included. The stages cover them without a gap, and those of several
/// threads add up to more than `train_s`, which stands for them where nothing was timed.
pub fn learner_loop_s(summary: &Summary) -> f64 {
    let measured_s: f64 = learner_stages(summary).iter().map(|stage| stage.total_s).sum();
    if measured_s > 0.0 { measured_s } else { finite(summary.train_s) }
}

/// Seconds one actor's loop ran: the learner's, or longer where its parts add up to more.
pub fn actor_loop_s(actor: &ActorSummary, train_s: f64) -> f64 {
    let parts = [actor.act_s, actor.env_s, actor.read_weights_s, actor.blocked_s];
    parts.into_iter().map(finite).sum::<f64>().max(finite(train_s))
}

/// What was not measured counts as none.
pub fn finite(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

/// A part of a whole; 0 of nothing.
pub fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
