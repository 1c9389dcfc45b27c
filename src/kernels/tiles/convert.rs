//! From f32 to pairs of bf16, and from rows to columns: what frame-major matrices need besides [`Tiles`].

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

#[cfg(target_arch = "x86_64")]
use super::ends::{as_words, interleaved, transposed};
use super::words::{BLOCK, TILE, pair};
#[cfg(target_arch = "x86_64")]
use super::{Amx, DotProducts};
use super::{Emulated, Tiles};

/// Conversions in work that runs by [`Tiles::run`].
pub trait Convert: Tiles {
    /// Each two numbers that stand side by side as a pair.
    fn pairs(self, numbers: &[f32; BLOCK], words: &mut [u32; TILE]);

    /// Each number of two rows as a pair with that above it.
    fn interleave(self, low: &[f32; BLOCK], high: &[f32; BLOCK], words: &mut [u32; BLOCK]);

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
