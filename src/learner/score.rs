//! The score of a run: returns of the training episodes that the learner has consumed.

use crate::state::{RecentReturns, SCORE_WINDOW, mean_return};

/// Moving and interval statistics of finished training episodes.
#[derive(Debug)]
pub struct Score {
    recent: RecentReturns,
    n_episodes: u64,
    interval: IntervalSums,
}

#[derive(Clone, Copy, Debug, Default)]
struct IntervalSums {
    n: u64,
    sum: f64,
    min: f64,
    max: f64,
}

/// Mean, smallest and largest return of an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntervalScore {
    /// Mean return.
    pub mean: f64,
    /// Smallest return.
    pub min: f64,
    /// Largest return.
    pub max: f64,
}

impl Default for Score {
    fn default() -> Self {
        Score::resume([0.0; SCORE_WINDOW], 0)
    }
}

impl Score {
    /// The score after `n_episodes` episodes, the last of which returned `recent`.
    pub fn resume(recent: RecentReturns, n_episodes: u64) -> Self {
        Score { recent, n_episodes, interval: IntervalSums::default() }
    }

    /// Counts one finished episode's undiscounted return.
    pub fn add(&mut self, episode_return: f64) {
        self.add_all(1, episode_return, (episode_return, episode_return));
    }

    /// Counts `n` episodes of which the mean return is known, and between which bounds those lie that are known one by
    /// one. The window takes the mean for each.
    pub fn add_all(&mut self, n: u64, mean: f64, (low, high): (f64, f64)) {
        for episode in self.n_episodes..self.n_episodes + n {
            self.recent[episode as usize % SCORE_WINDOW] = mean;
        }
        self.n_episodes += n;
        let IntervalSums { n: n_before, sum, min, max } = self.interval;
        self.interval = IntervalSums {
            n: n_before + n,
            sum: sum + n as f64 * mean,
            min: if n_before == 0 { low } else { min.min(low) },
            max: if n_before == 0 { high } else { max.max(high) },
        };
    }

    /// Returns of the last episodes.
    pub fn recent(&self) -> &RecentReturns {
        &self.recent
    }

    /// Episodes since the start.
    pub fn n_episodes(&self) -> u64 {
        self.n_episodes
    }

    /// Mean return of the last 100 episodes, of all while there are fewer, `None` before the first.
    pub fn last100(&self) -> Option<f64> {
        mean_return(&self.recent, self.n_episodes)
    }

    /// Whether there are 100 episodes and the mean of the last 100 is at least `threshold`.
    pub fn reaches(&self, threshold: f64) -> bool {
        self.n_episodes >= SCORE_WINDOW as u64
            && self.last100().is_some_and(|mean| mean >= threshold)
    }

    /// Statistics since the last call; `None` if no episode finished.
    pub fn take_interval(&mut self) -> Option<IntervalScore> {
        let IntervalSums { n, sum, min, max } = std::mem::take(&mut self.interval);
        (n > 0).then(|| IntervalScore { mean: sum / n as f64, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_holds_the_last_hundred() {
        let mut score = Score::default();
        assert_eq!(score.last100(), None);
        (0..99).for_each(|_| score.add(500.0));
        assert!(!score.reaches(475.0), "99 episodes are not enough");
        score.add(500.0);
        assert!(score.reaches(475.0));
        (0..50).for_each(|_| score.add(0.0));
        assert_eq!(score.last100(), Some(250.0));
        assert_eq!(score.n_episodes(), 150);
    }

    #[test]
    fn episodes_of_which_the_mean_is_known_count_with_it() {
        let mut score = Score::default();
        score.add_all(60, 10.0, (4.0, 12.0));
        score.add_all(60, 20.0, (18.0, 18.0));
        assert_eq!((score.n_episodes(), score.last100()), (120, Some(16.0)));
        let expected = IntervalScore { mean: 15.0, min: 4.0, max: 18.0 };
        assert_eq!(score.take_interval(), Some(expected));
    }

    #[test]
    fn an_interval_is_taken_once() {
        let mut score = Score::default();
        [30.0, -10.0, 10.0].into_iter().for_each(|value| score.add(value));
        let expected = IntervalScore { mean: 10.0, min: -10.0, max: 30.0 };
        assert_eq!(score.take_interval(), Some(expected));
        assert_eq!(score.take_interval(), None);
    }
}
