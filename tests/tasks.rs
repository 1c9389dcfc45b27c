//! Several tasks in one run: actors, scores, statistics, evaluation, going on. Each test starts the real binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use impala::base::units::percent;
use impala::network::params::ParamLayout;
use impala::state::checkpoint::Checkpoint;
use impala::telemetry::{MetricsRow, Summary, TaskRow};
use serde_json::Value;
use tempfile::TempDir;

const GAMES: &str = "MinAtar/Breakout-v0,MinAtar/SpaceInvaders-v0";

/// Fifty batches of each task.
const FRAMES: &str = "64000";

fn impala(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_impala")).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// Trains into `name` below the folder; `args` come on top.
fn train(folder: &TempDir, name: &str, args: &[&str]) -> PathBuf {
    let path = folder.path().join(name);
    let common = ["train", "--set", "report.eval_episodes=3", "--set", "report.eval_max_steps=500"];
    let output = impala(&[&common[..], &["--run-dir", path.to_str().unwrap()], args].concat());
    assert!(output.status.success(), "{}", said(&output));
    path
}

fn checkpoint(run: &Path) -> Checkpoint {
    Checkpoint::load(&run.join("checkpoint.safetensors")).unwrap()
}

/// Mean and second moment of each task.
fn statistics(checkpoint: &Checkpoint) -> Vec<f32> {
    checkpoint.state.params[ParamLayout::new(&checkpoint.network).value_statistics()].to_vec()
}

fn summary(run: &Path) -> Summary {
    serde_json::from_str(&std::fs::read_to_string(run.join("summary.json")).unwrap()).unwrap()
}

fn task_rows(run: &Path) -> Vec<TaskRow> {
    let mut table = csv::Reader::from_path(run.join("tasks.csv")).unwrap();
    table.deserialize().map(Result::unwrap).collect()
}

fn metrics(run: &Path) -> Vec<MetricsRow> {
    let mut table = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
    table.deserialize().map(Result::unwrap).collect()
}

/// The event file, whose tags are readable in it.
fn events(run: &Path) -> String {
    let is_events = |path: &PathBuf| path.to_string_lossy().contains("events.out.tfevents");
    let mut files = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let bytes = std::fs::read(files.find(is_events).unwrap()).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn each_task_has_its_actors_scores_statistics_and_evaluation() {
    let folder = TempDir::new().unwrap();
    let run = train(&folder, "run", &["--env", GAMES, "--frames", FRAMES]);
    let summary = summary(&run);
    let ids: Vec<&str> = summary.tasks.iter().map(|task| &*task.task).collect();
    assert_eq!(ids, GAMES.split(',').collect::<Vec<_>>());
    let frames: Vec<u64> = summary.tasks.iter().map(|task| task.frames).collect();
    assert_eq!(frames.iter().sum::<u64>(), summary.frames);
    assert!(frames.iter().all(|frames| *frames > summary.frames / 4), "{frames:?}");
    for task in &summary.tasks {
        assert!(task.episodes > 10 && task.score_last100.is_some(), "{task:?}");
        assert_eq!(task.eval.unwrap().episodes, 3);
    }
    let of_tasks: Vec<f64> =
        summary.tasks.iter().map(|task| task.normalized_score.unwrap()).collect();
    let mean = of_tasks.iter().sum::<f64>() / 2.0;
    assert!((summary.normalized_score.unwrap() - mean).abs() < 1e-12);
    assert!(summary.eval.is_none(), "a score of both together would mean nothing");
    assert!(summary.score_last100.is_none(), "and so would one of their training episodes");

    let rows = task_rows(&run);
    for (id, n_frames) in ids.iter().zip(frames) {
        let own: Vec<&TaskRow> = rows.iter().filter(|row| row.task == *id).collect();
        assert_eq!(own.iter().map(|row| row.task_frames).sum::<u64>(), n_frames);
        assert!(own.last().unwrap().value_std.unwrap() > 0.0);
    }
    let last = metrics(&run).pop().unwrap();
    assert_eq!(last.normalized_score, summary.normalized_score);
    assert!(last.episodes > 20 && last.score_last100.is_none() && last.score_mean.is_none());
    let events = events(&run);
    for tag in ids.iter().map(|id| format!("tasks/{id}/ep_rew_mean")) {
        assert!(events.contains(&tag), "TensorBoard is told nothing of {tag}");
    }

    let checkpoint = checkpoint(&run);
    let statistics = statistics(&checkpoint);
    assert_eq!((checkpoint.network.n_values, statistics.len()), (2, 4));
    assert!(statistics[0] != statistics[1] && statistics[..2].iter().all(|mean| *mean != 0.0));
    let score = percent(summary.normalized_score.unwrap());
    for (look, at) in [("runs", folder.path()), ("inspect", &run)] {
        let told = said(&impala(&[look, at.to_str().unwrap()]));
        assert!(told.contains(&score), "{look} says nothing of {score}: {told}");
    }
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("How did each task do?") && page.contains("of a run on it alone"));
}

#[test]
fn a_policy_of_several_tasks_plays_all_or_the_one_that_is_asked_for() {
    let folder = TempDir::new().unwrap();
    let run = train(&folder, "run", &["--env", GAMES, "--frames", "6400"]);
    let eval = |args: &[&str]| {
        let common = ["eval", run.to_str().unwrap(), "--episodes", "5", "--max-steps", "300"];
        impala(&[&common[..], args].concat())
    };
    let json = |args: &[&str]| -> Value {
        let output = eval(&[&["--json"], args].concat());
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let all = json(&[]);
    let second = json(&["--task", "MinAtar/SpaceInvaders-v0"]);
    assert_eq!((all[0]["env"].as_str(), &all[1]), (Some("MinAtar/Breakout-v0"), &second));
    let picture = folder.path().join("a.gif");
    let gif = ["--gif", picture.to_str().unwrap()];
    let output = eval(&gif);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("name it with --task"), "{}", said(&output));
    let output = eval(&[&gif[..], &["--task", "MinAtar/Breakout-v0"]].concat());
    assert!(output.status.success() && picture.is_file(), "{}", said(&output));
    let output = eval(&["--task", "MinAtar/Breakot-v0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("did you mean \"MinAtar/Breakout-v0\"?"), "{}", said(&output));
}

#[test]
fn statistics_go_on_where_a_run_stopped() {
    let folder = TempDir::new().unwrap();
    let first = train(&folder, "first", &["--env", GAMES, "--frames", "32000"]);
    // A batch or two of each task more.
    let resume = ["--resume", first.to_str().unwrap(), "--frames", "34560"];
    let second = train(&folder, "second", &resume);
    let (before, after) = (statistics(&checkpoint(&first)), statistics(&checkpoint(&second)));
    // Nearer to where they were than that is to where they began.
    let moved =
        |k: usize| (after[k] - before[k]).abs() < (before[k] - [0.0, 0.0, 1.0, 1.0][k]).abs();
    assert!((0..4).all(moved), "{before:?} {after:?}");
    assert_eq!(task_rows(&second)[..2], task_rows(&first)[..2], "the earlier part's rows");
    for (setting, field) in
        [("loss.popart=0", "loss.popart"), ("env=MinAtar/Breakout-v0,MinAtar/Asterix-v0", "env")]
    {
        let third = folder.path().join("third");
        let flags = ["--set", setting, "--run-dir", third.to_str().unwrap()];
        let output = impala(&[&["train"], &resume[..], &flags].concat());
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(&format!("{field} = ")), "{}", said(&output));
    }
}

#[test]
fn the_same_is_learned_again_to_the_last_bit() {
    let folder = TempDir::new().unwrap();
    let flags = ["--env", GAMES, "--frames", "25600", "--seed", "7", "--log-slots"];
    let deterministic = [&flags[..], &["--deterministic"]].concat();
    let [one, other] = ["one", "other"].map(|name| train(&folder, name, &deterministic));
    assert_eq!(checkpoint(&one).state.params, checkpoint(&other).state.params);
    let free = train(&folder, "free", &flags);
    for run in [one, free] {
        let output = impala(&["replay", run.to_str().unwrap()]);
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn what_several_tasks_cannot_be_is_refused_by_name() {
    for (args, parts) in [
        (&["--env", "MinAtar/Breakout-v1,MinAtar/Asterix-v1"][..], ["Discrete(3)", "-v0"]),
        (&["--env", GAMES, "--actors", "3"], ["actors.count", "2 or 4"]),
        (&["--env", GAMES, "--set", "eval.interval_s=1"], ["eval.interval_s", "must be 0"]),
        (
            &["--env", GAMES, "--set", "loss.task_reward_scales=[1.0]"],
            ["loss.task_reward_scales", "2 numbers"],
        ),
        (
            &["--set", "loss.task_reward_scales=[1.0]"],
            ["loss.task_reward_scales", "loss.reward_scale"],
        ),
        (
            &["--env", GAMES, "--set", "loss.task_reward_scales=[1.0, 0.0]"],
            ["loss.task_reward_scales", "1e-9"],
        ),
        (&["--env", GAMES, "--stop-when-solved"], ["stop_when_solved", "must be false"]),
    ] {
        let output = impala(&[&["train"], args].concat());
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{args:?}: {said}");
    }
}
