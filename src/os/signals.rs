//! Signals that ask for an orderly stop, read from a descriptor instead of interrupting.
//!
//! Caught from before a run's first worker until its results are written, so that none of them costs the
//! run its files. Made by `train.rs`; read while training goes on and during the final evaluation.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// SIGINT, SIGTERM and SIGHUP, as long as this lives.
pub struct CaughtSignals {
    descriptor: SignalFd,
    n_taken: Cell<u32>,
}

impl CaughtSignals {
    fn set() -> SigSet {
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
    }

    /// Catches them from now on.
    ///
    /// # Errors
    /// If the operating system refuses a descriptor.
    pub fn catch() -> io::Result<Self> {
        let set = Self::set();
        set.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(CaughtSignals { descriptor: SignalFd::with_flags(&set, flags)?, n_taken: Cell::new(0) })
    }

    /// The name of the next one that has come. Never waits.
    ///
    /// # Errors
    /// If the descriptor cannot be read.
    pub fn take(&self) -> io::Result<Option<&'static str>> {
        let name = |number: u32| Signal::try_from(number as i32).map_or("a signal", Signal::as_str);
        let signal = self.descriptor.read_signal()?;
        self.n_taken.set(self.n_taken.get() + u32::from(signal.is_some()));
        Ok(signal.map(|signal| name(signal.ssi_signo)))
    }

    /// How many have been taken.
    pub fn n_taken(&self) -> u32 {
        self.n_taken.get()
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
        while let Ok(Some(_)) = self.take() {}
        let _ = Self::set().thread_unblock();
    }
}
