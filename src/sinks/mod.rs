//! Where a run's reports go. Each leaf is one place; none knows another.
//!
//! The supervisor hands every sink the same data and decides what a failed write means: a sink returns
//! its errors and stays usable. `batches` is what those that write logs share.

mod batches;
pub mod files;
pub mod tensorboard;
pub mod terminal;

use files::RunFiles;
use tensorboard::TensorBoard;
use terminal::Terminal;

/// All the places that a run reports to.
pub struct Sinks {
    /// The files in its folder.
    pub files: RunFiles,
    /// The file for TensorBoard; of several ranks the first has one.
    pub tensorboard: Option<TensorBoard>,
    /// Whoever looks on.
    pub terminal: Terminal,
}
