//! PopArt: each task's values in units of its own returns, and weights that follow when those units change.
//!
//! (van Hasselt et al. 2016, arXiv 1602.07714; for several tasks Hessel et al. 2018, arXiv 1809.04474.) Owns where mean
//! and second moment of each task's V-trace targets stand among the parameters, how an update moves them, and the
//! rescaling of the value's row that leaves every value as it was. Targets use the units ([`Unit`]), the hub moves them
//! after the optimiser's step. Standing among the parameters, they are of one version with the weights that need them,
//! and go wherever these go: to other lanes, checkpoints, resumed runs.

use std::ops::Range;

use crate::config::LossSettings;
use crate::kernels::Affine;
use crate::network::NetworkSpec;
use crate::network::params::ParamLayout;

/// Bounds of a deviation, as in Hessel et al. (section "Experiments"): targets that never change have one too.
const STD_BOUNDS: (f64, f64) = (1e-4, 1e6);

/// In what a task's values are counted: `value = (return − mean) / std`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// The return whose value is 0.
    pub mean: f64,
    /// How much more return makes 1.
    pub std: f64,
}

impl Unit {
    /// Returns themselves.
    pub const ONE: Unit = Unit { mean: 0.0, std: 1.0 };

    fn of(mean: f32, second_moment: f32) -> Unit {
        let (mean, second_moment) = (f64::from(mean), f64::from(second_moment));
        let (least, most) = STD_BOUNDS;
        let std = (second_moment - mean * mean).max(0.0).sqrt().clamp(least, most);
        Unit { mean, std }
    }
}

/// Sums over a task's targets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TargetSums {
    /// Learned frames.
    pub n: f64,
    /// Sum of their targets, as returns.
    pub sum: f64,
    /// Sum of the squares.
    pub square_sum: f64,
}

impl TargetSums {
    /// Counts one target.
    pub fn add(&mut self, target: f64) {
        self.n += 1.0;
        self.sum += target;
        self.square_sum += target * target;
    }
}

/// The units of all tasks.
#[derive(Clone, Debug)]
pub struct PopArt {
    /// β: how far an update moves mean and second moment towards those of its targets.
    step: f64,
    /// The value's rows, one a task.
    values: Affine,
    /// A mean each, then a second moment each.
    statistics: Range<usize>,
}

impl PopArt {
    /// That of a network; `None` where its values are returns.
    pub fn of(network: &NetworkSpec, loss: &LossSettings) -> Option<Self> {
        let layout = ParamLayout::new(network);
        network.scales_values.then(|| PopArt {
            step: loss.popart,
            values: layout.values(),
            statistics: layout.value_statistics(),
        })
    }

    /// Every task's unit in these parameters.
    pub fn units<'a>(&self, params: &'a [f32]) -> impl Iterator<Item = Unit> + 'a {
        let (means, second_moments) =
            params[self.statistics.clone()].split_at(self.values.n_outputs);
        means.iter().zip(second_moments).map(|(mean, second)| Unit::of(*mean, *second))
    }

    /// Moves the unit of each task that has targets here, and its row of weights with it.
    pub fn update(&self, params: &mut [f32], targets: &[TargetSums]) {
        for (task, targets) in targets.iter().enumerate().filter(|(_, targets)| targets.n > 0.0) {
            let (mean, second) = (
                self.statistics.start + task,
                self.statistics.start + self.values.n_outputs + task,
            );
            let before = Unit::of(params[mean], params[second]);
            let moved = |old: f32, sum: f64| {
                let old = f64::from(old);
                (old + self.step * (sum / targets.n - old)) as f32
            };
            params[mean] = moved(params[mean], targets.sum);
            params[second] = moved(params[second], targets.square_sum);
            let after = Unit::of(params[mean], params[second]);
            self.rescale(params, task, before, after);
        }
    }

    /// `w′ = σ/σ′ w` and `b′ = (σ b + μ − μ′)/σ′`: the same returns in another unit.
    fn rescale(&self, params: &mut [f32], task: usize, before: Unit, after: Unit) {
        let factor = before.std / after.std;
        let (mut weight, mut bias) = self.values.split_mut(params);
        weight.row_mut(task).mapv_inplace(|weight| (f64::from(weight) * factor) as f32);
        let old = f64::from(bias[task]);
        bias[task] = ((before.std * old + before.mean - after.mean) / after.std) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, Array2};
    use rand_core::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    const V: usize = 3;
    const STEP: f64 = 0.05;

    fn network() -> NetworkSpec {
        NetworkSpec { n_values: V, scales_values: true, ..NetworkSpec::mlp(4, &[16], 2) }
    }

    fn popart() -> PopArt {
        let loss = LossSettings { popart: STEP, ..LossSettings::default() };
        PopArt::of(&network(), &loss).unwrap()
    }

    fn sums_of(targets: &[f64]) -> TargetSums {
        let mut sums = TargetSums::default();
        targets.iter().for_each(|target| sums.add(*target));
        sums
    }

    /// What each task's value is as a return, where the layer below says `features`.
    fn returns(popart: &PopArt, params: &[f32], features: &Array1<f64>) -> Vec<f64> {
        let weight: Array2<f64> = popart.values.weight(params).mapv(f64::from);
        let values = weight.dot(features) + popart.values.bias(params).mapv(f64::from);
        let units = popart.units(params);
        values.iter().zip(units).map(|(value, unit)| unit.std * value + unit.mean).collect()
    }

    #[test]
    fn units_follow_the_targets_and_no_value_changes() {
        let popart = popart();
        let mut params = ParamLayout::new(&network()).init(3);
        let features = Array1::from_shape_fn(16, |k| (k as f64).sin());
        assert!(popart.units(&params).all(|unit| unit == Unit::ONE));
        let before = returns(&popart, &params, &features);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
        let mut uniform = || f64::from(crate::network::params::unit_f32(&mut rng));
        // By the definition, in f64: a task of small returns, one of large, one that nobody plays.
        let mut expected = [(0.0, 1.0); V];
        for _ in 0..500 {
            let targets = [0.3, 200.0].map(|scale| {
                let targets: Vec<f64> = (0..7).map(|_| scale * (1.0 + uniform())).collect();
                targets
            });
            for ((mean, second), targets) in expected.iter_mut().zip(&targets) {
                let n = targets.len() as f64;
                *mean += STEP * (targets.iter().sum::<f64>() / n - *mean);
                *second += STEP * (targets.iter().map(|g| g * g).sum::<f64>() / n - *second);
            }
            let all = [sums_of(&targets[0]), sums_of(&targets[1]), TargetSums::default()];
            popart.update(&mut params, &all);
        }
        for (unit, (mean, second)) in popart.units(&params).zip(expected) {
            approx::assert_relative_eq!(unit.mean, mean, max_relative = 1e-4);
            approx::assert_relative_eq!(
                unit.std,
                (second - mean * mean).sqrt(),
                max_relative = 1e-2
            );
        }
        let units: Vec<Unit> = popart.units(&params).collect();
        assert!(units[1].std > 100.0 * units[0].std && units[2] == Unit::ONE, "{units:?}");
        for (now, before) in returns(&popart, &params, &features).iter().zip(before) {
            approx::assert_relative_eq!(*now, before, max_relative = 1e-3, epsilon = 1e-2);
        }
    }

    #[test]
    fn one_update_moves_nothing_but_its_tasks_row_and_unit() {
        let popart = popart();
        let before = ParamLayout::new(&network()).init(3);
        let mut params = before.clone();
        let all = [TargetSums::default(), sums_of(&[4.0, 6.0]), TargetSums::default()];
        popart.update(&mut params, &all);
        let changed = |k: &usize| params[*k] != before[*k];
        let row = popart.values.weight + popart.values.row_stride;
        let mut expected: Vec<usize> = (row..row + 16).collect();
        expected.push(popart.values.bias + 1);
        expected.extend([popart.statistics.start + 1, popart.statistics.start + V + 1]);
        assert_eq!((0..params.len()).filter(changed).collect::<Vec<_>>(), expected);
        let second = 1.0 + STEP * (26.0 - 1.0);
        let unit = popart.units(&params).nth(1).unwrap();
        approx::assert_relative_eq!(unit.mean, STEP * 5.0, max_relative = 1e-6);
        approx::assert_relative_eq!(
            unit.std,
            (second - unit.mean * unit.mean).sqrt(),
            max_relative = 1e-6
        );
    }

    #[test]
    fn targets_that_never_change_have_a_unit_too() {
        assert_eq!(Unit::of(3.0, 9.0).std, STD_BOUNDS.0);
        assert_eq!(Unit::of(0.0, f32::MAX).std, STD_BOUNDS.1);
    }
}
