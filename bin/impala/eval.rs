//! `impala eval`: plays a checkpoint's greedy policy.

use std::path::PathBuf;

use clap::value_parser;
use impala::checkpoint::Checkpoint;
use impala::env::Registry;
use impala::eval;
use impala::kernels::Simd;

use crate::Failure;

/// Play a trained policy's most probable actions and report the score.
#[derive(clap::Args)]
pub struct Args {
    /// The checkpoint file of a run, such as results/latest/checkpoint.safetensors.
    checkpoint: PathBuf,
    /// Episodes to play, each in an environment of its own.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=1_000_000))]
    episodes: u32,
    /// Episode i is reset with this seed plus i.
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(..1 << 62))]
    seed: u64,
}

/// Plays and prints the returns' statistics.
pub fn run(args: &Args) -> Result<(), Failure> {
    let usage = |error| Failure::Usage(error);
    let checkpoint = Checkpoint::load(&args.checkpoint).map_err(|error| usage(error.into()))?;
    let env = &checkpoint.env;
    let returns = eval::greedy_returns(
        &checkpoint,
        &Registry::default(),
        Simd::detect(),
        args.episodes as usize,
        args.seed,
    )
    .map_err(|error| usage(error.into()))?;
    let summary = eval::summarise(&returns).expect("at least one episode was played");
    println!(
        "{env}: {} greedy episodes, return mean {:.1}, min {:.0}, max {:.0} (trained on {} frames)",
        summary.episodes, summary.mean, summary.min, summary.max, checkpoint.state.counters.frames
    );
    Ok(())
}
