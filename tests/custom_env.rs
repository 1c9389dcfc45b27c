//! The example `examples/custom_env.rs`, built and run as its users do: it has to learn.

use std::path::Path;
use std::process::Command;

use impala::telemetry::{Exit, Summary};

#[test]
fn the_example_learns_its_own_environment_with_four_actors() {
    let folder = tempfile::tempdir().unwrap();
    let run_dir = folder.path().join("run");
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", "custom_env", "--", "300000"])
        .arg(&run_dir)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = std::fs::read_to_string(run_dir.join("summary.json")).unwrap();
    let summary: Summary = serde_json::from_str(&summary).unwrap();
    assert_eq!((&*summary.env, summary.exit), ("Lamp-v0", Exit::Finished));
    assert_eq!(summary.actors.len(), 4);
    assert!(summary.actors.iter().all(|actor| actor.frames > 0), "{:?}", summary.actors);
    let (score, goal) = (summary.score_last100.unwrap(), summary.score_threshold.unwrap());
    assert!(score >= goal, "a mean return of {score} at the end, expected {goal}");
    assert!(summary.eval.unwrap().mean >= goal, "the greedy policy is as good");
}
