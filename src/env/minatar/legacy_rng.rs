//! Random numbers exactly as NumPy's older generator draws them, which is the one of MinAtar's games.
//!
//! Owns: the two draws that the games use. Knows nothing of them. The twister itself is `rand_mt`'s.
//!
//! Source: NumPy `RandomState` (numpy/random/mtrand.pyx, numpy/random/src/legacy, and `random_interval` of
//! numpy/random/src/distributions).

use rand_mt::Mt;

/// 2^-53: doubles are drawn from 53 bits.
const DOUBLE_STEP: f64 = 1.0 / (1u64 << 53) as f64;

/// The stream of `numpy.random.RandomState(seed)`: MT19937.
#[derive(Clone, Debug)]
pub struct LegacyRng(Mt);

impl LegacyRng {
    /// A generator for a seed of 32 bits.
    pub fn new(seed: u32) -> Self {
        Self(Mt::new(seed))
    }

    /// `RandomState.rand()`: uniform in `[0, 1)`, of two words.
    #[inline]
    pub fn rand(&mut self) -> f64 {
        let high = u64::from(self.0.next_u32() >> 5);
        let low = u64::from(self.0.next_u32() >> 6);
        (high << 26 | low) as f64 * DOUBLE_STEP
    }

    /// `RandomState.randint(low, high)`: one of `low..high`, which is not empty. Where there is one choice,
    /// nothing is drawn.
    pub fn randint(&mut self, low: u32, high: u32) -> u32 {
        let range = high - 1 - low;
        if range == 0 {
            return low;
        }
        let mask = u32::MAX >> range.leading_zeros();
        loop {
            let word = self.0.next_u32() & mask;
            if word <= range {
                return low + word;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seed, then the bits of `rand()` three times, and nine integers: drawn after the second `rand()`, five by
    /// `randint(1, 6)` and, behind a `randint(1)`, four by `randint(0, 8)`. Printed by NumPy 2.4:
    ///
    /// ```text
    /// python -c "import numpy as np; [print(s, [hex(x) for x in bits(2)], [g.randint(1, 6) for _ in range(5)], g.randint(1), [g.randint(0, 8) for _ in range(4)], [hex(x) for x in bits(1)]) for s in (0, 42, 2**32 - 1) for g in [np.random.RandomState(s)] for bits in [lambda n: [int(np.float64(g.rand()).view('u8')) for _ in range(n)]]]"
    /// ```
    const FROM_NUMPY: [(u32, [u64; 3], [u32; 9]); 3] = [
        (
            0,
            [0x3fe1_8fe1_565f_12a8, 0x3fe6_e2d4_cf60_8733, 0x3fec_8967_883a_12f7],
            [4, 4, 4, 2, 4, 5, 2, 4, 7],
        ),
        (
            42,
            [0x3fd7_f877_1e5f_51ec, 0x3fee_6c40_68bb_d654, 0x3fd5_5b7b_5ccf_1562],
            [3, 5, 5, 2, 3, 6, 2, 2, 7],
        ),
        (
            u32::MAX,
            [0x3fb8_fe69_a392_4820, 0x3fed_323d_8240_32b1, 0x3fc2_b3f7_8b30_728c],
            [5, 1, 3, 2, 1, 7, 3, 2, 3],
        ),
    ];

    #[test]
    fn draws_equal_numpy_bit_for_bit() {
        for (seed, bits, integers) in FROM_NUMPY {
            let mut rng = LegacyRng::new(seed);
            let first = [rng.rand(), rng.rand()];
            let mut drawn: Vec<u32> = (0..5).map(|_| rng.randint(1, 6)).collect();
            assert_eq!(rng.randint(0, 1), 0, "seed {seed}");
            drawn.extend((0..4).map(|_| rng.randint(0, 8)));
            assert_eq!(drawn, integers, "seed {seed}");
            assert_eq!([first[0], first[1], rng.rand()].map(f64::to_bits), bits, "seed {seed}");
        }
    }
}
