//! A ring of fixed-size slots between one producer and one consumer that may die at any instruction.
//!
//! Owns: the two indices and the order in which they move: claim → publish → take → release. Knows
//! nothing of what a slot holds or where it lies: slot `index % n_slots` belongs to whoever the indices
//! say (invariants R1–R5 in `shm/mod.rs`). Called by `producer.rs` and `consumer.rs` alone.

use crate::base::sync::{AtomicU64, Ordering};

/// An index alone on two cache lines: neighbouring lines are fetched in pairs, so that 64 bytes would
/// let one side's stores slow the other side down.
#[derive(Default)]
#[repr(C, align(128))]
struct IndexLine {
    index: AtomicU64,
}

/// What both sides share: two indices that count slots since the ring was made and never wrap.
///
/// All zero is an empty ring.
#[derive(Default)]
#[repr(C)]
pub struct RingState {
    /// Number of slots ever published. Written by the producer only.
    head: IndexLine,
    /// Number of slots ever released. Written by the consumer only.
    tail: IndexLine,
}

/// The indices cannot be those of a ring of this size: somebody wrote over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "ring indices are corrupt: {head} slots published, {tail} released, capacity {n_slots}; \
     start with a fresh segment"
)]
pub struct CorruptRing {
    /// Slots published.
    pub head: u64,
    /// Slots released.
    pub tail: u64,
    /// Capacity in slots.
    pub n_slots: u64,
}

impl RingState {
    /// Makes it an empty ring. Only while neither side lives.
    pub fn reset(&self) {
        // Relaxed: forking orders this before all that new sides do.
        self.head.index.store(0, Ordering::Relaxed);
        self.tail.index.store(0, Ordering::Relaxed);
    }

    /// The indices `(head, tail)` for somebody who only looks on.
    pub fn glance(&self) -> (u64, u64) {
        // Relaxed: no slot is read on the strength of these numbers.
        (self.head.index.load(Ordering::Relaxed), self.tail.index.load(Ordering::Relaxed))
    }

    /// The indices `(head, tail)`, if they are possible (R5).
    ///
    /// At most one side may be moving meanwhile: the caller is, or stands in for, the other one.
    fn checked_indices(&self, n_slots: u64) -> Result<(u64, u64), CorruptRing> {
        assert!(n_slots > 0, "a ring has at least one slot");
        // SYNC: partners of the stores in `RingProducer::publish` and `RingConsumer::release`, for the
        // index of the living peer. Our own side's index was last stored by a predecessor that was
        // reaped before we were started, which already orders everything it did before us.
        let head = self.head.index.load(Ordering::Acquire);
        let tail = self.tail.index.load(Ordering::Acquire);
        if head.wrapping_sub(tail) > n_slots {
            return Err(CorruptRing { head, tail, n_slots });
        }
        Ok((head, tail))
    }
}

/// The filling side of a ring.
pub struct RingProducer<'a> {
    state: &'a RingState,
    n_slots: u64,
    /// Always equal to the shared head, which only this side writes.
    head: u64,
    /// A tail seen earlier. May be stale, and then only hides free slots.
    seen_tail: u64,
    /// Whether `head` has been claimed and not yet published.
    claimed: bool,
}

impl<'a> RingProducer<'a> {
    /// Continues where the previous producer stopped. A slot that it had claimed but not published is
    /// simply claimed again.
    ///
    /// # Errors
    /// [`CorruptRing`] if the indices are impossible.
    pub fn attach(state: &'a RingState, n_slots: u64) -> Result<Self, CorruptRing> {
        let (head, seen_tail) = state.checked_indices(n_slots)?;
        Ok(RingProducer { state, n_slots, head, seen_tail, claimed: false })
    }

    /// Index of the free slot to fill next, or `None` while the ring is full.
    ///
    /// The same index is returned until it has been published.
    ///
    /// # Panics
    /// If the consumer's index has become impossible (R5). Whoever attaches next says so with an error.
    pub fn try_claim(&mut self) -> Option<u64> {
        if self.is_full() {
            // SYNC: partner of the store in `RingConsumer::release`. What the consumer read from the
            // slots it handed back happened before we write into them; relaxed, our writes could be
            // seen by reads of the previous round.
            let tail = self.state.tail.index.load(Ordering::Acquire);
            let is_possible = (self.seen_tail..=self.head).contains(&tail);
            assert!(
                is_possible,
                "{}",
                CorruptRing { head: self.head, tail, n_slots: self.n_slots }
            );
            self.seen_tail = tail;
            if self.is_full() {
                return None;
            }
        }
        self.claimed = true;
        Some(self.head)
    }

    /// Makes the claimed slot visible to the consumer: one store, so a producer killed around it has
    /// either published the whole slot or nothing.
    ///
    /// # Panics
    /// If no slot is claimed.
    pub fn publish(&mut self) {
        assert!(self.claimed, "publish needs a claimed slot");
        self.claimed = false;
        self.head += 1;
        // SYNC: partner of the loads in `RingConsumer`. Publishes all that we wrote into the slot;
        // relaxed, the consumer could take a slot and find its former content.
        self.state.head.index.store(self.head, Ordering::Release);
    }

    /// Breaks R3, so that a storm can show that it notices: shows the claimed slot before it is filled.
    #[cfg(feature = "faults")]
    pub fn publish_early(&self) {
        // Relaxed, since there is nothing that it could publish.
        self.state.head.index.store(self.head + 1, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.head - self.seen_tail == self.n_slots
    }
}

/// The emptying side of a ring.
pub struct RingConsumer<'a> {
    state: &'a RingState,
    n_slots: u64,
    /// Always equal to the shared tail, which only this side writes.
    tail: u64,
    /// The next slot to take. Slots in `tail..next` are taken and not yet handed back.
    next: u64,
    /// A head seen earlier. May be stale, and then only hides published slots.
    seen_head: u64,
    /// Which slots were released before an older one was: slot `index` at `index % n_slots`.
    is_early: Box<[bool]>,
}

impl<'a> RingConsumer<'a> {
    /// Continues where the previous consumer stopped. Slots that it had taken but not released are taken
    /// again: each slot is consumed at least once.
    ///
    /// # Errors
    /// [`CorruptRing`] if the indices are impossible.
    pub fn attach(state: &'a RingState, n_slots: u64) -> Result<Self, CorruptRing> {
        let (seen_head, tail) = state.checked_indices(n_slots)?;
        let is_early = vec![false; n_slots as usize].into();
        Ok(RingConsumer { state, n_slots, tail, next: tail, seen_head, is_early })
    }

    /// Number of published slots that have not been taken.
    ///
    /// # Panics
    /// If the producer's index has become impossible (R5). Whoever attaches next says so with an error.
    pub fn n_ready(&mut self) -> u64 {
        self.look_at_head();
        self.seen_head - self.next
    }

    /// Takes the oldest published slot, or `None` if there is none. Several may be taken before they are
    /// released.
    ///
    /// # Panics
    /// As [`n_ready`](Self::n_ready).
    pub fn try_take(&mut self) -> Option<u64> {
        if self.next == self.seen_head {
            self.look_at_head();
            if self.next == self.seen_head {
                return None;
            }
        }
        self.next += 1;
        Some(self.next - 1)
    }

    /// Number of slots ever taken: the index of the next one.
    pub fn n_taken(&self) -> u64 {
        self.next
    }

    /// Releases a taken slot; returns whether that handed any back to the producer. Slots go back in the
    /// order in which they were taken: one released early follows the older ones.
    ///
    /// # Panics
    /// If the slot is not taken, or was released.
    pub fn release(&mut self, index: u64) -> bool {
        let is_taken = (self.tail..self.next).contains(&index);
        assert!(is_taken && !*self.early(index), "slot {index} is not taken");
        *self.early(index) = true;
        let before = self.tail;
        while std::mem::take(self.early(self.tail)) {
            self.tail += 1;
        }
        if self.tail == before {
            return false;
        }
        // SYNC: partner of the load in `RingProducer::try_claim`. Our reads of these slots happened
        // before the producer's next writes; relaxed, it could overwrite what we are still reading.
        self.state.tail.index.store(self.tail, Ordering::Release);
        true
    }

    fn early(&mut self, index: u64) -> &mut bool {
        &mut self.is_early[(index % self.n_slots) as usize]
    }

    fn look_at_head(&mut self) {
        // SYNC: partner of the store in `RingProducer::publish`. Makes the content of all slots below
        // this head visible; relaxed, we could read what they held a round ago.
        let head = self.state.head.index.load(Ordering::Acquire);
        let is_possible = (self.next..=self.tail + self.n_slots).contains(&head);
        assert!(is_possible, "{}", CorruptRing { head, tail: self.tail, n_slots: self.n_slots });
        self.seen_head = head;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A ring whose indices stand at the given values.
    fn ring_at(head: u64, tail: u64) -> RingState {
        let state = RingState::default();
        state.head.index.store(head, Ordering::Relaxed);
        state.tail.index.store(tail, Ordering::Relaxed);
        state
    }

    #[test]
    fn impossible_indices_are_refused_by_both_sides() {
        for (head, tail) in [(3, 0), (0, 1), (u64::MAX, 5)] {
            let state = ring_at(head, tail);
            let corrupt = CorruptRing { head, tail, n_slots: 2 };
            assert_eq!(RingProducer::attach(&state, 2).err(), Some(corrupt));
            assert_eq!(RingConsumer::attach(&state, 2).err(), Some(corrupt));
        }
        assert!(RingProducer::attach(&ring_at(7, 5), 2).is_ok());
    }

    #[test]
    #[should_panic(expected = "ring indices are corrupt: 1 slots published, 4 released")]
    fn a_tail_that_runs_ahead_is_no_free_slot() {
        let state = RingState::default();
        let mut producer = RingProducer::attach(&state, 1).unwrap();
        producer.try_claim();
        producer.publish();
        state.tail.index.store(4, Ordering::Relaxed);
        producer.try_claim();
    }

    #[test]
    #[should_panic(expected = "ring indices are corrupt: 1 slots published, 0 released")]
    fn a_head_that_goes_back_is_no_slot_to_take() {
        let state = ring_at(2, 0);
        let mut consumer = RingConsumer::attach(&state, 2).unwrap();
        assert_eq!((consumer.try_take(), consumer.try_take()), (Some(0), Some(1)));
        state.head.index.store(1, Ordering::Relaxed);
        consumer.n_ready();
    }

    #[test]
    fn claiming_again_gives_the_same_slot_until_it_is_published() {
        let state = RingState::default();
        let mut producer = RingProducer::attach(&state, 2).unwrap();
        assert_eq!(producer.try_claim(), Some(0));
        assert_eq!(producer.try_claim(), Some(0));
        producer.publish();
        assert_eq!(producer.try_claim(), Some(1));
        producer.publish();
        assert_eq!(producer.try_claim(), None);
    }

    #[test]
    #[should_panic(expected = "publish needs a claimed slot")]
    fn publishing_without_a_claim_is_a_bug() {
        let state = RingState::default();
        let mut producer = RingProducer::attach(&state, 2).unwrap();
        producer.try_claim();
        producer.publish();
        producer.publish();
    }

    #[test]
    fn release_hands_back_everything_taken_and_nothing_else() {
        let state = RingState::default();
        let mut producer = RingProducer::attach(&state, 3).unwrap();
        let mut consumer = RingConsumer::attach(&state, 3).unwrap();
        for _ in 0..3 {
            producer.try_claim();
            producer.publish();
        }
        assert_eq!(consumer.n_ready(), 3);
        assert_eq!((consumer.try_take(), consumer.try_take()), (Some(0), Some(1)));
        assert_eq!(producer.try_claim(), None, "taken slots are not free yet");
        assert!(!consumer.release(1), "the older one is still being read");
        assert_eq!(producer.try_claim(), None);
        assert!(consumer.release(0));
        for index in [3, 4] {
            assert_eq!(producer.try_claim(), Some(index));
            producer.publish();
        }
        assert_eq!(producer.try_claim(), None, "slot 2 is not released");
        assert_eq!((consumer.try_take(), consumer.try_take()), (Some(2), Some(3)));
        assert_eq!((consumer.try_take(), consumer.try_take()), (Some(4), None));
    }

    #[test]
    #[should_panic(expected = "slot 0 is not taken")]
    fn a_slot_is_released_once() {
        let state = RingState::default();
        let mut producer = RingProducer::attach(&state, 2).unwrap();
        let mut consumer = RingConsumer::attach(&state, 2).unwrap();
        producer.try_claim();
        producer.publish();
        consumer.try_take();
        consumer.release(0);
        consumer.release(0);
    }
}
