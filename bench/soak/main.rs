//! `make soak`: does a long training run stay as it was? Watches one from outside for an hour and fails
//! if memory or descriptors of a process grow, or if it learns from fewer frames per second of processor
//! time than before, by what the machine is able to do at the moment.
//!
//! Writes `results/reliability/soak.{json,md,svg}`, also when it is stopped early with Ctrl-C. Without
//! `--bench`, as a test, a few short samples, written nowhere.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/cpu.rs"]
mod cpu;
#[path = "../common/descriptors.rs"]
mod descriptors;
#[path = "../common/endless.rs"]
mod endless;
#[path = "../common/ink.rs"]
mod ink;
mod judge;
#[path = "../common/lone_learner.rs"]
mod lone_learner;
mod look;
mod picture;
#[path = "../common/plane.rs"]
mod plane;
mod sample;
#[path = "../common/statistics.rs"]
mod statistics;
mod yardstick;

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use common::{Setting, impala, save};
use endless::{EndlessRun, Interrupt};
use impala::config::{Config, ReportSettings, SupervisionSettings};
use impala::sinks::terminal::{ProgressLine, Show};
use impala::telemetry::Summary;
use judge::{FEWEST_SAMPLES, Judgement, judge};
use look::{CpuMeter, look};
use sample::Sample;
use serde::Serialize;
use statistics::median;
use yardstick::Yardstick;

/// Frames between two rows of metrics: some seconds of a run.
const ROW_FRAMES: u64 = 5_000_000;

/// Exit status after Ctrl-C, as shells have it.
const EXIT_INTERRUPTED: u8 = 130;

/// Watch a long training run for growth and decay.
#[derive(Parser)]
struct Args {
    /// How long to watch.
    #[arg(long, default_value_t = 60.0, value_parser = positive)]
    minutes: f64,
    /// Seconds between samples.
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    every: f64,
    /// Seconds without a sign of life after which a worker of the run counts as hung: longer than the
    /// default, because an hour is long and other programs may want the machine.
    #[arg(long, default_value_t = 60.0, value_parser = positive)]
    hang_timeout: f64,
    /// More flags for `impala train`, in one string.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    train: String,
    /// Name of the files in results/reliability.
    #[arg(long, default_value = "soak")]
    name: String,
    /// Given by cargo: measure in earnest.
    #[arg(long, hide = true)]
    bench: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.01..=100_000.0).contains(&number) => Ok(number),
        _ => Err("from 0.01 to 100000".into()),
    }
}

/// The file `results/reliability/<name>.json`.
#[derive(Serialize)]
struct Soak {
    setting: Setting,
    /// Whether it ran as long as it was to; else it was interrupted.
    is_complete: bool,
    judgements: Vec<Judgement>,
    /// What the run says of itself.
    summary: Summary,
    samples: Vec<Sample>,
}

fn main() -> Result<ExitCode> {
    let mut args = Args::parse();
    if !args.bench {
        (args.minutes, args.every) = (0.05, 0.2);
    }
    let soak = soak(&args)?;
    let (text, svg) = (markdown(&soak, &args.name), picture::draw(&soak.samples)?);
    println!("{text}");
    if !args.bench {
        check(&soak, &svg)?;
        return Ok(ExitCode::SUCCESS);
    }
    let folder = Path::new("results/reliability");
    let [_, path] = save(folder, &args.name, &soak, &text)?;
    std::fs::write(folder.join(&args.name).with_extension("svg"), svg)?;
    println!("written to {}", path.display());
    Ok(match soak.judgements.iter().all(|judgement| judgement.holds) {
        false => ExitCode::FAILURE,
        true if soak.is_complete => ExitCode::SUCCESS,
        true => ExitCode::from(EXIT_INTERRUPTED),
    })
}

/// Trains and watches until the time is over or somebody interrupts.
fn soak(args: &Args) -> Result<Soak> {
    let setting = Setting::now();
    let flags: Vec<String> = args.train.split_whitespace().map(str::to_owned).collect();
    let binary = Path::new(impala().get_program()).to_owned();
    let mut run = EndlessRun::start(&binary, &config(args), &flags, &[])?;
    let (samples, is_complete) = watch(&mut run, args)?;
    run.stop()?;
    let summary = run.summary()?;
    Ok(Soak { setting, is_complete, judgements: judge(&samples), summary, samples })
}

/// The defaults for a run that a signal ends.
fn config(args: &Args) -> Config {
    let report = ReportSettings { rows: 1_000_000, ..ReportSettings::default() };
    let supervision =
        SupervisionSettings { hang_timeout_s: args.hang_timeout, ..SupervisionSettings::default() };
    Config { frames: report.rows * ROW_FRAMES, report, supervision, ..Config::default() }
}

/// Samples a run; also says whether it went on as long as it was to.
fn watch(run: &mut EndlessRun, args: &Args) -> Result<(Vec<Sample>, bool)> {
    let (live, run_dir, mut meter) = (run.look_in()?, run.run_dir(), CpuMeter::default());
    let mut yardstick = Yardstick::new(&Config::default())?;
    let interrupt = Interrupt::catch()?;
    let (start, total_s) = (Instant::now(), 60.0 * args.minutes);
    let mut line = ProgressLine::new(Show::on_stderr(), "watching", "s", total_s as u64);
    let mut samples = Vec::new();
    let time_s = || start.elapsed().as_secs_f64();
    while time_s() < total_s {
        ensure!(!run.has_ended()?, "the run ended before its time: {}", run.said());
        let yardstick = yardstick.frames_per_cpu_s()?;
        samples.extend(look(&live, &run_dir, time_s(), yardstick, &mut meter));
        line.set(time_s() as u64, &samples.last().map_or(String::new(), figures));
        if interrupt.came_within(Duration::from_secs_f64(args.every))? {
            line.finish();
            return Ok((samples, false));
        }
    }
    line.finish();
    Ok((samples, true))
}

/// What the progress line says.
fn figures(sample: &Sample) -> String {
    let bytes: u64 = sample.processes.iter().map(|process| process.pss_bytes).sum();
    let (mb, frames) = (bytes as f64 / 1e6, sample.frames as f64 / 1e6);
    format!("{frames:.0} M frames, {mb:.2} MB, {} restarts", sample.restarts)
}

/// As a test: everything is there. Trends of a few seconds say nothing.
fn check(soak: &Soak, svg: &str) -> Result<()> {
    let Some(last) = soak.samples.last() else { anyhow::bail!("no sample was taken") };
    ensure!(last.frames > 0 && last.processes.len() == 6, "{last:?}");
    ensure!(last.processes.iter().all(|p| p.pss_bytes > 0 && p.descriptors > 0), "{last:?}");
    ensure!(svg.contains("open descriptors"), "{svg}");
    Ok(())
}

fn markdown(soak: &Soak, name: &str) -> String {
    let Soak { setting, judgements, summary, samples, .. } = soak;
    let minutes = samples.last().map_or(0.0, |sample| sample.time_s / 60.0);
    let loads: Vec<f64> = samples.iter().map(|sample| sample.load).collect();
    let mut text = format!(
        "# Soak: {minutes:.1} minutes of training{}\n\n{} samples; {:.0} M frames learned from; \
         updates: {}, checkpoints written: {}.\n\n",
        if soak.is_complete { "" } else { ", interrupted" },
        samples.len(),
        summary.frames as f64 / 1e6,
        summary.updates,
        summary.reliability.checkpoints,
    );
    if judgements.is_empty() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "Too short to judge: fewer than {FEWEST_SAMPLES} samples.");
    } else {
        text += "| quantity | first third | last third | change over the run | bound | |\n\
                 |---|---:|---:|---:|---:|---|\n";
        judgements.iter().for_each(|judgement| text += &row(judgement));
    }
    let _ = writeln!(
        text,
        "\nThirds are medians. Change: the median slope of all pairs of samples after the start-up, times \
         the length; of descriptors, last third less first; of workers replaced, how many. Load of the \
         machine meanwhile: median {:.1}, at most {:.1}; niceness of the run: {}.\n\n\
         ![over time]({name}.svg)\n\n{}",
        median(&loads),
        loads.iter().copied().fold(0.0, f64::max),
        niceness(),
        setting.line()
    );
    text
}

/// Niceness of this process, which the run inherits.
fn niceness() -> i64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the command's closing parenthesis: field 3 on; the niceness is field 19.
    let field = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(16));
    field.and_then(|field| field.parse().ok()).unwrap_or(0)
}

fn row(judgement: &Judgement) -> String {
    let Judgement { quantity, unit, first_third, last_third, change, bound, holds } = judgement;
    let digits = if unit.is_empty() { 0 } else { 3 };
    let limit = match bound {
        None => "–".to_owned(),
        Some(bound) if *bound < 0.0 => format!("≥ {bound:+.digits$}"),
        Some(bound) => format!("≤ {bound:+.digits$}"),
    };
    let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
    let verdict = match (bound, holds) {
        (None, _) => "",
        (Some(_), true) => "holds",
        (Some(_), false) => "**FAILS**",
    };
    format!(
        "| {quantity}{unit} | {first_third:.digits$} | {last_third:.digits$} | {change:+.digits$} | {limit} \
         | {verdict} |\n"
    )
}
