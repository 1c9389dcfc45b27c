//! The multi-layer perceptron: forward pass and hand-derived gradient over a flat parameter vector.
//!
//! Everything is feature-major: a matrix `[F, N]` has one row a feature and one column a frame, so
//! that one layer is `Y[O, N] = act(W[O, I] · X[I, N] + b)` and columns are contiguous. Knows nothing
//! of rewards or rollouts. Used by actors (policy only) and the native learner (both heads).

use ndarray::{ArrayView2, ArrayViewMut2, NdFloat, s};

use super::super::inputs::Inputs;
use super::super::params::{Affine, ParamLayout};
use super::super::{Acting, Learning, NetworkSpec, Torso};
use crate::base::columns::{columns, columns_mut};
use crate::kernels::{Activation, FeatureMajor, Kernels, Simd};
use crate::rollout::Frames;
use crate::space::Obs;

/// Columns that go through the whole network before the next ones: few enough that a layer's activations
/// are still in L1 when the next one reads them (H = 64: 64 × 96 × 4 bytes = 24 kB), enough that calls and
/// views of a tile cost little beside its arithmetic.
const TILE_COLUMNS: usize = 96;

/// A network: where its parameters lie, and the kernels that compute with them.
#[derive(Clone, Debug)]
pub struct Mlp<K> {
    layout: ParamLayout,
    kernels: K,
}

/// Hidden activations of every layer, `[H, N]` each, kept from the forward pass for the backward pass.
#[derive(Debug)]
pub struct Activations<R> {
    hidden: Vec<FeatureMajor<R>>,
}

impl<R: NdFloat> Activations<R> {
    /// Room for the hidden layers of `spec` at `n_columns` frames.
    ///
    /// # Panics
    /// If the torso is another one.
    pub fn new(spec: &NetworkSpec, n_columns: usize) -> Self {
        let Torso::Mlp { hidden } = &spec.torso else { panic!("{} is no mlp", spec.torso.name()) };
        let hidden = hidden.iter().map(|&units| FeatureMajor::zeros(units, n_columns));
        Activations { hidden: hidden.collect() }
    }
}

impl<K> Mlp<K> {
    /// The network of `spec`, computed by `kernels`.
    pub fn new(spec: &NetworkSpec, kernels: K) -> Self {
        Mlp { layout: ParamLayout::new(spec), kernels }
    }

    /// Where each parameter lies in the flat vector.
    pub fn layout(&self) -> &ParamLayout {
        &self.layout
    }

    /// The kernels in use.
    pub fn kernels(&self) -> K
    where
        K: Copy,
    {
        self.kernels
    }

    /// Logits `[A, N]` of observations `[D, N]`. Allocates nothing.
    pub fn policy<R: NdFloat>(
        &self,
        params: &[R],
        obs: ArrayView2<R>,
        activations: &mut Activations<R>,
        logits: ArrayViewMut2<R>,
    ) where
        K: Kernels<R>,
    {
        self.forward_to((params, self.layout.policy()), obs, activations, logits);
    }

    /// Both heads `[A+1, N]` (logits, then the value) of observations `[D, N]`.
    pub fn forward<R: NdFloat>(
        &self,
        params: &[R],
        obs: ArrayView2<R>,
        activations: &mut Activations<R>,
        heads: ArrayViewMut2<R>,
    ) where
        K: Kernels<R>,
    {
        self.forward_to((params, self.layout.heads()), obs, activations, heads);
    }

    /// Adds to `grad` the gradient of a loss whose derivative by both heads is `d_heads` `[A+1, N]`.
    ///
    /// `obs` and `activations` are those of the forward pass; they may have more columns than
    /// `d_heads`, the rest is left out. `scratch` is overwritten.
    pub fn backward<R: NdFloat>(
        &self,
        params: &[R],
        obs: ArrayView2<R>,
        activations: &Activations<R>,
        d_heads: ArrayView2<R>,
        scratch: &mut Activations<R>,
        grad: &mut [R],
    ) where
        K: Kernels<R>,
    {
        let top = self.layout.heads();
        self.backward_from((params, top), obs, activations, d_heads, scratch, grad);
    }

    /// The same of a loss whose derivative by what the layer `top` makes of the features is `d_top`, `[O, N]`.
    pub(super) fn backward_from<R: NdFloat>(
        &self,
        (params, top): (&[R], Affine),
        obs: ArrayView2<R>,
        activations: &Activations<R>,
        d_top: ArrayView2<R>,
        scratch: &mut Activations<R>,
        grad: &mut [R],
    ) where
        K: Kernels<R>,
    {
        let columns = s![.., ..d_top.ncols()];
        let mut layer = top;
        let mut d_layer = d_top;
        let below = self.layout.torso().iter().zip(&activations.hidden).zip(&mut scratch.hidden);
        for ((dense, hidden), d_hidden) in below.rev() {
            let hidden = hidden.view().slice_move(columns);
            let (d_weight, d_bias) = layer.split_mut(grad);
            self.kernels.weight_gradient(d_layer, hidden, d_weight, d_bias);
            let weight = layer.weight(params);
            let d_below = d_hidden.view_mut().slice_move(columns);
            self.kernels.input_gradient(weight, d_layer, hidden, d_below);
            d_layer = d_hidden.view().slice_move(columns);
            layer = *dense;
        }
        let (d_weight, d_bias) = layer.split_mut(grad);
        self.kernels.weight_gradient(d_layer, obs.slice(columns), d_weight, d_bias);
    }

    /// What the layer `top` makes of the features, `[O, N]`, tile after tile of the columns.
    pub(super) fn forward_to<R: NdFloat>(
        &self,
        (params, top): (&[R], Affine),
        obs: ArrayView2<R>,
        activations: &mut Activations<R>,
        mut output: ArrayViewMut2<R>,
    ) where
        K: Kernels<R>,
    {
        let n_columns = obs.ncols();
        for start in (0..n_columns).step_by(TILE_COLUMNS) {
            let tile = start..n_columns.min(start + TILE_COLUMNS);
            let mut input = columns(obs, tile.clone());
            for (dense, hidden) in self.layout.torso().iter().zip(&mut activations.hidden) {
                let (weight, bias) = (dense.weight(params), dense.bias(params));
                let sums = columns_mut(hidden.view_mut(), tile.clone());
                self.kernels.dense(weight, bias, input, Activation::Tanh, sums);
                input = columns(hidden.view(), tile.clone());
            }
            let (weight, bias) = (top.weight(params), top.bias(params));
            let output = columns_mut(output.view_mut(), tile);
            self.kernels.dense(weight, bias, input, Activation::Identity, output);
        }
    }
}

/// The network with weights of its own, which acts in E environments.
#[derive(Debug)]
pub(super) struct MlpActing {
    mlp: Mlp<Simd>,
    params: Vec<f32>,
    inputs: Inputs<f32>,
    activations: Activations<f32>,
}

impl MlpActing {
    /// The network of `spec` for `n_envs` environments, with all-zero weights.
    pub(super) fn new(spec: &NetworkSpec, kernels: Simd, n_envs: usize) -> Self {
        let mlp = Mlp::new(spec, kernels);
        MlpActing {
            params: vec![0.0; mlp.layout().len()],
            inputs: Inputs::new(spec, n_envs),
            activations: Activations::new(spec, n_envs),
            mlp,
        }
    }
}

impl Acting for MlpActing {
    fn params(&self) -> &[f32] {
        &self.params
    }

    fn params_mut(&mut self) -> &mut [f32] {
        &mut self.params
    }

    fn outputs(&mut self, obs: Obs<'_>, _: ArrayViewMut2<f32>, outputs: ArrayViewMut2<f32>) {
        let inputs = self.inputs.take(obs);
        self.mlp.policy(&self.params, inputs, &mut self.activations, outputs);
    }
}

/// The network as it learns, one slot a pass.
#[derive(Debug)]
pub(super) struct MlpLearning<K, R> {
    mlp: Mlp<K>,
    inputs: Inputs<R>,
    /// Hidden activations of the last forward pass.
    activations: Activations<R>,
    /// Gradients before each hidden layer's tanh.
    scratch: Activations<R>,
}

impl<K: Kernels<R>, R: NdFloat> MlpLearning<K, R> {
    /// The network of `spec` for batches of `n_observations` = (T+1)·B observations.
    pub(super) fn new(spec: &NetworkSpec, kernels: K, n_observations: usize) -> Self {
        MlpLearning {
            mlp: Mlp::new(spec, kernels),
            inputs: Inputs::new(spec, n_observations),
            activations: Activations::new(spec, n_observations),
            scratch: Activations::new(spec, n_observations),
        }
    }
}

impl<K: Kernels<R>, R: NdFloat> Learning<R> for MlpLearning<K, R> {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn slots_per_pass(&self, _batch_slots: usize) -> usize {
        1
    }

    fn forward(&mut self, params: &[R], frames: &Frames<R>, outputs: ArrayViewMut2<R>) {
        let inputs = self.inputs.take(frames.obs);
        self.mlp.forward(params, inputs, &mut self.activations, outputs);
    }

    fn backward(
        &mut self,
        params: &[R],
        frames: &Frames<R>,
        d_outputs: ArrayView2<R>,
        grad: &mut [R],
    ) {
        let (inputs, scratch) = (self.inputs.taken(frames.obs), &mut self.scratch);
        self.mlp.backward(params, inputs, &self.activations, d_outputs, scratch, grad);
    }
}
