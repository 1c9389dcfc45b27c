//! The kernels, written once for any [`Vector`].
//!
//! # Blocking, and why
//!
//! **Layers** (forward, and backward to the inputs) run in tiles of some vectors of frames, and within
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
//!
//! **Gradients of weights** are dot products of rows that are N frames long. A block of `GRADIENT_ROWS`
//! outputs × 4 inputs runs over all frames with one vector of partial sums for each weight, and adds
//! up the lanes once at the end. That costs about as much as some dozens of frames, so tiles of frames
//! are dearer than reading the rows from L2.
//!
//! | | outputs × inputs | sums | registers | loads a multiply-add |
//! |---|---|---|---|---|
//! | AVX-512 | 4 × 4 | 16 | 32 | 0.5 |
//! | AVX2; portable, not on x86 | 3 × 4 | 12 | 16 | 0.58 |
//! | portable, on x86 | 2 × 4 | 8 | 16 | 0.75 |
//!
//! With 3 × 4 sums the sixteen registers of AVX2 are full: three hold the outputs' errors, one the inputs.
//! 2 × 4 left a quarter of the speed, because eight sums have nothing in hand when a load comes late. SSE2 has no
//! fused multiply-add, so that a product needs a register before it is added: 3 × 4 would take a seventeenth.

use std::mem::MaybeUninit;
use std::ops::Range;

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis};

pub(super) use super::bit_conv::{bit_gradient, convolve_bits};
use super::vector::{self, Span, Vector};
use super::{Activation, check_layer};

/// The most outputs in a block of a layer that `Product::tile` knows.
pub(super) const MOST_ROWS: usize = 8;

/// Vectors in a tile of the instruction sets whose [`Vector::WIDE_ROWS`] are not 0.
const WIDE: usize = 4;

/// The most outputs in a block of a weight gradient that `add_products_of_rows` knows.
pub(super) const MOST_GRADIENT_ROWS: usize = 4;

/// Vectors that [`Vector::sums`] adds up together: the inputs in a block of a weight gradient.
const SUMS: usize = 4;

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

/// Where a matrix lies: element (row, column) at `first + row · row_stride + column · column_stride`.
/// Written through only where it was made from a mutable view.
#[derive(Clone, Copy)]
struct Matrix {
    first: *mut f32,
    row_stride: isize,
    column_stride: isize,
}

impl Matrix {
    /// A matrix of contiguous columns.
    #[inline(always)]
    fn of(view: &ArrayView2<f32>) -> Matrix {
        check_columns(view.is_empty(), view.ncols(), view.strides());
        let first = view.as_ptr().cast_mut();
        Matrix { first, row_stride: view.strides()[0], column_stride: 1 }
    }

    /// A matrix of contiguous columns that will be written.
    #[inline(always)]
    fn of_mut(view: &mut ArrayViewMut2<f32>) -> Matrix {
        check_columns(view.is_empty(), view.ncols(), view.strides());
        let (first, row_stride) = (view.as_mut_ptr(), view.strides()[0]);
        Matrix { first, row_stride, column_stride: 1 }
    }

    /// A matrix that is read number by number, and so may lie in any order.
    #[inline(always)]
    fn of_any(view: &ArrayView2<f32>) -> Matrix {
        let &[row_stride, column_stride] = view.strides() else { unreachable!("two axes") };
        Matrix { first: view.as_ptr().cast_mut(), row_stride, column_stride }
    }

    #[inline(always)]
    fn transposed(self) -> Matrix {
        Matrix { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }

    /// The matrix without its first rows and columns.
    #[inline(always)]
    fn from(self, row: usize, column: usize) -> Matrix {
        let offset = row as isize * self.row_stride + column as isize * self.column_stride;
        Matrix { first: self.first.wrapping_offset(offset), ..self }
    }

    /// Where an element lies.
    ///
    /// # Safety
    ///
    /// The element is one of the matrix.
    #[inline(always)]
    unsafe fn at(self, row: usize, column: usize) -> *mut f32 {
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

/// `y = activation(w · x + b)`.
#[inline(always)]
pub(super) fn dense<V: Vector>(
    cpu: V::Cpu,
    w: ArrayView2<f32>,
    b: ArrayView1<f32>,
    x: ArrayView2<f32>,
    activation: Activation,
    mut y: ArrayViewMut2<f32>,
) {
    check_layer(w.dim(), y.dim(), x.dim());
    assert_eq!(b.len(), y.nrows(), "one bias an output");
    let (rows, columns) = y.dim();
    let product = Product {
        left: Matrix::of(&w),
        depth: x.nrows(),
        right: Matrix::of(&x),
        result: Matrix::of_mut(&mut y),
        rows,
        columns,
    };
    let biased = |activation| Biased { cpu, bias: b, activation };
    // The activation is a constant in either arm, and so is inlined.
    match activation {
        // SAFETY: K2: the shapes were checked above.
        Activation::Identity => unsafe {
            product.run::<V>(cpu, biased(Activation::Identity), None)
        },
        // SAFETY: K2: as above.
        Activation::Tanh => unsafe { product.run::<V>(cpu, biased(Activation::Tanh), None) },
    }
}

/// `activation(bias + product)`.
#[derive(Clone, Copy)]
struct Biased<'a, Cpu> {
    cpu: Cpu,
    bias: ArrayView1<'a, f32>,
    activation: Activation,
}

impl<V: Vector> Ends<V> for Biased<'_, V::Cpu> {
    #[inline(always)]
    fn start(self, row: usize) -> V {
        V::splat(self.cpu, self.bias[row])
    }

    #[inline(always)]
    unsafe fn finish(self, sum: V, _place: Place) -> V {
        match self.activation {
            Activation::Identity => sum,
            Activation::Tanh => sum.tanh(self.cpu),
        }
    }
}

/// `x ← (wᵀ · dy) ⊙ (1 − x²)`.
#[inline(always)]
pub(super) fn input_gradient<V: Vector>(
    cpu: V::Cpu,
    w: ArrayView2<f32>,
    dy: ArrayView2<f32>,
    mut x: ArrayViewMut2<f32>,
) {
    check_layer(w.dim(), dy.dim(), x.dim());
    let (rows, columns) = x.dim();
    let result = Matrix::of_mut(&mut x);
    let (left, right) = (Matrix::of(&w).transposed(), Matrix::of(&dy));
    let product = Product { left, depth: dy.nrows(), right, result, rows, columns };
    // SAFETY: K2: the shapes were checked above.
    unsafe { product.run::<V>(cpu, Slopes { cpu, outputs: result }, None) }
}

/// `product ⊙ (1 − outputs²)`: back through the tanh that made the outputs, which the result takes the place of.
#[derive(Clone, Copy)]
struct Slopes<Cpu> {
    cpu: Cpu,
    outputs: Matrix,
}

impl<V: Vector> Ends<V> for Slopes<V::Cpu> {
    #[inline(always)]
    fn start(self, _row: usize) -> V {
        V::splat(self.cpu, 0.0)
    }

    #[inline(always)]
    unsafe fn finish(self, sum: V, (row, column, span): Place) -> V {
        // SAFETY: K2: the place is one of the result, which still holds the outputs there.
        let output = unsafe { V::load(self.cpu, self.outputs.at(row, column), span) };
        sum * output.neg_mul_add(output, V::splat(self.cpu, 1.0))
    }
}

/// `c += a · b`.
#[inline(always)]
pub(super) fn add_product<V: Vector>(
    cpu: V::Cpu,
    a: ArrayView2<f32>,
    b: ArrayView2<f32>,
    mut c: ArrayViewMut2<f32>,
) {
    let ((rows, depth), (b_depth, columns)) = (a.dim(), b.dim());
    assert_eq!((depth, c.dim()), (b_depth, (rows, columns)), "c[M,N] += a[M,K] · b[K,N]");
    let result = Matrix::of_mut(&mut c);
    let (left, right) = (Matrix::of_any(&a), Matrix::of(&b));
    let (mut panel, pays) = (Panel::new(), rows >= Panel::PAYING_ROWS);
    for first in (0..depth).step_by(PANEL_DEPTH) {
        let depth = PANEL_DEPTH.min(depth - first);
        let (left, right) = (left.from(0, first), right.from(first, 0));
        let product = Product { left, depth, right, result, rows, columns };
        // SAFETY: K2: the shapes were checked above.
        unsafe { product.run::<V>(cpu, Added { cpu, result }, pays.then_some(&mut panel)) }
    }
}

/// The most rows of a right matrix that a product copies before it multiplies: with the widest tile, half of L1.
const PANEL_DEPTH: usize = 128;

/// The most columns of a tile.
const PANEL_COLUMNS: usize = 32;

/// A tile of a right matrix, row upon row. Where it lies by itself, its rows may be whole pages apart: they fall on the
/// same lines of L1, and no prefetch follows them.
#[repr(align(64))]
struct Panel([MaybeUninit<f32>; PANEL_DEPTH * PANEL_COLUMNS]);

impl Panel {
    /// Rows of a product from which on a copy pays. It takes as long as two rows.
    const PAYING_ROWS: usize = 32;

    fn new() -> Panel {
        Panel([MaybeUninit::uninit(); PANEL_DEPTH * PANEL_COLUMNS])
    }

    /// Copies C vectors of each of the first `depth` rows of a matrix.
    ///
    /// # Safety
    ///
    /// The rows and the columns in `span` exist.
    #[inline(always)]
    unsafe fn copy<V: Vector, const C: usize>(
        &mut self,
        cpu: V::Cpu,
        from: Matrix,
        depth: usize,
        span: Span,
    ) -> Matrix {
        assert!(depth <= PANEL_DEPTH && C * V::LANES <= PANEL_COLUMNS, "a tile has its room");
        let first = self.0.as_mut_ptr().cast::<f32>();
        let panel = Matrix { first, row_stride: (C * V::LANES) as isize, column_stride: 1 };
        for k in 0..depth {
            for c in 0..C {
                // SAFETY: K2: the caller's promise; the panel has room for that many rows of C vectors.
                unsafe {
                    let vector = V::load(cpu, from.at(k, c * V::LANES), span);
                    vector.store(panel.at(k, c * V::LANES), Span::Full);
                }
            }
        }
        panel
    }
}

/// `result + product`.
#[derive(Clone, Copy)]
struct Added<Cpu> {
    cpu: Cpu,
    result: Matrix,
}

impl<V: Vector> Ends<V> for Added<V::Cpu> {
    #[inline(always)]
    fn start(self, _row: usize) -> V {
        V::splat(self.cpu, 0.0)
    }

    #[inline(always)]
    unsafe fn finish(self, sum: V, (row, column, span): Place) -> V {
        // SAFETY: K2: the place is one of the result.
        sum + unsafe { V::load(self.cpu, self.result.at(row, column), span) }
    }
}

/// What the sums of a product start from, and what becomes of them while they are in registers.
///
/// A trait and not two closures: a closure is inlined or not as the compiler likes, and lacks the
/// target features when it is not. One call left over costs more than a whole block. For the same
/// reason arrays of vectors are filled by loops, not by `map` or `from_fn`.
trait Ends<V>: Copy {
    /// The first summand of a row.
    fn start(self, row: usize) -> V;

    /// The result from a sum.
    ///
    /// # Safety
    ///
    /// The place is one of the result.
    unsafe fn finish(self, sum: V, place: Place) -> V;
}

/// A row, the first of a vector of columns, and how many of the vector are inside the matrix.
type Place = (usize, usize, Span);

/// `result[rows, columns] = finish(start[rows] + left[rows, depth] · right[depth, columns])`.
#[derive(Clone, Copy)]
struct Product {
    left: Matrix,
    depth: usize,
    right: Matrix,
    result: Matrix,
    rows: usize,
    columns: usize,
}

impl Product {
    /// Computes the result, tile after tile.
    ///
    /// # Safety
    ///
    /// The three matrices are of the stated sizes.
    #[inline(always)]
    unsafe fn run<V: Vector>(self, cpu: V::Cpu, ends: impl Ends<V>, mut panel: Option<&mut Panel>) {
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
        let mut right = self.right.from(0, column);
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
        (row, column, span): Place,
        ends: impl Ends<V>,
    ) {
        let mut sums = [[V::splat(cpu, 0.0); C]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            *sums = [ends.start(row + r); C];
        }
        let left = self.left.from(row, 0);
        for k in 0..self.depth {
            // SAFETY: K2: k is one of the right matrix's rows and of the left one's columns; the rest
            // is the caller's promise.
            unsafe { add_outer(cpu, &mut sums, left.from(0, k), right.from(k, 0), span) };
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
fn height(most: usize, left: usize) -> usize {
    if left <= most || left >= 2 * most { left.min(most) } else { left.div_ceil(2) }
}

/// `dw += dy · xᵀ`, `db += Σ dy`.
#[inline(always)]
pub(super) fn weight_gradient<V: Vector>(
    cpu: V::Cpu,
    dy: ArrayView2<f32>,
    x: ArrayView2<f32>,
    mut dw: ArrayViewMut2<f32>,
    mut db: ArrayViewMut1<f32>,
) {
    check_layer(dw.dim(), dy.dim(), x.dim());
    assert_eq!(db.len(), dy.nrows(), "one bias an output");
    let (left, right, result) = (Matrix::of(&dy), Matrix::of(&x), Matrix::of_mut(&mut dw));
    let (outputs, columns) = (dy.nrows(), x.nrows());
    let group = group_rows::<V>(dy.ncols());
    for (first, db) in (0..).step_by(group).zip(db.axis_chunks_iter_mut(Axis(0), group)) {
        let sizes = (first..outputs.min(first + group), columns, dy.ncols());
        // SAFETY: K2: the shapes were checked above.
        unsafe {
            add_row_sums::<V>(cpu, left, sizes.0.clone(), dy.ncols(), db);
            add_products_of_rows::<V>(cpu, left, right, result, sizes);
        }
    }
}

/// Outputs whose gradients are computed together, a multiple of a block's: as many as leave the rows of
/// their errors half of L1, and always one block.
#[inline(always)]
fn group_rows<V: Vector>(frames: usize) -> usize {
    const HALF_OF_L1: usize = 16 * 1024 / size_of::<f32>();
    let block = V::GRADIENT_ROWS;
    (HALF_OF_L1 / frames.max(1) / block * block).max(block)
}

/// `sums[rows] += Σ matrix[rows, columns]`.
///
/// # Safety
///
/// The rows exist and have that many columns.
#[inline(always)]
unsafe fn add_row_sums<V: Vector>(
    cpu: V::Cpu,
    matrix: Matrix,
    rows: Range<usize>,
    columns: usize,
    mut result: ArrayViewMut1<f32>,
) {
    let chunks = result.axis_chunks_iter_mut(Axis(0), SUMS);
    for (row, result) in rows.clone().step_by(SUMS).zip(chunks) {
        // SAFETY: K2: as many rows are left.
        let sums = at_height!(result.len(), [4 3 2 1], R => unsafe {
            row_sums::<V, R>(cpu, matrix, row, columns)
        });
        result.into_iter().zip(V::sums(sums)).for_each(|(result, sum)| *result += sum);
    }
}

/// The sums of R rows, at most four, over all columns but for the lanes of a vector.
///
/// # Safety
///
/// The rows exist and have that many columns.
#[inline(always)]
unsafe fn row_sums<V: Vector, const R: usize>(
    cpu: V::Cpu,
    matrix: Matrix,
    row: usize,
    columns: usize,
) -> [V; SUMS] {
    let mut sums = [V::splat(cpu, 0.0); SUMS];
    for column in (0..columns).step_by(V::LANES) {
        let span = V::span(columns - column);
        for (r, sum) in sums[..R].iter_mut().enumerate() {
            // SAFETY: K2: the span ends at the last column at most.
            *sum = *sum + unsafe { V::load(cpu, matrix.at(row + r, column), span) };
        }
    }
    sums
}

/// `c += a · bᵀ`.
#[inline(always)]
pub(super) fn add_row_products<V: Vector>(
    cpu: V::Cpu,
    a: ArrayView2<f32>,
    b: ArrayView2<f32>,
    mut c: ArrayViewMut2<f32>,
) {
    let ((rows, depth), (columns, b_depth)) = (a.dim(), b.dim());
    assert_eq!((depth, c.dim()), (b_depth, (rows, columns)), "c[M,N] += a[M,K] · b[N,K]ᵀ");
    let (left, right, result) = (Matrix::of(&a), Matrix::of(&b), Matrix::of_mut(&mut c));
    // Four rows of `b` stay in L1 while all of `a` goes by: it is the smaller one, a tile of frames, and fits in L2.
    // SAFETY: K2: the shapes were checked above.
    unsafe { add_products_of_rows::<V>(cpu, left, right, result, (0..rows, columns, depth)) };
}

/// `result[rows, columns] += left[rows, depth] · right[columns, depth]ᵀ`, block after block.
///
/// # Safety
///
/// The rows exist, and the three matrices have that many columns and that depth.
#[inline(always)]
unsafe fn add_products_of_rows<V: Vector>(
    cpu: V::Cpu,
    left: Matrix,
    right: Matrix,
    result: Matrix,
    (rows, columns, depth): (Range<usize>, usize, usize),
) {
    const { assert!(V::GRADIENT_ROWS <= MOST_GRADIENT_ROWS) };
    for column in (0..columns).step_by(SUMS) {
        let mut row = rows.start;
        while row < rows.end {
            let height = height(V::GRADIENT_ROWS, rows.end - row);
            let place = (row, column, columns);
            // SAFETY: K2: as many rows are left.
            at_height!(height, [4 3 2 1], R => unsafe {
                add_block::<V, R>(cpu, left, right, result, place, depth)
            });
            row += height;
        }
    }
}

/// The block of R rows and four columns that begins at `row` and `column`, of `columns`.
///
/// # Safety
///
/// From `row` on, `left` and `result` have R rows; `right` has as many rows as `result` has columns, which
/// are contiguous; `left` and `right` are as wide as `depth`; and nobody else refers to `result`.
#[inline(always)]
unsafe fn add_block<V: Vector, const R: usize>(
    cpu: V::Cpu,
    left: Matrix,
    right: Matrix,
    result: Matrix,
    (row, column, columns): (usize, usize, usize),
    depth: usize,
) {
    // SAFETY: K2: the caller's promise; four elements of a row lie one after another.
    unsafe {
        let right = (right, four_from(column, columns));
        let sums = row_products::<V, R>(cpu, (left, row), right, depth);
        for (row, sums) in (row..).zip(sums) {
            let sums = V::sums(sums);
            // Where there are four, as an array, which the compiler adds as one vector.
            if column + SUMS <= columns {
                let result = &mut *result.at(row, column).cast::<[f32; SUMS]>();
                result.iter_mut().zip(sums).for_each(|(result, sum)| *result += sum);
            } else {
                for (column, sum) in (column..columns).zip(sums) {
                    *result.at(row, column) += sum;
                }
            }
        }
    }
}

/// Four rows from `first` on; the last of `rows` stands in for those beyond, whose results are not used.
#[inline(always)]
fn four_from(first: usize, rows: usize) -> [usize; SUMS] {
    let last = rows - 1;
    [first, last.min(first + 1), last.min(first + 2), last.min(first + 3)]
}

/// The products of R rows of one matrix with four rows of another, summed over all columns but for the
/// lanes of a vector.
///
/// # Safety
///
/// The rows exist and have that many columns.
#[inline(always)]
unsafe fn row_products<V: Vector, const R: usize>(
    cpu: V::Cpu,
    left: (Matrix, usize),
    right: (Matrix, [usize; SUMS]),
    columns: usize,
) -> [[V; SUMS]; R] {
    let mut sums = [[V::splat(cpu, 0.0); SUMS]; R];
    let whole = columns / V::LANES * V::LANES;
    // SAFETY: K2: no span goes beyond the last column; the rest is the caller's promise.
    unsafe {
        for column in (0..whole).step_by(V::LANES) {
            sums = add_products(cpu, sums, left, right, (column, Span::Full));
        }
        if whole < columns {
            let tail = (whole, Span::First(columns - whole));
            sums = add_products(cpu, sums, left, right, tail);
        }
    }
    sums
}

/// Adds the products of one vector of columns of each row to their sums.
///
/// # Safety
///
/// The rows and the columns in the span exist.
#[inline(always)]
unsafe fn add_products<V: Vector, const R: usize>(
    cpu: V::Cpu,
    mut sums: [[V; SUMS]; R],
    (left, first): (Matrix, usize),
    (right, right_rows): (Matrix, [usize; SUMS]),
    (column, span): (usize, Span),
) -> [[V; SUMS]; R] {
    // SAFETY: K2: the caller's promise.
    unsafe {
        let mut loaded = [V::splat(cpu, 0.0); R];
        for (r, loaded) in loaded.iter_mut().enumerate() {
            *loaded = V::load(cpu, left.at(first + r, column), span);
        }
        for (s, row) in right_rows.into_iter().enumerate() {
            let right = V::load(cpu, right.at(row, column), span);
            for (sums, left) in sums.iter_mut().zip(loaded) {
                sums[s] = left.mul_add(right, sums[s]);
            }
        }
    }
    sums
}

/// `log_p = logits − log Σ exp(logits)`, `p = exp(log_p)`, a vector of frames at a time.
#[inline(always)]
pub(super) fn log_softmax<V: Vector>(
    cpu: V::Cpu,
    logits: ArrayView2<f32>,
    mut log_p: ArrayViewMut2<f32>,
    mut p: ArrayViewMut2<f32>,
) {
    assert_eq!(logits.dim(), log_p.dim(), "one log-probability a logit");
    assert_eq!(logits.dim(), p.dim(), "one probability a logit");
    let (actions, frames) = logits.dim();
    let logits = Matrix::of(&logits);
    let (log_p, p) = (Matrix::of_mut(&mut log_p), Matrix::of_mut(&mut p));
    for frame in (0..if actions == 0 { 0 } else { frames }).step_by(V::LANES) {
        let span = V::span(frames - frame);
        // SAFETY: K2: all three matrices have these shapes, and the span ends at the last frame.
        unsafe { log_softmax_frames::<V>(cpu, logits, log_p, p, actions, (frame, span)) };
    }
}

/// The same for the frames of one vector.
///
/// # Safety
///
/// Each matrix has that many rows, at least one, and the frames in the span.
#[inline(always)]
unsafe fn log_softmax_frames<V: Vector>(
    cpu: V::Cpu,
    logits: Matrix,
    log_p: Matrix,
    p: Matrix,
    actions: usize,
    (frame, span): (usize, Span),
) {
    // SAFETY: K2: the caller's promise.
    unsafe {
        let mut largest = V::load(cpu, logits.at(0, frame), span);
        for action in 1..actions {
            largest = largest.at_least(V::load(cpu, logits.at(action, frame), span));
        }
        let mut sum = V::splat(cpu, 0.0);
        for action in 0..actions {
            let shifted = V::load(cpu, logits.at(action, frame), span) - largest;
            let exponential = vector::exp(cpu, shifted);
            sum = sum + exponential;
            shifted.store(log_p.at(action, frame), span);
            exponential.store(p.at(action, frame), span);
        }
        let (log_sum, scale) = (vector::log(cpu, sum), V::splat(cpu, 1.0) / sum);
        for action in 0..actions {
            let shifted = V::load(cpu, log_p.at(action, frame), span);
            (shifted - log_sum).store(log_p.at(action, frame), span);
            let exponential = V::load(cpu, p.at(action, frame), span);
            (exponential * scale).store(p.at(action, frame), span);
        }
    }
}

/// `y = exp(x)`.
#[inline(always)]
pub(super) fn exp<V: Vector>(cpu: V::Cpu, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "one exponential a number");
    for (x, y) in x.chunks(V::LANES).zip(y.chunks_mut(V::LANES)) {
        let span = V::span(x.len());
        // SAFETY: K2: both chunks are as long as the span.
        unsafe { vector::exp(cpu, V::load(cpu, x.as_ptr(), span)).store(y.as_mut_ptr(), span) };
    }
}

/// `rounds` times twelve independent vectors of multiply-adds, in registers alone: what a core can do at
/// best. Returns the floating-point operations that this was.
#[inline(always)]
pub(super) fn multiply_adds<V: Vector>(cpu: V::Cpu, rounds: usize) -> usize {
    const CHAINS: usize = 12;
    let factor = V::splat(cpu, std::hint::black_box(0.5));
    let mut sums = [factor; CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sum.mul_add(factor, factor);
        }
    }
    for four in sums.as_chunks().0 {
        std::hint::black_box(V::sums(*four));
    }
    2 * rounds * CHAINS * V::LANES
}

/// Implements `Kernels<f32>` for the proof that a CPU has some instructions: each method calls one
/// function compiled for these instructions (the attribute says so), with everything above inlined into
/// it.
macro_rules! vector_kernels {
    ($cpu:ty, $vector:ty, $attribute:tt) => {
        impl super::Kernels<f32> for $cpu {
            vector_kernels!(@methods $cpu, $vector, $attribute;
                dense(
                    w: ndarray::ArrayView2<f32>,
                    b: ndarray::ArrayView1<f32>,
                    x: ndarray::ArrayView2<f32>,
                    activation: super::Activation,
                    y: ndarray::ArrayViewMut2<f32>
                )
                weight_gradient(
                    dy: ndarray::ArrayView2<f32>,
                    x: ndarray::ArrayView2<f32>,
                    dw: ndarray::ArrayViewMut2<f32>,
                    db: ndarray::ArrayViewMut1<f32>
                )
                input_gradient(
                    w: ndarray::ArrayView2<f32>,
                    dy: ndarray::ArrayView2<f32>,
                    x: ndarray::ArrayViewMut2<f32>
                )
                add_product(
                    a: ndarray::ArrayView2<f32>,
                    b: ndarray::ArrayView2<f32>,
                    c: ndarray::ArrayViewMut2<f32>
                )
                add_row_products(
                    a: ndarray::ArrayView2<f32>,
                    b: ndarray::ArrayView2<f32>,
                    c: ndarray::ArrayViewMut2<f32>
                )
                convolve_bits(
                    grid: super::BitGrid,
                    rows: &[super::BitRow],
                    tables: &[f32],
                    sums: &mut [f32]
                )
                bit_gradient(
                    grid: super::BitGrid,
                    rows: &[super::BitRow],
                    d_sums: &[f32],
                    d_tables: &mut [f32]
                )
                log_softmax(
                    logits: ndarray::ArrayView2<f32>,
                    log_p: ndarray::ArrayViewMut2<f32>,
                    p: ndarray::ArrayViewMut2<f32>
                )
                exp(x: &[f32], y: &mut [f32])
            );
        }

        impl $cpu {
            vector_kernels!(@methods $cpu, $vector, $attribute; pub(super) multiply_adds(rounds: usize) -> usize);

            pub(super) fn run<W: super::Work>(self, work: W) -> W::Output {
                # $attribute
                unsafe fn compiled<W: super::Work>(work: W) -> W::Output {
                    work.run()
                }
                // SAFETY: K1: `self` is the proof that the CPU has these features.
                unsafe { compiled(work) }
            }
        }
    };
    (@methods $cpu:ty, $vector:ty, $attribute:tt;
        $($visibility:vis $method:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?)*) => {
        $($visibility fn $method(self, $($argument: $type),*) $(-> $result)? {
            # $attribute
            unsafe fn compiled(cpu: $cpu, $($argument: $type),*) $(-> $result)? {
                super::blocked::$method::<$vector>(cpu, $($argument),*)
            }
            // SAFETY: K1: `self` is the proof that the CPU has these features.
            unsafe { compiled(self, $($argument),*) }
        })*
    };
}
pub(super) use vector_kernels;
