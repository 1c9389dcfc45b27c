//! Some columns of a matrix. By splitting, which is a bound check and an addition: slicing, general as it is,
//! took a noticeable part of an actor's step.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, Axis};

/// Those of the range.
pub fn columns<R>(matrix: ArrayView2<R>, columns: Range<usize>) -> ArrayView2<R> {
    matrix.split_at(Axis(1), columns.end).0.split_at(Axis(1), columns.start).1
}

/// The same of a matrix that is to be written.
pub fn columns_mut<R>(matrix: ArrayViewMut2<R>, columns: Range<usize>) -> ArrayViewMut2<R> {
    matrix.split_at(Axis(1), columns.end).0.split_at(Axis(1), columns.start).1
}
