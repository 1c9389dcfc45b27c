//! V-trace targets and policy-gradient advantages (arXiv 1802.01561, section 4.1) on plain slices.
//!
//! Pure arithmetic over `[T, B]` slices (t slowest): no network, no batch, no allocation. Called by
//! the learner once a pass.
//!
//! Truncation and reset rows enter through two of the inputs alone:
//!
//! | row | weight | discount | effect |
//! |---|---|---|---|
//! | ordinary | 1 | γ | bootstraps from the next row |
//! | terminated, or a life lost | 1 | 0 | target is the reward |
//! | truncated | 1 | γ | bootstraps from the value of the true final observation: the next row |
//! | reset (the ignored action after an end) | 0 | 0 | `vs = V`, no gradient, and no trace crosses it |

use ndarray::NdFloat;

/// Clipping constants and λ of V-trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VtraceParams<R> {
    /// ρ̄, clips the importance ratio of the temporal difference; fixes what is converged to.
    pub rho_bar: R,
    /// c̄, clips the trace coefficients; sets the speed of convergence (and the variance).
    pub c_bar: R,
    /// Clips the importance ratio of the policy gradient.
    pub pg_rho_bar: R,
    /// λ, multiplies the trace coefficients (remark 2 of the paper).
    pub lambda: R,
}

/// Inputs for B trajectories of T steps. Every slice is `[T, B]` but `values`.
#[derive(Clone, Copy, Debug)]
pub struct VtraceInput<'a, R> {
    /// B, the number of trajectories side by side in a row.
    pub n_trajectories: usize,
    /// Unclipped importance ratios π(a|x) / μ(a|x).
    pub rhos: &'a [R],
    /// γ, or 0 where the value of the next row must not be used.
    pub discounts: &'a [R],
    /// Rewards.
    pub rewards: &'a [R],
    /// 1 for a learned row, 0 for a masked one.
    pub weights: &'a [R],
    /// Baseline V(x), `[T+1, B]`: the last row is the bootstrap value of the observation after step T.
    pub values: &'a [R],
}

impl<R> VtraceInput<'_, R> {
    /// Panics if the slices' lengths do not agree.
    pub(super) fn check(&self, vs: &[R], pg_advantages: &[R]) {
        let n = self.rhos.len();
        assert!(
            self.n_trajectories > 0 && n.is_multiple_of(self.n_trajectories),
            "rhos are [T, B]"
        );
        let same = [self.discounts, self.rewards, self.weights, vs, pg_advantages];
        assert!(same.iter().all(|slice| slice.len() == n), "slices are [T, B] like rhos");
        assert_eq!(self.values.len(), n + self.n_trajectories, "values are [T+1, B]");
    }
}

/// Writes the targets `vs` and the advantages `pg_advantages`, both `[T, B]`.
///
/// Equation (1) in its recursive form (remark 1):
/// `vs_t = V_t + δ_t + γ_t c_t (vs_{t+1} − V_{t+1})` with `δ_t = ρ_t (r_t + γ_t V_{t+1} − V_t)`, and
/// `pg_advantage_t = ρ^pg_t (r_t + γ_t vs_{t+1} − V_t)`; beyond the last row `vs = V`.
///
/// # Panics
/// If the slices' lengths do not agree.
#[inline(always)]
pub fn vtrace<R: NdFloat>(
    input: &VtraceInput<R>,
    params: &VtraceParams<R>,
    vs: &mut [R],
    pg_advantages: &mut [R],
) {
    input.check(vs, pg_advantages);
    let n_trajectories = input.n_trajectories;
    for start in (0..vs.len()).step_by(n_trajectories).rev() {
        let row = start..start + n_trajectories;
        let next = row.end..row.end + n_trajectories;
        let (earlier, later) = vs.split_at_mut(row.end);
        let next_values = &input.values[next];
        let next_vs = later.get(..n_trajectories).unwrap_or(next_values);
        let step = Step {
            rhos: &input.rhos[row.clone()],
            discounts: &input.discounts[row.clone()],
            rewards: &input.rewards[row.clone()],
            weights: &input.weights[row.clone()],
            values: &input.values[row.clone()],
            next_values,
            next_vs,
        };
        step.solve(params, &mut earlier[start..], &mut pg_advantages[row]);
    }
}

/// One time step of all trajectories, every slice `[B]`.
struct Step<'a, R> {
    rhos: &'a [R],
    discounts: &'a [R],
    rewards: &'a [R],
    weights: &'a [R],
    values: &'a [R],
    next_values: &'a [R],
    next_vs: &'a [R],
}

impl<R: NdFloat> Step<'_, R> {
    #[inline(always)]
    fn solve(&self, params: &VtraceParams<R>, vs: &mut [R], pg_advantages: &mut [R]) {
        // Slices of one known length let the compiler drop the bounds checks and use SIMD.
        let n = vs.len();
        let (rhos, discounts, rewards) =
            (&self.rhos[..n], &self.discounts[..n], &self.rewards[..n]);
        let (weights, values) = (&self.weights[..n], &self.values[..n]);
        let (next_values, next_vs) = (&self.next_values[..n], &self.next_vs[..n]);
        let pg_advantages = &mut pg_advantages[..n];
        for b in 0..n {
            let rho = weights[b] * min(rhos[b], params.rho_bar);
            let c = weights[b] * params.lambda * min(rhos[b], params.c_bar);
            let pg_rho = weights[b] * min(rhos[b], params.pg_rho_bar);
            let delta = rho * (rewards[b] + discounts[b] * next_values[b] - values[b]);
            vs[b] = values[b] + delta + discounts[b] * c * (next_vs[b] - next_values[b]);
            pg_advantages[b] = pg_rho * (rewards[b] + discounts[b] * next_vs[b] - values[b]);
        }
    }
}

/// The smaller of a ratio and its bound, as one SIMD instruction. A ratio that is not a number stays
/// one (`R::min` would hide it behind the bound).
#[inline(always)]
pub(super) fn min<R: NdFloat>(ratio: R, bound: R) -> R {
    if bound < ratio { bound } else { ratio }
}
