//! Evaluation of a trained network on fresh episodes.
//!
//! One environment an episode, many side by side, so that short episodes are not over-represented.
//! Owns who plays, what is played and the statistics of the scores; draws nothing and prints nothing.
//! Called at the end of a run and by `impala eval`.

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
    /// number of finished ones after every step. Returns the undiscounted return of each.
    pub fn returns(&self, n_episodes: usize, seed: u64, mut played: impl FnMut(usize)) -> Vec<f64> {
        let mut returns = Vec::with_capacity(n_episodes);
        while returns.len() < n_episodes {
            let n_parallel = MAX_PARALLEL_EPISODES.min(n_episodes - returns.len());
            let n_before = returns.len();
            let played = |n_finished| played(n_before + n_finished);
            returns.extend(self.play(n_parallel, seed + n_before as u64, played));
        }
        returns
    }

    /// Plays one episode, reset with `seed`, and returns every moment of it: one more than its steps.
    pub fn moments(&self, seed: u64) -> Vec<Moment> {
        let (mut policy, mut envs) = self.seat(1, seed);
        let mut exchange = Exchange::new(self.spec, 1);
        envs.reset(exchange.inputs.view_mut());
        let (mut moments, mut step, mut score) = (Vec::new(), 0, 0.0);
        let is_over = |kinds: &[StepKind]| kinds[0].ends_episode();
        while !is_over(&exchange.kinds) {
            let choice = Some(exchange.choose(&mut policy, self.selection));
            moments.push(Moment { step, score, obs: self.observed(&exchange), choice });
            exchange.step(&mut *envs);
            step += 1;
            score += f64::from(exchange.rewards[0]);
        }
        moments.push(Moment { step, score, obs: self.observed(&exchange), choice: None });
        moments
    }

    /// One episode in each of `n_episodes` environments.
    fn play(&self, n_episodes: usize, seed: u64, mut played: impl FnMut(usize)) -> Vec<f64> {
        let (mut policy, mut envs) = self.seat(n_episodes, seed);
        let mut exchange = Exchange::new(self.spec, n_episodes);
        let mut playing = vec![true; n_episodes];
        let mut returns = vec![0.0; n_episodes];
        envs.reset(exchange.inputs.view_mut());
        while playing.contains(&true) {
            exchange.act(&mut policy, self.selection);
            exchange.step(&mut *envs);
            for (episode, playing) in playing.iter_mut().enumerate().filter(|(_, on)| **on) {
                returns[episode] += f64::from(exchange.rewards[episode]);
                *playing = !exchange.kinds[episode].ends_episode();
            }
            played(playing.iter().filter(|on| !**on).count());
        }
        returns
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

/// Number, mean with its standard error, smallest and largest of some returns; `None` for none.
pub fn summarise(returns: &[f64]) -> Option<EvalSummary> {
    let n_episodes = returns.len();
    let mean = returns.iter().sum::<f64>() / n_episodes as f64;
    (n_episodes > 0).then(|| EvalSummary {
        episodes: n_episodes as u64,
        mean,
        standard_error: standard_error(returns, mean),
        min: returns.iter().copied().fold(f64::INFINITY, f64::min),
        max: returns.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    })
}

/// The sample's standard deviation over √n; NaN for one value, which says nothing of the spread.
fn standard_error(values: &[f64], mean: f64) -> f64 {
    let n = values.len() as f64;
    let sum_of_squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (sum_of_squares / (n - 1.0) / n).sqrt()
}

/// One bar of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// The smallest value that falls into it.
    pub from: f64,
    /// The smallest value that does not any more; equals `from` where all values are that one.
    pub below: f64,
    /// How many there are.
    pub count: u64,
}

/// The histogram of some finite values in at most `max_bins` (at least 2) bins of one round width: 1, 2
/// or 5 times a power of ten. Empty for no values, one bin for one value.
pub fn histogram(values: &[f64], max_bins: usize) -> Vec<Bin> {
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.is_empty() {
        return Vec::new();
    }
    if min == max {
        return vec![Bin { from: min, below: min, count: values.len() as u64 }];
    }
    // Scores that are whole numbers have nothing between two of them.
    let least_width = if values.iter().all(|value| value.fract() == 0.0) { 1.0 } else { 0.0 };
    let (width, first, n_bins) = bins(min, max, max_bins, least_width);
    let edge = |bin: usize| (first + bin as f64) * width;
    let mut histogram: Vec<Bin> =
        (0..n_bins).map(|bin| Bin { from: edge(bin), below: edge(bin + 1), count: 0 }).collect();
    for value in values {
        let bin = ((value / width).floor() - first) as usize;
        histogram[bin.min(n_bins - 1)].count += 1;
    }
    histogram
}

/// Width, number of the first edge, and number of bins that hold everything from `min` to `max`.
fn bins(min: f64, max: f64, max_bins: usize, least_width: f64) -> (f64, f64, usize) {
    let smallest = ((max - min) / max_bins as f64).max(least_width);
    let mut decade = 10f64.powf(smallest.log10().floor());
    loop {
        for width in [decade, 2.0 * decade, 5.0 * decade].into_iter().filter(|w| *w >= smallest) {
            let (first, last) = ((min / width).floor(), (max / width).floor());
            let n_bins = (last - first) as usize + 1;
            if n_bins <= max_bins {
                return (width, first, n_bins);
            }
        }
        decade *= 10.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{NetworkShape, ParamLayout};
    use crate::state::{Counters, LearnerState, OptimizerState, SCORE_WINDOW};
    use proptest::prelude::*;

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

    #[test]
    fn a_recorded_episode_is_the_one_that_is_scored() {
        let (checkpoint, environments) = (checkpoint(), Registry::default());
        let player =
            Player::new(&checkpoint, &environments, Simd::detect(), Selection::Greedy).unwrap();
        let returns = player.returns(3, 40, |_| {});
        for (episode, score) in returns.into_iter().enumerate() {
            let moments = player.moments(40 + episode as u64);
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
        let moments: Vec<Moment> = (0..20).flat_map(|seed| player.moments(seed)).collect();
        let choices = moments.iter().filter_map(|moment| moment.choice.as_ref());
        assert!(choices.filter(|choice| choice.probs[choice.action] < 0.5).count() > 5);
    }

    #[test]
    fn statistics_of_a_sample_by_hand() {
        let summary = summarise(&[1.0, 2.0, 3.0, 6.0]).unwrap();
        assert_eq!((summary.episodes, summary.mean, summary.min, summary.max), (4, 3.0, 1.0, 6.0));
        // Squares 4 + 1 + 0 + 9 over n - 1 = 3, over n = 4.
        assert!((summary.standard_error - (14.0f64 / 12.0).sqrt()).abs() < 1e-12);
        assert!(summarise(&[5.0]).unwrap().standard_error.is_nan());
        assert_eq!(summarise(&[]), None);
    }

    #[test]
    fn a_histogram_has_round_edges() {
        assert_eq!(histogram(&[500.0; 3], 10), [Bin { from: 500.0, below: 500.0, count: 3 }]);
        let widths = histogram(&[498.0, 499.0, 500.0], 10);
        assert!(widths.len() == 3 && widths.iter().all(|bin| bin.below - bin.from == 1.0));
        let returns = [9.0, 12.0, 99.0, 100.0, 499.0, 500.0];
        let counts: Vec<(f64, u64)> =
            histogram(&returns, 10).iter().map(|bin| (bin.from, bin.count)).collect();
        let expected = [(0.0, 3), (100.0, 1), (200.0, 0), (300.0, 0), (400.0, 1), (500.0, 1)];
        assert_eq!(counts, expected);
        assert_eq!(histogram(&[], 10), []);
    }

    proptest! {
        #[test]
        fn every_value_falls_into_the_bin_that_says_so(
            values in proptest::collection::vec(-1e6..1e6f64, 1..50),
            max_bins in 2usize..20,
        ) {
            let histogram = histogram(&values, max_bins);
            prop_assert!(histogram.len() <= max_bins);
            for bin in &histogram {
                let inside = values.iter().filter(|&&value| value >= bin.from && value < bin.below);
                // A value within rounding of an edge may be counted on the other side of it.
                let near = |value: f64, edge: f64| (value - edge).abs() < 1e-6;
                let at_edge =
                    values.iter().filter(|&&v| near(v, bin.from) || near(v, bin.below)).count();
                prop_assert!(inside.count().abs_diff(bin.count as usize) <= at_edge);
            }
            prop_assert_eq!(histogram.iter().map(|bin| bin.count).sum::<u64>(), values.len() as u64);
        }
    }
}
