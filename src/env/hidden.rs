//! Environments of which some numbers are hidden: a task for a network that remembers.
//!
//! Owns a vector of them and room for what they say, of which it shows some rows. Changes nothing else of them.

use super::vector::{StepBuffer, StepMut, no_room};
use super::{EnvError, VecEnv};
use crate::space::{Actions, Obs, ObsMut, ObsSpace, Spec};

/// The spec of environments of `spec` that show these numbers, without bounds, of their observations.
pub(super) fn shown_spec(spec: Spec, shown: &[usize]) -> Spec {
    match shown.len() == spec.obs.numbers().len {
        true => spec,
        false => Spec { obs: ObsSpace::vector(shown.len()), ..spec },
    }
}

/// The environments with these numbers shown; as they are, where that is all.
pub(super) fn show(envs: Box<dyn VecEnv>, shown: &'static [usize]) -> Box<dyn VecEnv> {
    if shown.len() == envs.spec().obs.numbers().len {
        return envs;
    }
    let spec = shown_spec(envs.spec().clone(), shown);
    let room = StepBuffer::new(envs.spec(), envs.n_envs());
    Box::new(Hidden { envs, spec, shown, room })
}

struct Hidden {
    envs: Box<dyn VecEnv>,
    spec: Spec,
    /// Indices of the numbers that are shown.
    shown: &'static [usize],
    /// A step with all numbers.
    room: StepBuffer,
}

impl Hidden {
    /// Copies the shown numbers of the first environments in the room.
    fn copy(&self, obs: ObsMut<'_>) -> Result<(), EnvError> {
        let n_envs = self.envs.n_envs();
        let unfit = || no_room(&self.spec, n_envs, "observations");
        let (Obs::Numbers(all), ObsMut::Numbers(mut obs)) = (self.room.obs.view(), obs) else {
            return Err(unfit());
        };
        if obs.nrows() != self.shown.len() || obs.ncols() > n_envs {
            return Err(unfit());
        }
        for (mut row, number) in obs.outer_iter_mut().zip(self.shown) {
            row.iter_mut().zip(all.row(*number)).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }
}

impl VecEnv for Hidden {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn n_envs(&self) -> usize {
        self.envs.n_envs()
    }

    fn reset(&mut self, obs: ObsMut<'_>) -> Result<(), EnvError> {
        self.room.reset(&mut *self.envs)?;
        self.copy(obs)
    }

    fn reset_one(&mut self, env: usize, obs: ObsMut<'_>) -> Result<(), EnvError> {
        self.envs.reset_one(env, self.room.obs.view_mut().frames(0..1))?;
        self.copy(obs)
    }

    fn at_work(&self) -> Option<usize> {
        self.envs.at_work()
    }

    fn step(&mut self, actions: Actions<'_>, out: &mut StepMut<'_>) -> Result<(), EnvError> {
        self.room.step(&mut *self.envs, actions)?;
        out.rewards[..self.room.rewards.len()].copy_from_slice(&self.room.rewards);
        out.kinds[..self.room.kinds.len()].copy_from_slice(&self.room.kinds);
        self.room.episodes().for_each(|(score, length)| out.episodes.push(score, length));
        self.copy(out.obs.reborrow())
    }
}
