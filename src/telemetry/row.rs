//! Lines of tables: one interval of training, one process at one time, one slot, one evaluation.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::units::{number_of, score};

/// One row of `metrics.csv`: everything measured over one reporting interval (a fixed number of
/// consumed frames). `docs/metrics.md` documents each column; a test compares the names.
///
/// Means are over the updates of the interval unless said otherwise; losses are per learned frame, and
/// `None` where no frame was learned from.
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
    /// Mean undiscounted return of the episodes that finished in the interval; empty if none did, and of several
    /// tasks, as all scores here: returns of different tasks have no common scale.
    pub score_mean: Option<f64>,
    /// Smallest return in the interval.
    pub score_min: Option<f64>,
    /// Largest return in the interval.
    pub score_max: Option<f64>,
    /// Mean return of the last 100 finished episodes (of all, while there are fewer).
    pub score_last100: Option<f64>,
    /// Of several tasks, the mean of the normalised scores of their last 100 episodes; empty where that of one is not
    /// known, and in records of before there was one.
    #[serde(default)]
    pub normalized_score: Option<f64>,
    /// policy_loss + baseline_cost · critic_loss − entropy_cost · entropy.
    pub total_loss: Option<f64>,
    /// Policy-gradient loss, −log π(a|x) · pg_advantage, of the frames that are not clipped.
    pub policy_loss: Option<f64>,
    /// Critic (baseline) loss, ½ (vs − V(x))².
    pub critic_loss: Option<f64>,
    /// Entropy of the target policy, nats.
    pub entropy: Option<f64>,
    /// Smallest unclipped importance ratio π(a|x)/μ(a|x) of the interval.
    pub rho_min: Option<f64>,
    /// Mean unclipped importance ratio.
    pub rho_mean: Option<f64>,
    /// Largest unclipped importance ratio of the interval.
    pub rho_max: Option<f64>,
    /// Share of ratios above `rho_bar` by more than rounding, 0 to 1.
    pub rho_clipped: Option<f64>,
    /// Share of frames whose policy gradient `loss.clip` took away, 0 to 1.
    pub policy_clipped: Option<f64>,
    /// KL(μ ‖ π) from behaviour to target policy, nats, estimated from the actions taken.
    pub kl: Option<f64>,
    /// 1 − Var(vs − V) / Var(vs), of the baseline against the V-trace targets.
    pub explained_variance: Option<f64>,
    /// Norm of the gradient of the summed loss, before clipping.
    pub grad_norm: f64,
    /// Learning rate of the last update of the interval.
    pub learning_rate: f64,
    /// Weight of the entropy bonus in the last update.
    pub entropy_cost: f64,
    /// What rewards were multiplied with in the last update.
    pub reward_scale: Option<f64>,
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
    /// See [`crate::base::stages::Stage::Batching`]; µs an update.
    pub batching_us: f64,
    /// See [`crate::base::stages::Stage::Forward`]; µs an update.
    pub forward_us: f64,
    /// See [`crate::base::stages::Stage::Vtrace`]; µs an update.
    pub vtrace_us: f64,
    /// See [`crate::base::stages::Stage::Backward`]; µs an update.
    pub backward_us: f64,
    /// See [`crate::base::stages::Stage::Turn`]; µs an update.
    pub turn_us: f64,
    /// See [`crate::base::stages::Stage::Exchange`]; µs an update. 0 in records of before there was one.
    #[serde(default)]
    pub exchange_us: f64,
    /// See [`crate::base::stages::Stage::Optimizer`]; µs an update.
    pub optimizer_us: f64,
    /// See [`crate::base::stages::Stage::Publish`]; µs an update.
    pub publish_us: f64,
    /// See [`crate::base::stages::Stage::Release`]; µs an update.
    pub release_us: f64,
    /// See [`crate::base::stages::Stage::Report`]; µs an update.
    pub report_us: f64,
}

/// One row of `tasks.csv`: one task of several over one reporting interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Seconds from process start to the end of the interval.
    pub time_s: f64,
    /// Frames of all tasks learned from since the start.
    pub frames: u64,
    /// Id of the task's environment.
    pub task: String,
    /// Frames of this task learned from in the interval.
    pub task_frames: u64,
    /// Its training episodes that finished in the interval.
    pub episodes: u64,
    /// Mean undiscounted return of these; empty if none did.
    pub score_mean: Option<f64>,
    /// Smallest return in the interval.
    pub score_min: Option<f64>,
    /// Largest return in the interval.
    pub score_max: Option<f64>,
    /// Mean return of its last 100 finished episodes (of all, while there are fewer).
    pub score_last100: Option<f64>,
    /// PopArt's mean of its targets; empty without PopArt.
    pub value_mean: Option<f64>,
    /// PopArt's deviation of its targets.
    pub value_std: Option<f64>,
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
    /// Time that its threads were on a core so far, added up, s; empty where the kernel does not tell.
    pub on_core_s: Option<f64>,
    /// Time in which they had work to do and no core to do it on, s.
    pub without_core_s: Option<f64>,
    /// Times this process was started again so far.
    pub restarts: u64,
}

impl ProcessSample {
    /// The process, or `actors` for any of them.
    pub fn role(&self) -> &str {
        if self.process.starts_with("actor") { "actors" } else { &self.process }
    }
}

/// One row of `evaluations.csv`: what a greedy evaluation found of the policy at some time of its training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EvalRow {
    /// Seconds from process start until the policy was as it was evaluated.
    pub time_s: f64,
    /// Frames that it had learned from.
    pub frames: u64,
    /// Updates that it had had.
    pub updates: u64,
    /// Episodes that ended, or were cut.
    pub episodes: u64,
    /// Of these, how many were cut.
    pub cut: u64,
    /// Mean return.
    pub mean: f64,
    /// Standard error of the mean; empty for one episode.
    pub standard_error: Option<f64>,
    /// Smallest return.
    pub min: f64,
    /// Largest return.
    pub max: f64,
}

impl fmt::Display for EvalRow {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let EvalRow { frames, episodes, mean, standard_error, .. } = self;
        let spread = standard_error.map_or(String::new(), |error| format!(" ± {}", score(error)));
        write!(
            f,
            "greedy score {}{spread} over {} after {}",
            score(*mean),
            number_of(*episodes, "episode"),
            number_of(*frames, "frame")
        )
    }
}

/// Why no update learned from a slot that the learner took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unlearned {
    /// Its policy was older than `loss.max_policy_lag`, as it was taken or as its gradient was applied.
    TooOld,
    /// Loss, gradient or the weights after the update would have been NaN or infinite.
    NotFinite,
    /// The run ended first: by another thread's update, or while its batch was not complete.
    Overtaken,
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
    /// The update that learned from it, which is the version that it made; `None` for a slot that none
    /// learned from.
    pub update: Option<u64>,
    /// Version of the weights that the gradient is at.
    pub gradient_version: Option<u64>,
    /// Weight of the entropy bonus.
    pub entropy_cost: Option<f64>,
    /// Which of its batch's updates that was, from 1 on.
    pub epoch: Option<u64>,
    /// What its rewards were multiplied with.
    pub reward_scale: Option<f32>,
    /// Why no update learned from it, where that is so.
    pub unlearned: Option<Unlearned>,
}
