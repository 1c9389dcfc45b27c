//! A doorbell in shared memory: wait until somebody rings, at no cost to either side while nobody sleeps.
//!
//! Owns: one futex word. It carries no data and guards none: who wakes up looks at the ring or the flag
//! that it waits for. Knows nothing of either. Called by the ends of rings and by the workers' waiting loops.
//!
//! The word counts in twos. **Even: nobody sleeps. Odd: somebody may.** A sleeper makes it odd before it
//! sleeps; ringing moves it to the next even number. Both are read-modify-writes of one word, so they
//! have one order, and in either order no wake-up is lost:
//! - the sleeper first: the ringer finds an odd number and makes the system call;
//! - the ringer first: the number is no longer the sleeper's ticket, and it does not fall asleep.
//!
//! A sleeper killed in its sleep leaves the number odd: the next ring wakes nobody, once. A ringer killed
//! between its store and its system call loses a wake-up: the time-out heals that.

use std::time::Duration;

use crate::base::sync::{Futex, Ordering, yield_now};

/// How often who waits lets others run before it goes to sleep. What it waits for is most often made by a
/// process that needs this very core, and is there when the core comes back: no sleep and no waking then,
/// and no core that falls idle and has to be woken itself. With nobody else to run it is over in a few
/// microseconds. To the model looking again is nothing new.
const YIELDS: u32 = if cfg!(loom) { 0 } else { 10 };

/// A doorbell, alone on its cache lines. All zero is a bell that was never rung.
#[derive(Default)]
#[repr(C, align(128))]
pub struct Doorbell {
    bell: Futex,
}

/// The odd number on which a sleeper sleeps: valid until the next ring.
#[derive(Clone, Copy, Debug)]
pub struct Ticket(u32);

impl Doorbell {
    /// Draws a ticket. Look for what you wait for *after* this and before [`Doorbell::wait`].
    pub fn ticket(&self) -> Ticket {
        // SYNC: partner of the read-modify-write in `ring`. If our ticket is younger than a ring, all
        // that the ringer did before is visible to the check that follows; relaxed, that check could
        // miss it and we would sleep through the ring meant for us.
        Ticket(self.bell.word.load(Ordering::Acquire) | 1)
    }

    /// Sleeps until the bell is rung or `timeout` has passed; returns at once if it was rung since the
    /// ticket was drawn. May also return for no reason: look again.
    pub fn wait(&self, Ticket(odd): Ticket, timeout: Duration) {
        let even = odd - 1;
        // Relaxed: nothing is published; all that counts is that this and `ring` have one order. Where it
        // fails because the number is odd already, another sleeper or our own last time-out made it so.
        let announced =
            self.bell.word.compare_exchange(even, odd, Ordering::Relaxed, Ordering::Relaxed);
        if announced == Ok(even) || announced == Err(odd) {
            self.bell.wait(odd, timeout);
        }
    }

    /// One round of waiting: looks, lets others run for a while, sleeps if there was nothing, and looks once
    /// more.
    ///
    /// `None` after a time-out or a wake-up that was not for us, so that the caller can show a sign of
    /// life and see whether it should stop before it waits again.
    pub fn wait_for<T>(&self, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        for _ in 0..YIELDS {
            if let Some(found) = look() {
                return Some(found);
            }
            yield_now();
        }
        let ticket = self.ticket();
        look().or_else(|| {
            self.wait(ticket, timeout);
            look()
        })
    }

    /// Wakes all sleepers; returns whether that took a system call, which it does only if there may be
    /// any. Make visible what they wait for *before* this.
    pub fn ring(&self) -> bool {
        // SYNC: partner of the load in `ticket`. All that we did before ringing is visible to those who
        // draw a ticket after it. A sleeper's own read-modify-write in between continues our release
        // sequence. The failing load only feeds the next attempt: relaxed.
        let rung = self
            .bell
            .word
            .fetch_update(Ordering::Release, Ordering::Relaxed, |bell| Some(next_even(bell)));
        let somebody_may_sleep = rung.is_ok_and(|bell| bell % 2 == 1);
        if somebody_may_sleep {
            self.bell.wake_all();
        }
        somebody_may_sleep
    }
}

/// The smallest even number above `bell`.
///
/// It wraps after 2³¹ rings; a sleeper that is preempted for exactly that many sleeps until its time-out.
fn next_even(bell: u32) -> u32 {
    (bell | 1).wrapping_add(1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const NO_TIME: Duration = Duration::ZERO;

    #[test]
    fn ringing_needs_no_system_call_while_nobody_sleeps() {
        let doorbell = Doorbell::default();
        assert!(!doorbell.ring());
        let ticket = doorbell.ticket();
        doorbell.wait(ticket, NO_TIME);
        assert!(doorbell.ring(), "a sleeper that timed out may still be there");
        assert!(!doorbell.ring(), "one call is enough");
    }

    #[test]
    fn a_ticket_drawn_before_the_ring_does_not_sleep() {
        let doorbell = Doorbell::default();
        let ticket = doorbell.ticket();
        doorbell.ring();
        doorbell.wait(ticket, Duration::from_secs(3_600));
        assert!(!doorbell.ring(), "nobody was announced");
    }

    #[test]
    fn a_round_of_waiting_looks_before_and_after_its_sleep() {
        let doorbell = Doorbell::default();
        let mut n_looks = 0;
        let found = doorbell.wait_for(NO_TIME, || {
            n_looks += 1;
            (n_looks == YIELDS + 2).then_some("there")
        });
        assert_eq!((found, n_looks), (Some("there"), YIELDS + 2));
        assert!(doorbell.ring(), "it slept before its last look");
        assert_eq!(doorbell.wait_for(NO_TIME, || Some("at once")), Some("at once"));
        assert!(!doorbell.ring(), "nobody slept");
        assert_eq!(doorbell.wait_for(NO_TIME, || None::<()>), None);
    }

    #[test]
    fn the_number_wraps_to_an_even_one() {
        assert_eq!([next_even(0), next_even(1), next_even(2)], [2, 2, 4]);
        assert_eq!([next_even(u32::MAX), next_even(u32::MAX - 1)], [0, 0]);
    }
}
