//! CartPole-v1: a pole hinged on a cart that is pushed left or right.
//!
//! Owns: the dynamics and their constants, and what is seen of them: all, or positions without velocities. Knows
//! nothing of time limits, vectors or learning. Built by the registry alone.
//!
//! Source: `gymnasium/envs/classic_control/cartpole.py` (Gymnasium 1.4.0), Euler integrator. Floating
//! point is not associative: each expression keeps that file's order of operations, because only then
//! is every observation bit-equal. Sine and cosine are the C library's, as NumPy's are; two libraries
//! may round one of them differently in the last bit.

use serde::Deserialize;

use super::super::{ArgError, Env, NumpyRng, Transition};
use crate::space::{ActionSpace, ObsSpace, Spec};

const GRAVITY: f64 = 9.8;
const MASS_CART: f64 = 1.0;
const MASS_POLE: f64 = 0.1;
const TOTAL_MASS: f64 = MASS_POLE + MASS_CART;
/// Half of the pole's length, m.
const HALF_LENGTH: f64 = 0.5;
const POLE_MASS_LENGTH: f64 = MASS_POLE * HALF_LENGTH;
/// Push on the cart, N.
const FORCE: f64 = 10.0;
/// Seconds between two steps.
const TAU: f64 = 0.02;
/// 12 degrees in radians, rounded as Python rounds it.
const THETA_LIMIT: f64 = 12.0 * 2.0 * std::f64::consts::PI / 360.0;
/// Metres from the centre at which the track ends.
const X_LIMIT: f64 = 2.4;
/// Each number of the first state is uniform in `[-RESET_BOUND, RESET_BOUND)`.
const RESET_BOUND: f64 = 0.05;

/// What a user may set.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CartPoleArgs {
    /// Only position and angle are seen: a task for a network that remembers.
    hide_velocities: bool,
}

/// The cart, its pole and the generator of its resets. Of the four numbers of its state D are seen: all, or every
/// second one.
#[derive(Clone, Debug)]
pub struct CartPole<const D: usize> {
    /// Metres, m/s, radians, rad/s; zero until the first reset.
    state: [f64; 4],
    np_random: NumpyRng,
}

impl<const D: usize> CartPole<D> {
    #[inline]
    fn observe(&self, obs: &mut [f32; D]) {
        *obs = std::array::from_fn(|d| self.state[d * (4 / D)] as f32);
    }

    /// Accelerations of the cart (m/s²) and of the pole's angle (rad/s²) under a push in newtons.
    #[inline]
    fn accelerations(&self, force: f64) -> (f64, f64) {
        let [_, _, theta, theta_dot] = self.state;
        let (sin, cos) = theta.sin_cos();
        let temp = (force + POLE_MASS_LENGTH * (theta_dot * theta_dot) * sin) / TOTAL_MASS;
        let theta_acc = (GRAVITY * sin - cos * temp)
            / (HALF_LENGTH * (4.0 / 3.0 - MASS_POLE * (cos * cos) / TOTAL_MASS));
        let x_acc = temp - POLE_MASS_LENGTH * theta_acc * cos / TOTAL_MASS;
        (x_acc, theta_acc)
    }
}

impl<const D: usize> Env for CartPole<D> {
    type Obs = [f32; D];
    type Action = usize;
    type Args = CartPoleArgs;
    const ID: &'static str = "CartPole-v1";

    fn spec(args: &CartPoleArgs) -> Result<Spec, ArgError> {
        Ok(Spec {
            id: Self::ID.into(),
            // The numbers are of like size, and half of them have no bounds.
            obs: ObsSpace::vector(if args.hide_velocities { 2 } else { 4 }),
            actions: ActionSpace::Discrete(2),
            max_episode_steps: Some(500),
            reward_threshold: Some(475.0),
        })
    }

    fn new(_: &CartPoleArgs, seed: u128) -> Self {
        Self { state: [0.0; 4], np_random: NumpyRng::new(seed) }
    }

    fn reset(&mut self, obs: &mut [f32; D]) {
        self.state = std::array::from_fn(|_| self.np_random.uniform(-RESET_BOUND, RESET_BOUND));
        self.observe(obs);
    }

    /// Action 0 pushes to the left, 1 to the right. Every step earns 1, the last one too.
    #[inline]
    fn step(&mut self, action: usize, obs: &mut [f32; D]) -> Transition {
        let (x_acc, theta_acc) = self.accelerations(if action == 1 { FORCE } else { -FORCE });
        let [x, x_dot, theta, theta_dot] = self.state;
        self.state = [
            x + TAU * x_dot,
            x_dot + TAU * x_acc,
            theta + TAU * theta_dot,
            theta_dot + TAU * theta_acc,
        ];
        self.observe(obs);
        let terminated = self.state[0].abs() > X_LIMIT || self.state[2].abs() > THETA_LIMIT;
        Transition { reward: 1.0, terminated, truncated: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seed, lean, steps until the episode is over, digest of the state then; printed by
    /// `tests/reference/print_final_states.py`.
    const LONG_EPISODES: [(u128, f32, u32, u64); 3] = [
        (0, 0.0, 500, 0xbe58_9b57_a0cc_2ff3),
        (1, -0.05, 162, 0xbf7d_203b_079c_70d7),
        (2, 0.05, 166, 0x3f46_4cbd_aac4_7a16),
    ];
    /// Digest of the final states of 1000 falls; printed by the same script.
    const FALLS: u64 = 0x390c_459e_19c0_b832;

    /// Plays one episode until it is over; its steps and its last state.
    fn play(seed: u128, act: impl Fn(&[f32; 4]) -> usize) -> (u32, [f64; 4]) {
        let mut cartpole = CartPole::<4>::new(&CartPoleArgs::default(), seed);
        let mut obs = [0.0; 4];
        cartpole.reset(&mut obs);
        let mut steps = 1;
        while !cartpole.step(act(&obs), &mut obs).terminated && steps < 500 {
            steps += 1;
        }
        (steps, cartpole.state)
    }

    fn digest(states: impl IntoIterator<Item = [f64; 4]>) -> u64 {
        let numbers = states.into_iter().flatten();
        numbers.fold(0, |word: u64, number| word.rotate_left(1) ^ number.to_bits())
    }

    #[test]
    fn long_episodes_end_in_gymnasiums_state_to_the_last_bit() {
        for (seed, lean, steps, state_digest) in LONG_EPISODES {
            let played = play(seed, |obs| usize::from(obs[2] + 0.5 * obs[3] > lean));
            assert_eq!(
                (played.0, digest([played.1])),
                (steps, state_digest),
                "seed {seed}, lean {lean}"
            );
        }
    }

    #[test]
    fn falls_end_in_gymnasiums_state_to_the_last_bit() {
        assert_eq!(digest((0..1000).map(|seed| play(seed, |_| 1).1)), FALLS);
    }
}
