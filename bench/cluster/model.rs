//! What the measured figures would become with more ranks, by the usual cost model of an all-reduce.
//!
//! Owns the formulas and the assumed networks. Measures nothing.

/// A network between machines: seconds a message, bytes a second.
pub struct Link {
    pub name: &'static str,
    pub alpha_s: f64,
    pub beta_bytes_s: f64,
}

/// Round figures of what such networks reach between two user programs: assumptions, not measurements.
pub const LINKS: [Link; 4] = [
    Link { name: "10 GbE, TCP", alpha_s: 30e-6, beta_bytes_s: 1.15e9 },
    Link { name: "25 GbE, TCP", alpha_s: 20e-6, beta_bytes_s: 2.9e9 },
    Link { name: "100 Gb/s, RDMA", alpha_s: 3e-6, beta_bytes_s: 11.5e9 },
    Link { name: "400 Gb/s, RDMA", alpha_s: 2e-6, beta_bytes_s: 46e9 },
];

/// Ranks for which the model says something.
pub const RANKS: [u32; 5] = [2, 8, 64, 256, 1024];

/// Seconds to add one number to another.
const GAMMA_S: f64 = 0.25e-9;

/// Standard deviation of an update's time, as a share of it, in the column that has one.
pub const JITTER: f64 = 0.1;

/// Seconds of an all-reduce of `n` f32 over `ranks`: the best of recursive doubling, Rabenseifner's algorithm and a
/// ring (Thakur, Rabenseifner and Gropp 2005).
pub fn all_reduce_s(n: usize, ranks: u32, Link { alpha_s, beta_bytes_s, .. }: &Link) -> f64 {
    let (n, ranks) = (n as f64, f64::from(ranks));
    let (bytes_s, steps) = (4.0 * n / beta_bytes_s, ranks.log2().ceil());
    let share = (ranks - 1.0) / ranks;
    let doubling = steps * (alpha_s + bytes_s + n * GAMMA_S);
    let halving = 2.0 * steps * alpha_s + 2.0 * share * bytes_s + share * n * GAMMA_S;
    let ring = 2.0 * (ranks - 1.0) * alpha_s + 2.0 * share * bytes_s + share * n * GAMMA_S;
    doubling.min(halving).min(ring)
}

/// Share of a rank's speed alone that it keeps: an update waits for the exchange, and for the slowest of all ranks.
pub fn efficiency(update_s: f64, n: usize, ranks: u32, link: &Link, jitter: f64) -> f64 {
    let slowest = 1.0 + jitter * (2.0 * f64::from(ranks).ln()).sqrt();
    update_s / (update_s * slowest + all_reduce_s(n, ranks, link))
}
