//! How soon the command is there: its help, and the first frame of a run.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use impala::config::{Config, ReportSettings};

use super::Effort;
use super::common::{impala, read_summary};
use super::disturbance::Disturbance;
use super::processor_time::processor_time;
use super::row::Row;

/// What one start of each is planned to take.
const ONE: Duration = Duration::from_millis(60);

/// All starts together.
pub fn planned(effort: Effort) -> Duration {
    ONE * effort.n_runs as u32
}

/// Appends the rows.
pub fn measure(effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    let before = processor_time();
    let (mut help_ms, mut frame_ms) = (Vec::new(), Vec::new());
    for _ in 0..effort.n_runs {
        help_ms.push(to_help()? * 1e3);
        frame_ms.push(to_first_frame()? * 1e3);
    }
    // The processor time of processes that have ended is not known, so it counts as others'.
    let disturbance = Disturbance::since(before, 0.0);
    let group = "start of the process";
    rows.push(Row::new(group, "impala train --help, until its end", "ms", help_ms, disturbance));
    let name = "impala train, until the first rollout begins";
    rows.push(Row::new(group, name, "ms", frame_ms, disturbance));
    Ok(())
}

fn to_help() -> Result<f64> {
    let start = Instant::now();
    run(impala().args(["train", "--help"]))?;
    Ok(start.elapsed().as_secs_f64())
}

/// As the run itself says: from its process's start.
fn to_first_frame() -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let (settings, run_dir) = (folder.path().join("bench.toml"), folder.path().join("run"));
    let report = ReportSettings { rows: 1, eval_episodes: 0, ..ReportSettings::default() };
    let mut config = Config { report, ..Config::default() };
    // One batch, and its end.
    config.frames = (config.actors.envs_per_actor * config.actors.unroll_length) as u64;
    std::fs::write(&settings, config.to_toml())?;
    run(impala().args(["train", "--config"]).arg(&settings).arg("--run-dir").arg(&run_dir))?;
    Ok(read_summary(&run_dir)?.startup_s)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = status.with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
