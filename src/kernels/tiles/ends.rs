//! What becomes of a block of sums while it is in L1, in AVX-512: the ends of a layer, forward and back.

use std::arch::x86_64::*;

use super::super::Avx512;
use super::super::avx512::F32x16;
use super::words::{BLOCK, Strided, Sums, TILE};
use super::{Errors, LayerEnds, Square};

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

    #[inline(always)]
    unsafe fn tanh(self, sums: &[f32; BLOCK], bias: f32) -> [__m512; 2] {
        // SAFETY: K1: `self` is the proof; a row of sums is two vectors.
        let [low, high] = unsafe {
            let bias = _mm512_set1_ps(bias);
            let sums = sums.as_ptr();
            [
                _mm512_add_ps(_mm512_load_ps(sums), bias),
                _mm512_add_ps(_mm512_load_ps(sums.add(TILE)), bias),
            ]
        };
        [F32x16(low).coarse_tanh().0, F32x16(high).coarse_tanh().0]
    }
}

impl LayerEnds for Ends {
    #[inline(always)]
    unsafe fn activate(
        self,
        k: usize,
        sums: &Sums,
        biases: *const f32,
        pairs: Strided<*mut u32>,
        rows: Option<Strided<*mut u32>>,
    ) {
        // SAFETY: K1, K3: the caller's promise.
        unsafe {
            let even = self.tanh(&sums.0[2 * k], *biases.add(2 * k));
            let odd = self.tanh(&sums.0[2 * k + 1], *biases.add(2 * k + 1));
            write_pairs(even, odd, pairs, k);
            if let Some(rows) = rows {
                _mm512_storeu_si512(rows.at(2 * k, 0).cast(), as_row(even));
                _mm512_storeu_si512(rows.at(2 * k + 1, 0).cast(), as_row(odd));
            }
        }
    }

    #[inline(always)]
    unsafe fn slope(
        self,
        k: usize,
        sums: &Sums,
        x: Strided<*const u32>,
        errors: Errors,
        rows: &mut [Square; 2],
    ) {
        // SAFETY: K1, K3: the caller's promise; a row is a vector.
        unsafe {
            let [even, odd] = sloped(sums, x, k);
            match errors {
                Errors::First { rows } => {
                    _mm512_storeu_si512(rows.at(2 * k, 0).cast(), as_row(even));
                    _mm512_storeu_si512(rows.at(2 * k + 1, 0).cast(), as_row(odd));
                }
                Errors::Inner { pairs, totals, .. } => {
                    write_pairs(even, odd, pairs, k);
                    add_total(even, totals.add(2 * k * TILE));
                    add_total(odd, totals.add((2 * k + 1) * TILE));
                    let rows = rows.as_flattened_mut()[2 * k..].as_mut_ptr();
                    _mm512_storeu_si512(rows.cast(), as_row(even));
                    _mm512_storeu_si512(rows.add(1).cast(), as_row(odd));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn exchange(self, rows: &Square, to: Strided<*mut u32>) {
        // SAFETY: K1, K3: the caller's promise; a row is a vector.
        unsafe {
            let mut square = [_mm512_setzero_si512(); TILE];
            for (row, words) in square.iter_mut().zip(rows) {
                *row = _mm512_loadu_si512(words.as_ptr().cast());
            }
            for (r, row) in transposed(square).into_iter().enumerate() {
                _mm512_storeu_si512(to.at(r, 0).cast(), row);
            }
        }
    }

    #[inline(always)]
    unsafe fn add_exchanged(
        self,
        sums: &Sums,
        column: usize,
        to: Strided<*mut f32>,
        [rows, columns]: [usize; 2],
    ) {
        for first in (0..columns).step_by(TILE) {
            let lanes = ((1_u32 << TILE.min(columns - first)) - 1) as __mmask16;
            // SAFETY: K1, K3: the caller's promise; lanes beyond the last column are masked.
            unsafe {
                let mut square = [_mm512_setzero_si512(); TILE];
                for (row, sums) in square.iter_mut().zip(&sums.0[first..]) {
                    *row = _mm512_loadu_si512(sums[column..].as_ptr().cast());
                }
                for (r, row) in transposed(square).into_iter().enumerate() {
                    if r < rows {
                        let to = to.at(r, first);
                        let sum = _mm512_maskz_loadu_ps(lanes, to);
                        let sum = _mm512_add_ps(sum, _mm512_castsi512_ps(row));
                        _mm512_mask_storeu_ps(to, lanes, sum);
                    }
                }
            }
        }
    }
}

/// Rows 2k and 2k + 1 of the sums, times 1 − x².
///
/// # Safety
/// `x` has 16 rows of 32 words, and the CPU has AVX-512.
#[inline(always)]
unsafe fn sloped(sums: &Sums, x: Strided<*const u32>, k: usize) -> [[__m512; 2]; 2] {
    // SAFETY: K1, K3: the caller's promise; a row of sums is two vectors.
    unsafe {
        let (one, upper) = (_mm512_set1_ps(1.0), _mm512_set1_epi32(0xffff_0000_u32 as i32));
        let low = _mm512_loadu_si512(x.at(k, 0).cast());
        let high = _mm512_loadu_si512(x.at(k, TILE).cast());
        let x = [
            [_mm512_slli_epi32::<16>(low), _mm512_slli_epi32::<16>(high)],
            [_mm512_and_si512(low, upper), _mm512_and_si512(high, upper)],
        ];
        let mut sloped = [[one; 2]; 2];
        for (half, (sloped, x)) in sloped.iter_mut().zip(x).enumerate() {
            for (n, (sloped, x)) in sloped.iter_mut().zip(x).enumerate() {
                let x = _mm512_castsi512_ps(x);
                let sums = _mm512_load_ps(sums.0[2 * k + half].as_ptr().add(n * TILE));
                *sloped = _mm512_mul_ps(sums, _mm512_fnmadd_ps(x, x, one));
            }
        }
        sloped
    }
}

/// Adds 32 frames of a feature to 16 numbers.
///
/// # Safety
/// There are so many, and the CPU has AVX-512.
#[inline(always)]
unsafe fn add_total([low, high]: [__m512; 2], total: *mut f32) {
    // SAFETY: K1, K3: the caller's promise.
    unsafe {
        let sum = _mm512_add_ps(_mm512_loadu_ps(total), _mm512_add_ps(low, high));
        _mm512_storeu_ps(total, sum);
    }
}

/// Two features of 32 frames as row `k` of pairs.
///
/// # Safety
/// The row has 32 words, and the CPU has the instructions.
#[inline(always)]
unsafe fn write_pairs(even: [__m512; 2], odd: [__m512; 2], pairs: Strided<*mut u32>, k: usize) {
    for n in 0..2 {
        // SAFETY: K1, K3: the caller's promise.
        unsafe { _mm512_storeu_si512(pairs.at(k, n * TILE).cast(), interleaved(even[n], odd[n])) };
    }
}

/// Each number of two vectors as a pair with the other's.
///
/// # Safety
/// The CPU has the instructions.
#[inline(always)]
pub(super) unsafe fn interleaved(low: __m512, high: __m512) -> __m512i {
    /// The conversion puts sixteen of the one vector behind sixteen of the other; a pair takes one of each.
    const ORDER: [i32; TILE] = {
        let (mut order, mut lane) = ([0; TILE], 0);
        while lane < TILE {
            order[lane] = (lane | (lane + TILE) << 16) as i32;
            lane += 1;
        }
        order
    };
    // SAFETY: K1: the caller's promise; the order is a vector.
    unsafe {
        let order = _mm512_loadu_si512(ORDER.as_ptr().cast());
        _mm512_permutexvar_epi16(order, as_words(_mm512_cvtne2ps_pbh(high, low)))
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
pub(super) unsafe fn transposed(rows: [__m512i; TILE]) -> [__m512i; TILE] {
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
