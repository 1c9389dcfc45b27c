//! `make storm`: a training run whose workers are killed, stopped and continued at random, while every slot
//! and every copy of the weights is verified. Fails if anything was torn, lost, learned from twice or left
//! behind, or if the policy does not reach its score in the end.
//!
//! Writes `results/reliability/storm.{json,md}`, also when it is stopped early with Ctrl-C. Wants a build
//! with the feature `faults`, which has the self-checks. `tests/storm.rs` runs short ones.

mod blows;
#[path = "../common/children.rs"]
mod children;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/descriptors.rs"]
mod descriptors;
#[path = "../common/endless.rs"]
mod endless;
mod traces;
mod trial;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use blows::{PAUSE_MS, PAUSE_WITH_PYTHON_MS, Plan, Tally};
use clap::Parser;
use common::{Setting, impala, load_average, save};
use impala::sinks::terminal::{ProgressLine, Show};
use serde::Serialize;
use trial::{Back, Outcome, trial};

/// Exit status after Ctrl-C, as shells have it.
const EXIT_INTERRUPTED: u8 = 130;

/// Kill, stop and continue random workers of a training run, and see whether anything breaks.
#[derive(Parser)]
struct Args {
    /// How long to storm.
    #[arg(long, default_value_t = 60.0, value_parser = positive)]
    seconds: f64,
    /// Decides who is struck, how and when; what the workers do meanwhile it cannot decide.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds without a sign of life after which the run replaces a worker. Some that are stopped are left
    /// to that.
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    hang_timeout: f64,
    /// A Python that has Gymnasium: storm over its CartPole-v1, whose processes are struck as well.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Break a step of the protocol, to see it reported: publish-early shows slots before they are filled.
    #[arg(long = "break", value_name = "STEP", value_parser = ["publish-early"])]
    broken: Option<String>,
    /// Name of the files in results/reliability [default: storm, or storm-python].
    #[arg(long)]
    name: Option<String>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.5..=1_000_000.0).contains(&number) => Ok(number),
        _ => Err("from 0.5 to 1000000 seconds".into()),
    }
}

/// The file `results/reliability/<name>.json`.
#[derive(Serialize)]
struct Record {
    setting: Setting,
    load_after: f64,
    violations: Vec<String>,
    outcome: Outcome,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let setting = Setting::now();
    let outcome = storm(&args)?;
    let violations = outcome.violations();
    let record = Record { setting, load_after: load_average(), violations, outcome };
    let text = markdown(&record);
    println!("{text}");
    let name = if args.python.is_some() { "storm-python" } else { "storm" };
    let name = args.name.as_deref().unwrap_or(name);
    let [_, path] = save(Path::new("results/reliability"), name, &record, &text)?;
    println!("written to {}", path.display());
    Ok(match (record.violations.is_empty(), record.outcome.is_complete) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(EXIT_INTERRUPTED),
    })
}

fn storm(args: &Args) -> Result<Outcome> {
    let duration = Duration::from_secs_f64(args.seconds);
    let (pause_ms, left_standing_one_in) = match args.python {
        None => (PAUSE_MS, 20),
        // Fewer blows, of which as many are to be left as are worth counting.
        Some(_) => (PAUSE_WITH_PYTHON_MS, 5),
    };
    let plan = Plan { duration, seed: args.seed, pause_ms, left_standing_one_in };
    let broken = args.broken.iter().map(|step| (trial::BREAK, step.as_str()));
    let environment: Vec<(&str, &str)> = broken.collect();
    let mut line = ProgressLine::new(Show::on_stderr(), "storming", "s", args.seconds as u64);
    let show = |elapsed: Duration, tally: &Tally| {
        line.set(elapsed.as_secs(), &format!("{} kills, {} stops", tally.kills, tally.stops));
    };
    let binary = Path::new(impala().get_program()).to_owned();
    let python = args.python.as_deref();
    let outcome = trial(&binary, plan, args.hang_timeout, python, &environment, show);
    line.finish();
    outcome
}

fn markdown(record: &Record) -> String {
    let Outcome { seconds, seed, checks, summary, .. } = &record.outcome;
    let outcome = &record.outcome;
    let mut text = format!(
        "# Storm: {seconds:.0} s over a training run of {}{}\n\n| | |\n|---|---:|\n",
        summary.env,
        if outcome.is_complete { "" } else { ", interrupted" }
    );
    let score = summary.score_last100.map_or("–".into(), |score| format!("{score:.1}"));
    let rows = [
        ("workers killed (SIGKILL)", outcome.kills.to_string()),
        ("of these, learners", outcome.learner_kills.to_string()),
        ("of these, processes of an actor's environments", outcome.env_kills.to_string()),
        ("workers stopped and continued", outcome.stops.to_string()),
        ("workers stopped and left for the run to find", outcome.left_standing.to_string()),
        ("workers that the run found hanging", summary.reliability.hangs.to_string()),
        ("workers started again", outcome.restarts().to_string()),
        ("actors: kill to first heartbeat, p50 / p99 / max, ms", back(&outcome.actors_back_ms)),
        ("learner: the same, ms", back(&outcome.learner_back_ms)),
        ("slots verified", checks.slots_checked.to_string()),
        ("slots torn", checks.torn_slots.to_string()),
        ("slots taken again after a learner's death", checks.taken_again.to_string()),
        ("rollouts learned from twice", checks.learned_twice.to_string()),
        ("published rollouts lost", checks.not_learned.to_string()),
        ("copies of the weights torn", checks.torn_weights.to_string()),
        ("copies of the weights older than one before", checks.older_weights.to_string()),
        ("zombies that stayed", outcome.zombies.to_string()),
        ("descriptors of the supervisor left open", outcome.more_descriptors.to_string()),
        ("processes too many after the storm", outcome.more_processes.to_string()),
        ("processes left", outcome.left_processes.len().to_string()),
        ("names left in /dev/shm", outcome.left_shared_memory.len().to_string()),
        ("half-written or temporary files left", outcome.left_files.len().to_string()),
        ("frames learned from, M", format!("{:.1}", summary.frames as f64 / 1e6)),
        ("mean of the last 100 scores at the end", score),
    ];
    for (what, figure) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {what} | {figure} |");
    }
    let verdict = match record.violations.as_slice() {
        [] => "Nothing was broken.".to_owned(),
        violations => format!("**BROKEN:** {}.", violations.join("; ")),
    };
    let _ = writeln!(
        text,
        "\n{verdict} A killed actor takes the rollout that it was collecting with it: at most one each, which \
         nobody has seen. Every slot is verified when it is taken and when it was learned from, every copy of \
         the weights when an actor has made it. Seed of the blows: {seed}.\n\n{}; load after {:.2}",
        record.setting.line(),
        record.load_after
    );
    text
}

fn back(Back { p50, p99, max }: &Back) -> String {
    format!("{p50:.1} / {p99:.1} / {max:.1}")
}
