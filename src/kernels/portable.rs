//! Four floats in what every CPU has: SSE2 on x86-64, NEON on aarch64, plain arithmetic elsewhere.

use std::ops::{Add, Div, Mul, Sub};

use bytemuck::cast;
use wide::{f32x4, i32x4};

use super::blocked::vector_kernels;
use super::vector::{Span, Vector};

/// The kernels that run on every CPU; no proof is needed to have one.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

/// SSE2 has sixteen registers and no fused multiply-add; see `blocked.rs`.
const IS_X86: bool = cfg!(target_arch = "x86_64");

vector_kernels!(Portable, F32x4, [inline(never)]);

#[derive(Clone, Copy)]
struct F32x4(f32x4);

impl Add for F32x4 {
    type Output = F32x4;
    #[inline(always)]
    fn add(self, other: F32x4) -> F32x4 {
        F32x4(self.0 + other.0)
    }
}

impl Sub for F32x4 {
    type Output = F32x4;
    #[inline(always)]
    fn sub(self, other: F32x4) -> F32x4 {
        F32x4(self.0 - other.0)
    }
}

impl Mul for F32x4 {
    type Output = F32x4;
    #[inline(always)]
    fn mul(self, other: F32x4) -> F32x4 {
        F32x4(self.0 * other.0)
    }
}

impl Div for F32x4 {
    type Output = F32x4;
    #[inline(always)]
    fn div(self, other: F32x4) -> F32x4 {
        F32x4(self.0 / other.0)
    }
}

/// `2^exponent` for exponents of normal floats.
#[inline(always)]
fn power_of_two(exponent: i32x4) -> F32x4 {
    F32x4(cast((exponent + i32x4::splat(127)) << 23))
}

impl Vector for F32x4 {
    type Cpu = Portable;
    const LANES: usize = 4;
    const LAYER_ROWS: usize = if IS_X86 { 4 } else { 6 };
    const WIDE_ROWS: usize = if IS_X86 { 2 } else { 0 };
    const GRADIENT_ROWS: usize = if IS_X86 { 2 } else { 3 };

    #[inline(always)]
    fn splat(_cpu: Portable, value: f32) -> F32x4 {
        F32x4(f32x4::splat(value))
    }

    #[inline(always)]
    unsafe fn load(_cpu: Portable, from: *const f32, span: Span) -> F32x4 {
        let lanes = match span {
            // SAFETY: K2: the caller vouches for the lanes of the span.
            Span::Full => unsafe { from.cast::<[f32; 4]>().read() },
            Span::First(n) => {
                let mut lanes = [0.0; 4];
                for (lane, value) in lanes.iter_mut().enumerate().take(n) {
                    // SAFETY: K2: as above.
                    *value = unsafe { *from.add(lane) };
                }
                lanes
            }
        };
        F32x4(f32x4::new(lanes))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, span: Span) {
        let lanes = self.0.to_array();
        match span {
            // SAFETY: K2: the caller vouches for the lanes of the span.
            Span::Full => unsafe { to.cast::<[f32; 4]>().write(lanes) },
            Span::First(n) => {
                for (lane, value) in lanes.into_iter().enumerate().take(n) {
                    // SAFETY: K2: as above.
                    unsafe { *to.add(lane) = value };
                }
            }
        }
    }

    /// Rounded twice where there is no fused instruction.
    #[inline(always)]
    fn mul_add(self, factor: F32x4, addend: F32x4) -> F32x4 {
        F32x4(self.0.mul_add(factor.0, addend.0))
    }

    #[inline(always)]
    fn neg_mul_add(self, factor: F32x4, addend: F32x4) -> F32x4 {
        F32x4(self.0.mul_neg_add(factor.0, addend.0))
    }

    // A comparison with NaN is false, and so keeps it.
    #[inline(always)]
    fn at_most(self, limit: F32x4) -> F32x4 {
        F32x4(limit.0.simd_lt(self.0).select(limit.0, self.0))
    }

    #[inline(always)]
    fn at_least(self, limit: F32x4) -> F32x4 {
        F32x4(limit.0.simd_gt(self.0).select(limit.0, self.0))
    }

    /// In a sum beyond 2^23 no place is left behind the point.
    #[inline(always)]
    fn round(self) -> F32x4 {
        let shift = f32x4::splat(12_582_912.0);
        F32x4((self.0 + shift) - shift)
    }

    /// In two factors: the larger exponents do not fit into one normal float.
    #[inline(always)]
    fn scale(self, exponent: F32x4) -> F32x4 {
        let exponent = exponent.0.fast_round_int();
        let half: i32x4 = exponent >> 1;
        self * power_of_two(half) * power_of_two(exponent - half)
    }

    #[inline(always)]
    fn split(self) -> (F32x4, F32x4) {
        let bits: i32x4 = cast(self.0);
        let exponent: i32x4 = (bits - i32x4::splat(0.75_f32.to_bits() as i32)) >> 23;
        let mantissa = bits - (exponent << 23);
        (F32x4(cast(mantissa)), F32x4(exponent.round_float()))
    }

    #[inline(always)]
    fn sums([a, b, c, d]: [F32x4; 4]) -> [f32; 4] {
        let [a, b, c, d] = f32x4::transpose([a.0, b.0, c.0, d.0]);
        ((a + b) + (c + d)).to_array()
    }
}
