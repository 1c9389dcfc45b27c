//! A dense layer between two ReLUs: its contract, and its form with all numbers as they are.
//!
//! Owns: [`Rectified`], [`DenseRectified`], and the way back through a ReLU. Matrices are frame-major here: a row a
//! frame. Whoever fills the layer's inputs does so frame by frame, so that each form keeps them as it multiplies
//! them. All the threads of the caller's pool share the work (`share.rs`). Knows nothing of what lies below the
//! first ReLU.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut1, ArrayViewMut2, NdFloat, s};

use super::share::{Along, PerThread, in_blocks};
use super::{Affine, FeatureMajor, Kernels};

/// Frames whose derivatives are read together begin at a multiple of it.
pub const READ_FRAMES: usize = 32;

/// Frames that go through the layer before the next ones: their inputs (4 kB a frame of 1,024) are then still in
/// L2 when the layer reads them.
const TILE_FRAMES: usize = 64;

/// Inputs whose weights' gradient is computed together.
const GRADIENT_COLUMNS: usize = 64;

/// Said of matrices here.
const WHOLE: &str = "a frame's numbers lie side by side";

/// A dense layer whose I inputs went through a ReLU, and whose O outputs do. Nothing is allocated.
pub trait Rectified<R>: Send {
    /// Takes over newer parameters, of which the other methods are then told.
    fn pack(&mut self, params: &[R]);

    /// `outputs[N,O] = max(0, w · max(0, x) + b)`, where `write` writes a frame's x, `[I]`; NaN stays NaN. What
    /// [`Rectified::backward`] needs is kept.
    fn forward(
        &mut self,
        params: &[R],
        write: &(dyn Fn(usize, &mut [R]) + Sync),
        outputs: ArrayViewMut2<R>,
    );

    /// Adds to `grad` the gradient of a loss whose derivative by the layer's sums is `d_sums`, `[N, O]`; the frames are
    /// the first ones of the last forward pass. `read` gets the derivative by x, `[n, I]`, of some frames at a time, from
    /// the given one on: a multiple of [`READ_FRAMES`].
    fn backward(
        &mut self,
        params: &[R],
        d_sums: ArrayView2<R>,
        read: &(dyn Fn(usize, ArrayView2<R>) + Sync),
        grad: &mut [R],
    );
}

/// Every number as it is.
#[derive(Debug)]
pub struct DenseRectified<K, R> {
    kernels: K,
    layer: Affine,
    /// Behind the first ReLU, `[N, I]`.
    inputs: FeatureMajor<R>,
    /// The derivative by what went into it, `[TILE_FRAMES, I]`; no rows where nothing is learned.
    d_inputs: PerThread<FeatureMajor<R>>,
}

impl<K: Kernels<R>, R: NdFloat> DenseRectified<K, R> {
    /// Room for `n_frames` frames; for a layer that `learns` also for the backward pass.
    pub fn new(kernels: K, layer: Affine, n_frames: usize, learns: bool) -> Self {
        let n_derived = if learns { TILE_FRAMES } else { 0 };
        let frames = |n_frames| FeatureMajor::zeros(n_frames, layer.n_inputs);
        let d_inputs = PerThread::new(|| frames(n_derived));
        DenseRectified { kernels, layer, inputs: frames(n_frames), d_inputs }
    }
}

impl<K: Kernels<R>, R: NdFloat + Send + Sync> Rectified<R> for DenseRectified<K, R> {
    /// Nothing: parameters are read where they lie.
    fn pack(&mut self, _: &[R]) {}

    fn forward(
        &mut self,
        params: &[R],
        write: &(dyn Fn(usize, &mut [R]) + Sync),
        outputs: ArrayViewMut2<R>,
    ) {
        let DenseRectified { kernels, layer, ref mut inputs, .. } = *self;
        let n_frames = outputs.nrows();
        let inputs = inputs.view_mut().slice_move(s![..n_frames, ..]);
        let all = (Along::axis(0, inputs), Along::axis(0, outputs));
        in_blocks(0..n_frames, TILE_FRAMES, all, &|frames, (mut inputs, mut outputs)| {
            for (frame, inputs) in frames.zip(inputs.view.outer_iter_mut()) {
                let inputs = inputs.into_slice().expect(WHOLE);
                write(frame, inputs);
                relu(inputs);
            }
            let (inputs, mut outputs) = (inputs.view.view(), outputs.view.view_mut());
            outputs.assign(&layer.bias(params));
            kernels.add_row_products(inputs, layer.weight(params), outputs.view_mut());
            outputs.outer_iter_mut().for_each(|row| relu(row.into_slice().expect(WHOLE)));
        });
    }

    fn backward(
        &mut self,
        params: &[R],
        d_sums: ArrayView2<R>,
        read: &(dyn Fn(usize, ArrayView2<R>) + Sync),
        grad: &mut [R],
    ) {
        let DenseRectified { kernels, layer, ref inputs, ref d_inputs } = *self;
        let n_frames = d_sums.nrows();
        let inputs = inputs.view().slice_move(s![..n_frames, ..]);
        let all = (Along::axis(0, inputs), Along::axis(0, d_sums));
        in_blocks(0..n_frames, TILE_FRAMES, all, &|frames, (inputs, d_sums)| {
            let mut scratch = d_inputs.mine();
            let mut d_inputs = scratch.view_mut().slice_move(s![..frames.len(), ..]);
            let above = AboveRelu { layer, inputs: inputs.view };
            above.derive_inputs(kernels, params, d_sums.view, d_inputs.view_mut());
            read(frames.start, d_inputs.view());
        });
        let (d_weight, d_bias) = layer.split_mut(grad);
        let all = (Along::axis(1, inputs), Along::axis(1, d_weight));
        in_blocks(0..layer.n_inputs, GRADIENT_COLUMNS, all, &|_, (inputs, d_weight)| {
            kernels.add_product(d_sums.reversed_axes(), inputs.view, d_weight.view);
        });
        add_bias_gradient(d_sums, d_bias);
    }
}

/// Ranges of at most `TILE_FRAMES` frames.
pub fn frame_tiles(n_frames: usize) -> impl Iterator<Item = Range<usize>> {
    let firsts = (0..n_frames).step_by(TILE_FRAMES);
    firsts.map(move |first| first..n_frames.min(first + TILE_FRAMES))
}

/// `max(x, 0)`; NaN stays NaN.
#[inline(always)]
pub(super) fn relu<R: NdFloat>(numbers: &mut [R]) {
    for number in numbers {
        *number = if *number < R::zero() { R::zero() } else { *number };
    }
}

/// A layer whose inputs, `[N, I]`, came out of a ReLU.
#[derive(Debug)]
pub struct AboveRelu<'a, R> {
    /// Where the layer's parameters lie.
    pub layer: Affine,
    /// What it was given.
    pub inputs: ArrayView2<'a, R>,
}

impl<R: NdFloat> AboveRelu<'_, R> {
    /// Adds the layer's gradient, by the derivative of its sums, `[N, O]`, and writes the derivative by what
    /// went into the ReLU below, `[N, I]`.
    pub fn backward(
        &self,
        kernels: impl Kernels<R>,
        params: &[R],
        d_sums: ArrayView2<R>,
        d_inputs: ArrayViewMut2<R>,
        grad: &mut [R],
    ) {
        let (d_weight, d_bias) = self.layer.split_mut(grad);
        kernels.add_product(d_sums.reversed_axes(), self.inputs, d_weight);
        add_bias_gradient(d_sums, d_bias);
        self.derive_inputs(kernels, params, d_sums, d_inputs);
    }

    /// Writes the derivative by what went into the ReLU below.
    fn derive_inputs(
        &self,
        kernels: impl Kernels<R>,
        params: &[R],
        d_sums: ArrayView2<R>,
        mut d_inputs: ArrayViewMut2<R>,
    ) {
        d_inputs.fill(R::zero());
        kernels.add_product(d_sums, self.layer.weight(params), d_inputs.view_mut());
        d_inputs.zip_mut_with(&self.inputs, |d, input| {
            *d = if *input > R::zero() { *d } else { R::zero() };
        });
    }
}

/// Adds the gradient of the biases: the sums of the errors, `[N, O]`.
fn add_bias_gradient<R: NdFloat>(d_sums: ArrayView2<R>, d_bias: ArrayViewMut1<R>) {
    for (sum, d_sums) in d_bias.into_iter().zip(d_sums.columns()) {
        *sum += d_sums.sum();
    }
}
