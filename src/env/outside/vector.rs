//! The [`VecEnv`] of environments in a process of their own.
//!
//! Owns the way of numbers between that process's memory and the caller's rooms, and which rows' episodes are
//! over. Time limits, resets and returns are that process's business. A step that takes for ever is for the
//! supervisor to see, as with any environment; where there is none, an answer has a limit.

use ndarray::{ArrayView2, ArrayViewMut2};

use super::super::vector::{StepMut, VecEnv, no_room, not_in_space};
use super::super::{EnvError, Picture};
use super::bridge::Bridge;
use super::error::OutsideError;
use super::protocol::{DONE, DRAW, Drawn, Layout, STEP, flags, reset_one};
use super::{Launch, hear_description, unexpected};
use crate::base::clock::{in_ns, monotonic_ns};
use crate::rollout::StepKind;
use crate::space::{ActionSpace, Actions, Number, Numbers, ObsMut, Spec};

/// E environments in a process of their own.
pub struct OutsideVecEnv {
    bridge: Bridge,
    spec: Spec,
    n_envs: usize,
    layout: Layout,
    /// What the environments draw of themselves, if they do.
    drawn: Option<Drawn>,
    start_timeout_s: f64,
    /// How long an answer may take once the process has started, seconds; `None` where a supervisor watches.
    answer_timeout_s: Option<f64>,
    /// When the process must have started, ns; `None` once it has.
    start_end_ns: Option<u64>,
    /// Whether the observations at hand are those of episodes that begin.
    is_fresh: bool,
    /// Rewards, stats and flags, as they lie in the memory up to the observations.
    results: Vec<f64>,
    /// Observations of numbers as they lie there, `[E, D]`.
    numbers: Vec<f32>,
    indices: Vec<i32>,
    reals: Vec<f32>,
    /// Rows whose next step resets, `[E]`.
    ended: Vec<bool>,
}

impl OutsideVecEnv {
    /// The environments of a process that was told how many.
    pub(super) fn new(
        bridge: Bridge,
        spec: Spec,
        drawn: Option<Drawn>,
        n_envs: usize,
        launch: &Launch,
    ) -> Result<Self, OutsideError> {
        let layout = Layout::new(&spec, drawn, n_envs);
        let too_large = || OutsideError::Spec(format!("{n_envs} times {spec} is too large"));
        let layout = layout.ok_or_else(too_large)?;
        let start_timeout_s = launch.timeout_s(n_envs);
        let n_all = |space_has: bool, len: usize| if space_has { n_envs * len } else { 0 };
        let (obs, actions) = (spec.obs.numbers(), spec.actions.numbers());
        Ok(OutsideVecEnv {
            bridge,
            n_envs,
            layout,
            drawn,
            start_timeout_s,
            answer_timeout_s: None,
            start_end_ns: Some(monotonic_ns().saturating_add(in_ns(start_timeout_s))),
            is_fresh: false,
            results: vec![0.0; layout.obs.offset / size_of::<f64>()],
            numbers: vec![0.0; n_all(obs.number == Number::F32, obs.len)],
            indices: vec![0; n_all(actions.number == Number::I32, actions.len)],
            reals: vec![0.0; n_all(actions.number == Number::F32, actions.len)],
            ended: vec![false; n_envs],
            spec,
        })
    }

    /// The same, given up where an answer takes longer than so many seconds.
    pub(super) fn answering_within(self, answer_timeout_s: Option<f64>) -> Self {
        OutsideVecEnv { answer_timeout_s, ..self }
    }

    fn failed(&self, source: OutsideError) -> EnvError {
        EnvError::outside(&self.spec.id, source)
    }

    /// Hears the description, tells of the memory, and waits until all is ready; whether `goes_on` held.
    fn settle(&mut self, goes_on: &mut dyn FnMut() -> bool) -> Result<bool, OutsideError> {
        let Some(described) = hear_description(&mut self.bridge, goes_on)? else {
            return Ok(false);
        };
        let now = described.spec(&self.spec.id).map_err(OutsideError::Spec)?;
        if !now.has_spaces_of(&self.spec) {
            return Err(OutsideError::Changed { then: self.spec.spaces(), now: now.spaces() });
        }
        self.bridge.lay_out(self.layout.n_bytes)?;
        self.bridge.say(self.layout.message().as_bytes())?;
        Ok(self.hear_done(goes_on)?.is_some())
    }

    fn hear_done(&mut self, goes_on: &mut dyn FnMut() -> bool) -> Result<Option<()>, OutsideError> {
        match self.bridge.hear(goes_on)? {
            None => Ok(None),
            Some(DONE) => Ok(Some(())),
            Some(message) => Err(unexpected(message, "`.`")),
        }
    }

    /// Asks for something and waits until it is done.
    fn ask(&mut self, message: &[u8]) -> Result<(), OutsideError> {
        self.bridge.say(message)?;
        let Some(seconds) = self.answer_timeout_s else {
            return self.hear_done(&mut || true).map(drop);
        };
        let end_ns = monotonic_ns().saturating_add(in_ns(seconds));
        let done = self.hear_done(&mut || monotonic_ns() < end_ns)?;
        done.ok_or(OutsideError::Silent(seconds))
    }

    /// Begins a new episode in one environment.
    fn begin_one(&mut self, env: usize) -> Result<(), EnvError> {
        self.ended[env] = false;
        self.ask(reset_one(env).as_bytes()).map_err(|source| self.failed(source))
    }

    /// Waits for the process where nobody has done so.
    fn start_now(&mut self) -> Result<(), EnvError> {
        self.start(&mut || true).map(drop)
    }

    /// Writes what the environments are to do. Whose episode is over does nothing, and is told to do what every
    /// space has.
    fn put_actions(&mut self, actions: Actions<'_>) -> Result<(), EnvError> {
        let (ended, n_envs) = (&self.ended, self.n_envs);
        let room = (self.spec.actions.numbers().len, n_envs);
        let wrong = match (actions, &self.spec.actions) {
            (Actions::Indices(rows), ActionSpace::Discrete(n)) if rows.dim() == room => {
                put_indices(rows, ended, |_| *n, &mut self.indices)
            }
            (Actions::Indices(rows), ActionSpace::MultiDiscrete(choices)) if rows.dim() == room => {
                put_indices(rows, ended, |part| choices[part], &mut self.indices)
            }
            (Actions::Numbers(rows), ActionSpace::Box { low, high }) if rows.dim() == room => {
                let bounded = |part, number: f32| number.clamp(low[part], high[part]);
                put_numbers(rows, bounded, &mut self.reals);
                None
            }
            _ => return Err(no_room(&self.spec, n_envs, "actions")),
        };
        if let Some(env) = wrong {
            return Err(not_in_space(&self.spec, env, actions));
        }
        let bytes = match actions {
            Actions::Indices(_) => bytemuck::cast_slice(&self.indices),
            Actions::Numbers(_) => bytemuck::cast_slice(&self.reals),
        };
        let written = self.bridge.write(bytes, self.layout.actions.offset);
        written.map_err(|source| self.failed(source))
    }

    /// Reads observations of all environments, and results before them where these are wanted.
    fn take(&mut self, with_results: bool, obs: ObsMut<'_>) -> Result<(), EnvError> {
        let results: &mut [u8] = bytemuck::cast_slice_mut(&mut self.results);
        let (results, offset) =
            if with_results { (results, 0) } else { (&mut [][..], self.layout.obs.offset) };
        let read = match obs {
            ObsMut::Pixels(room) => {
                let pixels = room.into_slice().expect("a row of pixels follows the other");
                self.bridge.read([results, pixels], offset)
            }
            ObsMut::Numbers(mut room) => {
                let numbers = bytemuck::cast_slice_mut(&mut self.numbers);
                let read = self.bridge.read([results, numbers], offset);
                put_observations(&self.numbers, &mut room);
                read
            }
        };
        read.map_err(|source| self.failed(source))
    }

    /// Whether there is room for the observations of `n_envs` environments.
    fn check_room(&self, obs: &ObsMut<'_>, n_envs: usize) -> Result<(), EnvError> {
        let Numbers { number, len } = self.spec.obs.numbers();
        let is_fitting = match obs {
            ObsMut::Pixels(room) => number == Number::U8 && room.dim() == (n_envs, len),
            ObsMut::Numbers(room) => number == Number::F32 && room.dim() == (len, n_envs),
        };
        if is_fitting { Ok(()) } else { Err(no_room(&self.spec, n_envs, "observations")) }
    }

    /// What the flags, rewards and stats of a step say.
    fn read_results(&mut self, out: &mut StepMut<'_>) {
        let (rewards, rest) = self.results.split_at(self.n_envs);
        let (stats, rest) = rest.split_at(2 * self.n_envs);
        let flags: &[u8] = bytemuck::cast_slice(rest);
        for (env, (ended, flags)) in self.ended.iter_mut().zip(flags).enumerate() {
            let kind = step_kind(*flags);
            *ended = kind.ends_episode();
            out.kinds[env] = kind;
            out.rewards[env] = if kind == StepKind::RESET { 0.0 } else { rewards[env] as f32 };
            if flags & flags::EPISODE != 0 {
                out.episodes.push(stats[2 * env] as f32, stats[2 * env + 1] as u32);
            }
        }
    }
}

/// Flags of a terminal state after which the episode goes on.
const LIFE_LOST: u8 = flags::TERMINATED | flags::GOES_ON;

fn step_kind(flags: u8) -> StepKind {
    match flags {
        flags if flags & flags::RESET != 0 => StepKind::RESET,
        flags if flags & LIFE_LOST == LIFE_LOST => StepKind::LIFE_LOST,
        flags if flags & flags::TERMINATED != 0 => StepKind::TERMINATED,
        flags if flags & flags::TRUNCATED != 0 => StepKind::TRUNCATED,
        _ => StepKind::ORDINARY,
    }
}

/// `[K, E]` to `[E, K]`, with 0 where `is_idle`; the first environment whose indices are not all below their
/// number.
fn put_indices(
    rows: ArrayView2<'_, i32>,
    is_idle: &[bool],
    n_choices: impl Fn(usize) -> usize,
    room: &mut [i32],
) -> Option<usize> {
    let mut wrong = None;
    for (env, (column, room)) in
        rows.columns().into_iter().zip(room.chunks_mut(rows.nrows())).enumerate()
    {
        for (part, (index, room)) in column.iter().zip(room).enumerate() {
            *room = if is_idle[env] { 0 } else { *index };
            if !usize::try_from(*room).is_ok_and(|index| index < n_choices(part)) {
                wrong = wrong.or(Some(env));
            }
        }
    }
    wrong
}

/// `[K, E]` to `[E, K]`.
fn put_numbers(rows: ArrayView2<'_, f32>, bounded: impl Fn(usize, f32) -> f32, room: &mut [f32]) {
    for (column, room) in rows.columns().into_iter().zip(room.chunks_mut(rows.nrows())) {
        for (part, (number, room)) in column.iter().zip(room).enumerate() {
            *room = bounded(part, *number);
        }
    }
}

/// `[E, D]` to `[D, E]`.
fn put_observations(numbers: &[f32], room: &mut ArrayViewMut2<'_, f32>) {
    let n_numbers = room.nrows();
    for (mut column, numbers) in room.columns_mut().into_iter().zip(numbers.chunks(n_numbers)) {
        column.iter_mut().zip(numbers).for_each(|(room, number)| *room = *number);
    }
}

impl VecEnv for OutsideVecEnv {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn n_envs(&self) -> usize {
        self.n_envs
    }

    fn start(&mut self, goes_on: &mut dyn FnMut() -> bool) -> Result<bool, EnvError> {
        let Some(end_ns) = self.start_end_ns else { return Ok(true) };
        let mut is_late = false;
        let mut goes_on = || {
            is_late = monotonic_ns() >= end_ns;
            goes_on() && !is_late
        };
        let settled = self.settle(&mut goes_on);
        match settled.map_err(|source| self.failed(source))? {
            false if is_late => Err(self.failed(OutsideError::Late(self.start_timeout_s))),
            false => Ok(false),
            true => {
                (self.start_end_ns, self.is_fresh) = (None, true);
                Ok(true)
            }
        }
    }

    fn reset(&mut self, obs: ObsMut<'_>) -> Result<(), EnvError> {
        self.check_room(&obs, self.n_envs)?;
        self.start_now()?;
        if !std::mem::take(&mut self.is_fresh) {
            (0..self.n_envs).try_for_each(|env| self.begin_one(env))?;
        }
        self.take(false, obs)
    }

    fn reset_one(&mut self, env: usize, obs: ObsMut<'_>) -> Result<(), EnvError> {
        self.check_room(&obs, 1)?;
        self.start_now()?;
        self.begin_one(env)?;
        let Numbers { number, len } = self.spec.obs.numbers();
        let n_bytes = number.n_bytes() * len;
        let offset = self.layout.obs.offset + env * n_bytes;
        let read = match obs {
            ObsMut::Pixels(room) => {
                let pixels = room.into_slice().expect("one frame is one piece");
                self.bridge.read([&mut [], pixels], offset)
            }
            ObsMut::Numbers(mut room) => {
                let numbers = &mut self.numbers[..len];
                let read = self.bridge.read([&mut [], bytemuck::cast_slice_mut(numbers)], offset);
                put_observations(numbers, &mut room);
                read
            }
        };
        read.map_err(|source| self.failed(source))
    }

    fn picture(&mut self) -> Result<Option<Picture>, EnvError> {
        let (Some(Drawn { height, width, fps }), Some(span)) = (self.drawn, self.layout.picture)
        else {
            return Ok(None);
        };
        self.start_now()?;
        self.ask(DRAW).map_err(|source| self.failed(source))?;
        let mut rgb = vec![0; span.n_bytes];
        let read = self.bridge.read([&mut [], &mut rgb], span.offset);
        read.map_err(|source| self.failed(source))?;
        Ok(Some(Picture { width, height, rgb, fps }))
    }

    /// The process itself says which.
    fn at_work(&self) -> Option<usize> {
        None
    }

    fn step(&mut self, actions: Actions<'_>, out: &mut StepMut<'_>) -> Result<(), EnvError> {
        self.check_room(&out.obs, self.n_envs)?;
        self.start_now()?;
        if self.is_fresh {
            out.kinds[..self.n_envs].fill(StepKind::RESET);
            out.rewards[..self.n_envs].fill(0.0);
            return self.reset(out.obs.reborrow());
        }
        self.put_actions(actions)?;
        self.ask(STEP).map_err(|source| self.failed(source))?;
        self.take(true, out.obs.reborrow())?;
        self.read_results(out);
        Ok(())
    }
}
