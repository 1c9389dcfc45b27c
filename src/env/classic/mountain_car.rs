//! MountainCar-v0: an underpowered car in a valley, which must swing up to the right hill.
//!
//! Owns: the dynamics and their constants. Knows nothing of time limits, vectors or learning. Built by
//! the registry alone.
//!
//! Source: `gymnasium/envs/classic_control/mountain_car.py` (Gymnasium 1.4.0), goal velocity 0. Each
//! expression keeps that file's order of operations; the cosine is the C library's, as Python's is.

use super::super::{ArgError, Env, NoArgs, NumpyRng, Transition};
use crate::space::{ActionSpace, ObsSpace, Spec};

/// Left end of the valley.
const MIN_POSITION: f64 = -1.2;
/// Right end of the valley, behind the goal.
const MAX_POSITION: f64 = 0.6;
const MAX_SPEED: f64 = 0.07;
const GOAL_POSITION: f64 = 0.5;
/// What the engine adds to the speed in one step.
const FORCE: f64 = 0.001;
/// What the slope takes from the speed in one step where it is steepest.
const GRAVITY: f64 = 0.0025;

/// The car and the generator of its resets.
#[derive(Clone, Debug)]
pub struct MountainCar {
    position: f64,
    /// Change of the position in a step.
    velocity: f64,
    np_random: NumpyRng,
}

impl MountainCar {
    fn observe(&self, obs: &mut [f32; 2]) {
        *obs = [self.position as f32, self.velocity as f32];
    }
}

impl Env for MountainCar {
    type Obs = [f32; 2];
    type Action = usize;
    type Args = NoArgs;
    const ID: &'static str = "MountainCar-v0";

    fn spec(_: &NoArgs) -> Result<Spec, ArgError> {
        Ok(Spec {
            id: Self::ID.into(),
            obs: ObsSpace::bounded(&[[-1.2, 0.6], [-0.07, 0.07]]),
            actions: ActionSpace::Discrete(3),
            max_episode_steps: Some(200),
            reward_threshold: Some(-110.0),
        })
    }

    fn new(_: &NoArgs, seed: u128) -> Self {
        Self { position: 0.0, velocity: 0.0, np_random: NumpyRng::new(seed) }
    }

    fn reset(&mut self, obs: &mut [f32; 2]) {
        (self.position, self.velocity) = (self.np_random.uniform(-0.6, -0.4), 0.0);
        self.observe(obs);
    }

    /// Action 0 drives to the left, 1 not at all, 2 to the right. Every step costs 1, the last one too.
    #[inline]
    fn step(&mut self, action: usize, obs: &mut [f32; 2]) -> Transition {
        let push = (action as f64 - 1.0) * FORCE;
        self.velocity += push + (3.0 * self.position).cos() * -GRAVITY;
        self.velocity = self.velocity.clamp(-MAX_SPEED, MAX_SPEED);
        self.position = (self.position + self.velocity).clamp(MIN_POSITION, MAX_POSITION);
        if self.position == MIN_POSITION && self.velocity < 0.0 {
            self.velocity = 0.0;
        }
        self.observe(obs);
        let terminated = self.position >= GOAL_POSITION && self.velocity >= 0.0;
        Transition { reward: -1.0, terminated, truncated: false }
    }
}
