//! What the benchmarks share: training runs of the real binary, and the machine they ran on.

mod setting;
mod summary;

use std::process::Command;

pub use setting::*;
pub use summary::*;

/// The `impala` binary that cargo built beside this benchmark.
pub fn impala() -> Command {
    Command::new(env!("CARGO_BIN_EXE_impala"))
}
