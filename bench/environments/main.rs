//! `make bench-environments`: environments in Python, beside the engine and through it. By itself it compares ways to
//! step them and to learn from them, and writes `results/bench/environments.{json,md}`. With `--kinds` it trains an
//! environment of each kind of space, and writes `results/bench/env-kinds.{json,md}`. With `--hours` it trains Pong for so
//! long, and writes `results/bench/pong.{json,md,svg}`. Without `--bench`, as a test, each works once.

#[path = "../common/children.rs"]
mod children;
#[path = "../common/mod.rs"]
mod common;
mod comparison;
#[path = "../common/endless.rs"]
mod endless;
#[path = "../common/figure.rs"]
mod figure;
mod kinds;
mod long;
mod peers;
#[path = "../common/statistics.rs"]
mod statistics;
#[path = "../common/table.rs"]
mod table;
mod ways;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use common::{Setting, save};
use long::Found;
use serde::Serialize;
use ways::Effort;

/// Measure environments of Python through the engine, and beside it.
#[derive(Parser)]
pub struct Args {
    /// Given by cargo: measure in earnest.
    #[arg(long, hide = true)]
    bench: bool,
    /// Step this environment with random actions, in a process that a measurement has started.
    #[arg(long, hide = true, value_name = "ID")]
    step: Option<String>,
    /// Collect this environment's rollouts, in such a process.
    #[arg(long, hide = true, value_name = "ID")]
    collect: Option<String>,
    /// For how long, with --step and --collect.
    #[arg(long, hide = true, default_value_t = 0.0)]
    seconds: f64,
    /// How many environments, with --step and --collect.
    #[arg(long, hide = true, default_value_t = ways::N_ENVS)]
    envs: usize,
    /// Which process it is, with --step and --collect.
    #[arg(long, hide = true, default_value_t = 0)]
    actor: u64,
    /// Train an environment of each kind of space for a minute, and compare nothing.
    #[arg(long)]
    kinds: bool,
    /// Train one environment for so many hours with its preset, and compare nothing.
    #[arg(long, value_name = "N", conflicts_with = "kinds", value_parser = hours)]
    hours: Option<f64>,
    /// The environment of --hours.
    #[arg(long, value_name = "ID", default_value = "vec:ALE/Pong-v5")]
    env: String,
    /// More flags for `impala train`, in one string, with --hours.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    train: String,
    /// Name of the files of --hours in results/bench.
    #[arg(long, default_value = "pong")]
    name: String,
    /// The Python of the environments.
    #[arg(long, default_value = "third_party/gymnasium/bin/python")]
    python: PathBuf,
    /// The Python that makes the virtual environments of the others, 3.11 or 3.12.
    #[arg(long, default_value = "python3")]
    peers_python: PathBuf,
}

fn hours(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.001..=1_000.0).contains(&number) => Ok(number),
        _ => Err("from 0.001 to 1000 hours".into()),
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(env) = &args.step {
        ways::step(env, &args)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(env) = &args.collect {
        ways::collect(env, &args)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.python.exists() {
        println!("SKIPPED: environments of Python: run tools/gymnasium.py to install them");
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(hours) = args.hours {
        train_long(&args, &args.env, Duration::from_secs_f64(3600.0 * hours))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.bench {
        train_long(&args, "gym:CartPole-v1", Duration::from_secs(2))?;
    }
    let effort = if args.bench { Effort::EARNEST } else { Effort::TEST };
    let mut is_well = true;
    if args.kinds || !args.bench {
        let kinds = kinds::train(Setting::now(), &args.python, effort.minute)?;
        is_well = kinds.are_well();
        tell(&args, "env-kinds", &kinds, &kinds.markdown())?;
    }
    if !args.kinds {
        let compared = comparison::compare(Setting::now(), &args, &effort)?;
        tell(&args, "environments", &compared, &compared.markdown())?;
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Trains one environment so long, and writes its scores and their curve.
fn train_long(args: &Args, env: &str, time: Duration) -> Result<()> {
    let found = long::train(Setting::now(), env, &args.python, &args.train, time)?;
    let Some(Found { long, svg }) = found else { return Ok(()) };
    if args.bench {
        std::fs::write(Path::new("results/bench").join(&args.name).with_extension("svg"), svg)?;
    }
    tell(args, &args.name, &long, &long.markdown(&args.name))
}

fn tell(args: &Args, name: &str, results: &impl Serialize, text: &str) -> Result<()> {
    println!("{text}");
    if args.bench {
        let [json, markdown] = save(Path::new("results/bench"), name, results, text)?;
        println!("written to {} and {}", json.display(), markdown.display());
    }
    Ok(())
}
