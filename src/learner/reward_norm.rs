//! The scale of rewards that makes returns of any task about 1: one over the running standard deviation of the
//! discounted return.
//!
//! As Gymnasium's `NormalizeReward` and Stable-Baselines3's `VecNormalize` have it: G ← γ·G + r at every step of an
//! environment, 0 after the end of its episode, and the deviation of G over all frames so far. Rewards are divided by
//! it, and are not centred. Owns G of each environment; what was counted outlives it (`ReturnStats`). Called by the
//! hub once a batch, before any gradient of it.

use super::targets::ReturnSettings;
use crate::rollout::Rollout;
use crate::state::ReturnStats;

/// Added to the variance, as there.
const EPSILON: f64 = 1e-8;

/// Discounted returns of all environments, and their deviation so far.
#[derive(Debug)]
pub struct RewardNorm {
    discount: f64,
    /// The largest reward either way; what is beyond counts as this.
    reward_clip: f32,
    stats: ReturnStats,
    actors: Vec<ActorReturns>,
}

/// Where one actor's environments stand.
#[derive(Clone, Debug)]
struct ActorReturns {
    /// Generation and sequence of the rollout that follows the one counted last.
    next: (u64, u64),
    /// G of each environment.
    returns: Vec<f64>,
}

impl RewardNorm {
    /// One that goes on from what was counted, with environments that stand at an episode's beginning.
    pub fn new(
        &ReturnSettings { discount, reward_clip, .. }: &ReturnSettings,
        stats: ReturnStats,
        [n_actors, n_envs]: [usize; 2],
    ) -> Self {
        let actor = ActorReturns { next: (0, 0), returns: vec![0.0; n_envs] };
        let actors = vec![actor; n_actors];
        RewardNorm { discount: f64::from(discount), reward_clip, stats, actors }
    }

    /// What has been counted.
    pub fn stats(&self) -> ReturnStats {
        self.stats
    }

    /// Counts an actor's rollout. Where it does not follow the one counted last, because that was dropped or the
    /// actor replaced, returns begin anew.
    pub fn count(&mut self, actor: usize, rollout: &Rollout) {
        let ActorReturns { next, returns } = &mut self.actors[actor];
        let (generation, sequence) = (rollout.header.generation, rollout.header.sequence);
        if *next != (generation, sequence) {
            returns.fill(0.0);
        }
        *next = (generation, sequence + 1);
        let n_envs = returns.len();
        for (n, (&reward, &kind)) in rollout.rewards.iter().zip(rollout.kinds).enumerate() {
            let value = &mut returns[n % n_envs];
            if kind.is_learned() {
                *value = self.discount * *value
                    + f64::from(reward.clamp(-self.reward_clip, self.reward_clip));
                self.stats.add(*value);
            }
            if !kind.is_learned() || kind.ends_episode() {
                *value = 0.0;
            }
        }
    }

    /// What to multiply a reward with.
    pub fn scale(&self) -> f32 {
        (1.0 / (self.stats.variance() + EPSILON).sqrt()) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LossSettings;
    use crate::rollout::{RolloutBuffer, RolloutShape, StepKind};

    const KINDS: [StepKind; 4] =
        [StepKind::ORDINARY, StepKind::TERMINATED, StepKind::TRUNCATED, StepKind::RESET];

    /// Three steps of two environments: kinds by their numbers, `[T, E]`.
    fn rollout(sequence: u64, rewards: [f32; 6], kinds: [usize; 6]) -> RolloutBuffer {
        let mut slot = RolloutBuffer::new(RolloutShape::of_numbers(3, 2, 1));
        slot.view_mut().rewards.copy_from_slice(&rewards);
        slot.view_mut().kinds.copy_from_slice(&kinds.map(|kind| KINDS[kind]));
        slot.view_mut().header.sequence = sequence;
        slot
    }

    fn norm(discount: f32, sizes: [usize; 2]) -> RewardNorm {
        let loss = LossSettings { discount, ..LossSettings::default() };
        RewardNorm::new(&ReturnSettings::of(&loss), ReturnStats::default(), sizes)
    }

    fn stats_of(values: &[f64]) -> ReturnStats {
        let mut stats = ReturnStats::default();
        values.iter().for_each(|value| stats.add(*value));
        stats
    }

    /// Environment 0 terminates at step 1 and is reset; environment 1 goes on into the next rollout.
    #[test]
    fn returns_are_discounted_within_an_episode_and_across_rollouts() {
        let mut norm = norm(0.5, [1, 2]);
        norm.count(0, &rollout(0, [1.0, 8.0, 2.0, 0.0, 9.0, 4.0], [0, 0, 1, 0, 3, 0]).view());
        let first = [1.0, 8.0, 2.5, 4.0, 6.0];
        assert_eq!(norm.stats(), stats_of(&first));
        norm.count(0, &rollout(1, [1.0, 1.0, 0.0, 2.0, 0.0, 1.0], [0, 2, 0, 3, 0, 0]).view());
        let second = [1.0, 4.0, 0.5, 0.25, 1.0];
        assert_eq!(norm.stats(), stats_of(&[&first[..], &second].concat()));
        let deviation = norm.stats().variance().sqrt();
        approx::assert_relative_eq!(f64::from(norm.scale()), 1.0 / deviation, max_relative = 1e-6);
    }

    #[test]
    fn returns_begin_anew_behind_a_gap_and_are_each_actors_own() {
        let ones = |sequence| rollout(sequence, [1.0; 6], [0; 6]);
        let mut norm = norm(0.5, [2, 2]);
        let fresh = [1.0, 1.0, 1.5, 1.5, 1.75, 1.75];
        norm.count(0, &ones(0).view());
        norm.count(0, &ones(2).view());
        norm.count(1, &ones(0).view());
        assert_eq!(norm.stats(), stats_of(&[fresh, fresh, fresh].concat()));
        let mut replaced = ones(3);
        replaced.view_mut().header.generation = 7;
        norm.count(0, &replaced.view());
        assert_eq!(norm.stats(), stats_of(&[fresh, fresh, fresh, fresh].concat()));
    }

    #[test]
    fn rewards_that_are_always_nothing_are_left_as_they_are() {
        let mut norm = norm(0.99, [1, 2]);
        assert_eq!(norm.scale(), 1.0);
        norm.count(0, &rollout(0, [0.0; 6], [0; 6]).view());
        assert!(norm.scale().is_finite());
    }
}
