//! IMPALA (arXiv 1802.01561) as a shared-memory multi-process engine.
//!
//! Modules in rank order: each imports only from those above it.
#![warn(missing_docs)]

pub mod env;
pub mod kernels;
pub mod latency;
pub mod params;
pub mod restart;
pub mod seeds;
pub mod sync;
pub mod vtrace;

pub mod rollout;
pub mod shm;

pub mod config;
pub mod mlp;
pub mod policy;

pub mod checkpoint;
pub mod eval;
pub mod meta;
pub mod process;
pub mod run_dir;
pub mod telemetry;

pub mod report;
pub mod sinks;

pub mod actor;
pub mod collector;
pub mod learner;

pub mod supervisor;
pub mod train;
