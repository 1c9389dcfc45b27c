//! What the learner does about updates whose loss, gradient or weights would be NaN or infinite: skip, or
//! end. A pure function of what came before.
//!
//! One such update is bad luck: it is skipped. A streak of them means that the weights themselves are
//! hopeless, however finite they are: the learner ends. What follows is for `supervisor/divergence.rs` to say.

/// What a learner does about an update that is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Leave weights and optimiser as they are, and go on with the next batch.
    Skip,
    /// End: no batch can be learned from with these weights.
    Diverged,
}

/// Updates in a row that were not finite.
#[derive(Clone, Copy, Debug)]
pub struct Streak {
    max_in_a_row: u64,
    n_in_a_row: u64,
}

impl Streak {
    /// Bears one update less in a row than `max_in_a_row`.
    pub fn new(max_in_a_row: u64) -> Self {
        Streak { max_in_a_row, n_in_a_row: 0 }
    }

    /// Counts an update that was finite.
    pub fn end(&mut self) {
        self.n_in_a_row = 0;
    }

    /// Counts one that was not, and decides about it.
    pub fn extend(&mut self) -> Verdict {
        self.n_in_a_row += 1;
        if self.n_in_a_row < self.max_in_a_row { Verdict::Skip } else { Verdict::Diverged }
    }

    /// How many there have been in a row.
    pub fn n_in_a_row(&self) -> u64 {
        self.n_in_a_row
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Diverged, Skip};
    use super::*;

    /// Each row: which updates of a learner were finite, and the verdicts about the others.
    #[test]
    fn the_table_of_streaks() {
        for (updates, expected) in [
            ("....", vec![]),
            (".x..x.x", vec![Skip; 3]),
            (".xx.xx.xx", vec![Skip; 6]),
            (".xxx", vec![Skip, Skip, Diverged]),
            ("xx.xxx", vec![Skip, Skip, Skip, Skip, Diverged]),
        ] {
            let mut streak = Streak::new(3);
            let mut verdicts = Vec::new();
            for update in updates.chars() {
                match update {
                    '.' => streak.end(),
                    _ => verdicts.push(streak.extend()),
                }
            }
            assert_eq!(verdicts, expected, "{updates}");
        }
        assert_eq!(Streak::new(1).extend(), Diverged);
    }
}
