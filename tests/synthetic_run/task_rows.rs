//! What two tasks did over the interval of a row of the made-up run.

use impala::telemetry::{MetricsRow, TaskRow};

use crate::synthetic_run::FRAMES_A_ROW;

/// Two tasks over the interval of a row.
pub fn task_rows(row: &MetricsRow) -> [TaskRow; 2] {
    let of = |task: &str, score: f64| TaskRow {
        time_s: row.time_s,
        frames: row.frames,
        task: task.into(),
        task_frames: FRAMES_A_ROW / 2,
        episodes: 6,
        score_mean: Some(score * 0.9),
        score_min: Some(0.0),
        score_max: Some(score * 2.0),
        score_last100: Some(score),
        value_mean: Some(score / 10.0),
        value_std: Some(score / 5.0),
    };
    let share = row.frames as f64 / 1e6;
    [of("Maze-v0", 1.0 + 10.0 * share), of("Cave-v0", 100.0 + 900.0 * share)]
}
