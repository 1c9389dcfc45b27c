//! A second opinion on the loss: the same terms as tensor operations, differentiated by libtorch's autograd.
//!
//! Loss and heads are hand-derived (`learner/losses.rs`, `network/heads/`). Here nothing of either is used: the
//! terms are written down once more from a network's outputs, and autograd finds their derivatives.
#![cfg(feature = "torch")]

#[path = "common/random_actions.rs"]
mod random_actions;
#[path = "common/uniform.rs"]
mod uniform;

use impala::kernels::Simd;
use impala::learner::losses::{ActorCritic, LossCosts, Losses, Targets};
use impala::network::heads::{self, Head};
use impala::space::{ActionSpace, Actions};
use ndarray::{Array2, ArrayView2};
use random_actions::random_actions;
use tch::{Kind, Tensor};
use uniform::Uniform;

/// Actions and the steps of the batch.
fn questions() -> Vec<(ActionSpace, usize)> {
    let discrete = [(2, 640), (3, 1), (5, 37), (18, 200)];
    let several = [(vec![2, 2, 2], 640), (vec![3, 5], 37), (vec![7], 200)];
    let discrete = discrete.map(|(n, n_steps)| (ActionSpace::Discrete(n), n_steps));
    let several = several.map(|(choices, n_steps)| (ActionSpace::MultiDiscrete(choices), n_steps));
    let real = [(1, 640), (3, 37), (17, 200)].map(|(n, n_steps)| (real(n), n_steps));
    discrete.into_iter().chain(several).chain(real).collect()
}

/// K numbers.
fn real(n_numbers: usize) -> ActionSpace {
    ActionSpace::Box { low: vec![-1.0; n_numbers], high: vec![1.0; n_numbers] }
}

/// log π(a|x) and entropy of each step, `[T·B]`, by libtorch; `params` is `[P, T·B]`.
fn by_torch(params: &Tensor, space: &ActionSpace, actions: Actions) -> (Tensor, Tensor) {
    match space {
        ActionSpace::Discrete(n) => softmax_by_torch(params, &[*n], actions.indices()),
        ActionSpace::MultiDiscrete(choices) => softmax_by_torch(params, choices, actions.indices()),
        ActionSpace::Box { low, .. } => {
            let n_numbers = low.len() as i64;
            let drawn = actions.numbers();
            let taken = Tensor::from_slice(drawn.as_slice().unwrap()).view([n_numbers, -1]);
            let log_std = params.narrow(0, 0, n_numbers);
            let variance = (&log_std * 2.0).exp();
            let error = taken - params.narrow(0, n_numbers, n_numbers);
            let log_tau = std::f64::consts::TAU.ln();
            let log_pi = (error.square() / variance + &log_std * 2.0 + log_tau) * -0.5;
            let entropy = log_std + 0.5 * (log_tau + 1.0);
            (sum_of_rows(&log_pi), sum_of_rows(&entropy))
        }
    }
}

fn sum_of_rows(matrix: &Tensor) -> Tensor {
    matrix.sum_dim_intlist([0_i64].as_slice(), false, Kind::Float)
}

fn softmax_by_torch(
    logits: &Tensor,
    choices: &[usize],
    actions: ArrayView2<i32>,
) -> (Tensor, Tensor) {
    let mut first = 0;
    let each = choices.iter().zip(actions.outer_iter()).map(|(n, taken)| {
        let log_probs = logits.narrow(0, first, *n as i64).log_softmax(0, Kind::Float);
        first += *n as i64;
        let index = Tensor::from_slice(taken.to_slice().unwrap()).to_kind(Kind::Int64);
        let log_pi = log_probs.gather(0, &index.view([1, -1]), false).view([-1]);
        (log_pi, -sum_of_rows(&(log_probs.exp() * &log_probs)))
    });
    each.reduce(|(log_pi, entropy), other| (log_pi + other.0, entropy + other.1)).unwrap()
}

/// Losses and their derivative by `outputs` `[P + 1, T·B]`, by libtorch.
fn by_autograd(
    outputs: &Array2<f32>,
    (space, actions): (&ActionSpace, Actions),
    targets: &Targets<f32>,
    costs: &LossCosts<f32>,
) -> (Losses, Vec<f32>) {
    let (rows, n_steps) = (outputs.nrows() as i64, outputs.ncols() as i64);
    let leaf = Tensor::from_slice(outputs.as_slice().unwrap()).view([rows, n_steps]);
    let leaf = leaf.set_requires_grad(true);
    let (taken, entropies) = by_torch(&leaf.narrow(0, 0, rows - 1), space, actions);
    let weights = Tensor::from_slice(targets.weights);
    let advantages = Tensor::from_slice(targets.pg_advantages);
    let (kept, clipped) = unclipped(&advantages, &Tensor::from_slice(targets.rhos), costs.clip);
    let lifted =
        if costs.floor > 0.0 { (taken.exp() + f64::from(costs.floor)).log() } else { taken };
    let policy = -lifted.dot(&(advantages * kept));
    let error = leaf.get(rows - 1) - Tensor::from_slice(targets.vs);
    let critic = (&error * &weights).dot(&error) * 0.5;
    let entropy = entropies.dot(&weights);
    let total = &policy + &critic * f64::from(costs.baseline_cost)
        - &entropy * f64::from(costs.entropy_cost);
    total.backward();
    let value = |tensor: &Tensor| tensor.double_value(&[]);
    let losses = Losses {
        policy: value(&policy),
        critic: value(&critic),
        entropy: value(&entropy),
        clipped,
    };
    let mut gradient = vec![0.0; outputs.len()];
    leaf.grad().copy_data(&mut gradient, outputs.len());
    (losses, gradient)
}

/// 1 for each step whose ratio moves PPO's surrogate min(rA, clip(r, 1 − ε, 1 + ε)A), else 0, as its derivative by
/// the ratio says; and how many are 0.
fn unclipped(advantages: &Tensor, rhos: &Tensor, epsilon: f32) -> (Tensor, f64) {
    let epsilon = f64::from(epsilon);
    let ratios = rhos.copy().set_requires_grad(true);
    let surrogate = (&ratios * advantages)
        .minimum(&(ratios.clamp(1.0 - epsilon, 1.0 + epsilon) * advantages))
        .sum(Kind::Float);
    surrogate.backward();
    let flat = ratios.grad().eq(0.0).logical_and(&advantages.ne(0.0));
    let n_flat = flat.sum(Kind::Float).double_value(&[]);
    (flat.logical_not().to_kind(Kind::Float), n_flat)
}

/// The same by the engine's own loss and head.
fn by_hand(
    outputs: &Array2<f32>,
    (space, actions): (&ActionSpace, Actions),
    targets: &Targets<f32>,
    costs: &LossCosts<f32>,
) -> (Losses, Vec<f32>) {
    let (rows, n_steps) = outputs.dim();
    let mut head = Head::new(space, Simd::detect(), n_steps);
    let mut loss = ActorCritic::new(n_steps);
    let mut d_outputs = Array2::zeros((rows, n_steps));
    let seen = head.evaluate(outputs.view(), actions, &[]);
    let (losses, slopes) = loss.differentiate(&seen, targets, costs);
    head.chain(actions, &[], &slopes, d_outputs.view_mut());
    (losses, d_outputs.into_raw_vec_and_offset().0)
}

fn assert_agree(space: &ActionSpace, n_steps: usize, costs: LossCosts<f32>) {
    let mut random = Uniform::seeded(3);
    let mut f32s =
        |scale| -> Vec<f32> { random.vec(n_steps, scale).iter().map(|v| *v as f32).collect() };
    let (vs, log_rhos, mut advantages) = (f32s(2.0), f32s(1.0), f32s(2.0));
    let rhos: Vec<f32> = log_rhos.iter().map(|log_rho| log_rho.exp()).collect();
    let actions = random_actions(space, n_steps, &mut random);
    let actions = (space, actions.view());
    // Every fourth row is masked, and V-trace leaves it no advantage.
    let weights: Vec<f32> = (0..n_steps).map(|n| if n % 4 == 3 { 0.0 } else { 1.0 }).collect();
    advantages.iter_mut().zip(&weights).for_each(|(advantage, weight)| *advantage *= weight);
    let targets = Targets { vs: &vs, rhos: &rhos, pg_advantages: &advantages, weights: &weights };
    let scale = if matches!(space, ActionSpace::Box { .. }) { 1.0 } else { 3.0 };
    let rows = heads::n_params(space) + 1;
    let outputs = Uniform::seeded(9).matrix(rows, n_steps).mapv(|x| (scale * x) as f32);
    let (expected, d_expected) = by_autograd(&outputs, actions, &targets, &costs);
    let (found, d_found) = by_hand(&outputs, actions, &targets, &costs);
    for (found, expected) in [
        (found.policy, expected.policy),
        (found.critic, expected.critic),
        (found.entropy, expected.entropy),
    ] {
        approx::assert_relative_eq!(found, expected, max_relative = 1e-4, epsilon = 1e-4);
    }
    assert_eq!(found.clipped, expected.clipped);
    let scale = d_expected.iter().fold(0.0_f32, |max, d| max.max(d.abs()));
    for (n, (found, expected)) in d_found.iter().zip(&d_expected).enumerate() {
        assert!((found - expected).abs() <= 1e-5 * scale, "{space} {n}: {found} is not {expected}");
    }
}

#[test]
fn losses_and_derivatives_are_autograds() {
    for (space, n_steps) in questions() {
        for clip in [f32::INFINITY, 0.2] {
            let floor = 0.0;
            let costs = LossCosts { baseline_cost: 0.5, entropy_cost: 0.01, clip, floor };
            assert_agree(&space, n_steps, costs);
        }
        let (clip, floor) = (f32::INFINITY, 0.1);
        let costs = LossCosts { baseline_cost: 0.5, entropy_cost: 0.01, clip, floor };
        assert_agree(&space, n_steps, costs);
    }
}

/// Each term dominant once, so that a small one cannot hide behind a large one.
#[test]
fn each_term_is_autograds() {
    for space in [ActionSpace::Discrete(4), ActionSpace::MultiDiscrete(vec![2, 3]), real(2)] {
        for (baseline_cost, entropy_cost) in [(0.0, 0.0), (1e4, 0.0), (0.0, 1e4)] {
            let (clip, floor) = (f32::INFINITY, 0.0);
            assert_agree(&space, 100, LossCosts { baseline_cost, entropy_cost, clip, floor });
        }
    }
}
