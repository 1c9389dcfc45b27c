//! Work on matrices by as many threads as there are, a block at a time.
//!
//! A thread that belongs to a pool of [`rayon`] shares its work with the others of that pool; any other thread does
//! all of it. A pool is made by whoever has cores to spare, so nothing here starts a thread. Blocks are the same
//! whoever does them, and so is the result, to the last bit.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ndarray::{ArrayView, ArrayViewMut, Axis, Dimension};

/// What can be cut into blocks.
pub(super) trait Cut: Sized + Send {
    /// What belongs to the first `at` rows (frames, inputs), and the rest.
    fn cut(self, at: usize) -> (Self, Self);
}

/// A view that is cut along an axis.
pub(super) struct Along<V> {
    pub(super) view: V,
    axis: Axis,
    /// How many rows (frames, inputs) stand at one place of that axis.
    density: usize,
}

impl<V> Along<V> {
    /// A row, or whatever is counted, at each place of the axis.
    pub(super) fn axis(axis: usize, view: V) -> Self {
        Along { view, axis: Axis(axis), density: 1 }
    }

    /// A pair of them at each place.
    pub(super) fn axis_of_pairs(axis: usize, view: V) -> Self {
        Along { view, axis: Axis(axis), density: 2 }
    }
}

impl<A: Sync, D: Dimension> Cut for Along<ArrayView<'_, A, D>> {
    fn cut(self, at: usize) -> (Self, Self) {
        let (first, rest) = self.view.split_at(self.axis, at / self.density);
        (Along { view: first, ..self }, Along { view: rest, ..self })
    }
}

impl<A: Send, D: Dimension> Cut for Along<ArrayViewMut<'_, A, D>> {
    fn cut(self, at: usize) -> (Self, Self) {
        let (first, rest) = self.view.split_at(self.axis, at / self.density);
        (Along { view: first, ..self }, Along { view: rest, ..self })
    }
}

impl<C: Cut> Cut for Option<C> {
    fn cut(self, at: usize) -> (Self, Self) {
        self.map(|whole| whole.cut(at)).unzip()
    }
}

impl<B: Cut, C: Cut> Cut for (B, C) {
    fn cut(self, at: usize) -> (Self, Self) {
        let (first, rest) = (self.0.cut(at), self.1.cut(at));
        ((first.0, rest.0), (first.1, rest.1))
    }
}

/// Does `work` on each block of `block` rows of `all`, of which the last one may have fewer.
pub(super) fn in_blocks<C: Cut>(
    rows: Range<usize>,
    block: usize,
    all: C,
    work: &(impl Fn(Range<usize>, C) + Sync),
) {
    let n_blocks = rows.len().div_ceil(block);
    match n_blocks {
        0 => return,
        1 => return work(rows, all),
        _ => {}
    }
    let at = n_blocks / 2 * block;
    let (first, rest) = all.cut(at);
    let first = || in_blocks(rows.start..rows.start + at, block, first, work);
    let rest = || in_blocks(rows.start + at..rows.end, block, rest, work);
    if rayon::current_thread_index().is_some() {
        rayon::join(first, rest);
    } else {
        first();
        rest();
    }
}

/// Something of each block, for whoever works on it. Nobody ever waits for another one: a block is worked on once.
#[derive(Debug)]
pub struct PerBlock<T>(Vec<Mutex<T>>);

impl<T> PerBlock<T> {
    /// Of so many blocks.
    pub fn new(n_blocks: usize, make: impl Fn() -> T) -> Self {
        PerBlock((0..n_blocks).map(|_| Mutex::new(make())).collect())
    }

    /// The block's.
    pub fn of(&self, block: usize) -> MutexGuard<'_, T> {
        self.0[block].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of the first blocks, in their order.
    pub fn first_mut(&mut self, n_blocks: usize) -> impl Iterator<Item = &mut T> {
        let first = self.0[..n_blocks].iter_mut();
        first.map(|block| block.get_mut().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Room for what a block needs while it is worked on, one for each thread.
#[derive(Debug)]
pub(super) struct PerThread<D>(PerBlock<D>);

impl<D> PerThread<D> {
    /// For the pool that the caller belongs to.
    pub(super) fn new(scratch: impl Fn() -> D) -> Self {
        let n_threads = rayon::current_thread_index().map_or(1, |_| rayon::current_num_threads());
        PerThread(PerBlock::new(n_threads, scratch))
    }

    /// The caller's. What is found on it is of no use.
    pub(super) fn mine(&self) -> MutexGuard<'_, D> {
        let number = rayon::current_thread_index().unwrap_or(0);
        self.0.of(number % self.0.0.len())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array3};

    use super::*;

    #[test]
    fn each_block_is_worked_on_once() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for n_rows in [0, 1, 31, 32, 33, 64, 65, 640] {
            let (mut rows, mut pairs) =
                (Array2::<usize>::zeros((n_rows, 2)), Array3::<usize>::zeros((2, 320, 2)));
            let mut add_firsts = || {
                let rows = Along::axis(0, rows.view_mut());
                let pairs = Along::axis_of_pairs(1, pairs.view_mut());
                in_blocks(0..n_rows, 32, (rows, Some(pairs)), &|range, (mut rows, pairs)| {
                    assert!(range.start.is_multiple_of(32) && range.len() <= 32);
                    assert_eq!(rows.view.nrows(), range.len());
                    rows.view += range.start;
                    let mut pairs = pairs.unwrap();
                    let some = pairs.view.slice_mut(ndarray::s![.., ..range.len().div_ceil(2), ..]);
                    some.into_iter().for_each(|number| *number += range.start);
                });
            };
            add_firsts();
            pool.install(add_firsts);
            assert!(rows.indexed_iter().all(|((row, _), sum)| *sum == 2 * (row / 32 * 32)));
            let mut pairs = pairs.indexed_iter().filter(|((_, pair, _), _)| 2 * pair < n_rows);
            assert!(pairs.all(|((_, pair, _), sum)| *sum == 2 * (pair / 16 * 32)));
        }
    }
}
