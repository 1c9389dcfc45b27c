//! Environments: the contract, the registry, and vectors of them.
//!
//! Owns: [`Env`] and [`EnvSpec`], which state observations, actions, reward, termination and time limit
//! as Gymnasium does, and the table of known ids behind [`spec`] and [`make_vec`]. Must not know slots,
//! policies or processes. The configuration looks ids up; actors and the evaluation step what
//! [`make_vec`] returns.
//!
//! # How to add an environment
//!
//! One new file and its entry in this one, for any environment with a vector of numbers as observation
//! and a fixed set of actions. MountainCar-v0 serves as the example.
//!
//! **1. Record how Gymnasium behaves.** In `tests/reference/`, with Python and `gymnasium==1.4.0`:
//!
//! ```text
//! python make_gymnasium_golden.py MountainCar-v0 8 100 1000 > MountainCar-v0.jsonl
//! ```
//!
//! That is eight episodes from seed 100 on, of at most 1000 steps. At least one of them has to reach the
//! time limit: half of them follow the policy that the script's table `LONG` holds for the id, so an id
//! that the table lacks first needs a line there.
//!
//! **2. Write `src/env/mountain_car.rs`.** Start from `cartpole.rs`, or from this skeleton (inside the
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
//! limit, the reset after an end, seeding and returns are the vector's business.
//!
//! **3. Register it here:** `mod mountain_car;` at the top and one line in `REGISTRY`,
//! `Entry::of::<mountain_car::MountainCar, _>()`. Where the spec's `obs_dim` is not the D of `Env<D>`,
//! this does not compile.
//!
//! **4. Run `cargo test --test env_reference`.** It replays every registered environment against
//! `tests/reference/<id>.jsonl` and fails while that file is missing. A failure names seed and step: at
//! the first observation the draws differ; a few steps in, look for an expression in another order or a
//! clip in another place; at the last, for the condition of termination.
//!
//! The id is now known wherever an environment is named.

mod cartpole;
mod seeding;
mod suggest;
mod vector;

use thiserror::Error;

pub use seeding::NumpyRng;
pub use suggest::did_you_mean;
pub use vector::{EpisodeLog, StepKind, VecEnv};

use vector::SyncVecEnv;

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

/// Every environment there is, one line each.
const REGISTRY: &[Entry] = &[Entry::of::<cartpole::CartPole, _>()];

struct Entry {
    spec: &'static EnvSpec,
    make_vec: fn(usize, u64) -> Box<dyn VecEnv>,
}

impl Entry {
    const fn of<E: Env<D> + 'static, const D: usize>() -> Self {
        const { assert!(E::SPEC.obs_dim == D, "obs_dim of the spec must be the D of Env<D>") };
        Self {
            spec: const { &E::SPEC },
            make_vec: |n_envs, seed| Box::new(SyncVecEnv::<E, D>::new(n_envs, seed)),
        }
    }
}

/// An id that the registry does not hold.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("unknown environment {id:?}{}; known: {}", did_you_mean(id, specs().map(|spec| spec.id)), known_ids())]
pub struct UnknownEnv {
    /// What was asked for.
    pub id: String,
}

/// The specs of all environments, in the order of the registry.
pub fn specs() -> impl Iterator<Item = &'static EnvSpec> {
    REGISTRY.iter().map(|entry| entry.spec)
}

/// The spec of an environment by its Gymnasium id.
///
/// # Errors
/// [`UnknownEnv`], whose message names the nearest id and lists all.
pub fn spec(id: &str) -> Result<&'static EnvSpec, UnknownEnv> {
    entry(id).map(|entry| entry.spec)
}

/// `n_envs` environments; number i draws from a generator seeded with `seed + i`, as Gymnasium's vectors do.
///
/// # Errors
/// As [`spec`].
pub fn make_vec(id: &str, n_envs: usize, seed: u64) -> Result<Box<dyn VecEnv>, UnknownEnv> {
    entry(id).map(|entry| (entry.make_vec)(n_envs, seed))
}

fn entry(id: &str) -> Result<&'static Entry, UnknownEnv> {
    let found = REGISTRY.iter().find(|entry| entry.spec.id == id);
    found.ok_or_else(|| UnknownEnv { id: id.to_owned() })
}

fn known_ids() -> String {
    specs().map(|spec| spec.id).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_id_yields_its_spec_and_its_vector() {
        let spec = spec("CartPole-v1").unwrap();
        assert_eq!(
            (spec.obs_dim, spec.n_actions, spec.max_episode_steps, spec.reward_threshold),
            (4, 2, 500, 475.0)
        );
        let envs = make_vec("CartPole-v1", 3, u64::MAX).unwrap();
        assert_eq!((envs.spec(), envs.n_envs()), (spec, 3));
    }

    #[test]
    fn ids_are_unique() {
        let mut ids: Vec<_> = specs().map(|spec| spec.id).collect();
        ids.sort_unstable();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    }

    #[test]
    fn an_unknown_id_lists_the_known_and_names_one_that_is_near() {
        let message = spec("cartpole").unwrap_err().to_string();
        let start =
            "unknown environment \"cartpole\", did you mean \"CartPole-v1\"?; known: CartPole-v1";
        assert!(message.starts_with(start), "{message}");
        let message = make_vec("Humanoid-v5", 1, 0).err().unwrap().to_string();
        assert!(
            message.starts_with("unknown environment \"Humanoid-v5\"; known: CartPole-v1"),
            "{message}"
        );
    }
}
