//! Two ranks whose actors are killed at random: what is left is that both have equal weights.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use impala::base::seeds::{Stream, stream_seed};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{impala, read_summary};
use crate::launch::{mpirun, named};

/// Mean time between two kills.
const PAUSE: Duration = Duration::from_millis(500);

const ACTORS: usize = 2;

/// Trains for `seconds` in `folder`; what came of it, as lines of Markdown.
pub fn storm(folder: &Path, seconds: u64, seed: u64) -> Result<String> {
    let program = impala();
    let program = program.get_program().to_str().context("the program's path")?;
    let run = folder.join("run");
    let mut job = mpirun(2);
    job.args([
        program,
        "train",
        "--quiet",
        "--frames",
        "1000000000000",
        "--actors",
        &ACTORS.to_string(),
    ]);
    job.args(["--set", "supervision.max_restarts=1000000", "--set", "supervision.max_pause_s=0.1"]);
    job.args(["--set", "distributed.check_interval=100", "--run-dir"])
        .arg(&run)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut job = job.spawn().context("mpirun")?;
    let (start, mut n_killed) = (Instant::now(), [0_u64; 2]);
    for turn in 0.. {
        if start.elapsed() > Duration::from_secs(seconds) {
            break;
        }
        ensure!(job.try_wait()?.is_none(), "the job ended in the storm; see {}", run.display());
        let random = stream_seed(seed, Stream::Actions { actor: 0, generation: turn });
        let (rank, actor) = (random as usize % 2, random as usize / 2 % ACTORS);
        for pid in named(program, &run, rank, &format!("impala-actor{actor}")) {
            n_killed[rank] += u64::from(kill(pid, Signal::SIGKILL).is_ok());
        }
        std::thread::sleep(PAUSE.mul_f64(0.5 + (random >> 8) as f64 / (1_u64 << 54) as f64));
    }
    kill(Pid::from_raw(job.id() as i32), Signal::SIGTERM)?;
    job.wait()?;
    let summary = read_summary(&run)?;
    let weights: Vec<&str> = summary.ranks.iter().map(|rank| &*rank.weights).collect();
    ensure!(weights.len() == 2, "the ranks have not parted in order: {:?}", summary.exit);
    ensure!(weights[0] == weights[1], "the ranks have other weights than one another: {weights:?}");
    Ok(format!(
        "{} s, {} + {} actors killed, {} + {} started again, {} updates compared every 100: equal weights at the end \
         ({})\n",
        seconds,
        n_killed[0],
        n_killed[1],
        summary.ranks[0].restarts,
        summary.ranks[1].restarts,
        summary.updates,
        weights[0]
    ))
}
