//! `make seeds`: does it learn, on every seed? Trains seeds 1 to 20 with the defaults and prints when
//! each was solved, what it scored at the end, and whether it ever fell back. The runs stay in
//! results/seeds/runs, with a report that compares them.
//!
//! `cargo bench --bench seeds -- --seeds 5 --frames 20000000` for another choice, `--env MountainCar-v0
//! --goal -120` for another environment with its preset and a goal of one's own; without `--bench`,
//! as a test, one short seed.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/statistics.rs"]
mod statistics;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use common::{Setting, impala, read_summary, save};
use impala::env::{EnvArgs, Registry};
use impala::report::{Pictures, Step, compare};
use impala::run::dir::RunDir;
use impala::sinks::terminal::{Show, TaskLines};
use impala::telemetry::{MetricsRow, Summary};
use serde::Serialize;
use statistics::median;

/// Train several seeds and print the table of when each was solved.
#[derive(Parser)]
struct Args {
    /// How many seeds, from 1 on.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Gymnasium id of the environment, whose preset is used.
    #[arg(long, default_value = "CartPole-v1")]
    env: String,
    /// Frames of each run [default: those of the settings].
    #[arg(long)]
    frames: Option<u64>,
    /// Mean of the last 100 training episodes to have at the end [default: the environment's threshold].
    #[arg(long, allow_negative_numbers = true)]
    goal: Option<f64>,
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
    /// Mean of the last 100 training episodes at the end.
    score_last100: f64,
    greedy_mean: f64,
    greedy_min: f64,
    /// Share of the rows of metrics.csv after the first solved one whose last-100 mean is at the threshold or above.
    stayed_solved: f64,
    frames_per_s: f64,
    policy_lag_mean: f64,
}

/// The file `results/seeds/<name>.json`.
#[derive(Serialize)]
struct Table {
    setting: Setting,
    env: String,
    /// Mean of the last 100 training episodes that each seed should have at the end.
    goal: f64,
    /// Mean from which the environment counts as solved.
    threshold: f64,
    flags: Vec<String>,
    rows: Vec<Row>,
}

fn main() -> Result<()> {
    let mut args = Args::parse();
    if !args.bench {
        (args.seeds, args.frames) = (1, Some(300_000));
    }
    let setting = Setting::now();
    let flags = flags(&args);
    let spec = Registry::default().spec(&args.env, &EnvArgs::default())?;
    let threshold =
        spec.reward_threshold.context("only what can be solved has a table of seeds")?;
    let scratch = tempfile::tempdir()?;
    let folder = if args.bench { kept_runs(&args.name)? } else { scratch.path().to_owned() };
    let mut lines = TaskLines::new(Show::on_stderr());
    lines.set("training", "seeds", 0, args.seeds);
    let mut rows = Vec::new();
    for seed in 1..=args.seeds {
        rows.push(run_seed(&folder, seed, &flags)?);
        lines.set("training", "seeds", seed, args.seeds);
    }
    lines.finish();
    let table = Table {
        setting,
        env: args.env.clone(),
        goal: args.goal.unwrap_or(threshold),
        threshold,
        flags,
        rows,
    };
    let text = markdown(&table);
    println!("{text}");
    let runs: Vec<RunDir> = (1..=args.seeds)
        .map(|seed| RunDir::open(&run_folder(&folder, seed)))
        .collect::<Result<_, _>>()?;
    let mut watch = |Step { task, unit, done, total }: Step| lines.set(task, unit, done, total);
    let report = compare(&runs, &folder, Pictures::Svg, &mut watch)?;
    lines.finish();
    if args.bench {
        println!("report of all runs: {}", report.display());
        let [_, path] = save(Path::new("results/seeds"), &args.name, &table, &text)?;
        println!("written to {}", path.display());
    }
    Ok(())
}

fn flags(args: &Args) -> Vec<String> {
    let env = ["--env".to_owned(), args.env.clone()];
    let frames = args.frames.map(|frames| ["--frames".to_owned(), frames.to_string()]);
    env.into_iter()
        .chain(frames.into_iter().flatten())
        .chain(args.train.split_whitespace().map(str::to_owned))
        .collect()
}

/// The folder for the runs of this name; those of an earlier time go.
fn kept_runs(name: &str) -> Result<PathBuf> {
    let folder = Path::new("results/seeds/runs").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

/// Two digits, so that names sort as numbers.
fn run_folder(folder: &Path, seed: u64) -> PathBuf {
    folder.join(format!("seed-{seed:02}"))
}

fn run_seed(folder: &Path, seed: u64, flags: &[String]) -> Result<Row> {
    let run_dir = run_folder(folder, seed);
    let flags = [flags, &["--seed".into(), seed.to_string()]].concat();
    let summary = train(&run_dir, &flags)?;
    let eval = summary.eval.context("the run was not evaluated")?;
    Ok(Row {
        seed,
        solved_frames: summary.solved_frames,
        solved_s: summary.solved_s,
        score_last100: summary.score_last100.context("no episode ended")?,
        greedy_mean: eval.mean,
        greedy_min: eval.min,
        stayed_solved: stayed_solved(&run_dir, &summary)?,
        frames_per_s: summary.frames_per_s,
        policy_lag_mean: summary.mean_policy_lag(),
    })
}

/// Trains with these flags into a new folder and returns the summary.
fn train(run_dir: &Path, flags: &[String]) -> Result<Summary> {
    let output = impala()
        .args(["train", "--run-dir"])
        .arg(run_dir)
        .args(flags)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .context("cannot start impala")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "impala train {flags:?}: {}: {stderr}", output.status);
    read_summary(run_dir)
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
    let Table { env, threshold, rows, flags, .. } = table;
    let mut text = format!(
        "# {env}, seeds 1 to {}\n\n`impala train {}`\n\n\
         | seed | solved at frames | seconds | last-100 mean at the end, sampled | greedy mean | min \
         | stayed ≥ {threshold} | M frames/s |\n|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        rows.len(),
        flags.join(" ")
    );
    for row in rows {
        let frames = row.solved_frames.map_or("–".into(), |frames| frames.to_string());
        let seconds = row.solved_s.map_or("–".into(), |seconds| format!("{seconds:.3}"));
        let Row { seed, score_last100, greedy_mean, greedy_min, .. } = row;
        let (stayed, speed) = (100.0 * row.stayed_solved, row.frames_per_s / 1e6);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {seed} | {frames} | {seconds} | {score_last100:.1} | {greedy_mean:.1} \
             | {greedy_min:.0} | {stayed:.1} % | {speed:.2} |"
        );
    }
    text + &summary_lines(table)
}

fn summary_lines(table: &Table) -> String {
    let Table { goal, threshold, rows, .. } = table;
    let count = |holds: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| holds(row)).count();
    let solved: Vec<f64> =
        rows.iter().filter_map(|row| row.solved_frames).map(|f| f as f64).collect();
    let seconds: Vec<f64> = rows.iter().filter_map(|row| row.solved_s).collect();
    let worst = solved.iter().copied().fold(f64::NAN, f64::max);
    let mut text = format!(
        "\nLast-100 mean of {goal} or more at the end: {reached} of {n}. Solved ({threshold} or more at \
         some time): {n_solved} of {n}. Frames to solve: median {:.0}, worst {worst:.0}. Seconds from \
         process start to solved: median {:.3}. At least 99 % of the rows after solving at {threshold} \
         or more: {stayed} of {n}.",
        median(&solved),
        median(&seconds),
        reached = count(&|row| row.score_last100 >= *goal),
        n_solved = solved.len(),
        stayed = count(&|row| row.stayed_solved >= 0.99),
        n = rows.len(),
    );
    if table.env == "CartPole-v1" {
        text += &format!(
            " Solved within 400k frames: {} of {n}. All 100 greedy episodes at 500: {} of {n}.",
            count(&|row| row.solved_frames.is_some_and(|frames| frames <= 400_000)),
            count(&|row| row.greedy_min >= 500.0),
            n = rows.len(),
        );
    }
    format!("{text}\n\n{}\n", table.setting.line())
}
