//! `make seeds`: does it learn, on every seed? Trains seeds 1 to 20 with the defaults and prints when
//! each was solved, what it scored greedily at the end, and whether it ever fell back.
//!
//! `cargo bench --bench seeds -- --seeds 5 --frames 20000000` for another choice; without `--bench`,
//! as a test, one short seed.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/statistics.rs"]
mod statistics;

use std::fmt::Write;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use common::{Setting, impala, read_summary, save};
use impala::telemetry::{MetricsRow, Summary};
use serde::Serialize;
use statistics::median;

/// Train several seeds and print the table of when each was solved.
#[derive(Parser)]
struct Args {
    /// How many seeds, from 1 on.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Frames of each run.
    #[arg(long, default_value_t = 2_000_000)]
    frames: u64,
    /// More flags for `impala train`, in one string.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    train: String,
    /// Name of the files in results/seeds.
    #[arg(long, default_value = "seeds")]
    name: String,
    /// Given by cargo: measure in earnest.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One seed's result.
#[derive(Serialize)]
struct Row {
    seed: u64,
    solved_frames: Option<u64>,
    solved_s: Option<f64>,
    greedy_mean: f64,
    greedy_min: f64,
    /// Share of the rows of metrics.csv after the first solved one whose last-100 mean is ≥ 475.
    stayed_solved: f64,
    frames_per_s: f64,
    policy_lag_mean: f64,
}

/// The file `results/seeds/<name>.json`.
#[derive(Serialize)]
struct Table {
    setting: Setting,
    flags: Vec<String>,
    rows: Vec<Row>,
}

fn main() -> Result<()> {
    let mut args = Args::parse();
    if !args.bench {
        (args.seeds, args.frames) = (1, 300_000);
    }
    let setting = Setting::now();
    let flags = flags(&args);
    let folder = tempfile::tempdir()?;
    let bar = indicatif::ProgressBar::new(args.seeds);
    let mut rows = Vec::new();
    for seed in 1..=args.seeds {
        rows.push(run_seed(folder.path(), seed, &flags)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let table = Table { setting, flags, rows };
    let text = markdown(&table);
    println!("{text}");
    if args.bench {
        let [_, path] = save(Path::new("results/seeds"), &args.name, &table, &text)?;
        println!("written to {}", path.display());
    }
    Ok(())
}

fn flags(args: &Args) -> Vec<String> {
    let frames = ["--frames".to_owned(), args.frames.to_string()];
    frames.into_iter().chain(args.train.split_whitespace().map(str::to_owned)).collect()
}

fn run_seed(folder: &Path, seed: u64, flags: &[String]) -> Result<Row> {
    let name = format!("seed-{seed}");
    let flags = [flags, &["--seed".into(), seed.to_string()]].concat();
    let summary = train(folder, &name, &flags)?;
    let eval = summary.eval.context("the run was not evaluated")?;
    Ok(Row {
        seed,
        solved_frames: summary.solved_frames,
        solved_s: summary.solved_s,
        greedy_mean: eval.mean,
        greedy_min: eval.min,
        stayed_solved: stayed_solved(&folder.join(name), &summary)?,
        frames_per_s: summary.frames_per_s,
        policy_lag_mean: summary.policy_lag.mean,
    })
}

/// Trains with these flags into a new folder below `folder` and returns the summary.
fn train(folder: &Path, name: &str, flags: &[String]) -> Result<Summary> {
    let run_dir = folder.join(name);
    let output = impala()
        .args(["train", "--run-dir"])
        .arg(&run_dir)
        .args(flags)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .context("cannot start impala")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "impala train {flags:?}: {}: {stderr}", output.status);
    read_summary(&run_dir)
}

fn stayed_solved(run_dir: &Path, summary: &Summary) -> Result<f64> {
    let (Some(threshold), Some(solved_frames)) = (summary.score_threshold, summary.solved_frames)
    else {
        return Ok(0.0);
    };
    let mut reader = csv::Reader::from_path(run_dir.join("metrics.csv"))?;
    let rows = reader.deserialize().collect::<Result<Vec<MetricsRow>, _>>()?;
    let after: Vec<&MetricsRow> = rows.iter().filter(|row| row.frames >= solved_frames).collect();
    let is_solved = |row: &&&MetricsRow| row.score_last100.is_some_and(|score| score >= threshold);
    Ok(after.iter().filter(is_solved).count() as f64 / after.len().max(1) as f64)
}

fn markdown(table: &Table) -> String {
    let rows = &table.rows;
    let mut text =
        format!("# Seeds 1 to {}\n\n`impala train {}`\n\n", rows.len(), table.flags.join(" "));
    text +=
        "| seed | solved at frames | seconds | greedy mean | min | stayed ≥ 475 | M frames/s |\n";
    text += "|---:|---:|---:|---:|---:|---:|---:|\n";
    for row in rows {
        let frames = row.solved_frames.map_or("–".into(), |frames| frames.to_string());
        let seconds = row.solved_s.map_or("–".into(), |seconds| format!("{seconds:.3}"));
        let Row { seed, greedy_mean, greedy_min, .. } = row;
        let (stayed, speed) = (100.0 * row.stayed_solved, row.frames_per_s / 1e6);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {seed} | {frames} | {seconds} | {greedy_mean:.1} | {greedy_min:.0} | {stayed:.1} % | {speed:.2} |"
        );
    }
    text + &summary_lines(table)
}

fn summary_lines(table: &Table) -> String {
    let rows = &table.rows;
    let solved: Vec<f64> =
        rows.iter().filter_map(|row| row.solved_frames).map(|f| f as f64).collect();
    let seconds: Vec<f64> = rows.iter().filter_map(|row| row.solved_s).collect();
    let within = solved.iter().filter(|frames| **frames <= 400_000.0).count();
    let perfect = rows.iter().filter(|row| row.greedy_min >= 500.0).count();
    let worst = solved.iter().copied().fold(f64::NAN, f64::max);
    let stayed = rows.iter().filter(|row| row.stayed_solved >= 0.99).count();
    format!(
        "\nSolved within 400k frames: {within} of {n}. Frames to solve: median {:.0}, worst {worst:.0}. \
         Seconds from process start to solved: median {:.3}. All 100 greedy episodes at 500: {perfect} \
         of {n}. At least 99 % of the rows after solving at 475 or more: {stayed} of {n}.\n\n{}\n",
        median(&solved),
        median(&seconds),
        table.setting.line(),
        n = rows.len(),
    )
}
