//! The `impala` command: settings, train, evaluate, report.

mod config;
mod eval;
mod report;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit status for a mistake of the user's: found before anything was started.
const EXIT_USAGE: u8 = 2;

/// IMPALA in shared memory: trains agents on cheap simulators in seconds, on one machine.
///
/// Several actor processes collect rollouts with a slightly old policy, one learner process corrects
/// for it with V-trace (arXiv 1802.01561). Try `impala train`, then open the report it names.
#[derive(Parser)]
#[command(name = "impala", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(train::Args),
    Config(config::Args),
    Eval(eval::Args),
    Report(report::Args),
}

/// Why a command failed: the user's mistake, or the run's.
enum Failure {
    /// Exit status 2.
    Usage(anyhow::Error),
    /// Exit status 1.
    Run(anyhow::Error),
}

fn main() -> ExitCode {
    let process_start_ns = impala::latency::monotonic_ns();
    impala::process::keep_files_private();
    let outcome = match Cli::parse().command {
        Command::Train(args) => train::run(&args, process_start_ns),
        Command::Config(args) => config::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Report(args) => report::run(&args),
    };
    let (error, status) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => (error, ExitCode::from(EXIT_USAGE)),
        Err(Failure::Run(error)) => (error, ExitCode::FAILURE),
    };
    eprintln!("impala: {}", printable(&error.to_string()));
    status
}

/// A message may quote what somebody else wrote into a file; a terminal must not obey it.
fn printable(message: &str) -> String {
    let escape = |c: char| match c {
        '\n' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    message.chars().map(escape).collect()
}
