//! What the learner sends to the supervisor, and what all of it adds up to.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::histogram::{DecodeError, EncodedHistogram, lag_histogram};
use super::row::{MetricsRow, SlotRecord, TaskRow};
use super::summary::{Exit, LagSummary, RankSummary, Spread, TaskSummary};
use crate::base::stages::Stage;

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
    /// The same, a row for each of several tasks.
    pub task_rows: Vec<TaskRow>,
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
    /// What all ranks last said of themselves, where that is news.
    pub ranks: Vec<RankSummary>,
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

    /// Importance ratios of all rows; `None` before the first.
    pub fn rho(&self) -> Option<Spread> {
        let (min, max) = self.rho_bounds?;
        Some(Spread { min, mean: self.rho_sum / self.n_ratios.max(1) as f64, max })
    }

    /// Share of the update time in which at least one actor was collecting, 0 to 1; NaN without updates.
    pub fn collected_during_updates(&self) -> f64 {
        self.collected_ns as f64 / self.update_ns as f64
    }
}

/// Where training stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Frames consumed by learning.
    pub frames: u64,
    /// Updates.
    pub updates: u64,
    /// Mean return of the last 100 episodes; `None` of several tasks.
    pub score_last100: Option<f64>,
    /// The same of each of several tasks.
    pub task_scores: Vec<Option<f64>>,
    /// The mean of the normalised scores of several tasks.
    pub normalized_score: Option<f64>,
    /// Mean policy lag of the newest row, in updates; of the first one while it is not finished. `None`
    /// before the first update.
    pub policy_lag_mean: Option<f64>,
}

/// What all learners of a run did, added up from their reports.
#[derive(Clone, Debug)]
pub struct LearnerFigures {
    /// Sums of all reports.
    pub sums: LearnerSums,
    /// All ranks, as they last said together; empty of a learner alone.
    pub ranks: Vec<RankSummary>,
    /// Each of several tasks, in the order of their first rows.
    pub tasks: Vec<TaskSummary>,
    policy_lag: Histogram<u64>,
    gradient_lag: Histogram<u64>,
}

impl Default for LearnerFigures {
    fn default() -> Self {
        LearnerFigures {
            sums: LearnerSums::default(),
            ranks: Vec::new(),
            tasks: Vec::new(),
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
        if !report.ranks.is_empty() {
            self.ranks.clone_from(&report.ranks);
        }
        report.task_rows.iter().for_each(|row| self.add_task(row));
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

    fn add_task(&mut self, row: &TaskRow) {
        let known = self.tasks.iter().position(|task| task.task == row.task);
        let index = known.unwrap_or_else(|| {
            self.tasks.push(TaskSummary { task: row.task.clone(), ..TaskSummary::default() });
            self.tasks.len() - 1
        });
        let task = &mut self.tasks[index];
        task.frames += row.task_frames;
        task.episodes += row.episodes;
        task.score_last100 = row.score_last100.or(task.score_last100);
    }

    /// Policy lag of all slots learned from; `None` if there were none.
    pub fn policy_lag(&self) -> Option<LagSummary> {
        LagSummary::of(&self.policy_lag)
    }

    /// Gradient lag of all updates; `None` if there were none.
    pub fn gradient_lag(&self) -> Option<LagSummary> {
        LagSummary::of(&self.gradient_lag)
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::MAX_LAG;
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
        let lag = figures.policy_lag().unwrap();
        assert!(lag.p50 == 4 && lag.max >= MAX_LAG, "{lag:?}");
        let rho = Spread { min: 1.0, mean: 2_000_017.0 / 5.0, max: 2e6 };
        assert_eq!(figures.sums.rho(), Some(rho));
        assert_eq!(figures.sums.collected_during_updates(), 2_000_017.0 / 50.0);
        assert_eq!(figures.sums.first_frame_ns, Some(1));
        assert_eq!(figures.gradient_lag(), None, "there was none");
    }

    #[test]
    fn what_was_counted_of_a_task_adds_up_and_its_newest_score_stands() {
        let row = |task: &str, task_frames, score_last100| TaskRow {
            task: task.into(),
            task_frames,
            episodes: 2,
            score_last100,
            ..TaskRow::default()
        };
        let mut figures = LearnerFigures::default();
        for rows in [
            vec![row("A-v0", 640, None), row("B-v0", 0, Some(3.0))],
            vec![row("A-v0", 1_280, Some(7.0)), row("B-v0", 640, None)],
        ] {
            figures.add(&Report { task_rows: rows, ..Report::default() }).unwrap();
        }
        let found = figures.tasks.iter().map(|task| (&*task.task, task.frames, task.score_last100));
        assert!(found.eq([("A-v0", 1_920, Some(7.0)), ("B-v0", 640, Some(3.0))]));
        assert!(figures.tasks.iter().all(|task| task.episodes == 4));
    }

    #[test]
    fn of_a_learner_without_updates_nothing_is_known() {
        let figures = LearnerFigures::default();
        assert_eq!((figures.policy_lag(), figures.gradient_lag()), (None, None));
        assert_eq!(figures.sums.rho(), None);
        assert!(figures.sums.collected_during_updates().is_nan());
    }
}
