//! The kernels, written once for any [`Vector`].
//!
//! # Blocking, and why
//!
//! **Layers** (forward, and backward to the inputs) are products in blocks: `product.rs`.
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

use std::ops::Range;

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis};

pub(super) use super::bit_conv::{bit_gradient, convolve_bits};
use super::matrix::Matrix;
use super::panel::{PANEL_DEPTH, Panel};
use super::product::{At, Ends, Product, at_height, height};
use super::vector::{self, Span, Vector};
use super::{Activation, check_layer};

/// The most outputs in a block of a weight gradient that `add_products_of_rows` knows.
pub(super) const MOST_GRADIENT_ROWS: usize = 4;

/// Vectors that [`Vector::sums`] adds up together: the inputs in a block of a weight gradient.
const SUMS: usize = 4;

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
    unsafe fn finish(self, sum: V, _place: At) -> V {
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
    unsafe fn finish(self, sum: V, (row, column, span): At) -> V {
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
        let (left, right) = (left.without(0, first), right.without(first, 0));
        let product = Product { left, depth, right, result, rows, columns };
        // SAFETY: K2: the shapes were checked above.
        unsafe { product.run::<V>(cpu, Added { cpu, result }, pays.then_some(&mut panel)) }
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
    unsafe fn finish(self, sum: V, (row, column, span): At) -> V {
        // SAFETY: K2: the place is one of the result.
        sum + unsafe { V::load(self.cpu, self.result.at(row, column), span) }
    }
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
