//! The learner's bookkeeping: folds updates into rows of `metrics.csv`, stage histograms and the
//! sums of each report, and decides when one is due. No I/O but reading the clock values
//! it is given; called once an update.

use hdrhistogram::Histogram;

use crate::base::clock::{Interval, RunClock, in_seconds};
use crate::base::stages::{Stage, StageHistograms};
use crate::config::Config;
use crate::rollout::RolloutHeader;
use crate::state::{Counters, LearnerState};
use crate::telemetry::{
    EncodedHistogram, LearnerSums, MetricsRow, Progress, RankSummary, Report, SlotRecord,
    encode_stages, lag_histogram,
};

use super::overlap::Overlap;
use super::pass::PassSums;
use super::popart::Unit;
use super::score::Score;
use super::task_meters::TaskMeters;

/// Reports are at least this far apart: ten a second, so that the channel between the processes
/// never fills (it blocks its sender when it does).
const REPORT_INTERVAL_NS: u64 = 100_000_000;

/// In a long run reports become rarer, a hundredth of the time passed, so that the interval log of
/// an hour has hundreds of entries and not tens of thousands.
const REPORT_SHARE_OF_RUN: u64 = 100;

/// A report is sent early when it holds this many rows, to stay far below ipc-channel's fragment size.
const MAX_ROWS_A_REPORT: usize = 100;

/// The same of slots.
const MAX_SLOTS_A_REPORT: usize = 500;

/// What one update did.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Losses and importance ratios, summed over the batch.
    pub sums: PassSums,
    /// Norm of the gradient before clipping.
    pub grad_norm: f32,
    /// The loss that the gradient belongs to, summed over the batch.
    pub total_loss: f64,
    /// Updates that other lanes made between the copy of the weights and this one.
    pub gradient_lag: u64,
    /// Learning rate used.
    pub learning_rate: f64,
    /// Weight of the entropy bonus used.
    pub entropy_cost: f64,
    /// What rewards were multiplied with.
    pub reward_scale: f32,
    /// Slots published and not yet taken when the batch was complete.
    pub n_ready: usize,
    /// Frames learned from for the first time.
    pub n_frames: u64,
    /// Whether its batch is done with: a row ends with a batch.
    pub ends_batch: bool,
    /// When the work on it began, ns: its batch was complete, or the batch's update before it made.
    pub started_ns: u64,
}

/// Sums over the updates of one row.
#[derive(Debug, Default)]
struct RowSums {
    start_ns: u64,
    start_frames: u64,
    n_updates: u64,
    sums: PassSums,
    total_loss: f64,
    grad_norm: f64,
    gradient_lag: u64,
    learning_rate: f64,
    entropy_cost: f64,
    reward_scale: f64,
    n_slots: u64,
    lag_sum: u64,
    lag_max: u64,
    n_ready: u64,
    stage_ns: [u64; Stage::ALL.len()],
}

impl RowSums {
    /// None before a slot was learned from.
    fn lag_mean(&self) -> Option<f64> {
        (self.n_slots > 0).then(|| self.lag_sum as f64 / self.n_slots as f64)
    }

    /// None where no frame was learned from, such as in a row of a single step that only resets.
    fn of_frames(&self, value: f64) -> Option<f64> {
        (self.sums.off_policy.n_learned > 0).then_some(value)
    }

    fn per_frame(&self, sum: f64) -> Option<f64> {
        self.of_frames(sum / self.sums.off_policy.n_learned as f64)
    }

    fn frames_per_s(&self, frames: u64, now_ns: u64) -> f64 {
        (frames - self.start_frames) as f64 / in_seconds(now_ns - self.start_ns)
    }

    fn per_update(&self, sum: f64) -> f64 {
        sum / self.n_updates as f64
    }

    /// Mean time of a stage in an update, µs.
    fn stage_us(&self, stage: Stage) -> f64 {
        self.per_update(self.stage_ns[stage as usize] as f64 / 1e3)
    }

    /// A row with the mean time of each stage in an update, and nothing else.
    fn stages(&self) -> MetricsRow {
        MetricsRow {
            wait_us: self.stage_us(Stage::Wait),
            batching_us: self.stage_us(Stage::Batching),
            forward_us: self.stage_us(Stage::Forward),
            vtrace_us: self.stage_us(Stage::Vtrace),
            backward_us: self.stage_us(Stage::Backward),
            turn_us: self.stage_us(Stage::Turn),
            exchange_us: self.stage_us(Stage::Exchange),
            optimizer_us: self.stage_us(Stage::Optimizer),
            publish_us: self.stage_us(Stage::Publish),
            release_us: self.stage_us(Stage::Release),
            report_us: self.stage_us(Stage::Report),
            ..MetricsRow::default()
        }
    }
}

/// Everything the learner counts.
pub struct Meters {
    run_clock: RunClock,
    loop_start_ns: u64,
    row_interval_frames: u64,
    /// Returns of consumed episodes.
    pub score: Score,
    /// Returns, frames and rows of each of several tasks.
    pub tasks: TaskMeters,
    counters: Counters,
    row: RowSums,
    report: Report,
    latency: StageHistograms,
    /// Since the last report.
    policy_lag: Histogram<u64>,
    gradient_lag: Histogram<u64>,
    /// How much of the updates actors were collecting in.
    overlap: Overlap,
    /// Mean policy lag of the row closed last.
    last_lag_mean: Option<f64>,
}

impl Meters {
    /// Meters of a loop that starts at `loop_start_ns` and goes on from `state`.
    pub fn new(
        config: &Config,
        run_clock: RunClock,
        loop_start_ns: u64,
        state: &LearnerState,
    ) -> Self {
        let counters = state.counters;
        Meters {
            run_clock,
            loop_start_ns,
            row_interval_frames: config.row_interval_frames(),
            score: Score::resume(state.recent_returns, counters.episodes),
            tasks: TaskMeters::new(&config.tasks()),
            counters,
            row: RowSums {
                start_ns: loop_start_ns,
                start_frames: counters.frames,
                ..RowSums::default()
            },
            report: Report { start_ns: loop_start_ns, ..Report::default() },
            latency: StageHistograms::default(),
            policy_lag: lag_histogram(),
            gradient_lag: lag_histogram(),
            overlap: Overlap::default(),
            last_lag_mean: None,
        }
    }

    /// Frames consumed so far.
    pub fn frames(&self) -> u64 {
        self.counters.frames
    }

    /// Updates so far, which is the version of the newest policy.
    pub fn updates(&self) -> u64 {
        self.counters.updates
    }

    /// What has been counted.
    pub fn counters(&self) -> Counters {
        Counters { episodes: self.score.n_episodes(), ..self.counters }
    }

    /// What will have been counted when the update of `n_frames` that is under way is.
    pub fn counters_after(&self, n_frames: u64) -> Counters {
        let Counters { frames, updates, .. } = self.counters;
        Counters { frames: frames + n_frames, updates: updates + 1, ..self.counters() }
    }

    /// Notes when the score has first reached `threshold`.
    pub fn note_if_solved(&mut self, threshold: Option<f64>, now_ns: u64) {
        let is_reached = threshold.is_some_and(|threshold| self.score.reaches(threshold));
        if self.counters.solved_frames == 0 && is_reached {
            self.counters.solved_frames = self.counters.frames;
            self.counters.solved_ns = self.run_clock.since_start_ns(now_ns);
        }
    }

    /// Counts one rollout that was taken at `taken_ns`, whether or not an update learns from it.
    pub fn count_taken(&mut self, header: &RolloutHeader, taken_ns: u64) {
        let (start_ns, end_ns) = (header.claimed_ns, header.published_ns);
        let first_frame_ns = self.report.sums.first_frame_ns.get_or_insert(start_ns);
        *first_frame_ns = start_ns.min(*first_frame_ns);
        self.overlap.add_collect(Interval { start_ns, end_ns });
        self.latency.record(Stage::ActorClaim, header.claim_wait_ns);
        self.latency.record(Stage::ActorReadWeights, header.read_weights_ns);
        self.latency.record(Stage::ActorAct, header.act_ns);
        self.latency.record(Stage::ActorEnv, header.env_ns);
        self.latency.record(Stage::HandOver, taken_ns.saturating_sub(header.published_ns));
    }

    /// Counts one slot that is learned from and whose policy is `lag` updates old as its gradient is
    /// applied.
    pub fn count_lag(&mut self, lag: u64) {
        self.policy_lag.saturating_record(lag);
        self.row.n_slots += 1;
        self.row.lag_sum += lag;
        self.row.lag_max = self.row.lag_max.max(lag);
    }

    /// Notes what all ranks said of themselves.
    pub fn note_ranks(&mut self, ranks: Vec<RankSummary>) {
        self.report.ranks = ranks;
    }

    /// Counts frames that actors of other ranks have produced.
    pub fn count_produced_elsewhere(&mut self, n_frames: u64) {
        self.counters.frames_produced_before += n_frames;
    }

    /// Notes what became of slots.
    pub fn log_slots(&mut self, records: impl Iterator<Item = SlotRecord>) {
        self.report.slots.extend(records);
    }

    /// Counts one update that has just finished, at `now_ns`.
    pub fn count_update(&mut self, update: &Update, now_ns: u64) {
        self.overlap.add_update(Interval { start_ns: update.started_ns, end_ns: now_ns });
        self.counters.frames += update.n_frames;
        self.counters.updates += 1;
        self.gradient_lag.saturating_record(update.gradient_lag);
        let row = &mut self.row;
        row.n_updates += 1;
        row.sums.merge(&update.sums);
        row.grad_norm += f64::from(update.grad_norm);
        row.total_loss += update.total_loss;
        row.gradient_lag += update.gradient_lag;
        row.learning_rate = update.learning_rate;
        row.entropy_cost = update.entropy_cost;
        row.reward_scale = f64::from(update.reward_scale);
        row.n_ready += update.n_ready as u64;
    }

    /// Counts the time that one update spent in each stage. Who is alone has nobody to exchange with.
    pub fn count_stages(&mut self, stage_ns: &[u64; Stage::ALL.len()]) {
        for stage in Stage::LEARNER {
            if stage != Stage::Exchange || stage_ns[stage as usize] > 0 {
                self.latency.record(stage, stage_ns[stage as usize]);
            }
            self.row.stage_ns[stage as usize] += stage_ns[stage as usize];
        }
    }

    /// Counts the time that a lane spent in each stage after its last update. It belongs to the lane's time
    /// and to no update.
    pub fn count_rest(&mut self, stage_ns: &[u64; Stage::ALL.len()]) {
        for stage in Stage::LEARNER.into_iter().filter(|stage| stage_ns[*stage as usize] > 0) {
            self.latency.record(stage, stage_ns[stage as usize]);
        }
    }

    /// Whether the current row covers its interval.
    pub fn row_is_due(&self) -> bool {
        self.counters.frames - self.row.start_frames >= self.row_interval_frames
    }

    /// Closes the current row at `now_ns`, when actors had produced `frames_produced` and the values of tasks were in
    /// these units, if in any.
    pub fn close_row(
        &mut self,
        now_ns: u64,
        frames_produced: u64,
        units: impl Iterator<Item = Unit>,
    ) {
        if self.row.n_updates == 0 {
            return;
        }
        let row = self.finished_row(now_ns, frames_produced);
        self.last_lag_mean = self.row.lag_mean();
        self.report.task_rows.extend(self.tasks.close(row.time_s, row.frames, units));
        self.report.rows.push(row);
        let ratios = &self.row.sums.off_policy;
        self.report.sums.merge(&LearnerSums {
            n_ratios: ratios.n_learned,
            rho_sum: ratios.rho_sum,
            rho_bounds: (ratios.n_learned > 0).then_some((ratios.rho_min, ratios.rho_max)),
            ..LearnerSums::default()
        });
        let start_frames = self.counters.frames;
        self.row = RowSums { start_ns: now_ns, start_frames, ..RowSums::default() };
    }

    /// The report since the last one, if it is time for one.
    pub fn due_report(&mut self, now_ns: u64) -> Option<Report> {
        let run_ns = now_ns - self.loop_start_ns;
        let interval_ns = REPORT_INTERVAL_NS.max(run_ns / REPORT_SHARE_OF_RUN);
        let is_due = now_ns - self.report.start_ns >= interval_ns
            || self.report.rows.len().max(self.report.task_rows.len()) >= MAX_ROWS_A_REPORT
            || self.report.slots.len() >= MAX_SLOTS_A_REPORT;
        is_due.then(|| self.take_report(now_ns))
    }

    /// What is left to report, a report at a time; `None` when that is nothing.
    pub fn take_last_report(&mut self, now_ns: u64) -> Option<Report> {
        self.overlap.settle();
        let is_left = !(self.latency.is_empty()
            && self.report.rows.is_empty()
            && self.report.task_rows.is_empty()
            && self.report.ranks.is_empty()
            && self.report.slots.is_empty());
        is_left.then(|| self.take_report(now_ns))
    }

    /// The report since the last one; where nobody took any for long, the first part of it.
    fn take_report(&mut self, now_ns: u64) -> Report {
        let mut later = Report { start_ns: now_ns, ..Report::default() };
        later.rows = beyond(&mut self.report.rows, MAX_ROWS_A_REPORT);
        later.task_rows = beyond(&mut self.report.task_rows, MAX_ROWS_A_REPORT);
        later.slots = beyond(&mut self.report.slots, MAX_SLOTS_A_REPORT);
        self.report.end_ns = now_ns;
        self.report.latency = encode_stages(&self.latency);
        self.report.progress = self.progress();
        self.latency.clear();
        self.report.policy_lag = take_histogram(&mut self.policy_lag);
        self.report.gradient_lag = take_histogram(&mut self.gradient_lag);
        (self.report.sums.update_ns, self.report.sums.collected_ns) = self.overlap.take();
        std::mem::replace(&mut self.report, later)
    }

    /// Where training stands.
    pub fn progress(&self) -> Progress {
        Progress {
            frames: self.counters.frames,
            updates: self.counters.updates,
            score_last100: self.score_last100(),
            task_scores: self.tasks.scores().collect(),
            normalized_score: self.tasks.normalized_score(),
            // The first row of a long run takes long.
            policy_lag_mean: self.last_lag_mean.or_else(|| self.row.lag_mean()),
        }
    }

    fn score_last100(&self) -> Option<f64> {
        self.score.last100().filter(|_| !self.tasks.are_several())
    }

    fn finished_row(&mut self, now_ns: u64, frames_produced: u64) -> MetricsRow {
        let score = self.score.take_interval().filter(|_| !self.tasks.are_several());
        let (row, PassSums { losses, off_policy }) = (&self.row, &self.row.sums);
        MetricsRow {
            time_s: in_seconds(self.run_clock.since_start_ns(now_ns)),
            frames: self.counters.frames,
            frames_produced: self.counters.frames_produced_before + frames_produced,
            updates: self.counters.updates,
            frames_per_s: row.frames_per_s(self.counters.frames, now_ns),
            episodes: self.score.n_episodes(),
            score_mean: score.map(|score| score.mean),
            score_min: score.map(|score| score.min),
            score_max: score.map(|score| score.max),
            score_last100: self.score_last100(),
            normalized_score: self.tasks.normalized_score(),
            total_loss: row.per_frame(row.total_loss),
            policy_loss: row.per_frame(losses.policy),
            critic_loss: row.per_frame(losses.critic),
            entropy: row.per_frame(losses.entropy),
            rho_min: row.of_frames(off_policy.rho_min),
            rho_mean: row.per_frame(off_policy.rho_sum),
            rho_max: row.of_frames(off_policy.rho_max),
            rho_clipped: row.per_frame(off_policy.n_clipped as f64),
            policy_clipped: row.per_frame(losses.clipped),
            kl: row.per_frame(off_policy.kl_sum),
            explained_variance: row.of_frames(off_policy.explained_variance()),
            grad_norm: row.per_update(row.grad_norm),
            learning_rate: row.learning_rate,
            entropy_cost: row.entropy_cost,
            reward_scale: Some(row.reward_scale),
            policy_lag_mean: row.lag_mean().unwrap_or(f64::NAN),
            policy_lag_max: row.lag_max,
            gradient_lag_mean: row.per_update(row.gradient_lag as f64),
            ring_occupancy: row.per_update(row.n_ready as f64),
            ..row.stages()
        }
    }
}

/// Takes what is behind the first `max_len` items away.
fn beyond<T>(items: &mut Vec<T>, max_len: usize) -> Vec<T> {
    items.split_off(max_len.min(items.len()))
}

/// What was counted, encoded, if anything was; the histogram is empty afterwards.
fn take_histogram(histogram: &mut Histogram<u64>) -> Option<EncodedHistogram> {
    let encoded = (!histogram.is_empty()).then(|| EncodedHistogram::encode(histogram));
    histogram.clear();
    encoded
}
