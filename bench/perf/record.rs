//! Recording a training run with Linux `perf`: may we, with which event, and the run itself.
//!
//! Owns the processes: whatever ends the recording, none of them is left behind.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use impala::os::signals::asking_to_end;
use indicatif::ProgressBar;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::samples::FIELDS;

/// What start and the first updates take; not recorded.
const WARM_UP: Duration = Duration::from_millis(500);

/// How long `perf` may take to write its file and end the run, before it is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why there can be no recording: the machine's, not the program's fault. Says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// No such program.
    #[error("there is no `perf` on this machine; on Debian: apt-get install linux-perf")]
    Missing,
    /// The kernel, or a sandbox, says no.
    #[error(
        "`perf` may not record here (kernel.perf_event_paranoid = {paranoid}): {said}\n\
         allow it with `sysctl kernel.perf_event_paranoid=1` as root; in a container, add the \
         capability PERFMON or run it outside"
    )]
    Forbidden {
        /// The kernel's setting.
        paranoid: String,
        /// What perf said.
        said: String,
    },
}

/// Somebody pressed Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; every process was stopped")]
pub struct Interrupted;

/// What triggers a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The processor's cycle counter.
    Cycles,
    /// A timer of the kernel, for machines (mostly virtual ones) that hide the counters.
    CpuClock,
}

impl Event {
    /// Its name for `perf record -e`.
    pub fn name(self) -> &'static str {
        match self {
            Event::Cycles => "cycles",
            Event::CpuClock => "cpu-clock",
        }
    }

    /// The best event that this machine records.
    ///
    /// # Errors
    /// [`Unavailable`] if it records none.
    pub fn detect() -> Result<Event, Unavailable> {
        if has_cycle_counter()? && try_recording(Event::Cycles).is_ok() {
            return Ok(Event::Cycles);
        }
        try_recording(Event::CpuClock).map(|()| Event::CpuClock)
    }
}

fn has_cycle_counter() -> Result<bool, Unavailable> {
    let counted = perf(["stat", "-x,", "-e", "cycles", "--", "true"])?;
    // `perf stat` writes its figures to stderr; a hidden counter reads "<not supported>".
    Ok(String::from_utf8_lossy(&counted.stderr).starts_with(|digit: char| digit.is_ascii_digit()))
}

fn try_recording(event: Event) -> Result<(), Unavailable> {
    let output = perf(["record", "-e", event.name(), "-o", "/dev/null", "--", "true"])?;
    if output.status.success() {
        return Ok(());
    }
    let setting = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Unavailable::Forbidden {
        paranoid: setting.map_or("unknown".into(), |text| text.trim().into()),
        said: said.lines().find(|line| line.len() > 10).unwrap_or("nothing").trim().into(),
    })
}

fn perf<const N: usize>(arguments: [&str; N]) -> Result<std::process::Output, Unavailable> {
    Command::new("perf").args(arguments).stdin(Stdio::null()).output().map_err(|error| match error
        .kind()
    {
        ErrorKind::NotFound => Unavailable::Missing,
        _ => Unavailable::Forbidden { paranoid: "unknown".into(), said: error.to_string() },
    })
}

/// How to record.
pub struct Plan {
    /// What triggers samples.
    pub event: Event,
    /// Samples a second and core.
    pub frequency_hz: u32,
    /// Recorded time.
    pub duration: Duration,
}

impl Plan {
    /// Runs `program` with `arguments` and its children under `perf`, into the file `data`; stops the
    /// run when the time is over.
    ///
    /// # Errors
    /// [`Interrupted`] by a signal; or what the run or perf said, if one of them ended early.
    pub fn record<S: AsRef<OsStr>>(
        &self,
        data: &Path,
        program: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<()> {
        let log = data.with_extension("log");
        let warm_up_ms = WARM_UP.as_millis().to_string();
        let mut command = Command::new("perf");
        command.args(["record", "--call-graph", "fp", "-e", self.event.name(), "-D", &warm_up_ms]);
        command.args(["-F", &self.frequency_hz.to_string(), "-o"]).arg(data);
        command.arg("--").arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log)?);
        let mut recording = Recording(command.spawn().context("cannot start perf")?);
        let early_end = recording.watch(WARM_UP + self.duration);
        recording.stop();
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        ensure!(!early_end?, "the run ended before its time:\n{}", said());
        Ok(())
    }
}

/// A running `perf`, which is the parent of the run: stopping it stops both.
struct Recording(Child);

impl Recording {
    /// Waits, with a progress bar; returns whether the child ended before `duration` was over.
    fn watch(&mut self, duration: Duration) -> Result<bool> {
        const TICK: Duration = Duration::from_millis(100);
        // Blocked only now, so that the children have not inherited it.
        let signals = asking_to_end();
        signals.thread_block()?;
        let caught =
            SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let bar = ProgressBar::new(duration.as_millis() as u64).with_message("recording");
        let start = Instant::now();
        while start.elapsed() < duration {
            let mut polled = [PollFd::new(caught.as_fd(), PollFlags::POLLIN)];
            if poll(&mut polled, PollTimeout::try_from(TICK)?)? > 0 {
                return Err(Interrupted.into());
            }
            if self.0.try_wait()?.is_some() {
                return Ok(true);
            }
            bar.set_position(start.elapsed().as_millis() as u64);
        }
        bar.finish_and_clear();
        Ok(false)
    }

    /// Asks `perf` to finish: it stops recording, ends the run in order and writes its file.
    fn stop(&mut self) {
        // An error means that it has ended; that is all that is wanted here.
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGINT);
        let start = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

/// The samples of a recording as text, for [`super::samples::parse`].
///
/// Functions that were inlined stay part of their callers: to take them apart costs a process and
/// minutes, and the compiler has mixed their instructions anyway.
pub fn script(data: &Path) -> Result<String> {
    let output = Command::new("perf")
        .args(["script", "--no-inline", "-F", FIELDS, "-i"])
        .arg(data)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "perf script: {}: {said}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
