//! `impala inspect`: the segment's layout, or a running run as a table or a screen.

mod figures;
mod layout;
mod plain;
mod screen;
mod wishes;

use std::io::IsTerminal;
use std::path::PathBuf;

use crate::env::Registry;
use crate::revisit::live::{LiveError, LiveRun};
use crate::run::dir::RunDir;
use anyhow::anyhow;

use super::Failure;
use super::config::Sources;

/// Look into a running run, or print the layout of its shared memory.
///
/// Shows what each process does (phase, last heartbeat, frames/s, the share of its time in which it waits, and
/// in which it has work and no core, how often it died and was replaced), how full the rings are, the percentiles of each stage, score and throughput. Looking changes nothing: the run's
/// memory is mapped read-only. Of a run that has ended the summary is printed, of one that is about to what
/// it still does.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    impala inspect                                 the newest run, once, as plain text\n  \
    impala inspect --watch                         the same as a screen; arrows scroll, q leaves\n  \
    impala inspect --layout                        offsets and sizes in shared memory\n  \
    impala inspect --layout --set actors.count=16  the same for other settings")]
pub struct Args {
    /// The run's folder.
    #[arg(default_value = "results/latest")]
    run: PathBuf,
    /// Keep the screen up to date until the run ends, or q is pressed.
    #[arg(long)]
    watch: bool,
    /// Print what lies where in the shared memory, for a configuration.
    #[arg(long, conflicts_with_all = ["watch", "run"])]
    layout: bool,
    #[command(flatten)]
    sources: Sources,
}

/// Shows what was asked for.
pub fn run(args: &Args, environments: &Registry) -> Result<(), Failure> {
    if args.layout {
        let config = args.sources.layers(environments).resolve();
        let config = config.map_err(|error| Failure::Usage(error.into()))?;
        return layout::print(&config).map_err(Failure::Usage);
    }
    if !args.sources.is_empty() {
        return Err(Failure::Usage(anyhow!(
            "settings change nothing in a run that exists; add --layout, or leave them out"
        )));
    }
    let run = RunDir::open(&args.run).map_err(|error| Failure::Usage(error.into()))?;
    let shown = match LiveRun::attach(&run) {
        Ok(live) if args.watch && std::io::stdout().is_terminal() => screen::watch(&run, &live),
        Ok(live) => plain::print_live(&run, &live),
        Err(LiveError::NotRunning(_) | LiveError::Ending { .. } | LiveError::Gone { .. }) => {
            plain::print_end(&run)
        }
        Err(error) => Err(error.into()),
    };
    shown.map_err(Failure::Run)
}
