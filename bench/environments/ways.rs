//! Ways to step environments of Python without others' trainers: Python's bare loop, the engine stepping, collecting and
//! learning. Each is measured in processes of its own, as many as there are cores.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::{Context, Result, anyhow, ensure};
use impala::actor::collector::Collector;
use impala::config::{Config, Layers};
use impala::network::params::ParamLayout;
use impala::os::process::n_cores;
use impala::play::trial::Trial;
use impala::rollout::RolloutBuffer;
use impala::run::sizes::Sizes;

use super::Args;
use super::common::{impala, read_summary};
use super::statistics::median;

/// E, environments a process that learns.
pub const N_ENVS: usize = 8;

/// How long and how often to measure.
pub struct Effort {
    pub n_runs: usize,
    /// Runs of the others, which take minutes.
    pub n_peer_runs: usize,
    pub seconds: f64,
    /// Frames that are learned from; 0 for as many as take the time of the other measurements.
    pub frames: u64,
    /// How long an environment of each kind trains.
    pub minute: Duration,
}

impl Effort {
    pub const EARNEST: Effort = Effort {
        n_runs: 5,
        n_peer_runs: 3,
        seconds: 4.0,
        frames: 0,
        minute: Duration::from_secs(60),
    };
    pub const TEST: Effort =
        Effort { n_runs: 1, n_peer_runs: 0, seconds: 0.0, frames: 3_000, minute: Duration::ZERO };
}

/// A loop of Python's on each core, with nobody on the other side: `plain`, or that of the engine's `worker`.
pub fn bare(which: &str, env: &str, n_envs: usize, args: &Args, effort: &Effort) -> Result<f64> {
    let arguments = serde_json::to_string(&config(env, n_envs, &args.python)?.env_args)?;
    printed(effort.n_runs, n_cores(), |_| {
        let mut command = Command::new(&args.python);
        command.args(["bench/environments/bare.py", which, env, &arguments]);
        command.args([n_envs.to_string(), effort.seconds.to_string()]);
        command
    })
}

/// A process of the engine's on each core, which steps its worker's environments with random actions.
pub fn stepping(env: &str, n_envs: usize, args: &Args, effort: &Effort) -> Result<f64> {
    ourselves("--step", env, n_envs, args, effort)
}

/// A collector of the engine's on each core, with the first policy.
pub fn collecting(env: &str, n_envs: usize, args: &Args, effort: &Effort) -> Result<f64> {
    ourselves("--collect", env, n_envs, args, effort)
}

fn ourselves(what: &str, env: &str, n_envs: usize, args: &Args, effort: &Effort) -> Result<f64> {
    let own = std::env::current_exe()?;
    printed(effort.n_runs, n_cores(), |actor| {
        let mut command = Command::new(&own);
        command.args([what, env, "--seconds", &effort.seconds.to_string()]);
        command.args(["--envs", &n_envs.to_string()]);
        command.arg("--actor").arg(actor.to_string()).arg("--python").arg(&args.python);
        command
    })
}

/// Median over the runs of what so many processes at once print together, each as its last line.
pub fn printed(
    n_runs: usize,
    n_processes: usize,
    command: impl Fn(usize) -> Command,
) -> Result<f64> {
    let once = || -> Result<f64> {
        let outputs = thread::scope(|scope| {
            let start = |n| {
                let mut command = command(n);
                scope.spawn(move || command.output())
            };
            let started: Vec<_> = (0..n_processes).map(start).collect();
            let ended = started.into_iter().map(|thread| thread.join().expect("it only waits"));
            ended.collect::<io::Result<Vec<Output>>>()
        });
        outputs?.iter().map(figure_of).sum()
    };
    let runs = (0..n_runs).map(|_| once()).collect::<Result<Vec<f64>>>()?;
    Ok(median(&runs))
}

fn figure_of(output: &Output) -> Result<f64> {
    let last = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        text.trim().lines().last().unwrap_or("it said nothing").to_owned()
    };
    if !output.status.success() {
        return Err(anyhow!("a process ended with {}: {}", output.status, last(&output.stderr)));
    }
    let said = last(&output.stdout);
    said.parse().with_context(|| format!("a process said {said}"))
}

fn config(env: &str, n_envs: usize, python: &Path) -> Result<Config> {
    let python = python.to_str().context("the path of the Python is no text")?;
    let mut config =
        Layers { env: Some(env), python: Some(python), ..Layers::default() }.resolve()?;
    config.actors.envs_per_actor = n_envs;
    Ok(config)
}

/// Prints steps a second of one process's environments with random actions.
pub fn step(env: &str, args: &Args) -> Result<()> {
    let config = config(env, args.envs, &args.python)?;
    let mut envs =
        config.registry().make_vec(&config.env, &config.env_args, args.envs, args.actor)?;
    let time_ns = (args.seconds * 1e9) as u64;
    let trial = Trial::of(&mut *envs, usize::MAX, time_ns.max(1))?;
    println!("{}", trial.n_steps as f64 / (trial.env_ns as f64 / 1e9));
    Ok(())
}

/// Prints steps a second of one collector with the first policy.
pub fn collect(env: &str, args: &Args) -> Result<()> {
    let config = config(env, args.envs, &args.python)?;
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
pub fn learning(env: &str, args: &Args, effort: &Effort) -> Result<Option<f64>> {
    let mut config = config(env, N_ENVS, &args.python)?;
    if config.check().is_err() {
        return Ok(None);
    }
    config.actors.count = n_cores();
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
    let frames = (once(20_000)? * 2.0 * effort.seconds) as u64;
    let runs = (0..effort.n_runs).map(|_| once(frames.max(20_000)));
    Ok(Some(median(&runs.collect::<Result<Vec<f64>>>()?)))
}
