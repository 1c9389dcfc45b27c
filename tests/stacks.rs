//! Whole stacks of layers, in f32 and in bf16, against plain loops in f64.

#[path = "common/allocations.rs"]
mod allocations;
#[path = "common/distance.rs"]
mod distance;
#[path = "common/plain_kernels.rs"]
mod plain_kernels;

use allocations::allocations;
use distance::distance;
use impala::kernels::{Affine, Kernels, Simd, Stack};
use ndarray::Array2;
use plain_kernels::Plain;
use proptest::prelude::*;

/// Sizes of the layers, the inputs first, and the frames forward and back.
#[derive(Clone, Debug)]
struct Shape {
    sizes: Vec<usize>,
    n_forward: usize,
    n_back: usize,
}

/// The network of CartPole's default and the learner's columns.
fn cartpole() -> Shape {
    Shape { sizes: vec![4, 64, 64, 3], n_forward: 672, n_back: 640 }
}

/// Sizes that end in every kind of tail.
fn shape() -> impl Strategy<Value = Shape> {
    let sizes = (1_usize..20, prop::collection::vec(1_usize..70, 0..3), 1_usize..40);
    (sizes, 1_usize..80, 0_usize..10).prop_map(|((inputs, hidden, outputs), n_back, more)| {
        let sizes = [vec![inputs], hidden, vec![outputs]].concat();
        Shape { sizes, n_forward: n_back + more, n_back }
    })
}

impl Shape {
    fn layers(&self) -> Vec<Affine> {
        let mut offset = 0;
        let sizes = self.sizes.windows(2).map(|pair| (pair[0], pair[1]));
        let layers = sizes.map(|(n_inputs, n_outputs)| {
            let weight = offset;
            let bias = weight + n_inputs * n_outputs;
            offset = bias + n_outputs;
            Affine { n_outputs, n_inputs, weight, row_stride: n_inputs, bias }
        });
        layers.collect()
    }

    fn n_params(&self) -> usize {
        self.layers().last().map_or(0, |last| last.bias + last.n_outputs)
    }
}

/// What is computed with: parameters, inputs, derivatives of the outputs.
struct Data {
    params: Vec<f32>,
    x: Array2<f32>,
    dy: Array2<f32>,
}

impl Data {
    fn new(shape: &Shape, seed: u32) -> Data {
        let mut word = seed;
        let mut number = move || {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (word >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut params = vec![0.0; shape.n_params()];
        for layer in shape.layers() {
            let bound = (layer.n_inputs as f32).sqrt().recip();
            let values = &mut params[layer.weight..layer.bias + layer.n_outputs];
            values.fill_with(|| bound * number());
        }
        let (n_inputs, n_outputs) = (shape.sizes[0], *shape.sizes.last().unwrap());
        let x = Array2::from_shape_simple_fn((n_inputs, shape.n_forward), &mut number);
        let dy = Array2::from_shape_simple_fn((n_outputs, shape.n_back), &mut number);
        Data { params, x, dy }
    }
}

/// Outputs and gradient of a stack, which has seen others before.
fn results(stack: &mut dyn Stack<f32>, shape: &Shape, data: &Data) -> (Array2<f32>, Vec<f32>) {
    let n_outputs = *shape.sizes.last().unwrap();
    let before = Data::new(shape, 99);
    let mut y = Array2::from_elem((n_outputs, shape.n_forward), f32::NAN);
    let mut grad = vec![0.0; data.params.len()];
    for data in [&before, data] {
        stack.pack(&data.params);
        stack.forward(&data.params, data.x.view(), y.view_mut());
        grad.fill(0.25);
        stack.backward(&data.params, data.x.view(), data.dy.view(), &mut grad);
    }
    (y, grad.iter().map(|g| g - 0.25).collect())
}

fn oracle(shape: &Shape, data: &Data) -> (Array2<f64>, Vec<f64>) {
    let wide = |matrix: &Array2<f32>| matrix.mapv(f64::from);
    let params: Vec<f64> = data.params.iter().copied().map(f64::from).collect();
    let (x, dy) = (wide(&data.x), wide(&data.dy));
    let mut stack = Kernels::<f64>::stack(Plain, &shape.layers(), shape.n_forward, true);
    let mut y = Array2::zeros((*shape.sizes.last().unwrap(), shape.n_forward));
    let mut grad = vec![0.0; params.len()];
    stack.forward(&params, x.view(), y.view_mut());
    stack.backward(&params, x.view(), dy.view(), &mut grad);
    (y, grad)
}

/// How far outputs and a layer's gradient may be from those of f64.
#[derive(Clone, Copy)]
struct Bounds {
    outputs: f64,
    gradient: f64,
}

/// The tanh of the table is 4e-6 off.
const F32: Bounds = Bounds { outputs: 2e-5, gradient: 4e-5 };
/// A bf16 has eight bits, so a number is at most 1/256 away, 1/600 on the average; 1 − tanh² is farther off, where
/// tanh is near 1.
const BF16: Bounds = Bounds { outputs: 1.0 / 128.0, gradient: 1.0 / 24.0 };

/// About how large the terms of an output are, and a frame's part in a gradient.
const TERM: f64 = 0.2;

fn check(simd: Simd, bounds: Bounds, shape: &Shape, seed: u32) {
    let data = Data::new(shape, seed);
    let mut stack = simd.stack(&shape.layers(), shape.n_forward, true);
    let (y, grad) = results(&mut *stack, shape, &data);
    let (expected_y, expected_grad) = oracle(shape, &data);
    let name = simd.name();
    let of_y = distance(&y, &expected_y, TERM);
    assert!(of_y <= bounds.outputs, "{name}, {shape:?}: outputs are {of_y:e} off");
    let least = TERM * (shape.n_back as f64).sqrt();
    for (index, layer) in shape.layers().iter().enumerate() {
        let range = layer.weight..layer.bias + layer.n_outputs;
        let of_layer = distance(&grad[range.clone()], &expected_grad[range], least);
        assert!(
            of_layer <= bounds.gradient,
            "{name}, {shape:?}: layer {index} is {of_layer:e} off"
        );
    }
    let mut acting = simd.stack(&shape.layers(), shape.n_forward, false);
    acting.pack(&data.params);
    let mut again = Array2::zeros(y.dim());
    acting.forward(&data.params, data.x.view(), again.view_mut());
    assert_eq!(again, y, "{name}: actors compute what the learner computes");
}

fn all_bf16() -> impl Iterator<Item = Simd> {
    Simd::supported_bf16().chain([Simd::emulated()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_stack_is_the_plain_one(shape in shape(), seed: u32) {
        Simd::supported().for_each(|simd| check(simd, F32, &shape, seed));
        all_bf16().for_each(|simd| check(simd, BF16, &shape, seed));
    }
}

#[test]
fn stacks_of_real_size() {
    for shape in [cartpole(), Shape { sizes: vec![9, 128, 40, 96, 5], n_forward: 66, n_back: 60 }] {
        Simd::supported().for_each(|simd| check(simd, F32, &shape, 5));
        all_bf16().for_each(|simd| check(simd, BF16, &shape, 5));
    }
}

/// The first layer sees its inputs nearly as f32 does: what bf16 cannot tell apart it can.
#[test]
fn inputs_are_seen_in_two_parts() {
    let shape = Shape { sizes: vec![1, 1], n_forward: 32, n_back: 32 };
    let layers = shape.layers();
    let x = Array2::from_shape_fn((1, 32), |(_, n)| 1.0 + n as f32 / 4096.0);
    for simd in all_bf16() {
        let mut stack = simd.stack(&layers, 32, false);
        let params = [1.0 + 1.0 / 512.0, 0.0];
        stack.pack(&params);
        let mut y = Array2::zeros((1, 32));
        stack.forward(&params, x.view(), y.view_mut());
        for (&x, &y) in x.iter().zip(&y) {
            assert!((y - x * params[0]).abs() < 1e-4, "{}: {y} for {x}", simd.name());
        }
    }
}

#[test]
fn a_nan_stays_one() {
    let shape = cartpole();
    let mut data = Data::new(&shape, 1);
    data.x[[2, 5]] = f32::NAN;
    for simd in Simd::supported().chain(all_bf16()) {
        let mut stack = simd.stack(&shape.layers(), shape.n_forward, true);
        let (y, _) = results(&mut *stack, &shape, &data);
        let is_nan = |n: usize| -> bool { y.column(n).iter().all(|y| y.is_nan()) };
        assert!(is_nan(5) && !is_nan(4) && !is_nan(6), "{}", simd.name());
    }
}

#[test]
fn no_stack_allocates() {
    let shape = cartpole();
    let data = Data::new(&shape, 1);
    let mut y = Array2::zeros((3, shape.n_forward));
    let mut grad = vec![0.0; data.params.len()];
    for simd in Simd::supported().chain(all_bf16()) {
        let mut stack = simd.stack(&shape.layers(), shape.n_forward, true);
        let before = allocations();
        stack.pack(&data.params);
        stack.forward(&data.params, data.x.view(), y.view_mut());
        stack.backward(&data.params, data.x.view(), data.dy.view(), &mut grad);
        assert_eq!(allocations() - before, 0, "{}", simd.name());
    }
}
