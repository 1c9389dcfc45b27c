//! MinAtar's network on planes of bits: forward pass and hand-derived gradient over a flat parameter vector.
//!
//! Everything is frame-major: a matrix `[N, F]` has one row a frame. The dense layer on top of the convolution
//! is nearly all of the arithmetic, which is [`crate::kernels::Rectified`]'s. Letters: N frames, F
//! numbers that come out of the convolution, K numbers that tell the task.

use ndarray::{ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis, NdFloat, s};

use super::super::inputs::tell_tasks;
use super::super::params::{Affine, ParamLayout};
use super::super::{Acting, Learning, NetworkSpec, Pixels};
use super::bit_conv::BitConv;
use super::own_weights::OwnWeights;
use crate::kernels::{AboveRelu, FeatureMajor, Kernels, Rectified, Simd, frame_tiles};
use crate::rollout::Frames;
use crate::space::Obs;

/// The network, and what a pass keeps of its frames for the way back.
struct Minatar<K, R> {
    layout: ParamLayout,
    kernels: K,
    conv: BitConv<R>,
    /// F.
    n_seen: usize,
    /// On what comes out of the convolution, and the task behind it, F + K numbers.
    dense: Box<dyn Rectified<R>>,
    /// What comes out of the dense layer, after ReLU, `[N, 128]`.
    hidden: FeatureMajor<R>,
}

impl<K: Kernels<R> + 'static, R: NdFloat + Send> Minatar<K, R> {
    fn new(spec: &NetworkSpec, kernels: K, n_frames: usize, learns: bool) -> Self {
        let Some(Pixels { shape, .. }) = spec.pixels else { panic!("this network takes planes") };
        let layout = ParamLayout::new(spec);
        let dense = layout.torso()[1];
        Minatar {
            layout,
            kernels,
            conv: BitConv::new(shape, n_frames),
            n_seen: dense.n_inputs - spec.n_task_inputs(),
            dense: kernels.rectified(dense, n_frames, learns),
            hidden: FeatureMajor::zeros(n_frames, dense.n_outputs),
        }
    }

    /// Takes over newer parameters.
    fn pack(&mut self, params: &[R]) {
        let conv = self.layout.torso()[0];
        self.conv.load(conv.weight(params), conv.bias(params));
        self.dense.pack(params);
    }

    /// Torso and one head, whose outputs are `[O, N]`, of bits `[N, C·H·W]`, whose frames go round these tasks.
    /// Allocates nothing.
    fn forward(
        &mut self,
        (params, head): (&[R], Affine),
        (bits, tasks): (ArrayView2<u8>, &[u32]),
        mut outputs: ArrayViewMut2<R>,
    ) {
        let Minatar { kernels, ref mut conv, n_seen, ref mut dense, ref mut hidden, .. } = *self;
        conv.see(bits);
        let see = |frame: usize, inputs: &mut [R]| {
            let (sums, told) = inputs.split_at_mut(n_seen);
            conv.forward(kernels, frame, sums);
            if !told.is_empty() {
                let task = &tasks[frame % tasks.len()..][..1];
                tell_tasks(task, ArrayViewMut1::from(told).insert_axis(Axis(1)));
            }
        };
        let mut hidden = hidden.view_mut().slice_move(s![..bits.nrows(), ..]);
        dense.forward(params, &see, hidden.view_mut());
        outputs.assign(&head.bias(params).insert_axis(Axis(1)));
        kernels.add_row_products(head.weight(params), hidden.view(), outputs);
    }

    /// Adds to `grad` the gradient of a loss whose derivative by the outputs of the first frames is
    /// `d_outputs`, `[P + V, T·B]`; the frames are those of the last [`Minatar::forward`]. There is room for the
    /// derivative by the dense layer's sums, `[T·B, 128]`, or more.
    fn backward(
        &mut self,
        params: &[R],
        d_outputs: ArrayView2<R>,
        mut d_hidden: ArrayViewMut2<R>,
        grad: &mut [R],
    ) {
        let Minatar { kernels, ref mut conv, ref mut dense, ref hidden, .. } = *self;
        for tile in frame_tiles(d_outputs.ncols()) {
            let rows = s![tile.clone(), ..];
            let heads =
                AboveRelu { layer: self.layout.heads(), inputs: hidden.view().slice_move(rows) };
            let d_outputs = d_outputs.slice(s![.., tile]).reversed_axes();
            heads.backward(kernels, params, d_outputs, d_hidden.slice_mut(rows), grad);
        }
        let collect =
            |first: usize, d_inputs: ArrayView2<R>| conv.backward(kernels, first, d_inputs);
        let d_hidden = d_hidden.slice(s![..d_outputs.ncols(), ..]);
        dense.backward(params, d_hidden, &collect, grad);
        let (d_weight, d_bias) = self.layout.torso()[0].split_mut(grad);
        conv.add_gradient(d_outputs.ncols(), d_weight, d_bias);
    }
}

/// The network with weights of its own, which acts in E environments.
pub(super) struct MinatarActing {
    network: Minatar<Simd, f32>,
    weights: OwnWeights,
    /// Of all environments.
    task: u32,
}

impl MinatarActing {
    /// The network of `spec` for `n_envs` environments of one task, with all-zero weights.
    pub(super) fn new(spec: &NetworkSpec, kernels: Simd, n_envs: usize, task: u32) -> Self {
        let network = Minatar::new(spec, kernels, n_envs, false);
        MinatarActing { weights: OwnWeights::zeros(network.layout.len()), network, task }
    }
}

impl Acting for MinatarActing {
    fn params(&self) -> &[f32] {
        self.weights.get()
    }

    fn params_mut(&mut self) -> &mut [f32] {
        self.weights.get_mut()
    }

    fn outputs(&mut self, obs: Obs<'_>, _: ArrayViewMut2<f32>, outputs: ArrayViewMut2<f32>) {
        let params = self.weights.packed(|params| self.network.pack(params));
        let head = self.network.layout.policy();
        self.network.forward((params, head), (obs.pixels(), &[self.task]), outputs);
    }
}

/// The network as it learns, one slot a pass.
pub(super) struct MinatarLearning<K, R> {
    network: Minatar<K, R>,
    /// The derivative by the dense layer's sums, `[N, 128]`.
    d_hidden: FeatureMajor<R>,
}

impl<K: Kernels<R> + 'static, R: NdFloat + Send> MinatarLearning<K, R> {
    /// The network of `spec` for batches of `n_observations` = (T+1)·B observations.
    pub(super) fn new(spec: &NetworkSpec, kernels: K, n_observations: usize) -> Self {
        let network = Minatar::new(spec, kernels, n_observations, true);
        let n_hidden = network.layout.torso()[1].n_outputs;
        MinatarLearning { network, d_hidden: FeatureMajor::zeros(n_observations, n_hidden) }
    }
}

impl<K: Kernels<R> + 'static, R: NdFloat + Send> Learning<R> for MinatarLearning<K, R> {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn slots_per_pass(&self, _batch_slots: usize) -> usize {
        1
    }

    fn forward(&mut self, params: &[R], frames: &Frames<R>, outputs: ArrayViewMut2<R>) {
        self.network.pack(params);
        let head = self.network.layout.heads();
        self.network.forward((params, head), (frames.obs.pixels(), frames.tasks), outputs);
    }

    fn backward(&mut self, params: &[R], _: &Frames<R>, d_outputs: ArrayView2<R>, grad: &mut [R]) {
        self.network.backward(params, d_outputs, self.d_hidden.view_mut(), grad);
    }
}
