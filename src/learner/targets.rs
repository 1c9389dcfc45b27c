//! From a batch and what the head sees in it to V-trace targets, and what they say about off-policyness.
//!
//! Owns the mapping of rollout rows to V-trace's inputs (discount, weight, scaled reward) and the
//! statistics of the importance ratios. Called once a pass.

use super::corrections::{one_step, uncorrected};
use super::losses::Targets;
use super::vtrace::{VtraceInput, VtraceParams, vtrace};
use crate::config::{Correction, LossSettings};
use crate::kernels::Kernels;
use crate::network::heads::Seen;
use crate::rollout::Batch;

/// Constants of the return: what a reward is worth, and V-trace's clipping.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReturnSettings {
    /// γ.
    pub discount: f32,
    /// The largest reward either way; what is beyond is brought to it before it is scaled.
    pub reward_clip: f32,
    /// Multiplies every reward before learning.
    pub reward_scale: f32,
    /// Bound of a reward thus multiplied, on either side of 0.
    pub reward_bound: f32,
    /// ρ̄, c̄, the policy gradient's clip, λ.
    pub vtrace: VtraceParams<f32>,
    /// V-trace, or what stands in its place.
    pub correction: Correction,
}

impl ReturnSettings {
    /// Those that a run was set to.
    pub fn of(loss: &LossSettings) -> Self {
        let LossSettings { discount, reward_scale, rho_bar, c_bar, pg_rho_bar, lambda, .. } = *loss;
        let vtrace = VtraceParams { rho_bar, c_bar, pg_rho_bar, lambda };
        let reward_clip = if loss.reward_clip > 0.0 { loss.reward_clip } else { f32::INFINITY };
        let reward_bound = if loss.reward_norm { NORMAL_REWARD_BOUND } else { f32::INFINITY };
        let correction = loss.correction;
        ReturnSettings { discount, reward_clip, reward_scale, reward_bound, vtrace, correction }
    }
}

/// Bound of normalised rewards, as in Stable-Baselines3's `VecNormalize`: before much is known of the returns, one
/// rare reward could be a hundred times what it will count for later.
const NORMAL_REWARD_BOUND: f32 = 10.0;

/// A ratio counts as clipped from this far above ρ̄ on, as a share of it. An actor and the learner may compute one
/// policy by different arithmetic, and equal weights must count as equal: between our kernels and libtorch ratios
/// differed from 1 by up to 5e-6 in 300,000 frames at lag 0.
const CLIP_TOLERANCE: f32 = 1e-4;

/// What the importance ratios and targets of the learned rows looked like; sums, so that batches add.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OffPolicyStats {
    /// Learned rows.
    pub n_learned: u64,
    /// Smallest unclipped ratio π(a|x)/μ(a|x).
    pub rho_min: f64,
    /// Largest unclipped ratio.
    pub rho_max: f64,
    /// Sum of unclipped ratios.
    pub rho_sum: f64,
    /// Ratios above ρ̄ by more than rounding.
    pub n_clipped: u64,
    /// Sum of the KL(μ‖π) estimates (ρ − 1) − log ρ of the actions taken: unbiased under μ. None is negative; what
    /// rounding makes so counts as 0.
    pub kl_sum: f64,
    /// Sum of vs.
    pub vs_sum: f64,
    /// Sum of vs².
    pub vs_square_sum: f64,
    /// Sum of vs − V.
    pub error_sum: f64,
    /// Sum of (vs − V)².
    pub error_square_sum: f64,
}

impl Default for OffPolicyStats {
    fn default() -> Self {
        OffPolicyStats {
            n_learned: 0,
            rho_min: f64::INFINITY,
            rho_max: f64::NEG_INFINITY,
            rho_sum: 0.0,
            n_clipped: 0,
            kl_sum: 0.0,
            vs_sum: 0.0,
            vs_square_sum: 0.0,
            error_sum: 0.0,
            error_square_sum: 0.0,
        }
    }
}

impl OffPolicyStats {
    fn add_row(&mut self, rho: f32, log_rho: f32, vs: f32, value: f32) {
        let (rho, log_rho, vs, error) =
            (f64::from(rho), f64::from(log_rho), f64::from(vs), f64::from(vs - value));
        self.n_learned += 1;
        self.rho_min = self.rho_min.min(rho);
        self.rho_max = self.rho_max.max(rho);
        self.rho_sum += rho;
        self.kl_sum += (rho - 1.0 - log_rho).max(0.0);
        self.vs_sum += vs;
        self.vs_square_sum += vs * vs;
        self.error_sum += error;
        self.error_square_sum += error * error;
    }

    /// Adds the rows of another batch.
    pub fn merge(&mut self, other: &OffPolicyStats) {
        self.n_learned += other.n_learned;
        self.rho_min = self.rho_min.min(other.rho_min);
        self.rho_max = self.rho_max.max(other.rho_max);
        self.rho_sum += other.rho_sum;
        self.n_clipped += other.n_clipped;
        self.kl_sum += other.kl_sum;
        self.vs_sum += other.vs_sum;
        self.vs_square_sum += other.vs_square_sum;
        self.error_sum += other.error_sum;
        self.error_square_sum += other.error_square_sum;
    }

    /// 1 − Var(vs − V) / Var(vs); 0 where the targets do not vary.
    pub fn explained_variance(&self) -> f64 {
        let variance = |sum: f64, square_sum: f64| {
            let n = self.n_learned.max(1) as f64;
            square_sum / n - (sum / n) * (sum / n)
        };
        let of_targets = variance(self.vs_sum, self.vs_square_sum);
        if of_targets <= f64::EPSILON {
            return 0.0;
        }
        1.0 - variance(self.error_sum, self.error_square_sum) / of_targets
    }
}

/// Computes targets batch by batch, in buffers of one size.
#[derive(Debug)]
pub struct TargetBuilder<K> {
    settings: ReturnSettings,
    kernels: K,
    discounts: Vec<f32>,
    rewards: Vec<f32>,
    weights: Vec<f32>,
    log_rhos: Vec<f32>,
    rhos: Vec<f32>,
    vs: Vec<f32>,
    pg_advantages: Vec<f32>,
}

impl<K: Kernels<f32>> TargetBuilder<K> {
    /// Buffers for batches of `n_steps` = T·B steps.
    pub fn new(settings: ReturnSettings, kernels: K, n_steps: usize) -> Self {
        let buffer = || vec![0.0; n_steps];
        TargetBuilder {
            settings,
            kernels,
            discounts: buffer(),
            rewards: buffer(),
            weights: buffer(),
            log_rhos: buffer(),
            rhos: buffer(),
            vs: buffer(),
            pg_advantages: buffer(),
        }
    }

    /// What rewards are multiplied with from the next batch on.
    pub fn set_reward_scale(&mut self, reward_scale: f32) {
        self.settings.reward_scale = reward_scale;
    }

    /// The V-trace targets of a batch under the target policy, or those of another correction, and their
    /// statistics.
    pub fn solve(
        &mut self,
        batch: &Batch<f32>,
        seen: &Seen<f32>,
    ) -> (Targets<'_, f32>, OffPolicyStats) {
        self.map_rows(batch);
        self.importance_ratios(batch, seen);
        let input = VtraceInput {
            n_trajectories: batch.frames.n_trajectories,
            rhos: &self.rhos,
            discounts: &self.discounts,
            rewards: &self.rewards,
            weights: &self.weights,
            values: seen.values,
        };
        let ReturnSettings { vtrace: ref params, correction, .. } = self.settings;
        let (vs, advantages) = (&mut self.vs, &mut self.pg_advantages);
        match correction {
            Correction::Vtrace => vtrace(&input, params, vs, advantages),
            Correction::OneStep => one_step(&input, params, vs, advantages),
            Correction::Epsilon | Correction::None => {
                uncorrected(&input, params.lambda, vs, advantages);
            }
        }
        let stats = self.stats(seen);
        let TargetBuilder { vs, rhos, pg_advantages, weights, .. } = self;
        let targets = Targets { vs, rhos, pg_advantages, weights };
        (targets, stats)
    }

    /// Discount, weight, clipped and scaled reward of each row; see the table in [`super::vtrace`].
    fn map_rows(&mut self, batch: &Batch<f32>) {
        let ReturnSettings {
            discount, reward_clip: clip, reward_scale, reward_bound: bound, ..
        } = self.settings;
        for (n, &kind) in batch.frames.kinds.iter().enumerate() {
            let learned = kind.is_learned();
            let bootstraps = learned && !kind.ends_value();
            self.discounts[n] = if bootstraps { discount } else { 0.0 };
            self.weights[n] = if learned { 1.0 } else { 0.0 };
            let reward = batch.rewards[n].clamp(-clip, clip);
            self.rewards[n] = (reward_scale * reward).clamp(-bound, bound);
        }
    }

    /// log ρ = log π(a|x) − log μ(a|x) of the taken actions, and ρ.
    fn importance_ratios(&mut self, batch: &Batch<f32>, seen: &Seen<f32>) {
        let logs = seen.log_pi.iter().zip(batch.log_mu);
        for (log_rho, (&log_pi, &log_mu)) in self.log_rhos.iter_mut().zip(logs) {
            *log_rho = log_pi - log_mu;
        }
        self.kernels.exp(&self.log_rhos, &mut self.rhos);
    }

    fn stats(&self, seen: &Seen<f32>) -> OffPolicyStats {
        let mut stats = OffPolicyStats::default();
        let clipped_from = self.settings.vtrace.rho_bar * (1.0 + CLIP_TOLERANCE);
        for n in 0..self.rhos.len() {
            if self.weights[n] != 0.0 {
                stats.add_row(self.rhos[n], self.log_rhos[n], self.vs[n], seen.values[n]);
                stats.n_clipped += u64::from(self.rhos[n] > clipped_from);
            }
        }
        stats
    }
}
