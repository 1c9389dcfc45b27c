//! Who had the cores, from `/proc`: what each thread got of them, how long they had nothing to do, and how
//! busy the machine was. None of it needs a privilege.
//!
//! Owns the reading of the kernel's figures. Does not know whose process it is, and judges nothing. The
//! supervisor asks while a run lasts, `run::meta` at its start and end, `impala inspect` at any time.

use std::fs;
use std::ops::{Add, Sub};

use rustix::process::getpriority_process;
use rustix::thread::sched_getaffinity;
use serde::{Deserialize, Serialize};

/// What threads got of the cores since they began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreTime {
    /// Time on a core, ns.
    pub on_core_ns: u64,
    /// Time in which they had work to do and no core to do it on, ns.
    pub without_core_ns: u64,
}

impl Add for CoreTime {
    type Output = CoreTime;

    fn add(self, other: CoreTime) -> CoreTime {
        CoreTime {
            on_core_ns: self.on_core_ns + other.on_core_ns,
            without_core_ns: self.without_core_ns + other.without_core_ns,
        }
    }
}

impl Sub for CoreTime {
    type Output = CoreTime;

    /// What was got since `earlier`; none where somebody else's figure stands there now.
    fn sub(self, earlier: CoreTime) -> CoreTime {
        CoreTime {
            on_core_ns: self.on_core_ns.saturating_sub(earlier.on_core_ns),
            without_core_ns: self.without_core_ns.saturating_sub(earlier.without_core_ns),
        }
    }
}

impl std::iter::Sum for CoreTime {
    fn sum<I: Iterator<Item = CoreTime>>(times: I) -> CoreTime {
        times.fold(CoreTime::default(), Add::add)
    }
}

/// What each thread of a process got, by its number. Of a process that has ended and was not reaped, the
/// first thread's. Empty where there is no such process, or a kernel that does not tell.
pub fn core_times(pid: u32) -> Vec<(u32, CoreTime)> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let thread = |entry: fs::DirEntry| {
        // A thread may end between the listing and the look at it.
        let schedstat = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, core_time(&schedstat)?))
    };
    threads.filter_map(|entry| thread(entry.ok()?)).collect()
}

/// The first two of three numbers. A kernel built without these statistics writes zeros.
fn core_time(schedstat: &str) -> Option<CoreTime> {
    let mut numbers = schedstat.split_whitespace().map(|number| number.parse().ok());
    let (on_core_ns, without_core_ns) = (numbers.next()??, numbers.next()??);
    (on_core_ns > 0).then_some(CoreTime { on_core_ns, without_core_ns })
}

/// The kernel's tick in `/proc/stat`, ns: a hundredth of a second on every architecture of today.
const TICK_NS: u64 = 10_000_000;

/// Time in which the cores that this process may run on were there for it, added up over them: nobody had
/// them, or only those who ask for less than their share (`nice`), and this process does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleTime {
    /// How many cores that are.
    pub n_cores: u64,
    /// Since the machine was started, ns.
    pub idle_ns: u64,
}

impl IdleTime {
    /// Until now; `None` where the kernel does not tell.
    pub fn now() -> Option<IdleTime> {
        let cores = sched_getaffinity(None).ok()?;
        let is_nice = getpriority_process(None).is_ok_and(|nice| nice > 0);
        let stat = fs::read_to_string("/proc/stat").ok()?;
        idle_time(&stat, |core| cores.is_set(core), is_nice)
    }
}

/// Of the numbers in a core's line the second is the time of whoever is nice, the fourth and the fifth are
/// idle and waiting for a disk.
fn idle_time(stat: &str, is_ours: impl Fn(usize) -> bool, is_nice: bool) -> Option<IdleTime> {
    let idle_ns = |line: &str| {
        let (core, numbers) = line.strip_prefix("cpu")?.split_once(' ')?;
        // The line of all cores together has no number.
        core.parse().ok().filter(|core| is_ours(*core))?;
        let ticks: Vec<u64> = numbers.split_whitespace().map_while(|n| n.parse().ok()).collect();
        let of_the_nice = if is_nice { 0 } else { *ticks.get(1)? };
        Some((of_the_nice + ticks.get(3)? + ticks.get(4)?) * TICK_NS)
    };
    let idle: Vec<u64> = stat.lines().filter_map(idle_ns).collect();
    let n_cores = idle.len() as u64;
    (n_cores > 0).then(|| IdleTime { n_cores, idle_ns: idle.iter().sum() })
}

/// How busy the whole machine was at one moment, as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineLoad {
    /// Mean number of threads that ran or wanted to, over the last 1, 5 and 15 minutes.
    pub load_average: Option<[f64; 3]>,
    /// Share of the last ten seconds in which some thread had work to do and no core, %.
    pub cpu_pressure_percent: Option<f64>,
    /// All such time since the machine was started, µs.
    pub cpu_pressure_us: Option<u64>,
}

impl MachineLoad {
    /// That of now. A kernel without pressure figures has a load average all the same.
    pub fn now() -> MachineLoad {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let pressure = text("/proc/pressure/cpu");
        MachineLoad {
            load_average: load_average(&text("/proc/loadavg")),
            cpu_pressure_percent: pressure_field(&pressure, "avg10="),
            cpu_pressure_us: pressure_field(&pressure, "total="),
        }
    }
}

fn load_average(loadavg: &str) -> Option<[f64; 3]> {
    let mut numbers = loadavg.split_whitespace().map(|number| number.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

/// A field of the line for when *some* thread waits; that for when all do is always 0 for a whole machine.
fn pressure_field<T: std::str::FromStr>(pressure: &str, name: &str) -> Option<T> {
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split_whitespace().find_map(|field| field.strip_prefix(name))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_computes_gets_time_and_an_unknown_process_has_no_threads() {
        let of_all = || core_times(std::process::id()).into_iter().map(|(_, time)| time).sum();
        let before: CoreTime = of_all();
        let mut x = 1u64;
        while (of_all() - before).on_core_ns < 5_000_000 {
            x = (0..100_000).fold(x, |x, i| x.wrapping_mul(3).wrapping_add(i));
        }
        assert_ne!(x, 0);
        assert_eq!(core_times(u32::MAX), []);
    }

    #[test]
    fn schedstat_is_two_times_and_zeros_are_no_figure() {
        let time = CoreTime { on_core_ns: 496_683_437, without_core_ns: 504_512_105 };
        assert_eq!(core_time("496683437 504512105 114\n"), Some(time));
        assert_eq!([core_time("0 0 0\n"), core_time(""), core_time("x y z")], [None; 3]);
        let more = CoreTime { on_core_ns: 500_000_000, without_core_ns: 0 };
        let since = CoreTime { on_core_ns: 3_316_563, without_core_ns: 0 };
        assert_eq!(more - time, since);
    }

    #[test]
    fn idle_time_is_that_of_the_cores_that_may_be_used() {
        let stat = "cpu  30 500 30 60 3 0 0 0 0 0\ncpu0 10 100 10 20 1 0 0 0 0 0\n\
                    cpu1 20 400 20 40 2 0 0 0 0 0\nintr 7 0\n";
        let idle = |n_cores, ticks| Some(IdleTime { n_cores, idle_ns: ticks * TICK_NS });
        assert_eq!(idle_time(stat, |_| true, true), idle(2, 63));
        assert_eq!(idle_time(stat, |core| core == 1, true), idle(1, 42));
        assert_eq!(idle_time(stat, |core| core == 1, false), idle(1, 442), "who is nice yields");
        let none = [idle_time(stat, |_| false, true), idle_time("cpu0 1 2", |_| true, true)];
        assert_eq!(none, [None; 2]);
        let now = IdleTime::now().expect("this machine tells");
        assert!(now.n_cores >= std::thread::available_parallelism().unwrap().get() as u64);
    }

    #[test]
    fn load_and_pressure_are_read_where_there_are_any() {
        assert_eq!(load_average("5.67 4.83 3.81 7/143 8148\n"), Some([5.67, 4.83, 3.81]));
        assert_eq!(load_average("unknown"), None);
        let pressure = "some avg10=99.23 avg60=92.36 avg300=65.18 total=1203202932\n\
                        full avg10=1.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(pressure_field(pressure, "avg10="), Some(99.23));
        assert_eq!(pressure_field(pressure, "total="), Some(1_203_202_932u64));
        assert_eq!(pressure_field::<f64>("", "avg10="), None);
    }
}
