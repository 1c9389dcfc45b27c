//! Environments tried with random actions: how fast they are, whether a seed decides all, how episodes end.
//!
//! Owns what is counted while nobody learns. Prints nothing. `impala env check` calls it.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::base::clock::monotonic_ns;
use crate::env::{EnvError, StepBuffer, VecEnv};
use crate::rollout::StepKind;
use crate::space::{ActionBuffer, ActionSpace, ActionsMut, Obs, ObsBuffer};

/// A real number without bounds is drawn from -1 to 1, and one with wide bounds from these on both sides.
const WIDEST_DRAW: f32 = 1e3;

/// What came of some steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// A number that follows from all that was seen up to each step, the first observations included.
    pub digests: Vec<u64>,
    /// Steps of environments, resets included.
    pub n_steps: u64,
    /// Episodes that ended in a terminal state.
    pub n_terminated: u64,
    /// Lives that were lost in episodes that went on.
    pub n_lives_lost: u64,
    /// Episodes that were cut.
    pub n_truncated: u64,
    /// Ends that no reset followed.
    pub n_not_reset: u64,
    /// Observations and rewards that are NaN or infinite.
    pub n_bad: u64,
    /// Returns of the episodes that are over.
    pub returns: Vec<f32>,
    /// Time in the environments, ns.
    pub env_ns: u64,
}

impl Trial {
    /// Takes random actions, always the same ones, for so many steps of each environment or until the time is
    /// over.
    ///
    /// # Errors
    /// If an environment fails.
    pub fn of(envs: &mut dyn VecEnv, max_steps: usize, max_ns: u64) -> Result<Trial, EnvError> {
        let spec = envs.spec().clone();
        let mut room = StepBuffer::new(&spec, envs.n_envs());
        let mut actions = ActionBuffer::zeros(&spec.actions, envs.n_envs());
        let mut rng = SplitMix64::seed_from_u64(0);
        room.reset(envs)?;
        let mut trial = Trial { digests: vec![digest(&room.obs, 0)], ..Trial::default() };
        let mut ended = vec![false; envs.n_envs()];
        while trial.digests.len() <= max_steps && trial.env_ns < max_ns {
            draw(&mut rng, &spec.actions, actions.view_mut());
            let start_ns = monotonic_ns();
            room.step(envs, actions.view())?;
            trial.env_ns += monotonic_ns() - start_ns;
            trial.count(&room, &mut ended);
        }
        Ok(trial)
    }

    fn count(&mut self, room: &StepBuffer, ended: &mut [bool]) {
        let so_far = self.digests.last().copied().unwrap_or_default();
        let rewards = xxh3_64_with_seed(bytemuck::cast_slice(&room.rewards), so_far);
        let kinds = xxh3_64_with_seed(bytemuck::cast_slice(&room.kinds), rewards);
        self.digests.push(digest(&room.obs, kinds));
        self.n_steps += room.kinds.len() as u64;
        for (kind, ended) in room.kinds.iter().zip(ended) {
            self.n_terminated += u64::from(*kind == StepKind::TERMINATED);
            self.n_lives_lost += u64::from(*kind == StepKind::LIFE_LOST);
            self.n_truncated += u64::from(*kind == StepKind::TRUNCATED);
            self.n_not_reset += u64::from(*ended && *kind != StepKind::RESET);
            *ended = kind.ends_episode();
        }
        let is_bad = |reward: &&f32| !reward.is_finite();
        self.n_bad += room.rewards.iter().filter(is_bad).count() as u64;
        self.n_bad += u64::from(!room.obs.view().is_finite());
        self.returns.extend(room.episodes().map(|(score, _)| score));
    }

    /// Steps after which another trial had seen something else; `None` where all was the same as long as both
    /// went.
    pub fn differs_after(&self, other: &Trial) -> Option<usize> {
        self.digests.iter().zip(&other.digests).position(|(one, other)| one != other)
    }
}

fn digest(obs: &ObsBuffer, seed: u64) -> u64 {
    let bytes = match obs.view() {
        Obs::Numbers(numbers) => numbers.to_slice().map(bytemuck::cast_slice),
        Obs::Pixels(pixels) => pixels.to_slice(),
    };
    xxh3_64_with_seed(bytes.expect("a buffer of its own is one piece"), seed)
}

/// An action of the space for each environment.
fn draw(rng: &mut SplitMix64, space: &ActionSpace, room: ActionsMut<'_>) {
    let mut share = || (rng.next_u64() >> 40) as f32 / (1u64 << 24) as f32;
    match (room, space) {
        (ActionsMut::Indices(mut rows), _) => {
            for (part, mut row) in rows.outer_iter_mut().enumerate() {
                let n = match space {
                    ActionSpace::MultiDiscrete(choices) => choices[part],
                    ActionSpace::Discrete(n) => *n,
                    ActionSpace::Box { .. } => 1,
                };
                row.iter_mut().for_each(|index| *index = (share() * n as f32) as i32);
            }
        }
        (ActionsMut::Numbers(mut rows), ActionSpace::Box { low, high }) => {
            for (mut row, (low, high)) in rows.outer_iter_mut().zip(low.iter().zip(high)) {
                let is_bounded = low.abs() <= WIDEST_DRAW && high.abs() <= WIDEST_DRAW;
                let (low, high) = if is_bounded { (*low, *high) } else { (-1.0, 1.0) };
                row.iter_mut().for_each(|number| *number = low + share() * (high - low));
            }
        }
        (ActionsMut::Numbers(mut rows), _) => rows.fill(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{EnvArgs, Registry};

    fn trial(seed: u64) -> Trial {
        let envs = Registry::default().make_vec("CartPole-v1", &EnvArgs::default(), 3, seed);
        Trial::of(&mut *envs.unwrap(), 200, u64::MAX).unwrap()
    }

    #[test]
    fn one_seed_is_one_trial_and_another_another() {
        let (one, same, other) = (trial(7), trial(7), trial(8));
        assert_eq!((one.differs_after(&same), one.differs_after(&other)), (None, Some(0)));
        assert_eq!((one.n_steps, one.n_not_reset, one.n_bad), (600, 0, 0));
        assert!(one.n_terminated > 10 && one.returns.len() as u64 == one.n_terminated, "{one:?}");
    }
}
