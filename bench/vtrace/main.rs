//! `make vtrace-table`: what V-trace is worth, as the paper's Table 2 asks (arXiv 1802.01561, section 5.2.2).
//!
//! Trains with each correction at several lags, with each batch learned from once and several times, and prints what
//! each came to. The lag comes from slots in flight: a ring of so many slots lets its actor run ahead. Without
//! `--bench`, as a test, one short run of each correction.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/kernels_that_ran.rs"]
mod kernels_that_ran;
#[path = "../common/late_score.rs"]
mod late_score;
#[path = "../common/statistics.rs"]
mod statistics;

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use common::{Setting, impala, read_summary, save};
use impala::sinks::terminal::{Show, TaskLines};
use impala::telemetry::MetricsRow;
use kernels_that_ran::kernels_that_ran;
use late_score::late_score;
use serde::Serialize;
use statistics::median;

/// Train with each correction and print what each is worth.
#[derive(Parser)]
struct Args {
    /// How many seeds of each, from 1 on.
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// Tasks, each as an id and the frames of a run.
    #[arg(long, default_values_t = TASKS.map(str::to_owned))]
    task: Vec<String>,
    /// Slots of each actor's ring.
    #[arg(long, default_values_t = [1, 4, 16])]
    slots: Vec<usize>,
    /// Updates made from each batch.
    #[arg(long, default_values_t = [1, 4])]
    epochs: Vec<u64>,
    /// More flags for `impala train`, in one string.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    train: String,
    /// Name of the files in results/vtrace.
    #[arg(long, default_value = "table")]
    name: String,
    /// Given by cargo: measure in earnest.
    #[arg(long, hide = true)]
    bench: bool,
}

const TASKS: [&str; 3] =
    ["CartPole-v1=400000", "MinAtar/Breakout-v1=500000", "MinAtar/Asterix-v1=500000"];

/// The paper's four, from the least correction to the most, by the words of `loss.correction`.
const CORRECTIONS: [(&str, &str); 4] = [
    ("none", "no correction"),
    ("epsilon", "ε-correction"),
    ("one_step", "1-step importance sampling"),
    ("vtrace", "V-trace"),
];

/// A run's episodes count as late in this part of its frames.
const LATE_PART: u64 = 5;

/// What all seeds of one choice came to.
#[derive(Serialize)]
struct Cell {
    task: String,
    correction: &'static str,
    slots: usize,
    epochs: u64,
    /// Mean return of the late training episodes, of each seed.
    late_scores: Vec<f64>,
    /// Mean policy lag, in batches, over all seeds.
    lag_batches: f64,
    /// The kernels that ran.
    kernels: String,
}

/// What a run came to.
struct Outcome {
    late_score: f64,
    /// Mean, in updates.
    policy_lag: f64,
    kernels: String,
}

/// The file `results/vtrace/<name>.json`.
#[derive(Serialize)]
struct Table {
    setting: Setting,
    command: String,
    cells: Vec<Cell>,
}

fn main() -> Result<()> {
    let mut args = Args::parse();
    if !args.bench {
        (args.seeds, args.slots, args.epochs) = (1, vec![1], vec![1]);
        args.task = vec!["CartPole-v1=20000".to_owned()];
    }
    let mut setting = Setting::now();
    let choices = choices(&args)?;
    let total = choices.len() as u64;
    let mut lines = TaskLines::new(Show::on_stderr());
    let mut cells = Vec::new();
    for (choice, done) in choices.into_iter().zip(0..) {
        lines.set("training", "choices", done, total);
        cells.push(choice.measure(&args)?);
    }
    lines.finish();
    let command =
        std::env::args().skip(1).filter(|arg| arg != "--bench").collect::<Vec<_>>().join(" ");
    setting.simd = kernels_that_ran(cells.iter().map(|cell| &*cell.kernels));
    let table = Table { setting, command, cells };
    let text = markdown(&table);
    println!("{text}");
    if args.bench {
        let [_, path] = save(Path::new("results/vtrace"), &args.name, &table, &text)?;
        println!("written to {}", path.display());
    }
    Ok(())
}

/// One choice of everything but the seed.
struct Choice {
    env: String,
    frames: u64,
    correction: &'static str,
    slots: usize,
    epochs: u64,
}

fn choices(args: &Args) -> Result<Vec<Choice>> {
    let mut choices = Vec::new();
    for task in &args.task {
        let (env, frames) = task.split_once('=').context("--task: give ID=FRAMES")?;
        let frames = frames.parse().context("--task: give ID=FRAMES")?;
        for (&epochs, &slots) in
            args.epochs.iter().flat_map(|epochs| args.slots.iter().map(move |s| (epochs, s)))
        {
            let choice =
                |(correction, _)| Choice { env: env.to_owned(), frames, correction, slots, epochs };
            choices.extend(CORRECTIONS.map(choice));
        }
    }
    Ok(choices)
}

impl Choice {
    fn measure(self, args: &Args) -> Result<Cell> {
        let runs = (1..=args.seeds).map(|seed| self.run(seed, &args.train));
        let runs = runs.collect::<Result<Vec<_>>>()?;
        let kernels = runs.first().context("--seeds: at least one")?.kernels.clone();
        let Choice { env: task, correction, slots, epochs, .. } = self;
        let lags = runs.iter().map(|run| run.policy_lag);
        Ok(Cell {
            task,
            correction,
            slots,
            epochs,
            late_scores: runs.iter().map(|run| run.late_score).collect(),
            lag_batches: lags.sum::<f64>() / runs.len() as f64 / epochs as f64,
            kernels,
        })
    }

    fn run(&self, seed: u64, more: &str) -> Result<Outcome> {
        let folder = tempfile::tempdir()?;
        let run_dir = folder.path().join("run");
        let set = |setting: String| ["--set".to_owned(), setting];
        let settings = [
            format!("loss.correction={}", self.correction),
            format!("loss.epochs={}", self.epochs),
            format!("actors.slots_per_actor={}", self.slots),
            // Nothing is dropped: the lag is what is asked about.
            "loss.max_policy_lag=1000000".to_owned(),
            "learner_threads=1".to_owned(),
            "report.eval_episodes=0".to_owned(),
        ];
        let output = impala()
            .args(["train", "--env", &self.env, "--frames", &self.frames.to_string()])
            .args(["--seed", &seed.to_string(), "--run-dir"])
            .arg(&run_dir)
            .args(settings.into_iter().flat_map(set))
            .args(more.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .context("cannot start impala")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} {}: {stderr}", self.env, self.correction);
        let mut reader = csv::Reader::from_path(run_dir.join("metrics.csv"))?;
        let rows: Vec<MetricsRow> = reader.deserialize().collect::<Result<_, _>>()?;
        let late = late_score(&rows, self.frames / LATE_PART).context("no episode ended late")?;
        let summary = read_summary(&run_dir)?;
        let policy_lag = summary.mean_policy_lag();
        Ok(Outcome { late_score: late, policy_lag, kernels: summary.kernels })
    }
}

fn markdown(table: &Table) -> String {
    let mut text = format!(
        "# What V-trace is worth\n\n`make vtrace-table ARGS='{}'`\n\nMean return of the training episodes in the last \
         {LATE_PART}th of a run: median of the seeds, and worst. Lag: mean over the slots learned from, in batches.\n",
        table.command
    );
    let mut tasks: Vec<&str> = table.cells.iter().map(|cell| cell.task.as_str()).collect();
    tasks.dedup();
    for task in tasks {
        text += &task_text(task, table);
    }
    format!("{text}\n{}\n", table.setting.line())
}

/// One table a task: a row for each ring and number of epochs, a column for each correction.
fn task_text(task: &str, table: &Table) -> String {
    let names = CORRECTIONS.map(|(_, name)| name).join(" | ");
    let mut text = format!(
        "\n## {task}\n\n| epochs | slots a ring | lag | {names} |\n|---:|---:|---:|---:|---:|---:|---:|\n"
    );
    let cells: Vec<&Cell> = table.cells.iter().filter(|cell| cell.task == task).collect();
    for row in cells.chunk_by(|a, b| (a.epochs, a.slots) == (b.epochs, b.slots)) {
        let lag = row.iter().map(|cell| cell.lag_batches).sum::<f64>() / row.len() as f64;
        let scores: Vec<String> = row.iter().map(|cell| score(cell)).collect();
        text += &format!(
            "| {} | {} | {lag:.1} | {} |\n",
            row[0].epochs,
            row[0].slots,
            scores.join(" | ")
        );
    }
    text
}

fn score(cell: &Cell) -> String {
    let worst = cell.late_scores.iter().copied().fold(f64::INFINITY, f64::min);
    format!("{:.1}, {worst:.1}", median(&cell.late_scores))
}
