//! Points of a curve: only those that can be drawn, and not more than a plot can show.
//!
//! Pure. Used by the plots.

/// x and y of one measurement.
pub type Point = (f64, f64);

/// A plot is some 600 pixels wide: more points than this change no pixel, only the size of the page.
const MAX_POINTS: usize = 1000;

/// Beyond this nothing is a measurement, and differences would overflow.
const LARGEST: f64 = 1e30;

/// Whether a number has a place on an axis.
pub fn is_drawable(value: f64) -> bool {
    value.abs() <= LARGEST
}

/// The drawable points, thinned to at most 1000 of them.
pub fn curve(points: impl IntoIterator<Item = Point>) -> Vec<Point> {
    let drawable: Vec<Point> =
        points.into_iter().filter(|&(x, y)| is_drawable(x) && is_drawable(y)).collect();
    thin(drawable, MAX_POINTS)
}

/// Keeps the first and the last point, and of every stretch between its lowest and its highest point
/// in their order: an outlier of one row stays visible however long the run.
fn thin(points: Vec<Point>, max_points: usize) -> Vec<Point> {
    if points.len() <= max_points {
        return points;
    }
    let n_stretches = (max_points - 2) / 2;
    let inner = &points[1..points.len() - 1];
    let mut kept = vec![points[0]];
    for stretch in inner.chunks(inner.len().div_ceil(n_stretches)) {
        kept.extend(extremes(stretch));
    }
    kept.push(points[points.len() - 1]);
    kept
}

/// Lowest and highest point, in the order of the curve; one point if they are the same.
fn extremes(stretch: &[Point]) -> Vec<Point> {
    let by_y = |a: &&Point, b: &&Point| a.1.total_cmp(&b.1);
    let lowest = stretch.iter().min_by(by_y);
    let highest = stretch.iter().max_by(by_y);
    let mut both: Vec<Point> = lowest.into_iter().chain(highest).copied().collect();
    both.sort_by(|a, b| a.0.total_cmp(&b.0));
    both.dedup();
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_place_is_left_out() {
        let points = [(0.0, 1.0), (1.0, f64::NAN), (f64::INFINITY, 2.0), (3.0, -1e300), (4.0, 5.0)];
        assert_eq!(curve(points), [(0.0, 1.0), (4.0, 5.0)]);
    }

    #[test]
    fn thinning_keeps_ends_and_outliers() {
        let mut points: Vec<Point> =
            (0..70_001).map(|i| (f64::from(i), f64::from(i % 7))).collect();
        points[43_210].1 = 900.0;
        points[11_111].1 = -900.0;
        let thinned = curve(points.clone());
        assert!(thinned.len() <= MAX_POINTS, "{}", thinned.len());
        assert!(thinned.len() > MAX_POINTS / 2, "{}", thinned.len());
        for kept in [points[0], points[70_000], points[43_210], points[11_111]] {
            assert!(thinned.contains(&kept), "{kept:?}");
        }
        assert!(thinned.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn short_curves_stay_as_they_are() {
        let points: Vec<Point> = (0..MAX_POINTS).map(|i| (i as f64, 1.0)).collect();
        assert_eq!(curve(points.clone()), points);
        assert_eq!(curve([]), []);
    }
}
