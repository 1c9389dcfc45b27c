//! Acrobot-v1: two links that hang from a hinge, with a motor at the joint between them; the free end
//! must swing up above a line.
//!
//! Owns: the dynamics and their constants. Knows nothing of time limits, vectors or learning. Built by
//! the registry alone.
//!
//! Source: `gymnasium/envs/classic_control/acrobot.py` (Gymnasium 1.4.0), the book's dynamics, without
//! noise. Each expression keeps that file's order of operations. NumPy takes sines and cosines of f64
//! from the C library, as Rust does. The state after a reset is f32, though, and for f32 NumPy has
//! polynomials of its own, which differ from the C library's in the last bit now and then: they are
//! [`sin_f32`] and [`cos_f32`] here.

use std::f64::consts::PI;
use std::hint::black_box;

use super::super::{ArgError, Env, NoArgs, NumpyRng, Transition};
use crate::space::{ActionSpace, ObsSpace, Spec};

/// Seconds between two steps.
const DT: f64 = 0.2;
const GRAVITY: f64 = 9.8;
/// Mass of each link, kg.
const MASS: f64 = 1.0;
/// Length of the first link, m.
const LENGTH: f64 = 1.0;
/// Distance of each link's centre of mass from its upper end, m.
const CENTRE: f64 = 0.5;
/// Moment of inertia of each link, kg m².
const INERTIA: f64 = 1.0;
/// Largest angular velocities of the first and of the second link, rad/s.
const MAX_VELOCITY: [f64; 2] = [4.0 * PI, 9.0 * PI];
/// The same as limits of what is observed.
const OBSERVED_VELOCITY: [f32; 2] = [MAX_VELOCITY[0] as f32, MAX_VELOCITY[1] as f32];
/// Each number of the first state is uniform in `[-RESET_BOUND, RESET_BOUND)`, then rounded to f32.
const RESET_BOUND: f64 = 0.1;

/// Angle of the first link from hanging, of the second from the first, and their velocities; rad, rad/s.
type State = [f64; 4];

/// The links and the generator of their resets.
#[derive(Clone, Debug)]
pub struct Acrobot {
    state: State,
    np_random: NumpyRng,
}

impl Env for Acrobot {
    type Obs = [f32; 6];
    type Action = usize;
    type Args = NoArgs;
    const ID: &'static str = "Acrobot-v1";

    fn spec(_: &NoArgs) -> Result<Spec, ArgError> {
        let [first, second] = OBSERVED_VELOCITY;
        let velocities = [[-first, first], [-second, second]];
        Ok(Spec {
            id: Self::ID.into(),
            obs: ObsSpace::bounded(&[[[-1.0, 1.0]; 4].as_slice(), &velocities].concat()),
            actions: ActionSpace::Discrete(3),
            max_episode_steps: Some(500),
            reward_threshold: Some(-100.0),
        })
    }

    fn new(_: &NoArgs, seed: u128) -> Self {
        Self { state: [0.0; 4], np_random: NumpyRng::new(seed) }
    }

    fn reset(&mut self, obs: &mut [f32; 6]) {
        let drawn: [f32; 4] =
            std::array::from_fn(|_| self.np_random.uniform(-RESET_BOUND, RESET_BOUND) as f32);
        self.state = drawn.map(f64::from);
        let [theta1, theta2, velocity1, velocity2] = drawn;
        *obs = [
            cos_f32(theta1),
            sin_f32(theta1),
            cos_f32(theta2),
            sin_f32(theta2),
            velocity1,
            velocity2,
        ];
    }

    /// The motor turns the second link with a torque of -1, 0 or 1 N m. Every step costs 1, but for the
    /// one that swings the free end above the line.
    fn step(&mut self, action: usize, obs: &mut [f32; 6]) -> Transition {
        let [theta1, theta2, velocity1, velocity2] = runge_kutta(&self.state, action as f64 - 1.0);
        let (theta1, theta2) = (wrap(theta1), wrap(theta2));
        let velocity1 = velocity1.clamp(-MAX_VELOCITY[0], MAX_VELOCITY[0]);
        let velocity2 = velocity2.clamp(-MAX_VELOCITY[1], MAX_VELOCITY[1]);
        self.state = [theta1, theta2, velocity1, velocity2];
        let observed =
            [theta1.cos(), theta1.sin(), theta2.cos(), theta2.sin(), velocity1, velocity2];
        *obs = observed.map(|number| number as f32);
        let terminated = -theta1.cos() - (theta2 + theta1).cos() > 1.0;
        Transition { reward: if terminated { 0.0 } else { -1.0 }, terminated, truncated: false }
    }
}

/// The state after [`DT`] seconds, by one step of the classical Runge-Kutta method.
fn runge_kutta(state: &State, torque: f64) -> State {
    let ahead = |slope: &State, seconds: f64| -> State {
        std::array::from_fn(|i| state[i] + seconds * slope[i])
    };
    let k1 = derivative(state, torque);
    let k2 = derivative(&ahead(&k1, DT / 2.0), torque);
    let k3 = derivative(&ahead(&k2, DT / 2.0), torque);
    let k4 = derivative(&ahead(&k3, DT), torque);
    std::array::from_fn(|i| state[i] + DT / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]))
}

/// Equations of motion as in Sutton and Barto's book, with its names.
fn derivative(&[theta1, theta2, velocity1, velocity2]: &State, torque: f64) -> State {
    let (sin2, cos2) = theta2.sin_cos();
    let d1 = MASS * (CENTRE * CENTRE)
        + MASS * (LENGTH * LENGTH + CENTRE * CENTRE + 2.0 * LENGTH * CENTRE * cos2)
        + INERTIA
        + INERTIA;
    let d2 = MASS * (CENTRE * CENTRE + LENGTH * CENTRE * cos2) + INERTIA;
    let phi2 = MASS * CENTRE * GRAVITY * (theta1 + theta2 - PI / 2.0).cos();
    let phi1 = -MASS * LENGTH * CENTRE * squared(velocity2) * sin2
        - 2.0 * MASS * LENGTH * CENTRE * velocity2 * velocity1 * sin2
        + (MASS * CENTRE + MASS * LENGTH) * GRAVITY * (theta1 - PI / 2.0).cos()
        + phi2;
    let acceleration2 =
        (torque + d2 / d1 * phi1 - MASS * LENGTH * CENTRE * squared(velocity1) * sin2 - phi2)
            / (MASS * (CENTRE * CENTRE) + INERTIA - squared(d2) / d1);
    let acceleration1 = -(d2 * acceleration2 + phi1) / d1;
    [velocity1, velocity2, acceleration1, acceleration2]
}

/// `x**2` as Python has it: by the C library's `pow`, of which one result in a thousand is not `x * x`.
fn squared(x: f64) -> f64 {
    // The compiler would make a product of a square that it knows of.
    x.powf(black_box(2.0))
}

/// An angle turned by whole circles into -π to π.
fn wrap(mut angle: f64) -> f64 {
    while angle > PI {
        angle -= 2.0 * PI;
    }
    while angle < -PI {
        angle += 2.0 * PI;
    }
    angle
}

/// NumPy's sine of an f32 of at most π/4, where its reduction of the angle does nothing. The coefficients
/// are those of `loops_trigonometric` in NumPy 2.
fn sin_f32(x: f32) -> f32 {
    let square = x * x;
    let [c9, c7, c5, c3] = [0x363e_9dde, 0xb950_35dd, 0x3c08_88cd, 0xbe2a_aaab].map(f32::from_bits);
    let sum = c9.mul_add(square, c7).mul_add(square, c5).mul_add(square, c3);
    (sum * square).mul_add(x, x)
}

/// NumPy's cosine of an f32 of at most π/4, as [`sin_f32`].
fn cos_f32(x: f32) -> f32 {
    let square = x * x;
    let [c8, c6, c4, c2] = [0x37cc_730b, 0xbab6_036e, 0x3d2a_aa9e, 0xbf00_0000].map(f32::from_bits);
    c8.mul_add(square, c6).mul_add(square, c4).mul_add(square, c2).mul_add(square, 1.0)
}
