//! E environments stepped together, with time limits and next-step autoreset.
//!
//! Owns: the running return and length of every episode, the time limit (Gymnasium's `TimeLimit`
//! wrapper) and the reset on the step *after* an end (Gymnasium's `AutoresetMode.NEXT_STEP`). Knows nothing
//! of any one environment's dynamics, of slots or of learning. Driven by the actor and by the evaluation,
//! through [`VecEnv`].

use std::ops::Range;

use super::column::{Action, Observation};
use super::{Env, EnvError, Picture, Transition};
use crate::rollout::{EpisodeLog, StepKind};
use crate::space::{Actions, ObsBuffer, ObsMut, Spec};

/// What a step of E environments yields.
pub struct StepMut<'a> {
    /// Their observations after it.
    pub obs: ObsMut<'a>,
    /// Raw rewards, `[E]`.
    pub rewards: &'a mut [f32],
    /// What the step was, `[E]`.
    pub kinds: &'a mut [StepKind],
    /// Episodes that end are appended here, in the order of e.
    pub episodes: EpisodeLog<'a>,
}

/// Room for a step of E environments in private memory.
pub struct StepBuffer {
    /// Their newest observations.
    pub obs: ObsBuffer,
    /// Raw rewards of the last step, `[E]`.
    pub rewards: Vec<f32>,
    /// What the last step was, `[E]`.
    pub kinds: Vec<StepKind>,
    returns: Vec<f32>,
    lengths: Vec<u32>,
    n_episodes: usize,
}

impl StepBuffer {
    /// Room for `n_envs` environments.
    pub fn new(spec: &Spec, n_envs: usize) -> Self {
        StepBuffer {
            obs: ObsBuffer::zeros(&spec.obs, n_envs),
            rewards: vec![0.0; n_envs],
            kinds: vec![StepKind::ORDINARY; n_envs],
            returns: vec![0.0; n_envs],
            lengths: vec![0; n_envs],
            n_episodes: 0,
        }
    }

    /// Begins a new episode in every environment.
    ///
    /// # Errors
    /// As [`VecEnv::reset`].
    pub fn reset(&mut self, envs: &mut dyn VecEnv) -> Result<(), EnvError> {
        envs.reset(self.obs.view_mut())
    }

    /// Takes one step in every environment.
    ///
    /// # Errors
    /// As [`VecEnv::step`].
    pub fn step(&mut self, envs: &mut dyn VecEnv, actions: Actions<'_>) -> Result<(), EnvError> {
        let mut out = StepMut {
            obs: self.obs.view_mut(),
            rewards: &mut self.rewards,
            kinds: &mut self.kinds,
            episodes: EpisodeLog::new(&mut self.returns, &mut self.lengths),
        };
        envs.step(actions, &mut out)?;
        self.n_episodes = out.episodes.n_episodes();
        Ok(())
    }

    /// Return and length of each episode that ended in the last step, in the order of the environments.
    pub fn episodes(&self) -> impl Iterator<Item = (f32, u32)> {
        let episodes = self.returns.iter().copied().zip(self.lengths.iter().copied());
        episodes.take(self.n_episodes)
    }
}

/// E environments of one kind behind one dynamic call a step, wherever they run.
///
/// No method allocates where the environments run in this process.
pub trait VecEnv {
    /// What the environments are.
    fn spec(&self) -> &Spec;

    /// Number of environments, E.
    fn n_envs(&self) -> usize;

    /// Waits until the environments can be stepped, as long as `goes_on` says so, which is asked every 50 ms;
    /// whether they can. Who does not wait for it here does so at the first reset.
    ///
    /// # Errors
    /// [`EnvError`] where they cannot be had.
    fn start(&mut self, _goes_on: &mut dyn FnMut() -> bool) -> Result<bool, EnvError> {
        Ok(true)
    }

    /// Begins a new episode in every environment and writes its first observation.
    ///
    /// Generators go on from where they are (Gymnasium: `reset()` without a seed), and unfinished
    /// episodes are dropped unlogged.
    ///
    /// # Errors
    /// [`EnvError`] where the room is not that of E observations, or an environment fails.
    fn reset(&mut self, obs: ObsMut<'_>) -> Result<(), EnvError>;

    /// Begins a new episode in environment `env` alone and writes its first observation, one frame; the
    /// unfinished episode is dropped unlogged.
    ///
    /// # Errors
    /// As [`VecEnv::reset`].
    fn reset_one(&mut self, env: usize, obs: ObsMut<'_>) -> Result<(), EnvError>;

    /// The environment that is at work: after a panic, the one that panicked.
    fn at_work(&self) -> Option<usize>;

    /// What the first environment looks like, as it draws itself; `None` where it does not. It has been reset.
    ///
    /// # Errors
    /// [`EnvError`] where it fails.
    fn picture(&mut self) -> Result<Option<Picture>, EnvError> {
        Ok(None)
    }

    /// Takes one step in every environment: environment e takes column e of `actions`.
    ///
    /// An environment whose episode ended one step earlier (or that was never reset) begins a new one instead:
    /// its action is ignored, its reward is 0, its kind [`StepKind::RESET`]. Where the state is terminal on
    /// the very step of the time limit the kind is [`StepKind::TERMINATED`], though Gymnasium then sets both
    /// flags: the value of a terminal state is known.
    ///
    /// # Errors
    /// [`EnvError`] where a shape is wrong, where an action that is not ignored is not in the space, or where
    /// an environment fails.
    ///
    /// # Panics
    /// Where the log is full, or rewards or kinds are fewer than the environments.
    fn step(&mut self, actions: Actions<'_>, out: &mut StepMut<'_>) -> Result<(), EnvError>;
}

/// The [`VecEnv`] of any [`Env`]: one [`Episodic`] an environment, stepped one after the other.
#[derive(Debug)]
pub(super) struct SyncVecEnv<E> {
    spec: Spec,
    /// Steps after which an episode is truncated; none has as many where there is no limit.
    max_steps: u32,
    envs: Box<[Episodic<E>]>,
    at_work: Option<usize>,
    /// Room for an observation whose length is not known when compiled.
    scratch: Vec<f32>,
}

impl<E: Env> SyncVecEnv<E> {
    /// `n_envs` environments, number i seeded with `seed + i` as in Gymnasium's vectors. The spec is that of
    /// these arguments.
    pub(super) fn new(spec: Spec, args: &E::Args, n_envs: usize, seed: u64) -> Self {
        let seed_of = |i| u128::from(seed) + i as u128;
        let envs = (0..n_envs).map(|i| Episodic::new(E::new(args, seed_of(i)))).collect();
        let max_steps = spec.max_episode_steps.unwrap_or(u32::MAX);
        SyncVecEnv { spec, max_steps, envs, at_work: None, scratch: Vec::new() }
    }

    /// Begins an episode in each environment of the range, whose observations go to `obs`.
    fn begin(&mut self, range: Range<usize>, mut obs: ObsMut<'_>) -> Result<(), EnvError> {
        let (spec, scratch) = (&self.spec, &mut self.scratch);
        let rows = E::Obs::rows(obs.reborrow(), &spec.obs, range.len(), scratch);
        let mut rows = rows.ok_or_else(|| no_room(spec, range.len(), "observations"))?;
        for (column, e) in range.enumerate() {
            self.at_work = Some(e);
            E::Obs::write(&mut rows, column, |obs| self.envs[e].begin(obs));
        }
        self.at_work = None;
        Ok(())
    }
}

impl<E: Env> VecEnv for SyncVecEnv<E> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn n_envs(&self) -> usize {
        self.envs.len()
    }

    fn reset(&mut self, obs: ObsMut<'_>) -> Result<(), EnvError> {
        self.begin(0..self.envs.len(), obs)
    }

    fn reset_one(&mut self, env: usize, obs: ObsMut<'_>) -> Result<(), EnvError> {
        self.begin(env..env + 1, obs)
    }

    fn at_work(&self) -> Option<usize> {
        self.at_work
    }

    fn step(&mut self, actions: Actions<'_>, out: &mut StepMut<'_>) -> Result<(), EnvError> {
        let n_envs = self.envs.len();
        let (rewards, kinds) = (&mut out.rewards[..n_envs], &mut out.kinds[..n_envs]);
        let (spec, scratch) = (&self.spec, &mut self.scratch);
        let action_rows = E::Action::rows(actions, &spec.actions, n_envs);
        let action_rows = action_rows.ok_or_else(|| no_room(spec, n_envs, "actions"))?;
        let rows = E::Obs::rows(out.obs.reborrow(), &spec.obs, n_envs, scratch);
        let mut rows = rows.ok_or_else(|| no_room(spec, n_envs, "observations"))?;
        for (e, env) in self.envs.iter_mut().enumerate() {
            self.at_work = Some(e);
            let action = || E::Action::read(&action_rows, e);
            let stepped = E::Obs::write(&mut rows, e, |obs| env.step(action, self.max_steps, obs));
            let Some((reward, kind)) = stepped else {
                return Err(not_in_space(spec, e, actions));
            };
            (rewards[e], kinds[e]) = (reward, kind);
            if kind.ends_episode() {
                out.episodes.push(env.episode_return, env.episode_steps);
            }
        }
        self.at_work = None;
        Ok(())
    }
}

#[cold]
pub(super) fn no_room(spec: &Spec, n_envs: usize, what: &'static str) -> EnvError {
    EnvError::Room { env: spec.id.clone(), n_envs, what }
}

#[cold]
pub(super) fn not_in_space(spec: &Spec, index: usize, actions: Actions<'_>) -> EnvError {
    let action = match actions {
        Actions::Indices(actions) => format!("{}", actions.column(index)),
        Actions::Numbers(actions) => format!("{}", actions.column(index)),
    };
    EnvError::Action { env: spec.id.clone(), index, action, space: spec.actions.to_string() }
}

/// One environment and its episode so far.
#[derive(Debug)]
struct Episodic<E> {
    env: E,
    episode_return: f32,
    episode_steps: u32,
    /// The episode is over: the next step resets.
    ended: bool,
}

impl<E: Env> Episodic<E> {
    fn new(env: E) -> Self {
        Self { env, episode_return: 0.0, episode_steps: 0, ended: true }
    }

    fn begin(&mut self, obs: &mut E::Obs) {
        self.env.reset(obs);
        (self.episode_return, self.episode_steps, self.ended) = (0.0, 0, false);
    }

    /// Reward and kind of a step; `None` where the action is not in the space. It is not looked at where the
    /// step resets.
    #[inline]
    fn step(
        &mut self,
        action: impl FnOnce() -> Option<E::Action>,
        max_steps: u32,
        obs: &mut E::Obs,
    ) -> Option<(f32, StepKind)> {
        if self.ended {
            self.begin(obs);
            return Some((0.0, StepKind::RESET));
        }
        let transition = self.env.step(action()?, obs);
        self.episode_return += transition.reward;
        self.episode_steps += 1;
        let kind = step_kind(&transition, self.episode_steps >= max_steps);
        self.ended = kind.ends_episode();
        Some((transition.reward, kind))
    }
}

#[inline(always)]
pub(super) fn step_kind(transition: &Transition, is_at_limit: bool) -> StepKind {
    if transition.terminated {
        StepKind::TERMINATED
    } else if transition.truncated || is_at_limit {
        StepKind::TRUNCATED
    } else {
        StepKind::ORDINARY
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ArgError, EnvArgs, NoArgs, NumpyRng, Registry};
    use super::*;
    use crate::space::{ActionSpace, ObsSpace};
    use ndarray::{Array2, Array3, ArrayViewMut2, arr2, s};
    use proptest::prelude::*;

    /// An environment that says where it is (episode, step) and terminates after a number of steps that
    /// it draws at reset: sooner than the time limit, with it, or never.
    struct Planned {
        np_random: NumpyRng,
        episode: u32,
        steps: u32,
        planned_steps: u32,
    }

    /// `1..=12`, on both sides of the limit of 8.
    fn plan(np_random: &mut NumpyRng) -> u32 {
        np_random.uniform(1.0, 13.0) as u32
    }

    impl Env for Planned {
        type Obs = [f32; 2];
        type Action = usize;
        type Args = NoArgs;
        const ID: &'static str = "Planned-v0";

        fn spec(_: &NoArgs) -> Result<Spec, ArgError> {
            Ok(Spec {
                id: Self::ID.into(),
                obs: ObsSpace::vector(2),
                actions: ActionSpace::Discrete(3),
                max_episode_steps: Some(8),
                reward_threshold: None,
            })
        }

        fn new(_: &NoArgs, seed: u128) -> Self {
            Self { np_random: NumpyRng::new(seed), episode: 0, steps: 0, planned_steps: 0 }
        }

        fn reset(&mut self, obs: &mut [f32; 2]) {
            (self.episode, self.steps) = (self.episode + 1, 0);
            self.planned_steps = plan(&mut self.np_random);
            *obs = [self.episode as f32, 0.0];
        }

        fn step(&mut self, action: usize, obs: &mut [f32; 2]) -> Transition {
            self.steps += 1;
            *obs = [self.episode as f32, self.steps as f32];
            let terminated = self.steps == self.planned_steps;
            Transition { reward: reward_of(action as i32), terminated, truncated: false }
        }
    }

    fn reward_of(action: i32) -> f32 {
        action as f32 + 0.5
    }

    /// One step as the slow oracle writes it down.
    #[derive(Clone, Debug, PartialEq)]
    struct Row {
        action: i32,
        obs: [f32; 2],
        reward: f32,
        kind: StepKind,
        finished: Option<(f32, u32)>,
    }

    /// `n_rows` steps of one environment, episode by episode, without a state machine.
    fn oracle(seed: u128, n_rows: usize) -> Vec<Row> {
        let mut np_random = NumpyRng::new(seed);
        let mut rows = Vec::new();
        for episode in 1.. {
            let planned_steps = plan(&mut np_random);
            if episode > 1 {
                rows.push(reset_row(episode));
            }
            rows.extend(episode_rows(episode, planned_steps, rows.len()));
            if rows.len() >= n_rows {
                break;
            }
        }
        rows.truncate(n_rows);
        rows
    }

    /// Its action is none of the environment's: it must not be looked at.
    fn reset_row(episode: u32) -> Row {
        Row {
            action: -7,
            obs: [episode as f32, 0.0],
            reward: 0.0,
            kind: StepKind::RESET,
            finished: None,
        }
    }

    fn episode_rows(episode: u32, planned_steps: u32, first_row: usize) -> Vec<Row> {
        let length = planned_steps.min(8);
        let action = |step: u32| (first_row as i32 + step as i32 * 5) % 3;
        let row = |step| Row {
            action: action(step),
            obs: [episode as f32, step as f32],
            reward: reward_of(action(step)),
            kind: StepKind::ORDINARY,
            finished: None,
        };
        let mut rows: Vec<Row> = (1..=length).map(row).collect();
        let episode_return = rows.iter().map(|row| row.reward).sum();
        let last = rows.last_mut().unwrap();
        last.kind = if planned_steps <= 8 { StepKind::TERMINATED } else { StepKind::TRUNCATED };
        last.finished = Some((episode_return, length));
        rows
    }

    /// What the vector makes of the actions of `expected` (`[T][E]`), in the oracle's form. Observations go
    /// to one `[D, T+1, E]`, as in a rollout.
    fn played(seed: u64, expected: &[Vec<Row>]) -> Vec<Vec<Row>> {
        let n_envs = expected[0].len();
        let registry = Registry::default().with::<Planned>();
        let mut envs = registry.make_vec("Planned-v0", &EnvArgs::default(), n_envs, seed).unwrap();
        let mut obs = Array3::from_elem((2, expected.len() + 1, n_envs), f32::NAN);
        envs.reset(ObsMut::Numbers(obs.slice_mut(s![.., 0, ..]))).unwrap();
        assert!(obs.slice(s![0, 0, ..]).iter().all(|&episode| episode == 1.0));
        let step = |(t, rows): (usize, &Vec<Row>)| {
            let actions: Vec<_> = rows.iter().map(|row| row.action).collect();
            played_step(&mut *envs, &actions, obs.slice_mut(s![.., t + 1, ..]))
        };
        expected.iter().enumerate().map(step).collect()
    }

    fn played_step(
        envs: &mut dyn VecEnv,
        actions: &[i32],
        mut obs: ArrayViewMut2<'_, f32>,
    ) -> Vec<Row> {
        let n_envs = actions.len();
        let (mut rewards, mut kinds) =
            (vec![f32::NAN; n_envs], vec![bytemuck::cast::<u32, StepKind>(9); n_envs]);
        let (mut returns, mut lengths) = (vec![0.0; n_envs], vec![0; n_envs]);
        let mut out = StepMut {
            obs: ObsMut::Numbers(obs.view_mut()),
            rewards: &mut rewards,
            kinds: &mut kinds,
            episodes: EpisodeLog::new(&mut returns, &mut lengths),
        };
        envs.step(Actions::of_indices(actions), &mut out).unwrap();
        let n_episodes = out.episodes.n_episodes();
        let mut logged = returns.into_iter().zip(lengths).take(n_episodes);
        let row = |e: usize| Row {
            action: actions[e],
            obs: [obs[[0, e]], obs[[1, e]]],
            reward: rewards[e],
            kind: kinds[e],
            finished: if kinds[e].ends_episode() { logged.next() } else { None },
        };
        let rows = (0..n_envs).map(row).collect();
        assert_eq!(logged.next(), None, "more episodes were logged than ended");
        rows
    }

    proptest! {
        /// Ends, resets, true final observations, rewards, returns and lengths.
        #[test]
        fn every_row_is_the_slow_oracles(seed in prop_oneof![any::<u64>(), Just(u64::MAX)], n_envs in 1..7usize, n_steps in 1..80usize) {
            let by_env: Vec<_> = (0..n_envs).map(|e| oracle(u128::from(seed) + e as u128, n_steps)).collect();
            let at = |t: usize| by_env.iter().map(|rows| rows[t].clone()).collect::<Vec<_>>();
            let expected: Vec<_> = (0..n_steps).map(at).collect();
            prop_assert_eq!(played(seed, &expected), expected);
        }
    }

    /// One step of two environments after a reset, the first of which gets the first of two good actions.
    fn step_two(id: &str, actions: Actions<'_>, mut obs: ObsMut<'_>) -> Result<StepKind, EnvError> {
        let registry = Registry::default().with::<Pixels>().with::<Reach>();
        let mut envs = registry.make_vec(id, &EnvArgs::default(), 2, 0).unwrap();
        StepBuffer::new(&envs.spec().clone(), 2).reset(&mut *envs).unwrap();
        let mut kinds = [StepKind::RESET; 2];
        let (mut returns, mut lengths) = ([0.0; 2], [0; 2]);
        let episodes = EpisodeLog::new(&mut returns, &mut lengths);
        let (rewards, obs) = (&mut [0.0; 2], obs.reborrow());
        let mut out = StepMut { obs, rewards, kinds: &mut kinds, episodes };
        envs.step(actions, &mut out).map(|()| kinds[1])
    }

    fn step_cartpole(action: i32, obs: ArrayViewMut2<'_, f32>) -> Result<StepKind, String> {
        let stepped =
            step_two("CartPole-v1", Actions::of_indices(&[1, action]), ObsMut::Numbers(obs));
        stepped.map_err(|error| error.to_string())
    }

    #[test]
    fn actions_in_the_space_are_taken_and_others_refused() {
        let step = |action| step_cartpole(action, Array2::zeros((4, 2)).view_mut());
        assert_eq!(step(1), Ok(StepKind::ORDINARY));
        for action in [2, -1, i32::MIN] {
            let refusal = step(action).unwrap_err();
            let expected =
                format!("action [{action}] in environment 1 is not in Discrete(2) of CartPole-v1");
            assert!(refusal.starts_with(&expected), "{refusal}");
        }
    }

    #[test]
    fn rooms_of_the_wrong_shape_are_refused() {
        let refusal = |obs: ArrayViewMut2<f32>| step_cartpole(0, obs).unwrap_err();
        let expected = "observations of 2 environments of CartPole-v1 do not fit";
        assert!(refusal(Array2::zeros((2, 4)).view_mut()).starts_with(expected));
        assert!(refusal(Array2::zeros((3, 2)).view_mut()).starts_with(expected));
        let strided = &mut Array2::zeros((2, 4));
        assert!(refusal(strided.view_mut().reversed_axes()).starts_with(expected));
        let (pixels, room) = (&mut Array2::zeros((2, 4)), &mut Array2::zeros((4, 2)));
        let actions = Actions::of_indices(&[0, 0]);
        let in_pixels = step_two("CartPole-v1", actions, ObsMut::Pixels(pixels.view_mut()));
        assert!(in_pixels.unwrap_err().to_string().starts_with(expected));
        let three =
            step_two("CartPole-v1", Actions::of_indices(&[0; 3]), ObsMut::Numbers(room.view_mut()));
        assert!(three.unwrap_err().to_string().starts_with("actions of 2 environments"));
        let numbers = arr2(&[[0.0, 0.0]]);
        let numbers = Actions::Numbers(numbers.view());
        let in_numbers = step_two("CartPole-v1", numbers, ObsMut::Numbers(room.view_mut()));
        assert!(in_numbers.unwrap_err().to_string().starts_with("actions of 2 environments"));
    }

    /// Paints its two choices into a picture of a size that its arguments say, and ends an episode by itself
    /// after three steps, with neither a time limit nor a terminal state.
    struct Pixels {
        steps: u8,
    }

    #[derive(serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct PixelArgs {
        width: usize,
    }

    impl Default for PixelArgs {
        fn default() -> Self {
            PixelArgs { width: 2 }
        }
    }

    impl Env for Pixels {
        type Obs = [u8];
        type Action = [usize; 2];
        type Args = PixelArgs;
        const ID: &'static str = "Pixels-v0";

        fn spec(args: &PixelArgs) -> Result<Spec, ArgError> {
            if args.width > 9 {
                return Err(ArgError::of("width", args.width, "must be 1 to 9"));
            }
            Ok(Spec {
                id: Self::ID.into(),
                obs: ObsSpace::image(1, 2, args.width),
                actions: ActionSpace::MultiDiscrete(vec![4, 2]),
                max_episode_steps: None,
                reward_threshold: None,
            })
        }

        fn new(_: &PixelArgs, _: u128) -> Self {
            Pixels { steps: 0 }
        }

        fn reset(&mut self, obs: &mut [u8]) {
            self.steps = 0;
            obs.fill(0);
        }

        fn step(&mut self, [colour, shade]: [usize; 2], obs: &mut [u8]) -> Transition {
            self.steps += 1;
            obs.fill(10 * colour as u8 + shade as u8);
            Transition { reward: 1.0, truncated: self.steps == 3, terminated: false }
        }
    }

    /// Earns the numbers that it is given, as far as they are within bounds, and shows as many as its
    /// arguments say.
    struct Reach;

    #[derive(Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct ReachArgs {
        more: usize,
    }

    impl Env for Reach {
        type Obs = [f32];
        type Action = [f32; 2];
        type Args = ReachArgs;
        const ID: &'static str = "Reach-v0";

        fn spec(args: &ReachArgs) -> Result<Spec, ArgError> {
            Ok(Spec {
                id: Self::ID.into(),
                obs: ObsSpace::vector(1 + args.more),
                actions: ActionSpace::Box { low: vec![-1.0, 0.0], high: vec![1.0, f32::MAX] },
                max_episode_steps: Some(2),
                reward_threshold: None,
            })
        }

        fn new(_: &ReachArgs, _: u128) -> Self {
            Reach
        }

        fn reset(&mut self, obs: &mut [f32]) {
            obs.fill(0.5);
        }

        fn step(&mut self, action: [f32; 2], obs: &mut [f32]) -> Transition {
            obs.fill(action[0]);
            Transition { reward: action[0] + action[1], ..Transition::default() }
        }
    }

    /// Observations after each of the steps, and what the steps were.
    fn walk(
        id: &str,
        args: &EnvArgs,
        actions: Actions<'_>,
        n_steps: usize,
    ) -> Vec<(Vec<f32>, StepKind, f32)> {
        let registry = Registry::default().with::<Pixels>().with::<Reach>();
        let mut envs = registry.make_vec(id, args, 2, 0).unwrap();
        let mut room = StepBuffer::new(envs.spec(), 2);
        room.reset(&mut *envs).unwrap();
        let mut step = || {
            room.step(&mut *envs, actions).unwrap();
            (room.obs.view().frame(1), room.kinds[1], room.rewards[1])
        };
        (0..n_steps).map(|_| step()).collect()
    }

    #[test]
    fn pictures_of_a_size_known_at_run_time_and_ends_of_its_own() {
        let choices = arr2(&[[0, 3], [0, 1]]);
        let actions = Actions::Indices(choices.view());
        let mut args = EnvArgs::default();
        args.set("width", 3.into());
        let steps = walk("Pixels-v0", &args, actions, 5);
        let (ordinary, painted) = (StepKind::ORDINARY, vec![31.0; 6]);
        let expected = [
            (painted.clone(), ordinary, 1.0),
            (painted.clone(), ordinary, 1.0),
            (painted.clone(), StepKind::TRUNCATED, 1.0),
            (vec![0.0; 6], StepKind::RESET, 0.0),
            (painted, ordinary, 1.0),
        ];
        assert_eq!(steps, expected);
        let choices = arr2(&[[0, 3], [0, 2]]);
        let mut room = Array2::zeros((2, 4));
        let room = ObsMut::Pixels(room.view_mut());
        let refusal = step_two("Pixels-v0", Actions::Indices(choices.view()), room).unwrap_err();
        assert!(
            refusal
                .to_string()
                .starts_with("action [3, 2] in environment 1 is not in MultiDiscrete [4, 2]")
        );
    }

    #[test]
    fn numbers_as_actions_are_cut_to_their_bounds() {
        let numbers = arr2(&[[0.0, 7.0], [0.0, 30.0]]);
        let mut args = EnvArgs::default();
        args.set("more", 2.into());
        let steps = walk("Reach-v0", &args, Actions::Numbers(numbers.view()), 2);
        let truncated = (vec![1.0; 3], StepKind::TRUNCATED, 31.0);
        assert_eq!(steps, [(vec![1.0; 3], StepKind::ORDINARY, 31.0), truncated]);
    }

    #[test]
    fn only_the_four_kinds_of_taken_steps_are_learned() {
        let learned = |word: u32| bytemuck::cast::<u32, StepKind>(word).is_learned();
        assert_eq!([0, 1, 2, 4].map(learned), [true; 4]);
        assert_eq!([3, 5, u32::MAX].map(learned), [false; 3]);
    }
}
