//! An environment of each kind of space trains for a minute. All is well where none had a fault and nobody had to be
//! started again.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use impala::config::{Config, ConfigError, Layers};
use impala::os::process::n_cores;
use impala::telemetry::{MetricsRow, Summary};
use serde::Serialize;

use super::common::{Setting, impala};
use super::endless::{EndlessRun, Interrupt};
use super::figure::figure;
use super::table::Table;
use super::ways::N_ENVS;

/// Rows of metrics, and frames between two of them; a minute has far fewer.
const N_ROWS: u64 = 1_000_000;
const ROW_FRAMES: u64 = 1_000;

const KINDS: [Kind; 5] = [
    Kind {
        wrapper: Some("minigrid.wrappers:ImgObsWrapper"),
        // Too small for the kernels of the others.
        setting: Some("network.torso=minatar"),
        ..Kind::of("small pictures", "gym:MiniGrid-Empty-5x5-v0")
    },
    Kind { arg: Some("continuous=false"), ..Kind::of("pictures", "gym:CarRacing-v3") },
    Kind::of("Discrete", "gym:Taxi-v4"),
    Kind::of("Tuple", "gym:Blackjack-v1"),
    Kind::of("Dict", "bench.environments.errand:Errand"),
];

/// An environment that stands for others.
struct Kind {
    /// What it shows.
    name: &'static str,
    env: &'static str,
    arg: Option<&'static str>,
    wrapper: Option<&'static str>,
    setting: Option<&'static str>,
}

/// The file `results/bench/env-kinds.json`.
#[derive(Serialize)]
pub struct Kinds {
    setting: Setting,
    seconds: f64,
    rows: Vec<Row>,
}

/// What came of one.
#[derive(Serialize)]
struct Row {
    kind: &'static str,
    env: &'static str,
    /// What the engine makes of it.
    spaces: String,
    frames: u64,
    frames_per_s: f64,
    episodes: u64,
    score_last100: Option<f64>,
    /// Rollouts and updates that were no numbers, workers that hung, damage.
    faults: u64,
    /// Workers that were started again.
    restarts: u64,
}

/// Trains one after the other, each so long; without those whose network this build lacks.
pub fn train(setting: Setting, python: &Path, time: Duration) -> Result<Kinds> {
    let interrupt = Interrupt::catch()?;
    let mut rows = Vec::new();
    for kind in &KINDS {
        eprintln!("training {}", kind.env);
        rows.extend(kind.train(python, time, &interrupt).with_context(|| kind.env)?);
    }
    Ok(Kinds { setting, seconds: time.as_secs_f64(), rows })
}

impl Kind {
    const fn of(name: &'static str, env: &'static str) -> Kind {
        Kind { name, env, arg: None, wrapper: None, setting: None }
    }

    fn train(&self, python: &Path, time: Duration, interrupt: &Interrupt) -> Result<Option<Row>> {
        let config = self.config(python)?;
        match config.check() {
            Err(error @ ConfigError::NetworkNeedsTorch { .. }) => {
                eprintln!("LEFT OUT: {error}");
                return Ok(None);
            }
            checked => checked?,
        }
        let mut run = EndlessRun::start(Path::new(impala().get_program()), &config, &[], &[])?;
        run.look_in()?;
        ensure!(!interrupt.came_within(time)?, "stopped");
        run.stop()?;
        self.row(&config, &run).map(Some)
    }

    fn config(&self, python: &Path) -> Result<Config> {
        let texts = |text: Option<&str>| text.map(str::to_owned).into_iter().collect::<Vec<_>>();
        let layers = Layers {
            env: Some(self.env),
            env_args: &texts(self.arg),
            env_wrappers: &texts(self.wrapper),
            assignments: &texts(self.setting),
            python: python.to_str(),
            ..Layers::default()
        };
        let mut config = layers.resolve()?;
        config.frames = N_ROWS * ROW_FRAMES;
        config.report.rows = N_ROWS;
        config.report.eval_episodes = 0;
        (config.actors.count, config.actors.envs_per_actor) = (n_cores(), N_ENVS);
        Ok(config)
    }

    fn row(&self, config: &Config, run: &EndlessRun) -> Result<Row> {
        let summary: Summary = run.summary()?;
        let mut metrics = csv::Reader::from_path(run.run_dir().join("metrics.csv"))?;
        let last = metrics.deserialize::<MetricsRow>().last().transpose()?;
        let of_actors = |of: fn(&impala::telemetry::ActorSummary) -> u64| -> u64 {
            summary.actors.iter().map(of).sum()
        };
        let told = &summary.reliability;
        Ok(Row {
            kind: self.name,
            env: self.env,
            spaces: config.spec()?.spaces(),
            frames: summary.frames,
            frames_per_s: summary.frames_per_s,
            episodes: last.map_or(0, |row| row.episodes),
            score_last100: summary.score_last100,
            faults: of_actors(|actor| actor.bad_rollouts)
                + told.hangs
                + told.segment_resets
                + told.skipped_updates
                + told.rollbacks,
            restarts: of_actors(|actor| actor.restarts) + told.learner_restarts,
        })
    }
}

impl Kinds {
    pub fn are_well(&self) -> bool {
        self.rows.iter().all(|row| row.faults + row.restarts == 0)
    }

    pub fn markdown(&self) -> String {
        let head = [
            "shows",
            "environment",
            "to the engine",
            "frames",
            "frames/s",
            "episodes",
            "last 100",
            "faults",
            "restarts",
        ];
        let mut table = Table::new(head);
        for row in &self.rows {
            let score = row.score_last100.map_or("–".into(), figure);
            let names = [row.kind.to_owned(), format!("`{}`", row.env), row.spaces.clone()];
            let numbers =
                [row.frames.to_string(), figure(row.frames_per_s), row.episodes.to_string()];
            let ends = [score, row.faults.to_string(), row.restarts.to_string()];
            table.push(names.into_iter().chain(numbers).chain(ends));
        }
        format!(
            "# An environment of each kind of space\n\nEach trained for {:.0} s, with an actor a core and {N_ENVS} \
             environments an actor. Last 100: mean of the last training episodes. Faults: rollouts and updates that were \
             no numbers, workers that hung, damage.\n\n{}\n{}\n",
            self.seconds,
            table.text(),
            self.setting.line()
        )
    }
}
