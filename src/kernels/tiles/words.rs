//! Matrices of pairs of bf16, and the block of f32 that a product leaves.

use ndarray::ArrayViewMut2;

/// Rows of a tile, and pairs in one of its rows: what a tile register of AMX holds.
pub(super) const TILE: usize = 16;

/// Rows and columns of a block of sums: two tiles each way.
pub(super) const BLOCK: usize = 2 * TILE;

/// Words in a cache line.
const LINE: usize = 16;

/// Rows a multiple of so many words apart fall on the same lines of an L1 cache.
const L1_WAY: usize = 1024;

/// A matrix of 32-bit words, each of two bf16, the lower half first. Rows begin at cache lines, and both sizes are
/// multiples of a tile's, so that a tile may be loaded at any place that is a multiple of them.
#[derive(Debug)]
pub(super) struct Words {
    storage: Vec<u32>,
    first: usize,
    rows: usize,
    stride: usize,
}

impl Words {
    /// Zeros; sizes are rounded up to whole tiles.
    pub(super) fn zeros(rows: usize, columns: usize) -> Self {
        let rows = rows.next_multiple_of(TILE);
        let mut stride = columns.next_multiple_of(LINE);
        if stride >= L1_WAY / 4 {
            stride += if (stride + LINE).is_multiple_of(L1_WAY) { 2 * LINE } else { LINE };
        }
        let storage = vec![0; rows * stride + LINE];
        let first = storage.as_ptr().align_offset(64).min(LINE);
        Words { storage, first, rows, stride }
    }

    /// Whether there is nothing in it.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// A row, with the columns that make its length whole.
    #[inline(always)]
    pub(super) fn row_mut(&mut self, row: usize) -> &mut [u32] {
        let start = self.first + row * self.stride;
        &mut self.storage[start..start + self.stride]
    }

    /// All of it, with the columns that make rows whole.
    pub(super) fn view_mut(&mut self) -> ArrayViewMut2<'_, u32> {
        let words = &mut self.storage[self.first..][..self.rows * self.stride];
        ArrayViewMut2::from_shape((self.rows, self.stride), words).expect("row after row")
    }

    /// A row, with the columns that make its length whole.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &[u32] {
        let start = self.first + row * self.stride;
        &self.storage[start..start + self.stride]
    }

    /// `rows` × `columns` from (row, column) on, to be read.
    ///
    /// # Panics
    /// If they are not all there.
    #[inline(always)]
    pub(super) fn at(&self, [row, column]: [usize; 2], size: [usize; 2]) -> Strided<*const u32> {
        self.check([row, column], size);
        let first = &self.storage[self.first + row * self.stride + column..];
        Strided { first: first.as_ptr(), stride: self.stride }
    }

    /// The same, to be written.
    ///
    /// # Panics
    /// If they are not all there.
    #[inline(always)]
    pub(super) fn at_mut(&mut self, at: [usize; 2], size: [usize; 2]) -> Strided<*mut u32> {
        self.check(at, size);
        let first = &mut self.storage[self.first + at[0] * self.stride + at[1]..];
        Strided { first: first.as_mut_ptr(), stride: self.stride }
    }

    #[inline(always)]
    fn check(&self, [row, column]: [usize; 2], [rows, columns]: [usize; 2]) {
        assert!(row + rows <= self.rows && column + columns <= self.stride, "inside the matrix");
    }
}

/// Part of a matrix: its first word, and how many words its rows are apart.
#[derive(Clone, Copy)]
pub struct Strided<P> {
    pub(super) first: P,
    pub(super) stride: usize,
}

impl Strided<*const u32> {
    /// Where the word (row, column) lies.
    ///
    /// # Safety
    /// It is part of what the place was asked for.
    #[inline(always)]
    pub(super) unsafe fn at(self, row: usize, column: usize) -> *const u32 {
        // SAFETY: K3: the caller's promise.
        unsafe { self.first.add(row * self.stride + column) }
    }
}

impl<W> Strided<*mut W> {
    /// Where the word (row, column) lies.
    ///
    /// # Safety
    /// It is part of what the place was asked for.
    #[inline(always)]
    pub(super) unsafe fn at(self, row: usize, column: usize) -> *mut W {
        // SAFETY: K3: the caller's promise.
        unsafe { self.first.add(row * self.stride + column) }
    }
}

impl Strided<*mut u32> {
    /// The part of it from so many columns on.
    ///
    /// # Safety
    /// They are part of what the place was asked for.
    #[inline(always)]
    pub(super) unsafe fn right_of(self, columns: usize) -> Self {
        // SAFETY: K3: the caller's promise.
        Strided { first: unsafe { self.first.add(columns) }, ..self }
    }
}

/// What a product leaves: a block of f32, row after row.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Sums(pub(super) [[f32; BLOCK]; BLOCK]);

/// A number as the nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
pub(super) fn to_bf16(number: f32) -> u32 {
    let bits = number.to_bits();
    let rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    if number.is_nan() { bits >> 16 | 0x40 } else { rounded }
}

/// The number of a bf16 in the lower half of a word.
#[inline(always)]
pub(super) fn of_bf16(bits: u32) -> f32 {
    f32::from_bits(bits << 16)
}

/// Two numbers as a pair of bf16.
#[inline(always)]
pub(super) fn pair(low: f32, high: f32) -> u32 {
    to_bf16(low) | to_bf16(high) << 16
}

/// The two numbers of a pair.
#[inline(always)]
pub(super) fn unpaired(pair: u32) -> [f32; 2] {
    [of_bf16(pair), f32::from_bits(pair & 0xffff_0000)]
}
