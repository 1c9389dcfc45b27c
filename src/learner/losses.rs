//! The loss of section 4.2 of the paper (arXiv 1802.01561), and its derivative by what a head says of each
//! frame. Knows no action space and no network.

use std::fmt;

use ndarray::NdFloat;

use crate::config::LossSettings;
use crate::network::heads::{Seen, Slopes};

/// What the losses are taken against: constants to the gradient.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a, R> {
    /// V-trace targets of the baseline, `[T, B]`.
    pub vs: &'a [R],
    /// Importance ratios π(a|x)/μ(a|x), unclipped, `[T, B]`.
    pub rhos: &'a [R],
    /// V-trace advantages of the policy gradient, `[T, B]`; 0 in masked rows, as V-trace leaves them.
    pub pg_advantages: &'a [R],
    /// 1 for a learned row, 0 for a masked one, `[T, B]`.
    pub weights: &'a [R],
}

/// Weights of the loss terms:
/// `total = policy + baseline_cost · critic − entropy_cost · entropy`, all summed over learned rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossCosts<R> {
    /// Multiplies the critic loss ½ (vs − V)².
    pub baseline_cost: R,
    /// Multiplies the entropy bonus.
    pub entropy_cost: R,
}

impl LossCosts<f32> {
    /// Those that a run was set to, before its first frame.
    pub fn of(loss: &LossSettings) -> Self {
        LossCosts {
            baseline_cost: loss.baseline_cost,
            entropy_cost: loss.entropy_cost.start as f32,
        }
    }
}

/// Loss terms, each summed over the learned rows of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// −log π(a|x) · pg_advantage.
    pub policy: f64,
    /// ½ (vs − V)².
    pub critic: f64,
    /// Entropy of the target policy, nats.
    pub entropy: f64,
}

impl Losses {
    /// The loss that the gradient belongs to.
    pub fn total<R: NdFloat>(&self, costs: &LossCosts<R>) -> f64 {
        let (baseline_cost, entropy_cost) =
            (to_f64(costs.baseline_cost), to_f64(costs.entropy_cost));
        self.policy + baseline_cost * self.critic - entropy_cost * self.entropy
    }

    /// Each divided by `n`.
    pub fn per(&self, n: f64) -> Losses {
        let Losses { policy, critic, entropy } = self;
        Losses { policy: policy / n, critic: critic / n, entropy: entropy / n }
    }

    /// Adds those of another batch.
    pub fn merge(&mut self, other: &Losses) {
        self.policy += other.policy;
        self.critic += other.critic;
        self.entropy += other.entropy;
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Losses { policy, critic, entropy } = self;
        write!(f, "policy {policy}, critic {critic}, entropy {entropy}")
    }
}

/// The actor-critic loss, with room for its derivatives.
#[derive(Debug)]
pub struct ActorCritic<R> {
    by_log_pi: Vec<R>,
    by_entropy: Vec<R>,
    by_value: Vec<R>,
}

impl<R: NdFloat> ActorCritic<R> {
    /// For batches of `n_steps` = T·B steps.
    pub fn new(n_steps: usize) -> Self {
        let row = || vec![R::zero(); n_steps];
        ActorCritic { by_log_pi: row(), by_entropy: row(), by_value: row() }
    }

    /// The loss terms, and the derivative of their [`total`](Losses::total) by the three numbers of each
    /// frame.
    pub fn differentiate(
        &mut self,
        seen: &Seen<R>,
        targets: &Targets<R>,
        costs: &LossCosts<R>,
    ) -> (Losses, Slopes<'_, R>) {
        let Targets { vs, pg_advantages, weights, .. } = *targets;
        // The policy gradient: −log π(a|x) · advantage.
        self.by_log_pi.iter_mut().zip(pg_advantages).for_each(|(slope, &a)| *slope = -a);
        // The baseline: ½ (vs − V)².
        let values = seen.values.iter().zip(vs).zip(weights);
        for (slope, ((&value, &vs), &weight)) in self.by_value.iter_mut().zip(values) {
            *slope = weight * (value - vs);
        }
        let losses = Losses {
            policy: -dot(seen.log_pi, pg_advantages),
            // Weights are 0 and 1, so their squares are themselves.
            critic: 0.5 * dot(&self.by_value, &self.by_value),
            entropy: dot(seen.entropies, weights),
        };
        self.by_value.iter_mut().for_each(|error| *error *= costs.baseline_cost);
        // The entropy bonus: −cost · H.
        let by_entropy = self.by_entropy.iter_mut().zip(weights);
        by_entropy.for_each(|(slope, &weight)| *slope = -(costs.entropy_cost * weight));
        let slopes =
            Slopes { log_pi: &self.by_log_pi, entropies: &self.by_entropy, values: &self.by_value };
        (losses, slopes)
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

fn to_f64<R: NdFloat>(value: R) -> f64 {
    value.to_f64().expect("f32 and f64 convert to f64")
}
