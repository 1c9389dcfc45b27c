//! A whole stack of dense layers: the contract of an MLP's arithmetic, and its form layer by layer.
//!
//! Owns: where a layer lies in a flat vector, [`Stack`], and [`DenseStack`], which calls one kernel a
//! layer and keeps numbers as they are. Other forms pack weights and keep activations in layouts of their own,
//! which is why the contract is the whole stack. Knows nothing of actions, rewards or rollouts.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, NdFloat, ShapeBuilder, s};

use super::{Activation, FeatureMajor, Kernels};
use crate::base::columns::{columns, columns_mut};

/// Where the weight matrix and bias of one layer lie in the flat vector. A convolution's weight `[O, C, K, K]` is
/// the matrix `[O, C·K·K]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affine {
    /// Rows of the weight.
    pub n_outputs: usize,
    /// Columns of the weight.
    pub n_inputs: usize,
    /// Index of the weight's first value.
    pub weight: usize,
    /// From one row of the weight to the next: more than its columns where these are some of a wider matrix's.
    pub row_stride: usize,
    /// Index of the bias's first value, behind the weight.
    pub bias: usize,
}

impl Affine {
    /// The weight, `[n_outputs, n_inputs]`.
    pub fn weight<'a, R>(&self, flat: &'a [R]) -> ArrayView2<'a, R> {
        let shape = (self.n_outputs, self.n_inputs).strides((self.row_stride, 1));
        ArrayView2::from_shape(shape, &flat[self.weight..self.weight_end()])
            .expect("the slice has rows × columns values")
    }

    /// Behind the last value of the weight.
    fn weight_end(&self) -> usize {
        self.weight + (self.n_outputs - 1) * self.row_stride + self.n_inputs
    }

    /// The bias, `[n_outputs]`.
    pub fn bias<'a, R>(&self, flat: &'a [R]) -> ArrayView1<'a, R> {
        ArrayView1::from(&flat[self.bias..self.bias + self.n_outputs])
    }

    /// Weight and bias at once, mutably: the layer's part of a flat gradient.
    pub fn split_mut<'a, R>(
        &self,
        flat: &'a mut [R],
    ) -> (ArrayViewMut2<'a, R>, ArrayViewMut1<'a, R>) {
        let (head, tail) = flat.split_at_mut(self.bias);
        let shape = (self.n_outputs, self.n_inputs).strides((self.row_stride, 1));
        let weight = ArrayViewMut2::from_shape(shape, &mut head[self.weight..self.weight_end()])
            .expect("the slice has rows × columns values");
        (weight, ArrayViewMut1::from(&mut tail[..self.n_outputs]))
    }
}

/// Dense layers one above the other, all but the last with tanh. Columns are frames; nothing is allocated.
pub trait Stack<R>: Send {
    /// Takes over newer parameters, of which [`Stack::forward`] and [`Stack::backward`] are then told.
    fn pack(&mut self, params: &[R]);

    /// Outputs `y[O,N]` of inputs `x[I,N]`; what [`Stack::backward`] needs is kept.
    fn forward(&mut self, params: &[R], x: ArrayView2<R>, y: ArrayViewMut2<R>);

    /// Adds to `grad` the gradient of a loss whose derivative by the outputs is `dy`. `x` are the inputs of the
    /// last forward pass; they may have more columns than `dy`, and the rest is left out. One pass back for one
    /// forward: it may use up what was kept.
    fn backward(&mut self, params: &[R], x: ArrayView2<R>, dy: ArrayView2<R>, grad: &mut [R]);
}

/// Columns that go through the whole stack before the next ones: few enough that a layer's activations
/// are still in L1 when the next one reads them (H = 64: 64 × 96 × 4 bytes = 24 kB), enough that calls and
/// views of a tile cost little beside its arithmetic.
const TILE_COLUMNS: usize = 96;

/// One kernel a layer, every number as it is.
#[derive(Debug)]
pub struct DenseStack<K, R> {
    kernels: K,
    layers: Vec<Affine>,
    /// Outputs of each hidden layer, `[H, N]`. The pass back puts in their place the gradients before the layer's
    /// tanh: half the memory, which a second-level cache of 512 kB holds for slots of the usual size.
    hidden: Vec<FeatureMajor<R>>,
}

impl<K: Kernels<R>, R: NdFloat> DenseStack<K, R> {
    /// Room for `n_columns` frames.
    pub fn new(kernels: K, layers: &[Affine], n_columns: usize) -> Self {
        let hidden = layers[..layers.len() - 1].iter();
        let hidden = hidden.map(|layer| FeatureMajor::zeros(layer.n_outputs, n_columns)).collect();
        DenseStack { kernels, layers: layers.to_vec(), hidden }
    }
}

impl<K: Kernels<R>, R: NdFloat> Stack<R> for DenseStack<K, R> {
    /// Nothing: parameters are read where they lie.
    fn pack(&mut self, _: &[R]) {}

    fn forward(&mut self, params: &[R], x: ArrayView2<R>, mut y: ArrayViewMut2<R>) {
        let n_columns = x.ncols();
        let (head, torso) = self.layers.split_last().expect("a stack has a layer of outputs");
        for start in (0..n_columns).step_by(TILE_COLUMNS) {
            let tile = start..n_columns.min(start + TILE_COLUMNS);
            let mut input = columns(x, tile.clone());
            for (dense, hidden) in torso.iter().zip(&mut self.hidden) {
                let (weight, bias) = (dense.weight(params), dense.bias(params));
                let sums = columns_mut(hidden.view_mut(), tile.clone());
                self.kernels.dense(weight, bias, input, Activation::Tanh, sums);
                input = columns(hidden.view(), tile.clone());
            }
            let (weight, bias) = (head.weight(params), head.bias(params));
            let output = columns_mut(y.view_mut(), tile);
            self.kernels.dense(weight, bias, input, Activation::Identity, output);
        }
    }

    fn backward(&mut self, params: &[R], x: ArrayView2<R>, dy: ArrayView2<R>, grad: &mut [R]) {
        let columns = s![.., ..dy.ncols()];
        let mut layers = self.layers.iter().rev();
        let mut layer = layers.next().expect("a stack has a layer of outputs");
        let mut d_layer = dy;
        for (dense, hidden) in layers.zip(self.hidden.iter_mut().rev()) {
            let (d_weight, d_bias) = layer.split_mut(grad);
            let outputs = hidden.view().slice_move(columns);
            self.kernels.weight_gradient(d_layer, outputs, d_weight, d_bias);
            let weight = layer.weight(params);
            let outputs = hidden.view_mut().slice_move(columns);
            self.kernels.input_gradient(weight, d_layer, outputs);
            d_layer = hidden.view().slice_move(columns);
            layer = dense;
        }
        let (d_weight, d_bias) = layer.split_mut(grad);
        self.kernels.weight_gradient(d_layer, x.slice(columns), d_weight, d_bias);
    }
}
