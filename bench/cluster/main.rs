//! `make bench-cluster`: what it costs to learn together. One rank alone and two, each pinned to a core of its own: over
//! shared memory, and over TCP between two network namespaces, also on a slow wire; and what a model makes of that for
//! more ranks. Writes `results/bench/cluster.{json,md}`.
//!
//! `--storm` instead trains two ranks whose actors are killed at random (`make storm-cluster`). Two cores show two ranks
//! and no more: neither memory bandwidth nor a network card is shared here as on real machines.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/kernels_that_ran.rs"]
mod kernels_that_ran;
mod launch;
mod model;
mod net;
#[path = "../common/statistics.rs"]
mod statistics;
mod storm;
#[path = "../common/table.rs"]
mod table;

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use common::{Setting, impala, read_summary, save};
use impala::config::{Config, Layers};
use impala::run::sizes::Sizes;
use impala::telemetry::Summary;
use kernels_that_ran::kernels_that_ran;
use net::{DEVICE, Namespaces};
use serde::Serialize;
use statistics::median;
use table::Table;

/// Measure one rank and two.
#[derive(Parser)]
struct Args {
    /// How often each case is measured, in turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a run lasts at the speed of one alone, s.
    #[arg(long, default_value_t = 4.0)]
    run_s: f64,
    /// Kill actors of both ranks at random instead.
    #[arg(long)]
    storm: bool,
    /// How long.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Seed of the storm.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Given by cargo: measure in earnest.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Environments whose networks are measured, with a guess at the frames a second of one rank on one core.
const ENVS: [(&str, f64); 2] = [("CartPole-v1", 1e6), ("MinAtar/Breakout-v1", 5e4)];

/// How ranks reach one another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
enum Link {
    Alone,
    SharedMemory,
    Tcp,
    SlowTcp,
}

const LINKS: [Link; 4] = [Link::Alone, Link::SharedMemory, Link::Tcp, Link::SlowTcp];

/// The slow wire, both ways.
const SLOW: &str = "1gbit";

impl Link {
    fn name(self) -> String {
        match self {
            Link::Alone => "one rank".into(),
            Link::SharedMemory => "two, shared memory".into(),
            Link::Tcp => "two, TCP between namespaces".into(),
            Link::SlowTcp => format!("two, TCP at {SLOW}"),
        }
    }
}

/// Medians over all rounds.
#[derive(Serialize)]
struct Row {
    env: &'static str,
    n_params: usize,
    frames_per_update: usize,
    link: Link,
    frames_per_s_a_rank: f64,
    /// Lowest and highest of the rounds.
    spread: (f64, f64),
    exchange_p50_us: Option<f64>,
    exchange_p99_us: Option<f64>,
    /// Of the speed of one rank on the same core.
    share: f64,
    /// The kernels that ran.
    kernels: String,
}

/// The file `results/bench/cluster.json`.
#[derive(Serialize)]
struct Figures {
    setting: Setting,
    rounds: usize,
    rows: Vec<Row>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !args.bench {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let mut setting = Setting::now();
    if args.storm {
        let text = storm::storm(folder.path(), args.seconds, args.seed)?
            + &format!("\n{}\n", setting.line());
        println!("{text}");
        std::fs::create_dir_all("results/reliability")?;
        return Ok(std::fs::write("results/reliability/storm-cluster.md", text)?);
    }
    ensure!(setting.n_cores >= 2, "two ranks need a core each");
    let mut rows = Vec::new();
    for (env, guess) in ENVS {
        rows.extend(measure(env, guess, &args, folder.path())?);
    }
    setting.simd = kernels_that_ran(rows.iter().map(|row| &*row.kernels));
    let figures = Figures { setting, rounds: args.rounds, rows };
    let text = markdown(&figures)?;
    println!("{text}");
    let files = save(Path::new("results/bench"), "cluster", &figures, &text)?;
    println!("{} and {}", files[0].display(), files[1].display());
    Ok(())
}

/// All links in turns, so that what the machine does besides meets all alike.
fn measure(env: &'static str, guess: f64, args: &Args, folder: &Path) -> Result<Vec<Row>> {
    let config = Layers { env: Some(env), ..Layers::default() }.resolve()?;
    let frames = |link| (guess * args.run_s) as u64 * if link == Link::Alone { 1 } else { 2 };
    let mut runs: Vec<(Link, Vec<Summary>)> = LINKS.map(|link| (link, Vec::new())).into();
    for round in 0..args.rounds {
        for (link, summaries) in &mut runs {
            let run = folder.join(format!("{}-{link:?}-{round}", env.replace('/', "-")));
            match train(*link, env, frames(*link), &run, folder) {
                Ok(summary) => summaries.push(summary),
                Err(error) => eprintln!("{}: {error:#}", link.name()),
            }
        }
    }
    runs.retain(|(_, summaries)| !summaries.is_empty());
    let alone = speeds(&runs.first().context("no run came to its end")?.1);
    let alone = median(&alone);
    runs.iter().map(|(link, summaries)| row(env, &config, *link, summaries, alone)).collect()
}

/// Frames a second of a rank.
fn speeds(summaries: &[Summary]) -> Vec<f64> {
    summaries
        .iter()
        .map(|summary| summary.frames_per_s / summary.ranks.len().max(1) as f64)
        .collect()
}

fn row(
    env: &'static str,
    config: &Config,
    link: Link,
    summaries: &[Summary],
    alone: f64,
) -> Result<Row> {
    let speeds = speeds(summaries);
    let speed = median(&speeds);
    let of_rounds = |value: fn(&Summary) -> Option<f64>| {
        let values: Vec<f64> = summaries.iter().filter_map(value).collect();
        (!values.is_empty()).then(|| median(&values))
    };
    let bounds =
        speeds.iter().fold((f64::MAX, 0.0_f64), |(low, high), x| (low.min(*x), high.max(*x)));
    let sizes = Sizes::of(config)?;
    Ok(Row {
        env,
        n_params: sizes.n_params(),
        frames_per_update: sizes.rollout.n_frames() * config.loss.batch_slots,
        link,
        frames_per_s_a_rank: speed,
        spread: bounds,
        exchange_p50_us: of_rounds(|summary| Some(summary.ranks.first()?.exchange_p50_us)),
        exchange_p99_us: of_rounds(|summary| Some(summary.ranks.first()?.exchange_p99_us)),
        share: speed / alone,
        kernels: summaries[0].kernels.clone(),
    })
}

/// One run, each rank of which is pinned to a core.
fn train(link: Link, env: &str, frames: u64, run: &Path, folder: &Path) -> Result<Summary> {
    let net =
        matches!(link, Link::Tcp | Link::SlowTcp).then(|| Namespaces::new(folder)).transpose()?;
    let mut command = match (&net, link) {
        (_, Link::Alone) => Command::new("env"),
        (Some(net), _) => {
            let mut mpirun = net.mpirun();
            launch::with_flags(&mut mpirun);
            mpirun
        }
        (None, _) => launch::mpirun(2),
    };
    if let (Some(net), Link::SlowTcp) = (&net, link) {
        slow_down(net)?;
    }
    // The shell becomes the program, which the launcher then has for its child.
    let pinned = "exec taskset -c \"${OMPI_COMM_WORLD_RANK:-0}\" \"$0\" \"$@\"";
    command.args(["sh", "-c", pinned]).arg(impala().get_program());
    command.args(["train", "--quiet", "--env", env, "--run-dir"]);
    command.arg(run).args([
        "--actors",
        "1",
        "--learner-threads",
        "1",
        "--frames",
        &frames.to_string(),
    ]);
    command.args(["--set", "actors.slots_per_actor=2", "--set", "report.eval_episodes=0"]);
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    read_summary(run)
}

fn slow_down(net: &Namespaces) -> io::Result<()> {
    for name in &net.names {
        let mut tc = Command::new("tc");
        tc.args(["-n", name, "qdisc", "replace", "dev", DEVICE, "root", "tbf"]);
        let output = tc.args(["rate", SLOW, "burst", "256kb", "latency", "50ms"]).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
    }
    Ok(())
}

fn markdown(figures: &Figures) -> Result<String> {
    let mut text = String::from("# What it costs to learn together\n\n");
    text += &format!(
        "`make bench-cluster`: medians of {} rounds, in turns, of one actor and one learner thread a rank, each rank on \
         one core of its own. {}.\n\n",
        figures.rounds,
        figures.setting.line()
    );
    let mut table = Table::new([
        "environment",
        "parameters",
        "ranks",
        "frames/s a rank",
        "lowest to highest",
        "round p50, µs",
        "p99, µs",
        "of one rank",
    ]);
    for row in &figures.rows {
        let us = |value: Option<f64>| value.map_or("–".into(), |us| format!("{us:.1}"));
        table.push([
            row.env.to_owned(),
            row.n_params.to_string(),
            row.link.name(),
            format!("{:.0}", row.frames_per_s_a_rank),
            format!("{:.0} to {:.0}", row.spread.0, row.spread.1),
            us(row.exchange_p50_us),
            us(row.exchange_p99_us),
            format!("{:.0} %", 100.0 * row.share),
        ]);
    }
    text += &table.text();
    text +=
        "\nA round's time has in it the wait for the slower rank.\n\n## More ranks, by a model\n\n";
    text += "Share of its speed alone that each rank keeps. The update's time is the measured one of one rank on one core; \
             networks are assumed (α a message, β bytes a second), and the all-reduce is the best of recursive doubling, \
             Rabenseifner's and a ring. The last column has every update's time vary by 10 %.\n\n";
    text += &model_table(&figures.rows).text();
    text += "\nTwo cores cannot show more than two ranks, nor what ranks on one machine take from one another: memory \
             bandwidth, caches, a network card. Efficiency counts frames, and R·S slots an update are a larger batch: \
             more frames a second are not as much more learning.\n";
    Ok(text)
}

fn model_table(rows: &[Row]) -> Table {
    let mut head = vec!["network, update alone".to_owned(), "link".to_owned()];
    head.extend(model::RANKS.map(|ranks| format!("R = {ranks}")));
    head.push(format!("64, jitter {:.0} %", 100.0 * model::JITTER));
    let mut table = Table::new(head);
    for row in rows.iter().filter(|row| row.link == Link::Alone) {
        let update_s = row.frames_per_update as f64 / row.frames_per_s_a_rank;
        for link in &model::LINKS {
            let cell = |ranks, jitter| {
                format!(
                    "{:.0} %",
                    100.0 * model::efficiency(update_s, row.n_params, ranks, link, jitter)
                )
            };
            let mut cells = vec![
                format!("{}, {} parameters, {:.2} ms", row.env, row.n_params, 1e3 * update_s),
                format!(
                    "{}: α {:.0} µs, β {} GB/s",
                    link.name,
                    1e6 * link.alpha_s,
                    link.beta_bytes_s / 1e9
                ),
            ];
            cells.extend(model::RANKS.map(|ranks| cell(ranks, 0.0)));
            cells.push(cell(64, model::JITTER));
            table.push(cells);
        }
        for measured in rows.iter().filter(|of| of.env == row.env && of.link != Link::Alone) {
            let mut cells = vec![
                format!("{}, measured", row.env),
                measured.link.name(),
                format!("**{:.0} %**", 100.0 * measured.share),
            ];
            cells.extend(model::RANKS[1..].iter().map(|_| String::new()));
            cells.push(String::new());
            table.push(cells);
        }
    }
    table
}
