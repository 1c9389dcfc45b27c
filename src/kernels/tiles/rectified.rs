//! A dense layer between two ReLUs in bf16: packing, the pass forward and the pass back.
//!
//! Its inputs are made frame by frame, and so its factors are rows of frames: of two numbers of a frame forward and
//! back, of two frames for the gradient of the weights. None of them is transposed but the errors for the last one,
//! which are few.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut1, ArrayViewMut2, ArrayViewMut3, Axis, s};

use super::super::rectified::Rectified;
use super::super::share::{Along, PerThread, in_blocks};
use super::super::{Affine, FeatureMajor, Work};
use super::convert::Convert;
use super::layer::row_block;
use super::panels::Panels;
use super::words::{BLOCK, Sums, TILE, Words};
use super::{Factors, Size};

/// Said of matrices here.
const WHOLE: &str = "a frame's numbers lie side by side";

/// The layer by [`super::Tiles`], with weights packed once a version.
pub(in super::super) struct TileRectified<T> {
    tiles: T,
    layer: Affine,
    /// Pairs of inputs, `[I/2, O]`.
    weights: Panels,
    /// Pairs of outputs, `[O/2, I]`; empty where nothing is learned.
    transposed: Panels,
    /// `[O]`, and zeros up to a whole block.
    biases: Vec<f32>,
    /// What comes out of the first ReLU, of all frames: pairs of frames, `[N/2, I]`; empty where nothing is learned.
    kept: Panels,
    /// The errors of the sums, of all frames: pairs of frames, `[O, N/2]`.
    error_rows: Words,
    scratch: PerThread<Scratch>,
}

/// What is needed for 32 frames while they are worked on.
struct Scratch {
    /// What goes into the first ReLU, of two frames; zeros beyond I.
    two_frames: FeatureMajor<f32>,
    /// What comes out: pairs of numbers, `[32, I/2]`.
    inputs: Words,
    /// The errors of the sums: pairs of outputs, `[32, O/2]`.
    errors: Words,
    /// And pairs of frames: of 16 pairs all outputs, 16 side by side.
    squares: Vec<[[u32; TILE]; TILE]>,
    /// The derivative by what went into the first ReLU, `[32, I]`.
    d_inputs: FeatureMajor<f32>,
    sums: Sums,
}

impl<T: Convert> TileRectified<T> {
    /// Room for `n_frames` frames; for a layer that `learns` also for the pass back.
    pub(in super::super) fn new(tiles: T, layer: Affine, n_frames: usize, learns: bool) -> Self {
        let whole = |n: usize| n.next_multiple_of(BLOCK);
        let (n_inputs, n_outputs) = (whole(layer.n_inputs), whole(layer.n_outputs));
        let if_learns = |n: usize| if learns { n } else { 0 };
        let n_kept = if_learns(whole(n_frames) / 2);
        TileRectified {
            tiles,
            layer,
            weights: Panels::zeros(n_inputs / 2, n_outputs),
            transposed: Panels::zeros(if_learns(n_outputs / 2), n_inputs),
            biases: vec![0.0; n_outputs],
            kept: Panels::zeros(n_kept, n_inputs),
            error_rows: Words::zeros(n_outputs, n_kept),
            scratch: PerThread::new(|| Scratch {
                two_frames: FeatureMajor::zeros(2, n_inputs),
                inputs: Words::zeros(BLOCK, n_inputs / 2),
                errors: Words::zeros(BLOCK, n_outputs / 2),
                squares: vec![[[0; TILE]; TILE]; n_outputs / TILE],
                d_inputs: FeatureMajor::zeros(if_learns(BLOCK), n_inputs),
                sums: Sums([[0.0; BLOCK]; BLOCK]),
            }),
        }
    }

    fn n_input_panels(&self) -> usize {
        self.layer.n_inputs.div_ceil(BLOCK)
    }
}

impl<T: Convert> Rectified<f32> for TileRectified<T> {
    fn pack(&mut self, params: &[f32]) {
        self.tiles.run(Pack { layer: self, params });
    }

    fn forward(
        &mut self,
        _: &[f32],
        write: &(dyn Fn(usize, &mut [f32]) + Sync),
        outputs: ArrayViewMut2<f32>,
    ) {
        let TileRectified { tiles, layer, ref weights, ref biases, ref scratch, .. } = *self;
        let kept = (!self.kept.is_empty()).then(|| self.kept.view_mut());
        let n_frames = outputs.nrows();
        let kept = kept.map(|kept| Along::axis_of_pairs(1, kept));
        let all = (Along::axis(0, outputs), kept);
        in_blocks(0..n_frames, BLOCK, all, &|frames, (outputs, kept)| {
            let (outputs, kept) = (outputs.view, kept.map(|kept| kept.view));
            let scratch = &mut *scratch.mine();
            tiles.run(Forward {
                tiles,
                layer,
                weights,
                biases,
                scratch,
                write,
                frames,
                outputs,
                kept,
            });
        });
    }

    fn backward(
        &mut self,
        _: &[f32],
        d_sums: ArrayView2<f32>,
        read: &(dyn Fn(usize, ArrayView2<f32>) + Sync),
        grad: &mut [f32],
    ) {
        let TileRectified { tiles, layer, ref transposed, ref kept, ref scratch, .. } = *self;
        let n_frames = d_sums.nrows();
        let n_pairs = n_frames.div_ceil(BLOCK) * TILE;
        let rows = self.error_rows.view_mut().slice_move(s![.., ..n_pairs]);
        let all = (Along::axis(0, d_sums), Along::axis_of_pairs(1, rows));
        in_blocks(0..n_frames, BLOCK, all, &|frames, (d_sums, rows)| {
            let (d_sums, rows) = (d_sums.view, rows.view);
            let scratch = &mut *scratch.mine();
            let first = frames.start;
            tiles.run(Backward {
                tiles,
                layer,
                transposed,
                kept,
                scratch,
                read,
                first,
                d_sums,
                rows,
            });
        });
        let (weight, bias) = layer.split_mut(grad);
        let error_rows = &self.error_rows;
        let weight = Along::axis(1, weight);
        in_blocks(0..layer.n_inputs, BLOCK, weight, &|inputs, Along { view: weight, .. }| {
            let (scratch, panel) = (&mut *scratch.mine(), inputs.start / BLOCK);
            tiles.run(WeightGradient { tiles, error_rows, kept, n_frames, scratch, panel, weight });
        });
        add_bias_gradient(d_sums, bias);
    }
}

/// The packing of weights, as work compiled for the tiles' instructions.
struct Pack<'a, T> {
    layer: &'a mut TileRectified<T>,
    params: &'a [f32],
}

impl<T: Convert> Work for Pack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Pack { layer, params } = self;
        let Affine { n_outputs, .. } = layer.layer;
        let weight = layer.layer.weight(params);
        layer.biases[..n_outputs].copy_from_slice(&params[layer.layer.bias..][..n_outputs]);
        for o in (0..n_outputs).step_by(TILE) {
            layer.pack_outputs(weight, o);
        }
        if !layer.transposed.is_empty() {
            layer.pack_transposed(weight);
        }
    }
}

impl<T: Convert> TileRectified<T> {
    /// Pairs of the inputs of 16 outputs from `o` on.
    #[inline(always)]
    fn pack_outputs(&mut self, weight: ArrayView2<f32>, o: usize) {
        let (panel, at) = (o / BLOCK, o % BLOCK);
        for i in (0..self.layer.n_inputs).step_by(BLOCK) {
            let mut square = [[0; TILE]; TILE];
            for (words, row) in square.iter_mut().zip(o..self.layer.n_outputs) {
                self.tiles.pairs(row_block(weight, row, i, &mut [0.0; BLOCK]), words);
            }
            self.tiles.transpose(&mut square);
            for (k, words) in square.iter().enumerate() {
                self.weights.row_mut(panel, i / 2 + k)[at..at + TILE].copy_from_slice(words);
            }
        }
    }

    /// Pairs of outputs.
    #[inline(always)]
    fn pack_transposed(&mut self, weight: ArrayView2<f32>) {
        for k in 0..self.layer.n_outputs.div_ceil(2) {
            for panel in 0..self.n_input_panels() {
                let (mut low, mut high) = ([0.0; BLOCK], [0.0; BLOCK]);
                let low = row_block(weight, 2 * k, panel * BLOCK, &mut low);
                let high = row_block(weight, 2 * k + 1, panel * BLOCK, &mut high);
                self.tiles.interleave(low, high, self.transposed.row_mut(panel, k));
            }
        }
    }
}

/// The forward pass of 32 frames, as work compiled for the tiles' instructions.
struct Forward<'a, T> {
    tiles: T,
    layer: Affine,
    weights: &'a Panels,
    biases: &'a [f32],
    scratch: &'a mut Scratch,
    write: &'a (dyn Fn(usize, &mut [f32]) + Sync),
    frames: Range<usize>,
    outputs: ArrayViewMut2<'a, f32>,
    /// As of [`TileRectified::kept`]; none where nothing is learned.
    kept: Option<ArrayViewMut3<'a, u32>>,
}

impl<T: Convert> Work for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        for r in (0..BLOCK).step_by(2) {
            self.take_two(r);
        }
        for panel in 0..self.layer.n_outputs.div_ceil(BLOCK) {
            self.write_outputs(panel);
        }
    }
}

impl<T: Convert> Forward<'_, T> {
    /// The inputs of frame `r` and the next one, through the ReLU; zeros instead of frames that are not there.
    #[inline(always)]
    fn take_two(&mut self, r: usize) {
        let mut two_frames = self.scratch.two_frames.view_mut();
        for half in 0..2 {
            let numbers = two_frames.row_mut(half).into_slice().expect(WHOLE);
            let numbers = &mut numbers[..self.layer.n_inputs];
            if r + half < self.outputs.nrows() {
                (self.write)(self.frames.start + r + half, numbers);
            } else {
                numbers.fill(0.0);
            }
        }
        self.rectify(r);
    }

    /// Two frames behind the ReLU, as they are multiplied.
    #[inline(always)]
    fn rectify(&mut self, r: usize) {
        let (even, odd) = self.scratch.two_frames.view_mut().split_at(Axis(0), 1);
        let mut two = [even, odd].map(|row| row.into_slice().expect(WHOLE));
        for (half, row) in two.iter_mut().enumerate() {
            let words = self.scratch.inputs.row_mut(r + half).as_chunks_mut::<TILE>().0;
            for (numbers, words) in row.as_chunks_mut::<BLOCK>().0.iter_mut().zip(words) {
                self.tiles.rectify(numbers);
                self.tiles.pairs(numbers, words);
            }
        }
        let Some(kept) = &mut self.kept else { return };
        let [even, odd] = two.map(|row| row.as_chunks::<BLOCK>().0);
        let mut kept = kept.index_axis_mut(Axis(1), r / 2);
        for ((even, odd), words) in even.iter().zip(odd).zip(kept.outer_iter_mut()) {
            let words = words.into_slice().expect(WHOLE).first_chunk_mut().expect(WHOLE);
            self.tiles.interleave(even, odd, words);
        }
    }

    /// The outputs of a panel.
    #[inline(always)]
    fn write_outputs(&mut self, panel: usize) {
        let (first, width) = (panel * BLOCK, self.outputs.nrows());
        let columns = BLOCK.min(self.layer.n_outputs - first);
        let pairs = self.layer.n_inputs.div_ceil(2);
        let (height, depth) = (width.next_multiple_of(TILE), pairs.next_multiple_of(TILE));
        let factors = Factors {
            left: self.scratch.inputs.at([0, 0], [height, depth]),
            right: self.weights.at(panel, depth),
        };
        let size = Size { rows: width, columns: columns.next_multiple_of(TILE), pairs };
        let sums = &mut self.scratch.sums;
        // SAFETY: K3: the places were asked for by these sizes.
        unsafe { self.tiles.product(factors, size, sums) };
        let biases = &self.biases.as_chunks().0[panel];
        for (row, sums) in self.outputs.outer_iter_mut().zip(&mut sums.0) {
            self.tiles.rectify_biased(sums, biases);
            let row = row.into_slice().expect(WHOLE);
            row[first..first + columns].copy_from_slice(&sums[..columns]);
        }
    }
}

/// The errors of 32 frames and what they are below the layer, as work compiled for the tiles' instructions.
struct Backward<'a, T> {
    tiles: T,
    layer: Affine,
    transposed: &'a Panels,
    kept: &'a Panels,
    scratch: &'a mut Scratch,
    read: &'a (dyn Fn(usize, ArrayView2<f32>) + Sync),
    first: usize,
    d_sums: ArrayView2<'a, f32>,
    /// As of [`TileRectified::error_rows`].
    rows: ArrayViewMut2<'a, u32>,
}

impl<T: Convert> Work for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        self.pack_errors();
        for panel in 0..self.layer.n_inputs.div_ceil(BLOCK) {
            self.derive_inputs(panel);
        }
        let there = s![..self.d_sums.nrows(), ..self.layer.n_inputs];
        (self.read)(self.first, self.scratch.d_inputs.view().slice_move(there));
    }
}

impl<T: Convert> Backward<'_, T> {
    /// The errors; zeros for frames beyond the last.
    #[inline(always)]
    fn pack_errors(&mut self) {
        for k in 0..TILE {
            for panel in 0..self.layer.n_outputs.div_ceil(BLOCK) {
                let (mut even, mut odd) = ([0.0; BLOCK], [0.0; BLOCK]);
                let d_sums = self.d_sums;
                let even = row_block(d_sums, 2 * k, panel * BLOCK, &mut even);
                let odd = row_block(d_sums, 2 * k + 1, panel * BLOCK, &mut odd);
                for (half, numbers) in [even, odd].into_iter().enumerate() {
                    let words = &mut self.scratch.errors.row_mut(2 * k + half)[panel * TILE..];
                    self.tiles.pairs(numbers, words.first_chunk_mut().expect("room for errors"));
                }
                let mut words = [0; BLOCK];
                self.tiles.interleave(even, odd, &mut words);
                let halves = words.as_chunks::<TILE>().0;
                let squares = &mut self.scratch.squares[2 * panel..][..2];
                squares.iter_mut().zip(halves).for_each(|(square, half)| square[k] = *half);
            }
        }
        let mut rows = self.rows.outer_iter_mut();
        for square in &mut self.scratch.squares {
            self.tiles.transpose(square);
            for (words, row) in square.iter().zip(&mut rows) {
                row.into_slice().expect(WHOLE).copy_from_slice(words);
            }
        }
    }

    /// The derivative by 32 inputs, through the ReLU below them.
    #[inline(always)]
    fn derive_inputs(&mut self, panel: usize) {
        let width = self.d_sums.nrows();
        let pairs = self.layer.n_outputs.div_ceil(2);
        let (height, depth) = (width.next_multiple_of(TILE), pairs.next_multiple_of(TILE));
        let factors = Factors {
            left: self.scratch.errors.at([0, 0], [height, depth]),
            right: self.transposed.at(panel, depth),
        };
        let size = Size { rows: width, columns: BLOCK, pairs };
        let sums = &mut self.scratch.sums;
        // SAFETY: K3: the places were asked for by these sizes.
        unsafe { self.tiles.product(factors, size, sums) };
        let mut d_inputs = self.scratch.d_inputs.view_mut();
        for (r, sums) in sums.0[..width].iter().enumerate() {
            // A number behind the ReLU is not 0 where it was above; its sign does not count.
            let numbers = (self.kept.row(panel, (self.first + r) / 2), r % 2);
            let row = d_inputs.row_mut(r).into_slice().expect(WHOLE);
            self.tiles.where_not_zero(sums, numbers, &mut row.as_chunks_mut().0[panel]);
        }
    }
}

/// The gradient of the weights of 32 inputs, as work compiled for the tiles' instructions. These inputs stay in L1
/// for all outputs.
struct WeightGradient<'a, T> {
    tiles: T,
    error_rows: &'a Words,
    kept: &'a Panels,
    n_frames: usize,
    scratch: &'a mut Scratch,
    panel: usize,
    weight: ArrayViewMut2<'a, f32>,
}

impl<T: Convert> Work for WeightGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let pairs = self.n_frames.div_ceil(2);
        let depth = pairs.next_multiple_of(TILE);
        let (n_outputs, columns) = self.weight.dim();
        for o in (0..n_outputs).step_by(BLOCK) {
            let rows = BLOCK.min(n_outputs - o);
            let factors = Factors {
                left: self.error_rows.at([o, 0], [rows.next_multiple_of(TILE), depth]),
                right: self.kept.at(self.panel, depth),
            };
            let size = Size { rows, columns: columns.next_multiple_of(TILE), pairs };
            let sums = &mut self.scratch.sums;
            // SAFETY: K3: the places were asked for by these sizes.
            unsafe { self.tiles.product(factors, size, sums) };
            for (r, sums) in sums.0[..rows].iter().enumerate() {
                let weight = self.weight.row_mut(o + r).into_slice().expect(WHOLE);
                weight.iter_mut().zip(sums).for_each(|(weight, sum)| *weight += sum);
            }
        }
    }
}

/// Adds the gradient of the biases: the sums of the errors.
#[inline(always)]
fn add_bias_gradient(d_sums: ArrayView2<f32>, db: ArrayViewMut1<f32>) {
    let db = db.into_slice().expect("the biases lie side by side");
    for row in d_sums.outer_iter() {
        let row = row.to_slice().expect(WHOLE);
        db.iter_mut().zip(row).for_each(|(db, d)| *db += d);
    }
}
