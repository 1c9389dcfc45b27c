//! `make bench-throughput`: how many environment frames a second the system consumes by learning, how
//! much of its parts' speed survives in the whole, what each of its methods is worth, and how it scales.
//!
//! Tables on the terminal and in `results/bench/throughput-<instruction set>.{json,md,svg}`, so that figures
//! of processors whose kernels differ stay apart. `--quick` takes a minute; `--headline` leaves out what
//! the methods are worth, how it scales, and the long run that shows whether memory grows; `--ablations` measures
//! the methods alone, in more rounds; `--baseline FILE` adds the change against an earlier JSON; without
//! `--bench`, as a test, everything runs once, briefly, and nothing is written.
//!
//! This process has one thread, because `alternatives` forks.

mod alternatives;
#[path = "../common/bars.rs"]
mod bars;
mod baseline;
mod cases;
mod ceiling;
#[path = "../common/children.rs"]
mod children;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/cpu.rs"]
mod cpu;
mod disturbance;
mod end_to_end;
#[path = "../common/figure.rs"]
mod figure;
#[path = "../common/ink.rs"]
mod ink;
#[path = "../common/interval.rs"]
mod interval;
#[path = "../common/lone_learner.rs"]
mod lone_learner;
mod parts;
mod picture;
#[path = "../common/plane.rs"]
mod plane;
mod processes;
#[path = "../common/processor_time.rs"]
mod processor_time;
mod progress;
mod row;
mod sample;
mod start;
#[path = "../common/statistics.rs"]
mod statistics;
#[path = "../common/table.rs"]
mod table;
mod training;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use serde::Serialize;

use cases::Case;
use common::{Setting, load_average, save};
use processor_time::{processor_time, stolen_percent};
use progress::Progress;
use row::Row;

/// Measure frames per second end to end, of every part, of every method's alternative, and by size.
#[derive(Parser)]
struct Args {
    /// A minute instead of five, with wider spreads.
    #[arg(long)]
    quick: bool,
    /// The parts and the whole alone, as thoroughly as ever: no ablations, no scaling, no long run for memory.
    #[arg(long, conflicts_with = "quick")]
    headline: bool,
    /// The methods alone, each switched off in twenty rounds beside the default: seven minutes, for ratios
    /// that stand on a machine with neighbours.
    #[arg(long, conflicts_with_all = ["quick", "headline"])]
    ablations: bool,
    /// Print the change against the JSON of an earlier run.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Given by cargo: measure in earnest.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq)]
enum Scope {
    Everything,
    /// Parts and whole.
    Headline,
    /// What each method is worth.
    Ablations,
}

/// How long and how often to measure.
#[derive(Clone, Copy, Debug, Serialize)]
struct Effort {
    /// Runs whose median is reported.
    n_runs: usize,
    /// Of an end-to-end run before it counts.
    warm_up: Duration,
    /// Of an end-to-end run.
    measured: Duration,
    /// Of the run that shows whether memory grows.
    memory: Duration,
    /// Of one repetition of a part.
    part: Duration,
    /// Rounds of ablations and scaling.
    n_case_runs: usize,
    /// Of a case before it counts.
    case_warm_up: Duration,
    /// Of a case.
    case_measured: Duration,
}

impl Effort {
    fn of(args: &Args) -> Self {
        let (n_runs, n_case_runs, seconds) = match (args.bench, args.quick) {
            (false, _) => (1, 1, [0.1, 0.2, 0.2, 0.01, 0.05, 0.1]),
            (true, true) => (3, 2, [0.3, 0.7, 2.0, 0.05, 0.15, 0.25]),
            (true, false) => (5, 5, [0.5, 3.0, 40.0, 0.3, 0.25, 0.4]),
        };
        let [warm_up, measured, memory, part, case_warm_up, case_measured] =
            seconds.map(Duration::from_secs_f64);
        let n_case_runs = if args.bench && args.ablations { 20 } else { n_case_runs };
        Effort { n_runs, warm_up, measured, memory, part, n_case_runs, case_warm_up, case_measured }
    }
}

/// The file `results/bench/throughput-<instruction set>.json`.
#[derive(Serialize)]
struct Results {
    setting: Setting,
    load_after: f64,
    /// Of all processors' time, what the hypervisor gave to other machines.
    steal_percent: f64,
    took_s: f64,
    effort: Effort,
    rows: Vec<Row>,
    cases: Vec<Case>,
    notes: Vec<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let results = measure(Effort::of(&args), args.scope())?;
    let mut text = markdown(&results);
    if let Some(path) = &args.baseline {
        text += &baseline::change(path, &serde_json::to_value(&results)?)?;
    }
    println!("{text}");
    if args.bench {
        let name = format!("{}-{}", args.name(), results.setting.simd);
        let [json, markdown] = save(Path::new("results/bench"), &name, &results, &text)?;
        println!("written to {} and {}", json.display(), markdown.display());
    }
    if args.scope() == Scope::Everything {
        let svg = picture::draw(&results.cases)?;
        if args.bench {
            let name = format!("results/bench/{}-{}.svg", args.name(), results.setting.simd);
            std::fs::write(&name, svg)?;
            println!("written to {name}");
        }
    }
    Ok(())
}

impl Args {
    fn scope(&self) -> Scope {
        match (self.headline, self.ablations) {
            (true, _) => Scope::Headline,
            (_, true) => Scope::Ablations,
            _ => Scope::Everything,
        }
    }

    fn name(&self) -> &'static str {
        match self.scope() {
            Scope::Everything if self.quick => "throughput-quick",
            Scope::Everything => "throughput",
            Scope::Headline => "throughput-headline",
            Scope::Ablations => "throughput-ablations",
        }
    }
}

/// Measures what is in the scope.
fn measure(effort: Effort, scope: Scope) -> Result<Results> {
    let (setting, start, before) = (Setting::now(), Instant::now(), processor_time());
    let mut progress = Progress::new(planned(effort, scope));
    let (mut rows, mut cases) = (Vec::new(), Vec::new());
    if scope != Scope::Ablations {
        progress.begin("parts", parts::planned(effort));
        rows = parts::rows(effort)?;
        progress.begin("start of the process", start::planned(effort));
        start::measure(effort, &mut rows)?;
        end_to_end::measure(effort, &mut progress, &mut rows)?;
    }
    if scope == Scope::Everything {
        end_to_end::measure_memory(effort, &mut progress, &mut rows)?;
    }
    if scope != Scope::Headline {
        cases = cases::measure(scope, effort, &mut progress)?;
    }
    progress.finish();
    let mut notes = Vec::new();
    if scope != Scope::Ablations && end_to_end::torch_binary().is_none() {
        notes.push("torch was not measured: `make build-torch` builds it".into());
    }
    let (load_after, steal_percent) = (load_average(), stolen_percent(before));
    let took_s = start.elapsed().as_secs_f64();
    Ok(Results { setting, load_after, steal_percent, took_s, effort, rows, cases, notes })
}

fn planned(effort: Effort, scope: Scope) -> Duration {
    let headline = parts::planned(effort) + start::planned(effort) + end_to_end::planned(effort);
    match scope {
        Scope::Everything => {
            let memory = end_to_end::planned_memory(effort);
            headline + memory + cases::planned(scope, effort)
        }
        Scope::Headline => headline,
        Scope::Ablations => cases::planned(scope, effort),
    }
}

fn markdown(results: &Results) -> String {
    let Results { setting, load_after, steal_percent, took_s, effort, rows, cases, notes } =
        results;
    let notes = String::from_iter(notes.iter().map(|note| format!("\n{note}\n")));
    format!(
        "# Throughput\n{}{}\nM frames/s are consumed by learning. CPU s/M: processor time of all processes for \
         a million frames. lag: updates between acting and learning, mean.\nceiling: the most multiply-adds \
         by those of a frame's dense layers; for the whole, of all cores at once.\nsteal, others: of the cores' \
         time, what the hypervisor and other processes took in the worst run.\n{notes}\n{}; load after \
         {load_after:.2}; stolen meanwhile {steal_percent:.1} %; took {took_s:.0} s\n",
        row::markdown(rows),
        cases::markdown(cases, effort),
        setting.line(),
    )
}
