//! Actions as a policy draws them: each number mapped to between its bounds.
//!
//! A slot holds numbers as they were drawn, because V-trace needs the probability of just these. They are mapped
//! here and nowhere else, between whoever acts and the environments. Indices pass as they are, at no cost.

use ndarray::Array2;

use super::EnvError;
use super::vector::{StepMut, VecEnv};
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
