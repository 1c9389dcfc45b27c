//! Signals that ask a run to end or to pause, read from a descriptor instead of interrupting.
//!
//! Caught from before a run's first worker until its results are written, so that none of them costs the
//! run its files. One that was ignored from the start, as `nohup` and a script's `&` have it, stays
//! ignored. Made by `train.rs`; read while training goes on and during the final evaluation.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::process::is_ignored;

/// Signals that ask for an end: Ctrl-C, `kill` and batch systems, a terminal that was closed.
const ASKING_TO_END: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// The terminal's Ctrl-Z.
const ASKING_TO_PAUSE: Signal = Signal::SIGTSTP;

/// The signals that ask this process to end and that it heeds: all but those ignored from the start.
pub fn asking_to_end() -> SigSet {
    ASKING_TO_END.into_iter().filter(|signal| !is_ignored(*signal)).collect()
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// An end in order.
    End(Signal),
    /// To stand still, with all workers, until somebody continues this process; see
    /// [`CaughtSignals::pause`].
    Pause,
}

/// Signals that ask for an end or a pause, as long as this lives.
pub struct CaughtSignals {
    descriptor: SignalFd,
    mask_before: SigSet,
    first: Cell<Option<Signal>>,
    n_taken: Cell<u32>,
}

impl CaughtSignals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// If the operating system refuses a descriptor.
    pub fn catch() -> io::Result<Self> {
        let mut set = asking_to_end();
        if !is_ignored(ASKING_TO_PAUSE) {
            set.add(ASKING_TO_PAUSE);
        }
        let mask_before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let descriptor =
            SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(CaughtSignals { descriptor, mask_before, first: Cell::new(None), n_taken: Cell::new(0) })
    }

    /// What the next one that has come asks for. Never waits.
    ///
    /// # Errors
    /// If the descriptor cannot be read.
    pub fn take(&self) -> io::Result<Option<Request>> {
        let Some(taken) = self.descriptor.read_signal()? else { return Ok(None) };
        let signal = Signal::try_from(taken.ssi_signo as i32)?;
        if signal == ASKING_TO_PAUSE {
            return Ok(Some(Request::Pause));
        }
        self.first.set(self.first.get().or(Some(signal)));
        self.n_taken.set(self.n_taken.get() + 1);
        Ok(Some(Request::End(signal)))
    }

    /// How many that ask for an end have been taken.
    pub fn n_taken(&self) -> u32 {
        self.n_taken.get()
    }

    /// The first that asked for an end, also one that nobody has taken yet.
    pub fn first(&self) -> Option<Signal> {
        // Who asked for a pause when no worker is left to stop gets one now.
        while let Ok(Some(request)) = self.take() {
            if request == Request::Pause {
                self.pause();
            }
        }
        self.first.get()
    }

    /// Stops this process as the terminal's Ctrl-Z does, so that its shell sees it, and returns once somebody
    /// has continued it. Its workers, whom the terminal does not reach, are for the caller to stop.
    pub fn pause(&self) {
        let only_this = SigSet::from(ASKING_TO_PAUSE);
        // Refused for signals that do not exist only. Nobody is stopped in a group that no shell looks after.
        let _ = only_this.thread_unblock().and_then(|()| raise(ASKING_TO_PAUSE));
        let _ = only_this.thread_block();
    }
}

impl AsFd for CaughtSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for CaughtSignals {
    fn drop(&mut self) {
        // What still waits asked for the end that has come; let through it would be a death.
        self.first();
        let _ = self.mask_before.thread_set_mask();
    }
}
