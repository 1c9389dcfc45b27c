//! The two kinds of network agree: outputs, and gradients of any loss of them. Neither is derived from the
//! other (hand-derived gradients here, autograd there).
#![cfg(feature = "torch")]

use impala::kernels::Simd;
use impala::network::native::NativeLearning;
use impala::network::params::{ParamLayout, unit_f32};
use impala::network::torch::TorchLearning;
use impala::network::{Learning, NetworkSpec};
use impala::rollout::{Frames, StepKind};
use impala::space::Obs;
use ndarray::Array2;
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// Largest relative difference of two ways to compute in f32.
const TOLERANCE: f64 = 1e-4;

/// Observations of T+1 steps of B trajectories, and the derivative of some loss by the outputs of T of them.
struct Question {
    n_trajectories: usize,
    obs: Array2<f32>,
    kinds: Vec<StepKind>,
    d_outputs: Array2<f32>,
}

impl Question {
    fn random(spec: &NetworkSpec, n_time: usize, n_trajectories: usize, seed: u64) -> Question {
        let rng = &mut Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut uniform = |_: (usize, usize)| 4.0 * unit_f32(rng) - 2.0;
        let n_steps = n_time * n_trajectories;
        let obs = Array2::from_shape_fn((spec.n_inputs, n_steps + n_trajectories), &mut uniform);
        let d_outputs = Array2::from_shape_fn((spec.n_outputs(), n_steps), &mut uniform);
        Question { n_trajectories, obs, kinds: vec![StepKind::ORDINARY; n_steps], d_outputs }
    }

    fn frames(&self) -> Frames<'_> {
        let (n_trajectories, kinds) = (self.n_trajectories, &*self.kinds);
        Frames { n_trajectories, obs: Obs::Numbers(self.obs.view()), kinds }
    }
}

/// What the gradient vector holds before, to which a network must add.
const GRAD_BEFORE: f32 = 0.25;

/// Outputs and gradient.
fn answer(
    network: &mut impl Learning,
    params: &[f32],
    question: &Question,
) -> (Vec<f32>, Vec<f32>) {
    let (frames, d_outputs) = (question.frames(), question.d_outputs.view());
    let mut outputs = Array2::zeros((d_outputs.nrows(), question.obs.ncols()));
    let mut grad = vec![GRAD_BEFORE; params.len()];
    network.forward(params, &frames, outputs.view_mut());
    network.backward(params, &frames, d_outputs, &mut grad);
    grad.iter_mut().for_each(|value| *value -= GRAD_BEFORE);
    (outputs.into_raw_vec_and_offset().0, grad)
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

fn assert_networks_agree(spec: &NetworkSpec, torch: &mut TorchLearning, question: &Question) {
    let layout = ParamLayout::new(spec);
    // Four times the initial weights, so that tanh is used where it bends.
    let params: Vec<f32> = layout.init(7).iter().map(|value| 4.0 * value).collect();
    let mut native = NativeLearning::new(spec, Simd::detect(), question.obs.ncols());
    let (outputs, grad) = answer(torch, &params, question);
    let (native_outputs, native_grad) = answer(&mut native, &params, question);
    assert_agree("outputs", &outputs, &native_outputs);
    for param in layout.params() {
        let part = param.offset..param.offset + param.len();
        assert_agree(&param.name, &grad[part.clone()], &native_grad[part]);
    }
}

#[test]
fn networks_agree_at_every_depth() {
    let sizes = [(4, &[64, 64][..], 2), (3, &[16], 3), (6, &[24, 8, 12], 5)];
    for (n_inputs, hidden, n_action_params) in sizes {
        let spec = NetworkSpec::mlp(n_inputs, hidden, n_action_params);
        let question = Question::random(&spec, 20, 32, 1);
        assert_networks_agree(&spec, &mut TorchLearning::new(&spec), &question);
    }
}

/// One network takes batches of any size, one after the other.
#[test]
fn batch_sizes_may_change() {
    let spec = NetworkSpec::mlp(4, &[32], 2);
    let mut torch = TorchLearning::new(&spec);
    for (n_time, n_trajectories) in [(20, 8), (40, 32), (16, 7), (1000, 1)] {
        let question = Question::random(&spec, n_time, n_trajectories, n_time as u64);
        assert_networks_agree(&spec, &mut torch, &question);
    }
}

/// As the learner's threads do: each with a network of its own.
#[test]
fn networks_of_several_threads_do_not_disturb_each_other() {
    let spec = &NetworkSpec::mlp(4, &[32, 32], 2);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                let mut torch = TorchLearning::new(spec);
                let question = Question::random(spec, 20, 32, seed);
                for _ in 0..50 {
                    assert_networks_agree(spec, &mut torch, &question);
                }
                assert_eq!(tch::get_num_threads(), 1, "in every thread");
            });
        }
    });
}

#[test]
fn a_network_takes_all_slots_at_once_on_one_thread() {
    let torch = TorchLearning::new(&NetworkSpec::mlp(4, &[8], 2));
    assert_eq!((torch.name(), torch.slots_per_pass(4)), ("torch", 4));
    assert_eq!(tch::get_num_threads(), 1);
}
