//! One rollout: T steps of E environments, as the actor writes them and the learner reads them.
//!
//! Owns: the shape of a rollout, its header, and the one table of its fields (`slot.rs`). Does not know
//! where the memory lies: `shm/slot.rs` makes views over slots of the segment, [`RolloutBuffer`] over the heap.
//! Called by both worker loops.
//!
//! Letters: T unroll length, E environments, D numbers of an observation, K parts of an action, R numbers of a
//! network's memory. Column `n = t·E + e` is environment `e` at step `t`, so step `t` of all environments is
//! the range `t·E..(t+1)·E`.

mod batch;
mod buffer;
mod episodes;
mod field;
mod kind;
mod slot;
mod stack;

use bytemuck::{Pod, Zeroable};

use crate::space::{Number, Numbers, Spec};

pub use batch::{Batch, Frames};
pub use buffer::{Gather, RolloutBuffer};
pub use episodes::EpisodeLog;
pub use field::{Field, Steps};
pub use kind::StepKind;
pub use slot::{FIELD_ALIGN_BYTES, N_FIELDS, Rollout, RolloutMut, SlotLayout, fields};
pub use stack::{FrameStack, StackedFrames};

/// Sizes of a rollout.
///
/// **The T+1 rule.** Observations have T+1 steps, everything else T. Step T is what the environments
/// showed after the last action: it was not acted upon in this rollout, and is there so that the learner
/// can bootstrap from its value. The next rollout of the same actor begins with it as its step 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RolloutShape {
    /// T: steps of each environment.
    pub unroll_length: usize,
    /// E: environments of the actor.
    pub n_envs: usize,
    /// What one observation is made of; of a stack one picture.
    pub obs: Numbers,
    /// L: pictures that the network sees at once. Those before step 0 that it sees with it stand before it, L − 1
    /// steps more; 1 where nothing is stacked.
    pub n_stacked: usize,
    /// What one action is made of.
    pub action: Numbers,
    /// R: numbers that the network remembers between two steps.
    pub n_state: usize,
    /// Tasks of the run.
    pub n_tasks: usize,
}

impl RolloutShape {
    /// T steps of E environments of one task, for a network without memory.
    pub fn new(spec: &Spec, unroll_length: usize, n_envs: usize) -> Self {
        let (obs, action) = (spec.obs.numbers(), spec.actions.numbers());
        RolloutShape { unroll_length, n_envs, obs, n_stacked: 1, action, n_state: 0, n_tasks: 1 }
    }

    /// The same for environments that show `n_numbers` numbers and take one index.
    pub const fn of_numbers(unroll_length: usize, n_envs: usize, n_numbers: usize) -> Self {
        let (obs, action) = (Numbers::new(Number::F32, n_numbers), Numbers::new(Number::I32, 1));
        RolloutShape { unroll_length, n_envs, obs, n_stacked: 1, action, n_state: 0, n_tasks: 1 }
    }

    /// T·E: environment steps in a rollout.
    pub fn n_frames(&self) -> usize {
        self.unroll_length * self.n_envs
    }

    /// (T+1)·E: frames of which a network makes something.
    pub fn n_observations(&self) -> usize {
        (self.unroll_length + 1) * self.n_envs
    }
}

/// What a rollout says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct RolloutHeader {
    /// Version of the weights of the behaviour policy; set on publishing.
    pub policy_version: u64,
    /// Generation of the actor process; set on publishing.
    pub generation: u64,
    /// Index of the slot since the ring was made: goes up by one, across generations; set on publishing.
    pub sequence: u64,
    /// When the slot was claimed, ns of `CLOCK_MONOTONIC`.
    pub claimed_ns: u64,
    /// When the slot was published, ns of `CLOCK_MONOTONIC`; set on publishing.
    pub published_ns: u64,
    /// Time blocked on a full ring before this rollout, ns.
    pub claim_wait_ns: u64,
    /// Time copying weights, ns.
    pub read_weights_ns: u64,
    /// Time in forward passes and sampling, ns.
    pub act_ns: u64,
    /// Time in environments, ns.
    pub env_ns: u64,
    /// Number of episodes that finished in this rollout.
    pub n_episodes: u64,
    /// Sum of all else in the slot; set on publishing.
    #[cfg(feature = "faults")]
    pub checksum: u64,
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, s};
    use proptest::prelude::*;

    use super::*;
    use crate::space::{Actions, ActionsMut, Obs, ObsMut};

    /// Numbers of every kind that a slot can hold.
    fn shapes() -> impl Strategy<Value = RolloutShape> {
        let obs = prop_oneof![Just(Number::F32), Just(Number::U8)];
        let action = prop_oneof![Just(Number::F32), Just(Number::I32)];
        let sizes = (1..7usize, 1..6usize, 1..5usize, 1..4usize, 0..4usize, 1..3usize);
        (obs, action, sizes).prop_map(|(obs, action, (t, e, d, k, n_state, n_tasks))| {
            RolloutShape {
                unroll_length: t,
                n_envs: e,
                obs: Numbers::new(obs, d),
                n_stacked: 1 + t % 2,
                action: Numbers::new(action, k),
                n_state,
                n_tasks,
            }
        })
    }

    /// The number that stands for feature `d` of environment `e` of slot `s` at step `t`.
    fn name(d: usize, t: usize, e: usize, s: usize) -> usize {
        d + 4 * (t + 8 * (e + 6 * s))
    }

    /// A rollout of slot `s` in which every number of every field that is gathered has its name.
    fn named(shape: RolloutShape, s: usize) -> RolloutBuffer {
        let mut buffer = RolloutBuffer::new(shape);
        let rollout = buffer.view_mut();
        let e_of = |n: usize| (n / shape.n_envs, n % shape.n_envs);
        let at = |d: usize, n: usize| name(d, e_of(n).0, e_of(n).1, s);
        match rollout.obs {
            ObsMut::Numbers(mut obs) => {
                obs.indexed_iter_mut().for_each(|((d, n), x)| *x = at(d, n) as f32)
            }
            ObsMut::Pixels(mut obs) => {
                obs.indexed_iter_mut().for_each(|((n, d), x)| *x = at(d, n) as u8)
            }
        }
        match rollout.actions {
            ActionsMut::Indices(mut a) => {
                a.indexed_iter_mut().for_each(|((d, n), x)| *x = at(d, n) as i32)
            }
            ActionsMut::Numbers(mut a) => {
                a.indexed_iter_mut().for_each(|((d, n), x)| *x = at(d, n) as f32)
            }
        }
        rollout.rewards.iter_mut().enumerate().for_each(|(n, x)| *x = at(0, n) as f32);
        rollout
            .kinds
            .iter_mut()
            .enumerate()
            .for_each(|(n, x)| *x = bytemuck::cast(at(0, n) as u32));
        rollout.log_mu.iter_mut().enumerate().for_each(|(n, x)| *x = -(at(0, n) as f32));
        let mut state = rollout.state;
        state.indexed_iter_mut().for_each(|((d, e), x)| *x = name(d, 0, e, s) as f32);
        rollout.tasks.iter_mut().enumerate().for_each(|(e, x)| *x = name(0, 0, e, s) as u32);
        buffer
    }

    /// All of a rollout's gathered numbers as features by columns, for comparison.
    fn numbers(rollout: &Rollout) -> Vec<Array2<f64>> {
        let row = |values: Vec<f64>| Array2::from_shape_vec((1, values.len()), values).unwrap();
        let obs = match rollout.obs {
            Obs::Numbers(obs) => obs.mapv(f64::from),
            Obs::Pixels(obs) => obs.mapv(f64::from).reversed_axes(),
        };
        let actions = match rollout.actions {
            Actions::Indices(actions) => actions.mapv(f64::from),
            Actions::Numbers(actions) => actions.mapv(f64::from),
        };
        vec![
            obs,
            actions,
            row(rollout.rewards.iter().map(|x| f64::from(*x)).collect()),
            row(rollout.kinds.iter().map(|x| f64::from(bytemuck::cast::<_, u32>(*x))).collect()),
            row(rollout.log_mu.iter().map(|x| f64::from(*x)).collect()),
            rollout.state.mapv(f64::from),
            row(rollout.tasks.iter().map(|x| f64::from(*x)).collect()),
        ]
    }

    proptest! {
        /// Fields are disjoint, aligned, in order, and as large as their numbers.
        #[test]
        fn fields_lie_behind_one_another(shape in shapes()) {
            let layout = SlotLayout::of(&shape).unwrap();
            let mut end = layout.header.end();
            for (field, span) in fields(&shape).iter().zip(layout.fields) {
                prop_assert!(span.offset >= end && span.offset.is_multiple_of(FIELD_ALIGN_BYTES), "{}", field.name);
                prop_assert_eq!(Some(span.n_bytes), field.n_bytes(&shape));
                end = span.end();
            }
            prop_assert!(end <= layout.stride_bytes && layout.stride_bytes < end + 128);
        }

        /// What was written into one field is read back, whatever was written into the others.
        #[test]
        fn gathered_slots_lie_side_by_side(shape in shapes(), n_slots in 1..4usize) {
            let slots: Vec<RolloutBuffer> = (0..n_slots).map(|s| named(shape, s)).collect();
            let views: Vec<Rollout> = slots.iter().map(RolloutBuffer::view).collect();
            let mut gather = Gather::new(&shape, n_slots);
            let gathered = numbers(&gather.gather(&views));
            for (s, view) in views.iter().enumerate() {
                for (together, alone) in gathered.iter().zip(numbers(view)) {
                    for n in 0..alone.ncols() {
                        let (t, e) = (n / shape.n_envs, n % shape.n_envs);
                        let column = (t * n_slots + s) * shape.n_envs + e;
                        prop_assert_eq!(together.slice(s![.., column]), alone.slice(s![.., n]));
                    }
                }
            }
        }
    }

    #[test]
    fn what_a_run_does_not_need_has_no_bytes() {
        let shape = SHAPE;
        let sizes = fields(&shape).map(|field| (field.name, field.n_bytes(&shape).unwrap()));
        let expected = [
            ("obs", 4 * 4 * 8),
            ("actions", 4 * 6),
            ("rewards", 4 * 6),
            ("kinds", 4 * 6),
            ("log_mu", 4 * 6),
            ("state", 0),
            ("tasks", 0),
            ("episode_returns", 4 * 6),
            ("episode_lengths", 4 * 6),
        ];
        assert_eq!(sizes, expected);
        let more = RolloutShape { n_state: 5, n_tasks: 3, ..shape };
        let sizes = fields(&more).map(|field| field.n_bytes(&more).unwrap());
        assert_eq!(sizes[5..7], [4 * 5 * 2, 4 * 2]);
        // Four pictures in a stack are three steps more, and not four times as many.
        let stacked = RolloutShape { n_stacked: 4, ..shape };
        assert_eq!(fields(&stacked)[0].n_bytes(&stacked), Some(4 * 4 * (3 + 4) * 2));
    }

    const SHAPE: RolloutShape = RolloutShape::of_numbers(3, 2, 4);

    #[test]
    fn a_slot_that_cannot_be_addressed_is_refused() {
        let too_large = [
            RolloutShape { unroll_length: usize::MAX, ..SHAPE },
            RolloutShape { n_envs: usize::MAX / 8, ..SHAPE },
            RolloutShape { obs: Numbers::new(Number::U8, usize::MAX / 4), ..SHAPE },
        ];
        assert!(too_large.iter().all(|shape| SlotLayout::of(shape).is_none()));
    }

    #[test]
    fn only_finished_episodes_are_told_even_if_the_header_lies() {
        let mut buffer = RolloutBuffer::new(SHAPE);
        let rollout = buffer.view_mut();
        rollout.episode_returns[..2].copy_from_slice(&[9.0, 500.0]);
        rollout.episode_lengths[..2].copy_from_slice(&[9, 500]);
        rollout.header.n_episodes = 2;
        assert_eq!(buffer.view().episodes().collect::<Vec<_>>(), [(9.0, 9), (500.0, 500)]);
        buffer.view_mut().header.n_episodes = u64::MAX;
        assert_eq!(buffer.view().episodes().count(), SHAPE.n_frames());
    }

    #[test]
    fn a_bad_number_is_found_in_numbers_and_cannot_be_in_pixels() {
        let mut buffer = RolloutBuffer::new(SHAPE);
        assert!(buffer.view_mut().is_finite());
        buffer.view_mut().rewards[5] = f32::INFINITY;
        assert!(!buffer.view_mut().is_finite());
        let mut pixels =
            RolloutBuffer::new(RolloutShape { obs: Numbers::new(Number::U8, 4), ..SHAPE });
        assert!(pixels.view_mut().is_finite());
        let mut numbers = RolloutBuffer::new(SHAPE);
        let ObsMut::Numbers(mut obs) = numbers.view_mut().obs else { panic!("pixels") };
        obs[[3, 7]] = f32::NAN;
        assert!(!numbers.view_mut().is_finite());
    }
}
