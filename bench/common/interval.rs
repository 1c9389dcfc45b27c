//! How sure a median is.

/// The share of cases in which the median may lie outside.
const OUTSIDE: f64 = 0.1;

/// Two of the values, smallest and largest or further in, between which the median of what they are drawn
/// from lies in at least nine of ten cases, however it is distributed, if they are independent: that k
/// values and no more are below the median is as likely as k heads and no more. Of five values these are
/// the smallest and the largest, and of fewer as well, which then are less sure; NaN of none.
pub fn median_interval(values: &[f64]) -> [f64; 2] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let Some(last) = n.checked_sub(1) else { return [f64::NAN; 2] };
    // That none is below, or none above; then that k are.
    let mut exactly = 2.0 * 0.5_f64.powi(n as i32);
    let mut outside = exactly;
    let mut cut = 0;
    for k in 1..=last / 2 {
        exactly *= (n - k + 1) as f64 / k as f64;
        outside += exactly;
        if outside > OUTSIDE {
            break;
        }
        cut = k;
    }
    [sorted[cut], sorted[last - cut]]
}
