//! skeleton
pub mod env;
pub mod latency;
pub mod telemetry;
