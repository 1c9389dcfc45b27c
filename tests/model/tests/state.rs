//! The learner's state under concurrency: saved by a learner that may die, read by a supervisor while it
//! is saved, and by the next learner.

use shm_model::base::faults::die_during;
use shm_model::machine::{Arc, explore_within, thread};
use shm_model::rollout::RolloutShape;
use shm_model::shm::cells::{CellsRegion, CellsState};
use shm_model::shm::layout::{SegmentShape, StateWords};
use shm_model::shm::state::{SavedState, StateReader, StateWriter};
use shm_model::shm::weights::{WeightsReader, WeightsWriter, n_words};
use shm_model::state::{Counters, LearnerState, OptimizerState, ReturnStats, SCORE_WINDOW};
use shm_model::base::sync::AtomicU64;

const N_PARAMS: usize = 2;

const SHAPE: SegmentShape = SegmentShape {
    n_actors: 1,
    slots_per_actor: 1,
    n_params: N_PARAMS,
    n_moments: 1,
    rollout: RolloutShape::of_numbers(1, 1, 1),
};

/// Two cells and their heads.
struct Region {
    state: CellsState,
    cells: [Vec<AtomicU64>; 2],
}

impl Region {
    fn new(n_words: usize) -> Region {
        let words = || (0..n_words).map(|_| AtomicU64::new(0)).collect();
        Region { state: CellsState::default(), cells: [words(), words()] }
    }

    fn borrow(&self) -> CellsRegion<'_> {
        CellsRegion { state: &self.state, cells: [&self.cells[0], &self.cells[1]] }
    }
}

/// What a learner writes: its state, and the weights that actors act with.
struct Learning {
    state: Region,
    weights: Region,
}

impl Learning {
    fn new() -> Arc<Learning> {
        let state = Region::new(StateWords::of(&SHAPE).unwrap().n_words);
        Arc::new(Learning { state, weights: Region::new(n_words(N_PARAMS)) })
    }

    /// Saves the state of an update, as a learner that was started for it.
    fn save(&self, update: u64) {
        let mut writer = StateWriter::attach(self.state.borrow(), &SHAPE);
        writer.save(state(update).as_view(), [update]);
    }

    /// The last two steps of an update, in the learner's order.
    fn finish_update(&self, update: u64) {
        self.save(update);
        WeightsWriter::attach(self.weights.borrow(), N_PARAMS)
            .publish(update, &state(update).params);
    }

    fn reader(&self) -> StateReader<'_> {
        StateReader::attach(self.state.borrow(), &SHAPE)
    }
}

/// Runs `write` beside a thread that does `read`: the spawned one, for loom's sake, as in `protocols.rs`.
fn beside_reader(
    learning: &Arc<Learning>,
    read: impl FnOnce(&Learning) + Send + 'static,
    write: impl FnOnce(&Learning),
) {
    let reading = {
        let learning = learning.clone();
        thread::spawn(move || read(&learning))
    };
    write(learning);
    reading.join().unwrap();
}

/// A state in which each number says which update it is of.
fn state(update: u64) -> LearnerState {
    LearnerState {
        counters: Counters {
            frames: update,
            updates: update,
            episodes: update,
            frames_produced_before: update,
            solved_frames: update,
            solved_ns: update,
        },
        recent_returns: [update as f64; SCORE_WINDOW],
        return_stats: ReturnStats {
            n: update as f64,
            mean: update as f64,
            square_sum: update as f64,
        },
        params: vec![update as f32; N_PARAMS],
        optimizer: OptimizerState {
            n_steps: update,
            square: vec![update as f32; N_PARAMS],
            mean: Vec::new(),
        },
    }
}

/// The update that a saved state is of, after all of it.
fn update_of(saved: &SavedState) -> u64 {
    let update = saved.state.counters.updates;
    assert_eq!(saved.state, state(update), "torn");
    assert_eq!(saved.consumed, [update], "torn");
    update
}

/// Reads `n_reads` times: whole states, of one of these updates, which only go up.
fn read_checked(learning: &Learning, n_reads: usize, updates: &[u64]) {
    let mut reader = learning.reader();
    let mut newest = 0;
    for _ in 0..n_reads {
        if let Some(saved) = reader.read_if_newer().unwrap() {
            let update = update_of(&saved);
            assert!(updates.contains(&update), "update {update} was never finished");
            assert!(update > newest, "update {update} after {newest}");
            newest = update;
        }
    }
}

/// As the supervisor reads it for a checkpoint, so slowly that the writer comes round.
#[test]
fn state_is_never_torn_and_never_goes_back() {
    explore_within(1, || {
        let learning = Learning::new();
        learning.save(1);
        beside_reader(
            &learning,
            |learning| read_checked(learning, 1, &[1, 2, 3]),
            |learning| (2..=3).for_each(|update| learning.save(update)),
        );
        read_checked(&learning, 1, &[3]);
    });
}

#[test]
fn state_is_none_until_the_first_one_is_whole() {
    explore_within(2, || {
        let learning = Learning::new();
        let write = |learning: &Learning| learning.save(1);
        beside_reader(&learning, |learning| read_checked(learning, 2, &[1]), write);
        read_checked(&learning, 1, &[1]);
    });
}

#[test]
fn state_stays_readable_when_its_writer_dies() {
    explore_within(2, || {
        let learning = Learning::new();
        learning.save(1);
        let die = |learning: &Learning| die_during(|| learning.save(2));
        beside_reader(&learning, |learning| read_checked(learning, 1, &[1]), die);
        assert_eq!(update_of(&learning.reader().read_if_newer().unwrap().unwrap()), 1);
    });
}

/// The reader may have begun in the cell that the dead learner half filled.
#[test]
fn state_is_whole_again_with_the_next_writer() {
    explore_within(2, || {
        let learning = Learning::new();
        (1..=2).for_each(|update| learning.save(update));
        let die_and_be_replaced = |learning: &Learning| {
            die_during(|| learning.save(3));
            learning.save(4);
        };
        beside_reader(
            &learning,
            |learning| read_checked(learning, 1, &[2, 4]),
            die_and_be_replaced,
        );
        assert_eq!(update_of(&learning.reader().read_if_newer().unwrap().unwrap()), 4);
    });
}

/// W5: whatever an actor has acted with, a replacement goes on from that update or a later one.
#[test]
fn state_is_never_behind_the_weights_that_an_actor_has_read() {
    explore_within(2, || {
        let learning = Learning::new();
        let act = |learning: &Learning| {
            let mut weights = WeightsReader::attach(learning.weights.borrow(), N_PARAMS);
            let update = weights.read_if_newer(&mut [0.0; N_PARAMS]).unwrap();
            let Some(update) = update else { return };
            let saved = learning.reader().read_if_newer().unwrap();
            let saved = saved.expect("weights come from a state");
            assert!(update_of(&saved) >= update, "the state is behind update {update}");
        };
        beside_reader(&learning, act, |learning| {
            learning.finish_update(1);
            die_during(|| learning.finish_update(2));
        });
    });
}
