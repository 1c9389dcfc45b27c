//! K numbers, each drawn from a normal distribution of its own: a diagonal Gaussian.
//!
//! Of the P = 2K outputs the first K are the logarithms of the standard deviations, the others the means. Here
//! each may be another in each frame; the network gives the former no weights but their own
//! ([`NetworkSpec::n_free`](crate::network::NetworkSpec::n_free)). Numbers are dealt with as they are drawn. What
//! an environment makes of them is for `env/raw_actions.rs`.

use std::f64::consts::TAU;

use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut2, Axis, NdFloat, Zip, s};
use rand_core::Rng;

use super::super::params::unit_f32;
use super::Slopes;

/// Initial logarithm of every standard deviation: most samples then lie within the bounds of the action.
pub const LOG_STD_START: f32 = -0.5;

/// Of the usual bounds of a layer's initial weights, those that means begin with. At their full size the policy
/// pushes one way in whole regions before it has learned anything; Andrychowicz et al. 2021
/// (arXiv 2006.05990, section 3.2) found a hundredth to matter more than any other choice of a network.
pub const MEAN_START: f32 = 0.1;

/// The Gaussian policy over K numbers.
#[derive(Debug)]
pub struct Gaussian<R> {
    /// 1/σ, `[K, N]`.
    inverse_stds: Array2<R>,
    /// z = (a − μ)/σ of the actions taken, `[K, N]`.
    zs: Array2<R>,
    /// log π of the actions taken, `[N]`.
    log_pi: Vec<R>,
    /// Nats, `[N]`; below 0 where the standard deviations are small.
    entropies: Vec<R>,
}

impl<R: NdFloat> Gaussian<R> {
    /// `n_numbers` = K, for N = `n_frames` frames.
    pub fn new(n_numbers: usize, n_frames: usize) -> Self {
        let matrix = || Array2::zeros((n_numbers, n_frames));
        let row = || vec![R::zero(); n_frames];
        Gaussian { inverse_stds: matrix(), zs: matrix(), log_pi: row(), entropies: row() }
    }

    /// log π(a|x) and entropy, as [`super::Head::evaluate`] has them; `params` is `[2K, N]`, `actions` `[K, N]`.
    ///
    /// `log π = −Σ (z²/2 + log σ + log(2π)/2)` and `H = Σ (log σ + log(2πe)/2)`.
    pub fn evaluate(&mut self, params: ArrayView2<R>, actions: ArrayView2<f32>) -> (&[R], &[R]) {
        let (log_stds, means) = params.split_at(Axis(0), self.zs.nrows());
        let half_log_tau: R = number(0.5 * TAU.ln());
        Zip::from(&mut self.inverse_stds).and(log_stds).for_each(|inv, log_std| *inv = (-*log_std).exp());
        Zip::from(&mut self.zs).and(actions).and(means).and(&self.inverse_stds).for_each(
            |z, action, mean, inverse_std| *z = (number::<R>(f64::from(*action)) - *mean) * *inverse_std,
        );
        self.log_pi.fill(R::zero());
        self.entropies.fill(R::zero());
        for (zs, log_stds) in self.zs.outer_iter().zip(log_stds.outer_iter()) {
            let sums = self.log_pi.iter_mut().zip(&mut self.entropies);
            for ((log_pi, entropy), (z, log_std)) in sums.zip(zs.iter().zip(log_stds)) {
                let log_width = *log_std + half_log_tau;
                *log_pi -= number::<R>(0.5) * *z * *z + log_width;
                *entropy += log_width + number(0.5);
            }
        }
        (&self.log_pi, &self.entropies)
    }

    /// See [`super::Head::chain`]; `d_params` is `[2K, N]`.
    ///
    /// `∂log π/∂μ = z/σ`, `∂log π/∂log σ = z² − 1`, `∂H/∂log σ = 1`.
    pub fn chain(&self, slopes: &Slopes<R>, d_params: ArrayViewMut2<R>) {
        let (by_log_pi, by_entropy) =
            (ArrayView1::from(slopes.log_pi), ArrayView1::from(slopes.entropies));
        let (mut d_log_stds, mut d_means) = d_params.split_at(Axis(0), self.zs.nrows());
        for (part, zs) in self.zs.outer_iter().enumerate() {
            Zip::from(d_means.row_mut(part)).and(zs).and(self.inverse_stds.row(part)).and(by_log_pi).for_each(
                |d_mean, z, inverse_std, by_log_pi| *d_mean = *by_log_pi * *z * *inverse_std,
            );
            Zip::from(d_log_stds.row_mut(part)).and(zs).and(by_log_pi).and(by_entropy).for_each(
                |d_log_std, z, by_log_pi, by_entropy| {
                    *d_log_std = *by_log_pi * (*z * *z - R::one()) + *by_entropy;
                },
            );
        }
    }
}

impl Gaussian<f32> {
    /// See [`super::Head::sample`].
    pub fn sample(
        &mut self,
        params: ArrayView2<f32>,
        rng: &mut impl Rng,
        mut actions: ArrayViewMut2<f32>,
        log_mu: &mut [f32],
    ) {
        let (log_stds, means) = params.split_at(Axis(0), self.zs.nrows());
        let each = Zip::from(&mut actions).and(log_stds).and(means);
        each.for_each(|action, log_std, mean| *action = mean + log_std.exp() * normal(rng));
        log_mu.copy_from_slice(self.evaluate(params, actions.view()).0);
    }

    /// See [`super::Head::best`]: the means.
    pub fn best(&self, params: ArrayView2<f32>, mut actions: ArrayViewMut2<f32>) {
        actions.assign(&params.slice(s![self.zs.nrows().., ..]));
    }
}

/// Mean and standard deviation of each number of a frame, of its parameters `[2K]`.
pub fn means_and_stds(params: ArrayView1<f32>) -> Vec<(f32, f32)> {
    let (log_stds, means) = params.split_at(Axis(0), params.len() / 2);
    means.iter().zip(log_stds).map(|(mean, log_std)| (*mean, log_std.exp())).collect()
}

/// A number of the standard normal distribution, by Box and Muller (1958): of two uniform numbers one radius and
/// one angle. No sample lies beyond 5.8, since a uniform number here has 24 bits.
fn normal(rng: &mut impl Rng) -> f32 {
    let radius = (-2.0 * (1.0 - unit_f32(rng)).ln()).sqrt();
    radius * (std::f32::consts::TAU * unit_f32(rng)).cos()
}

fn number<R: NdFloat>(number: f64) -> R {
    R::from(number).expect("a float holds any number")
}
