//! A training run that goes on until it is told to stop, watched from outside.
//!
//! It is a run of a copy of the binary, so that a build meanwhile takes nothing away under it, in a process
//! group of its own, so that Ctrl-C at the terminal reaches only who watches it.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use impala::config::Config;
use impala::os::signals::asking_to_end;
use impala::revisit::live::LiveRun;
use impala::run::dir::RunDir;
use impala::telemetry::Summary;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::common::read_summary;

/// A watchdog, not a measurement: a loaded machine may take long to start or to stop a run.
const PATIENCE: Duration = Duration::from_secs(300);

const TICK: Duration = Duration::from_millis(20);

/// A running `impala train`; ended when dropped.
pub struct EndlessRun {
    folder: TempDir,
    child: Child,
}

impl EndlessRun {
    /// Copies `binary` and starts it with `config`, plus whatever flags and variables.
    ///
    /// # Errors
    /// If it cannot be copied or started.
    pub fn start(
        binary: &Path,
        config: &Config,
        flags: &[String],
        environment: &[(&str, &str)],
    ) -> Result<EndlessRun> {
        let folder = tempfile::tempdir()?;
        // Whatever it writes to the system's folder for temporary files lands, and is found, here.
        let temporary = folder.path().join("tmp");
        std::fs::create_dir(&temporary)?;
        let program = folder.path().join("impala");
        std::fs::copy(binary, &program).with_context(|| binary.display().to_string())?;
        let settings = folder.path().join("settings.toml");
        std::fs::write(&settings, config.to_toml())?;
        let child = Command::new(&program)
            .args(["-q", "train", "--config"])
            .arg(&settings)
            .arg("--run-dir")
            .arg(folder.path().join("run"))
            .args(flags)
            .env("TMPDIR", temporary)
            .envs(environment.iter().copied())
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("stderr"))?)
            .spawn()
            .context("cannot start impala")?;
        Ok(EndlessRun { folder, child })
    }

    /// The run's folder. Beside it lie `impala`, the copy of the binary, and `tmp`, where it puts temporary
    /// files.
    pub fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// The supervisor's process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// What the run said on stderr so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// Whether the run has ended, by itself if nobody has stopped it.
    ///
    /// # Errors
    /// If the system cannot say.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits until the run learns; returns the way to look into it.
    ///
    /// # Errors
    /// If it ends first, with what it said.
    pub fn look_in(&mut self) -> Result<LiveRun> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let live =
                RunDir::open(&self.run_dir()).ok().and_then(|run| LiveRun::attach(&run).ok());
            match live {
                Some(live) if live.snapshot().learner.frames > 0 => return Ok(live),
                _ if self.has_ended()? => bail!("the run ended at once: {}", self.said()),
                _ => std::thread::sleep(TICK),
            }
        }
        bail!("the run did not begin to learn: {}", self.said())
    }

    /// What the run says of itself at its end.
    ///
    /// # Errors
    /// If it has not ended in order.
    pub fn summary(&self) -> Result<Summary> {
        read_summary(&self.run_dir())
    }

    /// Asks the run to stop in order and waits until it has.
    ///
    /// # Errors
    /// If it does not, in which case it is killed; if it had failed, with what it said.
    pub fn stop(&mut self) -> Result<()> {
        let start = Instant::now();
        if !self.has_ended()? {
            kill(self.pid(), Signal::SIGTERM)?;
        }
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                // A run that was stopped in order ends by the signal that asked for it.
                let is_in_order = status.signal() == Some(Signal::SIGTERM as i32);
                ensure!(is_in_order, "the run ended with {status}: {}", self.said());
                return Ok(());
            }
            std::thread::sleep(TICK);
        }
        bail!("the run did not stop within {PATIENCE:?}: {}", self.said())
    }
}

impl Drop for EndlessRun {
    fn drop(&mut self) {
        // One that has ended has no process to kill. Its workers die with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Signals that ask the watcher to stop early, read from a descriptor.
pub struct Interrupt(SignalFd);

impl Interrupt {
    /// From now on they wait to be looked at.
    ///
    /// # Errors
    /// If the system has no descriptor for them.
    pub fn catch() -> Result<Interrupt> {
        let signals = asking_to_end();
        signals.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Interrupt(SignalFd::with_flags(&signals, flags)?))
    }

    /// Sleeps for `duration`; true, at once, if somebody wants to stop.
    ///
    /// # Errors
    /// If the system cannot wait.
    pub fn came_within(&self, duration: Duration) -> Result<bool> {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut polled, PollTimeout::try_from(duration)?)? > 0)
    }
}
