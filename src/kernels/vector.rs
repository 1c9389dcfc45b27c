//! What the blocked kernels need of a vector of f32, and the elementary functions made of it.
//!
//! Knows nothing of matrices. Each instruction set implements [`Vector`] once; everything here is
//! inlined into the one function per kernel that carries the target features, so no call is left.

use std::ops::{Add, Div, Mul, Sub};

/// How much of a vector in memory is ours.
#[derive(Clone, Copy)]
pub(super) enum Span {
    /// All lanes.
    Full,
    /// The first lanes only: memory beyond them is not touched, and they load as zero.
    First(usize),
}

/// `LANES` floats that one instruction works on.
pub(super) trait Vector:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// The proof that this CPU has the instructions (K1).
    type Cpu: Copy;

    /// Floats in a vector.
    const LANES: usize;

    /// Outputs of a block of a layer that is at most two vectors wide (at most [`super::product::MOST_ROWS`]); see
    /// `product.rs`.
    const LAYER_ROWS: usize;

    /// Outputs of a block that is four vectors wide; 0 where such blocks are no gain.
    const WIDE_ROWS: usize = 0;

    /// Outputs of a block of a weight gradient (at most [`super::blocked::MOST_GRADIENT_ROWS`]); see
    /// `blocked.rs`.
    const GRADIENT_ROWS: usize;

    /// The lanes of a vector that lie inside what is left of a row. A full vector is told apart because
    /// AMD's processors store one through a mask many times slower than as a whole.
    #[inline(always)]
    fn span(left: usize) -> Span {
        if left < Self::LANES { Span::First(left) } else { Span::Full }
    }

    /// All lanes `value`.
    fn splat(cpu: Self::Cpu, value: f32) -> Self;

    /// The lanes at `from`.
    ///
    /// # Safety
    ///
    /// The lanes in `span` can be read.
    unsafe fn load(cpu: Self::Cpu, from: *const f32, span: Span) -> Self;

    /// Writes the lanes to `to`.
    ///
    /// # Safety
    ///
    /// The lanes in `span` can be written.
    unsafe fn store(self, to: *mut f32, span: Span);

    /// `self · factor + addend`, rounded once.
    fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// `addend − self · factor`, rounded once.
    fn neg_mul_add(self, factor: Self, addend: Self) -> Self;

    /// `self / denominator` to within three roundings, for denominators of 1 to 2^100; NaN where one is.
    #[inline(always)]
    fn over(self, denominator: Self) -> Self {
        self / denominator
    }

    /// The smaller; NaN in `self` stays, NaN in `limit` must not be.
    fn at_most(self, limit: Self) -> Self;

    /// The larger; NaN in `self` stays, NaN in `limit` must not be.
    fn at_least(self, limit: Self) -> Self;

    /// The nearest integer.
    fn round(self) -> Self;

    /// `self · 2^exponent` for integer exponents in −150..=128 and |self| in 0.5..2; 0, subnormal or
    /// infinite where it has to be.
    fn scale(self, exponent: Self) -> Self;

    /// Mantissa in 0.75..1.5 and exponent of positive normal numbers.
    fn split(self) -> (Self, Self);

    /// tanh within 4e-6 of its value, odd, at most 1; as exact as the number where that is subnormal; NaN
    /// stays NaN.
    #[inline(always)]
    fn tanh(self, cpu: Self::Cpu) -> Self {
        rational_tanh(cpu, self)
    }

    /// The sum over the lanes of each of four vectors.
    fn sums(vectors: [Self; 4]) -> [f32; 4];
}

/// `Σ coefficients[k] · x^k`.
#[inline(always)]
fn polynomial<V: Vector, const K: usize>(cpu: V::Cpu, x: V, coefficients: [f32; K]) -> V {
    let mut sum = V::splat(cpu, coefficients[K - 1]);
    for &coefficient in coefficients[..K - 1].iter().rev() {
        sum = sum.mul_add(x, V::splat(cpu, coefficient));
    }
    sum
}

/// tanh within 1.5e-6 of its value, odd, at most 1; NaN stays NaN.
///
/// `x · P(x²) / Q(x²)`, the minimax approximation of relative error 1.2e-6 on ±7 (both constant terms
/// held at 1, so that subnormals come out right). Beyond, tanh is 1 − 1.7e-6 and more.
#[inline(always)]
fn rational_tanh<V: Vector>(cpu: V::Cpu, x: V) -> V {
    const LIMIT: f32 = 7.0;
    let x = x.at_most(V::splat(cpu, LIMIT)).at_least(V::splat(cpu, -LIMIT));
    let square = x * x;
    let p = polynomial(cpu, square, [1.0, 0.123_299_144, 2.299_476_6e-3, 4.022_011_6e-6]);
    let q = polynomial(cpu, square, [1.0, 0.456_627_25, 2.118_309_3e-2, 1.446_329e-4]);
    (x * p).over(q)
}

/// exp within 3e-7 of its value; 0 and infinity beyond the range of f32; NaN stays NaN.
///
/// `2^n · (1 + r + r² G(r))` with n = x / ln 2 rounded, |r| ≤ ln 2 / 2, G minimax (Remez, relative
/// error of the whole 3e-9).
#[inline(always)]
pub(super) fn exp<V: Vector>(cpu: V::Cpu, x: V) -> V {
    // Just past the arguments whose exponential is infinite, and less than half the smallest subnormal.
    let x = x.at_most(V::splat(cpu, 89.0)).at_least(V::splat(cpu, -104.0));
    let n = (x * V::splat(cpu, std::f32::consts::LOG2_E)).round();
    // ln 2 in two parts: the first has so few bits that its product with n is exact.
    let r = n.neg_mul_add(V::splat(cpu, 0.691_406_25), x);
    let r = n.neg_mul_add(V::splat(cpu, 1.740_930_6e-3), r);
    let g = polynomial(
        cpu,
        r,
        [0.499_999_93, 0.166_665_2, 4.166_838_7e-2, 8.368_71e-3, 1.381_461_3e-3],
    );
    let one = V::splat(cpu, 1.0);
    (r * r).mul_add(g, r + one).scale(n)
}

/// The natural logarithm of positive normal numbers, within 2e-7 absolute or relative, whichever is
/// larger.
///
/// `e ln 2 + 2 atanh(s)` with s = (m − 1) / (m + 1), m the mantissa; minimax (Remez, 2.5e-9).
#[inline(always)]
pub(super) fn log<V: Vector>(cpu: V::Cpu, x: V) -> V {
    let one = V::splat(cpu, 1.0);
    let (mantissa, exponent) = x.split();
    let s = (mantissa - one) / (mantissa + one);
    let twice_atanh = s * polynomial(cpu, s * s, [2.0, 0.666_670_57, 0.399_519_38, 0.304_495_77]);
    exponent.mul_add(V::splat(cpu, std::f32::consts::LN_2), twice_atanh)
}
