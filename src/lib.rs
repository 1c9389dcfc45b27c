//! skeleton
pub mod latency;
pub mod telemetry;
