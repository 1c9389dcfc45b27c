//! MinAtar's network on planes of bits: forward pass and hand-derived gradient over a flat parameter vector.
//!
//! Everything is frame-major: a matrix `[N, F]` has one row a frame. On bits the convolution is no product: each
//! bit that is set adds one row of 16 weights, one for each channel that comes out, to the at most nine places
//! that see it. The dense layer on top is nearly all of the arithmetic. Letters: C planes, N frames, P places
//! of the convolution, F = 16·P numbers that come out of it.

use ndarray::{ArrayView2, ArrayViewMut2, Axis, NdFloat, s};

use super::super::params::{Affine, ParamLayout};
use super::super::{Acting, Learning, NetworkSpec, Pixels};
use crate::kernels::{FeatureMajor, Kernels, ROW_LEN, RowPair, Simd};
use crate::rollout::Frames;
use crate::space::Obs;

/// Side of the convolution's kernel.
const KERNEL: usize = 3;

/// Frames that go through the whole network before the next ones: their outputs of the convolution (4 kB a
/// frame) are then still in L2 when the dense layer reads them.
const TILE_FRAMES: usize = 64;

/// Where parameters and bits lie, and the kernels.
#[derive(Debug)]
struct Minatar<K> {
    layout: ParamLayout,
    places: Places,
    kernels: K,
}

/// What a pass keeps of the convolution and the dense layer for the way back.
#[derive(Debug)]
struct Activations<R> {
    /// `[N, F]`, after ReLU.
    conv: FeatureMajor<R>,
    /// `[N, 128]`, after ReLU.
    hidden: FeatureMajor<R>,
}

impl<R: NdFloat> Activations<R> {
    fn new(layout: &ParamLayout, n_frames: usize) -> Self {
        let dense = layout.torso()[1];
        Activations {
            conv: FeatureMajor::zeros(n_frames, dense.n_inputs),
            hidden: FeatureMajor::zeros(n_frames, dense.n_outputs),
        }
    }
}

/// Which places of the convolution see which bit.
#[derive(Debug)]
struct Places {
    /// Bits of one plane.
    n_cells: usize,
    /// Of each cell: from which place of the kernel it is seen (`from`), and where (`to`).
    seen_by: Vec<Vec<RowPair>>,
    /// The pairs of one frame.
    pairs: Vec<RowPair>,
}

impl Places {
    fn new([channels, height, width]: [usize; 3]) -> Self {
        let cells = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        let seen_by = |(y, x): (usize, usize)| {
            let taps = (0..KERNEL * KERNEL).map(|tap| (tap, tap / KERNEL, tap % KERNEL));
            let seen = taps.filter_map(|(tap, dy, dx)| {
                let (row, column) = (y.checked_sub(dy)?, x.checked_sub(dx)?);
                let is_inside = row + KERNEL <= height && column + KERNEL <= width;
                let place = row * (width - KERNEL + 1) + column;
                is_inside.then_some(RowPair { from: tap as u32, to: place as u32 })
            });
            seen.collect()
        };
        let n_cells = height * width;
        // Room for a frame of nothing but ones, so that none is ever made in a loop.
        let pairs = Vec::with_capacity(channels * n_cells * KERNEL * KERNEL);
        Places { n_cells, seen_by: cells.map(seen_by).collect(), pairs }
    }

    /// For each bit of a frame that is set: which row of weights, and which places see it through that row.
    fn find(&mut self, pixels: &[u8], pair: impl Fn(RowPair) -> RowPair) {
        self.pairs.clear();
        let planes = pixels.chunks_exact(self.n_cells);
        for (first_row, plane) in (0..).step_by(KERNEL * KERNEL).zip(planes) {
            for (first, cells) in (0..).step_by(8).zip(plane.chunks(8)) {
                // Most are empty, and eight bytes are looked at as one number.
                if *cells == [0; 8] {
                    continue;
                }
                for (cell, _) in (first..).zip(cells).filter(|(_, bit)| **bit != 0) {
                    let seen = self.seen_by[cell].iter();
                    let rows = seen.map(|seen| RowPair { from: first_row + seen.from, ..*seen });
                    self.pairs.extend(rows.map(&pair));
                }
            }
        }
    }
}

impl<K> Minatar<K> {
    fn new(spec: &NetworkSpec, kernels: K) -> Self {
        let Some(Pixels { shape, .. }) = spec.pixels else { panic!("this network takes planes") };
        Minatar { layout: ParamLayout::new(spec), places: Places::new(shape), kernels }
    }

    fn conv(&self) -> Affine {
        self.layout.torso()[0]
    }

    /// Weights of the convolution, C·9 rows of 16.
    fn n_taps(&self) -> usize {
        self.conv().n_inputs * ROW_LEN
    }

    fn dense(&self) -> Affine {
        self.layout.torso()[1]
    }

    /// Torso and one head, whose outputs are `[O, N]`, of pixels `[N, C·H·W]`. Allocates nothing.
    fn forward<R: NdFloat>(
        &mut self,
        (params, head): (&[R], Affine),
        pixels: ArrayView2<u8>,
        taps: &mut [R],
        activations: &mut Activations<R>,
        mut outputs: ArrayViewMut2<R>,
    ) where
        K: Kernels<R>,
    {
        let (conv_bias, dense) = (self.conv().bias(params), self.dense());
        let transposed = self.conv().weight(params).reversed_axes();
        taps.iter_mut().zip(transposed).for_each(|(tap, weight)| *tap = *weight);
        for first in (0..pixels.nrows()).step_by(TILE_FRAMES) {
            let tile = first..pixels.nrows().min(first + TILE_FRAMES);
            let mut conv = activations.conv.view_mut().slice_move(s![tile.clone(), ..]);
            for (mut sums, pixels) in
                conv.outer_iter_mut().zip(pixels.slice(s![tile.clone(), ..]).outer_iter())
            {
                let sums = sums.as_slice_mut().expect("a frame's numbers lie side by side");
                let conv_bias = conv_bias.as_slice().expect("a bias lies in one piece");
                sums.chunks_exact_mut(ROW_LEN).for_each(|place| place.copy_from_slice(conv_bias));
                self.places.find(pixels.as_slice().expect("pixels lie in one piece"), |pair| pair);
                self.kernels.add_rows(&self.places.pairs, taps, sums);
                relu(sums);
            }
            let mut hidden = activations.hidden.view_mut().slice_move(s![tile.clone(), ..]);
            hidden.assign(&dense.bias(params));
            self.kernels.add_row_products(conv.view(), dense.weight(params), hidden.view_mut());
            hidden
                .outer_iter_mut()
                .for_each(|mut row| relu(row.as_slice_mut().expect("rows are whole")));
            let mut outputs = outputs.slice_mut(s![.., tile]);
            outputs.assign(&head.bias(params).insert_axis(Axis(1)));
            self.kernels.add_row_products(head.weight(params), hidden.view(), outputs);
        }
    }

    /// Adds to `grad` the gradient of a loss whose derivative by the outputs of the first frames is
    /// `d_outputs`, `[P + V, T·B]`.
    fn backward<R: NdFloat>(
        &mut self,
        params: &[R],
        pixels: ArrayView2<u8>,
        activations: &Activations<R>,
        d_outputs: ArrayView2<R>,
        scratch: &mut Scratch<R>,
        grad: &mut [R],
    ) where
        K: Kernels<R>,
    {
        scratch.d_taps.fill(R::zero());
        scratch.d_conv_bias.fill(R::zero());
        for first in (0..d_outputs.ncols()).step_by(TILE_FRAMES) {
            let tile = first..d_outputs.ncols().min(first + TILE_FRAMES);
            let d_outputs = d_outputs.slice(s![.., tile.clone()]);
            let hidden = activations.hidden.view().slice_move(s![tile.clone(), ..]);
            let conv = activations.conv.view().slice_move(s![tile.clone(), ..]);
            let mut d_hidden = scratch.d_hidden.view_mut().slice_move(s![..tile.len(), ..]);
            self.back(
                self.layout.heads(),
                params,
                d_outputs.reversed_axes(),
                hidden,
                d_hidden.view_mut(),
                grad,
            );
            let mut d_conv = scratch.d_conv.view_mut().slice_move(s![..tile.len(), ..]);
            self.back(self.dense(), params, d_hidden.view(), conv, d_conv.view_mut(), grad);
            for (d_conv, pixels) in d_conv.outer_iter().zip(pixels.slice(s![tile, ..]).outer_iter())
            {
                let d_conv = d_conv.to_slice().expect("a frame's numbers lie side by side");
                let swapped = |pair: RowPair| RowPair { from: pair.to, to: pair.from };
                self.places.find(pixels.as_slice().expect("pixels lie in one piece"), swapped);
                self.kernels.add_rows(&self.places.pairs, d_conv, &mut scratch.d_taps);
                for place in d_conv.chunks_exact(ROW_LEN) {
                    scratch.d_conv_bias.iter_mut().zip(place).for_each(|(sum, d)| *sum += *d);
                }
            }
        }
        let (d_weight, d_bias) = self.conv().split_mut(grad);
        d_weight.reversed_axes().iter_mut().zip(&scratch.d_taps).for_each(|(sum, d)| *sum += *d);
        d_bias.into_iter().zip(&scratch.d_conv_bias).for_each(|(sum, d)| *sum += *d);
    }

    /// Back through one layer `[O]` on top of ReLU: adds its gradient, and writes the derivative `[N, I]` by
    /// what went into that ReLU; `d_sums` is `[N, O]`, `inputs` are `[N, I]`.
    fn back<R: NdFloat>(
        &self,
        layer: Affine,
        params: &[R],
        d_sums: ArrayView2<R>,
        inputs: ArrayView2<R>,
        mut d_inputs: ArrayViewMut2<R>,
        grad: &mut [R],
    ) where
        K: Kernels<R>,
    {
        let (d_weight, d_bias) = layer.split_mut(grad);
        self.kernels.add_product(d_sums.reversed_axes(), inputs, d_weight);
        for (sum, d_sums) in d_bias.into_iter().zip(d_sums.columns()) {
            *sum += d_sums.sum();
        }
        d_inputs.fill(R::zero());
        self.kernels.add_product(d_sums, layer.weight(params), d_inputs.view_mut());
        d_inputs.zip_mut_with(&inputs, |d, input| {
            *d = if *input > R::zero() { *d } else { R::zero() };
        });
    }
}

/// Derivatives on their way back, of one tile of frames.
#[derive(Debug)]
struct Scratch<R> {
    /// `[TILE_FRAMES, 128]`.
    d_hidden: FeatureMajor<R>,
    /// `[TILE_FRAMES, F]`.
    d_conv: FeatureMajor<R>,
    /// `[C·9, 16]`, of all frames.
    d_taps: Vec<R>,
    d_conv_bias: [R; ROW_LEN],
}

/// `max(x, 0)`; NaN stays NaN.
fn relu<R: NdFloat>(numbers: &mut [R]) {
    for number in numbers {
        *number = if *number < R::zero() { R::zero() } else { *number };
    }
}

/// The network with weights of its own, which acts in E environments.
#[derive(Debug)]
pub(super) struct MinatarActing {
    network: Minatar<Simd>,
    params: Vec<f32>,
    taps: Vec<f32>,
    activations: Activations<f32>,
}

impl MinatarActing {
    /// The network of `spec` for `n_envs` environments, with all-zero weights.
    pub(super) fn new(spec: &NetworkSpec, kernels: Simd, n_envs: usize) -> Self {
        let network = Minatar::new(spec, kernels);
        MinatarActing {
            params: vec![0.0; network.layout.len()],
            taps: vec![0.0; network.n_taps()],
            activations: Activations::new(&network.layout, n_envs),
            network,
        }
    }
}

impl Acting for MinatarActing {
    fn params(&self) -> &[f32] {
        &self.params
    }

    fn params_mut(&mut self) -> &mut [f32] {
        &mut self.params
    }

    fn outputs(&mut self, obs: Obs<'_>, outputs: ArrayViewMut2<f32>) {
        let MinatarActing { network, params, taps, activations } = self;
        let head = network.layout.policy();
        network.forward((params, head), obs.pixels(), taps, activations, outputs);
    }
}

/// The network as it learns, one slot a pass.
#[derive(Debug)]
pub(super) struct MinatarLearning<K, R> {
    network: Minatar<K>,
    taps: Vec<R>,
    activations: Activations<R>,
    scratch: Scratch<R>,
}

impl<K: Kernels<R>, R: NdFloat> MinatarLearning<K, R> {
    /// The network of `spec` for batches of `n_observations` = (T+1)·B observations.
    pub(super) fn new(spec: &NetworkSpec, kernels: K, n_observations: usize) -> Self {
        let network = Minatar::new(spec, kernels);
        let dense = network.dense();
        MinatarLearning {
            taps: vec![R::zero(); network.n_taps()],
            activations: Activations::new(&network.layout, n_observations),
            scratch: Scratch {
                d_hidden: FeatureMajor::zeros(TILE_FRAMES, dense.n_outputs),
                d_conv: FeatureMajor::zeros(TILE_FRAMES, dense.n_inputs),
                d_taps: vec![R::zero(); network.n_taps()],
                d_conv_bias: [R::zero(); ROW_LEN],
            },
            network,
        }
    }
}

impl<K: Kernels<R>, R: NdFloat> Learning<R> for MinatarLearning<K, R> {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn slots_per_pass(&self, _batch_slots: usize) -> usize {
        1
    }

    fn forward(&mut self, params: &[R], frames: &Frames<R>, outputs: ArrayViewMut2<R>) {
        let head = self.network.layout.heads();
        let (taps, activations) = (&mut self.taps, &mut self.activations);
        self.network.forward((params, head), frames.obs.pixels(), taps, activations, outputs);
    }

    fn backward(
        &mut self,
        params: &[R],
        frames: &Frames<R>,
        d_outputs: ArrayView2<R>,
        grad: &mut [R],
    ) {
        let (pixels, activations) = (frames.obs.pixels(), &self.activations);
        self.network.backward(params, pixels, activations, d_outputs, &mut self.scratch, grad);
    }
}
