//! IMPALA (arXiv 1802.01561) on one machine: actor processes collect rollouts with a slightly old policy
//! into shared memory, one learner process corrects for that with V-trace and publishes new weights.
//!
//! # A first run
//!
//! ```no_run
//! use impala::config::Config;
//! use impala::base::clock::monotonic_ns;
//! use impala::sinks::terminal::Show;
//! use impala::train::{Destination, TrainError, train};
//!
//! fn main() -> Result<(), TrainError> {
//!     let process_start_ns = monotonic_ns();
//!     let config = Config { seed: 7, stop_when_solved: true, ..Config::default() };
//!     let destination = Destination::Below("results".into());
//!     let trained = train(&config, &destination, process_start_ns, Show::on_stderr())?;
//!     println!("{:?} frames to solve it: {}", trained.summary.solved_frames, trained.report.display());
//!     Ok(())
//! }
//! ```
//!
//! [`train`](train::train) forks, so it belongs into a `main` that has started no thread: no logger or
//! runtime that keeps one. It returns when the run is over; what it learned lies in the run's folder
//! ([`run::dir::RunDir`]) with its report, its figures and its checkpoint.
//!
//! # Settings
//!
//! A [`config::Config`] is plain data: take the defaults, which learn CartPole-v1, and change fields, or
//! let [`config::Layers`] do what the command does, with an environment's preset, a file and assignments:
//!
//! ```
//! use impala::config::{Layers, Schedule};
//!
//! let assignments = ["loss.discount=0.995".to_owned(), "actors.count=2".to_owned()];
//! let layers = Layers { env: Some("MountainCar-v0"), assignments: &assignments, ..Layers::default() };
//! let mut config = layers.resolve()?;
//! config.optimizer.learning_rate = Schedule::linear(1e-3, 0.1, 5_000_000);
//! config.check()?;
//! assert_eq!((config.actors.count, config.loss.discount), (2, 0.995));
//! println!("{}", config.to_toml());
//! # Ok::<(), impala::config::ConfigError>(())
//! ```
//!
//! [`Config::check`](config::Config::check) says in one line which setting cannot work, and why;
//! `train` begins with it. [`Config::to_toml`](config::Config::to_toml) prints every setting under its
//! meaning, its limits and its default.
//!
//! # An environment of your own
//!
//! Implement [`env::Env`]: a specification, `new`, `reset`, `step`. Then let the configuration know it:
//!
//! ```
//! use impala::config::Config;
//! use impala::env::{ArgError, Env, NoArgs, NumpyRng, Registry, Transition};
//! use impala::space::{ActionSpace, ObsSpace, Spec};
//!
//! /// Guess which of two doors the prize is behind; the door is shown.
//! struct Doors(NumpyRng, usize);
//!
//! impl Env for Doors {
//!     type Obs = [f32; 1];
//!     type Action = usize;
//!     type Args = NoArgs;
//!     const ID: &'static str = "Doors-v0";
//!
//!     fn spec(_: &NoArgs) -> Result<Spec, ArgError> {
//!         Ok(Spec {
//!             id: Self::ID.into(),
//!             obs: ObsSpace::vector(1),
//!             actions: ActionSpace::Discrete(2),
//!             max_episode_steps: Some(1),
//!             reward_threshold: Some(0.95),
//!         })
//!     }
//!
//!     fn new(_: &NoArgs, seed: u128) -> Self {
//!         Doors(NumpyRng::new(seed), 0)
//!     }
//!
//!     fn reset(&mut self, obs: &mut [f32; 1]) {
//!         self.1 = usize::from(self.0.random() < 0.5);
//!         *obs = [self.1 as f32];
//!     }
//!
//!     fn step(&mut self, action: usize, _obs: &mut [f32; 1]) -> Transition {
//!         let reward = f32::from(action == self.1);
//!         Transition { reward, terminated: true, truncated: false }
//!     }
//! }
//!
//! let config = Config {
//!     environments: Registry::default().with::<Doors>(),
//!     env: "Doors-v0".into(),
//!     ..Config::default()
//! };
//! assert_eq!(config.check().map_err(|error| error.to_string()), Ok(()));
//! ```
//!
//! `examples/custom_env.rs` is a whole program of this kind: `cargo run --release --example custom_env`.
//! The registry is a value in the configuration, which forked workers inherit; there is nothing global.
//!
//! # Parts without processes
//!
//! A [`actor::collector::Collector`] fills a [`rollout::RolloutBuffer`], a [`learner::pass::Pass`] turns it into
//! a gradient, both without any other process. [`learner::vtrace`] works on plain slices of f32 or f64.
//! [`state::checkpoint::Checkpoint`] reads what a run has learned, and [`actor::policy::Policy`] acts with it on
//! observations as [`Registry::make_inputs`](env::Registry::make_inputs) gives them.
//!
//! # Where to start reading
//!
//! [`actor::Actor::run`] and [`learner::lane::Lane::run`] are the two hot loops, one screen each. Then
//! [`rollout`] for what passes between them and [`shm`] for how: a drawing and the numbered invariants.
//! `ARCHITECTURE.md` in the repository is the map of all this: which module may import which, and "How to
//! add".

pub mod base;

pub mod kernels;
pub mod os;
pub mod space;
pub mod telemetry;

pub mod rollout;

pub mod env;
pub mod network;

pub mod config;
pub mod state;

pub mod shm;

pub mod run;

pub mod actor;
pub mod learner;
pub mod report;
pub mod sinks;

pub mod play;

pub mod revisit;
pub mod supervisor;

pub mod train;

pub mod cli;
