//! Self-checks of what the protocols promise, while real processes run them: for storms, in builds with
//! the feature `faults` alone.
//!
//! Owns: the sums of slots and weights, and what counts as a breach; the board has the words to count in.
//! A slot is sealed with a sum as it is published and verified as it is taken and again when it was learned
//! from; weights are sealed in their cell and verified in every actor's copy. Called by `shm/mod.rs`, the
//! actor and the learner's hub.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::board::{ActorChecks, LearnerChecks};
use super::{Segment, TakenSlot};
use crate::rollout::RolloutHeader;
use crate::telemetry::SelfChecks;

/// Names, in this environment variable, the step of a protocol that is to be broken.
const BREAK: &str = "IMPALA_BREAK";

/// Whether actors show slots before they have filled them: a storm has to notice.
pub fn publishes_early() -> bool {
    std::env::var(BREAK).is_ok_and(|step| step == "publish-early")
}

impl LearnerChecks {
    /// Verifies a slot that was just taken. Only whoever has the turn to take may.
    pub(super) fn on_take(&self, slot: &TakenSlot) {
        self.taken.add(1);
        self.torn_when_taken.add(u64::from(!slot.is_whole()));
    }

    /// Verifies a slot that was learned from and is about to be counted; `n_before` of its ring were before.
    /// They come in order where a lane is alone, or a ring has a single slot.
    pub fn on_learned(&self, slot: &TakenSlot, n_before: u64) {
        self.torn_when_learned.add(u64::from(!slot.is_whole()));
        self.learned_twice.add(u64::from(slot.index() < n_before));
        self.not_learned.add(slot.index().saturating_sub(n_before));
    }
}

impl ActorChecks {
    /// Notes a copy of the weights.
    pub fn on_read(&self, version: u64, is_torn: bool) {
        self.torn_weights.add(u64::from(is_torn));
        self.older_weights.add(u64::from(version < self.newest_version.get()));
        self.newest_version.set(version.max(self.newest_version.get()));
    }
}

/// The sum of a slot's header, but for the place of the sum itself, and of its content.
pub(super) fn slot_sum(header: &RolloutHeader, content: &[u8]) -> u64 {
    let header = RolloutHeader { checksum: 0, ..*header };
    xxh3_64_with_seed(content, xxh3_64(bytemuck::bytes_of(&header)))
}

/// The sum of parameters.
pub(super) fn params_sum(params: &[f32]) -> u64 {
    xxh3_64(bytemuck::cast_slice(params))
}

impl Segment {
    /// What all checks have found. For the supervisor, when the learner has ended.
    pub fn self_checks(&self) -> SelfChecks {
        let (board, n_actors) = (self.board(), self.layout.shape.n_actors);
        let learner = &board.learner().checks;
        let actors = || board.actors().iter().map(|actor| &actor.checks);
        let indices = (0..n_actors).map(|actor| self.ring_state(actor).glance());
        let released: u64 = indices.map(|(_, tail)| tail).sum();
        SelfChecks {
            slots_checked: learner.taken.get(),
            torn_slots: learner.torn_when_taken.get() + learner.torn_when_learned.get(),
            taken_again: learner.taken.get().saturating_sub(released),
            learned_twice: learner.learned_twice.get(),
            not_learned: learner.not_learned.get(),
            torn_weights: actors().map(|checks| checks.torn_weights.get()).sum(),
            older_weights: actors().map(|checks| checks.older_weights.get()).sum(),
        }
    }
}
