//! Greedy evaluation of a trained network on fresh episodes.
//!
//! One environment an episode, many side by side, so that short episodes are not over-represented.
//! Called by the supervisor at the end of a run and by `impala eval`.

use ndarray::Array2;

use crate::checkpoint::Checkpoint;
use crate::env::{EnvSpec, EpisodeLog, Registry, StepKind, UnknownEnv, VecEnv};
use crate::kernels::Simd;
use crate::policy::Policy;
use crate::telemetry::EvalSummary;

/// Episodes played side by side: bounds the memory of long evaluations.
const MAX_PARALLEL_EPISODES: usize = 256;

/// Why a network cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// Its environment is not known.
    #[error(transparent)]
    Env(#[from] UnknownEnv),
    /// Its sizes are not those of its environment.
    #[error(
        "the checkpoint's network has {found:?} (observations, actions), {env} has {expected:?}; \
         give a checkpoint that was trained on {env}"
    )]
    Shape {
        /// The environment.
        env: String,
        /// Sizes of the checkpoint.
        found: (usize, usize),
        /// Sizes of the environment.
        expected: (usize, usize),
    },
}

/// Plays `n_episodes` episodes with the most probable actions; episode `i` is reset with `seed + i`.
/// Returns the undiscounted return of each. `environments` has to hold the checkpoint's.
///
/// # Errors
/// If the checkpoint's environment is not known or has other sizes than its network.
pub fn greedy_returns(
    checkpoint: &Checkpoint,
    environments: &Registry,
    kernels: Simd,
    n_episodes: usize,
    seed: u64,
) -> Result<Vec<f64>, EvalError> {
    let spec = environments.spec(&checkpoint.env)?;
    check_shape(checkpoint, spec)?;
    let mut returns = Vec::with_capacity(n_episodes);
    while returns.len() < n_episodes {
        let n_parallel = MAX_PARALLEL_EPISODES.min(n_episodes - returns.len());
        let mut policy = Policy::new(&checkpoint.shape, kernels, n_parallel, seed);
        policy.params_mut().copy_from_slice(&checkpoint.state.params);
        let seed = seed + returns.len() as u64;
        let envs = environments.make_inputs(&checkpoint.env, n_parallel, seed)?;
        returns.extend(play(policy, envs));
    }
    Ok(returns)
}

/// Number, mean, smallest and largest of some returns; `None` for none.
pub fn summarise(returns: &[f64]) -> Option<EvalSummary> {
    let n_episodes = returns.len();
    (n_episodes > 0).then(|| EvalSummary {
        episodes: n_episodes as u64,
        mean: returns.iter().sum::<f64>() / n_episodes as f64,
        min: returns.iter().copied().fold(f64::INFINITY, f64::min),
        max: returns.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    })
}

fn check_shape(checkpoint: &Checkpoint, spec: &EnvSpec) -> Result<(), EvalError> {
    let found = (checkpoint.shape.obs_dim, checkpoint.shape.n_actions);
    let expected = (spec.obs_dim, spec.n_actions);
    if found == expected {
        return Ok(());
    }
    Err(EvalError::Shape { env: checkpoint.env.clone(), found, expected })
}

/// One episode in each environment.
fn play(mut policy: Policy, mut envs: Box<dyn VecEnv>) -> Vec<f64> {
    let n_episodes = envs.n_envs();
    let mut obs = Array2::zeros((envs.spec().obs_dim, n_episodes));
    let mut actions = vec![0; n_episodes];
    let mut rewards = vec![0.0; n_episodes];
    let mut kinds = vec![StepKind::ORDINARY; n_episodes];
    let (mut log_returns, mut log_lengths) = (vec![0.0; n_episodes], vec![0; n_episodes]);
    let mut playing = vec![true; n_episodes];
    let mut returns = vec![0.0; n_episodes];
    envs.reset(obs.view_mut());
    while playing.contains(&true) {
        policy.greedy(obs.view(), &mut actions);
        let mut log = EpisodeLog::new(&mut log_returns, &mut log_lengths);
        envs.step(&actions, obs.view_mut(), &mut rewards, &mut kinds, &mut log);
        for (episode, playing) in playing.iter_mut().enumerate().filter(|(_, playing)| **playing) {
            returns[episode] += f64::from(rewards[episode]);
            *playing = !kinds[episode].ends_episode();
        }
    }
    returns
}
