//! IMPALA (arXiv 1802.01561) on one machine: actor processes collect rollouts with a slightly old policy
//! into shared memory, one learner process corrects for that with V-trace and publishes new weights.
//!
//! # A first run
//!
//! ```no_run
//! use impala::config::Config;
//! use impala::latency::monotonic_ns;
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
//! ([`run_dir::RunDir`]) with its report, its figures and its checkpoint.
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
//! use impala::env::{Env, EnvSpec, NumpyRng, Registry, Transition};
//!
//! /// Guess which of two doors the prize is behind; the door is shown.
//! struct Doors(NumpyRng, usize);
//!
//! impl Env<1> for Doors {
//!     const SPEC: EnvSpec = EnvSpec {
//!         id: "Doors-v0",
//!         obs_dim: 1,
//!         n_actions: 2,
//!         max_episode_steps: 1,
//!         reward_threshold: 0.95,
//!         obs_bounds: None,
//!     };
//!
//!     fn new(rng: NumpyRng) -> Self {
//!         Doors(rng, 0)
//!     }
//!
//!     fn reset(&mut self, obs: &mut [f32; 1]) {
//!         self.1 = usize::from(self.0.random() < 0.5);
//!         *obs = [self.1 as f32];
//!     }
//!
//!     fn step(&mut self, action: usize, _obs: &mut [f32; 1]) -> Transition {
//!         Transition { reward: f32::from(action == self.1), terminated: true }
//!     }
//! }
//!
//! let config = Config {
//!     environments: Registry::default().with::<Doors, _>(),
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
//! A [`collector::Collector`] fills a [`rollout::RolloutBuffer`], a [`learner::pass::Pass`] turns it into
//! a gradient, both without any other process. [`vtrace`] works on plain slices of f32 or f64.
//! [`checkpoint::Checkpoint`] reads what a run has learned, and [`policy::Policy`] acts with it on
//! observations as [`Registry::make_inputs`](env::Registry::make_inputs) gives them.
//!
//! # Modules, in rank order
//!
//! Each imports only from ranks above it in this list.
//!
//! | rank | module | one responsibility |
//! |---|---|---|
//! | 0 | [`sync`] | the only switch between the processor's atomics and loom's model of them |
//! | | [`latency`] | stages, the monotonic clock, one histogram a stage |
//! | | [`input`] | files that anybody may have written, read up to a bound |
//! | | [`suggest`] | "did you mean": the nearest known name |
//! | 1 | [`env`](mod@env) | environments: the contract, the registry, vectors of them |
//! | | [`kernels`] | matrix kernels for each instruction set |
//! | | [`params`] | every parameter's place in one flat vector |
//! | | [`vtrace`] | V-trace on plain slices |
//! | | [`seeds`] | one seed into many |
//! | | [`state`] | all that learning goes on from |
//! | | [`restart`] | whether and when a dead worker is started again |
//! | | [`watch`] | whether a silent worker hangs |
//! | | [`faults`] | faults on purpose, in test builds alone |
//! | | [`divergence`] | what is done about updates that are not finite |
//! | | [`process`] | fork, and death seen through a pidfd |
//! | | [`signals`] | the signals that ask for an orderly stop |
//! | | [`run_dir`] | a run's folder and the paths in it |
//! | | [`memory`] | how much memory a process takes |
//! | 2 | [`rollout`] | what is in a slot |
//! | | [`place`] | one worker's place: its process, its deaths, when the next is due |
//! | | [`mlp`] | forward pass and gradient of the network |
//! | | [`checkpoint`] | training as a file: weights, optimiser, counters, settings |
//! | | [`telemetry`] | what a run tells about itself: plain data |
//! | 3 | [`config`] | every setting, its default, its check |
//! | | [`shm`] | the shared segment: rings, weights, board, doorbells |
//! | | [`policy`] | from observations to actions |
//! | | [`meta`] | the circumstances of a run |
//! | 4 | [`collector`] | one rollout, straight into a slot |
//! | | [`eval`] | episodes that a checkpoint plays |
//! | | [`sinks`] | files and terminal |
//! | | [`start`] | what a run starts with: its segment's shape, its first state |
//! | | [`checkpoints`] | a run's checkpoints: when one is due, which are kept |
//! | | [`report`] | plots and the finished page |
//! | 5 | [`actor`] | the first hot loop |
//! | | [`resume`] | where a run goes on that was ended or killed |
//! | | [`learner`] | the second hot loop |
//! | | [`render`] | pictures of an episode |
//! | | [`final_eval`] | the evaluation at the end of a run, in a process of its own |
//! | 6 | [`supervisor`] | forks, watches, restarts, records, stops |
//! | 7 | [`train`](mod@train) | one run from configuration to report |
//! | | [`live`] | a running run, seen from outside |
//! | | [`replay`] | a run learned again from its log of slots |
//!
//! # Where to start reading
//!
//! [`actor::Actor::run`] and [`learner::lane::Lane::run`] are the two hot loops, one screen each. Then
//! [`rollout`] for what passes between them and [`shm`] for how: a drawing and the numbered invariants.
//! `ARCHITECTURE.md` in the repository is the map of all this, with "How to add".

pub mod input;
pub mod latency;
pub mod suggest;
pub mod sync;

pub mod divergence;
pub mod env;
pub mod faults;
pub mod kernels;
pub mod memory;
pub mod params;
pub mod process;
pub mod restart;
pub mod run_dir;
pub mod seeds;
pub mod signals;
pub mod state;
pub mod vtrace;
pub mod watch;

pub mod checkpoint;
pub mod mlp;
pub mod place;
pub mod rollout;
pub mod telemetry;

pub mod config;
pub mod meta;
pub mod policy;
pub mod shm;

pub mod checkpoints;
pub mod collector;
pub mod eval;
pub mod report;
pub mod sinks;
pub mod start;

pub mod actor;
pub mod final_eval;
pub mod learner;
pub mod render;
pub mod resume;

pub mod supervisor;

pub mod live;
pub mod replay;
pub mod train;
