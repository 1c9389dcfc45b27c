//! `impala report`: renders a run's report again from its files.

use std::path::PathBuf;

use impala::report;
use impala::run_dir::RunDir;

use crate::Failure;

/// Render the report of a run again from the run's files.
#[derive(clap::Args)]
pub struct Args {
    /// The run's folder.
    #[arg(default_value = "results/latest")]
    run: PathBuf,
}

/// Renders and names the report.
pub fn run(args: &Args) -> Result<(), Failure> {
    let run = RunDir::open(&args.run).map_err(|error| Failure::Usage(error.into()))?;
    let path = report::render(&run).map_err(|error| Failure::Run(error.into()))?;
    println!("{}", path.display());
    Ok(())
}
