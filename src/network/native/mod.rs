//! Networks with hand-derived gradients over the batched kernels.
//!
//! Generic over the float type, so that the very code that trains in f32 is checked in f64 against
//! finite differences.

pub mod mlp;

use ndarray::{ArrayView2, ArrayViewMut2, NdFloat};

use super::{Acting, Learning, NetworkSpec};
use crate::kernels::{Kernels, Simd};
use crate::rollout::Frames;
use crate::space::Obs;
use mlp::{Activations, Mlp};

/// The network with weights of its own, which acts in E environments.
#[derive(Debug)]
pub struct NativeActing {
    mlp: Mlp<Simd>,
    params: Vec<f32>,
    activations: Activations<f32>,
}

impl NativeActing {
    /// The network of `spec` for `n_envs` environments, with all-zero weights.
    pub fn new(spec: &NetworkSpec, kernels: Simd, n_envs: usize) -> Self {
        let mlp = Mlp::new(spec, kernels);
        NativeActing {
            params: vec![0.0; mlp.layout().len()],
            activations: Activations::new(spec, n_envs),
            mlp,
        }
    }
}

impl Acting for NativeActing {
    fn params_mut(&mut self) -> &mut [f32] {
        &mut self.params
    }

    fn outputs(&mut self, obs: Obs<'_>, outputs: ArrayViewMut2<f32>) {
        self.mlp.policy(&self.params, obs.numbers(), &mut self.activations, outputs);
    }
}

/// The network as it learns, one slot a pass.
#[derive(Debug)]
pub struct NativeLearning<K, R> {
    mlp: Mlp<K>,
    /// Hidden activations of the last forward pass.
    activations: Activations<R>,
    /// Gradients before each hidden layer's tanh.
    scratch: Activations<R>,
}

impl<K: Kernels<R>, R: NdFloat> NativeLearning<K, R> {
    /// The network of `spec` for batches of `n_observations` = (T+1)·B observations.
    pub fn new(spec: &NetworkSpec, kernels: K, n_observations: usize) -> Self {
        NativeLearning {
            mlp: Mlp::new(spec, kernels),
            activations: Activations::new(spec, n_observations),
            scratch: Activations::new(spec, n_observations),
        }
    }
}

impl<K: Kernels<R>, R: NdFloat> Learning<R> for NativeLearning<K, R> {
    fn name(&self) -> &'static str {
        "native"
    }

    fn slots_per_pass(&self, _batch_slots: usize) -> usize {
        1
    }

    fn forward(&mut self, params: &[R], frames: &Frames<R>, outputs: ArrayViewMut2<R>) {
        self.mlp.forward(params, frames.obs.numbers(), &mut self.activations, outputs);
    }

    fn backward(
        &mut self,
        params: &[R],
        frames: &Frames<R>,
        d_outputs: ArrayView2<R>,
        grad: &mut [R],
    ) {
        let (obs, scratch) = (frames.obs.numbers(), &mut self.scratch);
        self.mlp.backward(params, obs, &self.activations, d_outputs, scratch, grad);
    }
}
