//! The kernels of every instruction set against plain loops in f64; those against finite differences;
//! the elementary functions over the whole range of f32.
//!
//! The sweeps of every float take minutes: `cargo test --release --test kernels -- --ignored`.

#[path = "common/allocations.rs"]
mod allocations;
#[path = "common/guard_page.rs"]
mod guard_page;
#[path = "common/plain_kernels.rs"]
mod plain_kernels;

use allocations::allocations;
use guard_page::before_a_guard_page;
use plain_kernels::Plain;

use impala::kernels::{
    Activation, BitGrid, BitRow, Kernels, PATTERNS, ROW_LEN, Simd, UnknownKernels, WINDOW,
};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut2, array, s};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

/// Half the distance from 1 to the next f32: the largest relative error of one rounding.
const ROUNDING: f64 = (f32::EPSILON / 2.0) as f64;

/// The smallest positive f32.
const SMALLEST: f64 = f32::from_bits(1) as f64;

/// Errors of tanh over all f32: the largest, and the largest relative one. By table it is cheaper and coarser.
fn tanh_errors(simd: Simd) -> [f64; 2] {
    if simd.name() == "avx512" { [4e-6, 2.1e-5] } else { [1.5e-6, 1.5e-6] }
}

/// Relative error of exp where the result is a normal float.
const EXP_ERROR: f64 = 2e-7;

fn widened(matrix: ArrayView2<f32>) -> Array2<f64> {
    matrix.mapv(f64::from)
}

/// The kernels under test: all that this CPU has, in f32.
fn all_simd() -> impl Iterator<Item = Simd> {
    Simd::supported()
}

/// A matrix inside a larger one of NaN, so that rows are further apart than they are long and any
/// use of a neighbour shows.
#[derive(Clone)]
struct Padded {
    storage: Array2<f32>,
    columns: usize,
    left: usize,
}

/// The shape alone: a failing case is found again from proptest's seed, and its numbers tell nothing.
impl std::fmt::Debug for Padded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at stride {}", self.view().dim(), self.storage.ncols())
    }
}

impl Padded {
    fn view(&self) -> ArrayView2<'_, f32> {
        self.storage.slice(s![.., self.left..self.left + self.columns])
    }

    fn view_mut(&mut self) -> ArrayViewMut2<'_, f32> {
        self.storage.slice_mut(s![.., self.left..self.left + self.columns])
    }

    /// Nothing was written beside the matrix.
    fn is_intact(&self) -> bool {
        let inside = self.left..self.left + self.columns;
        self.storage.indexed_iter().all(|((_, c), value)| inside.contains(&c) || value.is_nan())
    }
}

/// A `[rows, columns]` matrix of numbers in −2..2 with up to 20 columns of padding on each side.
fn padded(rows: usize, columns: usize) -> impl Strategy<Value = Padded> {
    let numbers = prop::collection::vec(-2.0_f32..2.0, rows * columns);
    (numbers, 0_usize..20, 0_usize..20).prop_map(move |(numbers, left, right)| {
        let mut storage = Array2::from_elem((rows, left + columns + right), f32::NAN);
        let matrix = Array2::from_shape_vec((rows, columns), numbers).unwrap();
        storage.slice_mut(s![.., left..left + columns]).assign(&matrix);
        Padded { storage, columns, left }
    })
}

/// Weights, biases, inputs and errors of one layer of random size.
#[derive(Clone, Debug)]
struct Layer {
    w: Padded,
    b: Array1<f32>,
    x: Padded,
    dy: Padded,
}

/// Sizes that end in every kind of tail, zero included.
fn layer() -> impl Strategy<Value = Layer> {
    (0_usize..22, 0_usize..40, 0_usize..80).prop_flat_map(|(outputs, inputs, frames)| {
        let b = prop::collection::vec(-2.0_f32..2.0, outputs).prop_map(Array1::from_vec);
        (padded(outputs, inputs), b, padded(inputs, frames), padded(outputs, frames))
            .prop_map(|(w, b, x, dy)| Layer { w, b, x, dy })
    })
}

/// A result `|a|·|b|` of the same product with absolute values bounds its error: each of `terms`
/// roundings is at most [`ROUNDING`] of it.
fn assert_close(
    actual: ArrayView2<f32>,
    expected: ArrayView2<f64>,
    absolute_product: ArrayView2<f64>,
    terms: usize,
    also_relative: f64,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(actual.dim(), expected.dim());
    for ((index, &actual), &expected) in actual.indexed_iter().zip(&expected) {
        // Subnormal results are rounded to multiples of the smallest number.
        let bound = (terms + 2) as f64 * (ROUNDING * absolute_product[index] + SMALLEST)
            + also_relative * expected.abs();
        let error = (f64::from(actual) - expected).abs();
        prop_assert!(error <= bound, "{index:?}: {actual} for {expected}, allowed {bound}");
    }
    Ok(())
}

fn absolute(matrix: ArrayView2<f32>) -> Array2<f64> {
    matrix.mapv(|value| f64::from(value.abs()))
}

fn check_dense(simd: Simd, layer: &Layer, activation: Activation) -> Result<(), TestCaseError> {
    let Layer { w, b, x, .. } = layer;
    let (w, x) = (w.view(), x.view());
    let mut y = layer.dy.clone();
    simd.dense(w, b.view(), x, activation, y.view_mut());
    prop_assert!(y.is_intact());
    let mut expected = Array2::zeros((w.nrows(), x.ncols()));
    let b = b.mapv(f64::from);
    Plain.dense(widened(w).view(), b.view(), widened(x).view(), activation, expected.view_mut());
    let magnitude = absolute(w).dot(&absolute(x)) + b.mapv(f64::abs).insert_axis(ndarray::Axis(1));
    let also = if activation == Activation::Tanh { tanh_errors(simd)[1] } else { 0.0 };
    assert_close(y.view(), expected.view(), magnitude.view(), w.ncols(), also)
}

fn check_weight_gradient(simd: Simd, layer: &Layer) -> Result<(), TestCaseError> {
    let (dy, x) = (layer.dy.view(), layer.x.view());
    let (mut dw, mut db) = (layer.w.clone(), layer.b.clone());
    simd.weight_gradient(dy, x, dw.view_mut(), db.view_mut());
    prop_assert!(dw.is_intact());
    let (mut dw_expected, mut db_expected) = (widened(layer.w.view()), layer.b.mapv(f64::from));
    Plain.weight_gradient(
        widened(dy).view(),
        widened(x).view(),
        dw_expected.view_mut(),
        db_expected.view_mut(),
    );
    let dw_magnitude = absolute(dy).dot(&absolute(x).t()) + absolute(layer.w.view());
    assert_close(dw.view(), dw_expected.view(), dw_magnitude.view(), x.ncols(), 0.0)?;
    let column = |vector: &Array1<f64>| vector.clone().insert_axis(ndarray::Axis(1));
    let db_magnitude =
        absolute(dy).sum_axis(ndarray::Axis(1)) + layer.b.mapv(|b| f64::from(b.abs()));
    let db = db.insert_axis(ndarray::Axis(1));
    let expected = column(&db_expected);
    assert_close(db.view(), expected.view(), column(&db_magnitude).view(), x.ncols(), 0.0)
}

fn check_input_gradient(simd: Simd, layer: &Layer) -> Result<(), TestCaseError> {
    let (w, dy, x) = (layer.w.view(), layer.dy.view(), layer.x.view());
    let mut dx = layer.x.clone();
    simd.input_gradient(w, dy, dx.view_mut());
    prop_assert!(dx.is_intact());
    let mut expected = widened(x);
    Plain.input_gradient(widened(w).view(), widened(dy).view(), expected.view_mut());
    // |1 − x²| may cancel: bound its rounding by 1 + x².
    let magnitude = absolute(w).t().dot(&absolute(dy)) * absolute(x).mapv(|x| 1.0 + x * x);
    assert_close(dx.view(), expected.view(), magnitude.view(), w.nrows() + 1, 0.0)
}

/// `y + w · x`, `x + wᵀ · y` and `w + y · xᵀ` of a layer's matrices.
fn check_products(simd: Simd, layer: &Layer) -> Result<(), TestCaseError> {
    let (w, x, y) = (layer.w.view(), layer.x.view(), layer.dy.view());
    for (a, b, sums) in [(w, x, &layer.dy), (w.reversed_axes(), y, &layer.x)] {
        let mut found = sums.clone();
        simd.add_product(a, b, found.view_mut());
        prop_assert!(found.is_intact());
        let mut expected = widened(sums.view());
        Plain.add_product(widened(a).view(), widened(b).view(), expected.view_mut());
        let magnitude = absolute(a).dot(&absolute(b)) + absolute(sums.view());
        assert_close(found.view(), expected.view(), magnitude.view(), a.ncols(), 0.0)?;
    }
    let mut found = layer.w.clone();
    simd.add_row_products(y, x, found.view_mut());
    prop_assert!(found.is_intact());
    let mut expected = widened(w);
    Plain.add_row_products(widened(y).view(), widened(x).view(), expected.view_mut());
    let magnitude = absolute(y).dot(&absolute(x).t()) + absolute(w);
    assert_close(found.view(), expected.view(), magnitude.view(), x.ncols(), 0.0)
}

fn check_log_softmax(simd: Simd, logits: &Padded) -> Result<(), TestCaseError> {
    let (mut log_p, mut p) = (logits.clone(), logits.clone());
    simd.log_softmax(logits.view(), log_p.view_mut(), p.view_mut());
    prop_assert!(log_p.is_intact() && p.is_intact());
    let wide = widened(logits.view());
    let (mut log_p_expected, mut p_expected) = (wide.clone(), wide.clone());
    Plain.log_softmax(wide.view(), log_p_expected.view_mut(), p_expected.view_mut());
    // The frame's largest logit is subtracted first, and the difference is rounded.
    let mut difference = wide.clone();
    for mut frame in difference.columns_mut() {
        let largest = frame.fold(0.0, |largest: f64, logit| largest.max(logit.abs()));
        frame.fill(8.0 + 2.0 * largest);
    }
    assert_close(log_p.view(), log_p_expected.view(), difference.view(), 2, 0.0)?;
    let spread = difference * &p_expected;
    assert_close(p.view(), p_expected.view(), spread.view(), logits.view().nrows() + 2, EXP_ERROR)?;
    let sums = p.view().sum_axis(ndarray::Axis(0));
    prop_assert!(logits.view().is_empty() || sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5));
    Ok(())
}

fn logits() -> impl Strategy<Value = Padded> {
    (0_usize..9, 0_usize..80, prop::sample::select(vec![1.0_f32, 30.0, 1e4])).prop_flat_map(
        |(actions, frames, scale)| {
            padded(actions, frames).prop_map(move |mut logits| {
                logits.storage.mapv_inplace(|logit| logit * scale);
                logits
            })
        },
    )
}

proptest! {
    #[test]
    fn dense_is_the_plain_one(layer in layer()) {
        for simd in all_simd() {
            check_dense(simd, &layer, Activation::Identity)?;
            check_dense(simd, &layer, Activation::Tanh)?;
        }
    }

    #[test]
    fn weight_gradient_is_the_plain_one(layer in layer()) {
        for simd in all_simd() {
            check_weight_gradient(simd, &layer)?;
        }
    }

    #[test]
    fn input_gradient_is_the_plain_one(layer in layer()) {
        for simd in all_simd() {
            check_input_gradient(simd, &layer)?;
        }
    }

    #[test]
    fn products_are_the_plain_ones(layer in layer()) {
        for simd in all_simd() {
            check_products(simd, &layer)?;
        }
    }

    /// In the order of the bits, and so to the last bit.
    #[test]
    fn a_convolution_of_bits_is_the_plain_one(planes in planes()) {
        let [sums, gradient] = convolution(Plain, &planes);
        for simd in all_simd() {
            let [found_sums, found_gradient] = convolution(simd, &planes);
            prop_assert_eq!(&found_sums, &sums, "{}", simd.name());
            prop_assert_eq!(&found_gradient, &gradient, "{}", simd.name());
        }
    }

    #[test]
    fn log_softmax_is_the_plain_one(logits in logits()) {
        for simd in all_simd() {
            check_log_softmax(simd, &logits)?;
        }
    }

    #[test]
    fn exp_of_any_length(x in prop::collection::vec(-80.0_f32..80.0, 0..70)) {
        for simd in all_simd() {
            let mut y = vec![0.0; x.len()];
            simd.exp(&x, &mut y);
            for (&x, &y) in x.iter().zip(&y) {
                let expected = f64::from(x).exp();
                prop_assert!((f64::from(y) / expected - 1.0).abs() < EXP_ERROR, "exp({x}) = {y}");
            }
        }
    }
}

/// Sizes of the real networks, full tiles and tails mixed.
#[test]
fn layers_of_real_size() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let sizes = [(64, 4, 672), (64, 64, 672), (3, 64, 672), (128, 128, 33), (40, 300, 70)];
    for (outputs, inputs, frames) in sizes {
        let b = prop::collection::vec(-2.0_f32..2.0, outputs).prop_map(Array1::from_vec);
        let sized = (padded(outputs, inputs), b, padded(inputs, frames), padded(outputs, frames));
        let (w, b, x, dy) = sized.new_tree(&mut runner).unwrap().current();
        let layer = Layer { w, b, x, dy };
        for simd in all_simd() {
            check_dense(simd, &layer, Activation::Tanh).unwrap();
            check_weight_gradient(simd, &layer).unwrap();
            check_input_gradient(simd, &layer).unwrap();
            check_products(simd, &layer).unwrap();
        }
    }
}

/// `Σ c ⊙ (v · tanh(w·x + b) + e)`: the plain gradients are its finite differences.
#[test]
fn plain_gradients_are_finite_differences() {
    let x: Array2<f64> = array![[0.3, -0.7, 1.1], [0.2, 0.9, -0.4]];
    let w = array![[0.5, -0.3], [0.8, 0.1], [-0.6, 0.7]];
    let b = array![0.1, -0.2, 0.3];
    let v = array![[1.0, -0.5, 0.25], [0.4, 0.6, -0.9]];
    let c = array![[1.0, 2.0, -1.0], [0.5, -1.5, 1.0]];
    let loss = |w: &Array2<f64>, b: &Array1<f64>| {
        let mut hidden = Array2::zeros((3, 3));
        Plain.dense(w.view(), b.view(), x.view(), Activation::Tanh, hidden.view_mut());
        let mut y = Array2::zeros((2, 3));
        let e = array![0.0, 0.0];
        Plain.dense(v.view(), e.view(), hidden.view(), Activation::Identity, y.view_mut());
        ((&c * &y).sum(), hidden)
    };
    let mut d_hidden = loss(&w, &b).1;
    Plain.input_gradient(v.view(), c.view(), d_hidden.view_mut());
    // What is there already is added to.
    let (mut dw, mut db) = (Array2::ones((3, 2)), Array1::ones(3));
    Plain.weight_gradient(d_hidden.view(), x.view(), dw.view_mut(), db.view_mut());

    let step = 1e-5;
    for (index, &gradient) in dw.indexed_iter() {
        let (mut up, mut down) = (w.clone(), w.clone());
        (up[index], down[index]) = (w[index] + step, w[index] - step);
        let difference = (loss(&up, &b).0 - loss(&down, &b).0) / (2.0 * step);
        approx::assert_relative_eq!(gradient, 1.0 + difference, epsilon = 1e-9);
    }
    for (index, &gradient) in db.indexed_iter() {
        let (mut up, mut down) = (b.clone(), b.clone());
        (up[index], down[index]) = (b[index] + step, b[index] - step);
        let difference = (loss(&w, &up).0 - loss(&w, &down).0) / (2.0 * step);
        approx::assert_relative_eq!(gradient, 1.0 + difference, epsilon = 1e-9);
    }
}

/// tanh of each number through a layer of one unit: `1 · x + (−0)` is x, the sign of zero included.
fn tanh(simd: Simd, x: &[f32], y: &mut [f32]) {
    let frames = x.len();
    simd.dense(
        array![[1.0]].view(),
        ArrayView1::from(&[-0.0]),
        ArrayView2::from_shape((1, frames), x).unwrap(),
        Activation::Tanh,
        ArrayViewMut2::from_shape((1, frames), y).unwrap(),
    );
}

fn assert_tanh(simd: Simd, x: f32, y: f32) {
    if x.is_nan() {
        return assert!(y.is_nan(), "tanh(NaN) = {y}");
    }
    let expected = f64::from(x).tanh();
    // A subnormal is off by no more than itself is rounded.
    let [absolute, relative] = tanh_errors(simd);
    let bound = absolute.min(relative * expected.abs()) + SMALLEST;
    assert!((f64::from(y) - expected).abs() <= bound, "tanh({x:e}) = {y:e}, not {expected:e}");
    assert!(y.abs() <= 1.0 && y.is_sign_negative() == x.is_sign_negative(), "tanh({x:e}) = {y:e}");
}

fn assert_exp(x: f32, y: f32) {
    if x.is_nan() {
        return assert!(y.is_nan(), "exp(NaN) = {y}");
    }
    let expected = f64::from(x).exp();
    if expected > f64::from(f32::MAX) {
        let nearly = expected * (1.0 - EXP_ERROR) < f64::from(f32::MAX);
        return assert!(y == f32::INFINITY || nearly && y == f32::MAX, "exp({x}) = {y:e}");
    }
    let bound = EXP_ERROR * expected + SMALLEST;
    assert!((f64::from(y) - expected).abs() <= bound, "exp({x:e}) = {y:e}, not {expected:e}");
}

/// Applies every tanh and exp to every `stride`-th float, bit pattern after bit pattern.
fn sweep(stride: usize) {
    const CHUNK: usize = 4096;
    let mut bits = (0..=u32::MAX).step_by(stride);
    loop {
        let x: Vec<f32> = bits.by_ref().take(CHUNK).map(f32::from_bits).collect();
        if x.is_empty() {
            return;
        }
        let (mut y, mut negative_y) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let negative_x: Vec<f32> = x.iter().map(|x| -x).collect();
        for simd in all_simd() {
            tanh(simd, &x, &mut y);
            x.iter().zip(&y).for_each(|(&x, &y)| assert_tanh(simd, x, y));
            tanh(simd, &negative_x, &mut negative_y);
            let odd = |(y, minus): (&f32, &f32)| y.is_nan() || (-y).to_bits() == minus.to_bits();
            assert!(y.iter().zip(&negative_y).all(odd), "tanh must be odd");
            simd.exp(&x, &mut y);
            x.iter().zip(&y).for_each(|(&x, &y)| assert_exp(x, y));
        }
    }
}

#[test]
fn tanh_and_exp_at_a_million_floats() {
    sweep(4093);
}

#[test]
#[ignore = "minutes: every float there is"]
fn tanh_and_exp_at_all_floats() {
    sweep(1);
}

#[test]
fn elementary_functions_at_special_points() {
    let tiny = f32::from_bits(1);
    let x = [0.0, -0.0, tiny, -tiny, f32::MIN_POSITIVE, 50.0, -50.0, 1000.0, -1000.0];
    let extremes = [f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::NAN];
    let x = [x.as_slice(), &extremes].concat();
    for simd in all_simd() {
        let mut y = vec![0.0; x.len()];
        tanh(simd, &x, &mut y);
        x.iter().zip(&y).for_each(|(&x, &y)| assert_tanh(simd, x, y));
        simd.exp(&x, &mut y);
        x.iter().zip(&y).for_each(|(&x, &y)| assert_exp(x, y));
        assert_eq!(y[..4], [1.0; 4], "exp(0) is 1");
        assert_eq!(y[7..11], [f32::INFINITY, 0.0, f32::INFINITY, 0.0], "{}", simd.name());
    }
}

#[test]
fn log_softmax_of_extreme_logits() {
    let masked = f32::NEG_INFINITY;
    let logits = array![[1e30, -1e30, 0.0, masked, 88.0], [1e30, 1e30, 0.0, 2.0, -88.0]];
    let half = 0.5_f32.ln();
    let log_p_expected = array![[half, masked, half, masked, 0.0], [half, 0.0, half, 0.0, -176.0]];
    let p_expected = array![[0.5, 0.0, 0.5, 0.0, 1.0], [0.5, 1.0, 0.5, 1.0, 0.0]];
    for simd in all_simd() {
        let (mut log_p, mut p) = (logits.clone(), logits.clone());
        simd.log_softmax(logits.view(), log_p.view_mut(), p.view_mut());
        for (index, &expected) in log_p_expected.indexed_iter() {
            let actual = log_p[index];
            // −2e30 stands for a logarithm that is as good as minus infinity.
            let same = (actual - expected).abs() < 1e-6 || actual.max(-1e30) == expected.max(-1e30);
            assert!(same, "{}: {index:?}: {actual} for {expected}", simd.name());
            approx::assert_relative_eq!(p[index], p_expected[index], epsilon = 1e-6);
        }
    }
}

/// Two logits that differ by 0..20: log p of the larger is −log(1 + e^−d); equal logits of A actions:
/// −log A. Together they try the logarithm at all mantissas.
#[test]
fn log_softmax_is_exact_to_a_few_roundings() {
    const FRAMES: usize = 20_000;
    let difference = |frame: usize| frame as f32 / 1000.0;
    let two = Array2::from_shape_fn((2, FRAMES), |(a, frame)| a as f32 * -difference(frame));
    for simd in all_simd() {
        let (mut log_p, mut p) = (two.clone(), two.clone());
        simd.log_softmax(two.view(), log_p.view_mut(), p.view_mut());
        for frame in 0..FRAMES {
            let expected = -(-f64::from(difference(frame))).exp().ln_1p();
            let error = (f64::from(log_p[[0, frame]]) - expected).abs();
            assert!(error < 2e-7, "{}: {error} at {}", simd.name(), difference(frame));
        }
        for actions in 1..300 {
            let equal = Array2::zeros((actions, 1));
            let (mut log_p, mut p) = (equal.clone(), equal.clone());
            simd.log_softmax(equal.view(), log_p.view_mut(), p.view_mut());
            let expected = -(actions as f64).ln();
            let error = (f64::from(log_p[[0, 0]]) - expected).abs();
            assert!(error <= 2e-7 * expected.abs().max(1.0), "{actions} actions: {error}");
        }
    }
}

#[test]
fn no_frames_no_inputs_no_outputs() {
    for simd in all_simd() {
        let b = array![0.5, -0.5];
        let mut y = Array2::zeros((2, 3));
        let (w, x) = (Array2::zeros((2, 0)), Array2::zeros((0, 3)));
        simd.dense(w.view(), b.view(), x.view(), Activation::Identity, y.view_mut());
        assert_eq!(y, array![[0.5, 0.5, 0.5], [-0.5, -0.5, -0.5]], "no inputs leave the bias");

        let mut dx = Array2::ones((2, 3));
        let (w, dy) = (Array2::zeros((0, 2)), Array2::zeros((0, 3)));
        simd.input_gradient(w.view(), dy.view(), dx.view_mut());
        assert_eq!(dx, Array2::<f32>::zeros((2, 3)), "no outputs, no gradient");

        let (mut dw, mut db) = (Array2::ones((2, 3)), Array1::ones(2));
        let (dy, x) = (Array2::zeros((2, 0)), Array2::zeros((3, 0)));
        simd.weight_gradient(dy.view(), x.view(), dw.view_mut(), db.view_mut());
        assert_eq!((dw, db), (Array2::ones((2, 3)), Array1::ones(2)), "no frames add nothing");
    }
}

/// Planes `[C, H, W]`, and which of their bits are set.
type Planes = ([usize; 3], Vec<bool>);

fn planes() -> impl Strategy<Value = Planes> {
    let bits = |[c, h, w]: [usize; 3]| prop::collection::vec(prop::bool::weighted(0.2), c * h * w);
    [1_usize..4, 3_usize..8, 3_usize..40].prop_flat_map(move |shape| (Just(shape), bits(shape)))
}

/// The sums of a frame, which come after another frame's, and the gradient of both together.
fn convolution(
    kernels: impl Kernels<f32>,
    ([channels, height, width], set): &Planes,
) -> [Vec<f32>; 2] {
    let grid = BitGrid::of([*height, *width]);
    let rows_of = |set: &[bool]| -> Vec<BitRow> {
        let rows = (0..*channels).flat_map(|plane| grid.rows(plane));
        rows.map(|row| {
            let first = (row.plane as usize * height + row.y as usize) * width;
            let bits = &set[first + row.x as usize..first + width];
            let bits =
                bits.iter().take(BitRow::BITS).zip(0..).map(|(set, bit)| u16::from(*set) << bit);
            BitRow { bits: bits.sum(), ..row }
        })
        .filter(|row| row.bits != 0)
        .collect()
    };
    let n_tables = channels * WINDOW;
    let mut tables: Vec<f32> =
        (0..(n_tables * PATTERNS + 1) * ROW_LEN).map(|n| (n as f32).sin()).collect();
    let no_bits = |table: usize| table * PATTERNS * ROW_LEN..(table * PATTERNS + 1) * ROW_LEN;
    (0..n_tables).for_each(|table| tables[no_bits(table)].fill(0.0));
    let d_sums: Vec<f32> = (0..grid.n_places() * ROW_LEN).map(|n| (n as f32).cos()).collect();
    let (mut sums, mut gradient) = (d_sums.clone(), tables.clone());
    for rows in [rows_of(&vec![true; set.len()]), rows_of(set)] {
        kernels.convolve_bits(grid, &rows, &tables, &mut sums);
        kernels.bit_gradient(grid, &rows, &d_sums, &mut gradient);
    }
    (0..n_tables).for_each(|table| gradient[no_bits(table)].fill(0.0));
    [sums, gradient]
}

#[test]
fn no_kernel_allocates() {
    let (b, w, x) = (Array1::ones(5), Array2::ones((5, 7)), Array2::ones((7, 50)));
    let (mut db, mut dw, mut dx) = (b.clone(), w.clone(), x.clone());
    let mut y = Array2::ones((5, 50));
    let mut p = y.clone();
    let grid = BitGrid { height: 1, width: 1 };
    let bits = [BitRow { bits: 2, plane: 0, y: 2, x: 0 }];
    let rows = |n_rows: usize| vec![0.0; n_rows * ROW_LEN];
    let (mut tables, mut sums) = (rows(WINDOW * PATTERNS + 1), rows(1));
    for simd in all_simd() {
        let before = allocations();
        simd.dense(w.view(), b.view(), x.view(), Activation::Tanh, y.view_mut());
        simd.weight_gradient(y.view(), x.view(), dw.view_mut(), db.view_mut());
        simd.input_gradient(w.view(), y.view(), dx.view_mut());
        simd.add_product(w.view(), x.view(), y.view_mut());
        simd.add_row_products(y.view(), x.view(), dw.view_mut());
        simd.convolve_bits(grid, &bits, &tables, &mut sums);
        simd.bit_gradient(grid, &bits, &sums, &mut tables);
        simd.log_softmax(y.view(), dx.slice_mut(s![..5, ..]), p.view_mut());
        simd.exp(x.as_slice().unwrap(), dx.as_slice_mut().unwrap());
        let allocations = allocations() - before;
        assert_eq!(allocations, 0, "{}", simd.name());
    }
}

#[test]
fn nothing_behind_a_matrix_is_touched() {
    let (outputs, inputs) = (3, 5);
    for frames in 1..70 {
        let (mut w, mut dw) =
            (before_a_guard_page(outputs, inputs), before_a_guard_page(outputs, inputs));
        let (mut x, mut dx) =
            (before_a_guard_page(inputs, frames), before_a_guard_page(inputs, frames));
        let (mut y, mut p) =
            (before_a_guard_page(outputs, frames), before_a_guard_page(outputs, frames));
        let (b, mut db) = (Array1::ones(outputs), Array1::ones(outputs));
        w.fill(0.1);
        x.fill(0.2);
        for simd in all_simd() {
            simd.dense(w.view(), b.view(), x.view(), Activation::Tanh, y.view_mut());
            simd.weight_gradient(y.view(), x.view(), dw.view_mut(), db.view_mut());
            simd.input_gradient(w.view(), y.view(), dx.view_mut());
            simd.add_product(w.view(), x.view(), p.view_mut());
            simd.add_row_products(y.view(), x.view(), dw.view_mut());
            simd.log_softmax(y.view(), dx.slice_mut(s![..3, ..]), p.view_mut());
            simd.exp(x.as_slice().unwrap(), dx.as_slice_mut().unwrap());
        }
        let sum = f64::from(outputs as u32 * frames as u32) / 3.0;
        assert!((f64::from(p.sum()) - sum).abs() < 1e-3, "equal logits share the probability");
    }
}

#[test]
#[should_panic(expected = "columns of a matrix must be contiguous")]
fn columns_must_be_contiguous() {
    let (x, b, mut y) = (Array2::zeros((3, 2)), array![0.0], Array2::zeros((1, 3)));
    let w = Array2::zeros((1, 2));
    Simd::detect().dense(w.view(), b.view(), x.t(), Activation::Identity, y.view_mut());
}

#[test]
#[should_panic(expected = "c[M,N] += a[M,K] · b[K,N]")]
fn products_must_fit() {
    let (a, b, mut c) = (Array2::zeros((3, 2)), Array2::zeros((2, 4)), Array2::zeros((3, 5)));
    Simd::detect().add_product(a.view(), b.view(), c.view_mut());
}

#[test]
#[should_panic(expected = "c[M,N] += a[M,K] · b[N,K]ᵀ")]
fn products_of_rows_must_fit() {
    let (a, b, mut c) = (Array2::zeros((3, 2)), Array2::zeros((4, 3)), Array2::zeros((3, 4)));
    Simd::detect().add_row_products(a.view(), b.view(), c.view_mut());
}

#[test]
#[should_panic(expected = "out of range")]
fn a_plane_that_is_not_there_is_not_added() {
    let grid = BitGrid { height: 1, width: 1 };
    let tables = [0.0; (WINDOW * PATTERNS + 1) * ROW_LEN];
    let bits = [BitRow { bits: 1, plane: 1, y: 0, x: 0 }];
    Simd::detect().convolve_bits(grid, &bits, &tables, &mut [0.0; ROW_LEN]);
}

#[test]
fn a_bit_outside_the_plane_is_not_seen() {
    let grid = BitGrid { height: 1, width: 1 };
    let tables = [1.0; (WINDOW * PATTERNS + 1) * ROW_LEN];
    for simd in all_simd() {
        for [y, x] in [[3, 0], [0, 1], [0, 4], [9, 9]] {
            let mut sums = [0.0; ROW_LEN];
            let bits = [BitRow { bits: 1, plane: 0, y, x }];
            simd.convolve_bits(grid, &bits, &tables, &mut sums);
            assert_eq!(sums, [1.0; ROW_LEN], "the bias alone, for {y}, {x}");
        }
    }
}

#[test]
#[should_panic(expected = "weights must be [outputs, inputs]")]
fn shapes_must_fit() {
    let (x, b, mut y) = (Array2::zeros((3, 2)), array![0.0], Array2::zeros((1, 2)));
    let w = Array2::zeros((1, 4));
    Simd::detect().dense(w.view(), b.view(), x.view(), Activation::Identity, y.view_mut());
}

#[test]
fn kernels_by_name() {
    for simd in Simd::supported() {
        assert_eq!(Simd::named(simd.name()).unwrap().name(), simd.name());
    }
    assert_eq!(Simd::named("auto").unwrap().name(), Simd::auto().name());
    assert_eq!(Simd::auto().in_f32().name(), Simd::detect().name());
    assert_eq!(Simd::named("portable").unwrap().name(), "portable");
    for simd in Simd::supported_bf16() {
        assert_eq!(Simd::named(simd.name()).unwrap().name(), simd.name());
        assert_eq!(simd.in_f32().name(), Simd::detect().name());
    }
    let error = Simd::named("sse9").unwrap_err();
    assert_eq!(error, UnknownKernels::NoSuchName { name: "sse9".into() });
    assert!(error.to_string().contains("auto, amx, bf16, avx512, avx2 or portable"));
}
