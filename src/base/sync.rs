//! The only switch between the processor's atomics and loom's model of them.
//!
//! Owns: the atomic types, fences and the futex from which the protocols of `shm/` and the learner's threads
//! are made. Knows nothing of what they protect. Only `tests/model` is built with `--cfg loom`; the package
//! itself never links loom.

pub use imp::{AtomicBool, AtomicU32, AtomicU64, Futex, Ordering, fence, spin_loop, yield_now};

#[cfg(not(loom))]
mod imp {
    pub use std::hint::spin_loop;
    pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
    pub use std::thread::yield_now;
    use std::time::Duration;

    use rustix::io::Errno;
    use rustix::thread::futex::{Flags, Timespec, wait, wake};

    /// A 32-bit word on which threads of several processes can sleep.
    #[derive(Default)]
    #[repr(transparent)]
    pub struct Futex {
        /// The word that the kernel compares before it lets anyone sleep.
        pub word: AtomicU32,
    }

    impl Futex {
        /// Sleeps while the word is `expected`, until woken, interrupted, or `timeout` has passed.
        ///
        /// The kernel compares and starts to sleep as one step, so a change followed by
        /// [`Futex::wake_all`] is never missed. Returning says nothing: the caller looks again.
        pub fn wait(&self, expected: u32, timeout: Duration) {
            let timeout = Timespec {
                tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: timeout.subsec_nanos().into(),
            };
            // No PRIVATE flag: the sleeper and its waker are different processes.
            let outcome = wait(&self.word, Flags::empty(), expected, Some(&timeout));
            debug_assert!(matches!(
                outcome,
                Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT)
            ));
        }

        /// Wakes every sleeper on the word; one system call.
        pub fn wake_all(&self) {
            let outcome = wake(&self.word, Flags::empty(), i32::MAX as u32);
            debug_assert!(outcome.is_ok());
        }
    }
}

#[cfg(loom)]
mod imp {
    use std::time::Duration;

    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
    use loom::sync::{Condvar, Mutex};
    pub use loom::thread::yield_now;

    /// The kernel's futex as a model: its queue lock is a mutex, its queue a condition variable.
    #[derive(Default)]
    pub struct Futex {
        /// The word that is compared before anyone sleeps.
        pub word: AtomicU32,
        queue: Mutex<()>,
        sleepers: Condvar,
    }

    impl Futex {
        /// Sleeps while the word is `expected`. Time never passes: a lost wake-up is a deadlock, which
        /// loom reports.
        pub fn wait(&self, expected: u32, _timeout: Duration) {
            let queue = self.queue.lock().unwrap();
            // Relaxed: a waker that has been here already is ordered before us by the lock; one that
            // comes later finds us in the queue.
            if self.word.load(Ordering::Relaxed) == expected {
                drop(self.sleepers.wait(queue).unwrap());
            }
        }

        /// Wakes every sleeper on the word.
        pub fn wake_all(&self) {
            let _queue = self.queue.lock().unwrap();
            self.sleepers.notify_all();
        }
    }
}
