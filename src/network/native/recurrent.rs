//! Dense layers, an LSTM on top of them, and the outputs on top of that: forward pass and hand-derived gradient.
//!
//! To the [`Stack`] below the LSTM's gates are one more layer, of all frames at once. What goes from step to step is
//! `lstm.rs`'s. Used by actors (policy only) and the native learner.

use ndarray::{ArrayView2, ArrayViewMut2, NdFloat, s};

use super::super::inputs::Inputs;
use super::super::params::{Affine, ParamLayout};
use super::super::{Acting, Learning, NetworkSpec};
use super::lstm::{Lstm, Slopes, Unrolled};
use super::own_weights::OwnWeights;
use crate::kernels::{Activation, Kernels, Simd, Stack};
use crate::rollout::Frames;
use crate::space::Obs;

/// A network with memory, and what a forward pass of N frames leaves.
struct Recurrent<K, R> {
    layout: ParamLayout,
    inputs: Inputs<R>,
    /// From the inputs to the gates.
    stack: Box<dyn Stack<R>>,
    lstm: Lstm<K>,
    unrolled: Unrolled<R>,
}

impl<K: Kernels<R> + 'static, R: NdFloat> Recurrent<K, R> {
    /// The network of `spec` for `n_frames` frames; `learns` says whether there will be a way back.
    fn new(spec: &NetworkSpec, kernels: K, n_frames: usize, learns: bool) -> Self {
        let layout = ParamLayout::new(spec);
        let lstm = layout.lstm().expect("the network has an LSTM");
        let layers = [layout.torso(), &[lstm.features]].concat();
        Recurrent {
            inputs: Inputs::new(spec, n_frames),
            stack: kernels.stack(&layers, n_frames, learns),
            lstm: Lstm { layout: lstm, kernels },
            unrolled: Unrolled::new(lstm.n_units(), n_frames),
            layout,
        }
    }

    /// What goes into the gates of every frame but for the memory: from the observations and their tasks, and from what
    /// is told of the steps before, `[L, N]`.
    fn open_gates(
        &mut self,
        params: &[R],
        (obs, tasks): (Obs<'_, R>, &[u32]),
        last_steps: ArrayView2<R>,
    ) {
        let (inputs, mut gates) = (self.inputs.take(obs, tasks), self.unrolled.gates.view_mut());
        self.stack.forward(params, inputs, gates.view_mut());
        let last_step = self.lstm.layout.last_step;
        if last_step.n_inputs > 0 {
            self.lstm.kernels.add_product(last_step.weight(params), last_steps, gates);
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
pub(super) struct RecurrentActing {
    network: Recurrent<Simd, f32>,
    weights: OwnWeights,
    /// Of all environments.
    task: u32,
}

impl RecurrentActing {
    /// The network of `spec` for `n_envs` environments of one task, with all-zero weights.
    pub(super) fn new(spec: &NetworkSpec, kernels: Simd, n_envs: usize, task: u32) -> Self {
        let network = Recurrent::new(spec, kernels, n_envs, false);
        RecurrentActing { weights: OwnWeights::zeros(network.layout.len()), network, task }
    }
}

impl Acting for RecurrentActing {
    fn params(&self) -> &[f32] {
        self.weights.get()
    }

    fn params_mut(&mut self) -> &mut [f32] {
        self.weights.get_mut()
    }

    fn outputs(
        &mut self,
        obs: Obs<'_>,
        mut state: ArrayViewMut2<f32>,
        outputs: ArrayViewMut2<f32>,
    ) {
        let RecurrentActing { network, weights, task } = self;
        let params = weights.packed(|params| network.stack.pack(params));
        let last_step = s![2 * network.lstm.layout.n_units().., ..];
        network.open_gates(params, (obs, &[*task]), state.slice(last_step));
        network.unrolled.begin(state.view());
        network.lstm.step(params, 0..state.ncols(), &mut network.unrolled);
        network.unrolled.end(state.view_mut());
        network.outputs(params, network.layout.policy(), outputs);
    }
}

/// The network as it learns, one slot a pass.
pub(super) struct RecurrentLearning<K, R> {
    network: Recurrent<K, R>,
    slopes: Slopes<R>,
}

impl<K: Kernels<R> + 'static, R: NdFloat> RecurrentLearning<K, R> {
    /// The network of `spec` for batches of `n_observations` = (T+1)·B observations.
    pub(super) fn new(spec: &NetworkSpec, kernels: K, n_observations: usize) -> Self {
        let network = Recurrent::new(spec, kernels, n_observations, true);
        let slopes = Slopes::new(network.lstm.layout.n_units(), n_observations);
        RecurrentLearning { network, slopes }
    }

    /// Adds the gradient of the outputs, and writes the derivative by the LSTM's units.
    fn outputs_back(&mut self, params: &[R], d_outputs: ArrayView2<R>, grad: &mut [R]) {
        let (head, kernels) = (self.network.layout.heads(), self.network.lstm.kernels);
        let learned = s![.., ..d_outputs.ncols()];
        let hidden = self.network.unrolled.hidden.view();
        let (d_weight, d_bias) = head.split_mut(grad);
        kernels.weight_gradient(d_outputs, hidden.slice(learned), d_weight, d_bias);
        let mut d_hidden = self.slopes.d_hidden.view_mut().slice_move(learned);
        d_hidden.fill(R::zero());
        kernels.add_product(head.weight(params).reversed_axes(), d_outputs, d_hidden);
    }
}

impl<K: Kernels<R> + 'static, R: NdFloat + Send> Learning<R> for RecurrentLearning<K, R> {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn slots_per_pass(&self, _batch_slots: usize) -> usize {
        1
    }

    fn forward(&mut self, params: &[R], frames: &Frames<R>, outputs: ArrayViewMut2<R>) {
        let network = &mut self.network;
        network.stack.pack(params);
        network.open_gates(params, (frames.obs, frames.tasks), frames.last_steps);
        network.unrolled.begin(frames.state);
        let time = (frames.n_trajectories, frames.kinds);
        network.lstm.forward(params, time, &mut network.unrolled);
        network.outputs(params, network.layout.heads(), outputs);
    }

    fn backward(
        &mut self,
        params: &[R],
        frames: &Frames<R>,
        d_outputs: ArrayView2<R>,
        grad: &mut [R],
    ) {
        self.outputs_back(params, d_outputs, grad);
        let Recurrent { inputs, stack, lstm, unrolled, .. } = &mut self.network;
        let time = (frames.n_trajectories, frames.kinds);
        lstm.backward(params, time, unrolled, &mut self.slopes, grad);
        let learned = s![.., ..d_outputs.ncols()];
        let d_gates = self.slopes.d_gates.view().slice_move(learned);
        let last_step = lstm.layout.last_step;
        if last_step.n_inputs > 0 {
            let last_steps = frames.last_steps.slice(learned);
            lstm.kernels.add_row_products(d_gates, last_steps, last_step.split_mut(grad).0);
        }
        stack.backward(params, inputs.taken(frames.obs), d_gates, grad);
    }
}
