//! Dense layers, an LSTM on top of them, and the outputs on top of that: forward pass and hand-derived gradient.
//!
//! To the [`Mlp`] the LSTM's gates are one more layer, of all frames at once. What goes from step to step is
//! `lstm.rs`'s. Used by actors (policy only) and the native learner.

use ndarray::{ArrayView2, ArrayViewMut2, NdFloat, s};

use super::super::inputs::Inputs;
use super::super::params::Affine;
use super::super::{Acting, Learning, NetworkSpec};
use super::lstm::{Lstm, Slopes, Unrolled};
use super::mlp::{Activations, Mlp};
use crate::kernels::{Activation, Kernels, Simd};
use crate::rollout::Frames;
use crate::space::Obs;

/// A network with memory, and what a forward pass of N frames leaves.
#[derive(Debug)]
struct Recurrent<K, R> {
    mlp: Mlp<K>,
    lstm: Lstm<K>,
    inputs: Inputs<R>,
    activations: Activations<R>,
    unrolled: Unrolled<R>,
}

impl<K: Kernels<R>, R: NdFloat> Recurrent<K, R> {
    fn new(spec: &NetworkSpec, kernels: K, n_frames: usize) -> Self {
        let mlp = Mlp::new(spec, kernels);
        let layout = mlp.layout().lstm().expect("the network has an LSTM");
        Recurrent {
            lstm: Lstm { layout, kernels },
            inputs: Inputs::new(spec, n_frames),
            activations: Activations::new(spec, n_frames),
            unrolled: Unrolled::new(layout.n_units(), n_frames),
            mlp,
        }
    }

    /// What goes into the gates of every frame but for the memory: from the observations, and from what is told of
    /// the steps before, `[L, N]`.
    fn open_gates(&mut self, params: &[R], obs: Obs<'_, R>, last_steps: ArrayView2<R>) {
        let layout = self.lstm.layout;
        let (inputs, mut gates) = (self.inputs.take(obs), self.unrolled.gates.view_mut());
        let top = (params, layout.features);
        self.mlp.forward_to(top, inputs, &mut self.activations, gates.view_mut());
        if layout.last_step.n_inputs > 0 {
            let weight = layout.last_step.weight(params);
            self.lstm.kernels.add_product(weight, last_steps, gates);
        }
    }

    /// What a layer makes of the LSTM's units, `[O, N]`.
    fn outputs(&self, params: &[R], head: Affine, outputs: ArrayViewMut2<R>) {
        let (weight, bias) = (head.weight(params), head.bias(params));
        let hidden = self.unrolled.hidden.view();
        self.lstm.kernels.dense(weight, bias, hidden, Activation::Identity, outputs);
    }
}

/// The network with weights of its own, which acts in E environments.
#[derive(Debug)]
pub(super) struct RecurrentActing {
    network: Recurrent<Simd, f32>,
    params: Vec<f32>,
}

impl RecurrentActing {
    /// The network of `spec` for `n_envs` environments, with all-zero weights.
    pub(super) fn new(spec: &NetworkSpec, kernels: Simd, n_envs: usize) -> Self {
        let network = Recurrent::new(spec, kernels, n_envs);
        RecurrentActing { params: vec![0.0; network.mlp.layout().len()], network }
    }
}

impl Acting for RecurrentActing {
    fn params(&self) -> &[f32] {
        &self.params
    }

    fn params_mut(&mut self) -> &mut [f32] {
        &mut self.params
    }

    fn outputs(
        &mut self,
        obs: Obs<'_>,
        mut state: ArrayViewMut2<f32>,
        outputs: ArrayViewMut2<f32>,
    ) {
        let RecurrentActing { network, params } = self;
        let last_step = s![2 * network.lstm.layout.n_units().., ..];
        network.open_gates(params, obs, state.slice(last_step));
        network.unrolled.begin(state.view());
        network.lstm.step(params, 0..state.ncols(), &mut network.unrolled);
        network.unrolled.end(state.view_mut());
        network.outputs(params, network.mlp.layout().policy(), outputs);
    }
}

/// The network as it learns, one slot a pass.
#[derive(Debug)]
pub(super) struct RecurrentLearning<K, R> {
    network: Recurrent<K, R>,
    slopes: Slopes<R>,
    /// Gradients before each hidden layer's tanh.
    scratch: Activations<R>,
}

impl<K: Kernels<R>, R: NdFloat> RecurrentLearning<K, R> {
    /// The network of `spec` for batches of `n_observations` = (T+1)·B observations.
    pub(super) fn new(spec: &NetworkSpec, kernels: K, n_observations: usize) -> Self {
        let network = Recurrent::new(spec, kernels, n_observations);
        let slopes = Slopes::new(network.lstm.layout.n_units(), n_observations);
        RecurrentLearning { network, slopes, scratch: Activations::new(spec, n_observations) }
    }

    /// Adds the gradient of the outputs, and writes the derivative by the LSTM's units.
    fn outputs_back(&mut self, params: &[R], d_outputs: ArrayView2<R>, grad: &mut [R]) {
        let (head, kernels) = (self.network.mlp.layout().heads(), self.network.lstm.kernels);
        let learned = s![.., ..d_outputs.ncols()];
        let hidden = self.network.unrolled.hidden.view();
        let (d_weight, d_bias) = head.split_mut(grad);
        kernels.weight_gradient(d_outputs, hidden.slice(learned), d_weight, d_bias);
        let mut d_hidden = self.slopes.d_hidden.view_mut().slice_move(learned);
        d_hidden.fill(R::zero());
        kernels.add_product(head.weight(params).reversed_axes(), d_outputs, d_hidden);
    }
}

impl<K: Kernels<R>, R: NdFloat> Learning<R> for RecurrentLearning<K, R> {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn slots_per_pass(&self, _batch_slots: usize) -> usize {
        1
    }

    fn forward(&mut self, params: &[R], frames: &Frames<R>, outputs: ArrayViewMut2<R>) {
        let network = &mut self.network;
        network.open_gates(params, frames.obs, frames.last_steps);
        network.unrolled.begin(frames.state);
        let time = (frames.n_trajectories, frames.kinds);
        network.lstm.forward(params, time, &mut network.unrolled);
        network.outputs(params, network.mlp.layout().heads(), outputs);
    }

    fn backward(
        &mut self,
        params: &[R],
        frames: &Frames<R>,
        d_outputs: ArrayView2<R>,
        grad: &mut [R],
    ) {
        self.outputs_back(params, d_outputs, grad);
        let Recurrent { mlp, lstm, inputs, activations, unrolled } = &self.network;
        let time = (frames.n_trajectories, frames.kinds);
        lstm.backward(params, time, unrolled, &mut self.slopes, grad);
        let learned = s![.., ..d_outputs.ncols()];
        let d_gates = self.slopes.d_gates.view().slice_move(learned);
        let (layout, inputs) = (lstm.layout, inputs.taken(frames.obs));
        if layout.last_step.n_inputs > 0 {
            let last_steps = frames.last_steps.slice(learned);
            let (d_weight, _) = layout.last_step.split_mut(grad);
            lstm.kernels.add_row_products(d_gates, last_steps, d_weight);
        }
        let (top, scratch) = ((params, layout.features), &mut self.scratch);
        mlp.backward_from(top, inputs, activations, d_gates, scratch, grad);
    }
}
