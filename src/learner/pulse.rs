//! The learner's sign of life: as old as that of the lane that has been silent longest.
//!
//! One lane that hangs keeps its slots for ever, and the others, who wait for them, would go on beating. So
//! each lane has a beat of its own, and the supervisor sees the oldest. A lane that waits for another one's
//! turn to end leaves it to that one to beat.

use crate::base::sync::{AtomicU64, Ordering};
use crate::shm::board::{Phase, Vitals};

/// Stands for a lane that waits for another one, or has ended.
const RESTING: u64 = u64::MAX;

/// When each lane last beat.
pub struct Pulse<'seg> {
    vitals: &'seg Vitals,
    /// ns of `CLOCK_MONOTONIC`, or [`RESTING`]. Relaxed: each is a time by itself.
    beats_ns: Box<[AtomicU64]>,
}

impl<'seg> Pulse<'seg> {
    /// Of lanes that all rest until they begin.
    pub fn new(vitals: &'seg Vitals, n_lanes: usize) -> Self {
        Pulse { vitals, beats_ns: (0..n_lanes).map(|_| AtomicU64::new(RESTING)).collect() }
    }

    /// Lane `lane` is alive.
    pub fn beat(&self, lane: usize, now_ns: u64) {
        self.beats_ns[lane].store(now_ns, Ordering::Relaxed);
        let beats_ns = self.beats_ns.iter().map(|beat| beat.load(Ordering::Relaxed));
        self.vitals.beat(beats_ns.min().unwrap_or(now_ns));
    }

    /// The same at the beginning of a phase.
    pub fn enter(&self, lane: usize, phase: Phase, now_ns: u64) {
        self.beat(lane, now_ns);
        self.vitals.phase.set(phase);
    }

    /// From now on lane `lane` waits for another one, until it beats again.
    pub fn rest(&self, lane: usize) {
        self.beats_ns[lane].store(RESTING, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learner_is_as_silent_as_its_most_silent_lane() {
        let vitals = Vitals::default();
        let pulse = Pulse::new(&vitals, 3);
        pulse.beat(0, 10);
        assert_eq!(vitals.heartbeat_ns.get(), 10, "the others have not begun");
        pulse.beat(1, 20);
        pulse.beat(2, 30);
        assert_eq!(vitals.heartbeat_ns.get(), 10);
        pulse.beat(0, 40);
        pulse.beat(2, 50);
        assert_eq!(vitals.heartbeat_ns.get(), 20, "lane 1 hangs");
        pulse.rest(1);
        pulse.enter(0, Phase::Learning, 60);
        assert_eq!((vitals.heartbeat_ns.get(), vitals.phase.get()), (50, Phase::Learning));
        pulse.beat(1, 70);
        assert_eq!(vitals.heartbeat_ns.get(), 50, "it waited for another one and is back");
    }
}
