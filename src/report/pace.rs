//! How fast a run learned, over its intervals: the mean, how far they were from it, and whether one half of
//! the run was faster than the other.
//!
//! Pure numbers and their words. The plot of throughput asks.

use super::points::is_drawable;
use super::quantiles::Quantiles;
use crate::base::units::{percent, short};
use crate::telemetry::MetricsRow;

/// Two halves that differ by less are alike: so much lies between two runs of one setting.
const NOISE: f64 = 0.1;

/// Fewer intervals say nothing of halves.
const FEWEST_ROWS: usize = 8;

/// The frames learned from in a second.
pub struct Pace {
    /// Over all the time between the first row and the last.
    pub mean: f64,
    /// Eight of ten intervals lay between these.
    pub middle: [f64; 2],
    /// Standard deviation of the intervals.
    deviation: f64,
    /// The second half's mean by the first one's.
    second_by_first: Option<f64>,
}

impl Pace {
    /// That of a run; none of less than two rows.
    pub fn of(rows: &[MetricsRow]) -> Option<Pace> {
        let mean = mean(rows)?;
        let speeds: Vec<f64> = rows.iter().map(|row| row.frames_per_s).collect();
        let Quantiles { p10, p90, .. } = Quantiles::of(speeds.iter().copied())?;
        let squares = speeds.iter().filter(|v| is_drawable(**v)).map(|v| (v - mean).powi(2));
        let deviation = (squares.sum::<f64>() / speeds.len() as f64).sqrt();
        // The row in the middle ends the first half and begins the second.
        let middle = rows.len() / 2;
        let halves = || Some(self::mean(&rows[middle..])? / self::mean(&rows[..=middle])?);
        let second_by_first = if rows.len() < FEWEST_ROWS { None } else { halves() };
        Some(Pace { mean, middle: [p10, p90], deviation, second_by_first })
    }

    /// Mean and spread as a sentence, and another one where the halves differ.
    pub fn remark(&self) -> String {
        let Pace { mean, deviation, .. } = self;
        let spread = percent(deviation / mean);
        let mut text = format!(
            "{} frames/s in the mean; the intervals spread around it by {spread} (standard deviation). ",
            short(*mean)
        );
        if let Some(ratio) = self.second_by_first.filter(|ratio| (ratio - 1.0).abs() > NOISE) {
            text += &format!(
                "The second half ran at {} of the first half's speed: something changed meanwhile. ",
                percent(ratio)
            );
        }
        text
    }
}

/// From the first of these rows to the last.
fn mean(rows: &[MetricsRow]) -> Option<f64> {
    let (first, last) = (rows.first()?, rows.last()?);
    let n_frames = last.frames.saturating_sub(first.frames) as f64;
    let per_s = n_frames / (last.time_s - first.time_s);
    (is_drawable(per_s) && per_s > 0.0).then_some(per_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of as many rows, of a hundred frames each, at these speeds.
    fn rows(speeds: &[f64]) -> Vec<MetricsRow> {
        let (mut time_s, mut frames) = (0.0, 0);
        let row = |&frames_per_s: &f64| {
            time_s += 100.0 / frames_per_s;
            frames += 100;
            MetricsRow { time_s, frames, frames_per_s, ..MetricsRow::default() }
        };
        speeds.iter().map(row).collect()
    }

    #[test]
    fn a_run_that_slows_down_is_told_of_and_an_even_one_is_not() {
        let even = Pace::of(&rows(&[100.0; 20])).unwrap();
        assert!((even.mean - 100.0).abs() < 1e-9 && even.middle == [100.0; 2]);
        let remark = even.remark().replace('\u{a0}', " ");
        assert!(remark.starts_with("100 frames/s in the mean") && remark.contains("by 0 %"));
        assert!(!remark.contains("half"), "{remark}");
        let slower = Pace::of(&rows(&[[100.0; 10], [50.0; 10]].concat())).unwrap();
        let remark = slower.remark().replace('\u{a0}', " ");
        assert!(remark.contains("second half ran at 5"), "{remark}");
        assert!((slower.mean - 1900.0 / (9.0 + 20.0)).abs() < 1e-9, "by time: {}", slower.mean);
    }

    #[test]
    fn a_row_alone_has_no_pace_and_few_have_no_halves() {
        assert!(Pace::of(&rows(&[100.0])).is_none() && Pace::of(&[]).is_none());
        let few = Pace::of(&rows(&[100.0, 10.0, 1.0])).unwrap();
        assert!(!few.remark().contains("half"));
    }
}
