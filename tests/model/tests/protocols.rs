//! The protocols under concurrency: the ring, the two cells and the weights in them, the doorbell.

use std::time::Duration;

use shm_model::machine::{Arc, UnsafeCell, explore, thread};
use shm_model::shm::cells::{CellsReader, CellsRegion, CellsState, CellsWriter};
use shm_model::shm::doorbell::Doorbell;
use shm_model::shm::ring::{RingConsumer, RingProducer, RingState};
use shm_model::shm::weights::{WeightsReader, WeightsWriter, n_words};
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

/// Words of a cell: two can be of different writes.
const N_WORDS: usize = 2;

struct Cells {
    state: CellsState,
    cells: [Vec<AtomicU64>; 2],
}

impl Cells {
    fn new(n_words: usize) -> Arc<Cells> {
        let words = || (0..n_words).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Cells { state: CellsState::default(), cells: [words(), words()] })
    }

    fn region(&self) -> CellsRegion<'_> {
        CellsRegion { state: &self.state, cells: [&self.cells[0], &self.cells[1]] }
    }

    fn writer(&self) -> CellsWriter<'_> {
        CellsWriter::attach(self.region())
    }

    fn write(&self, version: u64) {
        write_with(&mut self.writer(), version);
    }
}

/// A write whose words all say `version`.
fn write_with(writer: &mut CellsWriter, version: u64) {
    let write = writer.begin(version);
    write.set_words(0, [version; N_WORDS]);
    write.commit();
}

/// All words, if there are newer ones, and their version.
fn read(reader: &mut CellsReader) -> Option<(u64, Vec<u64>)> {
    let mut copy = Vec::new();
    let version = reader.read_with(|look| copy = look.words(0).collect()).unwrap()?;
    Some((version, copy))
}

/// Reads `n_reads` times: all words are of the version that they come with, which only goes up.
fn read_checked(cells: &Cells, n_reads: usize) {
    let mut reader = CellsReader::attach(cells.region());
    let mut newest = None;
    for _ in 0..n_reads {
        if let Some((version, words)) = read(&mut reader) {
            assert!(Some(version) > newest, "version {version} after {newest:?}");
            assert_eq!(words, [version; N_WORDS], "torn");
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
    cells: &Arc<Cells>,
    read: impl FnOnce(&Cells) + Send + 'static,
    write: impl FnOnce(&Cells),
) {
    let reading = {
        let cells = cells.clone();
        thread::spawn(move || read(&cells))
    };
    write(cells);
    reading.join().unwrap();
}

#[test]
fn cells_are_never_torn_and_never_go_back() {
    explore(|| {
        let cells = Cells::new(N_WORDS);
        cells.write(1);
        beside_reader(
            &cells,
            |cells| read_checked(cells, 2),
            |cells| {
                let mut writer = cells.writer();
                (2..=3).for_each(|version| write_with(&mut writer, version));
            },
        );
        read_checked(&cells, 1);
    });
}

#[test]
fn cells_are_unwritten_until_the_first_version_is_whole() {
    explore(|| {
        let cells = Cells::new(N_WORDS);
        beside_reader(&cells, |cells| read_checked(cells, 2), |cells| cells.write(1));
    });
}

#[test]
fn cells_never_make_a_reader_wait_for_one_write() {
    explore(|| {
        let cells = Cells::new(N_WORDS);
        cells.write(1);
        let read = |cells: &Cells| {
            let mut reader = CellsReader::attach(cells.region());
            let version = read(&mut reader).map(|(version, _)| version);
            assert!(version >= Some(1), "version 1 was there before");
            assert_eq!(reader.n_retries(), 0);
        };
        beside_reader(&cells, read, |cells| cells.write(2));
    });
}

#[test]
fn cells_stay_readable_when_the_writer_dies() {
    explore(|| {
        let cells = Cells::new(N_WORDS);
        cells.write(1);
        let die = |cells: &Cells| _ = cells.writer().begin(2).set_words(0, [2]);
        beside_reader(&cells, |cells| read_checked(cells, 1), die);
        let mut reader = CellsReader::attach(cells.region());
        assert_eq!(read(&mut reader), Some((1, vec![1; N_WORDS])));
    });
}

#[test]
fn cells_are_whole_again_with_the_next_writer() {
    explore(|| {
        let cells = Cells::new(N_WORDS);
        cells.write(1);
        cells.write(2);
        let die_and_be_replaced = |cells: &Cells| {
            cells.writer().begin(3).set_words(0, [3]);
            cells.write(4);
        };
        beside_reader(&cells, |cells| read_checked(cells, 2), die_and_be_replaced);
        assert_eq!(CellsReader::attach(cells.region()).version(), Ok(Some(4)));
    });
}

/// The last parameter has half a word.
#[test]
fn weights_are_all_of_the_version_that_they_come_with() {
    const N_PARAMS: usize = 3;
    let params = |version: u64| [version as f32; N_PARAMS];
    explore(move || {
        let cells = Cells::new(n_words(N_PARAMS));
        let read = move |cells: &Cells| {
            let mut reader = WeightsReader::attach(cells.region(), N_PARAMS);
            let mut read = [0.0; N_PARAMS];
            if let Some(version) = reader.read_if_newer(&mut read).unwrap() {
                assert_eq!(read, params(version), "torn");
            }
        };
        beside_reader(&cells, read, move |cells| {
            let mut writer = WeightsWriter::attach(cells.region(), N_PARAMS);
            (1..=3).for_each(|version| writer.publish(version, &params(version)));
        });
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
