//! Networks as tensor operations, differentiated by libtorch's autograd.
//!
//! Independent of [`super::native`] down to the arithmetic, so that each checks the other, and the place to
//! start from for networks that have no hand-derived gradient. All parameters are one flat leaf tensor,
//! whose gradient comes back as one flat vector. Built with the cargo feature `torch`; called by the learner,
//! never by the supervisor (a process forked after libtorch has started threads would hang).

use ndarray::{ArrayView2, ArrayViewMut2};
use tch::{Device, Kind, Tensor};

use super::params::ParamLayout;
use super::{Learning, NetworkSpec};
use crate::rollout::Frames;

/// The network by libtorch on the CPU, all slots of an update in one pass.
#[derive(Debug)]
pub struct TorchLearning {
    layout: ParamLayout,
    /// Numbers of values of each layer's weight and bias, in the order of the flat vector.
    split_sizes: Vec<i64>,
    /// What the last forward pass left to be differentiated.
    graph: Option<Graph>,
    /// The gradient on its way from libtorch's memory.
    grad: Vec<f32>,
}

/// Tensors that autograd can follow from the outputs back to the parameters.
#[derive(Debug)]
struct Graph {
    /// The leaf: every parameter, flat.
    params: Tensor,
    /// `[P + V, (T+1)·B]`.
    outputs: Tensor,
}

/// Values of the block that [`keep_freed_memory`] gives back: 28 MB, below glibc's limit of 32.
const FREED_BLOCK_LEN: i64 = 7 << 20;

impl TorchLearning {
    /// The network of `spec`, for batches of any size.
    ///
    /// Sets libtorch to one thread: its batches are too small to be worth handing parts to others. What
    /// several cores do at a time is several batches, each by a network of its own.
    pub fn new(spec: &NetworkSpec) -> Self {
        tch::set_num_threads(1);
        keep_freed_memory();
        let layout = ParamLayout::new(spec);
        let layers = layout.torso().iter().copied().chain([layout.heads()]);
        let sizes = layers.flat_map(|dense| [dense.n_outputs * dense.n_inputs, dense.n_outputs]);
        TorchLearning {
            split_sizes: sizes.map(|size| size as i64).collect(),
            grad: vec![0.0; layout.len()],
            layout,
            graph: None,
        }
    }

    /// The outputs, `[P + V, N]`, of observations `[D, N]`.
    fn heads(&self, params: &Tensor, obs: &Tensor) -> Tensor {
        // One split, whose gradient is one concatenation; a `narrow` for each would sum as many
        // gradients of the whole vector.
        let parts = params.split_with_sizes(&self.split_sizes[..], 0);
        let mut layers = parts.chunks_exact(2);
        let mut input = obs.shallow_clone();
        for (dense, layer) in self.layout.torso().iter().zip(&mut layers) {
            input = tanh(affine(layer, dense.n_outputs, &input));
        }
        let heads = layers.next().expect("split_sizes ends with the heads");
        affine(heads, self.layout.heads().n_outputs, &input)
    }
}

impl Learning for TorchLearning {
    fn name(&self) -> &'static str {
        "torch"
    }

    fn slots_per_pass(&self, batch_slots: usize) -> usize {
        batch_slots
    }

    fn forward(&mut self, params: &[f32], frames: &Frames, mut outputs: ArrayViewMut2<f32>) {
        let params = Tensor::from_slice(params).set_requires_grad(true);
        let computed = self.heads(&params, &matrix(frames.obs.numbers()));
        copy(&computed, outputs.as_slice_mut().expect("outputs are in standard layout"));
        self.graph = Some(Graph { params, outputs: computed });
    }

    fn backward(
        &mut self,
        _params: &[f32],
        _frames: &Frames,
        d_outputs: ArrayView2<f32>,
        grad: &mut [f32],
    ) {
        let graph = self.graph.take().expect("backward follows forward");
        // The root whose gradient by the outputs is `d_outputs`.
        let learned = graph.outputs.narrow(1, 0, d_outputs.ncols() as i64);
        let root = (learned * matrix(d_outputs)).sum(Kind::Float);
        let gradients = Tensor::run_backward(&[root], &[graph.params], false, false);
        copy(&gradients[0], &mut self.grad);
        grad.iter_mut().zip(&self.grad).for_each(|(sum, &new)| *sum += new);
    }
}

/// Makes the allocator keep the memory of one update for the next.
///
/// Every update allocates its tensors anew, and glibc would give their pages back to the kernel after
/// each and fault them in again: half the time of an update of 2,688 columns. glibc's threshold for
/// that is twice the largest block ever freed, so one large block, never touched, raises it for good.
fn keep_freed_memory() {
    drop(Tensor::empty([FREED_BLOCK_LEN], (Kind::Float, Device::Cpu)));
}

/// `W[O,I] · X[I,N] + b[O]` of a layer's flat weight and bias.
fn affine(layer: &[Tensor], n_outputs: usize, input: &Tensor) -> Tensor {
    let rows = n_outputs as i64;
    layer[1].view([rows, 1]).addmm(&layer[0].view([rows, -1]), input)
}

/// tanh, as `2 σ(2x) − 1`: on a CPU libtorch's sigmoid takes a tenth of the time of its tanh.
///
/// In place where autograd does not need the value before: it needs that of the sigmoid alone.
fn tanh(mut x: Tensor) -> Tensor {
    (x.g_mul_scalar_(2.0).sigmoid_() * 2.0).g_sub_scalar_(1.0)
}

/// A copy of a matrix, `[rows, columns]`.
fn matrix(values: ArrayView2<f32>) -> Tensor {
    let size = [values.nrows() as i64, values.ncols() as i64];
    let standard = values.as_standard_layout();
    Tensor::from_slice(standard.as_slice().expect("just brought into standard layout")).view(size)
}

/// Copies all values of a tensor out.
fn copy(tensor: &Tensor, values: &mut [f32]) {
    tensor.copy_data(values, values.len());
}
