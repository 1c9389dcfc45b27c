//! Where a run's reports go. Each leaf is one place; none knows another.
//!
//! The supervisor hands every sink the same data and decides what a failed write means: a sink returns
//! its errors and stays usable. `batches` is what those that write logs share.

mod batches;
pub mod files;
pub mod tensorboard;
pub mod terminal;
