//! How a worker waits for the other side.

use std::hint::spin_loop;
use std::thread::yield_now;
use std::time::Duration;

use impala::shm::doorbell::Doorbell;

/// As in the engine: heals a ring that was lost.
const WAIT_TIMEOUT: Duration = Duration::from_millis(50);

/// Whose turn it is while there is nothing to do.
#[derive(Clone, Copy, Debug)]
pub enum Waiting {
    /// Somebody else's: for a moment if the scheduler knows of one, then until the doorbell is rung. The
    /// engine's.
    Doorbell,
    /// Somebody else's, until the doorbell is rung.
    Futex,
    /// Ours.
    Spin,
    /// Somebody else's, if the scheduler knows of one.
    Yield,
}

impl Waiting {
    /// Returns what `look` finds, however long that takes.
    pub fn until<T>(self, doorbell: &Doorbell, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            let found = match self {
                Waiting::Doorbell => doorbell.wait_for(WAIT_TIMEOUT, &mut look),
                Waiting::Futex => sleep_until(doorbell, &mut look),
                Waiting::Spin => look().or_else(|| nothing(spin_loop)),
                Waiting::Yield => look().or_else(|| nothing(yield_now)),
            };
            if let Some(found) = found {
                return found;
            }
        }
    }
}

fn sleep_until<T>(doorbell: &Doorbell, look: &mut impl FnMut() -> Option<T>) -> Option<T> {
    let ticket = doorbell.ticket();
    look().or_else(|| {
        doorbell.wait(ticket, WAIT_TIMEOUT);
        look()
    })
}

fn nothing<T>(pause: fn()) -> Option<T> {
    pause();
    None
}
