//! A 3 × 3 convolution with 16 outputs on planes of bits, forward and back, a frame at a time.
//!
//! On bits it is no product: each bit that is set adds one row of 16 weights, one for each channel that comes
//! out, to the at most nine places that see it. The gradient is the same sum with the two sides exchanged.
//! Letters: C planes, P places of the convolution.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, NdFloat};

use crate::kernels::{Kernels, ROW_LEN, RowPair};

/// Side of the kernel, pixels.
const SIDE: usize = 3;

/// The convolution, its weights as rows, and their gradient.
#[derive(Debug)]
pub(super) struct BitConv<R> {
    /// Bits of one plane.
    n_cells: usize,
    /// Of each cell of a plane: through which weight of the kernel it is seen (`from`), and where (`to`).
    seen_by: Vec<Vec<RowPair>>,
    /// Those of all bits of one frame.
    pairs: Vec<RowPair>,
    /// `[C·9, 16]`.
    rows: Vec<R>,
    bias: [R; ROW_LEN],
    d_rows: Vec<R>,
    d_bias: [R; ROW_LEN],
}

impl<R: NdFloat> BitConv<R> {
    /// For planes `[C, H, W]`, with all-zero weights.
    pub(super) fn new([channels, height, width]: [usize; 3]) -> Self {
        let cells = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        let n_cells = height * width;
        let zeros = || vec![R::zero(); channels * SIDE * SIDE * ROW_LEN];
        BitConv {
            n_cells,
            seen_by: cells.map(|cell| seen_by(cell, [height, width])).collect(),
            // Room for a frame of nothing but ones, so that none is ever made in a loop.
            pairs: Vec::with_capacity(channels * n_cells * SIDE * SIDE),
            rows: zeros(),
            bias: [R::zero(); ROW_LEN],
            d_rows: zeros(),
            d_bias: [R::zero(); ROW_LEN],
        }
    }

    /// Takes weights `[16, C·9]` and bias.
    pub(super) fn load(&mut self, weight: ArrayView2<R>, bias: ArrayView1<R>) {
        self.rows.iter_mut().zip(weight.reversed_axes()).for_each(|(row, weight)| *row = *weight);
        self.bias.iter_mut().zip(bias).for_each(|(own, bias)| *own = *bias);
    }

    /// Writes the sums `[P, 16]` of a frame's bits `[C·H·W]`.
    pub(super) fn forward(&mut self, kernels: impl Kernels<R>, bits: &[u8], sums: &mut [R]) {
        sums.chunks_exact_mut(ROW_LEN).for_each(|place| place.copy_from_slice(&self.bias));
        self.find(bits, |pair| pair);
        kernels.add_rows(&self.pairs, &self.rows, sums);
    }

    /// Begins a new gradient.
    pub(super) fn clear_gradient(&mut self) {
        self.d_rows.fill(R::zero());
        self.d_bias.fill(R::zero());
    }

    /// Adds to the gradient what a frame has of it, by the derivative of its sums, `[P, 16]`.
    pub(super) fn backward(&mut self, kernels: impl Kernels<R>, bits: &[u8], d_sums: &[R]) {
        self.find(bits, |RowPair { from, to }| RowPair { from: to, to: from });
        kernels.add_rows(&self.pairs, d_sums, &mut self.d_rows);
        for place in d_sums.chunks_exact(ROW_LEN) {
            self.d_bias.iter_mut().zip(place).for_each(|(sum, d)| *sum += *d);
        }
    }

    /// Adds the gradient to that of weights `[16, C·9]` and bias.
    pub(super) fn add_gradient(&self, d_weight: ArrayViewMut2<R>, d_bias: ArrayViewMut1<R>) {
        d_weight.reversed_axes().iter_mut().zip(&self.d_rows).for_each(|(sum, d)| *sum += *d);
        d_bias.into_iter().zip(&self.d_bias).for_each(|(sum, d)| *sum += *d);
    }

    /// Lists for each bit that is set its row of weights and the place that sees it through that, as `pair`
    /// turns them.
    fn find(&mut self, bits: &[u8], pair: impl Fn(RowPair) -> RowPair) {
        self.pairs.clear();
        let planes = bits.chunks_exact(self.n_cells);
        for (first_row, plane) in (0..).step_by(SIDE * SIDE).zip(planes) {
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

/// The weights of the kernel that see a cell of a plane `[H, W]`, and the places that they see it at.
fn seen_by((y, x): (usize, usize), [height, width]: [usize; 2]) -> Vec<RowPair> {
    let pair = |weight: usize| {
        let (row, column) = (y.checked_sub(weight / SIDE)?, x.checked_sub(weight % SIDE)?);
        let is_inside = row + SIDE <= height && column + SIDE <= width;
        let place = row * (width - SIDE + 1) + column;
        is_inside.then_some(RowPair { from: weight as u32, to: place as u32 })
    };
    (0..SIDE * SIDE).filter_map(pair).collect()
}
