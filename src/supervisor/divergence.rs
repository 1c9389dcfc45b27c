//! What is done about a learner that ended because no update was finite any more: go back, or stop. A pure
//! function of what came before.
//!
//! The weights it had are hopeless, so training goes back to weights that had proved themselves. If it
//! comes to such an end again before it is well beyond the place of the first one, it would do so for ever,
//! and the run ends. When a learner ends is for `learner/streak.rs` to say.

/// What the supervisor does about a learner that diverged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Go on from the state after this many updates.
    GoBackTo(u64),
    /// End the run: going back has been tried.
    Stop,
}

/// Learners that diverged.
#[derive(Clone, Copy, Debug)]
pub struct Divergence {
    /// Updates that must have followed a state for it to count as sound.
    proof_updates: u64,
    /// The update from which on the last one is forgiven.
    forgiven_at: u64,
}

impl Divergence {
    /// Nothing has happened yet. A state is proved by as many finite updates as it takes to condemn one.
    pub fn new(max_in_a_row: u64) -> Self {
        Divergence { proof_updates: max_in_a_row, forgiven_at: 0 }
    }

    /// Decides about a learner that made `last` updates and then no finite one any more. States were kept
    /// after `newest` updates and, before that, after `older` ones. A run is forgiven once it has come as
    /// far beyond a trouble as it went back for it.
    pub fn decide(&mut self, last: u64, newest: u64, older: u64) -> Remedy {
        if last < self.forgiven_at {
            return Remedy::Stop;
        }
        let is_proved = last.saturating_sub(newest) >= self.proof_updates;
        let goal = if is_proved { newest } else { older };
        // Twice: once to come back to this place, once more to come as far beyond it.
        self.forgiven_at = last + 1 + 2 * self.proof_updates.max(last.saturating_sub(goal));
        Remedy::GoBackTo(goal)
    }
}

#[cfg(test)]
mod tests {
    use super::Remedy::{GoBackTo, Stop};
    use super::*;

    /// Each row: when learners diverged and which states there were, and what is done about each.
    #[test]
    fn the_table_of_remedies() {
        for (learners, expected) in [
            // The newest state was followed by three finite updates.
            (vec![(103, 100, 50)], vec![GoBackTo(100)]),
            // It was not: the trouble may be in it already.
            (vec![(102, 100, 50)], vec![GoBackTo(50)]),
            // The first updates of all: there is nothing older than the beginning.
            (vec![(0, 0, 0)], vec![GoBackTo(0)]),
            // Again at once, again on the way there, again just beyond.
            (vec![(150, 100, 50), (151, 151, 151)], vec![GoBackTo(100), Stop]),
            (vec![(150, 100, 50), (250, 240, 200)], vec![GoBackTo(100), Stop]),
            (vec![(0, 0, 0), (6, 3, 1)], vec![GoBackTo(0), Stop]),
            // As far beyond as it went back.
            (vec![(150, 100, 50), (251, 240, 200)], vec![GoBackTo(100), GoBackTo(240)]),
        ] {
            let mut divergence = Divergence::new(3);
            let decide =
                |&(last, newest, older): &(u64, u64, u64)| divergence.decide(last, newest, older);
            let remedies: Vec<Remedy> = learners.iter().map(decide).collect();
            assert_eq!(remedies, expected, "{learners:?}");
        }
    }
}
