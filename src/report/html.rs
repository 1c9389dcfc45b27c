//! The page of one run: headline, judgement, plots and tables, from what was read and drawn.
//!
//! Owns which figures appear and in which words; `report.html`, within `page.html`, and `report.md` own the
//! layout. Does not read files.

use askama::Template;
use base64::Engine as _;

use super::DrawnSection;
use super::bottleneck::{self, Diagnosis};
use super::learning::{self, Course, Learning};
use super::loops::{actor_loop_s, learner_loop_s};
use super::palette;
use super::quantiles::Quantiles;
use super::ranks::RankTable;
use super::read::RunData;
use super::resolved::resolved;
use super::series::Column;
use super::task;
use super::tasks::TaskTable;
use super::units::{DASH, counted, grouped, megabytes, micros, percent, seconds, short};
use crate::base::stages::Stage;
use crate::os::cores::MachineLoad;
use crate::telemetry::{
    ActorSummary, CoreSummary, Exit, LatencySummary, MemorySummary, MetricsRow, Summary,
};

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
    // Scores of several tasks have no common scale that could be judged.
    let of_one = summary.filter(|summary| summary.tasks.is_empty());
    let learning = of_one.map(|summary| learning::judge(&run.rows, summary));
    let page = Page {
        colours: palette::css(),
        style: STYLE,
        script: SCRIPT,
        title: summary.map_or_else(|| run.name.clone(), |s| format!("{}, seed {}", s.env, s.seed)),
        run_name: &run.name,
        status: Status::of(run, learning.as_ref()),
        lead: lead(run),
        parts: parts(run),
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

/// A headline number.
struct Tile {
    label: &'static str,
    value: String,
    detail: String,
}

impl Tile {
    fn new(label: &'static str, value: String, detail: String) -> Tile {
        Tile { label, value, detail }
    }
}

fn tiles(run: &RunData) -> Vec<Tile> {
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

/// The stages of one loop.
struct StageGroup {
    loop_name: &'static str,
    rows: Vec<StageRow>,
}

struct StageRow {
    tag: &'static str,
    what: &'static str,
    count: String,
    mean: String,
    p50: String,
    p90: String,
    p99: String,
    max: String,
    share: String,
}

const ACTOR_STAGES: [Stage; 4] =
    [Stage::ActorClaim, Stage::ActorReadWeights, Stage::ActorAct, Stage::ActorEnv];

fn stage_groups(run: &RunData) -> Vec<StageGroup> {
    let groups: [(&'static str, &[Stage]); 3] = [
        ("Learner, per update", &Stage::LEARNER),
        ("Actors, per rollout", &ACTOR_STAGES),
        ("Between them, per rollout", &[Stage::HandOver]),
    ];
    groups
        .into_iter()
        .map(|(loop_name, stages)| StageGroup { loop_name, rows: stage_rows(run, stages) })
        .filter(|group| !group.rows.is_empty())
        .collect()
}

fn stage_rows(run: &RunData, stages: &[Stage]) -> Vec<StageRow> {
    let measured: Vec<(Stage, LatencySummary)> =
        stages.iter().filter_map(|&stage| Some((stage, latency(run, stage)?))).collect();
    let loop_us: f64 = measured.iter().map(|(_, latency)| total_us(latency)).sum();
    measured.iter().map(|(stage, latency)| stage_row(*stage, latency, loop_us)).collect()
}

/// The log's figures, which the plots show too: of a resumed run the summary has those of its last part
/// alone. The summary's where the log was lost.
fn latency(run: &RunData, stage: Stage) -> Option<LatencySummary> {
    let of_summary = || run.summary.as_ref()?.latency_us.get(stage.tag()).copied();
    run.latencies.get(stage).map(LatencySummary::of).or_else(of_summary)
}

fn total_us(latency: &LatencySummary) -> f64 {
    latency.count as f64 * latency.mean
}

fn stage_row(stage: Stage, latency: &LatencySummary, loop_us: f64) -> StageRow {
    let share = match stage {
        Stage::HandOver => DASH.to_owned(),
        _ => percent(total_us(latency) / loop_us),
    };
    StageRow {
        tag: stage.tag(),
        what: meaning(stage),
        count: grouped(latency.count),
        mean: micros(latency.mean),
        p50: micros(latency.p50),
        p90: micros(latency.p90),
        p99: micros(latency.p99),
        max: micros(latency.max),
        share,
    }
}

/// A stage in the fewest words that a newcomer understands.
fn meaning(stage: Stage) -> &'static str {
    match stage {
        Stage::Wait => "waiting for rollouts",
        Stage::Batching => "gathering rollouts into a batch",
        Stage::Forward => "policy and value of every frame",
        Stage::Vtrace => "importance ratios and V-trace targets",
        Stage::Backward => "losses and gradient",
        Stage::Turn => "waiting until no other thread steps the optimiser",
        Stage::Exchange => "summing gradients with the other ranks",
        Stage::Optimizer => "gradient clipping and parameter step",
        Stage::Publish => "handing new weights to the actors",
        Stage::Release => "giving slots back",
        Stage::Report => "measuring itself",
        Stage::ActorClaim => "claiming a slot, waiting included",
        Stage::ActorReadWeights => "copying the newest weights",
        Stage::ActorAct => "choosing actions",
        Stage::ActorEnv => "stepping the environments",
        Stage::HandOver => "from published to taken",
    }
}

/// What one process waited for.
#[derive(Default)]
struct Wait {
    process: String,
    waited_for: &'static str,
    time: String,
    share: String,
    without_core: String,
    without_core_share: String,
    on_core_share: String,
    frames: String,
    rollouts: String,
    restarts: String,
}

fn waits(summary: Option<&Summary>) -> Vec<Wait> {
    let Some(summary) = summary else {
        return Vec::new();
    };
    let learner = Wait {
        process: "learner".to_owned(),
        waited_for: "published rollouts",
        time: seconds(summary.learner_wait_s),
        share: percent(summary.learner_wait_s / learner_loop_s(summary)),
        frames: grouped(summary.frames_of_this_part()),
        rollouts: DASH.to_owned(),
        restarts: grouped(summary.reliability.learner_restarts),
        ..Wait::of_cores(summary.learner_cores)
    };
    let actors = summary.actors.iter().enumerate().map(|(k, actor)| Wait {
        process: format!("actor {k}"),
        waited_for: "a free slot in its ring",
        time: seconds(actor.blocked_s),
        share: percent(actor.blocked_s / actor_loop_s(actor, summary.train_s)),
        frames: grouped(actor.frames),
        rollouts: grouped(actor.rollouts),
        restarts: grouped(actor.restarts),
        ..Wait::of_cores(actor.cores)
    });
    std::iter::once(learner).chain(actors).collect()
}

impl Wait {
    /// Waiting for a core, and nothing else yet.
    fn of_cores(cores: Option<CoreSummary>) -> Wait {
        let text = |value: fn(&CoreSummary) -> String| {
            cores.as_ref().map_or_else(|| DASH.to_owned(), value)
        };
        Wait {
            without_core: text(|cores| seconds(cores.without_core_s)),
            without_core_share: text(|cores| percent(cores.without_core())),
            on_core_share: text(|cores| percent(cores.on_core())),
            ..Wait::default()
        }
    }
}

/// A name with its value.
struct Fact {
    name: String,
    value: String,
}

impl Fact {
    fn new(name: &str, value: impl Into<String>) -> Fact {
        Fact { name: name.to_owned(), value: value.into() }
    }

    /// The value as a cell of a Markdown table: on one line, without markup of its own.
    fn cell(&self) -> String {
        self.value.replace(['\n', '\r'], " ").replace('<', "&lt;").replace('|', "\\|")
    }
}

fn task_facts(run: &RunData) -> Vec<Fact> {
    let learner = run.summary.as_ref().map(|summary| summary.learner.as_str());
    let facts = |(spec, network)| task::facts(spec, network, learner);
    let facts = run.trained.as_ref().map(|(spec, network)| facts((spec, network)));
    facts.into_iter().flatten().map(|(name, value)| Fact::new(name, value)).collect()
}

/// One table of the settings file.
struct SettingGroup {
    name: String,
    facts: Vec<Fact>,
}

/// Heading of the settings outside any table, which come first.
const TOP_LEVEL: &str = "general";

fn settings(config: &toml::Table, summary: Option<&Summary>) -> Vec<SettingGroup> {
    let mut groups = vec![SettingGroup { name: TOP_LEVEL.to_owned(), facts: Vec::new() }];
    collect_settings(config, 0, &mut groups);
    for (name, ran) in summary.into_iter().flat_map(resolved) {
        let (table, key) = name.rsplit_once('.').unwrap_or((TOP_LEVEL, name));
        let facts =
            groups.iter_mut().filter(|group| group.name == table).flat_map(|g| &mut g.facts);
        let stated = facts.into_iter().find(|fact| fact.name == key && fact.value != ran);
        stated.into_iter().for_each(|fact| fact.value = format!("{ran} (set: {})", fact.value));
    }
    groups.retain(|group| !group.facts.is_empty());
    groups
}

fn collect_settings(table: &toml::Table, group: usize, groups: &mut Vec<SettingGroup>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => {
                let outer = &groups[group].name;
                let name = if group == 0 { key.clone() } else { format!("{outer}.{key}") };
                groups.push(SettingGroup { name, facts: Vec::new() });
                collect_settings(inner, groups.len() - 1, groups);
            }
            toml::Value::String(text) => groups[group].facts.push(Fact::new(key, text)),
            other => groups[group].facts.push(Fact::new(key, other.to_string())),
        }
    }
}

/// What was saved, and what went wrong and was mended.
fn troubles(summary: &Summary) -> Vec<Fact> {
    let of_actors =
        |count: fn(&ActorSummary) -> u64| -> u64 { summary.actors.iter().map(count).sum() };
    let reliability = &summary.reliability;
    let counts = [
        ("checkpoints written", reliability.checkpoints),
        ("checkpoints that could not be written", reliability.checkpoint_errors),
        ("times the learner was started again", reliability.learner_restarts),
        ("times an actor was started again", of_actors(|actor| actor.restarts)),
        ("workers killed because they hung", reliability.hangs),
        ("times the shared segment was damaged and made anew", reliability.segment_resets),
        ("rollouts dropped for a number that is not finite", of_actors(|actor| actor.bad_rollouts)),
        ("rollouts dropped because their policy was too old", summary.rollouts_dropped),
        ("updates skipped because they were not finite", reliability.skipped_updates),
        ("times training went back to earlier weights", reliability.rollbacks),
    ];
    counts.into_iter().map(|(what, count)| Fact::new(what, grouped(count))).collect()
}

fn system(run: &RunData) -> Vec<Fact> {
    let Some(meta) = &run.meta else {
        return Vec::new();
    };
    let ended = meta.ended.map_or_else(|| DASH.to_owned(), |ended| ended.to_string());
    let from = meta.resumed_from.as_ref().map(|from| Fact::new("goes on from", from));
    let facts = [
        Fact::new("started", meta.started.to_string()),
        Fact::new("ended", ended),
        Fact::new("ended because", meta.exit_reason.as_deref().unwrap_or(DASH)),
        Fact::new("command", meta.command.join(" ")),
        Fact::new("version", &meta.version),
        Fact::new("commit", &meta.git_commit),
        Fact::new("compiler", &meta.rustc),
        Fact::new("processor", &meta.cpu_model),
        Fact::new("cores", meta.n_cores.to_string()),
        Fact::new("load at the start", machine_load(&meta.load_at_start)),
        Fact::new("load at the end", meta.load_at_end.as_ref().map_or(DASH.into(), machine_load)),
        Fact::new("kernel", &meta.kernel),
        Fact::new("host", &meta.host),
    ];
    from.into_iter().chain(facts).collect()
}

/// How busy a machine was, its run included.
fn machine_load(load: &MachineLoad) -> String {
    let average = load.load_average.map_or_else(
        || DASH.to_owned(),
        |[last, five, fifteen]| format!("{last} (1 min), {five} (5 min), {fifteen} (15 min)"),
    );
    let pressure = load
        .cpu_pressure_percent
        .map_or_else(|| DASH.to_owned(), |share| percent(share / 100.0) + " of the last 10\u{a0}s");
    format!(
        "threads that ran or wanted to: {average}; some thread wanted a core and had none: {pressure}"
    )
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
