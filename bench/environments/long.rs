//! One long run of a game of Atari's: what is learned meanwhile, and who has the cores.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use impala::config::{ConfigError, Layers};
use impala::os::cores::core_times;
use impala::revisit::live::LiveRun;
use impala::run::dir::RunDir;
use impala::sinks::terminal::{ProgressLine, Show};
use impala::telemetry::{CoreSummary, EvalSummary, MetricsRow, Summary};
use serde::Serialize;

use super::children::children;
use super::common::{Setting, impala};
use super::endless::{EndlessRun, Interrupt};
use super::figure::figure;
use super::table::Table;

/// Frames between two rows of metrics.
const ROW_FRAMES: u64 = 50_000;

/// Looks at the run's progress.
const TICK: Duration = Duration::from_secs(1);

/// Rows of the table of scores.
const N_SCORES: usize = 12;

/// The file `results/bench/<name>.json`.
#[derive(Serialize)]
pub struct Long {
    setting: Setting,
    env: String,
    flags: String,
    minutes: f64,
    frames: u64,
    emulator_frames: Option<u64>,
    frames_per_s: f64,
    policy_lag: f64,
    restarts: u64,
    scores: Vec<Score>,
    /// Of the weights at the end.
    eval: Option<EvalSummary>,
    cores: Cores,
}

/// The score at one time.
#[derive(Serialize)]
struct Score {
    minutes: f64,
    frames: u64,
    last100: f64,
}

/// Seconds on a core, of everybody who had one.
#[derive(Serialize)]
struct Cores {
    /// Threads of the environments' processes beside Python's own: an emulator's.
    emulator_s: f64,
    /// Python's first thread, which hands actions and observations over, and steps what has no thread of its own.
    python_s: f64,
    acting_s: f64,
    learning_s: f64,
    /// What all of them could have had.
    all_s: f64,
}

/// What one run came to, and the drawing of its scores.
pub struct Found {
    pub long: Long,
    pub svg: String,
}

/// Trains with the preset until the time is over or somebody interrupts; `None` without its network in this build.
pub fn train(
    setting: Setting,
    env: &str,
    python: &Path,
    flags: &str,
    time: Duration,
) -> Result<Option<Found>> {
    let layers = Layers { env: Some(env), python: python.to_str(), ..Layers::default() };
    let mut config = layers.resolve()?;
    match config.check() {
        Err(error @ ConfigError::NetworkNeedsTorch { .. }) => {
            eprintln!("LEFT OUT: {error}");
            return Ok(None);
        }
        checked => checked?,
    }
    config.report.rows = config.frames.div_ceil(ROW_FRAMES);
    let split: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
    let mut run = EndlessRun::start(Path::new(impala().get_program()), &config, &split, &[])?;
    let workers = watch(&mut run, time)?;
    run.stop()?;
    let svg_path = RunDir::open(&run.run_dir())?.plots().join("score_seconds.svg");
    let svg = std::fs::read_to_string(&svg_path).with_context(|| svg_path.display().to_string())?;
    let long = Long::read(setting, (env, flags), &run, workers)?;
    Ok(Some(Found { long, svg }))
}

/// Seconds on a core of the environments' processes: of Python's first thread, and of others.
#[derive(Clone, Copy, Default)]
struct Workers {
    python_s: f64,
    emulator_s: f64,
}

/// Waits; says at the end what the environments' processes had.
fn watch(run: &mut EndlessRun, time: Duration) -> Result<Workers> {
    let interrupt = Interrupt::catch()?;
    let live = run.look_in()?;
    let (start, mut workers) = (Instant::now(), Workers::of(&live));
    let line = &mut ProgressLine::new(Show::on_stderr(), "training", "s", time.as_secs());
    while start.elapsed() < time {
        ensure!(!run.has_ended()?, "the run ended before its time: {}", run.said());
        workers = Workers::of(&live);
        let frames = live.snapshot().learner.frames;
        line.set(start.elapsed().as_secs(), &format!("{:.2} M frames", frames as f64 / 1e6));
        if interrupt.came_within(TICK)? {
            break;
        }
    }
    line.finish();
    Ok(workers)
}

impl Workers {
    /// So far, of those that are there.
    fn of(live: &LiveRun) -> Workers {
        let actors = live.snapshot().actors;
        let pids = actors.iter().filter_map(|actor| u32::try_from(actor.pid).ok());
        pids.flat_map(children).fold(Workers::default(), Workers::and)
    }

    /// With one more, whose first thread is Python's.
    fn and(self, pid: u32) -> Workers {
        let seconds = |is_python: bool| -> f64 {
            let threads = core_times(pid);
            let of = threads.iter().filter(|(thread, _)| (*thread == pid) == is_python);
            of.map(|(_, time)| time.on_core_ns as f64 / 1e9).sum()
        };
        Workers {
            python_s: self.python_s + seconds(true),
            emulator_s: self.emulator_s + seconds(false),
        }
    }
}

impl Long {
    fn read(
        setting: Setting,
        (env, flags): (&str, &str),
        run: &EndlessRun,
        workers: Workers,
    ) -> Result<Long> {
        let summary: Summary = run.summary()?;
        let mut metrics = csv::Reader::from_path(run.run_dir().join("metrics.csv"))?;
        let rows = metrics.deserialize().collect::<Result<Vec<MetricsRow>, _>>()?;
        let on_core = |cores: Option<CoreSummary>| cores.map_or(f64::NAN, |cores| cores.on_core_s);
        let cores = Cores {
            emulator_s: workers.emulator_s,
            python_s: workers.python_s,
            // An actor's time has in it that of the process it has started.
            acting_s: summary.actors.iter().map(|actor| on_core(actor.cores)).sum::<f64>()
                - workers.emulator_s
                - workers.python_s,
            learning_s: on_core(summary.learner_cores),
            all_s: summary.train_s * setting.n_cores as f64,
        };
        let setting = Setting { simd: summary.kernels.clone(), ..setting };
        Ok(Long {
            setting,
            env: env.to_owned(),
            flags: flags.to_owned(),
            minutes: summary.train_s / 60.0,
            frames: summary.frames,
            emulator_frames: summary.emulator_frames,
            frames_per_s: summary.frames_per_s,
            policy_lag: summary.mean_policy_lag(),
            restarts: summary.actors.iter().map(|actor| actor.restarts).sum::<u64>()
                + summary.reliability.learner_restarts,
            scores: scores(&rows),
            eval: summary.eval,
            cores,
        })
    }
}

/// Evenly over the run's time, the last one at its end.
fn scores(rows: &[MetricsRow]) -> Vec<Score> {
    let score = |row: &MetricsRow| {
        let last100 = row.score_last100?;
        Some(Score { minutes: row.time_s / 60.0, frames: row.frames, last100 })
    };
    let scores: Vec<Score> = rows.iter().filter_map(score).collect();
    let end = scores.last().map_or(0.0, |last| last.minutes);
    let mut next = 1;
    let is_due = |score: &Score| {
        let is_due = score.minutes >= end * next as f64 / N_SCORES as f64;
        next += usize::from(is_due);
        is_due
    };
    scores.into_iter().filter(is_due).collect()
}

impl Long {
    pub fn markdown(&self, name: &str) -> String {
        let Long { setting, env, flags, minutes, .. } = self;
        let flags = if flags.is_empty() { String::new() } else { format!(" {flags}") };
        format!(
            "# {env}: {minutes:.0} minutes on {} cores\n\n`impala train --env {env}{flags}`, stopped after that time. \
             {}.\n\n{}\n{}![scores]({name}.svg)\n\n\
             ## Who had the cores\n\n{}\nThe emulator's is the time of its own threads, Python's that of its first one. \
             Seconds on a core, by the kernel's count.\n\n{}\n",
            setting.n_cores,
            self.counts(),
            self.score_table(),
            self.greedy(),
            self.cores.table(self.frames),
            setting.line()
        )
    }

    fn counts(&self) -> String {
        let millions = |frames: u64| format!("{:.2} M", frames as f64 / 1e6);
        let emulator =
            self.emulator_frames.map(|frames| format!(", {} of the emulator", millions(frames)));
        format!(
            "{} frames{}; {} frames/s; policy lag {:.1} updates; processes started again: {}",
            millions(self.frames),
            emulator.unwrap_or_default(),
            figure(self.frames_per_s),
            self.policy_lag,
            self.restarts
        )
    }

    /// A paragraph; none where nothing was played at the end.
    fn greedy(&self) -> String {
        self.eval.as_ref().map_or(String::new(), |eval| {
            let [mean, min, max] = [eval.mean, eval.min, eval.max].map(figure);
            format!(
                "Greedy episodes at the end: {}, mean {mean}, from {min} to {max}.\n\n",
                eval.episodes
            )
        })
    }

    fn score_table(&self) -> String {
        let mut table = Table::new(["minutes", "M frames", "mean of the last 100 games"]);
        for Score { minutes, frames, last100 } in &self.scores {
            let frames = format!("{:.2}", *frames as f64 / 1e6);
            table.push([format!("{minutes:.0}"), frames, format!("{last100:.1}")]);
        }
        table.text()
    }
}

impl Cores {
    fn table(&self, frames: u64) -> String {
        let Cores { emulator_s, python_s, acting_s, learning_s, all_s } = *self;
        let rest_s = all_s - emulator_s - python_s - acting_s - learning_s;
        let parts = [
            ("emulator", emulator_s),
            ("Python", python_s),
            ("acting", acting_s),
            ("learning", learning_s),
            ("nobody of these", rest_s),
        ];
        let mut table = Table::new(["", "of the cores", "µs a frame"]);
        for (name, seconds) in parts {
            let share = format!("{:.1} %", 100.0 * seconds / all_s);
            table.push([name.to_owned(), share, figure(1e6 * seconds / frames as f64)]);
        }
        table.text()
    }
}
