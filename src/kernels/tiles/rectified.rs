//! A dense layer between two ReLUs in bf16: packing, the pass forward and the pass back.
//!
//! Its inputs are made frame by frame, and so its factors are rows of frames: of two numbers of a frame forward and
//! back, of two frames for the gradient of the weights. None of them is transposed but the errors for the last one,
//! which are few.

use ndarray::{ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis};

use super::super::rectified::Rectified;
use super::super::{Affine, FeatureMajor, Work};
use super::convert::Convert;
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
    /// What goes into the first ReLU, of two frames; zeros beyond I.
    two_frames: FeatureMajor<f32>,
    /// What comes out, of 32 frames: pairs of numbers, `[32, I/2]`.
    inputs: Words,
    /// And of all frames: pairs of frames, `[N/2, I]`; empty where nothing is learned.
    kept: Panels,
    /// The errors of the sums, of 32 frames: pairs of outputs, `[32, O/2]`.
    errors: Words,
    /// And of all frames: pairs of frames, `[O, N/2]`.
    error_rows: Words,
    /// The latter on their way there: of 16 pairs of frames all outputs, 16 side by side.
    squares: Vec<[[u32; TILE]; TILE]>,
    /// The derivative by what went into the first ReLU, of 32 frames, `[32, I]`.
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
            two_frames: FeatureMajor::zeros(2, n_inputs),
            inputs: Words::zeros(BLOCK, n_inputs / 2),
            kept: Panels::zeros(n_kept, n_inputs),
            errors: Words::zeros(BLOCK, n_outputs / 2),
            error_rows: Words::zeros(n_outputs, n_kept),
            squares: vec![[[0; TILE]; TILE]; n_outputs / TILE],
            d_inputs: FeatureMajor::zeros(if_learns(BLOCK), n_inputs),
            sums: Sums([[0.0; BLOCK]; BLOCK]),
        }
    }

    fn n_input_panels(&self) -> usize {
        self.layer.n_inputs.div_ceil(BLOCK)
    }

    fn n_output_panels(&self) -> usize {
        self.layer.n_outputs.div_ceil(BLOCK)
    }
}

impl<T: Convert> Rectified<f32> for TileRectified<T> {
    fn pack(&mut self, params: &[f32]) {
        self.tiles.run(Pack { layer: self, params });
    }

    fn forward(
        &mut self,
        _: &[f32],
        write: &mut dyn FnMut(usize, &mut [f32]),
        outputs: ArrayViewMut2<f32>,
    ) {
        self.tiles.run(Forward { layer: self, write, outputs });
    }

    fn backward(
        &mut self,
        _: &[f32],
        d_sums: ArrayView2<f32>,
        read: &mut dyn FnMut(usize, &[f32]),
        grad: &mut [f32],
    ) {
        self.tiles.run(Backward { layer: self, d_sums, read, grad });
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
                self.tiles.pairs(block_of(weight, row, i, &mut [0.0; BLOCK]), words);
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
                let low = block_of(weight, 2 * k, panel * BLOCK, &mut low);
                let high = block_of(weight, 2 * k + 1, panel * BLOCK, &mut high);
                self.tiles.interleave(low, high, self.transposed.row_mut(panel, k));
            }
        }
    }
}

/// 32 numbers of a row, from a column on; zeros beyond the end of both, for which there is room.
#[inline(always)]
fn block_of<'a>(
    matrix: ArrayView2<'a, f32>,
    row: usize,
    column: usize,
    room: &'a mut [f32; BLOCK],
) -> &'a [f32; BLOCK] {
    let mut left: &[f32] = &[];
    if row < matrix.nrows() {
        left = &matrix.index_axis_move(Axis(0), row).to_slice().expect(WHOLE)[column..];
    }
    left.first_chunk().unwrap_or_else(|| {
        room.fill(0.0);
        room[..left.len()].copy_from_slice(left);
        room
    })
}

/// The forward pass, as work compiled for the tiles' instructions.
struct Forward<'a, T> {
    layer: &'a mut TileRectified<T>,
    write: &'a mut dyn FnMut(usize, &mut [f32]),
    outputs: ArrayViewMut2<'a, f32>,
}

impl<T: Convert> Work for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let n_frames = self.outputs.nrows();
        for n in (0..n_frames).step_by(BLOCK) {
            let width = BLOCK.min(n_frames - n);
            for r in (0..BLOCK).step_by(2) {
                self.layer.take_two(n + r, n_frames, self.write);
            }
            for panel in 0..self.layer.n_output_panels() {
                self.layer.write_outputs(panel, n, width, &mut self.outputs);
            }
        }
    }
}

impl<T: Convert> TileRectified<T> {
    /// The inputs of frame `n` and the next one, through the ReLU; zeros instead of frames from `n_frames` on.
    #[inline(always)]
    fn take_two(&mut self, n: usize, n_frames: usize, write: &mut dyn FnMut(usize, &mut [f32])) {
        let mut two_frames = self.two_frames.view_mut();
        for half in 0..2 {
            let numbers = two_frames.row_mut(half).into_slice().expect(WHOLE);
            let numbers = &mut numbers[..self.layer.n_inputs];
            if n + half < n_frames {
                write(n + half, numbers);
            } else {
                numbers.fill(0.0);
            }
        }
        self.rectify(n);
    }

    /// Two frames behind the ReLU, as they are multiplied.
    #[inline(always)]
    fn rectify(&mut self, n: usize) {
        let two_frames = self.two_frames.view_mut();
        let (mut even, mut odd) = two_frames.split_at(Axis(0), 1);
        let even = even.as_slice_mut().expect(WHOLE).as_chunks_mut::<BLOCK>().0;
        let odd = odd.as_slice_mut().expect(WHOLE).as_chunks_mut::<BLOCK>().0;
        for (panel, (even, odd)) in even.iter_mut().zip(odd).enumerate() {
            self.tiles.rectify(even);
            self.tiles.rectify(odd);
            for (half, numbers) in [&*even, &*odd].into_iter().enumerate() {
                let words = &mut self.inputs.row_mut(n % BLOCK + half)[panel * TILE..];
                self.tiles.pairs(numbers, words.first_chunk_mut().expect("room for the inputs"));
            }
            if !self.kept.is_empty() {
                self.tiles.interleave(even, odd, self.kept.row_mut(panel, n / 2));
            }
        }
    }

    /// The outputs of a panel, of `width` frames from `n` on.
    #[inline(always)]
    fn write_outputs(
        &mut self,
        panel: usize,
        n: usize,
        width: usize,
        outputs: &mut ArrayViewMut2<f32>,
    ) {
        let first = panel * BLOCK;
        let columns = BLOCK.min(self.layer.n_outputs - first);
        let pairs = self.layer.n_inputs.div_ceil(2);
        let (height, depth) = (width.next_multiple_of(TILE), pairs.next_multiple_of(TILE));
        let factors = Factors {
            left: self.inputs.at([0, 0], [height, depth]),
            right: self.weights.at(panel, depth),
        };
        let size = Size { rows: width, columns: columns.next_multiple_of(TILE), pairs };
        // SAFETY: K3: the places were asked for by these sizes.
        unsafe { self.tiles.product(factors, size, &mut self.sums) };
        let biases = &self.biases.as_chunks().0[panel];
        for (r, sums) in self.sums.0[..width].iter_mut().enumerate() {
            self.tiles.rectify_biased(sums, biases);
            let row = outputs.row_mut(n + r).into_slice().expect(WHOLE);
            row[first..first + columns].copy_from_slice(&sums[..columns]);
        }
    }
}

/// The backward pass, as work compiled for the tiles' instructions.
struct Backward<'a, T> {
    layer: &'a mut TileRectified<T>,
    d_sums: ArrayView2<'a, f32>,
    read: &'a mut dyn FnMut(usize, &[f32]),
    grad: &'a mut [f32],
}

impl<T: Convert> Work for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Backward { layer, d_sums, read, grad } = self;
        let n_frames = d_sums.nrows();
        for n in (0..n_frames).step_by(BLOCK) {
            let width = BLOCK.min(n_frames - n);
            layer.pack_errors(d_sums, n);
            for panel in 0..layer.n_input_panels() {
                layer.derive_inputs(panel, n, width);
            }
            for (frame, d_inputs) in (n..n + width).zip(layer.d_inputs.view().outer_iter()) {
                read(frame, &d_inputs.to_slice().expect(WHOLE)[..layer.layer.n_inputs]);
            }
        }
        let (weight, bias) = layer.layer.split_mut(grad);
        layer.add_weight_gradient(n_frames, weight);
        add_bias_gradient(d_sums, bias);
    }
}

impl<T: Convert> TileRectified<T> {
    /// The errors of 32 frames; zeros for frames beyond the last.
    #[inline(always)]
    fn pack_errors(&mut self, d_sums: ArrayView2<f32>, n: usize) {
        for k in 0..TILE {
            for panel in 0..self.n_output_panels() {
                let (mut even, mut odd) = ([0.0; BLOCK], [0.0; BLOCK]);
                let even = block_of(d_sums, n + 2 * k, panel * BLOCK, &mut even);
                let odd = block_of(d_sums, n + 2 * k + 1, panel * BLOCK, &mut odd);
                for (half, numbers) in [even, odd].into_iter().enumerate() {
                    let words = &mut self.errors.row_mut(2 * k + half)[panel * TILE..];
                    self.tiles.pairs(numbers, words.first_chunk_mut().expect("room for errors"));
                }
                let mut words = [0; BLOCK];
                self.tiles.interleave(even, odd, &mut words);
                let halves = words.as_chunks::<TILE>().0;
                let squares = &mut self.squares[2 * panel..][..2];
                squares.iter_mut().zip(halves).for_each(|(square, half)| square[k] = *half);
            }
        }
        for (square, o) in self.squares.iter_mut().zip((0..).step_by(TILE)) {
            self.tiles.transpose(square);
            for (words, o) in square.iter().zip(o..) {
                self.error_rows.row_mut(o)[n / 2..n / 2 + TILE].copy_from_slice(words);
            }
        }
    }

    /// The derivative by 32 inputs of `width` frames, through the ReLU below them.
    #[inline(always)]
    fn derive_inputs(&mut self, panel: usize, n: usize, width: usize) {
        let pairs = self.layer.n_outputs.div_ceil(2);
        let (height, depth) = (width.next_multiple_of(TILE), pairs.next_multiple_of(TILE));
        let factors = Factors {
            left: self.errors.at([0, 0], [height, depth]),
            right: self.transposed.at(panel, depth),
        };
        let size = Size { rows: width, columns: BLOCK, pairs };
        // SAFETY: K3: the places were asked for by these sizes.
        unsafe { self.tiles.product(factors, size, &mut self.sums) };
        let mut d_inputs = self.d_inputs.view_mut();
        for (r, sums) in self.sums.0[..width].iter().enumerate() {
            // A number behind the ReLU is not 0 where it was above; its sign does not count.
            let numbers = (self.kept.row(panel, (n + r) / 2), r % 2);
            let row = d_inputs.row_mut(r).into_slice().expect(WHOLE);
            self.tiles.where_not_zero(sums, numbers, &mut row.as_chunks_mut().0[panel]);
        }
    }

    /// Adds the gradient of the weights. A panel of inputs stays in L1 for all outputs.
    #[inline(always)]
    fn add_weight_gradient(&mut self, n_frames: usize, mut dw: ArrayViewMut2<f32>) {
        let pairs = n_frames.div_ceil(2);
        let depth = pairs.next_multiple_of(TILE);
        let (n_outputs, n_inputs) = dw.dim();
        for (panel, i) in (0..n_inputs).step_by(BLOCK).enumerate() {
            let columns = BLOCK.min(n_inputs - i);
            for o in (0..n_outputs).step_by(BLOCK) {
                let rows = BLOCK.min(n_outputs - o);
                let factors = Factors {
                    left: self.error_rows.at([o, 0], [rows.next_multiple_of(TILE), depth]),
                    right: self.kept.at(panel, depth),
                };
                let size = Size { rows, columns: columns.next_multiple_of(TILE), pairs };
                // SAFETY: K3: the places were asked for by these sizes.
                unsafe { self.tiles.product(factors, size, &mut self.sums) };
                for (r, sums) in self.sums.0[..rows].iter().enumerate() {
                    let dw = dw.row_mut(o + r).into_slice().expect(WHOLE);
                    dw[i..i + columns].iter_mut().zip(sums).for_each(|(dw, sum)| *dw += sum);
                }
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
