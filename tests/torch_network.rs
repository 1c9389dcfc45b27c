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
use impala::space::{Obs, ObsBuffer};
use ndarray::{Array2, ArrayView2, s};
use plain_layers::outputs;
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use tch::Tensor;

/// Largest relative difference of two ways to compute in f32.
const TOLERANCE: f64 = 1e-4;

/// Observations of T+1 steps of B trajectories, and the derivative of some loss by the outputs of T of them.
struct Question {
    n_trajectories: usize,
    obs: ObsBuffer,
    kinds: Vec<StepKind>,
    state: Array2<f32>,
    last_steps: Array2<f32>,
    /// In turn; empty where there is one.
    tasks: Vec<u32>,
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
        let state = Array2::from_shape_fn((spec.n_state(), n_trajectories), &mut uniform);
        let last_steps = Array2::from_shape_fn((spec.n_last_step(), n_obs), &mut uniform);
        let kind = |_| if uniform((0, 0)) < -1.8 { StepKind::RESET } else { StepKind::ORDINARY };
        let kinds = (0..n_steps).map(kind).collect();
        let n_tasks = if spec.n_values > 1 { spec.n_values as u32 } else { 0 };
        let tasks = (0..n_tasks).cycle().take(n_trajectories).collect();
        Question { n_trajectories, obs, kinds, state, last_steps, tasks, d_outputs }
    }

    fn frames(&self) -> Frames<'_> {
        let (n_trajectories, kinds) = (self.n_trajectories, &*self.kinds);
        let (state, last_steps) = (self.state.view(), self.last_steps.view());
        let tasks = &self.tasks;
        Frames { n_trajectories, obs: self.obs.view(), kinds, state, last_steps, tasks }
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
        if layout.value_statistics().contains(&param.offset) {
            // No gradient changes them.
            assert!(grad[part.clone()].iter().chain(&native_grad[part]).all(|value| *value == 0.0));
        } else {
            assert_agree(&param.name, &grad[part.clone()], &native_grad[part]);
        }
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

/// What acts in a task has the outputs of what learns from it.
#[test]
fn networks_of_several_tasks_agree() {
    let planes = pictures(Torso::Minatar, [4, 10, 10], 1);
    let lstm = NetworkSpec::mlp(4, &[16], 3).with_lstm(8, 0);
    for one in [NetworkSpec::mlp(4, &[16, 8], 2), planes, lstm] {
        let spec = NetworkSpec { n_values: 3, scales_values: true, ..one };
        let question = Question::random(&spec, 5, 6, 2);
        assert_networks_agree(&spec, &mut torch(&spec), &question);
        let params = bent(&ParamLayout::new(&spec));
        let (outputs, _) = answer(&mut torch(&spec), &params, &question);
        let outputs =
            Array2::from_shape_vec((spec.n_outputs(), question.n_frames()), outputs).unwrap();
        for (backend, task) in [Backend::Native, Backend::Torch]
            .into_iter()
            .flat_map(|backend| (0..3).map(move |task| (backend, task)))
        {
            let arithmetic = Arithmetic::with(Simd::detect());
            let mut acting = network::acting_by(&spec, backend, arithmetic, 1, task);
            acting.params_mut().copy_from_slice(&params);
            // The first step of the first trajectory of the task.
            let frame = task as usize;
            let mut acted = Array2::zeros((spec.n_action_params, 1));
            let mut state = question.state.slice(s![.., frame..frame + 1]).to_owned();
            let obs = question.obs.view().frames(frame..frame + 1);
            acting.outputs(obs, state.view_mut(), acted.view_mut());
            let expected = outputs.slice(s![..spec.n_action_params, frame]).to_vec();
            assert_agree("acting", acted.as_slice().unwrap(), &expected);
        }
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
    let mut acting = network::acting_by(&spec, Backend::Torch, arithmetic, n, 0);
    acting.params_mut().copy_from_slice(&params);
    let mut acted = Array2::zeros((spec.n_action_params, n));
    acting.outputs(question.obs.view(), Array2::zeros((0, n)).view_mut(), acted.view_mut());
    assert_agree("acting", acted.as_slice().unwrap(), &torch.0[..6 * n]);
}

#[test]
fn networks_agree_with_memory() {
    let sizes = [(4, &[64, 64][..], 2, 64, 0), (3, &[16], 3, 17, 4), (2, &[8], 5, 3, 6)];
    for (seed, (n_inputs, hidden, n_action_params, units, n_last_step)) in (0..).zip(sizes) {
        let spec = NetworkSpec::mlp(n_inputs, hidden, n_action_params);
        let spec = spec.with_lstm(units, n_last_step);
        let question = Question::random(&spec, 20, 32, seed);
        assert!(question.kinds.contains(&StepKind::RESET));
        assert_networks_agree(&spec, &mut torch(&spec), &question);
    }
}

/// libtorch's own cell is the oracle of gates, names and shapes: one step of it for each of ours.
#[test]
fn the_cell_is_libtorchs_own() {
    let spec = NetworkSpec::mlp(3, &[8], 2).with_lstm(6, 2);
    let (layout, question) = (ParamLayout::new(&spec), Question::random(&spec, 5, 4, 9));
    let params = bent(&layout);
    let tensor = |name: &str| {
        let param = layout.params().iter().find(|param| param.name == name).unwrap();
        let shape: Vec<i64> = param.shape.iter().map(|n| *n as i64).collect();
        Tensor::from_slice(&params[param.offset..param.offset + param.len()]).view(&shape[..])
    };
    let matrix = |values: ArrayView2<f32>| {
        let standard = values.as_standard_layout();
        let size = [values.nrows() as i64, values.ncols() as i64];
        Tensor::from_slice(standard.as_slice().unwrap()).view(size).tr()
    };
    let Obs::Numbers(obs) = question.obs.view() else { panic!("pixels") };
    let [w_ih, w_hh] = ["lstm.weight_ih", "lstm.weight_hh"].map(tensor);
    let [b_ih, b_hh] = ["lstm.bias_ih", "lstm.bias_hh"].map(tensor);
    let (torso, bias) = (tensor("torso.0.weight"), tensor("torso.0.bias"));
    let [mut h, mut c] =
        [s![..6, ..], s![6..12, ..]].map(|rows| matrix(question.state.slice(rows)));
    let mut expected = Vec::new();
    for t in 0..6 {
        let now = s![.., t * 4..(t + 1) * 4];
        let features = bias.addmm(&matrix(obs.slice(now)), &torso.tr()).tanh();
        let input = Tensor::cat(&[features, matrix(question.last_steps.slice(now))], 1);
        let biases = [&b_ih, &b_hh].map(|bias| Some(bias.shallow_clone()));
        let [b_ih, b_hh] = biases;
        (h, c) = input.lstm_cell(&[h, c], &w_ih, &w_hh, b_ih, b_hh);
        let policy = tensor("policy.bias").addmm(&h, &tensor("policy.weight").tr());
        expected.push(policy);
        if t < 5 {
            let kept = question.kinds[t * 4..(t + 1) * 4].iter();
            let kept: Vec<f32> =
                kept.map(|kind| f32::from(u8::from(*kind != StepKind::RESET))).collect();
            let kept = Tensor::from_slice(&kept).unsqueeze(1);
            (h, c) = (h * &kept, c * &kept);
        }
    }
    let expected = Tensor::cat(&expected, 0).tr().contiguous();
    let expected = Vec::<f32>::try_from(expected.flatten(0, 1)).unwrap();
    let native = &mut *native::learning(&spec, Simd::detect(), question.n_frames());
    for network in [native, &mut torch(&spec)] {
        let (outputs, _) = answer(network, &params, &question);
        assert_agree(network.name(), &outputs[..expected.len()], &expected);
    }
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

/// An actor's outputs are the learner's step by step, and so is what both remember.
#[test]
fn what_acts_remembers_as_what_learns() {
    let pixels = Pixels { shape: [1, 24, 30], high: 255 };
    let pictures = NetworkSpec::pictures(Torso::ImpalaShallow, pixels, 5);
    for spec in [NetworkSpec::mlp(4, &[16], 5), pictures] {
        let spec = spec.with_lstm(8, 6);
        let (question, params) =
            (Question::random(&spec, 6, 3, 4), ParamLayout::new(&spec).init(1));
        let (outputs, _) = answer(&mut torch(&spec), &params, &question);
        let outputs = Array2::from_shape_vec((6, question.n_frames()), outputs).unwrap();
        let mut acting =
            network::acting_by(&spec, Backend::Torch, Arithmetic::with(Simd::detect()), 3, 0);
        acting.params_mut().copy_from_slice(&params);
        let (mut state, mut logits) = (question.state.clone(), Array2::zeros((5, 3)));
        for t in 0..7 {
            let now = t * 3..(t + 1) * 3;
            state.slice_mut(s![16.., ..]).assign(&question.last_steps.slice(s![.., now.clone()]));
            let obs = question.obs.view().frames(now.clone());
            acting.outputs(obs, state.view_mut(), logits.view_mut());
            let expected = outputs.slice(s![..5, now.clone()]);
            assert_agree(
                "acting",
                logits.as_slice().unwrap(),
                &expected.iter().copied().collect::<Vec<_>>(),
            );
            for (env, kind) in question.kinds.iter().skip(now.start).take(3).enumerate() {
                if *kind == StepKind::RESET {
                    state.column_mut(env).fill(0.0);
                }
            }
        }
    }
}

/// An actor's outputs are the learner's, and new weights show.
#[test]
fn what_acts_is_what_learns() {
    let mlp = NetworkSpec::mlp(4, &[16], 5);
    for spec in torsos().into_iter().chain([mlp]) {
        let mut acting = TorchActing::new(&spec, TorchOptions::default(), 0);
        let question = Question::random(&spec, 1, 3, 4);
        for seed in [1, 2] {
            let params = ParamLayout::new(&spec).init(seed);
            acting.params_mut().copy_from_slice(&params);
            let mut logits = Array2::zeros((5, question.n_frames()));
            let nothing = &mut Array2::zeros((0, question.n_frames()));
            acting.outputs(question.obs.view(), nothing.view_mut(), logits.view_mut());
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
