//! All that learning goes on from, in memory and as a file.

pub mod checkpoint;
mod learner;

pub use learner::*;
