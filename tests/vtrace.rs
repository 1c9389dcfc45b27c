//! V-trace against reference vectors and against the paper's double sum.

use std::collections::BTreeMap;

use approx::assert_relative_eq;
use impala::learner::corrections::{one_step, uncorrected};
use impala::learner::vtrace::{VtraceInput, VtraceParams, vtrace};
use proptest::prelude::*;
use serde::Deserialize;

/// One case of `tests/reference/vtrace_vectors.json`: float64 results of a direct double sum, with the
/// inputs that other V-trace implementations use in their tests; or of `vtrace_masked.json`, with λ and with
/// rows that are left out. Matrices are `[T][B]`.
#[derive(Deserialize)]
struct Case {
    log_rhos: Vec<Vec<f64>>,
    discounts: Vec<Vec<f64>>,
    rewards: Vec<Vec<f64>>,
    values: Vec<Vec<f64>>,
    bootstrap: Vec<f64>,
    rho_bar: f64,
    c_bar: f64,
    pg_rho_bar: f64,
    #[serde(default = "one")]
    lam: f64,
    /// 0 for a row that is left out.
    mask: Option<Vec<Vec<f64>>>,
    vs: Vec<Vec<f64>>,
    pg: Vec<Vec<f64>>,
}

fn one() -> f64 {
    1.0
}

/// B trajectories of T steps in one struct, row by row.
#[derive(Clone, Debug)]
struct Trajectories {
    n_trajectories: usize,
    rhos: Vec<f64>,
    discounts: Vec<f64>,
    rewards: Vec<f64>,
    weights: Vec<f64>,
    values: Vec<f64>,
}

impl Trajectories {
    fn solve(&self, params: &VtraceParams<f64>) -> (Vec<f64>, Vec<f64>) {
        self.solve_by(|input, vs, pg| vtrace(input, params, vs, pg))
    }

    fn solve_by(
        &self,
        solve: impl Fn(&VtraceInput<f64>, &mut [f64], &mut [f64]),
    ) -> (Vec<f64>, Vec<f64>) {
        let (mut vs, mut pg) = (vec![0.0; self.rhos.len()], vec![0.0; self.rhos.len()]);
        let input = VtraceInput {
            n_trajectories: self.n_trajectories,
            rhos: &self.rhos,
            discounts: &self.discounts,
            rewards: &self.rewards,
            weights: &self.weights,
            values: &self.values,
        };
        solve(&input, &mut vs, &mut pg);
        (vs, pg)
    }

    /// Equation (1) of the paper, word for word, with row weights on ρ and c:
    /// `vs_s = V_s + Σ_{t≥s} (Π_{i=s}^{t−1} γ_i c_i) δ_t`, then the advantage with vs_{s+1}.
    fn double_sum(&self, params: &VtraceParams<f64>) -> (Vec<f64>, Vec<f64>) {
        let (n_b, n_steps) = (self.n_trajectories, self.rhos.len() / self.n_trajectories);
        let mut vs = self.values.clone();
        for (s, b) in (0..n_steps).flat_map(|s| (0..n_b).map(move |b| (s, b))) {
            let mut trace = 1.0;
            for t in s..n_steps {
                let (n, next) = (t * n_b + b, (t + 1) * n_b + b);
                let rho = self.weights[n] * self.rhos[n].min(params.rho_bar);
                let target = self.rewards[n] + self.discounts[n] * self.values[next];
                vs[s * n_b + b] += trace * rho * (target - self.values[n]);
                trace *= self.discounts[n]
                    * self.weights[n]
                    * params.lambda
                    * self.rhos[n].min(params.c_bar);
            }
        }
        let advantage = |n: usize| {
            let rho = self.weights[n] * self.rhos[n].min(params.pg_rho_bar);
            rho * (self.rewards[n] + self.discounts[n] * vs[n + n_b] - self.values[n])
        };
        let pg = (0..self.rhos.len()).map(advantage).collect();
        vs.truncate(self.rhos.len());
        (vs, pg)
    }
}

fn params(rho_bar: f64, c_bar: f64, pg_rho_bar: f64, lambda: f64) -> VtraceParams<f64> {
    VtraceParams { rho_bar, c_bar, pg_rho_bar, lambda }
}

fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        let tolerance = 1e-11 * (1.0 + expected.abs());
        assert!((found - expected).abs() <= tolerance, "{what}[{n}]: {found} is not {expected}");
    }
}

#[test]
fn reference_vectors_are_reproduced() {
    reproduce(include_str!("reference/vtrace_vectors.json"), 9);
}

#[test]
fn reference_vectors_with_masked_rows_are_reproduced() {
    reproduce(include_str!("reference/vtrace_masked.json"), 12);
}

fn reproduce(text: &str, n_cases: usize) {
    let cases: BTreeMap<String, Case> = serde_json::from_str(text).unwrap();
    assert_eq!(cases.len(), n_cases);
    for (name, case) in cases {
        let n_rows = case.log_rhos.concat().len();
        let trajectories = Trajectories {
            n_trajectories: case.bootstrap.len(),
            rhos: case.log_rhos.concat().iter().map(|log_rho| log_rho.exp()).collect(),
            discounts: case.discounts.concat(),
            rewards: case.rewards.concat(),
            weights: case.mask.map_or(vec![1.0; n_rows], |mask| mask.concat()),
            values: [case.values.concat(), case.bootstrap].concat(),
        };
        let clips = params(case.rho_bar, case.c_bar, case.pg_rho_bar, case.lam);
        let (vs, pg) = trajectories.solve(&clips);
        assert_close(&vs, &case.vs.concat(), &format!("{name}: vs"));
        assert_close(&pg, &case.pg.concat(), &format!("{name}: pg_advantages"));
    }
}

/// Rows of a rollout in which episodes end by termination (discount 0) or truncation (the next row's
/// value is the bootstrap), each end followed by a masked reset row.
fn rollouts() -> impl Strategy<Value = Trajectories> {
    (1..12usize, 1..5usize).prop_flat_map(|(n_steps, n_trajectories)| {
        let n = n_steps * n_trajectories;
        let reals = move |len| prop::collection::vec(-3.0..3.0f64, len);
        let kinds = prop::collection::vec(0..6u8, n);
        (reals(n), reals(n), reals(n + n_trajectories), kinds).prop_map(
            move |(log_rhos, rewards, values, kinds)| Trajectories {
                n_trajectories,
                rhos: log_rhos.iter().map(|log_rho| log_rho.exp()).collect(),
                discounts: kinds.iter().map(|k| if *k < 2 { 0.0 } else { 0.97 }).collect(),
                weights: kinds.iter().map(|k| if *k == 0 { 0.0 } else { 1.0 }).collect(),
                rewards,
                values,
            },
        )
    })
}

proptest! {
    #[test]
    fn the_recursion_is_the_double_sum(
        trajectories in rollouts(),
        (rho_bar, c_bar, pg_rho_bar, lambda) in (0.1..4.0, 0.0..4.0, 0.1..4.0, 0.0..=1.0),
    ) {
        let params = params(rho_bar, c_bar, pg_rho_bar, lambda);
        let (vs, pg) = trajectories.solve(&params);
        let (slow_vs, slow_pg) = trajectories.double_sum(&params);
        assert_close(&vs, &slow_vs, "vs");
        assert_close(&pg, &slow_pg, "pg_advantages");
    }

    /// Without a correction targets and advantages are V-trace's of an acting policy that was the target policy; with
    /// one step of importance sampling each advantage is weighted besides.
    #[test]
    fn the_alternatives_are_the_double_sum_with_ratios_of_one(
        trajectories in rollouts(),
        (pg_rho_bar, lambda) in (0.1..4.0, 0.0..=1.0),
    ) {
        let params = params(1.0, 1.0, pg_rho_bar, lambda);
        let ones = vec![1.0; trajectories.rhos.len()];
        let unweighted = VtraceParams { pg_rho_bar: 1.0, ..params };
        let on_policy = Trajectories { rhos: ones, ..trajectories.clone() };
        let (slow_vs, mut slow_pg) = on_policy.double_sum(&unweighted);
        let (vs, pg) = trajectories.solve_by(|input, vs, pg| uncorrected(input, lambda, vs, pg));
        assert_close(&vs, &slow_vs, "vs");
        assert_close(&pg, &slow_pg, "pg_advantages");
        let weights = trajectories.rhos.iter().map(|rho| rho.min(pg_rho_bar));
        slow_pg.iter_mut().zip(weights).for_each(|(pg, weight)| *pg *= weight);
        let (vs, pg) = trajectories.solve_by(|input, vs, pg| one_step(input, &params, vs, pg));
        assert_close(&vs, &slow_vs, "vs of one step");
        assert_close(&pg, &slow_pg, "pg_advantages of one step");
    }

    #[test]
    fn huge_ratios_stay_finite_in_f32(log_rhos in prop::collection::vec(-50.0..=50.0f32, 20)) {
        let rhos: Vec<f32> = log_rhos.iter().map(|log_rho| log_rho.exp()).collect();
        let ones = vec![1.0; 20];
        let values: Vec<f32> = (0..24).map(|n| n as f32 - 12.0).collect();
        let input = VtraceInput {
            n_trajectories: 4,
            rhos: &rhos,
            discounts: &ones,
            rewards: &ones,
            weights: &ones,
            values: &values,
        };
        let (mut vs, mut pg) = (vec![0.0; 20], vec![0.0; 20]);
        let params = VtraceParams { rho_bar: 1.0, c_bar: 1.0, pg_rho_bar: 1.0, lambda: 1.0 };
        vtrace(&input, &params, &mut vs, &mut pg);
        prop_assert!(vs.iter().chain(&pg).all(|value| value.is_finite()));
    }
}

/// One trajectory with γ = 0.9, ρ = 1 everywhere and the given discounts and weights.
fn on_policy(discounts: [f64; 3], weights: [f64; 3]) -> (Vec<f64>, Vec<f64>) {
    let trajectories = Trajectories {
        n_trajectories: 1,
        rhos: vec![1.0; 3],
        discounts: discounts.into(),
        rewards: vec![1.0, 0.0, 1.0],
        weights: weights.into(),
        values: vec![10.0, 20.0, 30.0, 40.0],
    };
    trajectories.solve(&params(1.0, 1.0, 1.0, 1.0))
}

#[test]
fn a_terminal_row_learns_its_reward_alone() {
    // Row 0 terminates; row 1 is the reset row; row 2 begins the next episode.
    let (vs, pg) = on_policy([0.0, 0.0, 0.9], [1.0, 0.0, 1.0]);
    assert_relative_eq!(vs[0], 1.0);
    assert_relative_eq!(pg[0], 1.0 - 10.0);
    assert_relative_eq!(vs[2], 1.0 + 0.9 * 40.0);
}

#[test]
fn a_truncated_row_bootstraps_from_the_final_observation_and_no_trace_crosses_the_reset() {
    // Row 0 truncates: row 1 is its true final observation, of value 20, and then the reset row.
    let (vs, pg) = on_policy([0.9, 0.0, 0.9], [1.0, 0.0, 1.0]);
    assert_relative_eq!(vs[0], 1.0 + 0.9 * 20.0);
    assert_relative_eq!(pg[0], 1.0 + 0.9 * 20.0 - 10.0);
    assert_relative_eq!(vs[1], 20.0);
    assert_relative_eq!(pg[1], 0.0);
}

#[test]
fn a_terminal_last_row_ignores_the_bootstrap() {
    let (vs, _) = on_policy([0.9, 0.9, 0.0], [1.0; 3]);
    assert_relative_eq!(vs[2], 1.0);
    assert_relative_eq!(vs[0], 1.0 + 0.9 * (0.0 + 0.9 * 1.0), max_relative = 1e-12);
}

#[test]
fn the_policy_gradient_uses_the_next_target_not_the_next_value() {
    let (vs, pg) = on_policy([0.9; 3], [1.0; 3]);
    assert_relative_eq!(pg[0], 1.0 + 0.9 * vs[1] - 10.0, max_relative = 1e-12);
    assert!((vs[1] - 20.0).abs() > 1.0, "the case tells them apart");
}

#[test]
#[should_panic(expected = "values are [T+1, B]")]
fn a_missing_bootstrap_row_is_refused() {
    let one = [1.0];
    let input = VtraceInput {
        n_trajectories: 1,
        rhos: &one,
        discounts: &one,
        rewards: &one,
        weights: &one,
        values: &one,
    };
    vtrace(&input, &params(1.0, 1.0, 1.0, 1.0), &mut [0.0], &mut [0.0]);
}
