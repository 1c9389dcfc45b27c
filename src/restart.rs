//! Whether a dead worker is started again: a pure function of when it died before.
//!
//! No clock and no process in here; the supervisor asks and acts. The rule is Erlang/OTP's restart
//! intensity: more than [`MAX_RESTARTS`] deaths within [`WINDOW_NS`] and the place is given up, so
//! that a worker which cannot live (an instantly crashing one would be forked thousands of times a
//! second) does not hide its fault.

/// Deaths within the window that are mended.
pub const MAX_RESTARTS: usize = 5;

/// The window, ns: 30 s.
pub const WINDOW_NS: u64 = 30_000_000_000;

/// What to do about a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start a replacement now.
    Restart,
    /// Leave the place empty.
    GiveUp,
}

/// The deaths in one worker's place.
#[derive(Clone, Debug, Default)]
pub struct History {
    recent_ns: Vec<u64>,
    n_restarts: u64,
}

impl History {
    /// Counts a death at `now_ns` and decides about it.
    pub fn decide(&mut self, now_ns: u64) -> Decision {
        self.recent_ns.retain(|&death_ns| now_ns.saturating_sub(death_ns) < WINDOW_NS);
        self.recent_ns.push(now_ns);
        if self.recent_ns.len() > MAX_RESTARTS {
            return Decision::GiveUp;
        }
        self.n_restarts += 1;
        Decision::Restart
    }

    /// Replacements so far, which is the generation of the present process.
    pub fn n_restarts(&self) -> u64 {
        self.n_restarts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn decisions(deaths_s: impl IntoIterator<Item = u64>) -> Vec<Decision> {
        let mut history = History::default();
        deaths_s.into_iter().map(|death_s| history.decide(death_s * SECOND_NS)).collect()
    }

    #[test]
    fn rare_deaths_are_mended_for_ever() {
        assert!(decisions((0..100).map(|k| k * 7)).iter().all(|d| *d == Decision::Restart));
    }

    #[test]
    fn a_storm_of_deaths_ends_in_giving_up() {
        let mut expected = vec![Decision::Restart; MAX_RESTARTS];
        expected.push(Decision::GiveUp);
        assert_eq!(decisions([0, 1, 2, 3, 4, 5]), expected);
    }

    #[test]
    fn deaths_outside_the_window_are_forgiven() {
        assert_eq!(decisions([0, 1, 2, 3, 4, 40]), vec![Decision::Restart; 6]);
    }
}
