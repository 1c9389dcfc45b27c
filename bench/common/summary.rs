//! What a finished run says of itself.

use std::path::Path;

use anyhow::{Context, Result};
use impala::telemetry::Summary;

/// The summary of a finished run.
pub fn read_summary(run_dir: &Path) -> Result<Summary> {
    let path = run_dir.join("summary.json");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}
