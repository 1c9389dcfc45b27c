//! How far a result in few bits is from the exact one.

/// How far numbers are from what they should be, by Euclid, in parts of their own size. A sum whose terms cancel
/// is as exact as its terms are, so each counts as `least` or more.
pub fn distance<'a>(
    actual: impl IntoIterator<Item = &'a f32>,
    expected: impl IntoIterator<Item = &'a f64>,
    least: f64,
) -> f64 {
    let squares = actual.into_iter().zip(expected).map(|(&actual, &expected)| {
        let difference = f64::from(actual) - expected;
        [difference * difference, (expected * expected).max(least * least)]
    });
    let [wrong, whole] = squares.fold([0.0, 0.0], |sum, square| [0, 1].map(|i| sum[i] + square[i]));
    if wrong == 0.0 { 0.0 } else { (wrong / whole).sqrt() }
}
