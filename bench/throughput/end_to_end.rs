//! Whole training runs of the real binary, stopped by a signal after a fixed time.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;

use anyhow::{Context, Result, ensure};
use impala::telemetry::{MetricsRow, Summary};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::common::{impala, read_summary};
use super::{Effort, Row};

/// More frames than any run here consumes, in rows of a hundred thousand.
const SETTINGS: &str = "frames = 100_000_000_000\n[report]\nrows = 1_000_000\neval_episodes = 0\n";

/// Memory is sampled this often during the measured time.
const N_MEMORY_SAMPLES: u32 = 5;

/// What one run showed.
struct Run {
    frames_per_s: f64,
    cpu_s_per_m_frames: f64,
    pss_mb: Vec<f64>,
    summary: Summary,
}

/// The binary with the libtorch learner, if it was built.
pub fn torch_binary() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/torch/release/impala");
    path.exists().then_some(path)
}

/// Measures runs with one learner and appends their rows.
pub fn measure(learner: &'static str, effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    let runs = (0..effort.n_runs).map(|_| run(learner, effort)).collect::<Result<Vec<_>>>()?;
    let group = if learner == "native" { "end to end, native" } else { "end to end, torch" };
    let mut push = |name: &str, unit, of: &dyn Fn(&Run) -> f64| {
        rows.push(Row::new(group, name, unit, &runs.iter().map(of).collect::<Vec<f64>>()));
    };
    push("frames consumed by learning", "M frames/s", &|run| run.frames_per_s / 1e6);
    push("processor time", "CPU s / M frames", &|run| run.cpu_s_per_m_frames);
    push("memory of all processes (PSS), largest", "MB", &|run| {
        run.pss_mb.iter().copied().fold(0.0, f64::max)
    });
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

fn blocked_percent(run: &Run) -> f64 {
    let blocked_s: f64 = run.summary.actors.iter().map(|actor| actor.blocked_s).sum();
    100.0 * blocked_s / (run.summary.actors.len() as f64 * run.summary.train_s)
}

fn run(learner: &str, effort: Effort) -> Result<Run> {
    let folder = tempfile::tempdir()?;
    let (config, run_dir) = (folder.path().join("bench.toml"), folder.path().join("run"));
    std::fs::write(&config, SETTINGS)?;
    let mut command = match learner {
        "torch" => Command::new(torch_binary().context("the torch build is gone")?),
        _ => impala(),
    };
    let mut child = command
        .args(["train", "--learner", learner, "--config"])
        .arg(&config)
        .arg("--run-dir")
        .arg(&run_dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let (pss_mb, cpu_s) = watch(&child, effort);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
    let status = child.wait()?;
    ensure!(status.success(), "impala train --learner {learner}: {status}");
    let rows = read_rows(&run_dir, effort.warm_up.as_secs_f64())?;
    let (first, last) = (rows.first().context("no rows")?, rows.last().context("no rows")?);
    let m_frames = (last.frames - first.frames) as f64 / 1e6;
    let seconds = last.time_s - first.time_s;
    Ok(Run {
        frames_per_s: m_frames * 1e6 / seconds,
        cpu_s_per_m_frames: cpu_s / effort.measured.as_secs_f64() * seconds / m_frames,
        pss_mb,
        summary: read_summary(&run_dir)?,
    })
}

/// Sleeps through warm-up and measurement; returns samples of memory, MB, and the processor time of
/// the measurement, s.
fn watch(child: &Child, effort: Effort) -> (Vec<f64>, f64) {
    sleep(effort.warm_up);
    let cpu_before = cpu_s(&tree(child.id()));
    let mut pss_mb = Vec::new();
    for _ in 0..N_MEMORY_SAMPLES {
        sleep(effort.measured / N_MEMORY_SAMPLES);
        pss_mb.push(tree(child.id()).iter().map(|pid| process_pss_mb(*pid)).sum());
    }
    (pss_mb, cpu_s(&tree(child.id())) - cpu_before)
}

/// The rows of `metrics.csv` from `warm_up_s` on.
fn read_rows(run_dir: &Path, warm_up_s: f64) -> Result<Vec<MetricsRow>> {
    let mut reader = csv::Reader::from_path(run_dir.join("metrics.csv"))?;
    let rows = reader.deserialize().collect::<Result<Vec<MetricsRow>, _>>()?;
    Ok(rows.into_iter().filter(|row| row.time_s >= warm_up_s).collect())
}

/// A process and its children.
fn tree(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(pid).chain(children).collect()
}

fn process_pss_mb(pid: u32) -> f64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
    let kb = line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    kb / 1e3
}

/// Processor time of processes so far, s.
fn cpu_s(pids: &[u32]) -> f64 {
    /// Kernel ticks a second; fixed for user space on Linux.
    const TICKS_PER_S: f64 = 100.0;
    let ticks = |pid: &u32| -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the command's closing parenthesis: field 3 on; utime and stime are fields 14 and 15.
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        [11, 12].iter().filter_map(|k| fields.get(*k)?.parse::<f64>().ok()).sum()
    };
    pids.iter().map(ticks).sum::<f64>() / TICKS_PER_S
}
