//! What the benchmarks share: training runs of the real binary, and the machine they ran on.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use impala::meta::Meta;
use impala::telemetry::Summary;
use serde::Serialize;

/// The machine and the program that figures belong to.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// Commit the program was built from.
    pub commit: String,
    /// Processor model.
    pub cpu: String,
    /// Cores that may be used.
    pub n_cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// When the benchmark began, UTC.
    pub started: String,
    /// Load average over a minute, before.
    pub load_before: f64,
}

impl Setting {
    /// This machine, now.
    pub fn now() -> Self {
        let meta = Meta::collect();
        Setting {
            commit: meta.git_commit,
            cpu: meta.cpu_model,
            n_cores: meta.n_cores,
            kernel: meta.kernel,
            started: meta.started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            load_before: load_average(),
        }
    }

    /// One line for a table's foot.
    pub fn line(&self) -> String {
        let Setting { commit, cpu, n_cores, started, load_before, .. } = self;
        let commit = commit.get(..12).unwrap_or(commit);
        format!("{cpu}, {n_cores} cores, load before {load_before:.2}; commit {commit}; {started}")
    }
}

/// The load average over a minute; NaN where it cannot be read.
pub fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// The `impala` binary that cargo built beside this benchmark.
pub fn impala() -> Command {
    Command::new(env!("CARGO_BIN_EXE_impala"))
}

/// The summary of a finished run.
pub fn read_summary(run_dir: &Path) -> Result<Summary> {
    let path = run_dir.join("summary.json");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

/// Writes `<name>.json` and `<name>.md` into `folder`; returns their paths.
pub fn save<T: Serialize>(
    folder: &Path,
    name: &str,
    data: &T,
    table: &str,
) -> Result<[PathBuf; 2]> {
    std::fs::create_dir_all(folder)?;
    let (json, markdown) = (folder.join(format!("{name}.json")), folder.join(format!("{name}.md")));
    std::fs::write(&json, serde_json::to_string_pretty(data)? + "\n")?;
    std::fs::write(&markdown, table)?;
    Ok([json, markdown])
}
