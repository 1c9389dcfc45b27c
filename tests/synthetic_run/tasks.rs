//! Makes the made-up run one of two tasks, for the tests that ask what is said of several.

use std::path::Path;

use impala::run::dir::RunDir;
use impala::telemetry::{EvalSummary, MetricsRow, Summary, TaskSummary};
use serde::Serialize;

use crate::synthetic_run::row;
use crate::synthetic_task_rows::task_rows;

fn task(task: &str) -> TaskSummary {
    TaskSummary {
        task: task.into(),
        frames: 500_000,
        episodes: 1_000,
        score_last100: Some(12.5),
        normalized_score: Some(0.4),
        eval: Some(EvalSummary { episodes: 100, mean: 14.0, ..EvalSummary::default() }),
    }
}

/// Makes a run of `n` rows one of two tasks.
pub fn add_tasks(run: &RunDir, n: u64) {
    write_rows(&run.tasks(), (0..n).flat_map(|i| task_rows(&row(i, n))));
    write_rows(&run.metrics(), (0..n).map(|i| together(row(i, n))));
    let text = std::fs::read_to_string(run.summary()).unwrap();
    let summary: Summary = serde_json::from_str(&text).unwrap();
    let (tasks, normalized_score) = (vec![task("Maze-v0"), task("Cave-v0")], Some(0.4));
    let summary = Summary { tasks, normalized_score, score_last100: None, ..summary };
    std::fs::write(run.summary(), serde_json::to_string(&summary).unwrap()).unwrap();
}

fn write_rows(path: &Path, rows: impl Iterator<Item = impl Serialize>) {
    let mut table = csv::Writer::from_path(path).unwrap();
    rows.for_each(|row| table.serialize(row).unwrap());
    table.flush().unwrap();
}

/// A row of both tasks, whose scores have no common scale.
fn together(row: MetricsRow) -> MetricsRow {
    MetricsRow {
        normalized_score: Some(row.frames as f64 / 1e6),
        score_mean: None,
        score_min: None,
        score_max: None,
        score_last100: None,
        ..row
    }
}
