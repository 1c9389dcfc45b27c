//! A trained network that plays fresh episodes.
//!
//! One environment an episode, many side by side, so that short episodes are not over-represented.
//! Owns who plays and what is played; draws nothing and prints nothing. Called at the end of a run and by
//! `impala eval`.

use crate::actor::policy::Policy;
use crate::base::clock::{in_ns, monotonic_ns};
use crate::env::{EnvArgs, EnvError, Registry, StepBuffer, VecEnv, task_ids};
use crate::kernels::Simd;
use crate::network::heads::Odds;
use crate::network::heads::last_step::Steps;
use crate::network::{Arithmetic, Backend};
use crate::rollout::{FrameStack, StepKind};
use crate::space::{ActionBuffer, ActionMap, Spec};
use crate::state::checkpoint::Checkpoint;

/// Episodes played side by side: bounds the memory of long evaluations.
const MAX_PARALLEL_EPISODES: usize = 256;

/// Why a network cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// Its environment is not known, does not take its arguments, or fails.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// Its spaces are not those of its environment.
    #[error(
        "the checkpoint's network was made for {found}, {env} has {expected}; give a checkpoint that was \
         trained on {env}"
    )]
    Spaces {
        /// The environment.
        env: String,
        /// The spaces that the checkpoint has.
        found: String,
        /// Those of the environment.
        expected: String,
    },
    /// Its network is one that this build cannot compute.
    #[error(
        "the checkpoint's network is {network}, which libtorch computes and this build lacks; build with `cargo build \
         --release --features torch`"
    )]
    NoTorch {
        /// Its name.
        network: String,
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

/// An action, part by part, and what the policy thought of each.
pub type Choice = Vec<ChoicePart>;

/// One part of an action, and what the policy thought of it.
#[derive(Clone, Debug, PartialEq)]
pub enum ChoicePart {
    /// One of A.
    Index {
        /// The one that is taken.
        taken: usize,
        /// Probability of each, `[A]`.
        probs: Vec<f32>,
    },
    /// A number, as the environment takes it.
    Number {
        /// The one that is taken.
        taken: f32,
        /// How far it is on the way from bound to bound, 0 to 1.
        share: f32,
        /// The same of a standard deviation below the mean, and of one above it.
        likely: [f32; 2],
    },
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
#[derive(Clone, Debug)]
pub struct Player<'a> {
    checkpoint: &'a Checkpoint,
    environments: &'a Registry,
    args: &'a EnvArgs,
    /// What the network was made for.
    spec: Spec,
    /// Which of its tasks is played.
    task: usize,
    /// What that shows: the same, but where there are several.
    task_spec: Spec,
    kernels: Simd,
    selection: Selection,
}

impl<'a> Player<'a> {
    /// The network of a checkpoint, in its first task; `environments` has to hold the one it was trained in, which is
    /// made with `args`.
    ///
    /// # Errors
    /// If the checkpoint's environment is not known or has other spaces than its network.
    pub fn new(
        checkpoint: &'a Checkpoint,
        environments: &'a Registry,
        args: &'a EnvArgs,
        kernels: Simd,
        selection: Selection,
    ) -> Result<Self, EvalError> {
        let spec = environments.spec(&checkpoint.spec.id, args)?;
        if !spec.has_spaces_of(&checkpoint.spec) {
            let (found, expected) = (checkpoint.spec.spaces(), spec.spaces());
            return Err(EvalError::Spaces { env: spec.id, found, expected });
        }
        if !Backend::of(&checkpoint.network).is_built() {
            return Err(EvalError::NoTorch { network: checkpoint.network.name() });
        }
        let (task, task_spec) = (0, spec.clone());
        let player =
            Player { checkpoint, environments, args, spec, task, task_spec, kernels, selection };
        player.in_task(task)
    }

    /// The same in the task with this number.
    ///
    /// # Errors
    /// If that is not known.
    ///
    /// # Panics
    /// If there is no such task.
    pub fn in_task(mut self, task: usize) -> Result<Self, EvalError> {
        let id = task_ids(&self.spec.id)[task];
        self.task_spec = self.environments.spec(id, self.args)?;
        self.task = task;
        Ok(self)
    }

    /// What is played.
    pub fn task_spec(&self) -> &Spec {
        &self.task_spec
    }

    /// Plays `n_episodes` episodes, of which `i` is reset with `seed + i`, and calls `played` with the
    /// number of finished ones after every step.
    ///
    /// # Errors
    /// If an environment fails.
    pub fn play(
        &self,
        n_episodes: usize,
        seed: u64,
        bounds: Bounds,
        mut finished: impl FnMut(usize),
    ) -> Result<Played, EvalError> {
        let end_ns = monotonic_ns().saturating_add(in_ns(bounds.max_s));
        let mut all = Played::default();
        while all.returns.len() < n_episodes && all.n_unfinished == 0 {
            let n_before = all.returns.len();
            let n_parallel = MAX_PARALLEL_EPISODES.min(n_episodes - n_before);
            let is_late = |n_finished| {
                finished(n_before + n_finished);
                monotonic_ns() >= end_ns
            };
            let seed = seed + n_before as u64;
            let played = self.play_beside(n_parallel, seed, bounds.max_steps, is_late)?;
            all.returns.extend(played.returns);
            all.n_cut += played.n_cut;
            all.n_unfinished = played.n_unfinished;
        }
        all.n_unfinished = n_episodes - all.returns.len();
        Ok(all)
    }

    /// Plays one episode, reset with `seed`, of `max_steps` at most, and returns every moment of it: one more
    /// than its steps.
    ///
    /// # Errors
    /// If an environment fails.
    pub fn moments(&self, seed: u64, max_steps: u64) -> Result<Vec<Moment>, EvalError> {
        let mut moments = Vec::new();
        self.watch(seed, max_steps, |moment, _| -> Result<(), EvalError> {
            moments.push(moment);
            Ok(())
        })?;
        Ok(moments)
    }

    /// The same, shown moment by moment, with the environments to be asked for more.
    ///
    /// # Errors
    /// If an environment fails; what `show` returns.
    pub fn watch<E: From<EvalError>>(
        &self,
        seed: u64,
        max_steps: u64,
        mut show: impl FnMut(Moment, &mut dyn VecEnv) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error: EnvError| E::from(EvalError::from(error));
        let (mut policy, mut envs) = self.seat(1, seed)?;
        let mut exchange = Exchange::new(&self.spec, self.n_stacked(), 1);
        exchange.reset(&mut *envs).map_err(failed)?;
        let maps = self.environments.action_maps(&self.spec.actions);
        let (mut step, mut score) = (0, 0.0);
        let is_over = |kinds: &[StepKind]| kinds[0].ends_episode();
        while !is_over(&exchange.step.kinds) && u64::from(step) < max_steps {
            let choice = Some(exchange.choose(&mut policy, self.selection, &maps));
            show(Moment { step, score, obs: self.observed(&exchange), choice }, &mut *envs)?;
            exchange.step(&mut policy, &mut *envs).map_err(failed)?;
            step += 1;
            score += f64::from(exchange.step.rewards[0]);
        }
        show(Moment { step, score, obs: self.observed(&exchange), choice: None }, &mut *envs)
    }

    /// One episode in each of `n_episodes` environments, cut after `max_steps`; until `is_late`, which hears the
    /// number of those that have ended, says that the time is over.
    fn play_beside(
        &self,
        n_episodes: usize,
        seed: u64,
        max_steps: u64,
        mut is_late: impl FnMut(usize) -> bool,
    ) -> Result<Played, EvalError> {
        let (mut policy, mut envs) = self.seat(n_episodes, seed)?;
        if !envs.start(&mut || !is_late(0))? {
            return Ok(Played { n_unfinished: n_episodes, ..Played::default() });
        }
        let mut exchange = Exchange::new(&self.spec, self.n_stacked(), n_episodes);
        let mut playing = vec![true; n_episodes];
        let mut returns = vec![0.0; n_episodes];
        exchange.reset(&mut *envs)?;
        let (mut n_steps, mut n_playing, mut is_over) = (0, n_episodes, false);
        while n_playing > 0 && n_steps < max_steps && !is_over {
            exchange.act(&mut policy, self.selection);
            exchange.step(&mut policy, &mut *envs)?;
            for (episode, playing) in playing.iter_mut().enumerate().filter(|(_, on)| **on) {
                returns[episode] += f64::from(exchange.step.rewards[episode]);
                *playing = !exchange.step.kinds[episode].ends_episode();
            }
            n_steps += 1;
            n_playing = playing.iter().filter(|on| **on).count();
            is_over = is_late(n_episodes - n_playing);
        }
        if n_steps == max_steps {
            return Ok(Played { returns, n_cut: n_playing, n_unfinished: 0 });
        }
        let ended = returns.into_iter().zip(playing).filter(|(_, is_playing)| !is_playing);
        let returns = ended.map(|(score, _)| score).collect();
        Ok(Played { returns, n_cut: 0, n_unfinished: n_playing })
    }

    /// Observations that the network sees at once.
    fn n_stacked(&self) -> usize {
        let n_stacked = self.checkpoint.network.n_stacked(&self.spec.obs);
        n_stacked.expect("a checkpoint's network sees what its environment shows")
    }

    /// What the first environment says, of what the network takes.
    fn observed(&self, exchange: &Exchange) -> Vec<f32> {
        let mut inputs = exchange.step.obs.view().frame(0);
        // Behind them may be zeros, for other tasks.
        inputs.truncate(self.task_spec.obs.numbers().len);
        self.task_spec.obs.observed(inputs)
    }

    fn seat(&self, n_envs: usize, seed: u64) -> Result<(Policy, Box<dyn VecEnv>), EvalError> {
        let Checkpoint { network, state, .. } = self.checkpoint;
        let arithmetic = Arithmetic::with(self.kernels);
        let (task, actions) = (self.task, &self.spec.actions);
        let mut policy = Policy::new(task, network, actions, arithmetic, n_envs, seed);
        policy.params_mut().copy_from_slice(&state.params);
        let envs = self.environments.make_inputs(&self.spec.id, task, self.args, n_envs, seed)?;
        Ok((policy, envs))
    }
}

/// What passes between a policy and E environments.
struct Exchange {
    actions: ActionBuffer,
    log_mu: Vec<f32>,
    step: StepBuffer,
    /// What the policy sees; `None` where it sees the newest observations alone.
    stack: Option<FrameStack>,
}

impl Exchange {
    fn new(spec: &Spec, n_stacked: usize, n_envs: usize) -> Self {
        let n_pixels = spec.obs.numbers().len;
        Exchange {
            actions: ActionBuffer::zeros(&spec.actions, n_envs),
            log_mu: vec![0.0; n_envs],
            step: StepBuffer::new(spec, n_envs),
            stack: (n_stacked > 1).then(|| FrameStack::new(n_stacked, n_pixels, n_envs)),
        }
    }

    fn reset(&mut self, envs: &mut dyn VecEnv) -> Result<(), EnvError> {
        self.step.reset(envs)?;
        self.stack.iter_mut().for_each(|stack| stack.begin(self.step.obs.view()));
        Ok(())
    }

    fn act(&mut self, policy: &mut Policy, selection: Selection) {
        let newest = self.step.obs.view();
        let obs = self.stack.as_ref().map_or(newest, FrameStack::view);
        let actions = self.actions.view_mut();
        match selection {
            Selection::Greedy => policy.greedy(obs, actions),
            Selection::Sampled => policy.sample(obs, actions, &mut self.log_mu),
        }
    }

    /// The action in the first environment, with what it was chosen by; the maps are those of its numbers.
    fn choose(&mut self, policy: &mut Policy, selection: Selection, maps: &[ActionMap]) -> Choice {
        self.act(policy, Selection::Sampled);
        if selection == Selection::Greedy {
            policy.best(self.actions.view_mut());
        }
        let actions = self.actions.view();
        let parts = policy.odds(0).into_iter().enumerate();
        let part = |(part, odds)| match odds {
            Odds::Indices(probs) => {
                ChoicePart::Index { taken: actions.indices()[[part, 0]] as usize, probs }
            }
            Odds::Number { mean, std } => {
                let map = maps[part];
                let taken = map.taken(actions.numbers()[[part, 0]]);
                let share = |drawn| map.share(map.taken(drawn));
                let likely = [share(mean - std), share(mean + std)];
                ChoicePart::Number { taken, share: map.share(taken), likely }
            }
        };
        parts.map(part).collect()
    }

    fn step(&mut self, policy: &mut Policy, envs: &mut dyn VecEnv) -> Result<(), EnvError> {
        let actions = self.actions.view();
        self.step.step(envs, actions)?;
        policy.remember(Steps { actions, rewards: &self.step.rewards, kinds: &self.step.kinds });
        let (obs, kinds) = (self.step.obs.view(), &self.step.kinds);
        self.stack.iter_mut().for_each(|stack| stack.push(obs, kinds));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::NetworkSpec;
    use crate::network::params::ParamLayout;
    use crate::state::{Counters, LearnerState, OptimizerState, ReturnStats, SCORE_WINDOW};

    fn checkpoint() -> Checkpoint {
        checkpoint_of(NetworkSpec::mlp(4, &[8], 2))
    }

    fn checkpoint_of(network: NetworkSpec) -> Checkpoint {
        let spec = Registry::default().spec("CartPole-v1", &EnvArgs::default()).unwrap();
        let state = LearnerState {
            counters: Counters::default(),
            recent_returns: [0.0; SCORE_WINDOW],
            return_stats: ReturnStats::default(),
            params: ParamLayout::new(&network).init(7),
            optimizer: OptimizerState::default(),
        };
        Checkpoint { spec, network, state, settings: String::new(), elapsed_ns: 0 }
    }

    fn player<'a>(
        checkpoint: &'a Checkpoint,
        environments: &'a Registry,
        args: &'a EnvArgs,
        selection: Selection,
    ) -> Player<'a> {
        Player::new(checkpoint, environments, args, Simd::detect(), selection).unwrap()
    }

    /// Of which CartPole, with at most 500 steps an episode, meets neither.
    const BOUNDS: Bounds = Bounds { max_steps: 1_000, max_s: 1e6 };

    fn with_player(check: impl FnOnce(Player)) {
        let (checkpoint, environments) = (checkpoint(), Registry::default());
        let args = EnvArgs::default();
        let player = player(&checkpoint, &environments, &args, Selection::Sampled);
        check(player);
    }

    #[test]
    fn episodes_are_cut_after_their_steps_and_count() {
        with_player(|player| {
            let whole = player.play(300, 7, BOUNDS, |_| {}).unwrap();
            assert_eq!((whole.returns.len(), whole.n_cut, whole.n_unfinished), (300, 0, 0));
            let cut = player.play(300, 7, Bounds { max_steps: 15, ..BOUNDS }, |_| {}).unwrap();
            // One point a step.
            let expected: Vec<f64> = whole.returns.iter().map(|score| score.min(15.0)).collect();
            let n_longer = whole.returns.iter().filter(|score| **score > 15.0).count();
            assert_eq!((cut.returns, cut.n_cut, cut.n_unfinished), (expected, n_longer, 0));
            assert!(n_longer > 10 && n_longer < 290);
            assert_eq!(player.moments(7, 5).unwrap().len(), 6);
        });
    }

    #[test]
    fn episodes_that_time_runs_out_for_do_not_count() {
        with_player(|player| {
            let bounds = Bounds { max_s: 0.0, ..BOUNDS };
            let played = player.play(300, 7, bounds, |_| {}).unwrap();
            assert_eq!((played.returns.len(), played.n_cut, played.n_unfinished), (0, 0, 300));
        });
    }

    /// Of an action that is one index.
    fn index(choice: &Choice) -> (usize, &[f32]) {
        let [ChoicePart::Index { taken, probs }] = &choice[..] else { panic!("{choice:?}") };
        (*taken, probs)
    }

    #[test]
    fn a_recorded_episode_is_the_one_that_is_scored() {
        assert_recorded_as_scored(&checkpoint());
        assert_recorded_as_scored(&checkpoint_of(NetworkSpec::mlp(4, &[8], 2).with_lstm(8, 3)));
    }

    fn assert_recorded_as_scored(checkpoint: &Checkpoint) {
        let (environments, args) = (Registry::default(), EnvArgs::default());
        let player = player(checkpoint, &environments, &args, Selection::Greedy);
        let returns = player.play(3, 40, BOUNDS, |_| {}).unwrap().returns;
        for (episode, score) in returns.into_iter().enumerate() {
            let moments = player.moments(40 + episode as u64, BOUNDS.max_steps).unwrap();
            let last = moments.last().unwrap();
            assert_eq!((last.score, f64::from(last.step)), (score, score), "one point a step");
            assert!(last.choice.is_none() && moments.len() == last.step as usize + 1);
            for choice in moments.iter().filter_map(|moment| moment.choice.as_ref()) {
                let (taken, probs) = index(choice);
                assert_eq!(probs[taken], probs.iter().copied().fold(0.0, f32::max));
                assert!((probs.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn sampling_takes_improbable_actions_too() {
        let (checkpoint, environments) = (checkpoint(), Registry::default());
        let args = EnvArgs::default();
        let player = player(&checkpoint, &environments, &args, Selection::Sampled);
        let moments: Vec<Moment> =
            (0..20).flat_map(|seed| player.moments(seed, 1_000).unwrap()).collect();
        let choices = moments.iter().filter_map(|moment| moment.choice.as_ref());
        let taken = choices.map(index).map(|(taken, probs)| probs[taken]);
        assert!(taken.filter(|prob| *prob < 0.5).count() > 5);
    }
}
