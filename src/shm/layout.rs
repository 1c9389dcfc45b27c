//! Where everything lies in the segment: pure arithmetic from its shape to offsets.
//!
//! Owns: [`SegmentShape`], the order of the regions, alignment, and the hash by which two processes know
//! that they mean the same layout. Touches no memory. Called by `segment.rs`, and by whoever shows a
//! layout to a person.

use super::weights;
use crate::base::span::{Cursor, Span, product};
use crate::rollout::{RolloutShape, SlotLayout, fields};
use crate::state::{Counters, ReturnStats, SCORE_WINDOW};

/// Regions begin on pages, so that each can be protected on its own.
pub const PAGE_BYTES: usize = 4096;

/// What one process writes often stands this far from what another one does: two cache lines, because
/// neighbouring lines are fetched in pairs.
pub const LINE_BYTES: usize = 128;

/// Lines of the segment's header, of a group on the status board, and of a doorbell.
pub const HEADER_BYTES: usize = LINE_BYTES;
/// See [`HEADER_BYTES`].
pub const STATUS_BYTES: usize = LINE_BYTES;
/// See [`HEADER_BYTES`].
pub const DOORBELL_BYTES: usize = LINE_BYTES;
/// The two indices of a ring, a line each.
pub const RING_STATE_BYTES: usize = 2 * LINE_BYTES;
/// Of two cells: the index of the one in use and both heads, a line each.
pub const CELLS_STATE_BYTES: usize = 3 * LINE_BYTES;

/// Goes up whenever the meaning of a byte changes without moving anything.
const LAYOUT_REVISION: usize = 4;

/// Everything that decides the size of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentShape {
    /// Number of actors, each with a ring of its own.
    pub n_actors: usize,
    /// Capacity of each ring.
    pub slots_per_actor: usize,
    /// Number of `f32` parameters of the policy.
    pub n_params: usize,
    /// Numbers that the optimiser remembers for each parameter.
    pub n_moments: usize,
    /// What is in one slot.
    pub rollout: RolloutShape,
}

impl SegmentShape {
    /// Every number by the name under which the user knows it.
    fn named(&self) -> [(&'static str, usize); 9] {
        [
            ("n_actors", self.n_actors),
            ("slots_per_actor", self.slots_per_actor),
            ("n_params", self.n_params),
            ("n_moments", self.n_moments),
            ("unroll_length", self.rollout.unroll_length),
            ("n_envs", self.rollout.n_envs),
            ("numbers in an observation", self.rollout.obs.len),
            ("frame_stack", self.rollout.n_stacked),
            ("numbers in an action", self.rollout.action.len),
        ]
    }
}

/// Why there is no layout for a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A number that counts something in the segment is zero.
    #[error("{field} is 0; it must be at least 1")]
    Zero {
        /// Which number.
        field: &'static str,
    },
    /// The segment would be larger than the address space.
    #[error(
        "a segment of this shape has more bytes than can be addressed: {shape:?}; choose smaller numbers"
    )]
    TooLarge {
        /// The shape asked for.
        shape: SegmentShape,
    },
}

/// A ring's region; offsets count from the region's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLayout {
    /// Head and tail.
    pub state: Span,
    /// The doorbell on which the actor waits for a free slot.
    pub doorbell: Span,
    /// All slots.
    pub slots: Span,
    /// From one actor's region to the next.
    pub stride_bytes: usize,
}

/// Where everything lies. Regions: header, board (with the learner's doorbell), weights, the learner's
/// state, one ring an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The shape that it was computed from.
    pub shape: SegmentShape,
    /// Magic number, size and hash of the layout; a page of its own.
    pub header: Span,
    /// Orders, learner, actors: a group of lines each.
    pub board: Span,
    /// The doorbell on which the learner waits for published slots; on the board's pages.
    pub learner_doorbell: Span,
    /// The cell in use and the cells' sequences; begins the weight region.
    pub weights_state: Span,
    /// The parameters of both cells.
    pub weights_cells: [Span; 2],
    /// As `weights_state`, of the learner's state; begins its region.
    pub state_head: Span,
    /// The words of the learner's state, twice.
    pub state_cells: [Span; 2],
    /// All rings' regions together.
    pub rings: Span,
    /// What is in one ring's region.
    pub ring: RingLayout,
    /// What is in one slot.
    pub slot: SlotLayout,
    /// Size of the segment.
    pub total_bytes: usize,
}

impl Layout {
    /// The layout of a segment of this shape.
    ///
    /// # Errors
    /// [`LayoutError`] if a number of the shape is zero or the segment is too large to be addressed.
    pub fn new(shape: &SegmentShape) -> Result<Layout, LayoutError> {
        if let Some((field, _)) = shape.named().into_iter().find(|&(_, number)| number == 0) {
            return Err(LayoutError::Zero { field });
        }
        let layout = place_all(shape).filter(|layout| layout.total_bytes <= isize::MAX as usize);
        layout.ok_or(LayoutError::TooLarge { shape: *shape })
    }

    /// The pages of the weight region: written by the learner, read by the actors.
    pub fn weights(&self) -> Span {
        let offset = self.weights_state.offset;
        Span { offset, n_bytes: self.state_head.offset - offset }
    }

    /// The pages of the learner's state: written by the learner, read by the supervisor and by the
    /// learner's replacement.
    pub fn state(&self) -> Span {
        let offset = self.state_head.offset;
        Span { offset, n_bytes: self.rings.offset - offset }
    }

    /// The pages of one actor's ring.
    pub fn ring_region(&self, actor: usize) -> Span {
        assert!(actor < self.shape.n_actors, "there is no actor {actor}");
        let n_bytes = self.ring.stride_bytes;
        Span { offset: self.rings.offset + actor * n_bytes, n_bytes }
    }

    /// Where slot `index` of an actor's ring begins; indices go round.
    pub fn slot_offset(&self, actor: usize, index: u64) -> usize {
        let slot_idx = (index % self.shape.slots_per_actor as u64) as usize;
        self.ring_region(actor).offset + self.ring.slots.offset + slot_idx * self.slot.stride_bytes
    }

    /// A number that differs between layouts that differ anywhere (FNV-1a over shape, sizes, the slot's
    /// fields and revision).
    pub fn hash(&self) -> u64 {
        let sizes =
            [LAYOUT_REVISION, self.total_bytes, self.slot.stride_bytes, self.ring.stride_bytes];
        let numbers = self.shape.named().into_iter().map(|(_, number)| number).chain(sizes);
        let numbers = numbers.flat_map(|number| (number as u64).to_le_bytes());
        let fields = fields(&self.shape.rollout).into_iter().flat_map(|field| {
            let words = field.name.bytes().chain(field.numbers.number.name().bytes());
            words.chain((field.numbers.len as u64).to_le_bytes())
        });
        numbers.chain(fields).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

fn place_all(shape: &SegmentShape) -> Option<Layout> {
    let slot = SlotLayout::of(&shape.rollout)?;
    let ring = place_ring(&slot, shape.slots_per_actor)?;
    let n_workers = shape.n_actors.checked_add(1)?;
    let cell_bytes = product(&[weights::n_words(shape.n_params), size_of::<u64>()])?;
    let mut cursor = Cursor::default();
    let header = cursor.place(PAGE_BYTES, HEADER_BYTES)?;
    let board = cursor.place(PAGE_BYTES, product(&[n_workers.checked_add(1)?, STATUS_BYTES])?)?;
    let learner_doorbell = cursor.place(LINE_BYTES, DOORBELL_BYTES)?;
    let weights_state = cursor.place(PAGE_BYTES, CELLS_STATE_BYTES)?;
    let weights_cells =
        [cursor.place(LINE_BYTES, cell_bytes)?, cursor.place(LINE_BYTES, cell_bytes)?];
    let state_head = cursor.place(PAGE_BYTES, CELLS_STATE_BYTES)?;
    let state_bytes = product(&[StateWords::of(shape)?.n_words, size_of::<u64>()])?;
    let state_cells =
        [cursor.place(LINE_BYTES, state_bytes)?, cursor.place(LINE_BYTES, state_bytes)?];
    let rings = cursor.place(PAGE_BYTES, product(&[shape.n_actors, ring.stride_bytes])?)?;
    Some(Layout {
        shape: *shape,
        header,
        board,
        learner_doorbell,
        weights_state,
        weights_cells,
        state_head,
        state_cells,
        rings,
        ring,
        slot,
        total_bytes: cursor.end(),
    })
}

/// Where each part of the learner's state begins in its cell, in 64-bit words. First come the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateWords {
    /// How many slots of each ring have been learned from or dropped.
    pub consumed: usize,
    /// Returns of the last episodes; behind them the sums over discounted returns.
    pub returns: usize,
    /// The parameters, two to a word.
    pub params: usize,
    /// Words of the parameters, and of each of the optimiser's moments behind them.
    pub n_param_words: usize,
    /// All words of a cell.
    pub n_words: usize,
}

impl StateWords {
    /// The parts for a segment of this shape; `None` where a number would overflow.
    pub fn of(shape: &SegmentShape) -> Option<StateWords> {
        let n_param_words = weights::n_pairs(shape.n_params);
        let consumed = size_of::<Counters>() / size_of::<u64>() + 1;
        let returns = consumed.checked_add(shape.n_actors)?;
        let n_stats = size_of::<ReturnStats>() / size_of::<u64>();
        let params = returns.checked_add(SCORE_WINDOW + n_stats)?;
        let n_vectors = shape.n_moments.checked_add(1)?;
        let n_words = params.checked_add(product(&[n_vectors, n_param_words])?)?;
        Some(StateWords { consumed, returns, params, n_param_words, n_words })
    }
}

fn place_ring(slot: &SlotLayout, n_slots: usize) -> Option<RingLayout> {
    let mut cursor = Cursor::default();
    Some(RingLayout {
        state: cursor.place(LINE_BYTES, RING_STATE_BYTES)?,
        doorbell: cursor.place(LINE_BYTES, DOORBELL_BYTES)?,
        slots: cursor.place(LINE_BYTES, product(&[n_slots, slot.stride_bytes])?)?,
        stride_bytes: cursor.end().checked_next_multiple_of(PAGE_BYTES)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rollout::FIELD_ALIGN_BYTES;
    use crate::space::{Number, Numbers};

    fn shape(numbers: [usize; 9]) -> SegmentShape {
        let [n_actors, slots_per_actor, n_params, n_moments, rollout @ ..] = numbers;
        let [unroll_length, n_envs, obs, n_stacked, action] = rollout;
        let rollout = RolloutShape {
            unroll_length,
            n_envs,
            obs: Numbers::new(Number::F32, obs),
            n_stacked,
            action: Numbers::new(Number::I32, action),
            n_state: 1,
            n_tasks: 2,
        };
        SegmentShape { n_actors, slots_per_actor, n_params, n_moments, rollout }
    }

    fn shifted(span: Span, by: usize) -> Span {
        Span { offset: span.offset + by, ..span }
    }

    /// Everything that is stored anywhere, with the alignment that it needs.
    fn all_spans(layout: &Layout) -> Vec<(Span, usize)> {
        let mut spans = vec![
            (layout.header, PAGE_BYTES),
            (layout.board, PAGE_BYTES),
            (layout.learner_doorbell, LINE_BYTES),
            (layout.weights_state, PAGE_BYTES),
            (layout.weights_cells[0], LINE_BYTES),
            (layout.weights_cells[1], LINE_BYTES),
            (layout.state_head, PAGE_BYTES),
            (layout.state_cells[0], LINE_BYTES),
            (layout.state_cells[1], LINE_BYTES),
        ];
        for actor in 0..layout.shape.n_actors {
            let region = layout.ring_region(actor).offset;
            spans.push((shifted(layout.ring.state, region), PAGE_BYTES));
            spans.push((shifted(layout.ring.doorbell, region), LINE_BYTES));
            for index in 0..layout.shape.slots_per_actor as u64 {
                let slot = layout.slot_offset(actor, index);
                let fields = [layout.slot.header].into_iter().chain(layout.slot.fields);
                spans.extend(fields.map(|field| (shifted(field, slot), FIELD_ALIGN_BYTES)));
            }
        }
        spans
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_overlaps_and_everything_is_aligned_and_inside(
            sizes in (1..6usize, 1..5usize, 1..3_000usize, 1..3usize, 1..30usize, 1..40usize, 1..9usize, 1..5usize, 1..7usize)
        ) {
            let shape = shape(sizes.into());
            let layout = Layout::new(&shape).unwrap();
            let mut spans = all_spans(&layout);
            spans.sort_by_key(|(span, _)| span.offset);
            for pair in spans.windows(2) {
                prop_assert!(pair[0].0.end() <= pair[1].0.offset, "{pair:?}");
            }
            for (span, align) in &spans {
                prop_assert_eq!(span.offset % align, 0);
                prop_assert!(span.n_bytes > 0 && span.end() <= layout.total_bytes);
            }
            prop_assert_eq!(layout.total_bytes % PAGE_BYTES, 0);
            prop_assert_eq!(layout.total_bytes, layout.ring_region(shape.n_actors - 1).end());
        }

        #[test]
        fn regions_share_no_page(
            sizes in (1..6usize, 1..3usize, 1..3_000usize, 1..3usize, 1..30usize, 1..9usize, 1..9usize, 1..5usize, 1..7usize)
        ) {
            let layout = Layout::new(&shape(sizes.into())).unwrap();
            let rings = (0..layout.shape.n_actors).map(|actor| layout.ring_region(actor));
            let regions: Vec<Span> = [layout.header, layout.board, layout.weights(), layout.state()].into_iter().chain(rings).collect();
            for pair in regions.windows(2) {
                prop_assert!(pair[0].end().next_multiple_of(PAGE_BYTES) <= pair[1].offset);
            }
            prop_assert!(layout.weights_cells[1].end() <= layout.weights().end());
            prop_assert!(layout.state_cells[1].end() <= layout.state().end());
            prop_assert!(layout.learner_doorbell.end() <= layout.weights().offset);
        }

        #[test]
        fn another_shape_has_another_hash(
            sizes in (1..6usize, 1..5usize, 1..3_000usize, 1..3usize, 1..30usize, 1..40usize, 1..9usize, 1..5usize, 1..7usize),
            changed in 0..9usize
        ) {
            let mut other: [usize; 9] = sizes.into();
            other[changed] += 1;
            let hash = |sizes| Layout::new(&shape(sizes)).unwrap().hash();
            prop_assert_ne!(hash(sizes.into()), hash(other));
        }
    }

    #[test]
    fn indices_go_round_the_slots() {
        let layout = Layout::new(&shape([2, 3, 10, 1, 5, 4, 4, 1, 2])).unwrap();
        assert_eq!(layout.slot_offset(1, 2), layout.slot_offset(1, 5));
        assert_eq!(layout.slot_offset(0, 1) - layout.slot_offset(0, 0), layout.slot.stride_bytes);
    }

    #[test]
    fn zeros_are_named() {
        let names = shape([1; 9]).named().map(|(name, _)| name);
        for (position, field) in names.into_iter().enumerate() {
            let mut sizes = [1; 9];
            sizes[position] = 0;
            assert_eq!(Layout::new(&shape(sizes)), Err(LayoutError::Zero { field }));
        }
    }

    #[test]
    fn sizes_that_overflow_are_an_error_wherever_they_do() {
        for position in 0..9 {
            for huge in [usize::MAX, usize::MAX / 8, isize::MAX as usize / 4] {
                let mut sizes = [4; 9];
                sizes[position] = huge;
                let shape = shape(sizes);
                assert_eq!(Layout::new(&shape), Err(LayoutError::TooLarge { shape }));
            }
        }
    }
}
