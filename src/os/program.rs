//! Other programs that a worker starts and talks to, such as a Python that steps environments.
//!
//! Owns a program's start with its descriptors, and its end: it dies with whoever started it, and where its
//! [`Program`] is dropped. Knows nothing of what is said through the descriptors. Called by `src/env/outside/`.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{ForkResult, Pid, getpid};
use rustix::io::fcntl_dupfd_cloexec;

use super::process::{
    Death, die_with, fork_alone, keep_descriptors_from, leave, place_descriptor, reap, watch,
};

/// Number of the first descriptor that a program is given; the others follow it.
pub const FIRST_DESCRIPTOR: RawFd = 3;

/// Copies of what a program is given are put above this number first: what they replace may be one of them.
const SPARE_DESCRIPTOR: RawFd = 16;

/// Exit status where the program cannot be run, as a shell has it.
const EXIT_NO_PROGRAM: i32 = 127;

/// A program at work; ends when dropped.
#[derive(Debug)]
pub struct Program {
    pid: Pid,
    pidfd: OwnedFd,
    death: Option<Death>,
}

impl Program {
    /// Starts a program that reads nothing and prints into `log`, with these descriptors from
    /// [`FIRST_DESCRIPTOR`] on and no others. It is in this process's group and dies with this process. Why it
    /// could not be run stands in the log.
    ///
    /// # Errors
    /// What `fork` and `pidfd_open` report; that this process has several threads.
    pub fn start(
        command: &mut Command,
        log: &File,
        descriptors: &[BorrowedFd],
    ) -> io::Result<Program> {
        let parent = getpid();
        match fork_alone()? {
            ForkResult::Parent { child } => {
                Ok(Program { pid: child, pidfd: watch(child)?, death: None })
            }
            ForkResult::Child => {
                let Err(error) = become_program(parent, command, log, descriptors);
                // Where nothing can be written there is the exit status.
                let _ = writeln!(&*log, "{}: {error}", command.get_program().display());
                leave(EXIT_NO_PROGRAM)
            }
        }
    }

    /// Whether it has ended, or does within this time.
    pub fn ends_within(&self, time: Duration) -> bool {
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        self.death.is_some() || matches!(poll(&mut polled, timeout), Ok(1))
    }

    /// Ends it at once, if it has not ended; how it ended.
    ///
    /// # Errors
    /// If the system refuses, which it does only for what is no child.
    pub fn end(&mut self) -> io::Result<Death> {
        if let Some(death) = self.death {
            return Ok(death);
        }
        kill(self.pid, Signal::SIGKILL)?;
        Ok(*self.death.insert(reap(self.pid)?))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // What cannot be ended has ended.
        let _ = self.end();
    }
}

/// Makes this process, a child of `parent`, the program. Returns only where that fails.
fn become_program(
    parent: Pid,
    command: &mut Command,
    log: &File,
    descriptors: &[BorrowedFd],
) -> io::Result<Infallible> {
    die_with(parent)?;
    SigSet::all().thread_unblock()?;
    let spare = |fd: &BorrowedFd| fcntl_dupfd_cloexec(fd, SPARE_DESCRIPTOR);
    let output = spare(&log.as_fd())?;
    let copies = descriptors.iter().map(spare).collect::<Result<Vec<_>, _>>()?;
    keep_descriptors_from(FIRST_DESCRIPTOR as u32);
    for (number, copy) in (FIRST_DESCRIPTOR..).zip(&copies) {
        place_descriptor(copy.as_fd(), number)?;
    }
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    Err(command.exec())
}
