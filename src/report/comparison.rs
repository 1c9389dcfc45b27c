//! The page of many runs beside each other: verdict, tables and plots, from groups and what was drawn.
//!
//! Owns which figures appear and in which words; `comparison.html`, within `page.html`, and
//! `comparison.md` own the layout. Does not read files or draw.

use std::collections::BTreeSet;

use askama::Template;

use super::DrawnSection;
use super::groups::{Group, Groups};
use super::html::{Pages, SCRIPT, STYLE};
use super::palette;
use super::spread::Spread;
use super::units::{DASH, counted, grouped, megabytes, percent, seconds, short};
use crate::telemetry::Summary;

/// Fills both pages.
pub fn pages(groups: &Groups, sections: &[DrawnSection]) -> askama::Result<Pages> {
    let page = Page {
        colours: palette::css(),
        style: STYLE,
        script: SCRIPT,
        title: title(groups),
        lead: lead(groups),
        verdict: verdict(groups),
        figures: figures(groups).map(|figure| figure.name).collect(),
        groups: groups.groups.iter().map(|group| group_row(groups, group)).collect(),
        differing: differing(groups),
        runs: (0..groups.runs.len()).map(|i| run_row(groups, i)).collect(),
        common: groups.common(),
        sections,
        notes: notes(groups),
    };
    Ok(Pages { html: page.render()?, markdown: MarkdownPage { page: &page }.render()? })
}

#[derive(Template)]
#[template(path = "comparison.html", config = "src/report/askama.toml")]
struct Page<'a> {
    colours: String,
    style: &'static str,
    script: &'static str,
    title: String,
    lead: String,
    verdict: String,
    figures: Vec<&'static str>,
    groups: Vec<GroupRow>,
    differing: Vec<Differing>,
    runs: Vec<RunRow>,
    common: Vec<(String, String)>,
    sections: &'a [DrawnSection],
    notes: Vec<String>,
}

#[derive(Template)]
#[template(path = "comparison.md", config = "src/report/askama.toml")]
struct MarkdownPage<'a> {
    page: &'a Page<'a>,
}

fn title(groups: &Groups) -> String {
    let envs: BTreeSet<&str> = groups.summaries().map(|s| s.env.as_str()).collect();
    let envs = envs.into_iter().collect::<Vec<_>>().join(", ");
    format!("{} of {envs}", counted(groups.runs.len() as u64, "run"))
}

fn lead(groups: &Groups) -> String {
    let n_runs = groups.runs.len() as u64;
    let settings = match (n_runs, groups.differing.as_slice()) {
        (..=1, _) => "There is no other to compare it with.".to_owned(),
        (_, []) => {
            "They share all settings, the seed apart, so what sets them apart is chance.".to_owned()
        }
        (_, keys) => format!(
            "They differ in {}; runs that differ in their seed alone are one group.",
            keys.join(", ")
        ),
    };
    format!(
        "{} in {}. {settings}",
        counted(n_runs, "run"),
        counted(groups.groups.len() as u64, "group")
    )
}

/// Which group solved the task in the fewest frames, and whether that could be chance.
fn verdict(groups: &Groups) -> String {
    let n_solved = groups.runs.iter().filter(|run| run.is_solved()).count();
    let n_runs = counted(groups.runs.len() as u64, "run");
    let all = format!("{n_solved} of {n_runs} solved their task.");
    if !groups.play_one_env() {
        return format!(
            "{all} They play different environments, so scores and frames of one group do not compare \
             with another's."
        );
    }
    let to_solve = |group| Some((group, groups.spread(group, solved_frames)?));
    let mut solved: Vec<(&Group, Spread)> = groups.groups.iter().filter_map(to_solve).collect();
    solved.sort_by(|a, b| a.1.median.total_cmp(&b.1.median));
    match solved.as_slice() {
        [] => all,
        [(_, only)] => format!("{all} Frames to solve: {}.", only.text(short)),
        [(best, first), (second, next), ..] => {
            let chance = if first.hi < next.lo {
                "no run of the second was as quick as the slowest of the first"
            } else {
                "their ranges overlap, so with this many seeds the order may be chance"
            };
            format!(
                "{all} Fewest frames to solve: {} ({}), then {} ({}); {chance}.",
                best.name,
                first.text(short),
                second.name,
                next.text(short)
            )
        }
    }
}

fn solved_frames(summary: &Summary) -> Option<f64> {
    summary.solved_frames.map(|frames| frames as f64)
}

/// What is compared of the runs' ends.
struct Figure {
    name: &'static str,
    of: fn(&Summary) -> Option<f64>,
    write: fn(f64) -> String,
}

const FIGURES: [Figure; 8] = [
    Figure { name: "frames to solve", of: solved_frames, write: short },
    Figure { name: "time to solve", of: |s| s.solved_s, write: seconds },
    Figure { name: "greedy score", of: |s| s.eval.map(|eval| eval.mean), write: short },
    Figure { name: "last 100 episodes", of: |s| s.score_last100, write: short },
    NORMALIZED,
    Figure { name: "frames/s", of: |s| Some(s.frames_per_s), write: short },
    Figure { name: "policy lag, updates", of: |s| s.policy_lag.map(|lag| lag.mean), write: short },
    Figure {
        name: "memory",
        of: |s| s.memory.and_then(|memory| memory.total_bytes()).map(|bytes| bytes as f64),
        write: |bytes| megabytes(bytes as u64),
    },
];

/// Of several tasks.
const NORMALIZED: Figure =
    Figure { name: "normalised score", of: |s| s.normalized_score, write: percent };

/// Those of these runs.
fn figures(groups: &Groups) -> impl Iterator<Item = &'static Figure> {
    let are_several = groups.summaries().any(|summary| !summary.tasks.is_empty());
    FIGURES.iter().filter(move |figure| are_several || figure.name != NORMALIZED.name)
}

struct GroupRow {
    colour: &'static str,
    name: String,
    solved: String,
    /// One a figure.
    cells: Vec<Cell>,
}

/// A group's figure.
struct Cell {
    median: String,
    range: Option<String>,
}

fn group_row(groups: &Groups, group: &Group) -> GroupRow {
    let n_solved = groups.members(group).filter(|run| run.is_solved()).count();
    let cell = |Figure { of, write, .. }: &Figure| match groups.spread(group, *of) {
        Some(spread) => Cell { median: write(spread.median), range: spread.range(*write) },
        None => Cell { median: DASH.to_owned(), range: None },
    };
    GroupRow {
        colour: group.colour.css_name(),
        name: group.name.clone(),
        solved: format!("{n_solved} of {}", groups.members(group).count()),
        cells: figures(groups).map(cell).collect(),
    }
}

/// A setting in which the groups differ.
struct Differing {
    name: String,
    /// One a group.
    values: Vec<String>,
}

fn differing(groups: &Groups) -> Vec<Differing> {
    let of_groups = |k: usize| groups.groups.iter().map(move |group| group.values[k].clone());
    let keys = groups.differing.iter().enumerate();
    keys.map(|(k, name)| Differing { name: name.clone(), values: of_groups(k).collect() }).collect()
}

struct RunRow {
    name: String,
    report: String,
    group: String,
    seed: String,
    solved_frames: String,
    solved_s: String,
    greedy: String,
    score: String,
    frames_per_s: String,
}

fn run_row(groups: &Groups, i: usize) -> RunRow {
    let run = &groups.runs[i];
    let summary = run.data.summary.as_ref();
    let text = |value: Option<String>| value.unwrap_or_else(|| DASH.to_owned());
    RunRow {
        name: run.data.name.clone(),
        report: run.report.clone(),
        group: groups.group_of(i).map(|group| group.name.clone()).unwrap_or_default(),
        seed: text(summary.map(|s| s.seed.to_string())),
        solved_frames: text(summary.and_then(|s| s.solved_frames).map(grouped)),
        solved_s: text(summary.and_then(|s| s.solved_s).map(seconds)),
        greedy: text(summary.and_then(|s| s.eval).map(|eval| short(eval.mean))),
        score: text(summary.and_then(score)),
        frames_per_s: text(summary.map(|s| short(s.frames_per_s))),
    }
}

/// Of several tasks the normalised score.
fn score(summary: &Summary) -> Option<String> {
    summary.score_last100.map(short).or(summary.normalized_score.map(percent))
}

fn notes(groups: &Groups) -> Vec<String> {
    let notes = groups.runs.iter().flat_map(|run| run.data.notes.iter().map(move |n| (run, n)));
    notes.map(|(run, note)| format!("{}: {note}", run.data.name)).collect()
}
