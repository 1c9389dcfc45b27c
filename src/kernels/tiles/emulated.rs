//! The operations of [`Tiles`] in plain Rust.
//!
//! Rounds as `TDPBF16PS` does (Intel's Software Developer's Manual, volume 2): within a tile, the products of the first
//! of each pair have a sum, and so have those of the second; both sums together are added to what was there; each
//! addition rounds once, to nearest, and subnormal numbers are zero. Products of two bf16 are exact in f32.

use super::super::Work;
use super::words::{BLOCK, Strided, Sums, TILE, pair, unpaired};
use super::{Errors, Factors, LayerEnds, Size, Square, Steps, Tiles};

/// The operations that every processor has; no proof is needed.
#[derive(Clone, Copy, Debug)]
pub struct Emulated;

/// Zero instead of a subnormal number.
fn flushed(number: f32) -> f32 {
    if number.is_subnormal() { 0.0_f32.copysign(number) } else { number }
}

/// One pair times another, added to a sum of each half.
fn add(sums: [f32; 2], left: u32, right: u32) -> [f32; 2] {
    let (left, right) = (unpaired(left).map(flushed), unpaired(right).map(flushed));
    std::array::from_fn(|half| flushed(left[half] * right[half] + sums[half]))
}

impl Tiles for Emulated {
    type Ends = Emulated;

    fn run<W: Work>(self, work: W) -> W::Output {
        work.run()
    }

    unsafe fn product_beside(
        self,
        factors: Factors,
        size: Size,
        sums: &mut Sums,
        beside: &mut impl Steps,
    ) {
        (0..TILE).for_each(|k| beside.step(k));
        beside.finish();
        let Factors { left, right } = factors;
        for r in 0..size.rows {
            for c in 0..size.columns {
                let mut sum = 0.0_f32;
                for tile in (0..size.pairs).step_by(TILE) {
                    let pairs = tile..size.pairs.min(tile + TILE);
                    // SAFETY: K3: the caller's promise.
                    let words = pairs.map(|k| unsafe { (*left.at(r, k), *right.at(k, c)) });
                    let [first, second] = words.fold([0.0; 2], |sums, (l, r)| add(sums, l, r));
                    sum = flushed(sum + flushed(first + second));
                }
                sums.0[r][c] = sum;
            }
        }
    }

    fn ends(self) -> Emulated {
        self
    }
}

impl LayerEnds for Emulated {
    unsafe fn activate(
        self,
        k: usize,
        sums: &Sums,
        biases: *const f32,
        pairs: Strided<*mut u32>,
        rows: Option<Strided<*mut u32>>,
    ) {
        let tanh = |row: usize| {
            // SAFETY: K3: the caller's promise.
            let bias = unsafe { *biases.add(row) };
            sums.0[row].map(|sum| f64::from(sum + bias).tanh() as f32)
        };
        let values = [tanh(2 * k), tanh(2 * k + 1)];
        // SAFETY: K3: the caller's promise.
        unsafe {
            write_pairs(&values, pairs, k);
            if let Some(rows) = rows {
                for (half, n) in places(2, TILE) {
                    *rows.at(2 * k + half, n) = pair(values[half][2 * n], values[half][2 * n + 1]);
                }
            }
        }
    }

    unsafe fn slope(
        self,
        k: usize,
        sums: &Sums,
        x: Strided<*const u32>,
        errors: Errors,
        rows: &mut [Square; 2],
    ) {
        let mut values = [sums.0[2 * k], sums.0[2 * k + 1]];
        // SAFETY: K3: the caller's promise.
        unsafe {
            for n in 0..BLOCK {
                for (values, x) in values.iter_mut().zip(unpaired(*x.at(k, n))) {
                    values[n] *= 1.0 - x * x;
                }
            }
            for (half, n) in places(2, TILE) {
                let word = pair(values[half][2 * n], values[half][2 * n + 1]);
                let f = 2 * k + half;
                match errors {
                    Errors::First { rows } => *rows.at(f, n) = word,
                    Errors::Inner { .. } => rows[f / TILE][f % TILE][n] = word,
                }
            }
            if let Errors::Inner { pairs, totals, .. } = errors {
                write_pairs(&values, pairs, k);
                for (half, n) in places(2, BLOCK) {
                    *totals.add((2 * k + half) * TILE + n % TILE) += values[half][n];
                }
            }
        }
    }

    unsafe fn exchange(self, rows: &Square, to: Strided<*mut u32>) {
        for (row, column) in places(TILE, TILE) {
            // SAFETY: K3: the caller's promise.
            unsafe { *to.at(row, column) = rows[column][row] };
        }
    }

    unsafe fn add_exchanged(
        self,
        sums: &Sums,
        column: usize,
        to: Strided<*mut f32>,
        [rows, columns]: [usize; 2],
    ) {
        for (r, c) in places(rows, columns) {
            // SAFETY: K3: the caller's promise.
            unsafe { *to.at(r, c) += sums.0[c][column + r] };
        }
    }
}

/// Two features as row `k` of pairs.
///
/// # Safety
/// The row has 32 words.
unsafe fn write_pairs([even, odd]: &[[f32; BLOCK]; 2], pairs: Strided<*mut u32>, k: usize) {
    for (n, (even, odd)) in even.iter().zip(odd).enumerate() {
        // SAFETY: K3: the caller's promise.
        unsafe { *pairs.at(k, n) = pair(*even, *odd) };
    }
}

/// Each place of a block.
fn places(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)))
}
