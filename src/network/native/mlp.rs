//! The multi-layer perceptron: forward pass and hand-derived gradient over a flat parameter vector.
//!
//! Everything is feature-major: a matrix `[F, N]` has one row a feature and one column a frame, so
//! that one layer is `Y[O, N] = act(W[O, I] · X[I, N] + b)` and columns are contiguous. Knows nothing
//! of rewards or rollouts. Used by actors (policy only) and the native learner (both heads).

use ndarray::{ArrayView2, ArrayViewMut2, NdFloat, s};

use super::super::NetworkSpec;
use super::super::params::{Dense, ParamLayout};
use crate::kernels::{Activation, FeatureMajor, Kernels, columns, columns_mut};

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
    pub fn new(spec: &NetworkSpec, n_columns: usize) -> Self {
        let hidden = spec.hidden().iter().map(|&units| FeatureMajor::zeros(units, n_columns));
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
        self.layers(params, self.layout.policy(), obs, activations, logits);
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
        self.layers(params, self.layout.heads(), obs, activations, heads);
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
        let columns = s![.., ..d_heads.ncols()];
        let mut layer = self.layout.heads();
        let mut d_layer = d_heads;
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

    /// The torso and one head `[O, N]` on top, tile after tile of the columns.
    fn layers<R: NdFloat>(
        &self,
        params: &[R],
        head: Dense,
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
            let (weight, bias) = (head.weight(params), head.bias(params));
            let output = columns_mut(output.view_mut(), tile);
            self.kernels.dense(weight, bias, input, Activation::Identity, output);
        }
    }
}
