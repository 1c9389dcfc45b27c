//! `make bench-environments`: steps a second of environments in Python, on all cores: Python's bare loop, the same
//! through the engine without and with learning, and other trainers. Written to
//! `results/bench/environments.{json,md}`; without `--bench`, as a test, each way works once.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/figure.rs"]
mod figure;
#[path = "../common/statistics.rs"]
mod statistics;
#[path = "../common/table.rs"]
mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use common::{Setting, impala, read_summary, save};
use figure::figure;
use impala::actor::collector::Collector;
use impala::config::{Config, Layers};
use impala::network::params::ParamLayout;
use impala::rollout::RolloutBuffer;
use impala::run::sizes::Sizes;
use serde::Serialize;
use statistics::median;
use table::Table;

/// Where each environment comes from, and how the others call it.
const ENVIRONMENTS: [(&str, &str); 3] = [
    ("gym:CartPole-v1", "CartPole-v1"),
    ("gym:LunarLander-v3", "LunarLander-v3"),
    ("vec:ALE/Pong-v5", "ALE/Pong-v5"),
];

/// E, environments a process.
const N_ENVS: usize = 8;

/// Environments of the others, each in a process.
const N_WORKERS: usize = 4;

/// Measure environments of Python through the engine, and beside it.
#[derive(Parser)]
struct Args {
    /// Given by cargo: measure in earnest.
    #[arg(long, hide = true)]
    bench: bool,
    /// Collect this environment's rollouts, in a process that a measurement has started.
    #[arg(long, hide = true, value_name = "ID")]
    collect: Option<String>,
    /// Seconds that are collected, with --collect.
    #[arg(long, hide = true, default_value_t = 0.0)]
    seconds: f64,
    /// Which process it is, with --collect.
    #[arg(long, hide = true, default_value_t = 0)]
    actor: u64,
    /// The Python of the environments.
    #[arg(long, default_value = "third_party/gymnasium/bin/python")]
    python: PathBuf,
    /// A Python that has Stable-Baselines3 and the environments; without one it is left out.
    #[arg(long)]
    peers_python: Option<PathBuf>,
}

/// How long and how often to measure.
struct Effort {
    n_runs: usize,
    seconds: f64,
    frames: u64,
}

/// One environment, steps a second of all processes together; medians of the runs.
#[derive(Serialize)]
struct Row {
    env: &'static str,
    bare: f64,
    collecting: f64,
    learning: Option<f64>,
    a2c: Option<f64>,
    ppo: Option<f64>,
}

/// The file `results/bench/environments.json`.
#[derive(Serialize)]
struct Results {
    setting: Setting,
    n_processes: usize,
    n_envs: usize,
    rows: Vec<Row>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(env) = &args.collect {
        return collect(env, &args);
    }
    if !args.python.exists() {
        println!("SKIPPED: environments of Python: run tools/gymnasium.py to install them");
        return Ok(());
    }
    let effort = match args.bench {
        true => Effort { n_runs: 5, seconds: 4.0, frames: 0 },
        false => Effort { n_runs: 1, seconds: 0.0, frames: 3_000 },
    };
    let setting = Setting::now();
    let rows = ENVIRONMENTS.iter().map(|(env, id)| row(env, id, &args, &effort));
    let rows = rows.collect::<Result<_>>()?;
    let results = Results { n_processes: setting.n_cores, setting, n_envs: N_ENVS, rows };
    let text = markdown(&results);
    println!("{text}");
    if args.bench {
        let [json, markdown] = save(Path::new("results/bench"), "environments", &results, &text)?;
        println!("written to {} and {}", json.display(), markdown.display());
    }
    Ok(())
}

fn row(env: &'static str, id: &str, args: &Args, effort: &Effort) -> Result<Row> {
    let own = std::env::current_exe()?;
    let n_processes = impala::os::process::n_cores();
    let bare = |_| {
        let mut command = Command::new(&args.python);
        command.arg("bench/environments/bare.py").arg(env).arg(N_ENVS.to_string());
        command.arg(effort.seconds.to_string());
        command
    };
    let collecting = |actor: usize| {
        let mut command = Command::new(&own);
        command.args(["--collect", env, "--seconds", &effort.seconds.to_string()]);
        command.arg("--actor").arg(actor.to_string()).arg("--python").arg(&args.python);
        command
    };
    let peer = |algorithm: &'static str| {
        let python = args.peers_python.as_ref()?;
        Some(all(effort, 1, |_| {
            let mut command = Command::new(python);
            command.arg("bench/environments/sb3.py").args([algorithm, id]);
            command.args([N_WORKERS.to_string(), (3.0 * effort.seconds).to_string()]);
            command
        }))
    };
    Ok(Row {
        env,
        bare: all(effort, n_processes, bare)?,
        collecting: all(effort, n_processes, collecting)?,
        learning: learning(env, args, effort)?,
        a2c: peer("a2c").transpose()?,
        ppo: peer("ppo").transpose()?,
    })
}

/// Median over the runs of what so many processes at once print together.
fn all(effort: &Effort, n_processes: usize, command: impl Fn(usize) -> Command) -> Result<f64> {
    let once = || -> Result<f64> {
        let start = |n| command(n).stdout(Stdio::piped()).spawn();
        let children: Vec<_> = (0..n_processes).map(start).collect::<Result<_, _>>()?;
        let outputs = children.into_iter().map(|child| child.wait_with_output());
        let figures = outputs.map(|output| -> Result<f64> {
            let output = output?;
            ensure!(output.status.success(), "a process ended with {}", output.status);
            let text = String::from_utf8(output.stdout)?;
            text.trim().parse().with_context(|| text.clone())
        });
        figures.sum()
    };
    let runs = (0..effort.n_runs).map(|_| once()).collect::<Result<Vec<f64>>>()?;
    Ok(median(&runs))
}

fn config(env: &str, python: &Path) -> Result<Config> {
    let python = python.to_str().context("the path of the Python is no text")?;
    let mut config =
        Layers { env: Some(env), python: Some(python), ..Layers::default() }.resolve()?;
    config.actors.envs_per_actor = N_ENVS;
    Ok(config)
}

/// Prints steps a second of one collector with the first policy.
fn collect(env: &str, args: &Args) -> Result<()> {
    let config = config(env, &args.python)?;
    let sizes = Sizes::of(&config)?;
    if !impala::network::Backend::of(&sizes.network).is_built() {
        println!("NaN");
        return Ok(());
    }
    let mut collector = Collector::new(&config, args.actor, 0)?;
    collector.params_mut().copy_from_slice(&ParamLayout::new(&sizes.network).init(1));
    let mut slot = RolloutBuffer::new(sizes.rollout);
    collector.collect(&mut slot.view_mut())?;
    let (start, mut n_frames) = (Instant::now(), 0);
    while n_frames == 0 || start.elapsed() < Duration::from_secs_f64(args.seconds) {
        collector.collect(&mut slot.view_mut())?;
        n_frames += collector.frames_per_rollout();
    }
    println!("{}", n_frames as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

/// Frames learned a second by a whole run with an actor a core; `None` where this build lacks the network.
fn learning(env: &str, args: &Args, effort: &Effort) -> Result<Option<f64>> {
    let mut config = config(env, &args.python)?;
    if config.check().is_err() {
        return Ok(None);
    }
    config.actors.count = impala::os::process::n_cores();
    config.report.eval_episodes = 0;
    let once = |frames: u64| -> Result<f64> {
        let folder = tempfile::tempdir()?;
        let settings = folder.path().join("settings.toml");
        std::fs::write(&settings, Config { frames, ..config.clone() }.to_toml())?;
        let run = folder.path().join("run");
        let mut command = impala();
        command.args(["-q", "train", "--config"]).arg(settings).arg("--run-dir").arg(&run);
        let output = command.stdout(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the run failed: {said}");
        Ok(read_summary(&run)?.frames_per_s)
    };
    if effort.frames > 0 {
        return once(effort.frames).map(Some);
    }
    // As many frames as take the time of the other measurements.
    let frames = (once(20_000)? * 2.0 * effort.seconds) as u64;
    let runs = (0..effort.n_runs).map(|_| once(frames.max(20_000)));
    Ok(Some(median(&runs.collect::<Result<Vec<f64>>>()?)))
}

fn markdown(Results { setting, n_processes, n_envs, rows }: &Results) -> String {
    let head = [
        "environment",
        "Python's bare loop",
        "collected by the engine",
        "of the bare loop",
        "learned by the engine",
        "Stable-Baselines3 A2C",
        "PPO",
    ];
    let mut table = Table::new(head);
    for Row { env, bare, collecting, learning, a2c, ppo } in rows {
        let of = |value: &Option<f64>| value.map_or("–".into(), figure);
        let share = format!("{:.0} %", 100.0 * collecting / bare);
        let (learned, a2c, ppo) = (of(learning), of(a2c), of(ppo));
        table.push([(*env).into(), figure(*bare), figure(*collecting), share, learned, a2c, ppo]);
    }
    format!(
        "# Environments of Python\n\nSteps a second of {n_processes} processes with {n_envs} environments each; \
         learned: an actor a core, and the learner. Stable-Baselines3: its defaults, {N_WORKERS} processes of one \
         environment (SubprocVecEnv). Medians of the runs.\n\n{}\n\n{}\n",
        table.text(),
        setting.line()
    )
}
