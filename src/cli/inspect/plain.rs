//! A run as plain text: a live one once, or how one ends and what it came to.

use std::time::Duration;

use crate::base::units::{number_of, percent, score};
use crate::report::read::RunData;
use crate::revisit::live::{Life, LiveRun};
use crate::run::dir::RunDir;
use crate::telemetry::{Summary, TaskSummary};
use nix::poll::{PollTimeout, poll};

use super::figures::{Figures, NONE_YET, PROCESS_TITLES, STAGE_TITLES, Scores, count, resampled};

/// Rates are over this long.
const BETWEEN: Duration = Duration::from_millis(500);

/// Characters of a printed series.
const SERIES_CHARS: usize = 60;

/// Prints what a running run does.
pub fn print_live(run: &RunDir, live: &LiveRun) -> anyhow::Result<()> {
    let before = live.snapshot();
    poll(&mut [], PollTimeout::try_from(BETWEEN)?)?;
    let now = live.snapshot();
    let figures = Figures::of(live, &before, &now, &RunData::read(run));
    say!("{}\n", figures.headline.within(usize::MAX));
    print_table(PROCESS_TITLES, &figures.processes);
    say!("");
    let stages: Vec<_> = figures.stages.into_iter().map(|stage| stage.cells).collect();
    print_table(STAGE_TITLES, &stages);
    let Scores { title, values, write } = &figures.scores;
    say!("\n{title:16}  {}", series(values, *write));
    say!("{:16}  {}", "frames/s", series(&figures.speeds, count));
    Ok(())
}

/// Says how a run ended and what it came to, or that it is about to end.
pub fn print_end(run: &RunDir) -> anyhow::Result<()> {
    // Looked at first: a run that ends in between has then recorded how.
    let life = Life::of(run);
    let data = RunData::read(run);
    let reason = data.meta.as_ref().and_then(|meta| meta.exit_reason.clone());
    let folder = run.path().display();
    if reason.is_none() && life == Life::Ending {
        say!(
            "{folder} is ending: training is over; final weights are evaluated, or results written"
        );
        return Ok(());
    }
    let reason = reason.unwrap_or("it was killed, or could not write how it ended".into());
    say!("{folder} is not running: {reason}");
    let Some(summary) = &data.summary else {
        let frames = data.rows.last().map_or(0, |row| row.frames);
        let rows = number_of(data.rows.len() as u64, "row");
        say!("no summary; metrics.csv: {rows}, until frame {frames}");
        return Ok(());
    };
    say!(
        "{}, seed {}: {} in {:.2} s, {} frames/s{}, {}{}",
        summary.env,
        summary.seed,
        number_of(summary.frames_of_this_part(), "frame"),
        summary.train_s,
        count(summary.frames_per_s),
        match summary.frames_before {
            0 => String::new(),
            before => format!(", after {before} of an earlier run"),
        },
        scored(summary),
        if summary.solved { ", solved" } else { "" },
    );
    for TaskSummary { task, frames, score_last100, .. } in &summary.tasks {
        let (frames, score) = (count(*frames as f64), score(score_last100.unwrap_or(f64::NAN)));
        say!("{task}: {frames} frames, score {score}");
    }
    if run.report().is_file() {
        say!("report: {}", run.report().display());
    }
    Ok(())
}

/// The score in words; of several tasks the normalised one.
fn scored(summary: &Summary) -> String {
    let known = |value: Option<f64>| value.unwrap_or(f64::NAN);
    match summary.tasks.is_empty() {
        true => format!("score {} (mean of the last 100)", score(known(summary.score_last100))),
        false => format!("normalised score {}", percent(known(summary.normalized_score))),
    }
}

/// Columns as wide as what is in them; the first and the last from the left, numbers from the right.
fn print_table<const N: usize>(titles: [&str; N], rows: &[[String; N]]) {
    let titles = titles.map(String::from);
    let all = || std::iter::once(&titles).chain(rows);
    let chars = |cell: &String| cell.chars().count();
    let widths: [usize; N] =
        std::array::from_fn(|column| all().map(|row| chars(&row[column])).max().unwrap_or(0));
    for row in all() {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            let is_text = column == 0 || titles[column] == "phase" || titles[column] == "ring";
            if is_text { format!("{cell:width$}") } else { format!("{cell:>width$}") }
        });
        say!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// A series in blocks, with its smallest and largest value.
fn series(values: &[f64], write: fn(f64) -> String) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let min = finite.iter().copied().fold(f64::INFINITY, f64::min);
    let max = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if finite.is_empty() {
        return NONE_YET.into();
    }
    let height = |value: f64| ((value - min) / (max - min).max(f64::MIN_POSITIVE) * 7.0) as usize;
    let blocks = resampled(&finite, SERIES_CHARS).into_iter().map(|value| BLOCKS[height(value)]);
    format!("{} {} to {}", blocks.collect::<String>(), write(min), write(max))
}
