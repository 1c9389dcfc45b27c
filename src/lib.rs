//! skeleton
pub mod kernels;
pub mod latency;
pub mod telemetry;
