//! Looking at a run from outside: its shared memory read-only, its files, and `/proc`.

use std::collections::BTreeMap;
use std::path::Path;

use impala::os::memory::pss_bytes;
use impala::revisit::live::{LiveRun, Snapshot};
use impala::telemetry::MetricsRow;

use super::common::load_average;
use super::cpu::cpu_s;
use super::descriptors::n_descriptors;
use super::sample::{Process, Sample};

/// Adds up processor time over processes that come and go, and knows how many came.
#[derive(Default)]
pub struct CpuMeter {
    seen_s: BTreeMap<u32, f64>,
    total_s: f64,
}

impl CpuMeter {
    /// Time of these processes since this meter saw each of them first, s. What a process has had between
    /// the last look and its death is lost.
    fn read(&mut self, pids: impl Iterator<Item = u32>) -> f64 {
        for pid in pids {
            let Some(now_s) = cpu_s(pid) else { continue };
            let before_s = self.seen_s.insert(pid, now_s).unwrap_or(now_s);
            self.total_s += now_s - before_s;
        }
        self.total_s
    }
}

/// Looks at a run; `None` while one of its processes is being replaced.
pub fn look(
    live: &LiveRun,
    run_dir: &Path,
    time_s: f64,
    yardstick: f64,
    meter: &mut CpuMeter,
) -> Option<Sample> {
    let snapshot = live.snapshot();
    let pids = pids(live, &snapshot);
    let cpu_s = meter.read(pids.iter().map(|(_, pid)| *pid));
    let process = |(name, pid): &(String, u32)| {
        let (pss_bytes, descriptors) = (pss_bytes(*pid)?, n_descriptors(*pid)?);
        Some(Process { name: name.clone(), pss_bytes, descriptors })
    };
    Some(Sample {
        time_s,
        frames: snapshot.learner.frames,
        cpu_s,
        yardstick,
        policy_lag: newest_lag(run_dir).unwrap_or(f64::NAN),
        restarts: (meter.seen_s.len() - pids.len()) as u64,
        load: load_average(),
        processes: pids.iter().map(process).collect::<Option<_>>()?,
    })
}

fn pids(live: &LiveRun, snapshot: &Snapshot) -> Vec<(String, u32)> {
    let actors = snapshot.actors.iter().enumerate();
    let actors = actors.map(|(k, signs)| (format!("actor{k}"), signs.pid as u32));
    [
        ("supervisor".to_owned(), live.supervisor_pid()),
        ("learner".into(), snapshot.learner.pid as u32),
    ]
    .into_iter()
    .chain(actors)
    .collect()
}

/// Policy lag of the last whole row of `metrics.csv`.
fn newest_lag(run_dir: &Path) -> Option<f64> {
    let mut reader = csv::Reader::from_path(run_dir.join("metrics.csv")).ok()?;
    let rows = reader.deserialize::<MetricsRow>().filter_map(Result::ok);
    Some(rows.last()?.policy_lag_mean)
}
