//! The middle layer's product in bf16, beside the engine's in f32: what `VDPBF16PS` could gain actors.
//!
//! One instruction multiplies two pairs of bf16 a lane and adds both products to a sum in f32, so weights
//! and inputs lie in pairs of neighbouring inputs. Weights are packed once a version; inputs, which
//! a layer below leaves in f32, at every call. Owns that packing and the product, in the blocks of
//! `src/kernels/blocked.rs`, and the comparison with the engine's. Knows nothing of time.

use std::arch::x86_64::*;

use impala::kernels::{Activation, FeatureMajor, Kernels, Simd};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut2};

/// Floats of a vector.
const LANES: usize = 16;

/// Outputs and vectors of frames of a block, as the engine's.
const ROWS: usize = 8;
const VECTORS: usize = 2;

/// The middle layer of the benchmark's network without its activation, in f32 and in bf16.
pub struct Trial {
    simd: Simd,
    w: Array2<f32>,
    b: Array1<f32>,
    x: FeatureMajor<f32>,
    y: FeatureMajor<f32>,
    layer: Layer,
}

impl Trial {
    /// With weights and inputs as a network's; `None` where the processor has no bf16 or the f32 kernels are
    /// not those of the same vectors.
    ///
    /// # Panics
    /// If the sums differ by more than rounding to bf16 can explain.
    pub fn new(simd: Simd, hidden: usize, n_frames: usize) -> Option<Trial> {
        let cpu = Bf16::detect().filter(|_| simd.name() == "avx512")?;
        let number = |seed: usize| (seed as f32 * 0.618).fract() - 0.5;
        let w = Array2::from_shape_fn((hidden, hidden), |(o, i)| 0.3 * number(7 * o + 3 * i));
        let mut x = FeatureMajor::zeros(hidden, n_frames);
        x.view_mut().indexed_iter_mut().for_each(|((i, n), x)| *x = 1.9 * number(5 * i + 11 * n));
        let mut trial = Trial {
            simd,
            b: Array1::from_shape_fn(hidden, number),
            y: FeatureMajor::zeros(hidden, n_frames),
            layer: Layer::new(cpu, w.view(), n_frames),
            w,
            x,
        };
        trial.compare();
        Some(trial)
    }

    /// The engine's kernel.
    pub fn sums_f32(&mut self) {
        let Trial { simd, w, b, x, y, .. } = self;
        simd.dense(w.view(), b.view(), x.view(), Activation::Identity, y.view_mut());
    }

    /// The other one, inputs packed anew.
    pub fn sums_bf16(&mut self) {
        let Trial { b, x, y, layer, .. } = self;
        layer.sums(b.view(), x.view(), y.view_mut());
    }

    /// The f32 kernel is the oracle: each of two factors is rounded to the nearest of eight bits.
    fn compare(&mut self) {
        const OF_A_PRODUCT: f32 = 2.0 / 256.0;
        self.sums_f32();
        let oracle = self.y.view().to_owned();
        let magnitudes = self.w.mapv(f32::abs).dot(&self.x.view().mapv(f32::abs));
        self.sums_bf16();
        for ((sum, exact), magnitude) in self.y.view().iter().zip(&oracle).zip(&magnitudes) {
            let bound = 1.01 * OF_A_PRODUCT * magnitude + 1e-5;
            assert!((sum - exact).abs() <= bound, "bf16 {sum}, f32 {exact}, may differ by {bound}");
        }
    }
}

/// The proof that this processor has the instructions.
#[derive(Clone, Copy)]
struct Bf16(());

impl Bf16 {
    fn detect() -> Option<Bf16> {
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16");
        has_all.then_some(Bf16(()))
    }
}

/// A layer without an activation. Pairs of bf16 lie in the bits of an f32, with which nothing is computed.
struct Layer {
    cpu: Bf16,
    /// `[I / 2, O]`: the two weights of each output's pair of inputs.
    weights: FeatureMajor<f32>,
    /// `[I / 2, N]`.
    inputs: FeatureMajor<f32>,
}

impl Layer {
    /// Packs `w[O, I]`; room for N frames.
    ///
    /// # Panics
    /// Unless sizes are whole blocks: this is for the sizes of the benchmark, and has no code for edges.
    fn new(cpu: Bf16, w: ArrayView2<f32>, n_frames: usize) -> Layer {
        let (outputs, inputs) = w.dim();
        let is_whole = outputs.is_multiple_of(LANES)
            && inputs.is_multiple_of(2)
            && n_frames.is_multiple_of(VECTORS * LANES);
        assert!(is_whole, "{outputs} outputs, {inputs} inputs, {n_frames} frames: no whole blocks");
        let mut weights = FeatureMajor::zeros(inputs / 2, outputs);
        // Contiguous columns are outputs here, as they are frames elsewhere.
        pack(cpu, w.t().as_standard_layout().view(), weights.view_mut());
        Layer { cpu, weights, inputs: FeatureMajor::zeros(inputs / 2, n_frames) }
    }

    /// `y[O,N] = w[O,I] · x[I,N] + b[O]`, both factors rounded to bf16 first.
    fn sums(&mut self, b: ArrayView1<f32>, x: ArrayView2<f32>, mut y: ArrayViewMut2<f32>) {
        pack(self.cpu, x, self.inputs.view_mut());
        let (weights, inputs) = (self.weights.view(), self.inputs.view());
        assert_eq!(y.dim(), (weights.ncols(), inputs.ncols()), "[outputs, frames]");
        assert_eq!(b.len(), y.nrows(), "one bias an output");
        assert_eq!(y.strides()[1], 1, "contiguous columns");
        for column in (0..y.ncols()).step_by(VECTORS * LANES) {
            for row in (0..y.nrows()).step_by(ROWS) {
                // SAFETY: `cpu` is the proof of the features; the block lies inside all four.
                unsafe { block(weights, inputs, b, &mut y, (row, column)) };
            }
        }
    }
}

/// Rows 2k and 2k + 1 of `x[I, N]` as pairs in row k of `pairs[I / 2, N]`.
fn pack(cpu: Bf16, x: ArrayView2<f32>, mut pairs: ArrayViewMut2<f32>) {
    let Bf16(()) = cpu;
    assert_eq!(x.dim(), (2 * pairs.nrows(), pairs.ncols()), "two rows a row of pairs");
    assert!(x.ncols().is_multiple_of(LANES), "whole vectors");
    assert!(x.strides()[1] == 1 && pairs.strides()[1] == 1, "contiguous columns");
    // SAFETY: `cpu` is the proof of the features; shapes and strides were checked above.
    unsafe { pack_pairs(x, &mut pairs) };
}

/// # Safety
///
/// `pairs` has half the rows of `x` and as many columns, whole vectors of them, contiguous in both.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_pairs(x: ArrayView2<f32>, pairs: &mut ArrayViewMut2<f32>) {
    // The conversion puts sixteen of the one row behind sixteen of the other; a pair takes one of each.
    let take = |lane: i32| lane | (lane + LANES as i32) << 16;
    let order: [i32; LANES] = std::array::from_fn(|lane| take(lane as i32));
    // SAFETY: as long as a vector.
    let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
    for k in 0..pairs.nrows() {
        for column in (0..pairs.ncols()).step_by(LANES) {
            // SAFETY: the caller's promise.
            unsafe {
                let even = _mm512_loadu_ps(at(&x, 2 * k, column));
                let odd = _mm512_loadu_ps(at(&x, 2 * k + 1, column));
                let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(odd, even));
                let pair = _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, both));
                _mm512_storeu_ps(at_mut(pairs, k, column), pair);
            }
        }
    }
}

/// One block of sums, in registers until it is done.
///
/// # Safety
///
/// The block lies inside `y` and `b`, and its columns inside both factors, whose rows are as many.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn block(
    weights: ArrayView2<f32>,
    inputs: ArrayView2<f32>,
    b: ArrayView1<f32>,
    y: &mut ArrayViewMut2<f32>,
    (row, column): (usize, usize),
) {
    // SAFETY: the caller's promise; the vectors are only looked at as what they are made of.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        for (r, sums) in sums.iter_mut().enumerate() {
            *sums = [_mm512_set1_ps(*b.uget(row + r)); VECTORS];
        }
        for k in 0..weights.nrows() {
            let mut frames = [_mm512_setzero_ps(); VECTORS];
            for (c, frames) in frames.iter_mut().enumerate() {
                *frames = _mm512_loadu_ps(at(&inputs, k, column + c * LANES));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let weight = as_pairs(_mm512_set1_ps(*at(&weights, k, row + r)));
                for (sum, frames) in sums.iter_mut().zip(frames) {
                    *sum = _mm512_dpbf16_ps(*sum, weight, as_pairs(frames));
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (c, sum) in sums.into_iter().enumerate() {
                _mm512_storeu_ps(at_mut(y, row + r, column + c * LANES), sum);
            }
        }
    }
}

/// Where an element of a matrix of contiguous columns lies.
///
/// # Safety
///
/// It is one of the matrix.
unsafe fn at(view: &ArrayView2<f32>, row: usize, column: usize) -> *const f32 {
    // SAFETY: the caller's promise.
    unsafe { view.as_ptr().offset(row as isize * view.strides()[0] + column as isize) }
}

/// The same, to be written.
///
/// # Safety
///
/// It is one of the matrix.
unsafe fn at_mut(view: &mut ArrayViewMut2<f32>, row: usize, column: usize) -> *mut f32 {
    let offset = row as isize * view.strides()[0] + column as isize;
    // SAFETY: the caller's promise.
    unsafe { view.as_mut_ptr().offset(offset) }
}

/// The same bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn as_pairs(bits: __m512) -> __m512bh {
    // SAFETY: two names for a vector of as many bits.
    unsafe { std::mem::transmute(bits) }
}
