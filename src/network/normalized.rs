//! Observations brought to mean 0 and variance 1, by statistics that stand among the parameters.
//!
//! Wraps a network that knows nothing of them. Statistics are parameters that no gradient changes: the learner
//! adds what it learned from ([`Statistics::add`]), and they go wherever weights go, to actors, checkpoints and
//! evaluations, of one version with them. So slots hold observations as they were, and V-trace corrects for what
//! newer statistics change in the policy.
//!
//! As `VecNormalize` of Stable-Baselines3 has it, its clip and its epsilon included.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, NdFloat};

use super::params::ParamLayout;
use super::{Acting, Learning, NetworkSpec};
use crate::kernels::FeatureMajor;
use crate::rollout::{Frames, Rollout};
use crate::space::Obs;

/// Beyond so many standard deviations an observation is clipped.
const CLIP: f64 = 10.0;

/// Added to the variance, for numbers that never change.
const EPSILON: f64 = 1e-8;

/// Where the statistics of D numbers lie in the flat vector: how many observations, then each number's mean, then
/// each one's variance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    span: Range<usize>,
}

impl Statistics {
    /// Those of a network; `None` where it takes observations as they are.
    pub fn of(spec: &NetworkSpec) -> Option<Self> {
        spec.normalizes.then(|| Statistics { span: ParamLayout::new(spec).statistics() })
    }

    /// Folds in what was acted upon in a rollout. What was seen after its last step is the next one's.
    pub fn add(&self, params: &mut [f32], rollout: &Rollout) {
        self.add_all(params, rollout.obs.frames(0..rollout.shape.n_frames()));
    }

    /// Folds in the observations `[D, N]` (Chan, Golub and LeVeque 1983, the parallel formula for variances).
    fn add_all(&self, params: &mut [f32], obs: Obs<'_>) {
        let (count, means, variances) = self.split_mut(params);
        let (n_before, n_new) = (f64::from(*count), obs.n_frames() as f64);
        let n_all = n_before + n_new;
        for ((row, mean), variance) in obs.numbers().outer_iter().zip(means).zip(variances) {
            let numbers = || row.iter().map(|number| f64::from(*number));
            let new_mean = numbers().sum::<f64>() / n_new;
            let new_squares: f64 = numbers().map(|number| (number - new_mean).powi(2)).sum();
            let delta = new_mean - f64::from(*mean);
            let squares = f64::from(*variance) * n_before
                + new_squares
                + delta * delta * n_before * n_new / n_all;
            *mean = (f64::from(*mean) + delta * n_new / n_all) as f32;
            *variance = (squares / n_all) as f32;
        }
        *count = n_all as f32;
    }

    fn split_mut<'a>(&self, params: &'a mut [f32]) -> (&'a mut f32, &'a mut [f32], &'a mut [f32]) {
        let (count, numbers) =
            params[self.span.clone()].split_first_mut().expect("a count comes first");
        let (means, variances) = numbers.split_at_mut(numbers.len() / 2);
        (count, means, variances)
    }

    /// Writes observations `[D, N]` as the network takes them.
    fn normalize<R: NdFloat>(&self, params: &[R], obs: ArrayView2<R>, mut room: ArrayViewMut2<R>) {
        let number = |number: f64| R::from(number).expect("a float holds a constant");
        let (clip, epsilon) = (number(CLIP), number(EPSILON));
        let (_, numbers) = params[self.span.clone()].split_first().expect("a count comes first");
        let (means, variances) = numbers.split_at(numbers.len() / 2);
        let rows = room.outer_iter_mut().zip(obs.outer_iter());
        for ((mut room, obs), (mean, variance)) in rows.zip(means.iter().zip(variances)) {
            let factor = (*variance + epsilon).sqrt().recip();
            room.zip_mut_with(&obs, |room, number| {
                *room = ((*number - *mean) * factor).max(-clip).min(clip);
            });
        }
    }
}

/// A network that is shown normalised observations.
struct Normalized<N: ?Sized, R> {
    statistics: Statistics,
    /// `[D, N]`.
    room: FeatureMajor<R>,
    network: Box<N>,
}

/// The network that acts in `n_envs` environments, shown normalised observations if `spec` has them so.
pub(super) fn acting(
    spec: &NetworkSpec,
    network: Box<dyn Acting>,
    n_envs: usize,
) -> Box<dyn Acting> {
    match Statistics::of(spec) {
        None => network,
        Some(statistics) => {
            let room = FeatureMajor::zeros(spec.n_inputs, n_envs);
            Box::new(Normalized { statistics, room, network })
        }
    }
}

/// The network that learns, shown normalised observations if `spec` has them so.
pub(super) fn learning(spec: &NetworkSpec, network: Box<dyn Learning>) -> Box<dyn Learning> {
    match Statistics::of(spec) {
        None => network,
        // How many frames come at a time, the first ones show.
        Some(statistics) => {
            let room = FeatureMajor::zeros(spec.n_inputs, 0);
            Box::new(Normalized { statistics, room, network })
        }
    }
}

impl Acting for Normalized<dyn Acting, f32> {
    fn params(&self) -> &[f32] {
        self.network.params()
    }

    fn params_mut(&mut self) -> &mut [f32] {
        self.network.params_mut()
    }

    fn outputs(&mut self, obs: Obs<'_>, state: ArrayViewMut2<f32>, outputs: ArrayViewMut2<f32>) {
        let Normalized { statistics, room, network } = self;
        statistics.normalize(network.params(), obs.numbers(), room.view_mut());
        network.outputs(Obs::Numbers(room.view()), state, outputs);
    }
}

impl Learning for Normalized<dyn Learning, f32> {
    fn name(&self) -> &'static str {
        self.network.name()
    }

    fn slots_per_pass(&self, batch_slots: usize) -> usize {
        self.network.slots_per_pass(batch_slots)
    }

    fn forward(&mut self, params: &[f32], frames: &Frames, outputs: ArrayViewMut2<f32>) {
        let Normalized { statistics, room, network } = self;
        let obs = frames.obs.numbers();
        if room.view().dim() != obs.dim() {
            *room = FeatureMajor::zeros(obs.nrows(), obs.ncols());
        }
        statistics.normalize(params, obs, room.view_mut());
        let frames = frames.with_obs(Obs::Numbers(room.view()));
        network.forward(params, &frames, outputs);
    }

    fn backward(
        &mut self,
        params: &[f32],
        frames: &Frames,
        d_outputs: ArrayView2<f32>,
        grad: &mut [f32],
    ) {
        let frames = frames.with_obs(Obs::Numbers(self.room.view()));
        self.network.backward(params, &frames, d_outputs, grad);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Arithmetic, Backend};
    use super::*;
    use crate::kernels::Simd;
    use crate::rollout::StepKind;
    use ndarray::Array2;

    const D: usize = 3;

    fn spec(normalizes: bool) -> NetworkSpec {
        NetworkSpec { normalizes, ..NetworkSpec::mlp(D, &[8], 2) }
    }

    /// Each number around another mean, with another spread; the last never changes.
    fn obs(n_frames: usize, first: usize) -> Array2<f32> {
        Array2::from_shape_fn((D, n_frames), |(d, n)| match d {
            0 => 1000.0 + ((first + n) as f32 * 0.7).sin(),
            1 => -0.01 + 0.003 * ((first + n) as f32 * 1.3).cos(),
            _ => 5.0,
        })
    }

    #[test]
    fn statistics_of_many_parts_are_those_of_the_whole() {
        let statistics = Statistics::of(&spec(true)).unwrap();
        let mut params = ParamLayout::new(&spec(true)).init(1);
        let weights = params[..statistics.span.start].to_vec();
        let sizes = [1, 640, 3, 1000, 7];
        let mut first = 0;
        for n_frames in sizes {
            statistics.add_all(&mut params, Obs::Numbers(obs(n_frames, first).view()));
            first += n_frames;
        }
        assert_eq!(params[..statistics.span.start], weights, "nothing else has changed");
        let all = obs(first, 0).mapv(f64::from);
        let (count, means, variances) = statistics.split_mut(&mut params);
        assert_eq!(*count, first as f32);
        for (d, row) in all.outer_iter().enumerate() {
            let (mean, variance) = (row.mean().unwrap(), row.var(0.0));
            approx::assert_relative_eq!(f64::from(means[d]), mean, max_relative = 1e-6);
            approx::assert_relative_eq!(
                f64::from(variances[d]),
                variance,
                max_relative = 1e-3,
                epsilon = 1e-12
            );
        }
    }

    #[test]
    fn a_network_is_shown_observations_of_mean_0_and_variance_1_and_none_far_beyond() {
        let statistics = Statistics::of(&spec(true)).unwrap();
        let mut params = ParamLayout::new(&spec(true)).init(1);
        let seen = obs(1000, 0);
        let mut shown = seen.clone();
        statistics.normalize(&params, seen.view(), shown.view_mut());
        assert_eq!(shown.row(1), seen.row(1), "before there are statistics it sees what there is");
        assert_eq!(shown.row(0), Array2::from_elem((1, 1000), 10.0).row(0), "but for the clip");
        statistics.add_all(&mut params, Obs::Numbers(seen.view()));
        statistics.normalize(&params, seen.view(), shown.view_mut());
        for row in shown.outer_iter().take(2) {
            approx::assert_abs_diff_eq!(row.mean().unwrap(), 0.0, epsilon = 1e-3);
            approx::assert_abs_diff_eq!(row.var(0.0), 1.0, epsilon = 1e-2);
        }
        assert!(shown.row(2).iter().all(|number| *number == 0.0));
        let mut far = seen;
        far.row_mut(0).fill(-1e30);
        statistics.normalize(&params, far.view(), shown.view_mut());
        assert!(shown.row(0).iter().all(|number| *number == -10.0));
    }

    /// Acting and learning agree, and statistics have no gradient.
    #[test]
    fn a_normalised_network_is_the_plain_one_on_normalised_observations() {
        const N: usize = 6;
        let kernels = Arithmetic::with(Simd::detect());
        let statistics = Statistics::of(&spec(true)).unwrap();
        let mut params = ParamLayout::new(&spec(true)).init(1);
        let seen = obs(N, 0);
        statistics.add_all(&mut params, Obs::Numbers(seen.view()));
        let mut normalized = seen.clone();
        statistics.normalize(&params, seen.view(), normalized.view_mut());
        let plain_params = &params[..ParamLayout::new(&spec(false)).len()];

        let acted = |spec: &NetworkSpec, params: &[f32], obs: &Array2<f32>| {
            let mut network = super::super::acting(spec, kernels, N, 0);
            network.params_mut().copy_from_slice(params);
            let mut outputs = Array2::zeros((2, N));
            let nothing = &mut Array2::zeros((0, N));
            network.outputs(Obs::Numbers(obs.view()), nothing.view_mut(), outputs.view_mut());
            outputs
        };
        let learned = |spec: &NetworkSpec, params: &[f32], obs: &Array2<f32>| {
            let mut network = super::super::learning(spec, Backend::Native, kernels, N);
            let kinds = &[StepKind::ORDINARY; N - 1];
            let frames = Frames::memoryless(1, Obs::Numbers(obs.view()), kinds);
            let (mut outputs, mut grad) = (Array2::zeros((3, N)), vec![0.0; params.len()]);
            network.forward(params, &frames, outputs.view_mut());
            let d_outputs = Array2::ones((3, N - 1));
            network.backward(params, &frames, d_outputs.view(), &mut grad);
            (outputs, grad)
        };
        assert_eq!(
            acted(&spec(true), &params, &seen),
            acted(&spec(false), plain_params, &normalized)
        );
        let (outputs, grad) = learned(&spec(true), &params, &seen);
        let (expected, plain_grad) = learned(&spec(false), plain_params, &normalized);
        assert_eq!((outputs, &grad[..plain_grad.len()]), (expected, &plain_grad[..]));
        assert!(grad[plain_grad.len()..].iter().all(|slope| *slope == 0.0));
        assert_eq!(grad.len(), plain_grad.len() + 1 + 2 * D);
    }
}
