//! Self-checks of what the protocols promise, while real processes run them: for storms, in builds with
//! the feature `faults` alone.
//!
//! Owns: the sums of slots and weights, and what counts as a breach; the board has the words to count in.
//! A slot is sealed with a sum as it is published and verified as it is taken and again when it was learned
//! from; weights are sealed in their cell and verified in every actor's copy. Called by both ends of a ring,
//! the weights, the actor and the learner's hub.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::board::{ActorChecks, Board, LearnerChecks};
use crate::rollout::RolloutHeader;
use crate::telemetry::SelfChecks;

/// Names, in this environment variable, the step of a protocol that is to be broken.
const BREAK: &str = "IMPALA_BREAK";

/// Whether actors show slots before they have filled them: a storm has to notice.
pub fn publishes_early() -> bool {
    std::env::var(BREAK).is_ok_and(|step| step == "publish-early")
}

impl LearnerChecks {
    /// Notes a slot that was just taken. Only whoever has the turn to take may.
    pub(super) fn on_take(&self, is_whole: bool) {
        self.taken.add(1);
        self.torn_when_taken.add(u64::from(!is_whole));
    }

    /// Notes slot `index` of a ring, which was learned from and is about to be counted; `n_before` of its ring
    /// were before. They come in order where a lane is alone, or a ring has a single slot.
    pub fn on_learned(&self, is_whole: bool, index: u64, n_before: u64) {
        self.torn_when_learned.add(u64::from(!is_whole));
        self.learned_twice.add(u64::from(index < n_before));
        self.not_learned.add(index.saturating_sub(n_before));
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

/// What all checks have found; `n_released` slots of all rings were handed back.
pub(super) fn found(board: Board, n_released: u64) -> SelfChecks {
    let learner = &board.learner().checks;
    let actors = || board.actors().iter().map(|actor| &actor.checks);
    SelfChecks {
        slots_checked: learner.taken.get(),
        torn_slots: learner.torn_when_taken.get() + learner.torn_when_learned.get(),
        taken_again: learner.taken.get().saturating_sub(n_released),
        learned_twice: learner.learned_twice.get(),
        not_learned: learner.not_learned.get(),
        torn_weights: actors().map(|checks| checks.torn_weights.get()).sum(),
        older_weights: actors().map(|checks| checks.older_weights.get()).sum(),
    }
}
