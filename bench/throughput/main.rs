//! `make bench-throughput`: how many environment frames a second the system consumes by learning, and
//! how much of its parts' speed survives in the whole.
//!
//! One table on the terminal, `results/bench/throughput.{json,md}`. `--quick` measures a tenth as
//! long; without `--bench`, as a test, everything runs once, briefly, and nothing is written.

#[path = "../common/mod.rs"]
mod common;
mod end_to_end;
mod parts;
#[path = "../common/statistics.rs"]
mod statistics;

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use common::{Setting, load_average, save};
use serde::Serialize;
use statistics::median;

/// Measure frames per second end to end, of every part, and where the time goes.
#[derive(Parser)]
struct Args {
    /// A tenth of the time, with wider spreads.
    #[arg(long)]
    quick: bool,
    /// Given by cargo: measure in earnest.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How long and how often to measure.
#[derive(Clone, Copy, Debug, Serialize)]
struct Effort {
    /// Runs whose median is reported.
    n_runs: usize,
    /// Of an end-to-end run before it counts, s.
    warm_up: Duration,
    /// Of an end-to-end run, s.
    measured: Duration,
    /// Of one repetition of a part.
    part: Duration,
}

impl Effort {
    fn of(args: &Args) -> Self {
        let of_seconds = |n_runs, warm_up, measured, part| Effort {
            n_runs,
            warm_up: Duration::from_secs_f64(warm_up),
            measured: Duration::from_secs_f64(measured),
            part: Duration::from_secs_f64(part),
        };
        match (args.bench, args.quick) {
            (false, _) => of_seconds(1, 0.1, 0.3, 0.01),
            (true, true) => of_seconds(3, 0.5, 1.5, 0.1),
            (true, false) => of_seconds(5, 2.0, 10.0, 0.5),
        }
    }
}

/// One figure: the median of several measurements.
#[derive(Clone, Debug, Serialize)]
struct Row {
    group: &'static str,
    name: String,
    unit: &'static str,
    median: f64,
    min: f64,
    max: f64,
    n: usize,
}

impl Row {
    fn new(
        group: &'static str,
        name: impl Into<String>,
        unit: &'static str,
        values: &[f64],
    ) -> Self {
        let fold = |better: fn(f64, f64) -> f64| values.iter().copied().fold(f64::NAN, better);
        Row {
            group,
            name: name.into(),
            unit,
            median: median(values),
            min: fold(f64::min),
            max: fold(f64::max),
            n: values.len(),
        }
    }
}

/// The file `results/bench/throughput.json`.
#[derive(Serialize)]
struct Table {
    setting: Setting,
    load_after: f64,
    effort: Effort,
    rows: Vec<Row>,
    notes: Vec<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let effort = Effort::of(&args);
    let setting = Setting::now();
    let mut rows = parts::rows(effort)?;
    let mut notes = Vec::new();
    end_to_end::measure("native", effort, &mut rows)?;
    match end_to_end::torch_binary() {
        Some(_) => end_to_end::measure("torch", effort, &mut rows)?,
        None => notes.push("torch was not measured: `make build-torch` builds it".into()),
    }
    let table = Table { setting, load_after: load_average(), effort, rows, notes };
    let text = markdown(&table);
    println!("{text}");
    if args.bench {
        let name = if args.quick { "throughput-quick" } else { "throughput" };
        let [json, _] = save(Path::new("results/bench"), name, &table, &text)?;
        println!("written to {}", json.display());
    }
    Ok(())
}

fn markdown(table: &Table) -> String {
    let mut text = String::from("# Throughput\n");
    let mut group = "";
    for row in &table.rows {
        if row.group != group {
            group = row.group;
            let _ = write!(
                text,
                "\n| {group} | median | min – max | unit | runs |\n|---|---:|---:|---|---:|\n"
            );
        }
        let Row { name, unit, n, .. } = row;
        let (median, min, max) = (figure(row.median), figure(row.min), figure(row.max));
        let _ = writeln!(text, "| {name} | {median} | {min} – {max} | {unit} | {n} |");
    }
    for note in &table.notes {
        let _ = writeln!(text, "\n{note}");
    }
    let _ = writeln!(text, "\n{}; load after {:.2}", table.setting.line(), table.load_after);
    text
}

/// Three significant digits.
fn figure(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}
