//! The protocols under concurrency: the ring, the weights, the doorbell.

use std::time::Duration;

use shm_model::machine::{Arc, UnsafeCell, explore, thread};
use shm_model::shm::doorbell::Doorbell;
use shm_model::shm::ring::{RingConsumer, RingProducer, RingState};
use shm_model::shm::weights::{WeightsReader, WeightsRegion, WeightsState, WeightsWriter, n_words};
use shm_model::base::sync::{AtomicU64, Ordering};

/// A ring whose slots are plain memory: any access that the protocol does not order is a data race, which
/// loom and Miri report.
struct Ring {
    state: RingState,
    slots: Vec<UnsafeCell<u64>>,
}

// SAFETY: the slots are accessed as the ring allows; that this is enough is what is tested.
unsafe impl Sync for Ring {}
// SAFETY: it is plain data.
unsafe impl Send for Ring {}

impl Ring {
    fn new(n_slots: u64) -> Arc<Ring> {
        let slots = (0..n_slots).map(|_| UnsafeCell::new(0)).collect();
        Arc::new(Ring { state: RingState::default(), slots })
    }

    fn producer(&self) -> RingProducer<'_> {
        RingProducer::attach(&self.state, self.slots.len() as u64).unwrap()
    }

    fn consumer(&self) -> RingConsumer<'_> {
        RingConsumer::attach(&self.state, self.slots.len() as u64).unwrap()
    }

    fn slot(&self, index: u64) -> &UnsafeCell<u64> {
        &self.slots[index as usize % self.slots.len()]
    }

    /// Claims the next slot and writes what belongs into it; does not publish it.
    fn fill_next(&self, producer: &mut RingProducer) {
        let index = wait_for(|| producer.try_claim());
        // SAFETY: the slot is claimed.
        self.slot(index).with_mut(|slot| unsafe { *slot = payload(index) });
    }

    /// Takes the next slot and checks that it holds what was published.
    fn take_next(&self, consumer: &mut RingConsumer) -> u64 {
        let index = wait_for(|| consumer.try_take());
        // SAFETY: the slot is taken.
        let found = self.slot(index).with(|slot| unsafe { *slot });
        assert_eq!(found, payload(index));
        index
    }
}

fn payload(index: u64) -> u64 {
    100 + index
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look() {
            return found;
        }
        thread::yield_now();
    }
}

/// `n_rollouts` pass through a ring of `n_slots`, `n_together` taken before each release.
fn hand_over(n_slots: u64, n_rollouts: u64, n_together: u64) {
    let ring = Ring::new(n_slots);
    let filling = {
        let ring = ring.clone();
        thread::spawn(move || {
            let mut producer = ring.producer();
            for _ in 0..n_rollouts {
                ring.fill_next(&mut producer);
                producer.publish();
            }
        })
    };
    let mut consumer = ring.consumer();
    for expected in 0..n_rollouts {
        assert_eq!(ring.take_next(&mut consumer), expected);
        if (expected + 1) % n_together == 0 {
            // The youngest first, as threads of one consumer may do it.
            (expected + 1 - n_together..=expected).rev().for_each(|index| {
                consumer.release(index);
            });
        }
    }
    assert_eq!(consumer.n_ready(), 0);
    filling.join().unwrap();
}

#[test]
fn ring_of_one_slot_hands_over() {
    explore(|| hand_over(1, 3, 1));
}

#[test]
fn ring_of_two_slots_hands_over() {
    explore(|| hand_over(2, 4, 1));
}

#[test]
fn ring_survives_several_takes_before_a_release() {
    explore(|| hand_over(2, 4, 2));
}

/// Two producers, one after the other: the first dies with a slot half-filled.
fn two_lives_of_a_producer(ring: &Ring) {
    let mut first = ring.producer();
    ring.fill_next(&mut first);
    first.publish();
    let half_filled = wait_for(|| first.try_claim());
    // SAFETY: the slot is claimed.
    ring.slot(half_filled).with_mut(|slot| unsafe { *slot = 666 });
    let mut second = ring.producer();
    for _ in 0..2 {
        ring.fill_next(&mut second);
        second.publish();
    }
}

#[test]
fn ring_survives_the_death_of_a_producer() {
    explore(|| {
        let ring = Ring::new(1);
        let filling = {
            let ring = ring.clone();
            thread::spawn(move || two_lives_of_a_producer(&ring))
        };
        let mut consumer = ring.consumer();
        for expected in 0..3 {
            assert_eq!(ring.take_next(&mut consumer), expected);
            consumer.release(expected);
        }
        filling.join().unwrap();
    });
}

#[test]
fn ring_gives_unreleased_slots_to_the_next_consumer() {
    explore(|| {
        let ring = Ring::new(2);
        let filling = {
            let ring = ring.clone();
            thread::spawn(move || {
                let mut producer = ring.producer();
                for _ in 0..3 {
                    ring.fill_next(&mut producer);
                    producer.publish();
                }
            })
        };
        let mut first = ring.consumer();
        assert_eq!(ring.take_next(&mut first), 0);
        first.release(0);
        assert_eq!(ring.take_next(&mut first), 1);
        let mut second = ring.consumer();
        assert_eq!(ring.take_next(&mut second), 1);
        assert_eq!(ring.take_next(&mut second), 2);
        second.release(1);
        second.release(2);
        filling.join().unwrap();
    });
}

/// Three parameters: one full word and one half.
const N_PARAMS: usize = 3;

struct Weights {
    state: WeightsState,
    cells: [Vec<AtomicU64>; 2],
}

impl Weights {
    fn new() -> Arc<Weights> {
        let words = || (0..n_words(N_PARAMS)).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Weights { state: WeightsState::default(), cells: [words(), words()] })
    }

    fn region(&self) -> WeightsRegion<'_> {
        WeightsRegion { state: &self.state, cells: [&self.cells[0], &self.cells[1]] }
    }

    fn writer(&self) -> WeightsWriter<'_> {
        WeightsWriter::attach(self.region(), N_PARAMS)
    }

    fn publish(&self, version: u64) {
        self.writer().publish(version, &params(version));
    }
}

fn params(version: u64) -> [f32; N_PARAMS] {
    [version as f32; N_PARAMS]
}

/// Reads `n_reads` times: all parameters are of the version that they come with, which only goes up.
fn read_checked(weights: &Weights, n_reads: usize) {
    let mut reader = WeightsReader::attach(weights.region(), N_PARAMS);
    let (mut read, mut newest) = ([0.0; N_PARAMS], None);
    for _ in 0..n_reads {
        if let Some(version) = reader.read_if_newer(&mut read).unwrap() {
            assert!(Some(version) > newest, "version {version} after {newest:?}");
            assert_eq!(read, params(version), "torn");
            newest = Some(version);
        }
    }
    assert!(reader.version().unwrap() >= newest);
}

/// Runs `write` beside a thread that does `read`.
///
/// The reader is the spawned thread: of each word loom remembers the last access only, and would not try
/// a writer's store before a reader's load if the writer itself had loaded the word in between.
fn beside_reader(
    weights: &Arc<Weights>,
    read: impl FnOnce(&Weights) + Send + 'static,
    write: impl FnOnce(&Weights),
) {
    let reading = {
        let weights = weights.clone();
        thread::spawn(move || read(&weights))
    };
    write(weights);
    reading.join().unwrap();
}

#[test]
fn weights_are_never_torn_and_never_go_back() {
    explore(|| {
        let weights = Weights::new();
        weights.publish(1);
        beside_reader(
            &weights,
            |weights| read_checked(weights, 2),
            |weights| {
                let mut writer = weights.writer();
                (2..=3).for_each(|version| writer.publish(version, &params(version)));
            },
        );
        read_checked(&weights, 1);
    });
}

#[test]
fn weights_are_unpublished_until_the_first_version_is_whole() {
    explore(|| {
        let weights = Weights::new();
        beside_reader(&weights, |weights| read_checked(weights, 2), |weights| weights.publish(1));
    });
}

#[test]
fn weights_never_make_a_reader_wait_for_one_publication() {
    explore(|| {
        let weights = Weights::new();
        weights.publish(1);
        let read = |weights: &Weights| {
            let mut reader = WeightsReader::attach(weights.region(), N_PARAMS);
            let version = reader.read_if_newer(&mut [0.0; N_PARAMS]).unwrap();
            assert!(version >= Some(1), "version 1 was there before");
            assert_eq!(reader.n_retries(), 0);
        };
        beside_reader(&weights, read, |weights| weights.publish(2));
    });
}

#[test]
fn weights_stay_readable_when_the_writer_dies() {
    explore(|| {
        let weights = Weights::new();
        weights.publish(1);
        let die = |weights: &Weights| weights.writer().begin(2).fill(&params(2)[..2]);
        beside_reader(&weights, |weights| read_checked(weights, 1), die);
        let mut reader = WeightsReader::attach(weights.region(), N_PARAMS);
        let mut read = [0.0; N_PARAMS];
        assert_eq!((reader.read_if_newer(&mut read), read), (Ok(Some(1)), params(1)));
    });
}

#[test]
fn weights_are_whole_again_with_the_next_writer() {
    explore(|| {
        let weights = Weights::new();
        weights.publish(1);
        weights.publish(2);
        let die_and_be_replaced = |weights: &Weights| {
            weights.writer().begin(3).fill(&params(3)[..2]);
            weights.publish(4);
        };
        beside_reader(&weights, |weights| read_checked(weights, 2), die_and_be_replaced);
        assert_eq!(WeightsReader::attach(weights.region(), N_PARAMS).version(), Ok(Some(4)));
    });
}

/// A doorbell and the word for which its sleepers wait.
#[derive(Default)]
struct Post {
    doorbell: Doorbell,
    n_letters: AtomicU64,
}

impl Post {
    fn deliver(&self) {
        // Relaxed: the doorbell itself must make the letter visible to whoever it wakes.
        self.n_letters.fetch_add(1, Ordering::Relaxed);
        self.doorbell.ring();
    }

    /// A lost wake-up is a deadlock, which loom reports and everyone else notices.
    fn wait_for_letters(&self, n_letters: u64) {
        const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let has_come = || (self.n_letters.load(Ordering::Relaxed) >= n_letters).then_some(());
        while self.doorbell.wait_for(A_DAY, has_come).is_none() {}
    }
}

#[test]
fn doorbell_wakes_a_sleeper_for_every_letter() {
    explore(|| {
        let post = Arc::new(Post::default());
        let delivering = {
            let post = post.clone();
            thread::spawn(move || (0..2).for_each(|_| post.deliver()))
        };
        post.wait_for_letters(1);
        post.wait_for_letters(2);
        delivering.join().unwrap();
    });
}

#[test]
fn doorbell_hears_every_ringer() {
    explore(|| {
        let post = Arc::new(Post::default());
        let delivering = [(); 2].map(|()| {
            let post = post.clone();
            thread::spawn(move || post.deliver())
        });
        post.wait_for_letters(2);
        delivering.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn doorbell_wakes_every_sleeper() {
    explore(|| {
        let post = Arc::new(Post::default());
        let waiting = {
            let post = post.clone();
            thread::spawn(move || post.wait_for_letters(1))
        };
        let delivering = {
            let post = post.clone();
            thread::spawn(move || post.deliver())
        };
        post.wait_for_letters(1);
        delivering.join().unwrap();
        waiting.join().unwrap();
    });
}
