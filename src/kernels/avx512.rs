//! Sixteen floats in AVX-512 (F and DQ).

use std::arch::x86_64::*;
use std::ops::{Add, Div, Mul, Sub};

use super::blocked::vector_kernels;
use super::tanh_table;
use super::vector::{Span, Vector};

/// The proof that this CPU has AVX-512, and the kernels that use it.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

impl Avx512 {
    /// The kernels, if this CPU and its operating system support them.
    pub fn detect() -> Option<Avx512> {
        let found = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq");
        found.then_some(Avx512(()))
    }
}

vector_kernels!(Avx512, F32x16, [target_feature(enable = "avx512f,avx512dq")]);

#[derive(Clone, Copy)]
pub(super) struct F32x16(pub(super) __m512);

/// An expression of intrinsics. Those that go through a pointer stand in unsafe functions alone.
macro_rules! avx512 {
    ($($expression:tt)*) => {
        // SAFETY: K1: the vector or the `Avx512` at hand exists only after detection. K2: the caller
        // of an unsafe function vouches for its pointer.
        unsafe { $($expression)* }
    };
}

impl Add for F32x16 {
    type Output = F32x16;
    #[inline(always)]
    fn add(self, other: F32x16) -> F32x16 {
        F32x16(avx512!(_mm512_add_ps(self.0, other.0)))
    }
}

impl Sub for F32x16 {
    type Output = F32x16;
    #[inline(always)]
    fn sub(self, other: F32x16) -> F32x16 {
        F32x16(avx512!(_mm512_sub_ps(self.0, other.0)))
    }
}

impl Mul for F32x16 {
    type Output = F32x16;
    #[inline(always)]
    fn mul(self, other: F32x16) -> F32x16 {
        F32x16(avx512!(_mm512_mul_ps(self.0, other.0)))
    }
}

impl Div for F32x16 {
    type Output = F32x16;
    #[inline(always)]
    fn div(self, other: F32x16) -> F32x16 {
        F32x16(avx512!(_mm512_div_ps(self.0, other.0)))
    }
}

impl F32x16 {
    /// tanh within 2e-4, for whoever rounds it to bf16; odd, and NaN stays NaN.
    #[inline(always)]
    pub(super) fn coarse_tanh(self) -> F32x16 {
        self.tanh_by(&tanh_table::QUADRATIC)
    }

    /// tanh by table: each lane picks the coefficients of its number's piece.
    #[inline(always)]
    fn tanh_by<const N: usize>(self, table: &tanh_table::Table<N>) -> F32x16 {
        avx512! {
            let sign = _mm512_castsi512_ps(_mm512_set1_epi32(i32::MIN));
            // Of two operands of which one is NaN, min returns the second.
            let size = _mm512_andnot_ps(sign, self.0);
            let size = _mm512_min_ps(_mm512_set1_ps(table.limit), size);
            let steps = _mm512_set1_ps(table.steps_a_unit);
            let piece = _mm512_fmadd_ps(size, steps, _mm512_set1_ps(tanh_table::TO_INTEGER));
            let mut sum = pick(&table.coefficients[N - 1], piece);
            for coefficients in table.coefficients[..N - 1].iter().rev() {
                sum = _mm512_fmadd_ps(sum, size, pick(coefficients, piece));
            }
            F32x16(_mm512_or_ps(sum, _mm512_and_ps(sign, self.0)))
        }
    }
}

/// Of one coefficient of all pieces, that of each lane's piece.
#[inline(always)]
fn pick(coefficients: &[f32; 32], piece: __m512) -> __m512 {
    avx512! {
        let low = _mm512_loadu_ps(coefficients.as_ptr());
        let high = _mm512_loadu_ps(coefficients.as_ptr().add(16));
        _mm512_permutex2var_ps(low, _mm512_castps_si512(piece), high)
    }
}

/// A mask of the first `n` lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1_u32 << n) - 1) as __mmask16
}

impl Vector for F32x16 {
    type Cpu = Avx512;
    const LANES: usize = 16;
    const LAYER_ROWS: usize = 8;
    const GRADIENT_ROWS: usize = 4;

    #[inline(always)]
    fn splat(_cpu: Avx512, value: f32) -> F32x16 {
        F32x16(avx512!(_mm512_set1_ps(value)))
    }

    #[inline(always)]
    unsafe fn load(_cpu: Avx512, from: *const f32, span: Span) -> F32x16 {
        F32x16(match span {
            Span::Full => avx512!(_mm512_loadu_ps(from)),
            Span::First(n) => avx512!(_mm512_maskz_loadu_ps(first(n), from)),
        })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, span: Span) {
        match span {
            Span::Full => avx512!(_mm512_storeu_ps(to, self.0)),
            Span::First(n) => avx512!(_mm512_mask_storeu_ps(to, first(n), self.0)),
        }
    }

    #[inline(always)]
    fn mul_add(self, factor: F32x16, addend: F32x16) -> F32x16 {
        F32x16(avx512!(_mm512_fmadd_ps(self.0, factor.0, addend.0)))
    }

    #[inline(always)]
    fn neg_mul_add(self, factor: F32x16, addend: F32x16) -> F32x16 {
        F32x16(avx512!(_mm512_fnmadd_ps(self.0, factor.0, addend.0)))
    }

    /// An approximate reciprocal and one step of Newton's. A division keeps Intel's only divider busy for
    /// longer than all the rest of a tanh takes.
    #[inline(always)]
    fn over(self, denominator: F32x16) -> F32x16 {
        avx512! {
            // Relative error 2^-14, exact where the reciprocal is a power of two.
            let reciprocal = _mm512_rcp14_ps(denominator.0);
            let error = _mm512_fnmadd_ps(denominator.0, reciprocal, _mm512_set1_ps(1.0));
            let quotient = _mm512_mul_ps(self.0, reciprocal);
            F32x16(_mm512_fmadd_ps(quotient, error, quotient))
        }
    }

    // Of two operands of which one is NaN, min and max return the second.
    #[inline(always)]
    fn at_most(self, limit: F32x16) -> F32x16 {
        F32x16(avx512!(_mm512_min_ps(limit.0, self.0)))
    }

    #[inline(always)]
    fn at_least(self, limit: F32x16) -> F32x16 {
        F32x16(avx512!(_mm512_max_ps(limit.0, self.0)))
    }

    #[inline(always)]
    fn round(self) -> F32x16 {
        F32x16(avx512!(_mm512_roundscale_ps::<_MM_FROUND_TO_NEAREST_INT>(self.0)))
    }

    #[inline(always)]
    fn scale(self, exponent: F32x16) -> F32x16 {
        F32x16(avx512!(_mm512_scalef_ps(self.0, exponent.0)))
    }

    #[inline(always)]
    fn split(self) -> (F32x16, F32x16) {
        avx512! {
            let bits = _mm512_castps_si512(self.0);
            let lowest = _mm512_castps_si512(_mm512_set1_ps(0.75));
            let exponent = _mm512_srai_epi32::<23>(_mm512_sub_epi32(bits, lowest));
            let mantissa = _mm512_sub_epi32(bits, _mm512_slli_epi32::<23>(exponent));
            (F32x16(_mm512_castsi512_ps(mantissa)), F32x16(_mm512_cvtepi32_ps(exponent)))
        }
    }

    #[inline(always)]
    fn tanh(self, _cpu: Avx512) -> F32x16 {
        self.tanh_by(&tanh_table::CUBIC)
    }

    /// Transposes in 128-bit lanes while adding, so that four sums cost 6 shuffles and 5 additions
    /// where four separate ones would cost 16 of each.
    #[inline(always)]
    fn sums([a, b, c, d]: [F32x16; 4]) -> [f32; 4] {
        avx512! {
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a.0, b.0), _mm512_unpackhi_ps(a.0, b.0));
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c.0, d.0), _mm512_unpackhi_ps(c.0, d.0));
            let low = _mm512_shuffle_ps::<0b01_00_01_00>(ab, cd);
            let high = _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd);
            let abcd = _mm512_add_ps(low, high);
            let half = _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps::<1>(abcd));
            let quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps::<1>(half));
            std::mem::transmute::<__m128, [f32; 4]>(quarter)
        }
    }
}
