//! What the benchmarks share: training runs of the real binary, and the machine they ran on.

mod setting;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use impala::telemetry::Summary;

pub use setting::*;

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
