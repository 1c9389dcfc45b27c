//! `make perf`: what each process of a training run spends its time on.
//!
//! Records the whole process tree with Linux `perf`, splits the samples by process role, and writes to
//! `results/perf/<learner>/` a flame graph for each role and one of all, a table of the functions that
//! took most (`perf.md`), and the same as `perf.json`. Stacks are whole only in a build with frame
//! pointers, which `make perf` keeps apart. Without `--bench`, as a test, a second is recorded and
//! checked and nothing is written; that is skipped, loudly, where `perf` cannot record.

#[path = "../common/mod.rs"]
mod common;
mod profile;
mod record;
mod report;
mod samples;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use common::{Setting, impala, read_summary};
use record::{Event, Interrupted, Plan, Unavailable};
use report::Report;
use samples::{Role, Sample};

/// Record a training run and show where each of its processes spends its time.
#[derive(Parser)]
struct Args {
    /// Seconds to record, after half a second of warming up.
    #[arg(long, default_value_t = 5.0, value_parser = parse_seconds)]
    seconds: f64,
    /// Samples a second and core. Not a round number, so that it does not keep step with timers.
    #[arg(long, default_value_t = 997, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    frequency: u32,
    /// Which learner to train with: native or torch.
    #[arg(long, default_value = "native", value_parser = ["native", "torch"])]
    learner: String,
    /// More flags for `impala train`, in one string. The frames are as many as the time allows.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    train: String,
    /// Given by cargo: measure in earnest.
    #[arg(long, hide = true)]
    bench: bool,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("from 0.1 to 600 seconds".into()),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = if args.bench { measure(&args) } else { check(&args) };
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("perf: {error:#}");
    if error.is::<Unavailable>() {
        ExitCode::from(2)
    } else if error.is::<Interrupted>() {
        ExitCode::from(130)
    } else {
        ExitCode::FAILURE
    }
}

/// Records, reports, and says where the results are.
fn measure(args: &Args) -> Result<()> {
    let report = record(args, Event::detect()?)?;
    println!("{}", report.markdown());
    let folder = Path::new("results/perf").join(&args.learner);
    report.write(&folder)?;
    println!("flame graphs and tables: {}", folder.display());
    Ok(())
}

/// The test: a short recording has samples of every role, and a report can be made of it.
fn check(args: &Args) -> Result<()> {
    let event = match Event::detect() {
        Ok(event) => event,
        Err(reason) => {
            eprintln!("SKIPPED: the test of `make perf`: {reason}");
            return Ok(());
        }
    };
    // Kernels of f32 are functions with names of their own; a stack in bf16 is one of them all.
    let train = "--set kernels=portable".to_owned();
    let report = record(&Args { seconds: 2.0, train, ..Args::parse() }, event)?;
    let roles = report.roles();
    for role in [Role::Learner].into_iter().chain((0..4).map(Role::Actor)) {
        ensure!(roles.contains(&role), "no samples of the {role}, only of {roles:?}");
    }
    let text = report.markdown();
    // A quarter of a learner's time, and nobody else's: near the top of its table on any machine.
    ensure!(text.contains("weight_gradient"), "no function of the learner's in\n{text}");
    let folder = tempfile::tempdir()?;
    report.write(folder.path())?;
    for file in ["all.svg", "learner.svg", "actor-0.svg", "perf.md", "perf.json"] {
        ensure!(folder.path().join(file).exists(), "{file} was not written");
    }
    println!("recorded {} with {}: every role has samples", args.learner, event.name());
    Ok(())
}

fn record(args: &Args, event: Event) -> Result<Report> {
    let setting = Setting::now();
    let steal_before_s = steal_s();
    let folder = tempfile::tempdir()?;
    let (data, run_dir) = (folder.path().join("perf.data"), folder.path().join("run"));
    let program = impala();
    let flags = ["train", "--learner", &args.learner, "--frames", "100000000000", "--run-dir"];
    let flags = flags.into_iter().map(str::to_owned).chain([run_dir.display().to_string()]);
    let flags = flags.chain(args.train.split_whitespace().map(str::to_owned));
    let plan = Plan {
        event,
        frequency_hz: args.frequency,
        duration: Duration::from_secs_f64(args.seconds),
    };
    plan.record(&data, &program.get_program().to_string_lossy(), flags)?;
    eprintln!("reading samples");
    let samples: Vec<Sample> = samples::parse(&record::script(&data)?);
    let conditions = report::Conditions {
        setting,
        steal_s: steal_s() - steal_before_s,
        learner: args.learner.clone(),
        train_flags: args.train.clone(),
        event: event.name(),
        frequency_hz: args.frequency,
        seconds: args.seconds,
    };
    Ok(Report::new(conditions, &samples, read_summary(&run_dir)?))
}

/// Processor time that the host gave to others since the machine started, s.
fn steal_s() -> f64 {
    /// Kernel ticks a second; fixed for user space on Linux.
    const TICKS_PER_S: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    // "cpu user nice system idle iowait irq softirq steal ..."
    let ticks = text.split_whitespace().nth(8).and_then(|word| word.parse::<f64>().ok());
    ticks.unwrap_or(f64::NAN) / TICKS_PER_S
}
