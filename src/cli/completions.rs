//! `impala completions`: a script by which a shell completes our command line.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::{Cli, Failure};

/// Print a script that lets a shell complete this command.
#[derive(clap::Args)]
#[command(after_help = "To install:\n  \
    bash   impala completions bash > ~/.local/share/bash-completion/completions/impala\n  \
    zsh    impala completions zsh > ~/.zfunc/_impala     with `fpath+=~/.zfunc` before compinit\n  \
    fish   impala completions fish > ~/.config/fish/completions/impala.fish")]
pub struct Args {
    /// The shell.
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "impala", &mut script);
    say!("{}", String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
