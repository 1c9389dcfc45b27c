//! A stack of dense layers in bf16.
//!
//! Owns what is kept between packing, the pass forward and the pass back, which have a file each but the first.

mod backward;
mod forward;

use ndarray::{ArrayView2, ArrayViewMut2};

use super::super::Work;
use super::super::stack::{Affine, Stack};
use super::Square;
use super::convert::Convert;
use super::layer::{Layer, PARTS};
use super::words::{BLOCK, Sums, TILE, Words, pair};
use backward::Backward;
use forward::Forward;

/// Said of matrices here.
const CONTIGUOUS: &str = "a feature's frames lie side by side";

/// Frames that go through a layer before they go through the next one: two blocks, so that what a product reads was
/// not written just before; few enough that it is still in L1.
const CHUNK: usize = 2 * BLOCK;

/// The arithmetic of a multi-layer perceptron by [`super::Tiles`], with weights packed once a version.
pub(in super::super) struct TileStack<T> {
    tiles: T,
    layers: Vec<Layer>,
    /// Of the inputs, the parts that the first layer multiplies: pairs.
    inputs: Words,
    /// The same inputs and a 1 as frames.
    input_frames: Words,
    /// Outputs of each hidden layer.
    hidden: Vec<Hidden>,
    /// Gradients of each layer's sums.
    errors: Vec<LayerErrors>,
    /// 32 frames of the inputs and a 1, on their way to frames, and of the outputs' errors.
    squares: [Vec<Square>; 2],
    /// Of a block and of the one before it, in turns.
    sums: [Sums; 2],
    /// Which of them is the newest block's.
    turn: usize,
    /// Errors of a block, on their way to frames.
    rows: [Square; 2],
}

/// What the forward pass keeps of a hidden layer; no rows where nothing is learned.
struct Hidden {
    pairs: Words,
    rows: Words,
}

/// What the backward pass makes of a layer: of the first rows, of the others the rest.
struct LayerErrors {
    /// Of a chunk; of the outputs those of all frames.
    pairs: Words,
    frames: Words,
    rows: Words,
    /// Sums of the errors of each feature, `[F, 16]`, to be added up.
    totals: Vec<[f32; TILE]>,
}

/// 32 × 32 numbers of a layer: which one, the first feature, the first frame.
#[derive(Clone, Copy)]
struct Block {
    layer: usize,
    feature: usize,
    frame: usize,
    /// Where its sums are.
    turn: usize,
}

impl Block {
    /// Whether the product of another block reads what comes of this one.
    #[inline(always)]
    fn is_below(self, other: Block) -> bool {
        self.frame == other.frame && self.layer != other.layer
    }
}

impl<T: Convert> TileStack<T> {
    /// Room for `n_columns` frames; for a stack that `learns` also for the pass back.
    pub(in super::super) fn new(
        tiles: T,
        layers: &[Affine],
        n_columns: usize,
        learns: bool,
    ) -> Self {
        let n_frames = n_columns.next_multiple_of(BLOCK);
        let if_learns = |n: usize| if learns { n } else { 0 };
        let n_units = |affine: &Affine| affine.n_outputs.next_multiple_of(BLOCK);
        let n_inputs = layers[0].n_inputs;
        let hidden = layers[..layers.len() - 1].iter().map(|affine| Hidden {
            pairs: Words::zeros(n_units(affine) / 2, n_frames),
            rows: Words::zeros(if_learns(n_units(affine)), n_frames / 2),
        });
        let errors = layers.iter().enumerate().map(|(l, affine)| {
            let [n_first, n_inner] = [l == 0, l > 0].map(|is| if_learns(usize::from(is)));
            let n_pairs = if l + 1 < layers.len() { CHUNK } else { n_frames };
            LayerErrors {
                pairs: Words::zeros(n_inner * n_units(affine) / 2, n_pairs),
                frames: Words::zeros(n_inner * n_frames / 2, n_units(affine)),
                rows: Words::zeros(n_first * n_units(affine), n_frames / 2),
                totals: vec![[0.0; TILE]; n_inner * n_units(affine)],
            }
        });
        TileStack {
            tiles,
            hidden: hidden.collect(),
            errors: errors.collect(),
            layers: Vec::from_iter((0..).zip(layers).map(|(l, a)| Layer::new(*a, l, learns))),
            inputs: Words::zeros(PARTS * n_inputs.div_ceil(2), n_frames),
            input_frames: Words::zeros(if_learns(n_frames / 2), n_inputs + 1),
            squares: squares(n_inputs, layers[layers.len() - 1].n_outputs),
            sums: std::array::from_fn(|_| Sums([[0.0; BLOCK]; BLOCK])),
            turn: 0,
            rows: [[[0; TILE]; TILE]; 2],
        }
    }

    /// The next block.
    #[inline(always)]
    fn next_block(&mut self, layer: usize, feature: usize, frame: usize) -> Block {
        self.turn = 1 - self.turn;
        Block { layer, feature, frame, turn: self.turn }
    }
}

/// Room for a block's sums, and the sums of the block before it.
#[inline(always)]
fn sums_of([even, odd]: &mut [Sums; 2], block: Block) -> (&mut Sums, &Sums) {
    if block.turn == 0 { (even, odd) } else { (odd, even) }
}

impl<T: Convert> Stack<f32> for TileStack<T> {
    fn pack(&mut self, params: &[f32]) {
        self.tiles.run(Pack { tiles: self.tiles, layers: &mut self.layers, params });
    }

    fn forward(&mut self, _: &[f32], x: ArrayView2<f32>, y: ArrayViewMut2<f32>) {
        self.tiles.run(Forward { stack: self, x, y });
    }

    fn backward(&mut self, _: &[f32], x: ArrayView2<f32>, dy: ArrayView2<f32>, grad: &mut [f32]) {
        self.tiles.run(Backward { stack: self, x, dy, grad });
    }
}

/// The packing of weights, as work compiled for the tiles' instructions.
struct Pack<'a, T> {
    tiles: T,
    layers: &'a mut [Layer],
    params: &'a [f32],
}

impl<T: Convert> Work for Pack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for layer in self.layers {
            layer.pack(self.tiles, self.params);
        }
    }
}

/// Room for inputs, with a row of ones behind them, and for outputs.
fn squares(n_inputs: usize, n_outputs: usize) -> [Vec<Square>; 2] {
    let [mut inputs, outputs] =
        [n_inputs + 1, n_outputs].map(|n_rows| vec![[[0; TILE]; TILE]; n_rows.div_ceil(TILE)]);
    inputs.as_flattened_mut()[n_inputs] = [pair(1.0, 1.0); TILE];
    [inputs, outputs]
}
