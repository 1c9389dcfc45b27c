//! Whole training runs of the real binary, with what its files say about them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use impala::config::{Config, LearnerKind};

use super::Effort;
use super::ceiling::Ceiling;
use super::common::impala;
use super::disturbance::Disturbance;
use super::progress::Progress;
use super::row::Row;
use super::training::{Run, endless, run};

/// Environment steps between rows of a run's metrics.
const ROW_FRAMES: u64 = 100_000;

/// What is trained, and the heading of its rows.
struct Whole {
    group: &'static str,
    config: Config,
}

/// The binary with the libtorch learner, if it was built.
pub fn torch_binary() -> Option<PathBuf> {
    // Beside the folder that this build's binary is in, wherever cargo builds.
    let build = Path::new(env!("CARGO_BIN_EXE_impala")).ancestors().nth(2)?;
    let path = build.join("torch/release/impala");
    path.exists().then_some(path)
}

/// Training settings are the presets', beside them one learner thread; then what is fastest, whether it
/// learns well or not.
fn wholes() -> Vec<Whole> {
    let whole = |group, env, change: fn(&mut Config)| {
        let mut config = endless(env, ROW_FRAMES);
        change(&mut config);
        Whole { group, config }
    };
    let (cartpole, breakout) = ("CartPole-v1", "MinAtar/Breakout-v1");
    let mut wholes = vec![
        whole("end to end, native", cartpole, |_| {}),
        whole("end to end, native, 1 learner thread", cartpole, |config| {
            config.learner_threads = 1
        }),
        // Each process works long on what its core's caches hold before another one comes.
        whole("engine speed: 32 slots a batch", cartpole, |config| {
            config.loss.batch_slots = 32;
            config.actors.slots_per_actor = 32;
        }),
        whole("MinAtar Breakout end to end, native", breakout, finer_rows),
        whole("MinAtar Breakout end to end, native, 1 thread a batch", breakout, |config| {
            finer_rows(config);
            config.batch_threads = 1;
        }),
    ];
    if torch_binary().is_some() {
        wholes.push(whole("end to end, torch", cartpole, |config| {
            config.learner = LearnerKind::Torch
        }));
        wholes.push(whole("MinAtar Breakout end to end, torch", breakout, |config| {
            finer_rows(config);
            config.learner = LearnerKind::Torch;
        }));
    }
    wholes
}

/// Rows of a task that is learned from at a fiftieth of the speed.
fn finer_rows(config: &mut Config) {
    config.frames /= 50;
}

/// All runs together.
pub fn planned(effort: Effort) -> Duration {
    one(effort) * (effort.n_runs * wholes().len()) as u32
}

/// The one run that shows whether memory grows.
pub fn planned_memory(effort: Effort) -> Duration {
    effort.warm_up + effort.memory
}

fn one(effort: Effort) -> Duration {
    effort.warm_up + effort.measured
}

/// Measures all in turn, round after round, and appends their rows.
pub fn measure(effort: Effort, progress: &mut Progress, rows: &mut Vec<Row>) -> Result<()> {
    let wholes = wholes();
    let mut runs: Vec<Vec<Run>> = wholes.iter().map(|_| Vec::new()).collect();
    for _ in 0..effort.n_runs {
        for (whole, runs) in wholes.iter().zip(&mut runs) {
            progress.begin(whole.group, one(effort));
            runs.push(whole.train(effort)?);
        }
    }
    for (whole, runs) in wholes.iter().zip(&runs) {
        let ceiling = Ceiling::measure(&whole.config, effort)?.whole();
        append(whole.group, ceiling, runs, rows);
    }
    Ok(())
}

fn append(group: &'static str, ceiling: f64, runs: &[Run], rows: &mut Vec<Row>) {
    let disturbance = Disturbance::worst(runs.iter().map(|run| run.sample.disturbance));
    let row = |name: &str, unit, of: &dyn Fn(&Run) -> f64| {
        Row::new(group, name, unit, runs.iter().map(of), disturbance)
    };
    let speed = row("frames consumed by learning", "M frames/s", &|run| run.sample.m_frames_per_s);
    rows.push(speed.below(ceiling));
    let mut push = |name: &str, unit, of: &dyn Fn(&Run) -> f64| rows.push(row(name, unit, of));
    push("processor time", "CPU s / M frames", &|run| run.sample.cpu_s_per_m_frames);
    push("memory of all processes (PSS), largest", "MB", &|run| run.sample.pss_mb);
    push("memory growth, first to last sample", "MB", &|run| {
        run.pss_mb.last().unwrap_or(&0.0) - run.pss_mb.first().unwrap_or(&0.0)
    });
    push("policy lag, mean", "updates", &|run| run.summary.mean_policy_lag());
    push("policy lag, largest", "updates", &|run| {
        run.summary.policy_lag.map_or(f64::NAN, |lag| lag.max as f64)
    });
    push("learner waiting for slots", "% of its time", &|run| {
        let threads_s = run.summary.learner_threads as f64 * run.summary.train_s;
        100.0 * run.summary.learner_wait_s / threads_s
    });
    push("actors blocked on full rings", "% of their time", &blocked_percent);
    push("an actor collecting during updates", "% of update time", &|run| {
        100.0 * run.summary.collected_during_updates
    });
    for stage in runs[0].summary.latency_us.keys() {
        for (name, of) in [("mean", 0), ("p50", 1), ("p99", 2)] {
            push(&format!("{stage}, {name}"), "µs", &|run| {
                let latency = run.summary.latency_us[stage];
                [latency.mean, latency.p50, latency.p99][of]
            });
        }
    }
}

/// One long native run: whether memory grows.
pub fn measure_memory(effort: Effort, progress: &mut Progress, rows: &mut Vec<Row>) -> Result<()> {
    let group = "memory over one long run, native (PSS)";
    progress.begin(group, planned_memory(effort));
    let whole = Whole { group, config: endless("CartPole-v1", ROW_FRAMES) };
    let long = whole.train(Effort { measured: effort.memory, ..effort })?;
    let (first, last) = (long.pss_mb.first().unwrap_or(&0.0), long.pss_mb.last().unwrap_or(&0.0));
    let mut push = |name: String, unit, value: f64| {
        rows.push(Row::new(group, name, unit, [value], long.sample.disturbance));
    };
    push("length of the run".into(), "s", effort.memory.as_secs_f64());
    push("first sample".into(), "MB", *first);
    push("last sample".into(), "MB", *last);
    Ok(())
}

fn blocked_percent(run: &Run) -> f64 {
    let blocked_s: f64 = run.summary.actors.iter().map(|actor| actor.blocked_s).sum();
    100.0 * blocked_s / (run.summary.actors.len() as f64 * run.summary.train_s)
}

impl Whole {
    fn train(&self, effort: Effort) -> Result<Run> {
        let torch = torch_binary().filter(|_| self.config.learner == LearnerKind::Torch);
        let binary = torch.map_or_else(impala, Command::new);
        run(binary, &self.config, effort.warm_up, effort.measured)
    }
}
