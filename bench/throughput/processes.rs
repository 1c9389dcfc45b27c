//! What processes, and the machine under them, use: from `/proc`.

use std::thread::sleep;
use std::time::Duration;

use impala::os::memory::pss_bytes;

use super::children::children;
use super::cpu;
use super::disturbance::Disturbance;
use super::processor_time::processor_time;

/// Memory is sampled this often during the measured time.
const N_MEMORY_SAMPLES: u32 = 5;

/// What some processes used while they were watched.
pub struct Usage {
    /// Samples of their memory together (PSS), MB.
    pub pss_mb: Vec<f64>,
    /// Processor time of all, s.
    pub cpu_s: f64,
    /// What else the machine did.
    pub disturbance: Disturbance,
}

impl Usage {
    pub fn largest_pss_mb(&self) -> f64 {
        self.pss_mb.iter().copied().fold(0.0, f64::max)
    }
}

/// Sleeps for `measured` and watches the processes meanwhile.
pub fn watch(pids: impl Fn() -> Vec<u32>, measured: Duration) -> Usage {
    let (before, cpu_before) = (processor_time(), cpu_s(&pids()));
    let mut pss_mb = Vec::new();
    for _ in 0..N_MEMORY_SAMPLES {
        sleep(measured / N_MEMORY_SAMPLES);
        pss_mb.push(pids().into_iter().filter_map(pss_bytes).sum::<u64>() as f64 / 1e6);
    }
    let cpu_s = cpu_s(&pids()) - cpu_before;
    Usage { pss_mb, cpu_s, disturbance: Disturbance::since(before, cpu_s) }
}

/// A process and its children.
pub fn tree(pid: u32) -> Vec<u32> {
    std::iter::once(pid).chain(children(pid)).collect()
}

/// Processor time of processes so far, s; of one that has ended none.
pub fn cpu_s(pids: &[u32]) -> f64 {
    pids.iter().filter_map(|pid| cpu::cpu_s(*pid)).sum()
}
