//! The table of the stages of both loops: how often each ran, and for how long.
//!
//! Owns its rows and the meaning of each stage in words.

use super::read::RunData;
use super::units::{DASH, grouped, micros, percent};
use crate::base::stages::Stage;
use crate::telemetry::LatencySummary;

/// The stages of one loop.
pub struct StageGroup {
    /// Which loop.
    pub loop_name: &'static str,
    /// Its stages, in order.
    pub rows: Vec<StageRow>,
}

/// One stage, as text.
pub struct StageRow {
    /// Its name in files.
    pub tag: &'static str,
    /// What it is.
    pub what: &'static str,
    /// How many were timed.
    pub count: String,
    /// Mean time.
    pub mean: String,
    /// Half were shorter.
    pub p50: String,
    /// Nine of ten were shorter.
    pub p90: String,
    /// 99 of 100 were shorter.
    pub p99: String,
    /// The longest.
    pub max: String,
    /// Of the loop's time.
    pub share: String,
}

const ACTOR_STAGES: [Stage; 4] =
    [Stage::ActorClaim, Stage::ActorReadWeights, Stage::ActorAct, Stage::ActorEnv];

/// The table, loop by loop; a loop of which nothing was measured is not there.
pub fn stage_groups(run: &RunData) -> Vec<StageGroup> {
    let groups: [(&'static str, &[Stage]); 3] = [
        ("Learner, per update", &Stage::LEARNER),
        ("Actors, per rollout", &ACTOR_STAGES),
        ("Between them, per rollout", &[Stage::HandOver]),
    ];
    groups
        .into_iter()
        .map(|(loop_name, stages)| StageGroup { loop_name, rows: stage_rows(run, stages) })
        .filter(|group| !group.rows.is_empty())
        .collect()
}

fn stage_rows(run: &RunData, stages: &[Stage]) -> Vec<StageRow> {
    let measured: Vec<(Stage, LatencySummary)> =
        stages.iter().filter_map(|&stage| Some((stage, latency(run, stage)?))).collect();
    let loop_us: f64 = measured.iter().map(|(_, latency)| total_us(latency)).sum();
    measured.iter().map(|(stage, latency)| stage_row(*stage, latency, loop_us)).collect()
}

/// The log's figures, which the plots show too: of a resumed run the summary has those of its last part
/// alone. The summary's where the log was lost.
fn latency(run: &RunData, stage: Stage) -> Option<LatencySummary> {
    let of_summary = || run.summary.as_ref()?.latency_us.get(stage.tag()).copied();
    run.latencies.get(stage).map(LatencySummary::of).or_else(of_summary)
}

fn total_us(latency: &LatencySummary) -> f64 {
    latency.count as f64 * latency.mean
}

fn stage_row(stage: Stage, latency: &LatencySummary, loop_us: f64) -> StageRow {
    let share = match stage {
        Stage::HandOver => DASH.to_owned(),
        _ => percent(total_us(latency) / loop_us),
    };
    StageRow {
        tag: stage.tag(),
        what: meaning(stage),
        count: grouped(latency.count),
        mean: micros(latency.mean),
        p50: micros(latency.p50),
        p90: micros(latency.p90),
        p99: micros(latency.p99),
        max: micros(latency.max),
        share,
    }
}

/// A stage in the fewest words that a newcomer understands.
fn meaning(stage: Stage) -> &'static str {
    match stage {
        Stage::Wait => "waiting for rollouts",
        Stage::Batching => "gathering rollouts into a batch",
        Stage::Forward => "policy and value of every frame",
        Stage::Vtrace => "importance ratios and V-trace targets",
        Stage::Backward => "losses and gradient",
        Stage::Turn => "waiting until no other thread steps the optimiser",
        Stage::Exchange => "summing gradients with the other ranks",
        Stage::Optimizer => "gradient clipping and parameter step",
        Stage::Publish => "handing new weights to the actors",
        Stage::Release => "giving slots back",
        Stage::Report => "measuring itself",
        Stage::ActorClaim => "claiming a slot, waiting included",
        Stage::ActorReadWeights => "copying the newest weights",
        Stage::ActorAct => "choosing actions",
        Stage::ActorEnv => "stepping the environments",
        Stage::HandOver => "from published to taken",
    }
}
