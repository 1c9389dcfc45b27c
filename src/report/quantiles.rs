//! What a column of the metrics was over the run: its quantiles over the intervals.
//!
//! Pure numbers. The page's table of importance ratios and the plot of throughput ask.

use super::points::is_drawable;

/// Quantiles of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiles {
    /// Lowest.
    pub min: f64,
    /// What one in ten did not exceed.
    pub p10: f64,
    /// Median.
    pub p50: f64,
    /// What nine in ten did not exceed.
    pub p90: f64,
    /// Highest.
    pub max: f64,
}

impl Quantiles {
    /// Those of the values that can be drawn; none where there are none. Each is one of the values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Quantiles> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| is_drawable(*value)).collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |share: f64| values[(share * last as f64).round() as usize];
        Some(Quantiles { min: at(0.0), p10: at(0.1), p50: at(0.5), p90: at(0.9), max: at(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_in_their_order() {
        let values = (0..=100).rev().map(f64::from).chain([f64::NAN]);
        let Quantiles { min, p10, p50, p90, max } = Quantiles::of(values).unwrap();
        assert_eq!([min, p10, p50, p90, max], [0.0, 10.0, 50.0, 90.0, 100.0]);
        assert_eq!(Quantiles::of([3.0]).map(|q| [q.min, q.p50, q.max]), Some([3.0; 3]));
        assert_eq!(Quantiles::of([f64::INFINITY]), None);
    }
}
