//! The pass back: errors layer by layer, then the gradients of weights and biases.

use ndarray::{ArrayView2, ArrayViewMut1, ArrayViewMut2, s};

use super::super::super::Work;
use super::super::convert::Convert;
use super::super::layer::row_block;
use super::super::words::{BLOCK, Strided, Sums, TILE, Words};
use super::super::{Errors, Factors, LayerEnds, Size, Square, Steps};
use super::{Block, CHUNK, CONTIGUOUS, LayerErrors, TileStack, sums_of};

/// The backward pass, as work compiled for the tiles' instructions.
pub(super) struct Backward<'a, T> {
    pub(super) stack: &'a mut TileStack<T>,
    pub(super) x: ArrayView2<'a, f32>,
    pub(super) dy: ArrayView2<'a, f32>,
    pub(super) grad: &'a mut [f32],
}

impl<T: Convert> Work for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Backward { stack, x, dy, grad } = self;
        let n_frames = dy.ncols();
        for frame in (0..n_frames).step_by(BLOCK) {
            stack.pack_errors(dy, frame);
            stack.pack_input_frames(x, n_frames, frame);
        }
        stack.slopes(n_frames);
        for layer in 0..stack.layers.len() {
            let (weight, bias) = stack.layers[layer].affine.split_mut(grad);
            if layer == 0 {
                stack.add_first_gradient(n_frames, weight, bias);
            } else {
                stack.add_weight_gradient(layer, n_frames, weight);
                stack.add_bias_gradient(layer, dy, bias);
            }
        }
    }
}

/// The end of a block of the backward pass.
struct Slope<'a, T> {
    tiles: T,
    sums: &'a Sums,
    /// What tanh made of the layer's sums, and where errors go; `None` where there is no block.
    of: Option<(Strided<*const u32>, Errors)>,
    rows: &'a mut [Square; 2],
}

impl<T: Convert> Steps for Slope<'_, T> {
    #[inline(always)]
    fn step(&mut self, k: usize) {
        if let Some((x, errors)) = self.of {
            // SAFETY: K3: the places were asked for by these sizes.
            unsafe { self.tiles.ends().slope(k, self.sums, x, errors, self.rows) }
        }
    }

    #[inline(always)]
    fn finish(&mut self) {
        if let Some((_, Errors::Inner { frames, .. })) = self.of {
            // SAFETY: K3: the place was asked for by its size.
            unsafe {
                self.tiles.ends().exchange(&self.rows[0], frames);
                self.tiles.ends().exchange(&self.rows[1], frames.right_of(TILE));
            }
        }
    }
}

impl<T: Convert> TileStack<T> {
    /// The errors of 32 frames of the outputs; zeros beyond the last one.
    #[inline(always)]
    fn pack_errors(&mut self, dy: ArrayView2<f32>, frame: usize) {
        let [_, squares] = &mut self.squares;
        write_rows(self.tiles, dy, frame, squares);
        let LayerErrors { pairs, frames, rows, .. } =
            self.errors.last_mut().expect("there is a layer of outputs");
        for (square, o) in squares.iter().zip((0..).step_by(TILE)) {
            if self.layers.len() > 1 {
                let to = frames.at_mut([frame / 2, o], [TILE, TILE]);
                // SAFETY: K3: the place was asked for by this size.
                unsafe { self.tiles.ends().exchange(square, to) };
            } else {
                for (words, row) in square.iter().zip(o..) {
                    rows.row_mut(row)[frame / 2..][..TILE].copy_from_slice(words);
                }
            }
        }
        for o in (0..if self.layers.len() > 1 { dy.nrows() } else { 0 }).step_by(2) {
            let mut rooms = [[0.0; BLOCK]; 2];
            let [low, high] = &mut rooms;
            let (low, high) = (row_block(dy, o, frame, low), row_block(dy, o + 1, frame, high));
            let words = pairs.row_mut(o / 2)[frame..].first_chunk_mut();
            self.tiles.interleave(low, high, words.expect("room for the frames"));
        }
    }

    /// 32 frames of the inputs as frames, of which `n_frames` are learned from.
    #[inline(always)]
    fn pack_input_frames(&mut self, x: ArrayView2<f32>, n_frames: usize, frame: usize) {
        let [squares, _] = &mut self.squares;
        write_rows(self.tiles, x.slice_move(s![.., ..n_frames]), frame, squares);
        for (square, i) in squares.iter().zip((0..).step_by(TILE)) {
            let to = self.input_frames.at_mut([frame / 2, i], [TILE, TILE]);
            // SAFETY: K3: the place was asked for by this size.
            unsafe { self.tiles.ends().exchange(square, to) };
        }
    }

    /// The errors of all layers below the last.
    #[inline(always)]
    fn slopes(&mut self, n_frames: usize) {
        self.errors.iter_mut().for_each(|errors| errors.totals.fill([0.0; TILE]));
        // The block whose sums are there, but not what becomes of them.
        let mut open = None;
        for chunk in (0..n_frames).step_by(CHUNK) {
            let frames = chunk..n_frames.min(chunk + CHUNK);
            for layer in (0..self.hidden.len()).rev() {
                for frame in frames.clone().step_by(BLOCK) {
                    for feature in (0..self.layers[layer].affine.n_outputs).step_by(BLOCK) {
                        let block = self.next_block(layer, feature, frame);
                        self.sum_back(block, open.replace(block));
                    }
                }
            }
        }
        if let Some(block) = open {
            self.end_back(block);
        }
    }

    /// The derivative by a hidden layer's outputs, and meanwhile the end of the block before.
    #[inline(always)]
    fn sum_back(&mut self, block: Block, mut before: Option<Block>) {
        if let Some(below) = before.take_if(|before| before.is_below(block)) {
            self.end_back(below);
        }
        let of = self.slope_of(before);
        let above = block.layer + 1;
        let frame = if above < self.hidden.len() { block.frame % CHUNK } else { block.frame };
        let n_pairs = self.layers[above].affine.n_outputs.div_ceil(2);
        let depth = n_pairs.next_multiple_of(TILE);
        let factors = Factors {
            left: self.layers[above].transposed.at([block.feature, 0], [BLOCK, depth]),
            right: self.errors[above].pairs.at([0, frame], [depth, BLOCK]),
        };
        let size = Size { rows: BLOCK, columns: BLOCK, pairs: n_pairs };
        let tiles = self.tiles;
        let (sums, before) = sums_of(&mut self.sums, block);
        let mut end = Slope { tiles, sums: before, of, rows: &mut self.rows };
        // SAFETY: K3: the places were asked for by these sizes. The end writes nothing that this product reads.
        unsafe { tiles.product_beside(factors, size, sums, &mut end) };
    }

    /// The end of a block by itself.
    #[inline(always)]
    fn end_back(&mut self, block: Block) {
        let of = self.slope_of(Some(block));
        let (tiles, sums) = (self.tiles, &self.sums[block.turn]);
        let mut end = Slope { tiles, sums, of, rows: &mut self.rows };
        for k in 0..TILE {
            end.step(k);
        }
        end.finish();
    }

    /// What the end of a block of the backward pass reads and where it writes.
    #[inline(always)]
    fn slope_of(&mut self, block: Option<Block>) -> Option<(Strided<*const u32>, Errors)> {
        let Block { layer, feature, frame, .. } = block?;
        let x = self.hidden[layer].pairs.at([feature / 2, frame], [TILE, BLOCK]);
        let LayerErrors { pairs, frames, rows, totals } = &mut self.errors[layer];
        let errors = if layer == 0 {
            Errors::First { rows: rows.at_mut([feature, frame / 2], [BLOCK, TILE]) }
        } else {
            Errors::Inner {
                pairs: pairs.at_mut([feature / 2, frame % CHUNK], [TILE, BLOCK]),
                frames: frames.at_mut([frame / 2, feature], [TILE, BLOCK]),
                totals: totals[feature..feature + BLOCK].as_mut_ptr().cast(),
            }
        };
        Some((x, errors))
    }

    /// Adds the gradient of the first layer: its errors times its inputs, and times one.
    #[inline(always)]
    fn add_first_gradient(
        &mut self,
        n_frames: usize,
        mut dw: ArrayViewMut2<f32>,
        mut db: ArrayViewMut1<f32>,
    ) {
        let (n_outputs, n_inputs) = dw.dim();
        for o in (0..n_outputs).step_by(BLOCK) {
            let rows = BLOCK.min(n_outputs - o);
            for i in (0..=n_inputs).step_by(BLOCK) {
                let columns = (BLOCK.min(n_inputs + 1 - i)).next_multiple_of(TILE);
                let right = (&self.input_frames, i);
                let sums = &mut self.sums[0];
                gradient(
                    self.tiles,
                    (&self.errors[0].rows, o),
                    right,
                    [rows, columns, n_frames],
                    sums,
                );
                for (r, sums) in sums.0[..rows].iter().enumerate() {
                    let n = BLOCK.min(n_inputs - i);
                    let dw = dw.row_mut(o + r).into_slice().expect(CONTIGUOUS);
                    dw[i..i + n].iter_mut().zip(sums).for_each(|(dw, sum)| *dw += sum);
                    if n < BLOCK {
                        db[o + r] += sums[n];
                    }
                }
            }
        }
    }

    /// Adds the gradient of a layer's weights: the outputs below times its errors, rows and columns exchanged.
    #[inline(always)]
    fn add_weight_gradient(&mut self, layer: usize, n_frames: usize, mut dw: ArrayViewMut2<f32>) {
        let (n_outputs, n_inputs) = dw.dim();
        for o in (0..n_outputs).step_by(BLOCK) {
            let columns = BLOCK.min(n_outputs - o);
            for i in (0..n_inputs).step_by(BLOCK) {
                let n = BLOCK.min(n_inputs - i);
                let size = [BLOCK, columns.next_multiple_of(TILE), n_frames];
                let left = (&self.hidden[layer - 1].rows, i);
                let sums = &mut self.sums[0];
                gradient(self.tiles, left, (&self.errors[layer].frames, o), size, sums);
                for o in (o..o + columns).step_by(TILE) {
                    let size = [TILE.min(n_outputs - o), n];
                    let stride = dw.strides()[0] as usize;
                    let first = dw.slice_mut(s![o.., i..]).as_mut_ptr();
                    let to = Strided { first, stride };
                    // SAFETY: K3: the matrix has so many rows and columns from there on.
                    unsafe { self.tiles.ends().add_exchanged(sums, o % BLOCK, to, size) };
                }
            }
        }
    }

    /// Adds the gradient of the biases of a layer but the first: the sums of its errors.
    #[inline(always)]
    fn add_bias_gradient(&self, layer: usize, dy: ArrayView2<f32>, mut db: ArrayViewMut1<f32>) {
        if layer < self.hidden.len() {
            let totals = db.iter_mut().zip(&self.errors[layer].totals);
            totals.for_each(|(db, total)| *db += total.iter().sum::<f32>());
        } else {
            for (db, errors) in db.iter_mut().zip(dy.outer_iter()) {
                let (chunks, rest) = errors.to_slice().expect(CONTIGUOUS).as_chunks::<TILE>();
                let mut total = [0.0; TILE];
                for errors in chunks {
                    total.iter_mut().zip(errors).for_each(|(total, error)| *total += error);
                }
                *db += total.iter().chain(rest).sum::<f32>();
            }
        }
    }
}

/// The product of `rows` rows and `columns` columns over so many frames.
#[inline(always)]
fn gradient<T: Convert>(
    tiles: T,
    (left, row): (&Words, usize),
    (right, column): (&Words, usize),
    [rows, columns, n_frames]: [usize; 3],
    sums: &mut Sums,
) {
    let pairs = n_frames.div_ceil(2).next_multiple_of(TILE);
    let factors = Factors {
        left: left.at([row, 0], [rows.next_multiple_of(TILE), pairs]),
        right: right.at([0, column], [pairs, columns]),
    };
    // SAFETY: K3: the places were asked for by these sizes.
    unsafe { tiles.product(factors, Size { rows, columns, pairs }, sums) };
}

/// 32 frames of each row, on their way to frames; zeros beyond the last one.
#[inline(always)]
fn write_rows<T: Convert>(tiles: T, x: ArrayView2<f32>, frame: usize, squares: &mut [Square]) {
    for (row, words) in squares.as_flattened_mut().iter_mut().enumerate().take(x.nrows()) {
        tiles.pairs(row_block(x, row, frame, &mut [0.0; BLOCK]), words);
    }
}
