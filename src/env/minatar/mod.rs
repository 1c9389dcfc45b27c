//! The five games of MinAtar, small Ataris on a grid of 10 × 10, bit-exact.
//!
//! A game is a file that reads as its rules do; [`game`] makes environments of it, and [`legacy_rng`] draws
//! as the games' own generator does. Held against recordings of the package `minatar` 1.0.15.
//!
//! Source: K. Young and T. Tian, "MinAtar: An Atari-Inspired Testbed for Thorough and Reproducible
//! Reinforcement Learning Experiments" (arXiv 1903.03176).

pub mod asterix;
pub mod breakout;
pub mod freeway;
pub mod game;
mod legacy_rng;
pub mod seaquest;
pub mod space_invaders;
