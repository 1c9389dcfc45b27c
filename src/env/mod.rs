//! Environments: the contract, the registry, and vectors of them.
//!
//! Owns: [`Env`] and [`EnvSpec`], which state observations, actions, reward, termination and time limit
//! as Gymnasium does, and [`Registry`], the environments that a program knows by their ids. Must not know
//! slots, policies or processes. The configuration looks ids up; actors and the evaluation step what
//! [`Registry::make_inputs`] returns.
//!
//! # How to add an environment
//!
//! For a program of your own, implement [`Env`] there and register it with [`Registry::with`]:
//! `examples/custom_env.rs` does both and trains it. What follows adds one to the engine, for all its
//! users: one new file and its entry in this one, for any environment with a vector of numbers as
//! observation and a fixed set of actions. CliffWalking-v1 serves as the example.
//!
//! **1. Record how Gymnasium behaves.** In `tests/reference/`, with Python and `gymnasium==1.4.0`:
//!
//! ```text
//! python make_gymnasium_golden.py CliffWalking-v1 8 100 1000 > CliffWalking-v1.jsonl
//! ```
//!
//! That is eight episodes from seed 100 on, of at most 1000 steps. At least one of them has to reach the
//! time limit: half of them follow the policy that the script's table `LONG` holds for the id, so an id
//! that the table lacks first needs a line there.
//!
//! **2. Write its file in `src/env/`.** Start from `cartpole.rs`, or from this skeleton (inside the
//! library the first line is `use super::{Env, EnvSpec, NumpyRng, Transition};`):
//!
//! ```
//! use impala::env::{Env, EnvSpec, NumpyRng, Transition};
//!
//! /// A walk along a line; the right end is the goal.
//! pub struct Corridor {
//!     position: f64,
//!     np_random: NumpyRng,
//! }
//!
//! impl Env<1> for Corridor {
//!     const SPEC: EnvSpec = EnvSpec {
//!         id: "Corridor-v0",
//!         obs_dim: 1,
//!         n_actions: 2,
//!         max_episode_steps: 100,
//!         reward_threshold: -12.0,
//!         obs_bounds: None,
//!     };
//!
//!     fn new(np_random: NumpyRng) -> Self {
//!         Self { position: 0.0, np_random }
//!     }
//!
//!     fn reset(&mut self, obs: &mut [f32; 1]) {
//!         self.position = self.np_random.uniform(-0.1, 0.1);
//!         *obs = [self.position as f32];
//!     }
//!
//!     fn step(&mut self, action: usize, obs: &mut [f32; 1]) -> Transition {
//!         self.position += [-0.1, 0.1][action];
//!         *obs = [self.position as f32];
//!         Transition { reward: -1.0, terminated: self.position > 1.0 }
//!     }
//! }
//!
//! let mut corridor = Corridor::new(NumpyRng::new(0));
//! let mut obs = [0.0];
//! corridor.reset(&mut obs);
//! let steps = 1 + (0..100).take_while(|_| !corridor.step(1, &mut obs).terminated).count();
//! assert!((9..=12).contains(&steps) && obs[0] > 1.0);
//! ```
//!
//! `Env<1>` says that an observation has one number. Id, time limit and threshold are those of the
//! environment's `register(...)` call in `gymnasium/envs/__init__.py`. To be bit-exact, keep the types
//! (`f64` state, cast only what is observed), the order of operations of every expression, and the order
//! and number of random draws: those at reset as well as those that Gymnasium throws away. The time
//! limit, the reset after an end, seeding and returns are the vector's business. `obs_bounds` map numbers
//! of very different sizes to -1 to 1 on their way into the network; give those of the observation space
//! where they are finite.
//!
//! **3. Register it here:** a `mod` at the top and one line in `BUILT_IN`,
//! `Entry::of::<cliff_walking::CliffWalking, _>()`. Where the spec's `obs_dim` is not the D of `Env<D>`,
//! this does not compile. If the defaults do not learn it, what does is a file in `src/config/presets/`.
//!
//! **4. Run `cargo test --test env_reference`.** It replays every registered environment against
//! `tests/reference/<id>.jsonl` and fails while that file is missing. A failure names seed and step: at
//! the first observation the draws differ; a few steps in, look for an expression in another order or a
//! clip in another place; at the last, for the condition of termination.
//!
//! The id is now known wherever an environment is named.

mod classic;
mod inputs;
mod seeding;
mod vector;

use std::fmt;

use thiserror::Error;

pub use inputs::InputMap;
pub use seeding::NumpyRng;
pub use vector::VecEnv;

use vector::SyncVecEnv;

use crate::base::suggest::did_you_mean;

/// What is known of an environment before any is built. Ids and numbers are those of Gymnasium's registry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnvSpec {
    /// Gymnasium's id, version included.
    pub id: &'static str,
    /// Numbers in an observation, D.
    pub obs_dim: usize,
    /// Number of discrete actions, A; an action is an index below it.
    pub n_actions: usize,
    /// Steps after which an episode is truncated; termination is the environment's own affair.
    pub max_episode_steps: u32,
    /// Mean undiscounted return from which the task counts as solved.
    pub reward_threshold: f64,
    /// Smallest and largest value of each number of an observation, `[D]`: what the network sees is
    /// mapped from there to -1 to 1. `None`: it sees the numbers as they are.
    pub obs_bounds: Option<&'static [[f32; 2]]>,
}

impl EnvSpec {
    /// What the environment says, of what the network takes (up to rounding); for people to look at.
    pub fn observed(&self, inputs: impl Iterator<Item = f32>) -> Vec<f32> {
        match self.obs_bounds {
            None => inputs.collect(),
            Some(bounds) => {
                let maps = bounds.iter().copied().map(InputMap::of);
                inputs.zip(maps).map(|(input, map)| map.observed(input)).collect()
            }
        }
    }
}

/// What one step of an environment yields besides the observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// Raw reward: neither scaled nor clipped.
    pub reward: f32,
    /// Whether the state is terminal. A time limit never shows here.
    pub terminated: bool,
}

/// One environment with D-number observations and discrete actions, as Gymnasium's `Env` without its
/// wrappers: no time limit, no autoreset, no check of actions. The vector adds those.
pub trait Env<const D: usize> {
    /// Its entry in the registry; `obs_dim` equals D.
    const SPEC: EnvSpec;

    /// An environment that draws all its random numbers from `np_random`; to be reset before it is stepped.
    fn new(np_random: NumpyRng) -> Self;

    /// Begins an episode and writes its first observation. The generator goes on across episodes.
    fn reset(&mut self, obs: &mut [f32; D]);

    /// Takes `action` (below `n_actions`) and writes the observation after it, a terminal one too.
    fn step(&mut self, action: usize, obs: &mut [f32; D]) -> Transition;
}

/// The engine's own environments, one line each.
const BUILT_IN: &[Entry] = &[
    Entry::of::<classic::cartpole::CartPole, _>(),
    Entry::of::<classic::mountain_car::MountainCar, _>(),
    Entry::of::<classic::acrobot::Acrobot, _>(),
];

#[derive(Clone, Copy)]
struct Entry {
    spec: &'static EnvSpec,
    make_vec: fn(usize, u64) -> Box<dyn VecEnv>,
}

impl Entry {
    const fn of<E: Env<D> + 'static, const D: usize>() -> Self {
        const {
            assert!(E::SPEC.obs_dim == D, "obs_dim of the spec must be the D of Env<D>");
            if let Some(bounds) = E::SPEC.obs_bounds {
                assert!(bounds.len() == D, "obs_bounds must have one entry a number");
                let mut number = 0;
                while number < D {
                    let [low, high] = bounds[number];
                    let is_sound = low < high && low.is_finite() && high.is_finite();
                    assert!(is_sound, "obs_bounds must be finite, and low below high");
                    number += 1;
                }
            }
        }
        Self {
            spec: const { &E::SPEC },
            make_vec: |n_envs, seed| Box::new(SyncVecEnv::<E, D>::new(n_envs, seed)),
        }
    }
}

/// The environments that a program knows, by their ids: the engine's own, and those it adds.
///
/// A plain value that travels with the configuration, so that forked workers have it too.
#[derive(Clone)]
pub struct Registry(Vec<Entry>);

impl Default for Registry {
    /// The engine's own environments.
    fn default() -> Self {
        Registry(BUILT_IN.to_vec())
    }
}

impl Registry {
    /// Adds an environment; one of the same id is replaced.
    pub fn with<E: Env<D> + 'static, const D: usize>(mut self) -> Self {
        self.0.retain(|entry| entry.spec.id != E::SPEC.id);
        self.0.push(Entry::of::<E, D>());
        self
    }

    /// The specs of all environments, in the order in which they were added.
    pub fn specs(&self) -> impl Iterator<Item = &'static EnvSpec> {
        self.0.iter().map(|entry| entry.spec)
    }

    /// The spec of an environment by its id.
    ///
    /// # Errors
    /// [`UnknownEnv`], whose message names the nearest id and lists all.
    pub fn spec(&self, id: &str) -> Result<&'static EnvSpec, UnknownEnv> {
        self.entry(id).map(|entry| entry.spec)
    }

    /// `n_envs` environments; number i draws from a generator seeded with `seed + i`, as Gymnasium's
    /// vectors do. Observations are what the environments say.
    ///
    /// # Errors
    /// As [`Registry::spec`].
    pub fn make_vec(
        &self,
        id: &str,
        n_envs: usize,
        seed: u64,
    ) -> Result<Box<dyn VecEnv>, UnknownEnv> {
        self.entry(id).map(|entry| (entry.make_vec)(n_envs, seed))
    }

    /// The same with observations as the network takes them, mapped from
    /// [`obs_bounds`](EnvSpec::obs_bounds).
    ///
    /// # Errors
    /// As [`Registry::spec`].
    pub fn make_inputs(
        &self,
        id: &str,
        n_envs: usize,
        seed: u64,
    ) -> Result<Box<dyn VecEnv>, UnknownEnv> {
        self.make_vec(id, n_envs, seed).map(inputs::network_inputs)
    }

    fn entry(&self, id: &str) -> Result<&Entry, UnknownEnv> {
        let found = self.0.iter().find(|entry| entry.spec.id == id);
        found.ok_or_else(|| UnknownEnv { id: id.into(), known: self.ids() })
    }

    fn ids(&self) -> Vec<&'static str> {
        self.specs().map(|spec| spec.id).collect()
    }
}

impl PartialEq for Registry {
    fn eq(&self, other: &Self) -> bool {
        self.ids() == other.ids()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.ids()).finish()
    }
}

/// An id that a registry does not hold.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "unknown environment {id:?}{}; known: {}",
    did_you_mean(id, known.iter().copied()),
    known.join(", ")
)]
pub struct UnknownEnv {
    /// What was asked for.
    pub id: String,
    /// What there is.
    pub known: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_id_yields_its_spec_and_its_vector() {
        let registry = Registry::default();
        let spec = registry.spec("CartPole-v1").unwrap();
        assert_eq!(
            (spec.obs_dim, spec.n_actions, spec.max_episode_steps, spec.reward_threshold),
            (4, 2, 500, 475.0)
        );
        let envs = registry.make_vec("CartPole-v1", 3, u64::MAX).unwrap();
        assert_eq!((envs.spec(), envs.n_envs()), (spec, 3));
    }

    #[test]
    fn ids_are_unique() {
        let mut ids = Registry::default().ids();
        ids.sort_unstable();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    }

    #[test]
    fn an_unknown_id_lists_the_known_and_names_one_that_is_near() {
        let registry = Registry::default();
        let message = registry.spec("cartpole").unwrap_err().to_string();
        let start =
            "unknown environment \"cartpole\", did you mean \"CartPole-v1\"?; known: CartPole-v1";
        assert!(message.starts_with(start), "{message}");
        let message = registry.make_vec("Humanoid-v5", 1, 0).err().unwrap().to_string();
        assert!(
            message.starts_with("unknown environment \"Humanoid-v5\"; known: CartPole-v1"),
            "{message}"
        );
    }
}
