//! One run's folder and what belongs to it: paths, circumstances, what it starts with, kept checkpoints.

pub mod checkpoints;
pub mod dir;
pub mod meta;
pub mod start;
