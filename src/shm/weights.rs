//! The newest weights of the policy, for many readers that never wait and a writer that may die.
//!
//! Owns: two cells of parameters, each a seqlock, and the index of the cell in use. The writer fills the
//! cell that is *not* in use and flips the index last, so readers meet a half-written cell only if they
//! are so slow that the writer comes round again; and a writer killed half-way harms nobody (invariants
//! W1–W4 in `shm/mod.rs`). Knows nothing of what a parameter means. Made by `segment.rs` for the learner
//! (one [`WeightsWriter`]) and the actors (a [`WeightsReader`] each).
//!
//! Parameters travel as pairs in `AtomicU64` words: a plain copy would be a data race, and half as many
//! words are copied twice as fast.

use crate::base::sync::{AtomicU64, Ordering, fence, spin_loop};

/// The cell in use is marked as being written, which no writer ever does (W2): somebody wrote over its head or
/// over the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cell in use is marked as being written (sequence {sequence}); start with a fresh segment"
)]
pub struct CorruptCell {
    /// The mark.
    pub sequence: u64,
}

/// Which of the two cells is in use.
#[derive(Default)]
#[repr(C, align(128))]
struct CurrentLine {
    cell: AtomicU64,
}

/// Head of one cell.
#[derive(Default)]
#[repr(C, align(128))]
struct CellHead {
    /// Odd while the cell is being written, and for ever if its writer died there; 0 if never written.
    sequence: AtomicU64,
    /// Policy version of the parameters in the cell; protected by `sequence` as they are.
    version: AtomicU64,
    /// Sum of the parameters; protected likewise.
    #[cfg(feature = "faults")]
    sum: AtomicU64,
}

/// What the writer and the readers share besides the parameters. All zero: nothing published yet.
#[derive(Default)]
#[repr(C)]
pub struct WeightsState {
    current: CurrentLine,
    heads: [CellHead; 2],
}

impl WeightsState {
    /// Makes it a region where nothing was published. Only while neither writer nor readers live.
    pub fn reset(&self) {
        // Relaxed: forking orders this before all that new workers do.
        self.current.cell.store(0, Ordering::Relaxed);
        for head in &self.heads {
            head.sequence.store(0, Ordering::Relaxed);
            head.version.store(0, Ordering::Relaxed);
        }
    }
}

/// The weight region: its state and the parameter words of both cells.
#[derive(Clone, Copy)]
pub struct WeightsRegion<'a> {
    /// Sequences, versions, and the cell in use.
    pub state: &'a WeightsState,
    /// Parameters of both cells, [`n_words`] each.
    pub cells: [&'a [AtomicU64]; 2],
}

impl<'a> WeightsRegion<'a> {
    fn head(&self, cell: usize) -> &'a CellHead {
        &self.state.heads[cell]
    }
}

/// Number of 64-bit words that hold `n_params` parameters; of an odd number's last word, one half.
pub const fn n_words(n_params: usize) -> usize {
    n_params.div_ceil(2)
}

/// The only writer of the weights.
pub struct WeightsWriter<'a> {
    region: WeightsRegion<'a>,
    n_params: usize,
    /// The cell in use; always equal to the shared index, which only this side writes.
    current: usize,
    version: Option<u64>,
}

impl<'a> WeightsWriter<'a> {
    /// Continues where the previous writer stopped, wherever that was.
    pub fn attach(region: WeightsRegion<'a>, n_params: usize) -> Self {
        assert!(region.cells.iter().all(|words| words.len() == n_words(n_params)));
        // Relaxed: the previous writer was reaped before this one was started, which orders its stores
        // before us.
        let current = cell_idx(region.state.current.cell.load(Ordering::Relaxed));
        let head = region.head(current);
        let published = head.sequence.load(Ordering::Relaxed) != 0;
        let version = published.then(|| head.version.load(Ordering::Relaxed));
        WeightsWriter { region, n_params, current, version }
    }

    /// The version published last, by this writer or its predecessors; `None` before the first.
    pub fn version(&self) -> Option<u64> {
        self.version
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
        let write = self.begin(version);
        write.fill(params);
        #[cfg(feature = "faults")]
        write.seal(super::checks::params_sum(params));
        before_shown();
        write.commit();
    }

    /// The first step of [`WeightsWriter::publish`]: marks the hidden cell as being written.
    ///
    /// A [`CellWrite`] dropped before its commit is exactly what a killed writer leaves behind.
    pub fn begin(&mut self, version: u64) -> CellWrite<'_, 'a> {
        assert!(self.version < Some(version), "version {version} after {:?}", self.version);
        let hidden = 1 - self.current;
        let head = self.region.head(hidden);
        // Relaxed: only this side writes the sequence. A dead writer left it odd: rounded up, ours is odd
        // again while we write, and no write shares a number with another.
        let even = head.sequence.load(Ordering::Relaxed).next_multiple_of(2);
        // SYNC: partner of the first load in `Look::begin`. A reader that sees this odd number also sees that the
        // other cell is in use; relaxed, it could still find this one in use and take that for damage.
        head.sequence.store(even + 1, Ordering::Release);
        // SYNC: partner of the fence in `Look::is_whole`. A reader that saw any word
        // stored below also sees the odd number stored above; without it, it could find the old
        // sequence unchanged around new words.
        fence(Ordering::Release);
        head.version.store(version, Ordering::Relaxed);
        CellWrite { writer: self, hidden, version, even_after: even + 2 }
    }
}

/// A cell that is being written.
pub struct CellWrite<'w, 'a> {
    writer: &'w mut WeightsWriter<'a>,
    hidden: usize,
    version: u64,
    even_after: u64,
}

impl CellWrite<'_, '_> {
    /// Stores `params` from the cell's beginning. Relaxed words: the sequence around them tells readers
    /// whether they have seen all of one write.
    pub fn fill(&self, params: &[f32]) {
        self.fill_from(0, params);
    }

    /// Leaves the sum of the parameters beside them.
    #[cfg(feature = "faults")]
    fn seal(&self, sum: u64) {
        // Relaxed: the sequence around it tells readers whether it belongs to what they have read.
        self.writer.region.head(self.hidden).sum.store(sum, Ordering::Relaxed);
    }

    /// The same from word `first_word` on; returns the first word behind them.
    pub fn fill_from(&self, first_word: usize, params: &[f32]) -> usize {
        let words = &self.writer.region.cells[self.hidden][first_word..];
        let (pairs, last) = params.as_chunks::<2>();
        for (word, &pair) in words.iter().zip(pairs) {
            word.store(bytemuck::cast(pair), Ordering::Relaxed);
        }
        if let &[single] = last {
            words[pairs.len()].store(bytemuck::cast([single, 0.0]), Ordering::Relaxed);
        }
        first_word + n_words(params.len())
    }

    /// Stores whole words from `first_word` on; returns the first word behind them.
    pub fn set_words(&self, first_word: usize, values: impl IntoIterator<Item = u64>) -> usize {
        let words = &self.writer.region.cells[self.hidden][first_word..];
        let stored = words.iter().zip(values).map(|(word, value)| {
            word.store(value, Ordering::Relaxed);
        });
        first_word + stored.count()
    }

    /// Marks the cell as whole and shows it to the readers.
    pub fn commit(self) {
        // SYNC: partner of the load in `Look::begin`. A reader that starts from this number sees all words
        // of this write; relaxed, it could see older ones between two equal numbers.
        self.writer.region.head(self.hidden).sequence.store(self.even_after, Ordering::Release);
        // SYNC: partner of the load in `WeightsReader::look`. A reader sent to this cell finds the write
        // finished; relaxed, it could be sent there too early and would take that for damage.
        self.writer.region.state.current.cell.store(self.hidden as u64, Ordering::Release);
        self.writer.current = self.hidden;
        self.writer.version = Some(self.version);
    }
}

/// One of many readers of the weights.
pub struct WeightsReader<'a> {
    region: WeightsRegion<'a>,
    n_params: usize,
    /// The version copied out last.
    version: Option<u64>,
    n_retries: u64,
    /// The sum that stood beside the copy made last.
    #[cfg(feature = "faults")]
    sum: u64,
}

/// A look into the cell in use, to be believed only if it proves whole at its end.
struct Look<'a> {
    head: &'a CellHead,
    words: &'a [AtomicU64],
    /// The sequence before anything else was read.
    before: u64,
}

impl<'a> Look<'a> {
    fn begin(region: &WeightsRegion<'a>, cell: usize) -> Self {
        let head = region.head(cell);
        // SYNC: partner of the first store in `CellWrite::commit`. All words of the write that ended
        // with this number are visible after it; relaxed, older ones could be. If the number is odd, of the
        // first store in `WeightsWriter::begin`.
        let before = head.sequence.load(Ordering::Acquire);
        Look { head, words: region.cells[cell], before }
    }

    fn version(&self) -> Option<u64> {
        (self.before != 0).then(|| self.head.version.load(Ordering::Relaxed))
    }

    fn is_being_written(&self) -> bool {
        !self.before.is_multiple_of(2)
    }

    /// Relaxed: what was read before it is ordered by what its callers say.
    fn is_as_before(&self) -> bool {
        self.head.sequence.load(Ordering::Relaxed) == self.before
    }

    /// Whether all that was read since the beginning is of one write.
    fn is_whole(&self) -> bool {
        // SYNC: partner of the fence in `WeightsWriter::begin`. If any word read so far came from a
        // younger write, the load below sees that write's odd number or a later one; without it, the
        // load could be done before theirs.
        fence(Ordering::Acquire);
        !self.is_being_written() && self.is_as_before()
    }
}

impl<'a> WeightsReader<'a> {
    /// A reader that has not read anything yet.
    pub fn attach(region: WeightsRegion<'a>, n_params: usize) -> Self {
        assert!(region.cells.iter().all(|words| words.len() == n_words(n_params)));
        WeightsReader {
            region,
            n_params,
            version: None,
            n_retries: 0,
            #[cfg(feature = "faults")]
            sum: 0,
        }
    }

    /// Copies the weights into `params` and returns their version, if it is above the one read last; else
    /// leaves `params` alone.
    ///
    /// # Errors
    /// [`CorruptCell`]; whoever went on looking would do so for ever.
    ///
    /// # Panics
    /// If `params` has the wrong length.
    pub fn read_if_newer(&mut self, params: &mut [f32]) -> Result<Option<u64>, CorruptCell> {
        assert_eq!(params.len(), self.n_params, "read needs room for all parameters");
        self.read_with(|words| copy_words(words, params))
    }

    /// Lets `copy` take from the words of the cell in use what it wants, again until all it took is of
    /// one write; returns that write's version. Does nothing if it is not above the one read last.
    ///
    /// # Errors
    /// [`CorruptCell`].
    pub fn read_with(
        &mut self,
        mut copy: impl FnMut(&[AtomicU64]),
    ) -> Result<Option<u64>, CorruptCell> {
        loop {
            let look = self.look()?;
            let version = look.version();
            // Below, not only equal: a look that began long ago may have met a write that was finished
            // but not yet shown, and the index now sends us to the one before it.
            if version <= self.version {
                return Ok(None);
            }
            copy(look.words);
            #[cfg(feature = "faults")]
            {
                self.sum = look.head.sum.load(Ordering::Relaxed);
            }
            if look.is_whole() {
                self.version = version;
                return Ok(version);
            }
            self.n_retries += 1;
            spin_loop();
        }
    }

    /// The version published last, whether read or not, and never below the one read; `None` before the
    /// first.
    ///
    /// # Errors
    /// [`CorruptCell`].
    pub fn version(&self) -> Result<Option<u64>, CorruptCell> {
        loop {
            let look = self.look()?;
            let version = look.version();
            if look.is_whole() {
                return Ok(version.max(self.version));
            }
            spin_loop();
        }
    }

    /// Whether the copy made last, these parameters, is not what was published.
    #[cfg(feature = "faults")]
    pub fn is_torn(&self, params: &[f32]) -> bool {
        self.sum != super::checks::params_sum(params)
    }

    /// How often a read began anew because the writer came round during it.
    pub fn n_retries(&self) -> u64 {
        self.n_retries
    }

    /// Whether the hidden cell is half-written: by the writer just now, or by one that died there.
    pub fn is_write_unfinished(&self) -> bool {
        // Relaxed: only told to people and tests; nothing is read because of it.
        self.region.head(1 - self.current()).sequence.load(Ordering::Relaxed) % 2 == 1
    }

    /// A look into the cell in use. It may be written meanwhile, but then the other one is in use by now.
    fn look(&self) -> Result<Look<'a>, CorruptCell> {
        let cell = self.current();
        let look = Look::begin(&self.region, cell);
        // In this order: if this cell is in use again, the write whose mark was seen has ended.
        if look.is_being_written() && self.current() == cell && look.is_as_before() {
            return Err(CorruptCell { sequence: look.before });
        }
        Ok(look)
    }

    fn current(&self) -> usize {
        // SYNC: partner of the last store in `CellWrite::commit`: the write that sent us to this cell is
        // finished there. Relaxed, we could find it unfinished and take that for damage; the fences would
        // still keep us from believing what we read.
        cell_idx(self.region.state.current.cell.load(Ordering::Acquire))
    }
}

/// Copies parameters out of `words`, relaxed: the sequence decides whether they belong together.
fn copy_words(words: &[AtomicU64], params: &mut [f32]) {
    let (pairs, last) = params.as_chunks_mut::<2>();
    for (pair, word) in pairs.iter_mut().zip(words) {
        *pair = bytemuck::cast(word.load(Ordering::Relaxed));
    }
    if let ([single], Some(word)) = (last, words.last()) {
        [*single, _] = bytemuck::cast(word.load(Ordering::Relaxed));
    }
}

/// A cell's number as an index; anything but 0 and 1 is a wild write, and is taken as one of them.
fn cell_idx(word: u64) -> usize {
    (word % 2) as usize
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A region on the heap.
    struct Region {
        state: WeightsState,
        cells: [Vec<AtomicU64>; 2],
    }

    impl Region {
        fn new(n_params: usize) -> Self {
            let words = || (0..n_words(n_params)).map(|_| AtomicU64::new(0)).collect();
            Region { state: WeightsState::default(), cells: [words(), words()] }
        }

        fn borrow(&self) -> WeightsRegion<'_> {
            WeightsRegion { state: &self.state, cells: [&self.cells[0], &self.cells[1]] }
        }
    }

    #[test]
    fn every_length_comes_through_unchanged() {
        for n_params in 1..=9 {
            let region = Region::new(n_params);
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
    fn nothing_is_read_before_the_first_publication_or_twice() {
        let region = Region::new(3);
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
    fn a_writer_that_died_half_way_is_unseen_and_replaced() {
        let region = Region::new(4);
        let mut reader = WeightsReader::attach(region.borrow(), 4);
        let mut read = [0.0; 4];
        WeightsWriter::attach(region.borrow(), 4).publish(7, &[7.0; 4]);
        for n_deaths in 1..=2 {
            WeightsWriter::attach(region.borrow(), 4).begin(8).fill(&[8.0; 2]);
            assert!(reader.is_write_unfinished(), "after death {n_deaths}");
        }
        assert_eq!(reader.read_if_newer(&mut read), Ok(Some(7)));
        assert_eq!(read, [7.0; 4]);
        let mut writer = WeightsWriter::attach(region.borrow(), 4);
        assert_eq!(writer.version(), Some(7));
        writer.publish(9, &[9.0; 4]);
        assert!(!reader.is_write_unfinished());
        assert_eq!(reader.read_if_newer(&mut read), Ok(Some(9)));
        assert_eq!((read, reader.n_retries()), ([9.0; 4], 0));
    }

    /// A wild write; without an end to it every reader would look again for ever.
    #[test]
    fn a_cell_in_use_that_is_marked_is_damage_until_the_other_one_is_in_use() {
        let region = Region::new(4);
        let mut writer = WeightsWriter::attach(region.borrow(), 4);
        let mut reader = WeightsReader::attach(region.borrow(), 4);
        let mut read = [0.0; 4];
        for version in [1, 2] {
            writer.publish(version, &[version as f32; 4]);
            let head = region.borrow().head(writer.current);
            let sequence = head.sequence.load(Ordering::Relaxed) + 1;
            head.sequence.store(sequence, Ordering::Relaxed);
            let corrupt = CorruptCell { sequence };
            assert_eq!(reader.read_if_newer(&mut read), Err(corrupt));
            assert_eq!(reader.version(), Err(corrupt));
            assert_eq!(read, [0.0; 4], "nothing of it is believed");
        }
        writer.publish(3, &[3.0; 4]);
        assert_eq!((reader.read_if_newer(&mut read), read), (Ok(Some(3)), [3.0; 4]));
    }

    #[test]
    #[should_panic(expected = "version 3 after Some(3)")]
    fn versions_never_stand_still() {
        let region = Region::new(1);
        let mut writer = WeightsWriter::attach(region.borrow(), 1);
        writer.publish(3, &[0.0]);
        writer.publish(3, &[0.0]);
    }
}
