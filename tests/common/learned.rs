//! What an environment's preset reaches in so many frames.

use std::process::Command;

use impala::telemetry::MetricsRow;

use crate::late_score::late_score;

/// Trains, and says the mean return of the training episodes that ended in the last 100k frames.
pub fn learned(env: &str, frames: u64, seed: u64) -> f64 {
    learned_with(env, frames, seed, &[])
}

/// The same with more flags.
pub fn learned_with(env: &str, frames: u64, seed: u64, flags: &[&str]) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let run_dir = folder.path().join("run");
    let output = Command::new(env!("CARGO_BIN_EXE_impala"))
        .args(["train", "--env", env, "--frames", &frames.to_string()])
        .args(["--seed", &seed.to_string()])
        .args(["--set", "report.eval_episodes=0", "--run-dir", run_dir.to_str().unwrap()])
        .args(flags)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut reader = csv::Reader::from_path(run_dir.join("metrics.csv")).unwrap();
    let rows: Vec<MetricsRow> = reader.deserialize().map(Result::unwrap).collect();
    late_score(&rows, 100_000).expect("episodes ended")
}
