//! Observations as a network takes them: each number mapped from its bounds to -1 to 1.
//!
//! Numbers that are small by nature, such as MountainCar's velocity of at most 0.07, would hardly move a
//! network at first. The mapping is a constant of the environment, so whoever knows the id knows it. It
//! is applied here and nowhere else, between the environments and whoever acts in them; a slot's
//! observations are mapped ones. An environment without bounds is left as it is, at no cost.

use ndarray::{ArrayViewMut1, ArrayViewMut2};

use super::EnvSpec;
use super::vector::VecEnv;
use crate::rollout::{EpisodeLog, StepKind};

/// One number's way into the network: `(observed − centre) · factor`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputMap {
    /// What becomes 0.
    pub centre: f32,
    /// What it is multiplied with from there.
    pub factor: f32,
}

impl InputMap {
    /// The lower bound becomes -1, the upper one 1.
    pub fn of([low, high]: [f32; 2]) -> Self {
        InputMap { centre: (low + high) / 2.0, factor: 2.0 / (high - low) }
    }

    /// What was observed, of what the network takes.
    pub fn observed(&self, input: f32) -> f32 {
        input / self.factor + self.centre
    }

    fn map(&self, numbers: &mut [f32]) {
        for number in numbers {
            *number = (*number - self.centre) * self.factor;
        }
    }
}

/// `envs` with their observations mapped, where their spec has bounds.
pub(super) fn network_inputs(envs: Box<dyn VecEnv>) -> Box<dyn VecEnv> {
    match envs.spec().obs_bounds {
        None => envs,
        Some(bounds) => {
            let maps = bounds.iter().copied().map(InputMap::of).collect();
            Box::new(NetworkInputs { envs, maps })
        }
    }
}

struct NetworkInputs {
    envs: Box<dyn VecEnv>,
    /// `[D]`
    maps: Vec<InputMap>,
}

impl NetworkInputs {
    fn map(&self, mut obs: ArrayViewMut2<'_, f32>) {
        for (mut row, map) in obs.outer_iter_mut().zip(&self.maps) {
            map.map(row.as_slice_mut().expect("the vector has written contiguous rows"));
        }
    }
}

impl VecEnv for NetworkInputs {
    fn spec(&self) -> &'static EnvSpec {
        self.envs.spec()
    }

    fn n_envs(&self) -> usize {
        self.envs.n_envs()
    }

    fn reset(&mut self, mut obs: ArrayViewMut2<'_, f32>) {
        self.envs.reset(obs.view_mut());
        self.map(obs);
    }

    fn reset_one(&mut self, env: usize, mut obs: ArrayViewMut1<'_, f32>) {
        self.envs.reset_one(env, obs.view_mut());
        for (number, map) in obs.iter_mut().zip(&self.maps) {
            map.map(std::slice::from_mut(number));
        }
    }

    fn at_work(&self) -> Option<usize> {
        self.envs.at_work()
    }

    fn step(
        &mut self,
        actions: &[i32],
        mut obs: ArrayViewMut2<'_, f32>,
        rewards: &mut [f32],
        kinds: &mut [StepKind],
        episodes: &mut EpisodeLog<'_>,
    ) {
        self.envs.step(actions, obs.view_mut(), rewards, kinds, episodes);
        self.map(obs);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;
    use ndarray::Array2;

    #[test]
    fn bounds_become_one_and_what_has_them_already_is_left_bit_for_bit() {
        let mut numbers = [-1.2, -0.3, 0.6];
        InputMap::of([-1.2, 0.6]).map(&mut numbers);
        approx::assert_relative_eq!(numbers[..], [-1.0, 0.0, 1.0][..], epsilon = 1e-6);
        let observed = numbers.map(|input| InputMap::of([-1.2, 0.6]).observed(input));
        approx::assert_relative_eq!(observed[..], [-1.2, -0.3, 0.6][..], epsilon = 1e-6);
        let mut numbers = [0.1, -0.123_456_7, 1e-30];
        InputMap::of([-1.0, 1.0]).map(&mut numbers);
        assert_eq!(numbers, [0.1, -0.123_456_7, 1e-30]);
    }

    /// Observations of 600 steps, `[D, 3]` each.
    fn played(mut envs: Box<dyn VecEnv>) -> Vec<Array2<f32>> {
        let spec = envs.spec();
        let mut obs = Array2::zeros((spec.obs_dim, 3));
        envs.reset(obs.view_mut());
        let step = |step: i32| {
            let before = obs.clone();
            let (mut returns, mut lengths) = ([0.0; 3], [0; 3]);
            let mut log = EpisodeLog::new(&mut returns, &mut lengths);
            let (mut rewards, mut kinds) = ([0.0; 3], [StepKind::ORDINARY; 3]);
            let actions = [0, step % spec.n_actions as i32, 1];
            envs.step(&actions, obs.view_mut(), &mut rewards, &mut kinds, &mut log);
            before
        };
        (0..600).map(step).collect()
    }

    #[test]
    fn mapped_environments_are_the_same_but_for_what_is_seen_of_them() {
        let registry = Registry::default();
        for spec in registry.specs() {
            let raw = played(registry.make_vec(spec.id, 3, 7).unwrap());
            let mapped = played(registry.make_inputs(spec.id, 3, 7).unwrap());
            for (step, (mut raw, mapped)) in raw.into_iter().zip(mapped).enumerate() {
                let bounds = spec.obs_bounds.unwrap_or_default();
                for (mut row, bounds) in raw.outer_iter_mut().zip(bounds) {
                    let within = |number| (bounds[0]..=bounds[1]).contains(number);
                    assert!(row.iter().all(within), "{}, step {step}: {row}", spec.id);
                    InputMap::of(*bounds).map(row.as_slice_mut().unwrap());
                }
                assert_eq!(raw, mapped, "{}, step {step}", spec.id);
            }
        }
    }
}
