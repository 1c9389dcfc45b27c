//! Actions as a policy draws them: each number mapped to between its bounds.
//!
//! A slot holds numbers as they were drawn, because V-trace needs the probability of just these. They are mapped
//! here and nowhere else, between whoever acts and the environments. Indices pass as they are, at no cost.

use ndarray::Array2;

use super::vector::{StepMut, VecEnv};
use super::{EnvError, Picture};
use crate::space::{ActionMap, Actions, Numbers, ObsMut, Spec};

/// `envs` with their actions mapped by these maps, one for each number of an action; none for indices.
pub(super) fn raw_actions(envs: Box<dyn VecEnv>, maps: Vec<ActionMap>) -> Box<dyn VecEnv> {
    if maps.is_empty() {
        return envs;
    }
    let Numbers { len, .. } = envs.spec().actions.numbers();
    let taken = Array2::zeros((len, envs.n_envs()));
    Box::new(RawActions { envs, maps, taken })
}

struct RawActions {
    envs: Box<dyn VecEnv>,
    /// `[K]`
    maps: Vec<ActionMap>,
    /// What the environments take, `[K, E]`.
    taken: Array2<f32>,
}

impl VecEnv for RawActions {
    fn spec(&self) -> &Spec {
        self.envs.spec()
    }

    fn n_envs(&self) -> usize {
        self.envs.n_envs()
    }

    fn start(&mut self, goes_on: &mut dyn FnMut() -> bool) -> Result<bool, EnvError> {
        self.envs.start(goes_on)
    }

    fn reset(&mut self, obs: ObsMut<'_>) -> Result<(), EnvError> {
        self.envs.reset(obs)
    }

    fn reset_one(&mut self, env: usize, obs: ObsMut<'_>) -> Result<(), EnvError> {
        self.envs.reset_one(env, obs)
    }

    fn at_work(&self) -> Option<usize> {
        self.envs.at_work()
    }

    fn picture(&mut self) -> Result<Option<Picture>, EnvError> {
        self.envs.picture()
    }

    fn step(&mut self, actions: Actions<'_>, out: &mut StepMut<'_>) -> Result<(), EnvError> {
        let drawn = match actions {
            Actions::Numbers(drawn) if drawn.dim() == self.taken.dim() => drawn,
            // They do not fit, which is for the environments to say.
            _ => return self.envs.step(actions, out),
        };
        let rows = self.taken.outer_iter_mut().zip(drawn.outer_iter());
        for ((mut row, drawn), map) in rows.zip(&self.maps) {
            row.zip_mut_with(&drawn, |taken, drawn| *taken = map.taken(*drawn));
        }
        self.envs.step(Actions::Numbers(self.taken.view()), out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EnvArgs, Registry, StepBuffer};
    use super::*;
    use crate::space::ObsBuffer;

    /// What two pendulums show after ten steps of these torques, of which the first number is one's.
    fn swung(mut envs: Box<dyn VecEnv>, torques: [f32; 2]) -> ObsBuffer {
        let mut room = StepBuffer::new(envs.spec(), 2);
        let torques = Array2::from_shape_fn((1, 2), |(_, env)| torques[env]);
        room.reset(&mut *envs).unwrap();
        (0..10).for_each(|_| room.step(&mut *envs, Actions::Numbers(torques.view())).unwrap());
        room.obs
    }

    #[test]
    fn drawn_numbers_reach_the_environment_as_its_own() {
        let (id, args) = ("Pendulum-v1", EnvArgs::default());
        let raw = Registry::default().make_vec(id, &args, 2, 7).unwrap();
        let maps = |squash| {
            let registry = Registry::default().squashing_actions(squash);
            registry.action_maps(&registry.spec(id, &args).unwrap().actions)
        };
        let of = |torques| swung(Registry::default().make_vec(id, &args, 2, 7).unwrap(), torques);
        let clipped = swung(raw_actions(raw, maps(false)), [0.5, -3.0]);
        assert_eq!(clipped, of([1.0, -2.0]));
        let raw = Registry::default().make_vec(id, &args, 2, 7).unwrap();
        let squashed = swung(raw_actions(raw, maps(true)), [0.5, -3.0]);
        assert_eq!(squashed, of([0.5, -3.0].map(|drawn: f32| 2.0 * drawn.tanh())));
        assert_ne!(squashed, clipped);
    }
}
