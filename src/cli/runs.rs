//! `impala runs`: what lies below a results folder, newest first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::base::units::{number_of, percent, score};
use crate::config::dotted;
use crate::report::APART;
use crate::report::read::RunData;
use crate::revisit::live::Life;
use crate::run::dir::RunDir;
use crate::telemetry::{Exit, MetricsRow, Summary};
use anyhow::anyhow;
use jiff::{Timestamp, Unit};
use serde::Serialize;

use super::Failure;

/// List the runs below a folder: score, frames, speed, how each ended, age, tags, and what is special about it.
///
/// Special are the settings in which a run differs from most of the listed ones of its environment. The score is the mean of the last 100 training episodes, of several tasks the mean of their normalised scores; the speed frames learned from in a second.
/// Folders in which something is missing or broken are listed with what is known of them.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    impala runs                                    newest first\n  \
    impala runs --tag sweep                        those that were tagged so\n  \
    impala runs results/latest                     one run\n  \
    impala runs --json | jq '.[0].score_last100'   for programs")]
pub struct Args {
    /// The folder that holds the runs, or that of one run.
    #[arg(default_value = "results")]
    folder: PathBuf,
    /// Only runs with this tag; given several times, with all of them.
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// Print a JSON list instead of a table.
    #[arg(long)]
    json: bool,
}

/// The state of a run without a readable record of its start and end.
const UNREADABLE: &str = "unreadable";

/// One run, as `--json` prints it; `docs/metrics.md` says what each value means.
#[derive(Serialize)]
struct Listed {
    run: String,
    path: PathBuf,
    state: String,
    name: Option<String>,
    tags: Vec<String>,
    env: Option<String>,
    seed: Option<u64>,
    /// Settings that most of the listed runs of its environment have otherwise, as `name=value`.
    differs: Vec<String>,
    #[serde(skip)]
    settings: BTreeMap<String, String>,
    score_last100: Option<f64>,
    normalized_score: Option<f64>,
    solved_s: Option<f64>,
    frames: Option<u64>,
    frames_per_s: Option<f64>,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    problems: Vec<String>,
}

/// Lists the runs.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut runs = listed(&args.folder).map_err(Failure::Usage)?;
    let none = none_listed(&args.folder, &args.tags, &runs);
    runs.retain(|run| args.tags.iter().all(|tag| run.tags.contains(tag)));
    runs.sort_by(|a, b| (b.started, &b.run).cmp(&(a.started, &a.run)));
    note_differences(&mut runs);
    if args.json {
        let text = serde_json::to_string_pretty(&runs).map_err(|e| Failure::Run(e.into()))?;
        say!("{text}");
    } else if runs.is_empty() {
        say!("{none}");
    } else {
        print_table(&runs);
        print_problems(&runs);
    }
    Ok(())
}

/// What is said where no run has all of the tags.
fn none_listed(folder: &Path, tags: &[String], all: &[Listed]) -> String {
    let folder = folder.display();
    if all.is_empty() {
        return format!("no runs below {folder}; `impala train` makes one");
    }
    let known: BTreeSet<&str> =
        all.iter().flat_map(|run| run.tags.iter().map(String::as_str)).collect();
    let known = match known.len() {
        0 => "none has any; `impala train --tag WORD` gives one".into(),
        _ => format!("there are {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    };
    let (runs, asked) = (number_of(all.len() as u64, "run"), tags.join(", "));
    format!("of {runs} below {folder} none has the tags asked for ({asked}); {known}")
}

/// The run that `folder` is of, else every run folder directly below it; links such as `latest` are passed over.
fn listed(folder: &Path) -> anyhow::Result<Vec<Listed>> {
    if let Ok(run) = RunDir::open(folder) {
        return Ok(vec![list(&run)]);
    }
    let entries = fs::read_dir(folder).map_err(|error| {
        anyhow!("cannot list {}: {error}; name the folder that holds the runs", folder.display())
    })?;
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()));
    let runs = folders.filter_map(|entry| RunDir::open(&entry.path()).ok());
    Ok(runs.map(|run| list(&run)).collect())
}

fn list(run: &RunDir) -> Listed {
    // Looked at first: a run that ends in between has then recorded how.
    let life = Life::of(run);
    let data = RunData::read(run);
    let (summary, newest) = (data.summary.as_ref(), data.rows.last());
    // What a summary would say is read from the rows while there is none.
    let either = |of_run: fn(&Summary) -> Option<f64>, of_row: fn(&MetricsRow) -> Option<f64>| {
        summary.map_or_else(|| newest.and_then(of_row), of_run).filter(|value| value.is_finite())
    };
    let setting = |name: &str| data.config.get(name);
    let text = |name: &str| Some(setting(name)?.as_str()?.to_owned());
    Listed {
        run: data.name.clone(),
        path: run.path().to_owned(),
        state: state(life, &data),
        name: text("name").filter(|name| !name.is_empty()),
        tags: setting("tags").and_then(|tags| tags.as_array()).map_or_else(Vec::new, |tags| {
            tags.iter().filter_map(|tag| Some(tag.as_str()?.to_owned())).collect()
        }),
        env: text("env"),
        differs: Vec::new(),
        settings: dotted(&data.config),
        seed: setting("seed").and_then(|seed| u64::try_from(seed.as_integer()?).ok()),
        score_last100: either(|run| run.score_last100, |row| row.score_last100),
        normalized_score: either(|run| run.normalized_score, |row| row.normalized_score),
        solved_s: summary.and_then(|summary| summary.solved_s),
        frames: summary.map(|summary| summary.frames).or(newest.map(|row| row.frames)),
        frames_per_s: either(|run| Some(run.frames_per_s), |row| Some(row.frames_per_s)),
        started: data.meta.as_ref().map(|meta| meta.started),
        ended: data.meta.as_ref().and_then(|meta| meta.ended),
        problems: data.notes,
    }
}

/// Of each run the settings that are not those of most runs of its environment. Where no value is that of most,
/// each is told.
fn note_differences(runs: &mut [Listed]) {
    let mut values: BTreeMap<(Option<&str>, &str), BTreeMap<&str, usize>> = BTreeMap::new();
    for run in &*runs {
        for (name, value) in &run.settings {
            *values.entry((run.env.as_deref(), name)).or_default().entry(value).or_default() += 1;
        }
    }
    let n_of_env = |env: Option<&str>| runs.iter().filter(|run| run.env.as_deref() == env).count();
    let differs = |run: &Listed| {
        let env = run.env.as_deref();
        let is_special = |(name, value): &(&String, &String)| {
            !APART.contains(&name.as_str())
                && 2 * values[&(env, name.as_str())][value.as_str()] <= n_of_env(env)
        };
        let special = run.settings.iter().filter(is_special);
        special.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    let all: Vec<Vec<String>> = runs.iter().map(differs).collect();
    runs.iter_mut().zip(all).for_each(|(run, differs)| run.differs = differs);
}

/// How the run ended; a run without an end still runs, is about to end, or was killed.
fn state(life: Life, data: &RunData) -> String {
    let exit = data.meta.as_ref().map(|meta| meta.exit);
    match exit {
        Some(Some(Exit::Finished)) => "finished",
        Some(Some(Exit::Solved)) => "solved",
        Some(Some(Exit::Interrupted)) => "interrupted",
        Some(Some(Exit::Failed)) => "failed",
        Some(None) => match life {
            Life::Training => "running",
            Life::Ending => "ending",
            Life::Gone => "killed",
        },
        None => UNREADABLE,
    }
    .into()
}

fn print_table(runs: &[Listed]) {
    let name_chars = runs.iter().map(|run| run.run.chars().count()).max().unwrap_or(0);
    say!(
        "{:name_chars$}  {:>8}  {:>12}  {:>12}  {:11}  {:7}  tags and special settings",
        "run",
        "score",
        "frames",
        "frames/s",
        "state",
        "age"
    );
    for run in runs {
        let or_dash = |value: Option<String>| value.unwrap_or("–".into());
        say!(
            "{:name_chars$}  {:>8}  {:>12}  {:>12}  {:11}  {:7}  {}",
            run.run,
            or_dash(run.score_last100.map(score).or(run.normalized_score.map(percent))),
            or_dash(run.frames.map(|frames| frames.to_string())),
            or_dash(run.frames_per_s.map(|speed| format!("{speed:.0}"))),
            run.state,
            or_dash(run.started.map(age)),
            words(run)
        );
    }
}

/// Why a run of which no end can be told is so, a line each.
fn print_problems(runs: &[Listed]) {
    for run in runs.iter().filter(|run| run.state == UNREADABLE) {
        let why = match &run.problems[..] {
            [] => "it has no meta.json".into(),
            problems => problems.join("; "),
        };
        say!("{} is {UNREADABLE}: {why}", run.run);
    }
}

/// Tags and special settings on a line.
fn words(run: &Listed) -> String {
    let tags = run.tags.iter().map(|tag| format!("#{tag}"));
    tags.chain(run.differs.iter().cloned()).collect::<Vec<_>>().join(" ")
}

/// How long ago, in the largest unit that fits.
fn age(started: Timestamp) -> String {
    let seconds = Timestamp::now().since((Unit::Second, started));
    let seconds = seconds.map_or(0, |span| span.get_seconds()).max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}
