//! Whether a worker hangs: a pure function of when it last beat its heart and of how long we have looked.
//!
//! No clock in here; the supervisor asks at every turn. It may itself have been stopped, or starved, in
//! between, and a heart that beats while nobody looks is not seen. So silence counts only from when the
//! supervisor has been looking without a gap.

/// A turn of the supervisor's loop takes a few tens of milliseconds; longer than this is a gap, ns.
const GAP_NS: u64 = 1_000_000_000;

/// How long the supervisor has been looking, and how much silence it bears.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    timeout_ns: u64,
    last_turn_ns: u64,
    looking_since_ns: u64,
}

impl Watch {
    /// A watch that begins at `now_ns` and bears `timeout_ns` of silence.
    pub fn new(timeout_ns: u64, now_ns: u64) -> Self {
        Watch { timeout_ns, last_turn_ns: now_ns, looking_since_ns: now_ns }
    }

    /// Notes a turn of the loop.
    pub fn turn(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.last_turn_ns) > GAP_NS.min(self.timeout_ns / 2) {
            self.looking_since_ns = now_ns;
        }
        self.last_turn_ns = now_ns;
    }

    /// Forgets all silence before `now_ns`: until then nobody could have given a sign of life.
    pub fn look_anew(&mut self, now_ns: u64) {
        (self.last_turn_ns, self.looking_since_ns) = (now_ns, now_ns);
    }

    /// Whether a worker forked at `started_ns` whose last sign of life came at `heartbeat_ns` hangs.
    pub fn is_hung(&self, started_ns: u64, heartbeat_ns: u64) -> bool {
        let since_ns = started_ns.max(heartbeat_ns).max(self.looking_since_ns);
        self.last_turn_ns.saturating_sub(since_ns) > self.timeout_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    /// A watch of ten seconds' patience that has looked every 20 ms from 100 s to `until_s`.
    fn looking(until_s: u64) -> Watch {
        let mut watch = Watch::new(10 * SECOND_NS, 100 * SECOND_NS);
        for turn_ns in (100 * SECOND_NS..=until_s * SECOND_NS).step_by(20_000_000) {
            watch.turn(turn_ns);
        }
        watch
    }

    fn is_hung(watch: &Watch, started_s: u64, heartbeat_s: u64) -> bool {
        watch.is_hung(started_s * SECOND_NS, heartbeat_s * SECOND_NS)
    }

    #[test]
    fn silence_counts_from_the_last_sign_of_life_or_the_fork() {
        let watch = looking(120);
        assert!(!is_hung(&watch, 100, 115));
        assert!(!is_hung(&watch, 100, 110), "just as long as we bear");
        assert!(is_hung(&watch, 100, 109));
        assert!(!is_hung(&watch, 112, 50), "the heartbeat is its predecessor's");
        assert!(is_hung(&watch, 101, 50), "one that never beat");
    }

    #[test]
    fn time_in_which_all_stood_still_is_no_silence() {
        let mut watch = looking(109);
        watch.look_anew(109 * SECOND_NS + SECOND_NS / 2);
        watch.turn(110 * SECOND_NS + SECOND_NS / 4);
        assert!(!is_hung(&watch, 50, 99), "of eleven seconds less than one counts");
    }

    #[test]
    fn a_supervisor_that_was_stopped_looks_anew() {
        let mut watch = looking(120);
        watch.turn(150 * SECOND_NS);
        assert!(!is_hung(&watch, 100, 120), "it may have beaten unseen");
        watch.turn(150 * SECOND_NS + SECOND_NS / 2);
        assert!(!is_hung(&watch, 100, 120));
        for turn_ns in (151 * SECOND_NS..=161 * SECOND_NS).step_by(20_000_000) {
            watch.turn(turn_ns);
        }
        assert!(is_hung(&watch, 100, 120), "silent for ten seconds of looking");
        assert!(!is_hung(&watch, 100, 155));
    }
}
