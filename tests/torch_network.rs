//! The two kinds of network agree: outputs, and gradients of any loss of them. Neither is derived from the
//! other (hand-derived gradients here, autograd there).
#![cfg(feature = "torch")]

#[path = "common/plain_layers.rs"]
mod plain_layers;

use impala::kernels::Simd;
use impala::network::params::{ParamLayout, unit_f32};
use impala::network::torch::{TorchActing, TorchLearning};
use impala::network::{
    self, Acting, Arithmetic, Backend, Learning, NetworkSpec, Pixels, TorchOptions, Torso, native,
};
use impala::rollout::{Frames, StepKind};
use impala::space::ObsBuffer;
use ndarray::Array2;
use plain_layers::outputs;
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// Largest relative difference of two ways to compute in f32.
const TOLERANCE: f64 = 1e-4;

/// Observations of T+1 steps of B trajectories, and the derivative of some loss by the outputs of T of them.
struct Question {
    n_trajectories: usize,
    obs: ObsBuffer,
    kinds: Vec<StepKind>,
    d_outputs: Array2<f32>,
}

impl Question {
    fn random(spec: &NetworkSpec, n_time: usize, n_trajectories: usize, seed: u64) -> Question {
        let rng = &mut Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut uniform = |_: (usize, usize)| 4.0 * unit_f32(rng) - 2.0;
        let n_steps = n_time * n_trajectories;
        let n_obs = n_steps + n_trajectories;
        let obs = match spec.pixels {
            None => ObsBuffer::Numbers(Array2::from_shape_fn((spec.n_inputs, n_obs), &mut uniform)),
            Some(Pixels { high, .. }) => {
                let pixel = |at| (f32::from(high) * (uniform(at) / 4.0 + 0.5)).round() as u8;
                ObsBuffer::Pixels(Array2::from_shape_fn((n_obs, spec.n_inputs), pixel))
            }
        };
        let d_outputs = Array2::from_shape_fn((spec.n_outputs(), n_steps), &mut uniform);
        Question { n_trajectories, obs, kinds: vec![StepKind::ORDINARY; n_steps], d_outputs }
    }

    fn frames(&self) -> Frames<'_> {
        let (n_trajectories, kinds) = (self.n_trajectories, &*self.kinds);
        Frames { n_trajectories, obs: self.obs.view(), kinds }
    }

    fn n_frames(&self) -> usize {
        self.obs.view().n_frames()
    }
}

/// What the gradient vector holds before, to which a network must add.
const GRAD_BEFORE: f32 = 0.25;

/// Outputs and gradient.
fn answer(network: &mut dyn Learning, params: &[f32], question: &Question) -> (Vec<f32>, Vec<f32>) {
    let (frames, d_outputs) = (question.frames(), question.d_outputs.view());
    let mut outputs = Array2::zeros((d_outputs.nrows(), question.n_frames()));
    let mut grad = vec![GRAD_BEFORE; params.len()];
    network.forward(params, &frames, outputs.view_mut());
    network.backward(params, &frames, d_outputs, &mut grad);
    grad.iter_mut().for_each(|value| *value -= GRAD_BEFORE);
    (outputs.into_raw_vec_and_offset().0, grad)
}

/// ‖a − b‖ / ‖b‖.
fn relative_difference(a: &[f32], b: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let pairs = a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let size = norm(&mut pairs.clone().map(|(_, b)| b));
    assert!(size > 1e-3, "a norm of {size} is not worth comparing");
    norm(&mut pairs.map(|(a, b)| a - b)) / size
}

fn assert_agree(what: &str, a: &[f32], b: &[f32]) {
    let difference = relative_difference(a, b);
    assert!(difference <= TOLERANCE, "{what}: ‖difference‖ is {difference:e} of its size");
}

/// Four times the initial weights, so that tanh is used where it bends.
fn bent(layout: &ParamLayout) -> Vec<f32> {
    layout.init(7).iter().map(|value| 4.0 * value).collect()
}

fn torch(spec: &NetworkSpec) -> TorchLearning {
    TorchLearning::new(spec, TorchOptions::default())
}

fn pictures(torso: Torso, shape: [usize; 3], high: u8) -> NetworkSpec {
    NetworkSpec::pictures(torso, Pixels { shape, high }, 5)
}

fn assert_networks_agree(spec: &NetworkSpec, torch: &mut TorchLearning, question: &Question) {
    let layout = ParamLayout::new(spec);
    let params = bent(&layout);
    let mut native = native::learning(spec, Simd::detect(), question.n_frames());
    let (outputs, grad) = answer(torch, &params, question);
    let (native_outputs, native_grad) = answer(&mut *native, &params, question);
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
        assert_networks_agree(&spec, &mut torch(&spec), &question);
    }
}

/// Rows that no observation changes, whichever network they stand above.
#[test]
fn networks_agree_below_free_rows() {
    let spec = NetworkSpec { n_free: 3, ..NetworkSpec::mlp(4, &[24], 6) };
    let (layout, question) = (ParamLayout::new(&spec), Question::random(&spec, 9, 11, 3));
    let (params, arithmetic) = (bent(&layout), Arithmetic::with(Simd::detect()));
    let [native, torch] = [Backend::Native, Backend::Torch].map(|backend| {
        let mut network = network::learning(&spec, backend, arithmetic, question.n_frames());
        answer(&mut *network, &params, &question)
    });
    assert_agree("outputs", &torch.0, &native.0);
    assert_agree("gradient", &torch.1, &native.1);
    let (free, n) = (&params[layout.free()], question.n_frames());
    for (row, value) in torch.0.chunks(n).zip(free) {
        assert!(row.iter().all(|output| output == value));
    }
    for (grad, row) in torch.1[layout.free()].iter().zip(question.d_outputs.outer_iter()) {
        approx::assert_relative_eq!(*grad, row.sum(), max_relative = 1e-4, epsilon = 1e-3);
    }
    let mut acting = network::acting_by(&spec, Backend::Torch, arithmetic, n);
    acting.params_mut().copy_from_slice(&params);
    let mut acted = Array2::zeros((spec.n_action_params, n));
    acting.outputs(question.obs.view(), acted.view_mut());
    assert_agree("acting", acted.as_slice().unwrap(), &torch.0[..6 * n]);
}

#[test]
fn convolutions_of_bits_agree_at_every_size() {
    for (seed, shape) in [[4, 10, 10], [10, 10, 10], [1, 3, 3], [3, 5, 12]].into_iter().enumerate()
    {
        let spec = pictures(Torso::Minatar, shape, 1);
        let question = Question::random(&spec, 9, 11, seed as u64);
        assert_networks_agree(&spec, &mut torch(&spec), &question);
    }
}

#[test]
fn dense_layers_agree_on_pixels() {
    let mlp = Torso::Mlp { hidden: vec![24, 16] };
    let spec = pictures(mlp, [2, 5, 4], 255);
    assert_networks_agree(&spec, &mut torch(&spec), &Question::random(&spec, 6, 8, 2));
}

/// Small pictures of each torso, that plain loops are done with in a second.
fn torsos() -> [NetworkSpec; 4] {
    [
        pictures(Torso::Minatar, [3, 6, 7], 255),
        pictures(Torso::Nature, [2, 36, 44], 255),
        pictures(Torso::ImpalaShallow, [1, 24, 30], 255),
        pictures(Torso::ImpalaDeep, [2, 9, 12], 255),
    ]
}

#[test]
fn every_torso_is_its_list_of_layers() {
    for spec in torsos() {
        let params = bent(&ParamLayout::new(&spec));
        let question = Question::random(&spec, 1, 2, 3);
        let Pixels { shape, high } = spec.pixels.unwrap();
        for channels_last in [true, false] {
            let options = TorchOptions { channels_last, bf16: false };
            let (found, _) = answer(&mut TorchLearning::new(&spec, options), &params, &question);
            for n in 0..question.n_frames() {
                let pixels = question.obs.view().frame(n);
                let inputs = pixels.iter().map(|pixel| f64::from(*pixel) / f64::from(high));
                let expected = outputs(&spec, &params, shape, inputs.collect());
                let expected: Vec<f32> = expected.iter().map(|x| *x as f32).collect();
                let found: Vec<f32> =
                    found.iter().skip(n).step_by(question.n_frames()).copied().collect();
                assert_agree(spec.torso.name(), &found, &expected);
            }
        }
    }
}

#[test]
fn bfloat16_is_near_and_its_gradient_too() {
    for spec in torsos() {
        let params = ParamLayout::new(&spec).init(7);
        let question = Question::random(&spec, 4, 4, 5);
        let bf16 = TorchOptions { bf16: true, ..TorchOptions::default() };
        let (found, found_grad) = answer(&mut TorchLearning::new(&spec, bf16), &params, &question);
        let (expected, grad) = answer(&mut torch(&spec), &params, &question);
        for (what, found, expected) in
            [("outputs", found, expected), ("gradient", found_grad, grad)]
        {
            let difference = relative_difference(&found, &expected);
            assert!(difference > 1e-5, "{what} were computed in bfloat16");
            assert!(difference < 0.1, "{} {what}: {difference}", spec.torso.name());
        }
    }
}

/// An actor's outputs are the learner's, and new weights show.
#[test]
fn what_acts_is_what_learns() {
    let mlp = NetworkSpec::mlp(4, &[16], 5);
    for spec in torsos().into_iter().chain([mlp]) {
        let mut acting = TorchActing::new(&spec, TorchOptions::default());
        let question = Question::random(&spec, 1, 3, 4);
        for seed in [1, 2] {
            let params = ParamLayout::new(&spec).init(seed);
            acting.params_mut().copy_from_slice(&params);
            let mut logits = Array2::zeros((5, question.n_frames()));
            acting.outputs(question.obs.view(), logits.view_mut());
            let (outputs, _) = answer(&mut torch(&spec), &params, &question);
            let logits = logits.into_raw_vec_and_offset().0;
            assert_agree(spec.torso.name(), &logits, &outputs[..logits.len()]);
        }
    }
}

/// One network takes batches of any size, one after the other.
#[test]
fn batch_sizes_may_change() {
    let spec = NetworkSpec::mlp(4, &[32], 2);
    let mut torch = torch(&spec);
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
                let mut torch = torch(spec);
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
    let torch = torch(&NetworkSpec::mlp(4, &[8], 2));
    assert_eq!((torch.name(), torch.slots_per_pass(4)), ("torch", 4));
    assert_eq!(tch::get_num_threads(), 1);
}
