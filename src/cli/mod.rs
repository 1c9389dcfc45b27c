//! The `impala` command: settings, train, evaluate, look into runs, report.
//!
//! [`main`] is the whole command for whatever environments a program knows: `bin/impala/main.rs` calls it with
//! the engine's own, `examples/custom_env.rs` with one more. Each file is a subcommand. Here alone stands
//! `anyhow`: nobody but a person reads these errors.

/// Prints a line of a result.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::print_line(format_args!($($text)*)) };
}

mod completions;
mod config;
mod env;
mod eval;
mod inspect;
mod replay;
mod report;
mod runs;
mod shell;
mod train;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use crate::config::meant_setting;
use crate::env::Registry;
use crate::os::process::{keep_own_rights, unblock_signals};
use crate::sinks::terminal::Show;
use clap::error::{ContextKind, ContextValue, ErrorKind as Mistake};
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

/// Exit status for a mistake of the user's: found before anything was started.
const EXIT_USAGE: u8 = 2;

/// Exit status where a result cannot be said.
const EXIT_FAILURE: i32 = 1;

/// IMPALA in shared memory: trains agents on cheap simulators in seconds, on one machine.
///
/// Several actor processes collect rollouts with a slightly old policy, one learner process corrects
/// for it with V-trace (arXiv 1802.01561). Try `impala train`, then open the report it names.
#[derive(Parser)]
#[command(name = "impala", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Show no progress; results, warnings and errors are still printed.
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = AFTER_OTHERS)]
    quiet: bool,
    /// Log each step to stderr, with plain progress lines instead of a bar.
    #[arg(short, long, global = true, action = ArgAction::SetTrue, display_order = AFTER_OTHERS)]
    verbose: bool,
}

/// Where options that every command has stand in its help.
const AFTER_OTHERS: usize = 900;

#[derive(Subcommand)]
enum Command {
    Train(Box<train::Args>),
    Config(config::Args),
    Env(env::Args),
    Eval(eval::Args),
    Report(report::Args),
    Replay(replay::Args),
    Runs(runs::Args),
    Inspect(inspect::Args),
    Completions(completions::Args),
}

/// Why a command failed: the user's mistake, or the run's.
enum Failure {
    /// Exit status 2.
    Usage(anyhow::Error),
    /// Exit status 1.
    Run(anyhow::Error),
}

impl Cli {
    /// The command line. The environments stand in the help: nobody should have to guess one to be told the
    /// others.
    fn parse_for(environments: &Registry) -> Result<Self, clap::Error> {
        let help = format!(
            "Id of the environment: {}; gym:ID of Gymnasium, vec:ID of its vectors, MODULE:CALLABLE of a Python, \
             exec:PATH of a program [default: CartPole-v1]",
            known(environments)
        );
        let told = |command: clap::Command| command.mut_arg("env", |arg| arg.help(&help));
        let command = TAKES_SETTINGS
            .into_iter()
            .fold(Cli::command(), |command, name| command.mut_subcommand(name, told));
        Cli::from_arg_matches(&command.try_get_matches()?)
    }

    fn show(&self) -> Show {
        match (self.quiet, self.verbose) {
            (true, _) => Show::Nothing,
            (_, true) => Show::Lines,
            _ => Show::on_stderr(),
        }
    }
}

/// The whole command, for a program that knows `environments`: flags, settings, files, resume, evaluation,
/// pictures, replay, a look at a running run. Returns the exit status: 0, or 1 where the run failed, or 2 where
/// the user's mistake was found before anything started. A run that a signal asked to end does not return.
///
/// It forks, so it belongs into a `main` that has started no thread.
pub fn main(environments: Registry) -> ExitCode {
    let process_start_ns = crate::base::clock::monotonic_ns();
    keep_own_rights();
    unblock_signals();
    let cli = Cli::parse_for(&environments).unwrap_or_else(|error| with_setting(error).exit());
    let show = cli.show();
    if cli.verbose {
        log_to_stderr();
    }
    let outcome = match cli.command {
        Command::Train(args) => train::run(&args, &environments, process_start_ns, show),
        Command::Config(args) => config::run(&args, &environments),
        Command::Env(args) => env::run(&args, &environments),
        Command::Eval(args) => eval::run(&args, &environments, show),
        Command::Report(args) => report::run(&args, show),
        Command::Replay(args) => replay::run(&args, &environments, show),
        Command::Runs(args) => runs::run(&args),
        Command::Inspect(args) => inspect::run(&args, &environments),
        Command::Completions(args) => completions::run(&args),
    };
    let (error, status) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => (error, ExitCode::from(EXIT_USAGE)),
        Err(Failure::Run(error)) => (error, ExitCode::FAILURE),
    };
    complain(&printable(&error.to_string()));
    status
}

/// The ids of all environments.
fn known(environments: &Registry) -> String {
    environments.ids().collect::<Vec<_>>().join(", ")
}

/// Commands that take any setting.
const TAKES_SETTINGS: [&str; 3] = ["train", "config", "inspect"];

/// Of a flag that there is not, but for whose name there is a setting, says how that is given.
fn with_setting(mut error: clap::Error) -> clap::Error {
    let flag = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (Mistake::UnknownArgument, Some(ContextValue::String(flag))) => flag.clone(),
        _ => return error,
    };
    let takes_settings = std::env::args().any(|word| TAKES_SETTINGS.contains(&word.as_str()));
    if let Some(setting) = meant_setting(flag.trim_start_matches('-')).filter(|_| takes_settings) {
        // The flag that is spelled most like it is another one.
        error.remove(ContextKind::SuggestedArg);
        let tip = format!("a setting has no flag of its own: '--set {setting}=VALUE'");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// Writes a line to stderr, where that takes one: its user may have closed it, and the status says enough.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "impala: {text}");
}

/// Writes a line to stdout. A reader that has seen enough, such as `head`, is no error; a full disk is.
fn print_line(text: std::fmt::Arguments) {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(&format!("cannot write to the standard output: {error}"));
            std::process::exit(EXIT_FAILURE);
        }
        _ => {}
    }
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

/// Every event of the library, with the seconds since the start. Starts no thread, since forks follow.
fn log_to_stderr() {
    let is_colourful = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        // Else a line that cannot be written is complained of on the same stream, which panics.
        .log_internal_errors(false)
        .with_timer(tracing_subscriber::fmt::time::uptime())
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(is_colourful)
        .init();
}
