//! Random numbers exactly as NumPy draws them, so that resets match Gymnasium bit for bit.
//!
//! Owns: the hash that spreads an integer seed over a generator's state, and the two draws that the
//! classic-control environments use. Knows nothing of environments. Used by every environment through
//! [`super::Env::new`].
//!
//! Sources: NumPy `SeedSequence` (numpy/random/bit_generator.pyx, after M. O'Neill's `seed_seq_fe`),
//! NumPy `PCG64` seeding and doubles (numpy/random/src/pcg64, `Generator.random`, `Generator.uniform`).

use rand_core::Rng;
use rand_pcg::Lcg128Xsl64;

/// 32-bit words that `SeedSequence` keeps as its entropy pool (NumPy's default, and the only size used here).
const POOL_WORDS: usize = 4;
/// Start and multiplier of the hash that fills the pool.
const FILL: (u32, u32) = (0x43b0_d7e5, 0x931e_8875);
/// Start and multiplier of the hash that reads the pool out.
const READ: (u32, u32) = (0x8b51_f9dd, 0x58f3_8ded);
/// Multipliers of the old and the new word when two are mixed.
const MIX: (u32, u32) = (0xca01_f9dd, 0x4973_f715);
/// 2^-53: doubles are drawn from the upper 53 bits of a 64-bit output.
const DOUBLE_STEP: f64 = 1.0 / (1u64 << 53) as f64;

/// The stream of `numpy.random.default_rng(seed)`, which is also Gymnasium's `np_random(seed)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumpyRng(Lcg128Xsl64);

impl NumpyRng {
    /// A generator for a non-negative integer seed.
    ///
    /// 128 bits, so that `seed + i` of a vector of environments never wraps for a 64-bit seed.
    pub fn new(seed: u128) -> Self {
        let [state_high, state_low, stream_high, stream_low] = seed_words(seed);
        let wide = |high, low| u128::from(high) << 64 | u128::from(low);
        Self(Lcg128Xsl64::new(wide(state_high, state_low), wide(stream_high, stream_low)))
    }

    /// `Generator.random()`: uniform in `[0, 1)`.
    pub fn random(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * DOUBLE_STEP
    }

    /// `Generator.uniform(low, high)`: uniform in `[low, high)`, up to rounding.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.random()
    }
}

/// `SeedSequence(seed).generate_state(4, numpy.uint64)`.
fn seed_words(seed: u128) -> [u64; 4] {
    let pool = entropy_pool(seed);
    let mut read = Hash::new(READ);
    std::array::from_fn(|i| {
        let low = read.word(pool[2 * i % POOL_WORDS]);
        let high = read.word(pool[(2 * i + 1) % POOL_WORDS]);
        u64::from(high) << 32 | u64::from(low)
    })
}

/// Hashes every word of the seed into the pool, then every word of the pool into every other.
fn entropy_pool(seed: u128) -> [u32; POOL_WORDS] {
    let mut fill = Hash::new(FILL);
    let mut pool: [u32; POOL_WORDS] = std::array::from_fn(|i| fill.word((seed >> (32 * i)) as u32));
    for src in 0..POOL_WORDS {
        for dst in (0..POOL_WORDS).filter(|&dst| dst != src) {
            pool[dst] = mix(pool[dst], fill.word(pool[src]));
        }
    }
    pool
}

/// A hash whose constant moves on with every word, so that equal words hash differently.
struct Hash {
    constant: u32,
    multiplier: u32,
}

impl Hash {
    fn new((constant, multiplier): (u32, u32)) -> Self {
        Self { constant, multiplier }
    }

    fn word(&mut self, word: u32) -> u32 {
        let masked = word ^ self.constant;
        self.constant = self.constant.wrapping_mul(self.multiplier);
        fold(masked.wrapping_mul(self.constant))
    }
}

fn mix(old: u32, new: u32) -> u32 {
    fold(MIX.0.wrapping_mul(old).wrapping_sub(MIX.1.wrapping_mul(new)))
}

fn fold(word: u32) -> u32 {
    word ^ (word >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seed, words of its `SeedSequence`, then the bits of `random()` twice, `uniform(-0.05, 0.05)` and
    /// `uniform(-3, 17.5)`. Printed by NumPy 2.4:
    ///
    /// ```text
    /// python -c "import numpy as np; [print(s, [hex(x) for x in np.random.SeedSequence(s).generate_state(4, 'u8').tolist() + [int(np.float64(x).view('u8')) for g in [np.random.default_rng(s)] for x in (g.random(), g.random(), g.uniform(-0.05, 0.05), g.uniform(-3, 17.5))]]) for s in (0, 42, 2**32, 3**64, 2**128 - 1)]"
    /// ```
    const FROM_NUMPY: [(u128, [u64; 4], [u64; 4]); 5] = [
        (
            0,
            [
                0xdb2c_d7e7_b0f4_78be,
                0xabf4_641a_2c71_ba49,
                0x20c6_ed6d_9d7b_8d41,
                0x2c40_99de_223c_39d4,
            ],
            [
                0x3fe4_61fd_79fb_3850,
                0x3fd1_442f_7e20_b674,
                0xbfa7_808d_4489_d6d2,
                0xc005_4a1a_8f5b_a91e,
            ],
        ),
        (
            42,
            [
                0x9f1e_2e6d_cd54_0ab7,
                0xd578_73dc_79fb_94b6,
                0x7d28_2a1b_64d4_20b7,
                0x3365_7971_4692_d5ff,
            ],
            [
                0x3fe8_c43f_79a2_db24,
                0x3fdc_1695_9869_e47e,
                0x3fa2_5c36_f3af_c536,
                0x4026_9793_2841_8616,
            ],
        ),
        (
            1 << 32,
            [
                0x50ff_846c_ec53_f444,
                0x7a49_18db_e827_8562,
                0x3bff_9f6c_362e_2b19,
                0xbdb1_7753_9a06_54e3,
            ],
            [
                0x3fec_78bd_7c50_b582,
                0x3fe1_d413_2d1f_c63b,
                0x3f9e_d01f_fceb_d25c,
                0x4030_9bc8_d5ea_b02e,
            ],
        ),
        (
            3u128.pow(64),
            [
                0x0da6_7709_48fd_4066,
                0x9904_9a31_b2f7_c8c5,
                0x6da1_7cae_9f07_b79c,
                0x0c63_c836_c785_5a07,
            ],
            [
                0x3fd1_f6f4_5644_b8c2,
                0x3fed_f6a8_e09f_3b41,
                0xbf9a_554f_ba20_3f0a,
                0x4030_d31b_e838_f057,
            ],
        ),
        (
            u128::MAX,
            [
                0x8395_1678_30e0_1209,
                0x84c0_e37d_cc99_cac3,
                0xd33f_1bd2_f788_e841,
                0xa9c6_207b_0408_2ba2,
            ],
            [
                0x3fcf_17ce_ac29_07a0,
                0x3fe6_6554_db27_bfca,
                0xbf85_77ed_2dac_be18,
                0x401d_3862_69db_9f16,
            ],
        ),
    ];

    #[test]
    fn seeds_spread_as_in_numpy() {
        for (seed, words, _) in FROM_NUMPY {
            assert_eq!(seed_words(seed), words, "seed {seed}");
        }
    }

    #[test]
    fn draws_equal_numpy_bit_for_bit() {
        for (seed, _, bits) in FROM_NUMPY {
            let mut rng = NumpyRng::new(seed);
            let draws =
                [rng.random(), rng.random(), rng.uniform(-0.05, 0.05), rng.uniform(-3.0, 17.5)];
            assert_eq!(draws.map(f64::to_bits), bits, "seed {seed}");
        }
    }
}
