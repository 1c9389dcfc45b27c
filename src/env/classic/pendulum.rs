//! Pendulum-v1: a rod that hangs from a motor, which must swing it up and hold it there.
//!
//! Owns: the dynamics and their constants. Knows nothing of time limits, vectors or learning. Built by
//! the registry alone.
//!
//! Source: `gymnasium/envs/classic_control/pendulum.py` (Gymnasium 1.4.0), gravity 10. Each expression keeps
//! that file's order of operations and its types: the torque is an f32, the state f64. Sine and cosine are the C
//! library's, as NumPy's are.

use std::f64::consts::PI;

use super::super::{ArgError, Env, NoArgs, NumpyRng, Transition};
use crate::space::{ActionSpace, ObsSpace, Spec};

/// Radians a second.
const MAX_SPEED: f64 = 8.0;
/// Newton metres.
const MAX_TORQUE: f32 = 2.0;
/// Seconds between two steps.
const DT: f64 = 0.05;
const GRAVITY: f64 = 10.0;
/// Metres.
const LENGTH: f64 = 1.0;
/// 3/(m l²) of a rod of 1 kg.
const TORQUE_GAIN: f32 = 3.0;

/// The rod and the generator of its resets.
#[derive(Clone, Debug)]
pub struct Pendulum {
    /// Radians from upright, without bounds.
    theta: f64,
    /// Radians a second.
    theta_dot: f64,
    np_random: NumpyRng,
}

impl Pendulum {
    fn observe(&self, obs: &mut [f32; 3]) {
        let (sin, cos) = self.theta.sin_cos();
        *obs = [cos as f32, sin as f32, self.theta_dot as f32];
    }
}

impl Env for Pendulum {
    type Obs = [f32; 3];
    type Action = [f32; 1];
    type Args = NoArgs;
    const ID: &'static str = "Pendulum-v1";

    fn spec(_: &NoArgs) -> Result<Spec, ArgError> {
        Ok(Spec {
            id: Self::ID.into(),
            obs: ObsSpace::bounded(&[[-1.0, 1.0], [-1.0, 1.0], [-8.0, 8.0]]),
            actions: ActionSpace::Box { low: vec![-MAX_TORQUE], high: vec![MAX_TORQUE] },
            max_episode_steps: Some(200),
            reward_threshold: None,
        })
    }

    fn new(_: &NoArgs, seed: u128) -> Self {
        Self { theta: 0.0, theta_dot: 0.0, np_random: NumpyRng::new(seed) }
    }

    fn reset(&mut self, obs: &mut [f32; 3]) {
        self.theta = self.np_random.uniform(-PI, PI);
        self.theta_dot = self.np_random.uniform(-1.0, 1.0);
        self.observe(obs);
    }

    /// Costs what the rod leans, moves and is pushed; no state is terminal.
    #[inline]
    fn step(&mut self, [torque]: [f32; 1], obs: &mut [f32; 3]) -> Transition {
        let Self { theta, theta_dot, .. } = *self;
        let torque_cost = f64::from(0.001 * (torque * torque));
        let lean = angle_normalize(theta);
        let cost = lean * lean + 0.1 * (theta_dot * theta_dot) + torque_cost;
        let acceleration =
            3.0 * GRAVITY / (2.0 * LENGTH) * theta.sin() + f64::from(TORQUE_GAIN * torque);
        self.theta_dot = (theta_dot + acceleration * DT).clamp(-MAX_SPEED, MAX_SPEED);
        self.theta = theta + self.theta_dot * DT;
        self.observe(obs);
        Transition { reward: -cost as f32, terminated: false, truncated: false }
    }
}

/// The same angle from -π to π.
fn angle_normalize(angle: f64) -> f64 {
    (angle + PI).rem_euclid(2.0 * PI) - PI
}
