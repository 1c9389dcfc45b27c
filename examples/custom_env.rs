//! A program of your own: one environment more, and the whole command for it.
//!
//! `cargo run --release --example custom_env -- train --env Lamp-v0`; then `eval`, `inspect`, `report` and all else
//! that `impala` does. `--env-arg far=true` moves the lamp away.

use std::process::ExitCode;

use impala::env::{ArgError, Env, NumpyRng, Registry, Transition};
use impala::space::{ActionSpace, ObsSpace, Spec};

/// A lamp stands somewhere on a line; the walker sees where it is from the lamp and must reach it.
struct Lamp {
    distance: f32,
    step: f32,
    rng: NumpyRng,
}

/// What a user may set.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LampArgs {
    far: bool,
}

impl Env for Lamp {
    type Obs = [f32; 1];
    type Action = usize;
    type Args = LampArgs;
    const ID: &'static str = "Lamp-v0";

    fn spec(_: &LampArgs) -> Result<Spec, ArgError> {
        Ok(Spec {
            id: Self::ID.into(),
            // The network sees -4 to 4 as -1 to 1.
            obs: ObsSpace::bounded(&[[-4.0, 4.0]]),
            actions: ActionSpace::Discrete(3),
            max_episode_steps: Some(50),
            // The lamp is ten steps away at most: the best policy needs five on average.
            reward_threshold: Some(-7.0),
        })
    }

    fn new(args: &LampArgs, seed: u128) -> Self {
        Lamp { distance: 0.0, step: if args.far { 0.2 } else { 0.1 }, rng: NumpyRng::new(seed) }
    }

    fn reset(&mut self, obs: &mut [f32; 1]) {
        self.distance = 10.0 * self.step * self.rng.uniform(-1.0, 1.0) as f32;
        *obs = [self.distance];
    }

    /// Left, stay, right: each step costs 1 until the lamp is reached.
    fn step(&mut self, action: usize, obs: &mut [f32; 1]) -> Transition {
        self.distance = (self.distance + self.step * (action as f32 - 1.0)).clamp(-4.0, 4.0);
        *obs = [self.distance];
        let terminated = self.distance.abs() < 0.6 * self.step;
        Transition { reward: -1.0, terminated, truncated: false }
    }
}

fn main() -> ExitCode {
    impala::cli::main(Registry::default().with::<Lamp>())
}
