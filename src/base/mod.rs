//! What anybody may use. Nothing here knows what an environment, a network or a process of a run is.

pub mod clock;
pub mod columns;
pub mod faults;
pub mod finite;
pub mod input;
pub mod seeds;
pub mod span;
pub mod stages;
pub mod suggest;
pub mod sync;
pub mod units;
