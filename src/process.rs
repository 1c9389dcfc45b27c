//! Worker processes: fork, the child's first and last steps, death seen through a pidfd.
//!
//! The only place that forks. Must be called from a single-threaded process's main thread: a child
//! of a threaded parent may find a lock held by a thread that it does not have. Called by the
//! supervisor alone.

use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid, setpgid};
use rustix::process::{PidfdFlags, pidfd_open};

/// Exit status of a worker that ended with an error; it has said why on stderr.
pub const EXIT_ERROR: i32 = 1;
/// Exit status of a worker that panicked, as Rust's own.
pub const EXIT_PANIC: i32 = 101;

/// A running child process.
#[derive(Debug)]
pub struct Worker {
    pid: Pid,
    pidfd: OwnedFd,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It returned this exit status.
    Exited(i32),
    /// This signal killed it.
    Killed(Signal),
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Death::Exited(EXIT_PANIC) => write!(f, "panicked (exit status {EXIT_PANIC})"),
            Death::Exited(status) => write!(f, "exited with status {status}"),
            Death::Killed(signal) => write!(f, "was killed by {signal}"),
        }
    }
}

impl Worker {
    /// Forks a child that runs `body` and ends with the status it returns.
    ///
    /// The child dies with its parent, is deaf to the terminal's Ctrl-C (its supervisor tells it
    /// when to stop) and never returns from this call.
    ///
    /// # Errors
    /// What `fork` or `pidfd_open` report, such as a process limit reached.
    pub fn spawn(body: impl FnOnce() -> i32) -> io::Result<Worker> {
        // Whatever is buffered now would be written twice, by the parent and by the child.
        io::stdout().flush()?;
        let parent = getpid();
        // SAFETY: the caller's process has one thread (module doc), so that the child may use
        // everything its copy of the memory holds, locks and the allocator included.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Worker::adopt(child),
            ForkResult::Child => run_child(parent, body),
        }
    }

    fn adopt(pid: Pid) -> io::Result<Worker> {
        let raw = rustix::process::Pid::from_raw(pid.as_raw());
        let pid_of_child = raw.expect("fork returns a positive process id to the parent");
        match pidfd_open(pid_of_child, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Worker { pid, pidfd }),
            Err(error) => {
                // A child that cannot be watched must not live on unwatched.
                kill(pid, Signal::SIGKILL)?;
                waitpid(pid, None)?;
                Err(error.into())
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// A descriptor that polls readable once the process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Ends it at once, whatever it does.
    pub fn kill(&self) -> io::Result<()> {
        Ok(kill(self.pid, Signal::SIGKILL)?)
    }

    /// Waits for its end and clears it from the process table.
    pub fn reap(self) -> io::Result<Death> {
        loop {
            match waitpid(self.pid, None) {
                Ok(WaitStatus::Exited(_, status)) => return Ok(Death::Exited(status)),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Death::Killed(signal)),
                Ok(_) | Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Names this process as `ps`, `top` and `perf` show it, so that workers can be told apart.
///
/// # Panics
/// If the name holds a zero byte.
pub fn set_process_name(name: &str) {
    // What the kernel keeps; it would cut a longer name without a word.
    debug_assert!(name.len() <= 15, "{name} is longer than 15 bytes");
    let name = CString::new(name).expect("a process name holds no zero byte");
    // Fails for unreadable memory only. A name is a help to the reader, nothing depends on it.
    let _ = prctl::set_name(&name);
}

/// The whole life of a child.
fn run_child(parent: Pid, body: impl FnOnce() -> i32) -> ! {
    let status = match prepare_child(parent) {
        // Nothing of the parent's that the closure borrows is used after an unwind: the process ends.
        Ok(()) => catch_unwind(AssertUnwindSafe(body)).unwrap_or(EXIT_PANIC),
        Err(_) => EXIT_ERROR,
    };
    // A failed flush has nowhere to be reported: the standard streams themselves are gone.
    let _ = io::stdout().flush();
    let _ = io::stderr().flush();
    // SAFETY: ends the process without running the parent's destructors or exit handlers, which
    // belong to the parent; all of the child's own resources are the kernel's to free.
    unsafe { libc::_exit(status) }
}

/// Ties the child's life to its parent's and gives it signals of its own.
fn prepare_child(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        // The parent died before the line above took effect.
        return Err(io::Error::other("the supervisor is gone"));
    }
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    // The supervisor blocks the signals it reads from a descriptor; a child inherits the mask.
    Ok(SigSet::all().thread_unblock()?)
}
