//! The multi-layer perceptron in bf16 with sums in f32, as tiles of 16 rows of 16 pairs.
//!
//! Owns: the layouts, in which the end of each layer writes what the next product reads, and
//! [`Tiles`], the few operations that differ between processors. Weights are packed once a version. What is
//! kept of a number is its bf16; sums, biases, slopes and the gradient are f32.
//!
//! | file | what |
//! |---|---|
//! | `words.rs` | matrices of pairs of bf16 |
//! | `stack.rs` | packing, the pass forward and the pass back, over any [`Tiles`] |
//! | `emulated.rs` | the operations in plain Rust, rounded as AMX rounds them: the tests' on any machine |
//! | `ends.rs` | what becomes of sums, in AVX-512 |
//! | `dot_products.rs` | products by `VDPBF16PS` of AVX-512 BF16 |
//! | `amx.rs` | products by `TDPBF16PS` of AMX |
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
//! Weights `[O, I/2]` and their transposes `[I, O/2]` are left factors. The first layer sees each
//! input in two parts: x = high + low, and w likewise, so that x · w = high·high + low·high + high·low takes three
//! of the 32 places that a tile has in any case, and is nearly that of f32.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod dot_products;
mod emulated;
#[cfg(target_arch = "x86_64")]
mod ends;
mod stack;
mod words;

use words::{Place, Sums};

use super::Work;

#[cfg(target_arch = "x86_64")]
pub(super) use amx::Amx;
#[cfg(target_arch = "x86_64")]
pub(super) use dot_products::DotProducts;
pub(super) use emulated::Emulated;
pub(super) use stack::TileStack;

/// What a processor does with tiles.
pub trait Tiles: Copy + Send + 'static {
    /// Does work in code compiled for these instructions.
    fn run<W: Work>(self, work: W) -> W::Output;

    /// `sums[r][c] = start[r] + Σ_k left[r][k] · right[k][c]` over pairs k, each product of two pairs being the sum of two
    /// products. At least the first `rows` rows and `columns` columns are computed; more may be, of what stands there.
    ///
    /// # Safety
    /// The left place has 32 rows (16 where `rows` are at most 16) of `pairs` rounded up to 16; the right one as many
    /// rows, of `columns`, which are 16 or 32. `start` has 16 equal numbers for each of those rows.
    unsafe fn product(self, factors: Factors, size: Size, start: *const f32, sums: &mut Sums);

    /// tanh of the sums, written as pairs and, where there is room for it, as frames.
    ///
    /// # Safety
    /// The pairs have 16 rows of 32 words, the frames 16 rows of 32.
    unsafe fn activate(self, sums: &Sums, pairs: Place<*mut u32>, frames: Option<Place<*mut u32>>);

    /// The sums times 1 − x², x being what tanh made of the layer's own sums; written as rows and, where there is
    /// room for it, as pairs.
    ///
    /// # Safety
    /// `x` and the pairs have 16 rows of 32 words, the rows 32 of 16.
    unsafe fn slope(
        self,
        sums: &Sums,
        x: Place<*const u32>,
        rows: Place<*mut u32>,
        pairs: Option<Place<*mut u32>>,
    );
}

/// The factors of a product.
#[derive(Clone, Copy)]
pub struct Factors {
    left: Place<*const u32>,
    right: Place<*const u32>,
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
