//! Games and mazes are learned, by real processes, with their presets.

#[path = "../bench/common/late_score.rs"]
mod late_score;
#[path = "common/learned.rs"]
mod learned;

use learned::{learned, learned_with};

/// Worst of five seeds 13 (results/seeds/MinAtar-Breakout-1M.md); at random 0.5.
#[test]
fn breakout_is_learned_from_a_million_frames() {
    let score = learned("MinAtar/Breakout-v1", 1_000_000, 1);
    assert!(score >= 8.0, "the last 100k frames' episodes had a mean return of {score}");
}

/// Of 20 seeds all ended at -206 or more; at random -1,200. One of three is asked for, since a policy can also stay
/// where it holds the rod up from half of all starts alone.
#[test]
fn a_rod_is_swung_up_and_held_by_a_torque() {
    let score = |seed| learned("Pendulum-v1", 1_500_000, seed);
    assert!((1..=3).any(|seed| score(seed) >= -250.0), "no one of three seeds had -250 at its end");
}

/// The turn is shown at the start of a corridor of ten steps alone. Who guesses it has 1.95.
#[test]
fn a_turn_is_remembered_along_a_corridor_and_guessed_without_memory() {
    let score = learned("TMaze-v0", 300_000, 1);
    assert!(score >= 3.9, "the last 100k frames' episodes had a mean return of {score}");
    let score = learned_with("TMaze-v0", 300_000, 1, &["--set", "network.lstm=0"]);
    assert!(score < 2.5, "without memory they had {score}");
}
