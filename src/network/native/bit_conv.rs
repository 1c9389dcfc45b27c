//! A 3 × 3 convolution with 16 outputs on planes of bits, forward and back, a frame at a time.
//!
//! Owns: which rows have bits, the tables of sums of weights, and their gradient; the arithmetic is
//! [`Kernels::convolve_bits`] and [`Kernels::bit_gradient`]. Letters: C planes, P places of the convolution.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis, NdFloat};

use crate::kernels::{
    BitGrid, BitRow, FeatureMajor, Kernels, PATTERNS, PerBlock, READ_FRAMES, ROW_LEN, WINDOW,
    bits_of,
};

/// The convolution, its tables, and their gradient.
#[derive(Debug)]
pub(super) struct BitConv<R> {
    grid: BitGrid,
    /// C·H·W.
    n_bits: usize,
    /// Where each row of bits lies in a frame.
    stretches: Vec<Stretch>,
    /// Rows with bits that are set, of one frame after the other, and room. Where each frame's end.
    rows: Vec<BitRow>,
    ends: Vec<usize>,
    /// `[C·3·8 + 1, 16]`: of each plane and row of the kernel the sum of weights of each pattern of three bits, and
    /// the bias; one row behind the other.
    tables: FeatureMajor<R>,
    /// Their gradient, of each block of [`READ_FRAMES`] frames.
    d_tables: PerBlock<FeatureMajor<R>>,
}

/// Where a row of bits lies in a frame.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// Its first byte.
    first: usize,
    /// The row, with all bits set.
    whole: BitRow,
}

impl Stretch {
    /// The row, of a frame's bytes.
    #[inline(always)]
    fn of(&self, bytes: &[u8]) -> BitRow {
        let bytes = &bytes[self.first..];
        let bytes = bytes.first_chunk().copied().unwrap_or_else(|| {
            let mut filled_up = [0; BitRow::BITS];
            filled_up[..bytes.len()].copy_from_slice(bytes);
            filled_up
        });
        BitRow { bits: self.whole.bits & bits_of(bytes), ..self.whole }
    }
}

/// A number for each output.
type Row<R> = [R; ROW_LEN];

impl<R: NdFloat> BitConv<R> {
    /// For `n_frames` of planes `[C, H, W]`, with all-zero weights.
    pub(super) fn new([channels, height, width]: [usize; 3], n_frames: usize) -> Self {
        let (grid, n_bits) = (BitGrid::of([height, width]), channels * height * width);
        let stretches = (0..channels).flat_map(|plane| {
            grid.rows(plane).map(move |row| {
                let (y, x) = (row.y as usize, row.x as usize);
                let n_beyond = BitRow::BITS.saturating_sub(width - x);
                let whole = BitRow { bits: u16::MAX >> n_beyond, ..row };
                Stretch { first: (plane * height + y) * width + x, whole }
            })
        });
        let stretches: Vec<Stretch> = stretches.collect();
        let tables = || FeatureMajor::zeros(1, (channels * WINDOW * PATTERNS + 1) * ROW_LEN);
        BitConv {
            grid,
            n_bits,
            rows: vec![BitRow::default(); n_frames * stretches.len() + 1],
            ends: Vec::with_capacity(n_frames),
            stretches,
            tables: tables(),
            d_tables: PerBlock::new(n_frames.div_ceil(READ_FRAMES), tables),
        }
    }

    /// Takes weights `[16, C·9]` and bias.
    pub(super) fn load(&mut self, weight: ArrayView2<R>, bias: ArrayView1<R>) {
        let tables = self.tables.view_mut().into_slice().expect(WHOLE);
        let (last, tables) = tables.as_chunks_mut().0.split_last_mut().expect(BIAS);
        last.iter_mut().zip(bias).for_each(|(own, bias)| *own = *bias);
        let tables: &mut [[Row<R>; PATTERNS]] = tables.as_chunks_mut().0;
        for (column, weight) in weight.columns().into_iter().enumerate() {
            let (table, bit) = (&mut tables[column / WINDOW], 1 << (column % WINDOW));
            // Patterns whose highest bit is this one: each of those before it, and the bit.
            for before in 0..bit {
                let sum = table[before];
                let both = sum.into_iter().zip(weight);
                let with = table[before + bit].iter_mut().zip(both);
                with.for_each(|(with, (sum, weight))| *with = sum + *weight);
            }
        }
    }

    /// Takes all frames' bits `[N, C·H·W]`.
    pub(super) fn see(&mut self, bits: ArrayView2<u8>) {
        self.ends.clear();
        for bits in bits.outer_iter() {
            self.find(bits.to_slice().expect(WHOLE));
        }
    }

    /// Writes the sums `[P, 16]` of a frame.
    pub(super) fn forward(&self, kernels: impl Kernels<R>, frame: usize, sums: &mut [R]) {
        let tables = self.tables.view().to_slice().expect(WHOLE);
        kernels.convolve_bits(self.grid, self.rows_of(frame), tables, sums);
    }

    /// Keeps the gradient of frames from one on, by the derivative of their sums, `[n, P·16]` and more.
    pub(super) fn backward(&self, kernels: impl Kernels<R>, first: usize, d_sums: ArrayView2<R>) {
        let n_sums = self.grid.n_places() * ROW_LEN;
        let blocks = d_sums.axis_chunks_iter(Axis(0), READ_FRAMES);
        for (first, d_sums) in (first..).step_by(READ_FRAMES).zip(blocks) {
            let mut d_tables = self.d_tables.of(first / READ_FRAMES);
            let d_tables = d_tables.view_mut().into_slice().expect(WHOLE);
            d_tables.fill(R::zero());
            for (frame, d_sums) in (first..).zip(d_sums.outer_iter()) {
                let d_sums = &d_sums.to_slice().expect(WHOLE)[..n_sums];
                kernels.bit_gradient(self.grid, self.rows_of(frame), d_sums, d_tables);
            }
        }
    }

    /// The rows of a frame.
    fn rows_of(&self, frame: usize) -> &[BitRow] {
        let first = frame.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.rows[first..self.ends[frame]]
    }

    /// Adds the gradient of the first `n_frames` to that of weights `[16, C·9]` and bias.
    pub(super) fn add_gradient(
        &mut self,
        n_frames: usize,
        mut d_weight: ArrayViewMut2<R>,
        d_bias: ArrayViewMut1<R>,
    ) {
        let blocks = self.d_tables.first_mut(n_frames.div_ceil(READ_FRAMES));
        let sum = blocks.reduce(|sum, d_tables| {
            sum.view_mut().zip_mut_with(&d_tables.view(), |sum, d| *sum += *d);
            sum
        });
        let Some(d_tables) = &sum else { return };
        let d_tables = d_tables.view().to_slice().expect(WHOLE);
        let (last, d_tables) = d_tables.as_chunks().0.split_last().expect(BIAS);
        d_bias.into_iter().zip(last).for_each(|(sum, d)| *sum += *d);
        let d_tables: &[[Row<R>; PATTERNS]] = d_tables.as_chunks().0;
        for (column, d_weight) in d_weight.columns_mut().into_iter().enumerate() {
            let (d_table, bit) = (&d_tables[column / WINDOW], 1 << (column % WINDOW));
            let with = (0..PATTERNS).filter(|pattern| pattern & bit != 0);
            for (output, sum) in d_weight.into_iter().enumerate() {
                *sum += with.clone().fold(R::zero(), |d, pattern| d + d_table[pattern][output]);
            }
        }
    }

    /// Appends a frame's rows with bits that are set. No branch depends on a bit: it would be guessed wrong again and
    /// again.
    fn find(&mut self, bits: &[u8]) {
        assert_eq!(bits.len(), self.n_bits, "as many bits as the planes have");
        let mut end = self.ends.last().copied().unwrap_or(0);
        for stretch in &self.stretches {
            let row = stretch.of(bits);
            self.rows[end] = row;
            end += usize::from(row.bits != 0);
        }
        self.ends.push(end);
    }
}

/// Said of matrices here.
const WHOLE: &str = "there is one row";

/// Said of tables here.
const BIAS: &str = "the bias is the last row";
