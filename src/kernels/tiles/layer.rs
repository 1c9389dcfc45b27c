//! The weights of a layer, as they are multiplied.

use ndarray::{ArrayView2, Axis};

use super::super::stack::Affine;
use super::convert::Convert;
use super::words::{BLOCK, TILE, Words, of_bf16, to_bf16};

/// Parts in which the first layer sees its inputs: high, low and high again. Each begins at a pair of its own.
pub(super) const PARTS: usize = 3;

/// The weights of one layer.
pub(super) struct Layer {
    pub(super) affine: Affine,
    /// Pairs of its right factor.
    pub(super) n_pairs: usize,
    /// `[O, I/2]`.
    pub(super) weights: Words,
    /// `[I, O/2]`; empty where nobody asks for it: in the first layer, and where nothing is learned.
    pub(super) transposed: Words,
    /// `[O]`, and zeros up to a whole block.
    pub(super) biases: Vec<f32>,
    /// The parts of an output's weights, on their way; zeros between and behind them.
    parts: Vec<f32>,
}

impl Layer {
    /// Room for layer `index` of a stack; of one that `learns` also for the pass back.
    pub(super) fn new(affine: Affine, index: usize, learns: bool) -> Self {
        let n_rows = affine.n_outputs.next_multiple_of(BLOCK);
        let n_pairs = affine.n_inputs.div_ceil(2) * if index == 0 { PARTS } else { 1 };
        let n_transposed =
            if index > 0 && learns { affine.n_inputs.next_multiple_of(BLOCK) } else { 0 };
        let n_parts = if index == 0 { 2 * n_pairs } else { 0 };
        Layer {
            affine,
            n_pairs,
            weights: Words::zeros(n_rows, n_pairs),
            transposed: Words::zeros(n_transposed, n_rows / 2),
            biases: vec![0.0; n_rows],
            parts: vec![0.0; n_parts],
        }
    }

    /// Takes over newer parameters.
    #[inline(always)]
    pub(super) fn pack<T: Convert>(&mut self, tiles: T, params: &[f32]) {
        let (weight, bias) = (self.affine.weight(params), self.affine.bias(params));
        for (o, (row, bias)) in weight.outer_iter().zip(bias).enumerate() {
            self.biases[o] = *bias;
            let mut row = row.to_slice().expect("the weights of an output are contiguous");
            if !self.parts.is_empty() {
                split(row, &mut self.parts);
                row = &self.parts;
            }
            let words = self.weights.row_mut(o).as_chunks_mut::<TILE>().0;
            for (words, i) in words.iter_mut().zip((0..row.len()).step_by(BLOCK)) {
                tiles.pairs(padded(&row[i..], &mut [0.0; BLOCK]), words);
            }
        }
        if !self.transposed.is_empty() {
            self.pack_transposed(tiles, params);
        }
    }

    /// Two outputs at a time become a row of pairs, and rows become columns.
    #[inline(always)]
    fn pack_transposed<T: Convert>(&mut self, tiles: T, params: &[f32]) {
        let weight = self.affine.weight(params);
        let (n_outputs, n_inputs) = weight.dim();
        for o in (0..n_outputs).step_by(BLOCK) {
            for i in (0..n_inputs).step_by(BLOCK) {
                let mut squares = [[[0; TILE]; TILE]; 2];
                for k in 0..TILE.min((n_outputs - o).div_ceil(2)) {
                    let mut rooms = [[0.0; BLOCK]; 2];
                    let [low, high] = &mut rooms;
                    let (low, high) = (
                        row_block(weight, o + 2 * k, i, low),
                        row_block(weight, o + 2 * k + 1, i, high),
                    );
                    let mut words = [0; BLOCK];
                    tiles.interleave(low, high, &mut words);
                    for (square, words) in squares.iter_mut().zip(words.as_chunks().0) {
                        square[k] = *words;
                    }
                }
                for (half, mut square) in squares.into_iter().enumerate() {
                    tiles.transpose(&mut square);
                    for (r, words) in square.iter().enumerate() {
                        let row = self.transposed.row_mut(i + half * TILE + r);
                        row[o / 2..o / 2 + TILE].copy_from_slice(words);
                    }
                }
            }
        }
    }
}

/// The parts of weights that meet those of inputs: high, high and low.
#[inline(always)]
fn split(weights: &[f32], parts: &mut [f32]) {
    let stride = weights.len().next_multiple_of(2);
    for (i, &weight) in weights.iter().enumerate() {
        (parts[i], parts[stride + i]) = (weight, weight);
        parts[2 * stride + i] = weight - of_bf16(to_bf16(weight));
    }
}

/// 32 numbers of a row from a column on; in the room given, with its zeros, where there are fewer or is no row.
#[inline(always)]
pub(super) fn row_block<'a>(
    matrix: ArrayView2<'a, f32>,
    row: usize,
    column: usize,
    room: &'a mut [f32; BLOCK],
) -> &'a [f32; BLOCK] {
    if row >= matrix.nrows() {
        return room;
    }
    let row =
        matrix.index_axis_move(Axis(0), row).to_slice().expect("a row's numbers lie side by side");
    padded(&row[column..], room)
}

/// The first 32 of some numbers; in the room given, with its zeros behind them, where they are fewer.
#[inline(always)]
fn padded<'a>(numbers: &'a [f32], room: &'a mut [f32; BLOCK]) -> &'a [f32; BLOCK] {
    match numbers.first_chunk() {
        Some(whole) => whole,
        None => {
            room[..numbers.len()].copy_from_slice(numbers);
            room
        }
    }
}
