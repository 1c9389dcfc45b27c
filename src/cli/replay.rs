//! `impala replay`: learns a run's weights again from the log of its slots, and compares.

use std::path::PathBuf;

use crate::base::units::number_of;
use crate::config::Config;
use crate::env::Registry;
use crate::revisit::replay::{Replayed, replay};
use crate::run::dir::RunDir;
use crate::sinks::terminal::{ProgressLine, Show};
use anyhow::anyhow;

use super::Failure;
use super::config::Trust;

/// Learn a run again, in one process, and see whether its weights come out to the last bit.
///
/// The run must have been trained with --log-slots: its slots.csv says with which weights each rollout was
/// collected and in which order the learner took them. Everything else follows from the seed.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    impala train --log-slots\n  \
    impala replay results/latest")]
pub struct Args {
    /// The run's folder.
    #[arg(value_name = "RUN", default_value = "results/latest")]
    run: PathBuf,
    #[command(flatten)]
    trust: Trust,
}

/// Replays and says what came of it.
pub fn run(args: &Args, environments: &Registry, show: Show) -> Result<(), Failure> {
    let run = RunDir::open(&args.run).map_err(|error| Failure::Usage(error.into()))?;
    let config = Config::from_file(&run.config()).map_err(|error| Failure::Usage(error.into()))?;
    args.trust.check(&config).map_err(Failure::Usage)?;
    let mut line = None;
    let replayed = replay(&args.run, environments, |made, total| {
        line.get_or_insert_with(|| ProgressLine::new(show, "replaying", "updates", total))
            .set(made, "");
    });
    drop(line);
    let replayed = replayed.map_err(|error| Failure::Usage(error.into()))?;
    let Replayed { updates, rollouts, n_different, n_compared } = replayed;
    let learned = format!("update {updates} after {}", number_of(rollouts as u64, "rollout"));
    if n_different == 0 {
        say!("{learned}: all {n_compared} weights and moments equal the run's, bit for bit");
        return Ok(());
    }
    Err(Failure::Run(anyhow!(
        "{learned}: {n_different} of {n_compared} weights and moments differ from the run's; kernels of \
         another instruction set round otherwise: replay where the run was trained"
    )))
}
