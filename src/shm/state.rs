//! The learner's state in shared memory: where its replacement goes on, and what checkpoints are made of.
//!
//! Owns: which word of a cell means what. The cells are those of `cells.rs`, so a learner killed while it
//! writes leaves the state before it whole. Written by the learner once an update, before it
//! publishes the weights: what an actor can have acted with is never ahead of what a replacement finds.
//! Made by `segment.rs` for the learner (one [`StateWriter`]) and the supervisor (a [`StateReader`]).

use crate::base::faults::{self, Point};
use crate::state::{
    Counters, LearnerState, OptimizerState, RecentReturns, ReturnStats, SCORE_WINDOW, StateView,
};

use super::cells::{CellsReader, CellsRegion, CellsWriter, CorruptCell};
use super::layout::{SegmentShape, StateWords};
use super::weights::set_params;

/// Words of [`Counters`]; the optimiser's step count stands behind them.
const N_COUNTERS: usize = size_of::<Counters>() / size_of::<u64>();

/// Words of [`ReturnStats`].
const N_STATS: usize = size_of::<ReturnStats>() / size_of::<u64>();

/// The only writer of the state.
pub struct StateWriter<'a> {
    cells: CellsWriter<'a>,
    words: StateWords,
}

impl<'a> StateWriter<'a> {
    /// Continues where the previous writer stopped.
    pub fn attach(region: CellsRegion<'a>, shape: &SegmentShape) -> Self {
        let words = words_of(shape);
        assert_eq!(region.n_words(), words.n_words);
        StateWriter { cells: CellsWriter::attach(region), words }
    }

    /// Makes `state` the one to go on from. `consumed` says for each ring how many slots it is the
    /// result of: a replacement learns from none of them again. Allocates nothing.
    ///
    /// # Panics
    /// If a vector has not the length that the segment was made for.
    pub fn save(&mut self, state: StateView, consumed: impl IntoIterator<Item = u64>) {
        let words = self.words;
        let version = self.cells.version().map_or(0, |version| version + 1);
        let write = self.cells.begin(version);
        let counters: [u64; N_COUNTERS] = bytemuck::cast(state.counters);
        let at = write.set_words(0, counters.into_iter().chain([state.optimizer.n_steps]));
        let at = write.set_words(at, consumed);
        assert_eq!(at, words.returns, "there is one ring an actor");
        let at = write.set_words(at, state.recent_returns.iter().map(|x| x.to_bits()));
        let stats: [u64; N_STATS] = bytemuck::cast(state.return_stats);
        let at = write.set_words(at, stats);
        let at = set_params(&write, at, state.params);
        faults::reach(Point::MidState);
        let moments = state.optimizer.moments();
        let at = moments.fold(at, |at, moment| set_params(&write, at, moment));
        assert_eq!(at, words.n_words, "vectors have the lengths of the segment's shape");
        write.commit();
    }
}

/// A reader of the state.
pub struct StateReader<'a> {
    cells: CellsReader<'a>,
    words: StateWords,
    shape: SegmentShape,
}

/// A state as it stood in the segment.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedState {
    /// What learning goes on from.
    pub state: LearnerState,
    /// Slots of each ring that it is the result of.
    pub consumed: Vec<u64>,
}

impl<'a> StateReader<'a> {
    /// A reader of the state in `region`.
    pub fn attach(region: CellsRegion<'a>, shape: &SegmentShape) -> Self {
        let words = words_of(shape);
        assert_eq!(region.n_words(), words.n_words);
        StateReader { cells: CellsReader::attach(region), words, shape: *shape }
    }

    /// The newest whole state; `None` if it is not newer than the one read last.
    ///
    /// # Errors
    /// [`CorruptCell`].
    pub fn read_if_newer(&mut self) -> Result<Option<SavedState>, CorruptCell> {
        let mut cell = Vec::with_capacity(self.words.n_words);
        let version = self.cells.read_with(|look| {
            cell.clear();
            cell.extend(look.words(0));
        })?;
        Ok(version.map(|_| self.decode(&cell)))
    }

    fn decode(&self, cell: &[u64]) -> SavedState {
        let (words, shape) = (&self.words, &self.shape);
        let counters: [u64; N_COUNTERS] = std::array::from_fn(|k| cell[k]);
        let vector = |k: usize| {
            let first = words.params + k * words.n_param_words;
            let pairs: &[f32] = bytemuck::cast_slice(&cell[first..first + words.n_param_words]);
            pairs[..shape.n_params].to_vec()
        };
        let mean = if shape.n_moments > 1 { vector(2) } else { Vec::new() };
        let recent_returns: RecentReturns =
            std::array::from_fn(|k| f64::from_bits(cell[words.returns + k]));
        let stats: [u64; N_STATS] = std::array::from_fn(|k| cell[words.returns + SCORE_WINDOW + k]);
        let return_stats = bytemuck::cast(stats);
        let optimizer = OptimizerState { n_steps: cell[N_COUNTERS], square: vector(1), mean };
        let counters = bytemuck::cast(counters);
        let params = vector(0);
        let state = LearnerState { counters, recent_returns, return_stats, params, optimizer };
        SavedState { state, consumed: cell[words.consumed..words.returns].to_vec() }
    }
}

fn words_of(shape: &SegmentShape) -> StateWords {
    StateWords::of(shape).expect("a segment exists only of a shape that can be addressed")
}

#[cfg(test)]
mod tests {
    use super::super::Segment;
    use super::*;
    use crate::rollout::RolloutShape;

    fn segment(n_params: usize, n_moments: usize) -> Segment {
        let rollout = RolloutShape::of_numbers(1, 1, 1);
        let shape = SegmentShape { n_actors: 3, slots_per_actor: 1, n_params, n_moments, rollout };
        Segment::heap(&shape).unwrap()
    }

    fn state(seed: u64, n_params: usize, n_moments: usize) -> LearnerState {
        let vector = |k: u64| -> Vec<f32> {
            (0..n_params).map(|i| (seed * 1_000 + k * 100) as f32 + i as f32).collect()
        };
        let counters = Counters {
            frames: seed,
            updates: seed + 1,
            episodes: seed + 2,
            frames_produced_before: seed + 3,
            solved_frames: seed + 4,
            solved_ns: u64::MAX - seed,
        };
        let mean = if n_moments > 1 { vector(3) } else { Vec::new() };
        LearnerState {
            counters,
            recent_returns: std::array::from_fn(|k| seed as f64 + k as f64 / SCORE_WINDOW as f64),
            return_stats: ReturnStats { n: seed as f64, mean: -0.1, square_sum: 1e300 },
            params: vector(1),
            optimizer: OptimizerState { n_steps: seed + 5, square: vector(2), mean },
        }
    }

    #[test]
    fn every_part_comes_back_for_odd_and_even_lengths_of_both_optimisers() {
        for (n_params, n_moments) in [(1, 1), (2, 1), (7, 2), (8, 2)] {
            let segment = segment(n_params, n_moments);
            let mut reader = segment.state_reader();
            assert_eq!(reader.read_if_newer(), Ok(None));
            for seed in 1..4 {
                let (state, consumed) = (state(seed, n_params, n_moments), vec![seed, 0, 9]);
                let mut writer = segment.state_writer().unwrap();
                writer.save(state.as_view(), consumed.iter().copied());
                assert_eq!(reader.read_if_newer(), Ok(Some(SavedState { state, consumed })));
                assert_eq!(reader.read_if_newer(), Ok(None));
            }
        }
    }

    #[test]
    fn a_writer_that_died_half_way_leaves_the_state_before_it() {
        let segment = segment(5, 1);
        let before = state(1, 5, 1);
        segment.state_writer().unwrap().save(before.as_view(), [1, 2, 3]);
        let mut dying = segment.state_writer().unwrap();
        let first = dying.words.params;
        set_params(&dying.cells.begin(1), first, &[f32::NAN; 5]);
        drop(dying);
        let read = segment.state_reader().read_if_newer().unwrap().unwrap();
        assert_eq!((read.state, read.consumed), (before, vec![1, 2, 3]));
        let after = state(2, 5, 1);
        segment.state_writer().unwrap().save(after.as_view(), [1, 2, 4]);
        let read = segment.state_reader().read_if_newer().unwrap().unwrap();
        assert_eq!(read.state, after);
    }

    #[test]
    #[should_panic = "there is one ring an actor"]
    fn the_number_of_rings_is_checked() {
        let segment = segment(5, 1);
        segment.state_writer().unwrap().save(state(1, 5, 1).as_view(), [1, 2]);
    }
}
