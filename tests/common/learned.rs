//! What an environment's preset reaches in so many frames.

use std::process::Command;

use impala::telemetry::{MetricsRow, Summary};

use crate::late_score::late_score;

/// Trains, and says the mean return of the training episodes that ended in the last 100k frames.
pub fn learned(env: &str, frames: u64, seed: u64, more: &[&str]) -> f64 {
    let (rows, _) = trained(env, frames, seed, more);
    late_score(&rows, 100_000).expect("episodes ended")
}

/// Trains with these flags besides, and says all of it.
pub fn trained(env: &str, frames: u64, seed: u64, more: &[&str]) -> (Vec<MetricsRow>, Summary) {
    let folder = tempfile::tempdir().unwrap();
    let run_dir = folder.path().join("run");
    let output = Command::new(env!("CARGO_BIN_EXE_impala"))
        .args(["train", "--env", env, "--frames", &frames.to_string()])
        .args(["--seed", &seed.to_string()])
        .args(["--set", "report.eval_episodes=0", "--run-dir", run_dir.to_str().unwrap()])
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut reader = csv::Reader::from_path(run_dir.join("metrics.csv")).unwrap();
    let rows = reader.deserialize().map(Result::unwrap).collect();
    let summary = std::fs::read_to_string(run_dir.join("summary.json")).unwrap();
    (rows, serde_json::from_str(&summary).unwrap())
}
