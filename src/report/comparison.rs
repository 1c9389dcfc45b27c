//! Many runs beside each other: groups of equal settings, curves over their seeds, tables of results.
//!
//! Owns the grouping and the figures of a group. Does not draw. `comparison.html` and `comparison.md`
//! beside this file own the layout.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use askama::Template;

use super::axis::{Axis, Scale};
use super::chart::{Chart, Layer, Mark, Panel};
use super::html::{Pages, SCRIPT, STYLE};
use super::palette::{self, Colour, SERIES};
use super::points::{curve, is_drawable};
use super::read::RunData;
use super::series::{Column, Over, Plot, Section, level};
use super::units::{DASH, counted, grouped, megabytes, seconds, short};
use super::{DrawnSection, Step, Watch};
use crate::run_dir::RunDir;
use crate::telemetry::Summary;

/// Runs read back, and how they fall into groups.
pub struct Comparison {
    runs: Vec<Run>,
    /// Settings in which the runs differ, the seed apart.
    differing: Vec<String>,
    groups: Vec<Group>,
}

struct Run {
    data: RunData,
    /// Every setting by its dotted name.
    settings: BTreeMap<String, String>,
    /// From the comparison's page to the run's own.
    report: String,
}

/// Runs of equal settings.
struct Group {
    name: String,
    colour: Colour,
    /// Values of the differing settings, in their order.
    values: Vec<String>,
    /// Indices of its runs.
    members: Vec<usize>,
}

/// The setting in which the runs of a group may differ.
const SEED: &str = "seed";

impl Comparison {
    /// Reads runs for a page that will lie in `folder`.
    pub fn read(runs: &[RunDir], folder: &Path, watch: Watch) -> Comparison {
        let total = runs.len() as u64;
        let read_one = |(run, done)| {
            let run = Run::read(run, folder);
            watch(Step { task: "reading", unit: "runs", done, total });
            run
        };
        let runs: Vec<Run> = runs.iter().zip(1..).map(read_one).collect();
        let differing = differing(&runs);
        let groups = groups(&runs, &differing);
        Comparison { runs, differing, groups }
    }

    /// The plots, in reading order.
    pub fn sections(&self) -> Vec<Section> {
        vec![
            Section {
                title: "Did they learn?",
                intro: "A line is the median over the runs of a group, the band around it reaches from \
                        the lowest run to the highest. A line ends where the group's first run ends.",
                plots: vec![
                    self.score(),
                    self.plot(ENTROPY),
                    self.plot(CRITIC),
                    self.plot(EXPLAINED),
                ],
            },
            Section {
                title: "How far apart were actors and learner, and how fast was it?",
                intro: "What asynchrony costs, and what it buys.",
                plots: vec![
                    self.plot(LAG),
                    self.plot(KL),
                    self.plot(CLIPPED),
                    self.plot(THROUGHPUT),
                ],
            },
        ]
    }

    /// Fills the page.
    pub fn pages(&self, sections: &[DrawnSection]) -> askama::Result<Pages> {
        let page = Page {
            colours: palette::css(),
            style: STYLE,
            script: SCRIPT,
            title: self.title(),
            lead: self.lead(),
            verdict: self.verdict(),
            differing: &self.differing,
            groups: self.groups.iter().map(|group| self.group_row(group)).collect(),
            runs: self.runs.iter().enumerate().map(|(i, run)| self.run_row(i, run)).collect(),
            common: self.common(),
            sections,
            notes: self.notes(),
        };
        Ok(Pages { html: page.render()?, markdown: MarkdownPage { page: &page }.render()? })
    }

    fn title(&self) -> String {
        let envs: BTreeSet<&str> = self.summaries().map(|s| s.env.as_str()).collect();
        let envs = envs.into_iter().collect::<Vec<_>>().join(", ");
        format!("{} of {envs}", counted(self.runs.len() as u64, "run"))
    }

    fn lead(&self) -> String {
        let settings = match self.differing.len() {
            0 => "They differ in their seed alone, so what sets them apart is chance.".to_owned(),
            _ => format!(
                "They differ in {}; runs that differ in their seed alone are one group.",
                self.differing.join(", ")
            ),
        };
        format!(
            "{} in {}. {settings}",
            counted(self.runs.len() as u64, "run"),
            counted(self.groups.len() as u64, "group")
        )
    }

    /// Which group solved the task in the fewest frames, and whether that could be chance.
    fn verdict(&self) -> String {
        let mut solved: Vec<(&Group, Spread)> = self
            .groups
            .iter()
            .filter_map(|group| {
                Some((group, self.spread(group, |s| s.solved_frames.map(|f| f as f64))?))
            })
            .collect();
        solved.sort_by(|a, b| a.1.median.total_cmp(&b.1.median));
        let n_solved = self.summaries().filter(|summary| summary.solved).count();
        let all =
            format!("{n_solved} of {} solved their task.", counted(self.runs.len() as u64, "run"));
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

    fn summaries(&self) -> impl Iterator<Item = &Summary> {
        self.runs.iter().filter_map(|run| run.data.summary.as_ref())
    }

    /// Settings that all runs share.
    fn common(&self) -> Vec<(String, String)> {
        let Some(first) = self.runs.first() else {
            return Vec::new();
        };
        let shared = first.settings.iter().filter(|(key, value)| {
            key.as_str() != SEED
                && self.runs.iter().all(|run| run.settings.get(*key) == Some(value))
        });
        shared.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn notes(&self) -> Vec<String> {
        let notes = self.runs.iter().flat_map(|run| run.data.notes.iter().map(move |n| (run, n)));
        notes.map(|(run, note)| format!("{}: {note}", run.data.name)).collect()
    }

    /// Median, lowest and highest of a figure over a group's runs that have it.
    fn spread(&self, group: &Group, figure: fn(&Summary) -> Option<f64>) -> Option<Spread> {
        let summaries = group.members.iter().filter_map(|&i| self.runs[i].data.summary.as_ref());
        Spread::of(summaries.filter_map(figure).filter(|value| is_drawable(*value)).collect())
    }

    fn group_row(&self, group: &Group) -> GroupRow {
        let text = |figure, write: fn(f64) -> String| {
            self.spread(group, figure).map_or_else(|| DASH.to_owned(), |spread| spread.text(write))
        };
        let n_solved = group.members.iter().filter(|&&i| self.runs[i].is_solved()).count();
        GroupRow {
            colour: group.colour.css_name(),
            name: group.name.clone(),
            values: group.values.clone(),
            solved: format!("{n_solved} of {}", group.members.len()),
            solved_frames: text(|s| s.solved_frames.map(|f| f as f64), short),
            solved_s: text(|s| s.solved_s, seconds),
            greedy: text(|s| s.eval.map(|eval| eval.mean), short),
            score: text(|s| s.score_last100, short),
            frames_per_s: text(|s| Some(s.frames_per_s), short),
            lag: text(|s| Some(s.policy_lag.mean), short),
            memory: text(
                |s| s.memory.as_ref().map(|memory| memory.total_bytes() as f64),
                |bytes| megabytes(bytes as u64),
            ),
        }
    }

    fn run_row(&self, i: usize, run: &Run) -> RunRow {
        let summary = run.data.summary.as_ref();
        let text = |value: Option<String>| value.unwrap_or_else(|| DASH.to_owned());
        let group = self.groups.iter().find(|group| group.members.contains(&i));
        RunRow {
            name: run.data.name.clone(),
            report: run.report.clone(),
            group: group.map(|group| group.name.clone()).unwrap_or_default(),
            seed: text(summary.map(|s| s.seed.to_string())),
            solved_frames: text(summary.and_then(|s| s.solved_frames).map(grouped)),
            solved_s: text(summary.and_then(|s| s.solved_s).map(seconds)),
            greedy: text(summary.and_then(|s| s.eval).map(|eval| short(eval.mean))),
            score: text(summary.and_then(|s| s.score_last100).map(short)),
            frames_per_s: text(summary.map(|s| short(s.frames_per_s))),
        }
    }

    fn score(&self) -> Plot {
        let threshold = self.summaries().find_map(|summary| summary.score_threshold);
        Plot::over_run(|over| {
            let mut chart = self.chart(SCORE, over);
            if let Some(value) = threshold {
                let mut layers = std::mem::take(&mut chart.panels[0].layers);
                layers.push(level("solved", value));
                chart.panels = vec![Panel::fit(SCORE.y_name, SCORE.scale, layers)];
            }
            chart
        })
    }

    fn plot(&self, measure: Measure) -> Plot {
        Plot::over_run(|over| self.chart(measure, over))
    }

    fn chart(&self, measure: Measure, over: Over) -> Chart {
        let ends = self.runs.iter().filter_map(|run| run.end(over));
        let mut layers = Vec::new();
        for group in &self.groups {
            let steps = self.steps(group, measure.column, over);
            let edge = |value: fn(&Spread) -> f64| curve(steps.iter().map(|(x, s)| (*x, value(s))));
            let name = group.name.as_str();
            if group.members.len() > 1 {
                let band = Mark::Band(edge(|s| s.lo), edge(|s| s.hi));
                layers.push(Layer::new(format!("{name}: lowest to highest"), group.colour, band));
            }
            layers.push(Layer::new(name, group.colour, Mark::Line(edge(|s| s.median))));
        }
        Chart {
            id: measure.id,
            title: measure.title.to_owned(),
            caption: measure.caption.to_owned(),
            x: Axis::tight(over.name(), Scale::FromZero, ends),
            panels: vec![Panel::fit(measure.y_name, measure.scale, layers)],
        }
    }

    /// The group's spread at even steps up to the end of its shortest run.
    fn steps(&self, group: &Group, column: Column, over: Over) -> Vec<(f64, Spread)> {
        let members = || group.members.iter().map(|&i| &self.runs[i]);
        let shortest = members().filter_map(|run| run.end(over)).fold(f64::INFINITY, f64::min);
        if !is_drawable(shortest) {
            return Vec::new();
        }
        let at_step = |k: u32| {
            let x = shortest * f64::from(k) / f64::from(N_STEPS);
            let values = members().filter_map(|run| run.at(column, over, x)).collect();
            Some((x, Spread::of(values)?))
        };
        (0..=N_STEPS).filter_map(at_step).collect()
    }
}

/// Points of a curve.
const N_STEPS: u32 = 200;

/// A column that is compared, and the words around it.
#[derive(Clone, Copy)]
struct Measure {
    id: &'static str,
    title: &'static str,
    caption: &'static str,
    y_name: &'static str,
    scale: Scale,
    column: Column,
}

const SCORE: Measure = Measure {
    id: "score",
    title: "Score: mean of the last 100 episodes",
    caption: "Look for lines that cross the dashed line early and stay above it, and for narrow bands.",
    y_name: "score of an episode",
    scale: Scale::FromZero,
    column: |r| r.score_last100,
};
const ENTROPY: Measure = Measure {
    id: "entropy",
    title: "Entropy of the target policy",
    caption: "Look for a group that falls to 0 early: it stopped exploring.",
    y_name: "entropy, nats",
    scale: Scale::FromZero,
    column: |r| Some(r.entropy),
};
const CRITIC: Measure = Measure {
    id: "critic_loss",
    title: "Critic loss",
    caption: "Look for lines that level off; a group that rises again loses what it had learned.",
    y_name: "loss per frame",
    scale: Scale::FromZero,
    column: |r| Some(r.critic_loss),
};
const EXPLAINED: Measure = Measure {
    id: "explained_variance",
    title: "Variance explained by the critic",
    caption: "Look for a rise towards 1.",
    y_name: "explained variance",
    scale: Scale::FromZero,
    column: |r| Some(r.explained_variance),
};
const LAG: Measure = Measure {
    id: "policy_lag",
    title: "Policy lag",
    caption: "How many updates old the actors' weights were; more lag takes more frames to learn.",
    y_name: "policy lag, updates",
    scale: Scale::FromZero,
    column: |r| Some(r.policy_lag_mean),
};
const KL: Measure = Measure {
    id: "kl",
    title: "Distance from behaviour to target policy",
    caption: "What the lag amounted to.",
    y_name: "KL(μ ‖ π), nats",
    scale: Scale::FromZero,
    column: |r| Some(r.kl),
};
const CLIPPED: Measure = Measure {
    id: "rho_clipped",
    title: "Share of importance ratios clipped",
    caption: "Near a half even without lag, because half of all ratios lie above 1.",
    y_name: "clipped",
    scale: Scale::Share,
    column: |r| Some(r.rho_clipped),
};
const THROUGHPUT: Measure = Measure {
    id: "throughput",
    title: "Throughput",
    caption: "Frames learned from in a second. Runs that ran at once took it from each other.",
    y_name: "frames per second",
    scale: Scale::FromZero,
    column: |r| Some(r.frames_per_s),
};

/// Median, lowest and highest.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    lo: f64,
    hi: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (lo, hi) = (*values.first()?, *values.last()?);
        let upper = values[values.len() / 2];
        let lower = values[(values.len() - 1) / 2];
        Some(Spread { median: (lower + upper) / 2.0, lo, hi })
    }

    fn text(&self, write: fn(f64) -> String) -> String {
        if self.lo == self.hi {
            return write(self.median);
        }
        format!("{} ({} to {})", write(self.median), write(self.lo), write(self.hi))
    }
}

impl Run {
    fn read(run: &RunDir, folder: &Path) -> Run {
        let data = RunData::read(run);
        let mut settings = BTreeMap::new();
        flatten("", &data.config, &mut settings);
        let report = relative(&run.report(), folder).to_string_lossy().into_owned();
        Run { data, settings, report }
    }

    fn is_solved(&self) -> bool {
        self.data.summary.as_ref().is_some_and(|summary| summary.solved)
    }

    fn end(&self, over: Over) -> Option<f64> {
        self.data.rows.iter().map(|row| over.of(row)).rfind(|x| is_drawable(*x))
    }

    /// The newest value that had been measured at `x`.
    fn at(&self, column: Column, over: Over, x: f64) -> Option<f64> {
        let rows = &self.data.rows;
        let after = rows.partition_point(|row| over.of(row) <= x);
        let before = rows[..after].iter().rev().find_map(column);
        before.filter(|value| is_drawable(*value))
    }
}

/// Settings by dotted names.
fn flatten(prefix: &str, table: &toml::Table, into: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => flatten(&format!("{prefix}{key}."), inner, into),
            other => drop(into.insert(format!("{prefix}{key}"), other.to_string())),
        }
    }
}

fn differing(runs: &[Run]) -> Vec<String> {
    let keys: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    let differs =
        |key: &String| runs.windows(2).any(|w| w[0].settings.get(key) != w[1].settings.get(key));
    keys.into_iter().filter(|key| key.as_str() != SEED && differs(key)).cloned().collect()
}

/// In the order in which they first appear.
fn groups(runs: &[Run], differing: &[String]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let value = |key| run.settings.get(key).cloned().unwrap_or_else(|| DASH.to_owned());
        let values: Vec<String> = differing.iter().map(value).collect();
        if let Some(group) = groups.iter_mut().find(|group| group.values == values) {
            group.members.push(i);
            continue;
        }
        let colour = SERIES[groups.len() % SERIES.len()];
        groups.push(Group {
            name: group_name(groups.len() + 1, differing, &values),
            colour,
            values,
            members: vec![i],
        });
    }
    groups
}

/// The settings that make the group, where a legend has room for them; else its number, and the table has
/// the settings.
fn group_name(number: usize, differing: &[String], values: &[String]) -> String {
    const MAX_LETTERS: usize = 48;
    if differing.is_empty() {
        return "all runs".to_owned();
    }
    let short_key = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let pairs =
        differing.iter().zip(values).map(|(key, value)| format!("{} {value}", short_key(key)));
    let name = pairs.collect::<Vec<_>>().join(", ");
    if name.chars().count() <= MAX_LETTERS { name } else { format!("group {number}") }
}

/// The way from a folder to a file, if both can be found; else the file as it is.
fn relative(file: &Path, folder: &Path) -> PathBuf {
    let Ok(folder) = folder.canonicalize() else {
        return file.to_owned();
    };
    let shared = file.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(shared).map(|_| Path::new(".."));
    let down = file.components().skip(shared).map(|part| Path::new(part.as_os_str()));
    up.chain(down).collect()
}

struct GroupRow {
    colour: &'static str,
    name: String,
    values: Vec<String>,
    solved: String,
    solved_frames: String,
    solved_s: String,
    greedy: String,
    score: String,
    frames_per_s: String,
    lag: String,
    memory: String,
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

#[derive(Template)]
#[template(path = "comparison.html", config = "src/report/askama.toml")]
struct Page<'a> {
    colours: String,
    style: &'static str,
    script: &'static str,
    title: String,
    lead: String,
    verdict: String,
    differing: &'a [String],
    groups: Vec<GroupRow>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(Spread::of(vec![]), None);
        assert_eq!(Spread::of(vec![3.0]), Some(Spread { median: 3.0, lo: 3.0, hi: 3.0 }));
        assert_eq!(
            Spread::of(vec![9.0, 1.0, 2.0, 4.0]),
            Some(Spread { median: 3.0, lo: 1.0, hi: 9.0 })
        );
    }

    #[test]
    fn links_lead_from_the_page_to_the_runs() {
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        let link = |file: &str, folder: &str| relative(&here.join(file), &here.join(folder));
        assert_eq!(link("src/a/report.html", "src"), Path::new("a/report.html"));
        assert_eq!(link("tests/report.html", "src"), Path::new("../tests/report.html"));
    }
}
