//! One storm from beginning to end: a run, the blows, the calm after them, and what is left.
//!
//! The run is of CartPole-v1, the engine's own or Gymnasium's. In the second case the process of the
//! environments has a child besides (`with_child.py`), which must not outlive it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use impala::config::{Config, LossSettings, ReportSettings, SupervisionSettings};
use impala::telemetry::{Exit, MetricsRow, SelfChecks, Summary};
use serde::Serialize;

use super::blows::{Plan, Tally, storm};
use super::descriptors::n_descriptors;
use super::endless::{EndlessRun, Interrupt};
use super::traces::{
    entries, half_written, left_processes, left_shared_memory, more_descriptors, more_processes,
    shared_memory_names,
};

/// The environment variable that names the step of a protocol to be broken.
pub const BREAK: &str = "IMPALA_BREAK";

/// The wrapper of environments of Python, which look for it in the working directory.
const WITH_CHILD: &str = "bench.storm.with_child:WithChild";

/// Frames between two rows of metrics, which tell the score.
const ROW_FRAMES: u64 = 100_000;

/// A watchdog, not a measurement: how long the score may take to be reached in the calm.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a storm came to.
#[derive(Serialize)]
pub struct Outcome {
    pub seconds: f64,
    pub seed: u64,
    pub kills: u64,
    pub learner_kills: u64,
    pub env_kills: u64,
    pub stops: u64,
    pub left_standing: u64,
    pub actors_back_ms: Back,
    pub learner_back_ms: Back,
    /// What the run's own checks of slots and weights found.
    pub checks: SelfChecks,
    pub zombies: u64,
    /// Descriptors of the supervisor after the storm beyond those before it.
    pub more_descriptors: u64,
    /// Processes after the storm beyond those that a run has.
    pub more_processes: u64,
    pub left_processes: Vec<String>,
    pub left_shared_memory: Vec<String>,
    pub left_files: Vec<String>,
    pub is_complete: bool,
    pub summary: Summary,
}

/// From a kill to the replacement's first heartbeat, ms.
#[derive(Serialize)]
pub struct Back {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Back {
    fn of(histogram_ns: &hdrhistogram::Histogram<u64>) -> Back {
        let at = |quantile| histogram_ns.value_at_quantile(quantile) as f64 / 1e6;
        Back { p50: at(0.5), p99: at(0.99), max: histogram_ns.max() as f64 / 1e6 }
    }
}

/// Settings under which no number of deaths ends the run, no rollout is too old, and a worker that stands
/// still is found soon.
fn config(hang_timeout_s: f64, python: Option<&Path>) -> Config {
    let supervision = SupervisionSettings {
        hang_timeout_s,
        max_restarts: 1_000_000,
        max_pause_s: 0.0,
        ..SupervisionSettings::default()
    };
    let loss = LossSettings { max_policy_lag: 1_000_000_000, ..LossSettings::default() };
    let report = ReportSettings { rows: 1_000_000, ..ReportSettings::default() };
    let config = Config { supervision, loss, report, ..Config::default() };
    let frames = config.report.rows * ROW_FRAMES;
    match python {
        None => Config { frames, ..config },
        Some(python) => Config {
            frames,
            env: format!("gym:{}", config.env),
            env_wrappers: vec![WITH_CHILD.into()],
            python: python.display().to_string(),
            ..config
        },
    }
}

/// Supervisor, learner, actors, and for each actor over Python the process of its environments and the child of that.
fn n_processes(config: &Config) -> usize {
    let of_actor = if config.env_wrappers.is_empty() { 1 } else { 3 };
    2 + config.actors.count * of_actor
}

/// Trains with `binary`, which must have been built with its self-checks, and storms.
///
/// # Errors
/// If the run ends before it is told to, or a worker never comes back.
pub fn trial(
    binary: &Path,
    plan: Plan,
    hang_timeout_s: f64,
    python: Option<&Path>,
    environment: &[(&str, &str)],
    progress: impl FnMut(Duration, &Tally),
) -> Result<Outcome> {
    let names_before = shared_memory_names();
    let config = config(hang_timeout_s, python);
    let mut run = EndlessRun::start(binary, &config, &[], environment)?;
    let temporary = run.run_dir().with_file_name("tmp");
    let seed = plan.seed;
    let live = run.look_in()?;
    let pid = live.supervisor_pid();
    let descriptors_before = n_descriptors(pid).unwrap_or(0);
    let start = Instant::now();
    let tally = storm(&mut run, &live, plan, &Interrupt::catch()?, progress)?;
    let seconds = start.elapsed().as_secs_f64();
    let more_descriptors = more_descriptors(pid, descriptors_before);
    let more_processes = more_processes(&temporary, n_processes(&config));
    wait_for_score(&mut run)?;
    run.stop()?;
    let (summary, run_dir) = (run.summary()?, run.run_dir());
    let checks = summary.reliability.self_checks;
    let checks = checks.context("the binary checks nothing: build it with --features faults")?;
    Ok(Outcome {
        seconds,
        seed,
        kills: tally.kills,
        learner_kills: tally.learner_kills,
        env_kills: tally.env_kills,
        stops: tally.stops,
        left_standing: tally.left_standing,
        actors_back_ms: Back::of(&tally.actor_back_ns),
        learner_back_ms: Back::of(&tally.learner_back_ns),
        checks,
        zombies: tally.zombies,
        more_descriptors,
        more_processes,
        left_processes: left_processes(&temporary),
        left_shared_memory: left_shared_memory(&names_before),
        left_files: [half_written(&run_dir), entries(&temporary)].concat(),
        is_complete: tally.is_complete,
        summary,
    })
}

/// Waits, after the last blow, until the policy's score is the environment's threshold.
fn wait_for_score(run: &mut EndlessRun) -> Result<()> {
    let threshold = Config::default().spec()?.reward_threshold.unwrap_or(f64::INFINITY);
    let start = Instant::now();
    while newest_score(&run.run_dir()).is_none_or(|score| score < threshold) {
        ensure!(!run.has_ended()?, "the run ended after the storm: {}", run.said());
        if start.elapsed() > PATIENCE {
            // The summary will say that it was not solved, or what it fell back to.
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn newest_score(run_dir: &Path) -> Option<f64> {
    let mut reader = csv::Reader::from_path(run_dir.join("metrics.csv")).ok()?;
    let rows = reader.deserialize::<MetricsRow>().filter_map(Result::ok);
    rows.last()?.score_last100
}

impl Outcome {
    /// Times that a worker was started again.
    pub fn restarts(&self) -> u64 {
        let actors = self.summary.actors.iter().map(|actor| actor.restarts);
        actors.sum::<u64>() + self.summary.reliability.learner_restarts
    }

    /// What must not be, each with its number; empty after a storm that broke nothing.
    pub fn violations(&self) -> Vec<String> {
        let (checks, summary) = (&self.checks, &self.summary);
        let reliability = &summary.reliability;
        // Each of a learner's threads holds a slot while it learns; each death can leave those again.
        let deaths = self.learner_kills + self.left_standing + reliability.hangs;
        let may_repeat = deaths * summary.learner_threads as u64;
        let explained = self.kills + reliability.hangs;
        let is_solved = summary.solved && summary.score_last100 >= summary.score_threshold;
        let counts = [
            (checks.torn_slots, "slots were torn"),
            (checks.torn_weights, "copies of the weights were torn"),
            (checks.older_weights, "copies of the weights were older than the one before"),
            (checks.learned_twice, "rollouts were learned from twice"),
            (checks.not_learned, "published rollouts were lost"),
            (
                checks.taken_again.saturating_sub(may_repeat),
                "rollouts more were taken again than learners died with",
            ),
            (self.restarts().saturating_sub(explained), "workers died that nobody had struck"),
            (reliability.segment_resets, "times the segment was found damaged"),
            (self.zombies, "zombies stayed"),
            (self.more_descriptors, "descriptors of the supervisor stayed open"),
            (self.more_processes, "processes were too many after the storm"),
            (self.left_processes.len() as u64, "processes were left"),
            (self.left_shared_memory.len() as u64, "names were left in /dev/shm"),
            (self.left_files.len() as u64, "half-written files were left"),
            (u64::from(!is_solved), "scores were not reached"),
            (u64::from(summary.exit != Exit::Interrupted), "runs did not end in order"),
        ];
        let broken = counts.into_iter().filter(|(n, _)| *n > 0);
        broken.map(|(n, what)| format!("{n} {what}")).collect()
    }
}
