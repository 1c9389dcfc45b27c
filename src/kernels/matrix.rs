//! Where the numbers of a matrix lie, for code that was told its shape.
//!
//! Owns: [`Matrix`], of a view whose strides were checked, or of numbers row upon row. Knows nothing of what is computed.

use ndarray::{ArrayView2, ArrayViewMut2};

/// Where a matrix lies: element (row, column) at `first + row · row_stride + column · column_stride`.
/// Written through only where it was made from a mutable view.
#[derive(Clone, Copy)]
pub(super) struct Matrix {
    first: *mut f32,
    row_stride: isize,
    column_stride: isize,
}

impl Matrix {
    /// A matrix of contiguous columns.
    #[inline(always)]
    pub(super) fn of(view: &ArrayView2<f32>) -> Matrix {
        check_columns(view.is_empty(), view.ncols(), view.strides());
        let first = view.as_ptr().cast_mut();
        Matrix { first, row_stride: view.strides()[0], column_stride: 1 }
    }

    /// A matrix of contiguous columns that will be written.
    #[inline(always)]
    pub(super) fn of_mut(view: &mut ArrayViewMut2<f32>) -> Matrix {
        check_columns(view.is_empty(), view.ncols(), view.strides());
        let (first, row_stride) = (view.as_mut_ptr(), view.strides()[0]);
        Matrix { first, row_stride, column_stride: 1 }
    }

    /// A matrix whose rows are of contiguous columns and lie one after another, from `first` on.
    #[inline(always)]
    pub(super) fn packed(first: *mut f32, columns: usize) -> Matrix {
        Matrix { first, row_stride: columns as isize, column_stride: 1 }
    }

    /// A matrix that is read number by number, and so may lie in any order.
    #[inline(always)]
    pub(super) fn of_any(view: &ArrayView2<f32>) -> Matrix {
        let &[row_stride, column_stride] = view.strides() else { unreachable!("two axes") };
        Matrix { first: view.as_ptr().cast_mut(), row_stride, column_stride }
    }

    #[inline(always)]
    pub(super) fn transposed(self) -> Matrix {
        Matrix { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }

    /// The matrix without its first rows and columns.
    #[inline(always)]
    pub(super) fn without(self, rows: usize, columns: usize) -> Matrix {
        let offset = rows as isize * self.row_stride + columns as isize * self.column_stride;
        Matrix { first: self.first.wrapping_offset(offset), ..self }
    }

    /// Where an element lies.
    ///
    /// # Safety
    ///
    /// The element is one of the matrix.
    #[inline(always)]
    pub(super) unsafe fn at(self, row: usize, column: usize) -> *mut f32 {
        let offset = row as isize * self.row_stride + column as isize * self.column_stride;
        // SAFETY: K2: the caller stays inside the matrix.
        unsafe { self.first.offset(offset) }
    }
}

fn check_columns(is_empty: bool, columns: usize, strides: &[isize]) {
    // Of what has no neighbour the stride says nothing.
    let contiguous = is_empty || columns == 1 || strides[1] == 1;
    assert!(contiguous, "the columns of a matrix must be contiguous");
}
