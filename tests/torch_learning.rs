//! A game of pixels is learned through libtorch, by real processes, with its preset.
#![cfg(feature = "torch")]

#[path = "../bench/common/late_score.rs"]
mod late_score;
#[path = "common/learned.rs"]
mod learned;

use learned::learned;

/// At random −0.8; worst of five seeds 0.98.
#[test]
fn a_drawn_ball_is_caught_from_two_hundred_thousand_frames() {
    let score = learned("PixelCatch-v0", 200_000, 1, &[]);
    assert!(score >= 0.3, "the last 100k frames' episodes had a mean return of {score}");
}
