//! Products of matrices in blocks whose sums stay in registers.
//!
//! # Blocking, and why
//!
//! A product, of a layer forward or backward to its inputs, runs in tiles of some vectors of frames, and within
//! a tile in blocks of outputs. A block keeps all its sums in registers, and each step over an input
//! reads the vectors of frames and broadcasts one weight an output:
//!
//! | | outputs × vectors | sums | registers | loads a multiply-add |
//! |---|---|---|---|---|
//! | AVX-512 | 8 × 2 | 16 | 32 | 0.63 |
//! | AVX2; fewer than four vectors | 3 × 4; 6 × 2 | 12 | 16 | 0.58; 0.67 |
//! | portable, not on x86 | 6 × 2 | 12 | 32 | 0.67 |
//! | portable, on x86; fewer than four vectors | 2 × 4; 4 × 2 | 8 | 16 | 0.75 |
//!
//! Both units of a core can start a multiply-add each cycle and take four to finish it: fewer than
//! eight sums would leave them waiting. Frames are the outer loop, because a tile of 64 features × 32
//! frames (8 kB) and the weights of a 64 × 64 layer (16 kB) then stay in L1 together. Four vectors of
//! less than a cache line take whole lines of what lies in L2, and fewer weights are broadcast.

use super::matrix::Matrix;
use super::panel::Panel;
use super::vector::{Span, Vector};

/// The most outputs in a block that [`Product`] knows.
pub(super) const MOST_ROWS: usize = 8;

/// Vectors in a tile of the instruction sets whose [`Vector::WIDE_ROWS`] are not 0.
const WIDE: usize = 4;

/// Runs a block of as many rows as `$height` says, with that number as the constant `$R`: the compiler then
/// keeps a sum for each row in a register of its own, and the last few rows also run side by side. A block
/// of one height, with the last row again in place of those beyond it, would be simpler; but the compiler
/// then works out at every step which row it is (docs/profiling.md has what that cost).
macro_rules! at_height {
    ($height:expr, [$($known:literal)*], $R:ident => $block:expr) => {
        match $height {
            $($known => {
                const $R: usize = $known;
                $block
            })*
            _ => unreachable!("a block has as many rows as one of {:?}", [$($known),*]),
        }
    };
}
pub(super) use at_height;

/// What the sums of a product start from, and what becomes of them while they are in registers.
///
/// A trait and not two closures: a closure is inlined or not as the compiler likes, and lacks the
/// target features when it is not. One call left over costs more than a whole block. For the same
/// reason arrays of vectors are filled by loops, not by `map` or `from_fn`.
pub(super) trait Ends<V>: Copy {
    /// The first summand of a row.
    fn start(self, row: usize) -> V;

    /// The result from a sum.
    ///
    /// # Safety
    ///
    /// The place is one of the result.
    unsafe fn finish(self, sum: V, place: At) -> V;
}

/// A row, the first of a vector of columns, and how many of the vector are inside the matrix.
pub(super) type At = (usize, usize, Span);

/// `result[rows, columns] = finish(start[rows] + left[rows, depth] · right[depth, columns])`.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) left: Matrix,
    pub(super) depth: usize,
    pub(super) right: Matrix,
    pub(super) result: Matrix,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Product {
    /// Computes the result, tile after tile.
    ///
    /// # Safety
    ///
    /// The three matrices are of the stated sizes.
    #[inline(always)]
    pub(super) unsafe fn run<V: Vector>(
        self,
        cpu: V::Cpu,
        ends: impl Ends<V>,
        mut panel: Option<&mut Panel>,
    ) {
        let mut column = 0;
        while V::WIDE_ROWS > 0 && column + WIDE * V::LANES <= self.columns {
            let tile = (column, Span::Full);
            // SAFETY: K2: four full vectors of columns are left.
            unsafe { self.tile::<V, WIDE>(cpu, tile, ends, panel.as_deref_mut()) };
            column += WIDE * V::LANES;
        }
        while column + 2 * V::LANES <= self.columns {
            let tile = (column, Span::Full);
            // SAFETY: K2: two full vectors of columns are left.
            unsafe { self.tile::<V, 2>(cpu, tile, ends, panel.as_deref_mut()) };
            column += 2 * V::LANES;
        }
        while column < self.columns {
            let tile = (column, V::span(self.columns - column));
            // SAFETY: K2: the span ends at the last column.
            unsafe { self.tile::<V, 1>(cpu, tile, ends, panel.as_deref_mut()) };
            column += V::LANES;
        }
    }

    /// All rows of C vectors of columns, block after block.
    ///
    /// # Safety
    ///
    /// The columns in `span` exist.
    #[inline(always)]
    unsafe fn tile<V: Vector, const C: usize>(
        self,
        cpu: V::Cpu,
        (column, span): (usize, Span),
        ends: impl Ends<V>,
        panel: Option<&mut Panel>,
    ) {
        let mut right = self.right.without(0, column);
        if let Some(panel) = panel {
            // SAFETY: K2: the right matrix has as many rows as the depth; the rest is the caller's promise.
            right = unsafe { panel.copy::<V, C>(cpu, right, self.depth, span) };
        }
        let most = if C == WIDE { V::WIDE_ROWS } else { V::LAYER_ROWS };
        let mut row = 0;
        while row < self.rows {
            let rows = height(most.min(MOST_ROWS), self.rows - row);
            // SAFETY: K2: as many rows are left.
            at_height!(rows, [8 7 6 5 4 3 2 1], R => unsafe {
                self.block::<V, R, C>(cpu, right, (row, column, span), ends)
            });
            row += rows;
        }
    }

    /// R rows of C vectors of columns, summed in registers. `right` begins at the first of these columns.
    ///
    /// # Safety
    ///
    /// The rows and columns exist.
    #[inline(always)]
    unsafe fn block<V: Vector, const R: usize, const C: usize>(
        self,
        cpu: V::Cpu,
        right: Matrix,
        (row, column, span): At,
        ends: impl Ends<V>,
    ) {
        let mut sums = [[V::splat(cpu, 0.0); C]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            *sums = [ends.start(row + r); C];
        }
        let left = self.left.without(row, 0);
        for k in 0..self.depth {
            // SAFETY: K2: k is one of the right matrix's rows and of the left one's columns; the rest
            // is the caller's promise.
            unsafe { add_outer(cpu, &mut sums, left.without(0, k), right.without(k, 0), span) };
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (c, sum) in sums.into_iter().enumerate() {
                let place = (row + r, column + c * V::LANES, span);
                // SAFETY: K2: the caller's promise.
                unsafe { ends.finish(sum, place).store(self.result.at(place.0, place.1), span) };
            }
        }
    }
}

/// Adds the first column of R rows on the left times C vectors of the first row on the right. The fewer of the two stay
/// in registers: with the others there would be one register too few for AVX2.
///
/// # Safety
///
/// The rows and the columns in `span` exist.
#[inline(always)]
unsafe fn add_outer<V: Vector, const R: usize, const C: usize>(
    cpu: V::Cpu,
    sums: &mut [[V; C]; R],
    left: Matrix,
    right: Matrix,
    span: Span,
) {
    // SAFETY: K2: the caller's promise.
    unsafe {
        if R < C {
            let mut weights = [V::splat(cpu, 0.0); R];
            for (r, weight) in weights.iter_mut().enumerate() {
                *weight = V::splat(cpu, *left.at(r, 0));
            }
            for c in 0..C {
                let vector = V::load(cpu, right.at(0, c * V::LANES), span);
                for (sums, weight) in sums.iter_mut().zip(weights) {
                    sums[c] = weight.mul_add(vector, sums[c]);
                }
            }
        } else {
            let mut vectors = [V::splat(cpu, 0.0); C];
            for (c, vector) in vectors.iter_mut().enumerate() {
                *vector = V::load(cpu, right.at(0, c * V::LANES), span);
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let weight = V::splat(cpu, *left.at(r, 0));
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = weight.mul_add(vector, *sum);
                }
            }
        }
    }
}

/// Rows of the next block of at most `most`: the last two share what is left for them, since a block of one
/// row has too few sums.
#[inline(always)]
pub(super) fn height(most: usize, left: usize) -> usize {
    if left <= most || left >= 2 * most { left.min(most) } else { left.div_ceil(2) }
}
