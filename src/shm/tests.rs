//! The segment on the heap, as one process and its threads see it. Miri runs these too.

use std::thread;
use std::time::Duration;

use super::layout::{LayoutError, SegmentShape};
use super::{Segment, SegmentError};
use crate::base::sync::Ordering;
use crate::rollout::StepKind;
use crate::rollout::{Rollout, RolloutMut, RolloutShape};

const SHAPE: SegmentShape = SegmentShape {
    n_actors: 2,
    slots_per_actor: 2,
    n_params: 7,
    n_moments: 2,
    rollout: RolloutShape::of_numbers(3, 2, 4),
};

/// Long enough never to matter.
const LONG: Duration = Duration::from_secs(60);

/// A kind with this number, which need not be one that an environment writes.
fn kind(number: u32) -> StepKind {
    bytemuck::cast(number)
}

/// Fills every field with numbers that name the rollout and their own place.
fn fill(rollout: &mut RolloutMut, name: u32) {
    rollout.obs.numbers().iter_mut().zip(0u32..).for_each(|(x, i)| *x = (name + i) as f32);
    rollout.log_mu.iter_mut().zip(1u32..).for_each(|(x, i)| *x = (name + i) as f32);
    rollout.actions.index_row().fill(name as i32 + 2);
    rollout.rewards.fill(name as f32 + 3.0);
    rollout.kinds.fill(kind(name + 4));
    rollout.episode_returns.fill(name as f32 + 5.0);
    rollout.episode_lengths.fill(name + 6);
}

fn assert_filled(rollout: &Rollout, name: u32) {
    assert!(rollout.obs.numbers().iter().zip(0u32..).all(|(&x, i)| x == (name + i) as f32));
    assert!(rollout.log_mu.iter().zip(1u32..).all(|(&x, i)| x == (name + i) as f32));
    assert_eq!(rollout.actions.index_row(), [name as i32 + 2; 6]);
    assert_eq!(rollout.rewards, [name as f32 + 3.0; 6]);
    assert_eq!(rollout.kinds, [kind(name + 4); 6]);
    assert_eq!(rollout.episode_returns, [name as f32 + 5.0; 6]);
    assert_eq!(rollout.episode_lengths, [name + 6; 6]);
}

#[test]
fn rollouts_arrive_as_written_and_stamped() {
    let segment = Segment::heap(&SHAPE).unwrap();
    let (mut producer, mut consumer) =
        (segment.producer(1, 5).unwrap(), segment.consumer(1).unwrap());
    for round in 0..3u64 {
        for sequence in [2 * round, 2 * round + 1] {
            let mut slot = producer.try_claim().unwrap();
            fill(&mut slot.rollout(), 1_000 * sequence as u32);
            slot.publish(40 + sequence);
        }
        assert!(producer.try_claim().is_none(), "the ring is full");
        assert_eq!(consumer.n_ready(), 2);
        let taken = [consumer.try_take().unwrap(), consumer.try_take().unwrap()];
        for (sequence, rollout) in taken.each_ref().map(|slot| (slot.index(), slot.rollout())) {
            assert_filled(&rollout, 1_000 * sequence as u32);
            let header = rollout.header;
            assert_eq!((header.policy_version, header.generation), (40 + sequence, 5));
            assert_eq!(header.sequence, sequence);
            assert!(header.published_ns > 0);
        }
        taken.into_iter().for_each(|slot| consumer.release(slot));
    }
    assert_eq!(segment.consumer(0).unwrap().n_ready(), 0, "the other ring is untouched");
}

#[test]
fn sleeping_sides_wake_each_other() {
    const N_ROLLOUTS: u64 = if cfg!(miri) { 20 } else { 2_000 };
    let segment = Segment::heap(&SHAPE).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut producer = segment.producer(0, 0).unwrap();
            for sequence in 0..N_ROLLOUTS {
                while producer.claim(LONG).is_none() {}
                let mut slot = producer.try_claim().unwrap();
                fill(&mut slot.rollout(), sequence as u32);
                slot.publish(sequence);
            }
        });
        let mut consumer = segment.consumer(0).unwrap();
        for expected in 0..N_ROLLOUTS {
            let slot = loop {
                if let Some(slot) =
                    segment.learner_doorbell().wait_for(LONG, || consumer.try_take())
                {
                    break slot;
                }
            };
            assert_eq!(slot.index(), expected);
            assert_filled(&slot.rollout(), expected as u32);
            consumer.release(slot);
        }
    });
}

#[test]
fn a_role_has_one_holder_at_a_time() {
    let segment = Segment::heap(&SHAPE).unwrap();
    let producer = segment.producer(0, 0).unwrap();
    assert!(matches!(segment.producer(0, 1), Err(SegmentError::RoleTaken { role: "producer" })));
    assert!(segment.producer(1, 0).is_ok(), "another ring is another role");
    drop(producer);
    assert!(segment.producer(0, 1).is_ok());
    let _consumer = segment.consumer(0).unwrap();
    assert!(matches!(segment.consumer(0), Err(SegmentError::RoleTaken { .. })));
    let _writer = segment.weights_writer().unwrap();
    assert!(matches!(segment.weights_writer(), Err(SegmentError::RoleTaken { .. })));
}

#[test]
fn replacements_continue_where_their_predecessors_stopped() {
    let segment = Segment::heap(&SHAPE).unwrap();
    for generation in 0..4 {
        let mut producer = segment.producer(0, generation).unwrap();
        let mut slot = producer.try_claim().unwrap();
        fill(&mut slot.rollout(), generation as u32);
        slot.publish(0);
        fill(&mut producer.try_claim().unwrap().rollout(), 666);
        let mut consumer = segment.consumer(0).unwrap();
        assert_eq!(consumer.try_take().unwrap().index(), generation);
        drop(consumer);
        let mut consumer = segment.consumer(0).unwrap();
        let slot = consumer.try_take().unwrap();
        assert_eq!(slot.index(), generation, "taken, not released: taken again");
        assert_filled(&slot.rollout(), generation as u32);
        assert_eq!(slot.rollout().header.generation, generation);
        consumer.release(slot);
        assert!(consumer.try_take().is_none(), "the half-filled slot is unseen");
    }
}

#[test]
fn weights_and_board_reach_the_other_side() {
    let segment = Segment::heap(&SHAPE).unwrap();
    let mut reader = segment.weights_reader();
    let params = [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5];
    segment.weights_writer().unwrap().publish(0, &params);
    let mut read = [0.0; 7];
    assert_eq!(reader.read_if_newer(&mut read), Ok(Some(0)));
    assert_eq!(read, params);
    segment.board().actor(1).frames.add(6);
    segment.board().learner().updates.add(1);
    segment.board().order_stop();
    assert_eq!(segment.board().actors()[1].frames.get(), 6);
    assert_eq!(segment.board().actors()[0].frames.get(), 0);
    assert!(segment.board().stop_ordered());
    assert_eq!(segment.weights_reader().version(), Ok(Some(0)), "the board overwrote no weights");
}

#[test]
fn every_word_of_the_header_is_checked() {
    for position in 0..3 {
        let segment = Segment::heap(&SHAPE).unwrap();
        segment.check_header().unwrap();
        let (name, word) = segment.header().words()[position];
        word.store(word.load(Ordering::Relaxed) ^ 1, Ordering::Relaxed);
        let error = segment.check_header().unwrap_err();
        assert!(matches!(error, SegmentError::Header { field, .. } if field == name), "{error}");
    }
}

#[test]
fn a_taken_slot_keeps_the_role_of_its_consumer() {
    let segment = Segment::heap(&SHAPE).unwrap();
    let (mut producer, mut consumer) =
        (segment.producer(0, 0).unwrap(), segment.consumer(0).unwrap());
    let mut slot = producer.try_claim().unwrap();
    fill(&mut slot.rollout(), 7);
    slot.publish(0);
    let slot = consumer.try_take().unwrap();
    drop(consumer);
    assert!(matches!(segment.consumer(0), Err(SegmentError::RoleTaken { .. })));
    assert_filled(&slot.rollout(), 7);
    drop(slot);
    assert!(segment.consumer(0).is_ok());
}

#[test]
#[should_panic(expected = "a slot goes back to its own ring")]
fn a_slot_goes_back_to_its_own_ring() {
    let segment = Segment::heap(&SHAPE).unwrap();
    let mut producer = segment.producer(0, 0).unwrap();
    producer.try_claim().unwrap().publish(0);
    let slot = segment.consumer(0).unwrap().try_take().unwrap();
    segment.consumer(1).unwrap().release(slot);
}

#[test]
fn shapes_without_layout_are_refused() {
    let nobody = SegmentShape { n_actors: 0, ..SHAPE };
    assert!(matches!(Segment::heap(&nobody), Err(SegmentError::Layout(LayoutError::Zero { .. }))));
}
