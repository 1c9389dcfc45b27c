//! A rollout in private memory: a slot's twin on the heap, and several slots gathered into one.

use bytemuck::{Pod, Zeroable, cast_slice, cast_slice_mut};

use super::field::Steps;
use super::slot::fields;
use super::{Rollout, RolloutMut, RolloutShape, SlotLayout};

/// A cache line, on which fields begin.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A rollout in private memory, all zero at first.
pub struct RolloutBuffer {
    layout: SlotLayout,
    lines: Vec<Line>,
}

impl RolloutBuffer {
    /// A rollout of this shape.
    ///
    /// # Panics
    /// If it has more bytes than can be addressed.
    pub fn new(shape: RolloutShape) -> Self {
        let layout = SlotLayout::of(&shape).expect("the rollout can be addressed");
        let n_lines = layout.stride_bytes.div_ceil(size_of::<Line>());
        RolloutBuffer { layout, lines: vec![Line([0; 64]); n_lines] }
    }

    /// The rollout to read.
    pub fn view(&self) -> Rollout<'_> {
        Rollout::over(cast_slice(&self.lines), &self.layout)
    }

    /// The rollout to fill.
    pub fn view_mut(&mut self) -> RolloutMut<'_> {
        RolloutMut::over(cast_slice_mut(&mut self.lines), &self.layout)
    }

    /// Overwrites every field with the bytes of another rollout of this shape.
    pub fn copy_from(&mut self, field_bytes: &[&[u8]]) {
        let bytes: &mut [u8] = cast_slice_mut(&mut self.lines);
        for (span, field) in self.layout.fields.iter().zip(field_bytes) {
            bytes[span.offset..span.end()].copy_from_slice(field);
        }
    }
}

/// Several rollouts as one of as many environments more: B = S·E trajectories side by side.
pub struct Gather {
    slot: RolloutShape,
    gathered: RolloutBuffer,
}

impl Gather {
    /// Room for `n_slots` rollouts of `shape`.
    pub fn new(shape: &RolloutShape, n_slots: usize) -> Self {
        let gathered = RolloutShape { n_envs: n_slots * shape.n_envs, ..*shape };
        Gather { slot: *shape, gathered: RolloutBuffer::new(gathered) }
    }

    /// Copies the rollouts side by side: column `t·B + s·E + e` is slot `s`'s column `t·E + e`. Header and
    /// lists of episodes are left out: they are of one rollout.
    pub fn gather(&mut self, rollouts: &[Rollout]) -> Rollout<'_> {
        for (slot_idx, rollout) in rollouts.iter().enumerate() {
            self.copy(slot_idx, rollouts.len(), rollout);
        }
        self.gathered.view()
    }

    fn copy(&mut self, slot_idx: usize, n_slots: usize, rollout: &Rollout) {
        let bytes: &mut [u8] = cast_slice_mut(&mut self.gathered.lines);
        let sources = fields(&self.slot).into_iter().zip(rollout.field_bytes());
        for ((field, source), span) in sources.zip(&self.gathered.layout.fields) {
            // Of all environments at one step, in one row.
            let block = field.unit_bytes() * self.slot.n_envs;
            if field.steps == Steps::List || block == 0 {
                continue;
            }
            let room = bytes[span.offset..span.end()].chunks_exact_mut(n_slots * block);
            for (room, source) in room.zip(source.chunks_exact(block)) {
                room[slot_idx * block..][..block].copy_from_slice(source);
            }
        }
    }
}
