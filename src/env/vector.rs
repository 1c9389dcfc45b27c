//! E environments stepped together, with time limits and next-step autoreset.
//!
//! Owns: the running return and length of every episode, the time limit (Gymnasium's `TimeLimit`
//! wrapper) and the reset on the step *after* an end (Gymnasium's `AutoresetMode.NEXT_STEP`). Knows nothing of any one environment's dynamics, of slots or
//! of learning. Driven by the actor and by the evaluation, through [`VecEnv`].

use ndarray::{ArrayViewMut1, ArrayViewMut2};

use super::{Env, EnvSpec, NumpyRng, Transition};
use crate::rollout::{EpisodeLog, StepKind};

/// E environments of one kind behind one dynamic call a step.
///
/// Observations go to a view `[D, E]` whose columns are environments: any distance between rows, unit
/// distance between columns. Neither method allocates.
pub trait VecEnv {
    /// What the environments are.
    fn spec(&self) -> &'static EnvSpec;

    /// Number of environments, E.
    fn n_envs(&self) -> usize;

    /// Begins a new episode in every environment and writes its first observation, `[D, E]`.
    ///
    /// Generators go on from where they are (Gymnasium: `reset()` without a seed), and unfinished
    /// episodes are dropped unlogged.
    ///
    /// # Panics
    /// Where `obs` is not `[D, E]` with unit column stride.
    fn reset(&mut self, obs: ArrayViewMut2<'_, f32>);

    /// Begins a new episode in environment `env` alone and writes its first observation, `[D]`; the
    /// unfinished episode is dropped unlogged.
    fn reset_one(&mut self, env: usize, obs: ArrayViewMut1<'_, f32>);

    /// The environment that is at work: after a panic, the one that panicked.
    fn at_work(&self) -> Option<usize>;

    /// Takes one step in every environment.
    ///
    /// Environment e takes `actions[e]`; column e of `obs` becomes the observation after the step,
    /// `rewards[e]` and `kinds[e]` say what the step was. An environment whose episode ended one step
    /// earlier (or that was never reset) begins a new one instead: its action is ignored, its reward is
    /// 0, its kind [`StepKind::RESET`]. Where the state is terminal on the very step of the time limit
    /// the kind is [`StepKind::TERMINATED`], though Gymnasium then sets both flags: the value of a
    /// terminal state is known. Episodes that end are appended to `episodes` in the order of e.
    ///
    /// # Panics
    /// In every build: where a shape is wrong, where the log is full, and where an action that is not
    /// ignored lies outside `0..n_actions`. Such an action can only come from a broken sampler, and to
    /// clamp it would record a behaviour policy that never acted.
    fn step(
        &mut self,
        actions: &[i32],
        obs: ArrayViewMut2<'_, f32>,
        rewards: &mut [f32],
        kinds: &mut [StepKind],
        episodes: &mut EpisodeLog<'_>,
    );
}

/// The [`VecEnv`] of any [`Env`]: one [`Episodic`] an environment, stepped one after the other.
#[derive(Debug)]
pub(super) struct SyncVecEnv<E, const D: usize> {
    envs: Box<[Episodic<E>]>,
    at_work: Option<usize>,
}

impl<E: Env<D>, const D: usize> SyncVecEnv<E, D> {
    /// `n_envs` environments, number i seeded with `seed + i` as in Gymnasium's vectors.
    pub(super) fn new(n_envs: usize, seed: u64) -> Self {
        let seeded = |i| NumpyRng::new(u128::from(seed) + i as u128);
        let envs = (0..n_envs).map(|i| Episodic::new(E::new(seeded(i)))).collect();
        Self { envs, at_work: None }
    }

    /// The D rows of `obs` as slices of E.
    fn rows<'a>(&self, obs: ArrayViewMut2<'a, f32>) -> [&'a mut [f32]; D] {
        assert_eq!(obs.dim(), (D, self.envs.len()), "observations must be [obs_dim, n_envs]");
        let mut rows = obs.into_outer_iter_mut();
        std::array::from_fn(|_| {
            let row = rows.next().and_then(|row| row.into_slice());
            row.expect("a row of observations must be contiguous")
        })
    }
}

impl<E: Env<D>, const D: usize> VecEnv for SyncVecEnv<E, D> {
    fn spec(&self) -> &'static EnvSpec {
        const { &E::SPEC }
    }

    fn n_envs(&self) -> usize {
        self.envs.len()
    }

    fn reset(&mut self, obs: ArrayViewMut2<'_, f32>) {
        let mut rows = self.rows(obs);
        for (e, env) in self.envs.iter_mut().enumerate() {
            let mut column = [0.0; D];
            self.at_work = Some(e);
            env.begin(&mut column);
            write_column(&mut rows, e, &column);
        }
        self.at_work = None;
    }

    fn reset_one(&mut self, env: usize, mut obs: ArrayViewMut1<'_, f32>) {
        let mut column = [0.0; D];
        self.at_work = Some(env);
        self.envs[env].begin(&mut column);
        self.at_work = None;
        obs.iter_mut().zip(column).for_each(|(number, first)| *number = first);
    }

    fn at_work(&self) -> Option<usize> {
        self.at_work
    }

    fn step(
        &mut self,
        actions: &[i32],
        obs: ArrayViewMut2<'_, f32>,
        rewards: &mut [f32],
        kinds: &mut [StepKind],
        episodes: &mut EpisodeLog<'_>,
    ) {
        let n_envs = self.envs.len();
        assert_eq!(
            (actions.len(), rewards.len(), kinds.len()),
            (n_envs, n_envs, n_envs),
            "actions, rewards and kinds must have one entry an environment"
        );
        let mut rows = self.rows(obs);
        for (e, env) in self.envs.iter_mut().enumerate() {
            let mut column = [0.0; D];
            self.at_work = Some(e);
            (rewards[e], kinds[e]) = env.step(actions[e], &mut column);
            write_column(&mut rows, e, &column);
            if kinds[e].ends_episode() {
                episodes.push(env.episode_return, env.episode_steps);
            }
        }
        self.at_work = None;
    }
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

impl<E> Episodic<E> {
    fn new(env: E) -> Self {
        Self { env, episode_return: 0.0, episode_steps: 0, ended: true }
    }

    fn begin<const D: usize>(&mut self, obs: &mut [f32; D])
    where
        E: Env<D>,
    {
        self.env.reset(obs);
        (self.episode_return, self.episode_steps, self.ended) = (0.0, 0, false);
    }

    #[inline]
    fn step<const D: usize>(&mut self, action: i32, obs: &mut [f32; D]) -> (f32, StepKind)
    where
        E: Env<D>,
    {
        if self.ended {
            self.begin(obs);
            return (0.0, StepKind::RESET);
        }
        let transition = self.env.step(checked_action(action, &E::SPEC), obs);
        self.episode_return += transition.reward;
        self.episode_steps += 1;
        let kind = step_kind(&transition, self.episode_steps, &E::SPEC);
        self.ended = kind.ends_episode();
        (transition.reward, kind)
    }
}

fn step_kind(transition: &Transition, episode_steps: u32, spec: &EnvSpec) -> StepKind {
    if transition.terminated {
        StepKind::TERMINATED
    } else if episode_steps >= spec.max_episode_steps {
        StepKind::TRUNCATED
    } else {
        StepKind::ORDINARY
    }
}

fn checked_action(action: i32, spec: &EnvSpec) -> usize {
    // A negative action becomes a huge one here, so one comparison checks both ends.
    let index = action as u32 as usize;
    assert!(
        index < spec.n_actions,
        "action {action} is not in 0..{} of {}",
        spec.n_actions,
        spec.id
    );
    index
}

fn write_column<const D: usize>(rows: &mut [&mut [f32]; D], e: usize, column: &[f32; D]) {
    for (row, number) in rows.iter_mut().zip(column) {
        row[e] = *number;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;
    use ndarray::{Array2, Array3, s};
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

    impl Env<2> for Planned {
        const SPEC: EnvSpec = EnvSpec {
            id: "Planned-v0",
            obs_dim: 2,
            n_actions: 3,
            max_episode_steps: 8,
            reward_threshold: 0.0,
            obs_bounds: None,
        };

        fn new(np_random: NumpyRng) -> Self {
            Self { np_random, episode: 0, steps: 0, planned_steps: 0 }
        }

        fn reset(&mut self, obs: &mut [f32; 2]) {
            (self.episode, self.steps) = (self.episode + 1, 0);
            self.planned_steps = plan(&mut self.np_random);
            *obs = [self.episode as f32, 0.0];
        }

        fn step(&mut self, action: usize, obs: &mut [f32; 2]) -> Transition {
            self.steps += 1;
            *obs = [self.episode as f32, self.steps as f32];
            Transition {
                reward: reward_of(action as i32),
                terminated: self.steps == self.planned_steps,
            }
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
        let mut envs = SyncVecEnv::<Planned, 2>::new(n_envs, seed);
        let mut obs = Array3::from_elem((2, expected.len() + 1, n_envs), f32::NAN);
        envs.reset(obs.slice_mut(s![.., 0, ..]));
        assert!(obs.slice(s![0, 0, ..]).iter().all(|&episode| episode == 1.0));
        let step = |(t, rows): (usize, &Vec<Row>)| {
            let actions: Vec<_> = rows.iter().map(|row| row.action).collect();
            played_step(&mut envs, &actions, obs.slice_mut(s![.., t + 1, ..]))
        };
        expected.iter().enumerate().map(step).collect()
    }

    fn played_step(
        envs: &mut SyncVecEnv<Planned, 2>,
        actions: &[i32],
        mut obs: ArrayViewMut2<'_, f32>,
    ) -> Vec<Row> {
        let n_envs = actions.len();
        let (mut rewards, mut kinds) =
            (vec![f32::NAN; n_envs], vec![bytemuck::cast::<u32, StepKind>(9); n_envs]);
        let (mut returns, mut lengths) = (vec![0.0; n_envs], vec![0; n_envs]);
        let mut log = EpisodeLog::new(&mut returns, &mut lengths);
        envs.step(actions, obs.view_mut(), &mut rewards, &mut kinds, &mut log);
        let n_episodes = log.n_episodes();
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

    fn step_cartpole(action: i32, obs: ArrayViewMut2<'_, f32>) -> StepKind {
        let mut envs = Registry::default().make_vec("CartPole-v1", 2, 0).unwrap();
        envs.reset(Array2::zeros((4, 2)).view_mut());
        let mut kinds = [StepKind::RESET; 2];
        let (mut returns, mut lengths) = ([0.0; 2], [0; 2]);
        let mut log = EpisodeLog::new(&mut returns, &mut lengths);
        envs.step(&[1, action], obs, &mut [0.0; 2], &mut kinds, &mut log);
        kinds[1]
    }

    #[test]
    fn the_highest_action_is_taken() {
        assert_eq!(step_cartpole(1, Array2::zeros((4, 2)).view_mut()), StepKind::ORDINARY);
    }

    #[test]
    #[should_panic = "action 2 is not in 0..2 of CartPole-v1"]
    fn an_action_too_high_panics() {
        step_cartpole(2, Array2::zeros((4, 2)).view_mut());
    }

    #[test]
    #[should_panic = "action -1 is not in 0..2 of CartPole-v1"]
    fn a_negative_action_panics() {
        step_cartpole(-1, Array2::zeros((4, 2)).view_mut());
    }

    #[test]
    #[should_panic = "observations must be [obs_dim, n_envs]"]
    fn observations_of_the_wrong_shape_panic() {
        step_cartpole(0, Array2::zeros((2, 4)).view_mut());
    }

    #[test]
    #[should_panic = "a row of observations must be contiguous"]
    fn observations_with_strided_rows_panic() {
        step_cartpole(0, Array2::zeros((2, 4)).view_mut().reversed_axes());
    }

    #[test]
    fn only_the_three_kinds_of_taken_steps_are_learned() {
        let learned = |word: u32| bytemuck::cast::<u32, StepKind>(word).is_learned();
        assert_eq!([0, 1, 2, 3, 4, u32::MAX].map(learned), [true, true, true, false, false, false]);
    }
}
