//! `make seeds`: does it learn, on every seed? Trains seeds 1 to 20 with the defaults and prints when
//! each was solved, what it scored at the end, and whether it ever fell back. The runs stay in
//! results/seeds/runs, with a report that compares them.
//!
//! `cargo bench --bench seeds -- --seeds 5 --frames 20000000` for another choice, `--env MinAtar/Breakout-v1
//! --goal 18` for another environment with its preset and a goal of one's own, `--preset few-frames` for another
//! preset, several ids and as many goals between commas for tasks of one run; without `--bench`, as a test, one short seed.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/late_score.rs"]
mod late_score;
mod several;
#[path = "../common/statistics.rs"]
mod statistics;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use common::{Setting, impala, read_summary, save};
use impala::env::{EnvArgs, Registry, task_ids};
use impala::report::{Pictures, Step, compare};
use impala::run::dir::RunDir;
use impala::sinks::terminal::{Show, TaskLines};
use impala::telemetry::{MetricsRow, Summary};
use late_score::late_score;
use serde::Serialize;
use statistics::median;

/// The environment of the defaults.
const DEFAULT_ENV: &str = "CartPole-v1";

/// Train several seeds and print the table of when each was solved.
#[derive(Parser)]
struct Args {
    /// How many seeds, from 1 on.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Gymnasium id of the environment, whose preset is used.
    #[arg(long, default_value = DEFAULT_ENV)]
    env: String,
    /// Which preset.
    #[arg(long)]
    preset: Option<String>,
    /// Frames of each run [default: those of the settings].
    #[arg(long)]
    frames: Option<u64>,
    /// Mean of the late training episodes to have, and of the last 100 to reach [default: the environment's
    /// threshold]; of several tasks one each, between commas.
    #[arg(long, allow_negative_numbers = true, value_delimiter = ',')]
    goal: Vec<f64>,
    /// Frames at the end of a run whose episodes count as late.
    #[arg(long, default_value_t = 100_000)]
    window: u64,
    /// More flags for `impala train`, in one string.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    train: String,
    /// Name of the files in results/seeds [default: seeds, or where another environment or preset was named,
    /// theirs].
    #[arg(long)]
    name: Option<String>,
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
    /// Frames after which the mean of the last 100 training episodes first was at the goal, as metrics.csv has them.
    goal_frames: Option<u64>,
    /// Smallest mean of the last 100 training episodes after that.
    lowest_after: Option<f64>,
    /// Mean of the training episodes that ended within the window at the end.
    late_score: f64,
    greedy_mean: f64,
    greedy_min: f64,
    /// Share of the rows of metrics.csv after the first solved one whose last-100 mean is at the threshold or above.
    stayed_solved: f64,
    frames_per_s: f64,
    train_s: f64,
    policy_lag_mean: f64,
}

/// The file `results/seeds/<name>.json`.
#[derive(Serialize)]
struct Table {
    setting: Setting,
    env: String,
    window_frames: u64,
    /// Late score that each seed should have.
    goal: f64,
    /// Mean of the last 100 from which the environment counts as solved; `None` where nobody has said.
    threshold: Option<f64>,
    flags: Vec<String>,
    rows: Vec<Row>,
}

impl Table {
    /// Whether what is asked for is that the environment counts as solved.
    fn is_goal_the_threshold(&self) -> bool {
        self.threshold == Some(self.goal)
    }
}

/// What the seeds of one environment, or of several tasks in one run, came to.
#[derive(Serialize)]
#[serde(untagged)]
enum Found {
    One(Table),
    Several(several::Table),
}

impl Found {
    fn markdown(&self) -> String {
        match self {
            Found::One(table) => markdown(table),
            Found::Several(table) => table.markdown(),
        }
    }
}

fn main() -> Result<()> {
    let mut args = Args::parse();
    if !args.bench {
        (args.seeds, args.frames) = (1, Some(300_000));
    }
    let mut setting = Setting::now();
    let flags = flags(&args);
    let threshold = Registry::default().spec(&args.env, &EnvArgs::default())?.reward_threshold;
    let scratch = tempfile::tempdir()?;
    let name = args.name.clone().unwrap_or_else(|| default_name(&args));
    let folder = if args.bench { kept_runs(&name)? } else { scratch.path().to_owned() };
    let mut lines = TaskLines::new(Show::on_stderr());
    lines.set("training", "seeds", 0, args.seeds);
    for seed in 1..=args.seeds {
        let seeded = [&flags[..], &["--seed".into(), seed.to_string()]].concat();
        train(&run_folder(&folder, seed), &seeded)?;
        lines.set("training", "seeds", seed, args.seeds);
    }
    lines.finish();
    setting.simd = read_summary(&run_folder(&folder, 1))?.kernels;
    let folders = || (1..=args.seeds).map(|seed| (seed, run_folder(&folder, seed)));
    let (env, window_frames) = (args.env.clone(), args.window);
    let found = if task_ids(&env).len() > 1 {
        let rows = folders().map(|(seed, run)| several::Row::read(seed, &run, window_frames));
        let rows = rows.collect::<Result<_>>()?;
        let goals = args.goal.clone();
        Found::Several(several::Table { setting, env, window_frames, goals, flags, rows })
    } else {
        let goal = args.goal.first().copied().or(threshold);
        let goal = goal.context("--goal: this environment has no threshold")?;
        let rows = folders().map(|(seed, run)| read_seed(&run, seed, (window_frames, goal)));
        let rows = rows.collect::<Result<_>>()?;
        Found::One(Table { setting, env, window_frames, goal, threshold, flags, rows })
    };
    let text = found.markdown();
    println!("{text}");
    let runs: Vec<RunDir> = (1..=args.seeds)
        .map(|seed| RunDir::open(&run_folder(&folder, seed)))
        .collect::<Result<_, _>>()?;
    let mut watch = |Step { task, unit, done, total }: Step| lines.set(task, unit, done, total);
    let report = compare(&runs, &folder, Pictures::Svg, &mut watch)?;
    lines.finish();
    if args.bench {
        println!("report of all runs: {}", report.display());
        let [_, path] = save(Path::new("results/seeds"), &name, &found, &text)?;
        println!("written to {}", path.display());
    }
    Ok(())
}

/// `seeds` for the defaults, else such as `MinAtar-Breakout-few-frames`.
fn default_name(Args { env, preset, .. }: &Args) -> String {
    if env == DEFAULT_ENV && preset.is_none() {
        return "seeds".to_owned();
    }
    let env = env.rsplit(':').next().unwrap_or_default().replace(['/', ','], "-");
    [env].into_iter().chain(preset.clone()).collect::<Vec<_>>().join("-")
}

fn flags(args: &Args) -> Vec<String> {
    let env = ["--env".to_owned(), args.env.clone()];
    let preset = args.preset.iter().flat_map(|preset| ["--preset".to_owned(), preset.clone()]);
    let frames = args.frames.map(|frames| ["--frames".to_owned(), frames.to_string()]);
    env.into_iter()
        .chain(preset)
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

fn read_seed(run_dir: &Path, seed: u64, (window_frames, goal): (u64, f64)) -> Result<Row> {
    let summary = read_summary(run_dir)?;
    let eval = summary.eval.as_ref().context("the run was not evaluated")?;
    let rows = read_rows(run_dir)?;
    Ok(Row {
        seed,
        solved_frames: summary.solved_frames,
        solved_s: summary.solved_s,
        goal_frames: goal_frames(&rows, goal),
        lowest_after: lowest_after(&rows, goal),
        late_score: late_score(&rows, window_frames).context("no episode ended late")?,
        greedy_mean: eval.mean,
        greedy_min: eval.min,
        stayed_solved: stayed_solved(&rows, &summary),
        frames_per_s: summary.frames_per_s,
        train_s: summary.train_s,
        policy_lag_mean: summary.mean_policy_lag(),
    })
}

fn read_rows(run_dir: &Path) -> Result<Vec<MetricsRow>> {
    let mut reader = csv::Reader::from_path(run_dir.join("metrics.csv"))?;
    Ok(reader.deserialize().collect::<Result<_, _>>()?)
}

/// Trains with these flags into a new folder.
fn train(run_dir: &Path, flags: &[String]) -> Result<()> {
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
    Ok(())
}

/// Whether the last 100 episodes of a row are a hundred, and their mean is at the goal.
fn is_at_goal(row: &MetricsRow, goal: f64) -> bool {
    row.episodes >= 100 && row.score_last100.is_some_and(|score| score >= goal)
}

fn goal_frames(rows: &[MetricsRow], goal: f64) -> Option<u64> {
    rows.iter().find(|row| is_at_goal(row, goal)).map(|row| row.frames)
}

fn lowest_after(rows: &[MetricsRow], goal: f64) -> Option<f64> {
    let after = rows.iter().skip_while(|row| !is_at_goal(row, goal));
    after.filter_map(|row| row.score_last100).reduce(f64::min)
}

fn stayed_solved(rows: &[MetricsRow], summary: &Summary) -> f64 {
    let (Some(threshold), Some(solved_frames)) = (summary.score_threshold, summary.solved_frames)
    else {
        return 0.0;
    };
    let after: Vec<&MetricsRow> = rows.iter().filter(|row| row.frames >= solved_frames).collect();
    let is_solved = |row: &&&MetricsRow| row.score_last100.is_some_and(|score| score >= threshold);
    after.iter().filter(is_solved).count() as f64 / after.len().max(1) as f64
}

fn markdown(table: &Table) -> String {
    let Table { env, rows, flags, window_frames, .. } = table;
    let text = format!(
        "# {env}, seeds 1 to {}\n\n`impala train {}`\n\nLate: training episodes, sampled, that ended in the \
         last {window_frames} frames. Greedy: 100 episodes after training. Lowest after: smallest mean of the last \
         100 training episodes once it was {}.\n\n",
        rows.len(),
        flags.join(" "),
        table.goal,
    );
    let columns = columns(table);
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let head = line(columns.iter().map(|(name, _)| name.clone()).collect());
    let rule = format!("|{}\n", "---:|".repeat(columns.len()));
    let row = |row: &Row| line(columns.iter().map(|(_, cell)| cell(row)).collect());
    text + &head + &rule + &rows.iter().map(row).collect::<String>() + &summary_lines(table)
}

/// A column's name, and what it says of a seed.
type Column = (String, fn(&Row) -> String);

/// The columns; of what is solved only where that can be.
fn columns(table: &Table) -> Vec<Column> {
    let always: [Column; 6] = [
        ("late mean".into(), |row| format!("{:.3}", row.late_score)),
        ("greedy mean".into(), |row| format!("{:.1}", row.greedy_mean)),
        ("min".into(), |row| format!("{:.0}", row.greedy_min)),
        ("seconds".into(), |row| format!("{:.1}", row.train_s)),
        ("k frames/s".into(), |row| format!("{:.0}", row.frames_per_s / 1e3)),
        ("policy lag".into(), |row| format!("{:.1}", row.policy_lag_mean)),
    ];
    let mut columns: Vec<Column> = vec![("seed".into(), |row| row.seed.to_string())];
    if !table.is_goal_the_threshold() {
        columns.push((format!("{} at frames", table.goal), |row| {
            row.goal_frames.map_or("–".into(), |frames| frames.to_string())
        }));
    }
    if let Some(threshold) = table.threshold {
        columns.push(("solved at frames".into(), |row| {
            row.solved_frames.map_or("–".into(), |frames| frames.to_string())
        }));
        columns.push(("after s".into(), |row| {
            row.solved_s.map_or("–".into(), |seconds| format!("{seconds:.3}"))
        }));
        columns.push((format!("stayed ≥ {threshold}"), |row| {
            format!("{:.1} %", 100.0 * row.stayed_solved)
        }));
    }
    columns.push(("lowest after".into(), |row| {
        row.lowest_after.map_or("–".into(), |score| format!("{score:.1}"))
    }));
    columns.extend(always);
    columns
}

fn summary_lines(table: &Table) -> String {
    let Table { goal, rows, .. } = table;
    let reached = rows.iter().filter(|row| row.late_score >= *goal).count();
    let mut late: Vec<f64> = rows.iter().map(|row| row.late_score).collect();
    late.sort_by(f64::total_cmp);
    let mut text = format!(
        "\nLate mean of {goal} or more: {reached} of {}. Median {:.2}, worst {:.2}.",
        rows.len(),
        median(&late),
        late[0],
    );
    if !table.is_goal_the_threshold() {
        text += &goal_line(table);
    }
    if let Some(threshold) = table.threshold {
        text += &solved_lines(table, threshold);
    }
    format!("{text}\n\n{}\n", table.setting.line())
}

fn goal_line(Table { goal, rows, .. }: &Table) -> String {
    let reached: Vec<f64> =
        rows.iter().filter_map(|row| row.goal_frames).map(|f| f as f64).collect();
    let mut text =
        format!(" Last 100 at {goal} or more at some time: {} of {}.", reached.len(), rows.len());
    if let Some(worst) = reached.iter().copied().reduce(f64::max) {
        text += &format!(" Frames until then: median {:.0}, worst {worst:.0}.", median(&reached));
    }
    text
}

fn solved_lines(Table { env, rows, .. }: &Table, threshold: f64) -> String {
    let count = |holds: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| holds(row)).count();
    let solved: Vec<f64> =
        rows.iter().filter_map(|row| row.solved_frames).map(|f| f as f64).collect();
    let seconds: Vec<f64> = rows.iter().filter_map(|row| row.solved_s).collect();
    let n = rows.len();
    let mut text = format!(" Solved ({threshold} or more at some time): {} of {n}.", solved.len());
    if let Some(worst) = solved.iter().copied().reduce(f64::max) {
        text += &format!(
            " Frames to solve: median {:.0}, worst {worst:.0}. Seconds from process start to solved: median {:.3}. At \
             least 99 % of the rows after solving at {threshold} or more: {} of {n}.",
            median(&solved),
            median(&seconds),
            count(&|row| row.stayed_solved >= 0.99),
        );
    }
    if env == "CartPole-v1" {
        text += &format!(
            " Solved within 400k frames: {} of {n}. All 100 greedy episodes at 500: {} of {n}.",
            count(&|row| row.solved_frames.is_some_and(|frames| frames <= 400_000)),
            count(&|row| row.greedy_min >= 500.0),
        );
    }
    text
}
