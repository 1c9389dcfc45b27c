//! The C library's sine and cosine to the last bit, in arithmetic that vectors have.
//!
//! Owns: glibc's algorithm for small angles, and the check that this machine's C library is one that computes
//! so. Knows nothing of environments. Used by those whose dynamics are computed for several at a time.
//!
//! Source: glibc 2.28 and later, `sysdeps/ieee754/dbl-64/s_sin.c` (IBM's accurate mathematical library),
//! in the variant for processors with fused multiply-add. Which of its sums are fused is the C compiler's
//! choice and part of the result, so it was read off Debian's glibc 2.36; [`SmallSines::like_the_c_library`]
//! finds out whether another library made another choice.

use std::sync::LazyLock;

/// Sine and cosine of an angle in radians, as the C library computes them.
pub trait Sines: Copy {
    /// Both at once.
    fn sin_cos(self, angle: f64) -> (f64, f64);
}

/// The C library itself: any angle, one at a time.
#[derive(Clone, Copy, Debug)]
pub struct CLibrary;

impl Sines for CLibrary {
    #[inline(always)]
    fn sin_cos(self, angle: f64) -> (f64, f64) {
        angle.sin_cos()
    }
}

/// The same numbers for angles of at most [`LARGEST`], without a call or a branch.
#[derive(Clone, Copy, Debug)]
pub struct SmallSines(&'static [[f64; 4]; N_POINTS]);

/// The largest angle, rad. Beyond, the result is some number.
pub const LARGEST: f64 = 0.24;

/// Points of the table: all multiples of 1/128 up to [`LARGEST`], and as many more as make a mask of the index.
const N_POINTS: usize = 32;

/// Added to a number, leaves its nearest multiple of 1/128 in the last bits: 1.5 · 2^45.
const TO_POINT: f64 = 52_776_558_133_248.0;

/// Below, the sine is its Taylor series.
const TAYLOR_LIMIT: f64 = 0.126;
/// Coefficients of x³, x⁵, … of the sine.
const TAYLOR: [f64; 5] = [
    -0.166_666_666_666_666_66,
    0.008_333_333_333_332_329,
    -0.000_198_412_698_344_146_42,
    2.755_729_806_860_771e-6,
    -2.502_201_484_831_839_8e-8,
];
/// Coefficients of x³ and x⁵ of the sine, and of x², x⁴ and x⁶ of 1 − cosine, near a point of the table.
const SIN: [f64; 2] = [-0.166_666_666_666_664_88, 0.008_333_332_142_857_223];
const COS: [f64; 3] = [0.5, -0.041_666_666_666_666_44, 0.001_388_888_740_079_376];

static POINTS: LazyLock<[[f64; 4]; N_POINTS]> = LazyLock::new(|| std::array::from_fn(point));

impl SmallSines {
    /// They, if this machine's C library gives the same bits at some thousand angles.
    pub fn like_the_c_library() -> Option<SmallSines> {
        const N_ANGLES: i32 = 2048;
        let sines = SmallSines(&POINTS);
        let bits = |(sin, cos): (f64, f64)| (sin.to_bits(), cos.to_bits());
        let is_alike = |i: i32| {
            let angle = f64::from(i) * (LARGEST / f64::from(N_ANGLES));
            bits(sines.sin_cos(angle)) == bits(CLibrary.sin_cos(angle))
        };
        (-N_ANGLES..=N_ANGLES).all(is_alike).then_some(sines)
    }
}

impl Sines for SmallSines {
    #[inline(always)]
    fn sin_cos(self, angle: f64) -> (f64, f64) {
        let size = angle.abs();
        let shifted = size + TO_POINT;
        let [sin_high, sin_low, cos_high, cos_low] = self.0[shifted.to_bits() as usize % N_POINTS];
        let x = size - (shifted - TO_POINT);
        let (square, cube) = (x * x, x * x * x);
        let odd = square.mul_add(SIN[1], SIN[0]);
        let even = square * square.mul_add(COS[2], COS[1]).mul_add(square, COS[0]);
        let sine = x + cube * odd;
        let rest = (-even).mul_add(sin_high, sine.mul_add(cos_low, sin_low));
        let far = sin_high + sine.mul_add(cos_high, rest);
        let sin = if size < TAYLOR_LIMIT { taylor(size) } else { far };
        // The same number rounded once less: so the C compiler chose.
        let sine = cube.mul_add(odd, x);
        let rest = (-even).mul_add(cos_high, (-sin_low).mul_add(sine, cos_low));
        (sin.copysign(angle), cos_high + (-sine).mul_add(sin_high, rest))
    }
}

/// The sine near 0.
#[inline(always)]
fn taylor(x: f64) -> f64 {
    let square = x * x;
    let mut sum = TAYLOR[4];
    for coefficient in TAYLOR[..4].iter().rev() {
        sum = sum.mul_add(square, *coefficient);
    }
    x + square * (sum * x)
}

/// Sine and cosine of `index / 128`, each as the nearest f64 and what that leaves.
fn point(index: usize) -> [f64; 4] {
    let mut series = [0_i128; 2];
    let mut term = ONE;
    // xⁿ / n! in turn to cosine and sine, with signs + + − − …
    for n in 0..24 {
        series[(n + 1) % 2] += if n % 4 < 2 { term } else { -term };
        term = term * index as i128 / 128 / (n as i128 + 1);
    }
    let [sin, cos] = series.map(in_two_parts);
    [sin[0], sin[1], cos[0], cos[1]]
}

/// 1 as a fixed-point number.
const ONE: i128 = 1 << 118;

/// A fixed-point number as the nearest f64 and the nearest to what is left.
fn in_two_parts(number: i128) -> [f64; 2] {
    let high = number as f64;
    [high / ONE as f64, (number - high as i128) as f64 / ONE as f64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_sines_and_cosines() {
        for (index, [sin, sin_rest, cos, cos_rest]) in POINTS.iter().enumerate() {
            let angle = index as f64 / 128.0;
            assert!((sin - angle.sin()).abs() < 2e-16 && (cos - angle.cos()).abs() < 2e-16);
            assert!(sin_rest.abs() < 3e-17 && cos_rest.abs() < 1.2e-16);
        }
    }

    /// Where the library computes otherwise there is nothing to compare: the environments then call it.
    #[test]
    fn a_library_found_alike_is_alike_at_a_million_angles() {
        let Some(sines) = SmallSines::like_the_c_library() else {
            return eprintln!("SKIPPED: this machine's C library computes sines otherwise");
        };
        let mut word = 1_u64;
        for _ in 0..1_000_000 {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let angle = ((word >> 11) as f64 / (1_u64 << 52) as f64 - 1.0) * LARGEST;
            assert_eq!(sines.sin_cos(angle), angle.sin_cos(), "{angle:e}");
        }
        for angle in [0.0, -0.0, 1e-300, -1e-9, 0.126, -LARGEST] {
            let (sin, cos) = sines.sin_cos(angle);
            let expected = angle.sin_cos();
            assert_eq!(
                (sin.to_bits(), cos.to_bits()),
                (expected.0.to_bits(), expected.1.to_bits())
            );
        }
    }
}
