//! The two learner backends agree: outputs, losses and gradients, on random batches with every kind of
//! row. Neither is derived from the other (hand-derived gradients here, autograd there).
#![cfg(feature = "torch")]

use impala::kernels::Simd;
use impala::learner::backend::{Backend, Batch, LossCosts, Losses, Outputs, Targets};
use impala::learner::native::Native;
use impala::learner::torch::Torch;
use impala::network::params::{NetworkShape, ParamLayout, unit_f32};
use impala::rollout::StepKind;
use ndarray::Array2;
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// Largest relative difference of two ways to compute in f32.
const TOLERANCE: f64 = 1e-4;

/// What [`Batch`] and [`Targets`] borrow.
struct Rows {
    n_trajectories: usize,
    obs: Array2<f32>,
    actions: Vec<i32>,
    rewards: Vec<f32>,
    kinds: Vec<StepKind>,
    behaviour_log_probs: Array2<f32>,
    vs: Vec<f32>,
    pg_advantages: Vec<f32>,
    weights: Vec<f32>,
}

impl Rows {
    /// T steps of B trajectories; a row in ten ends an episode, and a reset row follows it. A masked
    /// row has no advantage, as V-trace leaves it, but a target far off, which must not count.
    fn random(shape: &NetworkShape, n_time: usize, n_trajectories: usize, seed: u64) -> Rows {
        let rng = &mut Xoshiro256PlusPlus::seed_from_u64(seed);
        let n_steps = n_time * n_trajectories;
        let n_actions = shape.n_actions;
        let mut uniform = |low: f32, high: f32| low + (high - low) * unit_f32(rng);
        let size = (shape.obs_dim, n_steps + n_trajectories);
        let obs = Array2::from_shape_fn(size, |_| uniform(-2.0, 2.0));
        let mut kinds: Vec<StepKind> = Vec::with_capacity(n_steps);
        for n in 0..n_steps {
            let after_end = n >= n_trajectories && kinds[n - n_trajectories].ends_episode();
            kinds.push(match uniform(0.0, 1.0) {
                _ if after_end => StepKind::RESET,
                u if u < 0.05 => StepKind::TERMINATED,
                u if u < 0.1 => StepKind::TRUNCATED,
                _ => StepKind::ORDINARY,
            });
        }
        for kind in [StepKind::ORDINARY, StepKind::TERMINATED, StepKind::TRUNCATED, StepKind::RESET]
        {
            assert!(kinds.contains(&kind), "the batch has a row of {kind:?}");
        }
        let weights: Vec<f32> =
            kinds.iter().map(|k| if k.is_learned() { 1.0 } else { 0.0 }).collect();
        Rows {
            n_trajectories,
            obs,
            actions: (0..n_steps).map(|_| uniform(0.0, n_actions as f32) as i32).collect(),
            rewards: vec![1.0; n_steps],
            kinds,
            behaviour_log_probs: Array2::from_elem((n_actions, n_steps), -(n_actions as f32).ln()),
            vs: weights.iter().map(|weight| uniform(-2.0, 2.0) + 10.0 * (1.0 - weight)).collect(),
            pg_advantages: weights.iter().map(|weight| uniform(-1.0, 1.0) * weight).collect(),
            weights,
        }
    }

    fn targets(&self) -> Targets<'_, f32> {
        Targets { vs: &self.vs, pg_advantages: &self.pg_advantages, weights: &self.weights }
    }

    fn batch(&self) -> Batch<'_, f32> {
        Batch {
            n_trajectories: self.n_trajectories,
            obs: self.obs.view(),
            actions: &self.actions,
            rewards: &self.rewards,
            kinds: &self.kinds,
            behaviour_log_probs: self.behaviour_log_probs.view(),
        }
    }
}

/// What the gradient vector holds before, to which a backend must add.
const GRAD_BEFORE: f32 = 0.25;

/// What one update of a backend yields.
struct Update {
    outputs: Outputs<f32>,
    losses: Losses,
    grad: Vec<f32>,
}

fn update(
    backend: &mut impl Backend,
    params: &[f32],
    rows: &Rows,
    costs: &LossCosts<f32>,
) -> Update {
    let batch = rows.batch();
    let mut outputs = Outputs::new(batch.n_actions(), batch.n_steps(), batch.n_observations());
    let mut grad = vec![GRAD_BEFORE; params.len()];
    backend.forward(params, &batch, &mut outputs);
    let losses = backend.backward(params, &batch, &outputs, &rows.targets(), costs, &mut grad);
    grad.iter_mut().for_each(|value| *value -= GRAD_BEFORE);
    Update { outputs, losses, grad }
}

/// ‖a − b‖ is small beside ‖b‖.
fn assert_agree(what: &str, a: &[f32], b: &[f32]) {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let pairs = a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let difference = norm(&mut pairs.clone().map(|(a, b)| a - b));
    let size = norm(&mut pairs.map(|(_, b)| b));
    assert!(size > 1e-3, "{what} is worth comparing");
    assert!(difference <= TOLERANCE * size, "{what}: ‖difference‖ {difference:e} of {size:e}");
}

fn assert_backends_agree(
    shape: &NetworkShape,
    torch: &mut Torch,
    rows: &Rows,
    costs: LossCosts<f32>,
) {
    let layout = ParamLayout::new(shape);
    // Four times the initial weights, so that tanh is used where it bends.
    let params: Vec<f32> = layout.init(7).iter().map(|value| 4.0 * value).collect();
    let (n_steps, n_observations) = (rows.batch().n_steps(), rows.batch().n_observations());
    let mut native = Native::new(shape, Simd::detect(), n_steps, n_observations);
    let ours = update(torch, &params, rows, &costs);
    let theirs = update(&mut native, &params, rows, &costs);

    let log_probs = |update: &Update| update.outputs.log_probs.iter().copied().collect::<Vec<_>>();
    assert_agree("log_probs", &log_probs(&ours), &log_probs(&theirs));
    assert_agree("values", &ours.outputs.values, &theirs.outputs.values);
    let terms =
        |losses: &Losses| [losses.policy as f32, losses.critic as f32, losses.entropy as f32];
    for (term, (a, b)) in terms(&ours.losses).into_iter().zip(terms(&theirs.losses)).enumerate() {
        assert_agree(&format!("loss term {term}"), &[a], &[b]);
    }
    for param in layout.params() {
        let part = param.offset..param.offset + param.len();
        assert_agree(&param.name, &ours.grad[part.clone()], &theirs.grad[part]);
    }
}

fn shape(obs_dim: usize, hidden: &[usize], n_actions: usize) -> NetworkShape {
    NetworkShape { obs_dim, hidden: hidden.to_vec(), n_actions }
}

#[test]
fn backends_agree_on_every_depth_of_network() {
    let costs = LossCosts { baseline_cost: 0.5, entropy_cost: 0.01 };
    for shape in [shape(4, &[64, 64], 2), shape(3, &[16], 3), shape(6, &[24, 8, 12], 5)] {
        let mut torch = Torch::new(&shape);
        assert_backends_agree(&shape, &mut torch, &Rows::random(&shape, 20, 32, 1), costs);
    }
}

/// Each term of the loss dominant once, so that a small one cannot hide behind a large one. (Some
/// baseline cost stays: without one the value head has no gradient to take a ratio of.)
#[test]
fn backends_agree_on_each_term_of_the_loss() {
    let shape = shape(4, &[32, 32], 2);
    let rows = Rows::random(&shape, 20, 16, 2);
    for (baseline_cost, entropy_cost) in [(1e-2, 0.0), (1e4, 0.0), (1e-2, 1e4)] {
        let costs = LossCosts { baseline_cost, entropy_cost };
        assert_backends_agree(&shape, &mut Torch::new(&shape), &rows, costs);
    }
}

/// One backend takes batches of any size, one after the other.
#[test]
fn batch_sizes_may_change() {
    let shape = shape(4, &[32], 2);
    let mut torch = Torch::new(&shape);
    let costs = LossCosts { baseline_cost: 0.5, entropy_cost: 0.01 };
    for (n_time, n_trajectories) in [(20, 8), (40, 32), (16, 7), (1000, 1)] {
        let rows = Rows::random(&shape, n_time, n_trajectories, n_time as u64);
        assert_backends_agree(&shape, &mut torch, &rows, costs);
    }
}

/// As the learner's threads do: each with a backend of its own.
#[test]
fn backends_of_several_threads_do_not_disturb_each_other() {
    let costs = LossCosts { baseline_cost: 0.5, entropy_cost: 0.01 };
    let shape = &shape(4, &[32, 32], 2);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                let (mut torch, rows) = (Torch::new(shape), Rows::random(shape, 20, 32, seed));
                for _ in 0..50 {
                    assert_backends_agree(shape, &mut torch, &rows, costs);
                }
                assert_eq!(tch::get_num_threads(), 1, "in every thread");
            });
        }
    });
}

#[test]
fn backend_takes_all_slots_at_once_on_one_thread() {
    let torch = Torch::new(&shape(4, &[8], 2));
    assert_eq!((torch.name(), torch.slots_per_pass(4)), ("torch", 4));
    assert_eq!(tch::get_num_threads(), 1);
}
