//! Environments: the contract, the registry, and vectors of them.
//!
//! Owns: [`Env`], whose spec states observations, actions, time limit and threshold as Gymnasium does, and
//! [`Registry`], the environments that a program knows by their ids. Must not know slots or policies, nor, but
//! for `outside/`, processes. The configuration looks ids up; actors and the evaluation step what
//! [`Registry::make_inputs`] returns.
//!
//! # How to add an environment
//!
//! For a program of your own, implement [`Env`] there and register it with [`Registry::with`]:
//! `examples/custom_env.rs` does both and trains it. What follows adds one to the engine, for all its
//! users: one new file and its entry in this one. CliffWalking-v1 serves as the example.
//!
//! **1. Record how Gymnasium behaves.** In `tests/reference/`, with Python and `gymnasium==1.4.0`:
//!
//! ```text
//! python make_gymnasium_golden.py CliffWalking-v1 8 100 1000 > CliffWalking-v1.jsonl
//! ```
//!
//! That is eight episodes from seed 100 on, of at most 1000 steps. At least one of them has to reach the
//! time limit: half of them follow the policy that the script's table `LONG` holds for the id, so an id
//! that the table lacks first needs a line there. MinAtar's games have scripts of their own beside it. An
//! environment without an original gets a test of its own in `tests/env_reference.rs`, as PixelCatch-v0 has.
//!
//! **2. Write its file in `src/env/`.** Start from `classic/mountain_car.rs`, from `pixel_catch.rs` if it
//! shows pictures, or from this skeleton:
//!
//! ```
//! use impala::env::{ArgError, Env, NumpyRng, Transition};
//! use impala::space::{ActionSpace, ObsSpace, Spec};
//!
//! /// A walk along a line; the right end is the goal.
//! pub struct Corridor {
//!     position: f64,
//!     length: f64,
//!     np_random: NumpyRng,
//! }
//!
//! /// What a user may set, as `--env-arg length=2.5`. Without any, `NoArgs` stands in its place.
//! #[derive(serde::Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! pub struct CorridorArgs {
//!     length: f64,
//! }
//!
//! impl Default for CorridorArgs {
//!     fn default() -> Self {
//!         CorridorArgs { length: 1.0 }
//!     }
//! }
//!
//! impl Env for Corridor {
//!     type Obs = [f32; 1];
//!     type Action = usize;
//!     type Args = CorridorArgs;
//!     const ID: &'static str = "Corridor-v0";
//!
//!     fn spec(args: &CorridorArgs) -> Result<Spec, ArgError> {
//!         if !(args.length > 0.1) {
//!             return Err(ArgError::of("length", args.length, "must be above 0.1"));
//!         }
//!         Ok(Spec {
//!             id: Self::ID.into(),
//!             obs: ObsSpace::vector(1),
//!             actions: ActionSpace::Discrete(2),
//!             max_episode_steps: Some(100),
//!             reward_threshold: Some(-12.0),
//!         })
//!     }
//!
//!     fn new(args: &CorridorArgs, seed: u128) -> Self {
//!         Self { position: 0.0, length: args.length, np_random: NumpyRng::new(seed) }
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
//!         Transition { reward: -1.0, terminated: self.position > self.length, truncated: false }
//!     }
//! }
//!
//! let mut corridor = Corridor::new(&CorridorArgs::default(), 0);
//! let mut obs = [0.0];
//! corridor.reset(&mut obs);
//! let steps = 1 + (0..100).take_while(|_| !corridor.step(1, &mut obs).terminated).count();
//! assert!((9..=12).contains(&steps) && obs[0] > 1.0);
//! ```
//!
//! `Obs` and `Action` are the types that [`mod@column`] lists: an array of numbers whose length is known when
//! compiled is the fastest. Id, time limit and threshold are those of the environment's `register(...)` call in
//! `gymnasium/envs/__init__.py`. To be bit-exact, keep the types (`f64` state, cast only what is observed), the
//! order of operations of every expression, and the order and number of random draws: those at reset as well
//! as those that Gymnasium throws away. The time limit, the reset after an end, seeding and returns are the
//! vector's business. Bounds of an observation ([`ObsSpace::bounded`](crate::space::ObsSpace::bounded)) map
//! numbers of very different sizes to -1 to 1 on their way into the network; give those of the observation
//! space where they are finite.
//!
//! **3. Register it here:** a `mod` at the top and one line in `BUILT_IN`,
//! `Entry::of::<cliff_walking::CliffWalking>()`. If the defaults do not learn it, what does is a file in
//! `src/config/presets/`.
//!
//! **4. Run `cargo test --test env_reference`.** It replays every registered environment against its
//! recording, `tests/reference/<id>.jsonl`, and fails while that file is missing. A failure names seed and step: at
//! the first observation the draws differ; a few steps in, look for an expression in another order or a
//! clip in another place; at the last, for the condition of termination.
//!
//! The id is now known wherever an environment is named.

mod args;
mod classic;
pub mod column;
mod error;
mod hidden;
mod inputs;
mod known_scores;
mod lanes;
mod minatar;
pub mod outside;
mod picture;
mod pixel_catch;
mod raw_actions;
mod seeding;
mod sines;
mod tasks;
mod tmaze;
mod vector;

use std::fmt;
use std::path::PathBuf;

use serde::de::DeserializeOwned;

pub use args::{ArgError, EnvArgs, NoArgs};
pub use error::{EnvError, UnknownEnv};
pub use known_scores::normalized_score;
pub use picture::Picture;
pub use seeding::NumpyRng;
pub use tasks::task_ids;
pub use vector::{StepBuffer, StepMut, VecEnv};

use crate::space::{ActionMap, ActionSpace, Spec};
use classic::cartpole::{CartPole, CartPoleArgs};
use column::{Action, Observation};
use lanes::{Dynamics, LaneVecEnv};
use minatar::game::MinAtar;
use minatar::{asterix, breakout, freeway, seaquest, space_invaders};
use outside::{Launch, Outside};
use vector::SyncVecEnv;

/// What one step of an environment yields besides the observation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Transition {
    /// Raw reward: neither scaled nor clipped.
    pub reward: f32,
    /// Whether the state is terminal: its value is 0 by definition.
    pub terminated: bool,
    /// Whether the environment itself cuts the episode here, in a state that has a value. The time limit of its
    /// spec never shows here.
    pub truncated: bool,
}

/// One environment, as Gymnasium's `Env` without its wrappers: no time limit, no autoreset, no check of
/// actions. The vector adds those.
pub trait Env: Sized + 'static {
    /// What it writes an observation as; [`mod@column`] lists the types.
    type Obs: Observation + ?Sized;
    /// What it takes an action as; [`mod@column`] lists the types.
    type Action: Action;
    /// What a user may set of it; [`NoArgs`] for nothing.
    type Args: DeserializeOwned;
    /// Its id in the registry, version included.
    const ID: &'static str;

    /// What it is with these arguments. Its id is [`Env::ID`], its spaces those of `Obs` and `Action`.
    ///
    /// # Errors
    /// If it cannot be made with them.
    fn spec(args: &Self::Args) -> Result<Spec, ArgError>;

    /// An environment whose random numbers all follow from `seed`; to be reset before it is stepped.
    /// [`Env::spec`] has accepted the arguments.
    fn new(args: &Self::Args, seed: u128) -> Self;

    /// Begins an episode and writes its first observation. The generator goes on across episodes.
    fn reset(&mut self, obs: &mut Self::Obs);

    /// Takes an action of the space and writes the observation after it, a terminal one too.
    fn step(&mut self, action: Self::Action, obs: &mut Self::Obs) -> Transition;
}

/// The engine's own environments, one line each.
const BUILT_IN: &[Entry] = &[
    Entry::of_cartpole(),
    Entry::of::<classic::mountain_car::MountainCar>(),
    Entry::of::<classic::acrobot::Acrobot>(),
    Entry::of::<classic::pendulum::Pendulum>(),
    Entry::of::<MinAtar<breakout::Breakout, 1>>(),
    Entry::of::<MinAtar<breakout::Breakout, 0>>(),
    Entry::of::<MinAtar<space_invaders::SpaceInvaders, 1>>(),
    Entry::of::<MinAtar<space_invaders::SpaceInvaders, 0>>(),
    Entry::of::<MinAtar<freeway::Freeway, 1>>(),
    Entry::of::<MinAtar<freeway::Freeway, 0>>(),
    Entry::of::<MinAtar<asterix::Asterix, 1>>(),
    Entry::of::<MinAtar<asterix::Asterix, 0>>(),
    Entry::of::<MinAtar<seaquest::Seaquest, 1>>(),
    Entry::of::<MinAtar<seaquest::Seaquest, 0>>(),
    Entry::of::<pixel_catch::PixelCatch>(),
    Entry::of::<tmaze::TMaze>(),
];

#[derive(Clone, Copy)]
struct Entry {
    id: &'static str,
    spec: fn(&EnvArgs) -> Result<Spec, EnvError>,
    make_vec: MakeVec,
}

/// Arguments, E environments and a seed to a vector of them.
type MakeVec = fn(&EnvArgs, usize, u64) -> Result<Box<dyn VecEnv>, EnvError>;

impl Entry {
    const fn of<E: Env>() -> Self {
        Entry {
            id: E::ID,
            spec: |args| read::<E>(args).map(|(_, spec)| spec),
            make_vec: |args, n_envs, seed| {
                let (args, spec) = read::<E>(args)?;
                Ok(Box::new(SyncVecEnv::<E>::new(spec, &args, n_envs, seed)))
            },
        }
    }

    /// CartPole, of whose numbers its arguments may hide some.
    const fn of_cartpole() -> Self {
        Entry {
            id: CartPole::ID,
            spec: |args| Ok(hidden::shown_spec(CartPole::spec(), read_shown(args)?)),
            make_vec: |args, n_envs, seed| {
                let shown = read_shown(args)?;
                let envs = Box::new(LaneVecEnv::<CartPole, 4>::new(CartPole::spec(), n_envs, seed));
                Ok(hidden::show(envs, shown))
            },
        }
    }
}

/// Which of CartPole's numbers are shown with these arguments.
fn read_shown(args: &EnvArgs) -> Result<&'static [usize], EnvError> {
    let refused = |source| EnvError::Args { env: CartPole::ID.into(), source };
    Ok(args.read::<CartPoleArgs>().map_err(refused)?.shown())
}

/// The arguments as the environment declares them, and its spec with them.
fn read<E: Env>(args: &EnvArgs) -> Result<(E::Args, Spec), EnvError> {
    let refused = |source| EnvError::Args { env: E::ID.into(), source };
    let args: E::Args = args.read().map_err(refused)?;
    let spec = E::spec(&args).map_err(refused)?;
    let is_fitting = spec.id == E::ID && E::Obs::fits(&spec.obs) && E::Action::fits(&spec.actions);
    let unfit = || format!("{spec} is not of its ID, Obs and Action");
    match spec.fault().or_else(|| (!is_fitting).then(unfit)) {
        None => Ok((args, spec)),
        Some(fault) => Err(EnvError::Spec { env: E::ID.into(), fault }),
    }
}

/// The environments that a program knows, by their ids: the engine's own, those it adds, and those in processes
/// of their own, such as `gym:LunarLander-v3` ([`outside`]).
///
/// A plain value that travels with the configuration, so that forked workers have it too.
#[derive(Clone)]
pub struct Registry {
    entries: Vec<Entry>,
    outside: Outside,
    squash_actions: bool,
}

impl Default for Registry {
    /// The engine's own environments.
    fn default() -> Self {
        Registry { entries: BUILT_IN.to_vec(), outside: Outside::default(), squash_actions: false }
    }
}

impl Registry {
    /// Adds an environment; one of the same id is replaced.
    pub fn with<E: Env>(mut self) -> Self {
        self.entries.retain(|entry| entry.id != E::ID);
        self.entries.push(Entry::of::<E>());
        self
    }

    /// The same, with environments in processes of their own started so.
    pub fn launching(self, launch: Launch) -> Self {
        Registry { outside: self.outside.launching(launch), ..self }
    }

    /// The same, with what environments in processes of their own print in a folder.
    pub fn logging_to(self, folder: PathBuf) -> Self {
        Registry { outside: self.outside.logging_to(folder), ..self }
    }

    /// The same, where nobody watches: one in a process of its own that does not answer within so many seconds, once
    /// it has started, is given up.
    pub fn answering_within(self, seconds: f64) -> Self {
        Registry { outside: self.outside.answering_within(seconds), ..self }
    }

    /// The same, with numbers that a policy draws squashed into the bounds of an action instead of clipped.
    pub fn squashing_actions(self, squash_actions: bool) -> Self {
        Registry { squash_actions, ..self }
    }

    /// How each number of an action is made of the one that a policy draws; none for indices.
    pub fn action_maps(&self, actions: &ActionSpace) -> Vec<ActionMap> {
        let ActionSpace::Box { low, high } = actions else { return Vec::new() };
        let bounds = low.iter().zip(high);
        bounds.map(|(low, high)| ActionMap::of([*low, *high], self.squash_actions)).collect()
    }

    /// The ids of all environments in this process, in the order in which they were added.
    pub fn ids(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|entry| entry.id)
    }

    /// What an environment is with these arguments, or several tasks between commas together. One in a process of
    /// its own is asked, at most once.
    ///
    /// # Errors
    /// [`EnvError`] for an id that is not known, whose message names the nearest and lists all, for
    /// arguments that it does not take, for what a process of its own says, and for tasks that have too little in
    /// common.
    pub fn spec(&self, env: &str, args: &EnvArgs) -> Result<Spec, EnvError> {
        let specs = self.of_tasks(env, |id| self.spec_of(id, args))?;
        tasks::union(env, &specs)
    }

    fn spec_of(&self, id: &str, args: &EnvArgs) -> Result<Spec, EnvError> {
        match self.entry(id) {
            Ok(entry) => (entry.spec)(args),
            Err(unknown) => Ok(self.outside.account(id, args).ok_or(unknown)??.spec),
        }
    }

    /// Frames of an emulator in a step of an environment; 1 where there is none, and of tasks that differ in it.
    ///
    /// # Errors
    /// As [`Registry::spec`].
    pub fn frames_per_step(&self, env: &str, args: &EnvArgs) -> Result<u32, EnvError> {
        let all = self.of_tasks(env, |id| match self.entry(id) {
            Ok(_) => Ok(1),
            Err(unknown) => Ok(self.outside.account(id, args).ok_or(unknown)??.frames_per_step),
        })?;
        Ok(if all.iter().all(|one| *one == all[0]) { all[0] } else { 1 })
    }

    /// What a user should know of an environment that can be trained, a line each.
    ///
    /// # Errors
    /// As [`Registry::spec`].
    pub fn notes(&self, env: &str, args: &EnvArgs) -> Result<Vec<String>, EnvError> {
        let all = self.of_tasks(env, |id| match self.entry(id) {
            Ok(_) => Ok(Vec::new()),
            Err(unknown) => Ok(self.outside.account(id, args).ok_or(unknown)??.notes),
        })?;
        Ok(all.concat())
    }

    /// The same asked of each task.
    fn of_tasks<T>(
        &self,
        env: &str,
        ask: impl Fn(&str) -> Result<T, EnvError>,
    ) -> Result<Vec<T>, EnvError> {
        task_ids(env).into_iter().map(ask).collect()
    }

    /// Arguments with which an environment draws itself too, where it can be told to; else these.
    pub fn drawing(&self, id: &str, args: &EnvArgs) -> EnvArgs {
        if self.entry(id).is_ok() { args.clone() } else { outside::drawing(id, args) }
    }

    /// `n_envs` environments; number i draws from a generator seeded with `seed + i`, as Gymnasium's
    /// vectors do. Observations are what the environments say.
    ///
    /// # Errors
    /// As [`Registry::spec`].
    pub fn make_vec(
        &self,
        id: &str,
        args: &EnvArgs,
        n_envs: usize,
        seed: u64,
    ) -> Result<Box<dyn VecEnv>, EnvError> {
        match self.entry(id) {
            Ok(entry) => (entry.make_vec)(args, n_envs, seed),
            Err(unknown) => self.outside.make_vec(id, args, n_envs, seed).ok_or(unknown)?,
        }
    }

    /// The same of the task with this index of those that `env` names, with observations as the network takes them,
    /// mapped from their bounds, and with actions as the policy draws them, mapped to theirs.
    ///
    /// # Errors
    /// As [`Registry::spec`].
    ///
    /// # Panics
    /// If there is no such task.
    pub fn make_inputs(
        &self,
        env: &str,
        task: usize,
        args: &EnvArgs,
        n_envs: usize,
        seed: u64,
    ) -> Result<Box<dyn VecEnv>, EnvError> {
        let ids = task_ids(env);
        let envs = self.make_vec(ids[task], args, n_envs, seed)?;
        let maps = self.action_maps(&envs.spec().actions);
        let envs = raw_actions::raw_actions(inputs::network_inputs(envs), maps);
        if ids.len() == 1 { Ok(envs) } else { Ok(tasks::padded(envs, self.spec(env, args)?)) }
    }

    fn entry(&self, id: &str) -> Result<&Entry, UnknownEnv> {
        let found = self.entries.iter().find(|entry| entry.id == id);
        found.ok_or_else(|| UnknownEnv { id: id.into(), known: self.ids().collect() })
    }
}

impl PartialEq for Registry {
    fn eq(&self, other: &Self) -> bool {
        self.ids().eq(other.ids())
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.ids().collect::<Vec<_>>()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::ObsSpace;

    #[test]
    fn a_known_id_yields_its_spec_and_its_vector() {
        let (registry, args) = (Registry::default(), EnvArgs::default());
        let spec = registry.spec("CartPole-v1", &args).unwrap();
        let line = "CartPole-v1: observations f32 [4], actions Discrete(2), at most 500 steps an episode, \
                    solved at a mean return of 475";
        assert_eq!(spec.to_string(), line);
        let envs = registry.make_vec("CartPole-v1", &args, 3, u64::MAX).unwrap();
        assert_eq!((envs.spec(), envs.n_envs()), (&spec, 3));
    }

    #[test]
    fn ids_are_unique() {
        let mut ids: Vec<_> = Registry::default().ids().collect();
        ids.sort_unstable();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    }

    #[test]
    fn an_unknown_id_lists_the_known_and_names_one_that_is_near() {
        let (registry, args) = (Registry::default(), EnvArgs::default());
        let message = registry.spec("cartpole", &args).unwrap_err().to_string();
        let start =
            "unknown environment \"cartpole\", did you mean \"CartPole-v1\"? Known: CartPole-v1";
        assert!(message.starts_with(start), "{message}");
        let message = registry.make_vec("Humanoid-v5", &args, 1, 0).err().unwrap().to_string();
        assert!(
            message.starts_with("unknown environment \"Humanoid-v5\"; known: CartPole-v1"),
            "{message}"
        );
    }

    #[test]
    fn arguments_of_an_environment_without_any_are_refused() {
        let mut args = EnvArgs::default();
        args.set("gravity", 1.6.into());
        let message = Registry::default().spec("CartPole-v1", &args).unwrap_err().to_string();
        assert!(
            message.contains("CartPole-v1 cannot be made") && message.contains("`gravity`"),
            "{message}"
        );
    }

    /// States an observation of two numbers, and writes one.
    struct Liar;

    impl Env for Liar {
        type Obs = [f32; 1];
        type Action = usize;
        type Args = NoArgs;
        const ID: &'static str = "Liar-v0";

        fn spec(_: &NoArgs) -> Result<Spec, ArgError> {
            Ok(Spec {
                id: Self::ID.into(),
                obs: ObsSpace::vector(2),
                actions: ActionSpace::Discrete(2),
                max_episode_steps: Some(1),
                reward_threshold: None,
            })
        }

        fn new(_: &NoArgs, _: u128) -> Self {
            Liar
        }

        fn reset(&mut self, _: &mut [f32; 1]) {}

        fn step(&mut self, _: usize, _: &mut [f32; 1]) -> Transition {
            Transition::default()
        }
    }

    #[test]
    fn a_spec_of_other_types_than_the_environments_is_refused() {
        let registry = Registry::default().with::<Liar>();
        let message = registry.spec("Liar-v0", &EnvArgs::default()).unwrap_err().to_string();
        assert!(message.starts_with("Liar-v0 states a wrong specification"), "{message}");
    }
}
