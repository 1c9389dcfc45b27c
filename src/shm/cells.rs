//! Words that a writer replaces all at once, for many readers that never wait and a writer that may die.
//!
//! Owns: two cells of 64-bit words, each a seqlock, and the index of the cell in use. The writer fills the
//! cell that is *not* in use and flips the index last, so readers meet a half-written cell only if they
//! are so slow that the writer comes round again; and a writer killed half-way harms nobody (invariants
//! W1–W4 in `shm/mod.rs`). Knows nothing of what a word means. Called by `weights.rs` and `state.rs`, which
//! do: one [`CellsWriter`] each, and a [`CellsReader`] for everyone who looks.
//!
//! The words are `AtomicU64`: a plain copy would be a data race, and half as many words are copied twice as
//! fast.

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
    /// Which write the words in the cell are of; protected by `sequence` as they are.
    version: AtomicU64,
}

/// What the writer and the readers share besides the words. All zero: nothing written yet.
#[derive(Default)]
#[repr(C)]
pub struct CellsState {
    current: CurrentLine,
    heads: [CellHead; 2],
}

impl CellsState {
    /// Makes it a region where nothing was written. Only while neither writer nor readers live.
    pub fn reset(&self) {
        // Relaxed: forking orders this before all that new workers do.
        self.current.cell.store(0, Ordering::Relaxed);
        for head in &self.heads {
            head.sequence.store(0, Ordering::Relaxed);
            head.version.store(0, Ordering::Relaxed);
        }
    }
}

/// Two cells: what is shared about them, and their words.
#[derive(Clone, Copy)]
pub struct CellsRegion<'a> {
    /// Sequences, versions, and the cell in use.
    pub state: &'a CellsState,
    /// Words of both cells, as many in each.
    pub cells: [&'a [AtomicU64]; 2],
}

impl<'a> CellsRegion<'a> {
    /// Words of each cell.
    pub fn n_words(&self) -> usize {
        self.cells[0].len()
    }

    fn head(&self, cell: usize) -> &'a CellHead {
        &self.state.heads[cell]
    }
}

/// The only writer of two cells.
pub struct CellsWriter<'a> {
    region: CellsRegion<'a>,
    /// The cell in use; always equal to the shared index, which only this side writes.
    current: usize,
    version: Option<u64>,
}

impl<'a> CellsWriter<'a> {
    /// Continues where the previous writer stopped, wherever that was.
    pub fn attach(region: CellsRegion<'a>) -> Self {
        // Relaxed: the previous writer was reaped before this one was started, which orders its stores
        // before us.
        let current = cell_idx(region.state.current.cell.load(Ordering::Relaxed));
        let head = region.head(current);
        let is_written = head.sequence.load(Ordering::Relaxed) != 0;
        let version = is_written.then(|| head.version.load(Ordering::Relaxed));
        CellsWriter { region, current, version }
    }

    /// The version shown last, by this writer or its predecessors; `None` before the first.
    pub fn version(&self) -> Option<u64> {
        self.version
    }

    /// Begins the write that will be `version`: marks the hidden cell as being written.
    ///
    /// A [`CellWrite`] dropped before its commit is exactly what a killed writer leaves behind.
    ///
    /// # Panics
    /// If `version` is not above the one shown last: readers rely on it never going back.
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
    writer: &'w mut CellsWriter<'a>,
    hidden: usize,
    version: u64,
    even_after: u64,
}

impl CellWrite<'_, '_> {
    /// Stores words from `first_word` on; returns the first word behind them. Relaxed: the sequence around
    /// them tells readers whether they have seen all of one write.
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
        // SYNC: partner of the load in `CellsReader::look`. A reader sent to this cell finds the write
        // finished; relaxed, it could be sent there too early and would take that for damage.
        self.writer.region.state.current.cell.store(self.hidden as u64, Ordering::Release);
        self.writer.current = self.hidden;
        self.writer.version = Some(self.version);
    }
}

/// One of many readers of two cells.
pub struct CellsReader<'a> {
    region: CellsRegion<'a>,
    /// The version copied out last.
    version: Option<u64>,
    n_retries: u64,
}

/// A look into the cell in use, to be believed only if it proves whole at its end.
pub struct Look<'a> {
    head: &'a CellHead,
    words: &'a [AtomicU64],
    /// The sequence before anything else was read.
    before: u64,
}

impl<'a> Look<'a> {
    fn begin(region: &CellsRegion<'a>, cell: usize) -> Self {
        let head = region.head(cell);
        // SYNC: partner of the first store in `CellWrite::commit`. All words of the write that ended
        // with this number are visible after it; relaxed, older ones could be. If the number is odd, of the
        // first store in `CellsWriter::begin`.
        let before = head.sequence.load(Ordering::Acquire);
        Look { head, words: region.cells[cell], before }
    }

    /// The cell's words from `first_word` on. Relaxed: the end of the look decides whether they belong
    /// together.
    pub fn words(&self, first_word: usize) -> impl Iterator<Item = u64> {
        self.words[first_word..].iter().map(|word| word.load(Ordering::Relaxed))
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
        // SYNC: partner of the fence in `CellsWriter::begin`. If any word read so far came from a
        // younger write, the load below sees that write's odd number or a later one; without it, the
        // load could be done before theirs.
        fence(Ordering::Acquire);
        !self.is_being_written() && self.is_as_before()
    }
}

impl<'a> CellsReader<'a> {
    /// A reader that has not read anything yet.
    pub fn attach(region: CellsRegion<'a>) -> Self {
        CellsReader { region, version: None, n_retries: 0 }
    }

    /// Lets `copy` take from the cell in use what it wants, again until all it took is of one write;
    /// returns that write's version. Does nothing if it is not above the one read last.
    ///
    /// # Errors
    /// [`CorruptCell`]; whoever went on looking would do so for ever.
    pub fn read_with(&mut self, mut copy: impl FnMut(&Look)) -> Result<Option<u64>, CorruptCell> {
        loop {
            let look = self.look()?;
            let version = look.version();
            // Below, not only equal: a look that began long ago may have met a write that was finished
            // but not yet shown, and the index now sends us to the one before it.
            if version <= self.version {
                return Ok(None);
            }
            copy(&look);
            if look.is_whole() {
                self.version = version;
                return Ok(version);
            }
            self.n_retries += 1;
            spin_loop();
        }
    }

    /// The version shown last, whether read or not, and never below the one read; `None` before the
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

/// A cell's number as an index; anything but 0 and 1 is a wild write, and is taken as one of them.
fn cell_idx(word: u64) -> usize {
    (word % 2) as usize
}

#[cfg(all(test, not(loom)))]
pub(super) mod tests {
    use super::*;

    /// Two cells on the heap.
    pub struct Region {
        state: CellsState,
        cells: [Vec<AtomicU64>; 2],
    }

    impl Region {
        pub fn new(n_words: usize) -> Self {
            let words = || (0..n_words).map(|_| AtomicU64::new(0)).collect();
            Region { state: CellsState::default(), cells: [words(), words()] }
        }

        pub fn borrow(&self) -> CellsRegion<'_> {
            CellsRegion { state: &self.state, cells: [&self.cells[0], &self.cells[1]] }
        }

        fn writer(&self) -> CellsWriter<'_> {
            CellsWriter::attach(self.borrow())
        }
    }

    /// Writes a cell whose words all say `version`.
    fn write(writer: &mut CellsWriter, version: u64) {
        let write = writer.begin(version);
        write.set_words(0, std::iter::repeat(version));
        write.commit();
    }

    /// Reads all words, if there are newer ones.
    fn read(reader: &mut CellsReader) -> Result<Option<(u64, Vec<u64>)>, CorruptCell> {
        let mut copy = Vec::new();
        let version = reader.read_with(|look| copy = look.words(0).collect())?;
        Ok(version.map(|version| (version, copy)))
    }

    #[test]
    fn parts_are_set_and_read_one_behind_the_other() {
        let region = Region::new(4);
        let mut writer = region.writer();
        let write = writer.begin(0);
        let at = write.set_words(0, [10, 11, 12]);
        assert_eq!((at, write.set_words(at, [13])), (3, 4));
        write.commit();
        let mut last = Vec::new();
        let read = CellsReader::attach(region.borrow()).read_with(|look| {
            last = look.words(at).collect();
        });
        assert_eq!((read, last), (Ok(Some(0)), vec![13]));
    }

    #[test]
    fn nothing_is_read_before_the_first_write_or_twice() {
        let region = Region::new(2);
        let mut reader = CellsReader::attach(region.borrow());
        assert_eq!((reader.version(), read(&mut reader)), (Ok(None), Ok(None)));
        for version in 0..4 {
            write(&mut region.writer(), version);
            assert_eq!(reader.version(), Ok(Some(version)));
            assert_eq!(read(&mut reader), Ok(Some((version, vec![version; 2]))));
            assert_eq!(read(&mut reader), Ok(None));
        }
        assert_eq!(reader.n_retries(), 0);
    }

    #[test]
    fn a_writer_that_died_half_way_is_unseen_and_replaced() {
        let region = Region::new(2);
        let mut reader = CellsReader::attach(region.borrow());
        write(&mut region.writer(), 7);
        for n_deaths in 1..=2 {
            region.writer().begin(8).set_words(0, [8]);
            assert!(reader.is_write_unfinished(), "after death {n_deaths}");
        }
        assert_eq!(read(&mut reader), Ok(Some((7, vec![7; 2]))));
        let mut writer = region.writer();
        assert_eq!(writer.version(), Some(7));
        write(&mut writer, 9);
        assert!(!reader.is_write_unfinished());
        assert_eq!(read(&mut reader), Ok(Some((9, vec![9; 2]))));
        assert_eq!(reader.n_retries(), 0);
    }

    /// A wild write; without an end to it every reader would look again for ever.
    #[test]
    fn a_cell_in_use_that_is_marked_is_damage_until_the_other_one_is_in_use() {
        let region = Region::new(2);
        let mut writer = region.writer();
        let mut reader = CellsReader::attach(region.borrow());
        for version in [1, 2] {
            write(&mut writer, version);
            let head = region.borrow().head(writer.current);
            let sequence = head.sequence.load(Ordering::Relaxed) + 1;
            head.sequence.store(sequence, Ordering::Relaxed);
            let corrupt = CorruptCell { sequence };
            assert_eq!(read(&mut reader), Err(corrupt));
            assert_eq!(reader.version(), Err(corrupt));
        }
        write(&mut writer, 3);
        assert_eq!(read(&mut reader), Ok(Some((3, vec![3; 2]))), "nothing damaged was believed");
    }

    #[test]
    #[should_panic(expected = "version 3 after Some(3)")]
    fn versions_never_stand_still() {
        let region = Region::new(1);
        let mut writer = region.writer();
        write(&mut writer, 3);
        writer.begin(3);
    }
}
