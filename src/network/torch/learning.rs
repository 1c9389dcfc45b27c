//! A network that learns by libtorch's autograd, all slots of an update in one pass.
//!
//! All parameters are one flat leaf tensor, whose gradient comes back as one flat vector.

use ndarray::{ArrayView2, ArrayViewMut2};
use tch::{Kind, Tensor};

use super::super::params::ParamLayout;
use super::super::{Learning, NetworkSpec, TorchOptions};
use super::tensors;
use super::walk::Walk;
use crate::rollout::Frames;

/// The network by libtorch on the CPU.
#[derive(Debug)]
pub struct TorchLearning {
    walk: Walk,
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

impl TorchLearning {
    /// The network of `spec`, for batches of any size. Sets libtorch to one thread.
    pub fn new(spec: &NetworkSpec, options: TorchOptions) -> Self {
        tensors::prepare();
        let layout = ParamLayout::new(spec);
        let walk = Walk::new(spec, &layout, options);
        TorchLearning { walk, graph: None, grad: vec![0.0; layout.len()] }
    }
}

impl Learning for TorchLearning {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn slots_per_pass(&self, batch_slots: usize) -> usize {
        batch_slots
    }

    fn forward(&mut self, params: &[f32], frames: &Frames, mut outputs: ArrayViewMut2<f32>) {
        let params = Tensor::from_slice(params).set_requires_grad(true);
        let computed = self.walk.outputs(&self.walk.split(&params), frames);
        tensors::copy(&computed, outputs.as_slice_mut().expect("outputs are in standard layout"));
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
        let root = (learned * tensors::matrix(d_outputs)).sum(Kind::Float);
        let gradients = Tensor::run_backward(&[root], &[graph.params], false, false);
        tensors::copy(&gradients[0], &mut self.grad);
        grad.iter_mut().zip(&self.grad).for_each(|(sum, &new)| *sum += new);
    }
}
