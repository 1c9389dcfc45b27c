//! A program of your own: an environment in forty lines, trained by four actor processes.
//!
//! `cargo run --release --example custom_env`, with `-- FRAMES FOLDER` for another length and place.

use std::error::Error;

use impala::base::latency::monotonic_ns;
use impala::config::{Config, Schedule};
use impala::env::{ArgError, Env, NoArgs, NumpyRng, Registry, Transition};
use impala::os::process::end_by;
use impala::sinks::terminal::Show;
use impala::space::{ActionSpace, ObsSpace, Spec};
use impala::train::{Destination, train};

/// A lamp stands somewhere on a line; the walker sees where it is from the lamp and must reach it.
struct Lamp {
    distance: f64,
    rng: NumpyRng,
}

impl Env for Lamp {
    type Obs = [f32; 1];
    type Action = usize;
    type Args = NoArgs;
    const ID: &'static str = "Lamp-v0";

    fn spec(_: &NoArgs) -> Result<Spec, ArgError> {
        Ok(Spec {
            id: Self::ID.into(),
            // The network sees -2 to 2 as -1 to 1.
            obs: ObsSpace::bounded(&[[-2.0, 2.0]]),
            actions: ActionSpace::Discrete(3),
            max_episode_steps: Some(50),
            // Ten steps of 0.1 cover the line's half: the best policy needs five on average.
            reward_threshold: Some(-7.0),
        })
    }

    fn new(_: &NoArgs, rng: NumpyRng) -> Self {
        Lamp { distance: 0.0, rng }
    }

    fn reset(&mut self, obs: &mut [f32; 1]) {
        self.distance = self.rng.uniform(-1.0, 1.0);
        *obs = [self.distance as f32];
    }

    /// Left, stay, right: each step costs 1 until the lamp is reached.
    fn step(&mut self, action: usize, obs: &mut [f32; 1]) -> Transition {
        self.distance = (self.distance + 0.1 * (action as f64 - 1.0)).clamp(-2.0, 2.0);
        *obs = [self.distance as f32];
        let terminated = self.distance.abs() < 0.06;
        Transition { reward: -1.0, terminated, truncated: false }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let process_start_ns = monotonic_ns();
    let mut arguments = std::env::args().skip(1);
    let frames = arguments.next().map_or(Ok(400_000), |frames| frames.parse())?;
    let destination = match arguments.next() {
        Some(folder) => Destination::At(folder.into()),
        None => Destination::Below("results".into()),
    };
    let mut config = Config {
        environments: Registry::default().with::<Lamp>(),
        env: Lamp::ID.into(),
        frames,
        ..Config::default()
    };
    config.actors.count = 4;
    config.loss.entropy_cost = Schedule::linear(0.01, 0.1, frames);
    let trained = train(&config, &destination, process_start_ns, Show::on_stderr())?;
    println!("mean return of the last 100 episodes: {:?}", trained.summary.score_last100);
    println!("report: {}", trained.report.display());
    match trained.signal {
        // Whoever started this program sees that it was interrupted.
        Some(signal) => end_by(signal),
        None => Ok(()),
    }
}
