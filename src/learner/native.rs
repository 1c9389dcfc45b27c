//! The built-in learner backend: hand-derived gradients over the batched kernels.
//!
//! Generic over the float type, so that the very code that trains in f32 is checked in f64 against
//! finite differences.

use ndarray::{Array2, NdFloat, s};

use super::backend::{Backend, Batch, LossCosts, Losses, Outputs, Targets};
use crate::kernels::Kernels;
use crate::network::mlp::{Activations, Mlp};
use crate::network::params::NetworkShape;

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
    /// log π(a|x) of the actions taken, `[T·B]`.
    taken_log_probs: Vec<R>,
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
            taken_log_probs: vec![R::zero(); n_steps],
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
        dot(&self.entropies, weights)
    }

    /// Overwrites the logits in `heads` with the derivative of the policy and entropy losses by them,
    /// and returns the summed policy loss.
    fn policy_gradient(
        &mut self,
        batch: &Batch<R>,
        outputs: &Outputs<R>,
        targets: &Targets<R>,
        entropy_cost: R,
    ) -> f64 {
        self.taken_log_probs.fill(R::zero());
        for action in 0..batch.n_actions() {
            let column = ActionSteps {
                action: action as i32,
                taken: batch.actions,
                probs: row(&self.probs, action),
                log_probs: row(&outputs.log_probs, action),
                entropies: &self.entropies,
                advantages: targets.pg_advantages,
                weights: targets.weights,
            };
            column.add_taken_log_probs(&mut self.taken_log_probs);
            let d_logits = &mut row_mut(&mut self.heads, action)[..batch.n_steps()];
            column.write_gradient(entropy_cost, d_logits);
        }
        -dot(&self.taken_log_probs, targets.pg_advantages)
    }

    /// Overwrites the values in `heads` with the derivative of the critic loss by them, and returns
    /// the summed critic loss.
    fn critic_gradient(&mut self, value_row: usize, targets: &Targets<R>, baseline_cost: R) -> f64 {
        let values = &mut row_mut(&mut self.heads, value_row)[..targets.vs.len()];
        for ((value, &vs), &weight) in values.iter_mut().zip(targets.vs).zip(targets.weights) {
            *value = weight * (*value - vs);
        }
        // Weights are 0 and 1, so their squares are themselves.
        let loss = 0.5 * dot(values, values);
        values.iter_mut().for_each(|error| *error *= baseline_cost);
        loss
    }
}

/// All steps of a batch as one action sees them, `[T·B]` each.
struct ActionSteps<'a, R> {
    action: i32,
    /// Actions taken.
    taken: &'a [i32],
    /// Of this action, by the target policy.
    probs: &'a [R],
    log_probs: &'a [R],
    entropies: &'a [R],
    advantages: &'a [R],
    weights: &'a [R],
}

impl<R: NdFloat> ActionSteps<'_, R> {
    /// Adds log π(a|x) where this is the action a taken.
    fn add_taken_log_probs(&self, sums: &mut [R]) {
        for ((sum, &taken), &log_prob) in sums.iter_mut().zip(self.taken).zip(self.log_probs) {
            *sum += if taken == self.action { log_prob } else { R::zero() };
        }
    }

    /// Writes the derivative of the policy and entropy losses by this action's logits.
    ///
    /// With p the softmax of the logits l and H its entropy:
    /// `∂(−log p_a)/∂l_i = p_i − [i = a]` and `∂(−H)/∂l_i = p_i (log p_i + H)`.
    fn write_gradient(&self, entropy_cost: R, d_logits: &mut [R]) {
        let n_steps = d_logits.len();
        let ActionSteps { action, taken, probs, log_probs, entropies, advantages, weights } = *self;
        // Of one length, so that the compiler may leave out the checks and use SIMD.
        let taken = &taken[..n_steps];
        let [probs, log_probs, entropies, advantages, weights] =
            [probs, log_probs, entropies, advantages, weights].map(|values| &values[..n_steps]);
        for n in 0..n_steps {
            let is_taken = if taken[n] == action { R::one() } else { R::zero() };
            let d_entropy = probs[n] * (log_probs[n] + entropies[n]);
            d_logits[n] =
                advantages[n] * (probs[n] - is_taken) + entropy_cost * weights[n] * d_entropy;
        }
    }
}

/// Σ aₙ bₙ, in independent partial sums so that the compiler may use SIMD.
fn dot<R: NdFloat>(a: &[R], b: &[R]) -> f64 {
    assert_eq!(a.len(), b.len(), "as many factors on either side");
    let (a_chunks, a_rest) = a.as_chunks::<16>();
    let (b_chunks, b_rest) = b.as_chunks::<16>();
    let mut partial = [R::zero(); 16];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((sum, &a), &b) in partial.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&a, &b)| a * b);
    partial.into_iter().chain(rest).map(to_f64).sum()
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

fn to_f64<R: NdFloat>(value: R) -> f64 {
    value.to_f64().expect("f32 and f64 convert to f64")
}
