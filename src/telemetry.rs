//! What a run tells about itself: the rows, reports and summary that travel from the learner to the
//! supervisor and from there into files. Pure data; no I/O, no clock.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{
    Deserializer as HistogramDeserializer, Serializer as _, V2Serializer,
};
use serde::{Deserialize, Deserializer, Serialize};

use crate::latency::{Stage, StageHistograms};

/// JSON has no NaN: what is not finite is written as `null`. Reading `null` as NaN keeps a summary of a
/// run that diverged, or measured nothing, readable. Binary formats carry NaN as it is.
fn null_is_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    if !deserializer.is_human_readable() {
        return f64::deserialize(deserializer);
    }
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

fn nan() -> f64 {
    f64::NAN
}

/// What the learner sends to the supervisor over ipc-channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Message {
    /// A few times a second: what happened since the last one.
    Report(Box<Report>),
    /// Once, last: why the learner's loop ended.
    Finished(Exit),
}

/// Rows and latencies of one stretch of training.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// `CLOCK_MONOTONIC` at its start, ns.
    pub start_ns: u64,
    /// `CLOCK_MONOTONIC` at its end, ns.
    pub end_ns: u64,
    /// Rows completed in it.
    pub rows: Vec<MetricsRow>,
    /// Histogram of every stage that was timed in it, encoded.
    pub latency: Vec<(Stage, EncodedHistogram)>,
    /// The newest figures, for the progress line.
    pub progress: Progress,
    /// What became of each slot, where the run logs that.
    pub slots: Vec<SlotRecord>,
    /// What is added up over the run.
    pub sums: LearnerSums,
    /// Policy lag of each slot learned from.
    pub policy_lag: Option<EncodedHistogram>,
    /// Gradient lag of each update.
    pub gradient_lag: Option<EncodedHistogram>,
}

/// What a learner did in one stretch, to be added to that of all others, be they of its process or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LearnerSums {
    /// When the first rollout began to be collected, `CLOCK_MONOTONIC` ns.
    pub first_frame_ns: Option<u64>,
    /// Frames learned from in rows that were closed.
    pub n_ratios: u64,
    /// Sum of their unclipped importance ratios.
    pub rho_sum: f64,
    /// Smallest and largest of them.
    pub rho_bounds: Option<(f64, f64)>,
    /// Time of updates, ns.
    pub update_ns: u64,
    /// Of that, time in which at least one actor was collecting, ns.
    pub collected_ns: u64,
}

impl LearnerSums {
    /// Adds what was done in another stretch.
    pub fn merge(&mut self, other: &LearnerSums) {
        self.first_frame_ns = self.first_frame_ns.into_iter().chain(other.first_frame_ns).min();
        self.n_ratios += other.n_ratios;
        self.rho_sum += other.rho_sum;
        self.rho_bounds = self
            .rho_bounds
            .into_iter()
            .chain(other.rho_bounds)
            .reduce(|(min, max), (low, high)| (min.min(low), max.max(high)));
        self.update_ns += other.update_ns;
        self.collected_ns += other.collected_ns;
    }

    /// Importance ratios of all rows; zeros before the first.
    pub fn rho(&self) -> Spread {
        let Some((min, max)) = self.rho_bounds else { return Spread::default() };
        Spread { min, mean: self.rho_sum / self.n_ratios.max(1) as f64, max }
    }

    /// Share of the update time in which at least one actor was collecting, 0 to 1; 0 without updates.
    pub fn collected_during_updates(&self) -> f64 {
        self.collected_ns as f64 / self.update_ns.max(1) as f64
    }
}

/// Largest lag told apart in a run's histogram; larger ones count as this.
const MAX_LAG: u64 = 1_000_000;

/// A histogram of ages in updates, with nothing in it.
pub fn lag_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LAG, 3).expect("constant bounds are valid")
}

/// What all learners of a run did, added up from their reports.
#[derive(Clone, Debug)]
pub struct LearnerFigures {
    /// Sums of all reports.
    pub sums: LearnerSums,
    policy_lag: Histogram<u64>,
    gradient_lag: Histogram<u64>,
}

impl Default for LearnerFigures {
    fn default() -> Self {
        LearnerFigures {
            sums: LearnerSums::default(),
            policy_lag: lag_histogram(),
            gradient_lag: lag_histogram(),
        }
    }
}

impl LearnerFigures {
    /// Adds what a report covers.
    ///
    /// # Errors
    /// If it holds bytes that are no histogram.
    pub fn add(&mut self, report: &Report) -> Result<(), DecodeError> {
        self.sums.merge(&report.sums);
        for (total, part) in [
            (&mut self.policy_lag, &report.policy_lag),
            (&mut self.gradient_lag, &report.gradient_lag),
        ] {
            let Some(part) = part else { continue };
            // What is beyond the scale was counted as its end before.
            part.decode()?.iter_recorded().for_each(|lag| {
                total
                    .saturating_record_n(lag.value_iterated_to(), lag.count_since_last_iteration());
            });
        }
        Ok(())
    }

    /// Policy lag of all slots learned from.
    pub fn policy_lag(&self) -> LagSummary {
        LagSummary::of(&self.policy_lag)
    }

    /// Gradient lag of all updates.
    pub fn gradient_lag(&self) -> LagSummary {
        LagSummary::of(&self.gradient_lag)
    }
}

/// One slot that the learner took, and what it did with it: a line of `slots.csv`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// Whose rollout it holds.
    pub actor: usize,
    /// Generation of the actor's process.
    pub generation: u64,
    /// How many slots were published into the ring before it.
    pub sequence: u64,
    /// Version of the weights that were acted with.
    pub policy_version: u64,
    /// The update that learned from it, which is the version that it made; `None` for a slot that was left
    /// out.
    pub update: Option<u64>,
    /// Version of the weights that the gradient is at.
    pub gradient_version: Option<u64>,
    /// Weight of the entropy bonus.
    pub entropy_cost: Option<f64>,
}

/// What a slot was used for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlotUse {
    /// The update that learned from it.
    pub update: u64,
    /// Version of the weights that the gradient is at.
    pub gradient_version: u64,
    /// Weight of the entropy bonus.
    pub entropy_cost: f64,
}

/// Where training stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Frames consumed by learning.
    pub frames: u64,
    /// Updates.
    pub updates: u64,
    /// Mean return of the last 100 episodes.
    pub score_last100: Option<f64>,
    /// Mean policy lag of the newest row, in updates; of the first one while it is not finished.
    pub policy_lag_mean: f64,
}

/// A histogram in HdrHistogram's V2 encoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncodedHistogram(Vec<u8>);

/// A message held bytes that are no histogram: the two ends are not of one build.
#[derive(Debug, thiserror::Error)]
#[error("a latency histogram could not be decoded ({0}); rebuild so that all processes agree")]
pub struct DecodeError(hdrhistogram::serialization::DeserializeError);

impl EncodedHistogram {
    /// Encodes a histogram.
    pub fn encode(histogram: &Histogram<u64>) -> Self {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(histogram, &mut bytes)
            .expect("writing to memory does not fail");
        EncodedHistogram(bytes)
    }

    /// The histogram again.
    ///
    /// # Errors
    /// If the bytes are not a V2 histogram.
    pub fn decode(&self) -> Result<Histogram<u64>, DecodeError> {
        HistogramDeserializer::new().deserialize(&mut self.0.as_slice()).map_err(DecodeError)
    }
}

/// Encodes every stage that has counts.
pub fn encode_stages(histograms: &StageHistograms) -> Vec<(Stage, EncodedHistogram)> {
    let timed = Stage::ALL.into_iter().filter(|&stage| !histograms.get(stage).is_empty());
    timed.map(|stage| (stage, EncodedHistogram::encode(histograms.get(stage)))).collect()
}

/// One row of `metrics.csv`: everything measured over one reporting interval (a fixed number of
/// consumed frames). `docs/metrics.md` documents each column; a test compares the names.
///
/// Means are over the updates of the interval unless said otherwise; losses are per learned frame.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsRow {
    /// Seconds from process start to the end of the interval.
    pub time_s: f64,
    /// Frames consumed by learning since the start.
    pub frames: u64,
    /// Frames collected by all actors since the start.
    pub frames_produced: u64,
    /// Learner updates since the start; equals the policy version.
    pub updates: u64,
    /// Consumed frames per second over the interval.
    pub frames_per_s: f64,
    /// Finished training episodes since the start.
    pub episodes: u64,
    /// Mean undiscounted return of the episodes that finished in the interval; empty if none did.
    pub score_mean: Option<f64>,
    /// Smallest return in the interval.
    pub score_min: Option<f64>,
    /// Largest return in the interval.
    pub score_max: Option<f64>,
    /// Mean return of the last 100 finished episodes (of all, while there are fewer).
    pub score_last100: Option<f64>,
    /// policy_loss + baseline_cost · critic_loss − entropy_cost · entropy.
    pub total_loss: f64,
    /// Policy-gradient loss, −log π(a|x) · pg_advantage.
    pub policy_loss: f64,
    /// Critic (baseline) loss, ½ (vs − V(x))².
    pub critic_loss: f64,
    /// Entropy of the target policy, nats.
    pub entropy: f64,
    /// Smallest unclipped importance ratio π(a|x)/μ(a|x) of the interval.
    pub rho_min: f64,
    /// Mean unclipped importance ratio.
    pub rho_mean: f64,
    /// Largest unclipped importance ratio of the interval.
    pub rho_max: f64,
    /// Share of ratios above `rho_bar`, 0 to 1.
    pub rho_clipped: f64,
    /// KL(μ ‖ π) from behaviour to target policy, nats.
    pub kl: f64,
    /// 1 − Var(vs − V) / Var(vs), of the baseline against the V-trace targets.
    pub explained_variance: f64,
    /// Norm of the gradient of the summed loss, before clipping.
    pub grad_norm: f64,
    /// Learning rate of the last update of the interval.
    pub learning_rate: f64,
    /// Weight of the entropy bonus in the last update.
    pub entropy_cost: f64,
    /// Mean policy lag, in updates, of the slots consumed, as their gradients were applied.
    pub policy_lag_mean: f64,
    /// Largest policy lag, in updates.
    pub policy_lag_max: u64,
    /// Mean number of updates between the weights that a gradient was computed at and those that it
    /// changed; 0 with one learner thread.
    pub gradient_lag_mean: f64,
    /// Mean number of published slots that waited when the learner took a batch.
    pub ring_occupancy: f64,
    /// Mean time an update spent in each of the learner's stages, µs.
    pub wait_us: f64,
    /// See [`crate::latency::Stage::Batching`]; µs an update.
    pub batching_us: f64,
    /// See [`crate::latency::Stage::Forward`]; µs an update.
    pub forward_us: f64,
    /// See [`crate::latency::Stage::Vtrace`]; µs an update.
    pub vtrace_us: f64,
    /// See [`crate::latency::Stage::Backward`]; µs an update.
    pub backward_us: f64,
    /// See [`crate::latency::Stage::Turn`]; µs an update.
    pub turn_us: f64,
    /// See [`crate::latency::Stage::Optimizer`]; µs an update.
    pub optimizer_us: f64,
    /// See [`crate::latency::Stage::Publish`]; µs an update.
    pub publish_us: f64,
    /// See [`crate::latency::Stage::Release`]; µs an update.
    pub release_us: f64,
    /// See [`crate::latency::Stage::Report`]; µs an update.
    pub report_us: f64,
}

/// One row of `processes.csv`: one process at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// Seconds from process start; the same in all rows of one sample.
    pub time_s: f64,
    /// `supervisor`, `learner`, or `actor0` and so on.
    pub process: String,
    /// Its number in the system; another one after a restart.
    pub pid: u32,
    /// Memory, shared pages in equal parts for all who share them.
    pub pss_bytes: u64,
    /// Times this process was started again so far.
    pub restarts: u64,
}

impl ProcessSample {
    /// The process, or `actors` for any of them.
    pub fn role(&self) -> &str {
        if self.process.starts_with("actor") { "actors" } else { &self.process }
    }
}

/// Memory of all processes (PSS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemorySummary {
    /// Largest sum over the processes of any sample, bytes.
    pub peak_bytes: u64,
    /// The supervisor's in the last sample in which the learner lived, bytes.
    pub supervisor_bytes: u64,
    /// The learner's then, bytes.
    pub learner_bytes: u64,
    /// All actors' then, bytes.
    pub actors_bytes: u64,
}

impl MemorySummary {
    /// All processes in the last sample.
    pub fn total_bytes(&self) -> u64 {
        self.supervisor_bytes + self.learner_bytes + self.actors_bytes
    }

    /// Takes in one sample of all processes.
    pub fn add(&mut self, samples: &[ProcessSample]) {
        let sum = |role: &str| -> u64 {
            samples.iter().filter(|s| s.role() == role).map(|s| s.pss_bytes).sum()
        };
        self.peak_bytes = self.peak_bytes.max(samples.iter().map(|s| s.pss_bytes).sum());
        // The learner may have ended before its last message was read.
        if samples.iter().any(|sample| sample.role() == "learner") {
            self.supervisor_bytes = sum("supervisor");
            self.learner_bytes = sum("learner");
            self.actors_bytes = sum("actors");
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// The frame budget was consumed.
    Finished,
    /// The score reached the environment's threshold and `stop_when_solved` was set.
    Solved,
    /// A signal (Ctrl-C, SIGTERM) asked for an orderly stop.
    Interrupted,
    /// Workers died too often, training diverged, or shared memory was damaged again and again.
    #[default]
    Failed,
}

/// Percentiles of one stage's latency, µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Number of measurements.
    pub count: u64,
    /// Mean, µs.
    #[serde(deserialize_with = "null_is_nan")]
    pub mean: f64,
    /// Median, µs.
    #[serde(deserialize_with = "null_is_nan")]
    pub p50: f64,
    /// 90th percentile, µs.
    #[serde(deserialize_with = "null_is_nan")]
    pub p90: f64,
    /// 99th percentile, µs.
    #[serde(deserialize_with = "null_is_nan")]
    pub p99: f64,
    /// Maximum, µs.
    #[serde(deserialize_with = "null_is_nan")]
    pub max: f64,
}

impl LatencySummary {
    /// The summary of a histogram of nanoseconds; all zero if it is empty.
    pub fn of(histogram_ns: &Histogram<u64>) -> LatencySummary {
        let at_us = |quantile| histogram_ns.value_at_quantile(quantile) as f64 / 1e3;
        LatencySummary {
            count: histogram_ns.len(),
            mean: histogram_ns.mean() / 1e3,
            p50: at_us(0.5),
            p90: at_us(0.9),
            p99: at_us(0.99),
            max: histogram_ns.max() as f64 / 1e3,
        }
    }
}

/// Ages in updates: of the consumed slots' policy, or of the weights that gradients were computed at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LagSummary {
    /// Mean.
    #[serde(deserialize_with = "null_is_nan")]
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Maximum.
    pub max: u64,
}

impl LagSummary {
    /// The summary of a histogram; all zero if it is empty.
    pub fn of(lag: &Histogram<u64>) -> LagSummary {
        LagSummary {
            mean: lag.mean(),
            p50: lag.value_at_quantile(0.5),
            p99: lag.value_at_quantile(0.99),
            max: lag.max(),
        }
    }
}

/// Smallest, mean and largest of a quantity over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Minimum.
    #[serde(deserialize_with = "null_is_nan")]
    pub min: f64,
    /// Mean.
    #[serde(deserialize_with = "null_is_nan")]
    pub mean: f64,
    /// Maximum.
    #[serde(deserialize_with = "null_is_nan")]
    pub max: f64,
}

/// Result of the greedy evaluation at the end of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EvalSummary {
    /// Number of episodes.
    pub episodes: u64,
    /// Mean return.
    #[serde(deserialize_with = "null_is_nan")]
    pub mean: f64,
    /// Standard error of the mean; NaN for one episode, and in summaries of before there was one.
    #[serde(default = "nan", deserialize_with = "null_is_nan")]
    pub standard_error: f64,
    /// Smallest return.
    #[serde(deserialize_with = "null_is_nan")]
    pub min: f64,
    /// Largest return.
    #[serde(deserialize_with = "null_is_nan")]
    pub max: f64,
}

/// What one actor did with its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActorSummary {
    /// Frames collected.
    pub frames: u64,
    /// Rollouts published.
    pub rollouts: u64,
    /// Seconds spent waiting on a full ring.
    #[serde(deserialize_with = "null_is_nan")]
    pub blocked_s: f64,
    /// Seconds spent in forward passes and sampling.
    #[serde(deserialize_with = "null_is_nan")]
    pub act_s: f64,
    /// Seconds spent stepping environments.
    #[serde(deserialize_with = "null_is_nan")]
    pub env_s: f64,
    /// Seconds spent copying weights.
    #[serde(deserialize_with = "null_is_nan")]
    pub read_weights_s: f64,
    /// Times the ring was full when the actor came to claim a slot.
    pub waits: u64,
    /// Reads of the weights that had to begin anew because the learner published meanwhile.
    pub weights_retries: u64,
    /// Times this actor was started again after it died.
    pub restarts: u64,
    /// Rollouts that were not published because an observation or a reward in them was NaN or infinite.
    #[serde(default)]
    pub bad_rollouts: u64,
}

/// `live.json`: whose run it is while it lasts, and where its shared memory can be looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveNote {
    /// The supervisor's process.
    pub pid: u32,
    /// When that was started, in ticks of the kernel: a process that gets the same number later has another.
    pub start_ticks: u64,
    /// Its descriptor of the segment, until training ends.
    pub descriptor: i32,
    /// The segment's inode: what has the descriptor's number after that has another.
    pub inode: u64,
    /// Numbers in an observation: whoever looks need not know the environment.
    pub obs_dim: usize,
    /// Number of actions.
    pub n_actions: usize,
    /// Threads of the learner, whose waiting is added up.
    pub learner_threads: usize,
}

/// `summary.json`: the whole run in one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Gymnasium id of the environment.
    pub env: String,
    /// Seed of the run.
    pub seed: u64,
    /// Learner backend that ran: `native` or `torch`.
    pub learner: String,
    /// Threads that the learner ran.
    pub learner_threads: usize,
    /// Threads that the settings would have let it run.
    #[serde(default)]
    pub max_learner_threads: usize,
    /// Whole batches that all rings together hold.
    #[serde(default)]
    pub ring_batches: usize,
    /// How the run ended.
    pub exit: Exit,
    /// Seconds from process start until this file was written.
    #[serde(deserialize_with = "null_is_nan")]
    pub wall_s: f64,
    /// Seconds from process start until the first rollout began to be collected.
    #[serde(deserialize_with = "null_is_nan")]
    pub startup_s: f64,
    /// Seconds from the begin of the first learner's loop to the end of the last one's.
    #[serde(deserialize_with = "null_is_nan")]
    pub train_s: f64,
    /// Frames consumed by learning.
    pub frames: u64,
    /// Of these, what the earlier parts of a resumed run had consumed.
    #[serde(default)]
    pub frames_before: u64,
    /// Frames collected by all actors.
    pub frames_produced: u64,
    /// Learner updates.
    pub updates: u64,
    /// [`Summary::frames_of_this_part`] / `train_s`.
    #[serde(deserialize_with = "null_is_nan")]
    pub frames_per_s: f64,
    /// Whether the mean of the last 100 finished training episodes reached the threshold.
    pub solved: bool,
    /// Frames consumed when it first did.
    pub solved_frames: Option<u64>,
    /// Seconds from process start when it first did.
    pub solved_s: Option<f64>,
    /// Mean return of the last 100 finished training episodes.
    pub score_last100: Option<f64>,
    /// Mean of the last 100 training returns that counts as solved.
    pub score_threshold: Option<f64>,
    /// Greedy evaluation at the end.
    pub eval: Option<EvalSummary>,
    /// Latency of each stage by tag, µs; of this part of a resumed run.
    pub latency_us: BTreeMap<String, LatencySummary>,
    /// Policy lag of all consumed slots, as their gradients were applied.
    pub policy_lag: LagSummary,
    /// Updates between the weights that a gradient was computed at and those that it changed; 0 with one
    /// learner thread.
    pub gradient_lag: LagSummary,
    /// Unclipped importance ratios of all learned frames.
    pub rho: Spread,
    /// Memory of all processes; `null` where the run ended before it was sampled.
    pub memory: Option<MemorySummary>,
    /// One entry an actor.
    pub actors: Vec<ActorSummary>,
    /// Seconds the learner's threads waited for slots, added up.
    #[serde(deserialize_with = "null_is_nan")]
    pub learner_wait_s: f64,
    /// Share of the learner's update time in which at least one actor was collecting, 0 to 1.
    #[serde(deserialize_with = "null_is_nan")]
    pub collected_during_updates: f64,
    /// Rollouts left out of learning because their policy lag exceeded `loss.max_policy_lag`.
    pub rollouts_dropped: u64,
    /// What was saved, and what went wrong.
    #[serde(default)]
    pub reliability: Reliability,
}

impl Summary {
    /// Frames learned from in `train_s`: all but those of the earlier parts of a resumed run.
    pub fn frames_of_this_part(&self) -> u64 {
        self.frames.saturating_sub(self.frames_before)
    }
}

/// What was saved, and what went wrong and was mended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reliability {
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Checkpoints that could not be written.
    pub checkpoint_errors: u64,
    /// Times the learner was started again after it died.
    pub learner_restarts: u64,
    /// Workers that were killed because they gave no sign of life.
    pub hangs: u64,
    /// Times everything began again because the shared segment was damaged.
    pub segment_resets: u64,
    /// Updates that were not made because loss, gradient or weights would have been NaN or infinite.
    pub skipped_updates: u64,
    /// Times training went back to an earlier state because no update was finite any more.
    pub rollbacks: u64,
    /// What the build's self-checks found; absent in ordinary builds, which have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_checks: Option<SelfChecks>,
}

/// What the self-checks of a build with the feature `faults` found in slots and weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SelfChecks {
    /// Slots taken and verified, those taken again included.
    pub slots_checked: u64,
    /// Slots that did not hold what their actor had published.
    pub torn_slots: u64,
    /// Slots taken again after a learner had died with them in its hands.
    pub taken_again: u64,
    /// Rollouts learned from twice.
    pub learned_twice: u64,
    /// Rollouts that were published and passed over.
    pub not_learned: u64,
    /// Copies of the weights that were not what was published.
    pub torn_weights: u64,
    /// Copies of the weights of an older version than one before.
    pub older_weights: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The report of a stretch with these policy lags, and importance ratios around them.
    fn report(lags: &[u64]) -> Report {
        let mut policy_lag = lag_histogram();
        lags.iter().for_each(|lag| policy_lag.saturating_record(*lag));
        let sums = LearnerSums {
            first_frame_ns: lags.iter().min().copied(),
            n_ratios: lags.len() as u64,
            rho_sum: lags.iter().sum::<u64>() as f64,
            rho_bounds: lags
                .iter()
                .map(|lag| (*lag as f64, *lag as f64))
                .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))),
            update_ns: 10 * lags.len() as u64,
            collected_ns: lags.iter().sum(),
        };
        let policy_lag = (!lags.is_empty()).then(|| EncodedHistogram::encode(&policy_lag));
        Report { sums, policy_lag, ..Report::default() }
    }

    #[test]
    fn figures_of_several_learners_are_those_of_one() {
        let mut figures = LearnerFigures::default();
        let mut whole = LearnerFigures::default();
        for lags in [&[][..], &[3, 9], &[1], &[2_000_000, 4]] {
            figures.add(&report(lags)).unwrap();
        }
        whole.add(&report(&[3, 9, 1, 2_000_000, 4])).unwrap();
        assert_eq!(figures.sums, whole.sums);
        assert_eq!(figures.policy_lag(), whole.policy_lag());
        assert_eq!(figures.policy_lag().p50, 4);
        assert!(figures.policy_lag().max >= MAX_LAG, "{:?}", figures.policy_lag());
        assert_eq!(figures.sums.rho(), Spread { min: 1.0, mean: 2_000_017.0 / 5.0, max: 2e6 });
        assert_eq!(figures.sums.collected_during_updates(), 2_000_017.0 / 50.0);
        assert_eq!(figures.sums.first_frame_ns, Some(1));
        assert_eq!(figures.gradient_lag(), LagSummary::default(), "there was none");
    }

    #[test]
    fn a_sample_without_the_learner_changes_the_peak_alone() {
        let sample = |process: &str, pss_bytes| ProcessSample {
            process: process.into(),
            pss_bytes,
            ..ProcessSample::default()
        };
        let all = [sample("supervisor", 1), sample("learner", 20), sample("actor0", 300)];
        let mut memory = MemorySummary::default();
        memory.add(&all);
        let [rest @ .., _] =
            &[sample("supervisor", 5), sample("actor0", 400), sample("learner", 0)];
        memory.add(rest);
        assert_eq!(memory.peak_bytes, 405);
        assert_eq!((memory.learner_bytes, memory.total_bytes()), (20, 321));
    }
}
