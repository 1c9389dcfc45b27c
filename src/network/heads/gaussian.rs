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
        Zip::from(&mut self.inverse_stds)
            .and(log_stds)
            .for_each(|inv, log_std| *inv = (-*log_std).exp());
        Zip::from(&mut self.zs).and(actions).and(means).and(&self.inverse_stds).for_each(
            |z, action, mean, inverse_std| {
                *z = (number::<R>(f64::from(*action)) - *mean) * *inverse_std
            },
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
            Zip::from(d_means.row_mut(part))
                .and(zs)
                .and(self.inverse_stds.row(part))
                .and(by_log_pi)
                .for_each(|d_mean, z, inverse_std, by_log_pi| {
                    *d_mean = *by_log_pi * *z * *inverse_std
                });
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

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    /// Of N frames `[log σ; μ]`, two numbers each: σ = (e⁻¹, 2), μ = (3, -0.5).
    fn params(n_frames: usize) -> Array2<f32> {
        let column = [-1.0, 2.0_f32.ln(), 3.0, -0.5];
        Array2::from_shape_fn((4, n_frames), |(row, _)| column[row])
    }

    /// The density of one number, as every book has it.
    fn density(x: f64, mean: f64, std: f64) -> f64 {
        (-(x - mean).powi(2) / (2.0 * std * std)).exp() / (std * TAU.sqrt())
    }

    #[test]
    fn log_probabilities_are_those_of_the_densitys_product() {
        let actions = ndarray::arr2(&[[3.0, 2.5, 4.0], [-0.5, 1.5, -7.0_f32]]);
        let mut head = Gaussian::<f64>::new(2, 3);
        let params = params(3).mapv(f64::from);
        let (log_pi, entropies) = head.evaluate(params.view(), actions.view());
        let half_log_tau_e = 0.5 * (TAU * std::f64::consts::E).ln();
        for (n, (log_pi, entropy)) in log_pi.iter().zip(entropies).enumerate() {
            let [x, y] = [actions[[0, n]], actions[[1, n]]].map(f64::from);
            let expected = density(x, 3.0, (-1.0_f64).exp()) * density(y, -0.5, 2.0);
            approx::assert_relative_eq!(log_pi.exp(), expected, max_relative = 1e-6);
            let expected = -1.0 + 2.0_f64.ln() + 2.0 * half_log_tau_e;
            approx::assert_relative_eq!(*entropy, expected, max_relative = 1e-6);
        }
    }

    /// The entropy is the mean of −log π, whatever its formula.
    #[test]
    fn samples_have_the_mean_the_deviation_and_the_entropy_that_are_said() {
        let n = 200_000;
        let (params, mut actions) = (params(n), Array2::zeros((2, n)));
        let (mut head, mut log_mu) = (Gaussian::new(2, n), vec![0.0; n]);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        head.sample(params.view(), &mut rng, actions.view_mut(), &mut log_mu);
        for (row, (mean, std)) in actions.outer_iter().zip([(3.0, (-1.0_f32).exp()), (-0.5, 2.0)]) {
            let zs = row.mapv(|x| f64::from((x - mean) / std));
            let moment = |k: i32| zs.mapv(|z| z.powi(k)).sum() / n as f64;
            // Five standard errors each: √(1/n), √(2/n), √(15/n), √(96/n).
            for (k, (expected, variance)) in
                (1..).zip([(0.0, 1.0), (1.0, 2.0), (0.0, 15.0), (3.0, 96.0)])
            {
                let error = 5.0 * (variance / n as f64).sqrt();
                assert!((moment(k) - expected).abs() < error, "moment {k}: {}", moment(k));
            }
        }
        let correlation = actions.row(0).mapv(|x| x - 3.0).dot(&actions.row(1).mapv(|x| x + 0.5));
        assert!(correlation.abs() / (n as f32) < 5.0 * 2.0 * (-1.0_f32).exp() / (n as f32).sqrt());
        let (log_pi, entropies) = head.evaluate(params.view(), actions.view());
        assert_eq!(log_pi, log_mu, "to the last bit: the learner's ratio of equal policies is 1");
        let minus_mean = -log_mu.iter().map(|log_mu| f64::from(*log_mu)).sum::<f64>() / n as f64;
        assert!((minus_mean - f64::from(entropies[0])).abs() < 5.0 / (n as f64).sqrt());
    }

    #[test]
    fn the_best_action_is_the_mean() {
        let mut actions = Array2::zeros((2, 5));
        Gaussian::new(2, 5).best(params(5).view(), actions.view_mut());
        assert_eq!(actions, ndarray::arr2(&[[3.0; 5], [-0.5; 5]]));
        assert_eq!(means_and_stds(params(1).column(0))[0], (3.0, (-1.0_f32).exp()));
    }
}
