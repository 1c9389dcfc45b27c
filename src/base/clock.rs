//! The clock of all processes, and spans of its time.
//!
//! Pure but for one system call, which the kernel answers without being entered.

/// Nanoseconds of `CLOCK_MONOTONIC`: one clock for all processes of the machine, never set back.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Time since a run began, counted on when the run is resumed in another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunClock {
    /// When this process started, `CLOCK_MONOTONIC` ns.
    pub process_start_ns: u64,
    /// How long the run had lasted in earlier processes, ns; 0 for a fresh run.
    pub earlier_ns: u64,
}

impl RunClock {
    /// The clock of a fresh run.
    pub fn starting_at(process_start_ns: u64) -> Self {
        RunClock { process_start_ns, earlier_ns: 0 }
    }

    /// How long the run had lasted at `at_ns` of `CLOCK_MONOTONIC`, ns.
    pub fn since_start_ns(&self, at_ns: u64) -> u64 {
        self.earlier_ns + at_ns.saturating_sub(self.process_start_ns)
    }
}

/// From when to when, ns of one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    /// Begin, ns.
    pub start_ns: u64,
    /// End, ns; not before the begin.
    pub end_ns: u64,
}

/// A time in ns as seconds.
pub fn in_seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Seconds as ns; none where there are fewer than none, and the longest time where they are too many.
pub fn in_ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
