//! Every setting of a run: its default, its meaning, its check.
//!
//! A configuration is built from the defaults, then a TOML file, then command-line flags, and is
//! checked as a whole by [`Config::check`] before anything starts. The resolved copy lies in every run
//! folder as `config.toml` and reproduces the run's settings. Knows nothing of processes or memory.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::env::{self, VecEnv};
use crate::input::read_text_at_most;
use crate::kernels::Simd;
use crate::params::{MAX_LAYERS, MAX_WIDTH, NetworkShape};
use crate::rollout::RolloutShape;
use crate::vtrace::VtraceParams;

/// Every setting with a long comment is far below this.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// All settings of a training run. The defaults learn CartPole-v1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Gymnasium id of the environment.
    pub env: String,
    /// Seed of everything random: weights, environments, actions.
    pub seed: u64,
    /// Budget: frames to consume by learning.
    pub frames: u64,
    /// End as soon as the mean of the last 100 training episodes reaches the environment's threshold.
    pub stop_when_solved: bool,
    /// Which implementation of the learner.
    pub learner: LearnerKind,
    /// Matrix kernels: `auto` takes the widest that the processor has.
    pub kernels: String,
    /// The actor processes and their rollouts.
    pub actors: ActorSettings,
    /// The policy and baseline network.
    pub network: NetworkSettings,
    /// The loss.
    pub loss: LossSettings,
    /// The optimiser and its schedule.
    pub optimizer: OptimizerConfig,
    /// What is reported, and how the result is evaluated.
    pub report: ReportSettings,
}

/// Which implementation computes the learner's gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearnerKind {
    /// `native` for every network it supports (all of today's), else `torch`.
    Auto,
    /// Hand-derived gradients on the built-in kernels.
    Native,
    /// libtorch's autograd; needs a build with the cargo feature `torch`.
    Torch,
}

/// The actor processes and their rollouts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActorSettings {
    /// N, actor processes.
    pub count: usize,
    /// E, environments each actor steps side by side.
    pub envs_per_actor: usize,
    /// T, steps of each environment in a rollout.
    pub unroll_length: usize,
    /// Slots in each actor's ring. One keeps the policy lag lowest and costs no throughput while
    /// there are several actors: the others collect while the learner holds one's slot.
    pub slots_per_actor: usize,
}

/// The policy and baseline network: a shared tanh torso with two linear heads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSettings {
    /// Units of each hidden layer.
    pub hidden: Vec<usize>,
}

/// The loss, summed over a batch: policy gradient + baseline_cost · critic − entropy_cost · entropy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossSettings {
    /// S, slots a batch.
    pub batch_slots: usize,
    /// γ.
    pub discount: f32,
    /// Multiplies every reward before learning (scores are reported unscaled).
    pub reward_scale: f32,
    /// Weight of the critic loss ½ (vs − V)².
    pub baseline_cost: f32,
    /// Weight of the entropy bonus.
    pub entropy_cost: f32,
    /// ρ̄ of V-trace.
    pub rho_bar: f32,
    /// c̄ of V-trace.
    pub c_bar: f32,
    /// Clip of the policy gradient's importance ratio.
    pub pg_rho_bar: f32,
    /// λ of V-trace.
    pub lambda: f32,
    /// Rollouts whose policy lag is larger, in updates, are dropped and counted, never learned.
    pub max_policy_lag: u64,
}

/// The optimiser and its schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Which optimiser.
    pub kind: OptimizerKind,
    /// Learning rate at the start.
    pub learning_rate: f64,
    /// Learning rate from `decay_frames` on, as a fraction of the start's.
    pub learning_rate_floor: f64,
    /// Frames over which the rate falls linearly to its floor.
    pub decay_frames: u64,
    /// Largest norm of the gradient of the summed loss.
    pub max_grad_norm: f32,
    /// RMSProp: smoothing of the squared gradient.
    pub alpha: f32,
    /// Adam: smoothing of the gradient and of its square.
    pub betas: [f32; 2],
    /// Added to the denominator.
    pub epsilon: f32,
}

/// The optimiser's update rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// RMSProp as in PyTorch, without momentum.
    RmsProp,
    /// Adam as in PyTorch.
    Adam,
}

/// What is reported, and how the result is evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportSettings {
    /// Rows of `metrics.csv` over the frame budget, evenly spaced in frames.
    pub rows: u64,
    /// Episodes of the greedy evaluation at the end; 0 for none.
    pub eval_episodes: u64,
}

impl LearnerKind {
    /// The backend that runs: what `auto` stands for is known.
    pub fn backend_name(self) -> &'static str {
        match self {
            LearnerKind::Auto | LearnerKind::Native => "native",
            LearnerKind::Torch => "torch",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            env: "CartPole-v1".into(),
            seed: 1,
            frames: 2_000_000,
            stop_when_solved: false,
            learner: LearnerKind::Auto,
            kernels: "auto".into(),
            actors: ActorSettings::default(),
            network: NetworkSettings::default(),
            loss: LossSettings::default(),
            optimizer: OptimizerConfig::default(),
            report: ReportSettings::default(),
        }
    }
}

impl Default for ActorSettings {
    fn default() -> Self {
        ActorSettings { count: 4, envs_per_actor: 32, unroll_length: 20, slots_per_actor: 1 }
    }
}

impl Default for NetworkSettings {
    fn default() -> Self {
        NetworkSettings { hidden: vec![64, 64] }
    }
}

impl Default for LossSettings {
    fn default() -> Self {
        LossSettings {
            batch_slots: 1,
            discount: 0.99,
            reward_scale: 0.1,
            baseline_cost: 0.5,
            entropy_cost: 0.001,
            rho_bar: 1.0,
            c_bar: 1.0,
            pg_rho_bar: 1.0,
            lambda: 1.0,
            max_policy_lag: 64,
        }
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        OptimizerConfig {
            kind: OptimizerKind::RmsProp,
            learning_rate: 2e-3,
            learning_rate_floor: 0.05,
            decay_frames: 600_000,
            max_grad_norm: 40.0,
            alpha: 0.99,
            betas: [0.9, 0.999],
            epsilon: 0.01,
        }
    }
}

impl Default for ReportSettings {
    fn default() -> Self {
        ReportSettings { rows: 200, eval_episodes: 100 }
    }
}

/// Why a configuration was refused. Each message is one line: where, what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: cannot read the configuration: {source}; give a readable TOML file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or has an unknown key or a value of the wrong type.
    #[error("{}:{line}: `{text}`: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The offending line.
        text: String,
        /// What is wrong and what was expected.
        message: String,
    },
    /// A setting has a value that cannot work.
    #[error("{field} = {value}: {remedy}")]
    Value {
        /// Dotted name of the setting.
        field: &'static str,
        /// The value given.
        value: String,
        /// What would work.
        remedy: String,
    },
    /// The libtorch learner is asked for and not built in.
    #[error(
        "learner = torch: this build has no libtorch; use `make train LEARNER=torch`, \
         or build with `cargo build --release --features torch`"
    )]
    NoTorch,
}

impl Config {
    /// Reads a TOML file over the defaults. Unknown keys and wrong types are errors.
    pub fn from_file(path: &Path) -> Result<Config, ConfigError> {
        let text = File::open(path)
            .and_then(|file| read_text_at_most(file, MAX_FILE_BYTES))
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        toml::from_str(&text).map_err(|error| parse_error(path, &text, &error))
    }

    /// The file's text for the resolved settings.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("plain structs of numbers and strings serialise to TOML")
    }

    /// Checks every setting on its own and against the others.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_env()?;
        self.check_learner()?;
        self.simd()?;
        self.check_sizes()?;
        self.check_loss()?;
        self.check_optimizer()
    }

    /// Sizes of the network for this configuration's environment.
    ///
    /// # Errors
    /// If the environment is not known.
    pub fn network_shape(&self) -> Result<NetworkShape, ConfigError> {
        let spec = self.spec()?;
        Ok(NetworkShape {
            obs_dim: spec.obs_dim,
            hidden: self.network.hidden.clone(),
            n_actions: spec.n_actions,
        })
    }

    /// The environment's specification.
    pub fn spec(&self) -> Result<&'static env::EnvSpec, ConfigError> {
        env::spec(&self.env).map_err(|error| value("env", &self.env, error.to_string()))
    }

    /// `n_envs` environments, seeded from `seed` on.
    ///
    /// # Errors
    /// If the environment is not known.
    pub fn make_vec(&self, n_envs: usize, seed: u64) -> Result<Box<dyn VecEnv>, ConfigError> {
        env::make_vec(&self.env, n_envs, seed)
            .map_err(|error| value("env", &self.env, error.to_string()))
    }

    /// The kernels chosen.
    ///
    /// # Errors
    /// If the name is not known or the processor lacks them.
    pub fn simd(&self) -> Result<Simd, ConfigError> {
        Simd::named(&self.kernels)
            .map_err(|error| value("kernels", &self.kernels, error.to_string()))
    }

    /// What one rollout slot holds.
    ///
    /// # Errors
    /// If the environment is not known.
    pub fn rollout_shape(&self) -> Result<RolloutShape, ConfigError> {
        let spec = self.spec()?;
        Ok(RolloutShape {
            unroll_length: self.actors.unroll_length,
            n_envs: self.actors.envs_per_actor,
            obs_dim: spec.obs_dim,
            n_actions: spec.n_actions,
        })
    }

    /// V-trace's constants.
    pub fn vtrace(&self) -> VtraceParams<f32> {
        let LossSettings { rho_bar, c_bar, pg_rho_bar, lambda, .. } = self.loss;
        VtraceParams { rho_bar, c_bar, pg_rho_bar, lambda }
    }

    /// Frames between two rows of `metrics.csv`.
    pub fn row_interval_frames(&self) -> u64 {
        (self.frames / self.report.rows).max(1)
    }

    fn check_env(&self) -> Result<(), ConfigError> {
        self.spec()?;
        // TOML's integers are signed: a larger value could not be written to the run's config.toml.
        within("seed", self.seed, 0, i64::MAX as u64)?;
        within("frames", self.frames, 1, i64::MAX as u64)
    }

    fn check_learner(&self) -> Result<(), ConfigError> {
        match self.learner {
            LearnerKind::Torch if !cfg!(feature = "torch") => Err(ConfigError::NoTorch),
            _ => Ok(()),
        }
    }

    fn check_sizes(&self) -> Result<(), ConfigError> {
        let ActorSettings { count, envs_per_actor, unroll_length, slots_per_actor } = self.actors;
        within("actors.count", count, 1, 256)?;
        within("actors.envs_per_actor", envs_per_actor, 1, 65_536)?;
        within("actors.unroll_length", unroll_length, 1, 65_536)?;
        within("actors.slots_per_actor", slots_per_actor, 1, 1_024)?;
        within("network.hidden: number of layers", self.network.hidden.len(), 1, MAX_LAYERS)?;
        for &units in &self.network.hidden {
            within("network.hidden", units, 1, MAX_WIDTH)?;
        }
        self.check_network()?;
        within("report.rows", self.report.rows, 1, 1_000_000)?;
        within("report.eval_episodes", self.report.eval_episodes, 0, 1_000_000)?;
        self.check_batch(count * slots_per_actor)
    }

    /// Widths that are allowed one by one may be too much together.
    fn check_network(&self) -> Result<(), ConfigError> {
        let fault = self.network_shape()?.fault();
        let hidden = || format!("{:?}", self.network.hidden);
        fault.map_or(Ok(()), |fault| Err(value("network.hidden", hidden(), fault)))
    }

    /// A batch can never hold more slots than all rings have: the learner would wait for ever.
    fn check_batch(&self, n_slots: usize) -> Result<(), ConfigError> {
        let slots = self.loss.batch_slots;
        if (1..=n_slots).contains(&slots) {
            return Ok(());
        }
        let remedy = format!(
            "must be 1 to {n_slots}, the slots of all rings; \
             raise actors.count or actors.slots_per_actor for larger batches"
        );
        Err(value("loss.batch_slots", slots, remedy))
    }

    fn check_loss(&self) -> Result<(), ConfigError> {
        let loss = &self.loss;
        between("loss.discount", loss.discount, 0.0, 1.0)?;
        between("loss.reward_scale", loss.reward_scale, 1e-9, 1e9)?;
        between("loss.baseline_cost", loss.baseline_cost, 0.0, 1e9)?;
        between("loss.entropy_cost", loss.entropy_cost, 0.0, 1e9)?;
        between("loss.rho_bar", loss.rho_bar, 1e-9, 1e9)?;
        between("loss.c_bar", loss.c_bar, 0.0, 1e9)?;
        between("loss.pg_rho_bar", loss.pg_rho_bar, 1e-9, 1e9)?;
        between("loss.lambda", loss.lambda, 0.0, 1.0)
    }

    fn check_optimizer(&self) -> Result<(), ConfigError> {
        let optimizer = &self.optimizer;
        between("optimizer.learning_rate", optimizer.learning_rate as f32, 0.0, 1e3)?;
        between("optimizer.learning_rate_floor", optimizer.learning_rate_floor as f32, 0.0, 1.0)?;
        between("optimizer.max_grad_norm", optimizer.max_grad_norm, 1e-9, 1e9)?;
        between("optimizer.alpha", optimizer.alpha, 0.0, 0.999_999)?;
        between("optimizer.betas", optimizer.betas[0], 0.0, 0.999_999)?;
        between("optimizer.betas", optimizer.betas[1], 0.0, 0.999_999)?;
        between("optimizer.epsilon", optimizer.epsilon, 1e-12, 1e3)
    }
}

fn value(field: &'static str, value: impl ToString, remedy: String) -> ConfigError {
    ConfigError::Value { field, value: value.to_string(), remedy }
}

fn within<T: PartialOrd + std::fmt::Display>(
    field: &'static str,
    given: T,
    low: T,
    high: T,
) -> Result<(), ConfigError> {
    if given >= low && given <= high {
        return Ok(());
    }
    Err(value(field, given, format!("must be {low} to {high}")))
}

/// As [`within`] for real numbers, where infinities and NaN are refused too.
fn between(field: &'static str, given: f32, low: f32, high: f32) -> Result<(), ConfigError> {
    within(field, given, low, high)
}

/// One line from a TOML error: the file's line, its text, what was expected.
fn parse_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text[..start].lines().count().max(1);
    let line = if text[..start].ends_with('\n') { line + 1 } else { line };
    ConfigError::Parse {
        path: path.into(),
        line,
        text: text.lines().nth(line - 1).unwrap_or_default().trim().into(),
        message: error.message().replace('\n', " "),
    }
}
