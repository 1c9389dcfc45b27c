//! What the benchmark's lines call: each layer of a network by itself, and the engine's network whole.

use impala::kernels::{Activation, FeatureMajor, Kernels, Simd, Stack};
use impala::network::NetworkSpec;
use impala::network::params::ParamLayout;
use ndarray::{Array1, Array2, s};

use super::{ACTIONS, HEADS, OBSERVATIONS};

/// Three layers, each to be measured by itself, and the engine's network of the same sizes. `values[l]`
/// and `errors[l]` are the input of layer l and its gradient; the last ones are the heads.
pub struct Network {
    simd: Simd,
    w: [Array2<f32>; 3],
    b: [Array1<f32>; 3],
    dw: [Array2<f32>; 3],
    db: [Array1<f32>; 3],
    values: [FeatureMajor<f32>; 4],
    errors: [FeatureMajor<f32>; 4],
    whole: Whole,
}

impl Network {
    pub fn new(simd: Simd, hidden: usize, frames: usize) -> Network {
        let sizes = [OBSERVATIONS, hidden, hidden, HEADS];
        let mut seed = 1_u32;
        let mut number = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed as f32 / u32::MAX as f32 - 0.5
        };
        let mut matrix = |rows, columns| Array2::from_shape_simple_fn((rows, columns), &mut number);
        let w = std::array::from_fn(|l| matrix(sizes[l + 1], sizes[l]) * 0.3);
        let mut columns = |l: usize| {
            let mut columns = FeatureMajor::zeros(sizes[l], frames);
            columns.view_mut().assign(&matrix(sizes[l], frames));
            columns
        };
        Network {
            simd,
            b: std::array::from_fn(|l| Array1::zeros(sizes[l + 1])),
            dw: std::array::from_fn(|l| Array2::zeros((sizes[l + 1], sizes[l]))),
            db: std::array::from_fn(|l| Array1::zeros(sizes[l + 1])),
            errors: std::array::from_fn(&mut columns),
            values: std::array::from_fn(&mut columns),
            w,
            whole: Whole::new(simd, hidden, frames),
        }
    }

    pub fn dense(&mut self, layer: usize) {
        let (below, above) = self.values.split_at_mut(layer + 1);
        let activation = if layer == 2 { Activation::Identity } else { Activation::Tanh };
        let (x, y) = (below[layer].view(), above[0].view_mut());
        self.simd.dense(self.w[layer].view(), self.b[layer].view(), x, activation, y);
    }

    pub fn weight_gradient(&mut self, layer: usize) {
        let (dw, db) = (self.dw[layer].view_mut(), self.db[layer].view_mut());
        let (dy, x) = (self.errors[layer + 1].view(), self.values[layer].view());
        self.simd.weight_gradient(dy, x, dw, db);
    }

    pub fn input_gradient(&mut self, layer: usize) {
        let (below, above) = self.errors.split_at_mut(layer + 1);
        let (dy, x) = (above[0].view(), below[layer].view_mut());
        self.simd.input_gradient(self.w[layer].view(), dy, x);
    }

    /// A new version of the weights.
    pub fn pack(&mut self) {
        self.whole.stack.pack(&self.whole.params);
    }

    /// The whole forward pass of who learns.
    pub fn forward(&mut self) {
        self.whole.forward();
    }

    /// The whole forward pass of who only acts.
    pub fn act(&mut self) {
        let Whole { acting, params, obs, heads, .. } = &mut self.whole;
        acting.forward(params, obs.view(), heads.view_mut());
    }

    /// The whole backward pass.
    pub fn backward(&mut self) {
        self.whole.backward();
    }

    pub fn log_softmax(&mut self) {
        let logits = self.values[3].view().slice_move(s![..2, ..]);
        let room = self.errors[1].view_mut().slice_move(s![..4, ..]);
        let (log_p, p) = room.split_at(ndarray::Axis(0), 2);
        self.simd.log_softmax(logits, log_p, p);
    }

    pub fn exp(&mut self) {
        let (x, mut y) = (self.values[0].view(), self.errors[0].view_mut());
        let (x, mut y) = (x.row(0), y.row_mut(0));
        if let (Some(x), Some(y)) = (x.as_slice(), y.as_slice_mut()) {
            self.simd.exp(x, y);
        }
    }
}

/// The network as actors and learner compute with it.
struct Whole {
    stack: Box<dyn Stack<f32>>,
    /// One that learns nothing.
    acting: Box<dyn Stack<f32>>,
    params: Vec<f32>,
    grad: Vec<f32>,
    obs: Array2<f32>,
    heads: Array2<f32>,
}

impl Whole {
    fn new(simd: Simd, hidden: usize, frames: usize) -> Whole {
        let spec = NetworkSpec::mlp(OBSERVATIONS, &[hidden; 2], ACTIONS);
        let layout = ParamLayout::new(&spec);
        let (layers, params) = ([layout.torso(), &[layout.heads()]].concat(), layout.init(1));
        let [stack, acting] = [true, false].map(|learns| {
            let mut stack = simd.stack(&layers, frames, learns);
            stack.pack(&params);
            stack
        });
        Whole {
            stack,
            acting,
            grad: vec![0.0; params.len()],
            params,
            obs: Array2::from_shape_fn((OBSERVATIONS, frames), |(d, n)| ((d + n) as f32).sin()),
            heads: Array2::zeros((HEADS, frames)),
        }
    }

    fn forward(&mut self) {
        let Whole { stack, params, obs, heads, .. } = self;
        stack.forward(params, obs.view(), heads.view_mut());
    }

    fn backward(&mut self) {
        let Whole { stack, params, grad, obs, heads, .. } = self;
        stack.backward(params, obs.view(), heads.view(), grad);
    }
}
