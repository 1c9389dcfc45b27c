//! What a storm does to a run: random workers, and the processes of their environments, are killed, stopped and
//! continued, and watched until the workers are back.
//!
//! Owns the random numbers and the signals. Sends none to a process that is not a child of the run or of its actors.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use hdrhistogram::Histogram;
use impala::base::clock::monotonic_ns;
use impala::revisit::live::{LiveRun, Snapshot};
use impala::shm::view::WorkerSigns;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::children::children;
use super::endless::{EndlessRun, Interrupt};
use super::traces::{Zombies, is_child};

/// How often the run is looked at: the resolution of the time to come back.
const TICK: Duration = Duration::from_millis(1);

/// Between two blows, ms: a worker has some time to live, and most do not die while starting.
pub const PAUSE_MS: Range<u64> = 20..120;

/// The same where actors start a Python, which takes each of them a second of a core.
pub const PAUSE_WITH_PYTHON_MS: Range<u64> = 500..3000;

/// How long a stopped worker stands still, ms, if it is continued.
const STAND_STILL_MS: Range<u64> = 5..300;

/// A watchdog, not a measurement: how long a worker may take to come back.
const PATIENCE: Duration = Duration::from_secs(120);

/// What to do and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    pub duration: Duration,
    pub seed: u64,
    /// Between two blows.
    pub pause_ms: Range<u64>,
    /// One of this many stopped workers is never continued: whoever watches it has to see that it hangs.
    pub left_standing_one_in: u64,
}

/// What was done, and what came of it.
pub struct Tally {
    pub kills: u64,
    pub learner_kills: u64,
    /// Processes of an actor's environments, in the place of the actor.
    pub env_kills: u64,
    pub stops: u64,
    /// Stopped workers that were left for the run to find.
    pub left_standing: u64,
    /// From each kill to the first heartbeat of the replacement, ns.
    pub actor_back_ns: Histogram<u64>,
    pub learner_back_ns: Histogram<u64>,
    /// Zombies that stayed.
    pub zombies: u64,
    /// Whether nobody interrupted it.
    pub is_complete: bool,
}

/// Whom a blow meets: a worker of the run, or the process of an actor's environments.
#[derive(Clone, Copy)]
struct Target {
    pid: u64,
    parent: u64,
}

impl Target {
    /// Sends a signal, unless it has ended meanwhile: its number may have been given anew.
    fn send(self, signal: Signal) {
        if self.is_alive() {
            let _ = kill(Pid::from_raw(self.pid as i32), signal);
        }
    }

    fn is_alive(self) -> bool {
        is_child(self.pid as u32, self.parent as u32)
    }
}

/// What is wrong with a worker's place just now.
#[derive(Clone, Copy)]
enum Plight {
    None,
    /// The worker that was this process, or what it cannot be without, was killed or left standing: a replacement
    /// must come.
    Gone {
        pid: u64,
        since: Instant,
        since_ns: u64,
        was_killed: bool,
    },
    /// Stopped until then.
    Stopped {
        target: Target,
        until: Instant,
    },
}

struct Storm<'a> {
    live: &'a LiveRun,
    plan: Plan,
    random: Xoshiro256PlusPlus,
    /// The learner's, then each actor's.
    plights: Vec<Plight>,
    tally: Tally,
}

/// Storms over a run until the time is over or somebody interrupts, and waits until all workers are back.
///
/// # Errors
/// If the run ends or a worker does not come back.
pub fn storm(
    run: &mut EndlessRun,
    live: &LiveRun,
    plan: Plan,
    interrupt: &Interrupt,
    mut progress: impl FnMut(Duration, &Tally),
) -> Result<Tally> {
    let mut storm = Storm::new(live, plan)?;
    let (start, mut next) = (Instant::now(), Instant::now());
    let mut zombies = Zombies::default();
    while !storm.is_over(start) {
        ensure!(!run.has_ended()?, "the run ended in the storm: {}", run.said());
        let signs = signs(&live.snapshot());
        storm.look_after(&signs)?;
        if Instant::now() >= next && storm.blows_until(start) {
            storm.strike(&signs);
            next = Instant::now() + storm.time_within(storm.plan.pause_ms.clone());
        }
        zombies.look(run.pid());
        progress(start.elapsed(), &storm.tally);
        storm.tally.is_complete &= !interrupt.came_within(TICK)?;
    }
    storm.tally.zombies = zombies.n_stayed();
    Ok(storm.tally)
}

fn signs(snapshot: &Snapshot) -> Vec<WorkerSigns> {
    std::iter::once(snapshot.learner).chain(snapshot.actors.iter().copied()).collect()
}

impl<'a> Storm<'a> {
    fn new(live: &'a LiveRun, plan: Plan) -> Result<Self> {
        // A nanosecond to an hour, three digits.
        let histogram = || Histogram::new_with_bounds(1, 3_600_000_000_000, 3);
        let tally = Tally {
            kills: 0,
            learner_kills: 0,
            env_kills: 0,
            stops: 0,
            left_standing: 0,
            actor_back_ns: histogram()?,
            learner_back_ns: histogram()?,
            zombies: 0,
            is_complete: true,
        };
        let n_places = 1 + live.snapshot().actors.len();
        Ok(Storm {
            live,
            random: Xoshiro256PlusPlus::seed_from_u64(plan.seed),
            plan,
            plights: vec![Plight::None; n_places],
            tally,
        })
    }

    /// Whether workers are still to be struck.
    fn blows_until(&self, start: Instant) -> bool {
        self.tally.is_complete && start.elapsed() < self.plan.duration
    }

    fn is_over(&self, start: Instant) -> bool {
        !self.blows_until(start) && self.plights.iter().all(|p| matches!(p, Plight::None))
    }

    /// Continues who has stood still long enough; notes who is back.
    fn look_after(&mut self, signs: &[WorkerSigns]) -> Result<()> {
        for (place, now) in signs.iter().enumerate() {
            match self.plights[place] {
                Plight::None => {}
                Plight::Stopped { target, until } if Instant::now() >= until => {
                    target.send(Signal::SIGCONT);
                    self.plights[place] = Plight::None;
                }
                Plight::Stopped { .. } => {}
                Plight::Gone { pid, since, since_ns, was_killed } => {
                    let is_back = now.pid != pid && now.heartbeat_ns >= since_ns;
                    if is_back && was_killed {
                        self.note_return(place, now.heartbeat_ns - since_ns)?;
                    }
                    if is_back {
                        self.plights[place] = Plight::None;
                    } else if since.elapsed() > PATIENCE {
                        bail!("nobody came for process {pid} within {PATIENCE:?}");
                    }
                }
            }
        }
        Ok(())
    }

    fn note_return(&mut self, place: usize, after_ns: u64) -> Result<()> {
        let tally = &mut self.tally;
        let histogram =
            if place == 0 { &mut tally.learner_back_ns } else { &mut tally.actor_back_ns };
        Ok(histogram.record(after_ns.max(1))?)
    }

    /// Kills or stops one worker that is well, or the process of its environments.
    fn strike(&mut self, signs: &[WorkerSigns]) {
        let place = self.below(self.plights.len() as u64) as usize;
        let pid = signs[place].pid;
        let worker = Target { pid, parent: u64::from(self.live.supervisor_pid()) };
        if !matches!(self.plights[place], Plight::None) || !worker.is_alive() {
            return;
        }
        let target = self.target(worker);
        let since_ns = monotonic_ns();
        let gone = |was_killed| Plight::Gone { pid, since: Instant::now(), since_ns, was_killed };
        let (signal, plight) = if self.below(5) < 3 {
            self.tally.kills += 1;
            self.tally.learner_kills += u64::from(place == 0);
            self.tally.env_kills += u64::from(target.pid != pid);
            (Signal::SIGKILL, gone(true))
        } else if self.below(self.plan.left_standing_one_in) == 0 {
            self.tally.left_standing += 1;
            (Signal::SIGSTOP, gone(false))
        } else {
            self.tally.stops += 1;
            let until = Instant::now() + self.time_within(STAND_STILL_MS);
            (Signal::SIGSTOP, Plight::Stopped { target, until })
        };
        self.plights[place] = plight;
        target.send(signal);
    }

    /// The worker, or, as often, the process of its environments where it has one.
    fn target(&mut self, worker: Target) -> Target {
        match children(worker.pid as u32)[..] {
            [pid, ..] if self.below(2) == 0 => Target { pid: u64::from(pid), parent: worker.pid },
            _ => worker,
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random.next_u64() % n
    }

    fn time_within(&mut self, ms: Range<u64>) -> Duration {
        Duration::from_millis(ms.start + self.below(ms.end - ms.start))
    }
}
