//! Games are learned, by real processes, with their presets.

#[path = "../bench/common/late_score.rs"]
mod late_score;
#[path = "common/learned.rs"]
mod learned;

use learned::learned;

/// Worst of five seeds 13 (results/seeds/MinAtar-Breakout-1M.md); at random 0.5.
#[test]
fn breakout_is_learned_from_a_million_frames() {
    let score = learned("MinAtar/Breakout-v1", 1_000_000);
    assert!(score >= 8.0, "the last 100k frames' episodes had a mean return of {score}");
}
