//! The `impala` command with the engine's own environments.

use std::process::ExitCode;

use impala::env::Registry;

fn main() -> ExitCode {
    impala::cli::main(Registry::default())
}
