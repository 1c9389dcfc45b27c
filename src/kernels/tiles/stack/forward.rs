//! The pass forward: each product beside the end of the block before it.

use ndarray::{ArrayView2, ArrayViewMut2};

use super::super::super::Work;
use super::super::convert::Convert;
use super::super::layer::{Layer, row_block};
use super::super::words::{BLOCK, Strided, Sums, TILE, Words, unpaired};
use super::super::{Factors, LayerEnds, Size, Steps};
use super::{Block, CHUNK, CONTIGUOUS, Hidden, TileStack, sums_of};

/// The forward pass, as work compiled for the tiles' instructions.
pub(super) struct Forward<'a, T> {
    pub(super) stack: &'a mut TileStack<T>,
    pub(super) x: ArrayView2<'a, f32>,
    pub(super) y: ArrayViewMut2<'a, f32>,
}

impl<T: Convert> Work for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Forward { stack, x, mut y } = self;
        let n_frames = x.ncols();
        for frame in (0..n_frames).step_by(BLOCK) {
            stack.pack_inputs(x, frame);
        }
        // The block whose sums are there, but not what becomes of them.
        let mut open = None;
        for chunk in (0..n_frames).step_by(CHUNK) {
            let frames = chunk..n_frames.min(chunk + CHUNK);
            for layer in 0..stack.hidden.len() {
                for frame in frames.clone().step_by(BLOCK) {
                    for feature in (0..stack.layers[layer].affine.n_outputs).step_by(BLOCK) {
                        let block = stack.next_block(layer, feature, frame);
                        stack.sum(block, BLOCK, open.replace(block));
                    }
                }
            }
            for frame in frames.step_by(BLOCK) {
                stack.write_outputs(&mut y, frame, &mut open);
            }
        }
    }
}

/// The end of a block of the forward pass.
struct Activate<'a, T> {
    tiles: T,
    sums: &'a Sums,
    /// `None` where there is no block.
    to: Option<Room>,
}

/// The biases of a block, and where its outputs go.
#[derive(Clone, Copy)]
struct Room {
    biases: *const f32,
    pairs: Strided<*mut u32>,
    rows: Option<Strided<*mut u32>>,
}

impl<T: Convert> Steps for Activate<'_, T> {
    #[inline(always)]
    fn step(&mut self, k: usize) {
        if let Some(Room { biases, pairs, rows }) = self.to {
            // SAFETY: K3: the places were asked for by these sizes, and there is a bias a row.
            unsafe { self.tiles.ends().activate(k, self.sums, biases, pairs, rows) }
        }
    }

    #[inline(always)]
    fn finish(&mut self) {}
}

impl<T: Convert> TileStack<T> {
    /// The parts of 32 frames of the inputs; zeros beyond the last one.
    #[inline(always)]
    fn pack_inputs(&mut self, x: ArrayView2<f32>, frame: usize) {
        let n_pairs = x.nrows().div_ceil(2);
        for k in 0..n_pairs {
            let mut rooms = [[0.0; BLOCK]; 2];
            let [low_room, high_room] = &mut rooms;
            let low = row_block(x, 2 * k, frame, low_room);
            let high = row_block(x, 2 * k + 1, frame, high_room);
            let mut words = [0; BLOCK];
            self.tiles.interleave(low, high, &mut words);
            let [mut low_rest, mut high_rest] = [*low, *high];
            for (n, word) in words.iter().enumerate() {
                let [low, high] = unpaired(*word);
                low_rest[n] -= low;
                high_rest[n] -= high;
            }
            let mut rest = [0; BLOCK];
            self.tiles.interleave(&low_rest, &high_rest, &mut rest);
            for (part, words) in [&words, &rest, &words].into_iter().enumerate() {
                let row = self.inputs.row_mut(part * n_pairs + k);
                row[frame..frame + BLOCK].copy_from_slice(words);
            }
        }
    }

    /// The right factor of a layer.
    #[inline(always)]
    fn below(&self, layer: usize) -> &Words {
        if layer == 0 { &self.inputs } else { &self.hidden[layer - 1].pairs }
    }

    /// Sums of up to 32 outputs of a layer for 32 frames, and meanwhile the end of the block before.
    #[inline(always)]
    fn sum(&mut self, block: Block, rows: usize, mut before: Option<Block>) {
        if let Some(below) = before.take_if(|before| before.is_below(block)) {
            self.end(below);
        }
        let to = self.room_for(before);
        let Layer { n_pairs, ref weights, .. } = self.layers[block.layer];
        let (height, depth) = (rows.next_multiple_of(TILE), n_pairs.next_multiple_of(TILE));
        let factors = Factors {
            left: weights.at([block.feature, 0], [height, depth]),
            right: self.below(block.layer).at([0, block.frame], [depth, BLOCK]),
        };
        let size = Size { rows, columns: BLOCK, pairs: n_pairs };
        let tiles = self.tiles;
        let (sums, before) = sums_of(&mut self.sums, block);
        let mut end = Activate { tiles, sums: before, to };
        // SAFETY: K3: the places were asked for by these sizes. The end writes nothing that this product reads.
        unsafe { tiles.product_beside(factors, size, sums, &mut end) };
    }

    /// What the end of a block reads besides its sums, and where it writes.
    #[inline(always)]
    fn room_for(&mut self, block: Option<Block>) -> Option<Room> {
        let Block { layer, feature, frame, .. } = block?;
        let biases = self.layers[layer].biases[feature..feature + BLOCK].as_ptr();
        let Hidden { pairs, rows } = &mut self.hidden[layer];
        let pairs = pairs.at_mut([feature / 2, frame], [TILE, BLOCK]);
        let rows = (!rows.is_empty()).then(|| rows.at_mut([feature, frame / 2], [BLOCK, TILE]));
        Some(Room { biases, pairs, rows })
    }

    /// The end of a block by itself.
    #[inline(always)]
    fn end(&mut self, block: Block) {
        let to = self.room_for(Some(block));
        let mut end = Activate { tiles: self.tiles, sums: &self.sums[block.turn], to };
        for k in 0..TILE {
            end.step(k);
        }
    }

    /// The last layer's outputs of 32 frames, or as many as there are.
    #[inline(always)]
    fn write_outputs(
        &mut self,
        y: &mut ArrayViewMut2<f32>,
        frame: usize,
        open: &mut Option<Block>,
    ) {
        let layer = self.layers.len() - 1;
        let (n_outputs, n_frames) = y.dim();
        let width = BLOCK.min(n_frames - frame);
        for feature in (0..n_outputs).step_by(BLOCK) {
            let rows = BLOCK.min(n_outputs - feature);
            let block = self.next_block(layer, feature, frame);
            self.sum(block, rows, open.take());
            let biases = &self.layers[layer].biases[feature..];
            for (r, sums) in self.sums[block.turn].0[..rows].iter().enumerate() {
                let row = y.row_mut(feature + r).into_slice().expect(CONTIGUOUS);
                let outputs = row[frame..frame + width].iter_mut().zip(sums);
                outputs.for_each(|(y, sum)| *y = sum + biases[r]);
            }
        }
    }
}
