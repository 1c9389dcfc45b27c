//! The status board: what every worker last said about itself, readable at any time by anyone.
//!
//! Owns: signs of life, phases and counters, a group of cache lines for each worker, and the order to
//! stop. Knows nothing of what is done about them. Written by the workers, read by the supervisor
//! (invariants B1–B3 in `shm/mod.rs`).
//!
//! Every word has one writer and stands for itself: all accesses are relaxed, two words read together
//! need not belong together, and a counter goes up with a load and a store. Counters are totals over all
//! generations of a worker: a replacement goes on counting.

use crate::base::sync::{AtomicU64, Ordering};

/// A total that only its owner adds to.
#[derive(Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owner may: it is no atomic addition, because there is nobody to race with.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The total.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that only its owner sets.
#[derive(Default)]
#[repr(transparent)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value set last.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u64)]
pub enum Phase {
    /// No process has been here yet.
    #[default]
    Absent,
    /// Setting itself up.
    Starting,
    /// Waiting: an actor for a free slot, the learner for published ones.
    Waiting,
    /// An actor: filling a slot.
    Collecting,
    /// The learner: consuming slots.
    Learning,
    /// At its end, in order. For whoever looks on: the supervisor goes by messages and exit statuses.
    Finished,
}

impl Phase {
    const ALL: [Phase; 6] = [
        Phase::Absent,
        Phase::Starting,
        Phase::Waiting,
        Phase::Collecting,
        Phase::Learning,
        Phase::Finished,
    ];
}

/// A [`Phase`] that only its owner sets.
#[derive(Default)]
#[repr(transparent)]
pub struct PhaseGauge(AtomicU64);

impl PhaseGauge {
    /// Enters a phase.
    pub fn set(&self, phase: Phase) {
        self.0.store(phase as u64, Ordering::Relaxed);
    }

    /// The phase entered last; [`Phase::Absent`] for a number that is none.
    pub fn get(&self) -> Phase {
        let number = self.0.load(Ordering::Relaxed);
        Phase::ALL.into_iter().find(|&phase| phase as u64 == number).unwrap_or_default()
    }
}

/// Signs of life that every worker gives.
#[derive(Default)]
#[repr(C)]
pub struct Vitals {
    /// Process id of the present (or last) process.
    pub pid: Gauge,
    /// Processes that had this place before it in this part of the run.
    pub restarts: Gauge,
    /// What it is doing.
    pub phase: PhaseGauge,
    /// When it last said so, ns of `CLOCK_MONOTONIC`. Until a replacement has started this is its
    /// predecessor's: judge it no older than the fork.
    pub heartbeat_ns: Gauge,
}

impl Vitals {
    /// First words of a new process.
    pub fn start(&self, pid: u32, restarts: u64, now_ns: u64) {
        self.beat(now_ns);
        self.phase.set(Phase::Starting);
        self.restarts.set(restarts);
        self.pid.set(pid.into());
    }

    /// A sign of life.
    pub fn beat(&self, now_ns: u64) {
        self.heartbeat_ns.set(now_ns);
    }

    /// A sign of life at the beginning of a phase.
    pub fn enter(&self, phase: Phase, now_ns: u64) {
        self.beat(now_ns);
        self.phase.set(phase);
    }
}

/// What an actor tells. Written by this actor only.
#[derive(Default)]
#[repr(C, align(128))]
pub struct ActorStatus {
    /// Signs of life.
    pub vitals: Vitals,
    /// Environment steps in published rollouts.
    pub frames: Counter,
    /// Rollouts published.
    pub rollouts: Counter,
    /// Time blocked on a full ring, ns.
    pub claim_wait_ns: Counter,
    /// How often the ring was full.
    pub n_waits: Counter,
    /// Time copying weights, ns.
    pub read_weights_ns: Counter,
    /// Time in forward passes and sampling, ns.
    pub act_ns: Counter,
    /// Time in environments, ns.
    pub env_ns: Counter,
    /// Reads of the weights that had to begin anew.
    pub weights_retries: Counter,
    /// Rollouts that were not published because a number in them was none.
    pub bad_rollouts: Counter,
    /// Breaches of the protocols that it found.
    #[cfg(feature = "faults")]
    pub checks: ActorChecks,
}

/// What the learner tells. Written by the learner only.
#[derive(Default)]
#[repr(C, align(128))]
pub struct LearnerStatus {
    /// Signs of life.
    pub vitals: Vitals,
    /// Environment steps consumed.
    pub frames: Counter,
    /// Updates of the weights.
    pub updates: Counter,
    /// Time waiting for published slots, ns.
    pub wait_ns: Counter,
    /// Updates that were not made because they would not have been finite.
    pub skipped_updates: Counter,
    /// Rollouts left out because their policy was too old.
    pub rollouts_dropped: Counter,
    /// Breaches of the protocols that it found.
    #[cfg(feature = "faults")]
    pub checks: LearnerChecks,
}

/// What an actor found, over all its processes. Written by this actor only.
#[cfg(feature = "faults")]
#[derive(Default)]
#[repr(C)]
pub struct ActorChecks {
    /// The highest policy version that any of them has read.
    pub(super) newest_version: Gauge,
    pub(super) torn_weights: Counter,
    pub(super) older_weights: Counter,
}

/// What the learner found. Written by the learner only.
#[cfg(feature = "faults")]
#[derive(Default)]
#[repr(C)]
pub struct LearnerChecks {
    /// Slots taken, over all learners.
    pub(super) taken: Counter,
    /// Of these, slots that did not hold what their actor had sealed.
    pub(super) torn_when_taken: Counter,
    /// Slots that held something else when they had been learned from.
    pub(super) torn_when_learned: Counter,
    /// Rollouts that were in the state already.
    pub(super) learned_twice: Counter,
    /// Rollouts that were passed over.
    pub(super) not_learned: Counter,
}

/// What the supervisor tells. Written by the supervisor only.
#[derive(Default)]
#[repr(C, align(128))]
pub struct Orders {
    stop: Gauge,
    reports_taken: Counter,
}

/// The board, as all processes see it.
#[derive(Clone, Copy)]
pub struct Board<'a> {
    pub(super) orders: &'a Orders,
    pub(super) learner: &'a LearnerStatus,
    pub(super) actors: &'a [ActorStatus],
}

impl<'a> Board<'a> {
    /// The learner's group.
    pub fn learner(&self) -> &'a LearnerStatus {
        self.learner
    }

    /// One actor's group. Panics if there is no such actor.
    pub fn actor(&self, actor: usize) -> &'a ActorStatus {
        &self.actors[actor]
    }

    /// All actors' groups.
    pub fn actors(&self) -> &'a [ActorStatus] {
        self.actors
    }

    /// Tells all workers to stop in good order. For the supervisor.
    pub fn order_stop(&self) {
        self.orders.stop.set(1);
    }

    /// Says that one more of the learner's reports has been taken. For the supervisor.
    pub fn count_report(&self) {
        self.orders.reports_taken.add(1);
    }

    /// How many reports the supervisor has taken, of all learners.
    pub fn reports_taken(&self) -> u64 {
        self.orders.reports_taken.get()
    }

    /// Whether the supervisor wants all workers to stop. Looked at after every step of the environments,
    /// update, or wait, so that a worker stops within one of these.
    pub fn stop_ordered(&self) -> bool {
        self.orders.stop.get() != 0
    }

    /// Environment steps that all actors have collected in this segment.
    pub fn frames_produced(&self) -> u64 {
        self.actors.iter().map(|actor| actor.frames.get()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_survive_the_way_through_a_word() {
        let gauge = PhaseGauge::default();
        assert_eq!(gauge.get(), Phase::Absent);
        for phase in Phase::ALL {
            gauge.set(phase);
            assert_eq!(gauge.get(), phase);
        }
        gauge.0.store(99, Ordering::Relaxed);
        assert_eq!(gauge.get(), Phase::Absent);
    }

    #[test]
    fn counters_add_up_and_the_stop_order_reaches_everyone() {
        let (orders, learner) = (Orders::default(), LearnerStatus::default());
        let actors = [ActorStatus::default(), ActorStatus::default()];
        let board = Board { orders: &orders, learner: &learner, actors: &actors };
        board.actor(1).frames.add(640);
        board.actor(1).frames.add(640);
        assert_eq!((board.actor(0).frames.get(), board.actors()[1].frames.get()), (0, 1280));
        board.learner().vitals.start(42, 3, 1_000);
        board.learner().vitals.enter(Phase::Learning, 2_000);
        let vitals = &board.learner().vitals;
        assert_eq!((vitals.pid.get(), vitals.restarts.get()), (42, 3));
        assert_eq!((vitals.phase.get(), vitals.heartbeat_ns.get()), (Phase::Learning, 2_000));
        assert!(!board.stop_ordered());
        board.order_stop();
        assert!(board.stop_ordered());
    }
}
