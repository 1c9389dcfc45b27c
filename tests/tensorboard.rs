//! TensorBoard's own Python package reads what a run writes for it, value by value.
//!
//! Skipped, loudly, where `tools/tensorboard.py` has not made its virtual environment; with `CI=true`
//! its absence is a failure.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use impala::base::stages::Stage;
use impala::run::dir::RunDir;
use impala::run::meta::Meta;
use impala::sinks::tensorboard::{TensorBoard, histogram_tag, scalar_tag};
use impala::telemetry::{MetricsRow, TaskRow};
use serde_json::Value;
use tempfile::TempDir;

mod synthetic_run;
#[path = "synthetic_run/task_rows.rs"]
mod synthetic_task_rows;

use synthetic_run::ROWS_AN_INTERVAL;

const N_ROWS: u64 = 30;

/// The Python of the virtual environment, if it has been made.
fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("third_party/tensorboard/bin/python");
    if python.exists() {
        return Some(python);
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "run tools/tensorboard.py first");
    eprintln!("SKIPPED: reading with TensorBoard: run tools/tensorboard.py to install it here");
    None
}

fn read(python: &Path, run: &RunDir) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tensorboard/read.py");
    let output = Command::new(python).arg(script).arg(run.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Python writes NaN, which JSON has not.
    let text = String::from_utf8(output.stdout).unwrap().replace("NaN", "\"NaN\"");
    serde_json::from_str(&text).unwrap()
}

/// What a column of a diverged run may hold.
fn change(row: &mut MetricsRow) {
    if row.updates == 20 {
        row.kl = Some(f64::NAN);
    }
}

fn rows() -> Vec<MetricsRow> {
    let mut rows: Vec<MetricsRow> = (0..N_ROWS).map(|i| synthetic_run::row(i, N_ROWS)).collect();
    rows.iter_mut().for_each(change);
    rows
}

fn write(folder: &Path) -> RunDir {
    synthetic_run::write(folder, N_ROWS, change)
}

fn meta(run: &RunDir) -> Meta {
    serde_json::from_str(&fs::read_to_string(run.meta()).unwrap()).unwrap()
}

/// Column names and cells as `metrics.csv` has them.
fn columns() -> Vec<(String, Vec<Option<f64>>)> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows().iter().for_each(|row| writer.serialize(row).unwrap());
    let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<&str>>());
    let names = lines.next().unwrap();
    let lines: Vec<Vec<&str>> = lines.collect();
    let cells = |k: usize| lines.iter().map(|line| line[k].parse().ok()).collect();
    names.iter().enumerate().map(|(k, name)| ((*name).to_owned(), cells(k))).collect()
}

/// As TensorBoard stores a scalar; its NaN comes as text.
fn same(read: &Value, written: f64) -> bool {
    read.as_f64().map_or(written.is_nan() && read == "NaN", |read| read as f32 == written as f32)
}

#[test]
fn every_column_is_a_scalar_over_frames() {
    let root = TempDir::new().unwrap();
    let run = write(&root.path().join("run"));
    let Some(python) = python() else { return };
    let scalars = read(&python, &run)["scalars"].clone();
    // What was never measured has no tag.
    let mut columns = columns();
    columns.retain(|(_, cells)| cells.iter().any(Option::is_some));
    let started_s = meta(&run).started.as_nanosecond() as f64 / 1e9;
    let n_evaluated = ["mean", "min", "max"].len();
    let n_tags = scalars.as_object().unwrap().len();
    assert_eq!(n_tags, columns.len() + n_evaluated, "a tag for each column");
    let evaluated = &scalars["eval/mean_reward"][0];
    assert_eq!(evaluated[1].as_f64().unwrap() as f32 / 1e3, evaluated[2].as_f64().unwrap() as f32);
    for (name, cells) in columns {
        let points = scalars[scalar_tag(&name)].as_array().unwrap();
        let rows = rows();
        let measured: Vec<(&MetricsRow, f64)> =
            rows.iter().zip(&cells).filter_map(|(row, cell)| Some((row, (*cell)?))).collect();
        assert_eq!(points.len(), measured.len(), "{name}");
        for (point, (row, value)) in points.iter().zip(measured) {
            assert!((point[0].as_f64().unwrap() - started_s - row.time_s).abs() < 1e-3, "{name}");
            assert_eq!(point[1].as_u64(), Some(row.frames), "{name}");
            assert!(same(&point[2], value), "{name}: {} is not {value}", point[2]);
        }
    }
}

/// The last part of a tag, and what it has of a row.
type TaskColumn = (&'static str, fn(&TaskRow) -> f64);

/// A task's id is in its tags, so that each is a curve of its own.
#[test]
fn every_column_of_each_task_is_a_scalar_over_the_frames_of_all() {
    let root = TempDir::new().unwrap();
    let run = RunDir::create_at(&root.path().join("run")).unwrap();
    let meta = Meta::collect();
    let task_rows = |i| synthetic_task_rows::task_rows(&synthetic_run::row(i, N_ROWS));
    let rows: Vec<TaskRow> = (0..N_ROWS).flat_map(task_rows).collect();
    let mut board = TensorBoard::create(&run, &meta, synthetic_run::CONFIG).unwrap();
    board.append_task_rows(&rows).unwrap();
    let Some(python) = python() else { return };
    let scalars = read(&python, &run)["scalars"].clone();
    let origin_s = meta.time_origin.as_nanosecond() as f64 / 1e9;
    let columns: [TaskColumn; 8] = [
        ("task_frames", |row| row.task_frames as f64),
        ("episodes", |row| row.episodes as f64),
        ("episodic_return", |row| row.score_mean.unwrap()),
        ("ep_rew_min", |row| row.score_min.unwrap()),
        ("ep_rew_max", |row| row.score_max.unwrap()),
        ("ep_rew_mean", |row| row.score_last100.unwrap()),
        ("value_mean", |row| row.value_mean.unwrap()),
        ("value_std", |row| row.value_std.unwrap()),
    ];
    assert_eq!(scalars.as_object().unwrap().len(), 2 * columns.len());
    for task in ["Maze-v0", "Cave-v0"] {
        let own: Vec<&TaskRow> = rows.iter().filter(|row| row.task == task).collect();
        for (name, column) in columns {
            let tag = format!("tasks/{task}/{name}");
            let points = scalars[&tag].as_array().unwrap();
            assert_eq!(points.len(), own.len(), "{tag}");
            for (point, row) in points.iter().zip(&own) {
                assert!((point[0].as_f64().unwrap() - origin_s - row.time_s).abs() < 1e-3, "{tag}");
                assert_eq!(point[1].as_u64(), Some(row.frames), "{tag}");
                assert!(same(&point[2], column(row)), "{tag}: {} of {row:?}", point[2]);
            }
        }
    }
}

#[test]
fn the_usual_names_are_there() {
    for (column, tag) in [
        ("score_last100", "rollout/ep_rew_mean"),
        ("policy_loss", "losses/policy_loss"),
        ("critic_loss", "losses/value_loss"),
        ("entropy", "losses/entropy"),
        ("frames_per_s", "charts/SPS"),
        ("learning_rate", "charts/learning_rate"),
        ("forward_us", "time/forward_us"),
        ("normalized_score", "tasks/normalized_score"),
        ("something_new", "impala/something_new"),
    ] {
        assert_eq!(scalar_tag(column), tag);
    }
}

#[test]
fn every_stage_is_a_histogram_over_frames() {
    let root = TempDir::new().unwrap();
    let run = write(&root.path().join("run"));
    let Some(python) = python() else { return };
    let found = read(&python, &run)["histograms"].clone();
    assert_eq!(found.as_object().unwrap().len(), Stage::ALL.len());
    for stage in Stage::ALL {
        let read = found[histogram_tag(stage)].as_array().unwrap();
        assert_eq!(read.len(), rows().len() / ROWS_AN_INTERVAL);
        for (k, (read, rows)) in read.iter().zip(rows().chunks(ROWS_AN_INTERVAL)).enumerate() {
            assert_eq!(read["step"].as_u64(), Some(rows[ROWS_AN_INTERVAL - 1].frames));
            assert_same_distribution(read, synthetic_run::histograms(k as u64).get(stage));
        }
    }
}

/// Counts agree at every bucket's end, and sums to the histogram's precision.
fn assert_same_distribution(read: &Value, written: &hdrhistogram::Histogram<u64>) {
    let number = |key: &str| read[key].as_f64().unwrap();
    let list = |key: &str| -> Vec<f64> {
        read[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    assert_eq!(number("num"), written.len() as f64);
    assert_eq!(
        (number("min"), number("max")),
        (written.min() as f64 / 1e3, written.max() as f64 / 1e3)
    );
    let mean = written.mean() / 1e3;
    assert!((number("sum") / number("num") / mean - 1.0).abs() < 0.01);
    let (limits, counts) = (list("limits"), list("counts"));
    assert!(limits.is_sorted_by(|a, b| a < b) && limits.len() == counts.len());
    let mut below = 0.0;
    for (limit, count) in limits.iter().zip(counts) {
        below += count;
        let end_ns = (limit * 1e3).round() as u64;
        assert_eq!(below, written.count_between(0, end_ns - 1) as f64, "up to {limit} µs");
    }
    assert_eq!(below, written.len() as f64);
}

#[test]
fn the_settings_are_a_text() {
    let root = TempDir::new().unwrap();
    let run = write(&root.path().join("run"));
    let Some(python) = python() else { return };
    let text = read(&python, &run)["texts"]["settings"][0].as_str().unwrap().to_owned();
    assert!(text.contains("unroll_length = 20"), "{text}");
}

/// A run that is killed in the middle of a write leaves what came before readable.
#[test]
fn a_cut_file_is_readable_up_to_the_cut() {
    let root = TempDir::new().unwrap();
    let run = write(&root.path().join("run"));
    let Some(python) = python() else { return };
    let evaluations =
        || read(&python, &run)["scalars"]["eval/mean_reward"].as_array().unwrap().len();
    let n_whole = evaluations();
    let events = run.events(meta(&run).started.as_second());
    let file = OpenOptions::new().write(true).open(events).unwrap();
    file.set_len(file.metadata().unwrap().len() - 7).unwrap();
    // They were written last.
    assert_eq!(evaluations(), n_whole - 1);
    let read = read(&python, &run);
    assert_eq!(read["scalars"]["charts/SPS"].as_array().unwrap().len(), 30);
    assert_eq!(read["histograms"]["latency/wait_us"].as_array().unwrap().len(), 3);
}
