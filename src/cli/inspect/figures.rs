//! What is shown of a running run, as text and series: two snapshots, and what the run's files say.

use crate::base::clock::in_seconds;
use crate::base::stages::Stage;
use crate::base::units::{percent, plural, score};
use crate::os::cores::CoreTime;
use crate::report::read::RunData;
use crate::revisit::live::{LiveRun, Snapshot};
use crate::shm::view::{RingSigns, WorkerSigns};
use crate::telemetry::{LatencySummary, MetricsRow};

/// Titles of [`Figures::processes`].
pub const PROCESS_TITLES: [&str; 9] =
    ["process", "pid", "phase", "beat", "frames/s", "waits", "no core", "died", "ring"];

/// Titles of [`Figures::stages`].
pub const STAGE_TITLES: [&str; 5] = ["stage, µs", "p50", "p90", "p99", "max"];

/// Stands for what cannot be said.
const UNKNOWN: &str = "–";

/// Said in place of a series without a value.
pub const NONE_YET: &str = "none in metrics.csv yet";

/// One stage, measured since the start.
pub struct StageRow {
    /// Cells as [`STAGE_TITLES`].
    pub cells: [String; 5],
    /// All the time it took, µs.
    pub total_us: f64,
}

/// A running run at one moment.
pub struct Figures {
    /// Environment, progress and score, in a line.
    pub headline: Headline,
    /// The supervisor, the learner, each actor; cells as [`PROCESS_TITLES`].
    pub processes: Vec<[String; 9]>,
    /// Each stage that was measured.
    pub stages: Vec<StageRow>,
    /// The score, row by row.
    pub scores: Scores,
    /// Frames learned from per second, row by row; before the first row, the rate of this moment.
    pub speeds: Vec<f64>,
}

/// The score of a run over its rows.
pub struct Scores {
    /// What it is the mean of.
    pub title: &'static str,
    /// The values.
    pub values: Vec<f64>,
    /// How one is written.
    pub write: fn(f64) -> String,
}

impl Scores {
    /// Of several tasks the normalised score: theirs have no common scale.
    fn of(data: &RunData) -> Scores {
        let values = |column: fn(&MetricsRow) -> Option<f64>| -> Vec<f64> {
            data.rows.iter().filter_map(column).collect()
        };
        match data.task_rows.is_empty() {
            true => {
                let values = values(|row| row.score_last100);
                Scores { title: "score, last 100", values, write: score }
            }
            false => {
                let values = values(|row| row.normalized_score);
                Scores { title: "normalised score", values, write: percent }
            }
        }
    }
}

/// The line on top. An environment of somebody's own may have a name of any length.
pub struct Headline {
    /// Name of the environment.
    pub env: String,
    /// Progress and score.
    pub rest: String,
}

impl Headline {
    /// The line in this many characters: of a name that is too long for them, its beginning; where there is no room
    /// for any, the beginning of the rest.
    pub fn within(&self, n_chars: usize) -> String {
        let Headline { env, rest } = self;
        let room = n_chars.saturating_sub(": ".len() + rest.chars().count());
        if room > 1 {
            format!("{}: {rest}", beginning(env, room))
        } else {
            beginning(rest, n_chars)
        }
    }
}

/// A text in at most this many characters; one that is cut says so.
pub fn beginning(text: &str, n_chars: usize) -> String {
    if text.chars().count() <= n_chars {
        return text.to_owned();
    }
    text.chars().take(n_chars.saturating_sub(1)).chain(['…']).collect()
}

impl Figures {
    /// The figures of `now`, with rates since `before`.
    pub fn of(live: &LiveRun, before: &Snapshot, now: &Snapshot, data: &RunData) -> Figures {
        let seconds = in_seconds(now.taken_ns - before.taken_ns);
        let span = Span { seconds, end_ns: now.taken_ns };
        let without_core = |process: usize, n_threads| {
            without_core([before.cores[process], now.cores[process]], n_threads, seconds)
        };
        let phase = if now.stop_ordered { "stopping" } else { "watching" };
        let [pid, phase] = [live.supervisor_pid().to_string(), phase.into()];
        let none = || UNKNOWN.to_owned();
        let supervisor = ["supervisor".into(), pid, phase, none(), none(), none(), none()];
        let mut processes = vec![complete(supervisor, without_core(0, 1), String::new())];
        let n_threads = live.learner_threads();
        let learner = worker("learner".into(), n_threads, [&before.learner, &now.learner], span);
        let updates = format!("{} {}", count(now.updates as f64), plural(now.updates, "update"));
        processes.push(complete(
            learner,
            without_core(1, n_threads * live.batch_threads()),
            updates,
        ));
        for (actor, (signs, ring)) in now.actors.iter().zip(&now.rings).enumerate() {
            let cells = worker(format!("actor {actor}"), 1, [&before.actors[actor], signs], span);
            let ring = occupancy(ring, now.slots_per_actor);
            processes.push(complete(cells, without_core(2 + actor, 1), ring));
        }
        let mut speeds: Vec<f64> = data.rows.iter().map(|row| row.frames_per_s).collect();
        if speeds.is_empty() && seconds > 0.0 {
            speeds.push(now.learner.frames.saturating_sub(before.learner.frames) as f64 / seconds);
        }
        Figures {
            headline: headline(data, now),
            processes,
            stages: Stage::ALL.into_iter().filter_map(|stage| stage_row(data, stage)).collect(),
            scores: Scores::of(data),
            speeds,
        }
    }
}

/// The cells of a worker, and what is not seen in its signs.
fn complete(cells: [String; 7], without_core: String, ring: String) -> [String; 9] {
    let [name, pid, phase, beat, frames, waits, died] = cells;
    [name, pid, phase, beat, frames, waits, without_core, died, ring]
}

/// The share of its time in which a mean thread had work to do and no core to do it on.
fn without_core([before, now]: [Option<CoreTime>; 2], n_threads: usize, seconds: f64) -> String {
    let (Some(before), Some(now)) = (before, now) else { return UNKNOWN.into() };
    let waited_s = in_seconds((now - before).without_core_ns);
    share(waited_s / n_threads as f64, seconds)
}

/// Of a span in which something was seen; a long wait is counted as it ends.
fn share(part_s: f64, seconds: f64) -> String {
    if seconds > 0.0 {
        format!("{:.0} %", 100.0 * (part_s / seconds).min(1.0))
    } else {
        UNKNOWN.into()
    }
}

fn headline(data: &RunData, now: &Snapshot) -> Headline {
    let env = data.config.get("env").and_then(|env| env.as_str()).unwrap_or("?");
    Headline { env: env.to_owned(), rest: progress(data, now) }
}

fn progress(data: &RunData, now: &Snapshot) -> String {
    let budget = data.config.get("frames").and_then(|frames| frames.as_integer());
    // The segment counts from its making; rows count from the begin of a resumed run's first part.
    let recorded = data.rows.last().map_or(0, |row| row.frames);
    let frames = now.learner.frames.max(recorded);
    let progress = match budget {
        Some(budget) if budget > 0 => {
            let percent = 100.0 * frames as f64 / budget as f64;
            let [done, budget] = [frames as f64, budget as f64].map(count);
            format!("{done} of {budget} frames ({percent:.0} %)")
        }
        _ => format!("{} {}", count(frames as f64), plural(frames, "frame")),
    };
    let Some(MetricsRow { time_s, score_last100, .. }) = data.rows.last() else {
        return format!("{progress}, no row in metrics.csv yet");
    };
    let scored = match &task_scores(data)[..] {
        [] => score_last100.map_or("no score yet".into(), |mean| format!("score {}", score(mean))),
        scores => format!("score {}", scores.join(" | ")),
    };
    format!("{progress} after {time_s:.1} s, {scored}")
}

/// That of each of several tasks, as their last rows have it.
fn task_scores(data: &RunData) -> Vec<String> {
    let last = data.task_rows.last().map(|row| row.frames);
    let newest = data.task_rows.iter().filter(|row| Some(row.frames) == last);
    newest.map(|row| score(row.score_last100.unwrap_or(f64::NAN))).collect()
}

/// The time between two snapshots.
#[derive(Clone, Copy)]
struct Span {
    seconds: f64,
    end_ns: u64,
}

/// The cells of a process whose `n_threads` add up what each of them waited.
fn worker(
    name: String,
    n_threads: usize,
    [before, now]: [&WorkerSigns; 2],
    Span { seconds, end_ns }: Span,
) -> [String; 7] {
    let age_ns = end_ns.saturating_sub(now.heartbeat_ns);
    let per_s = |count: u64| count as f64 / seconds;
    let frames_per_s = per_s(now.frames.saturating_sub(before.frames));
    let waited_s = in_seconds(now.wait_ns.saturating_sub(before.wait_ns));
    let known = |text: String| if seconds > 0.0 { text } else { UNKNOWN.into() };
    [
        name,
        now.pid.to_string(),
        format!("{:?}", now.phase).to_lowercase(),
        duration(age_ns),
        known(count(frames_per_s)),
        share(waited_s / n_threads as f64, seconds),
        now.restarts.to_string(),
    ]
}

/// A full slot for each that is published and not handed back, an empty one for each other.
fn occupancy(ring: &RingSigns, n_slots: usize) -> String {
    let full = ring.published.saturating_sub(ring.released).min(n_slots as u64) as usize;
    let drawn = if n_slots <= 16 { n_slots } else { 0 };
    let full_drawn = full.min(drawn);
    let boxes = format!("{}{}", "■".repeat(full_drawn), "□".repeat(drawn - full_drawn));
    format!("{boxes} {full}/{n_slots}")
}

fn stage_row(data: &RunData, stage: Stage) -> Option<StageRow> {
    let summary = LatencySummary::of(data.latencies.get(stage)?);
    let us = |value: f64| if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") };
    let LatencySummary { count, mean, p50, p90, p99, max } = summary;
    let cells = [stage.tag().into(), us(p50), us(p90), us(p99), us(max)];
    Some(StageRow { cells, total_us: mean * count as f64 })
}

/// A number in three digits.
pub fn count(number: f64) -> String {
    let (number, prefix) = match number {
        _ if number >= 999.5e6 => (number / 1e9, " G"),
        _ if number >= 999.5e3 => (number / 1e6, " M"),
        _ if number >= 999.5 => (number / 1e3, " k"),
        _ => return format!("{number:.0}"),
    };
    let n_decimals = if number < 9.995 { 2 } else { usize::from(number < 99.95) };
    format!("{number:.n_decimals$}{prefix}")
}

fn duration(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..10_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{} s", ns / 1_000_000_000),
    }
}

/// A series as `n_points` values, each a row of the series.
pub fn resampled(series: &[f64], n_points: usize) -> Vec<f64> {
    let n_points = n_points.min(series.len());
    (1..=n_points).map(|point| series[point * series.len() / n_points - 1]).collect()
}

#[cfg(test)]
mod tests {
    use crate::shm::board::Phase;
    use crate::telemetry::TaskRow;

    use super::*;

    #[test]
    fn the_share_of_time_waiting_is_that_of_a_mean_thread() {
        let before = WorkerSigns {
            pid: 42,
            restarts: 0,
            phase: Phase::Learning,
            heartbeat_ns: 0,
            frames: 0,
            wait_ns: 3_000_000_000,
        };
        let now = WorkerSigns { wait_ns: 5_000_000_000, ..before };
        let waiting = |n_threads, seconds| {
            let span = Span { seconds, end_ns: 0 };
            worker("learner".into(), n_threads, [&before, &now], span)[5].clone()
        };
        assert_eq!([waiting(1, 4.0), waiting(2, 2.0), waiting(4, 2.0)], ["50 %", "50 %", "25 %"]);
        assert_eq!(waiting(1, 1.0), "100 %", "a long wait is counted as it ends");
    }

    #[test]
    fn the_newest_score_of_each_task_is_told() {
        let row = |frames, score_last100| TaskRow { frames, score_last100, ..TaskRow::default() };
        let task_rows = vec![row(10, Some(1.0)), row(10, None), row(20, Some(2.0)), row(20, None)];
        let data = RunData { task_rows, ..RunData::default() };
        assert_eq!(task_scores(&data), ["2.00", "–"]);
        assert_eq!(task_scores(&RunData::default()), [""; 0]);
    }

    #[test]
    fn the_series_of_several_tasks_is_that_of_their_normalised_score() {
        let rows = vec![MetricsRow {
            score_last100: Some(3.0),
            normalized_score: Some(0.4),
            ..MetricsRow::default()
        }];
        let mut data = RunData { rows, ..RunData::default() };
        assert_eq!(Scores::of(&data).values, [3.0]);
        data.task_rows.push(TaskRow::default());
        let Scores { title, values, write } = Scores::of(&data);
        assert_eq!((title, write(values[0])), ("normalised score", "40\u{a0}%".into()));
    }

    #[test]
    fn the_share_without_a_core_is_that_of_a_mean_thread() {
        let time = |without_core_ns| Some(CoreTime { on_core_ns: 1, without_core_ns });
        let [before, now] = [time(1_000_000_000), time(2_000_000_000)];
        let shown = |times, n_threads, seconds| without_core(times, n_threads, seconds);
        assert_eq!(shown([before, now], 1, 2.0), "50 %");
        assert_eq!(shown([before, now], 2, 2.0), "25 %");
        assert_eq!(shown([now, before], 1, 2.0), "0 %", "another process has its place");
        assert_eq!([shown([before, None], 1, 2.0), shown([before, now], 1, 0.0)], ["–", "–"]);
    }

    #[test]
    fn rings_are_drawn_as_full_and_empty_slots() {
        let ring = |published, released| RingSigns { published, released };
        assert_eq!(occupancy(&ring(7, 5), 4), "■■□□ 2/4");
        assert_eq!(occupancy(&ring(5, 7), 2), "□□ 0/2", "two looks at a moving ring");
        assert_eq!(occupancy(&ring(90, 10), 64), " 64/64");
    }

    #[test]
    fn a_series_keeps_its_last_value() {
        let series: Vec<f64> = (0..10).map(f64::from).collect();
        assert_eq!(resampled(&series, 5), [1.0, 3.0, 5.0, 7.0, 9.0]);
        assert_eq!(resampled(&series, 100), series);
        assert_eq!(resampled(&[], 5), [0.0; 0]);
    }

    #[test]
    fn durations_and_counts_carry_their_unit() {
        assert_eq!([900, 4_000_000, 12_000_000_000].map(duration), ["0 µs", "4 ms", "12 s"]);
        let counts =
            [12.0, 999.6, 4_200.0, 99_960.0, 999_600.0, 4_900_000.0, 12_345_678.0].map(count);
        assert_eq!(counts, ["12", "1.00 k", "4.20 k", "100 k", "1.00 M", "4.90 M", "12.3 M"]);
        assert_eq!([999.6e6, 2e9, 1e12].map(count), ["1.00 G", "2.00 G", "1000 G"]);
    }
}
