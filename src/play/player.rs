//! A trained network that plays fresh episodes.
//!
//! One environment an episode, many side by side, so that short episodes are not over-represented.
//! Owns who plays and what is played; draws nothing and prints nothing. Called at the end of a run and by
//! `impala eval`.

use ndarray::Array2;

use crate::actor::policy::Policy;
use crate::base::latency::monotonic_ns;
use crate::env::{EnvSpec, Registry, UnknownEnv, VecEnv};
use crate::kernels::Simd;
use crate::rollout::{EpisodeLog, StepKind};
use crate::state::checkpoint::Checkpoint;

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

/// How actions are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The most probable action, always.
    Greedy,
    /// Drawn from the policy's probabilities, as in training.
    Sampled,
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Selection::Greedy => "greedy",
            Selection::Sampled => "sampled",
        })
    }
}

/// One moment of an episode, as it can be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// Steps taken before it.
    pub step: u32,
    /// Sum of the rewards of these steps.
    pub score: f64,
    /// What the environment shows, `[D]`.
    pub obs: Vec<f32>,
    /// What the policy makes of it; `None` once the episode is over.
    pub choice: Option<Choice>,
}

/// An action, and what the policy thought of all.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The one that is taken, an index.
    pub action: usize,
    /// Probability of each action, `[A]`.
    pub probs: Vec<f32>,
}

/// When an episode that does not end by itself is ended, and when nobody waits for one any longer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The most steps of an episode; one that has not ended then is cut, and counts with its return so far.
    pub max_steps: u64,
    /// The most seconds for all; episodes that have not ended then do not count.
    pub max_s: f64,
}

/// What came of some episodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Played {
    /// Undiscounted return of each that ended or was cut.
    pub returns: Vec<f64>,
    /// How many of these were cut.
    pub n_cut: usize,
    /// How many had neither ended nor been cut when the time was over.
    pub n_unfinished: usize,
}

/// A trained network that plays.
#[derive(Clone, Copy, Debug)]
pub struct Player<'a> {
    checkpoint: &'a Checkpoint,
    environments: &'a Registry,
    spec: &'static EnvSpec,
    kernels: Simd,
    selection: Selection,
}

impl<'a> Player<'a> {
    /// The network of a checkpoint; `environments` has to hold the one it was trained in.
    ///
    /// # Errors
    /// If the checkpoint's environment is not known or has other sizes than its network.
    pub fn new(
        checkpoint: &'a Checkpoint,
        environments: &'a Registry,
        kernels: Simd,
        selection: Selection,
    ) -> Result<Self, EvalError> {
        let spec = environments.spec(&checkpoint.env)?;
        let found = (checkpoint.shape.obs_dim, checkpoint.shape.n_actions);
        let expected = (spec.obs_dim, spec.n_actions);
        if found != expected {
            return Err(EvalError::Shape { env: checkpoint.env.clone(), found, expected });
        }
        Ok(Player { checkpoint, environments, spec, kernels, selection })
    }

    /// Plays `n_episodes` episodes, of which `i` is reset with `seed + i`, and calls `played` with the
    /// number of finished ones after every step.
    pub fn play(
        &self,
        n_episodes: usize,
        seed: u64,
        bounds: Bounds,
        mut finished: impl FnMut(usize),
    ) -> Played {
        let end_ns = monotonic_ns().saturating_add((bounds.max_s * 1e9) as u64);
        let mut all = Played::default();
        while all.returns.len() < n_episodes && all.n_unfinished == 0 {
            let n_before = all.returns.len();
            let n_parallel = MAX_PARALLEL_EPISODES.min(n_episodes - n_before);
            let is_late = |n_finished| {
                finished(n_before + n_finished);
                monotonic_ns() >= end_ns
            };
            let seed = seed + n_before as u64;
            let played = self.play_beside(n_parallel, seed, bounds.max_steps, is_late);
            all.returns.extend(played.returns);
            all.n_cut += played.n_cut;
            all.n_unfinished = played.n_unfinished;
        }
        all.n_unfinished = n_episodes - all.returns.len();
        all
    }

    /// Plays one episode, reset with `seed`, of `max_steps` at most, and returns every moment of it: one more
    /// than its steps.
    pub fn moments(&self, seed: u64, max_steps: u64) -> Vec<Moment> {
        let (mut policy, mut envs) = self.seat(1, seed);
        let mut exchange = Exchange::new(self.spec, 1);
        envs.reset(exchange.inputs.view_mut());
        let (mut moments, mut step, mut score) = (Vec::new(), 0, 0.0);
        let is_over = |kinds: &[StepKind]| kinds[0].ends_episode();
        while !is_over(&exchange.kinds) && u64::from(step) < max_steps {
            let choice = Some(exchange.choose(&mut policy, self.selection));
            moments.push(Moment { step, score, obs: self.observed(&exchange), choice });
            exchange.step(&mut *envs);
            step += 1;
            score += f64::from(exchange.rewards[0]);
        }
        moments.push(Moment { step, score, obs: self.observed(&exchange), choice: None });
        moments
    }

    /// One episode in each of `n_episodes` environments, cut after `max_steps`; until `is_late`, which hears the
    /// number of those that have ended, says that the time is over.
    fn play_beside(
        &self,
        n_episodes: usize,
        seed: u64,
        max_steps: u64,
        mut is_late: impl FnMut(usize) -> bool,
    ) -> Played {
        let (mut policy, mut envs) = self.seat(n_episodes, seed);
        let mut exchange = Exchange::new(self.spec, n_episodes);
        let mut playing = vec![true; n_episodes];
        let mut returns = vec![0.0; n_episodes];
        envs.reset(exchange.inputs.view_mut());
        let (mut n_steps, mut n_playing, mut is_over) = (0, n_episodes, false);
        while n_playing > 0 && n_steps < max_steps && !is_over {
            exchange.act(&mut policy, self.selection);
            exchange.step(&mut *envs);
            for (episode, playing) in playing.iter_mut().enumerate().filter(|(_, on)| **on) {
                returns[episode] += f64::from(exchange.rewards[episode]);
                *playing = !exchange.kinds[episode].ends_episode();
            }
            n_steps += 1;
            n_playing = playing.iter().filter(|on| **on).count();
            is_over = is_late(n_episodes - n_playing);
        }
        if n_steps == max_steps {
            return Played { returns, n_cut: n_playing, n_unfinished: 0 };
        }
        let ended = returns.into_iter().zip(playing).filter(|(_, is_playing)| !is_playing);
        let returns = ended.map(|(score, _)| score).collect();
        Played { returns, n_cut: 0, n_unfinished: n_playing }
    }

    /// What the first environment says, of what the network takes.
    fn observed(&self, exchange: &Exchange) -> Vec<f32> {
        self.spec.observed(exchange.inputs.column(0).iter().copied())
    }

    fn seat(&self, n_envs: usize, seed: u64) -> (Policy, Box<dyn VecEnv>) {
        let mut policy = Policy::new(&self.checkpoint.shape, self.kernels, n_envs, seed);
        policy.params_mut().copy_from_slice(&self.checkpoint.state.params);
        let envs = self.environments.make_inputs(self.spec.id, n_envs, seed);
        (policy, envs.expect("the spec is of an environment in the registry"))
    }
}

/// What passes between a policy and E environments.
struct Exchange {
    /// `[D, E]`, as the network takes them.
    inputs: Array2<f32>,
    /// `[A, E]`.
    log_probs: Array2<f32>,
    actions: Vec<i32>,
    rewards: Vec<f32>,
    kinds: Vec<StepKind>,
    episode_returns: Vec<f32>,
    episode_lengths: Vec<u32>,
}

impl Exchange {
    fn new(spec: &EnvSpec, n_envs: usize) -> Self {
        Exchange {
            inputs: Array2::zeros((spec.obs_dim, n_envs)),
            log_probs: Array2::zeros((spec.n_actions, n_envs)),
            actions: vec![0; n_envs],
            rewards: vec![0.0; n_envs],
            kinds: vec![StepKind::ORDINARY; n_envs],
            episode_returns: vec![0.0; n_envs],
            episode_lengths: vec![0; n_envs],
        }
    }

    fn act(&mut self, policy: &mut Policy, selection: Selection) {
        match selection {
            Selection::Greedy => policy.greedy(self.inputs.view(), &mut self.actions),
            Selection::Sampled => {
                policy.sample(self.inputs.view(), self.log_probs.view_mut(), &mut self.actions);
            }
        }
    }

    /// The action in the first environment, with the probabilities that it was chosen by.
    fn choose(&mut self, policy: &mut Policy, selection: Selection) -> Choice {
        self.act(policy, Selection::Sampled);
        if selection == Selection::Greedy {
            self.act(policy, selection);
        }
        let probs = self.log_probs.column(0).iter().map(|log_prob| log_prob.exp()).collect();
        Choice { action: self.actions[0] as usize, probs }
    }

    fn step(&mut self, envs: &mut dyn VecEnv) {
        let mut log = EpisodeLog::new(&mut self.episode_returns, &mut self.episode_lengths);
        let Exchange { inputs, actions, rewards, kinds, .. } = self;
        envs.step(actions, inputs.view_mut(), rewards, kinds, &mut log);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::params::{NetworkShape, ParamLayout};
    use crate::state::{Counters, LearnerState, OptimizerState, SCORE_WINDOW};

    fn checkpoint() -> Checkpoint {
        let spec = Registry::default().spec("CartPole-v1").unwrap();
        let shape =
            NetworkShape { obs_dim: spec.obs_dim, hidden: vec![8], n_actions: spec.n_actions };
        let state = LearnerState {
            counters: Counters::default(),
            recent_returns: [0.0; SCORE_WINDOW],
            params: ParamLayout::new(&shape).init(7),
            optimizer: OptimizerState::default(),
        };
        Checkpoint { env: spec.id.into(), shape, state, settings: String::new(), elapsed_ns: 0 }
    }

    /// Of which CartPole, with at most 500 steps an episode, meets neither.
    const BOUNDS: Bounds = Bounds { max_steps: 1_000, max_s: 1e6 };

    fn with_player(check: impl FnOnce(Player)) {
        let (checkpoint, environments) = (checkpoint(), Registry::default());
        let player = Player::new(&checkpoint, &environments, Simd::detect(), Selection::Sampled);
        check(player.unwrap());
    }

    #[test]
    fn episodes_are_cut_after_their_steps_and_count() {
        with_player(|player| {
            let whole = player.play(300, 7, BOUNDS, |_| {});
            assert_eq!((whole.returns.len(), whole.n_cut, whole.n_unfinished), (300, 0, 0));
            let cut = player.play(300, 7, Bounds { max_steps: 15, ..BOUNDS }, |_| {});
            // One point a step.
            let expected: Vec<f64> = whole.returns.iter().map(|score| score.min(15.0)).collect();
            let n_longer = whole.returns.iter().filter(|score| **score > 15.0).count();
            assert_eq!((cut.returns, cut.n_cut, cut.n_unfinished), (expected, n_longer, 0));
            assert!(n_longer > 10 && n_longer < 290);
            assert_eq!(player.moments(7, 5).len(), 6);
        });
    }

    #[test]
    fn episodes_that_time_runs_out_for_do_not_count() {
        with_player(|player| {
            let bounds = Bounds { max_s: 0.0, ..BOUNDS };
            let played = player.play(300, 7, bounds, |_| {});
            assert_eq!((played.returns.len(), played.n_cut, played.n_unfinished), (0, 0, 300));
        });
    }

    #[test]
    fn a_recorded_episode_is_the_one_that_is_scored() {
        let (checkpoint, environments) = (checkpoint(), Registry::default());
        let player =
            Player::new(&checkpoint, &environments, Simd::detect(), Selection::Greedy).unwrap();
        let returns = player.play(3, 40, BOUNDS, |_| {}).returns;
        for (episode, score) in returns.into_iter().enumerate() {
            let moments = player.moments(40 + episode as u64, BOUNDS.max_steps);
            let last = moments.last().unwrap();
            assert_eq!((last.score, f64::from(last.step)), (score, score), "one point a step");
            assert!(last.choice.is_none() && moments.len() == last.step as usize + 1);
            for choice in moments.iter().filter_map(|moment| moment.choice.as_ref()) {
                let most = choice.probs.iter().copied().fold(0.0, f32::max);
                assert_eq!(choice.probs[choice.action], most);
                assert!((choice.probs.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn sampling_takes_improbable_actions_too() {
        let (checkpoint, environments) = (checkpoint(), Registry::default());
        let player =
            Player::new(&checkpoint, &environments, Simd::detect(), Selection::Sampled).unwrap();
        let moments: Vec<Moment> = (0..20).flat_map(|seed| player.moments(seed, 1_000)).collect();
        let choices = moments.iter().filter_map(|moment| moment.choice.as_ref());
        assert!(choices.filter(|choice| choice.probs[choice.action] < 0.5).count() > 5);
    }
}
