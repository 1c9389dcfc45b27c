//! A matrix that lies in memory as the kernels like it.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, NdFloat};

use crate::base::columns::{columns, columns_mut};

/// A cache line, bytes: what the widest vector loads at once.
const LINE_BYTES: usize = 64;

/// Rows this far apart, or a multiple of it, fall on the same lines of an L1 cache, bytes.
const L1_WAY_BYTES: usize = 4096;

/// An owned matrix `[F, N]`, one row a feature: rows begin at cache lines, so that no vector straddles
/// two of them, and are never a multiple of 4 kB apart, which is how far lines of one set of an L1 cache are.
#[derive(Debug)]
pub struct FeatureMajor<R> {
    /// The rows, each with room before its first number. How much of it is left free depends on where the
    /// allocation lies, so each view finds it anew, and a copy of the numbers would be no copy of the
    /// matrix: hence no `Clone`.
    storage: Array2<R>,
    columns: usize,
}

impl<R: NdFloat> FeatureMajor<R> {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        let line = LINE_BYTES / size_of::<R>();
        let mut row_stride = columns.next_multiple_of(line) + line;
        if row_stride.is_multiple_of(L1_WAY_BYTES / size_of::<R>()) {
            row_stride += line;
        }
        FeatureMajor { storage: Array2::zeros((rows, row_stride)), columns }
    }

    /// All of it, `[F, N]`.
    pub fn view(&self) -> ArrayView2<'_, R> {
        columns(self.storage.view(), self.all())
    }

    /// All of it, `[F, N]`, to be written.
    pub fn view_mut(&mut self) -> ArrayViewMut2<'_, R> {
        let all = self.all();
        columns_mut(self.storage.view_mut(), all)
    }

    /// The columns from the first one that begins a line.
    fn all(&self) -> Range<usize> {
        let line = LINE_BYTES / size_of::<R>();
        let first = self.storage.as_ptr().align_offset(LINE_BYTES).min(line);
        first..first + self.columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_begin_at_lines_and_spread_over_the_cache() {
        for (rows, columns) in [(1, 1), (3, 16), (64, 672), (5, 1023), (7, 1024), (2, 4096)] {
            let mut matrix = FeatureMajor::<f32>::zeros(rows, columns);
            matrix
                .view_mut()
                .indexed_iter_mut()
                .for_each(|((f, n), x)| *x = (f * columns + n) as f32);
            let view = matrix.view();
            assert_eq!(view.dim(), (rows, columns));
            assert!(view.iter().enumerate().all(|(index, &x)| x == index as f32));
            for row in view.rows() {
                assert_eq!(row.as_ptr().addr() % LINE_BYTES, 0, "{rows} × {columns}");
            }
            assert_ne!(view.strides()[0] as usize * size_of::<f32>() % L1_WAY_BYTES, 0);
        }
    }

    #[test]
    fn a_matrix_may_be_empty() {
        for (rows, columns) in [(0, 0), (0, 5), (5, 0)] {
            let mut matrix = FeatureMajor::<f64>::zeros(rows, columns);
            assert_eq!(matrix.view().dim(), (rows, columns));
            assert_eq!(matrix.view_mut().dim(), (rows, columns));
        }
    }
}
