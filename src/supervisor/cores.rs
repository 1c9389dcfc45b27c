//! The ledger of cores: what the threads of each process got of them over a run, and what others took.
//!
//! Owns the adding up: over threads, of which some end before their process, and over the processes that
//! had one place. Is told when to look; the recorder tells it.

use std::collections::BTreeMap;

use crate::base::clock::in_seconds;
use crate::os::cores::{CoreTime, IdleTime, core_times};
use crate::telemetry::CoreSummary;

/// What every process of a run got of the cores.
#[derive(Default)]
pub struct CoreLedger {
    accounts: BTreeMap<String, Account>,
    /// The first and the last moment at which what others took is known.
    moments: Option<(Moment, Moment)>,
}

/// One process's place.
#[derive(Default)]
struct Account {
    /// Of the processes that had the place before.
    before: CoreTime,
    before_ns: u64,
    pid: u32,
    /// Of the present one, by number. A thread that has ended stays with what it had when it was last seen.
    threads: BTreeMap<u32, Thread>,
    /// Whether the last look found every thread that is known.
    is_whole: bool,
}

struct Thread {
    time: CoreTime,
    /// From its process's begin until it was last seen, ns.
    watched_ns: u64,
}

/// The whole machine at one moment.
#[derive(Clone, Copy)]
struct Moment {
    now_ns: u64,
    idle: IdleTime,
    /// On a core until then, all processes of the run, ns.
    used_ns: u64,
}

impl CoreLedger {
    /// Looks at a process that began at `started_ns`, and returns what its threads have got, and those of its
    /// `helpers`; `None` where the kernel does not tell.
    pub fn look(
        &mut self,
        process: &str,
        pid: u32,
        helpers: &[u32],
        started_ns: u64,
        now_ns: u64,
    ) -> Option<CoreTime> {
        let account = self.accounts.entry(process.to_owned()).or_default();
        let of_helpers: Vec<_> = helpers.iter().copied().flat_map(core_times).collect();
        let watched_ns = now_ns.saturating_sub(started_ns);
        account.look(pid, &core_times(pid), &of_helpers, watched_ns)
    }

    /// Notes what nobody used until now. A moment at which a thread has ended unseen is no good: what it
    /// did since it was last seen would count as done by others.
    pub fn note_moment(&mut self, now_ns: u64) {
        if !self.accounts.values().all(|account| account.is_whole) {
            return;
        }
        let Some(idle) = IdleTime::now() else { return };
        let used_ns = self.accounts.values().map(|account| account.total().on_core_ns).sum();
        let moment = Moment { now_ns, idle, used_ns };
        let first = self.moments.map_or(moment, |(first, _)| first);
        self.moments = Some((first, moment));
    }

    /// What the processes of a place got.
    pub fn summary(&self, process: &str) -> Option<CoreSummary> {
        let account =
            self.accounts.get(process).filter(|account| account.total().on_core_ns > 0)?;
        let CoreTime { on_core_ns, without_core_ns } = account.total();
        let [on_core_s, without_core_s, watched_s] =
            [on_core_ns, without_core_ns, account.watched_ns()].map(in_seconds);
        Some(CoreSummary { on_core_s, without_core_s, watched_s })
    }

    /// How many cores others used in the mean, of those that this run may use.
    pub fn of_others(&self) -> Option<f64> {
        let (first, last) = self.moments?;
        cores_of_others(first, last)
    }
}

/// What was neither idle nor used by the run. `None` where nothing lies between the moments: the kernel
/// counts idle time in hundredths of a second.
fn cores_of_others(first: Moment, last: Moment) -> Option<f64> {
    const SHORTEST_NS: u64 = 100_000_000;
    let span_ns = last.now_ns.saturating_sub(first.now_ns);
    if span_ns < SHORTEST_NS {
        return None;
    }
    let since = |last: u64, first: u64| last.saturating_sub(first) as f64;
    let all_ns = last.idle.n_cores as f64 * span_ns as f64;
    let ours_ns = since(last.used_ns, first.used_ns);
    let idle_ns = since(last.idle.idle_ns, first.idle.idle_ns);
    Some(((all_ns - ours_ns - idle_ns) / span_ns as f64).max(0.0))
}

impl Account {
    fn look(
        &mut self,
        pid: u32,
        seen: &[(u32, CoreTime)],
        of_helpers: &[(u32, CoreTime)],
        watched_ns: u64,
    ) -> Option<CoreTime> {
        if pid != self.pid {
            (self.before, self.before_ns) = (self.total(), self.watched_ns());
            self.pid = pid;
            self.threads.clear();
        }
        for (number, time) in seen {
            self.threads.insert(*number, Thread { time: *time, watched_ns });
        }
        // One works while the other waits for it, so that there is no more time for both together.
        for (number, time) in of_helpers {
            self.threads.insert(*number, Thread { time: *time, watched_ns: 0 });
        }
        let n_seen = seen.len() + of_helpers.len();
        self.is_whole = !seen.is_empty() && n_seen == self.threads.len();
        (!self.threads.is_empty()).then(|| self.present())
    }

    fn present(&self) -> CoreTime {
        self.threads.values().map(|seen| seen.time).sum()
    }

    fn total(&self) -> CoreTime {
        self.before + self.present()
    }

    fn watched_ns(&self) -> u64 {
        self.before_ns + self.threads.values().map(|seen| seen.watched_ns).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(on_core_ns: u64, without_core_ns: u64) -> CoreTime {
        CoreTime { on_core_ns, without_core_ns }
    }

    #[test]
    fn threads_that_end_and_processes_that_are_replaced_stay_in_the_account() {
        let mut account = Account::default();
        assert_eq!(
            account.look(7, &[(7, time(10, 1)), (8, time(20, 2))], &[], 100),
            Some(time(30, 3))
        );
        assert!(account.is_whole);
        assert_eq!(
            account.look(7, &[(7, time(15, 1))], &[], 150),
            Some(time(35, 3)),
            "8 has ended"
        );
        assert!(!account.is_whole);
        assert_eq!(account.watched_ns(), 100 + 150);
        assert_eq!(
            account.look(9, &[(9, time(5, 5))], &[], 40),
            Some(time(5, 5)),
            "the next process"
        );
        assert!(account.is_whole);
        assert_eq!((account.total(), account.watched_ns()), (time(40, 8), 100 + 150 + 40));
        let helped = account.look(9, &[(9, time(5, 5))], &[(10, time(50, 0))], 60);
        assert_eq!((helped, account.watched_ns()), (Some(time(55, 5)), 100 + 150 + 60));
        assert!(account.is_whole);
        assert_eq!(account.look(9, &[], &[], 60), Some(time(55, 5)), "it is gone, and was seen");
        assert!(!account.is_whole);
    }

    #[test]
    fn what_is_neither_idle_nor_ours_is_others() {
        let moment = |now_ms: u64, idle_ms: u64, used_ms: u64| Moment {
            now_ns: now_ms * 1_000_000,
            idle: IdleTime { n_cores: 2, idle_ns: idle_ms * 1_000_000 },
            used_ns: used_ms * 1_000_000,
        };
        let between = |last| cores_of_others(moment(1_000, 500, 100), last);
        assert_eq!(
            between(moment(2_000, 1_000, 600)),
            Some(1.0),
            "two cores, half idle, half ours"
        );
        assert_eq!(between(moment(2_000, 2_500, 600)), Some(0.0), "counted in coarse ticks");
        assert_eq!(between(moment(1_010, 500, 100)), None, "too short to say");
    }

    #[test]
    fn a_living_process_has_an_account() {
        let mut ledger = CoreLedger::default();
        let pid = std::process::id();
        assert!(ledger.look("supervisor", pid, &[], 0, 1_000_000_000).is_some());
        assert_eq!(ledger.look("actor0", u32::MAX, &[], 0, 1), None);
        let summary = ledger.summary("supervisor").expect("this test has run on a core");
        assert!(summary.on_core_s > 0.0 && summary.watched_s >= 1.0);
        assert_eq!(ledger.summary("actor0"), None);
    }
}
