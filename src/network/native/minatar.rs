//! MinAtar's network on planes of bits: forward pass and hand-derived gradient over a flat parameter vector.
//!
//! Everything is frame-major: a matrix `[N, F]` has one row a frame. The dense layer on top of the convolution
//! is nearly all of the arithmetic. Letters: N frames, F numbers that come out of the convolution, K numbers that tell
//! the task.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, Axis, NdFloat, s};

use super::super::inputs::tell_tasks;
use super::super::params::{Affine, ParamLayout};
use super::super::{Acting, Learning, NetworkSpec, Pixels};
use super::bit_conv::BitConv;
use crate::kernels::{FeatureMajor, Kernels, Simd};
use crate::rollout::Frames;
use crate::space::Obs;

/// Frames that go through the whole network before the next ones: their outputs of the convolution (4 kB a
/// frame) are then still in L2 when the dense layer reads them.
const TILE_FRAMES: usize = 64;

/// The network, and what a pass keeps of its frames for the way back.
#[derive(Debug)]
struct Minatar<K, R> {
    layout: ParamLayout,
    kernels: K,
    conv: BitConv<R>,
    /// F.
    n_seen: usize,
    /// What comes out of the convolution, after ReLU, and the task behind it, `[N, F + K]`.
    seen: FeatureMajor<R>,
    /// What comes out of the dense layer, after ReLU, `[N, 128]`.
    hidden: FeatureMajor<R>,
}

impl<K: Kernels<R>, R: NdFloat> Minatar<K, R> {
    fn new(spec: &NetworkSpec, kernels: K, n_frames: usize) -> Self {
        let Some(Pixels { shape, .. }) = spec.pixels else { panic!("this network takes planes") };
        let layout = ParamLayout::new(spec);
        let dense = layout.torso()[1];
        Minatar {
            layout,
            kernels,
            conv: BitConv::new(shape),
            n_seen: dense.n_inputs - spec.n_task_inputs(),
            seen: FeatureMajor::zeros(n_frames, dense.n_inputs),
            hidden: FeatureMajor::zeros(n_frames, dense.n_outputs),
        }
    }

    /// Torso and one head, whose outputs are `[O, N]`, of bits `[N, C·H·W]`, whose frames go round these tasks.
    /// Allocates nothing.
    fn forward(
        &mut self,
        (params, head): (&[R], Affine),
        (bits, tasks): (ArrayView2<u8>, &[u32]),
        mut outputs: ArrayViewMut2<R>,
    ) {
        let [conv, dense] = *self.layout.torso() else {
            unreachable!("two layers have parameters")
        };
        self.conv.load(conv.weight(params), conv.bias(params));
        let told = self.seen.view_mut().slice_move(s![.., self.n_seen..]);
        tell_tasks(tasks, told.reversed_axes());
        for tile in tiles(bits.nrows()) {
            let mut seen = self.seen.view_mut().slice_move(s![tile.clone(), ..]);
            let frames = bits.slice(s![tile.clone(), ..]);
            for (sums, bits) in seen.outer_iter_mut().zip(frames.outer_iter()) {
                let sums = &mut sums.into_slice().expect(WHOLE)[..self.n_seen];
                self.conv.forward(self.kernels, bits.to_slice().expect(WHOLE), sums);
                relu(sums);
            }
            let mut hidden = self.hidden.view_mut().slice_move(s![tile.clone(), ..]);
            hidden.assign(&dense.bias(params));
            self.kernels.add_row_products(seen.view(), dense.weight(params), hidden.view_mut());
            hidden.outer_iter_mut().for_each(|row| relu(row.into_slice().expect(WHOLE)));
            let mut outputs = outputs.slice_mut(s![.., tile]);
            outputs.assign(&head.bias(params).insert_axis(Axis(1)));
            self.kernels.add_row_products(head.weight(params), hidden.view(), outputs);
        }
    }

    /// Adds to `grad` the gradient of a loss whose derivative by the outputs of the first frames is
    /// `d_outputs`, `[P + V, T·B]`; the frames are those of the last [`Minatar::forward`].
    fn backward(
        &mut self,
        params: &[R],
        bits: ArrayView2<u8>,
        d_outputs: ArrayView2<R>,
        scratch: &mut Scratch<R>,
        grad: &mut [R],
    ) {
        let [conv, dense] = *self.layout.torso() else {
            unreachable!("two layers have parameters")
        };
        self.conv.clear_gradient();
        for tile in tiles(d_outputs.ncols()) {
            let rows = s![tile.clone(), ..];
            let hidden = self.hidden.view().slice_move(rows);
            let mut d_hidden = scratch.d_hidden.view_mut().slice_move(s![..tile.len(), ..]);
            let d_outputs = d_outputs.slice(s![.., tile.clone()]).reversed_axes();
            let heads = Layer { affine: self.layout.heads(), params, inputs: hidden };
            heads.backward(self.kernels, d_outputs, d_hidden.view_mut(), grad);
            let seen = self.seen.view().slice_move(rows);
            let mut d_seen = scratch.d_seen.view_mut().slice_move(s![..tile.len(), ..]);
            let dense = Layer { affine: dense, params, inputs: seen };
            dense.backward(self.kernels, d_hidden.view(), d_seen.view_mut(), grad);
            for (d_sums, bits) in d_seen.outer_iter().zip(bits.slice(rows).outer_iter()) {
                let (bits, d_sums) = (bits.to_slice(), d_sums.to_slice());
                let d_sums = &d_sums.expect(WHOLE)[..self.n_seen];
                self.conv.backward(self.kernels, bits.expect(WHOLE), d_sums);
            }
        }
        let (d_weight, d_bias) = conv.split_mut(grad);
        self.conv.add_gradient(d_weight, d_bias);
    }
}

/// Said of matrices here.
const WHOLE: &str = "a frame's numbers lie side by side";

/// Ranges of at most [`TILE_FRAMES`] frames.
fn tiles(n_frames: usize) -> impl Iterator<Item = Range<usize>> {
    let firsts = (0..n_frames).step_by(TILE_FRAMES);
    firsts.map(move |first| first..n_frames.min(first + TILE_FRAMES))
}

/// `max(x, 0)`; NaN stays NaN.
fn relu<R: NdFloat>(numbers: &mut [R]) {
    for number in numbers {
        *number = if *number < R::zero() { R::zero() } else { *number };
    }
}

/// A layer whose inputs, `[N, I]`, came out of a ReLU, or have no derivative that is asked for.
struct Layer<'a, R> {
    affine: Affine,
    params: &'a [R],
    inputs: ArrayView2<'a, R>,
}

impl<R: NdFloat> Layer<'_, R> {
    /// Adds the layer's gradient, by the derivative of its sums, `[N, O]`, and writes the derivative by what
    /// went into the ReLU below, `[N, I]`.
    fn backward(
        &self,
        kernels: impl Kernels<R>,
        d_sums: ArrayView2<R>,
        mut d_inputs: ArrayViewMut2<R>,
        grad: &mut [R],
    ) {
        let (d_weight, d_bias) = self.affine.split_mut(grad);
        kernels.add_product(d_sums.reversed_axes(), self.inputs, d_weight);
        for (sum, d_sums) in d_bias.into_iter().zip(d_sums.columns()) {
            *sum += d_sums.sum();
        }
        d_inputs.fill(R::zero());
        kernels.add_product(d_sums, self.affine.weight(self.params), d_inputs.view_mut());
        d_inputs.zip_mut_with(&self.inputs, |d, input| {
            *d = if *input > R::zero() { *d } else { R::zero() };
        });
    }
}

/// Derivatives on their way back, of one tile of frames.
#[derive(Debug)]
struct Scratch<R> {
    /// `[TILE_FRAMES, 128]`.
    d_hidden: FeatureMajor<R>,
    /// `[TILE_FRAMES, F + K]`.
    d_seen: FeatureMajor<R>,
}

/// The network with weights of its own, which acts in E environments.
#[derive(Debug)]
pub(super) struct MinatarActing {
    network: Minatar<Simd, f32>,
    params: Vec<f32>,
    /// Of all environments.
    task: u32,
}

impl MinatarActing {
    /// The network of `spec` for `n_envs` environments of one task, with all-zero weights.
    pub(super) fn new(spec: &NetworkSpec, kernels: Simd, n_envs: usize, task: u32) -> Self {
        let network = Minatar::new(spec, kernels, n_envs);
        MinatarActing { params: vec![0.0; network.layout.len()], network, task }
    }
}

impl Acting for MinatarActing {
    fn params(&self) -> &[f32] {
        &self.params
    }

    fn params_mut(&mut self) -> &mut [f32] {
        &mut self.params
    }

    fn outputs(&mut self, obs: Obs<'_>, _: ArrayViewMut2<f32>, outputs: ArrayViewMut2<f32>) {
        let head = self.network.layout.policy();
        self.network.forward((&self.params, head), (obs.pixels(), &[self.task]), outputs);
    }
}

/// The network as it learns, one slot a pass.
#[derive(Debug)]
pub(super) struct MinatarLearning<K, R> {
    network: Minatar<K, R>,
    scratch: Scratch<R>,
}

impl<K: Kernels<R>, R: NdFloat> MinatarLearning<K, R> {
    /// The network of `spec` for batches of `n_observations` = (T+1)·B observations.
    pub(super) fn new(spec: &NetworkSpec, kernels: K, n_observations: usize) -> Self {
        let network = Minatar::new(spec, kernels, n_observations);
        let dense = network.layout.torso()[1];
        let tile = |n_numbers| FeatureMajor::zeros(TILE_FRAMES, n_numbers);
        let scratch = Scratch { d_hidden: tile(dense.n_outputs), d_seen: tile(dense.n_inputs) };
        MinatarLearning { network, scratch }
    }
}

impl<K: Kernels<R>, R: NdFloat> Learning<R> for MinatarLearning<K, R> {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn slots_per_pass(&self, _batch_slots: usize) -> usize {
        1
    }

    fn forward(&mut self, params: &[R], frames: &Frames<R>, outputs: ArrayViewMut2<R>) {
        let head = self.network.layout.heads();
        self.network.forward((params, head), (frames.obs.pixels(), frames.tasks), outputs);
    }

    fn backward(
        &mut self,
        params: &[R],
        frames: &Frames<R>,
        d_outputs: ArrayView2<R>,
        grad: &mut [R],
    ) {
        let (bits, scratch) = (frames.obs.pixels(), &mut self.scratch);
        self.network.backward(params, bits, d_outputs, scratch, grad);
    }
}
