//! A layer between two ReLUs, in f32 and in bf16, against plain loops in f64.

#[path = "common/allocations.rs"]
mod allocations;
#[path = "common/distance.rs"]
mod distance;
#[path = "common/guard_page.rs"]
mod guard_page;

use std::sync::Mutex;

use allocations::allocations;
use distance::distance;
use guard_page::before_a_guard_page;
use impala::kernels::{Affine, Kernels, READ_FRAMES, Rectified, Simd};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};
use proptest::prelude::*;

/// Sizes of the layer, and the frames forward and back.
#[derive(Clone, Copy, Debug)]
struct Shape {
    n_inputs: usize,
    n_outputs: usize,
    n_forward: usize,
    n_back: usize,
}

/// The layer of MinAtar's network and the learner's frames.
const MINATAR: Shape = Shape { n_inputs: 1024, n_outputs: 128, n_forward: 672, n_back: 640 };

/// Sizes that end in every kind of tail.
fn shape() -> impl Strategy<Value = Shape> {
    let sizes = (1_usize..150, 1_usize..70, 1_usize..80, 0_usize..10);
    sizes.prop_map(|(n_inputs, n_outputs, n_back, more)| Shape {
        n_inputs,
        n_outputs,
        n_forward: n_back + more,
        n_back,
    })
}

impl Shape {
    /// Behind and before other parameters.
    fn layer(&self) -> Affine {
        let Shape { n_inputs, n_outputs, .. } = *self;
        let bias = 3 + n_inputs * n_outputs;
        Affine { n_outputs, n_inputs, weight: 3, row_stride: n_inputs, bias }
    }

    fn n_params(&self) -> usize {
        self.layer().bias + self.n_outputs + 2
    }
}

/// What is computed with: parameters, what goes into the first ReLU, derivatives of the layer's sums.
struct Data {
    params: Vec<f32>,
    x: Array2<f32>,
    d_sums: Array2<f32>,
}

impl Data {
    fn new(shape: &Shape, seed: u32) -> Data {
        let mut word = seed;
        let mut number = move || {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (word >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let bound = (shape.n_inputs as f32).sqrt().recip();
        let mut random = |rows, columns| Array2::from_shape_simple_fn((rows, columns), &mut number);
        let params = random(1, shape.n_params()).iter().map(|number| bound * number).collect();
        let x = random(shape.n_forward, shape.n_inputs);
        Data { params, x, d_sums: random(shape.n_back, shape.n_outputs) }
    }
}

/// What a layer answers: its outputs, the derivative by its inputs, and the gradient.
struct Results<F> {
    outputs: Array2<F>,
    d_x: Array2<F>,
    grad: Vec<F>,
}

/// Of a layer that has seen other parameters and frames before.
fn results(layer: &mut dyn Rectified<f32>, shape: &Shape, data: &Data) -> Results<f32> {
    let before = Data::new(shape, 99);
    let mut results = Results {
        outputs: Array2::from_elem((shape.n_forward, shape.n_outputs), f32::NAN),
        d_x: Array2::from_elem((shape.n_back, shape.n_inputs), f32::NAN),
        grad: Vec::new(),
    };
    for data in [&before, data] {
        results.grad = vec![0.25; shape.n_params()];
        run(layer, data, results.outputs.view_mut(), results.d_x.view_mut(), &mut results.grad);
    }
    results.grad.iter_mut().for_each(|g| *g -= 0.25);
    results
}

fn run(
    layer: &mut dyn Rectified<f32>,
    Data { params, x, d_sums }: &Data,
    outputs: ArrayViewMut2<f32>,
    d_x: ArrayViewMut2<f32>,
    grad: &mut [f32],
) {
    layer.pack(params);
    let write = |frame: usize, to: &mut [f32]| {
        to.copy_from_slice(x.row(frame).to_slice().unwrap());
    };
    layer.forward(params, &write, outputs);
    let d_x = Mutex::new(d_x);
    let read = |first: usize, from: ArrayView2<f32>| {
        assert!(first.is_multiple_of(READ_FRAMES) && from.nrows() > 0, "a block at a time");
        d_x.lock().unwrap().slice_mut(s![first..first + from.nrows(), ..]).assign(&from);
    };
    layer.backward(params, d_sums.view(), &read, grad);
}

fn oracle(shape: &Shape, Data { params, x, d_sums }: &Data) -> Results<f64> {
    let wide = |matrix: ArrayView2<f32>| matrix.mapv(f64::from);
    let (layer, d_sums) = (shape.layer(), wide(d_sums.view()));
    let weight = wide(layer.weight(params));
    let inputs = wide(x.view()).mapv(|x| x.max(0.0));
    let sums = inputs.dot(&weight.t()) + layer.bias(params).mapv(f64::from);
    let seen = inputs.slice(s![..shape.n_back, ..]);
    let steps = seen.mapv(|x| f64::from(u8::from(x > 0.0)));
    let mut grad = vec![0.0; shape.n_params()];
    let (mut d_weight, mut d_bias) = layer.split_mut(&mut grad);
    d_weight.assign(&d_sums.t().dot(&seen));
    d_bias.assign(&d_sums.sum_axis(ndarray::Axis(0)));
    Results { outputs: sums.mapv(|sum| sum.max(0.0)), d_x: d_sums.dot(&weight) * steps, grad }
}

/// Of f32: a sum of a thousand terms.
const F32: f64 = 1e-5;
/// A bf16 has eight bits, so a number is at most 1/256 away, 1/600 on the average.
const BF16: f64 = 1.0 / 128.0;

/// About how large a sum of random terms is, where it is of N frames or O outputs.
fn size_of_sum(n_terms: usize) -> f64 {
    0.2 * (n_terms as f64).sqrt()
}

fn check(simd: Simd, bound: f64, shape: &Shape, seed: u32) {
    let data = Data::new(shape, seed);
    let mut layer = simd.rectified(shape.layer(), shape.n_forward, true);
    let found = results(&mut *layer, shape, &data);
    let expected = oracle(shape, &data);
    let weight_size = (shape.n_inputs as f64).sqrt().recip();
    let far = [
        distance(&found.outputs, &expected.outputs, 0.2),
        distance(&found.d_x, &expected.d_x, weight_size * size_of_sum(shape.n_outputs)),
        distance(&found.grad, &expected.grad, size_of_sum(shape.n_back)),
    ];
    let name = simd.name();
    assert!(far.iter().all(|far| *far <= bound), "{name}, {shape:?}: {far:?} off");
    let outside = [&found.grad[..3], &found.grad[shape.n_params() - 2..]].concat();
    assert_eq!(outside, [0.0; 5], "{name}: other parameters are not touched");
    let mut acting = simd.rectified(shape.layer(), shape.n_forward, false);
    acting.pack(&data.params);
    let mut again = Array2::zeros(found.outputs.dim());
    let write = |frame: usize, to: &mut [f32]| {
        to.copy_from_slice(data.x.row(frame).to_slice().unwrap());
    };
    acting.forward(&data.params, &write, again.view_mut());
    assert_eq!(again, found.outputs, "{name}: actors compute what the learner computes");
}

fn all_bf16() -> impl Iterator<Item = Simd> {
    Simd::supported_bf16().chain([Simd::emulated()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_layer_is_the_plain_one(shape in shape(), seed: u32) {
        Simd::supported().for_each(|simd| check(simd, F32, &shape, seed));
        all_bf16().for_each(|simd| check(simd, BF16, &shape, seed));
    }
}

#[test]
fn layers_of_real_size() {
    Simd::supported().for_each(|simd| check(simd, F32, &MINATAR, 5));
    Simd::supported_bf16().for_each(|simd| check(simd, BF16, &MINATAR, 5));
    let few = Shape { n_forward: 37, n_back: 35, ..MINATAR };
    check(Simd::emulated(), BF16, &few, 5);
}

/// Where what went into the ReLU is a NaN, so is all of its frame and nothing of another's.
#[test]
fn a_nan_stays_one() {
    let shape = Shape { n_inputs: 40, n_outputs: 33, n_forward: 9, n_back: 9 };
    for nan in [f32::NAN, -f32::NAN] {
        let mut data = Data::new(&shape, 1);
        data.x[[5, 2]] = nan;
        for simd in Simd::supported().chain(all_bf16()) {
            let mut layer = simd.rectified(shape.layer(), shape.n_forward, true);
            let Results { outputs, mut grad, .. } = results(&mut *layer, &shape, &data);
            let is_nan = |n: usize| outputs.row(n).iter().all(|y| y.is_nan());
            assert!(is_nan(5) && !is_nan(4) && !is_nan(6), "{}", simd.name());
            let (d_weight, _) = shape.layer().split_mut(&mut grad);
            assert!(d_weight.column(2).iter().all(|g| g.is_nan()), "{}", simd.name());
        }
    }
}

/// A pass of fewer frames sees nothing of the pass before.
#[test]
fn frames_of_an_earlier_pass_are_gone() {
    let many = Shape { n_inputs: 40, n_outputs: 33, n_forward: 60, n_back: 60 };
    let few = Shape { n_forward: 1, n_back: 1, ..many };
    let (mut before, data) = (Data::new(&many, 1), Data::new(&few, 2));
    before.x.fill(f32::NAN);
    for simd in Simd::supported().chain(all_bf16()) {
        let mut layer = simd.rectified(many.layer(), many.n_forward, true);
        results(&mut *layer, &many, &before);
        let fresh = &mut *simd.rectified(many.layer(), many.n_forward, true);
        let expected = results(fresh, &few, &data);
        let found = results(&mut *layer, &few, &data);
        assert_eq!(found.grad, expected.grad, "{}", simd.name());
        assert_eq!(found.outputs, expected.outputs, "{}", simd.name());
    }
}

#[test]
fn nothing_behind_a_matrix_is_touched() {
    for n_frames in [1, 15, 16, 31, 32, 33] {
        let shape = Shape { n_inputs: 37, n_outputs: 21, n_forward: n_frames, n_back: n_frames };
        let data = Data::new(&shape, 3);
        let expected = oracle(&shape, &data);
        let guarded = |matrix: ArrayView2<f32>| {
            let mut copy = before_a_guard_page(matrix.nrows(), matrix.ncols());
            copy.assign(&matrix);
            copy
        };
        let params = ArrayView2::from_shape((1, shape.n_params()), &data.params).unwrap();
        let (params, d_sums) = (guarded(params), guarded(data.d_sums.view()));
        let params = params.as_slice().unwrap();
        for simd in Simd::supported().chain(all_bf16()) {
            let mut outputs = before_a_guard_page(n_frames, shape.n_outputs);
            let mut grad = before_a_guard_page(1, shape.n_params());
            let mut layer = simd.rectified(shape.layer(), n_frames, true);
            layer.pack(params);
            let write = |frame: usize, to: &mut [f32]| {
                to.copy_from_slice(data.x.row(frame).to_slice().unwrap());
            };
            layer.forward(params, &write, outputs.view_mut());
            layer.backward(params, d_sums.view(), &|_, _| {}, grad.as_slice_mut().unwrap());
            let far = distance(&outputs, &expected.outputs, 0.2);
            assert!(far <= BF16, "{}, {n_frames}: {far:e}", simd.name());
        }
    }
}

/// Whoever does a block, its bits are the same.
#[test]
fn threads_share_a_layer() {
    let tails = Shape { n_inputs: 70, n_outputs: 33, n_forward: 150, n_back: 141 };
    for (simd, shape) in
        Simd::supported().map(|simd| (simd, MINATAR)).chain(all_bf16().map(|simd| (simd, tails)))
    {
        let data = Data::new(&shape, 4);
        let of_layer = || {
            let mut layer = simd.rectified(shape.layer(), shape.n_forward, true);
            results(&mut *layer, &shape, &data)
        };
        let alone = of_layer();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for _ in 0..3 {
            let together = pool.install(of_layer);
            assert_eq!(together.outputs, alone.outputs, "{}", simd.name());
            assert_eq!(together.d_x, alone.d_x, "{}", simd.name());
            assert_eq!(together.grad, alone.grad, "{}", simd.name());
        }
    }
}

#[test]
fn no_layer_allocates() {
    let data = Data::new(&MINATAR, 1);
    let mut outputs = Array2::zeros((MINATAR.n_forward, MINATAR.n_outputs));
    let mut d_x = Array2::zeros((MINATAR.n_back, MINATAR.n_inputs));
    let mut grad = vec![0.0; data.params.len()];
    for simd in Simd::supported().chain(Simd::supported_bf16()) {
        let mut layer = simd.rectified(MINATAR.layer(), MINATAR.n_forward, true);
        let before = allocations();
        run(&mut *layer, &data, outputs.view_mut(), d_x.view_mut(), &mut grad);
        assert_eq!(allocations() - before, 0, "{}", simd.name());
    }
}
