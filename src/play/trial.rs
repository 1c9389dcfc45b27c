//! Environments tried with random actions: how fast they are, whether a seed decides all, how episodes end.
//!
//! Owns what is counted while nobody learns. Prints nothing. `impala env check` calls it.

use ndarray::ArrayView1;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::base::clock::monotonic_ns;
use crate::env::{EnvError, StepBuffer, VecEnv};
use crate::rollout::StepKind;
use crate::space::{ActionBuffer, ActionSpace, ActionsMut, Obs, ObsBuffer, ObsSpace};

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
    /// Rewards that are NaN or infinite.
    pub n_bad_rewards: u64,
    /// Observations with a number in them that is NaN or infinite, the first ones included.
    pub n_bad_obs: u64,
    /// Observations with a number in them that is beyond the bounds that the environment states.
    pub n_beyond: u64,
    /// The largest finite reward, whatever its sign.
    pub largest_reward: f32,
    /// The largest finite number of an observation, whatever its sign.
    pub largest_obs: f32,
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
        trial.judge(&room.obs, &spec.obs);
        let mut ended = vec![false; envs.n_envs()];
        while trial.digests.len() <= max_steps && trial.env_ns < max_ns {
            draw(&mut rng, &spec.actions, actions.view_mut());
            let start_ns = monotonic_ns();
            room.step(envs, actions.view())?;
            trial.env_ns += monotonic_ns() - start_ns;
            trial.count(&room, &mut ended);
            trial.judge(&room.obs, &spec.obs);
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
        self.n_bad_rewards +=
            room.rewards.iter().filter(|reward| !reward.is_finite()).count() as u64;
        self.largest_reward = room.rewards.iter().copied().fold(self.largest_reward, larger);
        self.returns.extend(room.episodes().map(|(score, _)| score));
    }

    /// Counts the observations that are not what they should be.
    fn judge(&mut self, obs: &ObsBuffer, space: &ObsSpace) {
        match (obs.view(), space) {
            (Obs::Numbers(numbers), ObsSpace::Vector { bounds, .. }) => {
                for numbers in numbers.columns() {
                    self.n_bad_obs += u64::from(numbers.iter().any(|number| !number.is_finite()));
                    self.largest_obs = numbers.iter().copied().fold(self.largest_obs, larger);
                    let mut bounded = numbers.iter().zip(bounds.iter().flatten());
                    self.n_beyond +=
                        u64::from(bounded.any(|(number, bounds)| is_beyond(*number, *bounds)));
                }
            }
            (Obs::Pixels(pixels), ObsSpace::Image { high, .. }) if *high < u8::MAX => {
                let is_beyond = |pixels: &ArrayView1<u8>| pixels.iter().any(|pixel| pixel > high);
                self.n_beyond += pixels.rows().into_iter().filter(is_beyond).count() as u64;
            }
            _ => {}
        }
    }

    /// Steps after which another trial had seen something else; `None` where all was the same as long as both
    /// went.
    pub fn differs_after(&self, other: &Trial) -> Option<usize> {
        self.digests.iter().zip(&other.digests).position(|(one, other)| one != other)
    }
}

/// The larger of what was found so far and a finite number without its sign.
fn larger(so_far: f32, number: f32) -> f32 {
    if number.is_finite() { so_far.max(number.abs()) } else { so_far }
}

/// Beyond bounds by more than rounding to f32 explains.
fn is_beyond(number: f32, [low, high]: [f32; 2]) -> bool {
    let slack = 1e-5 * (high - low);
    number < low - slack || number > high + slack
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
    use crate::space::ObsMut;

    fn trial(seed: u64) -> Trial {
        let envs = Registry::default().make_vec("CartPole-v1", &EnvArgs::default(), 3, seed);
        Trial::of(&mut *envs.unwrap(), 200, u64::MAX).unwrap()
    }

    #[test]
    fn one_seed_is_one_trial_and_another_another() {
        let (one, same, other) = (trial(7), trial(7), trial(8));
        assert_eq!((one.differs_after(&same), one.differs_after(&other)), (None, Some(0)));
        assert_eq!((one.n_steps, one.n_not_reset), (600, 0));
        assert_eq!((one.n_bad_rewards, one.n_bad_obs, one.n_beyond), (0, 0, 0));
        assert!(one.n_terminated > 10 && one.returns.len() as u64 == one.n_terminated, "{one:?}");
    }

    #[test]
    fn observations_that_are_not_what_they_should_be_are_counted() {
        let space = ObsSpace::bounded(&[[-1.0, 1.0], [0.0, 1e6]]);
        let mut obs = ObsBuffer::zeros(&space, 4);
        let ObsMut::Numbers(mut numbers) = obs.view_mut() else { panic!() };
        numbers.row_mut(0).assign(&ndarray::arr1(&[f32::NAN, 1.000_001, 0.5, -1.1]));
        numbers.row_mut(1).assign(&ndarray::arr1(&[0.0, f32::INFINITY, 1e30, 0.0]));
        let mut trial = Trial::default();
        trial.judge(&obs, &space);
        assert_eq!((trial.n_bad_obs, trial.n_beyond, trial.largest_obs), (2, 3, 1e30));
        let space = ObsSpace::planes(1, 1, 2);
        let mut obs = ObsBuffer::zeros(&space, 2);
        let ObsMut::Pixels(mut pixels) = obs.view_mut() else { panic!() };
        pixels.row_mut(1).assign(&ndarray::arr1(&[1, 2]));
        trial.judge(&obs, &space);
        assert_eq!(trial.n_beyond, 4);
    }
}
