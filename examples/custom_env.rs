//! A program of your own: one environment more, and the whole command for it.
//!
//! `cargo run --release --example custom_env -- train --env Lamp-v0`; then `eval`, `inspect`, `report` and all else
//! that `impala` does. `--env-arg far=true` moves the lamp away.

use impala::env::{ArgError, Env, NumpyRng, Registry, Transition};
use impala::space::{ActionSpace, ObsSpace, Spec};

/// The walker's distance from a lamp on a line, the length of its steps, its random numbers.
struct Lamp(f32, f32, NumpyRng);

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
        // The network sees -4 to 4 as -1 to 1.
        let obs = ObsSpace::bounded(&[[-4.0, 4.0]]);
        let (id, actions) = (Self::ID.into(), ActionSpace::Discrete(3));
        // The lamp is ten steps away at most: the best policy needs five on average.
        let (max_episode_steps, reward_threshold) = (Some(50), Some(-7.0));
        Ok(Spec { id, obs, actions, max_episode_steps, reward_threshold })
    }

    fn new(args: &LampArgs, seed: u128) -> Self {
        Lamp(0.0, if args.far { 0.2 } else { 0.1 }, NumpyRng::new(seed))
    }

    fn reset(&mut self, obs: &mut [f32; 1]) {
        self.0 = 10.0 * self.1 * self.2.uniform(-1.0, 1.0) as f32;
        *obs = [self.0];
    }

    /// Left, stay, right: each step costs 1 until the lamp is reached.
    fn step(&mut self, action: usize, obs: &mut [f32; 1]) -> Transition {
        self.0 = (self.0 + self.1 * (action as f32 - 1.0)).clamp(-4.0, 4.0);
        *obs = [self.0];
        let terminated = self.0.abs() < 0.6 * self.1;
        Transition { reward: -1.0, terminated, truncated: false }
    }
}

fn main() -> std::process::ExitCode {
    impala::cli::main(Registry::default().with::<Lamp>())
}
