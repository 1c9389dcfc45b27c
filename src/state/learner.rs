//! All that learning needs to go on where it stopped: plain data.
//!
//! Owns the list of what would be lost with a learner's process. While a run lives it stands in shared
//! memory, renewed by every update (`shm/state.rs`); afterwards it is in the checkpoints. Knows neither.

use bytemuck::{Pod, Zeroable};

use crate::base::finite::all_finite;

/// Episodes in the moving mean by which an environment counts as solved (Gymnasium's convention).
#[cfg(not(loom))]
pub const SCORE_WINDOW: usize = 100;

/// One, where the model tries every value that each word can have.
#[cfg(loom)]
pub const SCORE_WINDOW: usize = 1;

/// What a learner counts over the whole run, processes before it included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Counters {
    /// Environment steps learned from.
    pub frames: u64,
    /// Updates, which is the version of the newest policy.
    pub updates: u64,
    /// Training episodes that finished.
    pub episodes: u64,
    /// Environment steps that actors had collected before this segment was made.
    pub frames_produced_before: u64,
    /// Frames when the score first reached the threshold; 0 if it has not.
    pub solved_frames: u64,
    /// When it did, ns since the run began.
    pub solved_ns: u64,
}

impl Counters {
    /// Frames, and ns since the run began, when the environment first counted as solved.
    pub fn solved(&self) -> Option<(u64, u64)> {
        (self.solved_frames > 0).then_some((self.solved_frames, self.solved_ns))
    }
}

/// What an optimiser remembers between steps. Vectors have one value a parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OptimizerState {
    /// Steps taken.
    pub n_steps: u64,
    /// Smoothed squared gradient.
    pub square: Vec<f32>,
    /// Smoothed gradient (Adam); empty for RMSProp.
    pub mean: Vec<f32>,
}

impl OptimizerState {
    /// That of an optimiser that has taken no step and keeps so many moments of each parameter.
    pub fn fresh(n_params: usize, n_moments: usize) -> Self {
        let moment = |is_kept| if is_kept { vec![0.0; n_params] } else { Vec::new() };
        OptimizerState { n_steps: 0, square: moment(true), mean: moment(n_moments > 1) }
    }

    /// The moments in the order in which they are stored.
    pub fn moments(&self) -> impl Iterator<Item = &[f32]> {
        [self.square.as_slice(), self.mean.as_slice()].into_iter().filter(|m| !m.is_empty())
    }

    /// Whether all moments are numbers to go on from.
    pub fn is_finite(&self) -> bool {
        self.moments().all(all_finite)
    }
}

/// What is known of the discounted returns, by which rewards may be normalised: sums from which their running
/// deviation follows (Welford's).
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct ReturnStats {
    /// Frames counted.
    pub n: f64,
    /// Mean return.
    pub mean: f64,
    /// Sum of the squared distances from the mean.
    pub square_sum: f64,
}

impl ReturnStats {
    /// Counts the return at one frame.
    pub fn add(&mut self, value: f64) {
        self.n += 1.0;
        let distance = value - self.mean;
        self.mean += distance / self.n;
        self.square_sum += distance * (value - self.mean);
    }

    /// Variance so far. It begins at 1, with the weight of a ten-thousandth of a frame, as in Gymnasium's
    /// `RunningMeanStd`.
    pub fn variance(&self) -> f64 {
        const PRIOR_WEIGHT: f64 = 1e-4;
        (self.square_sum + PRIOR_WEIGHT) / (self.n + PRIOR_WEIGHT)
    }

    /// Whether these can be sums.
    pub fn is_sound(&self) -> bool {
        let ReturnStats { n, mean, square_sum } = *self;
        mean.is_finite() && [n, square_sum].iter().all(|sum| sum.is_finite() && *sum >= 0.0)
    }
}

/// Returns of the last [`SCORE_WINDOW`] episodes: that of episode k stands at `k % SCORE_WINDOW`.
pub type RecentReturns = [f64; SCORE_WINDOW];

/// Everything a learner goes on from.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnerState {
    /// What has been counted.
    pub counters: Counters,
    /// Returns of the episodes that the score is the mean of.
    pub recent_returns: RecentReturns,
    /// What rewards are normalised by; zeros where they are not.
    pub return_stats: ReturnStats,
    /// The flat parameters.
    pub params: Vec<f32>,
    /// The optimiser's memory.
    pub optimizer: OptimizerState,
}

impl LearnerState {
    /// Mean return of the last 100 episodes, of all while there are fewer, `None` before the first.
    pub fn score(&self) -> Option<f64> {
        mean_return(&self.recent_returns, self.counters.episodes)
    }

    /// Whether all parameters, moments and sums are numbers to go on from.
    pub fn is_finite(&self) -> bool {
        all_finite(&self.params) && self.optimizer.is_finite() && self.return_stats.is_sound()
    }

    /// The same, borrowed.
    pub fn as_view(&self) -> StateView<'_> {
        StateView {
            counters: self.counters,
            recent_returns: &self.recent_returns,
            return_stats: self.return_stats,
            params: &self.params,
            optimizer: &self.optimizer,
        }
    }
}

/// A [`LearnerState`] that lies in pieces where a learner works on it.
#[derive(Clone, Copy, Debug)]
pub struct StateView<'a> {
    /// What has been counted.
    pub counters: Counters,
    /// Returns of the episodes that the score is the mean of.
    pub recent_returns: &'a RecentReturns,
    /// What rewards are normalised by; zeros where they are not.
    pub return_stats: ReturnStats,
    /// The flat parameters.
    pub params: &'a [f32],
    /// The optimiser's memory.
    pub optimizer: &'a OptimizerState,
}

/// Mean of the filled part of the window after `n_episodes`; `None` before the first.
pub fn mean_return(recent: &RecentReturns, n_episodes: u64) -> Option<f64> {
    let n = SCORE_WINDOW.min(n_episodes as usize);
    (n > 0).then(|| recent[..n].iter().sum::<f64>() / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variance_is_that_of_all_values_and_begins_at_one() {
        let mut stats = ReturnStats::default();
        assert_eq!(stats.variance(), 1.0);
        let values: Vec<f64> = (0..1_000).map(|k| f64::from(k % 7) * 3.0 - 50.0).collect();
        values.iter().for_each(|value| stats.add(*value));
        let mean = values.iter().sum::<f64>() / 1_000.0;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 1_000.0;
        assert!((stats.mean - mean).abs() < 1e-9, "{stats:?}");
        assert!((stats.variance() / variance - 1.0).abs() < 1e-6, "{stats:?}");
        assert!(stats.is_sound());
        for broken in [
            ReturnStats { n: -1.0, ..stats },
            ReturnStats { mean: f64::NAN, ..stats },
            ReturnStats { square_sum: f64::INFINITY, ..stats },
        ] {
            assert!(!broken.is_sound(), "{broken:?}");
        }
    }

    #[test]
    fn the_mean_is_over_the_filled_part_of_the_window() {
        let mut recent = [0.0; SCORE_WINDOW];
        assert_eq!(mean_return(&recent, 0), None);
        recent[..2].copy_from_slice(&[10.0, 20.0]);
        assert_eq!(mean_return(&recent, 2), Some(15.0));
        assert_eq!(mean_return(&recent, 1_000), Some(0.3));
    }
}
