//! One run's folder and what belongs to it: paths, circumstances, what it starts with and needs, kept checkpoints.

pub mod checkpoints;
pub mod dir;
pub mod footprint;
pub mod meta;
pub mod start;
