//! From f32 to pairs of bf16, from rows to columns, and through a ReLU: what frame-major matrices need besides
//! [`Tiles`]. Written in vectors, because the compiler makes none of a loop of 32 steps: it unrolls that first.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::super::rectified::relu;
#[cfg(target_arch = "x86_64")]
use super::ends::{as_words, interleaved, transposed};
use super::words::{BLOCK, TILE, pair};
#[cfg(target_arch = "x86_64")]
use super::{Amx, DotProducts};
use super::{Emulated, Tiles};

/// All but the sign of a number in the lower half of a word, and in the upper one.
const SIZES: [u32; 2] = [0x7fff, 0x7fff_0000];

/// Conversions in work that runs by [`Tiles::run`].
pub trait Convert: Tiles {
    /// Each two numbers that stand side by side as a pair.
    fn pairs(self, numbers: &[f32; BLOCK], words: &mut [u32; TILE]);

    /// Each number of two rows as a pair with that above it.
    fn interleave(self, low: &[f32; BLOCK], high: &[f32; BLOCK], words: &mut [u32; BLOCK]);

    /// `max(0, x)`; NaN stays NaN.
    fn rectify(self, numbers: &mut [f32; BLOCK]);

    /// `max(0, sum + bias)`; NaN stays NaN.
    fn rectify_biased(self, sums: &mut [f32; BLOCK], biases: &[f32; BLOCK]);

    /// The sums where the numbers in the lower (0) or upper half (1) of the words are not 0, whatever their sign; else 0.
    fn where_not_zero(
        self,
        sums: &[f32; BLOCK],
        words: (&[u32; BLOCK], usize),
        to: &mut [f32; BLOCK],
    );

    /// Rows become columns.
    fn transpose(self, words: &mut [[u32; TILE]; TILE]);
}

impl Convert for Emulated {
    fn pairs(self, numbers: &[f32; BLOCK], words: &mut [u32; TILE]) {
        let twos = words.iter_mut().zip(numbers.as_chunks().0);
        twos.for_each(|(word, [low, high])| *word = pair(*low, *high));
    }

    fn interleave(self, low: &[f32; BLOCK], high: &[f32; BLOCK], words: &mut [u32; BLOCK]) {
        let twos = words.iter_mut().zip(low).zip(high);
        twos.for_each(|((word, low), high)| *word = pair(*low, *high));
    }

    fn rectify(self, numbers: &mut [f32; BLOCK]) {
        relu(numbers);
    }

    fn rectify_biased(self, sums: &mut [f32; BLOCK], biases: &[f32; BLOCK]) {
        sums.iter_mut().zip(biases).for_each(|(sum, bias)| *sum += bias);
        relu(sums);
    }

    fn where_not_zero(
        self,
        sums: &[f32; BLOCK],
        (words, half): (&[u32; BLOCK], usize),
        to: &mut [f32; BLOCK],
    ) {
        for ((to, sum), word) in to.iter_mut().zip(sums).zip(words) {
            *to = if word & SIZES[half] == 0 { 0.0 } else { *sum };
        }
    }

    fn transpose(self, words: &mut [[u32; TILE]; TILE]) {
        let rows = *words;
        for (column, words) in words.iter_mut().enumerate() {
            words.iter_mut().zip(&rows).for_each(|(word, row)| *word = row[column]);
        }
    }
}

/// The same by AVX-512 BF16, for each who proves that the CPU has it.
#[cfg(target_arch = "x86_64")]
macro_rules! convert_by_avx512 {
    ($($tiles:ty),*) => {
        $(impl Convert for $tiles {
            #[inline(always)]
            fn pairs(self, numbers: &[f32; BLOCK], words: &mut [u32; TILE]) {
                // SAFETY: K1: `self` is the proof.
                unsafe { pairs(numbers, words) }
            }

            #[inline(always)]
            fn interleave(self, low: &[f32; BLOCK], high: &[f32; BLOCK], words: &mut [u32; BLOCK]) {
                // SAFETY: K1: `self` is the proof.
                unsafe { interleave(low, high, words) }
            }

            #[inline(always)]
            fn rectify(self, numbers: &mut [f32; BLOCK]) {
                // SAFETY: K1: `self` is the proof.
                unsafe { rectify(numbers) }
            }

            #[inline(always)]
            fn rectify_biased(self, sums: &mut [f32; BLOCK], biases: &[f32; BLOCK]) {
                // SAFETY: K1: `self` is the proof.
                unsafe { rectify_biased(sums, biases) }
            }

            #[inline(always)]
            fn where_not_zero(
                self,
                sums: &[f32; BLOCK],
                words: (&[u32; BLOCK], usize),
                to: &mut [f32; BLOCK],
            ) {
                // SAFETY: K1: `self` is the proof.
                unsafe { where_not_zero(sums, words, to) }
            }

            #[inline(always)]
            fn transpose(self, words: &mut [[u32; TILE]; TILE]) {
                // SAFETY: K1: `self` is the proof.
                unsafe { transpose(words) }
            }
        })*
    };
}

#[cfg(target_arch = "x86_64")]
convert_by_avx512!(Amx, DotProducts);

/// Both vectors of a block.
///
/// # Safety
/// The CPU has AVX-512.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn halves(numbers: &[f32; BLOCK]) -> [__m512; 2] {
    // SAFETY: K1: the caller's promise; K2: a block is two vectors.
    unsafe { [_mm512_loadu_ps(numbers.as_ptr()), _mm512_loadu_ps(numbers.as_ptr().add(TILE))] }
}

/// See [`Convert::pairs`].
///
/// # Safety
/// The CPU has AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn pairs(numbers: &[f32; BLOCK], words: &mut [u32; TILE]) {
    // SAFETY: K1: the caller's promise; K2: there is room for a vector.
    unsafe {
        let [low, high] = halves(numbers);
        _mm512_storeu_si512(words.as_mut_ptr().cast(), as_words(_mm512_cvtne2ps_pbh(high, low)));
    }
}

/// See [`Convert::interleave`].
///
/// # Safety
/// The CPU has AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn interleave(low: &[f32; BLOCK], high: &[f32; BLOCK], words: &mut [u32; BLOCK]) {
    // SAFETY: K1: the caller's promise; K2: there is room for two vectors.
    unsafe {
        let (low, high) = (halves(low), halves(high));
        for (half, words) in words.as_chunks_mut::<TILE>().0.iter_mut().enumerate() {
            let both = interleaved(low[half], high[half]);
            _mm512_storeu_si512(words.as_mut_ptr().cast(), both);
        }
    }
}

/// See [`Convert::rectify`].
///
/// # Safety
/// The CPU has AVX-512.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn rectify(numbers: &mut [f32; BLOCK]) {
    // SAFETY: K1: the caller's promise; K2: a block is two vectors.
    unsafe {
        for (half, number) in halves(numbers).into_iter().enumerate() {
            // Of two operands of which one is NaN, max returns the second.
            let rectified = _mm512_max_ps(_mm512_setzero_ps(), number);
            _mm512_storeu_ps(numbers.as_mut_ptr().add(half * TILE), rectified);
        }
    }
}

/// See [`Convert::rectify_biased`].
///
/// # Safety
/// The CPU has AVX-512.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn rectify_biased(sums: &mut [f32; BLOCK], biases: &[f32; BLOCK]) {
    // SAFETY: K1: the caller's promise; K2: a block is two vectors.
    unsafe {
        let (numbers, biases) = (halves(sums), halves(biases));
        for half in 0..2 {
            let sum = _mm512_add_ps(numbers[half], biases[half]);
            // Of two operands of which one is NaN, max returns the second.
            let rectified = _mm512_max_ps(_mm512_setzero_ps(), sum);
            _mm512_storeu_ps(sums.as_mut_ptr().add(half * TILE), rectified);
        }
    }
}

/// See [`Convert::where_not_zero`].
///
/// # Safety
/// The CPU has AVX-512.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn where_not_zero(
    sums: &[f32; BLOCK],
    (words, half): (&[u32; BLOCK], usize),
    to: &mut [f32; BLOCK],
) {
    // SAFETY: K1: the caller's promise; K2: a block is two vectors.
    unsafe {
        let size = _mm512_set1_epi32(SIZES[half] as i32);
        for (at, sums) in (0..).step_by(TILE).zip(halves(sums)) {
            let words = _mm512_loadu_si512(words.as_ptr().add(at).cast());
            let kept = _mm512_maskz_mov_ps(_mm512_test_epi32_mask(words, size), sums);
            _mm512_storeu_ps(to.as_mut_ptr().add(at), kept);
        }
    }
}

/// See [`Convert::transpose`].
///
/// # Safety
/// The CPU has AVX-512.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn transpose(words: &mut [[u32; TILE]; TILE]) {
    // SAFETY: K1: the caller's promise; K2: each row is a vector.
    unsafe {
        let mut rows = [_mm512_setzero_si512(); TILE];
        for (row, words) in rows.iter_mut().zip(&*words) {
            *row = _mm512_loadu_si512(words.as_ptr().cast());
        }
        for (row, words) in transposed(rows).into_iter().zip(words) {
            _mm512_storeu_si512(words.as_mut_ptr().cast(), row);
        }
    }
}
