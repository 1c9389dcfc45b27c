//! What is counted of each of several tasks: frames, episodes, scores, a row an interval.
//!
//! Holds nothing of a run of one task. Called by the meters.

use super::popart::Unit;
use super::score::{IntervalScore, Score};
use crate::env::normalized_score;
use crate::rollout::Rollout;
use crate::telemetry::TaskRow;

/// All tasks.
#[derive(Debug, Default)]
pub struct TaskMeters {
    tasks: Vec<TaskMeter>,
}

#[derive(Debug, Default)]
struct TaskMeter {
    id: String,
    /// Returns of its consumed episodes, since this learner began.
    score: Score,
    /// Its episodes when the last row was closed.
    episodes_before: u64,
    /// Its frames since then.
    n_frames: u64,
}

impl TaskMeters {
    /// Those of tasks with these ids.
    pub fn new(ids: &[&str]) -> Self {
        let meter = |id: &&str| TaskMeter { id: (*id).to_owned(), ..TaskMeter::default() };
        let several = if ids.len() > 1 { ids } else { &[] };
        TaskMeters { tasks: several.iter().map(meter).collect() }
    }

    /// Counts a rollout that is learned from for the first time. All of it is of its actor's task.
    pub fn count(&mut self, rollout: &Rollout) {
        let Some(task) = rollout.tasks.first() else { return };
        let task = &mut self.tasks[*task as usize];
        task.n_frames += rollout.shape.n_frames() as u64;
        rollout.episodes().for_each(|(score, _)| task.score.add(f64::from(score)));
    }

    /// Whether a run has several, whose scores have no common scale.
    pub fn are_several(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Mean of the normalised scores of their last 100 episodes; `None` where that of one is not known.
    pub fn normalized_score(&self) -> Option<f64> {
        normalized_score(self.tasks.iter().map(|task| (&*task.id, task.score.last100())))
    }

    /// Mean return of the last 100 episodes of each.
    pub fn scores(&self) -> impl Iterator<Item = Option<f64>> {
        self.tasks.iter().map(|task| task.score.last100())
    }

    /// Closes the interval that ends at `time_s` and `frames`: a row a task, with its values' unit where it has one.
    pub fn close(
        &mut self,
        time_s: f64,
        frames: u64,
        units: impl Iterator<Item = Unit>,
    ) -> impl Iterator<Item = TaskRow> {
        let units = units.map(Some).chain(std::iter::repeat(None));
        let rows = self.tasks.iter_mut().zip(units);
        rows.map(move |(task, unit)| TaskRow { time_s, frames, ..task.close(unit) })
    }
}

impl TaskMeter {
    fn close(&mut self, unit: Option<Unit>) -> TaskRow {
        let score = self.score.take_interval();
        let of_score = |part: fn(IntervalScore) -> f64| score.map(part);
        let n_episodes = self.score.n_episodes();
        TaskRow {
            task: self.id.clone(),
            task_frames: std::mem::take(&mut self.n_frames),
            episodes: n_episodes - std::mem::replace(&mut self.episodes_before, n_episodes),
            score_mean: of_score(|score| score.mean),
            score_min: of_score(|score| score.min),
            score_max: of_score(|score| score.max),
            score_last100: self.score.last100(),
            value_mean: unit.map(|unit| unit.mean),
            value_std: unit.map(|unit| unit.std),
            ..TaskRow::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{RolloutBuffer, RolloutShape};

    fn rollout(task: u32, returns: &[f32]) -> RolloutBuffer {
        let shape = RolloutShape { n_tasks: 2, ..RolloutShape::of_numbers(3, 2, 1) };
        let mut slot = RolloutBuffer::new(shape);
        let view = slot.view_mut();
        view.tasks.fill(task);
        view.episode_returns[..returns.len()].copy_from_slice(returns);
        view.header.n_episodes = returns.len() as u64;
        slot
    }

    #[test]
    fn each_task_has_its_own_frames_and_scores() {
        let mut meters = TaskMeters::new(&["A-v0", "B-v0"]);
        meters.count(&rollout(0, &[1.0, 3.0]).view());
        meters.count(&rollout(0, &[8.0]).view());
        meters.count(&rollout(1, &[]).view());
        assert!(meters.scores().eq([Some(4.0), None]));
        let unit = Unit { mean: 2.0, std: 5.0 };
        let rows: Vec<TaskRow> = meters.close(1.5, 18, [unit, unit].into_iter()).collect();
        let expected = TaskRow {
            time_s: 1.5,
            frames: 18,
            task: "A-v0".into(),
            task_frames: 12,
            episodes: 3,
            score_mean: Some(4.0),
            score_min: Some(1.0),
            score_max: Some(8.0),
            score_last100: Some(4.0),
            value_mean: Some(2.0),
            value_std: Some(5.0),
        };
        assert_eq!(rows[0], expected);
        assert_eq!((rows[1].task_frames, rows[1].episodes, rows[1].score_mean), (6, 0, None));
        let next: Vec<TaskRow> = meters.close(2.0, 18, std::iter::empty()).collect();
        assert_eq!((next[0].task_frames, next[0].episodes, next[0].value_std), (0, 0, None));
        assert_eq!(next[0].score_last100, Some(4.0), "the window stays");
        assert!(meters.are_several());
        assert_eq!(meters.normalized_score(), None, "nobody has said what these score at random");
    }

    #[test]
    fn known_tasks_have_a_score_together_once_each_has_one() {
        let mut meters = TaskMeters::new(&["MinAtar/Breakout-v0", "MinAtar/Asterix-v0"]);
        meters.count(&rollout(0, &[0.48]).view());
        assert_eq!(meters.normalized_score(), None);
        meters.count(&rollout(1, &[40.2]).view());
        let score = meters.normalized_score().unwrap();
        assert!((score - 0.5).abs() < 1e-6, "{score}");
    }

    #[test]
    fn of_one_task_nothing_is_counted() {
        let mut meters = TaskMeters::new(&["A-v0"]);
        let slot = RolloutBuffer::new(RolloutShape::of_numbers(3, 2, 1));
        meters.count(&slot.view());
        assert_eq!(meters.close(0.0, 0, std::iter::empty()).count(), 0);
        assert!(!meters.are_several() && meters.normalized_score().is_none());
    }
}
