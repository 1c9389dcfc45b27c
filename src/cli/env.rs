//! `impala env`: looks at an environment before anything is trained in it.

use crate::base::clock::in_seconds;
use crate::base::units::{number_of, score, short};
use crate::config::{Config, Layers};
use crate::env::Registry;
use crate::play::trial::Trial;
use crate::sinks::terminal::rate;
use crate::space::{ObsSpace, Spec};
use anyhow::anyhow;

use super::Failure;
use super::config::Making;
use super::shell;

/// Environments that are tried side by side in one process.
const N_ENVS: usize = 8;

/// Steps of each that are tried, at most.
const MAX_STEPS: usize = 1000;

/// Time after which no further step is tried, ns.
const MAX_NS: u64 = 2_000_000_000;

/// From here on a number is hardly meant: a network and its gradient are made for numbers about as large as 1.
const WILD: f32 = 1e6;

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
/// Eight environments in one process take the same random actions twice, for about two seconds each, the start apart.
/// What is compared: whether one seed gives the same observations, whether each end is followed by a reset, and whether
/// numbers are finite and within their bounds. Those in a process of their own may take as long as in training:
/// env_start_timeout_s until they can be stepped, supervision.hang_timeout_s for a step.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    impala env check gym:LunarLander-v3            one of Gymnasium's\n  \
    impala env check gym:MiniGrid-Empty-5x5-v0 --env-wrapper minigrid.wrappers:ImgObsWrapper\n  \
    impala env check exec:./my_simulator           any program that speaks the protocol\n  \
    impala env check my_module:make --set supervision.hang_timeout_s=60   slow steps")]
struct Check {
    /// Id of the environment.
    #[arg(value_name = "ID")]
    env: String,
    /// Any one setting of the training that is meant, such as env_start_timeout_s=600; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
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
        let config = self.config(environments)?;
        let spec = config.spec().map_err(|error| Failure::Usage(error.into()))?;
        print_spec(&spec);
        let frames = config.registry().frames_per_step(&config.env, &config.env_args);
        if let Ok(frames @ 2..) = frames {
            say!("frames        a step is {frames} frames of the emulator");
        }
        let trials = [try_out(&config)?, try_out(&config)?];
        print_trials(&trials);
        for warning in warnings(&spec, &trials[0]) {
            say!("warning       {warning}");
        }
        let notes = config.registry().notes(&config.env, &config.env_args);
        for note in notes.map_err(|error| Failure::Usage(error.into()))? {
            say!("note          {note}");
        }
        config.check().map_err(|error| Failure::Usage(anyhow!("it cannot be trained: {error}")))?;
        check_trials(&trials)?;
        let set = self.set.iter().flat_map(|assignment| ["--set", assignment]);
        let words = ["impala", "train", "--env", &self.env].into_iter().chain(set);
        say!("It can be trained: {}", shell::line(words.chain(self.making.words())));
        Ok(())
    }

    fn config(&self, environments: &Registry) -> Result<Config, Failure> {
        let layers = Layers {
            env: Some(&self.env),
            assignments: &self.set,
            ..self.making.layers(environments)
        };
        let config = layers.resolve().map_err(|error| Failure::Usage(error.into()))?;
        if config.n_tasks() > 1 {
            let env = &self.env;
            return Err(Failure::Usage(anyhow!("{env}: these are several; try each out alone")));
        }
        Ok(config)
    }
}

/// Refuses what no training could learn from.
fn check_trials(trials: &[Trial; 2]) -> Result<(), Failure> {
    let refused = |why| Err(Failure::Usage(anyhow!("it cannot be trained so: {why}")));
    if let Some(bad) = trials.iter().find_map(bad_numbers) {
        return refused(format!("{bad}; mend it, every number must be finite"));
    }
    if trials[0].n_not_reset > 0 {
        return refused("the step after an end must begin the next episode".into());
    }
    Ok(())
}

/// How many rewards and observations are no numbers to learn from, if any are.
fn bad_numbers(trial: &Trial) -> Option<String> {
    let rewards = number_of(trial.n_bad_rewards, "reward");
    let observations = number_of(trial.n_bad_obs, "observation");
    match (trial.n_bad_rewards, trial.n_bad_obs) {
        (0, 0) => None,
        (n, 0) => Some(format!("{rewards} {} NaN or infinite", is_or_are(n))),
        (0, n) => Some(format!("{observations} {} NaN or infinite", is_or_are(n))),
        _ => Some(format!("{rewards} and {observations} are NaN or infinite")),
    }
}

fn is_or_are(n: u64) -> &'static str {
    if n == 1 { "is" } else { "are" }
}

/// What can be trained and is hardly meant so, a line each.
fn warnings(spec: &Spec, trial: &Trial) -> Vec<String> {
    let mut warnings = Vec::new();
    if trial.n_beyond > 0 {
        let observations = number_of(trial.n_beyond, "observation");
        warnings.push(format!(
            "{observations} {} beyond the bounds that the environment states; mend either of them",
            is_or_are(trial.n_beyond)
        ));
    }
    if trial.largest_reward >= WILD {
        let size = short(trial.largest_reward.into());
        warnings.push(format!(
            "rewards are as large as {size}; loss.reward_norm=true or a small loss.reward_scale brings them down"
        ));
    }
    // Numbers with bounds come to the network between -1 and 1.
    if trial.largest_obs >= WILD && spec.obs.input_maps().is_none() {
        let size = short(trial.largest_obs.into());
        warnings.push(format!(
            "observations have numbers as large as {size}; network.normalize_observations=true brings them down"
        ));
    }
    warnings
}

/// One trial, in a process of its own where the environments have one.
fn try_out(config: &Config) -> Result<Trial, Failure> {
    let failed = |error| Failure::Run(error);
    // Nobody else watches these: without a limit a step that hangs would be waited for without end.
    let registry = config.registry().answering_within(config.supervision.hang_timeout_s);
    let envs = registry.make_vec(&config.env, &config.env_args, N_ENVS, SEED);
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
    if let Some(bad) = bad_numbers(one) {
        say!("numbers       {bad}");
    }
}
