//! tanh as 32 polynomials: two registers of AVX-512 hold one coefficient of all of them.
//!
//! Piece k is centred at k steps, so that the nearest integer to the argument in steps is its index. Each
//! interpolates tanh at Chebyshev nodes, which is within a few per cent of the best polynomial; the first begins
//! with x, so that small numbers come out right. Computed by the compiler from the series of exp, since no
//! function of the C library can be.

/// tanh by polynomials of N coefficients.
pub(super) struct Table<const N: usize> {
    /// Arguments beyond it count as it.
    pub(super) limit: f32,
    /// Steps in a unit of the argument.
    pub(super) steps_a_unit: f32,
    /// `coefficients[n][k]` is that of xⁿ in piece k.
    pub(super) coefficients: [[f32; N_PIECES]; N],
}

const N_PIECES: usize = 32;

/// Within 4e-6: beyond its limit tanh is 1 − 1.7e-6 and more.
pub(super) static CUBIC: Table<4> = Table::new(4.5);

/// Within 2e-4, a tenth of what rounding to bf16 costs: beyond its limit tanh is 1 − 1.8e-4 and more.
pub(super) static QUADRATIC: Table<3> = Table::new(6.75);

/// Added to a number, leaves the nearest integer in the last bits: 1.5 · 2^23.
pub(super) const TO_INTEGER: f32 = 12_582_912.0;

impl<const N: usize> Table<N> {
    const fn new(steps_a_unit: f64) -> Self {
        let mut coefficients = [[0.0; N_PIECES]; N];
        let mut k = 0;
        while k < N_PIECES {
            let radius = 0.5 / steps_a_unit;
            let piece: [f64; N] =
                if k == 0 { first(radius) } else { piece(k as f64 / steps_a_unit, radius) };
            let mut n = 0;
            while n < N {
                coefficients[n][k] = piece[n] as f32;
                n += 1;
            }
            k += 1;
        }
        // Just below the middle between the last piece and one that is not there.
        let limit = (N_PIECES as f64 - 0.500_01) / steps_a_unit;
        Table { limit: limit as f32, steps_a_unit: steps_a_unit as f32, coefficients }
    }
}

/// tanh around a centre.
const fn piece<const N: usize>(centre: f64, radius: f64) -> [f64; N] {
    let (mut nodes, mut values) = ([0.0; N], [0.0; N]);
    let mut j = 0;
    while j < N {
        nodes[j] = centre + radius * cosine(std::f64::consts::PI * (j as f64 + 0.5) / N as f64);
        values[j] = tanh(nodes[j]);
        j += 1;
    }
    interpolation(nodes, values, N)
}

/// x + c₂x² + …, through tanh at nodes between 0 and the radius.
const fn first<const N: usize>(radius: f64) -> [f64; N] {
    let (mut nodes, mut values) = ([0.0; N], [0.0; N]);
    let mut j = 0;
    while j < N - 2 {
        let node = radius * (1.0 - 0.45 * (j as f64 + 0.1));
        nodes[j] = node;
        values[j] = (tanh(node) - node) / (node * node);
        j += 1;
    }
    let rest: [f64; N] = interpolation(nodes, values, N - 2);
    let mut piece = [0.0; N];
    piece[1] = 1.0;
    let mut n = 2;
    while n < N {
        piece[n] = rest[n - 2];
        n += 1;
    }
    piece
}

/// The polynomial through the first `n` of the nodes, by Newton's divided differences.
const fn interpolation<const N: usize>(nodes: [f64; N], values: [f64; N], n: usize) -> [f64; N] {
    let mut differences = values;
    let mut order = 1;
    while order < n {
        let mut j = n - 1;
        while j >= order {
            differences[j] = (differences[j] - differences[j - 1]) / (nodes[j] - nodes[j - order]);
            j -= 1;
        }
        order += 1;
    }
    // p ← p · (x − node) + difference, from the last one on.
    let mut polynomial = [0.0; N];
    let mut j = n;
    while j > 0 {
        j -= 1;
        let mut k = N - 1;
        while k > 0 {
            polynomial[k] = polynomial[k - 1] - nodes[j] * polynomial[k];
            k -= 1;
        }
        polynomial[0] = differences[j] - nodes[j] * polynomial[0];
    }
    polynomial
}

/// cos of 0 to π by its series.
const fn cosine(x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (1.0, 1.0, 1.0);
    while n < 30.0 {
        term *= -x * x / (n * (n + 1.0));
        sum += term;
        n += 2.0;
    }
    sum
}

/// `(1 − e) / (1 + e)` with e = exp(−2x) = exp(−x/32)^64.
const fn tanh(x: f64) -> f64 {
    let (mut term, mut power, mut n) = (1.0, 1.0, 1.0);
    while n < 20.0 {
        term *= -x / 32.0 / n;
        power += term;
        n += 1.0;
    }
    let mut squarings = 0;
    while squarings < 6 {
        power *= power;
        squarings += 1;
    }
    (1.0 - power) / (1.0 + power)
}
