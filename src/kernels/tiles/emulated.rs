//! The operations of [`Tiles`] in plain Rust.
//!
//! Rounds as `TDPBF16PS` does (Intel's Software Developer's Manual, volume 2): within a tile, the products of the first
//! of each pair have a sum, and so have those of the second; both sums together are added to what was there; each
//! addition rounds once, to nearest, and subnormal numbers are zero. Products of two bf16 are exact in f32.

use super::super::Work;
use super::words::{BLOCK, Place, Sums, TILE, pair, unpaired};
use super::{Factors, Size, Tiles};

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
    fn run<W: Work>(self, work: W) -> W::Output {
        work.run()
    }

    unsafe fn product(self, factors: Factors, size: Size, start: *const f32, sums: &mut Sums) {
        let Factors { left, right } = factors;
        for r in 0..size.rows {
            for c in 0..size.columns {
                // SAFETY: K3: the caller's promise.
                let mut sum = unsafe { *start.add(r * TILE) };
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

    unsafe fn activate(self, sums: &Sums, pairs: Place<*mut u32>, frames: Option<Place<*mut u32>>) {
        let values = sums.0.map(|row| row.map(|sum| f64::from(sum).tanh() as f32));
        // SAFETY: K3: the caller's promise.
        unsafe {
            write_pairs(&values, pairs);
            if let Some(frames) = frames {
                for (n, f) in places(TILE, BLOCK) {
                    *frames.at(n, f) = pair(values[f][2 * n], values[f][2 * n + 1]);
                }
            }
        }
    }

    unsafe fn slope(
        self,
        sums: &Sums,
        x: Place<*const u32>,
        rows: Place<*mut u32>,
        pairs: Option<Place<*mut u32>>,
    ) {
        let mut values = sums.0;
        // SAFETY: K3: the caller's promise.
        unsafe {
            for (k, n) in places(TILE, BLOCK) {
                for (half, x) in unpaired(*x.at(k, n)).into_iter().enumerate() {
                    values[2 * k + half][n] *= 1.0 - x * x;
                }
            }
            for (f, n) in places(BLOCK, TILE) {
                *rows.at(f, n) = pair(values[f][2 * n], values[f][2 * n + 1]);
            }
            if let Some(pairs) = pairs {
                write_pairs(&values, pairs);
            }
        }
    }
}

/// A block of features as pairs.
///
/// # Safety
/// There are 16 rows of 32 words.
unsafe fn write_pairs(values: &[[f32; BLOCK]; BLOCK], pairs: Place<*mut u32>) {
    for (k, n) in places(TILE, BLOCK) {
        // SAFETY: K3: the caller's promise.
        unsafe { *pairs.at(k, n) = pair(values[2 * k][n], values[2 * k + 1][n]) };
    }
}

/// Each place of a block.
fn places(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)))
}
