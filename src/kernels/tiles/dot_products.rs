//! Products by `VDPBF16PS`: a vector of sums takes two products a lane at once.
//!
//! Blocks of 8 rows of two vectors of columns have their sums in registers; each step over the pairs reads two
//! vectors of the right factor and broadcasts a pair of the left one a row.

use std::arch::x86_64::*;

use super::super::Work;
use super::ends::{Ends, as_pairs};
use super::words::{Sums, TILE};
use super::{Factors, Size, Steps, Tiles};

/// The operations on tiles of a CPU with AVX-512 BF16.
#[derive(Clone, Copy, Debug)]
pub struct DotProducts(Ends);

impl DotProducts {
    /// They, if this CPU and its operating system support them.
    pub(in super::super) fn detect() -> Option<DotProducts> {
        Ends::detect().map(DotProducts)
    }

    /// Whether this CPU starts as many in a cycle as multiply-adds of f32. AMD's do; Intel's start one where they
    /// start four of those (`middle sums` in `results/bench/kernels-avx512.md`).
    pub(in super::super) fn are_as_many_as_of_f32(self) -> bool {
        let vendor = __cpuid(0);
        let name = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
        name.as_flattened() == b"AuthenticAMD"
    }
}

impl Tiles for DotProducts {
    type Ends = Ends;

    fn run<W: Work>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512bf16")]
        unsafe fn compiled<W: Work>(work: W) -> W::Output {
            work.run()
        }
        // SAFETY: K1: `self` is the proof that the CPU has these features.
        unsafe { compiled(work) }
    }

    #[inline(always)]
    unsafe fn product_beside(
        self,
        factors: Factors,
        size: Size,
        sums: &mut Sums,
        beside: &mut impl Steps,
    ) {
        // Both are vector instructions: nothing is gained by mixing them.
        for k in 0..TILE {
            beside.step(k);
        }
        beside.finish();
        // SAFETY: K1, K3: the caller's promise.
        unsafe {
            if size.columns > TILE {
                rows::<2>(factors, size, sums);
            } else {
                rows::<1>(factors, size, sums);
            }
        }
    }

    #[inline(always)]
    fn ends(self) -> Ends {
        self.0
    }
}

/// All rows of C vectors of columns, block after block.
///
/// # Safety
/// As of [`Tiles::product_beside`]; the CPU has the instructions.
#[inline(always)]
unsafe fn rows<const C: usize>(factors: Factors, size: Size, sums: &mut Sums) {
    let mut row = 0;
    while row < size.rows {
        // SAFETY: K1, K3: the caller's promise; there are whole tiles of rows.
        unsafe {
            if size.rows - row > 4 {
                block::<8, C>(factors, row, size.pairs, sums);
                row += 8;
            } else {
                block::<4, C>(factors, row, size.pairs, sums);
                row += 4;
            }
        }
    }
}

/// R rows, summed in registers.
///
/// # Safety
/// The rows exist; the CPU has the instructions.
#[inline(always)]
unsafe fn block<const R: usize, const C: usize>(
    Factors { left, right }: Factors,
    row: usize,
    pairs: usize,
    sums: &mut Sums,
) {
    // SAFETY: K1, K3: the caller's promise.
    unsafe {
        let mut block = [[_mm512_setzero_ps(); C]; R];
        for k in 0..pairs {
            let mut columns = [_mm512_setzero_si512(); C];
            for (c, columns) in columns.iter_mut().enumerate() {
                *columns = _mm512_loadu_si512(right.at(k, c * TILE).cast());
            }
            for (r, block) in block.iter_mut().enumerate() {
                let left = as_pairs(_mm512_set1_epi32(*left.at(row + r, k) as i32));
                for (sum, columns) in block.iter_mut().zip(columns) {
                    *sum = _mm512_dpbf16_ps(*sum, left, as_pairs(columns));
                }
            }
        }
        for (r, block) in block.into_iter().enumerate() {
            for (c, sum) in block.into_iter().enumerate() {
                _mm512_store_ps(sums.0[row + r].as_mut_ptr().add(c * TILE), sum);
            }
        }
    }
}
