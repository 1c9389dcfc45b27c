//! What becomes of a block of sums while it is in L1, in AVX-512: the ends of a layer, forward and back.

use std::arch::x86_64::*;

use super::super::Avx512;
use super::super::avx512::F32x16;
use super::words::{BLOCK, Place, Sums, TILE};

/// The proof that this CPU has AVX-512 with BW and BF16 besides what [`Avx512`] proves.
#[derive(Clone, Copy, Debug)]
pub struct Ends(Avx512);

impl Ends {
    /// The ends, if this CPU and its operating system support them.
    pub(super) fn detect() -> Option<Ends> {
        let has_all = is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bf16");
        Avx512::detect().filter(|_| has_all).map(Ends)
    }

    /// See [`super::Tiles::activate`].
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub(super) unsafe fn activate(
        self,
        sums: &Sums,
        pairs: Place<*mut u32>,
        frames: Option<Place<*mut u32>>,
    ) {
        for half in 0..2 {
            // SAFETY: K1, K3: the caller's promise.
            unsafe {
                let mut rows = [_mm512_setzero_si512(); TILE];
                for k in 0..TILE / 2 {
                    let feature = half * TILE + 2 * k;
                    let even = self.tanh(&sums.0[feature]);
                    let odd = self.tanh(&sums.0[feature + 1]);
                    write_pairs(even, odd, pairs, half * TILE / 2 + k);
                    rows[2 * k] = as_row(even);
                    rows[2 * k + 1] = as_row(odd);
                }
                if let Some(frames) = frames {
                    let rows = transposed(rows);
                    for (n, row) in rows.iter().enumerate() {
                        _mm512_storeu_si512(frames.at(n, half * TILE).cast(), *row);
                    }
                }
            }
        }
    }

    /// See [`super::Tiles::slope`].
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub(super) unsafe fn slope(
        self,
        sums: &Sums,
        x: Place<*const u32>,
        rows: Place<*mut u32>,
        pairs: Option<Place<*mut u32>>,
    ) {
        for k in 0..TILE {
            // SAFETY: K1, K3: the caller's promise.
            unsafe {
                let low = _mm512_loadu_si512(x.at(k, 0).cast());
                let high = _mm512_loadu_si512(x.at(k, TILE).cast());
                let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
                let x_even = [_mm512_slli_epi32::<16>(low), _mm512_slli_epi32::<16>(high)];
                let x_odd = [_mm512_and_si512(low, upper), _mm512_and_si512(high, upper)];
                let even = sloped(&sums.0[2 * k], x_even);
                let odd = sloped(&sums.0[2 * k + 1], x_odd);
                _mm512_storeu_si512(rows.at(2 * k, 0).cast(), as_row(even));
                _mm512_storeu_si512(rows.at(2 * k + 1, 0).cast(), as_row(odd));
                if let Some(pairs) = pairs {
                    write_pairs(even, odd, pairs, k);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn tanh(self, sums: &[f32; BLOCK]) -> [__m512; 2] {
        // SAFETY: K1: `self` is the proof; a row of sums is two vectors.
        let [low, high] =
            unsafe { [_mm512_load_ps(sums.as_ptr()), _mm512_load_ps(sums.as_ptr().add(TILE))] };
        [F32x16(low).coarse_tanh().0, F32x16(high).coarse_tanh().0]
    }
}

/// A row of sums times 1 − x².
///
/// # Safety
/// The CPU has AVX-512.
#[inline(always)]
unsafe fn sloped(sums: &[f32; BLOCK], x: [__m512i; 2]) -> [__m512; 2] {
    // SAFETY: K1: the caller's promise; a row of sums is two vectors.
    unsafe {
        let [low, high] = [_mm512_castsi512_ps(x[0]), _mm512_castsi512_ps(x[1])];
        let one = _mm512_set1_ps(1.0);
        let low = _mm512_fnmadd_ps(low, low, one);
        let high = _mm512_fnmadd_ps(high, high, one);
        let low = _mm512_mul_ps(_mm512_load_ps(sums.as_ptr()), low);
        let high = _mm512_mul_ps(_mm512_load_ps(sums.as_ptr().add(TILE)), high);
        [low, high]
    }
}

/// Two features of 32 frames as row `k` of pairs.
///
/// # Safety
/// The row has 32 words, and the CPU has the instructions.
#[inline(always)]
unsafe fn write_pairs(even: [__m512; 2], odd: [__m512; 2], pairs: Place<*mut u32>, k: usize) {
    /// The conversion puts sixteen of the one feature behind sixteen of the other; a pair takes one of each.
    const ORDER: [i32; TILE] = {
        let (mut order, mut lane) = ([0; TILE], 0);
        while lane < TILE {
            order[lane] = (lane | (lane + TILE) << 16) as i32;
            lane += 1;
        }
        order
    };
    for n in 0..2 {
        // SAFETY: K1, K3: the caller's promise.
        unsafe {
            let order = _mm512_loadu_si512(ORDER.as_ptr().cast());
            let both = as_words(_mm512_cvtne2ps_pbh(odd[n], even[n]));
            let words = _mm512_permutexvar_epi16(order, both);
            _mm512_storeu_si512(pairs.at(k, n * TILE).cast(), words);
        }
    }
}

/// 32 frames of a feature as 16 words.
///
/// # Safety
/// The CPU has the instructions.
#[inline(always)]
unsafe fn as_row([low, high]: [__m512; 2]) -> __m512i {
    // SAFETY: K1: the caller's promise.
    unsafe { as_words(_mm512_cvtne2ps_pbh(high, low)) }
}

/// The same bits.
#[inline(always)]
pub(super) fn as_words(pairs: __m512bh) -> __m512i {
    // SAFETY: two names for a vector of as many bits.
    unsafe { std::mem::transmute(pairs) }
}

/// The same bits.
#[inline(always)]
pub(super) fn as_pairs(words: __m512i) -> __m512bh {
    // SAFETY: two names for a vector of as many bits.
    unsafe { std::mem::transmute(words) }
}

/// 16 rows of 16 words, rows and columns exchanged: by words, pairs of words, fours and eights.
///
/// # Safety
/// The CPU has AVX-512.
#[inline(always)]
unsafe fn transposed(rows: [__m512i; TILE]) -> [__m512i; TILE] {
    let (mut a, mut b) = (rows, rows);
    // SAFETY: K1: the caller's promise.
    unsafe {
        for i in 0..8 {
            b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
            b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
        }
        for i in (0..TILE).step_by(4) {
            for j in 0..2 {
                a[i + 2 * j] = _mm512_unpacklo_epi64(b[i + j], b[i + j + 2]);
                a[i + 2 * j + 1] = _mm512_unpackhi_epi64(b[i + j], b[i + j + 2]);
            }
        }
        for j in 0..4 {
            for i in [0, 8] {
                b[i + j] = _mm512_shuffle_i32x4::<0x88>(a[i + j], a[i + 4 + j]);
                b[i + 4 + j] = _mm512_shuffle_i32x4::<0xdd>(a[i + j], a[i + 4 + j]);
            }
        }
        for j in 0..8 {
            a[j] = _mm512_shuffle_i32x4::<0x88>(b[j], b[8 + j]);
            a[8 + j] = _mm512_shuffle_i32x4::<0xdd>(b[j], b[8 + j]);
        }
    }
    a
}
