//! What a process costs that waits because the other side does not come: the real binary, whose learner
//! has been stopped so that every ring stays full.

use std::hint::spin_loop;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use impala::os::process::Worker;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::children::children;
use crate::common::{impala, read_summary};
use crate::contest::{Bench, Contender, Contest};

/// More frames than are ever collected.
const SETTINGS: &str = "frames = 100_000_000_000\n[report]\neval_episodes = 0\n";

/// A polling interval with about the latency of a doorbell.
const POLL: Duration = Duration::from_micros(50);

/// After which every process has started and, with the learner stopped, every ring is full.
const SETTLE: Duration = Duration::from_millis(500);

/// Share of a core that a waiting process takes.
pub fn cpu_share(bench: &mut Bench) -> Result<()> {
    bench.run(Contest {
        group: "waiting",
        job: "processor time of one waiting process".into(),
        unit: "% of a core",
        figures: &[""],
        target: Some(2.0),
        contenders: vec![
            Contender::figures("actor on a full ring, learner stopped", |effort| {
                Ok(vec![of_blocked_actors(effort.watch)?])
            }),
            Contender::figures("looking every 50 µs", |effort| {
                Ok(vec![of_child(effort.watch, || sleep(POLL))?])
            }),
            Contender::figures("spinning", |effort| Ok(vec![of_child(effort.watch, spin_loop)?])),
        ],
    })
}

/// Mean over all actors of a run whose learner stands still.
fn of_blocked_actors(watch: Duration) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let (config, run_dir) = (folder.path().join("bench.toml"), folder.path().join("run"));
    std::fs::write(&config, SETTINGS)?;
    let mut train = impala();
    train.args(["train", "--config"]).arg(&config).arg("--run-dir").arg(&run_dir);
    let mut run = Run(train.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    sleep(SETTLE);
    let (learner, actors) = run.workers()?;
    kill(learner, Signal::SIGSTOP)?;
    sleep(SETTLE);
    let shares = percent_of_a_core(&actors, watch)?;
    kill(learner, Signal::SIGCONT)?;
    run.end()?;
    // What the actors say themselves: they were blocked all the time that they were watched.
    let blocked_s = read_summary(&run_dir)?.actors.into_iter().map(|actor| actor.blocked_s);
    ensure!(blocked_s.fold(f64::NAN, f64::min) >= watch.as_secs_f64(), "an actor was not blocked");
    Ok(shares.iter().sum::<f64>() / shares.len() as f64)
}

/// A run of the real binary. Dropped early, it dies with its workers, a stopped learner included.
struct Run(Child);

impl Run {
    /// The learner and the actors, oldest child first.
    fn workers(&self) -> Result<(Pid, Vec<Pid>)> {
        let pids = children(self.0.id()).into_iter().map(u32::cast_signed);
        let mut pids: Vec<Pid> = pids.map(Pid::from_raw).collect();
        ensure!(pids.len() > 1, "the run has not started its workers");
        let learner = pids.remove(0);
        Ok((learner, pids))
    }

    /// Stops it in order.
    fn end(&mut self) -> Result<()> {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM)?;
        let status = self.0.wait()?;
        // A run that was stopped in order ends by the signal that asked for it.
        ensure!(status.signal() == Some(Signal::SIGTERM as i32), "the run ended with {status}");
        Ok(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Failing means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A child that does nothing but `idle`.
fn of_child(watch: Duration, idle: impl Fn()) -> Result<f64> {
    let child = Worker::spawn(|| {
        loop {
            idle();
        }
    })?;
    let shares = percent_of_a_core(&[Pid::from_raw(child.pid().cast_signed())], watch);
    child.kill()?;
    child.reap()?;
    Ok(shares?[0])
}

fn percent_of_a_core(processes: &[Pid], watch: Duration) -> Result<Vec<f64>> {
    let all = || processes.iter().map(|&pid| cpu_ns(pid)).collect::<Result<Vec<_>>>();
    let (start, before) = (Instant::now(), all()?);
    sleep(watch);
    let (after, elapsed_ns) = (all()?, start.elapsed().as_nanos() as f64);
    let spent = after.iter().zip(&before).map(|(after, before)| after - before);
    Ok(spent.map(|ns| 100.0 * ns as f64 / elapsed_ns).collect())
}

/// Processor time that a process has had, user and kernel, to the nanosecond.
fn cpu_ns(pid: Pid) -> Result<u64> {
    let path = format!("/proc/{pid}/schedstat");
    let text = std::fs::read_to_string(&path).context(path)?;
    let first = text.split_whitespace().next().context("an empty schedstat")?;
    Ok(first.parse()?)
}
