//! A torso, an LSTM where there is one, and the heads as tensor operations: one walk over the layers, whatever the
//! torso.

use ndarray::{Array2, ArrayView2, s};
use tch::{Kind, Tensor};

use super::super::inputs;
use super::super::layer::{Conv, Layer};
use super::super::params::{Affine, ParamLayout};
use super::super::{NetworkSpec, Pixels, TorchOptions};
use super::lstm::{self, Lstm, Memory};
use super::tensors;
use crate::rollout::Frames;
use crate::space::Obs;

/// A network as libtorch computes it.
#[derive(Debug)]
pub(super) struct Walk {
    layers: Vec<Layer>,
    pixels: Option<Pixels>,
    torso: Vec<Affine>,
    lstm: Option<Lstm>,
    n_task_inputs: usize,
    heads: Affine,
    policy: Affine,
    /// Values of each weight and each bias, in the order of the flat vector, and of the rest that no layer has.
    split_sizes: Vec<i64>,
    options: TorchOptions,
}

/// Weights and biases that the walk has not come to yet.
type Parts<'a> = std::slice::ChunksExact<'a, Tensor>;

impl Walk {
    pub(super) fn new(spec: &NetworkSpec, layout: &ParamLayout, options: TorchOptions) -> Self {
        let (torso, heads) = (layout.torso().to_vec(), layout.heads());
        let lstm = layout.lstm().map(Lstm);
        let sizes_of = |layer: &Affine| [layer.n_outputs * layer.n_inputs, layer.n_outputs];
        let sizes = torso.iter().flat_map(sizes_of);
        let sizes = sizes.chain(lstm.iter().flat_map(Lstm::split_sizes));
        let others = [layout.free(), layout.statistics(), layout.value_statistics()];
        let sizes = sizes.chain(sizes_of(&heads)).chain(others.map(|span| span.len()));
        Walk {
            layers: spec.layers(),
            pixels: spec.pixels,
            split_sizes: sizes.map(|size| size as i64).collect(),
            torso,
            lstm,
            n_task_inputs: spec.n_task_inputs(),
            heads,
            policy: layout.policy(),
            options,
        }
    }

    /// Weight and bias of each layer as parts of the flat parameters: the torso's, the LSTM's, the heads'.
    ///
    /// One split, whose gradient is one concatenation; a `narrow` for each would sum as many gradients of the
    /// whole vector.
    pub(super) fn split(&self, params: &Tensor) -> Vec<Tensor> {
        let all = params.split_with_sizes(&self.split_sizes[..], 0);
        // Free parameters and statistics, of observations and of values, are last.
        let n_others = all.len() - 3 - 2 * self.torso.len();
        let others = all.into_iter().skip(2 * self.torso.len()).take(n_others);
        let torso = params.to_kind(self.kind()).split_with_sizes(&self.split_sizes[..], 0);
        torso.into_iter().take(2 * self.torso.len()).chain(others).collect()
    }

    /// All outputs, `[P + V, N]`, of parts that [`Walk::split`] made.
    pub(super) fn outputs(&self, parts: &[Tensor], frames: &Frames) -> Tensor {
        let (units, _) = self.head_inputs(parts, frames);
        let heads = &parts[parts.len() - 2..];
        affine(heads, self.heads.n_outputs, &units)
    }

    /// The P parameters of the action distribution alone, `[P, N]`, and what is remembered afterwards.
    pub(super) fn policy(&self, parts: &[Tensor], frames: &Frames) -> (Tensor, Option<Memory>) {
        let (units, memory) = self.head_inputs(parts, frames);
        let n_outputs = self.policy.n_outputs as i64;
        let [.., weight, bias] = parts else { unreachable!("heads are last") };
        let (weight, bias) = (weight.view([self.heads.n_outputs as i64, -1]), bias);
        let policy = [weight.narrow(0, 0, n_outputs), bias.narrow(0, 0, n_outputs)];
        (affine(&policy, self.policy.n_outputs, &units), memory)
    }

    /// What is seen in one step of E environments, before which `state`, `[R, E]`, was remembered.
    pub(super) fn one_step<'a, 'o: 'a>(
        &self,
        obs: Obs<'o>,
        state: ArrayView2<'a, f32>,
    ) -> Frames<'a> {
        let obs = match obs {
            Obs::Numbers(numbers) => Obs::Numbers(numbers.reborrow()),
            Obs::Pixels(pixels) => Obs::Pixels(pixels.reborrow()),
        };
        let alone = Frames::memoryless(obs.n_frames(), obs, &[]);
        let Some(lstm) = &self.lstm else { return alone };
        let last_steps = state.slice_move(s![2 * lstm.0.n_units().., ..]);
        Frames { state, last_steps, ..alone }
    }

    /// What goes into the heads: the LSTM's units, `[H, N]`, and its memory afterwards; or the features, `[F, N]`.
    fn head_inputs(&self, parts: &[Tensor], frames: &Frames) -> (Tensor, Option<Memory>) {
        let features = self.features(parts, frames);
        let Some(lstm) = &self.lstm else { return (features, None) };
        let parts = &parts[2 * self.torso.len()..][..lstm::N_PARTS];
        let inputs = match frames.last_steps.nrows() {
            0 => features,
            _ => Tensor::cat(&[features, tensors::matrix(frames.last_steps)], 0),
        };
        let memory = Memory::of(frames.state, lstm.0.n_units());
        let (units, memory) = lstm.unroll(parts, &inputs, frames.kinds, memory);
        (units.tr(), Some(memory))
    }

    /// Features, `[F, N]`.
    fn features(&self, parts: &[Tensor], frames: &Frames) -> Tensor {
        let mut torso = parts[..2 * self.torso.len()].chunks_exact(2);
        let is_dense = |layer: &Layer| matches!(layer, Layer::Dense { .. });
        let first_dense = self.layers.iter().position(is_dense);
        let layers = self.layers.iter().enumerate();
        let features = layers.fold(self.input(frames.obs), |x, (index, layer)| {
            let x = if Some(index) == first_dense { self.tell_tasks(x, frames.tasks) } else { x };
            self.layer(layer, x, &mut torso)
        });
        features.to_kind(Kind::Float)
    }

    /// What goes into the first dense layer, `[I, N]`, with the task of each frame below it, `[K, N]`; frames go round
    /// the tasks.
    fn tell_tasks(&self, x: Tensor, tasks: &[u32]) -> Tensor {
        if self.n_task_inputs == 0 {
            return x;
        }
        let mut told = Array2::zeros((self.n_task_inputs, x.size()[1] as usize));
        inputs::tell_tasks(tasks, told.view_mut());
        Tensor::cat(&[x, tensors::matrix(told.view()).to_kind(self.kind())], 0)
    }

    /// Numbers as `[D, N]`, pictures as `[N, C, H, W]`.
    fn input(&self, obs: Obs<'_>) -> Tensor {
        let Some(Pixels { shape, high }) = self.pixels else {
            return tensors::matrix(obs.numbers()).to_kind(self.kind());
        };
        let pixels = tensors::pixels(obs.pixels());
        // In one pass over the bytes, to the kind that the first layer reads.
        let seen = |pixels: Tensor| pixels.to_kind(self.kind()) / f64::from(high);
        if !self.layers.contains(&Layer::Flatten) {
            return seen(pixels).tr();
        }
        let [channels, height, width] = shape.map(|side| side as i64);
        let pictures = pixels.view([-1, channels, height, width]);
        seen(if self.options.channels_last { channels_last(&pictures) } else { pictures })
    }

    fn layer(&self, layer: &Layer, x: Tensor, parts: &mut Parts) -> Tensor {
        let mut next = || parts.next().expect("each layer of a torso has its parts");
        match layer {
            Layer::Dense { n_outputs, .. } => affine(next(), *n_outputs, &x),
            Layer::Conv(conv) => self.conv(*conv, next(), &x),
            Layer::MaxPool => x.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false),
            Layer::Relu => x.relu(),
            Layer::Tanh => tanh(x),
            Layer::Flatten => x.permute([0, 2, 3, 1]).flatten(1, -1).tr(),
            Layer::Residual(inner) => {
                let made =
                    inner.iter().fold(x.shallow_clone(), |x, layer| self.layer(layer, x, parts));
                x + made
            }
        }
    }

    fn conv(&self, conv: Conv, parts: &[Tensor], x: &Tensor) -> Tensor {
        let Conv { n_inputs, n_outputs, kernel, stride, padding } = conv;
        let side = kernel as i64;
        let weight = parts[0].view([n_outputs as i64, n_inputs as i64, side, side]);
        let weight = if self.options.channels_last { channels_last(&weight) } else { weight };
        let (stride, padding) = (stride as i64, padding as i64);
        x.conv2d(&weight, Some(&parts[1]), [stride; 2], [padding; 2], [1, 1], 1)
    }

    fn kind(&self) -> Kind {
        if self.options.bf16 { Kind::BFloat16 } else { Kind::Float }
    }
}

/// The same numbers with channels innermost in memory, which is how oneDNN's fastest kernels read pictures.
fn channels_last(pictures: &Tensor) -> Tensor {
    pictures.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// `W[O,I] · X[I,N] + b[O]` of a layer's flat weight and bias.
fn affine(layer: &[Tensor], n_outputs: usize, input: &Tensor) -> Tensor {
    let rows = n_outputs as i64;
    layer[1].view([rows, 1]).addmm(&layer[0].view([rows, -1]), input)
}

/// tanh, as `2 σ(2x) − 1`: on a CPU libtorch's sigmoid takes a tenth of the time of its tanh.
///
/// In place where autograd does not need the value before: it needs that of the sigmoid alone.
fn tanh(mut x: Tensor) -> Tensor {
    (x.g_mul_scalar_(2.0).sigmoid_() * 2.0).g_sub_scalar_(1.0)
}
