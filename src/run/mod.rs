//! One run's folder and what belongs to it: paths, circumstances, sizes, memory, first state, kept checkpoints.

pub mod checkpoints;
pub mod claim;
pub mod dir;
pub mod first_state;
pub mod footprint;
pub mod meta;
pub mod sizes;
