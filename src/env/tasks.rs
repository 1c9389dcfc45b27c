//! Several tasks in one run: their ids in one line, and one spec under which a network sees them all.
//!
//! Owns what tasks must have in common: an action space, and observations of one kind. Those with fewer numbers or
//! channels than others are followed by zeros. Called by the registry, to which a line of ids is one more environment,
//! and by who shares actors out. Knows no network.

use super::vector::{StepBuffer, StepMut, VecEnv};
use super::{EnvError, Picture};
use crate::space::{Actions, ObsMut, Spec};

/// The most tasks of a run: there are 57 Ataris.
pub(super) const MAX_TASKS: usize = 64;

/// How the id of a command begins; a comma in it parts no tasks.
const COMMAND: &str = "exec:";

/// The tasks that the setting `env` names, between commas; most often one.
pub fn task_ids(env: &str) -> Vec<&str> {
    let (mut ids, mut rest) = (Vec::new(), env);
    while !rest.starts_with(COMMAND)
        && let Some((id, others)) = rest.split_once(',')
    {
        ids.push(id.trim());
        rest = others.trim();
    }
    ids.push(rest);
    ids
}

/// The spec of a run whose tasks, `env`, have these: room for what each shows, and the actions that all take. One task
/// keeps its own.
///
/// # Errors
/// [`EnvError::Tasks`] where one network cannot serve them all, one is there twice, or they are too many.
pub(super) fn union(env: &str, specs: &[Spec]) -> Result<Spec, EnvError> {
    let [first, others @ ..] = specs else { panic!("a run has a task") };
    if others.is_empty() {
        return Ok(first.clone());
    }
    let refuse = |why: String| Err(EnvError::Tasks { why });
    if specs.len() > MAX_TASKS {
        return refuse(format!("{} tasks; up to {MAX_TASKS} work", specs.len()));
    }
    let mut union = Spec { id: env.to_owned(), reward_threshold: None, ..first.clone() };
    for (n, spec) in others.iter().enumerate() {
        if specs[..=n].iter().any(|earlier| earlier.id == spec.id) {
            return refuse(format!("{} is there twice; name each task once", spec.id));
        }
        if spec.actions != first.actions {
            return refuse(format!(
                "{} takes {}, {} {}; name tasks that take the same actions, such as those of MinAtar that end in -v0, \
                 or Atari's with --env-arg full_action_space=true",
                first.id, first.actions, spec.id, spec.actions
            ));
        }
        let Some(obs) = union.obs.padded(&spec.obs) else {
            return refuse(format!(
                "{} shows {}, {} {}; name tasks that all show numbers, or pictures of one size and kind",
                first.id, first.obs, spec.id, spec.obs
            ));
        };
        union.obs = obs;
        let limits = union.max_episode_steps.zip(spec.max_episode_steps);
        union.max_episode_steps = limits.map(|(one, other)| one.max(other));
    }
    Ok(union)
}

/// Environments of one task, `envs`, as a run of several sees them, whose spec is `spec`.
pub(super) fn padded(envs: Box<dyn VecEnv>, spec: Spec) -> Box<dyn VecEnv> {
    let room = StepBuffer::new(envs.spec(), envs.n_envs());
    Box::new(Padded { envs, spec, room })
}

struct Padded {
    envs: Box<dyn VecEnv>,
    spec: Spec,
    /// A step as the task has it.
    room: StepBuffer,
}

impl VecEnv for Padded {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn n_envs(&self) -> usize {
        self.envs.n_envs()
    }

    fn start(&mut self, goes_on: &mut dyn FnMut() -> bool) -> Result<bool, EnvError> {
        self.envs.start(goes_on)
    }

    fn reset(&mut self, mut obs: ObsMut<'_>) -> Result<(), EnvError> {
        self.room.reset(&mut *self.envs)?;
        obs.assign_padded(self.room.obs.view());
        Ok(())
    }

    fn reset_one(&mut self, env: usize, mut obs: ObsMut<'_>) -> Result<(), EnvError> {
        self.envs.reset_one(env, self.room.obs.view_mut().frames(0..1))?;
        obs.assign_padded(self.room.obs.view().frames(0..1));
        Ok(())
    }

    fn at_work(&self) -> Option<usize> {
        self.envs.at_work()
    }

    fn picture(&mut self) -> Result<Option<Picture>, EnvError> {
        self.envs.picture()
    }

    fn step(&mut self, actions: Actions<'_>, out: &mut StepMut<'_>) -> Result<(), EnvError> {
        self.room.step(&mut *self.envs, actions)?;
        out.rewards.copy_from_slice(&self.room.rewards);
        out.kinds.copy_from_slice(&self.room.kinds);
        self.room.episodes().for_each(|(score, length)| out.episodes.push(score, length));
        out.obs.assign_padded(self.room.obs.view());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EnvArgs, Registry};
    use super::*;
    use crate::space::{ActionBuffer, Obs, ObsSpace};

    #[test]
    fn commas_part_tasks_and_not_the_words_of_a_command() {
        assert_eq!(task_ids("CartPole-v1"), ["CartPole-v1"]);
        assert_eq!(task_ids("A-v0, B-v1,gym:C-v2"), ["A-v0", "B-v1", "gym:C-v2"]);
        assert_eq!(task_ids("exec:./sim a,b"), ["exec:./sim a,b"]);
        assert_eq!(task_ids("A-v0,exec:./sim a,b"), ["A-v0", "exec:./sim a,b"]);
        assert_eq!(task_ids("A-v0,"), ["A-v0", ""]);
    }

    fn spec(env: &str) -> Result<Spec, String> {
        let spec = Registry::default().spec(env, &EnvArgs::default());
        spec.map_err(|error| error.to_string())
    }

    #[test]
    fn one_spec_has_room_for_all() {
        let games = "MinAtar/Breakout-v0,MinAtar/SpaceInvaders-v0,MinAtar/Asterix-v0";
        let union = spec(games).unwrap();
        assert_eq!((&*union.id, &union.obs), (games, &ObsSpace::planes(6, 10, 10)));
        assert_eq!((union.max_episode_steps, union.reward_threshold), (None, None));
        let union = spec("MountainCar-v0,Acrobot-v1").unwrap();
        assert_eq!((union.obs, union.max_episode_steps), (ObsSpace::vector(6), Some(500)));
    }

    #[test]
    fn tasks_that_no_network_can_have_in_common_are_refused_by_name() {
        for (env, parts) in [
            ("MinAtar/Breakout-v1,MinAtar/Asterix-v1", ["Discrete(3)", "-v0"]),
            ("CartPole-v1,Pendulum-v1", ["Pendulum-v1", "CartPole-v1 takes Discrete(2)"]),
            ("MountainCar-v0,MinAtar/Breakout-v1", ["f32 [2]", "u8 [4, 10, 10]"]),
            ("CartPole-v1,CartPole-v1", ["CartPole-v1 is there twice", "once"]),
            ("CartPole-v1,CratPole-v1", ["unknown environment", "CratPole-v1"]),
            ("CartPole-v1,", ["unknown environment", "known: CartPole-v1"]),
        ] {
            let refused = spec(env).unwrap_err();
            assert!(parts.iter().all(|part| refused.contains(part)), "{env}: {refused}");
        }
    }

    /// What is seen of the tasks of a run is what each shows alone, and zeros.
    #[test]
    fn a_padded_task_is_the_task_itself() {
        let (registry, args) = (Registry::default(), EnvArgs::default());
        let env = "MountainCar-v0,Acrobot-v1";
        for (task, id) in task_ids(env).into_iter().enumerate() {
            let mut alone = registry.make_inputs(id, 0, &args, 3, 7).unwrap();
            let mut beside = registry.make_inputs(env, task, &args, 3, 7).unwrap();
            assert_eq!(*beside.spec(), registry.spec(env, &args).unwrap());
            let mut expected = StepBuffer::new(alone.spec(), 3);
            let mut room = StepBuffer::new(beside.spec(), 3);
            expected.reset(&mut *alone).unwrap();
            room.reset(&mut *beside).unwrap();
            let mut actions = ActionBuffer::zeros(&alone.spec().actions, 3);
            let mut n_episodes = 0;
            for step in 0..600 {
                if step % 100 == 50 {
                    alone.reset_one(1, expected.obs.view_mut().frames(1..2)).unwrap();
                    beside.reset_one(1, room.obs.view_mut().frames(1..2)).unwrap();
                }
                actions.view_mut().index_row().copy_from_slice(&[0, step % 3, 2]);
                expected.step(&mut *alone, actions.view()).unwrap();
                room.step(&mut *beside, actions.view()).unwrap();
                let (Obs::Numbers(own), Obs::Numbers(all)) = (expected.obs.view(), room.obs.view())
                else {
                    panic!("pixels")
                };
                for (row, numbers) in all.outer_iter().enumerate() {
                    match row < own.nrows() {
                        true => assert_eq!(numbers, own.row(row)),
                        false => assert!(numbers.iter().all(|number| *number == 0.0)),
                    }
                }
                assert_eq!((&room.rewards, &room.kinds), (&expected.rewards, &expected.kinds));
                assert!(room.episodes().eq(expected.episodes()));
                n_episodes += room.episodes().count();
            }
            assert!(n_episodes > 0, "{id}");
        }
    }
}
