//! A stack of dense layers in bf16: the pass forward and the pass back.

use ndarray::{ArrayView2, ArrayViewMut1, ArrayViewMut2, s};

use super::super::Work;
use super::super::stack::{Affine, Stack};
use super::convert::Convert;
use super::layer::{Layer, PARTS, row_block};
use super::words::{BLOCK, Place, Sums, TILE, Words, pair, unpaired};
use super::{Errors, Factors, Size, Square, Steps};

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

/// The forward pass, as work compiled for the tiles' instructions.
struct Forward<'a, T> {
    stack: &'a mut TileStack<T>,
    x: ArrayView2<'a, f32>,
    y: ArrayViewMut2<'a, f32>,
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
    pairs: Place<*mut u32>,
    rows: Option<Place<*mut u32>>,
}

impl<T: Convert> Steps for Activate<'_, T> {
    #[inline(always)]
    fn step(&mut self, k: usize) {
        if let Some(Room { biases, pairs, rows }) = self.to {
            // SAFETY: K3: the places were asked for by these sizes, and there is a bias a row.
            unsafe { self.tiles.activate(k, self.sums, biases, pairs, rows) }
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

/// The backward pass, as work compiled for the tiles' instructions.
struct Backward<'a, T> {
    stack: &'a mut TileStack<T>,
    x: ArrayView2<'a, f32>,
    dy: ArrayView2<'a, f32>,
    grad: &'a mut [f32],
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
    of: Option<(Place<*const u32>, Errors)>,
    rows: &'a mut [Square; 2],
}

impl<T: Convert> Steps for Slope<'_, T> {
    #[inline(always)]
    fn step(&mut self, k: usize) {
        if let Some((x, errors)) = self.of {
            // SAFETY: K3: the places were asked for by these sizes.
            unsafe { self.tiles.slope(k, self.sums, x, errors, self.rows) }
        }
    }

    #[inline(always)]
    fn finish(&mut self) {
        if let Some((_, Errors::Inner { frames, .. })) = self.of {
            // SAFETY: K3: the place was asked for by its size.
            unsafe {
                self.tiles.exchange(&self.rows[0], frames);
                self.tiles.exchange(&self.rows[1], frames.right_of(TILE));
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
                unsafe { self.tiles.exchange(square, to) };
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
            unsafe { self.tiles.exchange(square, to) };
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
    fn slope_of(&mut self, block: Option<Block>) -> Option<(Place<*const u32>, Errors)> {
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
                    let to = Place { first, stride };
                    // SAFETY: K3: the matrix has so many rows and columns from there on.
                    unsafe { self.tiles.add_exchanged(sums, o % BLOCK, to, size) };
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

/// Room for inputs, with a row of ones behind them, and for outputs.
fn squares(n_inputs: usize, n_outputs: usize) -> [Vec<Square>; 2] {
    let [mut inputs, outputs] =
        [n_inputs + 1, n_outputs].map(|n_rows| vec![[[0; TILE]; TILE]; n_rows.div_ceil(TILE)]);
    inputs.as_flattened_mut()[n_inputs] = [pair(1.0, 1.0); TILE];
    [inputs, outputs]
}
