//! A number that changes over a run: constant, or linearly down to a fraction of its start.
//!
//! One shape for everything that is scheduled. Its clock is consumed frames, so that speed changes
//! nothing. Read from the configuration; asked by the learner at every update.

use super::setting::Allowed::{Integers, Reals, Words};
use super::setting::{self, settings, words};

words! {
    /// How a scheduled number goes on from its start.
    pub enum Shape {
        /// stays at its start
        Constant = "constant",
        /// goes in a straight line to end_fraction of its start, and stays there
        Linear = "linear",
    }
}

settings! {
    /// A number that changes over a run.
    pub struct Schedule {
        /// Its value at frame 0.
        start: f64 = 0.0, Reals(0.0, 1e3, "");
        /// How it goes on.
        shape: Shape = Shape::Constant, Words(Shape::WORDS);
        /// Linear: its value from the end of the line on, as a fraction of its start.
        end_fraction: f64 = 1.0, Reals(0.0, 10.0, "");
        /// Linear: length of the line in consumed frames; 0 stands for the whole run.
        over_frames: u64 = 0, Integers(0, i64::MAX as u64, "frames");
    }
}

impl Schedule {
    /// The same value for ever.
    pub fn constant(start: f64) -> Self {
        Schedule { start, ..Schedule::default() }
    }

    /// From `start` to `end_fraction` of it over so many frames.
    pub fn linear(start: f64, end_fraction: f64, over_frames: u64) -> Self {
        Schedule { start, shape: Shape::Linear, end_fraction, over_frames }
    }

    /// The value after `frames` consumed frames of a run of `budget_frames`.
    pub fn at(&self, frames: u64, budget_frames: u64) -> f64 {
        let end = match self.shape {
            Shape::Constant => return self.start,
            Shape::Linear => self.start * self.end_fraction,
        };
        let over_frames = if self.over_frames == 0 { budget_frames } else { self.over_frames };
        if frames >= over_frames {
            return end;
        }
        let progress = frames as f64 / over_frames as f64;
        self.start + (end - self.start) * progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_starts_at_its_start_and_stays_at_its_end() {
        let line = Schedule::linear(2e-3, 0.1, 1000);
        assert_eq!(line.at(0, 9), 2e-3);
        approx::assert_relative_eq!(line.at(500, 9), 1.1e-3);
        assert_eq!([line.at(1000, 9), line.at(u64::MAX, 9)], [2e-4; 2]);
    }

    #[test]
    fn a_line_without_a_length_ends_with_the_run() {
        let line = Schedule::linear(2e-3, 0.0, 0);
        assert_eq!(line.at(0, 1000), 2e-3);
        approx::assert_relative_eq!(line.at(500, 1000), 1e-3);
        assert_eq!([line.at(1000, 1000), line.at(u64::MAX, 1000)], [0.0; 2]);
    }

    #[test]
    fn a_constant_ignores_where_a_line_would_end() {
        let constant = Schedule { end_fraction: 0.5, over_frames: 10, ..Schedule::constant(0.3) };
        assert_eq!([0, 5, 10, u64::MAX].map(|frames| constant.at(frames, 7)), [0.3; 4]);
    }
}
