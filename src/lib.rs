//! skeleton
pub mod latency;
pub mod meta;
pub mod report;
pub mod run_dir;
pub mod sinks;
pub mod telemetry;
