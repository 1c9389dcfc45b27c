//! The page of one run: headline, judgement, plots and tables, from what was read and drawn.
//!
//! Owns which figures appear and in which words; `report.html`, within `page.html`, and `report.md` own the
//! layout. Does not read files.

use askama::Template;
use base64::Engine as _;

use super::DrawnSection;
use super::bottleneck::{self, Diagnosis};
use super::facts::{Fact, SettingGroup, settings, system, task_facts, troubles};
use super::learning::{self, Course, Learning};
use super::palette;
use super::quantiles::Quantiles;
use super::ranks::RankTable;
use super::read::RunData;
use super::series::Column;
use super::stage_table::{StageGroup, stage_groups};
use super::tasks::TaskTable;
use super::tiles::{Tile, tiles};
use super::units::{counted, grouped, percent, short};
use super::waits::{Wait, waits};
use crate::telemetry::{Exit, MetricsRow, Summary};

/// The same page twice.
pub struct Pages {
    /// `report.html`.
    pub html: String,
    /// `report.md`.
    pub markdown: String,
}

/// Fills both pages.
pub fn pages(run: &RunData, sections: &[DrawnSection]) -> askama::Result<Pages> {
    let summary = run.summary.as_ref();
    let n_cores = run.meta.as_ref().map(|meta| meta.n_cores);
    let diagnosis = summary.map(|summary| bottleneck::diagnose(summary, n_cores));
    let failure = failure(run);
    // Scores of several tasks have no common scale that could be judged.
    let of_one = summary.filter(|summary| summary.tasks.is_empty());
    let learning = of_one.map(|summary| learning::judge(&run.rows, summary));
    // What it did not learn until it failed says nothing of its settings.
    let learning = learning.filter(|learning| failure.is_none() || learning.is_success());
    let page = Page {
        colours: palette::css(),
        style: STYLE,
        script: SCRIPT,
        title: summary.map_or_else(|| run.name.clone(), |s| format!("{}, seed {}", s.env, s.seed)),
        run_name: &run.name,
        status: Status::of(run, learning.as_ref()),
        lead: lead(run),
        parts: parts(run),
        failure,
        tiles: tiles(run),
        learning,
        diagnosis,
        task: task_facts(run),
        picture: run.observation.as_ref().map(|png| base64::prelude::BASE64_STANDARD.encode(png)),
        sections,
        ratios: ratio_rows(&run.rows),
        ranks: summary.and_then(RankTable::of),
        tasks: summary.and_then(TaskTable::of),
        stages: stage_groups(run),
        waits: waits(summary),
        troubles: summary.map(troubles).unwrap_or_default(),
        settings: settings(&run.config, summary),
        system: system(run),
        notes: &run.notes,
    };
    Ok(Pages { html: page.render()?, markdown: MarkdownPage { page: &page }.render()? })
}

/// A piece of a text of ours, in which what a user types stands between backticks, as in Markdown.
struct Span<'a> {
    is_code: bool,
    text: &'a str,
}

/// A text as a page shows it that does not know Markdown. A backtick without a partner stays one.
fn spans(text: &str) -> Vec<Span<'_>> {
    let mut spans = Vec::new();
    let mut rest = text;
    while let Some((before, (code, after))) =
        rest.split_once('`').and_then(|(before, rest)| Some((before, rest.split_once('`')?)))
    {
        spans.push(Span { is_code: false, text: before });
        spans.push(Span { is_code: true, text: code });
        rest = after;
    }
    spans.push(Span { is_code: false, text: rest });
    spans
}

/// Looks of every page.
pub const STYLE: &str = include_str!("style.css");

/// What the picture of an observation is.
const PICTURE_CAPTION: &str = "An observation of the final evaluation. Below it: the score until then, and how \
                               probable the last policy finds each action.";

/// Shows values under the pointer, on every page.
pub const SCRIPT: &str = include_str!("report.js");

#[derive(Template)]
#[template(path = "report.html", config = "src/report/askama.toml")]
struct Page<'a> {
    colours: String,
    style: &'static str,
    script: &'static str,
    title: String,
    run_name: &'a str,
    status: Status,
    lead: String,
    parts: Option<String>,
    failure: Option<&'a str>,
    tiles: Vec<Tile>,
    learning: Option<Learning>,
    diagnosis: Option<Diagnosis>,
    task: Vec<Fact>,
    /// An observation, as the text of a PNG file in base64.
    picture: Option<String>,
    sections: &'a [DrawnSection],
    ratios: Vec<RatioRow>,
    ranks: Option<RankTable>,
    tasks: Option<TaskTable>,
    stages: Vec<StageGroup>,
    waits: Vec<Wait>,
    troubles: Vec<Fact>,
    settings: Vec<SettingGroup>,
    system: Vec<Fact>,
    notes: &'a [String],
}

#[derive(Template)]
#[template(path = "report.md", config = "src/report/askama.toml")]
struct MarkdownPage<'a> {
    page: &'a Page<'a>,
}

/// How the run ended, as a word and the class that colours it.
struct Status {
    word: &'static str,
    class: &'static str,
}

impl Status {
    /// A run that spent its budget and learned nothing has ended well in no way that matters.
    fn of(run: &RunData, learning: Option<&Learning>) -> Status {
        let from_meta = run.meta.as_ref().and_then(|meta| meta.exit);
        let (word, class) = match from_meta.or(run.summary.as_ref().map(|summary| summary.exit)) {
            Some(Exit::Finished) if learning.is_some_and(|l| l.course == Course::Lost) => {
                ("Finished, and lost what it learned", "fair")
            }
            Some(Exit::Finished) if learning.is_some_and(Learning::is_failure) => {
                ("Finished without learning", "bad")
            }
            Some(Exit::Solved) => ("Solved", "good"),
            Some(Exit::Finished) => ("Finished", "good"),
            Some(Exit::Interrupted) => ("Interrupted", "fair"),
            Some(Exit::Failed) => ("Failed", "bad"),
            None => ("Not ended", "fair"),
        };
        Status { word, class }
    }
}

fn lead(run: &RunData) -> String {
    let Some(summary) = &run.summary else {
        return "A run of an IMPALA engine: actor processes play, one learner improves the policy they play with.".to_owned();
    };
    format!(
        "{} played {} and passed what they saw through shared memory to one learner ({}), which \
         improved the policy with IMPALA and kept sending it back. It learned from {} in {}.",
        counted(summary.actors.len() as u64, "actor process"),
        summary.env,
        backend(summary),
        frames(summary),
        counted(summary.updates, "update"),
    )
}

/// Steps of environments, and what they are on an emulator.
fn frames(summary: &Summary) -> String {
    let frames = counted(summary.frames, "frame");
    summary.emulator_frames.map_or(frames.clone(), |emulated| {
        format!("{frames} ({} of the emulator)", grouped(emulated))
    })
}

/// What computed: backend, kernels and threads.
fn backend(summary: &Summary) -> String {
    let Summary { learner, kernels, learner_threads, batch_threads, .. } = summary;
    let kernels = if kernels.is_empty() { String::new() } else { format!(", {kernels} kernels") };
    let n_threads = learner_threads * batch_threads.max(&1);
    format!("{learner} backend{kernels}, {}", counted(n_threads as u64, "thread"))
}

/// Why the run failed, if it did.
fn failure(run: &RunData) -> Option<&str> {
    let meta = run.meta.as_ref().filter(|meta| meta.exit == Some(Exit::Failed))?;
    meta.exit_reason.as_deref()
}

/// Of a resumed run, which figures are of the earlier run too.
fn parts(run: &RunData) -> Option<String> {
    run.meta.as_ref()?.resumed_from.as_ref()?;
    let Some(before) = run.summary.as_ref().map(|summary| summary.frames_before) else {
        return Some("It goes on from an earlier run.".to_owned());
    };
    let frame = grouped(before);
    let has_records = run.rows.first().is_some_and(|row| row.frames <= before);
    let text = if has_records {
        format!(
            "It goes on from an earlier run, and has what that one had recorded until frame {frame}. Frames, \
             updates, score, wall time, the numbers of every stage and all plots but those of actors and memory \
             are of both; all else is of this run alone."
        )
    } else {
        format!(
            "It goes on from frame {frame} of an earlier run, without its records. Frames, updates, score and \
             wall time are of both; all else is of this run alone."
        )
    };
    Some(text)
}

/// A figure of the importance ratios, and what it was over the intervals of the run.
struct RatioRow {
    name: &'static str,
    /// Lowest, 10 %, median, 90 %, highest.
    cells: [String; 5],
}

/// A name, a column of the metrics, and how its values are written.
type Figure = (&'static str, Column, fn(f64) -> String);

/// Without a ratio there is no table.
fn ratio_rows(rows: &[MetricsRow]) -> Vec<RatioRow> {
    let row = |(name, column, write): Figure| {
        let Quantiles { min, p10, p50, p90, max } = Quantiles::of(rows.iter().filter_map(column))?;
        Some(RatioRow { name, cells: [min, p10, p50, p90, max].map(write) })
    };
    let figures: [Figure; 4] = [
        ("smallest", |r| r.rho_min, short),
        ("mean", |r| r.rho_mean, short),
        ("largest", |r| r.rho_max, short),
        ("share clipped", |r| r.rho_clipped, percent),
    ];
    figures.into_iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_backticks_is_code() {
        let shown = |text| {
            let pieces = spans(text).into_iter();
            let shown = pieces.map(|Span { is_code, text }| match is_code {
                true => format!("<{text}>"),
                false => text.to_owned(),
            });
            shown.collect::<String>()
        };
        assert_eq!(shown("one (`--a 2`), or `b`."), "one (<--a 2>), or <b>.");
        assert_eq!(shown("`a`"), "<a>");
        assert_eq!(shown("it`s"), "it`s");
        assert_eq!(shown(""), "");
    }
}
