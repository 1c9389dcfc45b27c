//! A second opinion on the loss: the same terms as tensor operations, differentiated by libtorch's autograd.
//!
//! Loss and head are hand-derived (`learner/losses.rs`, `network/heads/`). Here nothing of either is used: the
//! terms are written down once more from logits and values, and autograd finds their derivatives.
#![cfg(feature = "torch")]

#[path = "common/uniform.rs"]
mod uniform;

use impala::kernels::Simd;
use impala::learner::losses::{ActorCritic, LossCosts, Losses, Targets};
use impala::network::heads::Head;
use impala::space::{ActionSpace, Actions};
use ndarray::Array2;
use tch::{Kind, Tensor};
use uniform::Uniform;

/// Actions, then the steps of the batch.
const SIZES: [(usize, usize); 4] = [(2, 640), (3, 1), (5, 37), (18, 200)];

/// Losses and their derivative by `outputs` `[A + 1, T·B]`, by libtorch.
fn by_autograd(
    outputs: &Array2<f32>,
    actions: &[i32],
    targets: &Targets<f32>,
    costs: &LossCosts<f32>,
) -> (Losses, Vec<f32>) {
    let (rows, n_steps) = (outputs.nrows() as i64, outputs.ncols() as i64);
    let leaf = Tensor::from_slice(outputs.as_slice().unwrap()).view([rows, n_steps]);
    let leaf = leaf.set_requires_grad(true);
    let log_probs = leaf.narrow(0, 0, rows - 1).log_softmax(0, Kind::Float);
    let index = Tensor::from_slice(actions).to_kind(Kind::Int64).view([1, n_steps]);
    let taken = log_probs.gather(0, &index, false).view([-1]);
    let weights = Tensor::from_slice(targets.weights);
    let policy = -taken.dot(&Tensor::from_slice(targets.pg_advantages));
    let error = leaf.get(rows - 1) - Tensor::from_slice(targets.vs);
    let critic = (&error * &weights).dot(&error) * 0.5;
    let entropy = -(log_probs.exp() * &log_probs).mv(&weights).sum(Kind::Float);
    let total = &policy + &critic * f64::from(costs.baseline_cost)
        - &entropy * f64::from(costs.entropy_cost);
    total.backward();
    let value = |tensor: &Tensor| tensor.double_value(&[]);
    let losses =
        Losses { policy: value(&policy), critic: value(&critic), entropy: value(&entropy) };
    let mut gradient = vec![0.0; outputs.len()];
    leaf.grad().copy_data(&mut gradient, outputs.len());
    (losses, gradient)
}

/// The same by the engine's own loss and head.
fn by_hand(
    outputs: &Array2<f32>,
    actions: Actions,
    targets: &Targets<f32>,
    costs: &LossCosts<f32>,
) -> (Losses, Vec<f32>) {
    let (rows, n_steps) = outputs.dim();
    let mut head = Head::new(&ActionSpace::Discrete(rows - 1), Simd::detect(), n_steps);
    let mut loss = ActorCritic::new(n_steps);
    let mut d_outputs = Array2::zeros((rows, n_steps));
    let seen = head.evaluate(outputs.view(), actions);
    let (losses, slopes) = loss.differentiate(&seen, targets, costs);
    head.chain(actions, &slopes, d_outputs.view_mut());
    (losses, d_outputs.into_raw_vec_and_offset().0)
}

fn assert_agree(n_actions: usize, n_steps: usize, costs: LossCosts<f32>) {
    let mut random = Uniform::seeded(3);
    let mut f32s =
        |scale| -> Vec<f32> { random.vec(n_steps, scale).iter().map(|v| *v as f32).collect() };
    let (vs, rhos, mut advantages) = (f32s(2.0), f32s(1.0), f32s(2.0));
    let actions: Vec<i32> = (0..n_steps).map(|_| random.below(n_actions) as i32).collect();
    // Every fourth row is masked, and V-trace leaves it no advantage.
    let weights: Vec<f32> = (0..n_steps).map(|n| if n % 4 == 3 { 0.0 } else { 1.0 }).collect();
    advantages.iter_mut().zip(&weights).for_each(|(advantage, weight)| *advantage *= weight);
    let targets = Targets { vs: &vs, rhos: &rhos, pg_advantages: &advantages, weights: &weights };
    let outputs = Uniform::seeded(9).matrix(n_actions + 1, n_steps).mapv(|x| 3.0 * x as f32);
    let (expected, d_expected) = by_autograd(&outputs, &actions, &targets, &costs);
    let (found, d_found) = by_hand(&outputs, Actions::of_indices(&actions), &targets, &costs);
    for (found, expected) in [
        (found.policy, expected.policy),
        (found.critic, expected.critic),
        (found.entropy, expected.entropy),
    ] {
        approx::assert_relative_eq!(found, expected, max_relative = 1e-4, epsilon = 1e-4);
    }
    let scale = d_expected.iter().fold(0.0_f32, |max, d| max.max(d.abs()));
    for (n, (found, expected)) in d_found.iter().zip(&d_expected).enumerate() {
        assert!((found - expected).abs() <= 1e-5 * scale, "{n}: {found} is not {expected}");
    }
}

#[test]
fn losses_and_derivatives_are_autograds() {
    for (n_actions, n_steps) in SIZES {
        assert_agree(n_actions, n_steps, LossCosts { baseline_cost: 0.5, entropy_cost: 0.01 });
    }
}

/// Each term dominant once, so that a small one cannot hide behind a large one.
#[test]
fn each_term_is_autograds() {
    for (baseline_cost, entropy_cost) in [(0.0, 0.0), (1e4, 0.0), (0.0, 1e4)] {
        assert_agree(4, 100, LossCosts { baseline_cost, entropy_cost });
    }
}
