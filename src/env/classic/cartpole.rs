//! CartPole-v1: a pole hinged on a cart that is pushed left or right.
//!
//! Owns: the dynamics and their constants. Knows nothing of time limits, vectors or learning. Built by
//! the registry alone.
//!
//! Source: `gymnasium/envs/classic_control/cartpole.py` (Gymnasium 1.4.0), Euler integrator. Floating
//! point is not associative: each expression keeps that file's order of operations, because only then
//! is every observation bit-equal. Sine and cosine are the C library's, as NumPy's are; two libraries
//! may round one of them differently in the last bit.

use serde::Deserialize;

use super::super::NumpyRng;
use super::super::lanes::Dynamics;
use super::super::sines::Sines;
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

impl CartPoleArgs {
    /// Which numbers of the state are seen.
    pub fn shown(self) -> &'static [usize] {
        if self.hide_velocities { &[0, 2] } else { &[0, 1, 2, 3] }
    }
}

/// The cart and its pole. A state is metres, m/s, radians, rad/s.
pub struct CartPole;

/// Accelerations of the cart (m/s²) and of the pole's angle (rad/s²) under a push in newtons.
#[inline(always)]
fn accelerations([_, _, theta, theta_dot]: [f64; 4], force: f64, sines: impl Sines) -> (f64, f64) {
    let (sin, cos) = sines.sin_cos(theta);
    let temp = (force + POLE_MASS_LENGTH * (theta_dot * theta_dot) * sin) / TOTAL_MASS;
    let theta_acc = (GRAVITY * sin - cos * temp)
        / (HALF_LENGTH * (4.0 / 3.0 - MASS_POLE * (cos * cos) / TOTAL_MASS));
    let x_acc = temp - POLE_MASS_LENGTH * theta_acc * cos / TOTAL_MASS;
    (x_acc, theta_acc)
}

impl Dynamics<4> for CartPole {
    const ID: &'static str = "CartPole-v1";
    /// Every step earns 1, the last one too.
    const REWARD: f32 = 1.0;

    fn spec() -> Spec {
        Spec {
            id: Self::ID.into(),
            // The numbers are of like size, and half of them have no bounds.
            obs: ObsSpace::vector(4),
            actions: ActionSpace::Discrete(2),
            max_episode_steps: Some(500),
            reward_threshold: Some(475.0),
        }
    }

    fn first(np_random: &mut NumpyRng) -> [f64; 4] {
        std::array::from_fn(|_| np_random.uniform(-RESET_BOUND, RESET_BOUND))
    }

    /// Action 0 pushes to the left, 1 to the right.
    #[inline(always)]
    fn step(state: [f64; 4], action: usize, sines: impl Sines) -> ([f64; 4], bool) {
        let force = if action == 1 { FORCE } else { -FORCE };
        let (x_acc, theta_acc) = accelerations(state, force, sines);
        let [x, x_dot, theta, theta_dot] = state;
        let state = [
            x + TAU * x_dot,
            x_dot + TAU * x_acc,
            theta + TAU * theta_dot,
            theta_dot + TAU * theta_acc,
        ];
        (state, (state[0].abs() > X_LIMIT) | (state[2].abs() > THETA_LIMIT))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sines::{CLibrary, SmallSines};
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
    fn play(seed: u128, act: impl Fn([f32; 4]) -> usize) -> (u32, [f64; 4]) {
        let mut state = CartPole::first(&mut NumpyRng::new(seed));
        let sines = SmallSines::like_the_c_library();
        for steps in 1.. {
            let action = act(state.map(|number| number as f32));
            let (next, is_over) = CartPole::step(state, action, CLibrary);
            if let Some(sines) = sines {
                let by_table = CartPole::step(state, action, sines).0;
                assert_eq!(by_table.map(f64::to_bits), next.map(f64::to_bits));
            }
            if is_over || steps == 500 {
                return (steps, next);
            }
            state = next;
        }
        unreachable!("an episode ends")
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
