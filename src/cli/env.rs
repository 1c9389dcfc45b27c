//! `impala env`: looks at an environment before anything is trained in it.

use crate::base::clock::in_seconds;
use crate::base::units::{number_of, score};
use crate::config::{Config, Layers};
use crate::env::Registry;
use crate::play::trial::Trial;
use crate::sinks::terminal::rate;
use crate::space::{ObsSpace, Spec};
use anyhow::anyhow;

use super::Failure;
use super::config::Making;

/// Environments that are tried side by side in one process.
const N_ENVS: usize = 8;

/// Steps of each that are tried, at most.
const MAX_STEPS: usize = 1000;

/// Time that is tried, at most, ns.
const MAX_NS: u64 = 2_000_000_000;

/// Seed of the trials.
const SEED: u64 = 1;

/// Look at an environment.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Check(Check),
}

/// Say what an environment is, how fast, and whether it can be trained.
///
/// Eight environments in one process take the same random actions twice, for two seconds at most. What is
/// compared: whether one seed gives the same observations, and whether each end is followed by a reset.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    impala env check gym:LunarLander-v3            one of Gymnasium's\n  \
    impala env check gym:MiniGrid-Empty-5x5-v0 --env-wrapper minigrid.wrappers:ImgObsWrapper\n  \
    impala env check exec:./my_simulator           any program that speaks the protocol")]
struct Check {
    /// Id of the environment.
    #[arg(value_name = "ID")]
    env: String,
    #[command(flatten)]
    making: Making,
}

/// Does what was asked for.
pub fn run(args: &Args, environments: &Registry) -> Result<(), Failure> {
    let Command::Check(check) = &args.command;
    check.run(environments)
}

impl Check {
    fn run(&self, environments: &Registry) -> Result<(), Failure> {
        let layers = Layers { env: Some(&self.env), ..self.making.layers(environments) };
        let config = layers.resolve().map_err(|error| Failure::Usage(error.into()))?;
        if config.n_tasks() > 1 {
            let env = &self.env;
            return Err(Failure::Usage(anyhow!("{env}: these are several; try each out alone")));
        }
        let spec = config.spec().map_err(|error| Failure::Usage(error.into()))?;
        print_spec(&spec);
        let frames = config.registry().frames_per_step(&config.env, &config.env_args);
        if let Ok(frames @ 2..) = frames {
            say!("frames        a step is {frames} frames of the emulator");
        }
        let trials = [try_out(&config)?, try_out(&config)?];
        print_trials(&trials);
        let notes = config.registry().notes(&config.env, &config.env_args);
        for note in notes.map_err(|error| Failure::Usage(error.into()))? {
            say!("note          {note}");
        }
        config.check().map_err(|error| Failure::Usage(anyhow!("it cannot be trained: {error}")))?;
        if trials[0].n_not_reset > 0 {
            return Err(Failure::Usage(anyhow!(
                "it cannot be trained: the step after an end must begin the next episode"
            )));
        }
        say!("It can be trained: impala train --env {}", self.env);
        Ok(())
    }
}

/// One trial, in a process of its own where the environments have one.
fn try_out(config: &Config) -> Result<Trial, Failure> {
    let failed = |error| Failure::Run(error);
    let envs = config.registry().make_vec(&config.env, &config.env_args, N_ENVS, SEED);
    let mut envs = envs.map_err(|error| failed(error.into()))?;
    Trial::of(&mut *envs, MAX_STEPS, MAX_NS).map_err(|error| failed(error.into()))
}

fn print_spec(spec: &Spec) {
    let inputs = match &spec.obs {
        ObsSpace::Vector { bounds: Some(_), .. } => "; a network sees their bounds as -1 to 1",
        ObsSpace::Vector { bounds: None, .. } => "; a network sees them as they are",
        ObsSpace::Image { .. } => " pictures; a network sees 0 to their largest pixel as 0 to 1",
    };
    let limit = match spec.max_episode_steps {
        Some(steps) => format!("at most {}", number_of(steps.into(), "step")),
        None => "no time limit known".into(),
    };
    let threshold = spec.reward_threshold.map_or_else(
        || "no threshold".into(),
        |threshold| format!("solved at a mean return of {}", score(threshold)),
    );
    say!("{}", spec.id);
    say!("observations  {}{inputs}", spec.obs);
    say!("actions       {}", spec.actions);
    say!("episodes      {limit}, {threshold}");
}

fn print_trials([one, again]: &[Trial; 2]) {
    let env_s = in_seconds(one.env_ns);
    say!(
        "speed         {} by one process with {N_ENVS} environments",
        rate(one.n_steps as f64 / env_s, "steps")
    );
    let n_compared = one.digests.len().min(again.digests.len()) - 1;
    match one.differs_after(again) {
        None => say!("seeds         one seed gave the same {n_compared} steps twice"),
        Some(0) => say!("seeds         one seed gave two first observations: it is not heeded"),
        Some(step) => say!("seeds         one seed gave two courses from step {step} on"),
    }
    let ends = number_of(one.n_terminated, "terminal state");
    let lives = match one.n_lives_lost {
        0 => String::new(),
        1 => " and 1 lost life".into(),
        n_lost => format!(" and {n_lost} lost lives"),
    };
    let cuts = number_of(one.n_truncated, "cut");
    let mean =
        one.returns.iter().map(|score| f64::from(*score)).sum::<f64>() / one.returns.len() as f64;
    let mean = match one.returns[..] {
        [] => "no episode that is over".into(),
        _ => format!("a mean return of {}", score(mean)),
    };
    say!("ends          {ends}{lives}, {cuts}, {mean}, of random actions");
    if one.n_not_reset > 0 {
        say!("resets        {} had no reset after them", number_of(one.n_not_reset, "end"));
    }
    if one.n_bad > 0 {
        say!("numbers       {} NaN or infinite", number_of(one.n_bad, "step or reward"));
    }
}
