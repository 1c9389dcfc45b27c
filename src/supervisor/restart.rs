//! Whether, and when, a dead worker is started again: a pure function of when it died before.
//!
//! No clock and no process in here; the supervisor asks and acts. The rule is Erlang/OTP's restart
//! intensity: more than so many deaths within a window and the place is given up, so that a worker which
//! cannot live (an instantly crashing one would be forked thousands of times a second) does not hide its
//! fault. The first replacement comes at once, the next ones after ever longer pauses: what lets workers
//! die in a row, such as memory running short, may need time to pass. As many deaths in a row that leave nothing are
//! the end too, however far apart.

/// Pause before the replacement after the first, second, … death within the window, ns; the last one
/// stands for all further ones.
const PAUSES_NS: [u64; 5] = [0, 100_000_000, 500_000_000, 2_000_000_000, 5_000_000_000];

/// The limits of patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Deaths within the window that are mended.
    pub max_restarts: usize,
    /// The window, ns.
    pub window_ns: u64,
    /// Longest pause before a replacement, ns.
    pub max_pause_ns: u64,
}

/// What to do about a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start a replacement after this pause, ns.
    RestartAfter(u64),
    /// Leave the place empty.
    GiveUp(Cause),
}

/// Why a place is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Too many died there within the window.
    Often,
    /// Too many died there one after the other and left nothing, however slowly: one that always hangs takes as long
    /// as a hang may.
    InVain,
}

/// The deaths in one worker's place.
#[derive(Clone, Debug, Default)]
pub struct History {
    recent_ns: Vec<u64>,
    /// Deaths since one last left something.
    n_in_vain: usize,
    n_restarts: u64,
}

impl History {
    /// Counts a death at `now_ns` and decides about it. `in_vain`: whether the process left no rollout or update.
    pub fn decide(&mut self, policy: &RestartPolicy, now_ns: u64, in_vain: bool) -> Decision {
        self.n_in_vain = if in_vain { self.n_in_vain + 1 } else { 0 };
        self.recent_ns.retain(|&death_ns| now_ns.saturating_sub(death_ns) < policy.window_ns);
        self.recent_ns.push(now_ns);
        let n_recent = self.recent_ns.len();
        if n_recent > policy.max_restarts {
            return Decision::GiveUp(Cause::Often);
        }
        if self.n_in_vain > policy.max_restarts {
            return Decision::GiveUp(Cause::InVain);
        }
        self.n_restarts += 1;
        let pause_ns = PAUSES_NS[(n_recent - 1).min(PAUSES_NS.len() - 1)];
        Decision::RestartAfter(pause_ns.min(policy.max_pause_ns))
    }

    /// Replacements so far.
    pub fn n_restarts(&self) -> u64 {
        self.n_restarts
    }
}

#[cfg(test)]
mod tests {
    use super::Decision::{GiveUp, RestartAfter};
    use super::*;

    const MS_NS: u64 = 1_000_000;

    const POLICY: RestartPolicy =
        RestartPolicy { max_restarts: 5, window_ns: 30_000 * MS_NS, max_pause_ns: 5_000 * MS_NS };

    fn decisions(policy: &RestartPolicy, deaths_s: &[u64]) -> Vec<Decision> {
        let mut history = History::default();
        let mut decide = |second: &u64| history.decide(policy, second * 1_000 * MS_NS, false);
        deaths_s.iter().map(&mut decide).collect()
    }

    fn after_ms(pauses_ms: &[u64]) -> Vec<Decision> {
        pauses_ms.iter().map(|ms| RestartAfter(ms * MS_NS)).collect()
    }

    /// Each row: when the deaths were, and what follows each.
    #[test]
    fn the_table() {
        let give_up =
            |pauses_ms: &[u64]| [after_ms(pauses_ms), vec![GiveUp(Cause::Often)]].concat();
        for (deaths_s, expected) in [
            (vec![0], after_ms(&[0])),
            // Rare deaths are mended at once, for ever.
            ((0..100).map(|k| k * 30).collect(), after_ms(&[0; 100])),
            // A storm: longer and longer pauses, then no more.
            (vec![0, 1, 2, 3, 4, 5], give_up(&[0, 100, 500, 2_000, 5_000])),
            // What is outside the window is forgiven.
            (vec![0, 1, 2, 3, 4, 40], after_ms(&[0, 100, 500, 2_000, 5_000, 0])),
            (vec![0, 20, 40, 60], after_ms(&[0, 100, 100, 100])),
        ] {
            assert_eq!(decisions(&POLICY, &deaths_s), expected, "{deaths_s:?}");
        }
    }

    #[test]
    fn a_place_where_nothing_is_ever_done_is_given_up_however_slowly_it_dies() {
        let mut history = History::default();
        let mut decide = |k: u64, in_vain| history.decide(&POLICY, k * 60_000 * MS_NS, in_vain);
        assert_eq!([0, 1, 2, 3].map(|k| decide(k, true)), [RestartAfter(0); 4]);
        assert_eq!(decide(4, false), RestartAfter(0), "something was done, and all is forgiven");
        assert_eq!([5, 6, 7, 8, 9].map(|k| decide(k, true)), [RestartAfter(0); 5]);
        assert_eq!(decide(10, true), GiveUp(Cause::InVain));
    }

    #[test]
    fn the_limits_are_the_policys() {
        let none = RestartPolicy { max_restarts: 0, ..POLICY };
        assert_eq!(decisions(&none, &[0]), [GiveUp(Cause::Often)]);
        let eager = RestartPolicy { max_restarts: 1_000, max_pause_ns: 0, ..POLICY };
        assert_eq!(decisions(&eager, &[0; 900]), after_ms(&[0; 900]));
    }
}
