//! A 3 × 3 convolution with 16 outputs on planes of bits, forward and back, a frame at a time.
//!
//! Owns: which bits are set, the weights as rows, and their gradient; the arithmetic is
//! [`Kernels::convolve_bits`] and [`Kernels::bit_gradient`]. Letters: C planes, P places of the convolution.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, NdFloat};

use crate::kernels::{BitGrid, FeatureMajor, Kernels, ROW_LEN, SetBit, WINDOW};

/// The convolution, its weights as rows, and their gradient.
#[derive(Debug)]
pub(super) struct BitConv<R> {
    grid: BitGrid,
    /// C·H·W.
    n_bits: usize,
    /// What each of the bits is where it is set, and as many more as fill up [`GROUP`].
    bits: Vec<SetBit>,
    /// Those that are, of one frame after the other. Where each frame's end.
    set: Vec<SetBit>,
    ends: Vec<usize>,
    /// `[C·9 + 1, 16]`, the bias last; one row behind the other.
    weights: FeatureMajor<R>,
    d_weights: FeatureMajor<R>,
    /// Sums of one frame and their derivative, in the grid with its margin.
    room: FeatureMajor<R>,
    d_room: FeatureMajor<R>,
}

impl<R: NdFloat> BitConv<R> {
    /// For `n_frames` of planes `[C, H, W]`, with all-zero weights.
    pub(super) fn new([channels, height, width]: [usize; 3], n_frames: usize) -> Self {
        let grid = BitGrid::of([height, width]);
        let of_plane = |plane| {
            let cells = (0..height).flat_map(move |y| (0..width).map(move |x| [y, x]));
            cells.map(move |cell| grid.bit(plane, cell))
        };
        let mut bits: Vec<SetBit> = (0..channels).flat_map(of_plane).collect();
        let n_bits = bits.len();
        bits.resize(n_bits + GROUP + 1, bits[0]);
        let rows = |n_rows: usize| FeatureMajor::zeros(1, n_rows * ROW_LEN);
        BitConv {
            grid,
            n_bits,
            // Room for frames of nothing but ones, of which hardly any is ever touched.
            set: Vec::with_capacity(n_frames * n_bits + 4),
            ends: Vec::with_capacity(n_frames),
            bits,
            weights: rows(channels * WINDOW * WINDOW + 1),
            d_weights: rows(channels * WINDOW * WINDOW + 1),
            room: rows(grid.n_with_margin()),
            d_room: rows(grid.n_with_margin()),
        }
    }

    /// Takes weights `[16, C·9]` and bias.
    pub(super) fn load(&mut self, weight: ArrayView2<R>, bias: ArrayView1<R>) {
        let values = weight.reversed_axes().into_iter().chain(bias);
        self.weights.view_mut().iter_mut().zip(values).for_each(|(own, value)| *own = *value);
    }

    /// Begins with the first frame again.
    pub(super) fn begin(&mut self) {
        self.set.clear();
        self.ends.clear();
    }

    /// Writes the sums `[P, 16]` of the next frame's bits `[C·H·W]`.
    pub(super) fn forward(&mut self, kernels: impl Kernels<R>, bits: &[u8], sums: &mut [R]) {
        let frame = self.ends.len();
        self.find(bits);
        let weights = self.weights.view().to_slice().expect(WHOLE);
        let room = self.room.view_mut().into_slice().expect(WHOLE);
        let set = set_of(&self.set, &self.ends, frame);
        kernels.convolve_bits(self.grid, set, weights, room, sums);
    }

    /// Begins a new gradient.
    pub(super) fn clear_gradient(&mut self) {
        self.d_weights.view_mut().fill(R::zero());
    }

    /// Adds to the gradient what a frame has of it, by the derivative of its sums, `[P, 16]`.
    pub(super) fn backward(&mut self, kernels: impl Kernels<R>, frame: usize, d_sums: &[R]) {
        let set = set_of(&self.set, &self.ends, frame);
        let room = self.d_room.view_mut().into_slice().expect(WHOLE);
        let d_weights = self.d_weights.view_mut().into_slice().expect(WHOLE);
        kernels.bit_gradient(self.grid, set, d_sums, room, d_weights);
    }

    /// Adds the gradient to that of weights `[16, C·9]` and bias.
    pub(super) fn add_gradient(&self, d_weight: ArrayViewMut2<R>, d_bias: ArrayViewMut1<R>) {
        let sums = d_weight.reversed_axes().into_iter().chain(d_bias);
        sums.zip(self.d_weights.view()).for_each(|(sum, d)| *sum += *d);
    }

    /// Appends a frame's bits that are set. They are taken four at a time, of which the last ones may be none and are
    /// cut off: a loop whose length changes with each bit of a game is guessed wrong again and again.
    fn find(&mut self, bits: &[u8]) {
        assert_eq!(bits.len(), self.n_bits, "as many bits as the planes have");
        for (first, bytes) in (0..).step_by(GROUP).zip(bits.chunks(GROUP)) {
            let mut left = match bytes.first_chunk() {
                Some(whole) => mask_of(whole),
                None => mask_of(&filled_up(bytes)),
            };
            let (n_left, known) = (left.count_ones() as usize, &self.bits[first..]);
            let end = self.set.len() + n_left;
            for _ in 0..n_left.div_ceil(4) {
                let mut four = [SetBit::default(); 4];
                for bit in &mut four {
                    *bit = known[left.trailing_zeros() as usize];
                    left &= left.wrapping_sub(1);
                }
                self.set.extend_from_slice(&four);
            }
            self.set.truncate(end);
        }
        self.ends.push(self.set.len());
    }
}

/// The bits of a frame that are set.
fn set_of<'a>(set: &'a [SetBit], ends: &[usize], frame: usize) -> &'a [SetBit] {
    let first = frame.checked_sub(1).map_or(0, |before| ends[before]);
    &set[first..ends[frame]]
}

/// Bytes that are looked at together.
const GROUP: usize = u64::BITS as usize;

/// Which bytes are not 0.
fn mask_of(bytes: &[u8; GROUP]) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let mut mask = 0;
    for (at, eight) in (0..).step_by(8).zip(bytes.as_chunks().0) {
        let bytes = u64::from_le_bytes(*eight);
        // The highest bit of each byte that is not 0, and then these eight bits side by side.
        let high = (((bytes & LOW) + LOW) | bytes) & !LOW;
        mask |= (high >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56 << at;
    }
    mask
}

/// The last bytes, and zeros behind them.
fn filled_up(bytes: &[u8]) -> [u8; GROUP] {
    let mut group = [0; GROUP];
    group[..bytes.len()].copy_from_slice(bytes);
    group
}

/// Said of matrices here.
const WHOLE: &str = "there is one row";
