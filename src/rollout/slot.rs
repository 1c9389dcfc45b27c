//! A slot: the one table of its fields, from which everything else about them follows.
//!
//! A line of the table is a field. [`fields`], [`SlotLayout`], the views [`Rollout`] and [`RolloutMut`] and their
//! casts, the segment's hash, the twin on the heap, gathering, and `impala inspect --layout` are made of it.

use bytemuck::{from_bytes, from_bytes_mut};

use super::field::{Column, Field, Matrix, Observations, Row, Steps, Taken};
use super::{RolloutHeader, RolloutShape, StepKind};
use crate::base::span::{Cursor, Span};
use crate::space::{Number, Numbers};

/// Fields of a slot begin on cache lines, which are also the widest vectors.
pub const FIELD_ALIGN_BYTES: usize = 64;

/// Slots begin this far apart at least: two cache lines, because neighbouring lines are fetched in pairs.
const SLOT_ALIGN_BYTES: usize = 128;

/// Declares the fields: `name: cast = numbers a step and environment, steps, order in letters;`.
macro_rules! slot_fields {
    ($shape:ident; $($(#[doc = $doc:literal])+ $name:ident: $Column:ty = $numbers:expr, $steps:ident, $order:literal;)+) => {
        /// Every field of a slot of this shape, in the order in which they lie behind the header.
        pub fn fields($shape: &RolloutShape) -> [Field; N_FIELDS] {
            [$(Field {
                name: stringify!($name),
                order: $order,
                numbers: $numbers,
                steps: Steps::$steps,
            }),+]
        }

        /// Number of fields behind the header.
        pub const N_FIELDS: usize = [$(stringify!($name)),+].len();

        /// A published rollout.
        #[derive(Clone, Copy)]
        pub struct Rollout<'a> {
            /// Its sizes.
            pub shape: RolloutShape,
            /// What the actor says about the rollout.
            pub header: &'a RolloutHeader,
            $($(#[doc = $doc])+ pub $name: <$Column as Column>::Ref<'a>,)+
        }

        /// A rollout that is being filled; the fields of [`Rollout`].
        ///
        /// It holds what the slot held a round ago: an actor writes every entry and every header field that is
        /// not set on publishing.
        pub struct RolloutMut<'a> {
            /// Its sizes.
            pub shape: RolloutShape,
            /// What the actor says about the rollout.
            pub header: &'a mut RolloutHeader,
            $($(#[doc = $doc])+ pub $name: <$Column as Column>::Mut<'a>,)+
        }

        impl<'a> Rollout<'a> {
            /// The rollout in the bytes of a slot of this layout.
            ///
            /// # Panics
            /// If they are fewer, or do not begin at a multiple of 64.
            pub fn over(bytes: &'a [u8], layout: &SlotLayout) -> Rollout<'a> {
                let shape = layout.shape;
                let of = |span: Span| &bytes[span.offset..span.end()];
                let mut fields = fields(&shape).into_iter().zip(layout.fields);
                let mut next = || fields.next().expect("the table has a line for each field");
                Rollout {
                    shape,
                    header: from_bytes(of(layout.header)),
                    $($name: {
                        let (field, span) = next();
                        <$Column>::cast(&field, of(span))
                    },)+
                }
            }

            /// The bytes of every field, in the order of the table.
            pub fn field_bytes(&self) -> [&'a [u8]; N_FIELDS] {
                [$(<$Column>::bytes(self.$name)),+]
            }
        }

        impl<'a> RolloutMut<'a> {
            /// The rollout in the bytes of a slot of this layout, to be filled.
            ///
            /// # Panics
            /// If they are fewer, or do not begin at a multiple of 64.
            pub fn over(bytes: &'a mut [u8], layout: &SlotLayout) -> RolloutMut<'a> {
                let shape = layout.shape;
                let mut rest = Rest { bytes, offset: 0 };
                let header = from_bytes_mut(rest.take(layout.header));
                let mut fields = fields(&shape).into_iter().zip(layout.fields);
                let mut next = || fields.next().expect("the table has a line for each field");
                RolloutMut {
                    shape,
                    header,
                    $($name: {
                        let (field, span) = next();
                        <$Column>::cast_mut(&field, rest.take(span))
                    },)+
                }
            }
        }
    };
}

slot_fields! { shape;
    /// Observations before each step, and after the last one: numbers as `[D, T+1, E]`, pixels as
    /// `[T+L, E, C, H, W]`, of which the first L−1 are seen together with that before step 0.
    obs: Observations = shape.obs, EachAndLast, "[D, T+1, E]";
    /// Actions taken, `[K, T, E]`; K is 1 for one index.
    actions: Taken = shape.action, Each, "[K, T, E]";
    /// Rewards of these actions, as the environment gave them, `[T, E]`.
    rewards: Row<f32> = ONE_F32, Each, "[T, E]";
    /// What each step was, `[T, E]`.
    kinds: Row<StepKind> = ONE_U32, Each, "[T, E]";
    /// log μ(a|x) of these actions, by the behaviour policy, `[T, E]`.
    log_mu: Row<f32> = ONE_F32, Each, "[T, E]";
    /// The network's memory before step 0, `[R, E]`; R is 0 without one. It is zero again after a reset.
    state: Matrix = Numbers::new(Number::F32, shape.n_state), Once, "[R, E]";
    /// Which task each environment has, `[E]`; empty where there is one task.
    tasks: Row<u32> = Numbers::new(Number::U32, usize::from(shape.n_tasks > 1)), Once, "[E]";
    /// Undiscounted returns of episodes that ended here, in the order of their last steps, `[T·E]`; the first
    /// `n_episodes` are set.
    episode_returns: Row<f32> = ONE_F32, List, "[T·E]";
    /// Their lengths in steps, `[T·E]`; the first `n_episodes` are set.
    episode_lengths: Row<u32> = ONE_U32, List, "[T·E]";
}

const ONE_F32: Numbers = Numbers::new(Number::F32, 1);
const ONE_U32: Numbers = Numbers::new(Number::U32, 1);

/// Where a slot's fields lie; offsets count from the slot's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLayout {
    /// What is in it.
    pub shape: RolloutShape,
    /// [`RolloutHeader`].
    pub header: Span,
    /// The fields of [`fields`], in their order; a field that the shape does not need has no bytes.
    pub fields: [Span; N_FIELDS],
    /// From one slot to the next.
    pub stride_bytes: usize,
}

impl SlotLayout {
    /// The layout of a slot of this shape; `None` where a number would overflow.
    pub fn of(shape: &RolloutShape) -> Option<SlotLayout> {
        let mut cursor = Cursor::default();
        let header = cursor.place(FIELD_ALIGN_BYTES, size_of::<RolloutHeader>())?;
        let mut spans = [header; N_FIELDS];
        for (span, field) in spans.iter_mut().zip(fields(shape)) {
            *span = cursor.place(FIELD_ALIGN_BYTES, field.n_bytes(shape)?)?;
        }
        let stride_bytes = cursor.end().checked_next_multiple_of(SLOT_ALIGN_BYTES)?;
        Some(SlotLayout { shape: *shape, header, fields: spans, stride_bytes })
    }
}

/// What is left of a slot's bytes when the fields up to `offset` are taken.
struct Rest<'a> {
    bytes: &'a mut [u8],
    offset: usize,
}

impl<'a> Rest<'a> {
    /// Spans are taken in the order in which they lie.
    fn take(&mut self, span: Span) -> &'a mut [u8] {
        let bytes = std::mem::take(&mut self.bytes);
        let (_, bytes) = bytes.split_at_mut(span.offset - self.offset);
        let (taken, rest) = bytes.split_at_mut(span.n_bytes);
        (self.bytes, self.offset) = (rest, span.end());
        taken
    }
}

impl Rollout<'_> {
    /// Return and length (in steps) of each episode that finished in this rollout.
    pub fn episodes(&self) -> impl Iterator<Item = (f32, u32)> {
        let episodes =
            self.episode_returns.iter().copied().zip(self.episode_lengths.iter().copied());
        episodes.take(self.header.n_episodes as usize)
    }
}

impl RolloutMut<'_> {
    /// Whether no observation and no reward is NaN or infinite. One pass over both, without a branch.
    pub fn is_finite(&self) -> bool {
        self.obs.view().is_finite() && crate::base::finite::all_finite(self.rewards)
    }
}
