//! The network's parameters as one flat vector: name, shape and offset of each.
//!
//! Owns the only mapping between a flat parameter (or gradient) vector and the matrices in it. The
//! same vector is what the optimiser updates, what the shared weight region carries and what a
//! checkpoint stores. Knows no arithmetic of the network.

use std::ops::Range;

use ndarray::s;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::heads::gaussian;
use super::layer::Layer;
use super::{LstmSpec, NetworkSpec};
pub use crate::kernels::Affine;

/// Hidden layers of the largest network: far more than shared memory between processes is useful for.
pub const MAX_LAYERS: usize = 16;

/// Width of its widest layer, observations and actions included.
pub const MAX_WIDTH: usize = 16_384;

/// Parameters of the largest network: 1 GiB of f32. Settings and checkpoints that ask for more are
/// refused before anything is allocated.
pub const MAX_PARAMS: usize = 1 << 28;

/// What an LSTM's forget gates begin with, so that it remembers at first (Gers et al. 2000; the paper's own code has it
/// too). Without it half of what is remembered is lost in every step.
const FORGET_BIAS: f32 = 1.0;

/// One named parameter of the flat vector, as PyTorch's `state_dict` would call and shape it.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Such as `torso.0.weight`.
    pub name: String,
    /// `[out, in]` for a weight, `[out]` for a bias.
    pub shape: Vec<usize>,
    /// Index of its first value in the flat vector.
    pub offset: usize,
    /// The middle of its initial values.
    pub centre: f32,
    /// They are uniform within ± this of it.
    pub bound: f32,
}

impl Param {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no values (never so in a checked configuration).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where the parameters of an LSTM of H units lie: those of PyTorch's `LSTMCell`, whose gates are, H rows each, input,
/// forget, cell and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LstmLayout {
    /// From the features to the gates, `[4H, F]`: the first columns of `weight_ih`, and `bias_ih`.
    pub features: Affine,
    /// From the L numbers of the step before to the gates, `[4H, L]`: the other columns. The bias is the same.
    pub last_step: Affine,
    /// From the units to the gates, `[4H, H]`: `weight_hh` and `bias_hh`.
    pub memory: Affine,
}

impl LstmLayout {
    /// H.
    pub fn n_units(&self) -> usize {
        self.memory.n_inputs
    }
}

/// The layout of every parameter of a [`NetworkSpec`] in one flat vector.
///
/// Order: for each torso layer weight then bias; the LSTM, if there is one; then `policy.weight`, `value.weight`,
/// `policy.bias`, `value.bias`. Both are adjacent, so that they are one `[P - F + V, H]` layer to the learner. Then come the F
/// free parameters, `log_std`, the statistics of observations, `observations.*`, and those of values, `value.mean` and
/// `value.second_moment`, where there are any.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamLayout {
    params: Vec<Param>,
    torso: Vec<Affine>,
    lstm: Option<LstmLayout>,
    heads: Affine,
    policy: Affine,
    free: Range<usize>,
    statistics: Range<usize>,
    value_statistics: Range<usize>,
    len: usize,
}

impl ParamLayout {
    /// Lays the parameters of `spec` out.
    pub fn new(spec: &NetworkSpec) -> Self {
        let (mut builder, mut torso) = (Builder::default(), Vec::new());
        builder.push_layers("torso", &spec.layers(), &mut torso);
        let lstm = spec.lstm.map(|lstm| builder.push_lstm(lstm, spec.n_features()));
        let n_inputs = spec.n_head_inputs();
        let (n_rows, n_values) = (spec.n_action_params - spec.n_free, spec.n_values);
        let bound = Layer::Dense { n_inputs, n_outputs: n_rows + n_values }.bound();
        let policy_bound = if spec.n_free > 0 { gaussian::MEAN_START * bound } else { bound };
        let weight = builder.push("policy.weight".into(), vec![n_rows, n_inputs], policy_bound);
        builder.push("value.weight".into(), vec![n_values, n_inputs], bound);
        let bias = builder.push("policy.bias".into(), vec![n_rows], policy_bound);
        builder.push("value.bias".into(), vec![n_values], bound);
        let policy = Affine { n_outputs: n_rows, n_inputs, weight, row_stride: n_inputs, bias };
        let heads = Affine { n_outputs: n_rows + n_values, ..policy };
        let free = builder.push_free(spec.n_free);
        let statistics = builder.push_statistics(if spec.normalizes { spec.n_inputs } else { 0 });
        let n_scaled = if spec.scales_values { n_values } else { 0 };
        let value_statistics = builder.push_value_statistics(n_scaled);
        let Builder { params, len } = builder;
        ParamLayout { params, torso, lstm, heads, policy, free, statistics, value_statistics, len }
    }

    /// Values in the flat vector.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the network has no parameters (never so in a checked configuration).
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every parameter in the order of the flat vector.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The torso's layers that have parameters, first to last.
    pub fn torso(&self) -> &[Affine] {
        &self.torso
    }

    /// The LSTM, if there is one.
    pub fn lstm(&self) -> Option<LstmLayout> {
        self.lstm
    }

    /// The outputs that follow from features, or from the LSTM's units, as one layer: of the P parameters of the action distribution all
    /// but the F free ones, then the V values.
    pub fn heads(&self) -> Affine {
        self.heads
    }

    /// The last of these: the V values.
    pub fn values(&self) -> Affine {
        let (heads, n_before) = (self.heads, self.policy.n_outputs);
        Affine {
            n_outputs: heads.n_outputs - n_before,
            weight: heads.weight + n_before * heads.row_stride,
            bias: heads.bias + n_before,
            ..heads
        }
    }

    /// The first of these, without the values: what an actor needs.
    pub fn policy(&self) -> Affine {
        self.policy
    }

    /// Where the F free parameters lie in the flat vector.
    pub fn free(&self) -> Range<usize> {
        self.free.clone()
    }

    /// Where the statistics of observations lie in the flat vector.
    pub fn statistics(&self) -> Range<usize> {
        self.statistics.clone()
    }

    /// Where the statistics of the V values lie in the flat vector: a mean each, then a second moment each.
    pub fn value_statistics(&self) -> Range<usize> {
        self.value_statistics.clone()
    }

    /// Initial parameters.
    pub fn init(&self, seed: u64) -> Vec<f32> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut flat = Vec::with_capacity(self.len);
        for param in &self.params {
            let value = |_| param.centre + param.bound * (2.0 * unit_f32(&mut rng) - 1.0);
            flat.extend((0..param.len()).map(value));
        }
        if let Some(lstm) = self.lstm {
            let forget = lstm.n_units()..2 * lstm.n_units();
            let (_, mut bias) = lstm.features.split_mut(&mut flat);
            bias.slice_mut(s![forget]).mapv_inplace(|value| value + FORGET_BIAS);
        }
        flat
    }
}

/// A uniform number in [0, 1) with 24 random bits, all that an f32 holds.
pub fn unit_f32(rng: &mut impl Rng) -> f32 {
    (rng.next_u64() >> 40) as f32 * (1.0 / (1u64 << 24) as f32)
}

#[derive(Default)]
struct Builder {
    params: Vec<Param>,
    len: usize,
}

impl Builder {
    /// Weight and bias of each layer that has them, named after its index: what a `nn.Sequential` of these
    /// layers would call them.
    fn push_layers(&mut self, prefix: &str, layers: &[Layer], affine: &mut Vec<Affine>) {
        for (index, layer) in layers.iter().enumerate() {
            let name = format!("{prefix}.{index}");
            if let Layer::Residual(inner) = layer {
                self.push_layers(&name, inner, affine);
            }
            if let Some((n_outputs, n_inputs)) = layer.matrix() {
                let shape = layer.weight_shape();
                let weight = self.push(format!("{name}.weight"), shape, layer.bound());
                let bias = self.push(format!("{name}.bias"), vec![n_outputs], layer.bound());
                affine.push(Affine { n_outputs, n_inputs, weight, row_stride: n_inputs, bias });
            }
        }
    }

    /// The parameters of PyTorch's `LSTMCell`, by its names and with its initial values, but for the forget gates'.
    fn push_lstm(&mut self, spec: LstmSpec, n_features: usize) -> LstmLayout {
        let LstmSpec { units, n_last_step } = spec;
        let (n_outputs, n_inputs) = (4 * units, n_features + n_last_step);
        let mut push = |name: &str, shape| {
            let bound = Layer::Dense { n_inputs: units, n_outputs }.bound();
            self.push(format!("lstm.{name}"), shape, bound)
        };
        let weight = push("weight_ih", vec![n_outputs, n_inputs]);
        let memory_weight = push("weight_hh", vec![n_outputs, units]);
        let bias = push("bias_ih", vec![n_outputs]);
        let memory_bias = push("bias_hh", vec![n_outputs]);
        let features =
            Affine { n_outputs, n_inputs: n_features, weight, row_stride: n_inputs, bias };
        LstmLayout {
            features,
            last_step: Affine { n_inputs: n_last_step, weight: weight + n_features, ..features },
            memory: Affine {
                n_outputs,
                n_inputs: units,
                weight: memory_weight,
                row_stride: units,
                bias: memory_bias,
            },
        }
    }

    fn push(&mut self, name: String, shape: Vec<usize>, bound: f32) -> usize {
        self.push_param(Param { name, shape, offset: self.len, centre: 0.0, bound })
    }

    /// So many parameters that no observation changes; where they lie.
    fn push_free(&mut self, n_free: usize) -> Range<usize> {
        let (name, shape, offset) = ("log_std".into(), vec![n_free], self.len);
        if n_free > 0 {
            let centre = gaussian::LOG_STD_START;
            self.push_param(Param { name, shape, offset, centre, bound: 0.0 });
        }
        offset..self.len
    }

    /// The number of observations, their means and their variances; where they lie.
    fn push_statistics(&mut self, n_numbers: usize) -> Range<usize> {
        let first = self.len;
        if n_numbers > 0 {
            for (name, len, centre) in
                [("count", 1, 0.0), ("mean", n_numbers, 0.0), ("variance", n_numbers, 1.0)]
            {
                let (name, shape) = (format!("observations.{name}"), vec![len]);
                self.push_param(Param { name, shape, offset: self.len, centre, bound: 0.0 });
            }
        }
        first..self.len
    }

    /// Mean and second moment of the targets of so many values; where they lie.
    fn push_value_statistics(&mut self, n_values: usize) -> Range<usize> {
        let first = self.len;
        if n_values > 0 {
            for (name, centre) in [("value.mean", 0.0), ("value.second_moment", 1.0)] {
                let (name, shape) = (name.into(), vec![n_values]);
                self.push_param(Param { name, shape, offset: self.len, centre, bound: 0.0 });
            }
        }
        first..self.len
    }

    fn push_param(&mut self, param: Param) -> usize {
        let offset = param.offset;
        self.len += param.len();
        self.params.push(param);
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Pixels, Torso};
    use super::*;

    fn layout() -> ParamLayout {
        ParamLayout::new(&NetworkSpec::mlp(4, &[64, 32], 2))
    }

    #[test]
    fn parameters_tile_the_flat_vector() {
        let layout = layout();
        let mut next = 0;
        for param in layout.params() {
            assert_eq!(param.offset, next, "{}", param.name);
            next += param.len();
        }
        assert_eq!(next, layout.len());
        assert_eq!(layout.len(), 4 * 64 + 64 + 64 * 32 + 32 + 3 * 32 + 3);
    }

    #[test]
    fn views_agree_with_the_named_parameters() {
        let layout = layout();
        let flat: Vec<f32> = (0..layout.len()).map(|i| i as f32).collect();
        let offset =
            |name: &str| layout.params().iter().find(|p| p.name == name).unwrap().offset as f32;
        assert_eq!(layout.torso()[1].weight(&flat)[[0, 0]], offset("torso.2.weight"));
        assert_eq!(layout.torso()[1].bias(&flat)[0], offset("torso.2.bias"));
        assert_eq!(layout.heads().weight(&flat)[[2, 0]], offset("value.weight"));
        assert_eq!(layout.heads().bias(&flat)[2], offset("value.bias"));
        assert_eq!(layout.policy().bias(&flat)[1], offset("policy.bias") + 1.0);
    }

    #[test]
    fn names_and_shapes_are_those_of_a_sequential() {
        let pixels = Pixels { shape: [4, 84, 84], high: 255 };
        let spec = NetworkSpec::pictures(Torso::ImpalaDeep, pixels, 18);
        let layout = ParamLayout::new(&spec);
        let shape = |name: &str| &layout.params().iter().find(|p| p.name == name).unwrap().shape;
        assert_eq!(*shape("torso.0.weight"), [16, 4, 3, 3]);
        assert_eq!(*shape("torso.2.1.weight"), [16, 16, 3, 3]);
        assert_eq!(*shape("torso.7.3.bias"), [32]);
        assert_eq!(*shape("torso.14.weight"), [256, 32 * 11 * 11]);
        assert_eq!(*shape("policy.weight"), [18, 256]);
        assert_eq!(layout.len(), 9_872 + 41_632 + 46_240 + 991_488 + 257 * 19);
    }

    #[test]
    fn an_lstm_has_the_parameters_of_pytorchs_cell() {
        let spec = NetworkSpec::mlp(4, &[8], 2).with_lstm(3, 5);
        let layout = ParamLayout::new(&spec);
        let names: Vec<&str> = layout.params().iter().map(|param| &*param.name).collect();
        let cell = ["lstm.weight_ih", "lstm.weight_hh", "lstm.bias_ih", "lstm.bias_hh"];
        assert_eq!(names[2..6], cell);
        let shapes = layout.params()[2..6].iter().map(|param| &param.shape[..]);
        assert!(shapes.eq([&[12, 13][..], &[12, 3], &[12], &[12]]));
        assert_eq!(layout.len(), 4 * 8 + 8 + 12 * (13 + 3 + 2) + 3 * 3 + 3);
        assert_eq!(spec.n_state(), 2 * 3 + 5);
        let mut flat: Vec<f32> = (0..layout.len()).map(|i| i as f32).collect();
        let LstmLayout { features, last_step, memory } = layout.lstm().unwrap();
        let first = layout.params()[2].offset as f32;
        assert_eq!(
            features.weight(&flat).row(11),
            ndarray::Array1::range(first + 143.0, first + 151.0, 1.0)
        );
        assert_eq!(last_step.weight(&flat).row(11)[4], first + 155.0);
        assert_eq!(memory.weight(&flat).row(0)[0], first + 156.0);
        assert_eq!(memory.bias(&flat)[11], features.bias(&flat)[11] + 12.0);
        let before = flat.clone();
        last_step.split_mut(&mut flat).0.fill(-1.0);
        let n_changed = flat.iter().zip(&before).filter(|(now, before)| now != before).count();
        assert_eq!(n_changed, 12 * 5);
    }

    #[test]
    fn free_parameters_are_last_and_the_means_beside_them_begin_small() {
        let with = |n_action_params, n_free| {
            let spec = NetworkSpec { n_free, ..NetworkSpec::mlp(4, &[64], n_action_params) };
            ParamLayout::new(&spec)
        };
        let (plain, free) = (with(2, 0), with(4, 2));
        assert_eq!(free.free(), plain.len()..plain.len() + 2);
        assert_eq!((free.policy(), free.heads()), (plain.policy(), plain.heads()));
        let last = free.params().last().unwrap();
        assert_eq!((&*last.name, &last.shape[..]), ("log_std", &[2][..]));
        assert_eq!(free.init(1)[free.free()], [gaussian::LOG_STD_START; 2]);
        for (plain, free) in plain.params().iter().zip(free.params()) {
            let is_small = free.name.starts_with("policy");
            let share = if is_small { gaussian::MEAN_START } else { 1.0 };
            assert_eq!(free.bound, share * plain.bound, "{}", free.name);
        }
        assert!(plain.free().is_empty() && plain.params().iter().all(|p| p.name != "log_std"));
    }

    #[test]
    fn values_are_the_last_rows_and_their_statistics_the_last_parameters() {
        let spec = NetworkSpec { n_values: 3, ..NetworkSpec::mlp(4, &[8], 2) };
        let plain = ParamLayout::new(&spec);
        let scaled = ParamLayout::new(&NetworkSpec { scales_values: true, ..spec });
        let offset = |name: &str| plain.params().iter().find(|p| p.name == name).unwrap().offset;
        let values = plain.values();
        let found = (values.n_outputs, values.weight, values.bias);
        assert_eq!(found, (3, offset("value.weight"), offset("value.bias")));
        assert_eq!(scaled.value_statistics(), plain.len()..plain.len() + 6);
        let init = scaled.init(1);
        assert_eq!(init[..plain.len()], plain.init(1));
        assert_eq!(init[plain.len()..], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert!(plain.value_statistics().is_empty());
    }

    #[test]
    fn initial_values_fill_their_bounds_and_depend_on_the_seed() {
        let layout = layout();
        let flat = layout.init(1);
        for param in layout.params() {
            let values = &flat[param.offset..param.offset + param.len()];
            let (bound, centre) = (param.bound, param.centre);
            assert!(values.iter().all(|v| (v - centre).abs() <= bound), "{}", param.name);
            if values.len() > 50 {
                assert!(values.iter().any(|v| *v > 0.9 * bound), "{}", param.name);
                assert!(values.iter().any(|v| *v < -0.9 * bound), "{}", param.name);
            }
        }
        assert_ne!(flat, layout.init(2));
    }
}
