//! `summary.json`: a whole run in one object, and the parts that it is made of.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize};

use super::row::ProcessSample;

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
    /// The summary of a histogram of nanoseconds. Of an empty one nothing but the count is known.
    pub fn of(histogram_ns: &Histogram<u64>) -> LatencySummary {
        let us = |ns: f64| if histogram_ns.is_empty() { f64::NAN } else { ns / 1e3 };
        let at_us = |quantile| us(histogram_ns.value_at_quantile(quantile) as f64);
        LatencySummary {
            count: histogram_ns.len(),
            mean: us(histogram_ns.mean()),
            p50: at_us(0.5),
            p90: at_us(0.9),
            p99: at_us(0.99),
            max: us(histogram_ns.max() as f64),
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
    /// The summary of a histogram; `None` if it is empty.
    pub fn of(lag: &Histogram<u64>) -> Option<LagSummary> {
        (!lag.is_empty()).then(|| LagSummary {
            mean: lag.mean(),
            p50: lag.value_at_quantile(0.5),
            p99: lag.value_at_quantile(0.99),
            max: lag.max(),
        })
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
    /// Number of episodes that ended, or were cut.
    pub episodes: u64,
    /// Of these, how many had not ended by themselves after `report.eval_max_steps`, and were cut.
    #[serde(default)]
    pub cut: u64,
    /// Episodes beside these that had neither ended nor been cut when the time was over.
    #[serde(default)]
    pub unfinished: u64,
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

/// What a process got of the cores, over all that had its place. Every thread is looked at as often as
/// memory is, and the first one also after its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CoreSummary {
    /// Seconds its threads were on a core, added up.
    #[serde(deserialize_with = "null_is_nan")]
    pub on_core_s: f64,
    /// Seconds in which they had work to do and no core to do it on.
    #[serde(deserialize_with = "null_is_nan")]
    pub without_core_s: f64,
    /// Seconds from their begin until they were last looked at, which the two are parts of; the rest they
    /// slept.
    #[serde(deserialize_with = "null_is_nan")]
    pub watched_s: f64,
}

impl CoreSummary {
    /// The share of its time that a mean thread was on a core, 0 to 1; 0 where none was watched.
    pub fn on_core(&self) -> f64 {
        self.share(self.on_core_s)
    }

    /// The share in which it had work to do and no core.
    pub fn without_core(&self) -> f64 {
        self.share(self.without_core_s)
    }

    fn share(&self, part_s: f64) -> f64 {
        let share = part_s / self.watched_s;
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }
}

impl EvalSummary {
    /// What is to be said of episodes that did not end by themselves: the end of a sentence, empty where all
    /// did.
    pub fn remark(&self) -> String {
        let cut = match self.cut {
            0 => String::new(),
            n_cut => format!("; {n_cut} of them did not end and were cut"),
        };
        match self.unfinished {
            0 => cut,
            n_unfinished => {
                format!("{cut}; {n_unfinished} more had not ended when the time was over")
            }
        }
    }
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
    /// What it got of the cores; `null` where the kernel does not tell.
    #[serde(default)]
    pub cores: Option<CoreSummary>,
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

/// One of several learners that learned together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RankSummary {
    /// Which, from 0.
    pub rank: usize,
    /// Its machine.
    pub host: String,
    /// Frames of its own actors that were learned from, in this part of the run.
    pub frames: u64,
    /// The same a second.
    #[serde(deserialize_with = "null_is_nan")]
    pub frames_per_s: f64,
    /// Seconds in rounds, its threads' added up.
    #[serde(deserialize_with = "null_is_nan")]
    pub exchange_s: f64,
    /// Median of a round, µs.
    #[serde(deserialize_with = "null_is_nan")]
    pub exchange_p50_us: f64,
    /// 99th percentile of a round, µs.
    #[serde(deserialize_with = "null_is_nan")]
    pub exchange_p99_us: f64,
    /// Seconds that its learner's threads waited for slots, added up.
    #[serde(deserialize_with = "null_is_nan")]
    pub wait_s: f64,
    /// Times that its actors were started again.
    pub restarts: u64,
    /// Mean policy lag of its slots, updates.
    #[serde(deserialize_with = "null_is_nan")]
    pub policy_lag: f64,
    /// Hash of its parameters, optimiser and counters: equal on all ranks.
    pub weights: String,
}

/// What one of several tasks came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskSummary {
    /// Id of its environment.
    pub task: String,
    /// Its frames that were learned from, in this part of the run.
    pub frames: u64,
    /// Its training episodes that finished, in this part of the run.
    pub episodes: u64,
    /// Mean return of its last 100 finished training episodes.
    pub score_last100: Option<f64>,
    /// The same where 0 is what random actions score and 1 what is known to be good; `None` where neither is known.
    pub normalized_score: Option<f64>,
    /// Greedy evaluation at the end.
    pub eval: Option<EvalSummary>,
}

/// Memory of all processes (PSS). What was in no sample is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemorySummary {
    /// Largest sum over the processes of any sample, bytes.
    pub peak_bytes: u64,
    /// The supervisor's in the last sample in which the learner lived, bytes.
    pub supervisor_bytes: Option<u64>,
    /// The learner's then, bytes.
    pub learner_bytes: Option<u64>,
    /// All actors' then, bytes.
    pub actors_bytes: Option<u64>,
}

impl MemorySummary {
    /// All processes in the last sample in which the learner lived.
    pub fn total_bytes(&self) -> Option<u64> {
        let others = self.supervisor_bytes.unwrap_or(0) + self.actors_bytes.unwrap_or(0);
        self.learner_bytes.map(|learner| learner + others)
    }

    /// Takes in one sample of all processes.
    pub fn add(&mut self, samples: &[ProcessSample]) {
        let sum = |role: &str| {
            let of_role = samples.iter().filter(|sample| sample.role() == role);
            of_role.map(|sample| sample.pss_bytes).reduce(|sum, bytes| sum + bytes)
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

/// `summary.json`: the whole run in one object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Gymnasium id of the environment.
    pub env: String,
    /// Seed of the run.
    pub seed: u64,
    /// Learner that ran: `native` or `torch`.
    pub learner: String,
    /// Instruction set of the matrix kernels that ran; empty in summaries of before it was noted.
    #[serde(default)]
    pub kernels: String,
    /// Threads that the learner ran.
    pub learner_threads: usize,
    /// Threads that computed each batch's gradient together; 0 in summaries of before it was noted.
    #[serde(default)]
    pub batch_threads: usize,
    /// Threads that the settings would have let it run.
    #[serde(default)]
    pub max_learner_threads: usize,
    /// Whole batches that all rings together hold.
    #[serde(default)]
    pub ring_batches: usize,
    /// ε of the clip of the policy gradient; `None` where there was none.
    #[serde(default)]
    pub clip: Option<f32>,
    /// Slots of each ring.
    #[serde(default)]
    pub slots_per_actor: usize,
    /// Slots that an update learns from.
    #[serde(default)]
    pub batch_slots: usize,
    /// Updates made from each batch; 0 in summaries of before it was noted, which means 1.
    #[serde(default)]
    pub epochs: u64,
    /// Whether actors and learner took turns, for the sake of equal runs.
    #[serde(default)]
    pub deterministic: bool,
    /// Whether an action is real numbers. The entropy is then that of a density: no value of it means certainty.
    #[serde(default)]
    pub real_actions: bool,
    /// How the run ended.
    pub exit: Exit,
    /// The first signal that asked for an end, by its name, and by which the process then ended; `null`
    /// without one.
    #[serde(default)]
    pub signal: Option<String>,
    /// Seconds from process start until this file was written.
    #[serde(deserialize_with = "null_is_nan")]
    pub wall_s: f64,
    /// Seconds from process start until the first rollout began to be collected.
    #[serde(deserialize_with = "null_is_nan")]
    pub startup_s: f64,
    /// Seconds from the begin of the first learner's loop to the end of the last one's; NaN if none told.
    #[serde(deserialize_with = "null_is_nan")]
    pub train_s: f64,
    /// Frames consumed by learning.
    pub frames: u64,
    /// Frames of the emulator that these are; `null` where the environment has none.
    #[serde(default)]
    pub emulator_frames: Option<u64>,
    /// Of `frames`, what the earlier parts of a resumed run had consumed.
    #[serde(default)]
    pub frames_before: u64,
    /// Frames collected by all actors.
    pub frames_produced: u64,
    /// Learner updates.
    pub updates: u64,
    /// [`Summary::frames_of_this_part`] / `train_s`; NaN without that.
    #[serde(deserialize_with = "null_is_nan")]
    pub frames_per_s: f64,
    /// Whether the mean of the last 100 finished training episodes reached the threshold.
    pub solved: bool,
    /// Frames consumed when it first did.
    pub solved_frames: Option<u64>,
    /// Seconds from process start when it first did.
    pub solved_s: Option<f64>,
    /// Mean return of the last 100 finished training episodes; `None` of several tasks.
    pub score_last100: Option<f64>,
    /// Mean of the last 100 training returns that counts as solved.
    pub score_threshold: Option<f64>,
    /// Greedy evaluation at the end.
    pub eval: Option<EvalSummary>,
    /// Each of several tasks, in the order of `env`; empty where there is one, of which all else here says the same.
    #[serde(default)]
    pub tasks: Vec<TaskSummary>,
    /// Mean of the normalised scores of all tasks; `None` where one of them is not known.
    #[serde(default)]
    pub normalized_score: Option<f64>,
    /// Latency of each stage by tag, µs; of this part of a resumed run.
    pub latency_us: BTreeMap<String, LatencySummary>,
    /// Policy lag of all consumed slots, as their gradients were applied; `None` if there were none.
    pub policy_lag: Option<LagSummary>,
    /// Updates between the weights that a gradient was computed at and those that it changed; 0 with one
    /// learner thread, `None` without updates.
    pub gradient_lag: Option<LagSummary>,
    /// Unclipped importance ratios of all learned frames; `None` if there were none.
    pub rho: Option<Spread>,
    /// Memory of all processes; `null` where the run ended before it was sampled.
    pub memory: Option<MemorySummary>,
    /// One entry an actor.
    pub actors: Vec<ActorSummary>,
    /// Seconds the learner's threads waited for slots, added up.
    #[serde(deserialize_with = "null_is_nan")]
    pub learner_wait_s: f64,
    /// What the learner's threads got of the cores; `null` where the kernel does not tell.
    #[serde(default)]
    pub learner_cores: Option<CoreSummary>,
    /// How many of the cores that the run may use other programs used in the mean while it trained; `null` where the kernel
    /// does not tell, or the run was too short to say.
    #[serde(default)]
    pub cores_of_others: Option<f64>,
    /// Share of the learner's update time in which at least one actor was collecting, 0 to 1; NaN without
    /// updates.
    #[serde(deserialize_with = "null_is_nan")]
    pub collected_during_updates: f64,
    /// Rollouts left out of learning because their policy lag exceeded `loss.max_policy_lag`.
    pub rollouts_dropped: u64,
    /// What was saved, and what went wrong.
    #[serde(default)]
    pub reliability: Reliability,
    /// All learners of the job, where there were several, as they last said together; empty elsewhere.
    #[serde(default)]
    pub ranks: Vec<RankSummary>,
}

impl Summary {
    /// Mean policy lag of the slots learned from, in updates; NaN if there were none.
    pub fn mean_policy_lag(&self) -> f64 {
        self.policy_lag.map_or(f64::NAN, |lag| lag.mean)
    }

    /// Mean policy lag in batches, each of which makes several updates where there are several epochs; NaN
    /// without an update.
    pub fn policy_lag_batches(&self) -> f64 {
        self.mean_policy_lag() / self.epochs.max(1) as f64
    }

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
        assert_eq!((memory.learner_bytes, memory.total_bytes()), (Some(20), Some(321)));
    }

    #[test]
    fn what_was_not_measured_is_null_and_not_nought() {
        let of_supervisor = ProcessSample {
            process: "supervisor".into(),
            pss_bytes: 1,
            ..ProcessSample::default()
        };
        let mut memory = MemorySummary::default();
        memory.add(&[of_supervisor]);
        let empty = Histogram::<u64>::new(2).unwrap();
        assert_eq!(memory.total_bytes(), None);
        assert_eq!(LagSummary::of(&empty), None);
        let memory = serde_json::to_value(memory).unwrap();
        let latency = serde_json::to_value(LatencySummary::of(&empty)).unwrap();
        for (object, names) in [
            (&memory, &["supervisor_bytes", "learner_bytes", "actors_bytes"][..]),
            (&latency, &["mean", "p50", "p90", "p99", "max"]),
        ] {
            names.iter().for_each(|name| assert!(object[name].is_null(), "{name}: {object}"));
        }
        assert_eq!((&memory["peak_bytes"], &latency["count"]), (&1.into(), &0.into()));
    }
}
