//! The machine and the program that figures belong to, and the files they are written to.

use std::path::{Path, PathBuf};

use anyhow::Result;
use impala::kernels::Simd;
use impala::run::meta::Meta;
use serde::Serialize;

/// The machine and the program that figures belong to.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// Commit the program was built from.
    pub commit: String,
    /// Processor model.
    pub cpu: String,
    /// The kernels that ran; else those that `auto` takes here where bf16 is allowed.
    pub simd: String,
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
            simd: Simd::auto().name().to_owned(),
            n_cores: meta.n_cores,
            kernel: meta.kernel,
            started: meta.started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            load_before: load_average(),
        }
    }

    /// One line for a table's foot.
    pub fn line(&self) -> String {
        let Setting { commit, cpu, simd, n_cores, started, load_before, .. } = self;
        let commit = commit.get(..12).unwrap_or(commit);
        format!(
            "{cpu}, {n_cores} cores, kernels {simd}, load before {load_before:.2}; commit {commit}; \
             {started}"
        )
    }
}

/// The load average over a minute; NaN where it cannot be read.
pub fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
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
