//! The multi-layer perceptron in bf16 with sums in f32, as tiles of 16 rows of 16 pairs.
//!
//! Owns: the layouts, in which the end of each layer writes what the next product reads, and
//! [`Tiles`], the few operations that differ between processors. Weights are packed once a version. What is
//! kept of a number is its bf16; sums, biases, slopes and the gradient are f32.
//!
//! | file | what |
//! |---|---|
//! | `words.rs`, `panels.rs` | matrices of pairs of bf16 |
//! | `convert.rs` | from f32 to these pairs, and through a ReLU |
//! | `layer.rs` | the weights of a layer, packed |
//! | `stack/` | a stack of layers over any [`Tiles`]: the pass forward, the pass back |
//! | `rectified.rs` | the same of one layer between two ReLUs, whose inputs come frame by frame |
//! | `emulated.rs` | the operations in plain Rust, rounded as AMX rounds them: the tests' on any machine |
//! | `ends.rs` | what becomes of sums, in AVX-512 |
//! | `dot_products.rs` | products by `VDPBF16PS` of AVX-512 BF16 |
//! | `amx.rs` | products by `TDPBF16PS` of AMX |
//! | `peak.rs` | how many products a core does at most |
//!
//! # Layouts
//!
//! F features, N frames, both padded to whole tiles with zeros.
//!
//! | layout | words | a word holds | read as |
//! |---|---|---|---|
//! | pairs | `[F/2, N]` | features 2k, 2k+1 of a frame | right factor of a layer, forward and back |
//! | rows | `[F, N/2]` | frames 2n, 2n+1 of a feature | left factor of a gradient of weights |
//! | frames | `[N/2, F]` | frames 2n, 2n+1 of a feature | right factor of a gradient of weights |
//!
//! A layer's end writes pairs and rows as fast as either; frames cost it an exchange of rows and columns. So it is
//! outputs that have rows, and errors that have frames, and the gradient of weights `[I, O]` is exchanged at the end.
//! In the first layer the few inputs have frames, and errors have rows. Beside these inputs stands a 1, whose
//! products are the gradient of the biases. In other layers errors are added up where they are made.
//!
//! Weights `[O, I/2]` and their transposes `[I, O/2]` are left factors. The first layer sees each
//! input in two parts: x = high + low, and w likewise, so that x · w = high·high + low·high + high·low takes three
//! of the 32 places that a tile has in any case, and is nearly that of f32.
//!
//! Where inputs come frame by frame (`rectified.rs`), frames are rows: `[N, F/2]` is the left factor forward and
//! `[N, O/2]` back, beside weights `[I/2, O]` and `[O/2, I]`. The gradient of weights has the same two factors.
//!
//! # Order
//!
//! Products and what becomes of their sums use different parts of the processor. Each product is therefore computed
//! beside the end of the block before it, and 64 frames at a time go through a layer, so that no product waits
//! for what has just been written.

#[cfg(target_arch = "x86_64")]
mod amx;
mod convert;
#[cfg(target_arch = "x86_64")]
mod dot_products;
mod emulated;
#[cfg(target_arch = "x86_64")]
mod ends;
mod layer;
mod panels;
mod peak;
mod rectified;
mod stack;
mod words;

use words::{Strided, Sums, TILE};

use super::Work;

#[cfg(target_arch = "x86_64")]
pub(super) use amx::Amx;
#[cfg(target_arch = "x86_64")]
pub(super) use dot_products::DotProducts;
pub(super) use emulated::Emulated;
pub(super) use peak::multiply_adds;
pub(super) use rectified::TileRectified;
pub(super) use stack::TileStack;

/// What a processor does with tiles.
pub trait Tiles: Copy + Send + Sync + 'static {
    /// What becomes of its sums.
    type Ends: LayerEnds;

    /// Does work in code compiled for these instructions.
    fn run<W: Work>(self, work: W) -> W::Output;

    /// `sums[r][c] = Σ_k left[r][k] · right[k][c]` over pairs k, each product of two pairs being the sum of two
    /// products. At least the first `rows` rows and `columns` columns are computed; more may be, of what stands there.
    ///
    /// All steps of `beside` are done meanwhile, each once and in their order. A processor whose products and other
    /// instructions run side by side does them between its instructions.
    ///
    /// # Safety
    /// The left place has 32 rows (16 where `rows` are at most 16) of `pairs` rounded up to 16; the right one as many
    /// rows, of `columns`, which are 16 or 32. The steps write none of that, and leave `sums` alone.
    unsafe fn product_beside(
        self,
        factors: Factors,
        size: Size,
        sums: &mut Sums,
        beside: &mut impl Steps,
    );

    /// The same with nothing to do meanwhile.
    ///
    /// # Safety
    /// As of [`Tiles::product_beside`].
    #[inline(always)]
    unsafe fn product(self, factors: Factors, size: Size, sums: &mut Sums) {
        // SAFETY: K3: the caller's promise.
        unsafe { self.product_beside(factors, size, sums, &mut Nothing) }
    }

    /// What becomes of its sums.
    fn ends(self) -> Self::Ends;
}

/// What becomes of a block of sums: the ends of a layer, forward and back. To be called in work that runs by
/// [`Tiles::run`].
pub trait LayerEnds: Copy {
    /// tanh of rows 2k and 2k + 1 of the sums and their biases, written as row k of pairs and, where there is room for
    /// it, as two rows.
    ///
    /// # Safety
    /// There are 32 biases. The pairs have 16 rows of 32 words, the rows 32 of 16; k is below 16.
    unsafe fn activate(
        self,
        k: usize,
        sums: &Sums,
        biases: *const f32,
        pairs: Strided<*mut u32>,
        rows: Option<Strided<*mut u32>>,
    );

    /// Rows 2k and 2k + 1 of the sums times 1 − x², x being what tanh made of the layer's own sums. For frames they
    /// are kept in `rows`.
    ///
    /// # Safety
    /// `x` has 16 rows of 32 words; k is below 16.
    unsafe fn slope(
        self,
        k: usize,
        sums: &Sums,
        x: Strided<*const u32>,
        errors: Errors,
        rows: &mut [Square; 2],
    );

    /// Rows become columns.
    ///
    /// # Safety
    /// The place has 16 rows of 16 words.
    unsafe fn exchange(self, rows: &Square, to: Strided<*mut u32>);

    /// Adds 16 columns of the sums, from `column` on, to as many rows of a matrix: to `size` rows and columns of it, at
    /// most 16 and 32.
    ///
    /// # Safety
    /// The place has so many.
    unsafe fn add_exchanged(
        self,
        sums: &Sums,
        column: usize,
        to: Strided<*mut f32>,
        size: [usize; 2],
    );
}

/// 16 features of 32 frames, on their way to be frames.
pub type Square = [[u32; TILE]; TILE];

/// Work that can be done beside other work, in 16 steps.
pub trait Steps {
    /// Step `k`. Declared `#[inline(always)]`, as [`Work::run`] is.
    fn step(&mut self, k: usize);

    /// What comes after all steps, inlined too.
    fn finish(&mut self);
}

/// Where 32 × 32 errors of a hidden layer go.
///
/// # Safety
/// Pairs are 16 rows of 32 words, and so are frames; rows are 32 of 16. Totals are 32 rows of 16 numbers.
#[derive(Clone, Copy)]
pub enum Errors {
    /// Of the first layer, below which there is none.
    First {
        /// The left factor of the gradient of its weights.
        rows: Strided<*mut u32>,
    },
    /// Of another.
    Inner {
        /// The right factor of the errors below.
        pairs: Strided<*mut u32>,
        /// The right factor of the gradient of its weights.
        frames: Strided<*mut u32>,
        /// What the errors are added to: the numbers of a row are the gradient of its bias when they are summed.
        totals: *mut f32,
    },
}

/// No work.
struct Nothing;

impl Steps for Nothing {
    #[inline(always)]
    fn step(&mut self, _: usize) {}

    #[inline(always)]
    fn finish(&mut self) {}
}

/// The factors of a product.
#[derive(Clone, Copy)]
pub struct Factors {
    left: Strided<*const u32>,
    right: Strided<*const u32>,
}

/// How large a product is.
#[derive(Clone, Copy)]
pub struct Size {
    rows: usize,
    columns: usize,
    pairs: usize,
}

#[cfg(test)]
mod tests;
