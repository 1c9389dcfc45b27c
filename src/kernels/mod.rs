//! The arithmetic of a small multi-layer perceptron, a whole batch of frames at a time.
//!
//! Owns: the [`Kernels`] contract, its implementations for each instruction set, [`Stack`], which is a whole
//! network of them, [`Rectified`], a layer between two ReLUs, and [`Simd`], which picks one when the program
//! starts. Of parameters it knows where an [`Affine`] layer's lie; of rollouts and losses nothing. Called by
//! networks, losses and targets (exponentials), the optimiser, and environments that step in vectors.
//!
//! # Matrices
//!
//! Every batch is feature-major: row = feature, column = frame. Letters: I inputs, O outputs,
//! A actions, N frames. Columns are contiguous (unit column stride), rows may be any stride apart, so
//! a column range of a larger matrix is a valid argument and copies nothing.
//!
//! Two things about where a matrix lies decide its speed (measured on Zen 5 with `bench/kernels/main.rs`,
//! H = 64, forward and backward): rows 4 kB or a multiple apart (1,024 frames) fall on the same lines
//! of the L1 cache and cost a third of the speed; rows that begin at multiples of 64 bytes gain 6 %,
//! because no load straddles two cache lines. [`FeatureMajor`] is a matrix that sees to both.
//!
//! # Files
//!
//! | file | what |
//! |---|---|
//! | `vector.rs` | what the kernels need of a vector of f32; tanh, exp and log made of it |
//! | `blocked.rs` | the kernels themselves, and how gradients are blocked |
//! | `product.rs`, `matrix.rs`, `panel.rs` | products in blocks, where matrices lie, room for a copy |
//! | `simd.rs` | which of all these a program runs with, by name |
//! | `stack.rs` | layers one above the other, as one kernel a layer |
//! | `rectified.rs` | a layer between two ReLUs, which takes its inputs frame by frame |
//! | `tiles/` | the same in bf16, with layouts of its own |
//! | `bit_conv.rs`, `bit_grid.rs` | a convolution of planes of bits |
//! | `share.rs` | blocks of a matrix among threads |
//! | `feature_major.rs` | a matrix that lies as the kernels like it |
//! | `tanh_table.rs` | tanh in 32 pieces |
//! | `avx2.rs`, `avx512.rs` | that vector in one instruction set each |
//! | `portable.rs` | that vector in what every CPU has |
//!
//! # Invariants that the unsafe blocks rest on
//!
//! - **K1** A value of [`Avx2`] or [`Avx512`] exists only where detection found the instruction set,
//!   and every operation on a vector takes such a value or a vector made from one.
//! - **K2** A pointer is formed only inside a view whose shape and unit column stride were checked at
//!   the entry of the kernel, or inside a panel whose room was checked; a tail of columns goes through
//!   loads and stores that touch no more than the tail.
//! - **K3** A pointer to words of a tile is formed only inside a place whose size was checked when it was asked for.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bit_conv;
mod bit_grid;
mod blocked;
mod feature_major;
mod matrix;
mod panel;
mod portable;
mod product;
mod rectified;
mod share;
mod simd;
mod stack;
#[cfg(target_arch = "x86_64")]
mod tanh_table;
mod tiles;
mod vector;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use bit_grid::{BitGrid, BitRow, Meeting, PATTERNS, ROW_LEN, WINDOW, bits_of};
pub use feature_major::FeatureMajor;
pub use portable::Portable;
pub use rectified::{AboveRelu, DenseRectified, READ_FRAMES, Rectified, frame_tiles};
pub use share::PerBlock;
pub use simd::{Simd, UnknownKernels};
pub use stack::{Affine, DenseStack, Stack};

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, NdFloat};

/// What a layer applies to each of its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The sum itself: logits and values.
    Identity,
    /// The hyperbolic tangent: hidden layers.
    Tanh,
}

/// Batched layers forward and backward. Nothing is allocated; all sizes may be zero.
///
/// # Panics
///
/// Every method panics if the shapes do not fit together or if a matrix's columns are not contiguous.
pub trait Kernels<R>: Copy + Send + Sync {
    /// One layer: `y[O,N] = activation(w[O,I] · x[I,N] + b[O])`.
    fn dense(
        self,
        w: ArrayView2<R>,
        b: ArrayView1<R>,
        x: ArrayView2<R>,
        activation: Activation,
        y: ArrayViewMut2<R>,
    );

    /// Adds the gradient of a layer's parameters, given the gradient `dy` of its sums:
    /// `dw[O,I] += dy[O,N] · x[I,N]ᵀ` and `db[O] += Σ_N dy[O,N]`.
    fn weight_gradient(
        self,
        dy: ArrayView2<R>,
        x: ArrayView2<R>,
        dw: ArrayViewMut2<R>,
        db: ArrayViewMut1<R>,
    );

    /// The gradient of the sums of the layer below, in place of its outputs `x[I,N]`, which went through tanh:
    /// `x[I,N] ← (w[O,I]ᵀ · dy[O,N]) ⊙ (1 − x[I,N]²)`.
    fn input_gradient(self, w: ArrayView2<R>, dy: ArrayView2<R>, x: ArrayViewMut2<R>);

    /// `c[M,N] += a[M,K] · b[K,N]`; `a` may lie in any order, such as transposed.
    fn add_product(self, a: ArrayView2<R>, b: ArrayView2<R>, c: ArrayViewMut2<R>);

    /// `c[M,N] += a[M,K] · b[N,K]ᵀ`.
    fn add_row_products(self, a: ArrayView2<R>, b: ArrayView2<R>, c: ArrayViewMut2<R>);

    /// The sums `[P,16]` of one frame's bits, each from its bias on: `sums[p] = bias + Σ tables[c, k, pattern]` over
    /// planes c and rows k of the kernel, `pattern` being the three bits that row k meets at place p. The `tables`,
    /// `[C·3·8 + 1, 16]`, have no sum for no bits, and the bias as their last row. Rows without a bit need not be there.
    fn convolve_bits(self, grid: BitGrid, rows: &[BitRow], tables: &[R], sums: &mut [R]);

    /// Adds the gradient of the tables and the bias, `[C·3·8 + 1, 16]`, given that of the sums, `[P, 16]`. What it adds
    /// to that for no bits is of no use.
    fn bit_gradient(self, grid: BitGrid, rows: &[BitRow], d_sums: &[R], d_tables: &mut [R]);

    /// Log-probabilities and probabilities of each frame:
    /// `log_p[A,N] = logits[A,N] − log Σ_A exp(logits[A,N])`, `p[A,N] = exp(log_p[A,N])`.
    ///
    /// The largest logit of a frame is subtracted first, so that no finite logit overflows.
    fn log_softmax(self, logits: ArrayView2<R>, log_p: ArrayViewMut2<R>, p: ArrayViewMut2<R>);

    /// `y[n] = exp(x[n])`; beyond the range of the float, 0 or infinity.
    fn exp(self, x: &[R], y: &mut [R]);

    /// The arithmetic of a whole stack of these layers, with room for `n_columns` frames; for a stack that
    /// `learns` also for the pass back.
    fn stack(self, layers: &[Affine], n_columns: usize, _learns: bool) -> Box<dyn Stack<R>>
    where
        Self: 'static,
        R: NdFloat + Send,
    {
        Box::new(DenseStack::new(self, layers, n_columns))
    }

    /// The arithmetic of a layer between two ReLUs, with room for `n_frames` frames; for one that `learns` also for
    /// the pass back.
    fn rectified(self, layer: Affine, n_frames: usize, learns: bool) -> Box<dyn Rectified<R>>
    where
        Self: 'static,
        R: NdFloat + Send,
    {
        Box::new(DenseRectified::new(self, layer, n_frames, learns))
    }
}

/// Arithmetic on plain numbers that gains by wide instructions, wherever in the program it is written.
pub trait Work {
    /// Its result.
    type Output;

    /// Does it. Declared `#[inline(always)]`, as is all that it calls: what is not inlined is compiled for
    /// any CPU.
    fn run(self) -> Self::Output;
}

/// The shapes of a layer fit together: `w[O,I]`, outputs `y[O,N]`, inputs `x[I,N]`.
fn check_layer(w: (usize, usize), y: (usize, usize), x: (usize, usize)) {
    let ((w_outputs, w_inputs), (outputs, y_frames), (inputs, x_frames)) = (w, y, x);
    assert_eq!((w_outputs, w_inputs), (outputs, inputs), "weights must be [outputs, inputs]");
    assert_eq!(y_frames, x_frames, "outputs and inputs must have as many frames");
}
