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
