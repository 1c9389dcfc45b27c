//! The loss of section 4.2 of the paper (arXiv 1802.01561), and its derivative by what a head says of each
//! frame. Knows no action space and no network.
//!
//! Over it may lie the clip of PPO (Schulman et al. 2017, equation 7), whose ratio is taken against the recorded μ.
//! Together the two are what Sample Factory and RLlib call APPO. The weight of a step that is not clipped stays
//! V-trace's min(ρ̄, ρ): without a clip this is IMPALA, and a ratio far above 1 cannot explode.

use std::fmt;

use ndarray::NdFloat;

use crate::config::{Correction, LossSettings};
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

/// Weights of the loss terms, and the clip of the first:
/// `total = policy + baseline_cost · critic − entropy_cost · entropy`, all summed over learned rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossCosts<R> {
    /// Multiplies the critic loss ½ (vs − V)².
    pub baseline_cost: R,
    /// Multiplies the entropy bonus.
    pub entropy_cost: R,
    /// ε: the ratio π/μ may go so far from 1, on the side to which the advantage drives it. Infinite where
    /// nothing is clipped.
    pub clip: R,
    /// Added to π(a|x) before its logarithm is taken, which then cannot explode: the paper's ε-correction. 0 for none.
    pub floor: R,
}

/// The paper's ε (section 5.2.2).
const FLOOR: f32 = 1e-6;

impl LossCosts<f32> {
    /// Those that a run was set to, before its first frame.
    pub fn of(loss: &LossSettings) -> Self {
        LossCosts {
            baseline_cost: loss.baseline_cost,
            entropy_cost: loss.entropy_cost.start as f32,
            clip: loss.epsilon().unwrap_or(f32::INFINITY),
            floor: if loss.correction == Correction::Epsilon { FLOOR } else { 0.0 },
        }
    }
}

/// Loss terms, each summed over the learned rows of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// −log π(a|x) · pg_advantage of the rows that are not clipped.
    pub policy: f64,
    /// ½ (vs − V)².
    pub critic: f64,
    /// Entropy of the target policy, nats.
    pub entropy: f64,
    /// Rows whose policy gradient the clip takes away. No term: it is counted with them.
    pub clipped: f64,
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
        let Losses { policy, critic, entropy, clipped } = self;
        Losses {
            policy: policy / n,
            critic: critic / n,
            entropy: entropy / n,
            clipped: clipped / n,
        }
    }

    /// Adds those of another batch.
    pub fn merge(&mut self, other: &Losses) {
        self.policy += other.policy;
        self.critic += other.critic;
        self.entropy += other.entropy;
        self.clipped += other.clipped;
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Losses { policy, critic, entropy, .. } = self;
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
    #[inline(always)]
    pub fn differentiate(
        &mut self,
        seen: &Seen<R>,
        targets: &Targets<R>,
        costs: &LossCosts<R>,
    ) -> (Losses, Slopes<'_, R>) {
        let Targets { vs, weights, .. } = *targets;
        // The policy gradient: −log π(a|x) · advantage.
        let clipped = self.differentiate_policy(targets, costs.clip);
        // The baseline: ½ (vs − V)².
        let values = seen.values.iter().zip(vs).zip(weights);
        for (slope, ((&value, &vs), &weight)) in self.by_value.iter_mut().zip(values) {
            *slope = weight * (value - vs);
        }
        let policy = match costs.floor {
            floor if floor > R::zero() => self.lift_policy(seen.log_pi, floor),
            _ => dot(seen.log_pi, &self.by_log_pi),
        };
        let losses = Losses {
            policy,
            // Weights are 0 and 1, so their squares are themselves.
            critic: 0.5 * dot(&self.by_value, &self.by_value),
            entropy: dot(seen.entropies, weights),
            clipped,
        };
        self.by_value.iter_mut().for_each(|error| *error *= costs.baseline_cost);
        // The entropy bonus: −cost · H.
        let by_entropy = self.by_entropy.iter_mut().zip(weights);
        by_entropy.for_each(|(slope, &weight)| *slope = -(costs.entropy_cost * weight));
        let slopes =
            Slopes { log_pi: &self.by_log_pi, entropies: &self.by_entropy, values: &self.by_value };
        (losses, slopes)
    }

    /// Takes log(π(a|x) + floor) for log π(a|x); the policy loss.
    fn lift_policy(&mut self, log_pi: &[R], floor: R) -> f64 {
        let mut loss = 0.0;
        for (slope, &log_pi) in self.by_log_pi.iter_mut().zip(log_pi) {
            let pi = log_pi.exp();
            loss += to_f64(*slope * (pi + floor).ln());
            *slope *= pi / (pi + floor);
        }
        loss
    }

    /// The derivative by log π(a|x); how many rows have none because they are clipped.
    #[inline(always)]
    fn differentiate_policy(&mut self, targets: &Targets<R>, clip: R) -> f64 {
        let (lowest, highest) = (R::one() - clip, R::one() + clip);
        let mut n_clipped = 0;
        let rows = targets.pg_advantages.iter().zip(targets.rhos);
        for (slope, (&advantage, &rho)) in self.by_log_pi.iter_mut().zip(rows) {
            // What is not a number is on neither side, and stays what it is.
            let is_clipped =
                (advantage > R::zero() && rho > highest) | (advantage < R::zero() && rho < lowest);
            *slope = if is_clipped { R::zero() } else { -advantage };
            n_clipped += u32::from(is_clipped);
        }
        f64::from(n_clipped)
    }
}

/// Σ aₙ bₙ, in independent partial sums so that the compiler may use SIMD.
#[inline(always)]
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
