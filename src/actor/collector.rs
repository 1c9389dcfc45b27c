//! The actor's work on one slot: E environments acted for T steps, straight into the slot.
//!
//! Owns the environments, the policy, and observation and memory that one rollout hands to the next. Knows
//! no ring, so that it can be tested and measured alone. Its loop allocates nothing, takes no lock, writes no
//! log, and makes no system call but to environments in a process of their own.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use super::policy::Policy;
use crate::base::clock::monotonic_ns;
use crate::base::faults::{self, Point};
use crate::base::seeds::{Stream, stream_seed};
use crate::config::{Config, ConfigError};
use crate::env::{EnvError, StepMut, VecEnv};
use crate::network::heads::last_step::Steps;
use crate::rollout::{EpisodeLog, FrameStack, RolloutMut};
use crate::run::sizes::Sizes;
use crate::space::ObsBuffer;

/// Time that collecting one rollout took, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectTime {
    /// In forward passes and sampling.
    pub act_ns: u64,
    /// In environment steps.
    pub env_ns: u64,
}

/// A number that an environment must not return: NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BadNumber {
    /// Index of the environment in its actor.
    pub env: usize,
    /// What its generator was seeded with.
    pub seed: u128,
    /// Its steps since the actor's process started, this one included; 0 for a first observation.
    pub step: u64,
    /// Where the number stood.
    pub place: NumberPlace,
    /// The number, as the network takes it.
    pub value: f32,
}

/// What an environment returns numbers in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberPlace {
    /// The observation's number with this index.
    Observation(usize),
    /// The reward.
    Reward,
}

impl fmt::Display for BadNumber {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let BadNumber { env, seed, step, place, value } = self;
        write!(f, "environment {env} (seed {seed}) returned {value} as ")?;
        match place {
            NumberPlace::Observation(d) => write!(f, "number {d} of its observation")?,
            NumberPlace::Reward => write!(f, "its reward")?,
        }
        write!(f, " at its step {step}")
    }
}

/// Collects one rollout after the other from a vector of environments.
pub struct Collector {
    /// Which task of the run its environments are.
    task: u32,
    n_envs: usize,
    unroll_length: usize,
    envs: Box<dyn VecEnv>,
    /// What the first environment was seeded with; the others with the numbers after it.
    env_seed: u64,
    /// Rollouts collected, published or not.
    n_collected: u64,
    policy: Policy,
    /// The observations that the next rollout begins with, of E frames.
    obs: ObsBuffer,
    /// What the policy sees of them and of those before; `None` where it sees them alone.
    stack: Option<FrameStack>,
    /// L: pictures in a stack, or 1.
    n_stacked: usize,
}

/// Why there is no collector.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The environment cannot be reset.
    #[error(transparent)]
    Env(#[from] EnvError),
}

impl Collector {
    /// The collector of an actor's place; `generation` is another one for each process that has it.
    ///
    /// # Errors
    /// If the configuration was not checked, or an environment fails.
    pub fn new(config: &Config, actor: u64, generation: u64) -> Result<Self, CollectorError> {
        let collector = Collector::new_while(config, actor, generation, &mut || true)?;
        Ok(collector.expect("nothing ends this one"))
    }

    /// The same, as long as `goes_on` says so, which is asked every 50 ms while environments in a process of
    /// their own start; `None` where it did not.
    ///
    /// # Errors
    /// As [`Collector::new`].
    pub fn new_while(
        config: &Config,
        actor: u64,
        generation: u64,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Self>, CollectorError> {
        let seed = |stream| stream_seed(config.seed, stream);
        let task = config.task_of(actor as usize);
        let actor = config.place_of(actor as usize);
        let n_envs = config.actors.envs_per_actor;
        let env_seed = seed(Stream::Environments { actor, generation });
        let mut envs = config.make_vec(task, n_envs, env_seed)?;
        let Sizes { spec, network, rollout, .. } = Sizes::with_spec(config, envs.spec().clone())?;
        let mut obs = ObsBuffer::zeros(&spec.obs, n_envs);
        if !envs.start(goes_on)? {
            return Ok(None);
        }
        envs.reset(obs.view_mut())?;
        let n_stacked = rollout.n_stacked;
        let mut stack =
            (n_stacked > 1).then(|| FrameStack::new(n_stacked, rollout.obs.len, n_envs));
        stack.iter_mut().for_each(|stack| stack.begin(obs.view()));
        let arithmetic = config.arithmetic()?;
        let action_seed = seed(Stream::Actions { actor, generation });
        let policy = Policy::new(task, &network, &spec.actions, arithmetic, n_envs, action_seed);
        Ok(Some(Collector {
            task: task as u32,
            n_envs,
            unroll_length: config.actors.unroll_length,
            envs,
            env_seed,
            n_collected: 0,
            policy,
            obs,
            stack,
            n_stacked,
        }))
    }

    /// Environment steps in a rollout, T·E.
    pub fn frames_per_rollout(&self) -> u64 {
        (self.unroll_length * self.n_envs) as u64
    }

    /// The flat weights to act with, to be overwritten with a newer version.
    pub fn params_mut(&mut self) -> &mut [f32] {
        self.policy.params_mut()
    }

    /// Fills every field of a rollout but what publishing sets.
    ///
    /// # Errors
    /// If an environment fails.
    pub fn collect(&mut self, rollout: &mut RolloutMut) -> Result<CollectTime, EnvError> {
        let time = self.collect_while(rollout, |_| true)?;
        Ok(time.expect("nothing ends this one"))
    }

    /// Fills every field of a rollout but what publishing sets, as long as `goes_on` says so, which is told
    /// the time, ns, after each step of the environments; `None` where it did not. The hot loop of collecting.
    ///
    /// # Errors
    /// If an environment fails.
    pub fn collect_while(
        &mut self,
        rollout: &mut RolloutMut,
        mut goes_on: impl FnMut(u64) -> bool,
    ) -> Result<Option<CollectTime>, EnvError> {
        let mut time = CollectTime::default();
        rollout.header.n_episodes = 0;
        rollout.tasks.fill(self.task);
        self.policy.recall(rollout.state.view_mut());
        match &self.stack {
            None => rollout.obs.frames(0..self.n_envs).assign(self.obs.view()),
            Some(stack) => {
                stack.write_pictures(rollout.obs.frames(0..self.n_stacked * self.n_envs))
            }
        }
        let mut last_ns = monotonic_ns();
        for t in 0..self.unroll_length {
            self.act(rollout, t);
            let acted_ns = monotonic_ns();
            if t == self.unroll_length / 2 {
                faults::reach(Point::SlotHalfWritten);
            }
            self.step(rollout, t)?;
            let stepped_ns = monotonic_ns();
            time.act_ns += acted_ns - last_ns;
            time.env_ns += stepped_ns - acted_ns;
            last_ns = stepped_ns;
            if !goes_on(stepped_ns) {
                return Ok(None);
            }
        }
        let last = self.observed_with(self.unroll_length);
        self.obs.view_mut().assign(rollout.obs.view().frames(last));
        self.n_collected += 1;
        Ok(Some(time))
    }

    /// The first NaN or infinite observation or reward of the rollout just collected, which then must not
    /// be learned from. Every environment that returned one begins a new episode.
    ///
    /// # Errors
    /// If an environment fails.
    pub fn mend(&mut self, rollout: &RolloutMut) -> Result<Option<BadNumber>, EnvError> {
        if rollout.is_finite() {
            return Ok(None);
        }
        let by_step = (0..=self.unroll_length).flat_map(|t| (0..self.n_envs).map(move |e| (t, e)));
        let bad = by_step.filter_map(|(t, env)| self.bad_number(rollout, t, env));
        let bad: Vec<BadNumber> = bad.collect();
        let envs: BTreeSet<usize> = bad.iter().map(|bad| bad.env).collect();
        for env in envs {
            self.envs.reset_one(env, self.obs.view_mut().frames(env..env + 1))?;
            self.policy.forget(env);
            let first = self.obs.view().frames(env..env + 1);
            self.stack.iter_mut().for_each(|stack| stack.begin_one(env, first));
        }
        Ok(bad.first().copied())
    }

    /// What environment `env` returned with step `t` of the rollout, if that is a bad number.
    fn bad_number(&self, rollout: &RolloutMut, t: usize, env: usize) -> Option<BadNumber> {
        let column = t * self.n_envs + env;
        let obs = rollout.obs.view().frame(self.observed_with(t).start + env);
        let numbers = obs.into_iter().enumerate();
        let mut numbers = numbers.map(|(d, x)| (NumberPlace::Observation(d), x));
        // The reward of step t stands one column before the observation that it came with.
        let reward = column.checked_sub(self.n_envs).map(|n| rollout.rewards[n]);
        let reward = reward.map(|value| (NumberPlace::Reward, value));
        let is_bad = |(_, value): &(NumberPlace, f32)| !value.is_finite();
        let (place, value) = numbers.find(is_bad).or(reward.filter(is_bad))?;
        let step = (self.n_collected - 1) * self.unroll_length as u64 + t as u64;
        Some(BadNumber { env, seed: self.seed_of(env), step, place, value })
    }

    /// Index and seed of the environment that was at work when something panicked, if one was.
    pub fn env_at_work(&self) -> Option<(usize, u128)> {
        self.envs.at_work().map(|env| (env, self.seed_of(env)))
    }

    fn seed_of(&self, env: usize) -> u128 {
        u128::from(self.env_seed) + env as u128
    }

    /// The frames that hold what was observed before step `t`.
    fn observed_with(&self, t: usize) -> Range<usize> {
        let first = (t + self.n_stacked - 1) * self.n_envs;
        first..first + self.n_envs
    }

    /// Chooses the actions of step `t`.
    fn act(&mut self, rollout: &mut RolloutMut, t: usize) {
        let frames = t * self.n_envs..(t + 1) * self.n_envs;
        let obs = match &self.stack {
            None => rollout.obs.view().frames(frames.clone()),
            Some(stack) => stack.view(),
        };
        let log_mu = &mut rollout.log_mu[frames.clone()];
        self.policy.sample(obs, rollout.actions.frames(frames), log_mu);
    }

    /// Takes the actions of step `t`; the observations after it are those of step `t + 1`.
    fn step(&mut self, rollout: &mut RolloutMut, t: usize) -> Result<(), EnvError> {
        let frames = t * self.n_envs..(t + 1) * self.n_envs;
        let observed = self.observed_with(t + 1);
        let n_logged = rollout.header.n_episodes as usize;
        let is_spoilt = faults::reach(Point::EnvStep);
        let mut out = StepMut {
            obs: rollout.obs.frames(observed),
            rewards: &mut rollout.rewards[frames.clone()],
            kinds: &mut rollout.kinds[frames.clone()],
            episodes: EpisodeLog::new(
                &mut rollout.episode_returns[n_logged..],
                &mut rollout.episode_lengths[n_logged..],
            ),
        };
        let actions = rollout.actions.view().frames(frames);
        self.envs.step(actions, &mut out)?;
        self.stack.iter_mut().for_each(|stack| stack.push(out.obs.view(), out.kinds));
        rollout.header.n_episodes += out.episodes.n_episodes() as u64;
        if is_spoilt {
            out.rewards[0] = f32::NAN;
        }
        self.policy.remember(Steps { actions, rewards: out.rewards, kinds: out.kinds });
        Ok(())
    }
}
