//! The headline numbers of a run.
//!
//! Owns which there are and their words. The page lays them out.

use super::read::RunData;
use super::units::{DASH, counted, grouped, megabytes, percent, seconds, short};
use crate::telemetry::{MemorySummary, Summary};

/// A headline number.
pub struct Tile {
    /// What it is.
    pub label: &'static str,
    /// The number, with its unit.
    pub value: String,
    /// What it is of.
    pub detail: String,
}

impl Tile {
    fn new(label: &'static str, value: String, detail: String) -> Tile {
        Tile { label, value, detail }
    }
}

/// The headline of a run: of one without a summary, what its last row can say.
pub fn tiles(run: &RunData) -> Vec<Tile> {
    let Some(summary) = &run.summary else {
        return tiles_of_last_row(run);
    };
    let mut tiles = match summary.tasks.is_empty() {
        true => vec![solved(summary), speed(summary), greedy(summary)],
        // The table of the tasks has the greedy score of each.
        false => vec![normalized(summary.normalized_score), speed(summary)],
    };
    tiles.extend([wall(summary), lag(summary)]);
    tiles.extend(summary.memory.as_ref().map(memory));
    tiles
}

/// Of several tasks: returns of different tasks have no common scale.
fn normalized(score: Option<f64>) -> Tile {
    let (value, detail) = match score {
        Some(mean) => {
            (percent(mean), "mean over the tasks, between random actions and runs on each alone")
        }
        None => (DASH.to_owned(), "of one task at least there is none"),
    };
    Tile::new("Normalised score", value, detail.to_owned())
}

/// Whether it was solved; of an environment of which nobody has said when it is, what it reached.
fn solved(summary: &Summary) -> Tile {
    let Some(threshold) = summary.score_threshold.map(short) else {
        let reached = summary.score_last100.map_or_else(|| DASH.to_owned(), short);
        let detail = "mean of the last 100 episodes; no threshold counts as solved".to_owned();
        return Tile::new("Score", reached, detail);
    };
    let Some(frames) = summary.solved_frames.filter(|_| summary.solved) else {
        let reached = summary.score_last100.map_or_else(|| DASH.to_owned(), short);
        let detail = format!("last 100 episodes: mean {reached}, asked for {threshold}");
        return Tile::new("Solved", "no".to_owned(), detail);
    };
    let when = summary.solved_s.map_or_else(|| DASH.to_owned(), seconds);
    let detail =
        format!("{} frames; the mean of 100 episodes reached {threshold}", grouped(frames));
    Tile::new("Solved after", when, detail)
}

fn speed(summary: &Summary) -> Tile {
    let detail = format!(
        "{} frames learned from in {}",
        short(summary.frames_of_this_part() as f64),
        seconds(summary.train_s)
    );
    Tile::new("Frames per second", short(summary.frames_per_s), detail)
}

fn greedy(summary: &Summary) -> Tile {
    const LABEL: &str = "Greedy score";
    let Some(eval) = summary.eval else {
        return Tile::new(LABEL, DASH.to_owned(), "the final policy was not evaluated".to_owned());
    };
    let detail = format!(
        "mean of {}, from {} to {}{}",
        counted(eval.episodes, "episode"),
        short(eval.min),
        short(eval.max),
        eval.remark()
    );
    Tile::new(LABEL, short(eval.mean), detail)
}

fn wall(summary: &Summary) -> Tile {
    let detail = format!("of it {} until the first rollout", seconds(summary.startup_s));
    Tile::new("Wall time", seconds(summary.wall_s), detail)
}

fn lag(summary: &Summary) -> Tile {
    const LABEL: &str = "Policy lag";
    let Some(lag) = summary.policy_lag else {
        return Tile::new(LABEL, DASH.to_owned(), "no rollout was learned from".to_owned());
    };
    let detail = format!("updates in the mean; p99 {}, largest {}", lag.p99, lag.max);
    Tile::new(LABEL, short(lag.mean), detail)
}

fn memory(memory: &MemorySummary) -> Tile {
    let known = |bytes: Option<u64>| bytes.map_or_else(|| DASH.to_owned(), megabytes);
    let detail = format!(
        "at the end; supervisor {}, learner {}, actors {}; at most {}",
        known(memory.supervisor_bytes),
        known(memory.learner_bytes),
        known(memory.actors_bytes),
        megabytes(memory.peak_bytes),
    );
    Tile::new("Memory", known(memory.total_bytes()), detail)
}

/// What can still be said of a run without a summary.
fn tiles_of_last_row(run: &RunData) -> Vec<Tile> {
    let Some(row) = run.rows.last() else {
        return Vec::new();
    };
    let score = row.score_last100.map_or_else(|| DASH.to_owned(), short);
    let scored = match run.task_rows.is_empty() {
        true => Tile::new("Score", score, "mean of the last 100 episodes".to_owned()),
        false => normalized(row.normalized_score),
    };
    vec![
        scored,
        Tile::new("Frames per second", short(row.frames_per_s), "in the last interval".to_owned()),
        Tile::new("Frames", short(row.frames as f64), "learned from so far".to_owned()),
        Tile::new("Time", seconds(row.time_s), "until the last row".to_owned()),
    ]
}
