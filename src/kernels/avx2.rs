//! Eight floats in AVX2 and FMA.

use std::arch::x86_64::*;
use std::ops::{Add, Div, Mul, Sub};

use super::blocked::vector_kernels;
use super::vector::{Span, Vector};

/// The proof that this CPU has AVX2 and FMA, and the kernels that use them.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// The kernels, if this CPU and its operating system support them.
    pub fn detect() -> Option<Avx2> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        found.then_some(Avx2(()))
    }
}

vector_kernels!(Avx2, F32x8, [target_feature(enable = "avx2,fma")]);

#[derive(Clone, Copy)]
struct F32x8(__m256);

/// An expression of intrinsics. Those that go through a pointer stand in unsafe functions alone.
macro_rules! avx2 {
    ($($expression:tt)*) => {
        // SAFETY: K1: the vector or the `Avx2` at hand exists only after detection. K2: the caller
        // of an unsafe function vouches for its pointer.
        unsafe { $($expression)* }
    };
}

impl Add for F32x8 {
    type Output = F32x8;
    #[inline(always)]
    fn add(self, other: F32x8) -> F32x8 {
        F32x8(avx2!(_mm256_add_ps(self.0, other.0)))
    }
}

impl Sub for F32x8 {
    type Output = F32x8;
    #[inline(always)]
    fn sub(self, other: F32x8) -> F32x8 {
        F32x8(avx2!(_mm256_sub_ps(self.0, other.0)))
    }
}

impl Mul for F32x8 {
    type Output = F32x8;
    #[inline(always)]
    fn mul(self, other: F32x8) -> F32x8 {
        F32x8(avx2!(_mm256_mul_ps(self.0, other.0)))
    }
}

impl Div for F32x8 {
    type Output = F32x8;
    #[inline(always)]
    fn div(self, other: F32x8) -> F32x8 {
        F32x8(avx2!(_mm256_div_ps(self.0, other.0)))
    }
}

/// A mask of the first `n` lanes.
#[inline(always)]
fn first(n: usize) -> __m256i {
    avx2! {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lanes)
    }
}

/// `2^exponent` for exponents of normal floats.
#[inline(always)]
fn power_of_two(exponent: __m256i) -> F32x8 {
    avx2! {
        let biased = _mm256_add_epi32(exponent, _mm256_set1_epi32(127));
        F32x8(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased)))
    }
}

impl Vector for F32x8 {
    type Cpu = Avx2;
    const LANES: usize = 8;
    const LAYER_ROWS: usize = 6;
    const WIDE_ROWS: usize = 3;
    const GRADIENT_ROWS: usize = 3;

    #[inline(always)]
    fn splat(_cpu: Avx2, value: f32) -> F32x8 {
        F32x8(avx2!(_mm256_set1_ps(value)))
    }

    #[inline(always)]
    unsafe fn load(_cpu: Avx2, from: *const f32, span: Span) -> F32x8 {
        F32x8(match span {
            Span::Full => avx2!(_mm256_loadu_ps(from)),
            Span::First(n) => avx2!(_mm256_maskload_ps(from, first(n))),
        })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, span: Span) {
        match span {
            Span::Full => avx2!(_mm256_storeu_ps(to, self.0)),
            Span::First(n) => avx2!(_mm256_maskstore_ps(to, first(n), self.0)),
        }
    }

    #[inline(always)]
    fn mul_add(self, factor: F32x8, addend: F32x8) -> F32x8 {
        F32x8(avx2!(_mm256_fmadd_ps(self.0, factor.0, addend.0)))
    }

    #[inline(always)]
    fn neg_mul_add(self, factor: F32x8, addend: F32x8) -> F32x8 {
        F32x8(avx2!(_mm256_fnmadd_ps(self.0, factor.0, addend.0)))
    }

    // Of two operands of which one is NaN, min and max return the second.
    #[inline(always)]
    fn at_most(self, limit: F32x8) -> F32x8 {
        F32x8(avx2!(_mm256_min_ps(limit.0, self.0)))
    }

    #[inline(always)]
    fn at_least(self, limit: F32x8) -> F32x8 {
        F32x8(avx2!(_mm256_max_ps(limit.0, self.0)))
    }

    #[inline(always)]
    fn round(self) -> F32x8 {
        F32x8(avx2!(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)))
    }

    /// In two factors: the larger exponents do not fit into one normal float.
    #[inline(always)]
    fn scale(self, exponent: F32x8) -> F32x8 {
        avx2! {
            let exponent = _mm256_cvtps_epi32(exponent.0);
            let half = _mm256_srai_epi32::<1>(exponent);
            let rest = _mm256_sub_epi32(exponent, half);
            self * power_of_two(half) * power_of_two(rest)
        }
    }

    #[inline(always)]
    fn split(self) -> (F32x8, F32x8) {
        avx2! {
            let bits = _mm256_castps_si256(self.0);
            let lowest = _mm256_castps_si256(_mm256_set1_ps(0.75));
            let exponent = _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, lowest));
            let mantissa = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(exponent));
            (F32x8(_mm256_castsi256_ps(mantissa)), F32x8(_mm256_cvtepi32_ps(exponent)))
        }
    }

    #[inline(always)]
    fn sums([a, b, c, d]: [F32x8; 4]) -> [f32; 4] {
        avx2! {
            let ab = _mm256_add_ps(_mm256_unpacklo_ps(a.0, b.0), _mm256_unpackhi_ps(a.0, b.0));
            let cd = _mm256_add_ps(_mm256_unpacklo_ps(c.0, d.0), _mm256_unpackhi_ps(c.0, d.0));
            let low = _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd);
            let high = _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd);
            let abcd = _mm256_add_ps(low, high);
            let quarter = _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps::<1>(abcd));
            std::mem::transmute::<__m128, [f32; 4]>(quarter)
        }
    }
}
