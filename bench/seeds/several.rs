//! The table of several tasks in one run: what each of them came to on each seed.

use std::path::Path;

use anyhow::{Context, Result};
use impala::env::task_ids;
use impala::telemetry::TaskRow;
use serde::Serialize;

use crate::common::{Setting, read_summary};
use crate::statistics::median;

/// One seed's result.
#[derive(Serialize)]
pub struct Row {
    seed: u64,
    /// In the order of `env`.
    tasks: Vec<Scores>,
    /// Mean over the tasks, where 0 is random and 1 a run on a task alone; `None` where that is not known.
    normalized_score: Option<f64>,
    policy_lag_mean: f64,
}

/// What one task came to.
#[derive(Serialize)]
struct Scores {
    frames: u64,
    /// Mean of its training episodes that ended within the window at the end.
    late_score: f64,
    greedy_mean: f64,
}

/// The file `results/seeds/<name>.json`.
#[derive(Serialize)]
pub struct Table {
    pub setting: Setting,
    pub env: String,
    /// Of all tasks together.
    pub window_frames: u64,
    /// Late score that each task should have; none where none was named.
    pub goals: Vec<f64>,
    pub flags: Vec<String>,
    pub rows: Vec<Row>,
}

impl Row {
    /// That of a run's folder.
    pub fn read(seed: u64, run_dir: &Path, window_frames: u64) -> Result<Row> {
        let summary = read_summary(run_dir)?;
        let mut table = csv::Reader::from_path(run_dir.join("tasks.csv"))?;
        let rows: Vec<TaskRow> = table.deserialize().collect::<Result<_, _>>()?;
        let scores = summary.tasks.iter().map(|task| {
            let own = rows.iter().filter(|row| row.task == task.task);
            let late = late_score(own, summary.frames.saturating_sub(window_frames));
            Ok(Scores {
                frames: task.frames,
                late_score: late
                    .with_context(|| format!("{}: no episode ended late", task.task))?,
                greedy_mean: task.eval.map_or(f64::NAN, |eval| eval.mean),
            })
        });
        Ok(Row {
            seed,
            tasks: scores.collect::<Result<_>>()?,
            normalized_score: summary.normalized_score,
            policy_lag_mean: summary.mean_policy_lag(),
        })
    }
}

/// Mean return of the episodes that ended after `from` frames.
fn late_score<'a>(rows: impl Iterator<Item = &'a TaskRow>, from: u64) -> Option<f64> {
    let scored = rows.filter(|row| row.frames > from).filter_map(|row| {
        row.score_mean.map(|mean| (row.episodes as f64, row.episodes as f64 * mean))
    });
    let (n, sum) = scored.fold((0.0, 0.0), |(n, sum), (more, part)| (n + more, sum + part));
    (n > 0.0).then(|| sum / n)
}

impl Table {
    /// As people read it.
    pub fn markdown(&self) -> String {
        let tasks = task_ids(&self.env);
        let head = format!(
            "# Several tasks in one run, seeds 1 to {}\n\n`impala train {}`\n\nLate: training episodes, sampled, \
             that ended in the last {} frames of all tasks. Greedy: 100 episodes of each after training. Normalised: \
             the last 100 training episodes, 0 at random, 100 % alone in 5 M frames; mean of the tasks.\n\n",
            self.rows.len(),
            self.flags.join(" "),
            self.window_frames,
        );
        let names = tasks.iter().map(|task| format!(" {task}, late | greedy |"));
        let titles = format!("| seed |{} normalised | policy lag |\n", names.collect::<String>());
        let rule = format!("|{}\n", "---:|".repeat(2 * tasks.len() + 3));
        let rows: String = self.rows.iter().map(line).collect();
        let worst = tasks.iter().enumerate().map(|(task, id)| self.worst(task, id));
        let worst = worst.collect::<Vec<_>>().join(" ");
        format!("{head}{titles}{rule}{rows}\n{worst}\n\n{}\n", self.setting.line())
    }

    fn worst(&self, task: usize, id: &str) -> String {
        let mut late: Vec<f64> = self.rows.iter().map(|row| row.tasks[task].late_score).collect();
        late.sort_by(f64::total_cmp);
        let goal = self.goals.get(task).map_or(String::new(), |goal| {
            let reached = late.iter().filter(|score| *score >= goal).count();
            format!("; {goal} or more: {reached} of {}", late.len())
        });
        format!("{id}: median {:.2}, worst {:.2}{goal}.", median(&late), late[0])
    }
}

fn line(row: &Row) -> String {
    let scores = row.tasks.iter();
    let scores = scores.map(|task| format!(" {:.2} | {:.1} |", task.late_score, task.greedy_mean));
    let normalized =
        row.normalized_score.map_or("–".into(), |mean| format!("{:.0} %", 100.0 * mean));
    let scores = scores.collect::<String>();
    format!("| {} |{scores} {normalized} | {:.1} |\n", row.seed, row.policy_lag_mean)
}
