//! `impala report`: renders a run's report again from its files, or one that compares many runs.

use std::path::{Path, PathBuf};

use crate::report::{self, Pictures, Step};
use crate::run::dir::RunDir;
use crate::sinks::terminal::{Show, TaskLines};
use anyhow::{Context, Result, anyhow, ensure};

use super::Failure;

/// Render the report of a run again from its files, or compare many runs.
///
/// One run gets its pages and pictures in its own folder. Of several runs, or of a folder that
/// holds runs, the report compares: medians and bands over the seeds, grouped by the settings that differ.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    impala report                                  the newest run, again\n  \
    impala report results/A results/B --out ab     compare two runs in ab/report.html\n  \
    impala report results                          compare all runs below results/")]
pub struct Args {
    /// Folders of runs, or folders that hold runs.
    #[arg(default_value = "results/latest")]
    runs: Vec<PathBuf>,
    /// Folder of the comparison [default: the folder that holds the runs, if one was given; else
    /// results/comparison].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Renders and names the report.
pub fn run(args: &Args, show: Show) -> Result<(), Failure> {
    let runs = find_runs(&args.runs).map_err(Failure::Usage)?;
    let is_one = args.runs.len() == 1 && runs.len() == 1 && RunDir::open(&args.runs[0]).is_ok();
    let mut lines = TaskLines::new(show);
    let mut watch = |Step { task, unit, done, total }: Step| lines.set(task, unit, done, total);
    let rendered = if is_one && args.out.is_none() {
        report::render(&runs[0], Pictures::all(), &mut watch)
    } else {
        let folder = args.folder().map_err(Failure::Usage)?;
        report::compare(&runs, &folder, Pictures::all(), &mut watch)
    };
    lines.finish();
    let path = rendered.map_err(|error| Failure::Run(error.into()))?;
    say!("{}", path.display());
    Ok(())
}

impl Args {
    /// Where the comparison goes. A run's own folder has a report of its own.
    fn folder(&self) -> Result<PathBuf> {
        let folder = match (&self.out, self.runs.as_slice()) {
            (Some(out), _) => out.clone(),
            (None, [one]) => one.clone(),
            (None, _) => "results/comparison".into(),
        };
        ensure!(
            RunDir::open(&folder).is_err(),
            "--out {} is the folder of a run, which has a report of its own; name another folder",
            folder.display()
        );
        std::fs::create_dir_all(&folder).with_context(|| {
            format!("cannot create {}; choose a folder that you may write to", folder.display())
        })?;
        Ok(folder)
    }
}

/// Each run once, in the order of the arguments and of the names.
fn find_runs(paths: &[PathBuf]) -> Result<Vec<RunDir>> {
    let mut runs: Vec<RunDir> = Vec::new();
    for path in paths {
        for run in runs_at(path)? {
            if !runs.contains(&run) {
                runs.push(run);
            }
        }
    }
    Ok(runs)
}

/// The run in this folder, or the runs in the folders below it.
fn runs_at(path: &Path) -> Result<Vec<RunDir>> {
    let refused = match RunDir::open(path) {
        Ok(run) => return Ok(vec![run]),
        Err(error) => error,
    };
    let Ok(entries) = std::fs::read_dir(path) else {
        return Err(refused.into());
    };
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    let runs: Vec<RunDir> = folders.iter().filter_map(|folder| RunDir::open(folder).ok()).collect();
    if runs.is_empty() { Err(anyhow!(refused)) } else { Ok(runs) }
}
