//! Whole training runs of the real binary, with what its files say about them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use impala::config::{Config, LearnerKind};

use super::Effort;
use super::common::impala;
use super::disturbance::Disturbance;
use super::row::Row;
use super::training::{Run, endless, run};

/// Environment steps between rows of a run's metrics.
const ROW_FRAMES: u64 = 100_000;

/// The binary with the libtorch learner, if it was built.
pub fn torch_binary() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/torch/release/impala");
    path.exists().then_some(path)
}

/// Measures runs with one learner and appends their rows.
pub fn measure(learner: &'static str, effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    let runs = (0..effort.n_runs).map(|_| train(learner, effort)).collect::<Result<Vec<_>>>()?;
    let disturbance = Disturbance::worst(runs.iter().map(|run| run.sample.disturbance));
    let group = if learner == "native" { "end to end, native" } else { "end to end, torch" };
    let mut push = |name: &str, unit, of: &dyn Fn(&Run) -> f64| {
        rows.push(Row::new(group, name, unit, runs.iter().map(of), disturbance));
    };
    push("frames consumed by learning", "M frames/s", &|run| run.sample.m_frames_per_s);
    push("processor time", "CPU s / M frames", &|run| run.sample.cpu_s_per_m_frames);
    push("memory of all processes (PSS), largest", "MB", &|run| run.sample.pss_mb);
    push("memory growth, first to last sample", "MB", &|run| {
        run.pss_mb.last().unwrap_or(&0.0) - run.pss_mb.first().unwrap_or(&0.0)
    });
    push("policy lag, mean", "updates", &|run| run.summary.policy_lag.mean);
    push("policy lag, largest", "updates", &|run| run.summary.policy_lag.max as f64);
    push("learner waiting for slots", "% of its time", &|run| {
        100.0 * run.summary.learner_wait_s / run.summary.train_s
    });
    push("actors blocked on full rings", "% of their time", &blocked_percent);
    push("an actor collecting during updates", "% of update time", &|run| {
        100.0 * run.summary.collected_during_updates
    });
    for stage in runs[0].summary.latency_us.keys() {
        for (name, of) in [("p50", 0), ("p99", 1)] {
            push(&format!("{stage}, {name}"), "µs", &|run| {
                let latency = run.summary.latency_us[stage];
                [latency.p50, latency.p99][of]
            });
        }
    }
    Ok(())
}

/// One long native run: whether memory grows.
pub fn measure_memory(effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    let long = train("native", Effort { measured: effort.memory, ..effort })?;
    let (first, last) = (long.pss_mb.first().unwrap_or(&0.0), long.pss_mb.last().unwrap_or(&0.0));
    let group = "memory over one long run, native (PSS)";
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

fn train(learner: &str, effort: Effort) -> Result<Run> {
    let (binary, kind) = match learner {
        "torch" => {
            (Command::new(torch_binary().context("the torch build is gone")?), LearnerKind::Torch)
        }
        _ => (impala(), LearnerKind::Native),
    };
    let config = Config { learner: kind, ..endless(ROW_FRAMES) };
    run(binary, &config, effort.warm_up, effort.measured)
}
