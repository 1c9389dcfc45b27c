//! The native learner's gradients against finite differences, in f64.

mod common;
#[path = "common/plain_kernels.rs"]
mod plain_kernels;

use common::{RandomBatch, Uniform};
use impala::kernels::Simd;
use impala::learner::backend::{Backend, Batch, LossCosts, Losses, Outputs, Targets};
use impala::learner::native::Native;
use impala::network::params::{NetworkShape, ParamLayout};
use ndarray::Array2;
use plain_kernels::Plain;

const COSTS: LossCosts<f64> = LossCosts { baseline_cost: 0.5, entropy_cost: 0.01 };

fn shapes() -> [NetworkShape; 3] {
    [
        NetworkShape { obs_dim: 4, hidden: vec![8, 6], n_actions: 2 },
        NetworkShape { obs_dim: 3, hidden: vec![5], n_actions: 4 },
        NetworkShape { obs_dim: 1, hidden: vec![7, 3, 9], n_actions: 3 },
    ]
}

/// A backend in f64 with its parameters and a random batch.
struct Problem {
    backend: Native<Plain, f64>,
    params: Vec<f64>,
    random: RandomBatch,
}

impl Problem {
    fn new(shape: &NetworkShape, seed: u64) -> Self {
        let random = RandomBatch::new(shape, 5, 7, seed);
        let n_params = ParamLayout::new(shape).len();
        Problem {
            backend: Native::new(shape, Plain, random.actions.len(), random.obs.ncols()),
            params: Uniform::seeded(seed + 100).vec(n_params, 0.7),
            random,
        }
    }

    fn learn(&mut self, grad: &mut [f64]) -> Losses {
        let (batch, mut outputs) = (self.random.batch(), self.random.outputs());
        self.backend.forward(&self.params, &batch, &mut outputs);
        let targets = self.random.targets();
        self.backend.backward(&self.params, &batch, &outputs, &targets, &COSTS, grad)
    }

    fn loss(&mut self) -> f64 {
        let mut ignored = vec![0.0; self.params.len()];
        self.learn(&mut ignored).total(&COSTS)
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for (seed, shape) in shapes().iter().enumerate() {
        let mut problem = Problem::new(shape, seed as u64);
        let mut grad = vec![0.0; problem.params.len()];
        problem.learn(&mut grad);
        for (k, &analytic) in grad.iter().enumerate() {
            let (step, centre) = (1e-5, problem.params[k]);
            problem.params[k] = centre + step;
            let above = problem.loss();
            problem.params[k] = centre - step;
            let below = problem.loss();
            problem.params[k] = centre;
            let numeric = (above - below) / (2.0 * step);
            let tolerance = 1e-7 * (1.0 + numeric.abs());
            assert!((analytic - numeric).abs() < tolerance, "{k}: {analytic} is not {numeric}");
        }
    }
}

#[test]
fn gradients_add_up() {
    let mut problem = Problem::new(&shapes()[0], 3);
    let mut once = vec![0.0; problem.params.len()];
    problem.learn(&mut once);
    let mut twice = once.clone();
    problem.learn(&mut twice);
    for (once, twice) in once.iter().zip(&twice) {
        approx::assert_relative_eq!(2.0 * once, *twice, max_relative = 1e-12);
    }
}

#[test]
fn masked_rows_have_no_part_in_losses_or_gradient() {
    let mut problem = Problem::new(&shapes()[0], 4);
    let mut grad = vec![0.0; problem.params.len()];
    let losses = problem.learn(&mut grad);
    let masked: Vec<usize> =
        (0..problem.random.weights.len()).filter(|&n| problem.random.weights[n] == 0.0).collect();
    assert!(!masked.is_empty());
    for n in masked {
        problem.random.vs[n] += 1e6;
        problem.random.actions[n] = 1 - problem.random.actions[n];
        problem.random.obs.column_mut(n).fill(-3.0);
    }
    let mut changed = vec![0.0; grad.len()];
    assert_eq!(problem.learn(&mut changed), losses);
    assert_eq!(changed, grad);
}

#[test]
fn bootstrap_columns_get_values_but_no_gradient() {
    let mut problem = Problem::new(&shapes()[0], 5);
    let mut grad = vec![0.0; problem.params.len()];
    problem.learn(&mut grad);
    let n = problem.random.actions.len();
    problem.random.obs.slice_mut(ndarray::s![.., n..]).fill(2.0);
    let mut changed = vec![0.0; grad.len()];
    problem.learn(&mut changed);
    assert_eq!(changed, grad);
    let mut outputs = problem.random.outputs();
    problem.backend.forward(&problem.params, &problem.random.batch(), &mut outputs);
    let (first, rest) = outputs.values[n..].split_first().unwrap();
    assert!(rest.iter().all(|value| value == first), "equal observations have equal values");
}

/// Losses and gradient of f32 kernels on the same problem.
fn learn_f32(kernels: Simd, problem: &Problem, shape: &NetworkShape) -> (Losses, Vec<f32>) {
    let f32s = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    let matrix = |m: &Array2<f64>| m.mapv(|v| v as f32);
    let random = &problem.random;
    let (obs, log_probs) = (matrix(&random.obs), matrix(&random.behaviour_log_probs));
    let (rewards, params) = (f32s(&random.rewards), f32s(&problem.params));
    let (vs, pg, weights) = (f32s(&random.vs), f32s(&random.pg_advantages), f32s(&random.weights));
    let batch = Batch {
        n_trajectories: random.n_trajectories,
        obs: obs.view(),
        actions: &random.actions,
        rewards: &rewards,
        kinds: &random.kinds,
        behaviour_log_probs: log_probs.view(),
    };
    let targets = Targets { vs: &vs, pg_advantages: &pg, weights: &weights };
    let costs = LossCosts { baseline_cost: 0.5, entropy_cost: 0.01 };
    let mut outputs: Outputs<f32> = random.outputs();
    let mut grad = vec![0.0; params.len()];
    let mut backend = Native::new(shape, kernels, random.actions.len(), random.obs.ncols());
    backend.forward(&params, &batch, &mut outputs);
    let losses = backend.backward(&params, &batch, &outputs, &targets, &costs, &mut grad);
    (losses, grad)
}

#[test]
fn every_kernel_agrees_with_f64() {
    let shape = NetworkShape { obs_dim: 4, hidden: vec![64, 64], n_actions: 2 };
    let mut problem = Problem::new(&shape, 6);
    problem.params.iter_mut().for_each(|param| *param *= 0.2);
    let mut grad = vec![0.0; problem.params.len()];
    let losses = problem.learn(&mut grad);
    let scale = grad.iter().fold(0.0_f64, |max, g| max.max(g.abs()));
    for name in ["portable", "avx2", "avx512"] {
        let Ok(kernels) = Simd::named(name) else {
            println!("SKIPPED: this processor has no {name}");
            continue;
        };
        let (found, found_grad) = learn_f32(kernels, &problem, &shape);
        approx::assert_relative_eq!(found.total(&COSTS), losses.total(&COSTS), max_relative = 1e-4);
        for (k, (found, expected)) in found_grad.iter().zip(&grad).enumerate() {
            let error = (f64::from(*found) - expected).abs();
            assert!(
                error <= 1e-4 * expected.abs() + 1e-5 * scale,
                "{name} {k}: {found} {expected}"
            );
        }
    }
}
