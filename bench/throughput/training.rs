//! One training run of the real binary, stopped by a signal after a fixed time.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use impala::config::{Config, Layers, ReportSettings};
use impala::telemetry::{MetricsRow, Summary};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::common::read_summary;
use super::processes::{Usage, tree, watch};
use super::sample::Sample;

/// How long a run may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one run showed.
pub struct Run {
    pub sample: Sample,
    pub pss_mb: Vec<f64>,
    pub summary: Summary,
}

/// An environment's settings for a run that a signal ends: the most rows that may be asked for, of
/// `row_frames` each, are more frames than any run consumes. No evaluation.
pub fn endless(env: &str, row_frames: u64) -> Config {
    const N_ROWS: u64 = 1_000_000;
    let report = ReportSettings { rows: N_ROWS, eval_episodes: 0, ..ReportSettings::default() };
    Config { frames: N_ROWS * row_frames, report, ..with_preset(env) }
}

/// The settings that an environment's preset makes.
pub fn with_preset(env: &str) -> Config {
    let layers = Layers { env: Some(env), ..Layers::default() };
    layers.resolve().expect("presets are configurations, as their test says")
}

/// Trains with `binary`, lets it warm up, and measures.
pub fn run(
    mut binary: Command,
    config: &Config,
    warm_up: Duration,
    measured: Duration,
) -> Result<Run> {
    let folder = tempfile::tempdir()?;
    let (settings, run_dir) = (folder.path().join("bench.toml"), folder.path().join("run"));
    std::fs::write(&settings, config.to_toml())?;
    let complaints = folder.path().join("stderr");
    let mut child = binary
        .args(["train", "--config"])
        .arg(&settings)
        .arg("--run-dir")
        .arg(&run_dir)
        .stdout(Stdio::null())
        .stderr(File::create(&complaints)?)
        .spawn()?;
    await_start(&mut child, &run_dir)?;
    sleep(warm_up);
    let usage = watch(|| tree(child.id()), measured);
    stop(&mut child).with_context(|| {
        let complaints = std::fs::read_to_string(&complaints).unwrap_or_default();
        format!("impala train: {}; settings:\n{}", complaints.trim(), config.to_toml())
    })?;
    let summary = read_summary(&run_dir)?;
    let speed = frames_per_s(&read_rows(&run_dir, warm_up.as_secs_f64())?);
    Ok(Run { sample: sample(speed, &usage, &summary, measured), pss_mb: usage.pss_mb, summary })
}

/// Waits until the run can be found, or has ended: a signal before then would kill it, and with libtorch
/// the binary alone takes a while to load.
fn await_start(child: &mut Child, run_dir: &Path) -> Result<()> {
    let (note, start) = (run_dir.join("live.json"), Instant::now());
    while !note.exists() && child.try_wait()?.is_none() {
        ensure!(start.elapsed() < PATIENCE, "impala train has not begun for {PATIENCE:?}");
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn stop(child: &mut Child) -> Result<()> {
    // Not SIGINT, which a job that a script starts with `&` ignores, and its children with it.
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM)?;
    let status = child.wait()?;
    // A run that was stopped in order ends by the signal that asked for it.
    ensure!(status.signal() == Some(Signal::SIGTERM as i32), "it ended with {status}");
    Ok(())
}

fn sample(frames_per_s: f64, usage: &Usage, summary: &Summary, measured: Duration) -> Sample {
    Sample {
        m_frames_per_s: frames_per_s / 1e6,
        cpu_s_per_m_frames: usage.cpu_s / measured.as_secs_f64() / (frames_per_s / 1e6),
        pss_mb: usage.largest_pss_mb(),
        policy_lag: summary.mean_policy_lag(),
        disturbance: usage.disturbance,
    }
}

/// The rows of `metrics.csv` from `warm_up_s` on.
fn read_rows(run_dir: &Path, warm_up_s: f64) -> Result<Vec<MetricsRow>> {
    let mut reader = csv::Reader::from_path(run_dir.join("metrics.csv"))?;
    let rows = reader.deserialize().collect::<Result<Vec<MetricsRow>, _>>()?;
    Ok(rows.into_iter().filter(|row| row.time_s >= warm_up_s).collect())
}

/// From the first row to the last; NaN of fewer than two, which only a test is short enough for.
fn frames_per_s(rows: &[MetricsRow]) -> f64 {
    match rows {
        [first, .., last] => (last.frames - first.frames) as f64 / (last.time_s - first.time_s),
        _ => f64::NAN,
    }
}
