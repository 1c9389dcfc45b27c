//! The built-in learner backend: hand-derived gradients over the batched kernels.
//!
//! Generic over the float type, so that the very code that trains in f32 is checked in f64 against
//! finite differences.

use ndarray::{Array2, NdFloat, s};

use super::backend::{Backend, Batch, LossCosts, Losses, Outputs, Targets};
use crate::kernels::Kernels;
use crate::mlp::{Activations, Mlp};
use crate::params::NetworkShape;

/// Forward pass, losses and gradient of the shared-torso network on the CPU, one slot a pass.
#[derive(Debug)]
pub struct Native<K, R> {
    mlp: Mlp<K>,
    /// Hidden activations of the last forward pass.
    activations: Activations<R>,
    /// Gradients before each hidden layer's tanh.
    scratch: Activations<R>,
    /// Logits, then the value, `[A+1, (T+1)·B]`; the backward pass turns it into their gradient.
    heads: Array2<R>,
    /// Probabilities of the target policy, `[A, T·B]`.
    probs: Array2<R>,
    /// Entropy of the target policy at each step, `[T·B]`, nats.
    entropies: Vec<R>,
}

impl<K: Kernels<R>, R: NdFloat> Native<K, R> {
    /// A backend for batches of `n_steps` = T·B steps and `n_observations` = (T+1)·B observations.
    pub fn new(shape: &NetworkShape, kernels: K, n_steps: usize, n_observations: usize) -> Self {
        Native {
            mlp: Mlp::new(shape, kernels),
            activations: Activations::new(shape, n_observations),
            scratch: Activations::new(shape, n_observations),
            heads: Array2::zeros((shape.n_heads(), n_observations)),
            probs: Array2::zeros((shape.n_actions, n_steps)),
            entropies: vec![R::zero(); n_steps],
        }
    }
}

impl<K: Kernels<R>, R: NdFloat> Backend<R> for Native<K, R> {
    fn name(&self) -> &'static str {
        "native"
    }

    fn slots_per_pass(&self, _batch_slots: usize) -> usize {
        1
    }

    fn forward(&mut self, params: &[R], batch: &Batch<R>, outputs: &mut Outputs<R>) {
        self.mlp.forward(params, batch.obs, &mut self.activations, self.heads.view_mut());
        let n_actions = batch.n_actions();
        let logits = self.heads.slice(s![..n_actions, ..batch.n_steps()]);
        let log_probs = outputs.log_probs.view_mut();
        self.mlp.kernels().log_softmax(logits, log_probs, self.probs.view_mut());
        outputs.values.copy_from_slice(row(&self.heads, n_actions));
    }

    fn backward(
        &mut self,
        params: &[R],
        batch: &Batch<R>,
        outputs: &Outputs<R>,
        targets: &Targets<R>,
        costs: &LossCosts<R>,
        grad: &mut [R],
    ) -> Losses {
        let entropy = self.entropy(outputs, targets.weights);
        let policy = self.policy_gradient(batch, outputs, targets, costs.entropy_cost);
        let critic = self.critic_gradient(batch.n_actions(), targets, costs.baseline_cost);
        let d_heads = self.heads.slice(s![.., ..batch.n_steps()]);
        self.mlp.backward(params, batch.obs, &self.activations, d_heads, &mut self.scratch, grad);
        Losses { policy, critic, entropy }
    }
}

impl<K, R: NdFloat> Native<K, R> {
    /// Fills `entropies` with −Σ p log p and returns their weighted sum.
    fn entropy(&mut self, outputs: &Outputs<R>, weights: &[R]) -> f64 {
        self.entropies.fill(R::zero());
        for action in 0..self.probs.nrows() {
            let (probs, log_probs) = (row(&self.probs, action), row(&outputs.log_probs, action));
            for ((entropy, &p), &log_p) in self.entropies.iter_mut().zip(probs).zip(log_probs) {
                *entropy -= p * log_p;
            }
        }
        sum_f64(self.entropies.iter().zip(weights).map(|(&entropy, &weight)| weight * entropy))
    }

    /// Overwrites the logits in `heads` with the derivative of the policy and entropy losses by them,
    /// and returns the summed policy loss.
    ///
    /// With p the softmax of the logits l and H its entropy:
    /// `∂(−log p_a)/∂l_i = p_i − [i = a]` and `∂(−H)/∂l_i = p_i (log p_i + H)`.
    fn policy_gradient(
        &mut self,
        batch: &Batch<R>,
        outputs: &Outputs<R>,
        targets: &Targets<R>,
        entropy_cost: R,
    ) -> f64 {
        let mut loss = 0.0;
        for action in 0..batch.n_actions() {
            let d_logits = row_mut(&mut self.heads, action);
            let (probs, log_probs) = (row(&self.probs, action), row(&outputs.log_probs, action));
            let mut action_loss = R::zero();
            for (n, &taken) in batch.actions.iter().enumerate() {
                let taken = if taken == action as i32 { R::one() } else { R::zero() };
                let advantage = targets.pg_advantages[n];
                let d_entropy = probs[n] * (log_probs[n] + self.entropies[n]);
                d_logits[n] =
                    advantage * (probs[n] - taken) + entropy_cost * targets.weights[n] * d_entropy;
                action_loss -= taken * advantage * log_probs[n];
            }
            loss += to_f64(action_loss);
        }
        loss
    }

    /// Overwrites the values in `heads` with the derivative of the critic loss by them, and returns
    /// the summed critic loss.
    fn critic_gradient(&mut self, value_row: usize, targets: &Targets<R>, baseline_cost: R) -> f64 {
        let half = R::one() / (R::one() + R::one());
        let mut loss = R::zero();
        let rows =
            row_mut(&mut self.heads, value_row).iter_mut().zip(targets.vs).zip(targets.weights);
        for ((value, &vs), &weight) in rows {
            let error = *value - vs;
            loss += weight * half * error * error;
            *value = baseline_cost * weight * error;
        }
        to_f64(loss)
    }
}

fn row<R>(matrix: &Array2<R>, index: usize) -> &[R] {
    let n_columns = matrix.ncols();
    let values = matrix.as_slice().expect("owned matrices here keep the standard layout");
    &values[index * n_columns..(index + 1) * n_columns]
}

fn row_mut<R>(matrix: &mut Array2<R>, index: usize) -> &mut [R] {
    let n_columns = matrix.ncols();
    let values = matrix.as_slice_mut().expect("owned matrices here keep the standard layout");
    &mut values[index * n_columns..(index + 1) * n_columns]
}

fn sum_f64<R: NdFloat>(values: impl Iterator<Item = R>) -> f64 {
    to_f64(values.fold(R::zero(), |sum, value| sum + value))
}

fn to_f64<R: NdFloat>(value: R) -> f64 {
    value.to_f64().expect("f32 and f64 convert to f64")
}
