//! The most that a core multiplies in tiles: the yardstick of a stack in bf16.

use super::super::Work;
use super::words::{BLOCK, Sums, Words};
use super::{Factors, Size, Tiles};

/// Pairs of a product: those of a layer of 64 inputs.
const PAIRS: usize = 32;

/// One product after the other, of factors that stay in the first cache, and nothing done with the sums. Returns the
/// floating-point operations that this was.
pub(in super::super) fn multiply_adds<T: Tiles>(tiles: T, rounds: usize) -> usize {
    let (left, right) = (Words::zeros(BLOCK, PAIRS), Words::zeros(PAIRS, BLOCK));
    tiles.run(Products { tiles, rounds, left: &left, right: &right });
    rounds * 2 * BLOCK * BLOCK * 2 * PAIRS
}

struct Products<'a, T> {
    tiles: T,
    rounds: usize,
    left: &'a Words,
    right: &'a Words,
}

impl<T: Tiles> Work for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let factors = Factors {
            left: self.left.at([0, 0], [BLOCK, PAIRS]),
            right: self.right.at([0, 0], [PAIRS, BLOCK]),
        };
        let size = Size { rows: BLOCK, columns: BLOCK, pairs: PAIRS };
        let mut sums = Sums([[0.0; BLOCK]; BLOCK]);
        for _ in 0..self.rounds {
            // SAFETY: K3: both places have as many rows and columns as the size says, whole tiles of them.
            unsafe { self.tiles.product(factors, size, &mut sums) };
            std::hint::black_box(&mut sums);
        }
    }
}
