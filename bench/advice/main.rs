//! `make bench-advice`: is a report's advice worth following? Trains with settings that hold a run back, again
//! with what the report of that run names, and compares what came with what it promised.
//!
//! The two take turns, because other programs and other guests of the host come and go. A table on the
//! terminal and in `results/bench/advice-<instruction set>.{json,md}`; without `--bench`, as a test, each runs
//! once, briefly, and nothing is written.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/statistics.rs"]
mod statistics;
#[path = "../common/table.rs"]
mod table;

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use common::{Setting, impala, read_summary, save};
use impala::report::advice::Change;
use impala::report::bottleneck::{Diagnosis, Limit, diagnose};
use impala::telemetry::Summary;
use serde::Serialize;
use statistics::median;
use table::Table;

/// Follow the advice of a report and see what comes of it.
#[derive(Parser)]
struct Args {
    /// How often each run is made.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Given by cargo: measure in earnest.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Runs that are held back by what settings can change: the learner, turns of one actor, turns of all.
const CASES: [(&str, &str, u64); 3] = [
    ("one learner thread", "--learner-threads 1 --set network.hidden=[256,256]", 400_000),
    ("one actor", "--actors 1", 3_000_000),
    ("lockstep", "--batch-slots 4", 4_000_000),
];

/// One case.
#[derive(Serialize)]
struct Row {
    case: &'static str,
    flags: &'static str,
    /// The first verdict whose advice names settings.
    verdict: String,
    /// Flags that the report named.
    advice: String,
    /// How many more frames a second it promised at most, 0.5 is half as many more; median over the rounds.
    promised: f64,
    /// How many more came; median over the rounds.
    came: f64,
    /// Least and most that came.
    came_from: f64,
    came_to: f64,
    /// Rounds of which the report named other programs, which settings cannot help.
    n_disturbed: usize,
}

/// The file `results/bench/advice-<instruction set>.json`.
#[derive(Serialize)]
struct Findings {
    setting: Setting,
    rounds: usize,
    rows: Vec<Row>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let setting = Setting::now();
    let (rounds, shortened) = if args.bench { (args.rounds, 1) } else { (1, 20) };
    let mut rows = Vec::new();
    for (case, flags, frames) in CASES {
        eprintln!("{case}: {rounds} rounds");
        rows.extend(follow(case, flags, frames / shortened, rounds, setting.n_cores)?);
    }
    let text = markdown(&rows, &setting, rounds);
    println!("{text}");
    if args.bench {
        ensure!(!rows.is_empty(), "other programs had the cores in every round: nothing to follow");
        let name = format!("advice-{}", setting.simd);
        let findings = Findings { setting, rounds, rows };
        let [_, path] = save(Path::new("results/bench"), &name, &findings, &text)?;
        println!("written to {}", path.display());
    }
    Ok(())
}

/// The case with and without what its report names; none where no report named settings.
fn follow(
    case: &'static str,
    flags: &'static str,
    frames: u64,
    rounds: usize,
    n_cores: usize,
) -> Result<Option<Row>> {
    let (mut followed, mut n_disturbed) = (Vec::new(), 0);
    for _ in 0..rounds {
        let before = train(flags, "", frames)?;
        let Diagnosis { limit, verdict, change, .. } = diagnose(&before, Some(n_cores));
        n_disturbed += usize::from(limit == Limit::Others);
        if let Some(Change { flags: advice, gain }) = change {
            let after = train(flags, &advice, frames)?;
            let came = after.frames_per_s / before.frames_per_s - 1.0;
            followed.push((verdict, advice, gain, came));
        }
    }
    let Some((verdict, advice, ..)) = followed.first().cloned() else { return Ok(None) };
    let came = || followed.iter().map(|(.., came)| *came);
    Ok(Some(Row {
        case,
        flags,
        verdict,
        advice,
        promised: median(&followed.iter().map(|(_, _, gain, _)| *gain).collect::<Vec<_>>()),
        came: median(&came().collect::<Vec<_>>()),
        came_from: came().fold(f64::INFINITY, f64::min),
        came_to: came().fold(f64::NEG_INFINITY, f64::max),
        n_disturbed,
    }))
}

/// Later flags have the last word, so that advice goes over what held the run back.
fn train(flags: &str, advice: &str, frames: u64) -> Result<Summary> {
    let folder = tempfile::tempdir()?;
    let run = folder.path().join("run");
    let (kept, advised) = (without(flags, advice), advice.split_whitespace());
    let output = impala()
        .args(["train", "--set", "report.eval_episodes=0"])
        .args(["--frames", &frames.to_string(), "--run-dir"])
        .arg(&run)
        .args(kept)
        .args(advised)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .context("cannot start impala")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "impala train {flags} {advice}: {stderr}");
    read_summary(&run)
}

/// The flags but for those that the advice gives another value; each flag has one.
fn without<'a>(flags: &'a str, advice: &str) -> Vec<&'a str> {
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let named = |flag: &str| flag != "--set" && advice.split_whitespace().any(|word| word == flag);
    flags.chunks(2).filter(|pair| !named(pair[0])).flatten().copied().collect()
}

fn markdown(rows: &[Row], setting: &Setting, rounds: usize) -> String {
    let head = ["run", "advice", "promised at most", "came", "spread", "rounds of others"];
    let mut table = Table::new(head);
    for row in rows {
        table.push([
            format!("`{}`", row.flags),
            format!("`{}`", row.advice),
            format!("{:+.0} %", 100.0 * row.promised),
            format!("{:+.0} %", 100.0 * row.came),
            format!("{:+.0} – {:+.0} %", 100.0 * row.came_from, 100.0 * row.came_to),
            row.n_disturbed.to_string(),
        ]);
    }
    format!(
        "# What a report's advice is worth\n\n`make bench-advice`, {rounds} rounds, run and advised run in \
         turn.\n\n{}\n{}\n",
        table.text(),
        setting.line()
    )
}
