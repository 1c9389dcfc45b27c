//! `impala config`: prints every setting with its meaning.

use std::path::PathBuf;

use crate::config::{Config, Layers, PRESETS, preset};
use crate::env::Registry;
use anyhow::anyhow;

use super::{Failure, known};

/// Print every setting as a commented file for `impala train --config`.
///
/// Settings are those that `impala train` would run with, given the same options. Each stands under
/// its meaning, its limits and its default.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    impala config > my.toml                     then edit it, and: impala train --config my.toml\n  \
    impala config --env MountainCar-v0          with what it needs other than the defaults\n  \
    impala config --preset few-frames           what learns CartPole-v1 from as few frames as it can\n  \
    impala config --config results/latest/config.toml --set actors.count=8")]
pub struct Args {
    #[command(flatten)]
    sources: Sources,
}

/// Where settings come from.
#[derive(clap::Args)]
pub struct Sources {
    /// TOML file with any of the settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any one setting, such as loss.discount=0.995; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Id of the environment.
    #[arg(long, value_name = "ID")]
    env: Option<String>,
    /// Which preset of the environment: default, for fewest seconds, or few-frames, for fewest frames where the
    /// environment is slower than the learner [default: default].
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    #[command(flatten)]
    making: Making,
}

/// How the environment is made.
#[derive(clap::Args)]
pub struct Making {
    /// An argument of the environment, such as size=9; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    env_arg: Vec<String>,
    /// A wrapper of an environment of Python, such as minigrid.wrappers:ImgObsWrapper or
    /// my_wrappers:Crop={"size": 7}; may be given several times, the innermost first.
    #[arg(long, value_name = "MODULE:CLASS")]
    env_wrapper: Vec<String>,
    /// The Python of such environments [default: IMPALA_PYTHON, else of VIRTUAL_ENV, else of .venv, else
    /// python3].
    #[arg(long, value_name = "PATH")]
    python: Option<String>,
}

impl Making {
    /// The settings with that in them, and nothing else.
    pub fn layers<'a>(&'a self, environments: &'a Registry) -> Layers<'a> {
        Layers {
            environments: Some(environments),
            env_args: &self.env_arg,
            env_wrappers: &self.env_wrapper,
            python: self.python.as_deref(),
            ..Layers::default()
        }
    }

    /// The same on a command line.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let args = self.env_arg.iter().flat_map(|arg| ["--env-arg", arg]);
        let wrappers = self.env_wrapper.iter().flat_map(|wrapper| ["--env-wrapper", wrapper]);
        let python = self.python.iter().flat_map(|python| ["--python", python]);
        args.chain(wrappers).chain(python)
    }

    fn is_empty(&self) -> bool {
        self.env_arg.is_empty() && self.env_wrapper.is_empty() && self.python.is_none()
    }
}

impl Sources {
    /// The settings in layers: defaults, the preset of the environment, the file, then assignments.
    pub fn layers<'a>(&'a self, environments: &'a Registry) -> Layers<'a> {
        Layers {
            env: self.env.as_deref(),
            preset: self.preset.as_deref(),
            file: self.config.as_deref(),
            assignments: &self.set,
            ..self.making.layers(environments)
        }
    }

    /// Whether a file was given.
    pub fn has_file(&self) -> bool {
        self.config.is_some()
    }

    /// Name of the preset.
    fn preset(&self) -> &str {
        let [(default, _), ..] = PRESETS;
        self.preset.as_deref().unwrap_or(default)
    }

    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.config.is_none()
            && self.set.is_empty()
            && self.env.is_none()
            && self.preset.is_none()
            && self.making.is_empty()
    }
}

/// Whether settings that a run or a checkpoint brings along may name code to be run.
#[derive(clap::Args)]
pub struct Trust {
    /// Run the code that the run's settings name: exec:PATH, MODULE:CALLABLE, wrappers, a Python. Whoever made
    /// the run chose it.
    #[arg(long)]
    trust: bool,
}

impl Trust {
    /// Refuses settings that name code, unless it is trusted.
    pub fn check(&self, config: &Config) -> anyhow::Result<()> {
        match config.named_code() {
            Some(code) if !self.trust => Err(anyhow!(
                "the run's settings name code to be run ({code}); if you trust whoever made them, add --trust"
            )),
            _ => Ok(()),
        }
    }
}

/// Prints the settings; those that cannot work are refused as `impala train` would.
pub fn run(args: &Args, environments: &Registry) -> Result<(), Failure> {
    let resolved = args.sources.layers(environments).resolve();
    let config = resolved.map_err(|error| Failure::Usage(error.into()))?;
    config.check().map_err(|error| Failure::Usage(error.into()))?;
    let spec = config.spec().map_err(|error| Failure::Usage(error.into()))?;
    say!("# Settings of `impala train`. Any may be left out.");
    say!("# Order: default, preset of the environment, --config FILE, --set NAME=VALUE, flag.");
    say!("# Environments: {}.", known(environments));
    let presets = PRESETS.map(|(name, aim)| format!("{name} ({aim})")).join("; ");
    say!("# Presets: {presets}.");
    let preset = preset(args.sources.preset(), &config.env);
    let preset = preset.map_err(|error| Failure::Usage(error.into()))?;
    for line in preset.lines().take_while(|line| line.starts_with('#')) {
        say!("{line}");
    }
    say!("# {spec}.");
    say!("# What auto and 0 stand for here: {}.", open(&config));
    say!("\n{}", config.to_toml().trim_end());
    Ok(())
}

/// What the settings leave open, and what that comes to here.
fn open(config: &Config) -> String {
    let clip = config.loss.epsilon().map_or("none".to_owned(), |epsilon| epsilon.to_string());
    format!(
        "learner {}, learner_threads {}, batch_threads {}, kernels {}, loss.clip {clip}",
        config.learner_name(),
        config.n_learner_threads(),
        config.n_batch_threads(),
        config.kernels_name(),
    )
}
