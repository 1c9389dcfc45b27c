//! The newest weights of the policy: published by the learner, read by everyone who acts or learns.
//!
//! Owns: how parameters lie in the words of a cell, two to a word. Tearing, order and a writer that may
//! die are the affair of `cells.rs`. Knows nothing of what a parameter means. Made by `segment.rs` for the
//! learner (one [`WeightsWriter`], and a [`WeightsReader`] a lane) and the actors (a [`WeightsReader`] each).

use super::cells::{CellWrite, CellsReader, CellsRegion, CellsWriter, CorruptCell, Look};

/// Words of a cell behind its parameters: their sum, where self-checks are compiled in.
const N_SUMS: usize = cfg!(feature = "faults") as usize;

/// Number of 64-bit words of a cell of `n_params` parameters.
pub const fn n_words(n_params: usize) -> usize {
    n_pairs(n_params) + N_SUMS
}

/// Number of 64-bit words that hold `n_params` parameters; of an odd number's last word, one half.
pub(super) const fn n_pairs(n_params: usize) -> usize {
    n_params.div_ceil(2)
}

/// Stores `params` in the words from `first_word` on; returns the first word behind them.
pub(super) fn set_params(write: &CellWrite, first_word: usize, params: &[f32]) -> usize {
    let (pairs, last) = params.as_chunks::<2>();
    let at = write.set_words(first_word, pairs.iter().map(|&pair| bytemuck::cast(pair)));
    write.set_words(at, last.iter().map(|&single| bytemuck::cast([single, 0.0])))
}

/// Copies all parameters out of a cell.
fn copy_params(look: &Look, params: &mut [f32]) {
    let (pairs, last) = params.as_chunks_mut::<2>();
    for (single, word) in last.iter_mut().zip(look.words(pairs.len())) {
        [*single, _] = bytemuck::cast(word);
    }
    for (pair, word) in pairs.iter_mut().zip(look.words(0)) {
        *pair = bytemuck::cast(word);
    }
}

/// The only writer of the weights.
pub struct WeightsWriter<'a> {
    cells: CellsWriter<'a>,
    n_params: usize,
}

impl<'a> WeightsWriter<'a> {
    /// Continues where the previous writer stopped, wherever that was.
    pub fn attach(region: CellsRegion<'a>, n_params: usize) -> Self {
        assert_eq!(region.n_words(), n_words(n_params));
        WeightsWriter { cells: CellsWriter::attach(region), n_params }
    }

    /// The version published last, by this writer or its predecessors; `None` before the first.
    pub fn version(&self) -> Option<u64> {
        self.cells.version()
    }

    /// Publishes all parameters as `version`.
    ///
    /// # Panics
    /// If `params` has the wrong length, or `version` is not above the one published last: actors and
    /// policy lag rely on it never going back.
    pub fn publish(&mut self, version: u64, params: &[f32]) {
        self.publish_with(version, params, || {});
    }

    /// The same; `before_shown` runs when all is written and nothing shown.
    pub fn publish_with(&mut self, version: u64, params: &[f32], before_shown: impl FnOnce()) {
        assert_eq!(params.len(), self.n_params, "publish needs all parameters");
        let write = self.cells.begin(version);
        let end = set_params(&write, 0, params);
        #[cfg(feature = "faults")]
        let end = write.set_words(end, [super::checks::params_sum(params)]);
        debug_assert_eq!(end, n_words(params.len()));
        before_shown();
        write.commit();
    }
}

/// One of many readers of the weights.
pub struct WeightsReader<'a> {
    cells: CellsReader<'a>,
    n_params: usize,
    /// The sum that stood beside the copy made last.
    #[cfg(feature = "faults")]
    sum: u64,
}

impl<'a> WeightsReader<'a> {
    /// A reader that has not read anything yet.
    pub fn attach(region: CellsRegion<'a>, n_params: usize) -> Self {
        assert_eq!(region.n_words(), n_words(n_params));
        WeightsReader {
            cells: CellsReader::attach(region),
            n_params,
            #[cfg(feature = "faults")]
            sum: 0,
        }
    }

    /// Copies the weights into `params` and returns their version, if it is above the one read last; else
    /// leaves `params` alone.
    ///
    /// # Errors
    /// [`CorruptCell`].
    ///
    /// # Panics
    /// If `params` has the wrong length.
    pub fn read_if_newer(&mut self, params: &mut [f32]) -> Result<Option<u64>, CorruptCell> {
        assert_eq!(params.len(), self.n_params, "read needs room for all parameters");
        self.cells.read_with(|look| {
            copy_params(look, params);
            #[cfg(feature = "faults")]
            {
                self.sum = look.words(n_pairs(params.len())).sum();
            }
        })
    }

    /// The version published last, whether read or not, and never below the one read; `None` before the
    /// first.
    ///
    /// # Errors
    /// [`CorruptCell`].
    pub fn version(&self) -> Result<Option<u64>, CorruptCell> {
        self.cells.version()
    }

    /// Whether the copy made last, these parameters, is not what was published.
    #[cfg(feature = "faults")]
    pub fn is_torn(&self, params: &[f32]) -> bool {
        self.sum != super::checks::params_sum(params)
    }

    /// How often a read began anew because the writer came round during it.
    pub fn n_retries(&self) -> u64 {
        self.cells.n_retries()
    }

    /// Whether the hidden cell is half-written: by the writer just now, or by one that died there.
    pub fn is_write_unfinished(&self) -> bool {
        self.cells.is_write_unfinished()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::cells::tests::Region;
    use super::*;

    #[test]
    fn every_length_comes_through_unchanged() {
        for n_params in 1..=9 {
            let region = Region::new(n_words(n_params));
            let mut writer = WeightsWriter::attach(region.borrow(), n_params);
            let mut reader = WeightsReader::attach(region.borrow(), n_params);
            let mut read = vec![f32::NAN; n_params];
            for version in 0..4 {
                let params: Vec<f32> =
                    (0..n_params).map(|i| (version * 100) as f32 + i as f32).collect();
                writer.publish(version, &params);
                assert_eq!(reader.version(), Ok(Some(version)));
                assert_eq!(reader.read_if_newer(&mut read), Ok(Some(version)));
                assert_eq!(read, params);
            }
            assert_eq!(reader.n_retries(), 0);
        }
    }

    #[test]
    fn parameters_are_left_alone_when_there_is_nothing_newer() {
        let region = Region::new(n_words(3));
        let mut reader = WeightsReader::attach(region.borrow(), 3);
        let mut read = [-1.0; 3];
        assert_eq!((reader.version(), reader.read_if_newer(&mut read)), (Ok(None), Ok(None)));
        WeightsWriter::attach(region.borrow(), 3).publish(0, &[1.0, 2.0, 3.0]);
        assert_eq!(reader.read_if_newer(&mut read), Ok(Some(0)));
        read.fill(-1.0);
        assert_eq!(reader.read_if_newer(&mut read), Ok(None));
        assert_eq!(read, [-1.0; 3]);
    }

    #[test]
    fn weights_are_unseen_until_they_are_shown() {
        let region = Region::new(n_words(4));
        let mut reader = WeightsReader::attach(region.borrow(), 4);
        let mut read = [0.0; 4];
        let mut writer = WeightsWriter::attach(region.borrow(), 4);
        writer.publish(7, &[7.0; 4]);
        let unseen = || assert_eq!(reader.read_if_newer(&mut read), Ok(Some(7)));
        writer.publish_with(8, &[8.0; 4], unseen);
        assert_eq!(read, [7.0; 4]);
        assert_eq!(reader.read_if_newer(&mut read), Ok(Some(8)));
    }

    #[cfg(feature = "faults")]
    #[test]
    fn a_copy_that_is_not_what_was_published_is_torn() {
        for n_params in [3, 4] {
            let region = Region::new(n_words(n_params));
            let mut reader = WeightsReader::attach(region.borrow(), n_params);
            let (params, mut read) = (vec![0.5; n_params], vec![0.0; n_params]);
            WeightsWriter::attach(region.borrow(), n_params).publish(1, &params);
            assert_eq!(reader.read_if_newer(&mut read), Ok(Some(1)));
            assert!(!reader.is_torn(&read));
            read[n_params - 1] = 0.25;
            assert!(reader.is_torn(&read));
        }
    }
}
