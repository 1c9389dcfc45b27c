//! Episodes that finished within a rollout.

/// Finished episodes, appended to two slices that the caller owns.
#[derive(Debug)]
pub struct EpisodeLog<'a> {
    returns: &'a mut [f32],
    lengths: &'a mut [u32],
    /// Never above the length of the shorter slice.
    n_episodes: usize,
}

impl<'a> EpisodeLog<'a> {
    /// An empty log. For T steps of E environments T·E entries always suffice: no episode is shorter
    /// than one step.
    pub fn new(returns: &'a mut [f32], lengths: &'a mut [u32]) -> Self {
        Self { returns, lengths, n_episodes: 0 }
    }

    /// Episodes logged so far: the leading entries of both slices that are filled.
    pub fn n_episodes(&self) -> usize {
        self.n_episodes
    }

    /// Appends an episode: the undiscounted sum of its rewards, and its length in steps.
    ///
    /// # Panics
    /// Where a slice is full.
    pub fn push(&mut self, episode_return: f32, length_steps: u32) {
        self.returns[self.n_episodes] = episode_return;
        self.lengths[self.n_episodes] = length_steps;
        self.n_episodes += 1;
    }
}
