//! Environments that are a few numbers in motion, stepped several at a time.
//!
//! Owns: [`Dynamics`], the contract of such an environment, and [`LaneVecEnv`], which keeps the states of eight
//! of them side by side, so that the compiler makes vector instructions of one step for all. Time limit and
//! autoreset are those of [`super::vector::SyncVecEnv`], and so is every number. Knows no one environment.

use std::ops::Range;

use super::column::{Action, Observation};
use super::sines::{CLibrary, Sines, SmallSines};
use super::vector::{StepMut, no_room, not_in_space, step_kind};
use super::{EnvError, NumpyRng, Transition, VecEnv};
use crate::kernels::{Simd, Work};
use crate::rollout::{EpisodeLog, StepKind};
use crate::space::{Actions, ObsMut, Spec};

/// An environment whose state is D numbers, all of them shown, and which only a reset leaves to chance.
pub trait Dynamics<const D: usize>: 'static {
    /// Its id in the registry, version included.
    const ID: &'static str;
    /// Raw reward of every step.
    const REWARD: f32;

    /// What it is; actions are indices.
    fn spec() -> Spec;

    /// The first state of an episode.
    fn first(np_random: &mut NumpyRng) -> [f64; D];

    /// The state after an action, and whether it is terminal. Its angles are as small as [`SmallSines`] wants
    /// them unless the state before was terminal. Inlined, or it would not become vector instructions.
    fn step(state: [f64; D], action: usize, sines: impl Sines) -> ([f64; D], bool);
}

/// Environments in a block: f64 in an AVX-512 register.
const LANES: usize = 8;

/// The [`VecEnv`] of E environments that are [`Dynamics`].
pub(super) struct LaneVecEnv<E, const D: usize> {
    spec: Spec,
    /// Steps after which an episode is truncated; none has as many where there is no limit.
    max_steps: u32,
    /// ⌈E / LANES⌉; what the last one has beyond E environments moves unseen.
    blocks: Box<[Block<D>]>,
    /// The generator of each environment's resets, `[E]`.
    np_randoms: Box<[NumpyRng]>,
    at_work: Option<usize>,
    simd: Simd,
    sines: Option<SmallSines>,
    _env: std::marker::PhantomData<E>,
}

/// Environments side by side.
#[derive(Clone)]
struct Block<const D: usize> {
    states: [[f64; LANES]; D],
    returns: [f32; LANES],
    steps: [u32; LANES],
    /// The episode is over: the next step resets.
    ended: [bool; LANES],
}

impl<E: Dynamics<D>, const D: usize> LaneVecEnv<E, D> {
    /// `n_envs` environments, number i seeded with `seed + i` as in Gymnasium's vectors. The spec is theirs.
    pub(super) fn new(spec: Spec, n_envs: usize, seed: u64) -> Self {
        let block = Block {
            states: [[0.0; LANES]; D],
            returns: [0.0; LANES],
            steps: [0; LANES],
            ended: [true; LANES],
        };
        let simd = Simd::detect();
        LaneVecEnv {
            max_steps: spec.max_episode_steps.unwrap_or(u32::MAX),
            spec,
            blocks: vec![block; n_envs.div_ceil(LANES)].into(),
            np_randoms: (0..n_envs).map(|i| NumpyRng::new(u128::from(seed) + i as u128)).collect(),
            at_work: None,
            simd,
            sines: simd.fuses().then(SmallSines::like_the_c_library).flatten(),
            _env: std::marker::PhantomData,
        }
    }

    /// Begins an episode in each environment of the range, whose observations go to `obs`.
    fn begin(&mut self, range: Range<usize>, mut obs: ObsMut<'_>) -> Result<(), EnvError> {
        let mut scratch = Vec::new();
        let obs = obs.reborrow();
        let rows = <[f32; D] as Observation>::rows(obs, &self.spec.obs, range.len(), &mut scratch);
        let mut rows = rows.ok_or_else(|| no_room(&self.spec, range.len(), "observations"))?;
        for (column, e) in range.enumerate() {
            self.at_work = Some(e);
            let state = E::first(&mut self.np_randoms[e]);
            self.blocks[e / LANES].begin(e % LANES, state);
            <[f32; D]>::write(&mut rows, column, |obs| *obs = state.map(|number| number as f32));
        }
        self.at_work = None;
        Ok(())
    }

    /// The first environment whose action is not in the space, though it is looked at.
    fn at_fault(&self, actions: &[i32], n_actions: usize) -> Option<usize> {
        let is_outside = |&action: &i32| action as u32 as usize >= n_actions;
        // Almost always none is, and that is one pass without a branch.
        if !actions.iter().fold(false, |any, action| any | is_outside(action)) {
            return None;
        }
        let ended = |e: usize| self.blocks[e / LANES].ended[e % LANES];
        (0..actions.len()).find(|&e| is_outside(&actions[e]) && !ended(e))
    }
}

impl<const D: usize> Block<D> {
    fn begin(&mut self, lane: usize, state: [f64; D]) {
        for (numbers, number) in self.states.iter_mut().zip(state) {
            numbers[lane] = number;
        }
        (self.returns[lane], self.steps[lane], self.ended[lane]) = (0.0, 0, false);
    }
}

impl<E: Dynamics<D>, const D: usize> VecEnv for LaneVecEnv<E, D> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn n_envs(&self) -> usize {
        self.np_randoms.len()
    }

    fn reset(&mut self, obs: ObsMut<'_>) -> Result<(), EnvError> {
        self.begin(0..self.n_envs(), obs)
    }

    fn reset_one(&mut self, env: usize, obs: ObsMut<'_>) -> Result<(), EnvError> {
        self.begin(env..env + 1, obs)
    }

    fn at_work(&self) -> Option<usize> {
        self.at_work
    }

    fn step(&mut self, actions: Actions<'_>, out: &mut StepMut<'_>) -> Result<(), EnvError> {
        let n_envs = self.n_envs();
        let rows = <usize as Action>::rows(actions, &self.spec.actions, n_envs);
        let (row, n_actions) = rows.ok_or_else(|| no_room(&self.spec, n_envs, "actions"))?;
        if let Some(e) = self.at_fault(row, n_actions) {
            return Err(not_in_space(&self.spec, e, actions));
        }
        let obs = out.obs.reborrow();
        let mut scratch = Vec::new();
        let obs = <[f32; D] as Observation>::rows(obs, &self.spec.obs, n_envs, &mut scratch);
        let stepping = Stepping {
            obs: obs.ok_or_else(|| no_room(&self.spec, n_envs, "observations"))?,
            rewards: &mut out.rewards[..n_envs],
            kinds: &mut out.kinds[..n_envs],
            episodes: &mut out.episodes,
            actions: row,
            envs: self,
        };
        stepping.envs.simd.run(stepping);
        Ok(())
    }
}

/// One step of all environments.
struct Stepping<'a, 'b, E, const D: usize> {
    envs: &'a mut LaneVecEnv<E, D>,
    actions: &'a [i32],
    obs: [&'a mut [f32]; D],
    rewards: &'a mut [f32],
    kinds: &'a mut [StepKind],
    episodes: &'a mut EpisodeLog<'b>,
}

impl<E: Dynamics<D>, const D: usize> Work for Stepping<'_, '_, E, D> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match self.envs.sines {
            Some(sines) => self.step(sines),
            None => self.step(CLibrary),
        }
    }
}

impl<E: Dynamics<D>, const D: usize> Stepping<'_, '_, E, D> {
    #[inline(always)]
    fn step(mut self, sines: impl Sines) {
        let n_envs = self.actions.len();
        for b in 0..self.envs.blocks.len() {
            let first = b * LANES;
            let n = LANES.min(n_envs - first);
            let actions = taken(&self.actions[first..]);
            let block = &mut self.envs.blocks[b];
            let ended = block.ended;
            let mut kinds = block.step::<E>(&actions, self.envs.max_steps, sines);
            let mut rewards = [E::REWARD; LANES];
            if ended[..n].contains(&true) {
                self.reset(b, &ended[..n], &mut kinds, &mut rewards);
            }
            put(&rewards, &mut self.rewards[first..]);
            put(&kinds, &mut self.kinds[first..]);
            let block = &self.envs.blocks[b];
            if block.ended[..n].contains(&true) {
                log_ended(self.episodes, block, n);
            }
            for (row, numbers) in self.obs.iter_mut().zip(&block.states) {
                put(&numbers.map(|number| number as f32), &mut row[first..]);
            }
        }
    }

    /// Begins an episode where the one before has ended.
    #[cold]
    fn reset(
        &mut self,
        b: usize,
        ended: &[bool],
        kinds: &mut [StepKind; LANES],
        rewards: &mut [f32; LANES],
    ) {
        for lane in (0..ended.len()).filter(|&lane| ended[lane]) {
            let e = b * LANES + lane;
            self.envs.at_work = Some(e);
            let state = E::first(&mut self.envs.np_randoms[e]);
            self.envs.blocks[b].begin(lane, state);
            (kinds[lane], rewards[lane]) = (StepKind::RESET, 0.0);
        }
        self.envs.at_work = None;
    }
}

/// The first lanes' actions; 0 where there are fewer environments. Whole blocks are one load.
#[inline(always)]
fn taken(actions: &[i32]) -> [i32; LANES] {
    let some = || std::array::from_fn(|lane| actions.get(lane).copied().unwrap_or(0));
    actions.first_chunk().copied().unwrap_or_else(some)
}

/// Writes the lanes for which there is room. Whole blocks are one store.
#[inline(always)]
fn put<T: Copy>(lanes: &[T; LANES], room: &mut [T]) {
    match room.first_chunk_mut() {
        Some(block) => *block = *lanes,
        None => put_some(*lanes, room),
    }
}

/// The lanes of the last block, fewer than all. A function of its own: inlined, the compiler makes one call of
/// `memcpy` of both ways to write.
#[inline(never)]
fn put_some<T: Copy>(lanes: [T; LANES], room: &mut [T]) {
    room.copy_from_slice(&lanes[..room.len()]);
}

impl<const D: usize> Block<D> {
    /// A step of all, also of those whose episode has ended and which will be reset.
    #[inline(always)]
    fn step<E: Dynamics<D>>(
        &mut self,
        actions: &[i32; LANES],
        max_steps: u32,
        sines: impl Sines,
    ) -> [StepKind; LANES] {
        // Copies, so that the compiler sees that no lane's result is another's input; flags as wide as numbers.
        let (before, mut after, mut terminated) = (self.states, self.states, [0_u64; LANES]);
        for lane in 0..LANES {
            let mut state = [0.0; D];
            for (number, numbers) in state.iter_mut().zip(&before) {
                *number = numbers[lane];
            }
            let (state, is_terminal) = E::step(state, actions[lane] as usize, sines);
            for (numbers, number) in after.iter_mut().zip(state) {
                numbers[lane] = number;
            }
            terminated[lane] = u64::from(is_terminal);
        }
        self.states = after;
        let mut kinds = [StepKind::ORDINARY; LANES];
        for lane in 0..LANES {
            self.returns[lane] += E::REWARD;
            self.steps[lane] = self.steps[lane].wrapping_add(1);
            let terminated = terminated[lane] != 0;
            let transition = Transition { reward: E::REWARD, terminated, truncated: false };
            kinds[lane] = step_kind(&transition, self.steps[lane] >= max_steps);
            self.ended[lane] = kinds[lane].ends_episode();
        }
        kinds
    }
}

/// Logs the episodes that ended in the first `n` lanes.
#[cold]
fn log_ended<const D: usize>(episodes: &mut EpisodeLog<'_>, block: &Block<D>, n: usize) {
    for lane in (0..n).filter(|&lane| block.ended[lane]) {
        episodes.push(block.returns[lane], block.steps[lane]);
    }
}
