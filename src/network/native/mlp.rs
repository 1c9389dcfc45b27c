//! The multi-layer perceptron: the stack of dense layers of a [`NetworkSpec`], acting and learning.
//!
//! Everything is feature-major: a matrix `[F, N]` has one row a feature and one column a frame. The arithmetic,
//! forward and back, is [`crate::kernels::Stack`]'s. Knows nothing of rewards or rollouts.

use ndarray::{ArrayView2, ArrayViewMut2, NdFloat};

use super::super::inputs::Inputs;
use super::super::params::{Affine, ParamLayout};
use super::super::{Acting, Learning, NetworkSpec};
use super::own_weights::OwnWeights;
use crate::kernels::{Kernels, Simd, Stack};
use crate::rollout::Frames;
use crate::space::Obs;

/// All layers of a network with this one on top.
fn layers(layout: &ParamLayout, head: Affine) -> Vec<Affine> {
    [layout.torso(), &[head]].concat()
}

/// The network with weights of its own, which acts in E environments.
pub(super) struct MlpActing {
    weights: OwnWeights,
    inputs: Inputs<f32>,
    stack: Box<dyn Stack<f32>>,
    /// Of all environments.
    task: u32,
}

impl MlpActing {
    /// The network of `spec` for `n_envs` environments of one task, with all-zero weights.
    pub(super) fn new(spec: &NetworkSpec, kernels: Simd, n_envs: usize, task: u32) -> Self {
        let layout = ParamLayout::new(spec);
        MlpActing {
            weights: OwnWeights::zeros(layout.len()),
            inputs: Inputs::new(spec, n_envs),
            stack: kernels.stack(&layers(&layout, layout.policy()), n_envs, false),
            task,
        }
    }
}

impl Acting for MlpActing {
    fn params(&self) -> &[f32] {
        self.weights.get()
    }

    fn params_mut(&mut self) -> &mut [f32] {
        self.weights.get_mut()
    }

    fn outputs(&mut self, obs: Obs<'_>, _: ArrayViewMut2<f32>, outputs: ArrayViewMut2<f32>) {
        let params = self.weights.packed(|params| self.stack.pack(params));
        let inputs = self.inputs.take(obs, &[self.task]);
        self.stack.forward(params, inputs, outputs);
    }
}

/// The network as it learns, one slot a pass.
pub(super) struct MlpLearning<R> {
    inputs: Inputs<R>,
    stack: Box<dyn Stack<R>>,
}

impl<R: NdFloat> MlpLearning<R> {
    /// The network of `spec` for batches of `n_observations` = (T+1)·B observations.
    pub(super) fn new<K: Kernels<R> + 'static>(
        spec: &NetworkSpec,
        kernels: K,
        n_observations: usize,
    ) -> Self {
        let layout = ParamLayout::new(spec);
        MlpLearning {
            inputs: Inputs::new(spec, n_observations),
            stack: kernels.stack(&layers(&layout, layout.heads()), n_observations, true),
        }
    }
}

impl<R: NdFloat + Send> Learning<R> for MlpLearning<R> {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn slots_per_pass(&self, _batch_slots: usize) -> usize {
        1
    }

    fn forward(&mut self, params: &[R], frames: &Frames<R>, outputs: ArrayViewMut2<R>) {
        self.stack.pack(params);
        let inputs = self.inputs.take(frames.obs, frames.tasks);
        self.stack.forward(params, inputs, outputs);
    }

    fn backward(
        &mut self,
        params: &[R],
        frames: &Frames<R>,
        d_outputs: ArrayView2<R>,
        grad: &mut [R],
    ) {
        let inputs = self.inputs.taken(frames.obs);
        self.stack.backward(params, inputs, d_outputs, grad);
    }
}
