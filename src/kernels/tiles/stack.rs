//! A stack of dense layers in bf16: packing, the pass forward and the pass back.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};

use super::super::Work;
use super::super::stack::{Affine, Stack};
use super::words::{BLOCK, Sums, TILE, Words, of_bf16, pair, to_bf16, unpaired};
use super::{Factors, Size, Tiles};

/// The arithmetic of a multi-layer perceptron by [`Tiles`], with weights packed once a version.
pub(in super::super) struct TileStack<T> {
    tiles: T,
    layers: Vec<Layer>,
    /// Of the inputs, the parts that the first layer multiplies: pairs.
    inputs: Words,
    /// The same inputs as frames.
    input_frames: Words,
    /// One input's, on their way there.
    input_row: Vec<u32>,
    /// Outputs of each hidden layer.
    hidden: Vec<Hidden>,
    /// Gradients of each layer's sums.
    errors: Vec<Errors>,
    sums: Sums,
}

/// The weights of one layer, as they are multiplied.
struct Layer {
    affine: Affine,
    /// Pairs of its right factor.
    n_pairs: usize,
    /// `[O, I/2]`.
    weights: Words,
    /// `[I, O/2]`; of the first layer nobody asks for it.
    transposed: Words,
    /// Each bias 16 times, `[O, 16]`.
    biases: Vec<f32>,
    /// Of two outputs the weights as pairs, on their way to the transposed, `[I]`.
    two_outputs: Vec<u32>,
}

/// What the forward pass keeps of a hidden layer.
struct Hidden {
    pairs: Words,
    frames: Words,
}

/// What the backward pass makes of a layer.
struct Errors {
    pairs: Words,
    rows: Words,
}

/// A start of no bias.
static ZEROS: [f32; BLOCK * TILE] = [0.0; BLOCK * TILE];

/// Parts in which the first layer sees each of its inputs: high, low and high again.
const PARTS: usize = 3;

impl<T: Tiles> TileStack<T> {
    /// Room for `n_columns` frames; for a stack that `learns` also for the pass back.
    pub(in super::super) fn new(
        tiles: T,
        layers: &[Affine],
        n_columns: usize,
        learns: bool,
    ) -> Self {
        let n_frames = n_columns.next_multiple_of(BLOCK);
        let n_kept = if learns { n_frames / 2 } else { 0 };
        let n_learned = if learns { n_frames } else { 0 };
        let n_units = |affine: &Affine| affine.n_outputs.next_multiple_of(BLOCK);
        let n_inputs = layers[0].n_inputs;
        let hidden = layers[..layers.len() - 1].iter().map(|affine| Hidden {
            pairs: Words::zeros(n_units(affine) / 2, n_frames),
            frames: Words::zeros(n_kept, n_units(affine)),
        });
        let errors = layers.iter().map(|affine| Errors {
            pairs: Words::zeros(n_units(affine) / 2, n_learned),
            rows: Words::zeros(n_units(affine), n_kept),
        });
        TileStack {
            tiles,
            hidden: hidden.collect(),
            errors: errors.collect(),
            layers: layers.iter().enumerate().map(|(l, affine)| Layer::new(*affine, l)).collect(),
            inputs: Words::zeros((PARTS * n_inputs).div_ceil(2), n_frames),
            input_frames: Words::zeros(n_kept, n_inputs.next_multiple_of(TILE)),
            input_row: vec![0; n_kept],
            sums: Sums([[0.0; BLOCK]; BLOCK]),
        }
    }
}

impl Layer {
    fn new(affine: Affine, index: usize) -> Self {
        let Affine { n_outputs, n_inputs, .. } = affine;
        let n_rows = n_outputs.next_multiple_of(BLOCK);
        let n_places = if index == 0 { PARTS * n_inputs } else { n_inputs };
        Layer {
            affine,
            n_pairs: n_places.div_ceil(2),
            weights: Words::zeros(n_rows, n_places.div_ceil(2)),
            transposed: Words::zeros(n_inputs.next_multiple_of(BLOCK), n_rows / 2),
            biases: vec![0.0; n_rows * TILE],
            two_outputs: vec![0; n_inputs],
        }
    }

    #[inline(always)]
    fn pack(&mut self, index: usize, weight: ArrayView2<f32>, bias: ArrayView1<f32>) {
        for (o, (row, &bias)) in weight.outer_iter().zip(bias).enumerate() {
            self.biases[o * TILE..(o + 1) * TILE].fill(bias);
            let row = row.to_slice().expect("the weights of an output are contiguous");
            let words = self.weights.row_mut(o);
            if index == 0 {
                for (place, word) in words.iter_mut().enumerate().take(self.n_pairs) {
                    *word = pair(split_weight(row, 2 * place), split_weight(row, 2 * place + 1));
                }
            } else {
                write_pairs(words, row);
            }
        }
        if index > 0 {
            self.pack_transposed(weight);
        }
    }

    /// Two outputs at a time become a row of pairs, and rows become columns.
    #[inline(always)]
    fn pack_transposed(&mut self, weight: ArrayView2<f32>) {
        let n_inputs = weight.ncols();
        let values = weight.to_slice().expect("the weights lie one after another");
        let words = &mut self.two_outputs[..n_inputs];
        for (k, rows) in values.chunks(2 * n_inputs).enumerate() {
            let (low, high) = rows.split_at(n_inputs);
            if high.is_empty() {
                words.iter_mut().zip(low).for_each(|(word, low)| *word = pair(*low, 0.0));
            } else {
                let both = words.iter_mut().zip(low).zip(high);
                both.for_each(|((word, low), high)| *word = pair(*low, *high));
            }
            self.transposed.write_column(k, words);
        }
    }
}

/// What the first layer sees in one of its places, of `width` frames: high, low, high; zero beyond.
#[inline(always)]
fn input_part(x: ArrayView2<f32>, place: usize, n: usize, width: usize) -> [f32; BLOCK] {
    let n_inputs = x.nrows();
    let mut numbers = [0.0; BLOCK];
    if place < PARTS * n_inputs {
        let row = x.row(place % n_inputs);
        let row = &row.as_slice().expect("columns are contiguous")[n..n + width];
        match row.first_chunk() {
            Some(whole) => numbers = *whole,
            None => numbers[..width].copy_from_slice(row),
        }
        if place / n_inputs == 1 {
            numbers.iter_mut().for_each(|x| *x -= of_bf16(to_bf16(*x)));
        }
    }
    numbers
}

/// The part of a weight that meets a place of the inputs: high, high, low; zero beyond.
fn split_weight(row: &[f32], place: usize) -> f32 {
    let n_inputs = row.len();
    if place >= PARTS * n_inputs {
        return 0.0;
    }
    let (weight, part) = (row[place % n_inputs], place / n_inputs);
    if part < 2 { weight } else { weight - of_bf16(to_bf16(weight)) }
}

impl<T: Tiles> Stack<f32> for TileStack<T> {
    fn pack(&mut self, params: &[f32]) {
        self.tiles.run(Pack { layers: &mut self.layers, params });
    }

    fn forward(&mut self, _: &[f32], x: ArrayView2<f32>, y: ArrayViewMut2<f32>) {
        self.tiles.run(Forward { stack: self, x, y });
    }

    fn backward(&mut self, _: &[f32], x: ArrayView2<f32>, dy: ArrayView2<f32>, grad: &mut [f32]) {
        self.tiles.run(Backward { stack: self, x, dy, grad });
    }
}

/// The packing of weights, as work compiled for the tiles' instructions.
struct Pack<'a> {
    layers: &'a mut [Layer],
    params: &'a [f32],
}

impl Work for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let affine = layer.affine;
            layer.pack(index, affine.weight(self.params), affine.bias(self.params));
        }
    }
}

/// The forward pass, as work compiled for the tiles' instructions.
struct Forward<'a, T> {
    stack: &'a mut TileStack<T>,
    x: ArrayView2<'a, f32>,
    y: ArrayViewMut2<'a, f32>,
}

impl<T: Tiles> Work for Forward<'_, T> {
    type Output = ();

    /// Through the whole stack with 32 frames, and then the next 32: all that a layer reads is in L1.
    #[inline(always)]
    fn run(mut self) {
        let n_frames = self.x.ncols();
        for n in (0..n_frames).step_by(BLOCK) {
            let width = BLOCK.min(n_frames - n);
            self.stack.pack_inputs(self.x, n, width);
            for l in 0..self.stack.hidden.len() {
                self.stack.activate(l, n);
            }
            self.stack.write_outputs(&mut self.y, n, width);
        }
    }
}

impl<T: Tiles> TileStack<T> {
    /// The parts of `width` frames of the inputs.
    #[inline(always)]
    fn pack_inputs(&mut self, x: ArrayView2<f32>, n: usize, width: usize) {
        for k in 0..self.layers[0].n_pairs {
            let low = input_part(x, 2 * k, n, width);
            let high = input_part(x, 2 * k + 1, n, width);
            let words = &mut self.inputs.row_mut(k)[n..n + BLOCK];
            for ((word, low), high) in words.iter_mut().zip(&low).zip(&high) {
                *word = pair(*low, *high);
            }
        }
    }

    /// The right factor of a layer.
    #[inline(always)]
    fn below(&self, layer: usize) -> &Words {
        if layer == 0 { &self.inputs } else { &self.hidden[layer - 1].pairs }
    }

    /// The outputs of hidden layer `l` for 32 frames.
    #[inline(always)]
    fn activate(&mut self, l: usize, n: usize) {
        for o in (0..self.layers[l].affine.n_outputs).step_by(BLOCK) {
            self.layer_sums(l, o, n, BLOCK);
            let Hidden { pairs, frames } = &mut self.hidden[l];
            let pairs = pairs.at_mut([o / 2, n], [TILE, BLOCK]);
            let keeps = !self.errors[l].rows.row(0).is_empty();
            let frames = keeps.then(|| frames.at_mut([n / 2, o], [TILE, BLOCK]));
            // SAFETY: K3: the places were asked for by these sizes.
            unsafe { self.tiles.activate(&self.sums, pairs, frames) };
        }
    }

    /// Sums of up to 32 outputs of a layer from `o` on, for 32 frames.
    #[inline(always)]
    fn layer_sums(&mut self, l: usize, o: usize, n: usize, rows: usize) {
        let Layer { n_pairs, ref weights, ref biases, .. } = self.layers[l];
        let depth = n_pairs.next_multiple_of(TILE);
        let factors = Factors {
            left: weights.at([o, 0], [rows.next_multiple_of(TILE), depth]),
            right: self.below(l).at([0, n], [depth, BLOCK]),
        };
        let start = &biases[o * TILE..][..rows.next_multiple_of(TILE) * TILE];
        let size = Size { rows, columns: BLOCK, pairs: n_pairs };
        // SAFETY: K3: the places were asked for by these sizes, and there is a bias a row.
        unsafe { self.tiles.product(factors, size, start.as_ptr(), &mut self.sums) };
    }

    /// The last layer's sums of `width` frames.
    #[inline(always)]
    fn write_outputs(&mut self, y: &mut ArrayViewMut2<f32>, n: usize, width: usize) {
        let last = self.layers.len() - 1;
        let n_outputs = self.layers[last].affine.n_outputs;
        for o in (0..n_outputs).step_by(BLOCK) {
            let rows = BLOCK.min(n_outputs - o);
            self.layer_sums(last, o, n, rows);
            for (r, sums) in self.sums.0[..rows].iter().enumerate() {
                let row = y.row_mut(o + r).into_slice().expect("columns are contiguous");
                row[n..n + width].copy_from_slice(&sums[..width]);
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

impl<T: Tiles> Work for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Backward { stack, x, dy, grad } = self;
        let n_frames = dy.ncols();
        stack.pack_errors(dy);
        stack.pack_input_frames(x, n_frames);
        for l in (0..stack.layers.len()).rev() {
            if l > 0 {
                for n in (0..n_frames).step_by(BLOCK) {
                    stack.slope(l, n);
                }
            }
            let (weight, bias) = stack.layers[l].affine.split_mut(grad);
            stack.add_weight_gradient(l, n_frames, weight);
            stack.add_bias_gradient(l, n_frames, bias);
        }
    }
}

impl<T: Tiles> TileStack<T> {
    /// The errors of the outputs. Behind the last frame there are zeros, as ever.
    #[inline(always)]
    fn pack_errors(&mut self, dy: ArrayView2<f32>) {
        let errors = self.errors.last_mut().expect("there is a layer of outputs");
        let (n_outputs, n_frames) = dy.dim();
        for o in 0..n_outputs {
            let row = dy.row(o);
            write_pairs(errors.rows.row_mut(o), row.as_slice().expect("contiguous columns"));
        }
        for o in (0..n_outputs).step_by(2) {
            let low = dy.row(o);
            let low = low.as_slice().expect("contiguous columns");
            let words = &mut errors.pairs.row_mut(o / 2)[..n_frames];
            words.iter_mut().zip(low).for_each(|(word, low)| *word = to_bf16(*low));
            if o + 1 < n_outputs {
                let high = dy.row(o + 1);
                let high = high.as_slice().expect("contiguous columns");
                words.iter_mut().zip(high).for_each(|(word, high)| *word |= to_bf16(*high) << 16);
            }
        }
    }

    /// The inputs as frames.
    #[inline(always)]
    fn pack_input_frames(&mut self, x: ArrayView2<f32>, n_frames: usize) {
        for (i, row) in x.outer_iter().enumerate() {
            let row = &row.to_slice().expect("contiguous columns")[..n_frames];
            let words = &mut self.input_row[..n_frames.div_ceil(2)];
            write_pairs(words, row);
            self.input_frames.write_column(i, words);
        }
    }

    /// The errors of the layer below `l`, for 32 frames.
    #[inline(always)]
    fn slope(&mut self, l: usize, n: usize) {
        let n_pairs = self.layers[l].affine.n_outputs.div_ceil(2);
        let depth = n_pairs.next_multiple_of(TILE);
        for i in (0..self.layers[l].affine.n_inputs).step_by(BLOCK) {
            let factors = Factors {
                left: self.layers[l].transposed.at([i, 0], [BLOCK, depth]),
                right: self.errors[l].pairs.at([0, n], [depth, BLOCK]),
            };
            let size = Size { rows: BLOCK, columns: BLOCK, pairs: n_pairs };
            let x = self.hidden[l - 1].pairs.at([i / 2, n], [TILE, BLOCK]);
            let Errors { pairs, rows } = &mut self.errors[l - 1];
            let rows = rows.at_mut([i, n / 2], [BLOCK, TILE]);
            let pairs = (l > 1).then(|| pairs.at_mut([i / 2, n], [TILE, BLOCK]));
            // SAFETY: K3: the places were asked for by these sizes.
            unsafe {
                self.tiles.product(factors, size, ZEROS.as_ptr(), &mut self.sums);
                self.tiles.slope(&self.sums, x, rows, pairs);
            }
        }
    }

    /// Adds the gradient of a layer's weights.
    #[inline(always)]
    fn add_weight_gradient(&mut self, l: usize, n_frames: usize, mut dw: ArrayViewMut2<f32>) {
        let n_pairs = n_frames.div_ceil(2);
        let depth = n_pairs.next_multiple_of(TILE);
        let (n_outputs, n_inputs) = dw.dim();
        for o in (0..n_outputs).step_by(BLOCK) {
            let rows = BLOCK.min(n_outputs - o);
            for i in (0..n_inputs).step_by(BLOCK) {
                let columns = BLOCK.min(n_inputs - i);
                let frames = if l == 0 { &self.input_frames } else { &self.hidden[l - 1].frames };
                let size = Size { rows, columns: columns.next_multiple_of(TILE), pairs: n_pairs };
                let height = rows.next_multiple_of(TILE);
                let factors = Factors {
                    left: self.errors[l].rows.at([o, 0], [height, depth]),
                    right: frames.at([0, i], [depth, size.columns]),
                };
                // SAFETY: K3: the places were asked for by these sizes.
                unsafe { self.tiles.product(factors, size, ZEROS.as_ptr(), &mut self.sums) };
                for (r, sums) in self.sums.0[..rows].iter().enumerate() {
                    let dw = dw.row_mut(o + r).into_slice().expect("contiguous columns");
                    dw[i..i + columns].iter_mut().zip(sums).for_each(|(dw, sum)| *dw += sum);
                }
            }
        }
    }

    /// Adds the gradient of a layer's biases: the sums of its errors.
    #[inline(always)]
    fn add_bias_gradient(&mut self, l: usize, n_frames: usize, mut db: ArrayViewMut1<f32>) {
        for (o, db) in db.iter_mut().enumerate() {
            let words = &self.errors[l].rows.row(o)[..n_frames.div_ceil(2).next_multiple_of(TILE)];
            let mut sums = [[0.0_f32; 2]; TILE];
            for words in words.as_chunks::<TILE>().0 {
                for (sum, word) in sums.iter_mut().zip(words) {
                    let [low, high] = unpaired(*word);
                    *sum = [sum[0] + low, sum[1] + high];
                }
            }
            *db += sums.iter().map(|[low, high]| low + high).sum::<f32>();
        }
    }
}

/// Numbers as pairs, one after another; what of the words is left stays.
#[inline(always)]
fn write_pairs(words: &mut [u32], numbers: &[f32]) {
    let (pairs, rest) = numbers.as_chunks::<2>();
    words.iter_mut().zip(pairs).for_each(|(word, [low, high])| *word = pair(*low, *high));
    if let [last] = rest {
        words[pairs.len()] = pair(*last, 0.0);
    }
}
