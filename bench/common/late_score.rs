//! How well a run played at its end.

use impala::telemetry::MetricsRow;

/// Mean return of the training episodes that ended in the last `window_frames` of a run, to a row; `None` if
/// none did.
pub fn late_score(rows: &[MetricsRow], window_frames: u64) -> Option<f64> {
    let end = rows.last()?.frames;
    let before = rows.partition_point(|row| row.frames + window_frames <= end);
    let (mut episodes, mut sum, mut n) =
        (rows[..before].last().map_or(0, |row| row.episodes), 0.0, 0);
    for row in &rows[before..] {
        let n_ended = row.episodes - episodes;
        sum += row.score_mean.unwrap_or_default() * n_ended as f64;
        (n, episodes) = (n + n_ended, row.episodes);
    }
    (n > 0).then(|| sum / n as f64)
}
