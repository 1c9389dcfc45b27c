//! What the paper compares V-trace with (arXiv 1802.01561, section 5.2.2): less of a correction, or none.
//!
//! As [`super::vtrace`]: pure arithmetic over `[T, B]` slices. Called by the targets in its place, where
//! `loss.correction` asks for one of these.

use ndarray::NdFloat;

use super::vtrace::{VtraceInput, VtraceParams, min};

/// Targets and advantages as if μ had been π: λ-returns, and the policy gradient unweighted.
///
/// # Panics
/// If the slices' lengths do not agree.
pub fn uncorrected<R: NdFloat>(
    input: &VtraceInput<R>,
    lambda: R,
    vs: &mut [R],
    pg_advantages: &mut [R],
) {
    input.check(vs, pg_advantages);
    let VtraceInput { n_trajectories, discounts, rewards, weights, values, .. } = *input;
    for n in (0..vs.len()).rev() {
        let next = n + n_trajectories;
        let (value, next_value) = (values[n], values[next]);
        let next_vs = vs.get(next).copied().unwrap_or(next_value);
        let delta = rewards[n] + discounts[n] * next_value - value;
        vs[n] = value + weights[n] * (delta + discounts[n] * lambda * (next_vs - next_value));
        pg_advantages[n] = weights[n] * (rewards[n] + discounts[n] * next_vs - value);
    }
}

/// One-step importance sampling: targets as if μ had been π, but each step's policy gradient weighted by its ratio,
/// clipped as V-trace's.
///
/// # Panics
/// If the slices' lengths do not agree.
pub fn one_step<R: NdFloat>(
    input: &VtraceInput<R>,
    params: &VtraceParams<R>,
    vs: &mut [R],
    pg_advantages: &mut [R],
) {
    uncorrected(input, params.lambda, vs, pg_advantages);
    for (advantage, &rho) in pg_advantages.iter_mut().zip(input.rhos) {
        *advantage *= min(rho, params.pg_rho_bar);
    }
}
