//! Statistics of the scores of some episodes.

use super::player::Played;
use crate::telemetry::EvalSummary;

/// Number, mean with its standard error, smallest and largest of the returns of some episodes; `None` where
/// none ended.
pub fn summarise(played: &Played) -> Option<EvalSummary> {
    let Played { returns, n_cut, n_unfinished } = played;
    let n_episodes = returns.len();
    let mean = returns.iter().sum::<f64>() / n_episodes as f64;
    (n_episodes > 0).then(|| EvalSummary {
        episodes: n_episodes as u64,
        cut: *n_cut as u64,
        unfinished: *n_unfinished as u64,
        mean,
        standard_error: standard_error(returns, mean),
        min: returns.iter().copied().fold(f64::INFINITY, f64::min),
        max: returns.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    })
}

/// The sample's standard deviation over √n; NaN for one value, which says nothing of the spread.
fn standard_error(values: &[f64], mean: f64) -> f64 {
    let n = values.len() as f64;
    let sum_of_squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (sum_of_squares / (n - 1.0) / n).sqrt()
}

/// One bar of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// The smallest value that falls into it.
    pub from: f64,
    /// The smallest value that does not any more; equals `from` where all values are that one.
    pub below: f64,
    /// How many there are.
    pub count: u64,
}

/// The histogram of some finite values in at most `max_bins` (at least 2) bins of one round width: 1, 2
/// or 5 times a power of ten. Empty for no values, one bin for one value.
pub fn histogram(values: &[f64], max_bins: usize) -> Vec<Bin> {
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.is_empty() {
        return Vec::new();
    }
    if min == max {
        return vec![Bin { from: min, below: min, count: values.len() as u64 }];
    }
    // Scores that are whole numbers have nothing between two of them.
    let least_width = if values.iter().all(|value| value.fract() == 0.0) { 1.0 } else { 0.0 };
    let (width, first, n_bins) = bins(min, max, max_bins, least_width);
    let edge = |bin: usize| (first + bin as f64) * width;
    let mut histogram: Vec<Bin> =
        (0..n_bins).map(|bin| Bin { from: edge(bin), below: edge(bin + 1), count: 0 }).collect();
    for value in values {
        let bin = ((value / width).floor() - first) as usize;
        histogram[bin.min(n_bins - 1)].count += 1;
    }
    histogram
}

/// Width, number of the first edge, and number of bins that hold everything from `min` to `max`.
fn bins(min: f64, max: f64, max_bins: usize, least_width: f64) -> (f64, f64, usize) {
    let smallest = ((max - min) / max_bins as f64).max(least_width);
    let mut decade = 10f64.powf(smallest.log10().floor());
    loop {
        for width in [decade, 2.0 * decade, 5.0 * decade].into_iter().filter(|w| *w >= smallest) {
            let (first, last) = ((min / width).floor(), (max / width).floor());
            let n_bins = (last - first) as usize + 1;
            if n_bins <= max_bins {
                return (width, first, n_bins);
            }
        }
        decade *= 10.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn statistics_of_a_sample_by_hand() {
        let all_ended = |returns: &[f64]| {
            summarise(&Played { returns: returns.to_vec(), n_cut: 0, n_unfinished: 0 })
        };
        let summary = all_ended(&[1.0, 2.0, 3.0, 6.0]).unwrap();
        assert_eq!((summary.episodes, summary.mean, summary.min, summary.max), (4, 3.0, 1.0, 6.0));
        // Squares 4 + 1 + 0 + 9 over n - 1 = 3, over n = 4.
        assert!((summary.standard_error - (14.0f64 / 12.0).sqrt()).abs() < 1e-12);
        assert!(all_ended(&[5.0]).unwrap().standard_error.is_nan());
        assert_eq!(all_ended(&[]), None);
    }

    #[test]
    fn a_histogram_has_round_edges() {
        assert_eq!(histogram(&[500.0; 3], 10), [Bin { from: 500.0, below: 500.0, count: 3 }]);
        let widths = histogram(&[498.0, 499.0, 500.0], 10);
        assert!(widths.len() == 3 && widths.iter().all(|bin| bin.below - bin.from == 1.0));
        let returns = [9.0, 12.0, 99.0, 100.0, 499.0, 500.0];
        let counts: Vec<(f64, u64)> =
            histogram(&returns, 10).iter().map(|bin| (bin.from, bin.count)).collect();
        let expected = [(0.0, 3), (100.0, 1), (200.0, 0), (300.0, 0), (400.0, 1), (500.0, 1)];
        assert_eq!(counts, expected);
        assert_eq!(histogram(&[], 10), []);
    }

    proptest! {
        #[test]
        fn every_value_falls_into_the_bin_that_says_so(
            values in proptest::collection::vec(-1e6..1e6f64, 1..50),
            max_bins in 2usize..20,
        ) {
            let histogram = histogram(&values, max_bins);
            prop_assert!(histogram.len() <= max_bins);
            for bin in &histogram {
                let inside = values.iter().filter(|&&value| value >= bin.from && value < bin.below);
                // A value within rounding of an edge may be counted on the other side of it.
                let near = |value: f64, edge: f64| (value - edge).abs() < 1e-6;
                let at_edge =
                    values.iter().filter(|&&v| near(v, bin.from) || near(v, bin.below)).count();
                prop_assert!(inside.count().abs_diff(bin.count as usize) <= at_edge);
            }
            prop_assert_eq!(histogram.iter().map(|bin| bin.count).sum::<u64>(), values.len() as u64);
        }
    }
}
