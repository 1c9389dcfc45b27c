//! `docs/metrics.md` names every value that a run writes, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use impala::base::stages::Stage;
use impala::config::Config;
use impala::run::dir::RunDir;
use impala::telemetry::LiveNote;
use serde_json::Value;
use tempfile::TempDir;

mod synthetic_run;
#[path = "synthetic_run/task_rows.rs"]
mod synthetic_task_rows;
#[path = "synthetic_run/tasks.rs"]
mod synthetic_tasks;
#[path = "common/untrained.rs"]
mod untrained;

const DOC: &str = include_str!("../docs/metrics.md");

/// Names in the first column of the table below the heading of this file.
fn documented(file: &str) -> BTreeSet<String> {
    let heading = format!("## {file}");
    let section = DOC.split("\n## ").find(|part| part.starts_with(&heading[3..]));
    let rows =
        section.unwrap_or_else(|| panic!("docs/metrics.md has no section {heading:?}")).lines();
    let names: Vec<String> = rows
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    let unique: BTreeSet<String> = names.iter().cloned().collect();
    assert_eq!(unique.len(), names.len(), "{heading} names a value twice");
    unique
}

/// Dotted names of all values in an object; a stage's tag or an actor's number is `*`.
fn collect_names(value: &Value, prefix: &str, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                let key = if Stage::from_tag(key).is_some() { "*" } else { key };
                let dot = if prefix.is_empty() { "" } else { "." };
                collect_names(field, &format!("{prefix}{dot}{key}"), names);
            }
        }
        Value::Array(entries) if entries.iter().all(Value::is_object) => {
            entries.iter().for_each(|entry| collect_names(entry, &format!("{prefix}.*"), names));
        }
        _ => drop(names.insert(prefix.to_owned())),
    }
}

/// A run with everything that can be measured.
fn full_run() -> (TempDir, RunDir) {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 10, |_| ());
    synthetic_tasks::add_tasks(&run, 10);
    (root, run)
}

fn names_in(json: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    collect_names(&value, "", &mut names);
    names
}

#[test]
fn metrics_csv() {
    let (_root, run) = full_run();
    let text = fs::read_to_string(run.metrics()).unwrap();
    let header = text.lines().next().unwrap().split(',').map(str::to_owned).collect();
    assert_eq!(documented("metrics.csv"), header);
}

#[test]
fn processes_csv() {
    let (_root, run) = full_run();
    let text = fs::read_to_string(run.processes()).unwrap();
    let header = text.lines().next().unwrap().split(',').map(str::to_owned).collect();
    assert_eq!(documented("processes.csv"), header);
}

#[test]
fn tasks_csv() {
    let (_root, run) = full_run();
    let text = fs::read_to_string(run.tasks()).unwrap();
    let header = text.lines().next().unwrap().split(',').map(str::to_owned).collect();
    assert_eq!(documented("tasks.csv"), header);
}

#[test]
fn slots_csv() {
    let (_root, run) = full_run();
    let text = fs::read_to_string(run.slots()).unwrap();
    let header = text.lines().next().unwrap().split(',').map(str::to_owned).collect();
    assert_eq!(documented("slots.csv"), header);
}

#[test]
fn evaluations_csv() {
    let (_root, run) = full_run();
    let text = fs::read_to_string(run.evaluations()).unwrap();
    let header = text.lines().next().unwrap().split(',').map(str::to_owned).collect();
    assert_eq!(documented("evaluations.csv"), header);
}

#[test]
fn summary_json() {
    let (_root, run) = full_run();
    assert_eq!(documented("summary.json"), names_in(&run.summary()));
}

#[test]
fn latency_hlog() {
    let (_root, run) = full_run();
    let text = fs::read_to_string(run.latency()).unwrap();
    let tags = text.lines().filter_map(|line| line.strip_prefix("Tag=")?.split_once(','));
    assert_eq!(documented("latency.hlog"), tags.map(|(tag, _)| tag.to_owned()).collect());
}

#[test]
fn meta_json() {
    let (_root, run) = full_run();
    assert_eq!(documented("meta.json"), names_in(&run.meta()));
}

#[test]
fn live_json() {
    let note = LiveNote {
        pid: 1,
        start_ticks: 2,
        descriptor: 3,
        inode: 4,
        spec: Config::default().spec().unwrap(),
        learner_threads: 7,
        batch_threads: 2,
    };
    let mut names = BTreeSet::new();
    collect_names(&serde_json::to_value(note).unwrap(), "", &mut names);
    assert_eq!(documented("live.json"), names);
}

#[test]
fn impala_runs_json() {
    let (root, run) = full_run();
    // A list without an entry would have no name.
    fs::remove_file(run.latency()).unwrap();
    let config = fs::read_to_string(run.config()).unwrap();
    fs::write(run.config(), format!("tags = [\"first\"]\n{config}")).unwrap();
    let other = synthetic_run::write(&root.path().join("other"), 10, |_| ());
    fs::write(other.config(), config.replace("seed = 7", "frames = 7")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_impala"));
    let output = command.args(["runs", "--json"]).arg(root.path()).output().unwrap();
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut names = BTreeSet::new();
    listed.as_array().unwrap().iter().for_each(|run| collect_names(run, "", &mut names));
    assert_eq!(documented("impala runs --json"), names);
}

#[test]
fn impala_eval_json() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("policy.safetensors");
    untrained::checkpoint("CartPole-v1", 0).save(&file).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_impala"));
    let output = command.args(["eval", "--json"]).arg(file).output().unwrap();
    let mut names = BTreeSet::new();
    collect_names(&serde_json::from_slice(&output.stdout).unwrap(), "", &mut names);
    assert_eq!(documented("impala eval --json"), names);
}
