//! Observations as a network takes them: each number mapped from its bounds to -1 to 1.
//!
//! Numbers that are small by nature, such as MountainCar's velocity of at most 0.07, would hardly move a
//! network at first. The mapping is a constant of the environment, so whoever knows its spec knows it. It
//! is applied here and nowhere else, between the environments and whoever acts in them; a slot's
//! observations are mapped ones. An environment without bounds is left as it is, at no cost.

use super::vector::{StepMut, VecEnv};
use super::{EnvError, Picture};
use crate::space::{Actions, InputMap, ObsMut, Spec};

/// `envs` with their observations mapped, where their spec has bounds.
pub(super) fn network_inputs(envs: Box<dyn VecEnv>) -> Box<dyn VecEnv> {
    match envs.spec().obs.input_maps() {
        None => envs,
        Some(maps) => Box::new(NetworkInputs { envs, maps }),
    }
}

struct NetworkInputs {
    envs: Box<dyn VecEnv>,
    /// `[D]`
    maps: Vec<InputMap>,
}

impl NetworkInputs {
    fn map(&self, obs: ObsMut<'_>) {
        let ObsMut::Numbers(mut obs) = obs else { return };
        for (mut row, map) in obs.outer_iter_mut().zip(&self.maps) {
            map.map(row.as_slice_mut().expect("the vector has written contiguous rows"));
        }
    }
}

impl VecEnv for NetworkInputs {
    fn spec(&self) -> &Spec {
        self.envs.spec()
    }

    fn n_envs(&self) -> usize {
        self.envs.n_envs()
    }

    fn start(&mut self, goes_on: &mut dyn FnMut() -> bool) -> Result<bool, EnvError> {
        self.envs.start(goes_on)
    }

    fn reset(&mut self, mut obs: ObsMut<'_>) -> Result<(), EnvError> {
        self.envs.reset(obs.reborrow())?;
        self.map(obs);
        Ok(())
    }

    fn reset_one(&mut self, env: usize, mut obs: ObsMut<'_>) -> Result<(), EnvError> {
        self.envs.reset_one(env, obs.reborrow())?;
        self.map(obs);
        Ok(())
    }

    fn at_work(&self) -> Option<usize> {
        self.envs.at_work()
    }

    fn picture(&mut self) -> Result<Option<Picture>, EnvError> {
        self.envs.picture()
    }

    fn step(&mut self, actions: Actions<'_>, out: &mut StepMut<'_>) -> Result<(), EnvError> {
        self.envs.step(actions, out)?;
        self.map(out.obs.reborrow());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EnvArgs, Registry, StepBuffer};
    use super::*;
    use crate::space::{ActionBuffer, ActionSpace, ObsBuffer, ObsSpace};

    /// Observations of 600 steps of three environments, `[D, 3]` each.
    fn played(mut envs: Box<dyn VecEnv>) -> Vec<ObsBuffer> {
        let spec = envs.spec().clone();
        let mut room = StepBuffer::new(&spec, 3);
        let mut actions = ActionBuffer::zeros(&spec.actions, 3);
        room.reset(&mut *envs).unwrap();
        let step = |step: i32| {
            let before = room.obs.clone();
            if let ActionSpace::Discrete(n) = spec.actions {
                let indices = [0, step % n as i32, 1];
                actions.view_mut().index_row().copy_from_slice(&indices);
            }
            room.step(&mut *envs, actions.view()).unwrap();
            before
        };
        (0..600).map(step).collect()
    }

    #[test]
    fn mapped_environments_are_the_same_but_for_what_is_seen_of_them() {
        let (registry, args) = (Registry::default(), EnvArgs::default());
        for id in registry.ids() {
            let raw = played(registry.make_vec(id, &args, 3, 7).unwrap());
            let mapped = played(registry.make_inputs(id, 0, &args, 3, 7).unwrap());
            let ObsSpace::Vector { bounds, .. } = registry.spec(id, &args).unwrap().obs else {
                continue;
            };
            for (step, (mut raw, mapped)) in raw.into_iter().zip(mapped).enumerate() {
                let ObsMut::Numbers(mut obs) = raw.view_mut() else { panic!("{id}") };
                for (mut row, bounds) in obs.outer_iter_mut().zip(bounds.iter().flatten()) {
                    let within = |number| (bounds[0]..=bounds[1]).contains(number);
                    assert!(row.iter().all(within), "{id}, step {step}: {row}");
                    InputMap::of(*bounds).map(row.as_slice_mut().unwrap());
                }
                assert_eq!(raw, mapped, "{id}, step {step}");
            }
        }
    }
}
