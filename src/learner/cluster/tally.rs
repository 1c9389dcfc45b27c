//! What is counted of an update besides its gradient, and summed with it.
//!
//! Owns the order of the numbers on their way. They travel as f32: counts of one update stay far below 2²⁴, up to
//! which f32 is exact; each rank adds them to its own u64.

use super::super::losses::Losses;
use super::super::pass::PassSums;

/// Sums over the batches of one update: of one rank before the round, of all afterwards.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Ranks that want to stop.
    pub n_stops: f64,
    /// Slots that are learned from.
    pub n_slots: f64,
    /// Of these, slots that were acted with weights from before the learner at work.
    pub n_inherited: f64,
    /// Frames that actors have produced since the last round.
    pub n_produced: f64,
    /// Episodes that ended.
    pub n_episodes: f64,
    /// Sum of their returns.
    pub return_sum: f64,
    /// The loss that the gradient belongs to.
    pub total_loss: f64,
    /// Losses and importance ratios. Their smallest and largest stay a rank's own.
    pub sums: PassSums,
}

impl Tally {
    /// How many numbers it is.
    pub const LEN: usize = 19;

    /// The numbers.
    pub fn to_array(self) -> [f32; Tally::LEN] {
        let Tally {
            n_stops,
            n_slots,
            n_inherited,
            n_produced,
            n_episodes,
            return_sum,
            total_loss,
            ..
        } = self;
        let PassSums { losses, off_policy: ratios } = self.sums;
        let Losses { policy, critic, entropy, clipped } = losses;
        [
            n_stops,
            n_slots,
            n_inherited,
            n_produced,
            n_episodes,
            return_sum,
            total_loss,
            policy,
            critic,
            entropy,
            clipped,
            ratios.n_learned as f64,
            ratios.n_clipped as f64,
            ratios.rho_sum,
            ratios.kl_sum,
            ratios.vs_sum,
            ratios.vs_square_sum,
            ratios.error_sum,
            ratios.error_square_sum,
        ]
        .map(|number| number as f32)
    }

    /// Becomes what these numbers say.
    pub fn set(&mut self, numbers: [f32; Tally::LEN]) {
        let mut numbers = numbers.into_iter().map(f64::from);
        let mut next = || numbers.next().expect("a number for each field, in the same order");
        self.n_stops = next();
        self.n_slots = next();
        self.n_inherited = next();
        self.n_produced = next();
        self.n_episodes = next();
        self.return_sum = next();
        self.total_loss = next();
        self.sums.losses =
            Losses { policy: next(), critic: next(), entropy: next(), clipped: next() };
        let ratios = &mut self.sums.off_policy;
        (ratios.n_learned, ratios.n_clipped) = (next() as u64, next() as u64);
        (ratios.rho_sum, ratios.kl_sum) = (next(), next());
        (ratios.vs_sum, ratios.vs_square_sum) = (next(), next());
        (ratios.error_sum, ratios.error_square_sum) = (next(), next());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each number stands where it is read.
    #[test]
    fn what_is_written_is_read() {
        let numbers: [f32; Tally::LEN] = std::array::from_fn(|i| i as f32 + 1.0);
        let mut tally = Tally::default();
        tally.sums.off_policy.rho_max = 7.5;
        tally.set(numbers);
        assert_eq!(tally.to_array(), numbers);
        assert_eq!(tally.sums.off_policy.rho_max, 7.5, "a rank's own");
        assert_eq!(
            (tally.n_stops, tally.sums.losses.policy, tally.sums.off_policy.n_learned),
            (1.0, 8.0, 12)
        );
    }
}
