//! Gymnasium's classic control tasks, bit-exact.

pub mod acrobot;
pub mod cartpole;
pub mod mountain_car;
pub mod pendulum;
