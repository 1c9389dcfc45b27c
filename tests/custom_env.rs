//! The example `examples/custom_env.rs`, built and run as its users do: it has the whole command, and it learns.

use std::path::Path;
use std::process::{Command, Output};

use impala::telemetry::{Exit, Summary};
use tempfile::TempDir;

/// Runs a subcommand of the example in `folder`.
fn example(folder: &Path, args: &[&str]) -> Output {
    let example = Path::new(env!("CARGO_BIN_EXE_impala")).with_file_name("examples/custom_env");
    Command::new(example).current_dir(folder).args(args).output().unwrap()
}

fn build() {
    let mut cargo = Command::new(env!("CARGO"));
    let built = cargo
        .args(["build", "--quiet", "--example", "custom_env"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .status();
    assert!(built.unwrap().success());
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

fn succeeds(folder: &TempDir, args: &[&str]) -> String {
    let output = example(folder.path(), args);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    said(&output)
}

fn refused(folder: &TempDir, args: &[&str]) -> String {
    let output = example(folder.path(), args);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
    said(&output)
}

#[test]
fn a_program_with_an_environment_of_its_own_has_the_whole_command() {
    build();
    let folder = TempDir::new().unwrap();
    let train =
        ["train", "--env", "Lamp-v0", "--frames", "400000", "--run-dir", "run", "--log-slots"];
    let entropy = ["--set", "loss.entropy_cost.start=0.01", "--env-arg", "far=true"];
    succeeds(&folder, &[&train[..], &entropy].concat());
    let summary = std::fs::read_to_string(folder.path().join("run/summary.json")).unwrap();
    let summary: Summary = serde_json::from_str(&summary).unwrap();
    assert_eq!((&*summary.env, summary.exit), ("Lamp-v0", Exit::Finished));
    assert!(summary.actors.iter().all(|actor| actor.frames > 0), "{:?}", summary.actors);
    let (score, goal) = (summary.score_last100.unwrap(), summary.score_threshold.unwrap());
    assert!(score >= goal, "a mean return of {score} at the end, expected {goal}");

    let evaluated = succeeds(&folder, &["eval", "run", "--episodes", "20", "--gif", "lamp.gif"]);
    assert!(evaluated.contains("Lamp-v0: 20 greedy episodes"), "{evaluated}");
    assert!(folder.path().join("lamp.gif").is_file());
    let replayed = succeeds(&folder, &["replay", "run"]);
    assert!(replayed.contains("equal the run's, bit for bit"), "{replayed}");
    let resumed = ["train", "--resume", "run", "--frames", "450000", "--run-dir", "more"];
    succeeds(&folder, &resumed);
    let config = std::fs::read_to_string(folder.path().join("more/config.toml")).unwrap();
    assert!(config.contains("env_args = { far = true }"), "arguments go on too: {config}");
    assert!(succeeds(&folder, &["inspect", "more"]).contains("Lamp-v0"));
    let help = succeeds(&folder, &["train", "--help"]);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        help.contains("environment: CartPole-v1, ") && help.contains(", Lamp-v0; gym:ID"),
        "{help}"
    );
}

#[test]
fn arguments_that_an_environment_does_not_take_are_refused_before_anything_starts() {
    build();
    let folder = TempDir::new().unwrap();
    let train =
        |args: &[&str]| refused(&folder, &[&["train", "--env", "Lamp-v0"][..], args].concat());
    let unknown = train(&["--env-arg", "fra=true"]);
    assert!(unknown.contains("`fra`") && unknown.contains("`far`"), "{unknown}");
    assert!(train(&["--env-arg", "far=away"]).contains("invalid type"));
    assert!(train(&["--set", "env_args.far=1"]).contains("invalid type"));
    assert!(train(&["--env-arg", "far"]).contains("--env-arg far"));
    let threshold = refused(&folder, &["train", "--env-arg", "size=9"]);
    assert!(threshold.contains("CartPole-v1 cannot be made with these arguments"), "{threshold}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was started");
}
