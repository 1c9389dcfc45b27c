//! What the supervisor sleeps on: signals, and the ends of workers.
//!
//! Owns the one place where it waits. The set of events is closed; messages of the learner are none, they
//! are taken at every turn. Called by the supervisor's loop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::place::Place;
use crate::os::signals::CaughtSignals;

/// The loop wakes at least this often to take messages; the ends of workers and signals wake it at once.
const TICK: Duration = Duration::from_millis(20);

/// One thing that happened.
#[derive(Clone, Copy)]
pub enum Event {
    /// Somebody wants the end.
    Signal,
    /// The process in this place ended.
    Death(usize),
}

/// Sleeps until something happens, a tick at most.
///
/// # Errors
/// If the operating system refuses to wait.
pub fn wait(signals: &CaughtSignals, places: &[Place]) -> io::Result<Vec<Event>> {
    let mut sources: Vec<(BorrowedFd, Event)> = vec![(signals.as_fd(), Event::Signal)];
    for (number, place) in places.iter().enumerate() {
        sources.extend(place.worker().map(|worker| (worker.pidfd(), Event::Death(number))));
    }
    let mut polled: Vec<PollFd> =
        sources.iter().map(|(fd, _)| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    let timeout = PollTimeout::try_from(TICK).expect("a tick is far below the limit");
    match poll(&mut polled, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let happened = polled.iter().map(|fd| fd.any().unwrap_or(false));
    let events = sources.iter().zip(happened).filter(|(_, happened)| *happened);
    Ok(events.map(|((_, event), _)| *event).collect())
}
