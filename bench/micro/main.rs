//! `make bench-micro`: what each part of the engine costs beside the obvious other way to do it.
//!
//! Every row's ratio is ours over the alternative's, measured in turns in one run (`contest.rs`): one
//! table on the terminal and in `results/bench/micro-<instruction set>.{md,json}`. `--criterion [FILTER]` looks closely at
//! the functions among them instead, and says what changed since it last did. Without `--bench`, as a
//! test, every line runs once and nothing is written.

#[path = "../common/children.rs"]
mod children;
#[path = "../common/mod.rs"]
mod common;
mod contest;
#[path = "../common/figure.rs"]
mod figure;
mod hand_over;
mod learner;
#[path = "../common/lone_learner.rs"]
mod lone_learner;
mod others;
mod pictures;
#[path = "../common/processor_time.rs"]
mod processor_time;
mod report;
#[path = "../common/statistics.rs"]
mod statistics;
mod waiting;
mod weights;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use common::{Setting, load_average, save};
use contest::{Bench, Effort};
use criterion::Criterion;
use processor_time::{processor_time, stolen_percent};
use report::{Table, markdown};

/// Measure parts of the engine against the obvious alternatives.
#[derive(Parser)]
struct Args {
    /// Look closely with criterion at the jobs whose name contains FILTER.
    #[arg(long, value_name = "FILTER", num_args = 0..=1, default_missing_value = "")]
    criterion: Option<String>,
    /// Given by cargo: measure in earnest.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Effort {
    fn of(args: &Args) -> Self {
        let (n_rounds, n_hand_overs) = if args.bench { (101, 200) } else { (1, 20) };
        let of_ms = |earnest, test| Duration::from_millis(if args.bench { earnest } else { test });
        Effort {
            n_rounds,
            n_hand_overs,
            contest: of_ms(2_000, 0),
            turn: Duration::from_micros(if args.bench { 200 } else { 0 }),
            watch: of_ms(1_000, 50),
        }
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let (setting, before) = (Setting::now(), processor_time());
    let filtered = |filter: &String| Criterion::default().with_filter(filter);
    let criterion = args.criterion.as_ref().map(filtered);
    let is_closer_look = criterion.is_some();
    let mut bench = Bench::new(Effort::of(&args), criterion);
    measure(&mut bench)?;
    bench.finish()?;
    if is_closer_look {
        return Ok(());
    }
    let table = Table {
        setting,
        load_after: load_average(),
        steal_percent: stolen_percent(before),
        effort: bench.effort,
        rows: bench.rows,
    };
    let text = markdown(&table);
    println!("{text}");
    if args.bench {
        let name = format!("micro-{}", table.setting.simd);
        let [json, _] = save(Path::new("results/bench"), &name, &table, &text)?;
        println!("written to {}", json.display());
    }
    Ok(())
}

fn measure(bench: &mut Bench) -> Result<()> {
    // What forks comes first: a process must have no other thread when it does.
    waiting::cpu_share(bench)?;
    hand_over::between_processes(bench)?;
    hand_over::between_threads(bench)?;
    hand_over::uncontended(bench)?;
    // CartPole's network with H = 64; H = 256; and one that no longer fits into a core's caches.
    for n_params in [4_675, 70_000, 1_700_000] {
        weights::copies(bench, n_params)?;
    }
    weights::while_written(bench, 4_675)?;
    learner::parts(bench)?;
    learner::vtrace(bench)?;
    learner::kernels(bench)?;
    others::environment(bench)?;
    pictures::of_breakout(bench)?;
    others::checkpoint(bench)?;
    others::histogram(bench)
}
