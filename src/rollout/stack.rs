//! Stacks: the newest picture of an environment and those before it, as one observation.
//!
//! A network that sees L pictures at once sees the oldest first, and black in the place of those from before the
//! episode. A slot holds each picture once, an L-th of what stacks would take. So stacks are made where they are
//! looked at: [`FrameStack`] grows picture by picture, for whoever acts; [`StackedFrames`] finds a batch's in its
//! slots, for the learner. Both keep the same rule, and a test holds one against the other.

use ndarray::{Array2, s};

use super::{Frames, RolloutShape, StepKind};
use crate::space::{Obs, ObsMut};

const WHOLE: &str = "rows of an array of its own are whole";

/// The newest stack of each of E environments.
pub struct FrameStack {
    n_pixels: usize,
    /// `[E, L·C·H·W]`.
    stacks: Array2<u8>,
}

impl FrameStack {
    /// Black stacks of `n_stacked` pictures of `n_pixels` each.
    pub fn new(n_stacked: usize, n_pixels: usize, n_envs: usize) -> Self {
        FrameStack { n_pixels, stacks: Array2::zeros((n_envs, n_stacked * n_pixels)) }
    }

    /// Begins anew with the first pictures of every environment's episode, `[E, C·H·W]`.
    pub fn begin(&mut self, first: Obs<'_>) {
        (0..self.stacks.nrows()).for_each(|env| self.begin_one(env, first.frames(env..env + 1)));
    }

    /// Begins anew in one environment, with the first picture of its episode.
    pub fn begin_one(&mut self, env: usize, first: Obs<'_>) {
        self.put(env, first, StepKind::RESET);
    }

    /// Adds the pictures after a step of these kinds, `[E, C·H·W]`.
    pub fn push(&mut self, newest: Obs<'_>, kinds: &[StepKind]) {
        for (env, kind) in kinds.iter().enumerate() {
            self.put(env, newest.frames(env..env + 1), *kind);
        }
    }

    fn put(&mut self, env: usize, picture: Obs<'_>, kind: StepKind) {
        let mut stack = self.stacks.row_mut(env);
        let stack = stack.as_slice_mut().expect(WHOLE);
        match kind {
            StepKind::RESET => stack.fill(0),
            _ => stack.copy_within(self.n_pixels.., 0),
        }
        let newest = stack.len() - self.n_pixels;
        let picture = picture.pixels().to_slice().expect(WHOLE);
        stack[newest..].copy_from_slice(picture);
    }

    /// `[E, L·C·H·W]`.
    pub fn view(&self) -> Obs<'_> {
        Obs::Pixels(self.stacks.view())
    }

    /// Writes the pictures one by one, the oldest of all environments first: `[L·E, C·H·W]`.
    pub fn write_pictures(&self, room: ObsMut<'_>) {
        let ObsMut::Pixels(mut room) = room else { return };
        for (n, mut room) in room.outer_iter_mut().enumerate() {
            let (picture, env) = (n / self.stacks.nrows(), n % self.stacks.nrows());
            let pixels = picture * self.n_pixels..(picture + 1) * self.n_pixels;
            room.assign(&self.stacks.slice(s![env, pixels]));
        }
    }
}

/// The stacks of a batch of B trajectories.
pub struct StackedFrames {
    n_stacked: usize,
    /// `[(T+1)·B, L·C·H·W]`.
    stacks: Array2<u8>,
    /// Pictures of each trajectory that are of the episode of the step at hand, `[B]`.
    n_seen: Vec<usize>,
}

impl StackedFrames {
    /// Room for `n_slots` rollouts of this shape side by side; `None` where nothing is stacked.
    pub fn new(shape: &RolloutShape, n_slots: usize) -> Option<Self> {
        let (n_trajectories, n_stacked) = (n_slots * shape.n_envs, shape.n_stacked);
        let room = (n_slots * shape.n_observations(), n_stacked * shape.obs.len);
        (n_stacked > 1).then(|| StackedFrames {
            n_stacked,
            stacks: Array2::zeros(room),
            n_seen: vec![n_stacked; n_trajectories],
        })
    }

    /// What a network sees of frames of which a slot holds the pictures, `[(T+L)·B, C·H·W]`: stacks of L of them,
    /// `[(T+1)·B, L·C·H·W]`.
    pub fn of<'a>(&'a mut self, frames: &Frames<'a>) -> Frames<'a> {
        let (pictures, n_trajectories) = (frames.obs.pixels(), frames.n_trajectories);
        let n_pixels = pictures.ncols();
        // What is older than the rollout is black already where it is of another episode.
        self.n_seen.fill(self.n_stacked);
        for (n, mut stack) in self.stacks.outer_iter_mut().enumerate() {
            let n_seen = &mut self.n_seen[n % n_trajectories];
            if let Some(before) = n.checked_sub(n_trajectories) {
                let is_first = frames.kinds[before] == StepKind::RESET;
                *n_seen = if is_first { 1 } else { self.n_stacked.min(*n_seen + 1) };
            }
            let stack = stack.as_slice_mut().expect(WHOLE);
            let (before, seen) = stack.split_at_mut((self.n_stacked - *n_seen) * n_pixels);
            before.fill(0);
            for (room, age) in seen.chunks_exact_mut(n_pixels).zip((0..*n_seen).rev()) {
                let picture = n + (self.n_stacked - 1 - age) * n_trajectories;
                room.copy_from_slice(pictures.row(picture).to_slice().expect(WHOLE));
            }
        }
        Frames { obs: Obs::Pixels(self.stacks.view()), ..*frames }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, Gather, RolloutBuffer};
    use super::*;
    use crate::space::{Number, Numbers};
    use proptest::prelude::*;

    const N_ENVS: usize = 2;
    const N_PIXELS: usize = 2;

    fn shape(unroll_length: usize, n_stacked: usize) -> RolloutShape {
        let obs = Numbers::new(Number::U8, N_PIXELS);
        RolloutShape { obs, n_stacked, ..RolloutShape::of_numbers(unroll_length, N_ENVS, 1) }
    }

    /// The pictures of a step of all environments, none of them black and no two the same.
    fn pictures(step: usize) -> Array2<u8> {
        Array2::from_shape_fn((N_ENVS, N_PIXELS), |(env, pixel)| {
            1 + (4 * step + 2 * env + pixel) as u8
        })
    }

    fn pixels(obs: Obs<'_>) -> Vec<u8> {
        obs.pixels().iter().copied().collect()
    }

    #[test]
    fn the_oldest_comes_first_and_black_stands_for_what_was_before_the_episode() {
        let mut stack = FrameStack::new(3, N_PIXELS, N_ENVS);
        let ordinary = [StepKind::ORDINARY; N_ENVS];
        stack.begin(Obs::Pixels(pictures(0).view()));
        assert_eq!(pixels(stack.view()), [0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 3, 4]);
        stack.push(Obs::Pixels(pictures(1).view()), &ordinary);
        stack.push(Obs::Pixels(pictures(2).view()), &ordinary);
        assert_eq!(pixels(stack.view()), [1, 2, 5, 6, 9, 10, 3, 4, 7, 8, 11, 12]);
        let kinds = [StepKind::LIFE_LOST, StepKind::RESET];
        stack.push(Obs::Pixels(pictures(3).view()), &kinds);
        assert_eq!(pixels(stack.view()), [5, 6, 9, 10, 13, 14, 0, 0, 0, 0, 15, 16]);
    }

    proptest! {
        /// What a learner finds in slots, alone or side by side, is what was acted upon.
        #[test]
        fn stacks_found_in_slots_are_those_that_were_acted_upon(
            n_stacked in 2usize..5,
            unroll_length in 1usize..6,
            resets in prop::collection::vec(0u8..4, 40),
        ) {
            let shape = shape(unroll_length, n_stacked);
            let mut stack = FrameStack::new(n_stacked, N_PIXELS, N_ENVS);
            stack.begin(Obs::Pixels(pictures(0).view()));
            let mut resets = resets.into_iter().cycle();
            let mut step = 0;
            let mut slots = Vec::new();
            for _ in 0..2 {
                let mut slot = RolloutBuffer::new(shape);
                let mut acted = pixels(stack.view());
                let mut rollout = slot.view_mut();
                stack.write_pictures(rollout.obs.frames(0..n_stacked * N_ENVS));
                for t in 0..unroll_length {
                    step += 1;
                    let of_step = t * N_ENVS..(t + 1) * N_ENVS;
                    for kind in &mut rollout.kinds[of_step.clone()] {
                        let is_reset = resets.next() == Some(0);
                        *kind = if is_reset { StepKind::RESET } else { StepKind::ORDINARY };
                    }
                    let (newest, row) = (pictures(step), (t + n_stacked) * N_ENVS);
                    let newest = Obs::Pixels(newest.view());
                    rollout.obs.frames(row..row + N_ENVS).assign(newest);
                    stack.push(newest, &rollout.kinds[of_step]);
                    acted.extend(pixels(stack.view()));
                }
                let mut found = StackedFrames::new(&shape, 1).unwrap();
                let view = slot.view();
                prop_assert_eq!(pixels(found.of(&Batch::of(&view).frames).obs), &acted[..]);
                slots.push((slot, acted));
            }
            let views: Vec<_> = slots.iter().map(|(slot, _)| slot.view()).collect();
            let mut gather = Gather::new(&shape, 2);
            let gathered = gather.gather(&views);
            let mut found = StackedFrames::new(&shape, 2).unwrap();
            let found = pixels(found.of(&Batch::of(&gathered).frames).obs);
            let stack_len = n_stacked * N_PIXELS;
            for (n, found) in found.chunks(stack_len).enumerate() {
                let (t, slot, env) = (n / (2 * N_ENVS), n / N_ENVS % 2, n % N_ENVS);
                let acted = slots[slot].1.chunks(stack_len).nth(t * N_ENVS + env).unwrap();
                prop_assert_eq!(found, acted);
            }
        }
    }
}
